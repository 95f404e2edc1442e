//! What a directory is, before anything in it is opened, locked or written: a database of ours, a place for a new one, or
//! somebody else's.
//!
//! The file [`MARK`] says that a directory is ours, in which format, and how far it has come. Versions before it wrote none: their
//! directories are known by the names of all their tables and by the configuration those were made with, which nobody else uses.

use crate::error::{Error, ErrorKind, Result};
use parking_lot::Mutex;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// The file that says whose directory this is.
pub(crate) const MARK: &str = "smongo.format";
/// The newest format that this version reads, and the one it writes.
const FORMAT: u32 = 1;
/// Where copies of damaged files are kept.
pub(crate) const LOST_FILES: &str = "lost-files";
/// Names by which a mongod's directory is known.
const MONGOD: [&str; 3] = ["_mdb_catalog.wt", "sizeStorer.wt", "storage.bson"];
/// The library finds its metadata by one of these; without them it begins anew over the tables that are there.
const ROOTS: [&str; 3] = ["WiredTiger.turtle", "WiredTiger.turtle.set", "WiredTiger.backup"];
/// The tables that every database has, and what all of their configurations hold.
const OUR_TABLES: [&str; 2] = ["catalog", "meta"];
const OTHER_TABLES: [&str; 3] = ["oplog", "preimages", "sessions"];
const OUR_CONFIGURATION: [&str; 5] = ["key_format=u,", "value_format=u,", "leaf_value_max=64MB,", "memory_page_max=10MB,", "split_pct=90,"];
/// The longest text of a table's configuration up to its checkpoints.
const CONFIGURATION_BYTES: usize = 4096;

/// How far a directory has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// Nothing of ours is in it.
    Nothing,
    /// Its creation was cut off, or goes on.
    Begun,
    /// A database.
    Database,
    /// A database of a version that wrote no mark.
    Unmarked,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    Begun,
    Copying,
    Repairing,
    Complete,
}

impl Stage {
    const ALL: [Stage; 4] = [Stage::Begun, Stage::Copying, Stage::Repairing, Stage::Complete];

    fn name(self) -> &'static str {
        match self {
            Stage::Begun => "being-made",
            Stage::Copying => "being-copied",
            Stage::Repairing => "being-repaired",
            Stage::Complete => "complete",
        }
    }
}

/// Tells what a directory is; an error for one that must be left alone. Nothing is created, written or locked.
/// To repair is to take a database with a damaged mark or without a root file, too.
pub(crate) fn inspect(directory: &Path, allow_other_files: bool, repair: bool) -> Result<Found> {
    let names = match names(directory) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Found::Nothing),
        names => names.map_err(|e| explain(directory, e))?,
    };
    let at = directory.display();
    let mark = match read_mark(directory) {
        Err(e) if repair && e.kind() == ErrorKind::Corrupt => None,
        mark => mark?,
    };
    match mark {
        Some(Stage::Complete | Stage::Repairing) if repair => Ok(Found::Database),
        Some(Stage::Repairing) => {
            Err(Error::new(ErrorKind::Corrupt, format!("a repair of {at} was not finished: run `smongo repair` again")))
        }
        Some(Stage::Complete) => {
            need_root(directory, &names)?;
            Ok(Found::Database)
        }
        Some(Stage::Begun) => {
            if names.iter().any(|name| is_table(name)) {
                need_root(directory, &names)?;
            }
            Ok(Found::Begun)
        }
        Some(Stage::Copying) => {
            Err(Error::new(ErrorKind::Corrupt, format!("{at} holds a copy of a database that was not finished: remove it and copy again")))
        }
        None => without_mark(directory, &names, allow_other_files),
    }
}

fn without_mark(directory: &Path, names: &[String], allow_other_files: bool) -> Result<Found> {
    let at = directory.display();
    if let Some(name) = names.iter().find(|name| MONGOD.contains(&name.as_str())) {
        return Err(refused(format!(
            "{at} holds the data of a mongod ({name}), which only a mongod can open. To bring the data over, run mongodump against that \
             mongod and mongorestore against a smongo with a directory of its own. Nothing was changed"
        )));
    }
    let Some(library) = names.iter().find(|name| is_library(name)) else {
        return match names.iter().find(|name| !is_harmless(directory, name)) {
            Some(other) if !allow_other_files => Err(refused(format!(
                "{at} is not empty and holds no database of smongo (it has {other}, for example): choose an empty or a new directory, or \
                 say that this one is meant (--allow-other-files, allow_other_files). Nothing was changed"
            ))),
            _ => Ok(Found::Nothing),
        };
    };
    if !is_unmarked(directory, names).map_err(|e| explain(directory, e))? {
        return Err(refused(format!(
            "{at} holds files of WiredTiger ({library}) that are not smongo's: they belong to another program, which stores its data with \
             the same library, or {MARK} was removed. Choose another directory. Nothing was changed"
        )));
    }
    need_root(directory, names)?;
    Ok(Found::Unmarked)
}

