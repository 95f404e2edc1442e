//! Where connections wait until they have said something. They cost a descriptor each, and no thread: the accepting thread looks
//! after all of them.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::IpAddr;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rustix::event::{Timespec, epoll};

use crate::first::{self, First};
use crate::stream::Stream;

/// Events that are heard of at one time.
const BATCH: usize = 256;
/// Guests are counted from here; numbers below it are what the server listens to.
const FIRST_GUEST: u64 = 1 << 32;

/// What has happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The source of this number has something.
    Source(usize),
    /// A guest has said something, or left.
    Guest(u64),
}

struct Guest {
    stream: Stream,
    since: Instant,
    parked: bool,
}

pub struct Lobby {
    epoll: OwnedFd,
    guests: HashMap<u64, Guest>,
    /// Guests in the order in which they came, those who have left included.
    order: VecDeque<u64>,
    /// Guests who have said enough and wait for a thread.
    ready: Vec<(u64, First)>,
    next: u64,
    /// How long a guest may be silent.
    patience: Option<Duration>,
    most: usize,
    heard: Vec<epoll::Event>,
}

impl Lobby {
    /// `sources` are looked after, too: what the server listens to. Guests may be silent for `patience`, and there are at most so many.
    ///
    /// # Errors
    /// The system has no more of what it takes.
    pub fn new<'f>(sources: impl IntoIterator<Item = BorrowedFd<'f>>, patience: Option<Duration>, most: usize) -> io::Result<Lobby> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        for (number, source) in sources.into_iter().enumerate() {
            epoll::add(&epoll, source, epoll::EventData::new_u64(number as u64), epoll::EventFlags::IN)?;
        }
        Ok(Lobby {
            epoll,
            guests: HashMap::new(),
            order: VecDeque::new(),
            ready: Vec::new(),
            next: FIRST_GUEST,
            patience,
            most,
            heard: Vec::with_capacity(BATCH),
        })
    }

    /// Sleeps until something happens, or a guest has been silent for too long.
    pub fn wait(&mut self) -> io::Result<Vec<Event>> {
        let timeout = self.deadline().map(|at| {
            let left = at.saturating_duration_since(Instant::now());
            Timespec { tv_sec: left.as_secs() as i64, tv_nsec: i64::from(left.subsec_nanos()) }
        });
        self.heard.clear();
        match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut self.heard), timeout.as_ref()) {
            Err(rustix::io::Errno::INTR) => return Ok(Vec::new()),
            other => other?,
        };
        Ok(self.heard.iter().map(|event| event.data.u64()).map(|n| if n < FIRST_GUEST { Event::Source(n as usize) } else { Event::Guest(n) }).collect())
    }

    /// When the guest who came first has been silent for too long.
    fn deadline(&mut self) -> Option<Instant> {
        let patience = self.patience?;
        while let Some(oldest) = self.order.front() {
            match self.guests.get(oldest) {
                Some(guest) => return Some(guest.since + patience),
                None => self.order.pop_front(),
            };
        }
        None
    }

    /// Takes in a guest. Where there are too many, the one who came first is turned out, and answered.
    ///
    /// # Errors
    /// The system has no more of what it takes.
    pub fn enter(&mut self, stream: Stream) -> io::Result<(u64, Option<Stream>)> {
        let out = if self.guests.len() >= self.most { self.turn_out_first() } else { None };
        let number = self.next;
        self.next += 1;
        // Only news are told, so that a guest who has said too little costs nothing until he says more.
        let news = epoll::EventFlags::IN | epoll::EventFlags::RDHUP | epoll::EventFlags::ET;
        epoll::add(&self.epoll, &stream, epoll::EventData::new_u64(number), news)?;
        self.guests.insert(number, Guest { stream, since: Instant::now(), parked: false });
        self.order.push_back(number);
        // Those who have left are forgotten when they are more than those who are there.
        if self.order.len() > 64 && self.order.len() > 2 * self.guests.len() {
            let guests = &self.guests;
            self.order.retain(|number| guests.contains_key(number));
        }
        Ok((number, out))
    }

    /// What a guest has said so far. One of whom nothing more can come is let go of.
    pub fn look(&mut self, number: u64) -> First {
        let Some(guest) = self.guests.get(&number) else { return First::More };
        let mut bytes = [0; first::ENOUGH];
        // Who is parked has been heard; what more he says is for his thread.
        if guest.parked {
            return First::More;
        }
        let what = match guest.stream.peek_now(&mut bytes) {
            Ok(Some(said)) => Some(first::classify(said)).filter(|what| *what != First::More || !guest.stream.has_ended()),
            Ok(None) => Some(First::More),
            Err(_) => None,
        };
        what.unwrap_or_else(|| {
            self.leave(number);
            First::More
        })
    }

    /// Lets a guest go on.
    pub fn leave(&mut self, number: u64) -> Option<(Stream, Instant)> {
        let guest = self.guests.remove(&number)?;
        let _ = epoll::delete(&self.epoll, &guest.stream);
        Some((guest.stream, guest.since))
    }

    /// The address a guest came from.
    pub fn remote(&self, number: u64) -> Option<IpAddr> {
        self.guests.get(&number)?.stream.remote_ip()
    }

    /// A guest who has said enough stays until there is a thread for him.
    pub fn park(&mut self, number: u64, what: First) {
        if let Some(guest) = self.guests.get_mut(&number) {
            guest.parked = true;
            self.ready.push((number, what));
        }
    }

    /// Those who have been parked, and have not been turned out. They may be parked again.
    pub fn parked(&mut self) -> Vec<(u64, First)> {
        std::mem::take(&mut self.ready).into_iter().filter(|(number, _)| self.guests.contains_key(number)).collect()
    }

    /// Turns out who has been silent for too long.
    pub fn turn_out_late(&mut self) -> usize {
        let (now, mut out) = (Instant::now(), 0);
        while self.deadline().is_some_and(|at| at <= now) {
            out += usize::from(self.turn_out_first().is_some());
        }
        out
    }

    /// Turns out who came first.
    pub fn turn_out_first(&mut self) -> Option<Stream> {
        while let Some(number) = self.order.pop_front() {
            if let Some((stream, _)) = self.leave(number) {
                return Some(stream);
            }
        }
        None
    }

    pub fn len(&self) -> usize {
        self.guests.len()
    }

    /// Tells others how many there are.
    pub fn tell(&self, to: &AtomicU64) {
        to.store(self.guests.len() as u64, Ordering::Relaxed);
    }
}
