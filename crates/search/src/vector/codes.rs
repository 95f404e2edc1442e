//! What the graph keeps of a vector, and the arrays that it lies in.

use super::distance::{Metric, Probe, Rows};
use super::{Codes, Kind, Params, Similarity, Vector, norm};

/// About how many bytes one block of an array has, so that growing never copies more and small graphs stay small.
const BLOCK: usize = 1 << 20;
/// A row that begins with a line of the processor's cache lies in as few of them as it can.
const LINE: usize = 64;

/// Rows of `stride` items in blocks that never move, so that an array grows without a copy and without twice its memory.
///
/// A row that is not there is empty: whoever asks for a number from a damaged file gets an answer, if a poor one.
pub(crate) struct Blocks<T> {
    stride: usize,
    /// Rows in a block, as a power of two.
    shift: u32,
    rows: usize,
    blocks: Vec<Block<T>>,
}

struct Block<T> {
    items: Vec<T>,
    /// Where the first row begins: at a line of the cache.
    start: usize,
}

impl<T: Copy + Default> Blocks<T> {
    /// An array of rows; with a `stride` of 0 one that stays empty whatever is pushed.
    pub fn new(stride: usize) -> Self {
        let fit = BLOCK / (stride.max(1) * size_of::<T>()).max(1);
        Blocks { stride, shift: fit.max(1).ilog2(), rows: 0, blocks: Vec::new() }
    }

    #[inline]
    pub fn row(&self, row: u32) -> &[T] {
        let row = row as usize;
        let within = row & ((1 << self.shift) - 1);
        let Some(block) = self.blocks.get(row >> self.shift) else { return &[] };
        let start = block.start + within * self.stride;
        block.items.get(start..start + self.stride).unwrap_or(&[])
    }

    #[inline]
    pub fn row_mut(&mut self, row: u32) -> &mut [T] {
        let row = row as usize;
        let within = row & ((1 << self.shift) - 1);
        let Some(block) = self.blocks.get_mut(row >> self.shift) else { return &mut [] };
        let start = block.start + within * self.stride;
        block.items.get_mut(start..start + self.stride).unwrap_or(&mut [])
    }

    /// Adds a row, as much of `row` as fits and zeros.
    pub fn push(&mut self, row: &[T]) {
        if self.stride == 0 {
            return;
        }
        let capacity = (1 << self.shift) * self.stride;
        if self.rows >> self.shift == self.blocks.len() {
            let slack = LINE / size_of::<T>().max(1);
            let mut items: Vec<T> = Vec::with_capacity(capacity + slack);
            // Of the memory that is asked for the system gives what is touched.
            let start = items.as_ptr().align_offset(LINE).min(slack);
            items.resize(start, T::default());
            self.blocks.push(Block { items, start });
        }
        let Some(block) = self.blocks.last_mut() else { return };
        let used = row.len().min(self.stride);
        block.items.extend_from_slice(&row[..used]);
        block.items.resize(block.items.len() + self.stride - used, T::default());
        self.rows += 1;
    }

    pub fn set(&mut self, row: u32, items: &[T]) {
        for (to, from) in self.row_mut(row).iter_mut().zip(items) {
            *to = *from;
        }
    }

    /// Moves a row to a place before it.
    pub fn copy(&mut self, from: u32, to: u32) {
        let row = self.row(from).to_vec();
        self.set(to, &row);
    }

    /// Cuts rows off, or adds rows of zeros.
    pub fn resize(&mut self, rows: usize) {
        while self.stride > 0 && self.rows < rows {
            self.push(&[]);
        }
        while self.rows > rows {
            self.rows -= 1;
            let Some(block) = self.blocks.last_mut() else { return };
            block.items.truncate(block.items.len().saturating_sub(self.stride).max(block.start));
            if block.items.len() == block.start {
                self.blocks.pop();
            }
        }
    }

    /// Bytes of memory that are in use.
    pub fn memory(&self) -> usize {
        self.rows * self.stride * size_of::<T>() + self.blocks.capacity() * size_of::<Block<T>>()
    }
}

/// What makes codes of vectors: room for one vector of each form.
#[derive(Default)]
pub(crate) struct Encoder {
    floats: Vec<f32>,
    bytes: Vec<i8>,
    words: Vec<u64>,
    inverse: f32,
    metric: Metric,
}

