//! The index entries of a document, and writing and removing them.

use smongo_bson::compare::Collator;
use smongo_bson::keystring::{self, TypeBits};
use smongo_bson::index_keys::{self, Multikey};
use smongo_bson::{Code, Doc, DocBuf, Error, Result, Value, bail, hash, number};
use smongo_mql::Arena;

use crate::data::catalog::{Collection, Index};
use crate::data::keys::{RecordId, record_key};
use crate::data::limits;
use crate::data::namespace::Ns;
use crate::data::op::OpCx;

/// The entries a document has in one index, sorted and without duplicates. Buffers are reused from index to index.
pub struct Entries {
    buf: Vec<u8>,
    items: Vec<Item>,
}

/// Positions in the buffer: the key, then the value behind it.
#[derive(Clone, Copy)]
struct Item {
    start: usize,
    key_end: usize,
    end: usize,
}

impl Default for Entries {
    /// Most entries are short, and most documents have one.
    fn default() -> Entries {
        Entries { buf: Vec::with_capacity(64), items: Vec::with_capacity(1) }
    }
}

impl Entries {
    /// Makes the entries in `index` of `doc`, which is about to be stored: refuses what the index cannot hold.
    pub fn of_new(&mut self, index: &Index, doc: Doc<'_>, id: RecordId) -> Result<Multikey> {
        if index.refuses_arrays() && indexed(index, doc)? {
            index.check_arrays(doc)?;
        }
        self.of(index, doc, id)
    }

    /// Makes the entries of `doc`, which is stored, in `index`: those it was given when it was, also by versions that refused
    /// less. Returns where arrays were expanded.
    pub fn of(&mut self, index: &Index, doc: Doc<'_>, id: RecordId) -> Result<Multikey> {
        self.buf.clear();
        self.items.clear();
        if !indexed(index, doc)? {
            return Ok(Multikey::default());
        }
        let collator = index.collation.as_deref().map(|c| c as &dyn Collator);
        let (buf, items) = (&mut self.buf, &mut self.items);
        let mut bits = TypeBits::new();
        let mut emit = |values: &[Value<'_>]| {
            let start = buf.len();
            bits.clear();
            for (part, value) in index.parts.iter().zip(values) {
                let value = if part.hashed { Value::Int64(hash::hash_value(*value) as i64) } else { *value };
                match collator {
                    Some(_) => keystring::append(buf, value, part.descending, collator),
                    None => keystring::append_with_type_bits(buf, &mut bits, value, part.descending),
                }
            }
            let key_end = if index.record_id_in_key() {
                buf.extend_from_slice(&record_key(id));
                buf.len()
            } else {
                let end = buf.len();
                buf.extend_from_slice(&record_key(id));
                end
            };
            buf.extend_from_slice(bits.as_bytes());
            items.push(Item { start, key_end, end: buf.len() });
            Ok(())
        };
        let multikey = match &index.special {
            Some(special) => special.keys(doc, &mut emit)?,
            None => index_keys::index_keys(doc, &index.paths, index.sparse, &mut |values| emit(values))?,
        };
        if items.len() > 1 {
            items.sort_unstable_by(|a, b| buf[a.start..a.key_end].cmp(&buf[b.start..b.key_end]));
            items.dedup_by(|a, b| buf[a.start..a.key_end] == buf[b.start..b.key_end]);
        }
        Ok(multikey)
    }

    fn key(&self, item: Item) -> &[u8] {
        &self.buf[item.start..item.key_end]
    }

    fn value(&self, item: Item) -> &[u8] {
        &self.buf[item.key_end..item.end]
    }

    fn whole(&self, item: Item) -> &[u8] {
        &self.buf[item.start..item.end]
    }

