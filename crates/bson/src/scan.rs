//! Stepping over elements: the innermost loop of everything.
//!
//! The end of a name is searched eight bytes at a time. The type is a branch and not a look-up in a table of lengths:
//! documents of a collection are alike, so branches are foreseen and the processor runs ahead of the lengths it loads;
//! with a table each field waits for the one before, which is a third slower (`examples/bench.rs`).

const ONES: u64 = 0x0101_0101_0101_0101;
pub(crate) const HIGHS: u64 = 0x8080_8080_8080_8080;

/// The length of a value of type `tag` at the start of `bytes`; `None` when it cannot be one.
#[inline(always)]
pub(crate) fn value_len(tag: u8, bytes: &[u8]) -> Option<usize> {
    // A negative length becomes one that no slice has.
    let at = |base: usize| bytes.first_chunk::<4>().map(|b| u32::from_le_bytes(*b) as usize + base);
    match tag {
        2 => at(4),
        16 => Some(4),
        1 | 9 | 17 | 18 => Some(8),
        3 | 4 | 15 => at(0),
        7 => Some(12),
        8 => Some(1),
        6 | 10 | 127 | 255 => Some(0),
        5 => at(5),
        13 | 14 => at(4),
        19 => Some(16),
        11 => regex_len(bytes),
        12 => at(16),
        _ => None,
    }
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
fn zeros(word: u64) -> u64 {
    word.wrapping_sub(ONES) & !word & HIGHS
}

/// The position of the first NUL.
#[inline(always)]
pub(crate) fn find_nul(bytes: &[u8]) -> Option<usize> {
    let zero = zeros(word(bytes).unwrap_or(u64::MAX));
    if zero != 0 { Some(zero.trailing_zeros() as usize / 8) } else { find_nul_from(bytes, 0) }
}

/// The position of the first NUL, and whether the bytes before it are ASCII.
#[inline(always)]
pub(crate) fn find_nul_ascii(bytes: &[u8]) -> Option<(usize, bool)> {
    let word = word(bytes).unwrap_or(u64::MAX);
    let zero = zeros(word);
    if zero == 0 {
        let n = find_nul_from(bytes, 0)?;
        return Some((n, is_ascii(bytes.get(..n)?)));
    }
    let before = (zero & zero.wrapping_neg()) - 1;
    Some((zero.trailing_zeros() as usize / 8, word & before & HIGHS == 0))
}

/// Whether there is a byte 00 or 01.
#[inline]
pub(crate) fn has_low(bytes: &[u8]) -> bool {
    let (words, tail) = bytes.as_chunks::<8>();
    let low = words.iter().fold(0, |low, w| low | zeros(u64::from_le_bytes(*w) & !ONES));
    low != 0 || tail.iter().any(|b| *b < 2)
}

/// Whether no byte has its high bit set: true for most text and quicker than decoding.
#[inline]
pub(crate) fn is_ascii(bytes: &[u8]) -> bool {
    let (words, tail) = bytes.as_chunks::<8>();
    if words.len() > 8 {
        return bytes.is_ascii();
    }
    let high = words.iter().fold(0, |high, w| high | u64::from_le_bytes(*w));
    let last = match bytes.last_chunk::<8>() {
        Some(last) => u64::from_le_bytes(*last),
        None => tail.iter().fold(0, |all, b| (all << 8) | u64::from(*b)),
    };
    (high | last) & HIGHS == 0
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
    let head = name.first().copied().unwrap_or(0);
    let mut rest = body;
    loop {
        let (&tag, after) = rest.split_first()?;
        let name_len = find_nul(after)?;
        let (field, value) = (after.get(..name_len)?, after.get(name_len + 1..)?);
        let len = value_len(tag, value)?;
        // Length and first byte tell most names apart without a call.
        if name_len == name.len() && after.first() == Some(&head) && field == name {
            return Some((rest.get(..name_len + 2 + len)?, name_len));
        }
        rest = value.get(len..)?;
    }
}
