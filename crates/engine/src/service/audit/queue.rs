//! Lines on their way: a queue that is bounded in bytes, and the thread that writes it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use smongo_bson::{Result, bail};

use super::sink::Sink;
use crate::data::limits::{AUDIT_QUEUE_BYTES, CLOSE_WAIT, LOCK_POLL};

/// After a failure it is tried again this often.
const AGAIN: Duration = Duration::from_secs(1);

#[derive(Default)]
pub struct Queue {
    state: Mutex<State>,
    /// Wakes the writer.
    work: Condvar,
    /// Wakes those who wait for a line or for room.
    news: Condvar,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Entry>,
    /// Bytes that wait or are being written.
    bytes: usize,
    /// The number of the newest line, and of the newest that was written.
    newest: u64,
    written: u64,
    /// Lines that somebody waits for and that could not be written.
    refused: BTreeMap<u64, Arc<str>>,
    /// Lines that nobody waits for any more, among those that are being written.
    abandoned: BTreeSet<u64>,
    failing: Option<Failing>,
    lost: u64,
    rotation: Rotation,
    closing: bool,
    ended: bool,
}

struct Entry {
    number: u64,
    line: Vec<u8>,
    /// Somebody waits, and does what it tells of only when it is written.
    awaited: bool,
}

struct Failing {
    why: Arc<str>,
    last: Instant,
}

#[derive(Default)]
enum Rotation {
    #[default]
    None,
    Asked,
    Done(std::result::Result<(), String>),
}

/// Whether to go on waiting.
pub type Check<'a> = &'a dyn Fn() -> Result<()>;

fn cannot<T>(why: &str) -> Result<T> {
    bail!(OperationFailed, "the audit log cannot be written: {why}")
}

impl Queue {
    /// A line about something that is done once the line is written: waits for that. After an error there is no such line, unless waiting
    /// was given up in the middle of the writing.
    pub fn write(&self, line: Vec<u8>, check: Check<'_>) -> Result<()> {
        let mut state = self.state.lock();
        if let Some(failing) = state.failing.as_ref().filter(|failing| failing.last.elapsed() < AGAIN) {
            return cannot(&failing.why.clone());
        }
        while !state.has_room(&line) {
            if let Some(failing) = &state.failing {
                return cannot(&failing.why.clone());
            }
            self.news.wait_for(&mut state, LOCK_POLL);
            check()?;
        }
        let number = state.push(line, true)?;
        self.work.notify_one();
        loop {
            if let Some(why) = state.refused.remove(&number) {
                return cannot(&why);
            }
            if state.written >= number {
                return Ok(());
            }
            self.news.wait_for(&mut state, LOCK_POLL);
            if state.written < number && !state.refused.contains_key(&number)
                && let Err(e) = check()
            {
                state.abandon(number);
                return Err(e);
            }
        }
    }

    /// A line about something that has happened: waits for room alone. An error says that nothing is written just now; the line waits for
    /// better times all the same, or counts as lost.
    pub fn post(&self, line: Vec<u8>, check: Check<'_>) -> Result<()> {
        let mut state = self.state.lock();
        while state.failing.is_none() && !state.has_room(&line) {
            self.news.wait_for(&mut state, LOCK_POLL);
            if let Err(e) = check() {
                state.lost += 1;
                return Err(e);
            }
        }
        let failing = state.failing.as_ref().map(|failing| failing.why.clone());
        if state.has_room(&line) && state.push(line, false).is_ok() {
            self.work.notify_one();
        } else {
            state.lost += 1;
        }
        failing.map_or(Ok(()), |why| cannot(&why))
    }

    /// Waits until what was told so far is written, unless it cannot be just now.
    pub fn flush(&self, check: Check<'_>) {
        let mut state = self.state.lock();
        let newest = state.newest;
        while state.written < newest && state.failing.is_none() && check().is_ok() {
            self.news.wait_for(&mut state, LOCK_POLL);
        }
    }

    /// Something happened of which there will be no line.
    pub fn lose(&self) {
        self.state.lock().lost += 1;
    }