fn refused(message: String) -> Error {
    Error::new(ErrorKind::InvalidPath, message)
}

/// Whether all tables are named as ours are and the first of them were made as ours are.
fn is_unmarked(directory: &Path, names: &[String]) -> io::Result<bool> {
    let mut tables = names.iter().filter(|name| is_table(name)).filter_map(|name| name.strip_suffix(".wt"));
    let numbered = |name: &str| name.strip_prefix(['c', 'i']).is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()));
    if !tables.all(|name| OUR_TABLES.contains(&name) || OTHER_TABLES.contains(&name) || numbered(name)) {
        return Ok(false);
    }
    if !OUR_TABLES.iter().all(|table| names.iter().any(|name| name.strip_suffix(".wt") == Some(table))) {
        return Ok(false);
    }
    let mut missing = OUR_TABLES.to_vec();
    // The metadata of a database that was killed when it was new is in the journal only.
    let metadata = ["WiredTiger.wt", "WiredTiger.backup"].into_iter().filter(|name| names.iter().any(|other| other == name));
    let journal = names.iter().filter(|name| name.starts_with("WiredTigerLog.")).map(String::as_str);
    for name in metadata.chain(journal) {
        if missing.is_empty() {
            break;
        }
        let bytes = fs::read(directory.join(name))?;
        missing.retain(|table| !is_configured(&bytes, table));
    }
    Ok(missing.is_empty())
}

/// Whether the metadata has a table's file with a configuration as ours.
fn is_configured(metadata: &[u8], table: &str) -> bool {
    let name = format!("file:{table}.wt");
    memchr::memmem::find_iter(metadata, name.as_bytes()).any(|at| {
        let after = at + name.len();
        // Keys end with NUL, or with a line's end in the text of a backup.
        if !matches!(metadata.get(after), Some(0 | b'\n')) {
            return false;
        }
        let text = &metadata[after + 1..metadata.len().min(after + CONFIGURATION_BYTES)];
        let text = &text[..text.iter().position(|byte| *byte == 0).unwrap_or(text.len())];
        OUR_CONFIGURATION.iter().all(|part| memchr::memmem::find(text, part.as_bytes()).is_some())
    })
}

/// The library takes a directory without its root file for a new one, and begins over the tables that are there.
fn need_root(directory: &Path, names: &[String]) -> Result<()> {
    if names.iter().any(|name| ROOTS.contains(&name.as_str())) {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Corrupt, format!("cannot open {}: WiredTiger.turtle is missing", directory.display())))
}

/// What the mark of a directory says; none without one.
fn read_mark(directory: &Path) -> Result<Option<Stage>> {
    let path = directory.join(MARK);
    let mut text = Vec::new();
    match File::open(&path).and_then(|file| file.take(4096).read_to_end(&mut text)) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        done => done.map_err(|e| explain(&path, e))?,
    };
    let damaged = || {
        Error::new(ErrorKind::Corrupt, format!("cannot open {}: {MARK} is damaged, which says whose directory this is and in which format", directory.display()))
    };
    let text = String::from_utf8(text).map_err(|_| damaged())?;
    let words: Vec<&str> = text.lines().next().unwrap_or_default().split(' ').collect();
    let ["smongo", "format", format, stage] = words[..] else { return Err(damaged()) };
    match format.parse::<u32>() {
        Ok(FORMAT) => Stage::ALL.into_iter().find(|known| known.name() == stage).map(Some).ok_or_else(damaged),
        Ok(newer) if newer > FORMAT => Err(refused(format!(
            "{} was written by a newer smongo: its format is {newer}, and this version reads formats up to {FORMAT}. Nothing was changed",
            directory.display()
        ))),
        _ => Err(damaged()),
    }
}

/// Writes the mark, durably and whole or not at all.
pub(crate) fn write_mark(directory: &Path, stage: Stage) -> Result<()> {
    let (path, new) = (directory.join(MARK), directory.join(format!("{MARK}.new")));
    let text = format!(
        "smongo format {FORMAT} {}\nThis directory is a database of smongo: its files are changed by smongo alone, and belong together.\n",
        stage.name()
    );
    let write = || {
        let mut file = File::create(&new)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&new, &path)?;
        File::open(directory)?.sync_all()
    };
    write().map_err(|e| {
        let _ = fs::remove_file(&new);
        explain(directory, e)
    })
}

/// Whether nothing but what is [harmless](is_harmless) is in a directory.
pub(crate) fn is_free(directory: &Path) -> Result<bool> {
    let names = names(directory).map_err(|e| explain(directory, e))?;
    Ok(names.iter().all(|name| !is_library(name) && name != MARK && is_harmless(directory, name)))
}

