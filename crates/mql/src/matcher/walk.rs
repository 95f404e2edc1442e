//! Paths over raw elements, with MongoDB's fan-out over arrays and the position of the outermost array element.
//!
//! The same visits as [`smongo_bson::path::walk`], but generic over the visitor (so that a leaf test is inlined into the
//! walk) and over undecoded elements.

use smongo_bson::path::Part;
use smongo_bson::{Doc, Element};

/// Visits the elements a predicate on `path` looks at, `None` where the path leads nowhere. The second argument is the
/// position in the outermost array that was fanned out. Stops when `visit` answers true, and answers whether it did.
pub(super) fn walk<'a, F>(doc: Doc<'a>, path: &[Part], expand_last: bool, visit: &mut F) -> bool
where
    F: FnMut(Option<&Element<'a>>, Option<u32>) -> bool,
{
    in_doc(doc, path, expand_last, None, visit)
}

#[inline]
fn in_doc<'a, F>(doc: Doc<'a>, path: &[Part], expand_last: bool, pos: Option<u32>, visit: &mut F) -> bool
where
    F: FnMut(Option<&Element<'a>>, Option<u32>) -> bool,
{
    let mut doc = doc;
    let mut path = path;
    while let Some((part, rest)) = path.split_first() {
        let Some(e) = doc.element(&part.name) else { return visit(None, pos) };
        match (e.tag(), rest.is_empty()) {
            (4, true) if expand_last => return leaf_array(&e, pos, visit),
            (_, true) => return visit(Some(&e), pos),
            (3, false) => {
                doc = Doc::from_checked(e.value_bytes());
                path = rest;
            }
            (4, false) => return in_array(Doc::from_checked(e.value_bytes()), rest, expand_last, pos, visit),
            _ => return visit(None, pos),
        }
    }
    visit(None, pos)
}

/// An array at the end of a path: its elements, then the array itself.
fn leaf_array<'a, F>(array: &Element<'a>, pos: Option<u32>, visit: &mut F) -> bool
where
    F: FnMut(Option<&Element<'a>>, Option<u32>) -> bool,
{
    let mut index = 0;
    for e in Doc::from_checked(array.value_bytes()) {
        if visit(Some(&e), pos.or(Some(index))) {
            return true;
        }
        index += 1;
    }
    visit(Some(array), pos)
}

/// An array on the way: every document in it with the rest of the path, and the element the next part numbers.
fn in_array<'a, F>(array: Doc<'a>, path: &[Part], expand_last: bool, pos: Option<u32>, visit: &mut F) -> bool
where
    F: FnMut(Option<&Element<'a>>, Option<u32>) -> bool,
{
    let Some((part, rest)) = path.split_first() else { return false };
    let mut index = 0;
    for e in array {
        let here = pos.or(Some(index));
        let inner = Doc::from_checked(e.value_bytes());
        if e.tag() == 3 && in_doc(inner, path, expand_last, here, visit) {
            return true;
        }
        if part.index == Some(index) {
            // An element that is named is not one that was found: it gives no position.
            let found = match (rest.is_empty(), e.tag()) {
                (true, _) => visit(Some(&e), pos),
                (false, 3) => in_doc(inner, rest, expand_last, pos, visit),
                (false, 4) => in_array(inner, rest, expand_last, pos, visit),
                _ => false,
            };
            if found {
                return true;
            }
        }
        index += 1;
    }
    false
}

/// The one element a path leads to when no array lies on it: `Err` when one does and only [`walk`] tells.
#[inline]
pub(super) fn plain<'a>(mut doc: Doc<'a>, path: &[Part]) -> Result<Option<Element<'a>>, ()> {
    let mut path = path;
    while let Some((part, rest)) = path.split_first() {
        let Some(e) = doc.element(&part.name) else { return Ok(None) };
        match (e.tag(), rest.is_empty()) {
            (4, _) => return Err(()),
            (_, true) => return Ok(Some(e)),
            (3, false) => doc = Doc::from_checked(e.value_bytes()),
            _ => return Ok(None),
        }
        path = rest;
    }
    Ok(None)
}
