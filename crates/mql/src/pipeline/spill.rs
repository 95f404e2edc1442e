//! Sorting what may not fit into memory: runs on disk, merged when read back.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::sync::atomic::{AtomicUsize, Ordering as Atomic};

use smongo_bson::{Doc, Error, Result, bail, err};

use crate::stream::Host;

/// Records of a key and a payload, given back in the order of their key bytes; equal keys in the order they were pushed.
pub struct Sorter {
    /// The stage, for messages.
    name: &'static str,
    allow_disk: bool,
    /// Only this many first records are wanted.
    limit: Option<usize>,
    /// With a limit, a key that so many records are not behind: whatever is not before it is not wanted.
    bound: Option<Vec<u8>>,
    data: Vec<u8>,
    entries: Vec<Entry>,
    file: Option<File>,
    runs: Vec<Run>,
    written: u64,
    /// Key and payload bytes that came in.
    pushed: u64,
}

/// What sorting took, for explain.
#[derive(Clone, Debug, Default)]
pub struct Spilled {
    /// Bytes that were sorted.
    pub sorted: u64,
    /// Runs on disk, and their bytes.
    pub spills: u64,
    pub bytes: u64,
}

#[derive(Clone, Copy)]
struct Entry {
    /// The first eight key bytes: most comparisons need no more.
    prefix: u64,
    at: usize,
    key: u32,
    payload: u32,
}

struct Run {
    at: u64,
    end: u64,
}

const ENTRY: usize = std::mem::size_of::<Entry>();
/// Up to here the buffer grows as buffers do.
const SMALL: usize = 1 << 20;

impl Sorter {
    pub fn new(name: &'static str, allow_disk: bool, limit: Option<u64>) -> Sorter {
        let limit = limit.and_then(|n| usize::try_from(n).ok());
        Sorter { name, allow_disk, limit, bound: None, data: Vec::new(), entries: Vec::new(), file: None, runs: Vec::new(), written: 0, pushed: 0 }
    }

    pub fn push(&mut self, key: &[u8], payload: &[u8], host: &mut dyn Host) -> Result<()> {
        self.pushed += (key.len() + payload.len()) as u64;
        if self.bound.as_ref().is_some_and(|b| key >= b.as_slice()) {
            return Ok(());
        }
        let entry = Entry { prefix: prefix(key), at: self.data.len(), key: key.len() as u32, payload: payload.len() as u32 };
        if self.data.len() > SMALL {
            // All there may be, once: doubling would copy, and hold both copies. Pages nobody has touched take no memory.
            self.data.reserve_exact((host.memory_limit() + key.len() + payload.len()).saturating_sub(self.data.len()));
        }
        self.data.extend_from_slice(key);
        self.data.extend_from_slice(payload);
        self.entries.push(entry);
        if let Some(limit) = self.limit
            && self.entries.len() >= limit.saturating_mul(2).max(1024)
        {
            self.truncate(limit);
        }
        if self.size() > host.memory_limit() {
            if let Some(limit) = self.limit.filter(|l| *l < self.entries.len()) {
                self.truncate(limit);
            }
            if self.size() > host.memory_limit() {
                self.spill(host)?;
            }
        }
        Ok(())
    }

    /// What sorting took so far.
    pub fn spilled(&self) -> Spilled {
        Spilled { sorted: self.pushed, spills: self.runs.len() as u64, bytes: self.written }
    }

    fn size(&self) -> usize {
        self.data.len() + self.entries.len() * ENTRY
    }

    fn sort(&mut self) {
        let data = &self.data;
        self.entries.sort_unstable_by(|a, b| {
            a.prefix.cmp(&b.prefix).then_with(|| key_of(data, a).cmp(key_of(data, b))).then_with(|| a.at.cmp(&b.at))
        });
    }

