//! An open database and the sockets in front of it, shared by every client of the same path.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;
use pyo3::prelude::*;
use smongo_engine::{Client, Options};
use smongo_server::{Exposure, Handle, Listen, Server};

use crate::door::Door;
use crate::worker::Worker;

/// How often this process was made by a fork. What an earlier generation opened belongs to the parent.
static GENERATION: AtomicU64 = AtomicU64::new(0);

pub fn after_fork() {
    GENERATION.fetch_add(1, Ordering::Relaxed);
}

/// What doors share: the engine, idle sessions, servers.
pub struct State {
    engine: Mutex<Option<smongo_engine::Engine>>,
    pool: Mutex<Vec<Worker>>,
    servers: Mutex<Vec<(u64, Handle)>>,
    next_server: AtomicU64,
    closed: AtomicBool,
    generation: u64,
}

impl State {
    /// An idle session, or a new one: there are as many as there were threads at work at once.
    pub fn take(&self) -> PyResult<Worker> {
        if self.generation != GENERATION.load(Ordering::Relaxed) {
            return Err(invalid(FORKED));
        }
        if let Some(worker) = self.pool.lock().pop() {
            return Ok(worker);
        }
        let client = Client { local: "localhost:27017".into(), ..Client::owner() };
        // No lock is held while Python runs: its garbage collector may come back here, to kill a cursor.
        let engine = self.engine.lock().clone();
        match engine {
            Some(engine) => Ok(Worker::new(engine.session(client))),
            None => Err(invalid(CLOSED)),
        }
    }

    pub fn give_back(&self, mut worker: Worker) {
        if !self.closed.load(Ordering::Acquire) {
            worker.trim();
            self.pool.lock().push(worker);
        }
    }

    fn close(&self) -> smongo_bson::Result<()> {
        self.closed.store(true, Ordering::Release);
        let Some(engine) = self.engine.lock().take() else { return Ok(()) };
        engine.begin_shutdown();
        let servers = std::mem::take(&mut *self.servers.lock());
        for (_, server) in servers {
            server.shutdown();
        }
        self.pool.lock().clear();
        engine.close()
    }
}

const FORKED: &str = "this local MongoClient was opened before a fork: the database belongs to the parent process. Open it in one process only, or let the others connect to it with mongodb:// through smongo.WireServer";

pub const CLOSED: &str = "Cannot use MongoClient after close";

impl Drop for State {
    fn drop(&mut self) {
        if self.generation == GENERATION.load(Ordering::Relaxed) {
            let _ = self.close();
            return;
        }
        // The parent's files, locks and threads: closing them here would write into its database.
        std::mem::forget(self.engine.get_mut().take());
        std::mem::forget(std::mem::take(self.pool.get_mut()));
        std::mem::forget(std::mem::take(self.servers.get_mut()));
    }
}

/// PyMongo's `InvalidOperation`.
pub fn invalid(message: &str) -> PyErr {
    pymongo_error("InvalidOperation", (message.to_owned(),))
}

/// An exception of `pymongo.errors` by its name.
pub fn pymongo_error(name: &str, args: impl for<'py> pyo3::call::PyCallArgs<'py>) -> PyErr {
    Python::attach(|py| {
        let made = py.import("pymongo.errors").and_then(|errors| errors.getattr(name)).and_then(|class| class.call1(args));
        made.map_or_else(|e| e, PyErr::from_value)
    })
}

/// An open database.
#[pyclass(frozen, module = "smongo._smongo")]
pub struct Engine {
    state: Arc<State>,
}

