//! One walk over a document that copies what an update does not touch and writes what it does.

use smongo_bson::compare::Collator;
use smongo_bson::write::append_field;
use smongo_bson::{Array, Doc, Element, Error, Result, Value, bail, err};

use super::delta::{Level, close, header, open};
use super::ops::{At, New};
use crate::matcher::ElementMatcher;
use super::tree::{Child, Elements, Fields, Leaf, Node};
use crate::arena::Arena;

/// An array may grow by at most this many nulls when a position beyond its end is set.
const MAX_PADDING: usize = 1_500_000;

/// The state of one walk.
pub(super) struct Walk<'a> {
    pub root: Doc<'a>,
    pub arena: &'a Arena,
    pub filters: &'a [ElementMatcher],
    pub collator: Option<&'a dyn Collator>,
    /// The document is about to be inserted by an upsert.
    pub insert: bool,
    /// The array position the query matched, for `$`.
    pub position: Option<usize>,
    /// Source values of `$rename`, by number.
    pub renames: &'a [Value<'a>],
    pub out: Vec<u8>,
    /// Whether the delta is wanted.
    pub record: bool,
    /// Cleared levels for reuse.
    pub spare: Vec<Level>,
}

/// What [`Walk::leaf`] wrote in place of an element.
enum Written {
    /// Nothing: the element is to be copied.
    Same,
    /// Nothing: the element goes.
    Nothing,
    Value,
    /// The array with new elements from this position on.
    Grown(usize),
}

