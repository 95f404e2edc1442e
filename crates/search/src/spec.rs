//! Reading definitions and stages strictly: every field is known, of its type and within its bounds, or the error names it by its path.

use std::cell::RefCell;
use std::fmt::Display;
use std::ops::RangeInclusive;

use smongo_bson::{Array, Doc, Error, Result, Value, err, number};

/// A document that is read field by field. Null is as good as absent.
pub struct Spec<'a> {
    path: String,
    doc: Doc<'a>,
    read: RefCell<Vec<&'static str>>,
}

impl<'a> Spec<'a> {
    /// `path` is what stands before the names of fields in errors; empty at the top.
    pub fn new(path: impl Into<String>, doc: Doc<'a>) -> Spec<'a> {
        Spec { path: path.into(), doc, read: RefCell::default() }
    }

    /// The dotted path of a field.
    pub fn path(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }

    pub fn wrong(&self, name: &str, what: impl Display) -> Error {
        wrong(&self.path(name), what)
    }

    pub fn get(&self, name: &'static str) -> Option<Value<'a>> {
        self.read.borrow_mut().push(name);
        Some(self.doc.get(name)).filter(|v| !matches!(v, Value::Missing | Value::Null | Value::Undefined))
    }

    pub fn require<T>(&self, name: &str, value: Option<T>) -> Result<T> {
        value.ok_or_else(|| self.wrong(name, "is required"))
    }

    pub fn string(&self, name: &'static str) -> Result<Option<&'a str>> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::String(s)) => Ok(Some(s)),
            Some(_) => Err(self.wrong(name, "must be a string")),
        }
    }

    /// A string that says something.
    pub fn text(&self, name: &'static str) -> Result<Option<&'a str>> {
        match self.string(name)? {
            Some("") => Err(self.wrong(name, "cannot be empty")),
            other => Ok(other),
        }
    }

    pub fn bool(&self, name: &'static str) -> Result<Option<bool>> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::Bool(b)) => Ok(Some(b)),
            Some(_) => Err(self.wrong(name, "must be a boolean")),
        }
    }

    pub fn document(&self, name: &'static str) -> Result<Option<Doc<'a>>> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::Document(d)) => Ok(Some(d)),
            Some(_) => Err(self.wrong(name, "must be a document")),
        }
    }

    pub fn array(&self, name: &'static str) -> Result<Option<Array<'a>>> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::Array(a)) => Ok(Some(a)),
            Some(_) => Err(self.wrong(name, "must be an array")),
        }
    }

    /// A whole number, of whatever type but decimal.
    pub fn integer(&self, name: &'static str, bounds: RangeInclusive<i32>) -> Result<Option<i32>> {
        self.get(name).map(|value| integer(&self.path(name), value, bounds)).transpose()
    }

    pub fn one_of<T: Copy>(&self, name: &'static str, choices: &[(&str, T)]) -> Result<Option<T>> {
        let Some(text) = self.string(name)? else { return Ok(None) };
        match choices.iter().find(|(choice, _)| *choice == text) {
            Some((_, value)) => Ok(Some(*value)),
            None => {
                let names: Vec<&str> = choices.iter().map(|(choice, _)| *choice).collect();
                Err(self.wrong(name, format_args!("must be one of [{}]", names.join(", "))))
            }
        }
    }

    /// Fails when there is a field that nobody has read.
    pub fn finish(self) -> Result<()> {
        let read = self.read.into_inner();
        match self.doc.iter().find(|field| !read.contains(&field.name())) {
            None => Ok(()),
            Some(field) if self.path.is_empty() => Err(err!(UnknownError, "unrecognized field \"{}\"", field.name())),
            Some(field) => Err(wrong(&self.path, format_args!("unrecognized field \"{}\"", field.name()))),
        }
    }
}

pub fn wrong(path: &str, what: impl Display) -> Error {
    err!(UnknownError, "\"{path}\" {what}")
}

pub fn integer(path: &str, value: Value<'_>, bounds: RangeInclusive<i32>) -> Result<i32> {
    let exact = match value {
        Value::Int32(_) | Value::Int64(_) | Value::Double(_) => number::to_f64(value).filter(|x| x.fract() == 0.0 && x.is_finite()),
        _ => None,
    };
    let Some(exact) = exact else { return Err(wrong(path, "must be an integer")) };
    if exact > f64::from(i32::MAX) || exact < f64::from(i32::MIN) {
        return Err(wrong(path, "overflowed, must fit in a 32-bit integer"));
    }
    let whole = exact as i32;
    match (bounds.contains(&whole), *bounds.start(), *bounds.end()) {
        (true, ..) => Ok(whole),
        (_, 1, i32::MAX) => Err(wrong(path, "must be positive")),
        (_, 0, i32::MAX) => Err(wrong(path, "cannot be negative")),
        (_, least, most) => Err(wrong(path, format_args!("must be within bounds [{least}..{most}]"))),
    }
}
