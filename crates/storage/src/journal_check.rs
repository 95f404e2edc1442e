//! Looks through the journal before the library opens it, which ends at the first record that it cannot read and drops whatever is
//! behind, without a word.
//!
//! A file of the journal is records, each at a multiple of [`ALIGN`] bytes: the length with this header (`u32`), a CRC-32C of the
//! record with this field zero (`u32`), flags (`u16`), two bytes that are zero, the length before compression (`u32`), little-endian.
//! The first record of a file describes it: a magic number, a version, the length that the file is allocated with. The last file
//! keeps that length, zeros behind its records; the others are cut off behind theirs.

use crate::directory::explain;
use crate::error::{Error, ErrorKind, Result};
use std::fs;
use std::path::Path;

const ALIGN: usize = 128;
const HEADER: usize = 16;
const MAGIC: u32 = 0x0010_1064;
const VERSION: u8 = 5;
/// Where files go that cannot be used any more.
const LOST: &str = "lost-journal";
/// What a disk writes whole or not at all.
const SECTOR: usize = 512;
const PREFIX: &str = "WiredTigerLog.";
/// The text of the root file that says from where on the journal is needed.
const CHECKPOINT: &str = "checkpoint_lsn=(";

/// What was found behind the last record of the journal that can be read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JournalEnd {
    /// The file with the first record that cannot be read, and where; empty when all is well.
    pub file: String,
    pub offset: u64,
    /// Bytes behind it that hold something.
    pub lost_bytes: u64,
    /// Whole records among them, which the opening drops, too.
    pub lost_records: u64,
    /// The file is shorter than it was made: nobody knows what was behind its end.
    pub cut_off: bool,
    /// It looks like a record that was being written when the process or the machine ended, of which nobody was told that it is on disk.
    pub torn: bool,
}

impl JournalEnd {
    pub fn is_sound(&self) -> bool {
        self.file.is_empty()
    }

    /// For people.
    pub fn describe(&self) -> String {
        let JournalEnd { file, offset, lost_bytes, lost_records, .. } = self;
        if self.cut_off {
            return format!("the journal's file {file} was cut off: what was written behind byte {offset} is lost");
        }
        if self.torn {
            return format!(
                "{lost_bytes} bytes at the end of the journal were dropped ({file}, from byte {offset} on): a record that was being \
                 written when the process or the machine ended, and of which nobody was told that it is on disk"
            );
        }
        format!(
            "{lost_bytes} bytes at the end of the journal cannot be used and were dropped ({file}, from byte {offset} on; {lost_records} \
             whole records among them): the journal is damaged there, and writes that were acknowledged may be lost"
        )
    }
}

/// A position in the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Position {
    file: u32,
    offset: usize,
}

/// Looks through what a database's journal holds since the last checkpoint. An error when a file is missing without which the rest
/// cannot be used.
pub(crate) fn check(directory: &Path) -> Result<JournalEnd> {
    let files = files(directory)?;
    let Some(start) = start(directory, &files) else { return Ok(JournalEnd::default()) };
    let last = files.last().copied().unwrap_or(0).max(start.file);
    if let Some(missing) = (start.file..=last).find(|n| files.binary_search(n).is_err()) {
        return Err(missing_file(directory, &name(missing)));
    }
    let mut scan = Scan { directory, last, end: JournalEnd::default() };
    scan.run(start)?;
    Ok(scan.end)
}

