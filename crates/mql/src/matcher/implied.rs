//! What an `$expr` implies that an index can answer.

use smongo_bson::path::Path;
use smongo_bson::{DocBuf, Result, Value};

use super::{CompareOp, Node, parse};
use crate::cx::CompileCx;

/// Adds what each `$expr` demands of single paths in front of the filter's own nodes, and returns how much that is; the `$expr` still
/// decides. This is how a `$lookup` with `let` uses indexes.
///
/// Equality becomes `{path: {$eq: value}}`, which accepts more than the `$expr`, but is quick. No filter accepts what the other comparisons
/// of expressions do, for these look at values as a whole and order those of all types: they become [`Node::Implied`].
pub(super) fn with_implied(root: Node, cx: &CompileCx) -> Result<(Node, usize)> {
    let mut implied = Vec::new();
    for node in root.conjuncts() {
        let Node::Expr(expr) = node else { continue };
        for (path, op, value) in expr.comparisons() {
            // Null is also what is missing, and arrays are compared with as a whole or element by element.
            if matches!(value, Value::Missing | Value::Null | Value::Undefined | Value::Array(_)) {
                continue;
            }
            implied.push(match op {
                CompareOp::Eq => {
                    let filter = DocBuf::build(|w| { w.document(&path).append("$eq", value); });
                    parse::filter(filter.as_doc(), parse::Place::Stage, cx)?
                }
                op => Node::Implied { path: Path::new(&path), op, value: value.into() },
            });
        }
    }
    if implied.is_empty() {
        return Ok((root, 0));
    }
    let count = implied.len();
    implied.push(root);
    Ok((Node::and(implied), count))
}
