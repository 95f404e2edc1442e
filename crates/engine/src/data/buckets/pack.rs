//! Measurements into buckets.

use std::collections::{HashMap, VecDeque};

use md5::{Digest, Md5};
use smongo_bson::{Doc, DocBuf, ObjectId, Result, Value};
use smongo_mql::{Host, Stream};

use super::Layout;
use super::minmax::MinMax;
use crate::data::limits;

/// MongoDB's bounds of a bucket: measurements, and their bytes, unless few of them are that large.
const MOST_MEASUREMENTS: usize = 1000;
const MOST_BYTES: usize = 128_000;
const FEW_MEASUREMENTS: usize = 10;
const MOST_BYTES_OF_FEW: usize = 4 << 20;
/// Bytes of measurements in all open buckets; beyond that the oldest are closed.
const OPEN_BYTES: usize = 64 << 20;

/// A bucket being filled.
struct Bucket {
    id: [u8; 12],
    begin: i64,
    /// Documents, one behind the other.
    measurements: Vec<u8>,
    count: usize,
    columns: Vec<(String, MinMax)>,
}

impl Bucket {
    fn iter(&self) -> impl Iterator<Item = Doc<'_>> {
        let mut rest = self.measurements.as_slice();
        std::iter::from_fn(move || {
            let len = rest.first_chunk::<4>().map(|n| u32::from_le_bytes(*n) as usize)?;
            let (doc, after) = rest.split_at_checked(len)?;
            rest = after;
            Some(Doc::from_checked(doc))
        })
    }

    /// Whether a measurement fits: by number, bytes and time, with values of the same kinds, and with fields in an order that the
    /// columns can give back.
    fn takes(&self, layout: &Layout, doc: Doc<'_>, time: i64) -> bool {
        let bytes = self.measurements.len() + doc.as_bytes().len();
        let most = if self.count < FEW_MEASUREMENTS { MOST_BYTES_OF_FEW } else { MOST_BYTES };
        if self.count >= MOST_MEASUREMENTS || bytes > most || time.saturating_sub(self.begin) >= layout.span {
            return false;
        }
        let mut next = 0;
        for e in doc.iter().filter(|e| layout.meta.as_deref() != Some(e.name())) {
            match self.columns.iter().position(|(name, _)| name == e.name()) {
                Some(at) if at >= next && self.columns[at].1.takes(e.value()) => next = at + 1,
                Some(_) => return false,
                // New columns come behind all others.
                None => next = self.columns.len(),
            }
        }
        true
    }

    fn add(&mut self, layout: &Layout, doc: Doc<'_>) {
        self.count += 1;
        self.measurements.extend_from_slice(doc.as_bytes());
        for e in doc.iter().filter(|e| layout.meta.as_deref() != Some(e.name())) {
            match self.columns.iter_mut().find(|(name, _)| name == e.name()) {
                Some((_, extremes)) => extremes.add(e.value()),
                None => self.columns.push((e.name().to_owned(), MinMax::new(e.value()))),
            }
        }
    }

    fn document(&self, layout: &Layout) -> DocBuf {
        let whole = self.build(layout, |_| true);
        if whole.as_bytes().len() <= limits::DOCUMENT_BYTES {
            return whole;
        }
        // A measurement so large that it does not fit three times.
        self.build(layout, |name| name == layout.time)
    }

    /// `bounded`: the columns whose extremes are told.
    fn build(&self, layout: &Layout, bounded: impl Fn(&str) -> bool) -> DocBuf {
        let meta = self.iter().next().zip(layout.meta.as_deref()).map_or(Value::Missing, |(doc, meta)| doc.get(meta));
        DocBuf::build(|w| {
            w.append("_id", ObjectId(self.id));
            {
                let mut control = w.document("control");
                control.append("version", 1);
                for (end, max) in [("min", false), ("max", true)] {
                    let mut w = control.document(end);
                    for (name, extremes) in self.columns.iter().filter(|(name, _)| bounded(name)) {
                        if !max && *name == layout.time {
                            w.append(name, Value::DateTime(self.begin));
                        } else {
                            extremes.write(&mut w, name, max);
                        }
                    }
                }
            }
            w.append("meta", meta);
            let mut data = w.document("data");
            for (name, _) in &self.columns {
                let mut column = data.document(name);
                for (row, doc) in self.iter().enumerate() {
                    column.append(&row.to_string(), doc.get(name));
                }
            }
        })
    }
}

