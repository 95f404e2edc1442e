//! Running a command: dispatch, transactions, fail points, panics.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use smongo_bson::{Code, DocBuf, DocWriter, Error, Result, Value, ValueBuf, bail, err};
use smongo_mql::Host;

use super::{Session, reply};
use crate::commands;
use crate::data::clock::now_millis;
use crate::data::op::{KillSwitch, OpCx};
use crate::service::audit;
use crate::service::auth::Peer;
use crate::service::auth::principals::Principal;
use crate::service::command::{ADMIN, After, Args, Client, Command, Cx, Generic, LIGHT, Pass, Request, TEST_ONLY, Trust, gate, shown};
use crate::service::operations::Watched;
use crate::service::profiler::Profiled;
use crate::service::sessions::TxnRef;
use crate::service::shared::Shared;
use crate::service::usage;

impl Session {
    pub(crate) fn new(shared: &Arc<Shared>, client: Client) -> Session {
        let connection = shared.connections.fetch_add(1, Ordering::Relaxed) + 1;
        shared.open_connections.fetch_add(1, Ordering::Relaxed);
        shared.usage.encrypted(client.peer.tls);
        if !client.local.is_empty() {
            client.local.clone_into(&mut shared.address.lock());
        }
        let place = shared.operations.place(client, connection);
        Session { shared: shared.clone(), connection, place, metadata: None, auth: Default::default() }
    }

    /// For a transport that sees when its client is gone.
    pub fn watched(&self) -> Watched {
        Watched::new(&self.place, &self.shared)
    }

    /// Runs one command and appends the reply document to `out`. Always answers: errors, panics included, become `{ok: 0, …}`.
    pub fn run(&mut self, request: &Request<'_>, out: &mut Vec<u8>) -> After {
        let start = out.len();
        let begun = Instant::now();
        let name = request.body.first().map_or("", |e| e.name());
        let command = commands::lookup(name);
        let done = catch_unwind(AssertUnwindSafe(|| match command {
            Some(command) => self.dispatch(command, request, out),
            None => bail!(CommandNotFound, "no such command: '{name}'"),
        }));
        let (after, error) = match done {
            Ok(Ok(after)) => (after, None),
            Ok(Err(e)) => (After::Reply, Some(e)),
            // The operation's context was dropped while unwinding: its transaction is rolled back.
            Err(panic) => (After::Reply, Some(panicked(&*panic))),
        };
        let error = error.map(|e| crate::data::damage::explain(&self.shared, e));
        let error = match (error, &self.shared.audit, command) {
            (Some(e), Some(audit), Some(command)) => Some(self.tell_of_refusal(audit, command, request, e)),
            (error, ..) => error,
        };
        if let Some(error) = &error {
            out.truncate(start);
            reply::fail(&mut DocWriter::new(out), Some(&self.shared), error);
        }
        self.account(command, request, begun, &out[start..], error.as_ref());
        after
    }

    /// Counts a command that is over, and tells the profiler and the log of it where they want to know.
    fn account(&self, command: Option<&Command>, request: &Request<'_>, begun: Instant, reply: &[u8], error: Option<&Error>) {
        let elapsed = begun.elapsed();
        let shared = &self.shared;
        let usage = &shared.usage;
        let sequences: usize = request.sequences.iter().map(|s| s.docs.len()).sum();
        usage.requests.fetch_add(1, Ordering::Relaxed);
        usage.bytes_in.fetch_add((request.body.as_bytes().len() + sequences) as u64, Ordering::Relaxed);
        usage.bytes_out.fetch_add(reply.len() as u64, Ordering::Relaxed);
        if error.is_some() {
            usage.failures.fetch_add(1, Ordering::Relaxed);
        }
        let Some(command) = command else { return };
        let db = request.body.get("$db").as_str().unwrap_or("admin");
        usage.record(&shared.catalog, command, request, db, elapsed, error.is_some());
        // Who is refused at the gate writes nothing by that.
        let refused = error.is_some_and(|e| e.code() == Code::Unauthorized) && self.place.client().trust == Trust::Enforced;
        if shared.profiler.is_active() && !refused {
            let kind = command.kind;
            let profiled = Profiled {
                kind,
                db,
                coll: usage::collection(kind, request),
                request,
                command: if command.kind == usage::Kind::GetMore { self.place.shown() } else { DocBuf::from_checked(shown::document(command, request.body).into_owned()) },
                user: self.auth.user().map(|user| &user.principal),
                begun,
                elapsed,
                reply,
                error,
                client: &self.place.client().remote,
                metadata: self.metadata.as_ref(),
            };
            shared.profiler.record(shared, &profiled);
        }
        if shared.parameters.log_level() > 0 {
            tracing::info!(target: "smongo::command", connection = self.connection, db, ms = elapsed.as_millis() as u64, "{}: {}", command.name, shown::Text(command, request.body));
        }
    }

    /// Runs a command given as a document, for embedded callers; a failure is an error.
    pub fn run_command(&mut self, db: &str, command: &DocBuf) -> Result<DocBuf> {
        let body = DocBuf::build(|w| {
            w.append_all(command.as_doc()).append("$db", db);
        });
        self.reply_to(&Request::new(body.as_doc()))
    }