    /// The entries as (key, value), for building an index.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.items.iter().map(|i| (self.key(*i), self.value(*i)))
    }

    pub fn same_as(&self, other: &Entries) -> bool {
        self.items.len() == other.items.len() && self.items.iter().zip(&other.items).all(|(a, b)| self.whole(*a) == other.whole(*b))
    }

    /// Takes out of both what both hold.
    pub fn subtract(&mut self, other: &mut Entries) {
        let mine: Vec<Item> = self.items.iter().copied().filter(|a| !other.items.iter().any(|b| self.whole(*a) == other.whole(*b))).collect();
        let items = std::mem::take(&mut other.items);
        other.items = items.into_iter().filter(|b| !self.items.iter().any(|a| self.whole(*a) == other.whole(*b))).collect();
        self.items = mine;
    }

    /// Writes the entries; DuplicateKey when a unique index holds one of the keys already.
    pub fn insert(&self, op: &mut OpCx, coll: &Collection, index: &Index) -> Result<()> {
        for item in &self.items {
            let free = if !index.record_id_in_key() {
                op.put_new(&index.table, self.key(*item), self.value(*item))?
            } else {
                let free = !index.prepare_unique || self.claim(op, index, *item)?;
                if free {
                    op.put(&index.table, self.key(*item), self.value(*item))?;
                }
                free
            };
            if !free {
                return Err(duplicate_key(coll, index, self.key(*item)));
            }
        }
        Ok(())
    }

    /// Whether an index that is to become unique holds no entry of this key. The key without the record id is written for
    /// a moment, so that two transactions that add the same key conflict.
    fn claim(&self, op: &mut OpCx, index: &Index, item: Item) -> Result<bool> {
        let bare = &self.key(item)[..item.key_end - item.start - size_of::<RecordId>()];
        let store = op.store()?;
        store.insert(&index.table, bare, &[])?;
        store.remove(&index.table, bare)?;
        let cursor = store.open(&index.table)?;
        let taken = store.seek_ge(cursor, bare)? && store.key(cursor).starts_with(bare);
        store.release(cursor);
        Ok(!taken)
    }

    pub fn remove(&self, op: &mut OpCx, index: &Index) -> Result<()> {
        for item in &self.items {
            op.take(&index.table, self.key(*item))?;
        }
        Ok(())
    }
}

/// Whether a partial index holds the document; others hold all.
fn indexed(index: &Index, doc: Doc<'_>) -> Result<bool> {
    index.partial.as_ref().map_or(Ok(true), |partial| partial.matches(doc, &Arena::new()))
}

/// The order of a clustered collection takes keys up to a size only.
pub fn check_clustered_key(doc: Doc<'_>) -> Result<()> {
    let id = doc.get("_id");
    let short = !matches!(id, Value::String(_) | Value::Binary(_) | Value::Document(_) | Value::Regex(_));
    if !short && keystring::encode(id, false).len() > limits::CLUSTERED_KEY_BYTES {
        bail!(5894900, "The size of the clustered key exceeds the limit of {} bytes", limits::CLUSTERED_KEY_BYTES);
    }
    Ok(())
}

/// DuplicateKey, with the pattern and the values of the key as drivers expect them.
pub fn duplicate_key(coll: &Collection, index: &Index, key: &[u8]) -> Error {
    if index.clustered
        && let Ok((id, _)) = keystring::decode(key, false)
        && let Some(n) = number::to_f64(id.view()).filter(|n| !n.is_finite())
    {
        // MongoDB cannot tell these keys from their record ids and answers with errors of its own.
        let code = if n.is_nan() { 50819 } else { 50826 };
        return Error::new(Code(code), format!("duplicate key in the clustered collection {}: {n}", coll.ns));
    }
    let mut rest = key;
    let mut text = Vec::new();
    let values = DocBuf::build(|w| {
        for (part, element) in index.parts.iter().zip(index.key()) {
            let Ok((value, after)) = keystring::decode(rest, part.descending) else { break };
            rest = after;
            text.push(format!("{}: {}", element.name(), value.view()));
            w.append(element.name(), value.view());
        }
    });
    duplicate(&coll.ns, &index.name, index.key(), values.as_doc(), &text.join(", "))
}

/// The error of a second document of an `_id`.
pub fn duplicate_key_of(ns: &Ns, key: Doc<'_>) -> Error {
    let pattern = DocBuf::build(|w| {
        w.append("_id", 1);
    });
    let text = format!("_id: {}", key.get("_id"));
    duplicate(ns, "_id_", pattern.as_doc(), key, &text)
}

fn duplicate(ns: &Ns, index: &str, pattern: Doc<'_>, key: Doc<'_>, text: &str) -> Error {
    let message = format!("E11000 duplicate key error collection: {ns} index: {index} dup key: {{ {text} }}");
    let info = DocBuf::build(|w| {
        w.append("keyPattern", pattern).append("keyValue", key);
    });
    Error::new(Code::DuplicateKey, message).with_info(info)
}
