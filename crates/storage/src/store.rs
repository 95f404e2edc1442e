//! The open database: its directory and lock, its pool of sessions, its tables.

mod drops;

use self::drops::Deferred;
use crate::commit::GroupCommit;
use crate::descriptors::{self, Need};
use crate::directory::{self, Found, Stage};
use crate::error::{Error, ErrorKind, Result};
use crate::journal_check::{self, JournalEnd};
use crate::memory::Trimmer;
use crate::options::{JOURNAL_FILE, Options, SyncMethod};
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
/// The same for verifying a table, which has no other chance.
const VERIFY_PATIENCE: Duration = Duration::from_secs(2);
/// The library's file of older versions of values.
const HISTORY: &str = "WiredTigerHS.wt";
/// Time between two rounds of deferred drops, unless they are all in vain.
const DROP_RETRY: Duration = Duration::from_millis(100);
/// Time between two looks at resting sessions for what they keep of tables that are gone; longer than `close_scan_interval`.
const SWEEP: Duration = Duration::from_secs(11);
/// Sessions kept for reuse.
const MOST_POOLED: usize = 64;

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
    /// What was in the directory before.
    found: Found,
    /// What was behind the end of the journal.
    journal_end: JournalEnd,
    /// A backup is being made.
    copying: Mutex<()>,
    /// Goes after the connection.
    _claim: Option<directory::Claim>,
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
        let (home, path, found) = home(&options)?;
        let claim = path.as_deref().map(directory::Claim::new).transpose()?;
        if found == Found::Nothing && options.repair {
            return Err(Error::new(ErrorKind::InvalidPath, format!("{home} holds no database")));
        }
        let journal_end = match &path {
            Some(path) if found != Found::Nothing => look_at_journal(path, &options)?,
            _ => JournalEnd::default(),
        };
        let created = path.as_deref().filter(|_| found == Found::Nothing);
        if let Some(path) = created {
            directory::write_mark(path, Stage::Begun)?;
        }
        let space = path.as_deref().map(Space::new);
        let repaired = path.as_deref().filter(|_| found != Found::Nothing && options.repair);
        if let Some(path) = repaired {
            // What is half repaired might look like less than it was.
            directory::write_mark(path, Stage::Repairing)?;
        }
        let open = || Connection::open(&home, &options.connection_config(), options.cache_bytes);
        let opened = open().or_else(|error| match repaired {
            // Versions of values for transactions that ended with the process: the library cannot salvage all of their damages.
            Some(path) if error.message().contains(HISTORY) && directory::put_aside(path, HISTORY) => open(),
            _ => Err(error),
        });
        let connection = opened.map_err(|error| {
            let error = explain_open(error, path.as_deref());
            if error.kind() != ErrorKind::LockedByOther {
                created.inspect(|path| directory::remove_files(path));
            }
            error
        })?;
        // Whoever was first in an empty directory may have made a database of it and closed it meanwhile.
        let found = match created {
            Some(path) if directory::inspect(path, true, false)? == Found::Database => Found::Database,
            _ => found,
        };
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
            found,
            journal_end,
            copying: Mutex::default(),
            _claim: claim,
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

    /// Whether this is a new database, or one whose creation was cut off: it may lack tables that others have.
    pub fn is_new(&self) -> bool {
        matches!(self.inner.found, Found::Nothing | Found::Begun)
    }

    /// Whether the database is of a version that did not mark its directories.
    pub fn is_unmarked(&self) -> bool {
        self.inner.found == Found::Unmarked
    }

    /// Marks the directory as a database, which from now on must have what every database has.
    pub fn mark_complete(&self) -> Result<()> {
        match &self.inner.path {
            Some(path) if self.inner.found != Found::Database || self.inner.options.repair => directory::write_mark(path, Stage::Complete),
            _ => Ok(()),
        }
    }

    /// What was behind the end of the journal when the database was opened.
    pub fn journal_end(&self) -> &JournalEnd {
        &self.inner.journal_end
    }

    /// Files that turned out to be damaged since the database was opened, and what was said of each.
    pub fn damaged_files(&self) -> Vec<(String, String)> {
        self.inner.connection.damaged_files()
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
        if let Some(space) = &self.inner.shared.space {
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
        let made = self.inner.path.clone().filter(|_| self.inner.found == Found::Nothing);
        if let Some(inner) = Arc::into_inner(self.inner) {
            drop(inner);
            made.inspect(|path| directory::remove_files(path));
        }
    }

    // Tables

    /// Makes a table of a file that the metadata does not know any more, with what it held at its last checkpoint.
    pub fn import_table(&self, name: &str, kind: TableKind) -> Result<Table> {
        let uri = table::uri(name)?;
        let config = kind.config(self.inner.options.compressor, false).to_string_lossy().into_owned();
        let config = std::ffi::CString::new(config + ",import=(enabled=true,repair=true)").unwrap_or_default();
        self.session()?.raw().create(&uri, &config)?;
        Ok(self.inner.tables.lock().add(name, uri))
    }

    /// The names of the files of tables in the directory, without their ending.
    pub fn list_files(&self) -> Result<Vec<String>> {
        let Some(path) = self.path() else { return Ok(Vec::new()) };
        directory::table_files(path)
    }

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
        // Changes that are not in the file yet make it busy, and so does a checkpoint that writes them just now.
        session.raw().checkpoint(None)?;
        let mut results = Vec::new();
        for table in tables {
            let started = Instant::now();
            results.push(loop {
                match self.inner.exclusively(session, table, PATIENCE, |work| work.raw().verify(table.uri())) {
                    Err(error) if error.kind() == ErrorKind::Busy && started.elapsed() < VERIFY_PATIENCE => session.raw().checkpoint(None)?,
                    done => break done,
                }
            });
        }
        Ok(results)
    }

    /// Makes a table of what can be read of its damaged file. `Busy` when another session at work uses the table.
    pub fn salvage(&self, session: &mut Session, table: &Table) -> Result<()> {
        self.inner.exclusively(session, table, PATIENCE, |work| work.raw().salvage(table.uri()))?;
        self.inner.connection.forget_damage(table.name());
        Ok(())
    }

    /// Checks one table's file, with a session outside of a transaction.
    pub fn verify_one(&self, session: &mut Session, table: &Table) -> Result<()> {
        self.verify(session, &[table])?.into_iter().collect()
    }

    /// Copies a table's damaged file into a folder beside the tables before it is changed; where to. None when there is no file.
    pub fn keep_copy(&self, table: &Table) -> Result<Option<PathBuf>> {
        let Some(path) = self.path() else { return Ok(None) };
        let (file, folder) = (format!("{}.wt", table.name()), path.join(directory::LOST_FILES));
        if !path.join(&file).exists() {
            return Ok(None);
        }
        directory::make(&folder)?;
        let to = (0..).map(|n| folder.join(if n == 0 { file.clone() } else { format!("{file}.{n}") })).find(|to| !to.exists());
        let Some(to) = to else { return Ok(None) };
        copy_durably(&path.join(&file), &to)?;
        Ok(Some(to))
    }

    // Figures and copies

    pub fn stats(&self) -> Result<Stats> {
        Ok(Stats::from_rows(&self.statistics()?))
    }

    /// Every figure of WiredTiger under its name, such as "cache: bytes currently in the cache".
    pub fn statistics(&self) -> Result<Vec<(String, i64)>> {
        self.session()?.raw().statistics(c"statistics:", None)
    }

    /// Bytes of a table's file, free blocks included; 0 in memory. Does not open a file that is closed.
    pub fn file_bytes(&self, table: &Table) -> Result<u64> {
        Ok(TableStats::from_rows(&self.table_statistics(table, c"statistics=(size)")?).file_bytes)
    }

    /// The file's bytes and those of them that are free, which the file must be open for.
    pub fn table_stats(&self, table: &Table) -> Result<TableStats> {
        Ok(TableStats::from_rows(&self.table_statistics(table, c"statistics=(fast)")?))
    }

    pub(crate) fn table_statistics(&self, table: &Table, config: &CStr) -> Result<Vec<(String, i64)>> {
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
        let Some(_alone) = self.inner.copying.try_lock() else {
            return Err(Error::new(ErrorKind::Busy, "another backup of this database is being made: wait until it is done"));
        };
        directory::make(directory)?;
        if !directory::is_free(directory)? {
            return Err(Error::new(ErrorKind::InvalidPath, format!("{} is not empty", directory.display())));
        }
        self.sync_log()?;
        let mut session = self.session()?;
        let raw = session.raw();
        let slot = raw.open(c"backup:", None)?;
        let mut files = vec![directory.join(directory::MARK)];
        let copied = (|| {
            // Half a copy must not be taken for a whole one, should this process end here.
            directory::write_mark(directory, Stage::Copying)?;
            while let Some(file) = raw.next_backup_file(slot)? {
                let to = directory.join(&file);
                files.push(to.clone());
                copy_durably(&from.join(&file), &to)?;
            }
            directory::write_mark(directory, Stage::Complete)
        })();
        if copied.is_err() {
            for file in files {
                let _ = std::fs::remove_file(file);
            }
        }
        raw.close(slot)?;
        self.inner.shared.released.store(true, Ordering::Release);
        copied
    }
}

