//! ObjectId: twelve bytes that are unique and grow with time.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ObjectId(pub [u8; 12]);

impl ObjectId {
    /// A fresh id: seconds of now, five bytes of this process, a counter.
    pub fn generate() -> ObjectId {
        static PROCESS: OnceLock<[u8; 5]> = OnceLock::new();
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        let process = PROCESS.get_or_init(|| {
            let seed = bson::oid::ObjectId::new().bytes();
            COUNTER.store(u32::from_be_bytes([0, seed[9], seed[10], seed[11]]), Ordering::Relaxed);
            [seed[4], seed[5], seed[6], seed[7], seed[8]]
        });
        let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs() as u32);
        let count = COUNTER.fetch_add(1, Ordering::Relaxed).to_be_bytes();
        let mut id = [0; 12];
        id[..4].copy_from_slice(&seconds.to_be_bytes());
        id[4..9].copy_from_slice(process);
        id[9..].copy_from_slice(&count[1..]);
        ObjectId(id)
    }

    /// From 24 hexadecimal digits.
    pub fn parse_hex(text: &str) -> Option<ObjectId> {
        let digits = text.as_bytes();
        if digits.len() != 24 {
            return None;
        }
        let mut id = [0; 12];
        for (byte, pair) in id.iter_mut().zip(digits.chunks_exact(2)) {
            let hex = |b: u8| char::from(b).to_digit(16);
            *byte = (hex(pair[0])? * 16 + hex(pair[1])?) as u8;
        }
        Some(ObjectId(id))
    }

    /// Milliseconds since the epoch of the second in which the id was made.
    pub fn millis(self) -> i64 {
        let [a, b, c, d, ..] = self.0;
        i64::from(u32::from_be_bytes([a, b, c, d])) * 1000
    }
}

impl std::fmt::Display for ObjectId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}

impl std::fmt::Debug for ObjectId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ObjectId({self})")
    }
}
