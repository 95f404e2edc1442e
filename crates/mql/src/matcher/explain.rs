//! Why a document does not match a filter: the `details` of a failed validation.
//!
//! It follows the filter as it was written, not the normalised tree, and compiles its clauses anew: only a write that
//! fails pays for it.

use std::ops::ControlFlow;

use smongo_bson::path::{self, Path};
use smongo_bson::{Doc, DocBuf, DocWriter, Result, Value};

use super::parse::is_expression;
use super::schema::Schema;
use super::{Matcher, TypeSet};
use crate::arena::Arena;
use crate::cx::{CompileCx, Cx};
use crate::expr::Expr;

/// Operators and what is said when they do not match, and when they match under a negation; sorted.
const REASONS: &[(&str, &str, &str)] = &[
    ("$all", "array did not contain all specified values", "array did contain all specified values"),
    ("$bitsAllClear", "bitwise operator failed to match", "bitwise operator matched successfully"),
    ("$bitsAllSet", "bitwise operator failed to match", "bitwise operator matched successfully"),
    ("$bitsAnyClear", "bitwise operator failed to match", "bitwise operator matched successfully"),
    ("$bitsAnySet", "bitwise operator failed to match", "bitwise operator matched successfully"),
    ("$elemMatch", "array did not satisfy the child predicate", "array did satisfy the child predicate"),
    ("$eq", "comparison failed", "comparison succeeded"),
    ("$exists", "path does not exist", "path does exist"),
    ("$geoIntersects", "none of the considered geometries intersected the expression's geometry", "at least one of considered geometries intersected the expression's geometry"),
    ("$geoWithin", "none of the considered geometries was contained within the expression's geometry", "at least one of considered geometries was contained within the expression's geometry"),
    ("$gt", "comparison failed", "comparison succeeded"),
    ("$gte", "comparison failed", "comparison succeeded"),
    ("$in", "no matching value found in array", "matching value found in array"),
    ("$lt", "comparison failed", "comparison succeeded"),
    ("$lte", "comparison failed", "comparison succeeded"),
    ("$mod", "$mod did not evaluate to expected remainder", "$mod did evaluate to expected remainder"),
    ("$ne", "comparison succeeded", "comparison failed"),
    ("$nin", "matching value found in array", "no matching value found in array"),
    ("$regex", "regular expression did not match", "regular expression did match"),
    ("$size", "array length was not equal to given size", "array length was equal to given size"),
    ("$type", "type did not match", "type did match"),
];

impl Matcher {
    /// Why the document does not match, as `errInfo.details` of DocumentValidationFailure (121) tells it.
    pub fn explain_failure(&self, doc: Doc<'_>, cx: &CompileCx) -> DocBuf {
        let explain = Explain { cx, doc };
        explain.filter(self.source(), false).unwrap_or_default()
    }
}

struct Explain<'e> {
    cx: &'e CompileCx,
    doc: Doc<'e>,
}

