//! Hearing of many sockets at once: by epoll where there is one, else by poll, which is told of all of them each time.

use std::collections::HashMap;
use std::io;
#[cfg(target_os = "linux")]
use std::os::fd::OwnedFd;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

#[cfg(target_os = "linux")]
use rustix::event::epoll;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::stream::Stream;

/// Events that are heard of at one time.
#[cfg(target_os = "linux")]
const BATCH: usize = 256;
/// How soon poll looks again at sockets that have said too little: they are ready as long as it is there.
const AGAIN: Duration = Duration::from_millis(100);

pub enum Watch<'f> {
    #[cfg(target_os = "linux")]
    Epoll { epoll: OwnedFd, heard: Vec<epoll::Event> },
    Poll { sources: Vec<BorrowedFd<'f>>, guests: HashMap<u64, Seen> },
}

/// What poll knows of a socket.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    Silent,
    /// It has said something, which was not enough.
    Spoken,
}

impl<'f> Watch<'f> {
    /// Sources have the numbers in which they come.
    pub fn new(sources: Vec<BorrowedFd<'f>>) -> Watch<'f> {
        #[cfg(target_os = "linux")]
        if let Ok(watch) = Watch::by_epoll(&sources) {
            return watch;
        }
        Watch::by_poll(sources)
    }

    #[cfg(target_os = "linux")]
    pub fn by_epoll(sources: &[BorrowedFd<'f>]) -> io::Result<Watch<'f>> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        for (number, source) in sources.iter().enumerate() {
            epoll::add(&epoll, source, epoll::EventData::new_u64(number as u64), epoll::EventFlags::IN)?;
        }
        Ok(Watch::Epoll { epoll, heard: Vec::with_capacity(BATCH) })
    }

    pub fn by_poll(sources: Vec<BorrowedFd<'f>>) -> Watch<'f> {
        Watch::Poll { sources, guests: HashMap::new() }
    }

    /// Hears of a socket from now on, each time that there is more, or the end.
    pub fn add(&mut self, stream: &Stream, number: u64) -> io::Result<()> {
        match self {
            #[cfg(target_os = "linux")]
            Watch::Epoll { epoll, .. } => {
                // Only news are told, so that a socket that has said too little costs nothing until it says more.
                let news = epoll::EventFlags::IN | epoll::EventFlags::RDHUP | epoll::EventFlags::ET;
                Ok(epoll::add(epoll, stream, epoll::EventData::new_u64(number), news)?)
            }
            Watch::Poll { guests, .. } => {
                guests.insert(number, Seen::Silent);
                Ok(())
            }
        }
    }

    pub fn remove(&mut self, stream: &Stream, number: u64) {
        match self {
            #[cfg(target_os = "linux")]
            Watch::Epoll { epoll, .. } => drop(epoll::delete(epoll, stream)),
            Watch::Poll { guests, .. } => drop(guests.remove(&number)),
        }
        let _ = (stream, number);
    }

    /// Sleeps until there is something, or for so long. `stream` finds a socket by its number.
    pub fn wait<'s>(&mut self, timeout: Option<Duration>, stream: impl Fn(u64) -> Option<&'s Stream>) -> io::Result<Vec<u64>> {
        let timespec = |d: Duration| Timespec { tv_sec: d.as_secs() as i64, tv_nsec: i64::from(d.subsec_nanos()) };
        match self {
            #[cfg(target_os = "linux")]
            Watch::Epoll { epoll, heard } => {
                heard.clear();
                match epoll::wait(&*epoll, rustix::buffer::spare_capacity(heard), timeout.map(timespec).as_ref()) {
                    Err(rustix::io::Errno::INTR) => return Ok(Vec::new()),
                    other => other?,
                };
                Ok(heard.iter().map(|event| event.data.u64()).collect())
            }
            Watch::Poll { sources, guests } => {
                let spoken: Vec<u64> = guests.iter().filter(|(_, seen)| **seen == Seen::Spoken).map(|(number, _)| *number).collect();
                let silent: Vec<(u64, &Stream)> = guests.iter().filter(|(_, seen)| **seen == Seen::Silent).filter_map(|(n, _)| Some((*n, stream(*n)?))).collect();
                let timeout = if spoken.is_empty() { timeout } else { Some(timeout.unwrap_or(AGAIN).min(AGAIN)) };
                let numbers = (0..sources.len() as u64).chain(silent.iter().map(|(number, _)| *number));
                let mut polled: Vec<PollFd<'_>> = sources.iter().map(|fd| PollFd::from_borrowed_fd(*fd, PollFlags::IN)).collect();
                polled.extend(silent.iter().map(|(_, stream)| PollFd::from_borrowed_fd(stream.as_fd(), PollFlags::IN)));
                match poll(&mut polled, timeout.map(timespec).as_ref()) {
                    Err(rustix::io::Errno::INTR) => return Ok(Vec::new()),
                    other => other?,
                };
                let heard: Vec<u64> = numbers.zip(&polled).filter(|(_, fd)| !fd.revents().is_empty()).map(|(number, _)| number).collect();
                for number in &heard {
                    if let Some(seen) = guests.get_mut(number) {
                        *seen = Seen::Spoken;
                    }
                }
                Ok(heard.into_iter().chain(spoken).collect())
            }
        }
    }
}
