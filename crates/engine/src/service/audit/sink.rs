//! Where lines of the audit log go: a file of our own, the console, the system's log.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, OFlags, flock};

use super::json;
use crate::data::clock::now_millis;

/// Where the system's log listens.
const DEV_LOG: &str = "/dev/log";
/// `user.info`, as mongod's lines are.
const PRIORITY: u32 = 14;
/// Messages that the system's log does not take whole are cut at this, as mongod's are.
const SYSLOG_BYTES: usize = 8 << 10;

/// What takes lines. Each answers how many of them it has taken, whole and in their order, and what kept it from taking the others.
pub enum Sink {
    File(LogFile),
    Console { torn: bool },
    Syslog(Syslog),
}

pub type Taken = (usize, io::Result<()>);

impl Sink {
    pub fn file(path: &Path, sync: bool) -> io::Result<Sink> {
        Ok(Sink::File(LogFile { path: std::path::absolute(path)?, open: Some(Open::at(path, sync)?), sync, torn: false }))
    }

    pub fn console() -> Sink {
        Sink::Console { torn: false }
    }

    pub fn syslog() -> io::Result<Sink> {
        let mut log = Syslog { at: DEV_LOG.into(), socket: None };
        log.connect()?;
        Ok(Sink::Syslog(log))
    }

    pub fn write(&mut self, lines: &[&[u8]]) -> Taken {
        match self {
            Sink::File(file) => file.write(lines),
            Sink::Console { torn } => {
                // Nobody else's line begins in the middle of ours.
                let mut out = io::stdout().lock();
                match out.flush() {
                    Ok(()) => write_stream(out.as_fd(), lines, torn),
                    Err(e) => (0, Err(e)),
                }
            }
            Sink::Syslog(log) => log.write(lines),
        }
    }

    /// Keeps what was written under another name and goes on in a new file; where that fails, in the old one. Other places have nothing
    /// to begin anew.
    pub fn rotate(&mut self) -> io::Result<()> {
        match self {
            Sink::File(file) => file.rotate(),
            _ => Ok(()),
        }
    }
}

/// A file that is this database's alone: two that write one would cut each other's lines.
pub struct LogFile {
    path: PathBuf,
    open: Option<Open>,
    /// Lines are on disk before anybody is told that they are written.
    sync: bool,
    /// The last line has no end.
    torn: bool,
}

struct Open {
    file: File,
    /// A device takes what it is given and has no length.
    regular: bool,
    /// Of what the path has named.
    id: (u64, u64),
}

impl Open {
    fn at(path: &Path, sync: bool) -> io::Result<Open> {
        let fresh = !path.exists();
        // Without a wait for whoever reads a pipe, which is then refused.
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let mut file = OpenOptions::new().read(true).append(true).create(true).mode(0o600).custom_flags(flags.bits() as i32).open(path).map_err(|e| if fresh { e } else { told(e) })?;
        let found = file.metadata()?;
        let regular = found.is_file();
        if !regular && !found.file_type().is_char_device() {
            return Err(io::Error::new(ErrorKind::InvalidInput, "it is no file"));
        }
        if regular {
            flock(&file, FlockOperation::NonBlockingLockExclusive).map_err(|_| io::Error::new(ErrorKind::WouldBlock, "another database writes its audit log there"))?;
            end_line(&mut file, found.len())?;
        }
        if fresh && sync {
            sync_directory(path)?;
        }
        Ok(Open { file, regular, id: (found.dev(), found.ino()) })
    }
}

/// What the system calls a loop is a link that is not followed.
fn told(e: io::Error) -> io::Error {
    if e.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) { io::Error::new(ErrorKind::InvalidInput, "it is a symbolic link, which is not followed") } else { e }
}

/// A process that was killed may have left the beginning of a line, which nobody takes away: the next is one of its own.
fn end_line(file: &mut File, len: u64) -> io::Result<()> {
    use std::os::unix::fs::FileExt;
    let mut last = [b'\n'];
    if let Some(at) = len.checked_sub(1) {
        file.read_exact_at(&mut last, at)?;
    }
    if last == [b'\n'] { Ok(()) } else { file.write_all(b"\n") }
}

fn sync_directory(path: &Path) -> io::Result<()> {
    let directory = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(directory)?.sync_all()
}

impl LogFile {
    /// The file, made anew where somebody has taken it away.
    fn open(&mut self) -> io::Result<&mut Open> {
        let there = std::fs::symlink_metadata(&self.path).ok().map(|m| (m.dev(), m.ino()));
        let open = match self.open.take().filter(|open| there == Some(open.id)) {
            Some(open) => open,
            None => {
                self.torn = false;
                Open::at(&self.path, self.sync)?
            }
        };
        Ok(self.open.insert(open))
    }

