//! The open database: its directory and lock, its pool of sessions, its tables.

use crate::commit::GroupCommit;
use crate::descriptors::{self, Need};
use crate::error::{Error, ErrorKind, Result};
use crate::memory::Trimmer;
use crate::options::{Options, SyncMethod};
use crate::session::{Session, Work};
use crate::space::Space;
use crate::stats::{Stats, TableStats};
use crate::table::{self, Registry, Table, TableKind};
use crate::wt::Connection;
use parking_lot::{Condvar, Mutex};
use std::collections::BTreeMap;
use std::ffi::CStr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long what needs a table for itself waits for sessions to let go of it, and for the library to
/// notice that nobody reads its past any more, which it does every 100 ms.
const PATIENCE: Duration = Duration::from_millis(300);
/// Time between two rounds of deferred drops.
const DROP_RETRY: Duration = Duration::from_millis(100);
/// Time between two looks at resting sessions for what they keep of tables that are gone; longer than `close_scan_interval`.
const SWEEP: Duration = Duration::from_secs(11);
/// Sessions kept for reuse.
const MOST_POOLED: usize = 64;

mod drops;

use drops::Deferred;

/// An open database. Clones are the same database, which is closed when the last clone and the last
/// session are gone.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

pub(crate) struct Inner {
    // Sessions go before the connection they belong to. Boxed, since they move in and out.
    #[allow(clippy::vec_box)]
    pool: Mutex<Vec<Box<Work>>>,
    connection: Arc<Connection>,
    shared: Arc<Shared>,
    tables: Mutex<Registry>,
    deferred: Mutex<Deferred>,
    options: Options,
    path: Option<PathBuf>,
    /// There was no database in the directory before.
    created: bool,
    closed: AtomicBool,
    background: Mutex<Vec<JoinHandle<()>>>,
    stop: Arc<Stop>,
    /// When resting sessions last gave up their cursors.
    tidied: Mutex<Instant>,
    /// A checkpoint is to be made at once.
    wanted: AtomicBool,
}

/// What sessions need of their store while they are at work.
pub(crate) struct Shared {
    pub group: GroupCommit,
    /// How the log is flushed; `None` without a log.
    pub flush_config: Option<&'static CStr>,
    /// Tables are files, and this is the room for them; `None` in memory.
    pub space: Option<Space>,
    /// Raised where there was no descriptor for a table.
    pub starved: AtomicBool,
    pub sync_on_commit: bool,
    /// Something was committed since the last flush in the background, and since the last checkpoint.
    unsynced: AtomicBool,
    changed: AtomicBool,
    /// The number of the last wish to have a table alone, so that sessions look at `dropping`.
    pub drops: AtomicU64,
    /// The tables that are wanted, by id and generation. Each session grants a wish once.
    pub dropping: Mutex<BTreeMap<u64, (u32, u32)>>,
    /// Somebody has let go of something that was wanted.
    pub released: AtomicBool,
}

/// How long a table waits for the files of others to be closed.
const FILE_PATIENCE: Duration = Duration::from_secs(6);
/// Time between two looks whether a checkpoint is due.
const CHECKPOINT_LOOK: Duration = Duration::from_secs(1);
/// Bytes of the log after which one is made in any case: what recovery has to do again, some 120,000 inserts of a kilobyte, a few
/// seconds.
const CHECKPOINT_LOG: u64 = 160 << 20;
/// Time between two rounds in which resting sessions give up their cursors, so that the library can close tables nobody uses.
const IDLE_TABLES: Duration = Duration::from_secs(60);

impl Shared {
    /// A cursor of a table is about to be opened, and perhaps its file.
    #[inline]
    pub fn admit_file(&self) -> Result<()> {
        if self.space.is_none() { Ok(()) } else { descriptors::take(Need::Table) }
    }

    /// A table is about to be made.
    fn admit_table(&self) -> Result<()> {
        let Some(space) = &self.space else { return Ok(()) };
        space.check()?;
        descriptors::take(Need::NewTable).inspect_err(|_| self.starved.store(true, Ordering::Release))
    }

