//! What in a `$lookup`'s sub-pipeline depends on the local document.

use smongo_bson::{Doc, DocBuf, Value};

/// How many stages at the front answer the same for all local documents, so that their results may be kept. `names` are the variables of `let`.
pub(super) fn uncorrelated(stages: &[DocBuf], names: &[&str]) -> usize {
    let correlated = |s: &DocBuf| mentions(Value::Document(s.as_doc()), &|name| draws(name), &|text| is_variable(text, names));
    let count = stages.iter().take_while(|s| !correlated(s)).count();
    // Results that are kept lose what a search attached to them.
    let meta = |s: &DocBuf| mentions(Value::Document(s.as_doc()), &|name| name == "$meta", &|_| false);
    if stages.iter().skip(count).any(meta) { 0 } else { count }
}

/// Operators that answer differently each time.
fn draws(name: &str) -> bool {
    matches!(name, "$rand" | "$sample" | "$sampleRate")
}

/// Whether a string reads one of the variables, or a path below it.
fn is_variable(text: &str, names: &[&str]) -> bool {
    let Some(text) = text.strip_prefix("$$") else { return false };
    names.contains(&text.split('.').next().unwrap_or(text))
}

/// Whether there is such a field name or string anywhere. A string may be a literal: then it is one too many, which does no harm.
fn mentions(value: Value<'_>, name: &dyn Fn(&str) -> bool, text: &dyn Fn(&str) -> bool) -> bool {
    match value {
        Value::String(s) => text(s),
        Value::Document(d) => d.iter().any(|e| name(e.name()) || mentions(e.value(), name, text)),
        Value::Array(a) => a.iter().any(|v| mentions(v, name, text)),
        _ => false,
    }
}

/// A path of the foreign documents that must compare with a variable.
pub(super) struct Comparison<'s> {
    pub path: &'s str,
    pub variable: &'s str,
    pub equal: bool,
}

/// The comparisons with variables that the `$expr` of a `$match` demands, also in an `$and`.
pub(super) fn comparisons<'s>(stage: Doc<'s>, names: &[&str]) -> Vec<Comparison<'s>> {
    let mut found = Vec::new();
    if let Value::Document(filter) = stage.get("$match") {
        collect(filter.get("$expr"), names, &mut found);
    }
    found
}

fn collect<'s>(expr: Value<'s>, names: &[&str], found: &mut Vec<Comparison<'s>>) {
    let Some(operator) = expr.as_doc().and_then(Doc::first) else { return };
    let Value::Array(operands) = operator.value() else { return };
    if operator.name() == "$and" {
        return operands.iter().for_each(|e| collect(e, names, found));
    }
    if !matches!(operator.name(), "$eq" | "$gt" | "$gte" | "$lt" | "$lte") {
        return;
    }
    let operands: Vec<_> = operands.iter().filter_map(|v| v.as_str()).collect();
    let [a, b] = operands.as_slice() else { return };
    let of = |path: &'s str, variable: &'s str| {
        let (path, variable) = (path.strip_prefix('$')?, variable.strip_prefix("$$")?);
        (!path.starts_with('$') && names.contains(&variable)).then_some(Comparison { path, variable, equal: operator.name() == "$eq" })
    };
    found.extend(of(a, b).or_else(|| of(b, a)));
}

#[cfg(test)]
mod tests {
    use super::*;
    use smongo_bson::json::parse_doc;

    #[test]
    fn fronts() {
        let count = |text: &str| {
            let doc = parse_doc(&format!("{{\"p\": {text}}}")).unwrap_or_default();
            let stages: Vec<_> = doc.get("p").as_array().into_iter().flat_map(|a| a.iter()).filter_map(|s| s.as_doc().map(DocBuf::from)).collect();
            uncorrelated(&stages, &["v", "w"])
        };
        assert_eq!(count(r#"[{"$match": {"a": 1}}, {"$set": {"b": "$$vv"}}, {"$match": {"$expr": {"$eq": ["$a", "$$v"]}}}]"#), 2);
        assert_eq!(count(r#"[{"$match": {"a": 1}}, {"$set": {"b": {"c": ["$$w.x"]}}}]"#), 1);
        assert_eq!(count(r#"[{"$limit": 1}, {"$sample": {"size": 1}}]"#), 1);
        assert_eq!(count(r#"[{"$match": {"a": 1}}, {"$set": {"b": "$$v", "c": {"$meta": "textScore"}}}]"#), 0);
        assert_eq!(count(r#"[{"$match": {"a": 1}}]"#), 1);
    }

    #[test]
    fn demands() {
        let of = |text: &str| {
            let doc = parse_doc(text).unwrap_or_default();
            comparisons(doc.as_doc(), &["v"]).iter().map(|c| format!("{} {} {}", c.path, c.variable, c.equal)).collect::<Vec<_>>()
        };
        assert_eq!(of(r#"{"$match": {"$expr": {"$and": [{"$eq": ["$$v", "$a.b"]}, {"$lt": ["$c", "$$v"]}, {"$eq": ["$d", 1]}]}}}"#), ["a.b v true", "c v false"]);
        assert!(of(r#"{"$match": {"$expr": {"$or": [{"$eq": ["$a", "$$v"]}]}, "$or": [{"$expr": {"$eq": ["$a", "$$v"]}}]}}"#).is_empty());
        assert!(of(r#"{"$match": {"$expr": {"$eq": ["$a", "$$v.x"]}}}"#).is_empty());
    }
}
