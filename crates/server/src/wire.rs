//! The way of a connection's bytes: as they are, or encrypted. One thread reads and writes it; others only end the socket.

use std::io::{self, Read, Write};
use std::time::{Duration, Instant};

use crate::stream::Stream;
use crate::tls::Encrypted;

pub enum Wire<'s> {
    Plain(Paced<'s>),
    Tls(Encrypted<'s>),
}

impl<'s> Wire<'s> {
    fn paced(&mut self) -> &mut Paced<'s> {
        match self {
            Wire::Plain(paced) => paced,
            Wire::Tls(encrypted) => encrypted.paced(),
        }
    }

    /// How long each read from here on may wait; `None` for ever.
    #[inline]
    pub fn wait(&mut self, patience: Option<Duration>) -> io::Result<()> {
        self.paced().wait(patience)
    }

    /// Until when reads may wait from here on.
    pub fn wait_until(&mut self, until: Instant) {
        self.paced().until = Some(until);
    }

    /// How long a write may wait; `None` for ever.
    pub fn wait_for_reader(&mut self, patience: Option<Duration>) -> io::Result<()> {
        self.paced().stream.set_write_patience(patience)
    }

    /// Tells the client that there will be no more, where the way has words for it.
    pub fn end(&mut self) {
        if let Wire::Tls(encrypted) = self {
            encrypted.end();
        }
    }

    /// Sends all of it. What is encrypted stays behind until it is flushed.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write_all(bytes)?;
        self.flush()
    }

    /// Ends the connection so that a client who is still sending hears what was answered: what he sends is read and dropped for a moment.
    pub fn dismiss(&mut self, moment: Duration) {
        self.end();
        let paced = self.paced();
        paced.stream.shutdown(std::net::Shutdown::Write);
        paced.until = Some(Instant::now() + moment);
        let mut dropped = [0; 4 << 10];
        while paced.read(&mut dropped).is_ok_and(|n| n > 0) {}
    }
}

impl Read for Wire<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Wire::Plain(paced) => paced.read(buf),
            Wire::Tls(encrypted) => encrypted.read(buf),
        }
    }
}

impl Write for Wire<'_> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        match self {
            Wire::Plain(paced) => paced.write(buf),
            Wire::Tls(encrypted) => encrypted.write(buf),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Wire::Plain(_) => Ok(()),
            Wire::Tls(encrypted) => encrypted.flush(),
        }
    }
}

/// A socket that is waited for only so long.
pub struct Paced<'s> {
    pub stream: &'s Stream,
    /// Until when reads may wait, each only for the rest of it.
    until: Option<Instant>,
    /// What the socket was told last.
    told: Option<Duration>,
}

impl<'s> Paced<'s> {
    pub fn new(stream: &'s Stream, until: Option<Instant>) -> Paced<'s> {
        Paced { stream, until, told: None }
    }

    fn wait(&mut self, patience: Option<Duration>) -> io::Result<()> {
        self.until = None;
        if self.told != patience {
            self.stream.set_patience(patience)?;
            self.told = patience;
        }
        Ok(())
    }
}

impl Read for Paced<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if let Some(until) = self.until {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(late());
            }
            // The system takes no less than a microsecond for a time.
            let left = left.max(Duration::from_millis(1));
            self.stream.set_patience(Some(left))?;
            self.told = Some(left);
        }
        match (&mut &*self.stream).read(buf) {
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => Err(late()),
            other => other,
        }
    }
}

fn late() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "the client was silent for too long")
}

impl Write for Paced<'_> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        (&mut &*self.stream).write(buf)
    }

    fn write_vectored(&mut self, bufs: &[io::IoSlice<'_>]) -> io::Result<usize> {
        (&mut &*self.stream).write_vectored(bufs)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