impl Explain<'_> {
    fn matches(&self, filter: Doc<'_>) -> Result<bool> {
        Matcher::compile(filter, self.cx)?.matches(self.doc, &Arena::new())
    }

    /// The clauses of a filter document: one alone explains itself, several are an `$and`.
    fn filter(&self, filter: Doc<'_>, inverted: bool) -> Result<DocBuf> {
        let clauses = clauses(filter);
        if let [only] = clauses.as_slice() {
            return self.clause(only.as_doc(), inverted);
        }
        Ok(DocBuf::build(|w| {
            w.append("operatorName", "$and");
            self.list(w, &clauses, inverted);
        }))
    }

    /// Those of several clauses that (do not) match, with why.
    fn list(&self, w: &mut DocWriter<'_>, clauses: &[DocBuf], inverted: bool) {
        let mut list = w.array(if inverted { "clausesSatisfied" } else { "clausesNotSatisfied" });
        for (index, clause) in clauses.iter().enumerate() {
            if self.matches(clause.as_doc()).unwrap_or(false) == inverted {
                let mut one = list.document();
                one.append("index", index as i32);
                one.append("details", self.filter(clause.as_doc(), inverted).unwrap_or_default().as_doc());
            }
        }
    }

    /// A filter of one operator.
    fn clause(&self, clause: Doc<'_>, inverted: bool) -> Result<DocBuf> {
        let Some(e) = clause.first() else { return Ok(DocBuf::new()) };
        match (e.name(), e.value()) {
            (name @ ("$and" | "$or" | "$nor"), Value::Array(list)) => {
                let branches: Vec<DocBuf> = list.iter().filter_map(|v| v.as_doc()).map(DocBuf::from).collect();
                Ok(DocBuf::build(|w| {
                    w.append("operatorName", name);
                    self.list(w, &branches, inverted != (name == "$nor"));
                }))
            }
            ("$jsonSchema", Value::Document(source)) if inverted => Ok(DocBuf::build(|w| {
                w.append("operatorName", "$jsonSchema");
                w.document("specifiedAs").append("$jsonSchema", source);
                w.append("reason", "schema matched");
            })),
            ("$jsonSchema", Value::Document(source)) => Ok(Schema::compile(source)?.explain(self.doc)),
            ("$expr", value) => self.expression(value, inverted),
            (name, _) if name.starts_with('$') => Ok(DocBuf::build(|w| {
                w.append("operatorName", name).append("specifiedAs", clause).append("reason", "expression always evaluates to false");
            })),
            (path, Value::Document(operators)) if is_expression(operators) => self.operator(path, operators, clause, inverted),
            (path, value) => {
                let name = if matches!(value, Value::Regex(_)) { "$regex" } else { "$eq" };
                Ok(self.field(path, name, clause, inverted))
            }
        }
    }

    fn operator(&self, path: &str, operators: Doc<'_>, clause: Doc<'_>, inverted: bool) -> Result<DocBuf> {
        let Some(e) = operators.iter().find(|e| e.name() != "$options") else { return Ok(DocBuf::new()) };
        if e.name() != "$not" {
            return Ok(self.field(path, e.name(), clause, inverted));
        }
        let inner = DocBuf::build(|w| {
            w.append(path, e.value());
        });
        let details = self.filter(inner.as_doc(), !inverted)?;
        Ok(DocBuf::build(|w| {
            w.append("operatorName", "$not").append("details", details.as_doc());
        }))
    }

    fn expression(&self, value: Value<'_>, inverted: bool) -> Result<DocBuf> {
        let expr = Expr::compile(value, self.cx)?;
        let arena = Arena::new();
        let result = expr.eval(&Cx::new(&arena, self.doc, expr.slots()))?;
        Ok(DocBuf::build(|w| {
            w.append("operatorName", "$expr");
            w.document("specifiedAs").append("$expr", value);
            w.append("reason", if inverted { "expression did match" } else { "expression did not match" });
            w.append("expressionResult", if result.is_missing() { Value::Null } else { result });
        }))
    }

    /// An operator on the values at a path.
    fn field(&self, path: &str, name: &str, clause: Doc<'_>, inverted: bool) -> DocBuf {
        let row = REASONS.binary_search_by(|(n, ..)| (*n).cmp(name)).ok().and_then(|i| REASONS.get(i));
        let negative = matches!(name, "$ne" | "$nin");
        let mut values = Vec::new();
        let path = Path::new(path);
        let _ = path::walk(self.doc, path.parts(), !matches!(name, "$exists" | "$size" | "$elemMatch"), &mut |v| {
            values.push(v);
            ControlFlow::Continue(())
        });
        values.retain(|v| !v.is_missing());
        DocBuf::build(|w| {
            w.append("operatorName", name).append("specifiedAs", clause);
            if name == "$exists" {
                let found = !values.is_empty();
                w.append("reason", if found { "path does exist" } else { "path does not exist" });
                return;
            }
            if values.is_empty() && !negative && !inverted {
                w.append("reason", "field was missing");
                return;
            }
            w.append("reason", row.map_or("comparison failed", |(_, no, yes)| if inverted { yes } else { no }));
            considered(w, &values, name == "$type");
        })
    }
}

fn considered(w: &mut DocWriter<'_>, values: &[Value<'_>], with_type: bool) {
    if let [only] = values {
        w.append("consideredValue", *only);
        if with_type {
            w.append("consideredType", only.type_name());
        }
        return;
    }
    let mut list = w.array("consideredValues");
    for v in values {
        list.push(*v);
    }
    list.finish();
    if with_type {
        let mut seen = TypeSet::default();
        let mut list = w.array("consideredTypes");
        for v in values {
            let one = TypeSet::of(v.type_of() as u8);
            if seen.0 & one.0 == 0 {
                seen.0 |= one.0;
                list.push(v.type_name());
            }
        }
    }
}

/// The filter cut into filters of one operator each.
fn clauses(filter: Doc<'_>) -> Vec<DocBuf> {
    let mut out = Vec::new();
    for e in filter {
        match e.value() {
            Value::Document(operators) if !e.name().starts_with('$') && is_expression(operators) => {
                for op in operators {
                    if op.name() == "$options" || op.name() == "$comment" {
                        continue;
                    }
                    out.push(DocBuf::build(|w| {
                        let mut inner = w.document(e.name());
                        inner.append_element(&op);
                        if op.name() == "$regex" {
                            inner.append("$options", operators.get("$options"));
                        }
                    }));
                }
            }
            _ if e.name() == "$comment" => {}
            _ => out.push(DocBuf::build(|w| {
                w.append_element(&e);
            })),
        }
    }
    out
}