/// Goes on without files that are missing or end too early: what is behind them is put aside into [`LOST`], and empty files take all
/// the places, and one more, so that the library goes on counting there. The positions of the tables' last checkpoints must not be
/// greater than those of what is written next, or that would be passed over after a crash. Tells what was put aside.
pub(crate) fn go_on_without(directory: &Path, allocated: u64) -> Result<JournalEnd> {
    let files = files(directory)?;
    let start = start(directory, &files).unwrap_or(Position { file: 1, offset: 0 });
    let last = files.last().copied().unwrap_or(0).max(start.file);
    let scan = Scan { directory, last, end: JournalEnd::default() };
    let usable = |n: &u32| files.binary_search(n).is_ok() && (*n > start.file || scan.read(*n).and_then(|bytes| scan.reaches(*n, &bytes, start.offset)).is_ok());
    let first = (start.file..=last).find(|n| !usable(n)).unwrap_or(last + 1);
    let mut end = JournalEnd { file: name(first), ..JournalEnd::default() };
    let aside = directory.join(LOST);
    for number in first..=last + 1 {
        let path = directory.join(name(number));
        if files.binary_search(&number).is_ok() {
            let (bytes, records) = behind(&scan.read(number)?, 0, 0);
            (end.lost_bytes, end.lost_records) = (end.lost_bytes + bytes, end.lost_records + records);
            let put_aside = || {
                fs::create_dir_all(&aside)?;
                fs::rename(&path, aside.join(name(number)))
            };
            put_aside().map_err(|e| explain(&path, e))?;
        }
        write_empty(&path, allocated).map_err(|e| explain(&path, e))?;
    }
    fs::File::open(directory).and_then(|d| d.sync_all()).map_err(|e| explain(directory, e))?;
    Ok(end)
}

/// A file of the journal without records, as long as the library makes them.
fn write_empty(path: &Path, allocated: u64) -> std::io::Result<()> {
    let mut record = vec![0; ALIGN];
    record[..4].copy_from_slice(&(ALIGN as u32).to_le_bytes());
    record[16..20].copy_from_slice(&MAGIC.to_le_bytes());
    record[20] = VERSION;
    record[24..32].copy_from_slice(&allocated.to_le_bytes());
    let checksum = crc32c::crc32c(&record);
    record[4..8].copy_from_slice(&checksum.to_le_bytes());
    fs::write(path, &record)?;
    let file = fs::File::options().write(true).open(path)?;
    file.set_len(allocated)?;
    file.sync_all()
}

fn missing_file(directory: &Path, file: &str) -> Error {
    Error::new(
        ErrorKind::Corrupt,
        format!(
            "cannot open {}: {file} is missing, a file of the journal that is needed since the last checkpoint. Without it writes are lost; \
             `smongo repair` opens the database all the same",
            directory.display()
        ),
    )
}

fn name(number: u32) -> String {
    format!("{PREFIX}{number:010}")
}

