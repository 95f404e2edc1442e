//! Geospatial operators under a field.

use smongo_bson::{Result, bail};

use super::super::{Node, geo};
use super::{FieldOp, Parser, Place};

pub(super) fn within(_: Parser<'_>, op: &FieldOp<'_>) -> Result<Option<Node>> {
    geo::within(op.path, op.name, op.value).map(Some)
}

pub(super) fn intersects(_: Parser<'_>, op: &FieldOp<'_>) -> Result<Option<Node>> {
    geo::intersects(op.path, op.value).map(Some)
}

pub(super) fn near(p: Parser<'_>, op: &FieldOp<'_>) -> Result<Option<Node>> {
    if p.place != Place::Query {
        bail!(5626500, "$geoNear, $near, and $nearSphere are not allowed in this context");
    }
    let node = geo::near(op.path, op.name, op.value, op.siblings)?;
    if p.within {
        bail!(BadValue, "geo $near must be top-level expr");
    }
    Ok(Some(node))
}

/// Read by `$near`; alone it is an error.
pub(super) fn distance(_: Parser<'_>, op: &FieldOp<'_>) -> Result<Option<Node>> {
    if op.siblings.iter().any(|e| matches!(e.name(), "$near" | "$nearSphere")) {
        return Ok(None);
    }
    bail!(BadValue, "unknown operator: {}", op.name)
}
