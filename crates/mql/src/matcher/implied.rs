//! What an `$expr` implies that an index can answer.

use smongo_bson::{DocBuf, Result, Value};

use super::{Node, parse};
use crate::cx::CompileCx;

/// Adds `{path: {$eq: value}}` beside each `$expr` that demands it. It accepts more than the `$expr`, which still decides, but it is quick and the
/// planner understands it: this is how a `$lookup` with `let` uses indexes.
pub(super) fn with_implied(root: Node, cx: &CompileCx) -> Result<Node> {
    let nodes = if let Node::And(children) = &root { children.as_slice() } else { std::slice::from_ref(&root) };
    let mut implied = Vec::new();
    for node in nodes {
        let Node::Expr(expr) = node else { continue };
        for (path, value) in expr.equalities() {
            // Null is also what is missing, and arrays are compared with as a whole or element by element.
            if matches!(value, Value::Missing | Value::Null | Value::Undefined | Value::Array(_)) {
                continue;
            }
            let filter = DocBuf::build(|w| { w.document(&path).append("$eq", value); });
            implied.push(parse::filter(filter.as_doc(), parse::Place::Stage, cx)?);
        }
    }
    if implied.is_empty() {
        return Ok(root);
    }
    implied.push(root);
    Ok(Node::and(implied))
}
