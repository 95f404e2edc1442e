//! The profiler: levels by database, and the entries in `system.profile`.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::RwLock;
use smongo_bson::{Doc, DocBuf, Result, Value};
use smongo_mql::{Arena, Matcher};

use crate::data::catalog::write_capped;
use crate::data::clock::now_millis;
use crate::data::namespace::Ns;
use crate::data::write;
use crate::service::auth::principals::Principal;
use crate::service::command::{Args, Request};
use crate::service::shared::Shared;
use crate::service::usage::Kind;

/// Bytes of a `system.profile` that the profiler makes.
const PROFILE_BYTES: i64 = 1 << 20;
/// A longer command is shown as far as this.
const COMMAND_BYTES: usize = 50 << 10;

#[derive(Clone)]
pub struct Settings {
    /// Slower commands are profiled at level 1; the same for all databases.
    pub slow_ms: i32,
    /// The share of slow commands that is profiled.
    pub sample_rate: f64,
    levels: HashMap<String, Level>,
}

#[derive(Clone, Default)]
pub struct Level {
    pub level: i32,
    /// Replaces `slow_ms` and `sample_rate`.
    pub filter: Option<Arc<Matcher>>,
    /// When profiling began. What was running then is not told of, the command that began it included.
    pub since: Option<Instant>,
}

pub struct Profiler {
    settings: RwLock<Settings>,
    /// Whether any database is profiled: what is asked after every command.
    active: AtomicBool,
}

impl Default for Profiler {
    fn default() -> Profiler {
        Profiler { settings: RwLock::new(Settings { slow_ms: 100, sample_rate: 1.0, levels: HashMap::new() }), active: AtomicBool::new(false) }
    }
}

/// What is told of a command that is over.
pub struct Profiled<'a> {
    pub kind: Kind,
    pub db: &'a str,
    pub coll: Option<&'a str>,
    pub request: &'a Request<'a>,
    /// The command as it is shown.
    pub command: DocBuf,
    pub user: Option<&'a Principal>,
    pub begun: Instant,
    pub elapsed: Duration,
    pub reply: &'a [u8],
    pub error: Option<&'a smongo_bson::Error>,
    pub client: &'a str,
    pub metadata: Option<&'a DocBuf>,
}

impl Profiler {
    pub fn settings(&self, db: &str) -> (Settings, Level) {
        let settings = self.settings.read().clone();
        let level = settings.levels.get(db).cloned().unwrap_or_default();
        (settings, level)
    }

    pub fn change(&self, db: &str, slow_ms: i32, sample_rate: f64, level: Level) {
        let mut settings = self.settings.write();
        settings.slow_ms = slow_ms;
        settings.sample_rate = sample_rate;
        settings.levels.insert(db.to_owned(), level);
        self.active.store(settings.levels.values().any(|l| l.level > 0), Ordering::Relaxed);
    }

    pub fn is_active(&self) -> bool {
        self.active.load(Ordering::Relaxed)
    }

    /// Writes the entry of a command, if it is one to be told of.
    pub fn record(&self, shared: &Arc<Shared>, profiled: &Profiled<'_>) {
        let (settings, level) = self.settings(profiled.db);
        if level.level == 0 || level.since.is_some_and(|since| since > profiled.begun) {
            return;
        }
        for entry in profiled.entries() {
            let wanted = match &level.filter {
                Some(filter) => filter.matches(entry.as_doc(), &Arena::new()).unwrap_or(false),
                None if level.level == 2 => true,
                None => profiled.elapsed.as_millis() as i64 > i64::from(settings.slow_ms) && smongo_mql::rand::fraction() < settings.sample_rate,
            };
            if wanted && let Err(e) = store(shared, profiled.db, entry.as_doc()) {
                tracing::warn!("writing to {}.system.profile: {e}", profiled.db);
            }
        }
    }
}

