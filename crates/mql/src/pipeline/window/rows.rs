//! The rows of a partition: read from the sorted documents as far as somebody wanted to see, and kept as long as somebody needs them.

use std::sync::Arc;

use smongo_bson::{Binary, Doc, DocWriter, Error, Result, Value, err, keystring};

use super::column::{Column, Cursor, Disk};
use crate::accum::Accumulator;
use crate::arena::Arena;
use crate::cx::Cx;
use crate::expr::Expr;
use crate::pipeline::spill::Sorted;
use crate::stream::Host;

/// What a function reads of each row. It is evaluated once, when the row is read, and kept in a column.
pub(super) enum Input {
    Value(Arc<Expr>),
    /// An accumulator's argument, behind the sort key for `$top` and its kin.
    Argument(Arc<Accumulator>),
    /// The row's sort key, to tell ties.
    Key,
    /// The value of the only sort key, and another.
    Point { x: Arc<Expr>, y: Expr },
}

/// The only value of an input.
pub(super) fn value(record: Doc<'_>) -> Value<'_> {
    record.first().map_or(Value::Missing, |e| e.value())
}

/// Both values of a point, or key and value of `$top`'s argument.
pub(super) fn pair(record: Doc<'_>) -> (Value<'_>, Value<'_>) {
    let mut values = record.iter().map(|e| e.value());
    (values.next().unwrap_or(Value::Missing), values.next().unwrap_or(Value::Missing))
}

/// A number or a date by itself.
pub(super) fn number(value: Value<'_>) -> Option<Value<'static>> {
    Some(match value {
        Value::Int32(n) => Value::Int32(n),
        Value::Int64(n) => Value::Int64(n),
        Value::Double(x) => Value::Double(x),
        Value::Decimal(d) => Value::Decimal(d),
        Value::DateTime(ms) => Value::DateTime(ms),
        _ => return None,
    })
}

/// The bytes of a key.
pub(super) fn key(value: Value<'_>) -> &[u8] {
    match value {
        Value::Binary(b) => b.bytes(),
        _ => &[],
    }
}

impl Input {
    fn write(&self, doc: Doc<'_>, key: &[u8], arena: &Arena, scratch: &mut Vec<u8>, out: &mut Vec<u8>) -> Result<()> {
        let eval = |e| Expr::eval_doc(e, doc, arena);
        let mut out = DocWriter::new(out);
        // The subtype of the binary value that carries a key.
        scratch.clear();
        scratch.push(0);
        match self {
            Input::Value(e) => out.append("", eval(e)?),
            Input::Argument(accumulator) => {
                if let Some(sort) = accumulator.sort() {
                    sort.append_key(doc, scratch)?;
                    out.append("", Value::Binary(Binary::from_raw(scratch)));
                }
                out.append("", accumulator.evaluate(&Cx::new(arena, doc, accumulator.slots()))?)
            }
            Input::Key => {
                scratch.extend_from_slice(key);
                out.append("", Value::Binary(Binary::from_raw(scratch)))
            }
            Input::Point { x, y } => {
                let x = eval(x)?;
                out.append("", if x.is_missing() { Value::Null } else { x }).append("", eval(y)?)
            }
        };
        Ok(())
    }
}

fn too_large(size: usize, limit: usize) -> Error {
    err!(5643011, "Exceeded max memory. Current memory: {size} bytes. Max allowed memory: {limit} bytes")
}

/// A partition.
pub(super) struct Rows {
    sorted: Sorted,
    /// `sorted` stands on a record that was not taken.
    more: bool,
    /// That record belongs to the next partition, or there is none.
    complete: bool,
    /// Which keys begin with the partition.
    partitioned: bool,
    partition: Vec<u8>,
    /// How many rows were read.
    len: u64,
    docs: Column,
    doc: Cursor,
    inputs: Vec<(Input, Column)>,
    disk: Disk,
    allow_disk: bool,
    /// Bytes that the functions hold, but for the one at work.
    pub held: usize,
    arena: Arena,
    scratch: Vec<u8>,
}

impl Rows {
    /// `partitioned`: keys of `sorted` begin with the partition.
    pub fn new(mut sorted: Sorted, partitioned: bool, inputs: Vec<Input>, allow_disk: bool) -> Result<Rows> {
        let more = sorted.advance()?;
        let inputs = inputs.into_iter().map(|input| (input, Column::default())).collect();
        let (docs, doc, disk, arena) = (Column::default(), Cursor::default(), Disk::default(), Arena::new());
        let (partition, scratch) = (Vec::new(), Vec::new());
        Ok(Rows { sorted, more, complete: true, partitioned, partition, len: 0, docs, doc, inputs, disk, allow_disk, held: 0, arena, scratch })
    }

    /// Goes to the next partition, once the one before was read to its end; `false` behind the last.
    pub fn next_partition(&mut self) -> Result<bool> {
        if !self.more {
            return Ok(false);
        }
        let key = self.sorted.key();
        let rest = if self.partitioned { keystring::skip(key, false)?.len() } else { key.len() };
        self.partition.clear();
        self.partition.extend_from_slice(key.get(..key.len() - rest).unwrap_or(&[]));
        (self.len, self.held, self.complete) = (0, 0, false);
        self.docs.clear();
        self.doc.restart();
        self.inputs.iter_mut().for_each(|(_, column)| column.clear());
        self.disk.clear()?;
        Ok(true)
    }

    /// How many rows were read; all of them once [`Rows::reach`] has answered `false`.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Reads up to `row`; `false` when the partition ends before it.
    pub fn reach(&mut self, row: u64, host: &mut dyn Host) -> Result<bool> {
        while self.len <= row {
            if self.complete {
                return Ok(false);
            }
            self.fetch(host)?;
        }
        Ok(true)
    }

    fn fetch(&mut self, host: &mut dyn Host) -> Result<()> {
        let doc = Doc::from_checked(self.sorted.payload());
        let key = self.sorted.key().get(self.partition.len()..).unwrap_or(&[]);
        self.docs.push(|out| {
            out.extend_from_slice(doc.as_bytes());
            Ok(())
        })?;
        for (input, column) in &mut self.inputs {
            self.arena.reset();
            column.push(|out| input.write(doc, key, &self.arena, &mut self.scratch, out))?;
        }
        self.len += 1;
        self.more = self.sorted.advance()?;
        self.complete = !self.more || !self.sorted.key().starts_with(&self.partition);
        if self.len.is_multiple_of(256) {
            host.interrupt()?;
        }
        self.check_memory(host)
    }

    /// Moves rows to disk when too much is in memory.
    pub fn check_memory(&mut self, host: &mut dyn Host) -> Result<()> {
        let limit = host.memory_limit();
        let rows = self.docs.size() + self.inputs.iter().map(|(_, column)| column.size()).sum::<usize>();
        let size = rows + self.held;
        if size <= limit {
            return Ok(());
        }
        if !self.allow_disk {
            return Err(too_large(size, limit));
        }
        // Functions that hold nearly all there may be would have every row written by itself.
        if rows > limit / 16 {
            self.docs.spill(&mut self.disk, host)?;
            for (_, column) in &mut self.inputs {
                column.spill(&mut self.disk, host)?;
            }
        }
        Ok(())
    }

    /// Fails when the function at work holds so many bytes that all of them hold too much: that cannot go to disk.
    pub fn check_held(&self, size: usize, host: &dyn Host) -> Result<()> {
        let (size, limit) = (self.held + size, host.memory_limit());
        if size > limit { Err(too_large(size, limit)) } else { Ok(()) }
    }

    /// The document at `row`, which was reached and is not before the one asked for last.
    pub fn doc(&mut self, row: u64) -> Result<Doc<'_>> {
        self.docs.release(self.doc.chunk());
        self.doc.read(row, &self.docs, &self.disk)
    }

    /// What an input is at `row`, which was reached.
    pub fn read<'r>(&'r self, input: usize, row: u64, cursor: &'r mut Cursor) -> Result<Doc<'r>> {
        match self.inputs.get(input) {
            Some((_, column)) => cursor.read(row, column, &self.disk),
            None => Ok(Doc::EMPTY),
        }
    }

    /// Moves a cursor to `row` or behind the last.
    pub fn seek(&self, input: usize, row: u64, cursor: &mut Cursor) -> Result<()> {
        self.inputs.get(input).map_or(Ok(()), |(_, column)| cursor.seek(row, column, &self.disk))
    }

    /// Says which cursors still read an input.
    pub fn release<const N: usize>(&mut self, input: usize, cursors: [&Cursor; N]) {
        if let (Some((_, column)), Some(chunk)) = (self.inputs.get_mut(input), cursors.iter().map(|c| c.chunk()).min()) {
            column.release(chunk);
        }
    }
}