    /// Keeps the first `limit` records.
    fn truncate(&mut self, limit: usize) {
        self.sort();
        self.entries.truncate(limit);
        self.bound = self.entries.last().map(|worst| key_of(&self.data, worst).to_vec());
        // Offsets double as arrival order, so the data is moved in that order.
        self.entries.sort_unstable_by_key(|e| e.at);
        let mut end = 0;
        for e in &mut self.entries {
            let len = e.key as usize + e.payload as usize;
            self.data.copy_within(e.at..e.at + len, end);
            e.at = end;
            end += len;
        }
        self.data.truncate(end);
    }

    fn spill(&mut self, host: &mut dyn Host) -> Result<()> {
        if !self.allow_disk {
            return Err(over_limit(self.name, host.memory_limit()));
        }
        if self.entries.is_empty() {
            return Ok(());
        }
        self.sort();
        if let Some(limit) = self.limit {
            self.entries.truncate(limit);
        }
        let (mut entries, mut data) = (std::mem::take(&mut self.entries), std::mem::take(&mut self.data));
        let records = entries.iter().map(|e| {
            let at = e.at + e.key as usize;
            Ok((key_of(&data, e), data.get(at..at + e.payload as usize).unwrap_or(&[])))
        });
        self.write_run(host, records)?;
        entries.clear();
        data.clear();
        (self.entries, self.data) = (entries, data);
        Ok(())
    }

    /// Writes records that come sorted to disk, without holding them: for stages that keep theirs otherwise.
    pub fn write_run<K: AsRef<[u8]>, P: AsRef<[u8]>>(&mut self, host: &mut dyn Host, records: impl Iterator<Item = Result<(K, P)>>) -> Result<()> {
        let file = match &mut self.file {
            Some(f) => f,
            none => none.insert(host.spill_file()?),
        };
        file.seek(SeekFrom::Start(self.written)).map_err(io)?;
        let start = self.written;
        let mut out = std::io::BufWriter::with_capacity(1 << 18, &mut *file);
        for record in records {
            let (key, payload) = record?;
            let (key, payload) = (key.as_ref(), payload.as_ref());
            out.write_all(&(key.len() as u32).to_le_bytes()).map_err(io)?;
            out.write_all(&(payload.len() as u32).to_le_bytes()).map_err(io)?;
            out.write_all(key).map_err(io)?;
            out.write_all(payload).map_err(io)?;
            self.written += 8 + (key.len() + payload.len()) as u64;
        }
        out.flush().map_err(io)?;
        drop(out);
        self.runs.push(Run { at: start, end: self.written });
        host.interrupt()
    }

    pub fn finish(mut self, host: &mut dyn Host) -> Result<Sorted> {
        if self.runs.is_empty() {
            self.sort();
            if let Some(limit) = self.limit {
                self.entries.truncate(limit);
            }
            return Ok(Sorted { source: Source::Memory { data: self.data, entries: self.entries, next: 0 }, left: usize::MAX });
        }
        self.spill(host)?;
        let Some(file) = self.file else { bail!(InternalError, "no spill file") };
        let mut merge = Merge { file, runs: Vec::new(), heap: BinaryHeap::new(), current: Head::default(), _rested: None };
        for (number, run) in self.runs.into_iter().enumerate() {
            merge.runs.push(Reader { at: run.at, end: run.end, buf: Vec::new(), next: 0 });
            merge.refill(number)?;
        }
        Ok(Sorted { source: Source::Merge(merge), left: self.limit.unwrap_or(usize::MAX) })
    }
}

/// The parts of a row: a document, and what is attached to it, where anything is.
pub(super) fn document_and_meta(row: &[u8]) -> (Doc<'_>, Doc<'_>) {
    let len = row.first_chunk::<4>().map_or(0, |b| i32::from_le_bytes(*b) as usize);
    match row.split_at_checked(len) {
        Some((doc, meta)) if len > 0 => (Doc::from_checked(doc), if meta.is_empty() { Doc::EMPTY } else { Doc::from_checked(meta) }),
        _ => (Doc::EMPTY, Doc::EMPTY),
    }
}

