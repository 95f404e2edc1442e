//! Ends commands whose client is gone.
//!
//! A connection's thread is in its command and does not look at its socket. One thread does so for all of them, and only for those
//! whose command has run for a while: a short one costs nothing.

use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use smongo_engine::Watched;

use crate::stream::Stream;

/// Time between two looks, and how long a command must have run to be looked at: together well below a second.
pub const PERIOD: Duration = Duration::from_millis(300);
const LEAST: Duration = Duration::from_millis(100);

/// What Linux says when the other end has closed, also only its way to us: who waits for an answer keeps it open, and MongoDB takes
/// its end for the client's, too. Other systems say that there is something to read, which may be the end.
#[cfg(target_os = "linux")]
const ENDED: PollFlags = PollFlags::RDHUP.union(PollFlags::HUP).union(PollFlags::ERR);
#[cfg(not(target_os = "linux"))]
const ENDED: PollFlags = PollFlags::IN.union(PollFlags::HUP).union(PollFlags::ERR);

/// A connection whose command has run for a while.
pub struct Busy {
    command: u64,
    stream: Arc<Stream>,
    session: Watched,
}

impl Busy {
    pub fn of(stream: &Arc<Stream>, session: &Watched) -> Option<Busy> {
        Some(Busy { command: session.running_for(LEAST)?, stream: stream.clone(), session: session.clone() })
    }
}

/// Looks at busy connections once; the commands of those whose client is gone end with ClientDisconnect.
pub fn look(busy: &[Busy]) {
    if busy.is_empty() {
        return;
    }
    let mut polled: Vec<PollFd<'_>> = busy.iter().map(|client| PollFd::from_borrowed_fd(client.stream.as_fd(), ENDED)).collect();
    if let Err(e) = poll(&mut polled, Some(&Timespec::default())) {
        // The next look finds the same.
        tracing::debug!("polling busy connections: {e}");
        return;
    }
    for (client, _) in busy.iter().zip(&polled).filter(|(client, fd)| fd.revents().intersects(ENDED) && is_gone(&client.stream)) {
        tracing::info!(remote = client.stream.remote(), "a client left while its command ran");
        client.session.abandon(client.command);
    }
}

#[cfg(target_os = "linux")]
fn is_gone(_: &Stream) -> bool {
    true
}

/// What can be read is the end of the stream, or nothing can be read any more.
#[cfg(not(target_os = "linux"))]
fn is_gone(stream: &Stream) -> bool {
    use rustix::net::{RecvFlags, recv};
    match recv(stream, &mut [0u8; 1][..], RecvFlags::PEEK | RecvFlags::DONTWAIT) {
        Ok((n, _)) => n == 0,
        Err(e) => e != rustix::io::Errno::AGAIN && e != rustix::io::Errno::INTR,
    }
}