/// The numbers of the journal's files, in their order.
fn files(directory: &Path) -> Result<Vec<u32>> {
    let mut numbers = Vec::new();
    for entry in fs::read_dir(directory).map_err(|e| explain(directory, e))? {
        let entry = entry.map_err(|e| explain(directory, e))?;
        let number = entry.file_name().to_str().and_then(|name| name.strip_prefix(PREFIX)?.parse::<u32>().ok());
        numbers.extend(number);
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// Where the journal begins to be needed. A copy of a database has no root file until it is opened, and needs all of the journal it has.
fn start(directory: &Path, files: &[u32]) -> Option<Position> {
    let root = ["WiredTiger.turtle", "WiredTiger.turtle.set"].into_iter().find_map(|name| fs::read(directory.join(name)).ok());
    let first = files.first().map(|first| Position { file: *first, offset: 0 });
    root.as_deref().and_then(checkpoint).or(first)
}

/// The position from which the root file says the journal is needed.
fn checkpoint(root: &[u8]) -> Option<Position> {
    let text = String::from_utf8_lossy(root);
    let (_, metadata) = text.split_once("file:WiredTiger.wt\n")?;
    let (file, offset) = metadata.split_once(CHECKPOINT)?.1.split_once(')')?.0.split_once(',')?;
    let position = Position { file: file.parse().ok()?, offset: offset.parse().ok()? };
    // The greatest position stands for none.
    (position.file != u32::MAX && position.file != 0).then_some(position)
}

/// What is at a place of a file.
enum At {
    /// A whole record; where the next one begins.
    Record(usize),
    /// Zeros.
    Nothing,
    /// Neither; the length it claims to have.
    Damaged(usize),
}

struct Scan<'a> {
    directory: &'a Path,
    last: u32,
    end: JournalEnd,
}

impl Scan<'_> {
    fn run(&mut self, start: Position) -> Result<()> {
        for number in start.file..=self.last {
            let bytes = self.read(number)?;
            let Some(allocated) = allocated(&bytes) else { return self.stop(number, &bytes, 0, 0) };
            let mut offset = ALIGN;
            if number == start.file {
                self.reaches(number, &bytes, start.offset)?;
                offset = start.offset.max(ALIGN);
            } else if ends_before(&bytes).is_some_and(|end| end != self.end.offset) {
                // The file before this one ended earlier than its successor says.
                let end = self.end.offset as usize;
                let before = self.read(number - 1)?;
                return self.stop(number - 1, &before, end, 0);
            }
            loop {
                match at(&bytes, offset) {
                    At::Record(next) => offset = next,
                    At::Damaged(len) => return self.stop(number, &bytes, offset, len),
                    At::Nothing if bytes[offset.min(bytes.len())..].iter().any(|byte| *byte != 0) => return self.stop(number, &bytes, offset, 0),
                    At::Nothing => break,
                }
            }
            self.end.offset = offset as u64;
            if number == self.last && (bytes.len() as u64) < allocated && offset + ALIGN > bytes.len() {
                self.end.cut_off = true;
                self.end.file = name(number);
                return Ok(());
            }
        }
        self.end = JournalEnd::default();
        Ok(())
    }

    /// The records before the last checkpoint, by their lengths: a file of an earlier time ends before it.
    fn reaches(&self, number: u32, bytes: &[u8], checkpoint: usize) -> Result<()> {
        let mut offset = 0;
        while offset < checkpoint {
            match length(bytes, offset) {
                Some(0) | None => {
                    return Err(Error::new(
                        ErrorKind::Corrupt,
                        format!(
                            "cannot open {}: {} ends at byte {offset}, before the last checkpoint ({checkpoint}): it was cut off, or is of an \
                             earlier time. Writes are lost; `smongo repair` opens the database all the same",
                            self.directory.display(),
                            name(number)
                        ),
                    ));
                }
                // A damaged length leads anywhere; what is before the checkpoint is not needed.
                Some(len) if len < HEADER => return Ok(()),
                Some(len) => offset += len.next_multiple_of(ALIGN),
            }
        }
        Ok(())
    }

    fn read(&self, number: u32) -> Result<Vec<u8>> {
        let path = self.directory.join(name(number));
        fs::read(&path).map_err(|e| explain(&path, e))
    }

    /// Counts what is behind the end of what can be read.
    fn stop(&mut self, number: u32, bytes: &[u8], offset: usize, claimed: usize) -> Result<()> {
        let mut behind = behind(bytes, offset, claimed);
        for later in number + 1..=self.last {
            let bytes = self.read(later)?;
            let more = self::behind(&bytes, ALIGN, 0);
            behind = (behind.0 + more.0, behind.1 + more.1);
        }
        let record = &bytes[offset.min(bytes.len())..offset.saturating_add(claimed).min(bytes.len())];
        // The disk had not got all of it; what follows a hole was on its way at the same time.
        let cut_off = number == self.last && allocated(bytes).is_some_and(|allocated| (bytes.len() as u64) < allocated);
        let torn = !cut_off && behind.1 == 0 && (claimed == 0 || record.len() < claimed || has_zero_sector(record, offset));
        self.end = JournalEnd { file: name(number), offset: offset as u64, lost_bytes: behind.0, lost_records: behind.1, cut_off, torn };
        Ok(())
    }
}

