//! Listening sockets, the register of connections, and shutdown.

use std::collections::HashMap;
use std::fmt::Display;
use std::io::{self, Write};
use std::net::{Shutdown, SocketAddr, TcpListener};
use std::os::unix::net::{UnixListener, UnixStream};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use smongo_engine::{Client, Engine, Peer, Trust, Watched};

use crate::compress;
use crate::connection::{self, Anonymous, Newcomer};
use crate::first::{self, First};
use crate::hangup;
use crate::limits;
use crate::listen::{self, Exposure, Listen, named};
use crate::starting::{Start, Starting};
use crate::stream::Stream;
use crate::tls::{Certificates, Mode};
use crate::told::{Counted, Told};
use crate::wire::{Paced, Wire};

/// The stack of a connection's thread. A document may nest 200 levels, and every level of a compiled query costs a frame.
const STACK: usize = 2 << 20;
/// How long running commands may take to end when the server stops.
const GRACE: Duration = Duration::from_secs(5);

/// Bound sockets in front of an engine. [`run`](Server::run) serves on this thread, [`spawn`](Server::spawn) on another.
pub struct Server {
    pub(crate) tcp: Vec<TcpListener>,
    pub(crate) unix: Option<(UnixListener, PathBuf)>,
    pub(crate) wake: UnixStream,
    pub(crate) shared: Arc<Shared>,
}

pub(crate) struct Shared {
    pub(crate) engine: Engine,
    advertise: Option<String>,
    max_connections: usize,
    pub(crate) exposure: Exposure,
    /// Whether other machines reach one of the sockets.
    exposed: bool,
    /// Where connections may be encrypted.
    certificates: Option<Arc<Certificates>>,
    pub(crate) starting: Arc<Starting>,
    /// Connections that have to log in and have not.
    anonymous: Arc<AtomicUsize>,
    refused: Counted,
    /// Peers that were told of a mistake in the log.
    told: Told,
    /// Of the unix socket: its file's mode, and whether it is for our own processes only.
    unix_mode: u32,
    pub(crate) private: bool,
    pub(crate) stopping: AtomicBool,
    /// Writing a byte wakes the accepting thread.
    waker: UnixStream,
    pub(crate) connections: Mutex<HashMap<u64, Connection>>,
    /// Notified when a connection has ended.
    ended: Condvar,
}

