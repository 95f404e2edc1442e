//! What exists only with `enableTestCommands`: configureFailPoint, testVersion2.

use smongo_bson::{DocWriter, Result, Value};
use smongo_mql::access::Action;
use crate::service::command::{ADMIN, Access, Args, Command, Cx, TEST_ONLY};


pub const CONFIGURE_FAIL_POINT: Command = Command::new("configureFailPoint", configure_fail_point, ADMIN | TEST_ONLY, Access::Cluster(&[Action::SetParameter]));

/// In no version of the Stable API that a client can ask for: drivers test by it what `apiStrict` refuses.
pub const TEST_VERSION_2: Command = Command::new("testVersion2", |_, args, _| args.finish(), TEST_ONLY, Access::User);

fn configure_fail_point(cx: &mut Cx<'_>, args: &mut Args<'_>, reply: &mut DocWriter<'_>) -> Result<()> {
    let name = match args.first() {
        Value::String(name) => name,
        v => return Err(args.wrong_type("configureFailPoint", v, "string")),
    };
    let mode = args.value("mode");
    let data = args.doc("data")?;
    args.finish()?;
    let count = cx.shared.failpoints.configure(name, mode, data)?;
    reply.append("count", count as i32);
    Ok(())
}
