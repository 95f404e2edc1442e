//! Projection specifications: from BSON to a tree of paths.

use smongo_bson::check::MAX_DEPTH;
use smongo_bson::{Doc, Result, Value, bail};

use super::find::{ElemMatch, Slice};
use super::{Field, Fields, Mode, Projection, Rule};
use crate::cx::CompileCx;
use crate::expr::{self, Expr};

pub(super) struct Parser<'c> {
    cx: &'c CompileCx,
    /// find's projections know operators of their own.
    find: bool,
    root: Fields,
    mode: Option<Mode>,
    /// What was said of `_id` as a whole.
    id: Option<bool>,
    elem_match: bool,
    positional: bool,
}

impl<'c> Parser<'c> {
    pub fn new(cx: &'c CompileCx, find: bool) -> Parser<'c> {
        Parser { cx, find, root: Fields::default(), mode: None, id: None, elem_match: false, positional: false }
    }

    pub fn projection(mut self, spec: Doc<'_>) -> Result<Projection> {
        for element in spec {
            self.field(element.name(), element.value(), "")?;
        }
        let mode = match (self.mode, self.id) {
            (Some(mode), _) => mode,
            (None, Some(true)) => Mode::Inclusion,
            (None, _) if self.elem_match => Mode::Inclusion,
            (None, _) => Mode::Exclusion,
        };
        self.resolve_id(mode);
        Ok(Projection::new(mode, self.root))
    }

    /// An inclusion keeps `_id` unless told otherwise; an exclusion drops it only when told so.
    fn resolve_id(&mut self, mode: Mode) {
        let named = self.root.position("_id").is_some();
        match (mode, self.id) {
            (Mode::Inclusion, None) if !named => {
                self.root.fields.insert(0, Field { name: "_id".into(), rule: Rule::Keep, positional: false });
            }
            (Mode::Inclusion, Some(false)) | (Mode::Exclusion, Some(true)) => self.root.fields.retain(|f| &*f.name != "_id"),
            _ => {}
        }
    }

    fn field(&mut self, name: &str, value: Value<'_>, prefix: &str) -> Result<()> {
        let path = if prefix.is_empty() { name.to_owned() } else { format!("{prefix}.{name}") };
        let (path, positional) = self.positional_path(path)?;
        check_path(if prefix.is_empty() { &path } else { name.strip_suffix(".$").unwrap_or(name) })?;
        if path.split('.').count() > MAX_DEPTH {
            bail!(Overflow, "FieldPath is too long: more than {MAX_DEPTH} components");
        }
        match value {
            Value::Document(_) if positional => bail!(31271, "positional projection cannot be used with an expression or sub object"),
            Value::Document(spec) => self.object(&path, spec),
            Value::Bool(_) | Value::Int32(_) | Value::Int64(_) | Value::Double(_) | Value::Decimal(_) => {
                self.flag(&path, value.truthy(), positional)
            }
            _ if positional => bail!(31308, "positional projection cannot be used with a literal"),
            _ => {
                if self.mode == Some(Mode::Exclusion) {
                    bail!(31310, "Cannot use an expression or literal {path} in an exclusion projection");
                }
                self.mode = Some(Mode::Inclusion);
                let expr = Expr::compile(value, self.cx)?;
                self.insert(&path, Rule::Compute(expr), false)
            }
        }
    }

    /// Takes the positional `$` off the end of a path.
    fn positional_path(&self, path: String) -> Result<(String, bool)> {
        if !self.find {
            if path.ends_with(".$") {
                bail!(31324, "Cannot use positional projection in aggregation projection");
            }
            return Ok((path, false));
        }
        if path.contains(".$.") {
            bail!(31394, "As of 4.4, it's illegal to specify positional operator in the middle of a path. Positional projection may only be used at the end, for example: a.b.$. If the query previously used a form like a.b.$.d, remove the parts following the '$' and the results will be equivalent.");
        }
        match path.strip_suffix(".$") {
            Some(rest) => Ok((rest.to_owned(), true)),
            None => Ok((path, false)),
        }
    }

    fn flag(&mut self, path: &str, include: bool, positional: bool) -> Result<()> {
        if positional {
            return self.positional(path, include);
        }
        if path == "_id" {
            self.id = Some(include);
            return self.insert(path, if include { Rule::Keep } else { Rule::Drop }, false);
        }
        match (include, self.mode) {
            (true, Some(Mode::Exclusion)) => bail!(31253, "Cannot do inclusion on field {path} in exclusion projection"),
            (false, Some(Mode::Inclusion)) => bail!(31254, "Cannot do exclusion on field {path} in inclusion projection"),
            (true, _) => {
                self.mode = Some(Mode::Inclusion);
                self.insert(path, Rule::Keep, false)
            }
            (false, _) => {
                self.mode = Some(Mode::Exclusion);
                self.insert(path, Rule::Drop, false)
            }
        }
    }

    fn positional(&mut self, path: &str, include: bool) -> Result<()> {
        if !include {
            bail!(31395, "positional projection cannot be used with exclusion");
        }
        if self.elem_match {
            bail!(31256, "Cannot specify positional operator and $elemMatch.");
        }
        if self.positional {
            bail!(31276, "Cannot specify more than one positional projection per query.");
        }
        if self.mode == Some(Mode::Exclusion) {
            bail!(31253, "Cannot do inclusion on field {path}.$ in exclusion projection");
        }
        self.positional = true;
        self.mode = Some(Mode::Inclusion);
        self.insert(path, Rule::Keep, true)
    }

    fn object(&mut self, path: &str, spec: Doc<'_>) -> Result<()> {
        let Some(first) = spec.first() else {
            bail!(51270, "An empty sub-projection is not a valid value. Found empty object at path");
        };
        if !first.name().starts_with('$') || spec.len() > 1 {
            for element in spec {
                self.field(element.name(), element.value(), path)?;
            }
            return Ok(());
        }
        match first.name() {
            "$elemMatch" if self.find => {
                if self.positional {
                    bail!(31255, "Cannot specify positional operator and $elemMatch.");
                }
                let elem_match = ElemMatch::compile(path, first.value(), self.cx)?;
                self.elem_match = true;
                self.insert(path, Rule::ElemMatch(elem_match), false)
            }
            "$slice" if self.find && !self.is_positional(path) => match Slice::parse(first.value()) {
                Some(slice) => self.insert(path, Rule::Slice(slice), false),
                None => self.expression(path, spec),
            },
            "$elemMatch" => bail!(InvalidPipelineOperator, "Unrecognized expression '$elemMatch'"),
            "$meta" => {
                let expr = Expr::compile(Value::Document(spec), self.cx)?;
                // In a stage it is an expression as others are, in a find's projection it decides nothing.
                if !self.find && self.mode.is_none() {
                    self.mode = Some(Mode::Inclusion);
                }
                self.insert(path, Rule::Compute(expr), false)
            }
            _ => self.expression(path, spec),
        }
    }

    fn expression(&mut self, path: &str, spec: Doc<'_>) -> Result<()> {
        let name = spec.first().map_or("", |e| e.name());
        if !expr::operators().any(|(known, _)| known == name) {
            bail!(31325, "Unknown expression {name}");
        }
        if self.mode == Some(Mode::Exclusion) {
            bail!(31252, "Cannot use expression other than $meta in exclusion projection");
        }
        self.mode = Some(Mode::Inclusion);
        let expr = Expr::compile(Value::Document(spec), self.cx)?;
        self.insert(path, Rule::Compute(expr), false)
    }

    fn is_positional(&mut self, path: &str) -> bool {
        let mut at = &mut self.root;
        let (parents, name) = path.rsplit_once('.').map_or(("", path), |(p, n)| (p, n));
        for part in parents.split('.').filter(|p| !p.is_empty()) {
            match at.get_mut(part).map(|f| &mut f.rule) {
                Some(Rule::Nested(inner)) => at = inner,
                _ => return false,
            }
        }
        at.get_mut(name).is_some_and(|f| f.positional && !matches!(f.rule, Rule::Nested(_)))
    }

    /// Puts a rule at the end of a path; paths may not be or contain one another.
    fn insert(&mut self, path: &str, rule: Rule, positional: bool) -> Result<()> {
        let mut at = &mut self.root;
        let mut rest = path;
        while let Some((name, below)) = rest.split_once('.') {
            let index = match at.position(name) {
                Some(index) => index,
                None => at.push(Field { name: name.into(), rule: Rule::Nested(Fields::default()), positional: false }),
            };
            let Some(field) = at.fields.get_mut(index) else { return Ok(()) };
            field.positional |= positional;
            match &mut field.rule {
                Rule::Nested(inner) => at = inner,
                _ => bail!(31249, "Path collision at {path} remaining portion {below}"),
            }
            rest = below;
        }
        if at.position(rest).is_some() {
            bail!(31250, "Path collision at {path}");
        }
        at.push(Field { name: rest.into(), rule, positional });
        Ok(())
    }

    pub fn add_fields(mut self, spec: Doc<'_>) -> Result<Projection> {
        for element in spec {
            let path = element.name();
            check_path(path)?;
            if path.split('.').count() > MAX_DEPTH {
                bail!(Overflow, "FieldPath is too long: more than {MAX_DEPTH} components");
            }
            self.added(path, element.value())?;
        }
        Ok(Projection::new(Mode::Exclusion, self.root))
    }

    fn added(&mut self, path: &str, value: Value<'_>) -> Result<()> {
        let nested = match value {
            Value::Document(doc) => doc.first().filter(|e| !e.name().starts_with('$')).map(|_| doc),
            _ => None,
        };
        let Some(doc) = nested else {
            if value.as_doc().is_some_and(|d| d.len() > 1) {
                bail!(40181, "an expression specification must contain exactly one field, the name of the expression. Found {value:?}");
            }
            let expr = Expr::compile(value, self.cx)?;
            return self.insert(path, Rule::Compute(expr), false).map_err(|e| {
                smongo_bson::err!(40176, "specification contains two conflicting paths: {}", e.message())
            });
        };
        for element in doc {
            let name = element.name();
            if name.contains('.') {
                bail!(40183, "FieldPath field names may not contain '.' in a sub-object: {name}");
            }
            if name.starts_with('$') {
                bail!(40181, "an expression specification must contain exactly one field, the name of the expression: {name}");
            }
            check_path(name)?;
            self.added(&format!("{path}.{name}"), element.value())?;
        }
        Ok(())
    }
}

/// The rules of field paths.
fn check_path(path: &str) -> Result<()> {
    if path.is_empty() {
        bail!(40352, "FieldPath cannot be constructed with empty string");
    }
    if path.ends_with('.') {
        bail!(40353, "FieldPath must not end with a '.'.");
    }
    for part in path.split('.') {
        if part.is_empty() {
            bail!(15998, "FieldPath field names may not be empty strings.");
        }
        if part.starts_with('$') && !matches!(part, "$id" | "$ref" | "$db") {
            bail!(16410, "FieldPath field names may not start with '$'. Consider using $getField or $setField.");
        }
    }
    Ok(())
}
