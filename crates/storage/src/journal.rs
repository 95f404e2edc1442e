//! The compressor of the journal: writes once what a transaction holds twice.
//!
//! An insert brings its document to the journal in the record and again in the oplog's entry. General compressors look for
//! repeats everywhere, which costs more than it saves; this one looks only for documents, which it knows by the name of their
//! first field. What it finds is compared byte by byte: taking something else for a document loses a little time, never data.
//!
//! The form: [`FORM`], then in turns the length of a literal with its bytes, and the position and length of a copy out of what
//! was written before, until as many bytes are there as the library says there were. Lengths and positions are `u32`, little-endian.

use std::sync::LazyLock;

use memchr::memmem::Finder;

/// The first byte of what is compressed.
const FORM: u8 = 1;
/// The least bytes that are worth a copy; the journal gives out space by the 128.
const LEAST: usize = 128;
/// How many documents that have not come again are passed over in the search for one that does: changes come in the same order
/// to the tables and to the oplog.
const AHEAD: usize = 32;
/// A document's first field: after its length and the tag of the field's type.
const ID: &[u8] = b"_id\0";
const BEFORE_ID: usize = 5;

static FINDER: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(ID));

/// A range of the record, in bytes.
#[derive(Clone, Copy)]
struct Part {
    start: usize,
    end: usize,
}

/// The next document from `from` on that is long enough.
fn next_document(record: &[u8], mut from: usize) -> Option<Part> {
    let first = from;
    loop {
        let id = from + FINDER.find(record.get(from..)?)?;
        from = id + ID.len();
        let Some(start) = id.checked_sub(BEFORE_ID).filter(|start| *start >= first) else { continue };
        let Some(len) = read(record, &mut { start }) else { continue };
        let end = start.saturating_add(len);
        if len >= LEAST && record.get(end - 1) == Some(&0) {
            return Some(Part { start, end });
        }
    }
}

/// Compresses into `out` and returns how many bytes it took; none if nothing comes twice or there is no room.
pub(crate) fn compress(record: &[u8], out: &mut [u8]) -> Option<usize> {
    u32::try_from(record.len()).ok()?;
    let mut out = Output { bytes: out, len: 0 };
    out.write(&[FORM])?;
    let (mut seen, mut next) = (Vec::<Part>::with_capacity(8), 0);
    let (mut from, mut done) = (0, 0);
    while let Some(here) = next_document(record, from) {
        from = here.end;
        let bytes = record.get(here.start..here.end)?;
        let mut ahead = seen.iter().enumerate().skip(next).take(AHEAD);
        match ahead.find(|(_, old)| record.get(old.start..old.end) == Some(bytes)) {
            Some((at, old)) => {
                out.literal(record.get(done..here.start)?)?;
                out.number(old.start)?;
                out.number(bytes.len())?;
                next = at + 1;
                done = here.end;
            }
            None => seen.push(here),
        }
    }
    if done == 0 {
        return None;
    }
    if done < record.len() {
        out.literal(record.get(done..)?)?;
    }
    Some(out.len)
}

/// Fills `out` with the record that was compressed; whatever follows in `bytes` is padding. None if they are not what
/// [`compress`] makes of a record of this length.
pub(crate) fn decompress(bytes: &[u8], out: &mut [u8]) -> Option<()> {
    let mut at = 1;
    if bytes.first() != Some(&FORM) {
        return None;
    }
    let mut filled = 0;
    while filled < out.len() {
        let len = read(bytes, &mut at)?;
        let literal = bytes.get(at..at.checked_add(len)?)?;
        out.get_mut(filled..filled.checked_add(len)?)?.copy_from_slice(literal);
        at += len;
        filled += len;
        if filled == out.len() {
            break;
        }
        let (start, len) = (read(bytes, &mut at)?, read(bytes, &mut at)?);
        let (old, new) = out.split_at_mut_checked(filled)?;
        new.get_mut(..len)?.copy_from_slice(old.get(start..start.checked_add(len)?)?);
        filled += len;
    }
    Some(())
}

/// The number at `at`, which moves behind it.
fn read(bytes: &[u8], at: &mut usize) -> Option<usize> {
    let number = bytes.get(*at..)?.first_chunk()?;
    *at += 4;
    usize::try_from(u32::from_le_bytes(*number)).ok()
}

