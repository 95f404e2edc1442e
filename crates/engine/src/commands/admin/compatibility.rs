//! setFeatureCompatibilityVersion

use smongo_bson::{DocBuf, DocWriter, Result, Value, bail};
use smongo_mql::access::Action;

use crate::data::write;
use crate::service::command::{ADMIN, Access, Args, Command, Cx, WRITES};
use crate::service::parameters;

pub const SET: Command = Command::new("setFeatureCompatibilityVersion", set, ADMIN | WRITES, Access::Cluster(&[Action::SetFeatureCompatibilityVersion]));

/// Files of ours have no features that depend on it: the version is kept for those who ask.
fn set(cx: &mut Cx<'_>, args: &mut Args<'_>, _reply: &mut DocWriter<'_>) -> Result<()> {
    let wanted = match args.first() {
        Value::String(version) => version,
        v if v.is_nullish() => return Err(args.missing("setFeatureCompatibilityVersion")),
        v => return Err(args.wrong_type("setFeatureCompatibilityVersion", v, "string")),
    };
    let confirm = args.bool("confirm")?;
    // Of sharded clusters.
    args.accept(&["fromConfigServer", "phase", "changeTimestamp"]);
    args.finish()?;
    let Some(version) = parameters::VERSIONS.iter().find(|known| **known == wanted) else {
        bail!(4926900, "Invalid feature compatibility version value '{wanted}'; expected '8.0' or '8.1' or '8.2'. See https://dochub.mongodb.org/core/8.2-feature-compatibility");
    };
    let _alone = cx.shared.alone_in_settings(&mut cx.op)?;
    let now = cx.shared.parameters.compatibility();
    if *version != now && !confirm {
        let (what, back) = if *version > now { ("upgraded", "downgrade") } else { ("downgraded", "upgrade") };
        bail!(7369100, "Once you have {what} to {version}, you may not be able to {back} FCV and binary version without support assistance. Please re-run this command with 'confirm: true' to acknowledge this and continue with the FCV change.");
    }
    let document = DocBuf::build(|w| {
        w.append("_id", "featureCompatibilityVersion").append("version", *version);
    });
    write::put(&mut cx.op, &parameters::versions(), document.as_doc())?;
    cx.shared.parameters.set_compatibility(version);
    cx.op.make_durable(true)
}
