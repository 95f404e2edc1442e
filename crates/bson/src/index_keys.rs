//! Which keys a document has in an index.

use crate::doc::{Array, Doc};
use crate::error::Result;
use crate::path::{Part, Path};
use crate::value::Value;
use crate::{bail, err};

/// The most fields of a compound index.
pub const MAX_FIELDS: usize = 32;

/// Where arrays were expanded: for each path of the index, a bit for each component that was an array. Empty when there
/// was none, and without an allocation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Multikey {
    components: Vec<u64>,
}

impl Multikey {
    /// Whether any path ran through an array: the index has more than one key for a document, or may have.
    pub fn any(&self) -> bool {
        !self.components.is_empty()
    }

    /// The components of path `field` that are arrays, lowest bit first: for `a.b` bit 0 is `a`.
    pub fn components(&self, field: usize) -> u64 {
        self.components.get(field).copied().unwrap_or(0)
    }

    /// Whether path `field` ran through an array.
    pub fn is_multikey(&self, field: usize) -> bool {
        self.components(field) != 0
    }

    /// Whether this says already what another document shows.
    pub fn covers(&self, other: &Multikey) -> bool {
        other.components.iter().enumerate().all(|(field, more)| *more & !self.components(field) == 0)
    }

    /// Adds what another document showed; true when that was new.
    pub fn merge(&mut self, other: &Multikey) -> bool {
        if self.components.len() < other.components.len() {
            self.components.resize(other.components.len(), 0);
        }
        let mut grown = false;
        for (mine, more) in self.components.iter_mut().zip(&other.components) {
            grown |= *more & !*mine != 0;
            *mine |= more;
        }
        grown
    }

    /// One mask for each path, to be stored; empty when nothing is multikey.
    pub fn masks(&self) -> &[u64] {
        &self.components
    }

    pub fn from_masks(masks: &[u64]) -> Multikey {
        let none = masks.iter().all(|m| *m == 0);
        Multikey { components: if none { Vec::new() } else { masks.to_vec() } }
    }

    fn set(&mut self, fields: usize, field: usize, component: usize) {
        self.components.resize(fields, 0);
        if let Some(mask) = self.components.get_mut(field) {
            *mask |= 1 << component.min(63);
        }
    }
}

/// Calls `emit` with every key of a document in an index over `paths`, one value for each path; returns where arrays
/// were expanded. Keys may repeat; the caller removes doubles.
///
/// An array gives a key for each of its elements, an empty one undefined (null where the path goes on beyond it). A path
/// that leads nowhere gives null, and a `sparse` index no key when all do. Only one array may be expanded at each step:
/// otherwise CannotIndexParallelArrays (171). A numbered component picks that element of an array when there is one, and
/// then documents in the array may have no field of that name (16746).
///
/// For a path with a numbered component these keys do not tell which documents a predicate matches that is true for
/// null, because [`crate::path::walk`] also tries the number as a field's name: no plan may use the index for that.
pub fn index_keys<'a>(
    doc: Doc<'a>,
    paths: &[Path],
    sparse: bool,
    emit: &mut dyn FnMut(&[Value<'a>]) -> Result<()>,
) -> Result<Multikey> {
    match paths.len() {
        0 => Ok(Multikey::default()),
        1 => keys_of::<1>(doc, paths, sparse, emit),
        2..=4 => keys_of::<4>(doc, paths, sparse, emit),
        5..=MAX_FIELDS => keys_of::<MAX_FIELDS>(doc, paths, sparse, emit),
        n => bail!(CannotCreateIndex, "Index has {n} fields, more than the {MAX_FIELDS} allowed"),
    }
}

/// Whether an array stands on a path, at its end or before.
pub fn meets_array(doc: Doc<'_>, path: &Path) -> bool {
    let mut value = Value::Document(doc);
    for part in path.parts() {
        let Value::Document(inner) = value else { return false };
        value = inner.get(&part.name);
        if matches!(value, Value::Array(_)) {
            return true;
        }
    }
    false
}

/// How far one path has been followed.
#[derive(Clone, Copy)]
enum Slot<'a, 'p> {
    /// To be followed from this value on; an array here has not been expanded yet.
    Open { value: Value<'a>, rest: &'p [Part] },
    Found(Value<'a>),
    NotFound,
}

struct Keys<'a, 'p, 'e> {
    paths: &'p [Path],
    sparse: bool,
    multikey: Multikey,
    emit: &'e mut dyn FnMut(&[Value<'a>]) -> Result<()>,
}