fn copy_durably(from: &Path, to: &Path) -> Result<()> {
    let mut target = std::fs::File::create_new(to)?;
    std::io::copy(&mut std::fs::File::open(from)?, &mut target)?;
    Ok(target.sync_all()?)
}

/// The name WiredTiger knows the database by, its directory, and what that is. Canonical, so that the library
/// sees when one directory is opened twice under two names.
fn home(options: &Options) -> Result<(String, Option<PathBuf>, Found)> {
    static IN_MEMORY: AtomicU64 = AtomicU64::new(0);
    let Some(path) = &options.path else {
        return Ok((format!("memory-{}", IN_MEMORY.fetch_add(1, Ordering::Relaxed)), None, Found::Nothing));
    };
    let found = directory::inspect(path, options.allow_other_files, options.repair)?;
    if found == Found::Nothing {
        directory::make(path)?;
    }
    let path = directory::canonical(path)?;
    match path.to_str() {
        Some(home) => Ok((home.to_owned(), Some(path), found)),
        None => Err(Error::new(ErrorKind::InvalidPath, format!("{}: not a UTF-8 path", path.display()))),
    }
}

/// Says what of the journal cannot be used, before the library drops it; to repair a database is to go on without.
fn look_at_journal(path: &Path, options: &Options) -> Result<JournalEnd> {
    let end = match journal_check::check(path) {
        Err(_) if options.repair => journal_check::go_on_without(path, JOURNAL_FILE)?,
        end => end?,
    };
    if !end.is_sound() {
        tracing::warn!("{}: {}", path.display(), end.describe());
    }
    Ok(end)
}

fn explain_open(error: Error, path: Option<&Path>) -> Error {
    let Some(path) = path else { return error };
    let shown = path.display();
    if error.kind() == ErrorKind::PermissionDenied {
        let message = format!("cannot open {shown}: the directory and the files in it must be writable ({})", error.message());
        return Error::with_code(error.kind(), error.code(), message);
    }
    if error.kind() == ErrorKind::Busy {
        return directory::in_use(path, error.code());
    }
    Error::with_code(error.kind(), error.code(), format!("cannot open {shown}: {}", error.message()))
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
