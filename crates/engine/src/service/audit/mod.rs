//! The audit log: who did what, a line each, in the words of mongod's schema `mongo`.
//!
//! A line about what changes something is written before it happens ([`Weight::Before`]), so that nothing happens of which there is no
//! line; should it not happen after all, another line says so. What cannot be written is refused. Data definition, and changes of users
//! and roles, are told where they are committed ([`definition`]): nobody can forget it.

mod definition;
mod event;
mod json;
mod queue;
mod sink;
mod speaker;

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::Mutex;
use smongo_bson::{Code, DocBuf, DocWriter, ObjectId, Result, err};
use smongo_mql::{Arena, CompileCx, Matcher};

pub use definition::{before_commit, index_build, take_back};
pub use event::{DONE, Event, Weight, Who, auth_check, authenticate, for_a_while, logout, uuid, write_end};
use queue::Queue;
use sink::Sink;
pub use speaker::{speak, speaking, tell_the_rest, will_tell};

use crate::data::options::{self, Destination};

/// How long something waits for its line that cannot be refused.
const PATIENCE: Duration = Duration::from_secs(1);

pub struct Audit {
    filter: Option<Matcher>,
    queue: Arc<Queue>,
    writer: Mutex<Option<JoinHandle<()>>>,
    /// What cannot be written is counted, and not refused.
    goes_on: bool,
    process: ObjectId,
}

/// The filter, before anything is opened.
pub fn filter(options: &options::Audit) -> Result<Option<Matcher>> {
    let compile = |filter: &DocBuf| Matcher::compile(filter.as_doc(), &CompileCx::default().timeless());
    options.filter.as_ref().map(compile).transpose().map_err(|e| e.context("the filter of the audit log"))
}

impl Audit {
    /// Opens where it goes to, and begins to write.
    pub fn open(options: &options::Audit, filter: Option<Matcher>, process: ObjectId) -> Result<Audit> {
        let (sink, name) = match &options.destination {
            Destination::File(path) => (Sink::file(path, options.sync), path.display().to_string()),
            Destination::Console => (Ok(Sink::console()), "the console".to_owned()),
            Destination::Syslog => (Sink::syslog(), "the system's log".to_owned()),
        };
        let cannot = |e: std::io::Error| err!(FileOpenFailed, "the audit log cannot be written to {name}: {e}");
        let mut sink = sink.map_err(cannot)?;
        let queue = Arc::new(Queue::default());
        let writing = queue.clone();
        let writer = std::thread::Builder::new().name("audit".into()).spawn(move || writing.run(&mut sink)).map_err(cannot)?;
        Ok(Audit { filter, queue, writer: Mutex::new(Some(writer)), goes_on: options.goes_on, process })
    }

    /// Tells of an event. An error keeps from happening what it tells of.
    pub fn tell(&self, who: &Who<'_>, weight: Weight, event: &Event) -> Result<()> {
        self.tell_all(who, weight, std::slice::from_ref(event))
    }

    /// Tells of several that happen together: there are lines of all of them, or of none.
    pub fn tell_all(&self, who: &Who<'_>, weight: Weight, events: &[Event]) -> Result<()> {
        let mut lines = Vec::new();
        for event in events {
            let document = event.document(self.process, who);
            if self.wants(&document) {
                lines.extend(json::line(document.as_doc()));
            }
        }
        if lines.is_empty() {
            return Ok(());
        }
        let (a_while, goes_on) = (for_a_while(PATIENCE), self.goes_on || !who.is_bound());
        let check = || (who.check)().and_then(|()| if goes_on { a_while() } else { Ok(()) });
        let done = match weight {
            Weight::Before => self.queue.write(lines, &check),
            Weight::Note => self.queue.post(lines, &check),
            Weight::Past => return self.queue.post(lines, &a_while).or(Ok(())),
        };
        match done {
            Err(e) if e.code() == Code::OperationFailed && goes_on => {
                if weight == Weight::Before {
                    self.queue.lose();
                }
                Ok(())
            }
            done => done,
        }
    }

    /// Waits for a while until what was told so far is written.
    pub fn flush(&self) {
        self.queue.flush(&for_a_while(PATIENCE));
    }

    /// A filter that fails in the middle of an event lets it through.
    fn wants(&self, event: &DocBuf) -> bool {
        self.filter.as_ref().is_none_or(|filter| filter.matches(event.as_doc(), &Arena::new()).unwrap_or(true))
    }

    /// Has the file begun anew.
    pub fn rotate(&self) -> Result<()> {
        self.queue.rotate(&for_a_while(Duration::from_secs(10)))
    }

    /// What serverStatus tells.
    pub fn write_status(&self, w: &mut DocWriter<'_>) {
        let (failing, lost) = self.queue.status();
        w.append("failing", failing).append("lost", lost as i64);
    }

    /// Writes what waits, and ends.
    pub fn close(&self) {
        let Some(writer) = self.writer.lock().take() else { return };
        // One that hangs in a write ends with the process.
        if self.queue.close() {
            let _ = writer.join();
        }
    }
}

impl Drop for Audit {
    fn drop(&mut self) {
        self.close();
    }
}
