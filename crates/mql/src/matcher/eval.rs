//! Nodes against documents.

use smongo_bson::compare::Collator;
use smongo_bson::path::Path;
use smongo_bson::{Doc, Element, Error, Result, Value, number};

use super::walk::{plain, walk};
use super::{CompareOp, Node, TypeSet};
use crate::arena::Arena;
use crate::collation::Collation;
use crate::cx::Cx;
use crate::regex::Regex;

/// The place of a predicate's kind among the conditions of an `$and`.
fn rank(node: &Node) -> u8 {
    match node {
        Node::ElemMatchObject { .. } => 1,
        Node::ElemMatchValue { .. } => 2,
        Node::Compare { op: CompareOp::Eq, .. } => 4,
        Node::Compare { op: CompareOp::Lte, .. } => 5,
        Node::Compare { op: CompareOp::Lt, .. } => 6,
        Node::Compare { op: CompareOp::Gt, .. } => 7,
        Node::Compare { op: CompareOp::Gte, .. } => 8,
        Node::Regex { .. } => 9,
        Node::Mod { .. } => 10,
        Node::In { .. } => 12,
        _ => 13,
    }
}

/// Whether an `$or` means one `$in`: only then does its match have a position.
fn alternatives(children: &[Node]) -> bool {
    fn path(n: &Node) -> Option<&Path> {
        match n {
            Node::Compare { path, op: CompareOp::Eq, .. } | Node::In { path, .. } | Node::Regex { path, .. } => Some(path),
            _ => None,
        }
    }
    let Some(first) = children.first().and_then(path) else { return false };
    children.iter().all(|c| path(c).is_some_and(|p| p == first))
}

/// One evaluation of a filter.
pub(super) struct Eval<'r> {
    arena: &'r Arena,
    collator: Option<&'r dyn Collator>,
    /// Whether positions are asked for.
    positional: bool,
    /// Where the last predicate that matched through an array did so.
    pub position: Option<u32>,
}