    /// Where there was no descriptor for a table's file: waits until others are closed.
    #[cold]
    pub fn await_file(&self) -> Result<()> {
        let started = Instant::now();
        // Most cursors open no file, which the next count will tell.
        let mut pause = Duration::from_millis(2);
        loop {
            std::thread::sleep(pause);
            match descriptors::take(Need::Table) {
                Err(_) if started.elapsed() < FILE_PATIENCE => {}
                result => return result,
            }
            self.starved.store(true, Ordering::Release);
            pause = DROP_RETRY;
        }
    }

    #[inline]
    pub fn mark_unsynced(&self) {
        if !self.unsynced.load(Ordering::Relaxed) {
            self.unsynced.store(true, Ordering::Release);
        }
        if !self.changed.load(Ordering::Relaxed) {
            self.changed.store(true, Ordering::Release);
        }
    }
}

/// Ends the background thread.
#[derive(Default)]
struct Stop {
    asked: Mutex<bool>,
    changed: Condvar,
}

impl Store {
    pub fn open(options: Options) -> Result<Self> {
        // Also for a store in memory: its clients' connections need descriptors, too.
        descriptors::limit();
        let (home, path) = home(&options)?;
        let created = match &path {
            Some(path) => library_files(path).map_err(|e| explain(path, e))?.is_empty(),
            None => false,
        };
        if let Some(path) = &path {
            refuse_without_root(path)?;
        }
        let space = path.as_deref().map(Space::new);
        let connection = Connection::open(&home, &options.connection_config(), options.cache_bytes).map_err(|error| {
            let error = explain_open(error, path.as_deref());
            if created && error.kind() != ErrorKind::LockedByOther {
                path.as_deref().inspect(|path| remove_files(path));
            }
            error
        })?;
        let flush_config = match (&path, options.sync) {
            (None, _) => None,
            (Some(_), SyncMethod::None) => Some(c"sync=off"),
            (Some(_), _) => Some(c"sync=on"),
        };
        let shared = Shared {
            group: GroupCommit::default(),
            flush_config,
            space,
            starved: AtomicBool::new(false),
            sync_on_commit: options.sync_on_commit,
            unsynced: AtomicBool::new(false),
            // Recovery may have changed something.
            changed: AtomicBool::new(true),
            drops: AtomicU64::new(0),
            dropping: Mutex::default(),
            released: AtomicBool::new(false),
        };
        let inner = Arc::new(Inner {
            pool: Mutex::default(),
            connection,
            shared: Arc::new(shared),
            tables: Mutex::default(),
            deferred: Mutex::default(),
            options,
            path,
            created,
            closed: AtomicBool::new(false),
            background: Mutex::default(),
            stop: Arc::default(),
            tidied: Mutex::new(Instant::now()),
            wanted: AtomicBool::new(false),
        });
        let (weak, stop) = (Arc::downgrade(&inner), Arc::clone(&inner.stop));
        let interval = inner.options.journal_interval;
        let thread = std::thread::Builder::new()
            .name("smongo-journal".into())
            .spawn(move || background(&weak, &stop, interval))?;
        inner.background.lock().push(thread);
        if inner.path.is_some() {
            let (weak, stop) = (Arc::downgrade(&inner), Arc::clone(&inner.stop));
            let thread = std::thread::Builder::new().name("smongo-checkpoint".into()).spawn(move || checkpoints(&weak, &stop))?;
            inner.background.lock().push(thread);
        }
        inner.shared.space.as_ref().inspect(|space| space.keep());
        Ok(Self { inner })
    }

    /// The directory, absolute; `None` in memory.
    pub fn path(&self) -> Option<&Path> {
        self.inner.path.as_deref()
    }

    pub fn options(&self) -> &Options {
        &self.inner.options
    }

    /// A session of the pool, or a new one.
    pub fn session(&self) -> Result<Session> {
        let work = self.inner.work()?;
        Ok(Session::new(Arc::clone(&self.inner), work))
    }

    /// Whether the store has failed for good.
    pub fn panicked(&self) -> bool {
        self.inner.connection.panicked()
    }

    /// Writes everything committed to the tables' files.
    pub fn checkpoint(&self) -> Result<()> {
        if let Some(space) = &self.inner.shared.space
            && space.check().is_err()
        {
            let dirty = self.inner.figures()?.cache_dirty;
            if !space.fits(dirty) {
                let message = format!("the disk is full: a checkpoint of {dirty} bytes does not fit");
                return Err(Error::new(ErrorKind::DiskFull, message));
            }
        }
        self.session()?.raw().checkpoint(None)
    }

