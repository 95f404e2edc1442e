//! The accepting thread: who comes waits in the lobby until he has said something, and is then given a thread.

use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use smongo_engine::{Trust, descriptors};

use crate::first::First;
use crate::limits;
use crate::lobby::{Event, Lobby};
use crate::server::{Arrival, Server};
use crate::starting::Starting;
use crate::stream::Stream;

/// Connections that are accepted before guests are looked after again.
const AT_ONCE: usize = 64;

impl Server {
    /// Accepts until the server stops. `next_id` is the number of the newest connection.
    pub(crate) fn accept(&self, next_id: &mut u64) -> io::Result<()> {
        let patience = (self.shared.exposure.trust() == Trust::Enforced && !self.shared.private).then_some(limits::FIRST);
        let most = limits::LOBBY.min(descriptors::limit() as usize / 2).max(1);
        let sources: Vec<BorrowedFd<'_>> =
            self.tcp.iter().map(AsFd::as_fd).chain(self.unix.iter().map(|(l, _)| l.as_fd())).chain([self.wake.as_fd()]).collect();
        let mut lobby = Lobby::new(sources, patience, most);
        let done = self.attend_all(&mut lobby, next_id);
        lobby.close(self.shared.engine.waiting_connections());
        done
    }

    fn attend_all(&self, lobby: &mut Lobby<'_>, next_id: &mut u64) -> io::Result<()> {
        while !self.shared.stopping.load(Ordering::Acquire) {
            let events = lobby.wait()?;
            for event in events {
                let done = match event {
                    Event::Guest(number) => self.attend(lobby, number, next_id),
                    Event::Source(n) => self.welcome(lobby, n, next_id),
                };
                if let Err(e) = done {
                    // Too many open files and the like: make room, and wait for connections to end rather than spin.
                    tracing::warn!("accepting a connection failed: {e}");
                    if lobby.turn_out_first().is_none() {
                        std::thread::sleep(Duration::from_millis(50));
                    }
                }
            }
            let late = lobby.turn_out_late();
            if late > 0 {
                tracing::info!("{late} connections closed: nothing was said for {} s", limits::FIRST.as_secs());
            }
            lobby.tell(self.shared.engine.waiting_connections());
        }
        Ok(())
    }

    /// Takes in who stands at one of the doors, or hears that a place has become free, or that this is the end.
    fn welcome(&self, lobby: &mut Lobby<'_>, source: usize, next_id: &mut u64) -> io::Result<()> {
        for _ in 0..AT_ONCE {
            let stream = if let Some(listener) = self.tcp.get(source) {
                waiting(listener.accept())?.map(|(stream, _)| Stream::Tcp(stream))
            } else if let Some((listener, path)) = self.unix.as_ref().filter(|_| source == self.tcp.len()) {
                waiting(listener.accept())?.map(|(stream, _)| Stream::Unix { stream, path: path.clone() })
            } else {
                waiting((&mut &self.wake).read(&mut [0; 64]))?;
                return lobby.parked().into_iter().try_for_each(|(number, what)| self.seat(lobby, number, what, next_id));
            };
            let Some(stream) = stream else { break };
            self.enter(lobby, stream, next_id)?;
        }
        Ok(())
    }

    fn enter(&self, lobby: &mut Lobby<'_>, stream: Stream, next_id: &mut u64) -> io::Result<()> {
        let open = self.shared.connections.lock().len() + lobby.len();
        if let Err(error) = descriptors::take_connection(open)
            && lobby.turn_out_first().is_none()
        {
            self.shared.refuse(&stream, error.to_string());
            return Ok(());
        }
        let (number, out) = lobby.enter(stream)?;
        if let Some(out) = out {
            self.shared.refuse(&out, format!("{} others have come and said nothing, either", lobby.len()));
        }
        // Most have something to say at once.
        self.attend(lobby, number, next_id)
    }

    /// Hears what a guest has said.
    fn attend(&self, lobby: &mut Lobby<'_>, number: u64, next_id: &mut u64) -> io::Result<()> {
        match lobby.look(number) {
            First::More => Ok(()),
            what => self.seat(lobby, number, what, next_id),
        }
    }

    /// Gives a guest who has said enough a thread, or lets him wait for one.
    fn seat(&self, lobby: &mut Lobby<'_>, number: u64, what: First, next_id: &mut u64) -> io::Result<()> {
        let start = match lobby.remote(number) {
            peer if self.shared.exposure.trust() == Trust::Enforced => match self.shared.starting.begin_or_wait(peer) {
                Some(start) => Some(start),
                None => {
                    lobby.park(number, what);
                    return Ok(());
                }
            },
            _ => None,
        };
        if let Some((stream, since)) = lobby.leave(number) {
            stream.set_nonblocking(false)?;
            *next_id += 1;
            self.shared.begin(*next_id, stream, Arrival { what: Some(what), start, since, anonymous: None });
        }
        Ok(())
    }
}

impl Starting {
    /// A place, or the promise that the accepting thread is woken when there is one.
    fn begin_or_wait(self: &Arc<Starting>, peer: Option<std::net::IpAddr>) -> Option<crate::starting::Start> {
        self.begin(peer).or_else(|| {
            self.wake_me();
            // A place may have become free before that was said.
            self.begin(peer)
        })
    }
}

/// Nobody waits any more when the client left between two looks.
fn waiting<T>(accepted: io::Result<T>) -> io::Result<Option<T>> {
    match accepted {
        Ok(t) => Ok(Some(t)),
        Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::ConnectionAborted | io::ErrorKind::Interrupted) => Ok(None),
        Err(e) => Err(e),
    }
}