impl Profiled<'_> {
    /// One, but of an update or a deletion one for each statement, which is shown with the command's comment.
    fn entries(&self) -> Vec<DocBuf> {
        let body = self.request.body;
        let lists = matches!(self.kind, Kind::Update | Kind::Delete);
        let Some(list) = self.kind.list().filter(|_| lists) else {
            return vec![self.entry(self.command.as_doc(), true)];
        };
        // A command that is malformed has none.
        let statements = Args::new(self.kind.op(), body, self.request.sequences).docs(list).ok().flatten().unwrap_or_default();
        let shown = |statement: &Doc<'_>| DocBuf::build(|w| {
            for e in *statement {
                // As MongoDB keeps the hint of a statement, an index's name is a document, too.
                match e.value() {
                    Value::String(name) if e.name() == "hint" => {
                        w.document("hint").append("$hint", name);
                    }
                    _ => {
                        w.append_element(&e);
                    }
                }
            }
            w.append("comment", body.get("comment"));
        });
        statements.iter().map(|s| self.entry(shown(s).as_doc(), statements.len() == 1)).collect()
    }

    /// `counts`: the reply's numbers are those of what is shown.
    fn entry(&self, shown: Doc<'_>, counts: bool) -> DocBuf {
        let reply = Doc::from_checked(self.reply);
        DocBuf::build(|w| {
            w.append("op", self.kind.op()).append("ns", &*format!("{}.{}", self.db, self.coll.unwrap_or("$cmd")));
            if shown.as_bytes().len() <= COMMAND_BYTES {
                w.append("command", shown);
            } else {
                w.document("command").append("$truncated", &*format!("{shown:?}").chars().take(COMMAND_BYTES).collect::<String>());
            }
            match self.error {
                Some(e) => {
                    w.append("ok", 0.0).append("errMsg", e.message()).append("errName", &*e.code().name()).append("errCode", e.code().0);
                }
                None => {
                    let cursor = reply.get("cursor").as_doc();
                    if let Some(batch) = cursor.and_then(|c| c.get("firstBatch").as_array().or_else(|| c.get("nextBatch").as_array())) {
                        w.append("cursorExhausted", matches!(cursor.map(|c| c.get("id")), Some(Value::Int64(0)))).append("nreturned", batch.iter().count() as i32);
                    }
                    let count = match self.kind {
                        Kind::Insert => Some("ninserted"),
                        Kind::Update => Some("nMatched"),
                        Kind::Delete => Some("ndeleted"),
                        _ => None,
                    };
                    if let Some(name) = count.filter(|_| counts) {
                        w.append(name, reply.get("n")).append("nModified", reply.get("nModified"));
                    }
                }
            }
            w.append("responseLength", self.reply.len() as i32).append("protocol", "op_msg");
            w.append("millis", self.elapsed.as_millis() as i32).append("ts", Value::DateTime(now_millis()));
            w.append("client", self.client);
            if let Some(Value::String(name)) = self.metadata.map(|m| m.get("application").as_doc().map_or(Value::Missing, |a| a.get("name"))) {
                w.append("appName", name);
            }
            {
                let mut all = w.array("allUsers");
                if let Some(user) = self.user {
                    all.document().append("user", &*user.name).append("db", &*user.db);
                }
            }
            w.append("user", &*self.user.map(Principal::to_string).unwrap_or_default());
        })
    }
}

/// Inserts an entry into `system.profile`, which is made when there is none. It is nothing to replicate.
/// How long a reply is kept back for its profile where that has to wait for a lock.
const PATIENCE: Duration = Duration::from_millis(200);

/// Writes an entry. The reply waits for it, so it must not wait for what only another command ends: under the lock of fsync
/// nothing is profiled.
fn store(shared: &Arc<Shared>, db: &str, entry: Doc<'_>) -> Result<()> {
    if shared.fsync.is_locked() {
        return Ok(());
    }
    let mut op = shared.op();
    op.deadline = Some(Instant::now() + PATIENCE);
    let ns = Ns::unchecked(db, "system.profile");
    let options = DocBuf::build(|w| write_capped(w, PROFILE_BYTES, 0));
    shared.catalog.create_own(&mut op, &ns, options)?;
    let mut buf = Vec::new();
    op.write(|op| {
        let coll = op.data.catalog.require(&ns)?;
        let doc = write::prepare(op, entry, &mut buf)?;
        write::insert(op, &coll, doc)?;
        write::evict(op, &coll)?;
        op.pending.clear();
        Ok(())
    })
}
