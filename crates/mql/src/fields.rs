//! Fields in the order they first came, each name once.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;

/// From how many fields on names are looked up in a table.
const MANY: usize = 16;

pub(crate) struct NamedFields<N, V> {
    fields: Vec<(N, V)>,
    /// Positions by name, once there are many.
    index: HashMap<N, usize>,
}

impl<N, V> Default for NamedFields<N, V> {
    fn default() -> Self {
        NamedFields { fields: Vec::new(), index: HashMap::new() }
    }
}

impl<N: Borrow<str> + Hash + Eq + Clone, V> NamedFields<N, V> {
    /// Sets a field's value; gives back the one it had.
    pub fn put(&mut self, name: N, value: V) -> Option<V> {
        let known = if self.index.is_empty() {
            self.fields.iter().position(|(n, _)| *n == name)
        } else {
            self.index.get::<N>(&name).copied()
        };
        if let Some((_, old)) = known.and_then(|at| self.fields.get_mut(at)) {
            return Some(std::mem::replace(old, value));
        }
        if !self.index.is_empty() {
            self.index.insert(name.clone(), self.fields.len());
        }
        self.fields.push((name, value));
        if self.index.is_empty() && self.fields.len() > MANY {
            self.index = self.fields.iter().enumerate().map(|(at, (n, _))| (n.clone(), at)).collect();
        }
        None
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &V)> {
        self.fields.iter().map(|(n, v)| (n.borrow(), v))
    }
}
