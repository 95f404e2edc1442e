//! Functions that keep many values of their frame.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use smongo_bson::{Doc, Result, Value, ValueBuf, err, keystring};

use super::rows::{key, pair, value};
use super::slide::State;
use super::states::collator;
use crate::accum::list;
use crate::collation::Collation;

/// What a [`List`] makes of its values.
#[derive(Clone)]
pub(super) enum Shape {
    /// An array without what is missing: `$push`.
    Present,
    /// An array with null for what is missing: `$firstN`, `$lastN`.
    Nulls,
    /// The elements of arrays: `$concatArrays`.
    Elements,
    /// The first value, or this one if there is none: `$first`, `$last`, `$shift`.
    One(ValueBuf),
}

/// The values of a frame as they came.
pub(super) struct List {
    values: VecDeque<ValueBuf>,
    shape: Shape,
    size: usize,
}

impl List {
    pub fn new(shape: Shape) -> List {
        List { values: VecDeque::new(), shape, size: 0 }
    }

    fn push(&mut self, value: Value<'_>) {
        let value = ValueBuf::new(value);
        self.size += value.size();
        self.values.push_back(value);
    }

    fn pop(&mut self) {
        self.size -= self.values.pop_front().map_or(0, |v| v.size());
    }
}

fn elements<'v>(name: &str, value: Value<'v>) -> Result<impl Iterator<Item = Value<'v>> + use<'v>> {
    match value {
        Value::Array(a) => Ok(Some(a)),
        Value::Missing => Ok(None),
        v => Err(err!(TypeMismatch, "{name} requires array inputs, but input {v:?} is of type {}", v.type_name())),
    }
    .map(|a| a.into_iter().flat_map(|a| a.iter()))
}

impl State for List {
    fn enter(&mut self, _row: u64, input: Doc<'_>) -> Result<()> {
        match (&self.shape, value(input)) {
            (Shape::Elements, v) => elements("$concatArrays", v)?.for_each(|v| self.push(v)),
            (Shape::Present, Value::Missing) => {}
            (_, Value::Missing) => self.push(Value::Null),
            (_, v) => self.push(v),
        }
        Ok(())
    }
    fn leave(&mut self, _row: u64, input: Doc<'_>) {
        match (&self.shape, value(input)) {
            (Shape::Elements, Value::Array(a)) => (0..a.len()).for_each(|_| self.pop()),
            (Shape::Elements | Shape::Present, Value::Missing) => {}
            _ => self.pop(),
        }
    }
    fn value(&mut self, _current: Value<'_>) -> Result<ValueBuf> {
        Ok(match &self.shape {
            Shape::One(default) => self.values.front().unwrap_or(default).clone(),
            _ => list(self.values.iter().map(ValueBuf::view)),
        })
    }
    fn size(&self) -> usize {
        self.size
    }
}

/// `$addToSet`, `$setUnion`: each value once, in the order in which they appear first.
pub(super) struct Set {
    /// The first appearances.
    order: BTreeMap<u64, (Box<[u8]>, ValueBuf)>,
    /// The later appearances of each.
    later: HashMap<Box<[u8]>, VecDeque<u64>>,
    /// How many values came, and how many of them left again.
    came: u64,
    left: u64,
    /// Whether the elements of arrays are the values.
    flatten: bool,
    collation: Option<Arc<Collation>>,
    scratch: Vec<u8>,
    size: usize,
}

/// What a map's entry costs beside its bytes.
const ENTRY: usize = 64;

impl Set {
    pub fn new(flatten: bool, collation: Option<Arc<Collation>>) -> Set {
        Set { order: BTreeMap::new(), later: HashMap::new(), came: 0, left: 0, flatten, collation, scratch: Vec::new(), size: 0 }
    }

    fn push(&mut self, value: Value<'_>) {
        self.scratch.clear();
        keystring::append(&mut self.scratch, value, false, collator(&self.collation));
        if let Some(later) = self.later.get_mut(self.scratch.as_slice()) {
            later.push_back(self.came);
        } else {
            let (key, value) = (Box::from(self.scratch.as_slice()), ValueBuf::new(value));
            self.size += 2 * self.scratch.len() + value.size() + 2 * ENTRY;
            self.later.insert(Box::clone(&key), VecDeque::new());
            self.order.insert(self.came, (key, value));
        }
        self.came += 1;
    }

