//! Listening sockets, the register of connections, and shutdown.

use std::collections::HashMap;
use std::io::{self, Write};
use std::net::{Shutdown, SocketAddr, TcpListener};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use rustix::event::{PollFd, PollFlags, poll};
use smongo_engine::{Client, Engine, Peer, Trust, Watched, descriptors};

use crate::compress;
use crate::connection;
use crate::first::{self, First};
use crate::hangup;
use crate::listen::{self, Exposure, Listen, named};
use crate::stream::Stream;
use crate::tls::{Certificates, Mode};
use crate::told::Told;
use crate::wire::Wire;

/// The stack of a connection's thread. A document may nest 200 levels, and every level of a compiled query costs a frame.
const STACK: usize = 2 << 20;
/// How long running commands may take to end when the server stops.
const GRACE: Duration = Duration::from_secs(5);
/// How long a client may take for each step of agreeing on a key.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// Bound sockets in front of an engine. [`run`](Server::run) serves on this thread, [`spawn`](Server::spawn) on another.
pub struct Server {
    tcp: Vec<TcpListener>,
    unix: Option<(UnixListener, PathBuf)>,
    wake: UnixStream,
    shared: Arc<Shared>,
}

struct Shared {
    engine: Engine,
    advertise: Option<String>,
    max_connections: usize,
    exposure: Exposure,
    /// Whether other machines reach one of the sockets.
    exposed: bool,
    /// Where connections may be encrypted.
    certificates: Option<Arc<Certificates>>,
    /// Peers that were told of a mistake in the log.
    told: Told,
    /// Of the unix socket: its file's mode, and whether it is for our own processes only.
    unix_mode: u32,
    private: bool,
    stopping: AtomicBool,
    /// Writing a byte wakes the accepting thread.
    waker: UnixStream,
    connections: Mutex<HashMap<u64, Connection>>,
    /// Notified when a connection has ended.
    ended: Condvar,
}

struct Connection {
    stream: Arc<Stream>,
    /// Its session with the engine, once there is one.
    session: Option<Watched>,
}

/// Asks a server to stop, from any thread.
#[derive(Clone)]
pub struct Stopper(Arc<Shared>);

impl Stopper {
    /// Returns at once; [`Server::run`] returns when the connections have ended.
    pub fn stop(&self) {
        self.0.stop();
    }
}

/// A server that runs on a thread of its own. Dropping it stops it and waits.
pub struct Handle {
    stopper: Stopper,
    thread: Option<JoinHandle<()>>,
    addresses: Vec<SocketAddr>,
    unix: Option<PathBuf>,
}

impl Handle {
    /// The TCP addresses bound, with the real ports.
    pub fn local_addrs(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// The path of the unix socket, if there is one.
    pub fn unix_path(&self) -> Option<&Path> {
        self.unix.as_deref()
    }

    pub fn stopper(&self) -> Stopper {
        self.stopper.clone()
    }

    /// Stops the server and waits until its connections have ended. The engine stays open.
    pub fn shutdown(mut self) {
        self.end();
    }

    fn end(&mut self) {
        self.stopper.stop();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.end();
    }
}

impl Server {
    /// Binds all sockets, or none.
    ///
    /// # Errors
    /// What binding answered, with the address in front; `PermissionDenied` where anybody could come from other machines and nobody said that it is meant.
    pub fn bind(engine: &Engine, listen: Listen) -> io::Result<Server> {
        let certificates = match listen.tls.mode {
            Mode::Disabled => None,
            _ => {
                let (certificates, warnings) = Certificates::open(listen.tls.clone())?;
                warnings.into_iter().for_each(|warning| engine.warn(warning));
                Some(Arc::new(certificates))
            }
        };
        let tcp = listen.bind_tcp()?;
        let exposed = listen.beyond_loopback()?.is_some();
        let (wake, waker) = UnixStream::pair()?;
        waker.set_nonblocking(true)?;
        let shared = Arc::new(Shared {
            engine: engine.clone(),
            advertise: listen.advertise,
            max_connections: listen.max_connections,
            exposure: listen.exposure,
            exposed,
            certificates,
            told: Told::default(),
            unix_mode: listen.unix_mode,
            private: listen.private,
            stopping: AtomicBool::new(false),
            waker,
            connections: Mutex::default(),
            ended: Condvar::new(),
        });
        if let Some(certificates) = &shared.certificates {
            let certificates = Arc::downgrade(certificates);
            engine.on_rotate_certificates(Box::new(move || certificates.upgrade().map(|c| c.reload().map_err(|e| e.to_string()))));
        }
        let mut server = Server { tcp, unix: None, wake, shared };
        if let Some(path) = listen.unix {
            server.bind_unix(path)?;
        }
        Ok(server)
    }