impl Encoder {
    /// A probe of what was encoded last.
    pub fn probe(&self) -> Probe<'_> {
        Probe { metric: self.metric, floats: &self.floats, bytes: &self.bytes, words: &self.words, inverse: self.inverse }
    }

    /// The code under which a vector lies in the graph, to be compared as queries or as rows are. `None` when it is not of the graph's kind
    /// and dimensions.
    pub fn encode(&mut self, params: &Params, vector: Vector<'_>, query: bool) -> Option<()> {
        self.floats.clear();
        self.bytes.clear();
        self.words.clear();
        self.inverse = 0.0;
        self.metric = params.metric(query);
        if vector.kind() != params.kind || vector.dims() != params.dims {
            return None;
        }
        match vector {
            Vector::Float(values) => {
                self.floats.extend_from_slice(values);
                if params.similarity == Similarity::Cosine {
                    let inverse = reciprocal(norm(vector));
                    self.floats.iter_mut().for_each(|x| *x *= inverse);
                }
            }
            Vector::Int8(values) => {
                self.bytes.extend_from_slice(values);
                self.inverse = reciprocal(norm(vector));
            }
            Vector::Bit(bytes) => self.pack(bytes),
        }
        match (params.kind, params.codes) {
            (Kind::Float, Codes::Scalar { scale }) => {
                // What products are compared with is as precise as a byte can be; distances need the rows' own scale.
                let own = self.metric == Metric::ByteDot;
                let scale = if own { largest(&self.floats) } else { scale };
                let factor = if scale > 0.0 { 127.0 / scale } else { 0.0 };
                self.bytes.extend(self.floats.iter().map(|x| (x * factor).round().clamp(-127.0, 127.0) as i8));
                self.floats.clear();
            }
            (Kind::Float, Codes::Binary) => {
                let signs = std::mem::take(&mut self.floats);
                self.signs(signs.iter().map(|x| *x > 0.0));
                self.floats = signs;
                self.floats.clear();
            }
            (Kind::Int8, Codes::Binary) => {
                let signs = std::mem::take(&mut self.bytes);
                self.signs(signs.iter().map(|x| *x > 0));
                self.bytes = signs;
                self.bytes.clear();
            }
            _ => {}
        }
        Some(())
    }

    fn pack(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        self.words.extend(words.iter().map(|w| u64::from_le_bytes(*w)));
        if !rest.is_empty() {
            let mut last = [0; 8];
            last[..rest.len()].copy_from_slice(rest);
            self.words.push(u64::from_le_bytes(last));
        }
    }

    fn signs(&mut self, signs: impl Iterator<Item = bool>) {
        for (n, sign) in signs.enumerate() {
            if n % 64 == 0 {
                self.words.push(0);
            }
            if let Some(word) = self.words.last_mut() {
                *word |= u64::from(sign) << (n % 64);
            }
        }
    }
}

/// One divided by a length; 0 for what has no direction, whose cosine with everything is then 0.
pub(crate) fn reciprocal(norm: f32) -> f32 {
    let inverse = 1.0 / norm;
    if inverse.is_finite() { inverse } else { 0.0 }
}

fn largest(values: &[f32]) -> f32 {
    values.iter().fold(0.0, |largest, x| x.abs().max(largest))
}

/// The scale for [`Codes::Scalar`]: the largest number in some of the rows as the graph sees them (of length 1 for cosine). The design
/// takes the first 10,000.
pub fn scale<'a>(similarity: Similarity, rows: impl Iterator<Item = &'a [f32]>) -> f32 {
    let scale = rows.fold(0.0, |scale: f32, row| {
        let factor = if similarity == Similarity::Cosine { reciprocal(norm(Vector::Float(row))) } else { 1.0 };
        scale.max(largest(row) * factor)
    });
    if scale.is_finite() { scale } else { f32::MAX }
}

impl Params {
    /// How rows are compared with a query, or with each other.
    ///
    /// Links are chosen by distances, also where queries ask for the largest product: of that a vector may have a larger one with
    /// others than with itself, and those with short vectors would have no links. For vectors of one length it is the same. Cosines of bytes are
    /// taken as distances, too: rounding leaves the lengths a little different.
    pub(crate) fn metric(&self, query: bool) -> Metric {
        match (self.kind, self.codes, self.similarity) {
            (Kind::Bit, ..) | (_, Codes::Binary, _) => Metric::Hamming,
            (Kind::Float, Codes::Full, Similarity::Cosine) => Metric::FloatDot,
            (Kind::Float, Codes::Full, Similarity::DotProduct) if query => Metric::FloatDot,
            (Kind::Float, Codes::Full, _) => Metric::FloatL2,
            (Kind::Int8, _, Similarity::Cosine) => Metric::ByteCosine,
            (_, _, Similarity::DotProduct) if query => Metric::ByteDot,
            _ => Metric::ByteL2,
        }
    }

    pub(crate) fn rows(&self) -> Rows {
        Rows::new(self.metric(false), self.dims)
    }

    /// Whether the graph's distances are the rows' own, so that scores can be made of them.
    pub fn is_exact(&self) -> bool {
        match self.kind {
            Kind::Bit => true,
            Kind::Int8 => self.codes != Codes::Binary,
            Kind::Float => self.codes == Codes::Full,
        }
    }
}
