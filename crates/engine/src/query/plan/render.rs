//! Filters as BSON again, normalised: explain's `parsedQuery` and `filter`.

use smongo_bson::{Doc, DocBuf, DocWriter, Value, ValueBuf};
use smongo_mql::Matcher;
use smongo_mql::matcher::{BitsOp, Node};
use smongo_mql::regex::Regex;

use super::Filter;

/// A whole filter.
pub fn matcher(matcher: &Matcher) -> DocBuf {
    node(&matcher.root, matcher.source())
}

/// What is left of a filter.
pub fn filter(filter: &Filter) -> DocBuf {
    let source = filter.matcher.source();
    let Some(parts) = &filter.parts else { return matcher(&filter.matcher) };
    let docs: Vec<DocBuf> = parts.iter().filter_map(|p| filter.node(p)).map(|n| node(n, source)).collect();
    match docs.as_slice() {
        [one] => one.clone(),
        many => list("$and", many),
    }
}

fn list(name: &str, docs: &[DocBuf]) -> DocBuf {
    DocBuf::build(|w| {
        let mut all = w.array(name);
        for d in docs {
            all.push(d.as_doc());
        }
    })
}

/// One node. What the tree does not keep (expressions, schemas) is looked up in the filter as it was given.
pub fn node(n: &Node, source: Doc<'_>) -> DocBuf {
    let children = |name: &str, nodes: &[Node]| {
        let mut docs: Vec<(String, DocBuf)> = nodes.iter().map(|c| (order_of(c), node(c, source))).collect();
        docs.sort_by(|a, b| a.0.cmp(&b.0));
        list(name, &docs.into_iter().map(|(_, d)| d).collect::<Vec<_>>())
    };
    match n {
        Node::And(nodes) if nodes.is_empty() => DocBuf::new(),
        Node::And(nodes) => children("$and", nodes),
        Node::Or(nodes) => children("$or", nodes),
        Node::Nor(nodes) => children("$nor", nodes),
        Node::AlwaysFalse => DocBuf::build(|w| {
            w.append("$alwaysFalse", 1);
        }),
        Node::Expr(_) => given(source, "$expr"),
        Node::Opaque(_) => given(source, "$jsonSchema"),
        Node::Not(inner) => match (inner.path(), &**inner) {
            (Some(path), _) => DocBuf::build(|w| operators(inner, source, &mut w.document(path).document("$not"))),
            (None, other) => list("$nor", &[node(other, source)]),
        },
        leaf => DocBuf::build(|w| operators(leaf, source, &mut w.document(leaf.path().unwrap_or_default()))),
    }
}

/// The order MongoDB gives conditions: by kind, then by path.
fn order_of(n: &Node) -> String {
    let kind = match n {
        Node::And(_) => 0,
        Node::Or(_) => 1,
        Node::ElemMatchObject { .. } => 2,
        Node::ElemMatchValue { .. } => 3,
        Node::Size { .. } => 4,
        Node::Compare { op, .. } => 5 + *op as usize,
        Node::Regex { .. } => 11,
        Node::Mod { .. } => 12,
        Node::Exists { .. } => 13,
        Node::In { .. } => 14,
        Node::Bits { .. } => 15,
        Node::Not(_) => 16,
        Node::Nor(_) => 17,
        Node::Type { .. } => 18,
        Node::Implied { op, .. } => 20 + *op as usize,
        _ => 30,
    };
    format!("{kind:02}{}", n.path().unwrap_or_default())
}

