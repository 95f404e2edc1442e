//! `$regex` with `$options`.

use smongo_bson::path::Path;
use smongo_bson::{Result, Value, bail};

use super::super::Node;
use super::{FieldOp, Parser};
use crate::regex::Regex;

pub(super) fn regex(_: Parser<'_>, op: &FieldOp<'_>) -> Result<Option<Node>> {
    let options = match op.siblings.get("$options") {
        Value::Missing => None,
        Value::String(s) => Some(s),
        _ => bail!(BadValue, "$options has to be a string"),
    };
    let (pattern, flags) = match op.value {
        Value::String(s) | Value::Symbol(s) => (s, ""),
        Value::Regex(r) => (r.pattern(), r.options()),
        _ => bail!(BadValue, "$regex has to be a string"),
    };
    if options.is_some() && !flags.is_empty() {
        let first = op.siblings.iter().find(|e| matches!(e.name(), "$regex" | "$options"));
        if first.is_some_and(|e| e.name() == "$options") {
            bail!(51074, "options set in both $regex and $options");
        }
        bail!(51075, "options set in both $regex and $options");
    }
    let regex = Regex::new(pattern, options.unwrap_or(flags))?;
    Ok(Some(Node::Regex { path: Path::new(op.path), regex }))
}

/// Read by `$regex`; alone it is an error.
pub(super) fn options(_: Parser<'_>, op: &FieldOp<'_>) -> Result<Option<Node>> {
    match (op.siblings.contains("$regex"), op.value) {
        (false, _) => bail!(BadValue, "$options needs a $regex"),
        (true, Value::String(_)) => Ok(None),
        (true, _) => bail!(BadValue, "$options has to be a string"),
    }
}