/// Moves a damaged file into the folder of such; whether it could be done.
pub(crate) fn put_aside(directory: &Path, name: &str) -> bool {
    let folder = directory.join(LOST_FILES);
    fs::create_dir_all(&folder).and_then(|()| fs::rename(directory.join(name), folder.join(name))).is_ok()
}

/// What may lie in a directory that is as good as empty: hidden files, as version control and desktops leave them, what file systems
/// keep in their root, logs and sockets of servers.
fn is_harmless(directory: &Path, name: &str) -> bool {
    let Ok(kind) = fs::symlink_metadata(directory.join(name)).map(|meta| meta.file_type()) else { return false };
    let hidden = name.starts_with('.') || name == format!("{MARK}.new");
    let log = name.ends_with(".log") || name.contains(".log.");
    name == "lost+found" || (kind.is_file() && (hidden || log)) || is_socket(kind)
}

#[cfg(unix)]
fn is_socket(kind: fs::FileType) -> bool {
    std::os::unix::fs::FileTypeExt::is_socket(&kind)
}

#[cfg(not(unix))]
fn is_socket(_: fs::FileType) -> bool {
    false
}

fn names(directory: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(directory)? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

/// The names of the files of tables, without their ending.
pub(crate) fn table_files(directory: &Path) -> Result<Vec<String>> {
    let names = names(directory).map_err(|e| explain(directory, e))?;
    Ok(names.iter().filter(|name| is_table(name)).filter_map(|name| name.strip_suffix(".wt")).map(str::to_owned).collect())
}

fn is_library(name: &str) -> bool {
    name.starts_with("WiredTiger") || name.ends_with(".wt")
}

fn is_table(name: &str) -> bool {
    name.ends_with(".wt") && !name.starts_with("WiredTiger")
}

/// Removes what was made in a directory that had no database, as far as it can be; the mark last.
pub(crate) fn remove_files(directory: &Path) {
    for name in names(directory).unwrap_or_default().iter().filter(|name| is_library(name)) {
        let _ = fs::remove_file(directory.join(name));
    }
    let _ = fs::remove_file(directory.join(MARK));
}

/// Makes a directory that only its user may look into, and those above it as usual; one that is there stays as it is.
pub(crate) fn make(path: &Path) -> Result<()> {
    let above = path.parent().map_or(Ok(()), fs::create_dir_all);
    above.and_then(|()| fs::DirBuilder::new().recursive(true).mode(0o700).create(path)).map_err(|e| explain(path, e))
}

/// The path without links, of what is there of it: the library must see when one directory is opened twice under two names.
pub(crate) fn canonical(path: &Path) -> Result<PathBuf> {
    path.canonicalize().map_err(|e| explain(path, e))
}

/// Directories that this process has open.
static OPEN: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// A directory that nobody else has open or opens, from before its journal is looked through until the library has closed it.
///
/// The library's lock belongs to the process and goes when the process closes *any* handle of the lock's file. So the file is not
/// touched where this process has the directory open, and the handle is kept for as long as the library has its own.
pub(crate) struct Claim {
    path: PathBuf,
    lock: Option<File>,
}

impl Claim {
    pub fn new(path: &Path) -> Result<Claim> {
        let mut open = OPEN.lock();
        if open.iter().any(|other| other == path) {
            return Err(in_use(path, 0));
        }
        let lock = File::options().read(true).write(true).open(path.join("WiredTiger.lock")).ok();
        if let Some(lock) = &lock
            && let Err(errno) = rustix::fs::fcntl_lock(lock, rustix::fs::FlockOperation::NonBlockingLockExclusive)
            && matches!(errno, rustix::io::Errno::AGAIN | rustix::io::Errno::ACCESS)
        {
            return Err(in_use(path, errno.raw_os_error()));
        }
        open.push(path.to_owned());
        Ok(Claim { path: path.to_owned(), lock })
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut open = OPEN.lock();
        // Before anybody can claim it anew: closing the file ends all locks of it.
        drop(self.lock.take());
        open.retain(|other| *other != self.path);
    }
}

pub(crate) fn in_use(path: &Path, code: i32) -> Error {
    let message = format!("{} is in use: the database is open in another process, or a second time in this one", path.display());
    Error::with_code(ErrorKind::LockedByOther, code, message)
}

/// What is wrong with a directory.
pub(crate) fn explain(path: &Path, error: io::Error) -> Error {
    let error = Error::from(error);
    let message = match error.kind() {
        ErrorKind::InvalidPath => format!("{} is not a directory, or lies below a file", path.display()),
        _ => format!("{}: {}", path.display(), error.message()),
    };
    Error::with_code(error.kind(), error.code(), message)
}
