//! The graph's cache file: its links, so that opening a database does not mean to build the graph anew.
//!
//! A file is a stream of bytes in blocks of 64 KiB, each with a CRC-32C in front: a head that says of what the graph is, for each node
//! its record, the hash of its row, its level and its lists, and an end. It holds no vectors: whoever loads it shows the rows, and a node
//! takes its place if its row is still what it was. So a file may be old, torn or of another database: nodes without a row are dropped and
//! the gaps mended, rows without a node are the caller's to insert, and no answer depends on it. All numbers are little-endian.

use super::codes::Encoder;
use super::graph::{Core, Graph, LEVELS, NONE};
use super::{Codes, Kind, Params, Similarity, Vector};
use std::fmt;
use std::io::{self, Read, Write};

const MAGIC: [u8; 8] = *b"smongoG1";
const END: u32 = 0x21_646e_65;
/// A block with its checksum.
const BLOCK: usize = 1 << 16;
const CHECKSUM: usize = 4;
/// The bit of a node's level that says it is dead.
const DEAD: u8 = 0x80;
/// How many nodes are written under one hold of the lock.
const GROUP: u32 = 2048;

/// Why a file gives no graph.
#[derive(Debug)]
pub enum FileError {
    Io(io::Error),
    /// It is not what was written: cut off, or a checksum or number is wrong.
    Damaged,
    /// It is of a graph of something else, or of another version.
    Foreign,
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FileError::Io(e) => write!(f, "the file of a vector index's graph cannot be read: {e}"),
            FileError::Damaged => f.write_str("the file of a vector index's graph is damaged"),
            FileError::Foreign => f.write_str("the file of a vector index's graph is of another index or version"),
        }
    }
}

impl std::error::Error for FileError {}

impl From<io::Error> for FileError {
    fn from(e: io::Error) -> Self {
        if e.kind() == io::ErrorKind::UnexpectedEof { FileError::Damaged } else { FileError::Io(e) }
    }
}

/// What of the parameters a file is bound to.
fn head(params: &Params) -> [u8; 24] {
    let kind = match params.kind {
        Kind::Float => 0,
        Kind::Int8 => 1,
        Kind::Bit => 2,
    };
    let similarity = match params.similarity {
        Similarity::Euclidean => 0,
        Similarity::Cosine => 1,
        Similarity::DotProduct => 2,
    };
    let (codes, scale) = match params.codes {
        Codes::Full => (0, 0.0),
        Codes::Scalar { scale } => (1, scale),
        Codes::Binary => (2, 0.0),
    };
    let mut head = [0; 24];
    head[..8].copy_from_slice(&MAGIC);
    head[8..12].copy_from_slice(&[kind, similarity, codes, 0]);
    head[12..16].copy_from_slice(&(params.dims as u32).to_le_bytes());
    head[16..20].copy_from_slice(&(params.max_edges as u32).to_le_bytes());
    head[20..].copy_from_slice(&scale.to_le_bytes());
    head
}

/// The scale of a file's codes, for whoever must know it before the graph is made: what a graph of [`Codes::Scalar`] was built with.
pub fn scale_of(input: impl Read) -> Result<Option<f32>, FileError> {
    let head: [u8; 24] = Input::new(input).array()?;
    if head[..8] != MAGIC {
        return Err(FileError::Foreign);
    }
    let scale = f32::from_le_bytes([head[20], head[21], head[22], head[23]]);
    Ok((head[10] == 1 && scale.is_finite() && scale > 0.0).then_some(scale))
}

/// Writes bytes in blocks with checksums.
struct Output<W> {
    to: W,
    block: Vec<u8>,
}

impl<W: Write> Output<W> {
    fn put(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(BLOCK - CHECKSUM - self.block.len()));
            self.block.extend_from_slice(now);
            bytes = later;
            if self.block.len() == BLOCK - CHECKSUM {
                self.flush()?;
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        if !self.block.is_empty() {
            self.to.write_all(&crc32c::crc32c(&self.block).to_le_bytes())?;
            self.to.write_all(&self.block)?;
            self.block.clear();
        }
        Ok(())
    }
}

/// Reads them.
struct Input<R> {
    from: R,
    block: Vec<u8>,
    at: usize,
}

impl<R: Read> Input<R> {
    fn new(from: R) -> Self {
        Input { from, block: Vec::new(), at: 0 }
    }

