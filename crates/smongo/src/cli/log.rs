//! Where log lines go and how many there are.

use std::fs::OpenOptions;
use std::io;
use std::path::Path;
use std::sync::Mutex;
use std::time::{SystemTime, UNIX_EPOCH};

use tracing::Level;

/// Sends log lines to stderr, or to a file. An existing file is kept under another name, unless `append`.
///
/// # Errors
/// The file could not be opened.
pub fn start(level: Level, file: Option<&Path>, append: bool) -> io::Result<()> {
    let builder = tracing_subscriber::fmt().with_max_level(level).with_target(false);
    match file {
        None => builder.with_writer(io::stderr).init(),
        Some(path) => {
            if !append && path.exists() {
                let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
                let mut old = path.as_os_str().to_owned();
                old.push(format!(".{now}"));
                std::fs::rename(path, old)?;
            }
            let file = OpenOptions::new().create(true).append(true).open(path)?;
            builder.with_ansi(false).with_writer(Mutex::new(file)).init();
        }
    }
    Ok(())
}
