//! rotateCertificates: the sockets' certificates are read anew.

use smongo_bson::{DocWriter, Result, Value, bail};
use smongo_mql::access::Action;

use crate::service::audit::Event;
use crate::service::command::{ADMIN, Access, Args, Command, Cx};

pub const ROTATE: Command = Command::new("rotateCertificates", rotate, ADMIN, Access::Cluster(&[Action::RotateCertificates]));

fn rotate(cx: &mut Cx<'_>, args: &mut Args<'_>, _reply: &mut DocWriter<'_>) -> Result<()> {
    args.first();
    let message = args.str("message")?.map(str::to_owned);
    args.finish()?;
    let event = || {
        Event::new("rotateCertificates", |w| {
            w.append("message", message.as_deref().map_or(Value::Missing, Value::String));
        })
    };
    cx.told(event, |cx| rotate_all(cx, message.as_deref().unwrap_or_default()))
}

fn rotate_all(cx: &Cx<'_>, message: &str) -> Result<()> {
    match cx.shared.rotate_certificates() {
        None => bail!(InvalidSSLConfiguration, "This server was started without TLS: there are no certificates to rotate"),
        Some(Err(e)) => {
            tracing::error!("the certificates were not rotated: {e}");
            bail!(InvalidSSLConfiguration, "The certificates were not rotated, those in use stay so: {e}")
        }
        Some(Ok(())) => {
            tracing::info!(message = %smongo_bson::Escaped(message), "certificates rotated");
            Ok(())
        }
    }
}