    fn write(&mut self, lines: &[&[u8]]) -> Taken {
        let (sync, mut torn) = (self.sync, self.torn);
        let open = match self.open() {
            Ok(open) => open,
            Err(e) => return (0, Err(e)),
        };
        if !open.regular {
            let done = write_stream(open.file.as_fd(), lines, &mut torn);
            self.torn = torn;
            return done;
        }
        let before = match open.file.metadata() {
            Ok(found) => found.len(),
            Err(e) => return (0, Err(e)),
        };
        let was_torn = torn;
        let (mut taken, mut done) = write_stream(open.file.as_fd(), lines, &mut torn);
        if done.is_ok() && sync {
            done = open.file.sync_data();
            if done.is_err() {
                // What may be on disk or not is written once more.
                taken = 0;
            }
        }
        // Of a line that did not fit nothing stays, so that it can be written once more, or never was.
        let ended = was_torn && taken > 0;
        let end = before + u64::from(ended) + lines.iter().take(taken).map(|l| l.len() as u64).sum::<u64>();
        if done.is_err() && open.file.set_len(end).is_ok() {
            torn = was_torn && !ended;
        }
        self.torn = torn;
        (taken, done)
    }

    fn rotate(&mut self) -> io::Result<()> {
        if !self.open()?.regular {
            return Ok(());
        }
        let aside = self.aside();
        std::fs::rename(&self.path, &aside)?;
        match Open::at(&self.path, self.sync) {
            Ok(open) => {
                (self.open, self.torn) = (Some(open), false);
                Ok(())
            }
            Err(e) => {
                std::fs::rename(&aside, &self.path)?;
                Err(e)
            }
        }
    }

    /// The name after the time, as mongod's, that nothing bears yet.
    fn aside(&self) -> PathBuf {
        let time = json::time(now_millis()).unwrap_or_default();
        let time: String = time.chars().take(19).map(|c| if c == ':' { '-' } else { c }).collect();
        let named = |n: u32| {
            let mut name = self.path.as_os_str().to_owned();
            name.push(if n == 0 { format!(".{time}") } else { format!(".{time}-{n}") });
            PathBuf::from(name)
        };
        (0..).map(named).find(|name| !name.exists()).unwrap_or_else(|| named(0))
    }
}

/// Writes lines to what takes bytes; of one that was begun the rest is not there, and `torn` says so.
fn write_stream(to: std::os::fd::BorrowedFd<'_>, lines: &[&[u8]], torn: &mut bool) -> Taken {
    let mut bytes = Vec::with_capacity(lines.iter().map(|l| l.len()).sum::<usize>() + 1);
    let lead = usize::from(*torn);
    if *torn {
        bytes.push(b'\n');
    }
    lines.iter().for_each(|line| bytes.extend_from_slice(line));
    let mut written = 0;
    let done = loop {
        let Some(rest) = bytes.get(written..).filter(|rest| !rest.is_empty()) else { break Ok(()) };
        match rustix::io::retry_on_intr(|| rustix::io::write(to, rest)) {
            Ok(0) => break Err(ErrorKind::WriteZero.into()),
            Ok(n) => written += n,
            Err(e) => break Err(e.into()),
        }
    };
    let mut whole = lead.min(written);
    let taken = lines.iter().take_while(|line| {
        let fits = written > 0 && whole + line.len() <= written;
        whole += if fits { line.len() } else { 0 };
        fits
    });
    let taken = taken.count();
    *torn = if written == 0 { *torn } else { whole < written };
    (taken, done)
}

/// The system's log, a datagram a line.
pub struct Syslog {
    at: PathBuf,
    socket: Option<UnixDatagram>,
}

impl Syslog {
    fn connect(&mut self) -> io::Result<&UnixDatagram> {
        let socket = match self.socket.take() {
            Some(socket) => socket,
            None => {
                let socket = UnixDatagram::unbound()?;
                socket.connect(&self.at).map_err(|e| io::Error::new(e.kind(), format!("{}: {e}", self.at.display())))?;
                socket
            }
        };
        Ok(self.socket.insert(socket))
    }

    fn write(&mut self, lines: &[&[u8]]) -> Taken {
        let head = format!("<{PRIORITY}>smongo[{}]: ", std::process::id());
        for (n, line) in lines.iter().enumerate() {
            // What belongs together comes together.
            let each = line.split(|b| *b == b'\n').filter(|line| !line.is_empty());
            for line in each {
                if let Err(e) = self.send(&[head.as_bytes(), line].concat()) {
                    // Whoever listens may be another one by the next try.
                    self.socket = None;
                    return (n, Err(e));
                }
            }
        }
        (lines.len(), Ok(()))
    }

