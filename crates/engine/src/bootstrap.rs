//! What every database holds from the start: `admin.system.version`, by which tools tell whose files these are; and what of its
//! settings is stored in it.

use std::sync::Arc;

use smongo_bson::{DocBuf, Result, Value};

use crate::namespace::Ns;
use crate::op::OpCx;
use crate::shared::Shared;
use crate::write;

/// The versions whose features a database may be told to use, oldest first, and the one it uses untold.
pub const VERSIONS: &[&str] = &["8.0", "8.1", "8.2"];
pub const FEATURE_COMPATIBILITY: &str = "8.2";

/// Where versions are told of.
pub fn versions() -> Ns {
    Ns::unchecked("admin", "system.version")
}

pub fn run(shared: &Arc<Shared>) -> Result<()> {
    crate::commands::load_cluster_parameters(shared)?;
    crate::query_settings::QuerySettings::load(shared)?;
    crate::replica_set::load(shared)?;
    crate::write_block::WriteBlock::load(shared)?;
    *shared.temporary.lock() = crate::exec::left_temporary(shared);
    crate::exec::drop_temporary(shared);
    let ns = versions();
    let mut op = OpCx::new(shared);
    crate::commands::load_default_concerns(&mut op)?;
    if !shared.catalog.create_own(&mut op, &ns, DocBuf::new())? {
        let coll = shared.catalog.require(&ns)?;
        if let Some((_, doc)) = crate::exec::find_by_id(&mut op, &coll, Value::String("featureCompatibilityVersion"))? {
            let version = VERSIONS.iter().find(|known| doc.get("version").as_str() == Some(**known));
            shared.parameters.set_compatibility(version.copied().unwrap_or(FEATURE_COMPATIBILITY));
        }
        return Ok(());
    }
    let version = DocBuf::build(|w| {
        w.append("_id", "featureCompatibilityVersion").append("version", FEATURE_COMPATIBILITY);
    });
    op.write(|op| {
        let coll = op.shared.catalog.require(&ns)?;
        write::insert(op, &coll, version.as_doc())?;
        op.pending.clear();
        Ok(())
    })
}