    /// Logs in, for callers in the same process that ask somebody for name and password.
    ///
    /// # Errors
    /// AuthenticationFailed, whatever the reason: the log has it.
    pub fn login(&mut self, user: &str, password: &str, db: &str) -> Result<()> {
        let kill = KillSwitch::default();
        let peer = Peer { shared: &self.shared, client: self.place.client(), connection: self.connection, kill: &kill };
        self.auth.log_in(&peer, &Principal::new(user, db), password)
    }

    /// The reply to a command, for embedded callers; a failure is an error.
    pub(crate) fn reply_to(&mut self, request: &Request<'_>) -> Result<DocBuf> {
        let mut out = Vec::new();
        self.run(request, &mut out);
        let reply = DocBuf::from_checked(out);
        if reply.get("ok").truthy() {
            return Ok(reply);
        }
        let code = match reply.get("code") {
            Value::Int32(code) => code,
            _ => Code::UnknownError.0,
        };
        Err(Error::new(Code(code), reply.get("errmsg").as_str().unwrap_or_default()).with_info(reply.clone()))
    }

    fn dispatch(&mut self, command: &'static Command, request: &Request<'_>, out: &mut Vec<u8>) -> Result<After> {
        let start = out.len();
        if command.is(TEST_ONLY) && !self.shared.options.test_commands {
            bail!(CommandNotFound, "no such command: '{}'", command.name);
        }
        let mut args = Args::new(command.name, request.body, request.sequences);
        let mut generic = Generic::parse(command, &mut args, self.shared.parameters.require_api_version())?;
        if let Some(gone) = self.auth.refresh(&self.shared, self.place.client())? {
            self.tell_of_logout(&gone, "Implicit logout because the user is gone or may not come from there");
        }
        self.identify(command, &mut generic, &args)?;
        if command.is(ADMIN) && generic.db != "admin" {
            bail!(Unauthorized, "{} may only be run against the admin database.", command.name);
        }
        let pass = gate::admit(&self.shared, self.place.client(), self.auth.user(), command, generic.db, &args, request.body)?;
        let _speaking = match &self.shared.audit {
            Some(audit) => {
                self.tell_of_admission(audit, command, request)?;
                Some(audit::speak(&self.place, self.connection, self.auth.user()))
            }
            None => None,
        };
        if self.shared.shutting_down() && !command.is(LIGHT) {
            bail!(InterruptedAtShutdown, "The server is in quiesce mode and will shut down");
        }
        self.shared.write_block.check(command, generic.db, request)?;
        let fail = self.shared.failpoints.enter(command.name, self.place.client(), self.metadata.as_ref(), request.body)?;
        if fail.close {
            return Ok(After::Close);
        }
        let result = self.run_row(pass, command, request, &generic, &mut args, out);
        let result = match &self.shared.audit {
            Some(audit) if result.is_ok() => audit::tell_the_rest(&self.shared, audit).and(result),
            _ => result,
        };
        let after = result.map_err(|e| label(e, &generic, command))?;
        if let Some(patch) = fail.patch {
            crate::service::failpoint::patch_reply(out, start, patch.as_doc());
        }
        Ok(after)
    }

