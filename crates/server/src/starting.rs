//! Threads of connections that have not had their first message: so many in all, and so many for one address.

use std::collections::HashMap;
use std::io::Write;
use std::net::{IpAddr, Ipv6Addr};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use crate::limits;

pub struct Starting {
    counts: Mutex<Counts>,
    /// Whether the accepting thread wants to hear of a place that becomes free, and how it does.
    wanted: AtomicBool,
    waker: UnixStream,
}

#[derive(Default)]
struct Counts {
    all: usize,
    by_peer: HashMap<IpAddr, usize>,
}

/// A place among those who start; given up when it is dropped.
pub struct Start {
    starting: Arc<Starting>,
    peer: Option<IpAddr>,
}

impl Starting {
    pub fn new(waker: UnixStream) -> Starting {
        Starting { counts: Mutex::default(), wanted: AtomicBool::new(false), waker }
    }

    /// The next place that becomes free is told.
    pub fn wake_me(&self) {
        self.wanted.store(true, Ordering::SeqCst);
    }

    /// A place for a peer; none while there are too many. Who is on this machine needs none.
    pub fn begin(self: &Arc<Starting>, peer: Option<IpAddr>) -> Option<Start> {
        let peer = peer.filter(|ip| !ip.is_loopback()).map(network);
        if let Some(peer) = peer {
            let mut counts = self.counts.lock();
            let from_one = counts.by_peer.get(&peer).copied().unwrap_or(0);
            if counts.all >= limits::STARTING || from_one >= limits::STARTING_FROM_ONE {
                return None;
            }
            counts.all += 1;
            counts.by_peer.insert(peer, from_one + 1);
        }
        Some(Start { starting: self.clone(), peer })
    }
}

impl Drop for Start {
    fn drop(&mut self) {
        let Some(peer) = self.peer else { return };
        let mut counts = self.starting.counts.lock();
        counts.all -= 1;
        if let Some(n) = counts.by_peer.get_mut(&peer) {
            *n -= 1;
            if *n == 0 {
                counts.by_peer.remove(&peer);
            }
        }
        drop(counts);
        if self.starting.wanted.swap(false, Ordering::SeqCst) {
            let _ = (&mut &self.starting.waker).write(&[0]);
        }
    }
}

/// Whom one address stands for: of IPv6 everybody has 2^64 of them.
fn network(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() >> 64 << 64).into(),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_takes_all_places() -> std::io::Result<()> {
        let (waker, heard) = UnixStream::pair()?;
        heard.set_nonblocking(true)?;
        let woken = || std::io::Read::read(&mut &heard, &mut [0; 9]).is_ok();
        let starting = Arc::new(Starting::new(waker));
        let ip = |text: &str| text.parse::<IpAddr>().ok();
        let mut held: Vec<Start> = (0..99).filter_map(|n| starting.begin(ip(&format!("2001:db8::{n:x}")))).collect();
        assert_eq!(held.len(), limits::STARTING_FROM_ONE);
        held.extend((0..999).filter_map(|n| starting.begin(ip(&format!("10.0.{}.{}", n / 250, n % 250)))));
        assert_eq!(held.len(), limits::STARTING);
        assert!(starting.begin(ip("127.0.0.1")).is_some() && starting.begin(ip("::1")).is_some() && starting.begin(None).is_some());
        // Who waits for a place hears of one, once.
        held.pop();
        assert!(!woken());
        starting.wake_me();
        held.clear();
        assert!(woken() && !woken());
        assert!(starting.begin(ip("10.0.0.1")).is_some());
        assert!(starting.counts.lock().by_peer.is_empty());
        Ok(())
    }
}
