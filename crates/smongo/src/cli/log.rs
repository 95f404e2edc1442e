//! Where log lines go and how many there are.

use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use smongo_bson::escaped::is_unsafe;
use tracing::Level;

/// A log file that can be begun anew.
#[derive(Clone)]
pub struct LogFile(Arc<Inner>);

struct Inner {
    path: PathBuf,
    file: Mutex<File>,
}

impl LogFile {
    /// Keeps what was written under another name and goes on in a new file. Where that fails, in the old one.
    ///
    /// # Errors
    /// The file could not be renamed, or a new one not be made.
    pub fn rotate(&self) -> io::Result<()> {
        let mut file = self.0.file.lock().unwrap_or_else(PoisonError::into_inner);
        if self.0.path.exists() {
            set_aside(&self.0.path)?;
        }
        *file = open(&self.0.path)?;
        Ok(())
    }
}

impl Write for LogFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.file.lock().unwrap_or_else(PoisonError::into_inner).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.file.lock().unwrap_or_else(PoisonError::into_inner).flush()
    }
}

/// A line of the log stays one, whatever is in it: names come from clients, who would write lines of their own into it, or command the
/// terminal that shows it. Lines come one in a write.
struct Line<W> {
    out: W,
    /// What the subscriber colours a line with goes through; it lets nothing of the kind through itself.
    coloured: bool,
}

impl<W: Write> Write for Line<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(bytes);
        let (line, end) = text.strip_suffix('\n').map_or((&*text, ""), |line| (line, "\n"));
        let harmless = |c: char| !is_unsafe(c) || c == '\u{1b}' && self.coloured;
        if line.chars().all(harmless) {
            self.out.write_all(bytes)?;
        } else {
            let escaped = |c: char| if harmless(c) { c.to_string() } else { c.escape_unicode().to_string() };
            self.out.write_all((line.chars().map(escaped).collect::<String>() + end).as_bytes())?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Sends log lines to stderr, or to a file. An existing file is kept under another name, unless `append`.
///
/// # Errors
/// The file could not be opened.
pub fn start(level: Level, file: Option<&Path>, append: bool) -> io::Result<Option<LogFile>> {
    let builder = tracing_subscriber::fmt().with_max_level(level).with_target(false);
    let Some(path) = file else {
        let coloured = io::stderr().is_terminal();
        builder.with_ansi(coloured).with_writer(move || Line { out: io::stderr(), coloured }).init();
        return Ok(None);
    };
    if !append && path.exists() {
        set_aside(path)?;
    }
    let log = LogFile(Arc::new(Inner { path: path.to_owned(), file: Mutex::new(open(path)?) }));
    let writer = log.clone();
    builder.with_ansi(false).with_writer(move || Line { out: writer.clone(), coloured: false }).init();
    Ok(Some(log))
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

/// Renames a log file after the time, and never over another one.
fn set_aside(path: &Path) -> io::Result<()> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let named = |n: u32| {
        let mut name = path.as_os_str().to_owned();
        name.push(if n == 0 { format!(".{now}") } else { format!(".{now}-{n}") });
        PathBuf::from(name)
    };
    let free = (0..).map(named).find(|name| !name.exists());
    std::fs::rename(path, free.unwrap_or_else(|| named(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_stays_a_line() -> io::Result<()> {
        for (coloured, line, written) in [
            (false, "INFO käse 🦀\n", "INFO käse 🦀\n"),
            (false, "WARN a\nERROR b\r\u{1b}[31m\u{202e}\n", "WARN a\\u{a}ERROR b\\u{d}\\u{1b}[31m\\u{202e}\n"),
            (true, "\u{1b}[33mWARN\u{1b}[0m a\nb\n", "\u{1b}[33mWARN\u{1b}[0m a\\u{a}b\n"),
            (false, "no end", "no end"),
        ] {
            let mut out = Vec::new();
            Line { out: &mut out, coloured }.write_all(line.as_bytes())?;
            assert_eq!(String::from_utf8_lossy(&out), written);
        }
        Ok(())
    }
}
