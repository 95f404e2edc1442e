//! Equality joins without an index: the foreign documents are read once, into a hash table by the values at the joined path.

use std::collections::HashMap;
use std::sync::Arc;

use smongo_bson::compare::Collator;
use smongo_bson::index_keys::index_keys;
use smongo_bson::path::Path;
use smongo_bson::{Doc, DocBuf, Result, Value, keystring};

use super::group::Passthrough;
use super::spill::Spool;
use crate::arena::Arena;
use crate::collation::Collation;
use crate::cx::CompileCx;
use crate::matcher::Matcher;
use crate::stream::{Host, Stream};

const NONE: u32 = u32::MAX;

/// Foreign documents by the keys an index over the path would hold. The documents go to disk when they are too many; the table of keys stays in memory.
pub(super) struct JoinTable {
    docs: Spool,
    /// By a key's hash, the first of the groups whose keys hash so.
    index: HashMap<u64, u32, Passthrough>,
    groups: Vec<Group>,
    keys: Vec<u8>,
    links: Vec<Link>,
    collation: Option<Arc<Collation>>,
    /// `{path: null}`: index keys alone do not tell what it matches.
    null: Matcher,
}

/// A key, and the documents that have it as a list of links in the order they came.
struct Group {
    key: (usize, usize),
    /// The next group of the same hash.
    next: u32,
    first: u32,
    last: u32,
}

struct Link {
    doc: u64,
    next: u32,
}

impl JoinTable {
    /// A table of what passes `stages` over the collection of `cx`. `None` when an index finds what is equal to a value, or a table cannot be made.
    pub fn over(path: &str, stages: &[DocBuf], cx: &CompileCx, host: &mut dyn Host) -> Result<Option<Arc<JoinTable>>> {
        let path = Path::new(path);
        if host.finds(&cx.db, &cx.coll, path.text(), cx)? {
            return Ok(None);
        }
        Ok(JoinTable::of(&path, stages, cx, host)?.map(Arc::new))
    }

    /// The same, whatever indexes there are.
    pub fn of(path: &Path, stages: &[DocBuf], cx: &CompileCx, host: &mut dyn Host) -> Result<Option<JoinTable>> {
        // Where a number may be a position or a name, index keys do not tell what is equal to a value.
        if path.parts().iter().any(|p| p.index.is_some()) {
            return Ok(None);
        }
        let foreign = host.open(&cx.db, &cx.coll, stages, cx)?;
        JoinTable::build(foreign, path, cx, host)
    }

    /// Reads all of `foreign`. `None` when the table would outgrow the memory limit, or a document has no proper keys.
    fn build(mut foreign: Box<dyn Stream>, path: &Path, cx: &CompileCx, host: &mut dyn Host) -> Result<Option<JoinTable>> {
        let filter = DocBuf::build(|w| { w.append(path.text(), Value::Null); });
        let mut table = JoinTable {
            docs: Spool::new("$lookup", cx.allow_disk_use),
            index: HashMap::default(),
            groups: Vec::new(),
            keys: Vec::new(),
            links: Vec::new(),
            collation: cx.collation.clone(),
            null: Matcher::compile(filter.as_doc(), cx)?,
        };
        let paths = std::slice::from_ref(path);
        let (mut at, mut n, mut key) = (0u64, 0u32, Vec::new());
        while foreign.advance(host)? {
            let doc = foreign.doc();
            let size = doc.as_bytes().len() as u64;
            if table.size() > host.memory_limit() || (!cx.allow_disk_use && at + size > host.memory_limit() as u64) {
                return Ok(None);
            }
            let keyed = index_keys(doc, paths, false, &mut |values| {
                key.clear();
                table.encode(values.first().copied().unwrap_or(Value::Null), &mut key);
                table.link(&key, at);
                Ok(())
            });
            if keyed.is_err() {
                return Ok(None);
            }
            table.docs.push(doc.as_bytes(), host)?;
            at += size;
            n = n.wrapping_add(1);
            if n % 512 == 0 {
                host.interrupt()?;
            }
        }
        table.docs = table.docs.finish()?;
        Ok(Some(table))
    }