    /// Returns when everything committed before the call is on disk. Threads that call at the same
    /// time share one flush.
    pub fn sync_log(&self) -> Result<()> {
        self.session()?.sync_log()
    }

    /// Makes everything durable and refuses new sessions. The files are released when the last clone
    /// and the last session are gone; when this is the last one, now.
    pub fn close(self) -> Result<()> {
        if !self.inner.closed.swap(true, Ordering::AcqRel) {
            self.inner.stop_background();
            self.inner.finish_deferred();
            if self.inner.path.is_some() {
                self.inner.shared.space.as_ref().inspect(|space| space.use_reserve());
                // Where it does not fit, the log has everything.
                let mut work = self.inner.work_even_closed()?;
                let dirty = work.raw().statistics(c"statistics:", None).map_or(0, |rows| Stats::from_rows(&rows).cache_dirty);
                if self.inner.shared.space.as_ref().is_none_or(|space| space.fits(dirty)) {
                    work.raw().checkpoint(None)?;
                }
                self.inner.take_back(work);
                self.inner.shared.space.as_ref().inspect(|space| space.keep());
            }
        }
        Ok(())
    }

    /// Ends a store that cannot be used. When its directory held no database before it was opened, none is
    /// left: half of one might not open again. For the last owner; as long as there are others, nothing is removed.
    pub fn abandon(self) {
        self.inner.stop_background();
        let made = self.inner.created.then(|| self.inner.path.clone()).flatten();
        if let Some(inner) = Arc::into_inner(self.inner) {
            drop(inner);
            made.inspect(|path| remove_files(path));
        }
    }

    // Tables

    /// Makes a table, or opens it when it exists.
    pub fn create_table(&self, name: &str, kind: TableKind) -> Result<Table> {
        let uri = table::uri(name)?;
        if let Some(table) = self.inner.tables.lock().get(name) {
            return Ok(table.clone());
        }
        if let Err(error) = self.inner.shared.admit_table() {
            // One that is there already needs no room.
            return self.table(name)?.ok_or(error);
        }
        let config = kind.config(self.inner.options.compressor, self.inner.path.is_none());
        self.session()?.raw().create(&uri, &config)?;
        self.inner.shared.mark_unsynced();
        Ok(self.inner.tables.lock().add(name, uri))
    }

    /// The table of this name, if it exists.
    pub fn table(&self, name: &str) -> Result<Option<Table>> {
        let uri = table::uri(name)?;
        if let Some(table) = self.inner.tables.lock().get(name) {
            return Ok(Some(table.clone()));
        }
        let mut session = self.session()?;
        let slot = session.raw().open(c"metadata:", Some(c"raw=true"))?;
        let found = session.raw().search(slot, uri.to_bytes_with_nul());
        session.raw().close(slot)?;
        Ok(if found? { Some(self.inner.tables.lock().add(name, uri)) } else { None })
    }

    pub fn table_exists(&self, name: &str) -> Result<bool> {
        Ok(self.table(name)?.is_some())
    }

    /// The names of all tables, in byte order.
    pub fn list_tables(&self) -> Result<Vec<String>> {
        const PREFIX: &str = "table:";
        let mut session = self.session()?;
        let raw = session.raw();
        let slot = raw.open(c"metadata:", Some(c"raw=true"))?;
        let mut names = Vec::new();
        let mut more = raw.search_near(slot, b"table:\0")?.is_some();
        while more {
            let key = raw.key(slot);
            let key = String::from_utf8_lossy(key.strip_suffix(b"\0").unwrap_or(key));
            match key.strip_prefix(PREFIX) {
                Some(name) => names.push(name.to_owned()),
                None if key.as_ref() > PREFIX => break,
                None => {}
            }
            more = raw.next(slot)?;
        }
        raw.close(slot)?;
        Ok(names)
    }

    /// Drops a table, also one that older snapshots could still read, and waits up to 300 ms for it. Cursors that resting
    /// sessions keep are closed; `Busy` when a session at work uses the table, or a checkpoint or a backup does.
    pub fn drop_table(&self, table: &Table) -> Result<()> {
        self.inner.drop_table(table, PATIENCE)
    }

