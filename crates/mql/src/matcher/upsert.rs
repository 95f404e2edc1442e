//! What an upsert takes over from a filter.

use smongo_bson::{Result, Value, bail};

use super::{CompareOp, Node};

/// Paths that all of these nodes together hold to one value. Error 54 when two of them are the same or one lies inside the other.
pub(super) fn equalities(nodes: &[Node]) -> Result<Vec<(&str, Value<'_>)>> {
    let mut found = Vec::new();
    nodes.iter().for_each(|node| collect(node, &mut found));
    for (i, (a, _)) in found.iter().enumerate() {
        for (b, _) in found.iter().take(i) {
            if a == b {
                bail!(NotSingleValueField, "cannot infer query fields to set, path '{a}' is matched twice");
            }
            let (short, long) = if a.len() < b.len() { (a, b) } else { (b, a) };
            if long.strip_prefix(short).is_some_and(|rest: &str| rest.starts_with('.')) {
                bail!(NotSingleValueField, "cannot infer query fields to set, both paths '{b}' and '{a}' are matched");
            }
        }
    }
    Ok(found)
}

/// The value these nodes hold `_id` to. Error 111 when they reach into it: a replacement takes it whole or not at all.
pub(super) fn exact_id(nodes: &[Node]) -> Result<Option<Value<'_>>> {
    let (mut found, mut id) = (Vec::new(), None);
    nodes.iter().for_each(|node| collect(node, &mut found));
    for (path, value) in found {
        if path.starts_with("_id.") {
            bail!(NotExactValueField, "field at '_id' must be exactly specified, field at sub-path '{path}'found");
        }
        if path == "_id" && id.replace(value).is_some() {
            bail!(NotSingleValueField, "cannot infer query fields to set, path '_id' is matched twice");
        }
    }
    Ok(id)
}

fn collect<'m>(node: &'m Node, found: &mut Vec<(&'m str, Value<'m>)>) {
    match node {
        Node::And(children) => children.iter().for_each(|c| collect(c, found)),
        Node::Compare { path, op: CompareOp::Eq, value, .. } => found.push((path.text(), value.view())),
        _ => {}
    }
}