    /// Binds a unix socket beside the TCP ones, in place of one that a dead server left behind.
    ///
    /// # Errors
    /// What binding answered, with the path in front.
    pub fn bind_unix(&mut self, path: PathBuf) -> io::Result<()> {
        let listener = listen::bind_unix(&path, self.shared.unix_mode).map_err(|e| named(&path.display().to_string(), e))?;
        self.unix = Some((listener, path));
        Ok(())
    }

    /// The TCP addresses bound, with the real ports.
    pub fn local_addrs(&self) -> Vec<SocketAddr> {
        self.tcp.iter().filter_map(|l| l.local_addr().ok()).collect()
    }

    pub fn stopper(&self) -> Stopper {
        Stopper(self.shared.clone())
    }

    /// What connections are encrypted with, where they may be.
    pub fn certificates(&self) -> Option<Arc<Certificates>> {
        self.shared.certificates.clone()
    }

    /// Serves on a new thread.
    ///
    /// # Errors
    /// The thread could not be started.
    pub fn spawn(self) -> io::Result<Handle> {
        let (stopper, addresses) = (self.stopper(), self.local_addrs());
        let unix = self.unix.as_ref().map(|(_, path)| path.clone());
        let thread = std::thread::Builder::new().name("smongo-accept".into()).spawn(move || self.run())?;
        Ok(Handle { stopper, thread: Some(thread), addresses, unix })
    }

    /// Serves until it is stopped, by a [`Stopper`] or by the engine's `shutdown` command; then lets running commands end,
    /// for a few seconds at most, and closes every connection. The engine stays open.
    pub fn run(self) {
        let mut next_id = 0;
        let watching = self.shared.clone();
        let watch = std::thread::Builder::new().name("smongo-hangup".into()).spawn(move || watching.watch());
        let watch = watch.inspect_err(|e| tracing::warn!("commands of clients that leave will run to their end: {e}")).ok();
        while !self.shared.stopping.load(Ordering::Acquire) {
            if let Err(e) = self.accept_ready(&mut next_id) {
                // Too many open files and the like: wait for connections to end rather than spin.
                tracing::warn!("accepting a connection failed: {e}");
                std::thread::sleep(Duration::from_millis(50));
            }
        }
        let Server { tcp, unix, shared, .. } = self;
        drop(tcp);
        // Before reading from connections is shut down, which looks as if their clients had left.
        if let Some(watch) = watch {
            watch.thread().unpark();
            let _ = watch.join();
        }
        if let Some((_, path)) = unix {
            let _ = std::fs::remove_file(path);
        }
        shared.drain();
    }

    /// Waits for any listener or the waker, and accepts what is there.
    fn accept_ready(&self, next_id: &mut u64) -> io::Result<()> {
        let fds: Vec<BorrowedFd<'_>> = self.tcp.iter().map(AsFd::as_fd).chain(self.unix.iter().map(|(l, _)| l.as_fd())).chain([self.wake.as_fd()]).collect();
        let mut polled: Vec<PollFd<'_>> = fds.iter().map(|fd| PollFd::new(fd, PollFlags::IN)).collect();
        match poll(&mut polled, None) {
            Err(rustix::io::Errno::INTR) => return Ok(()),
            other => other?,
        };
        let ready: Vec<bool> = polled.iter().map(|p| !p.revents().is_empty()).collect();
        for (listener, _) in self.tcp.iter().zip(&ready).filter(|(_, ready)| **ready) {
            if let Some((stream, _)) = waiting(listener.accept())? {
                stream.set_nonblocking(false)?;
                self.begin(Stream::Tcp(stream), next_id);
            }
        }
        if let (Some((listener, path)), Some(true)) = (&self.unix, ready.get(self.tcp.len()))
            && let Some((stream, _)) = waiting(listener.accept())?
        {
            stream.set_nonblocking(false)?;
            self.begin(Stream::Unix { stream, path: path.clone() }, next_id);
        }
        Ok(())
    }

    fn begin(&self, stream: Stream, next_id: &mut u64) {
        *next_id += 1;
        let (id, stream, shared) = (*next_id, Arc::new(stream), self.shared.clone());
        let remote = stream.remote();
        // Systems that do not tell whose process it is leave it to the mode of the socket's directory.
        if shared.private && !stream.is_ours().unwrap_or(cfg!(not(target_os = "linux"))) {
            tracing::error!(remote, "connection refused: a process of another user came to a private socket");
            return;
        }
        {
            let mut connections = shared.connections.lock();
            if connections.len() >= shared.max_connections {
                tracing::warn!(remote, "connection refused: too many open connections ({})", connections.len());
                return;
            }
            if let Err(error) = descriptors::take_connection(connections.len()) {
                tracing::warn!(remote, "connection refused: {error}");
                return;
            }
            connections.insert(id, Connection { stream: stream.clone(), session: None });
        }
        if !shared.engine.quiet() {
            tracing::info!(remote, id, "connection accepted");
        }
        let thread = std::thread::Builder::new().name(format!("conn{id}")).stack_size(STACK);
        let serving = shared.clone();
        if let Err(e) = thread.spawn(move || serving.serve(id, &stream, remote)) {
            tracing::warn!("no thread for a connection: {e}");
            shared.forget(id);
        }
    }
}

impl Shared {
    fn stop(&self) {
        if !self.stopping.swap(true, Ordering::AcqRel) {
            let _ = io::Write::write(&mut &self.waker, &[1]);
        }
    }