/// The error of a stage (`sort`: of a find) whose memory is used up and that may not use the disk.
pub(super) fn over_limit(name: &str, limit: usize) -> Error {
    match name {
        "$sort" | "sort" => err!(
            QueryExceededMemoryLimitNoDiskUseAllowed,
            "Executor error during {} command :: caused by :: Sort exceeded memory limit of {limit} bytes, but did not opt in to external sorting. Aborting operation. Pass allowDiskUse:true to opt in.",
            if name == "sort" { "find" } else { "aggregate" }
        ),
        _ => err!(
            QueryExceededMemoryLimitNoDiskUseAllowed,
            "Exceeded memory limit for {name}, but didn't allow external spilling; pass allowDiskUse:true to opt in"
        ),
    }
}

fn io(e: std::io::Error) -> Error {
    err!(FileStreamFailed, "error with a spill file: {e}")
}

fn prefix(key: &[u8]) -> u64 {
    let mut bytes = [0; 8];
    let n = key.len().min(8);
    bytes[..n].copy_from_slice(&key[..n]);
    u64::from_be_bytes(bytes)
}

fn key_of<'d>(data: &'d [u8], e: &Entry) -> &'d [u8] {
    data.get(e.at..e.at + e.key as usize).unwrap_or(&[])
}

/// The records in order.
pub struct Sorted {
    source: Source,
    left: usize,
}

enum Source {
    Memory { data: Vec<u8>, entries: Vec<Entry>, next: usize },
    Merge(Merge),
}

/// What a resting stream holds of its records stays in memory up to so many bytes.
pub(super) const RESTS_IN_MEMORY: usize = 1 << 20;
/// Files of resting streams at one time: descriptors are few, and clients that forget their cursors many.
const RESTING_FILES: usize = 256;
static RESTING: AtomicUsize = AtomicUsize::new(0);

/// The right to one of those files.
pub(super) struct RestingFile(());

impl RestingFile {
    fn take() -> Option<RestingFile> {
        let taken = RESTING.fetch_update(Atomic::AcqRel, Atomic::Acquire, |n| (n < RESTING_FILES).then_some(n + 1));
        taken.ok().map(|_| RestingFile(()))
    }
}

impl Drop for RestingFile {
    fn drop(&mut self) {
        RESTING.fetch_sub(1, Atomic::AcqRel);
    }
}

/// Writes records to a file in the order they come; they are read back from there.
pub(super) fn to_file<K: AsRef<[u8]>, P: AsRef<[u8]>>(name: &'static str, host: &mut dyn Host, records: impl Iterator<Item = Result<(K, P)>>) -> Result<Sorted> {
    let mut sorter = Sorter::new(name, true, None);
    sorter.write_run(host, records)?;
    sorter.finish(host)
}

impl Sorted {
    /// For a stream that nobody has read for a while: lets go of the records that were read, and of memory where the disk may be
    /// used. The current record stays.
    pub fn rest(&mut self, allow_disk: bool, host: &mut dyn Host) {
        let (data, entries, next) = match &mut self.source {
            Source::Memory { data, entries, next } => (data, entries, next),
            Source::Merge(merge) => return merge.runs.iter_mut().for_each(Reader::rest),
        };
        let kept = entries.get(next.saturating_sub(1)..).unwrap_or_default();
        let bytes: usize = kept.iter().map(|e| e.key as usize + e.payload as usize).sum();
        if allow_disk
            && bytes > RESTS_IN_MEMORY
            && let Some(right) = RestingFile::take()
        {
            let record = |e: &Entry| {
                let at = e.at + e.key as usize;
                Ok((key_of(data, e), data.get(at..at + e.payload as usize).unwrap_or(&[])))
            };
            let ahead = entries.get(*next..).unwrap_or_default();
            let current = next.checked_sub(1).and_then(|at| entries.get(at)).map(|e| {
                let bytes = data.get(e.at..e.at + e.key as usize + e.payload as usize).unwrap_or(&[]).to_vec();
                Head { run: 0, key: e.key as usize, bytes }
            });
            // Where the disk is full the records stay where they are.
            if let Ok(Sorted { source: Source::Merge(mut merge), .. }) = to_file("rest", host, ahead.iter().map(record)) {
                merge.current = current.unwrap_or_default();
                merge._rested = Some(right);
                merge.runs.iter_mut().for_each(Reader::rest);
                self.source = Source::Merge(merge);
                return;
            }
        }
        let mut left = Vec::with_capacity(bytes);
        let mut places = Vec::with_capacity(kept.len());
        for e in kept {
            places.push(Entry { at: left.len(), ..*e });
            left.extend_from_slice(data.get(e.at..e.at + e.key as usize + e.payload as usize).unwrap_or(&[]));
        }
        let next = (*next).min(1);
        self.source = Source::Memory { data: left, entries: places, next };
    }

