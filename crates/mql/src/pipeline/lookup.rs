//! Under construction.

use smongo_bson::{Result, Value, bail};

use super::Stage;
use crate::cx::CompileCx;

pub(super) fn parse(_arg: Value<'_>, _cx: &CompileCx, _out: &mut Vec<Stage>) -> Result<()> {
    bail!(NotImplemented, "not implemented yet")
}