impl<'r> Eval<'r> {
    pub fn new(arena: &'r Arena, collation: Option<&'r Collation>) -> Eval<'r> {
        Eval { arena, collator: collation.map(|c| c as &dyn Collator), positional: false, position: None }
    }

    /// One that finds out the position, too.
    pub fn positional(arena: &'r Arena, collation: Option<&'r Collation>) -> Eval<'r> {
        Eval { positional: true, ..Eval::new(arena, collation) }
    }

    pub fn node(&mut self, node: &Node, doc: Doc<'_>) -> Result<bool> {
        match node {
            Node::And(children) => self.all(children, doc),
            Node::Or(children) if !self.positional || alternatives(children) => self.any(children, doc),
            Node::Or(children) => self.silently(|ev| ev.any(children, doc)),
            Node::Nor(children) => Ok(!self.silently(|ev| ev.any(children, doc))?),
            Node::Not(child) => Ok(!self.silently(|ev| ev.node(child, doc))?),
            Node::Compare { path, op, value, test } => {
                let collator = self.collator;
                Ok(self.field(path, doc, true, |e| test.matches(*op, value, e, collator)))
            }
            Node::In { path, values, regexes, set } => {
                let collator = self.collator;
                self.fallible(path, doc, |e| Ok(set.contains(values, e, collator) || any_regex(regexes, e)?))
            }
            Node::Exists { path } => Ok(self.field(path, doc, false, |e| e.is_some())),
            Node::Type { path, types } => Ok(self.field(path, doc, true, |e| has_type(*types, e))),
            Node::Regex { path, regex } => self.fallible(path, doc, |e| regex_matches(regex, e)),
            Node::Size { path, size } => Ok(self.field(path, doc, false, |e| has_size(*size, e))),
            Node::Mod { path, divisor, remainder } => Ok(self.field(path, doc, true, |e| has_remainder(*divisor, *remainder, e))),
            Node::Bits { path, op, test } => Ok(self.field(path, doc, true, |e| test.matches(*op, e))),
            Node::ElemMatchObject { path, filter } => self.elem_match(path, doc, filter, Eval::object_element),
            Node::ElemMatchValue { path, filter } => self.elem_match(path, doc, filter, Eval::value),
            Node::Expr(expr) => {
                let cx = Cx::new(self.arena, doc, expr.slots());
                Ok(expr.eval(&cx)?.truthy())
            }
            Node::Field { path, test } => Ok(self.field(path, doc, test.expands(), |e| e.is_some_and(|e| test.matches(e.value())))),
            Node::Near(near) => Ok(near.distance(doc).is_some()),
            Node::Opaque(predicate) => predicate.matches(doc, self.arena),
            Node::Text(_) | Node::Implied { .. } => Ok(true),
            Node::AlwaysFalse => Ok(false),
        }
    }

    /// All children; the position is that of the one MongoDB's order of predicates puts last.
    fn all(&mut self, children: &[Node], doc: Doc<'_>) -> Result<bool> {
        if !self.positional {
            return self.all_plain(children, doc);
        }
        let outer = self.position;
        let mut last: Option<(u8, u32)> = None;
        for child in children {
            self.position = None;
            if !self.node(child, doc)? {
                self.position = outer;
                return Ok(false);
            }
            if let Some(position) = self.position {
                let rank = rank(child);
                if last.is_none_or(|(r, _)| rank >= r) {
                    last = Some((rank, position));
                }
            }
        }
        self.position = last.map(|(_, p)| p).or(outer);
        Ok(true)
    }

    /// The same where no position is wanted. Comparisons of one path beside each other, such as the ends of a range,
    /// share one look at the document.
    fn all_plain(&mut self, children: &[Node], doc: Doc<'_>) -> Result<bool> {
        let mut shared: Option<(&Path, std::result::Result<Option<Element<'_>>, ()>)> = None;
        for child in children {
            let Node::Compare { path, op, value, test } = child else {
                if !self.node(child, doc)? {
                    return Ok(false);
                }
                continue;
            };
            if !shared.as_ref().is_some_and(|(p, _)| *p == path) {
                shared = Some((path, plain(doc, path.parts())));
            }
            let found = match &shared {
                Some((_, Ok(e))) => test.matches(*op, value, e.as_ref(), self.collator),
                _ => self.node(child, doc)?,
            };
            if !found {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn any(&mut self, children: &[Node], doc: Doc<'_>) -> Result<bool> {
        for child in children {
            if self.node(child, doc)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// What matches under a negation says nothing of a position.
    fn silently(&mut self, run: impl FnOnce(&mut Self) -> Result<bool>) -> Result<bool> {
        let position = self.position;
        let found = run(self);
        self.position = position;
        found
    }

    #[inline]
    fn field(&mut self, path: &Path, doc: Doc<'_>, expand: bool, mut test: impl FnMut(Option<&Element<'_>>) -> bool) -> bool {
        let mut at = None;
        let found = walk(doc, path.parts(), expand, &mut |e, pos| {
            at = pos;
            test(e)
        });
        if self.positional && found && at.is_some() {
            self.position = at;
        }
        found
    }

    /// Like `field` for tests that can fail; the first failure ends the walk.
    fn fallible(&mut self, path: &Path, doc: Doc<'_>, mut test: impl FnMut(Option<&Element<'_>>) -> Result<bool>) -> Result<bool> {
        let mut failure: Option<Error> = None;
        let found = self.field(path, doc, true, |e| match test(e) {
            Ok(found) => found,
            Err(e) => {
                failure = Some(e);
                true
            }
        });
        failure.map_or(Ok(found), Err)
    }

    /// `$elemMatch`: whether an element of an array at the path passes; the position is the element's unless the path
    /// went through another array.
    fn elem_match(
        &mut self,
        path: &Path,
        doc: Doc<'_>,
        filter: &Node,
        test: fn(&mut Self, &Node, &Element<'_>) -> Result<bool>,
    ) -> Result<bool> {
        let outer = self.position;
        let mut at = None;
        let mut failure = None;
        let found = walk(doc, path.parts(), false, &mut |e, pos| {
            let Some(array) = e.filter(|e| e.tag() == 4) else { return false };
            for (e, index) in Doc::from_checked(array.value_bytes()).iter().zip(0u32..) {
                match test(self, filter, &e) {
                    Ok(false) => {}
                    Ok(true) => {
                        at = pos.or(Some(index));
                        return true;
                    }
                    Err(e) => {
                        failure = Some(e);
                        return true;
                    }
                }
            }
            false
        });
        self.position = if found { at } else { outer };
        failure.map_or(Ok(found), Err)
    }

    fn object_element(&mut self, filter: &Node, e: &Element<'_>) -> Result<bool> {
        if matches!(e.tag(), 3 | 4) { self.node(filter, Doc::from_checked(e.value_bytes())) } else { Ok(false) }
    }

    /// A filter of `$elemMatch` over values against one element; paths mean nothing here.
    fn value(&mut self, filter: &Node, e: &Element<'_>) -> Result<bool> {
        let some = Some(e);
        Ok(match filter {
            Node::And(children) => {
                for child in children {
                    if !self.value(child, e)? {
                        return Ok(false);
                    }
                }
                true
            }
            Node::Or(children) | Node::Nor(children) => {
                let mut found = false;
                for child in children {
                    found = found || self.value(child, e)?;
                }
                found != matches!(filter, Node::Nor(_))
            }
            Node::Not(child) => !self.value(child, e)?,
            Node::Compare { op, value, test, .. } => test.matches(*op, value, some, self.collator),
            Node::In { values, regexes, set, .. } => set.contains(values, some, self.collator) || any_regex(regexes, some)?,
            Node::Exists { .. } => true,
            Node::Type { types, .. } => has_type(*types, some),
            Node::Regex { regex, .. } => regex_matches(regex, some)?,
            Node::Size { size, .. } => has_size(*size, some),
            Node::Mod { divisor, remainder, .. } => has_remainder(*divisor, *remainder, some),
            Node::Bits { op, test, .. } => test.matches(*op, some),
            Node::ElemMatchObject { filter, .. } => self.any_element(filter, e, Eval::object_element)?,
            Node::ElemMatchValue { filter, .. } => self.any_element(filter, e, Eval::value)?,
            Node::Field { test, .. } => test.matches(e.value()),
            Node::Expr(_) | Node::Implied { .. } | Node::Near(_) | Node::Text(_) | Node::Opaque(_) | Node::AlwaysFalse => false,
        })
    }

    fn any_element(&mut self, filter: &Node, e: &Element<'_>, test: fn(&mut Self, &Node, &Element<'_>) -> Result<bool>) -> Result<bool> {
        if e.tag() != 4 {
            return Ok(false);
        }
        for e in Doc::from_checked(e.value_bytes()) {
            if test(self, filter, &e)? {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

fn has_type(types: TypeSet, e: Option<&Element<'_>>) -> bool {
    e.is_some_and(|e| types.contains(e.tag()))
}

fn has_size(size: i64, e: Option<&Element<'_>>) -> bool {
    e.is_some_and(|e| e.tag() == 4 && Doc::from_checked(e.value_bytes()).len() as i64 == size)
}

/// Numbers are truncated to 64-bit integers; NaN, infinities and what does not fit match nothing.
fn has_remainder(divisor: i64, remainder: i64, e: Option<&Element<'_>>) -> bool {
    let Some(e) = e else { return false };
    let dividend = match e.value() {
        Value::Int32(n) => i64::from(n),
        Value::Int64(n) => n,
        v @ (Value::Double(_) | Value::Decimal(_)) => match truncated(v) {
            Some(n) => n,
            None => return false,
        },
        _ => return false,
    };
    // i64::MIN % -1 overflows in hardware; mathematically it is 0.
    dividend.checked_rem(divisor).unwrap_or(0) == remainder
}

/// A number cut towards zero, when the result is a 64-bit integer.
pub(super) fn truncated(v: Value<'_>) -> Option<i64> {
    match v {
        Value::Int32(n) => Some(n.into()),
        Value::Int64(n) => Some(n),
        Value::Double(d) => {
            let t = d.trunc();
            // The bounds are exact doubles: -2^63 and 2^63.
            (-9_223_372_036_854_775_808.0..9_223_372_036_854_775_808.0).contains(&t).then_some(t as i64)
        }
        Value::Decimal(d) => d.to_i64_trunc(),
        _ => number::to_i64_exact(v),
    }
}

fn regex_matches(regex: &Regex, e: Option<&Element<'_>>) -> Result<bool> {
    let Some(e) = e.filter(|e| matches!(e.tag(), 2 | 11 | 14)) else { return Ok(false) };
    match e.value() {
        Value::String(s) | Value::Symbol(s) => regex.is_match(s),
        Value::Regex(r) => Ok(regex.equals(r)),
        _ => Ok(false),
    }
}

fn any_regex(regexes: &[Regex], e: Option<&Element<'_>>) -> Result<bool> {
    for regex in regexes {
        if regex_matches(regex, e)? {
            return Ok(true);
        }
    }
    Ok(false)
}
