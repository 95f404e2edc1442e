//! Stepping over elements: the innermost loop of everything.
//!
//! Names are searched eight bytes at a time, and lengths come from a table instead of branches, since the types of
//! neighbouring fields are hard to predict: together about three times the speed of the plain loops.

/// Bits 0 to 4: bytes a value has at least. The others tell how the rest is found.
const SHAPES: [u8; 256] = {
    let mut shapes = [SPECIAL; 256];
    let rows: [(u8, u8); 20] = [
        (1, 8),
        (2, PREFIXED | 4),
        (3, PREFIXED),
        (4, PREFIXED),
        (5, PREFIXED | 5),
        (6, 0),
        (7, 12),
        (8, 1),
        (9, 8),
        (10, 0),
        (12, PREFIXED | 16),
        (13, PREFIXED | 4),
        (14, PREFIXED | 4),
        (15, PREFIXED),
        (16, 4),
        (17, 8),
        (18, 8),
        (19, 16),
        (127, 0),
        (255, 0),
    ];
    let mut i = 0;
    while i < rows.len() {
        shapes[rows[i].0 as usize] = rows[i].1;
        i += 1;
    }
    shapes
};
/// The length in front of the value is added.
const PREFIXED: u8 = 0x20;
/// A regular expression, or no type at all.
const SPECIAL: u8 = 0x40;

const ONES: u64 = 0x0101_0101_0101_0101;
pub(crate) const HIGHS: u64 = 0x8080_8080_8080_8080;

/// The length of a value of type `tag` at the start of `bytes`; `None` when it cannot be one.
#[inline(always)]
pub(crate) fn value_len(tag: u8, bytes: &[u8]) -> Option<usize> {
    let shape = SHAPES[usize::from(tag)];
    if shape & SPECIAL != 0 {
        return if tag == 11 { regex_len(bytes) } else { None };
    }
    let base = usize::from(shape & 0x1f);
    let prefix = match bytes.first_chunk::<4>() {
        // A negative length becomes one that no slice has.
        Some(b) => u32::from_le_bytes(*b) as usize,
        None if shape & PREFIXED != 0 => return None,
        None => 0,
    };
    let mask = 0usize.wrapping_sub(usize::from(shape & PREFIXED != 0));
    Some(base + (prefix & mask))
}

#[cold]
fn regex_len(bytes: &[u8]) -> Option<usize> {
    let pattern = find_nul(bytes)? + 1;
    Some(pattern + find_nul(bytes.get(pattern..)?)? + 1)
}

#[inline(always)]
fn word(bytes: &[u8]) -> Option<u64> {
    bytes.first_chunk::<8>().map(|b| u64::from_le_bytes(*b))
}

/// Bit 7 of the lowest zero byte, and maybe of bytes above it.
#[inline(always)]
pub(crate) fn zeros(word: u64) -> u64 {
    word.wrapping_sub(ONES) & !word & HIGHS
}

/// The position of the first NUL.
#[inline(always)]
pub(crate) fn find_nul(bytes: &[u8]) -> Option<usize> {
    let zero = zeros(word(bytes).unwrap_or(u64::MAX));
    if zero != 0 { Some(zero.trailing_zeros() as usize / 8) } else { find_nul_from(bytes, 0) }
}

/// The same in what is longer than a word, or at the end of the document.
#[inline(never)]
fn find_nul_from(bytes: &[u8], mut at: usize) -> Option<usize> {
    while let Some(w) = bytes.get(at..).and_then(word) {
        let zero = zeros(w);
        if zero != 0 {
            return Some(at + zero.trailing_zeros() as usize / 8);
        }
        at += 8;
    }
    bytes.get(at..)?.iter().position(|b| *b == 0).map(|n| at + n)
}

/// The first element of a document's body: its bytes, the length of its name, and what follows.
#[inline(always)]
pub(crate) fn first(body: &[u8]) -> Option<(&[u8], usize, &[u8])> {
    let (&tag, after) = body.split_first()?;
    let name_len = find_nul(after)?;
    let len = value_len(tag, after.get(name_len + 1..)?)?;
    let (raw, rest) = body.split_at_checked(name_len + 2 + len)?;
    Some((raw, name_len, rest))
}

/// The first element of that name: its bytes and the length of its name.
#[inline]
pub(crate) fn find<'a>(body: &'a [u8], name: &[u8]) -> Option<(&'a [u8], usize)> {
    // Up to eight bytes of the name, its NUL included: one comparison decides for nearly every field.
    let mut head = [0u8; 8];
    for (to, from) in head.iter_mut().zip(name) {
        *to = *from;
    }
    let head = u64::from_le_bytes(head);
    let mask = if name.len() < 7 { (1u64 << (8 * (name.len() + 1))) - 1 } else { u64::MAX };
    let mut rest = body;
    loop {
        let (&tag, after) = rest.split_first()?;
        let (name_len, maybe) = match word(after) {
            Some(w) => {
                let zero = zeros(w);
                let n = if zero != 0 { zero.trailing_zeros() as usize / 8 } else { find_nul_from(after, 8)? };
                (n, w & mask == head)
            }
            None => (find_nul_from(after, 0)?, true),
        };
        let value = after.get(name_len + 1..)?;
        let len = value_len(tag, value)?;
        if maybe && after.get(..name_len) == Some(name) {
            return Some((rest.get(..name_len + 2 + len)?, name_len));
        }
        rest = value.get(len..)?;
    }
}
