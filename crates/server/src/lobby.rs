//! Where connections wait until they have said something. They cost a descriptor each, and no thread: the accepting thread looks
//! after all of them.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::IpAddr;
use std::os::fd::BorrowedFd;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::first::{self, First};
use crate::stream::Stream;
use crate::watch::Watch;

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

pub struct Lobby<'f> {
    watch: Watch<'f>,
    guests: HashMap<u64, Guest>,
    /// Guests in the order in which they came, those who have left included.
    order: VecDeque<u64>,
    /// Guests who have said enough and wait for a thread.
    ready: Vec<(u64, First)>,
    next: u64,
    /// How long a guest may be silent.
    patience: Option<Duration>,
    most: usize,
    /// How many there were when that was told last.
    told: u64,
}

impl<'f> Lobby<'f> {
    /// `sources` are looked after, too: what the server listens to. Guests may be silent for `patience`, and there are at most so many.
    pub fn new(sources: Vec<BorrowedFd<'f>>, patience: Option<Duration>, most: usize) -> Lobby<'f> {
        Lobby::with(Watch::new(sources), patience, most)
    }

    fn with(watch: Watch<'f>, patience: Option<Duration>, most: usize) -> Lobby<'f> {
        Lobby { watch, guests: HashMap::new(), order: VecDeque::new(), ready: Vec::new(), next: FIRST_GUEST, patience, most, told: 0 }
    }

    /// Sleeps until something happens, or a guest has been silent for too long.
    pub fn wait(&mut self) -> io::Result<Vec<Event>> {
        let timeout = self.deadline().map(|at| at.saturating_duration_since(Instant::now()));
        let guests = &self.guests;
        let heard = self.watch.wait(timeout, |number| guests.get(&number).map(|guest| &guest.stream))?;
        Ok(heard.into_iter().map(|n| if n < FIRST_GUEST { Event::Source(n as usize) } else { Event::Guest(n) }).collect())
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
        self.watch.add(&stream, number)?;
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
        self.watch.remove(&guest.stream, number);
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

    /// Adds to a count how many there are, or are no more; others add to it, too.
    pub fn tell(&mut self, count: &AtomicU64) {
        let now = self.guests.len() as u64;
        match now.checked_sub(self.told) {
            Some(more) => count.fetch_add(more, Ordering::Relaxed),
            None => count.fetch_sub(self.told - now, Ordering::Relaxed),
        };
        self.told = now;
    }

    /// All leave.
    pub fn close(&mut self, count: &AtomicU64) {
        self.guests.clear();
        self.tell(count);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    use super::*;

    fn guest() -> io::Result<(UnixStream, Stream)> {
        let (ours, theirs) = UnixStream::pair()?;
        Ok((ours, Stream::Unix { stream: theirs, path: "x".into() }))
    }

    /// Who says enough is heard, in pieces, too; who leaves is let go of; who says too little is turned out in the order of coming.
    fn attends(mut lobby: Lobby<'_>, mut source: &UnixStream) -> io::Result<()> {
        let mut frame = vec![0; 16];
        frame[0] = 16;
        let (mut talker, stream) = guest()?;
        let (talks, _) = lobby.enter(stream)?;
        let (mut quiet, stream) = guest()?;
        let (is_quiet, _) = lobby.enter(stream)?;
        quiet.write_all(&frame[..3])?;
        let (leaver, stream) = guest()?;
        let (leaves, _) = lobby.enter(stream)?;
        drop(leaver);
        source.write_all(&[1])?;
        let (mut heard, mut said) = (Vec::new(), 0);
        let until = Instant::now() + Duration::from_millis(700);
        while lobby.len() > 1 && Instant::now() < until {
            for event in lobby.wait()? {
                heard.push(event);
                if let Event::Guest(number) = event
                    && lobby.look(number) == First::Plain
                {
                    assert_eq!(number, talks);
                    assert!(lobby.leave(number).is_some());
                }
            }
            if said < 16 {
                talker.write_all(&frame[said..said + 4])?;
                said += 4;
            }
        }
        assert!(heard.contains(&Event::Source(0)) && heard.contains(&Event::Guest(leaves)) && heard.contains(&Event::Guest(is_quiet)), "{heard:?}");
        assert_eq!(lobby.len(), 1);
        while lobby.turn_out_late() == 0 {
            lobby.wait()?;
        }
        assert!(lobby.len() == 0 && lobby.leave(is_quiet).is_none());
        // Where there are too many the first one goes.
        let held: Vec<_> = (0..5).map(|_| guest()).collect::<io::Result<_>>()?;
        let mut others = Vec::new();
        for (other, stream) in held {
            lobby.enter(stream)?;
            others.push(other);
        }
        assert_eq!(lobby.len(), 3);
        Ok(())
    }

    #[test]
    fn guests_are_attended_to_by_poll() -> io::Result<()> {
        let (source, heard) = UnixStream::pair()?;
        attends(Lobby::with(Watch::by_poll(vec![heard.as_fd()]), Some(Duration::from_secs(1)), 3), &source)
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn guests_are_attended_to_by_epoll() -> io::Result<()> {
        let (source, heard) = UnixStream::pair()?;
        attends(Lobby::with(Watch::by_epoll(&[heard.as_fd()])?, Some(Duration::from_secs(1)), 3), &source)
    }
}