    /// The first value leaves: it appeared first, too.
    fn pop(&mut self) {
        self.left += 1;
        let Some((_, (key, value))) = self.order.pop_first() else { return };
        match self.later.get_mut(&key).and_then(VecDeque::pop_front) {
            Some(next) => {
                self.order.insert(next, (key, value));
            }
            None => {
                self.size -= 2 * key.len() + value.size() + 2 * ENTRY;
                self.later.remove(&key);
            }
        }
    }
}

impl State for Set {
    fn enter(&mut self, _row: u64, input: Doc<'_>) -> Result<()> {
        match value(input) {
            v if self.flatten => elements("$setUnion", v)?.for_each(|v| self.push(v)),
            Value::Missing => {}
            v => self.push(v),
        }
        Ok(())
    }
    fn leave(&mut self, _row: u64, input: Doc<'_>) {
        match value(input) {
            Value::Array(a) if self.flatten => (0..a.len()).for_each(|_| self.pop()),
            Value::Missing => {}
            _ => self.pop(),
        }
    }
    fn value(&mut self, _current: Value<'_>) -> Result<ValueBuf> {
        Ok(list(self.order.values().map(|(_, v)| v.view())))
    }
    fn size(&self) -> usize {
        self.size + (self.came - self.left) as usize * 8
    }
}

/// Which entries of an [`Ordered`] are wanted.
#[derive(Clone, Copy)]
pub(super) enum Pick {
    /// `n` values with the least keys; the key is that of the value, its direction given: `$minN`, `$maxN`.
    Extremes { n: usize, greatest: bool },
    /// `n` values of the least or the greatest keys that come with them; `single` is not an array: `$top`, `$bottom` …
    Top { n: usize, bottom: bool, single: bool },
}

/// The values of a frame by their keys, equal keys as they came.
pub(super) struct Ordered {
    entries: BTreeMap<(Box<[u8]>, u64), ValueBuf>,
    pick: Pick,
    collation: Option<Arc<Collation>>,
    size: usize,
}

impl Ordered {
    pub fn new(pick: Pick, collation: Option<Arc<Collation>>) -> Ordered {
        Ordered { entries: BTreeMap::new(), pick, collation, size: 0 }
    }

    /// Key and value of an input; `None` where it does not count.
    fn entry<'i>(&self, input: Doc<'i>) -> Option<(Box<[u8]>, Value<'i>)> {
        match self.pick {
            Pick::Top { .. } => {
                let (sort, value) = pair(input);
                Some((key(sort).into(), value))
            }
            Pick::Extremes { greatest, .. } => {
                let value = value(input);
                let mut key = Vec::new();
                keystring::append(&mut key, value, greatest, collator(&self.collation));
                (!value.is_nullish()).then(|| (key.into(), value))
            }
        }
    }
}

impl State for Ordered {
    fn enter(&mut self, row: u64, input: Doc<'_>) -> Result<()> {
        if let Some((key, value)) = self.entry(input) {
            let value = ValueBuf::new(if value.is_missing() { Value::Null } else { value });
            self.size += key.len() + value.size() + ENTRY;
            self.entries.insert((key, row), value);
        }
        Ok(())
    }
    fn leave(&mut self, row: u64, input: Doc<'_>) {
        let Some((key, _)) = self.entry(input) else { return };
        if let Some(((key, _), value)) = self.entries.remove_entry(&(key, row)) {
            self.size -= key.len() + value.size() + ENTRY;
        }
    }
    fn value(&mut self, _current: Value<'_>) -> Result<ValueBuf> {
        let mut values = self.entries.values().map(ValueBuf::view);
        Ok(match self.pick {
            Pick::Top { bottom, single: true, .. } => ValueBuf::new(if bottom { values.next_back() } else { values.next() }.unwrap_or(Value::Null)),
            // The last n of the whole order, least key first.
            Pick::Top { n, bottom: true, .. } => {
                let last: Vec<_> = values.rev().take(n).collect();
                list(last.into_iter().rev())
            }
            Pick::Top { n, .. } | Pick::Extremes { n, .. } => list(values.take(n)),
        })
    }
    fn size(&self) -> usize {
        self.size
    }
}