    /// Has the file begun anew.
    pub fn rotate(&self, check: Check<'_>) -> Result<()> {
        let mut state = self.state.lock();
        state.rotation = Rotation::Asked;
        self.work.notify_one();
        loop {
            if state.ended {
                return cannot("the database is closed");
            }
            if let Rotation::Done(done) = &state.rotation {
                return match done {
                    Ok(()) => Ok(()),
                    Err(e) => bail!(OperationFailed, "the audit log goes on in the old file: {e}"),
                };
            }
            self.news.wait_for(&mut state, LOCK_POLL);
            check()?;
        }
    }

    /// Whether writing fails, and how many lines were lost.
    pub fn status(&self) -> (bool, u64) {
        let state = self.state.lock();
        (state.failing.is_some(), state.lost)
    }

    /// Lets what waits be written, for a while, and ends the thread; `false` for one that hangs.
    pub fn close(&self) -> bool {
        let mut state = self.state.lock();
        state.closing = true;
        self.work.notify_one();
        let until = Instant::now() + CLOSE_WAIT;
        while !state.ended {
            if self.news.wait_until(&mut state, until).timed_out() {
                break;
            }
        }
        state.ended
    }

    /// The life of the thread that writes.
    pub fn run(&self, sink: &mut Sink) {
        let mut state = self.state.lock();
        loop {
            let pause = state.failing.as_ref().map(|failing| AGAIN.saturating_sub(failing.last.elapsed())).filter(|pause| !pause.is_zero());
            if matches!(state.rotation, Rotation::Asked) {
                let done = parking_lot::MutexGuard::unlocked(&mut state, || sink.rotate());
                state.rotation = Rotation::Done(done.map_err(|e| e.to_string()));
                self.news.notify_all();
            } else if !state.waiting.is_empty() && pause.is_none() {
                let batch = std::mem::take(&mut state.waiting);
                let (taken, done) = parking_lot::MutexGuard::unlocked(&mut state, || sink.write(&batch.iter().map(|e| &*e.line).collect::<Vec<_>>()));
                state.settle(batch, taken, done);
                self.news.notify_all();
            } else if state.closing {
                break;
            } else if let Some(pause) = pause.filter(|_| !state.waiting.is_empty()) {
                self.work.wait_for(&mut state, pause);
            } else {
                self.work.wait(&mut state);
            }
        }
        if !state.waiting.is_empty() {
            tracing::error!("the audit log lacks {} events, which could not be written", state.waiting.len());
        }
        state.ended = true;
        self.news.notify_all();
    }
}

impl State {
    /// A line that is longer than the queue alone waits until it is the only one.
    fn has_room(&self, line: &[u8]) -> bool {
        self.bytes == 0 || self.bytes + line.len() <= AUDIT_QUEUE_BYTES
    }

    fn push(&mut self, line: Vec<u8>, awaited: bool) -> Result<u64> {
        if self.closing {
            return cannot("the database is closed");
        }
        self.newest += 1;
        self.bytes += line.len();
        self.waiting.push_back(Entry { number: self.newest, line, awaited });
        Ok(self.newest)
    }

    /// Nobody waits for a line any more, and what it tells of will not be done.
    fn abandon(&mut self, number: u64) {
        match self.waiting.iter().position(|entry| entry.number == number) {
            Some(at) => self.bytes -= self.waiting.remove(at).map_or(0, |entry| entry.line.len()),
            None => {
                self.abandoned.insert(number);
            }
        }
    }