    fn run_row(&mut self, pass: Pass, command: &'static Command, request: &Request<'_>, generic: &Generic<'_>, args: &mut Args<'_>, out: &mut Vec<u8>) -> Result<After> {
        let shared = self.shared.clone();
        if let Some(time) = generic.cluster_time {
            // A client may carry a time from another server; running far ahead of the wall clock would never end.
            if i64::from(time.time) * 1000 < now_millis() + 24 * 3600 * 1000 {
                shared.clock.advance_to(time);
            }
        }
        generic.read_concern.check_times(&shared.clock)?;
        let txn = match &generic.lsid {
            Some(lsid) if generic.in_transaction() => Some(shared.sessions.enter(&shared, lsid, generic)?),
            _ => None,
        };
        let retry = match &generic.lsid {
            Some(lsid) if !generic.in_transaction() => shared.sessions.touch(&shared, lsid, generic)?,
            _ => None,
        };
        let running = shared.operations.begin(&self.place, command, request.body, generic, pass.user());
        let fresh = || shared.op_with(running.kill_switch());
        let (mut op, txn) = match txn {
            Some(TxnRef { op: Some(mut op), slot, turn }) => {
                op.kill = running.kill_switch();
                (*op, Some((slot, turn)))
            }
            Some(TxnRef { op: None, slot, turn }) => (fresh(), Some((slot, turn))),
            None => (fresh(), None),
        };
        op.retry = retry;
        op.held_to = pass.held_to();
        equip(&mut op, &shared, command, request, generic)?;
        if generic.max_time_ms > 0 && shared.failpoints.times_out() && !command.is(LIGHT) {
            op.deadline = Some(Instant::now());
            op.interrupt()?;
        }
        let _entered = op.enter(command.name != "getMore");
        if !generic.in_transaction() && generic.read_concern.level.as_deref() == Some("snapshot") {
            op.read_kept(generic.read_concern.at_cluster_time)?;
        }
        if op.pending.origin.is_none() && let (Some(lsid), Some(number)) = (&generic.lsid, generic.txn_number) {
            op.pending.origin = Some(DocBuf::build(|w| {
                w.append("lsid", lsid.to_doc().as_doc()).append("txnNumber", number);
            }));
        }
        let write_concern = match generic.write_concern.given {
            true => generic.write_concern.clone(),
            false => shared.default_concerns.write_concern(),
        };
        let mut cx = Cx {
            op,
            pass,
            shared: &shared,
            command,
            db: generic.db.to_owned(),
            lsid: generic.lsid.clone(),
            txn_number: generic.txn_number,
            in_transaction: generic.in_transaction(),
            stmt_ids: stmt_ids(generic),
            comment: generic.comment,
            max_time_ms: generic.max_time_ms,
            read_concern: generic.read_concern.clone(),
            write_concern: write_concern.clone(),
            client: self.place.client(),
            place: &self.place,
            connection: self.connection,
            metadata: &mut self.metadata,
            auth: &mut self.auth,
            after: After::Reply,
            ok: Value::Double(1.0),
        };
        let start = out.len();
        let mut w = DocWriter::new(out);
        let ends = matches!(command.name, "commitTransaction" | "abortTransaction");
        let resumed = if ends { Ok(()) } else { cx.op.resume_snapshot() };
        let mut done = resumed.and_then(|()| (command.run)(&mut cx, args, &mut w));
        let (after, ok) = (cx.after, cx.ok);
        let mut op = cx.op;
        if op.close {
            return Ok(After::Close);
        }
        if let Some((slot, _turn)) = txn {
            done = shared.sessions.leave(slot, op, done, command.name);
        } else {
            op.rollback();
            if done.is_ok() {
                done = op.make_durable(write_concern.durable || generic.read_concern.durable());
            }
        }
        done?;
        if write_concern.unacknowledged && !write_concern.durable && matches!(command.name, "insert" | "update" | "delete") {
            // Who asks for no acknowledgement does not hear what was done.
            drop(w);
            out.truncate(start);
            w = DocWriter::new(out);
        }
        reply::succeed(&mut w, ok, &shared, &write_concern);
        Ok(after)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.tell_of_end();
        self.shared.open_connections.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What an operation knows of its command.
fn equip(op: &mut OpCx, shared: &Shared, command: &'static Command, request: &Request<'_>, generic: &Generic<'_>) -> Result<()> {
    op.settings = shared.query_settings.of(command, request.body)?.map(|setting| setting.settings);
    op.api = generic.api.clone();
    op.comment = Some(generic.comment).filter(|comment| !comment.is_missing()).map(ValueBuf::new);
    op.compile = Default::default();
    op.compile.now = now_millis();
    op.compile.cluster_time = Some(shared.clock.last());
    op.compile.db = generic.db.to_owned();
    op.compile.allow_disk_use = shared.parameters.allow_disk_use();
    op.deadline = (generic.max_time_ms > 0).then(|| Instant::now() + Duration::from_millis(generic.max_time_ms as u64));
    Ok(())
}

fn stmt_ids(generic: &Generic<'_>) -> Vec<i32> {
    match (generic.stmt_ids, generic.stmt_id) {
        (Some(ids), _) => ids.iter().filter_map(|v| smongo_bson::number::to_i64_exact(v)).map(|n| n as i32).collect(),
        (None, Some(id)) => vec![id],
        (None, None) => Vec::new(),
    }
}

/// Errors that tell of what is there. As far as it is not acknowledged as the write concern asks, the reply says that, too.
const STATES: &[Code] = &[Code::NamespaceExists, Code::NamespaceNotFound, Code::IndexNotFound, Code::DuplicateKey];

/// Labels by which drivers decide what to try again.
fn label(e: Error, generic: &Generic<'_>, command: &Command) -> Error {
    let transient = [Code::WriteConflict, Code::SnapshotUnavailable, Code::SnapshotTooOld, Code::LockTimeout, Code::InterruptedAtShutdown, Code::NoSuchTransaction];
    let commit = command.name == "commitTransaction";
    if generic.in_transaction() && !commit && transient.contains(&e.code()) {
        return e.with_label("TransientTransactionError");
    }
    if commit && e.code() == Code::NoSuchTransaction {
        return e.with_label("TransientTransactionError");
    }
    let e = match &generic.write_concern.unsatisfiable {
        Some(mode) if STATES.contains(&e.code()) && !generic.in_transaction() => {
            let info = DocBuf::build(|w| {
                e.info().into_iter().for_each(|info| {
                    w.append_all(info);
                });
                reply::write_concern_error(w, mode);
            });
            e.with_info(info)
        }
        _ => e,
    };
    if (generic.txn_number.is_some() || commit) && e.code() == Code::InterruptedAtShutdown {
        return e.with_label("RetryableWriteError");
    }
    e
}

/// What a caller hears of a panic that was caught at the door.
pub fn panicked(panic: &(dyn std::any::Any + Send)) -> Error {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    err!(InternalError, "the command failed inside: {}", text.unwrap_or("panic"))
}
