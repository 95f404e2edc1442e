//! What every database holds from the start: `admin.system.version`, by which tools tell whose files these are; and what of its
//! settings is stored in it.

use std::sync::Arc;

use smongo_bson::{DocBuf, Result, Value};

use crate::data::catalog::find_by_id;
use crate::data::write;
use crate::service::parameters::{FEATURE_COMPATIBILITY, VERSIONS, versions};
use crate::service::shared::Shared;

pub fn run(shared: &Arc<Shared>) -> Result<()> {
    crate::service::auth::Secret::load(shared)?;
    crate::commands::load_cluster_parameters(shared)?;
    crate::service::query_settings::QuerySettings::load(shared)?;
    crate::service::replica_set::load(shared)?;
    crate::service::write_block::WriteBlock::load(shared)?;
    *shared.temporary.lock() = crate::service::sink::left_temporary(shared);
    crate::service::sink::drop_temporary(&mut shared.op());
    let ns = versions();
    let mut op = shared.op();
    crate::commands::load_default_concerns(&shared.default_concerns, &mut op)?;
    if !shared.catalog.create_own(&mut op, &ns, DocBuf::new())? {
        let coll = shared.catalog.require(&ns)?;
        if let Some((_, doc)) = find_by_id(&mut op, &coll, Value::String("featureCompatibilityVersion"))? {
            let version = VERSIONS.iter().find(|known| doc.get("version").as_str() == Some(**known));
            shared.parameters.set_compatibility(version.copied().unwrap_or(FEATURE_COMPATIBILITY));
        }
        return Ok(());
    }
    let version = DocBuf::build(|w| {
        w.append("_id", "featureCompatibilityVersion").append("version", FEATURE_COMPATIBILITY);
    });
    op.write(|op| {
        let coll = op.data.catalog.require(&ns)?;
        write::insert(op, &coll, version.as_doc())?;
        op.pending.clear();
        Ok(())
    })
}
