//! The way of a connection's bytes: as they are, or encrypted. One thread reads and writes it; others only end the socket.

use std::io::{self, Read, Write};

use crate::stream::Stream;
use crate::tls::Encrypted;

pub enum Wire<'s> {
    Plain(&'s Stream),
    Tls(Encrypted<'s>),
}

impl Wire<'_> {
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
}

impl Read for Wire<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Wire::Plain(stream) => (&mut &**stream).read(buf),
            Wire::Tls(encrypted) => encrypted.read(buf),
        }
    }
}

impl Write for Wire<'_> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        match self {
            Wire::Plain(stream) => (&mut &**stream).write(buf),
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