    fn size(&self) -> usize {
        self.keys.len() + self.groups.len() * (size_of::<Group>() + 16) + self.links.len() * size_of::<Link>()
    }

    fn encode(&self, value: Value<'_>, key: &mut Vec<u8>) {
        keystring::append(key, value, false, self.collation.as_deref().map(|c| c as &dyn Collator));
    }

    fn group(&self, hash: u64, key: &[u8]) -> Option<usize> {
        let mut at = *self.index.get(&hash)?;
        while let Some(group) = self.groups.get(at as usize) {
            if self.keys.get(group.key.0..group.key.1) == Some(key) {
                return Some(at as usize);
            }
            at = group.next;
        }
        None
    }

    fn link(&mut self, key: &[u8], doc: u64) {
        let hash = smongo_bson::hash::hash_bytes(key);
        let new = self.links.len() as u32;
        match self.group(hash, key) {
            None => {
                let start = self.keys.len();
                self.keys.extend_from_slice(key);
                let next = self.index.insert(hash, self.groups.len() as u32).unwrap_or(NONE);
                self.groups.push(Group { key: (start, self.keys.len()), next, first: new, last: new });
            }
            Some(at) => {
                let Some(group) = self.groups.get_mut(at) else { return };
                let Some(last) = self.links.get_mut(group.last as usize) else { return };
                // An array may hold the value more than once.
                if last.doc == doc {
                    return;
                }
                last.next = new;
                group.last = new;
            }
        }
        self.links.push(Link { doc, next: NONE });
    }

    fn with_key(&self, value: Value<'_>, found: &mut Vec<u64>) {
        let mut key = Vec::with_capacity(32);
        self.encode(value, &mut key);
        let group = self.group(smongo_bson::hash::hash_bytes(&key), &key).and_then(|at| self.groups.get(at));
        let mut at = group.map_or(NONE, |g| g.first);
        while let Some(link) = self.links.get(at as usize) {
            found.push(link.doc);
            at = link.next;
        }
    }

    /// Finds the documents that are equal to one of the values at the path; `false` when the table cannot tell.
    pub fn find(&self, values: &[Value<'_>], found: &mut Vec<u64>) -> Result<bool> {
        found.clear();
        for value in values {
            match value {
                Value::Array(_) | Value::Undefined | Value::Missing => return Ok(false),
                Value::Null => self.find_null(found)?,
                v => self.with_key(*v, found),
            }
        }
        if values.len() > 1 {
            found.sort_unstable();
            found.dedup();
        }
        Ok(true)
    }

    fn find_null(&self, found: &mut Vec<u64>) -> Result<()> {
        let mut candidates = Vec::new();
        self.with_key(Value::Null, &mut candidates);
        self.with_key(Value::Undefined, &mut candidates);
        candidates.sort_unstable();
        candidates.dedup();
        let (arena, mut doc) = (Arena::new(), Vec::new());
        for at in candidates {
            self.docs.read(at, &mut doc)?;
            if self.null.matches(Doc::from_checked(&doc), &arena)? {
                found.push(at);
            }
        }
        Ok(())
    }
}

/// Documents of a table, by their places.
pub(super) struct Matches {
    table: Arc<JoinTable>,
    places: std::vec::IntoIter<u64>,
    current: Vec<u8>,
}

impl Matches {
    pub fn new(table: Arc<JoinTable>, places: Vec<u64>) -> Matches {
        Matches { table, places: places.into_iter(), current: Vec::new() }
    }
}

impl Stream for Matches {
    fn advance(&mut self, _host: &mut dyn Host) -> Result<bool> {
        match self.places.next() {
            Some(at) => self.table.docs.read(at, &mut self.current),
            None => Ok(false),
        }
    }
    fn doc(&self) -> Doc<'_> {
        Doc::from_checked(&self.current)
    }
}
