//! Normal form: flat, without single children, contradictions folded.

use super::Node;

impl Node {
    /// The filter `{}`.
    pub(super) fn always_true() -> Node {
        Node::And(Vec::new())
    }

    fn is_true(&self) -> bool {
        matches!(self, Node::And(children) if children.is_empty())
    }

    /// What must hold, all of it: the children of an `And`, or the node itself.
    pub(super) fn conjuncts(&self) -> &[Node] {
        match self {
            Node::And(children) => children,
            one => std::slice::from_ref(one),
        }
    }

    /// All of the children, flattened.
    pub(super) fn and(children: Vec<Node>) -> Node {
        let mut flat = Vec::with_capacity(children.len());
        for child in children {
            match child {
                Node::And(inner) => flat.extend(inner),
                Node::AlwaysFalse => return Node::AlwaysFalse,
                other => flat.push(other),
            }
        }
        single(flat, Node::And)
    }

    /// Any of the children, flattened.
    pub(super) fn or(children: Vec<Node>) -> Node {
        let mut flat = Vec::with_capacity(children.len());
        for child in children {
            match child {
                Node::Or(inner) => flat.extend(inner),
                Node::AlwaysFalse => {}
                other => flat.push(other),
            }
        }
        if flat.iter().any(Node::is_true) {
            return Node::always_true();
        }
        if flat.is_empty() { Node::AlwaysFalse } else { single(flat, Node::Or) }
    }

    /// None of the children.
    pub(super) fn nor(children: Vec<Node>) -> Node {
        match Node::or(children) {
            Node::Or(flat) => Node::Nor(flat),
            one => Node::negated(one),
        }
    }

    pub(super) fn negated(child: Node) -> Node {
        match child {
            Node::Not(inner) => *inner,
            Node::Nor(inner) => Node::or(inner),
            Node::AlwaysFalse => Node::always_true(),
            n if n.is_true() => Node::AlwaysFalse,
            other => Node::Not(Box::new(other)),
        }
    }
}

fn single(mut nodes: Vec<Node>, make: fn(Vec<Node>) -> Node) -> Node {
    match (nodes.len(), nodes.pop()) {
        (1, Some(only)) => only,
        (_, Some(last)) => {
            nodes.push(last);
            make(nodes)
        }
        (_, None) => make(nodes),
    }
}
