//! The operations that run: what currentOp shows and killOp kills.
//!
//! Each client session has a place of its own, which it fills in when a command begins and empties when it ends: the
//! list of places changes only when clients come and go, and a command allocates nothing to be on it.

use std::borrow::Cow;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use smongo_bson::{Code, Doc, DocBuf, DocWriter, Result, Value};

use crate::data::lsid::{Lsid, Uid};
use crate::data::op::{KillSwitch, Progress};
use crate::service::auth::users::User;
use crate::service::command::{Client, Command, Generic, WRITES, shown};
use crate::service::current_op::{Show, write_command};
use crate::service::shared::Shared;
use crate::service::usage::Kind;

/// Bodies up to this size are kept to be shown; of longer ones (bulk inserts) only what names them.
const SHOWN_BYTES: usize = 16 << 10;

/// The commands that nobody needs when their client is gone, sorted: those that only read. What writes goes on, for the client may
/// rely on it and cannot tell how far it came.
const ANSWERS: &[&str] = &[
    "aggregate", "count", "distinct", "explain", "find", "getMore", "hello", "isMaster", "ismaster", "listCollections", "listDatabases", "listIndexes",
];

#[derive(Default)]
pub struct Operations {
    places: Mutex<Vec<Weak<Place>>>,
    next: AtomicU64,
    /// Commands answered since the start, by kind, for serverStatus.
    pub total: AtomicU64,
}

/// What one client session runs just now.
pub struct Place {
    client: Client,
    connection: u64,
    kill: Arc<KillSwitch>,
    running: Mutex<Running>,
}

struct Running {
    /// Zero while nothing runs.
    id: u64,
    body: Vec<u8>,
    lsid: Option<Lsid>,
    since: Instant,
    /// The row of the command; that of the last one while nothing runs.
    command: Option<&'static Command>,
    /// Whether the command only answers, where `body` is cut and does not tell.
    answers: Option<bool>,
    /// Who runs it.
    user: Option<Arc<User>>,
}

/// Whether a command is for its answer alone. A pipeline may end in a stage that writes.
fn only_answers(body: Doc<'_>) -> bool {
    let Some(first) = body.first().filter(|e| ANSWERS.binary_search(&e.name()).is_ok()) else { return false };
    let last = match body.get("pipeline") {
        Value::Array(stages) => stages.iter().last(),
        _ => None,
    };
    match last {
        Some(Value::Document(stage)) if first.name() == "aggregate" => !stage.contains("$out") && !stage.contains("$merge"),
        _ => true,
    }
}

/// A client's session to a transport that sees when the client is gone.
#[derive(Clone)]
pub struct Watched {
    place: Arc<Place>,
    shared: Weak<Shared>,
}

impl Watched {
    pub(crate) fn new(place: &Arc<Place>, shared: &Arc<Shared>) -> Watched {
        Watched { place: place.clone(), shared: Arc::downgrade(shared) }
    }

    /// The number of the command that runs, if it has run that long and is only for its answer.
    pub fn running_for(&self, least: Duration) -> Option<u64> {
        let running = self.place.running.lock();
        let found = running.id != 0 && running.since.elapsed() >= least;
        (found && running.only_answers()).then_some(running.id)
    }

    /// The client is gone: ends that command, unless it has ended by itself.
    pub fn abandon(&self, id: u64) {
        self.place.kill_if(Code::ClientDisconnect, |running| running.id == id);
        if let Some(shared) = self.shared.upgrade() {
            shared.wake_sleepers();
        }
    }
}