    /// Moves to the next record.
    pub fn advance(&mut self) -> Result<bool> {
        if self.left == 0 {
            return Ok(false);
        }
        self.left -= 1;
        match &mut self.source {
            Source::Memory { entries, next, .. } => {
                *next += 1;
                Ok(*next <= entries.len())
            }
            Source::Merge(m) => m.advance(),
        }
    }

    pub fn key(&self) -> &[u8] {
        match &self.source {
            Source::Memory { data, entries, next } => next.checked_sub(1).and_then(|at| entries.get(at)).map_or(&[], |e| key_of(data, e)),
            Source::Merge(m) => m.current.key(),
        }
    }

    pub fn payload(&self) -> &[u8] {
        match &self.source {
            Source::Memory { data, entries, next } => {
                let entry = next.checked_sub(1).and_then(|at| entries.get(at));
                entry.and_then(|e| data.get(e.at + e.key as usize..e.at + e.key as usize + e.payload as usize)).unwrap_or(&[])
            }
            Source::Merge(m) => m.current.payload(),
        }
    }
}

struct Merge {
    file: File,
    runs: Vec<Reader>,
    heap: BinaryHeap<Head>,
    current: Head,
    _rested: Option<RestingFile>,
}

struct Reader {
    at: u64,
    end: u64,
    buf: Vec<u8>,
    next: usize,
}

/// A run's next record. The heap gives the least key, of the earliest run.
#[derive(Default, PartialEq, Eq)]
struct Head {
    run: usize,
    key: usize,
    bytes: Vec<u8>,
}

impl Head {
    fn key(&self) -> &[u8] {
        self.bytes.get(..self.key).unwrap_or(&[])
    }
    fn payload(&self) -> &[u8] {
        self.bytes.get(self.key..).unwrap_or(&[])
    }
}

impl Ord for Head {
    fn cmp(&self, other: &Head) -> Ordering {
        other.key().cmp(self.key()).then_with(|| other.run.cmp(&self.run))
    }
}

impl PartialOrd for Head {
    fn partial_cmp(&self, other: &Head) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Merge {
    fn advance(&mut self) -> Result<bool> {
        let Some(head) = self.heap.pop() else { return Ok(false) };
        let run = head.run;
        self.current = head;
        self.refill(run)?;
        Ok(true)
    }

    /// Puts the run's next record into the heap.
    fn refill(&mut self, number: usize) -> Result<()> {
        let Some(run) = self.runs.get_mut(number) else { return Ok(()) };
        let mut header = [0u8; 8];
        if !run.read(&mut self.file, &mut header)? {
            return Ok(());
        }
        let word = |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]) as usize;
        let (key, payload) = (word(0), word(4));
        let mut bytes = vec![0; key + payload];
        run.read(&mut self.file, &mut bytes)?;
        self.heap.push(Head { run: number, key, bytes });
        Ok(())
    }
}

impl Reader {
    /// Reads again from the file what it has read ahead.
    fn rest(&mut self) {
        self.at -= (self.buf.len() - self.next) as u64;
        (self.buf, self.next) = (Vec::new(), 0);
    }