    /// The life of one connection; its thread ends with it.
    fn serve(&self, id: u64, stream: &Stream, remote: String) {
        stream.tune();
        match catch_unwind(AssertUnwindSafe(|| self.speak(id, stream, remote))) {
            Ok(_) if self.engine.quiet() => {}
            Ok(Ok(())) => tracing::info!(id, "connection ended"),
            Ok(Err(e)) => tracing::info!(id, "connection ended: {e}"),
            Err(_) => tracing::error!(id, "connection closed: its thread panicked"),
        }
        stream.shutdown(Shutdown::Both);
        self.forget(id);
        if self.engine.shutting_down() {
            self.stop();
        }
    }

    fn speak(&self, id: u64, stream: &Stream, remote: String) -> io::Result<()> {
        let Some(wire) = self.begin_wire(stream, &remote)? else { return Ok(()) };
        let certificate = match &wire {
            Wire::Tls(encrypted) => encrypted.subject(),
            Wire::Plain(_) => None,
        };
        let peer = Peer { local: stream.is_local(), exposed: self.exposed, certificate };
        let trust = if self.private { Trust::Owner } else { self.exposure.trust() };
        let local = self.advertise.clone().unwrap_or_else(|| stream.local());
        let session = self.engine.session(Client { local, remote, compressors: compress::OFFERED, trust, peer });
        if let Some(connection) = self.connections.lock().get_mut(&id) {
            connection.session = Some(session.watched());
        }
        connection::serve(wire, session, &self.engine)
    }

    /// Looks at the first bytes, and agrees on a key where they ask for it; `None` for whom nothing is to be said to.
    fn begin_wire<'s>(&self, stream: &'s Stream, remote: &str) -> io::Result<Option<Wire<'s>>> {
        let Some(ip) = stream.remote_ip() else { return Ok(Some(Wire::Plain(stream))) };
        let mut bytes = [0; first::ENOUGH];
        let mistake = match (first::classify(stream.peek(&mut bytes)?), &self.certificates) {
            (First::Http, _) => {
                (&mut &*stream).write_all(first::HTTP.as_bytes())?;
                "a browser came; this port does not speak HTTP".to_owned()
            }
            (First::Tls, Some(certificates)) => {
                stream.set_patience(Some(HANDSHAKE))?;
                match certificates.accept(stream) {
                    Ok(encrypted) => {
                        stream.set_patience(None)?;
                        return Ok(Some(Wire::Tls(encrypted)));
                    }
                    Err(e) => format!("no TLS connection was made: {e}"),
                }
            }
            (First::Tls, None) => "TLS on a port without it: take tls=true out of the URI, or start the server with --tlsMode".to_owned(),
            // Who looks whether the port is open and leaves.
            (First::More, Some(_)) => return Ok(None),
            (_, Some(certificates)) if certificates.mode() == Mode::Require => {
                "plain text on a port that requires TLS: add tls=true to the URI".to_owned()
            }
            _ => return Ok(Some(Wire::Plain(stream))),
        };
        if self.told.may_tell(ip) {
            tracing::warn!(remote, "connection closed: {mistake}");
        }
        Ok(None)
    }

    /// Ends commands whose client is gone, until the server stops.
    fn watch(&self) {
        while !self.stopping.load(Ordering::Acquire) {
            std::thread::park_timeout(hangup::PERIOD);
            let busy = |c: &Connection| hangup::Busy::of(&c.stream, c.session.as_ref()?);
            let clients: Vec<hangup::Busy> = self.connections.lock().values().filter_map(busy).collect();
            hangup::look(&clients);
        }
    }

    fn forget(&self, id: u64) {
        self.connections.lock().remove(&id);
        self.ended.notify_all();
    }

    /// Ends every connection: first no more requests, then, after the grace period, no more replies either.
    fn drain(&self) {
        for how in [Shutdown::Read, Shutdown::Both] {
            let deadline = Instant::now() + GRACE;
            let mut connections = self.connections.lock();
            for connection in connections.values() {
                connection.stream.shutdown(how);
            }
            while !connections.is_empty() {
                if self.ended.wait_until(&mut connections, deadline).timed_out() {
                    break;
                }
            }
        }
    }
}

/// Nobody waits any more when the client left between poll and accept.
fn waiting<T>(accepted: io::Result<T>) -> io::Result<Option<T>> {
    match accepted {
        Ok(t) => Ok(Some(t)),
        Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::ConnectionAborted | io::ErrorKind::Interrupted) => Ok(None),
        Err(e) => Err(e),
    }
}