impl Running {
    /// The command without its secrets.
    fn shown(&self) -> Cow<'_, [u8]> {
        let body = Doc::from_checked(&self.body);
        self.command.map_or(Cow::Borrowed(body.as_bytes()), |command| shown::document(command, body))
    }

    fn only_answers(&self) -> bool {
        self.answers.unwrap_or_else(|| only_answers(Doc::from_checked(&self.body)))
    }

    fn belongs_to(&self, uid: Uid) -> bool {
        self.user.as_ref().is_some_and(|user| user.uid == uid)
    }

    fn write(&self, w: &mut DocWriter<'_>, show: Show) {
        let since = self.since.elapsed();
        if let Some(user) = &self.user {
            let mut users = w.array("effectiveUsers");
            users.document().append("user", &*user.principal.name).append("db", &*user.principal.db);
        }
        w.append("opid", self.id as i64).append("secs_running", since.as_secs() as i64).append("microsecs_running", since.as_micros() as i64);
        if let Some(lsid) = &self.lsid {
            w.append("lsid", lsid.to_doc().as_doc());
        }
        let body = self.shown();
        let body = Doc::from_checked(&body);
        let kind = self.command.map_or(Kind::Command, |command| command.kind);
        let coll = if kind == Kind::GetMore { body.get("collection") } else { body.first().map_or(Value::Missing, |e| e.value()) };
        let db = body.get("$db").as_str().unwrap_or("admin");
        let coll = coll.as_str().unwrap_or("$cmd");
        w.append("op", kind.op()).append("ns", &*format!("{db}.{coll}"));
        write_command(w, body, show);
    }
}

/// Empties the place when the command is over.
pub struct Guard<'p>(&'p Place);

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        self.0.running.lock().id = 0;
    }
}

impl Guard<'_> {
    pub fn kill_switch(&self) -> Arc<KillSwitch> {
        self.0.kill.clone()
    }
}

impl Place {
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Fails when somebody has killed what runs.
    pub fn check(&self) -> Result<()> {
        self.kill.check()
    }

    /// The command that runs, or ran last, as far as it is shown.
    pub fn shown(&self) -> DocBuf {
        DocBuf::from_checked(self.running.lock().shown().into_owned())
    }

    /// Shows the running command with a comment it takes over from the command that opened its cursor.
    pub fn inherit_comment(&self, comment: Value<'_>) {
        let mut running = self.running.lock();
        let body = DocBuf::build(|w| {
            w.append_all(Doc::from_checked(&running.body)).append("comment", comment);
        });
        running.body = body.into_bytes();
    }

    /// The running operation, or the idle connection, as currentOp shows it.
    fn describe(&self, show: Show) -> Option<DocBuf> {
        let op = self.running.lock();
        let active = op.id != 0;
        // An idle connection belongs to nobody.
        if show.only.is_some_and(|uid| !active || !op.belongs_to(uid)) || !active && !show.idle_connections {
            return None;
        }
        let progress = if active { self.kill.progress() } else { None };
        Some(DocBuf::build(|w| {
            w.append("type", "op").append("desc", &*format!("conn{}", self.connection)).append("connectionId", self.connection as i64);
            w.append("client", &*self.client.remote).append("active", active);
            if active {
                op.write(w, show);
                if let Some(progress) = progress {
                    write_progress(w, &progress);
                }
            }
        }))
    }

    /// Kills what runs, if it is the one meant.
    fn kill_if(&self, code: Code, meant: impl Fn(&Running) -> bool) {
        let running = self.running.lock();
        if running.id != 0 && meant(&running) {
            self.kill.kill(code);
        }
    }
}

fn write_progress(w: &mut DocWriter<'_>, progress: &Progress) {
    w.append("msg", &*progress.message);
    if let Ok(blocks) = progress.store.compact_progress(&progress.table) {
        w.document("progress").append("done", blocks.done as i64).append("total", blocks.total as i64);
    }
}

impl Operations {
    /// A place for a new client session.
    pub fn place(&self, client: Client, connection: u64) -> Arc<Place> {
        let running = Running { id: 0, body: Vec::new(), lsid: None, since: Instant::now(), command: None, answers: None, user: None };
        let place = Arc::new(Place { client, connection, kill: Arc::default(), running: Mutex::new(running) });
        let mut places = self.places.lock();
        if places.len() == places.capacity() {
            places.retain(|p| p.strong_count() > 0);
        }
        places.push(Arc::downgrade(&place));
        place
    }

