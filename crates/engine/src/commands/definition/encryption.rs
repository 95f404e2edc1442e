//! Commands on collections with encrypted fields, of which there can be none.

use smongo_bson::{Code, DocWriter, Result, Value, bail};
use smongo_mql::access::Action;
use crate::service::command::{Access, Args, Command, Cx, WRITES};


pub const COMPACT: Command = Command::new("compactStructuredEncryptionData", compact, WRITES, Access::Named(&[Action::CompactStructuredEncryptionData]));

fn compact(cx: &mut Cx<'_>, args: &mut Args<'_>, _reply: &mut DocWriter<'_>) -> Result<()> {
    let ns = match (args.ns(&cx.db), args.first()) {
        (Err(e), Value::String(name)) if e.code() == Code::InvalidNamespace && name.starts_with('$') => {
            bail!(NamespaceNotFound, "Namespace {}.{name} does not exist", cx.db)
        }
        (ns, _) => ns?,
    };
    if args.doc("compactionTokens")?.is_none() {
        return Err(args.missing("compactionTokens"));
    }
    args.finish()?;
    match cx.op.collection(&ns)? {
        None => bail!(NamespaceNotFound, "Namespace {ns} does not exist"),
        Some(coll) if coll.view().is_some() => bail!(CommandNotSupportedOnView, "Cannot compact structured encryption data on a view: {ns}"),
        Some(_) => bail!(6346807, "Target namespace {ns} is not an encrypted collection"),
    }
}
