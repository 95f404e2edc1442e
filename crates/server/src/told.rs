//! Peers of whose mistake the log has spoken, so that one who makes it all day does not fill the disk.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// How long nothing more is said of a peer.
const PAUSE: Duration = Duration::from_secs(60);
/// Most peers that are kept in mind; when there are more, nothing is said of others until some are forgotten.
const MOST: usize = 1024;

#[derive(Default)]
pub struct Told(Mutex<HashMap<IpAddr, Instant>>);

impl Told {
    /// Whether to speak of a peer now.
    pub fn may_tell(&self, peer: IpAddr) -> bool {
        let mut told = self.0.lock();
        let now = Instant::now();
        if told.get(&peer).is_some_and(|at| now.duration_since(*at) < PAUSE) {
            return false;
        }
        if told.len() >= MOST {
            told.retain(|_, at| now.duration_since(*at) < PAUSE);
            if told.len() >= MOST {
                return false;
            }
        }
        told.insert(peer, now);
        true
    }
}

/// What happens too often to be told each time: once a second, and how often it was.
#[derive(Default)]
pub struct Counted(Mutex<(Option<Instant>, u64)>);

impl Counted {
    /// How often it has happened since it was told, where it is to be told now.
    pub fn count(&self) -> Option<u64> {
        let mut counted = self.0.lock();
        counted.1 += 1;
        if counted.0.is_some_and(|at| at.elapsed() < Duration::from_secs(1)) {
            return None;
        }
        counted.0 = Some(Instant::now());
        Some(std::mem::take(&mut counted.1))
    }
}