    pub fn begin<'p>(&self, place: &'p Place, command: &'static Command, body: Doc<'_>, generic: &Generic<'_>, user: Option<&Arc<User>>) -> Guard<'p> {
        self.total.fetch_add(1, Ordering::Relaxed);
        let mut running = place.running.lock();
        // Whoever kills holds the lock as well: it cannot hit the operation that comes next.
        place.kill.reset();
        running.id = self.next.fetch_add(1, Ordering::Relaxed) + 1;
        running.command = Some(command);
        running.body.clear();
        running.answers = None;
        if body.as_bytes().len() <= SHOWN_BYTES {
            running.body.extend_from_slice(body.as_bytes());
        } else {
            running.answers = Some(only_answers(body));
            let mut w = DocWriter::new(&mut running.body);
            if let Some(first) = body.first() {
                w.append_element(&first);
            }
            w.append("$db", generic.db);
        }
        running.lsid.clone_from(&generic.lsid);
        running.user = user.cloned();
        running.since = Instant::now();
        Guard(place)
    }

    fn places(&self) -> Vec<Arc<Place>> {
        self.places.lock().iter().filter_map(Weak::upgrade).collect()
    }

    /// All that runs, as currentOp shows it.
    pub fn list(&self, show: Show) -> Vec<DocBuf> {
        self.places().iter().filter_map(|p| p.describe(show)).collect()
    }

    /// How many commands run, and how many of them write.
    pub fn counts(&self) -> (usize, usize) {
        let (mut all, mut writing) = (0, 0);
        for place in self.places() {
            let running = place.running.lock();
            if running.id != 0 {
                all += 1;
                writing += usize::from(running.command.is_some_and(|c| c.is(WRITES)));
            }
        }
        (all, writing)
    }

    /// The logical sessions that commands run in just now.
    pub fn sessions(&self) -> Vec<Lsid> {
        let of = |place: Arc<Place>| {
            let running = place.running.lock();
            running.lsid.clone().filter(|_| running.id != 0)
        };
        self.places().into_iter().filter_map(of).collect()
    }

    pub fn kill(&self, id: u64) {
        self.places().iter().for_each(|p| p.kill_if(Code::Interrupted, |op| op.id == id));
    }

    /// Whether an operation of that number is a user's.
    pub fn belongs_to(&self, id: u64, uid: Uid) -> bool {
        self.places().iter().any(|place| {
            let running = place.running.lock();
            running.id == id && running.belongs_to(uid)
        })
    }

    pub fn kill_sessions(&self, ids: &[Lsid]) {
        let of_them = |op: &Running| op.lsid.as_ref().is_some_and(|l| ids.contains(l));
        self.places().iter().for_each(|p| p.kill_if(Code::Interrupted, of_them));
    }

    /// Kills what somebody runs, but for the command that asks for it.
    pub fn kill_user(&self, uid: Uid, except: &Place) {
        self.places().iter().filter(|place| !std::ptr::eq(&***place, except)).for_each(|p| p.kill_if(Code::Interrupted, |op| op.belongs_to(uid)));
    }

    pub fn kill_all(&self) {
        self.places().iter().for_each(|p| p.kill_if(Code::InterruptedAtShutdown, |_| true));
    }
}

#[cfg(test)]
mod tests {
    use smongo_bson::json::parse_doc;

    use super::*;

    #[test]
    fn only_commands_without_effect_end_with_their_client() {
        assert!(ANSWERS.is_sorted());
        let answers = |text: &str| parse_doc(text).is_ok_and(|doc| only_answers(doc.as_doc()));
        for text in ["{'find': 't'}", "{'getMore': 1, 'collection': 't'}", "{'aggregate': 't', 'pipeline': []}", "{'aggregate': 't', 'pipeline': [{'$match': {}}]}"] {
            assert!(answers(&text.replace('\'', "\"")), "{text}");
        }
        for text in ["{'insert': 't'}", "{'update': 't'}", "{'createIndexes': 't'}", "{'aggregate': 't', 'pipeline': [{'$out': 'u'}]}", "{'aggregate': 't', 'pipeline': [{'$merge': {'into': 'u'}}]}", "{}"] {
            assert!(!answers(&text.replace('\'', "\"")), "{text}");
        }
    }
}