/// The length that a file was allocated with, if it begins as one of the journal.
fn allocated(bytes: &[u8]) -> Option<u64> {
    let At::Record(_) = at(bytes, 0) else { return None };
    let magic = u32::from_le_bytes(*bytes.get(16..)?.first_chunk()?);
    (magic == MAGIC).then_some(u64::from_le_bytes(*bytes.get(24..)?.first_chunk()?))
}

/// Where the file before ended, as the second record of a file says.
fn ends_before(bytes: &[u8]) -> Option<u64> {
    let record = bytes.get(ALIGN..)?;
    let len = length(bytes, ALIGN)?;
    let mut rest = record.get(HEADER..len)?;
    // A record of the system (4) with the position of the one before (8), its length, the file, the offset.
    if unpack(&mut rest)? != 4 || unpack(&mut rest)? != 8 {
        return None;
    }
    let (_, file, offset) = (unpack(&mut rest)?, unpack(&mut rest)?, unpack(&mut rest)?);
    // The first file of a journal has none before it.
    (file > 1 || offset > 0).then_some(offset)
}

/// The next of the library's packed numbers.
fn unpack(bytes: &mut &[u8]) -> Option<u64> {
    let (first, rest) = bytes.split_first()?;
    let take = |n: usize, base: u64, high: u64| {
        let (number, rest) = rest.split_at_checked(n)?;
        Some((base + number.iter().fold(high, |sum, byte| sum << 8 | u64::from(*byte)), rest))
    };
    let (number, rest) = match first {
        0x80..0xc0 => take(0, 0, u64::from(first & 0x3f))?,
        0xc0..0xe0 => take(1, 64, u64::from(first & 0x1f))?,
        0xe0..0xf0 => take(usize::from(first & 0xf), 64 + 8192, 0)?,
        _ => return None,
    };
    *bytes = rest;
    Some(number)
}

fn length(bytes: &[u8], offset: usize) -> Option<usize> {
    bytes.get(offset..offset + ALIGN)?;
    usize::try_from(u32::from_le_bytes(*bytes.get(offset..)?.first_chunk()?)).ok()
}

fn at(bytes: &[u8], offset: usize) -> At {
    let Some(len) = length(bytes, offset) else {
        // Too short for a record.
        let left = bytes.len().saturating_sub(offset);
        return if bytes[offset.min(bytes.len())..].iter().all(|byte| *byte == 0) { At::Nothing } else { At::Damaged(left) };
    };
    let Some(record) = bytes.get(offset..offset.saturating_add(len)) else { return At::Damaged(len) };
    let (Some(stored), true) = (record.get(4..).and_then(|b| b.first_chunk()), len >= HEADER) else {
        return if len == 0 { At::Nothing } else { At::Damaged(len) };
    };
    let checksum = crc32c::crc32c_append(crc32c::crc32c_append(crc32c::crc32c(&record[..4]), &[0; 4]), &record[8..]);
    match checksum == u32::from_le_bytes(*stored) {
        true => At::Record(offset + len.next_multiple_of(ALIGN)),
        false => At::Damaged(len),
    }
}

/// How many bytes of a file from here on hold something, and how many whole records are there behind the first, which claims a length.
fn behind(bytes: &[u8], offset: usize, claimed: usize) -> (u64, u64) {
    let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    let (mut records, mut here) = (0, if claimed == 0 { offset } else { offset + ALIGN });
    while here < end {
        here = match at(bytes, here) {
            At::Record(next) => {
                records += 1;
                next
            }
            _ => here + ALIGN,
        };
    }
    (end.saturating_sub(offset) as u64, records)
}

/// Whether a part of the record that a disk writes at once is all zeros.
fn has_zero_sector(record: &[u8], offset: usize) -> bool {
    let first = SECTOR - offset % SECTOR;
    let (head, tail) = record.split_at(first.min(record.len()));
    [head].into_iter().chain(tail.chunks(SECTOR)).any(|part| !part.is_empty() && part.iter().all(|byte| *byte == 0))
}
