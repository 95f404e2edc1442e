//! Accumulators that make arrays: `$push $addToSet $concatArrays $setUnion`.

use std::collections::HashSet;
use std::sync::Arc;

use smongo_bson::compare::Collator;
use smongo_bson::{Result, Value, ValueBuf, bail, keystring};

use super::State;
use super::spec::Setup;
use crate::collation::Collation;

/// Values in the order they came; with `seen`, each only once.
struct Collect {
    name: &'static str,
    values: Vec<ValueBuf>,
    seen: Option<HashSet<Box<[u8]>>>,
    /// Whether the argument must be an array, whose elements are taken.
    flatten: bool,
    collation: Option<Arc<Collation>>,
    key: Vec<u8>,
    size: usize,
}

fn collect(s: &Setup, unique: bool, flatten: bool) -> Box<dyn State> {
    Box::new(Collect {
        name: s.name,
        values: Vec::new(),
        seen: unique.then(HashSet::new),
        flatten,
        collation: s.collation.clone(),
        key: Vec::new(),
        size: 0,
    })
}

pub(super) fn push(_n: usize, s: &Setup) -> Box<dyn State> {
    collect(s, false, false)
}

pub(super) fn add_to_set(_n: usize, s: &Setup) -> Box<dyn State> {
    collect(s, true, false)
}

pub(super) fn concat(_n: usize, s: &Setup) -> Box<dyn State> {
    collect(s, false, true)
}

pub(super) fn set_union(_n: usize, s: &Setup) -> Box<dyn State> {
    collect(s, true, true)
}

impl Collect {
    fn take(&mut self, value: Value<'_>) {
        if let Some(seen) = &mut self.seen {
            self.key.clear();
            keystring::append(&mut self.key, value, false, self.collation.as_deref().map(|c| c as &dyn Collator));
            if seen.contains(self.key.as_slice()) {
                return;
            }
            self.size += self.key.len() + 32;
            seen.insert(self.key.as_slice().into());
        }
        let value = ValueBuf::new(value);
        self.size += value.size();
        self.values.push(value);
    }
}

impl State for Collect {
    fn add(&mut self, value: Value<'_>, _key: &[u8]) -> Result<()> {
        match value {
            Value::Missing => {}
            Value::Array(a) if self.flatten => a.iter().for_each(|v| self.take(v)),
            v if self.flatten => bail!(TypeMismatch, "{} requires array inputs, but input {v:?} is of type {}", self.name, v.type_name()),
            v => self.take(v),
        }
        Ok(())
    }
    fn finish(&mut self) -> Result<ValueBuf> {
        Ok(super::scalar::list(self.values.iter().map(ValueBuf::view)))
    }
    fn partial(&mut self) -> Result<ValueBuf> {
        self.finish()
    }
    fn merge(&mut self, partial: Value<'_>) -> Result<()> {
        if let Value::Array(a) = partial {
            a.iter().for_each(|v| self.take(v));
        }
        Ok(())
    }
    fn size(&self) -> usize {
        self.size
    }
}