    /// Drops a table as soon as nobody uses it: now, or in the background. Never waits, and is the
    /// call for all who do not need the name again, which must not be used any more. Tables that still wait when the store is closed stay: compare
    /// [`list_tables`](Self::list_tables) with what should exist after opening.
    pub fn drop_table_later(&self, table: &Table) -> Result<()> {
        let wish = self.inner.wish(table);
        match self.inner.try_drop(table, wish, Duration::ZERO) {
            Err(error) if error.kind() == ErrorKind::Busy => {
                self.inner.deferred.lock().waiting.push_back((table.clone(), wish));
                Ok(())
            }
            result => result,
        }
    }

    /// Checks tables' files with a session outside of a transaction, whose kept cursors are no hindrance then; a result for each.
    /// `Busy` when another session at work uses the table, `Corrupt` when it is damaged. In memory there is nothing to check.
    pub fn verify(&self, session: &mut Session, tables: &[&Table]) -> Result<Vec<Result<()>>> {
        if self.inner.path.is_none() {
            return Ok(tables.iter().map(|_| Ok(())).collect());
        }
        // Changes that are not in the file yet make it busy.
        session.raw().checkpoint(None)?;
        let verify = |table: &&Table| self.inner.exclusively(session, table, PATIENCE, |work| work.raw().verify(table.uri()));
        Ok(tables.iter().map(verify).collect())
    }

    /// Gives free blocks of a table's file back to the file system.
    pub fn compact(&self, table: &Table) -> Result<()> {
        self.session()?.raw().compact(table.uri(), c"timeout=0")
    }

    // Figures and copies

    pub fn stats(&self) -> Result<Stats> {
        Ok(Stats::from_rows(&self.statistics()?))
    }

    /// Every figure of WiredTiger under its name, such as "cache: bytes currently in the cache".
    pub fn statistics(&self) -> Result<Vec<(String, i64)>> {
        self.session()?.raw().statistics(c"statistics:", None)
    }

    pub fn table_stats(&self, table: &Table) -> Result<TableStats> {
        Ok(TableStats::from_rows(&self.table_statistics(table, c"statistics=(size)")?))
    }

    fn table_statistics(&self, table: &Table, config: &CStr) -> Result<Vec<(String, i64)>> {
        let uri = format!("statistics:table:{}\0", table.name());
        let uri = CStr::from_bytes_with_nul(uri.as_bytes())
            .map_err(|_| Error::new(ErrorKind::Invalid, "a name with NUL"))?;
        self.session()?.raw().statistics(uri, Some(config))
    }

    /// Copies the database into an empty or missing directory while it is in use. The copy is the
    /// state of the last checkpoint and the log; open it as any store.
    pub fn backup(&self, directory: &Path) -> Result<()> {
        let Some(from) = self.path() else {
            return Err(Error::new(ErrorKind::Invalid, "a store in memory has no files to back up"));
        };
        make_directory(directory)?;
        if std::fs::read_dir(directory).map_err(|e| explain(directory, e))?.next().is_some() {
            return Err(Error::new(ErrorKind::InvalidPath, format!("{} is not empty", directory.display())));
        }
        self.sync_log()?;
        let mut session = self.session()?;
        let raw = session.raw();
        let slot = raw.open(c"backup:", None)?;
        let mut files = Vec::new();
        let copied = (|| {
            while let Some(file) = raw.next_backup_file(slot)? {
                let to = directory.join(&file);
                files.push(to.clone());
                copy_durably(&from.join(&file), &to)?;
            }
            std::fs::File::open(directory)?.sync_all()?;
            Ok(())
        })();
        if copied.is_err() {
            // Half a copy might be taken for a whole one.
            for file in files {
                let _ = std::fs::remove_file(file);
            }
        }
        raw.close(slot)?;
        self.inner.shared.released.store(true, Ordering::Release);
        copied
    }
}

fn make_directory(path: &Path) -> Result<()> {
    std::fs::create_dir_all(path).map_err(|e| explain(path, e))
}

