//! Filters of single array elements: `arrayFilters`, `$pull`.

use smongo_bson::{Doc, Result, Value, bail};

use super::Matcher;
use crate::arena::Arena;
use crate::cx::CompileCx;

/// A filter whose paths all begin with one name, which stands for an array element.
pub struct ElementMatcher {
    name: String,
    matcher: Matcher,
}

impl ElementMatcher {
    /// Errors as for `arrayFilters`: 9 when there is not exactly one first name, besides those of filters.
    pub fn compile(filter: Doc<'_>, cx: &CompileCx) -> Result<ElementMatcher> {
        let mut name = None;
        first_name(filter, &mut name)?;
        let Some(name) = name else {
            bail!(FailedToParse, "Cannot use an expression without a top-level field name in arrayFilters");
        };
        Ok(ElementMatcher { name: name.to_owned(), matcher: Matcher::compile(filter, cx)? })
    }

    /// The name that stands for the element.
    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn matches(&self, element: Value<'_>, arena: &Arena) -> Result<bool> {
        let doc = arena.doc(|w| {
            w.append(&self.name, element);
        });
        self.matcher.matches(doc, arena)
    }
}

/// The first component of every path in the filter.
fn first_name<'a>(filter: Doc<'a>, name: &mut Option<&'a str>) -> Result<()> {
    for e in filter {
        let field = e.name();
        match (field, e.value()) {
            ("$and" | "$or" | "$nor", Value::Array(branches)) => {
                for branch in branches.iter().filter_map(|v| v.as_doc()) {
                    first_name(branch, name)?;
                }
            }
            (operator, _) if operator.starts_with('$') => {}
            _ => {
                let first = field.split('.').next().unwrap_or_default();
                match *name {
                    Some(known) if known != first => {
                        bail!(FailedToParse, "Error parsing array filter :: caused by :: Expected a single top-level field name, found '{known}' and '{first}'")
                    }
                    _ => *name = Some(first),
                }
            }
        }
    }
    Ok(())
}