#[pymethods]
impl Engine {
    /// Opens the directory `path`, making it where there is none; `None` keeps everything in memory.
    #[new]
    #[pyo3(signature = (path=None, *, cache_bytes=None, durable=false, test_commands=false, allow_other_files=false))]
    fn open(py: Python<'_>, path: Option<PathBuf>, cache_bytes: Option<u64>, durable: bool, test_commands: bool, allow_other_files: bool) -> PyResult<Engine> {
        let mut options = Options { path, always_durable: durable, test_commands, allow_other_files, ..Options::default() };
        if let Some(bytes) = cache_bytes {
            options.cache_bytes = bytes.max(Options::LEAST_CACHE);
        }
        let engine = py.detach(|| smongo_engine::Engine::open(options)).map_err(|e| operation_failure(&e))?;
        let state = State {
            engine: Mutex::new(Some(engine)),
            pool: Mutex::default(),
            servers: Mutex::default(),
            next_server: AtomicU64::new(0),
            closed: AtomicBool::new(false),
            generation: GENERATION.load(Ordering::Relaxed),
        };
        Ok(Engine { state: Arc::new(state) })
    }

    /// A way in for one client.
    fn door(&self) -> Door {
        Door::new(self.state.clone())
    }

    /// Fails where this engine cannot be used: it is closed, or this is a forked child.
    fn check(&self) -> PyResult<()> {
        let worker = self.state.take()?;
        self.state.give_back(worker);
        Ok(())
    }

    /// Serves on a unix socket that is this process' own: whoever comes as another user is turned away. The answer names the server.
    fn listen_unix(&self, py: Python<'_>, path: PathBuf) -> PyResult<u64> {
        Ok(self.listen(py, Listen { unix: Some(path), private: true, ..Listen::default() })?.0)
    }

    /// Serves on a TCP port; 0 takes any free one. The answer names the server, and is the port. With `auth` clients must log in; without it
    /// addresses that other machines reach are refused unless `open_network` says that they are meant.
    #[pyo3(signature = (host, port, *, auth=false, open_network=false))]
    fn listen_tcp(&self, py: Python<'_>, host: String, port: u16, auth: bool, open_network: bool) -> PyResult<(u64, u16)> {
        let exposure = match (auth, open_network) {
            (true, _) => Exposure::Authenticated,
            (false, true) => Exposure::AcceptedOpen,
            (false, false) => Exposure::Loopback,
        };
        self.listen(py, Listen { tcp: vec![(host, port)], exposure, ..Listen::default() })
    }

    /// Ends one server and its connections; the database stays open.
    fn stop(&self, py: Python<'_>, server: u64) {
        py.detach(|| {
            let mut servers = self.state.servers.lock();
            let found = servers.iter().position(|(id, _)| *id == server).map(|i| servers.swap_remove(i));
            drop(servers);
            drop(found);
        });
    }

    /// Stops the servers and closes the database. Doors answer InvalidOperation from then on.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        if self.state.generation != GENERATION.load(Ordering::Relaxed) {
            return Ok(());
        }
        py.detach(|| self.state.close()).map_err(|e| operation_failure(&e))
    }

    /// Whether shutdown has begun, for instance by the `shutdown` command.
    #[getter]
    fn shutting_down(&self) -> bool {
        self.state.engine.lock().as_ref().is_none_or(|e| e.shutting_down())
    }

    #[getter]
    fn closed(&self) -> bool {
        self.state.closed.load(Ordering::Acquire)
    }
}

impl Engine {
    fn listen(&self, py: Python<'_>, listen: Listen) -> PyResult<(u64, u16)> {
        self.check()?;
        py.detach(|| {
            let engine = self.state.engine.lock().clone();
            let Some(engine) = engine else { return Err(invalid(CLOSED)) };
            let handle = Server::bind(&engine, listen)?.spawn()?;
            let port = handle.local_addrs().first().map_or(0, |a| a.port());
            let id = self.state.next_server.fetch_add(1, Ordering::Relaxed);
            self.state.servers.lock().push((id, handle));
            Ok((id, port))
        })
    }
}

fn operation_failure(e: &smongo_bson::Error) -> PyErr {
    pymongo_error("OperationFailure", (e.message().to_owned(), e.code().0))
}
