//! Update documents: from BSON to a tree of paths.

use std::sync::Arc;

use smongo_bson::check::MAX_DEPTH;
use smongo_bson::path::Path;
use smongo_bson::{Array, Doc, Result, Value, bail};

use super::ops::{Modifier, OPERATORS, RenameFrom, RenameTo};
use super::tree::{Fields, Leaf, Step};
use crate::cx::CompileCx;
use crate::matcher::{ElementMatcher, Matcher};
use crate::projection::check_condition;

/// One field of an operator's document.
pub(super) struct Spec<'s> {
    pub cx: &'s CompileCx,
    pub path: &'s str,
    pub value: Value<'s>,
}

/// A compiled document of operators.
#[derive(Default)]
pub(super) struct Program {
    pub root: Fields,
    pub filters: Vec<ElementMatcher>,
    /// Source and destination of each `$rename`.
    pub renames: Vec<(Path, Path)>,
    /// Whether a path is or lies inside `_id`, and the first that is.
    pub id_path: Option<String>,
    /// Whether the position of the query's match is needed.
    pub positional: bool,
    /// Whether the result may be nested too deep, so that it must be looked at.
    pub deep: bool,
}

impl Program {
    pub fn parse(update: Doc<'_>, array_filters: Option<Array<'_>>, cx: &CompileCx) -> Result<Program> {
        let mut program = Program { filters: parse_filters(array_filters.unwrap_or(Array::EMPTY), cx)?, ..Program::default() };
        let mut used = vec![false; program.filters.len()];
        for operator in update {
            let name = operator.name();
            let row = OPERATORS.iter().find(|r| r.name == name);
            if row.is_none() && name != "$rename" {
                bail!(
                    FailedToParse,
                    "Unknown modifier: {name}. Expected a valid update modifier or pipeline-style update specified as an array"
                );
            }
            let Value::Document(fields) = operator.value() else {
                bail!(
                    FailedToParse,
                    "Modifiers operate on fields but we found type {} instead. For example: {{$mod: {{<field>: ...}}}} not {{{name}: {}}}",
                    operator.value().type_name(),
                    operator.value()
                );
            };
            for field in fields {
                let spec = Spec { cx, path: field.name(), value: field.value() };
                match row {
                    Some(row) => program.add(spec.path, &spec, (row.compile)(&spec)?, &mut used)?,
                    None => program.rename(&spec, &mut used)?,
                }
            }
        }
        if let Some((filter, _)) = program.filters.iter().zip(&used).find(|(_, used)| !**used) {
            bail!(FailedToParse, "The array filter for identifier '{}' was not used in the update {update:?}", filter.name());
        }
        Ok(program)
    }

    fn add(&mut self, path: &str, spec: &Spec<'_>, op: Box<dyn Modifier>, used: &mut [bool]) -> Result<()> {
        let steps = self.steps(path, used)?;
        self.positional |= steps.contains(&Step::Positional);
        self.deep |= steps.len() + depth(spec.value) + 2 > MAX_DEPTH;
        if steps.first() == Some(&Step::Field("_id")) && self.id_path.is_none() {
            self.id_path = Some(path.to_owned());
        }
        let leaf = Arc::new(Leaf { path: path.into(), op });
        self.root.insert(&steps, 0, &leaf)
    }