/// `{$operator: value}` of a leaf.
fn operators(leaf: &Node, source: Doc<'_>, w: &mut DocWriter<'_>) {
    match leaf {
        Node::Compare { op, value, .. } => {
            w.append(op.name(), value.view());
        }
        Node::Implied { op, value, .. } => {
            // MongoDB calls them `$_internalExprGt` and so on.
            let name = op.name().trim_start_matches('$');
            let (first, rest) = name.split_at(1);
            w.append(&format!("$_internalExpr{}{rest}", first.to_uppercase()), value.view());
        }
        Node::In { values, regexes, .. } => {
            let mut all = w.array("$in");
            for v in values {
                all.push(v.view());
            }
            for r in regexes {
                all.push(regex_value(r).view());
            }
        }
        Node::Exists { .. } => {
            w.append("$exists", true);
        }
        Node::Type { types, .. } => {
            let mut all = w.array("$type");
            for tag in (0..=255u8).filter(|t| types.contains(*t)) {
                all.push(if tag == 255 { -1 } else { i32::from(tag) });
            }
        }
        Node::Regex { regex, .. } => {
            w.append("$regex", &*regex.pattern);
            if !regex.options.is_empty() {
                w.append("$options", &*regex.options);
            }
        }
        Node::Size { size, .. } => {
            w.append("$size", *size as i32);
        }
        Node::Mod { divisor, remainder, .. } => {
            w.array("$mod").push(*divisor).push(*remainder);
        }
        Node::Bits { op, .. } => {
            w.append(
                match op {
                    BitsOp::AllSet => "$bitsAllSet",
                    BitsOp::AllClear => "$bitsAllClear",
                    BitsOp::AnySet => "$bitsAnySet",
                    BitsOp::AnyClear => "$bitsAnyClear",
                },
                given_under(source, "$bits"),
            );
        }
        Node::ElemMatchObject { filter, .. } => {
            w.append("$elemMatch", node(filter, source).as_doc());
        }
        Node::ElemMatchValue { filter, .. } => element(filter, source, &mut w.document("$elemMatch")),
        _ => {}
    }
}

fn element(filter: &Node, source: Doc<'_>, w: &mut DocWriter<'_>) {
    match filter {
        Node::And(all) => all.iter().for_each(|n| element(n, source, w)),
        Node::Not(inner) => element(inner, source, &mut w.document("$not")),
        leaf => operators(leaf, source, w),
    }
}

fn regex_value(r: &Regex) -> ValueBuf {
    let mut raw = r.pattern.as_bytes().to_vec();
    raw.push(0);
    raw.extend_from_slice(r.options.as_bytes());
    raw.push(0);
    ValueBuf::new(Value::Regex(smongo_bson::Regex::from_raw(&raw)))
}

/// `{name: value}` as it stands somewhere in the filter.
fn given(source: Doc<'_>, name: &str) -> DocBuf {
    let value = search(Value::Document(source), &|n| n == name);
    DocBuf::build(|w| {
        if value.is_missing() {
            w.append_all(source);
        }
        w.append(name, value);
    })
}

fn given_under<'a>(source: Doc<'a>, prefix: &str) -> Value<'a> {
    search(Value::Document(source), &|n| n.starts_with(prefix))
}

fn search<'a>(value: Value<'a>, wanted: &dyn Fn(&str) -> bool) -> Value<'a> {
    let inside = match value {
        Value::Document(d) => d,
        Value::Array(a) => a.0,
        _ => return Value::Missing,
    };
    for e in inside {
        if matches!(value, Value::Document(_)) && wanted(e.name()) {
            return e.value();
        }
        let found = search(e.value(), wanted);
        if !found.is_missing() {
            return found;
        }
    }
    Value::Missing
}

/// The predicate's kind and path without its values: what plans of one shape have in common.
pub fn shape(n: &Node, source: Doc<'_>, out: &mut String) {
    let children = |name: &str, nodes: &[Node], out: &mut String| {
        let mut all: Vec<String> = nodes
            .iter()
            .map(|c| {
                let mut s = String::new();
                shape(c, source, &mut s);
                s
            })
            .collect();
        all.sort();
        out.push_str(&format!("{name}[{}]", all.join(",")));
    };
    match n {
        Node::And(nodes) => children("and", nodes, out),
        Node::Or(nodes) => children("or", nodes, out),
        Node::Nor(nodes) => children("nor", nodes, out),
        Node::Not(inner) => {
            out.push_str("not:");
            shape(inner, source, out);
        }
        Node::ElemMatchObject { path, filter } | Node::ElemMatchValue { path, filter } => {
            out.push_str(&format!("elem:{}(", path.text()));
            shape(filter, source, out);
            out.push(')');
        }
        Node::Opaque(_) => out.push_str(&format!("opaque:{}", smongo_bson::json::to_canonical(source))),
        leaf => out.push_str(&order_of(leaf)),
    }
}
