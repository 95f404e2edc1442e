//! Small documents in a row, appended at one end and read forwards by cursors; on disk where memory is short.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};

use smongo_bson::{Doc, Error, Result, err};

use crate::stream::Host;

/// What a chunk has room for. It is full before it has to grow, most likely.
const ROOM: usize = 1 << 16;
const FULL: usize = ROOM - ROOM / 16;

/// The file that the columns of a partition share.
#[derive(Default)]
pub(super) struct Disk {
    file: Option<File>,
    written: u64,
}

fn io(e: std::io::Error) -> Error {
    err!(FileStreamFailed, "error with a spill file: {e}")
}

impl Disk {
    fn write(&mut self, bytes: &[u8], host: &mut dyn Host) -> Result<Chunk> {
        let file = match &mut self.file {
            Some(f) => f,
            none => none.insert(host.spill_file()?),
        };
        let at = self.written;
        file.seek(SeekFrom::Start(at)).map_err(io)?;
        file.write_all(bytes).map_err(io)?;
        self.written += bytes.len() as u64;
        Ok(Chunk::Disk { at, len: bytes.len() })
    }

    fn read(&self, at: u64, out: &mut [u8]) -> Result<()> {
        let Some(mut file) = self.file.as_ref() else { return Ok(()) };
        file.seek(SeekFrom::Start(at)).map_err(io)?;
        file.read_exact(out).map_err(io)
    }

    /// Nothing that was written is read any more.
    pub fn clear(&mut self) -> Result<()> {
        match &self.file {
            Some(file) if self.written > 0 => file.set_len(0).map_err(io)?,
            _ => {}
        }
        self.written = 0;
        Ok(())
    }
}

enum Chunk {
    Memory(Vec<u8>),
    Disk { at: u64, len: usize },
}

impl Chunk {
    fn len(&self) -> usize {
        match self {
            Chunk::Memory(bytes) => bytes.len(),
            Chunk::Disk { len, .. } => *len,
        }
    }
}

/// The documents. Those that all cursors are past are let go by the chunk.
#[derive(Default)]
pub(super) struct Column {
    chunks: VecDeque<Chunk>,
    /// The number of the first chunk that is still there.
    first: usize,
    /// Bytes in memory.
    size: usize,
    /// A buffer for the next chunk.
    spare: Vec<u8>,
}

impl Column {
    /// Appends the document that `fill` writes.
    pub fn push(&mut self, fill: impl FnOnce(&mut Vec<u8>) -> Result<()>) -> Result<()> {
        if !matches!(self.chunks.back(), Some(Chunk::Memory(bytes)) if bytes.len() < FULL) {
            let mut bytes = std::mem::take(&mut self.spare);
            // Most partitions are small, so that the first one grows, by doubling.
            bytes.reserve_exact(if self.first == 0 && self.chunks.is_empty() { ROOM / 64 } else { ROOM });
            self.chunks.push_back(Chunk::Memory(bytes));
        }
        let Some(Chunk::Memory(bytes)) = self.chunks.back_mut() else { return Ok(()) };
        let before = bytes.len();
        fill(bytes)?;
        self.size += bytes.len() - before;
        Ok(())
    }

    fn chunk(&self, number: usize) -> Option<&Chunk> {
        self.chunks.get(number.checked_sub(self.first)?)
    }

    pub fn size(&self) -> usize {
        self.size
    }

    /// Lets go of the chunks before one.
    pub fn release(&mut self, chunk: usize) {
        while self.first < chunk {
            self.first += 1;
            if let Some(Chunk::Memory(bytes)) = self.chunks.pop_front() {
                self.size -= bytes.len();
                self.keep(bytes);
            }
        }
    }

    pub fn clear(&mut self) {
        let last = self.chunks.pop_back();
        *self = Column { spare: std::mem::take(&mut self.spare), ..Column::default() };
        if let Some(Chunk::Memory(bytes)) = last {
            self.keep(bytes);
        }
    }

    fn keep(&mut self, mut bytes: Vec<u8>) {
        if bytes.capacity() <= 2 * ROOM {
            bytes.clear();
            self.spare = bytes;
        }
    }

    /// Moves everything to disk.
    pub fn spill(&mut self, disk: &mut Disk, host: &mut dyn Host) -> Result<()> {
        for chunk in &mut self.chunks {
            if let Chunk::Memory(bytes) = chunk {
                *chunk = disk.write(bytes, host)?;
            }
        }
        self.size = 0;
        Ok(())
    }
}

/// A position in a column, which only moves forwards.
#[derive(Default)]
pub(super) struct Cursor {
    row: u64,
    chunk: usize,
    at: usize,
    /// The chunk that `bytes` holds a copy of, because it is on disk.
    loaded: Option<usize>,
    bytes: Vec<u8>,
}

impl Cursor {
    /// Back to the front, for a new partition.
    pub fn restart(&mut self) {
        *self = Cursor { bytes: std::mem::take(&mut self.bytes), ..Cursor::default() };
    }

    /// The chunk that it needs next.
    pub fn chunk(&self) -> usize {
        self.chunk
    }

    /// Moves to `row`, or behind the last one there is.
    pub fn seek(&mut self, row: u64, column: &Column, disk: &Disk) -> Result<()> {
        while let Some(chunk) = column.chunk(self.chunk) {
            if self.at < chunk.len() {
                self.load(chunk, disk)?;
                if self.row == row {
                    return Ok(());
                }
                self.at += self.length(chunk);
                self.row += 1;
            } else if column.chunk(self.chunk + 1).is_some() {
                self.chunk += 1;
                self.at = 0;
            } else {
                return Ok(());
            }
        }
        Ok(())
    }

    /// The document at `row`, which is there and not before the one read last.
    pub fn read<'c>(&'c mut self, row: u64, column: &'c Column, disk: &Disk) -> Result<Doc<'c>> {
        self.seek(row, column, disk)?;
        let Some(chunk) = column.chunk(self.chunk) else { return Ok(Doc::EMPTY) };
        let length = self.length(chunk);
        Ok(self.bytes_of(chunk).get(self.at..self.at + length).map_or(Doc::EMPTY, Doc::from_checked))
    }

    fn load(&mut self, chunk: &Chunk, disk: &Disk) -> Result<()> {
        if let Chunk::Disk { at, len } = chunk
            && self.loaded != Some(self.chunk)
        {
            self.bytes.resize(*len, 0);
            disk.read(*at, &mut self.bytes)?;
            self.loaded = Some(self.chunk);
        }
        Ok(())
    }

    fn bytes_of<'c>(&'c self, chunk: &'c Chunk) -> &'c [u8] {
        match chunk {
            Chunk::Memory(bytes) => bytes,
            Chunk::Disk { .. } => &self.bytes,
        }
    }

    /// The length of the document it stands on.
    fn length(&self, chunk: &Chunk) -> usize {
        let rest = self.bytes_of(chunk).get(self.at..).unwrap_or(&[]);
        rest.first_chunk::<4>().map_or(0, |b| i32::from_le_bytes(*b) as usize)
    }
}