    /// After a try: what was taken is written; those who wait for the rest hear of it, and what has happened already waits on.
    fn settle(&mut self, mut batch: VecDeque<Entry>, taken: usize, done: io::Result<()>) {
        for entry in batch.drain(..taken) {
            self.bytes -= entry.line.len();
            self.written = self.written.max(entry.number);
        }
        match done {
            Ok(()) => {
                if self.failing.take().is_some() {
                    tracing::warn!("the audit log is written again");
                }
            }
            Err(e) => {
                let why: Arc<str> = e.to_string().into();
                if self.failing.is_none() {
                    tracing::error!("the audit log cannot be written: {why}");
                }
                batch.append(&mut self.waiting);
                for entry in batch {
                    if !entry.awaited {
                        self.waiting.push_back(entry);
                        continue;
                    }
                    self.bytes -= entry.line.len();
                    if !self.abandoned.contains(&entry.number) {
                        self.refused.insert(entry.number, why.clone());
                    }
                }
                self.failing = Some(Failing { why, last: Instant::now() });
            }
        }
        // Whatever was being written is not any more.
        self.abandoned.clear();
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    struct Running {
        queue: Arc<Queue>,
        thread: Option<std::thread::JoinHandle<()>>,
    }

    impl Running {
        fn on(path: &Path) -> io::Result<Running> {
            let queue = Arc::new(Queue::default());
            let (writing, mut sink) = (queue.clone(), Sink::file(path, false)?);
            Ok(Running { queue, thread: Some(std::thread::spawn(move || writing.run(&mut sink))) })
        }
    }

    impl Drop for Running {
        fn drop(&mut self) {
            assert!(self.queue.close());
            assert!(self.thread.take().is_some_and(|t| t.join().is_ok()));
        }
    }

    const ALWAYS: Check<'static> = &|| Ok(());

    #[test]
    fn what_is_awaited_is_written_or_refused() -> io::Result<()> {
        let dir = tempfile::tempdir()?;
        let path = dir.path().join("audit");
        let running = Running::on(&path)?;
        let queue = &running.queue;
        assert!(queue.post(b"a\n".to_vec(), ALWAYS).is_ok() && queue.write(b"b\n".to_vec(), ALWAYS).is_ok());
        assert_eq!(std::fs::read_to_string(&path)?, "a\nb\n");
        let away = dir.path().with_extension("away");
        std::fs::rename(dir.path(), &away)?;
        let refused = queue.write(b"c\n".to_vec(), ALWAYS);
        assert!(refused.is_err_and(|e| e.code().0 == 96 && e.message().starts_with("the audit log cannot be written: ")));
        // What has happened waits for better times; what has not is not told.
        assert!(queue.post(b"d\n".to_vec(), ALWAYS).is_err() && queue.write(b"e\n".to_vec(), ALWAYS).is_err());
        assert_eq!(queue.status(), (true, 0));
        assert!(queue.rotate(ALWAYS).is_err());
        std::fs::rename(&away, dir.path())?;
        std::thread::sleep(AGAIN + Duration::from_millis(300));
        assert_eq!(queue.status(), (false, 0));
        assert!(queue.write(b"f\n".to_vec(), ALWAYS).is_ok());
        assert_eq!(std::fs::read_to_string(&path)?, "a\nb\nd\nf\n");
        assert!(queue.rotate(ALWAYS).is_ok());
        drop(running);
        assert_eq!(std::fs::read_to_string(&path)?, "");
        Ok(())
    }

    #[test]
    fn the_queue_is_bounded() -> io::Result<()> {
        let running = Running::on(Path::new("/dev/full"))?;
        let queue = &running.queue;
        let line = vec![b'x'; 1 << 20];
        for _ in 0..20 {
            let _ = queue.post(line.clone(), ALWAYS);
        }
        assert_eq!(queue.status(), (true, 12));
        assert_eq!(queue.state.lock().bytes, AUDIT_QUEUE_BYTES);
        // Also when it is time to try again nobody waits for room that there will not be.
        let begun = Instant::now();
        while begun.elapsed() < AGAIN + AGAIN / 2 {
            assert!(queue.write(line.clone(), ALWAYS).is_err());
        }
        Ok(())
    }

    /// Everybody who was told that a line is there finds it, whoever else writes.
    #[test]
    fn many_write_at_once() -> io::Result<()> {
        let dir = tempfile::tempdir()?;
        let path = dir.path().join("audit");
        let running = Running::on(&path)?;
        std::thread::scope(|scope| {
            for t in 0..8 {
                let (queue, path) = (&running.queue, &path);
                scope.spawn(move || {
                    for n in 0..50 {
                        let line = format!("{t} {n}\n");
                        assert!(queue.post(format!("posted {line}").into_bytes(), ALWAYS).is_ok());
                        assert!(queue.write(line.clone().into_bytes(), ALWAYS).is_ok());
                        assert!(std::fs::read_to_string(path).is_ok_and(|text| text.contains(&line)));
                    }
                });
            }
        });
        assert_eq!(std::fs::read_to_string(&path)?.lines().count(), 800);
        Ok(())
    }
}
