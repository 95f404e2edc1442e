//! What every database holds from the start: `admin.system.version`, by which tools tell whose files these are; and what of its
//! settings is stored in it.

use std::sync::Arc;

use smongo_bson::{DocBuf, Result};

use crate::namespace::Ns;
use crate::op::OpCx;
use crate::shared::Shared;
use crate::write;

/// The version whose features a database may use.
pub const FEATURE_COMPATIBILITY: &str = "8.2";

pub fn run(shared: &Arc<Shared>) -> Result<()> {
    crate::commands::load_cluster_parameters(shared)?;
    *shared.temporary.lock() = crate::exec::left_temporary(shared);
    crate::exec::drop_temporary(shared);
    let ns = Ns::unchecked("admin", "system.version");
    let mut op = OpCx::new(shared);
    crate::commands::load_default_concerns(&mut op)?;
    if !shared.catalog.create_own(&mut op, &ns, DocBuf::new())? {
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