/// What is wrong with a directory.
fn explain(path: &Path, error: std::io::Error) -> Error {
    let error = Error::from(error);
    let message = match error.kind() {
        ErrorKind::InvalidPath => format!("{} is not a directory, or lies below a file", path.display()),
        _ => format!("{}: {}", path.display(), error.message()),
    };
    Error::with_code(error.kind(), error.code(), message)
}

fn copy_durably(from: &Path, to: &Path) -> Result<()> {
    let mut target = std::fs::File::create_new(to)?;
    std::io::copy(&mut std::fs::File::open(from)?, &mut target)?;
    Ok(target.sync_all()?)
}

/// The name WiredTiger knows the database by, and its directory. Canonical, so that the library
/// sees when one directory is opened twice under two names.
fn home(options: &Options) -> Result<(String, Option<PathBuf>)> {
    static IN_MEMORY: AtomicU64 = AtomicU64::new(0);
    let Some(path) = &options.path else {
        return Ok((format!("memory-{}", IN_MEMORY.fetch_add(1, Ordering::Relaxed)), None));
    };
    make_directory(path)?;
    let path = path.canonicalize().map_err(|e| explain(path, e))?;
    match path.to_str() {
        Some(home) => Ok((home.to_owned(), Some(path))),
        None => Err(Error::new(ErrorKind::InvalidPath, format!("{}: not a UTF-8 path", path.display()))),
    }
}

/// The names of WiredTiger's files in a directory.
fn library_files(directory: &Path) -> std::io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name.starts_with("WiredTiger") || name.ends_with(".wt") {
            names.push(name);
        }
    }
    Ok(names)
}

/// Removes what was made in a directory that had no database, as far as it can be.
fn remove_files(directory: &Path) {
    for name in library_files(directory).unwrap_or_default() {
        let _ = std::fs::remove_file(directory.join(name));
    }
}

/// The library takes a directory without its root file for a new one, and begins over the tables that are there.
fn refuse_without_root(directory: &Path) -> Result<()> {
    const ROOTS: [&str; 3] = ["WiredTiger.turtle", "WiredTiger.turtle.set", "WiredTiger.backup"];
    let names = library_files(directory)?;
    let tables = names.iter().any(|name| !name.starts_with("WiredTiger"));
    if tables && !names.iter().any(|name| ROOTS.contains(&name.as_str())) {
        let message = format!("cannot open {}: WiredTiger.turtle is missing", directory.display());
        return Err(Error::new(ErrorKind::Corrupt, message));
    }
    Ok(())
}

fn explain_open(error: Error, path: Option<&Path>) -> Error {
    let Some(path) = path else { return error };
    let path = path.display();
    if error.kind() == ErrorKind::PermissionDenied {
        let message = format!("cannot open {path}: the directory and the files in it must be writable ({})", error.message());
        return Error::with_code(error.kind(), error.code(), message);
    }
    if error.kind() == ErrorKind::Busy {
        let message = format!(
            "{path} is in use: the database is open in another process, or a second time in this one"
        );
        return Error::with_code(ErrorKind::LockedByOther, error.code(), message);
    }
    Error::with_code(error.kind(), error.code(), format!("cannot open {path}: {}", error.message()))
}

impl Inner {
    fn work(&self) -> Result<Box<Work>> {
        if self.closed.load(Ordering::Acquire) {
            return Err(Error::new(ErrorKind::Closed, "the store is closed"));
        }
        self.work_even_closed()
    }

    fn work_even_closed(&self) -> Result<Box<Work>> {
        if let Some(work) = self.pool.lock().pop() {
            return Ok(work);
        }
        Ok(Box::new(Work::new(self.connection.session()?, Arc::clone(&self.shared))))
    }

    pub fn take_back(&self, work: Box<Work>) {
        let mut pool = self.pool.lock();
        if pool.len() < MOST_POOLED {
            pool.push(work);
        }
    }

    /// One turn of the background thread.
    fn tick(&self) {
        if self.shared.unsynced.swap(false, Ordering::AcqRel)
            && let Some(config) = self.shared.flush_config
            && let Ok(mut work) = self.work()
        {
            let flushed = self.shared.group.wait(|| work.raw().log_flush(config));
            match flushed {
                Ok(()) => self.take_back(work),
                Err(error) => tracing::error!("flushing the log: {error}"),
            }
        }
        self.try_deferred();
    }