struct Output<'a> {
    bytes: &'a mut [u8],
    len: usize,
}

impl Output<'_> {
    fn write(&mut self, bytes: &[u8]) -> Option<()> {
        let end = self.len.checked_add(bytes.len())?;
        self.bytes.get_mut(self.len..end)?.copy_from_slice(bytes);
        self.len = end;
        Some(())
    }

    fn number(&mut self, number: usize) -> Option<()> {
        self.write(&u32::try_from(number).ok()?.to_le_bytes())
    }

    fn literal(&mut self, bytes: &[u8]) -> Option<()> {
        self.number(bytes.len())?;
        self.write(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(seed: u8, len: usize) -> Vec<u8> {
        let mut bytes = vec![seed; len];
        bytes[..4].copy_from_slice(&(len as u32).to_le_bytes());
        bytes[4] = 7;
        bytes[5..9].copy_from_slice(ID);
        bytes[len - 1] = 0;
        bytes
    }

    /// The bytes a record takes, after a check that they give the record back, also with what the library pads them with.
    fn size(record: &[u8]) -> Option<usize> {
        let mut out = vec![0; record.len()];
        let len = compress(record, &mut out)?;
        for padding in [&[][..], &[0; 127], &[0xdb; 3]] {
            let padded = [&out[..len], padding].concat();
            let mut back = vec![0; record.len()];
            decompress(&padded, &mut back).unwrap();
            assert!(back == record);
        }
        Some(len)
    }

    #[test]
    fn a_document_that_comes_twice_is_written_once() {
        let doc = document(3, 1000);
        let record = [b"record".as_slice(), &doc, b"an index, the oplog", &doc, b"end"].concat();
        assert_eq!(size(&record), Some(record.len() - doc.len() + 1 + 2 * 4 + 2 * 4));
        let record = [doc.as_slice(), &doc].concat();
        assert_eq!(size(&record), Some(1 + 4 + doc.len() + 8));
    }

    #[test]
    fn many_documents_find_theirs_in_order() {
        let docs: Vec<Vec<u8>> = (0..200).map(|n| document(n, 500 + n as usize)).collect();
        let mut record = Vec::new();
        for half in 0..2 {
            for (n, doc) in docs.iter().enumerate() {
                record.extend_from_slice(doc);
                // Others of the same kind stand between them, and some have no double.
                if (n + half) % 3 == 0 {
                    record.extend_from_slice(&document(half as u8 + 201, 300 + n));
                }
            }
        }
        let distinct = record.len() - docs.iter().map(Vec::len).sum::<usize>();
        assert!(size(&record).unwrap() < distinct + 200 * 12 + 5);
    }

    #[test]
    fn nothing_twice_is_nothing_compressed() {
        assert_eq!(size(b""), None);
        assert_eq!(size(ID), None);
        let short = document(1, LEAST - 1);
        assert_eq!(size(&[short.as_slice(), &short].concat()), None);
        assert_eq!(size(&[document(1, 400), document(2, 400)].concat()), None);
        // Lengths that lead out of the record, or nowhere.
        for len in [0, 3, 128, 401, u32::MAX] {
            let mut doc = document(1, 400);
            doc[..4].copy_from_slice(&len.to_le_bytes());
            assert_eq!(size(&doc), None);
        }
    }

    #[test]
    fn no_room_is_no_compression() {
        let doc = document(3, 1000);
        let record = [doc.as_slice(), &doc].concat();
        for room in 0..1 + 4 + doc.len() + 8 {
            assert_eq!(compress(&record, &mut vec![0; room]), None);
        }
    }

    #[test]
    fn damaged_bytes_are_refused_and_never_read_past() {
        let doc = document(3, 300);
        let record = [b"abc".as_slice(), &doc, b"between", &doc, b"end"].concat();
        let mut out = vec![0; record.len()];
        let len = compress(&record, &mut out).unwrap();
        let mut back = vec![0; record.len()];
        for short in 0..len {
            assert_eq!(decompress(&out[..short], &mut back), None);
        }
        for at in 0..len {
            for value in [0, 1, 0x7f, 0xff] {
                let mut bad = out[..len].to_vec();
                bad[at] = value;
                let _ = decompress(&bad, &mut back);
            }
        }
    }
}
