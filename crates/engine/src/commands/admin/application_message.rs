//! logApplicationMessage: a line in the audit log in a program's own words.

use smongo_bson::{DocWriter, Result, Value};
use smongo_mql::access::Action;

use crate::service::audit::{Event, Weight};
use crate::service::command::{ADMIN, Access, Args, Command, Cx};

pub const LOG: Command = Command::new("logApplicationMessage", log, ADMIN, Access::Cluster(&[Action::ApplicationMessage]));

/// Where there is no audit log there is nobody to tell.
fn log(cx: &mut Cx<'_>, args: &mut Args<'_>, _reply: &mut DocWriter<'_>) -> Result<()> {
    let message = match args.first() {
        Value::String(message) => message,
        v => return Err(args.wrong_type("logApplicationMessage", v, "string")),
    };
    args.finish()?;
    cx.tell(Weight::Before, || {
        Event::new("applicationMessage", |w| {
            w.append("msg", message);
        })
    })
}