    fn send(&mut self, message: &[u8]) -> io::Result<()> {
        let connected = self.socket.is_some();
        let socket = self.connect()?;
        match socket.send(message) {
            Err(e) if e.raw_os_error() == Some(rustix::io::Errno::MSGSIZE.raw_os_error()) && message.len() > SYSLOG_BYTES => {
                let text = String::from_utf8_lossy(message);
                let end = text.floor_char_boundary(SYSLOG_BYTES);
                self.send(&text.as_bytes()[..end])
            }
            // The system's log was started anew.
            Err(_) if connected => {
                self.socket = None;
                self.send(message)
            }
            sent => sent.map(drop),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(sink: &mut Sink, texts: &[&str]) -> (usize, Option<i32>) {
        let (taken, done) = sink.write(&texts.iter().map(|t| t.as_bytes()).collect::<Vec<_>>());
        (taken, done.err().map(|e| e.raw_os_error().unwrap_or(-1)))
    }

    #[test]
    fn a_file_is_ones_own_and_comes_again() -> io::Result<()> {
        let dir = tempfile::tempdir()?;
        let path = dir.path().join("audit.json");
        std::fs::write(&path, "{\"left by a process that was kil")?;
        let mut sink = Sink::file(&path, true)?;
        assert!(Sink::file(&path, false).is_err_and(|e| e.to_string().contains("another database")));
        assert_eq!(lines(&mut sink, &["a\n", "b\n"]), (2, None));
        assert_eq!(std::fs::read_to_string(&path)?, "{\"left by a process that was kil\na\nb\n");
        // Somebody has taken it away, or the whole directory, for a while.
        std::fs::remove_file(&path)?;
        assert_eq!(lines(&mut sink, &["c\n"]), (1, None));
        assert_eq!(std::fs::read_to_string(&path)?, "c\n");
        assert_eq!(std::fs::metadata(&path)?.mode() & 0o777, 0o600);
        let away = dir.path().with_extension("away");
        std::fs::rename(dir.path(), &away)?;
        assert_eq!(lines(&mut sink, &["d\n"]), (0, Some(2)));
        std::fs::rename(&away, dir.path())?;
        assert_eq!(lines(&mut sink, &["d\n"]), (1, None));
        for n in 1..4 {
            sink.rotate()?;
            assert_eq!(std::fs::read_dir(dir.path())?.count(), 1 + n);
        }
        assert_eq!(std::fs::read_to_string(&path)?, "");
        assert_eq!(lines(&mut sink, &["e\n"]), (1, None));
        Ok(())
    }

    #[test]
    fn what_is_no_file_is_refused() -> io::Result<()> {
        let dir = tempfile::tempdir()?;
        let (link, target) = (dir.path().join("link"), dir.path().join("target"));
        std::os::unix::fs::symlink(&target, &link)?;
        assert!(Sink::file(&link, false).is_err() && !target.exists());
        std::fs::write(&target, "")?;
        assert!(Sink::file(&link, false).is_err_and(|e| e.to_string().contains("symbolic link")));
        assert!(Sink::file(dir.path(), false).is_err());
        assert!(Sink::file(&dir.path().join("no/such"), false).is_err());
        Ok(())
    }

    #[test]
    fn a_full_disk_is_told() -> io::Result<()> {
        let mut sink = Sink::file(Path::new("/dev/full"), false)?;
        assert_eq!(lines(&mut sink, &["a\n"]), (0, Some(28)));
        assert!(sink.rotate().is_ok());
        Ok(())
    }

    #[test]
    fn the_systems_log_gets_a_datagram_a_line() -> io::Result<()> {
        let dir = tempfile::tempdir()?;
        let at = dir.path().join("log");
        let mut sink = Sink::Syslog(Syslog { at: at.clone(), socket: None });
        assert_eq!(lines(&mut sink, &["a\n"]).0, 0);
        let listener = UnixDatagram::bind(&at)?;
        let heard = |listener: &UnixDatagram| {
            let mut buf = vec![0; 1 << 20];
            listener.recv(&mut buf).map(|n| String::from_utf8_lossy(&buf[..n]).into_owned())
        };
        assert_eq!(lines(&mut sink, &["a\n", "b\n"]), (2, None));
        assert_eq!(heard(&listener)?, format!("<14>smongo[{}]: a", std::process::id()));
        assert!(heard(&listener)?.ends_with(": b"));
        // It ends and is started anew.
        drop(listener);
        assert_eq!(lines(&mut sink, &["c\n"]).0, 0);
        std::fs::remove_file(&at)?;
        let listener = UnixDatagram::bind(&at)?;
        assert_eq!(lines(&mut sink, &["d\n"]), (1, None));
        assert!(heard(&listener)?.ends_with(": d"));
        // More than fits.
        let long = "ä".repeat(4 << 20);
        assert_eq!(lines(&mut sink, &[&long]), (1, None));
        assert!((SYSLOG_BYTES - 4..=SYSLOG_BYTES).contains(&heard(&listener)?.len()));
        Ok(())
    }
}