    /// Splits a path, resolving the identifiers of array filters.
    fn steps<'p>(&self, path: &'p str, used: &mut [bool]) -> Result<Vec<Step<'p>>> {
        if path.is_empty() {
            bail!(EmptyFieldName, "An empty update path is not valid.");
        }
        let mut steps = Vec::new();
        for part in path.split('.') {
            let step = match part {
                "" => bail!(EmptyFieldName, "The update path '{path}' contains an empty field name, which is not allowed."),
                "$" => Step::Positional,
                "$[]" => Step::All,
                _ => match part.strip_prefix("$[").and_then(|p| p.strip_suffix(']')) {
                    Some(id) => Step::Filtered(self.filter(id, path, used)?),
                    None => Step::Field(part),
                },
            };
            match step {
                Step::Positional if steps.is_empty() => {
                    bail!(BadValue, "Cannot have positional (i.e. '$') element in the first position in path '{path}'")
                }
                Step::Positional if steps.contains(&Step::Positional) => {
                    bail!(BadValue, "Too many positional (i.e. '$') elements found in path '{path}'")
                }
                Step::All | Step::Filtered(_) if steps.is_empty() => {
                    bail!(BadValue, "Cannot have array filter identifier (i.e. '$[<id>]') element in the first position in path '{path}'")
                }
                _ => steps.push(step),
            }
        }
        Ok(steps)
    }

    fn filter(&self, id: &str, path: &str, used: &mut [bool]) -> Result<usize> {
        let Some(index) = self.filters.iter().position(|f| f.name() == id) else {
            bail!(BadValue, "No array filter found for identifier '{id}' in path '{path}'");
        };
        if let Some(used) = used.get_mut(index) {
            *used = true;
        }
        Ok(index)
    }

    fn rename(&mut self, spec: &Spec<'_>, used: &mut [bool]) -> Result<()> {
        let from = spec.path;
        let Value::String(to) = spec.value else {
            bail!(BadValue, "The 'to' field for $rename must be a string: {from}: {}", spec.value);
        };
        if to.contains('\0') {
            bail!(9867600, "The 'to' field for $rename cannot contain an embedded null byte");
        }
        let dynamic = |steps: &[Step<'_>]| steps.iter().any(|s| !matches!(s, Step::Field(_)));
        if dynamic(&rename_steps(from)?) {
            bail!(BadValue, "The source field for $rename may not be dynamic: {from}");
        }
        if dynamic(&rename_steps(to)?) {
            bail!(BadValue, "The destination field for $rename may not be dynamic: {to}");
        }
        let (source, target) = (Path::new(from), Path::new(to));
        if from == to {
            bail!(BadValue, "The source and target field for $rename must differ: {from}: \"{to}\"");
        }
        if source.overlaps(&target) {
            bail!(BadValue, "The source and target field for $rename must not be on the same path: {from}: \"{to}\"");
        }
        let number = self.renames.len();
        self.renames.push((source, target));
        self.deep = true;
        self.add(from, spec, Box::new(RenameFrom), used)?;
        self.add(to, spec, Box::new(RenameTo(number)), used)
    }
}

/// The steps of a `$rename` path, in which array filters are not looked up.
fn rename_steps(path: &str) -> Result<Vec<Step<'_>>> {
    if path.is_empty() {
        bail!(EmptyFieldName, "An empty update path is not valid.");
    }
    let step = |part| match part {
        "" => bail!(EmptyFieldName, "The update path '{path}' contains an empty field name, which is not allowed."),
        "$" => Ok(Step::Positional),
        part if part.starts_with("$[") && part.ends_with(']') => Ok(Step::All),
        part => Ok(Step::Field(part)),
    };
    path.split('.').map(step).collect()
}

fn parse_filters(filters: Array<'_>, cx: &CompileCx) -> Result<Vec<ElementMatcher>> {
    let mut parsed: Vec<ElementMatcher> = Vec::new();
    for filter in filters.iter() {
        let Value::Document(filter) = filter else {
            bail!(TypeMismatch, "BSON field 'update.updates.arrayFilters.0' is the wrong type '{}', expected type 'object'", filter.type_name());
        };
        check_condition(filter).map_err(|e| e.context("Error parsing array filter"))?;
        if filter.contains("$expr") {
            bail!(QueryFeatureNotAllowed, "Error parsing array filter :: caused by :: $expr is not allowed in this context");
        }
        let filter = Matcher::for_array_element(filter, cx)?;
        let name = filter.name();
        let mut letters = name.chars();
        if !letters.next().is_some_and(|c| c.is_ascii_lowercase()) || !letters.all(|c| c.is_ascii_alphanumeric()) {
            bail!(
                BadValue,
                "Error parsing array filter :: caused by :: The top-level field name must be an alphanumeric string beginning with a lowercase letter, found '{name}'"
            );
        }
        if parsed.iter().any(|f| f.name() == name) {
            bail!(FailedToParse, "Found multiple array filters with the same top-level field name {name}");
        }
        parsed.push(filter);
    }
    Ok(parsed)
}

/// How deep a value is nested: 0 for a scalar.
fn depth(value: Value<'_>) -> usize {
    match value {
        Value::Document(doc) | Value::Array(Array(doc)) => 1 + doc.iter().map(|e| depth(e.value())).max().unwrap_or(0),
        _ => 0,
    }
}
