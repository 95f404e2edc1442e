//! An open database: opening it, and its end.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use smongo_bson::{DocBuf, Result};

use crate::commands::COMMANDS;
use crate::data::options::Options;
use crate::door::Session;
use crate::life::{bootstrap, maintenance, repair};
use crate::service::audit::{self, Audit, Event, Weight};
use crate::service::auth::principals::Principal;
use crate::service::command::{Client, Trust};
use crate::service::shared::{Rotate, Shared};

/// An open database. Cheap to clone; the last one dropped closes it.
#[derive(Clone)]
pub struct Engine {
    pub(crate) shared: Arc<Shared>,
}

impl Engine {
    /// Opens the database, creating it where there is none. A second process on the same directory gets LockBusy.
    pub fn open(options: Options) -> Result<Engine> {
        let shared = Shared::open(options, COMMANDS, None)?;
        bootstrap::run(&shared)?;
        match shared.store.mark_complete() {
            // An earlier version's database is proven to be ours without it, also on a disk that is full.
            Err(e) if shared.store.is_unmarked() => tracing::warn!("marking the directory: {e}"),
            marked => marked?,
        }
        maintenance::start(&shared);
        let engine = Engine { shared };
        engine.tell_of_the_start();
        Ok(engine)
    }

    /// The first line of the audit log, if there is one.
    fn tell_of_the_start(&self) {
        let (Some(audit), Some(options)) = (&self.shared.audit, &self.shared.options.audit) else { return };
        let event = Event::new("startup", |w| {
            w.append("startupOptions", options.startup.as_doc());
            crate::commands::write_cluster_parameters(&self.shared.cluster_parameters, &mut w.array("initialClusterServerParameter"));
        });
        // A full disk keeps nobody from starting what is there to be read.
        let _ = audit::speaking(&self.shared, |who| audit.tell(who, Weight::Past, &event));
        audit.flush();
    }

    /// Begins a new file of the audit log, if there is one; the old one stays, under another name.
    ///
    /// # Errors
    /// It goes on in the old file.
    pub fn rotate_audit(&self) -> Result<()> {
        self.shared.audit.as_ref().map_or(Ok(()), Audit::rotate)
    }

    /// Opens what is damaged, as far as it can be, and starts nothing that changes it in the background.
    pub(crate) fn open_repairing(options: Options, damaged: &mut HashSet<String>, say: &mut dyn FnMut(&str)) -> Result<Engine> {
        let shared = Shared::open(options, COMMANDS, Some(&mut |store| repair::make_readable(store, damaged, say)))?;
        for name in shared.catalog.adopted() {
            say(&format!("documents of a collection that the catalog does not name any more are in {name}"));
        }
        bootstrap::run(&shared)?;
        Ok(Engine { shared })
    }

    /// A new session for one client.
    pub fn session(&self, client: Client) -> Session {
        Session::new(&self.shared, client)
    }

    /// A session of a user, who may do in it what the user may and no more: for callers in the same process who trust what they run
    /// less than themselves. It is a stranger's once the user is gone.
    ///
    /// # Errors
    /// UserNotFound.
    pub fn session_as(&self, user: &str, db: &str) -> Result<Session> {
        let mut session = self.session(Client { trust: Trust::Enforced, ..Client::owner() });
        session.auth.become_user(&self.shared, &Principal::new(user, db))?;
        Ok(session)
    }

    /// Begins shutdown: wakes every waiter (awaitable hello, awaitData); commands from now on answer InterruptedAtShutdown.
    pub fn begin_shutdown(&self) {
        self.shared.begin_shutdown();
    }

    /// Whether shutdown has begun, for instance by the `shutdown` command.
    pub fn shutting_down(&self) -> bool {
        self.shared.shutting_down()
    }

    /// Whether connections that come and go are not worth a line.
    pub fn quiet(&self) -> bool {
        self.shared.parameters.quiet()
    }

    /// Says something that whoever started this should know, in the log and to `getLog: "startupWarnings"`.
    pub fn warn(&self, warning: String) {
        self.shared.warn(warning);
    }

    /// Where a server counts connections that have said nothing yet, and have no session.
    pub fn waiting_connections(&self) -> &AtomicU64 {
        &self.shared.waiting_connections
    }

    /// Adds what reads a server's certificates anew: `rotateCertificates` calls it. It answers what is wrong with them, and `None` once the server is gone.
    pub fn on_rotate_certificates(&self, rotate: Rotate) {
        self.shared.on_rotate_certificates(rotate);
    }

    /// Whether somebody may log in: there is a user.
    pub fn has_users(&self) -> bool {
        let users = DocBuf::build(|w| {
            w.append("find", "system.users").append("limit", 1).append("singleBatch", true);
        });
        let found = self.session(Client::owner()).run_command("admin", &users);
        found.is_ok_and(|reply| reply.get("cursor").as_doc().is_some_and(|c| c.get("firstBatch").as_array().is_some_and(|a| !a.is_empty())))
    }

    /// Copies the database into an empty or missing directory while it is in use: everything committed before the call is
    /// in the copy, which opens as any database.
    pub fn backup(&self, directory: &std::path::Path) -> Result<()> {
        Ok(self.shared.store.backup(directory)?)
    }

    /// Closes the database cleanly: open operations are interrupted, a checkpoint is written.
    pub fn close(self) -> Result<()> {
        self.shared.close()
    }
}
