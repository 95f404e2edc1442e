//! Whether a filter implies the filter of a partial index.

use smongo_bson::Value;
use smongo_bson::compare::Collator;
use smongo_mql::matcher::Node;

use super::bounds;
use super::interval::within;
use super::predicate::Conjunct;

/// Whether every document that passes the conjuncts passes `wanted`.
pub fn implies(conjuncts: &[Conjunct<'_>], wanted: &Node, collator: Option<&dyn Collator>) -> bool {
    match wanted {
        Node::And(all) => all.iter().all(|w| implies(conjuncts, w, collator)),
        Node::Or(any) if any.iter().any(|w| implies(conjuncts, w, collator)) => true,
        _ => conjuncts.iter().any(|c| node_implies(c.node, wanted, collator)),
    }
}

fn node_implies(given: &Node, wanted: &Node, collator: Option<&dyn Collator>) -> bool {
    match (given, wanted) {
        (_, Node::And(all)) => all.iter().all(|w| node_implies(given, w, collator)),
        (Node::Or(any), _) => any.iter().all(|g| node_implies(g, wanted, collator)),
        (Node::And(all), _) if all.iter().any(|g| node_implies(g, wanted, collator)) => true,
        (_, Node::Or(any)) => any.iter().any(|w| node_implies(given, w, collator)),
        (Node::Not(g), Node::Not(w)) => node_implies(w, g, collator),
        (_, Node::Exists { path }) => given.path() == Some(path.text()) && needs_value(given),
        (_, Node::Compare { .. } | Node::In { .. } | Node::Type { .. } | Node::Regex { .. }) => {
            given.path().is_some()
                && given.path() == wanted.path()
                && match (bounds::plain(given, collator), bounds::plain(wanted, collator)) {
                    (Some(g), Some(w)) => exact(wanted) && within(&g, &w, collator),
                    _ => false,
                }
        }
        _ => false,
    }
}

/// Whether the bounds of a predicate say all of it.
fn exact(wanted: &Node) -> bool {
    match wanted {
        Node::Regex { regex, .. } => regex.is_exact_prefix(),
        Node::In { regexes, .. } => regexes.is_empty(),
        // One class of values for one type, or numbers for all four.
        Node::Type { types, .. } => {
            let numbers = smongo_mql::matcher::TypeSet::NUMBER.0;
            types.0 & numbers == 0 || types.0 & numbers == numbers
        }
        _ => true,
    }
}

/// Whether a predicate can only hold where there is a value.
fn needs_value(node: &Node) -> bool {
    match node {
        Node::Compare { value, .. } => !matches!(value.view(), Value::Null | Value::Missing | Value::MinKey | Value::MaxKey),
        Node::In { values, .. } => !values.iter().any(|v| matches!(v.view(), Value::Null)),
        Node::Exists { .. }
        | Node::Type { .. }
        | Node::Regex { .. }
        | Node::Size { .. }
        | Node::Mod { .. }
        | Node::Bits { .. }
        | Node::ElemMatchObject { .. }
        | Node::ElemMatchValue { .. } => true,
        Node::Not(inner) => matches!(&**inner, Node::Compare { value, op: smongo_mql::matcher::CompareOp::Eq, .. } if matches!(value.view(), Value::Null)),
        _ => false,
    }
}
