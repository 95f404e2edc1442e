//! Handles of tables, and the numbers that let sessions find their cursors without hashing names.

use crate::error::{Error, ErrorKind, Result};
use crate::options::Compressor;
use std::collections::HashMap;
use std::ffi::{CStr, CString};
use std::fmt;
use std::sync::Arc;

/// What a table holds, which decides its page sizes and compression.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TableKind {
    /// Documents under short keys: block compression, values kept on leaf pages.
    Records,
    /// Small entries with common prefixes: prefix compression.
    Index,
    /// Appended at one end, removed at the other.
    Log,
}

impl TableKind {
    pub(crate) fn config(self, compressor: Compressor, in_memory: bool) -> CString {
        let name = compressor.name();
        // Deletions are logged, and must find room for it in a store in memory that is full.
        let always = if in_memory { ",ignore_in_memory_cache_size=true" } else { "" };
        let config = match self {
            // Values never go to overflow blocks: the longest document fits many times over. Pages of
            // 16 KB: reading a record that is not in the cache takes less than half the time it takes
            // with 32 KB, for 3 % more disk.
            Self::Records => format!(
                "key_format=u,value_format=u,leaf_page_max=16KB,internal_page_max=16KB,\
                 memory_page_max=10MB,split_pct=90,leaf_value_max=64MB,block_compressor={name}"
            ),
            Self::Log => format!(
                "key_format=u,value_format=u,leaf_page_max=64KB,internal_page_max=4KB,\
                 memory_page_max=10MB,split_pct=90,leaf_value_max=64MB,block_compressor={name}{always}"
            ),
            Self::Index => "key_format=u,value_format=u,leaf_page_max=16KB,internal_page_max=16KB,\
                 memory_page_max=5MB,prefix_compression=true,prefix_compression_min=4,leaf_key_max=8KB"
                .to_owned(),
        };
        CString::new(config).unwrap_or_default()
    }
}

/// A table of the store: a cheap handle to keep, since it knows where each session has its cursors.
#[derive(Clone)]
pub struct Table {
    pub(crate) id: u32,
    pub(crate) generation: u32,
    named: Arc<Named>,
}

struct Named {
    name: Box<str>,
    uri: CString,
}

impl Table {
    pub fn name(&self) -> &str {
        &self.named.name
    }

    pub(crate) fn uri(&self) -> &CStr {
        &self.named.uri
    }
}

impl PartialEq for Table {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id && self.generation == other.generation
    }
}

impl Eq for Table {}

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Table({})", self.name())
    }
}

/// `table:NAME`; names are letters, digits, `_` and `-`, so that they are files everywhere.
pub(crate) fn uri(name: &str) -> Result<CString> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    if name.is_empty() || name.len() > 200 || !name.bytes().all(fits) {
        return Err(Error::new(ErrorKind::Invalid, format!("not a name for a table: {name:?}")));
    }
    CString::new(format!("table:{name}")).map_err(|_| Error::new(ErrorKind::Invalid, "a name with NUL"))
}

/// Names to numbers. Numbers of dropped tables are used again under the next generation, so that
/// the sessions' arrays stay as short as there are tables.
#[derive(Default)]
pub(crate) struct Registry {
    by_name: HashMap<Box<str>, Table>,
    free: Vec<(u32, u32)>,
    next: u32,
}

impl Registry {
    pub fn get(&self, name: &str) -> Option<&Table> {
        self.by_name.get(name)
    }

    pub fn add(&mut self, name: &str, uri: CString) -> Table {
        if let Some(table) = self.by_name.get(name) {
            return table.clone();
        }
        let (id, generation) = self.free.pop().unwrap_or_else(|| {
            self.next += 1;
            (self.next - 1, 1)
        });
        let table = Table { id, generation, named: Arc::new(Named { name: name.into(), uri }) };
        self.by_name.insert(name.into(), table.clone());
        table
    }

    pub fn remove(&mut self, table: &Table) {
        if self.by_name.get(table.name()) == Some(table) {
            self.by_name.remove(table.name());
            self.free.push((table.id, table.generation + 1));
        }
    }
}