fn keys_of<'a, const N: usize>(
    doc: Doc<'a>,
    paths: &[Path],
    sparse: bool,
    emit: &mut dyn FnMut(&[Value<'a>]) -> Result<()>,
) -> Result<Multikey> {
    let mut slots = [Slot::NotFound; N];
    for (slot, path) in slots.iter_mut().zip(paths) {
        *slot = Slot::Open { value: Value::Document(doc), rest: path.parts() };
    }
    let mut keys = Keys { paths, sparse, multikey: Multikey::default(), emit };
    keys.expand(slots)?;
    Ok(keys.multikey)
}

impl<'a, 'p> Keys<'a, 'p, '_> {
    fn expand<const N: usize>(&mut self, mut slots: [Slot<'a, 'p>; N]) -> Result<()> {
        let mut array: Option<(Array<'a>, usize)> = None;
        for (i, (slot, path)) in slots.iter_mut().zip(self.paths).enumerate() {
            let Slot::Open { value, rest } = *slot else { continue };
            *slot = follow(value, rest)?;
            let Slot::Open { value: Value::Array(a), rest } = *slot else { continue };
            match array {
                Some((first, at)) if !std::ptr::eq(first.as_bytes(), a.as_bytes()) => return Err(self.parallel(at, i, rest)),
                Some(_) => {}
                None => array = Some((a, i)),
            }
            self.multikey.set(self.paths.len(), i, path.parts().len() - rest.len() - 1);
        }
        let Some((array, _)) = array else { return self.key(&slots) };
        if array.is_empty() {
            return self.expand(slots.map(|slot| match slot {
                Slot::Open { rest: [], .. } => Slot::Found(Value::Undefined),
                Slot::Open { .. } => Slot::NotFound,
                done => done,
            }));
        }
        for element in array.iter() {
            self.expand(slots.map(|slot| match slot {
                Slot::Open { rest: [], .. } => Slot::Found(element),
                Slot::Open { rest, .. } => match element {
                    Value::Document(_) => Slot::Open { value: element, rest },
                    _ => Slot::NotFound,
                },
                done => done,
            }))?;
        }
        Ok(())
    }

    fn key<const N: usize>(&mut self, slots: &[Slot<'a, 'p>; N]) -> Result<()> {
        let slots = slots.get(..self.paths.len()).unwrap_or_default();
        if self.sparse && slots.iter().all(|s| matches!(s, Slot::NotFound)) {
            return Ok(());
        }
        let mut values = [Value::Null; N];
        for (value, slot) in values.iter_mut().zip(slots) {
            if let Slot::Found(v) = slot {
                *value = *v;
            }
        }
        (self.emit)(values.get(..self.paths.len()).unwrap_or_default())
    }

    #[cold]
    fn parallel(&self, first: usize, second: usize, rest: &[Part]) -> crate::Error {
        let name = |field: usize, left: usize| {
            let parts = self.paths.get(field).map_or(&[][..], Path::parts);
            parts.get(parts.len().saturating_sub(left + 1)).map_or("", |p| &p.name)
        };
        let in_first = self.multikey.components(first);
        let first_parts = self.paths.get(first).map_or(0, |p| p.parts().len());
        let left = first_parts.saturating_sub(64 - in_first.leading_zeros() as usize);
        err!(CannotIndexParallelArrays, "cannot index parallel arrays [{}] [{}]", name(second, rest.len()), name(first, left))
    }
}

/// Follows a path through documents and numbered elements, until its end or an array that has to be expanded.
fn follow<'a, 'p>(mut value: Value<'a>, mut rest: &'p [Part]) -> Result<Slot<'a, 'p>> {
    loop {
        let Some((part, beyond)) = rest.split_first() else {
            return Ok(match value {
                Value::Array(_) => Slot::Open { value, rest },
                Value::Missing => Slot::NotFound,
                v => Slot::Found(v),
            });
        };
        value = match value {
            Value::Document(d) => d.get(&part.name),
            Value::Array(a) => match part.index.map(|i| a.get(i as usize)) {
                None | Some(Value::Missing) => return Ok(Slot::Open { value, rest }),
                Some(element) => {
                    ambiguous(a, part)?;
                    element
                }
            },
            _ => return Ok(Slot::NotFound),
        };
        rest = beyond;
    }
}

fn ambiguous(array: Array<'_>, part: &Part) -> Result<()> {
    if array.iter().any(|v| matches!(v, Value::Document(d) if d.contains(&part.name))) {
        bail!(
            16746,
            "Ambiguous field name found in array (do not use numeric field names in embedded elements in an array), field: '{}' for array: {array:?}",
            part.name
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::{parse_doc, value_to_relaxed};

    fn keys_with(doc: &str, paths: &[&str], sparse: bool) -> (String, Multikey) {
        let doc = parse_doc(doc).unwrap_or_default();
        let paths: Vec<Path> = paths.iter().map(|p| Path::new(p)).collect();
        let mut all = Vec::new();
        let done = index_keys(doc.as_doc(), &paths, sparse, &mut |key| {
            all.push(key.iter().map(|v| value_to_relaxed(*v)).collect::<Vec<_>>().join(","));
            Ok(())
        });
        match done {
            Ok(multikey) => (all.join(" "), multikey),
            Err(e) => (format!("{}: {e}", e.code().0), Multikey::default()),
        }
    }

    fn keys(doc: &str, paths: &[&str]) -> String {
        keys_with(doc, paths, false).0
    }

    const UNDEFINED: &str = r#"{"$undefined":true}"#;

    #[test]
    fn one_field() {
        assert_eq!(keys(r#"{"a": 1}"#, &["a"]), "1");
        assert_eq!(keys(r#"{"b": 1}"#, &["a"]), "null");
        assert_eq!(keys(r#"{"a": [1, [2, 3], 1]}"#, &["a"]), "1 [2,3] 1");
        assert_eq!(keys(r#"{"a": []}"#, &["a"]), UNDEFINED);
        assert_eq!(keys(r#"{"a": []}"#, &["a.b"]), "null");
        assert_eq!(keys(r#"{"a": 5}"#, &["a.b"]), "null");
        assert_eq!(keys(r#"{"a": [{"b": 1}, {"b": [2, 3]}, {}, 4, [{"b": 5}]]}"#, &["a.b"]), "1 2 3 null null null");
        assert_eq!(keys(r#"{"a": [{"b": []}]}"#, &["a.b"]), UNDEFINED);
    }

    #[test]
    fn compound() {
        assert_eq!(keys(r#"{"a": [1, 2], "b": 3}"#, &["a", "b"]), "1,3 2,3");
        assert_eq!(keys(r#"{"a": [{"b": 1, "c": 2}, {"b": 3}]}"#, &["a.b", "a.c"]), "1,2 3,null");
        assert_eq!(keys(r#"{"a": [{"b": 1}], "c": 2}"#, &["a", "a.b", "c"]), r#"{"b":1},1,2"#);
        assert_eq!(keys(r#"{"a": [], "c": 2}"#, &["a", "a.b", "c"]), format!("{UNDEFINED},null,2"));
        assert_eq!(keys(r#"{"a": [1, 2], "b": [3]}"#, &["a", "b"]), "171: cannot index parallel arrays [b] [a]");
        assert_eq!(keys(r#"{"x": [{"a": [1], "b": [3]}]}"#, &["x.a", "x.b"]), "171: cannot index parallel arrays [b] [a]");
    }

    #[test]
    fn numbered_components() {
        assert_eq!(keys(r#"{"a": [1, 2]}"#, &["a.0"]), "1");
        assert_eq!(keys(r#"{"a": [1, 2]}"#, &["a.5"]), "null null");
        assert_eq!(keys(r#"{"a": {"0": 7}}"#, &["a.0"]), "7");
        assert_eq!(keys(r#"{"a": [{"b": 1}, {"b": 2}]}"#, &["a.1.b"]), "2");
        assert_eq!(keys(r#"{"a": [[{"b": 1}, {"b": 2}]]}"#, &["a.0.b"]), "1 2");
        assert!(keys(r#"{"a": [{"0": 1}]}"#, &["a.0"]).starts_with("16746: Ambiguous field name"));
        assert!(!keys_with(r#"{"a": [1]}"#, &["a.0"], false).1.any());
    }

    #[test]
    fn sparse() {
        assert_eq!(keys_with(r#"{"c": 1}"#, &["a", "b"], true).0, "");
        assert_eq!(keys_with(r#"{"a": 1}"#, &["a", "b"], true).0, "1,null");
        assert_eq!(keys_with(r#"{"a": null}"#, &["a"], true).0, "null");
        assert_eq!(keys_with(r#"{"a": [{"b": 1}, {}]}"#, &["a.b"], true).0, "1");
    }

    #[test]
    fn multikey_paths() {
        let (_, m) = keys_with(r#"{"a": [{"b": [1]}], "c": 1}"#, &["c", "a.b"], false);
        assert_eq!((m.components(0), m.components(1)), (0, 0b11));
        let mut all = Multikey::default();
        assert!(all.merge(&m) && !all.merge(&m));
        assert_eq!(Multikey::from_masks(all.masks()), all);
    }
}