    /// Lets the library close the files of tables that nobody uses. Now and then, and at once where descriptors are missing: then
    /// with a checkpoint, since a table that was changed stays open until it is written. With one also while there is still room for it
    /// on the disk.
    fn look_around(self: &Arc<Self>) {
        let Some(space) = &self.shared.space else { return };
        let starved = self.shared.starved.swap(false, Ordering::AcqRel);
        let tidy = starved || self.tidied.lock().elapsed() > IDLE_TABLES;
        if tidy {
            *self.tidied.lock() = Instant::now();
            for resting in self.pool.lock().iter_mut() {
                resting.close_cached_but(None);
            }
        }
        space.look(|| self.figures().map_or(0, |stats| stats.cache_dirty));
        if tidy || space.check().is_err() {
            space.keep_later();
        }
        if starved || space.filled() {
            self.wanted.store(true, Ordering::Release);
            self.stop.changed.notify_all();
        }
    }

    /// Makes a checkpoint where it is time for one and there is something to write. On a full disk only where it fits: one that
    /// fails is the end of the store, and what was committed is in the log.
    fn checkpoint_if_due(&self, last: &mut (Instant, u64)) {
        let wanted = self.wanted.swap(false, Ordering::AcqRel);
        if !self.shared.changed.load(Ordering::Acquire) {
            last.0 = Instant::now();
            return;
        }
        let Ok(stats) = self.figures() else { return };
        let every = self.options.checkpoint_interval;
        let late = !every.is_zero() && (last.0.elapsed() >= every || stats.log_written.saturating_sub(last.1) >= CHECKPOINT_LOG);
        if !(wanted || late) || self.shared.space.as_ref().is_some_and(|space| !space.fits(stats.cache_dirty)) {
            return;
        }
        self.shared.changed.store(false, Ordering::Release);
        let done = self.work().and_then(|mut work| work.raw().checkpoint(None).map(|()| self.take_back(work)));
        if let Err(error) = done {
            tracing::error!("a checkpoint: {error}");
            self.shared.changed.store(true, Ordering::Release);
        }
        *last = (Instant::now(), stats.log_written);
    }

    fn figures(&self) -> Result<Stats> {
        let mut work = self.work()?;
        let rows = work.raw().statistics(c"statistics:", None)?;
        self.take_back(work);
        Ok(Stats::from_rows(&rows))
    }

    fn stop_background(&self) {
        *self.stop.asked.lock() = true;
        self.stop.changed.notify_all();
        let threads = std::mem::take(&mut *self.background.lock());
        // One of them may be who drops the store.
        for thread in threads.into_iter().filter(|thread| thread.thread().id() != std::thread::current().id()) {
            let _ = thread.join();
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.stop_background();
    }
}

/// Flushes the log at intervals, tries deferred drops and gives memory back, until asked to stop or the store is gone.
fn background(store: &Weak<Inner>, stop: &Stop, interval: Duration) {
    let mut trimmer = Trimmer::new();
    let mut swept = Instant::now();
    let pause = if interval.is_zero() { DROP_RETRY } else { interval };
    loop {
        let mut asked = stop.asked.lock();
        if !*asked {
            stop.changed.wait_for(&mut asked, pause);
        }
        if *asked {
            return;
        }
        drop(asked);
        match store.upgrade() {
            Some(store) => {
                store.tick();
                store.look_around();
                if swept.elapsed() >= SWEEP {
                    store.sweep();
                    swept = Instant::now();
                }
            }
            None => return,
        }
        trimmer.tick();
    }
}

/// Makes checkpoints until asked to stop or the store is gone. Not the library's own thread: that one knows nothing of a full disk.
fn checkpoints(store: &Weak<Inner>, stop: &Stop) {
    let mut last = (Instant::now(), 0);
    loop {
        let mut asked = stop.asked.lock();
        if !*asked {
            stop.changed.wait_for(&mut asked, CHECKPOINT_LOOK);
        }
        if *asked {
            return;
        }
        drop(asked);
        match store.upgrade() {
            Some(store) => store.checkpoint_if_due(&mut last),
            None => return,
        }
    }
}

const _: () = {
    const fn send<T: Send>() {}
    const fn sync<T: Sync>() {}
    send::<Session>();
    send::<Store>();
    sync::<Store>();
};