    /// Fills `out` from the run; `false` at its end.
    fn read(&mut self, file: &mut File, out: &mut [u8]) -> Result<bool> {
        let mut done = 0;
        while done < out.len() {
            if self.next == self.buf.len() {
                let size = (self.end - self.at).min(1 << 16) as usize;
                if size == 0 {
                    return Ok(false);
                }
                self.buf.resize(size, 0);
                file.seek(SeekFrom::Start(self.at)).map_err(io)?;
                file.read_exact(&mut self.buf).map_err(io)?;
                self.at += size as u64;
                self.next = 0;
            }
            let n = (out.len() - done).min(self.buf.len() - self.next);
            out[done..done + n].copy_from_slice(&self.buf[self.next..self.next + n]);
            done += n;
            self.next += n;
        }
        Ok(true)
    }
}

/// Documents in the order they came, read as often as one likes; beyond the memory limit on disk.
pub(super) struct Spool {
    name: &'static str,
    allow_disk: bool,
    data: Vec<u8>,
    file: Option<File>,
    written: u64,
}

impl Spool {
    pub fn new(name: &'static str, allow_disk: bool) -> Spool {
        Spool { name, allow_disk, data: Vec::new(), file: None, written: 0 }
    }

    pub fn push(&mut self, doc: &[u8], host: &mut dyn Host) -> Result<()> {
        if self.data.len() + doc.len() > host.memory_limit() && !self.data.is_empty() {
            if !self.allow_disk {
                return Err(over_limit(self.name, host.memory_limit()));
            }
            let file = match &mut self.file {
                Some(f) => f,
                none => none.insert(host.spill_file()?),
            };
            file.write_all(&self.data).map_err(io)?;
            self.written += self.data.len() as u64;
            self.data.clear();
            host.interrupt()?;
        }
        self.data.extend_from_slice(doc);
        Ok(())
    }

    /// No more documents come.
    pub fn finish(mut self) -> Result<Spool> {
        if let Some(file) = &mut self.file {
            file.write_all(&self.data).map_err(io)?;
            self.written += self.data.len() as u64;
            self.data = Vec::new();
        }
        Ok(self)
    }

    /// The document at an offset, copied to `out`; `false` at the end.
    pub fn read(&self, at: u64, out: &mut Vec<u8>) -> Result<bool> {
        match &self.file {
            None => {
                let rest = self.data.get(at as usize..).unwrap_or(&[]);
                let Some(len) = rest.first_chunk::<4>().map(|b| i32::from_le_bytes(*b) as usize) else { return Ok(false) };
                out.clear();
                out.extend_from_slice(rest.get(..len).unwrap_or(&[]));
                Ok(true)
            }
            Some(file) if at < self.written => {
                let mut file = file;
                let mut len = [0; 4];
                file.seek(SeekFrom::Start(at)).map_err(io)?;
                file.read_exact(&mut len).map_err(io)?;
                out.clear();
                out.resize(i32::from_le_bytes(len) as usize, 0);
                out[..4].copy_from_slice(&len);
                file.read_exact(&mut out[4..]).map_err(io)?;
                Ok(true)
            }
            Some(_) => Ok(false),
        }
    }
}

/// A stream over a finished [`Spool`].
pub(super) struct SpoolReader {
    spool: std::sync::Arc<Spool>,
    at: u64,
    current: Vec<u8>,
}

impl SpoolReader {
    pub fn new(spool: std::sync::Arc<Spool>) -> SpoolReader {
        SpoolReader { spool, at: 0, current: Vec::new() }
    }
}

impl crate::stream::Stream for SpoolReader {
    fn advance(&mut self, _host: &mut dyn Host) -> Result<bool> {
        let more = self.spool.read(self.at, &mut self.current)?;
        if more {
            self.at += self.current.len() as u64;
        }
        Ok(more)
    }
    fn doc(&self) -> smongo_bson::Doc<'_> {
        smongo_bson::Doc::from_checked(&self.current)
    }
}