    fn fill(&mut self) -> Result<bool, FileError> {
        self.block.clear();
        self.at = CHECKSUM;
        self.from.by_ref().take(BLOCK as u64).read_to_end(&mut self.block)?;
        if self.block.is_empty() {
            self.at = 0;
            return Ok(false);
        }
        let Some((sum, content)) = self.block.split_first_chunk::<CHECKSUM>() else { return Err(FileError::Damaged) };
        if crc32c::crc32c(content) != u32::from_le_bytes(*sum) {
            return Err(FileError::Damaged);
        }
        Ok(true)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], FileError> {
        let mut out = [0; N];
        let mut done = 0;
        while done < N {
            let rest = self.block.get(self.at..).unwrap_or(&[]);
            if rest.is_empty() {
                if !self.fill()? {
                    return Err(FileError::Damaged);
                }
                continue;
            }
            let now = rest.len().min(N - done);
            out[done..done + now].copy_from_slice(&rest[..now]);
            done += now;
            self.at += now;
        }
        Ok(out)
    }

    fn number(&mut self) -> Result<u32, FileError> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    /// Whether nothing follows.
    fn ends(&mut self) -> Result<bool, FileError> {
        Ok(self.at >= self.block.len() && !self.fill()?)
    }
}

impl Graph {
    /// Writes the graph's links. The lock is held for a few thousand nodes at a time, so what changes meanwhile may be in the file in part:
    /// loading sorts it out. The end of the output is not flushed to any disk.
    pub fn save(&self, to: impl Write) -> io::Result<()> {
        let mut out = Output { to, block: Vec::with_capacity(BLOCK) };
        let (era, len) = {
            let core = self.core.read();
            (core.era, core.len)
        };
        out.put(&head(&self.params))?;
        out.put(&len.to_le_bytes())?;
        let mut bytes = Vec::new();
        for first in (0..len).step_by(GROUP as usize) {
            bytes.clear();
            let core = self.core.read();
            if core.era != era {
                return Err(io::Error::other("the graph began anew while it was being saved"));
            }
            for node in first..len.min(first + GROUP) {
                core.put(node, &mut bytes);
            }
            drop(core);
            out.put(&bytes)?;
        }
        out.put(&END.to_le_bytes())?;
        out.flush()?;
        out.to.flush()
    }
}

impl Core {
    fn put(&self, number: u32, out: &mut Vec<u8>) {
        let node = self.node(number);
        out.extend_from_slice(&node.record.to_le_bytes());
        out.extend_from_slice(&node.hash.to_le_bytes());
        out.push(node.level | if self.is_dead(number) { DEAD } else { 0 });
        for level in 0..=usize::from(node.level) {
            let (links, diverse) = self.links(number, level);
            out.extend_from_slice(&[links.len() as u8, diverse as u8]);
            links.iter().for_each(|link| out.extend_from_slice(&link.to_le_bytes()));
        }
    }
}

/// A graph whose links are there and whose vectors are to come.
pub struct Loader {
    core: Core,
    encoder: Encoder,
    /// A bit for each node whose row has come.
    came: Vec<u64>,
}

impl Loader {
    /// Reads a file of a graph with these parameters.
    pub fn open(params: Params, input: impl Read) -> Result<Self, FileError> {
        let params = params.bounded();
        let mut input = Input::new(input);
        if input.array()? != head(&params) {
            return Err(FileError::Foreign);
        }
        let len = input.number()?;
        let mut core = Core::new(params);
        let mut links = Vec::new();
        for number in 0..len {
            let record = i64::from_le_bytes(input.array()?);
            let hash = u64::from_le_bytes(input.array()?);
            let [state] = input.array()?;
            let level = usize::from(state & !DEAD);
            if level >= LEVELS {
                return Err(FileError::Damaged);
            }
            let another = core.of_record.get(&record).copied();
            core.push(record, hash, level);
            // Of two nodes of a record none is believed before the rows are seen, and a dead one only holds its links.
            match another {
                Some(another) if state & DEAD != 0 => _ = core.of_record.insert(record, another),
                None if state & DEAD != 0 => _ = core.of_record.remove(&record),
                _ => {}
            }
            for on in 0..=level {
                let [count, diverse] = input.array()?;
                links.clear();
                for _ in 0..count {
                    let link = input.number()?;
                    if link < len && link != number {
                        links.push(link);
                    }
                }
                let whole = links.len() == usize::from(count);
                core.set_links(number, on, &links, if whole { usize::from(diverse) } else { 0 });
            }
        }
        if input.number()? != END || !input.ends()? {
            return Err(FileError::Damaged);
        }
        core.rows.resize(core.len as usize);
        let came = vec![0; core.dead.len()];
        Ok(Loader { core, encoder: Encoder::default(), came })
    }