pub(crate) struct Connection {
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
        wake.set_nonblocking(true)?;
        let shared = Arc::new(Shared {
            engine: engine.clone(),
            advertise: listen.advertise,
            max_connections: listen.max_connections,
            exposure: listen.exposure,
            exposed,
            certificates,
            starting: Arc::new(Starting::new(waker.try_clone()?)),
            anonymous: Arc::default(),
            refused: Counted::default(),
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
        let watching = self.shared.clone();
        let watch = std::thread::Builder::new().name("smongo-hangup".into()).spawn(move || watching.watch());
        let watch = watch.inspect_err(|e| tracing::warn!("commands of clients that leave will run to their end: {e}")).ok();
        let mut next_id = 0;
        while !self.shared.stopping.load(Ordering::Acquire) {
            if let Err(e) = self.accept(&mut next_id) {
                tracing::error!("waiting for connections failed: {e}");
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
}

/// How a connection comes to its thread.
pub(crate) struct Arrival {
    /// What its first bytes say, where they were looked at.
    pub what: Option<First>,
    pub start: Option<Start>,
    pub since: Instant,
    pub anonymous: Option<Anonymous>,
}

impl Shared {
    /// Closes a connection, and says so now and then.
    pub(crate) fn refuse(&self, stream: &Stream, why: impl Display) {
        if let Some(times) = self.refused.count() {
            tracing::warn!(remote = stream.remote(), times, "connection refused: {why}");
        }
    }

    /// Gives a connection a thread.
    pub(crate) fn begin(self: &Arc<Shared>, id: u64, stream: Stream, mut arrival: Arrival) {
        // Systems that do not tell whose process it is leave it to the mode of the socket's directory.
        if self.private && !stream.is_ours().unwrap_or(cfg!(not(target_os = "linux"))) {
            return self.refuse(&stream, "a process of another user came to a private socket");
        }
        if arrival.start.is_some() {
            let anonymous = self.anonymous.load(Ordering::Relaxed);
            if anonymous >= (self.max_connections / 2).max(1) {
                return self.refuse(&stream, format!("by {anonymous} others nobody has logged in, either"));
            }
            arrival.anonymous = Some(Anonymous::new(&self.anonymous));
        }
        let remote = stream.remote();
        let stream = Arc::new(stream);
        {
            let mut connections = self.connections.lock();
            if connections.len() >= self.max_connections {
                return self.refuse(&stream, format!("too many open connections ({})", connections.len()));
            }
            connections.insert(id, Connection { stream: stream.clone(), session: None });
        }
        if !self.engine.quiet() {
            tracing::info!(remote, id, "connection accepted");
        }
        let thread = std::thread::Builder::new().name(format!("conn{id}")).stack_size(STACK);
        let serving = self.clone();
        if let Err(e) = thread.spawn(move || serving.serve(id, &stream, remote, arrival)) {
            tracing::warn!("no thread for a connection: {e}");
            self.forget(id);
        }
    }

    fn stop(&self) {
        if !self.stopping.swap(true, Ordering::AcqRel) {
            let _ = io::Write::write(&mut &self.waker, &[1]);
        }
    }

    /// The life of one connection; its thread ends with it.
    fn serve(&self, id: u64, stream: &Stream, remote: String, arrival: Arrival) {
        stream.tune();
        match catch_unwind(AssertUnwindSafe(|| self.speak(id, stream, remote, arrival))) {
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

    fn speak(&self, id: u64, stream: &Stream, remote: String, arrival: Arrival) -> io::Result<()> {
        let deadline = arrival.since + limits::FIRST;
        let Some(wire) = self.begin_wire(stream, &remote, arrival.what, deadline)? else { return Ok(()) };
        let (tls, certificate) = match &wire {
            Wire::Tls(encrypted) => (Some(encrypted.version()), encrypted.subject()),
            Wire::Plain(_) => (None, None),
        };
        let peer = Peer { local: stream.is_local(), way: stream.way(), exposed: self.exposed, tls, certificate };
        let trust = if self.private { Trust::Owner } else { self.exposure.trust() };
        let local = self.advertise.clone().unwrap_or_else(|| stream.local());
        let session = self.engine.session(Client { local, remote, compressors: compress::OFFERED, trust, peer });
        if let Some(connection) = self.connections.lock().get_mut(&id) {
            connection.session = Some(session.watched());
        }
        let Arrival { start, anonymous, .. } = arrival;
        let newcomer = anonymous.map(|anonymous| Newcomer { start, deadline, anonymous });
        connection::serve(wire, session, &self.engine, newcomer)
    }

    /// Looks at the first bytes, and agrees on a key where they ask for it; `None` for whom nothing is to be said to.
    fn begin_wire<'s>(&self, stream: &'s Stream, remote: &str, what: Option<First>, deadline: Instant) -> io::Result<Option<Wire<'s>>> {
        let Some(ip) = stream.remote_ip() else { return Ok(Some(Wire::Plain(Paced::new(stream, None)))) };
        let mut bytes = [0; first::ENOUGH];
        let what = match what {
            Some(what) => what,
            None => first::classify(stream.peek(&mut bytes)?),
        };
        let mistake = match (what, &self.certificates) {
            (First::Http, _) => {
                (&mut &*stream).write_all(first::HTTP.as_bytes())?;
                "a browser came; this port does not speak HTTP".to_owned()
            }
            (First::Tls, Some(certificates)) => {
                // Who waited long in the lobby, where that is allowed, has time for it, too.
                let until = if self.exposure.trust() == Trust::Enforced { deadline } else { Instant::now() + limits::FIRST };
                match certificates.accept(Paced::new(stream, Some(until))) {
                    Ok(encrypted) => return Ok(Some(Wire::Tls(encrypted))),
                    Err(e) => format!("no TLS connection was made: {e}"),
                }
            }
            (First::Tls, None) => "TLS on a port without it: take tls=true out of the URI, or start the server with --tlsMode".to_owned(),
            // Who looks whether the port is open and leaves.
            (First::More, Some(_)) => return Ok(None),
            (_, Some(certificates)) if certificates.mode() == Mode::Require => {
                "plain text on a port that requires TLS: add tls=true to the URI".to_owned()
            }
            _ => return Ok(Some(Wire::Plain(Paced::new(stream, None)))),
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
