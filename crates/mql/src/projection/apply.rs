//! Merging a projection over a document.

use smongo_bson::{Array, ArrayWriter, Doc, DocWriter, Element, Result, Value, bail};

use super::{Field, Fields, Mode, Rule};
use crate::arena::Arena;

/// One application.
pub(super) struct Run<'a> {
    pub mode: Mode,
    pub root: Doc<'a>,
    pub arena: &'a Arena,
    /// The array position the query matched.
    pub position: Option<usize>,
}

/// What came of an element of the document.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// Dealt with, here or by leaving it out.
    Done,
    /// A computed field takes its place behind the others.
    Later,
}

impl<'a> Run<'a> {
    /// Writes the fields of `doc` that remain, and those that are computed.
    pub fn document(&self, fields: &'a Fields, doc: Doc<'a>, w: &mut DocWriter<'_>) -> Result<()> {
        if self.mode == Mode::Exclusion {
            return self.keep_rest(fields, doc, w);
        }
        // Fields that need no further care once met; without computed ones the walk ends when all are.
        let mut left = fields.fields.len();
        let seen = self.seen(fields);
        for element in doc.iter() {
            if left == 0 {
                break;
            }
            let Some((index, field)) = fields.find(element.name_bytes()) else { continue };
            if self.existing(field, element, w)? == Outcome::Done {
                left -= 1;
                if let Some(seen) = seen.get(index) {
                    seen.set(true);
                }
            }
        }
        self.append(fields, seen, w)
    }

    /// Exclusion and `$addFields`: everything is copied but what is named.
    fn keep_rest(&self, fields: &'a Fields, doc: Doc<'a>, w: &mut DocWriter<'_>) -> Result<()> {
        let seen = self.seen(fields);
        let (body, mut copied, mut at, mut left) = (doc.body(), 0, 0, fields.fields.len());
        for element in doc.iter() {
            if left == 0 {
                break;
            }
            let end = at + element.raw().len();
            if let Some((index, field)) = fields.find(element.name_bytes()) {
                w.append_raw(body.get(copied..at).unwrap_or(&[]));
                copied = end;
                left -= 1;
                self.existing(field, element, w)?;
                if let Some(seen) = seen.get(index) {
                    seen.set(true);
                }
            }
            at = end;
        }
        w.append_raw(body.get(copied..).unwrap_or(&[]));
        self.append(fields, seen, w)
    }

    fn seen(&self, fields: &Fields) -> &'a [std::cell::Cell<bool>] {
        if fields.computes {
            self.arena.bump().alloc_slice_fill_with(fields.fields.len(), |_| std::cell::Cell::new(false))
        } else {
            &[]
        }
    }

    /// Computed fields that were not written in their place.
    fn append(&self, fields: &'a Fields, seen: &[std::cell::Cell<bool>], w: &mut DocWriter<'_>) -> Result<()> {
        for (field, _) in fields.fields.iter().zip(seen).filter(|(_, seen)| !seen.get()) {
            match &field.rule {
                Rule::Compute(expr) => {
                    w.append(&field.name, expr.eval_doc(self.root, self.arena)?);
                }
                Rule::ElemMatch(of) if self.mode == Mode::Inclusion => {
                    w.append(&field.name, of.eval(self.root, self.arena)?);
                }
                Rule::Nested(inner) if inner.computes => self.fresh(inner, &mut w.document(&field.name))?,
                _ => {}
            }
        }
        Ok(())
    }

    /// The document that computed fields make where there is none.
    fn fresh(&self, fields: &'a Fields, w: &mut DocWriter<'_>) -> Result<()> {
        self.append(fields, self.seen(fields), w)
    }

    fn existing(&self, field: &'a Field, element: Element<'a>, w: &mut DocWriter<'_>) -> Result<Outcome> {
        if field.positional
            && let Value::Array(array) = element.value()
        {
            return self.matched(field, array, w);
        }
        match &field.rule {
            Rule::Keep => {
                w.append_element(&element);
            }
            Rule::Drop => {}
            Rule::Nested(inner) => return self.nested(inner, element, w),
            Rule::Compute(expr) if self.mode == Mode::Exclusion => {
                w.append(&field.name, expr.eval_doc(self.root, self.arena)?);
            }
            Rule::ElemMatch(of) if self.mode == Mode::Exclusion => {
                w.append(&field.name, of.eval(self.root, self.arena)?);
            }
            Rule::Compute(_) | Rule::ElemMatch(_) => return Ok(Outcome::Later),
            Rule::Slice(slice) => match element.value() {
                Value::Array(array) => slice.write(array, &mut w.array(&field.name)),
                _ => {
                    w.append_element(&element);
                }
            },
        }
        Ok(Outcome::Done)
    }

    fn nested(&self, fields: &'a Fields, element: Element<'a>, w: &mut DocWriter<'_>) -> Result<Outcome> {
        let name = element.name();
        match element.value() {
            Value::Document(doc) => self.document(fields, doc, &mut w.document(name))?,
            Value::Array(array) => self.array(fields, array, &mut w.array(name))?,
            _ if fields.computes => self.fresh(fields, &mut w.document(name))?,
            _ if self.mode == Mode::Exclusion => {
                w.append_element(&element);
            }
            _ => {}
        }
        Ok(Outcome::Done)
    }

    /// Fields below an array apply to each of its documents, at any depth of arrays.
    fn array(&self, fields: &'a Fields, array: Array<'a>, w: &mut ArrayWriter<'_>) -> Result<()> {
        for element in array.elements() {
            match element.value() {
                Value::Document(doc) => self.document(fields, doc, &mut w.document())?,
                Value::Array(inner) => self.array(fields, inner, &mut w.array())?,
                _ if fields.computes => self.fresh(fields, &mut w.document())?,
                _ if self.mode == Mode::Exclusion => {
                    w.push_element(&element);
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// The positional `$`: of the first array on the path only the element by which the query matched.
    fn matched(&self, field: &'a Field, array: Array<'a>, w: &mut DocWriter<'_>) -> Result<Outcome> {
        let Some(position) = self.position else {
            bail!(51246, "Executor error during find command :: caused by :: positional operator '.$' couldn't find a matching element in the array");
        };
        let Some(element) = array.elements().nth(position) else {
            bail!(51247, "Executor error during find command :: caused by :: positional operator '.$' element mismatch");
        };
        let mut out = w.array(&field.name);
        match (&field.rule, element.value()) {
            (Rule::Nested(inner), Value::Document(doc)) => {
                let rest = Run { position: None, ..*self };
                rest.unpositioned(inner, doc, &mut out.document())?;
            }
            _ => {
                out.push_element(&element);
            }
        }
        Ok(Outcome::Done)
    }

    /// Below the array that was cut down, the path includes whole values.
    fn unpositioned(&self, fields: &'a Fields, doc: Doc<'a>, w: &mut DocWriter<'_>) -> Result<()> {
        for element in doc.iter() {
            match fields.find(element.name_bytes()) {
                Some((_, Field { rule: Rule::Nested(inner), positional: true, .. })) => match element.value() {
                    Value::Document(doc) => self.unpositioned(inner, doc, &mut w.document(element.name()))?,
                    _ => {
                        w.append_element(&element);
                    }
                },
                Some((_, field)) if field.positional => {
                    w.append_element(&element);
                }
                Some((_, field)) => {
                    self.existing(field, element, w)?;
                }
                None => {}
            }
        }
        Ok(())
    }
}