    /// Shows a row that there is, in any order. False when the file has no place for it: then it must be inserted into the graph later.
    pub fn row(&mut self, record: i64, hash: u64, vector: Vector<'_>) -> bool {
        let Some(node) = self.core.of_record.get(&record).copied() else { return false };
        if self.core.node(node).hash != hash || self.encoder.encode(&self.core.params, vector, false).is_none() {
            return false;
        }
        self.core.rows.set(node, self.encoder.probe());
        self.came[node as usize / 64] |= 1 << (node % 64);
        true
    }

    /// Leaves out the nodes whose rows did not come, and mends what led through them.
    pub fn finish(self) -> Graph {
        let Loader { mut core, came, .. } = self;
        let came = |node: u32| came.get(node as usize / 64).is_some_and(|word| word >> (node % 64) & 1 == 1);
        let left: u32 = (0..core.len).map(|node| u32::from(came(node))).sum();
        core.mend(&came);
        if left < core.len {
            core.renumber(&came, left);
        }
        core.entry = (0..core.len).max_by_key(|node| core.node(*node).level).unwrap_or(NONE);
        core.relink_unreached();
        Graph::of(core)
    }
}

impl Core {
    /// Takes the nodes that did not come out of all lists, and those out that do not reach up to a list's level. A list that loses more
    /// than a quarter gets what its lost neighbours had links to.
    fn mend(&mut self, came: &impl Fn(u32) -> bool) {
        let mut chooser = super::insert::Chooser::default();
        // Lists are changed when all of them have been looked at: they may lead through each other.
        let mut mended: Vec<(u32, usize, Vec<u32>, usize)> = Vec::new();
        for node in (0..self.len).filter(|node| came(*node)) {
            for level in 0..=usize::from(self.node(node).level) {
                let (links, diverse) = self.links(node, level);
                let stays = |link: &u32| came(*link) && usize::from(self.node(*link).level) >= level;
                let lost = links.iter().filter(|link| !stays(link)).count();
                if lost == 0 {
                    continue;
                }
                let mut list: Vec<u32> = links.iter().copied().filter(stays).collect();
                let mut known = links[..diverse].iter().filter(|link| stays(link)).count();
                if lost * 4 > links.len() {
                    let behind = links.iter().filter(|link| !came(**link)).flat_map(|gone| self.links(*gone, level).0);
                    let behind = behind.filter(|link| **link != node && stays(link));
                    list.extend(behind);
                    list.sort_unstable();
                    list.dedup();
                    let room = if level == 0 { 2 * self.params.max_edges } else { self.params.max_edges };
                    self.choose_of(node, &mut list, room * 3 / 4, &mut chooser);
                    known = list.len();
                }
                mended.push((node, level, list, known));
            }
        }
        for (node, level, list, known) in mended {
            self.set_links(node, level, &list, known);
        }
    }

    /// Makes the numbers of the nodes that came follow each other.
    fn renumber(&mut self, came: &impl Fn(u32) -> bool, left: u32) {
        let mut numbers = vec![NONE; self.len as usize];
        let mut next = 0;
        for (node, number) in (0..self.len).zip(&mut numbers).filter(|(node, _)| came(*node)) {
            *number = next;
            self.rows.copy(node, next);
            next += 1;
        }
        self.rows.resize(left as usize);
        let rows = std::mem::replace(&mut self.rows, self.params.rows());
        let old = std::mem::replace(self, Core::new(self.params));
        self.rows = rows;
        let mut list = Vec::new();
        for node in (0..old.len).filter(|node| came(*node)) {
            let of = old.node(node);
            let level = usize::from(of.level);
            let number = self.push(of.record, of.hash, level);
            for on in 0..=level {
                let (links, diverse) = old.links(node, on);
                list.clear();
                list.extend(links.iter().filter_map(|link| numbers.get(*link as usize)));
                self.set_links(number, on, &list, diverse);
            }
        }
    }

    /// Counts the links, and links those anew to which none leads.
    fn relink_unreached(&mut self) {
        let mut reached = vec![false; self.len as usize];
        for node in 0..self.len {
            let hash = self.node(node).hash;
            for n in 0..self.links(node, 0).0.len() {
                let Some(link) = self.links(node, 0).0.get(n).copied() else { break };
                if let Some(reached) = reached.get_mut(link as usize) {
                    *reached = true;
                }
                // Links between equal vectors do not count; here their hashes tell.
                if self.node(link).hash != hash {
                    self.count_link(link);
                }
            }
        }
        let mut scratch = super::walk::Scratch::default();
        for (node, reached) in (0..self.len).zip(reached) {
            if node != self.entry && !reached {
                self.relink(node, &mut scratch);
            }
        }
    }
}