/// The buckets of a stream of measurements, which come in the order of their time.
pub struct Buckets {
    layout: Layout,
    input: Box<dyn Stream>,
    /// By the bytes of the meta value.
    open: HashMap<Vec<u8>, Bucket>,
    /// Open buckets as they began, with some that are closed already.
    order: VecDeque<(i64, Vec<u8>, [u8; 12])>,
    bytes: usize,
    ready: VecDeque<DocBuf>,
    current: DocBuf,
    read: u64,
    ended: bool,
}

impl Buckets {
    pub fn new(layout: Layout, input: Box<dyn Stream>) -> Buckets {
        let (open, order, ready) = (HashMap::new(), VecDeque::new(), VecDeque::new());
        Buckets { layout, input, open, order, bytes: 0, ready, current: DocBuf::new(), read: 0, ended: false }
    }

    fn close(&mut self, key: &[u8]) {
        if let Some(bucket) = self.open.remove(key) {
            self.bytes -= bucket.measurements.len();
            self.ready.push_back(bucket.document(&self.layout));
        }
    }

    /// Closes buckets, oldest first, as long as it is asked for.
    fn close_oldest(&mut self, wanted: impl Fn(&Buckets, i64) -> bool) {
        while let Some((begin, _, _)) = self.order.front()
            && wanted(self, *begin)
        {
            let Some((_, key, id)) = self.order.pop_front() else { return };
            if self.open.get(&key).is_some_and(|bucket| bucket.id == id) {
                self.close(&key);
            }
        }
    }

    /// Puts the input's current measurement into its bucket.
    fn take(&mut self) {
        let Value::DateTime(time) = self.input.doc().get(&self.layout.time) else { return };
        let span = self.layout.span;
        self.close_oldest(|_, begin| time.saturating_sub(begin) >= span);
        let doc = self.input.doc();
        let meta = self.layout.meta.as_deref().map_or(Value::Missing, |meta| doc.get(meta));
        let key = DocBuf::build(|w| {
            w.append("", meta);
        })
        .into_bytes();
        let mut twin = None;
        if let Some(bucket) = self.open.get(&key).filter(|bucket| !bucket.takes(&self.layout, doc, time)) {
            twin = bucket.iter().next().filter(|first| first.as_bytes() == doc.as_bytes()).map(|_| bucket.id);
            self.close(&key);
        }
        let doc = self.input.doc();
        let begin = self.layout.begin(time);
        let bucket = self.open.entry(key.clone()).or_insert_with(|| {
            let id = bucket_id(begin, &key, doc, twin);
            self.order.push_back((begin, key, id));
            Bucket { id, begin, measurements: Vec::new(), count: 0, columns: Vec::new() }
        });
        bucket.add(&self.layout, doc);
        self.bytes += doc.as_bytes().len();
        self.close_oldest(|all, _| all.bytes > OPEN_BYTES);
    }
}

/// As MongoDB's: the time the bucket begins at, in seconds, and something of its own. That is made of its first measurement, and
/// where the bucket before it began with the very same, of that one's id.
fn bucket_id(begin: i64, meta: &[u8], first: Doc<'_>, twin: Option<[u8; 12]>) -> [u8; 12] {
    let mut hash = Md5::new();
    hash.update(meta);
    hash.update(first.as_bytes());
    hash.update(twin.unwrap_or_default());
    let mut id = [0; 12];
    id[..4].copy_from_slice(&(begin.div_euclid(1000) as u32).to_be_bytes());
    id[4..].copy_from_slice(&hash.finalize()[..8]);
    id
}

impl Stream for Buckets {
    fn advance(&mut self, host: &mut dyn Host) -> Result<bool> {
        loop {
            if let Some(bucket) = self.ready.pop_front() {
                self.current = bucket;
                return Ok(true);
            }
            if self.ended {
                return Ok(false);
            }
            if self.input.advance(host)? {
                self.take();
                self.read += 1;
                if self.read.is_multiple_of(1024) {
                    host.interrupt()?;
                }
            } else {
                self.ended = true;
                self.close_oldest(|_, _| true);
            }
        }
    }

    fn doc(&self) -> Doc<'_> {
        self.current.as_doc()
    }

    fn park(&mut self, host: &mut dyn Host) {
        self.input.park(host);
    }
}