impl<'a> Walk<'a> {
    fn at<'x>(&self, name: &'x str) -> At<'x>
    where
        'a: 'x,
    {
        At { arena: self.arena, root: self.root, name, insert: self.insert, renames: self.renames, collator: self.collator }
    }

    /// Writes `doc` with the changes of `fields` to `out`; says whether anything changed. `top`: it is the whole document.
    pub fn document(&mut self, fields: &Fields, doc: Doc<'a>, level: &mut Level, top: bool) -> Result<bool> {
        if fields.positional.is_some() {
            let fields = self.resolve(fields)?;
            return self.document(&fields, doc, level, top);
        }
        let start = open(&mut self.out);
        let children = &fields.children;
        let seen = self.arena.bump().alloc_slice_fill_copy(children.len(), false);
        let mut left = children.len();
        let mut changed = false;
        let (body, mut copied, mut at) = (doc.body(), 0, 0);
        for element in doc.iter() {
            let end = at + element.raw().len();
            let name = element.name_bytes();
            let found = position(children, name).filter(|at| seen.get(*at) == Some(&false));
            if let Some((child, seen)) = found.and_then(|at| Some((children.get(at)?, seen.get_mut(at)?))) {
                *seen = true;
                left -= 1;
                self.out.extend_from_slice(body.get(copied..at).unwrap_or(&[]));
                changed |= self.existing(&child.node, &child.name, element, level, top)?;
                copied = end;
                if left == 0 {
                    break;
                }
            }
            at = end;
        }
        self.out.extend_from_slice(body.get(copied..).unwrap_or(&[]));
        if left > 0 {
            for (child, _) in children.iter().zip(seen.iter()).filter(|(_, seen)| !**seen) {
                changed |= self.create(child, level, top)?;
            }
        }
        close(&mut self.out, start);
        Ok(changed)
    }

    /// A field that exists: its node may replace, change or remove it.
    fn existing(&mut self, node: &Node, name: &str, element: Element<'a>, level: &mut Level, top: bool) -> Result<bool> {
        match node {
            Node::Leaf(leaf) => {
                let start = self.out.len();
                let written = self.leaf(leaf, name, element, top)?;
                match written {
                    Written::Same => {
                        self.out.extend_from_slice(element.raw());
                        return Ok(false);
                    }
                    Written::Nothing if self.record => level.delete(name),
                    Written::Value if self.record => level.update(self.out.get(start..).unwrap_or(&[])),
                    Written::Grown(from) if self.record => self.grown(name, start, from, level),
                    _ => {}
                }
                Ok(true)
            }
            Node::Fields(fields) => match element.value() {
                Value::Document(doc) => self.nested(name, false, level, |walk, sub| walk.document(fields, doc, sub, false)),
                Value::Array(array) => self.nested(name, true, level, |walk, sub| walk.positions(fields, name, array, sub)),
                _ => self.not_viable(fields, element),
            },
            Node::Elements(elements) => match element.value() {
                Value::Array(array) => self.nested(name, true, level, |walk, sub| walk.elements(elements, array, sub)),
                _ => bail!(BadValue, "Cannot apply array updates to non-array element {}", show(element)),
            },
        }
    }

    /// Applies an operator to an existing element and writes what becomes of it.
    fn leaf(&mut self, leaf: &Leaf, name: &str, element: Element<'a>, top: bool) -> Result<Written> {
        let start = self.out.len();
        let new = leaf.op.apply(element.value(), &self.at(name))?;
        let written = match new {
            New::Keep => return Ok(Written::Same),
            New::Remove => return Ok(Written::Nothing),
            New::Put(value) => {
                append_field(&mut self.out, name.as_bytes(), value);
                Written::Value
            }
            New::Grow(array, from) => {
                append_field(&mut self.out, name.as_bytes(), Value::Array(array));
                Written::Grown(from)
            }
        };
        if self.out.get(start..) == Some(element.raw()) {
            self.out.truncate(start);
            return Ok(Written::Same);
        }
        if top && !self.insert {
            storable(name)?;
        }
        Ok(written)
    }

    /// Records the new elements of the array that was written at `start`.
    fn grown(&mut self, name: &str, start: usize, from: usize, level: &mut Level) {
        let mut sub = self.spare.pop().unwrap_or_default();
        let value = self.out.get(start + name.len() + 2..).unwrap_or(&[]);
        for (index, element) in Doc::from_checked(value).iter().enumerate().skip(from) {
            sub.element(index, element.raw());
        }
        level.nest(name, &sub, true);
        sub.clear();
        self.spare.push(sub);
    }

    fn nested(
        &mut self,
        name: &str,
        array: bool,
        level: &mut Level,
        fill: impl FnOnce(&mut Self, &mut Level) -> Result<bool>,
    ) -> Result<bool> {
        header(&mut self.out, if array { 4 } else { 3 }, name);
        let mut sub = self.spare.pop().unwrap_or_default();
        let changed = fill(self, &mut sub)?;
        if changed && self.record {
            level.nest(name, &sub, array);
        }
        sub.clear();
        self.spare.push(sub);
        Ok(changed)
    }

    /// Fields named below what is neither document nor array.
    fn not_viable(&mut self, fields: &Fields, element: Element<'a>) -> Result<bool> {
        let resolved;
        let fields = if fields.positional.is_some() {
            resolved = self.resolve(fields)?;
            &resolved
        } else {
            fields
        };
        for child in &fields.children {
            self.blocked(&child.node, &|| format!("Cannot create field '{}' in element {}", child.name, show(element)))?;
        }
        self.out.extend_from_slice(element.raw());
        Ok(false)
    }

    /// Fails where a node's path cannot be made, unless there is nothing to make. That array updates need their path and that `$` needs a
    /// match comes first: it is found out on the way to what would be made.
    fn blocked(&self, node: &Node, why: &dyn Fn() -> String) -> Result<()> {
        match node {
            Node::Leaf(leaf) if leaf.op.insists(&self.at("")) => bail!(PathNotViable, "{}", why()),
            Node::Leaf(_) => Ok(()),
            Node::Fields(fields) if fields.positional.is_some() => self.blocked(&Node::Fields(self.resolve(fields)?), why),
            Node::Fields(fields) => fields.children.iter().try_for_each(|c| self.blocked(&c.node, why)),
            Node::Elements(_) => self.creates(node).map(|_| ()),
        }
    }

    /// Whether a node makes something where nothing is.
    fn creates(&self, node: &Node) -> Result<bool> {
        Ok(match node {
            Node::Leaf(leaf) => leaf.op.creates(&self.at("")),
            Node::Fields(fields) => {
                if fields.positional.is_some() {
                    let fields = self.resolve(fields)?;
                    return self.creates(&Node::Fields(fields));
                }
                for child in &fields.children {
                    if self.creates(&child.node)? {
                        return Ok(true);
                    }
                }
                false
            }
            Node::Elements(_) => {
                let path = node.any_path();
                let end = path.find(".$[").unwrap_or(path.len());
                let path = path.get(..end).unwrap_or(path);
                bail!(BadValue, "The path '{path}' must exist in the document in order to apply array updates.")
            }
        })
    }

    /// A field that does not exist, at the end of a document.
    fn create(&mut self, child: &Child, level: &mut Level, top: bool) -> Result<bool> {
        if !self.creates(&child.node)? {
            return Ok(false);
        }
        let start = self.out.len();
        self.make(&child.node, &child.name)?;
        if top && !self.insert {
            storable(&child.name)?;
        }
        if self.record {
            level.insert(self.out.get(start..).unwrap_or(&[]));
        }
        Ok(true)
    }

    /// Writes a new element.
    fn make(&mut self, node: &Node, name: &str) -> Result<()> {
        match node {
            Node::Leaf(leaf) => {
                let new = leaf.op.apply(Value::Missing, &self.at(name))?;
                if let New::Put(value) = new {
                    append_field(&mut self.out, name.as_bytes(), value);
                }
            }
            Node::Fields(fields) => {
                let resolved;
                let fields = if fields.positional.is_some() {
                    resolved = self.resolve(fields)?;
                    &resolved
                } else {
                    fields
                };
                header(&mut self.out, 3, name);
                let start = open(&mut self.out);
                for child in &fields.children {
                    if self.creates(&child.node)? {
                        self.make(&child.node, &child.name)?;
                    }
                }
                close(&mut self.out, start);
            }
            Node::Elements(_) => {
                self.creates(node)?;
            }
        }
        Ok(())
    }

    /// Fields over an array: their names are positions.
    fn positions(&mut self, fields: &Fields, array_name: &str, array: Array<'a>, level: &mut Level) -> Result<bool> {
        if fields.positional.is_some() {
            let fields = self.resolve(fields)?;
            return self.positions(&fields, array_name, array, level);
        }
        for child in fields.children.iter().filter(|c| c.index.is_none()) {
            self.blocked(&child.node, &|| format!("Cannot create field '{}' in element {{{array_name}: {array}}}", child.name))?;
        }
        let mut children = fields.children.iter().filter_map(|c| Some((c.index? as usize, c))).peekable();
        let start = open(&mut self.out);
        let (mut changed, mut count) = (false, 0);
        for (index, element) in array.elements().enumerate() {
            count = index + 1;
            match children.next_if(|(at, _)| *at == index) {
                Some((_, child)) => changed |= self.element(&child.node, index, element, level)?,
                None => self.out.extend_from_slice(element.raw()),
            }
        }
        for (index, child) in children {
            changed |= self.extend(&mut count, index, child, level)?;
        }
        close(&mut self.out, start);
        Ok(changed)
    }

    /// Sets a position at or behind the end of an array of `count` elements, which nulls fill up to there.
    fn extend(&mut self, count: &mut usize, index: usize, child: &Child, level: &mut Level) -> Result<bool> {
        if !self.creates(&child.node)? {
            return Ok(false);
        }
        if index - *count > MAX_PADDING {
            bail!(CannotBackfillArray, "unable to backfill array to larger than {MAX_PADDING} elements");
        }
        while *count < index {
            let start = self.out.len();
            append_field(&mut self.out, count.to_string().as_bytes(), Value::Null);
            if self.record {
                level.element(*count, self.out.get(start..).unwrap_or(&[]));
            }
            *count += 1;
        }
        let start = self.out.len();
        self.make(&child.node, &child.name)?;
        if self.record {
            level.element(index, self.out.get(start..).unwrap_or(&[]));
        }
        *count = index + 1;
        Ok(true)
    }

    /// An existing array element: what removes it leaves null.
    fn element(&mut self, node: &Node, index: usize, element: Element<'a>, level: &mut Level) -> Result<bool> {
        let Node::Leaf(leaf) = node else { return self.existing(node, element.name(), element, level, false) };
        let start = self.out.len();
        match self.leaf(leaf, element.name(), element, false)? {
            Written::Same => self.out.extend_from_slice(element.raw()),
            Written::Nothing => append_field(&mut self.out, element.name_bytes(), Value::Null),
            Written::Value | Written::Grown(_) => {}
        }
        let written = self.out.get(start..).unwrap_or(&[]);
        if written == element.raw() {
            return Ok(false);
        }
        if self.record {
            level.element(index, written);
        }
        Ok(true)
    }

    /// `$[]` and `$[identifier]` over an array.
    fn elements(&mut self, elements: &Elements, array: Array<'a>, level: &mut Level) -> Result<bool> {
        let start = open(&mut self.out);
        let mut changed = false;
        for (index, element) in array.elements().enumerate() {
            let mut merged: Option<Node> = None;
            let mut chosen: Option<&Node> = elements.all.as_deref();
            for (filter, node) in &elements.filtered {
                let filter = self.filters.get(*filter).ok_or_else(lost_filter)?;
                if !filter.matches(element.value(), self.arena)? {
                    continue;
                }
                match merged.as_ref().or(chosen) {
                    Some(before) => merged = Some(before.merge(node)?),
                    None => chosen = Some(node),
                }
            }
            match merged.as_ref().or(chosen) {
                Some(node) => changed |= self.element(node, index, element, level)?,
                None => self.out.extend_from_slice(element.raw()),
            }
        }
        close(&mut self.out, start);
        Ok(changed)
    }

    /// Gives the positional `$` the name the query's match gave it.
    fn resolve(&self, fields: &Fields) -> Result<Fields> {
        let mut resolved = Fields { children: fields.children.clone(), positional: None };
        let Some(node) = fields.positional.as_deref() else { return Ok(resolved) };
        let Some(position) = self.position else {
            bail!(BadValue, "The positional operator did not find the match needed from the query.");
        };
        let child = Child::new(&position.to_string(), node.clone());
        match resolved.children.binary_search_by(|c| super::tree::order(&c.name, &child.name)) {
            Ok(found) => {
                if let Some(mine) = resolved.children.get_mut(found) {
                    mine.node = mine.node.merge(&child.node)?;
                }
            }
            Err(place) => resolved.children.insert(place, child),
        }
        Ok(resolved)
    }
}

/// The place of a child, by its name.
fn position(children: &[Child], name: &[u8]) -> Option<usize> {
    const FEW: usize = 16;
    if children.len() <= FEW {
        return children.iter().position(|c| c.name.as_bytes() == name);
    }
    let name = std::str::from_utf8(name).ok()?;
    children.binary_search_by(|c| super::tree::order(&c.name, name)).ok()
}

fn lost_filter() -> Error {
    err!(InternalError, "an array filter is gone")
}

/// Refuses names the top level of a stored document cannot have.
pub(super) fn storable(name: &str) -> Result<()> {
    if name.starts_with('$') {
        bail!(
            DollarPrefixedFieldName,
            "The dollar ($) prefixed field '{name}' in '{name}' is not allowed in the context of an update's replacement document. Consider using an aggregation pipeline with $replaceWith."
        );
    }
    Ok(())
}

/// An element as `{name: value}`, for messages.
fn show(element: Element<'_>) -> String {
    format!("{{{element}}}")
}
