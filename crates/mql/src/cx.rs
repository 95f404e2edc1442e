//! What a program knows of its surroundings, when it is compiled and when it runs.

use std::cell::Cell;
use std::sync::{Arc, Mutex, PoisonError};

use smongo_bson::{Doc, Error, Result, Timestamp, Value, ValueBuf};

use crate::arena::Arena;
use crate::collation::Collation;
use crate::running::RunningClock;

/// The request's constants. Names are resolved against it once, while compiling; nothing of it is looked up per document.
#[derive(Clone, Default)]
pub struct CompileCx {
    /// `$$NOW`, milliseconds since the epoch.
    pub now: i64,
    /// `$$CLUSTER_TIME`.
    pub cluster_time: Option<Timestamp>,
    /// Where both come from instead, for programs that outlive the command they were compiled in (validators).
    pub clock: Option<Arc<dyn Clock>>,
    /// The command has neither (`count`, `distinct`, `listCollections`, `listDatabases`).
    pub timeless: bool,
    /// `$$USER_ROLES`: an array of `{_id, role, db}`; empty where there is no authentication.
    pub user_roles: Option<ValueBuf>,
    /// The collation in force; `None` is simple binary comparison.
    pub collation: Option<Arc<Collation>>,
    /// The command asked for simple comparison in so many words, so a collection's default collation does not apply.
    pub simple_collation: bool,
    /// Variables of the command's `let`, of `$lookup`'s `let`, `$merge`'s `let` …: constants while the program runs.
    pub lets: Vec<(String, ValueBuf)>,
    /// The database and collection the command addresses (for `$lookup`, `$out`, `$merge` defaults and messages).
    pub db: String,
    pub coll: String,
    /// allowDiskUse of the command, default true as in MongoDB 8.
    pub allow_disk_use: bool,
    /// The pipeline of an update: MongoDB does not optimize it, so the errors of its constants come with the first document.
    pub unfolded: bool,
    /// Where the first error of a constant waits until all of a pipeline was parsed, as MongoDB optimizes a pipeline after that. Without it
    /// such errors come at once.
    pub unfoldable: Option<Arc<Mutex<Option<Error>>>>,
    /// How deep this pipeline is nested in `$lookup`, `$facet`, `$unionWith`.
    pub depth: u32,
    /// Somewhere inside a `$facet`, where some stages may not stand, in `$lookup`s neither.
    pub within_facet: bool,
}

/// Reads the time for programs that are evaluated long after they were compiled.
pub trait Clock: Send + Sync {
    /// Milliseconds since the epoch.
    fn now(&self) -> i64;
    fn cluster_time(&self) -> Timestamp;
}

impl CompileCx {
    /// For programs that take the time from whatever command runs them.
    pub fn of_running() -> CompileCx {
        CompileCx { clock: Some(Arc::new(RunningClock)), ..CompileCx::default() }
    }

    /// A constant could not be computed.
    pub(crate) fn unfoldable(&self, why: Error) -> Result<()> {
        let Some(waiting) = &self.unfoldable else { return Err(why) };
        waiting.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(why);
        Ok(())
    }

    /// The same where a constant is needed at once.
    pub(crate) fn at_once(&self) -> CompileCx {
        CompileCx { unfoldable: None, ..self.clone() }
    }

    /// The same for a command that knows no `$$NOW` and no `$$CLUSTER_TIME`.
    pub fn timeless(&self) -> CompileCx {
        CompileCx { timeless: true, ..self.clone() }
    }
}

/// What an expression sees of one document.
#[derive(Clone, Copy)]
pub struct Cx<'a> {
    pub arena: &'a Arena,
    /// `$$ROOT`; `$$CURRENT` is the same unless a `$redact` or a rebinding says otherwise.
    pub root: Value<'a>,
    /// The slots of variables that `$let`, `$map`, `$filter`, `$reduce` bind; the compiler numbers them.
    pub vars: &'a [Cell<Value<'a>>],
    /// What `$meta` reads, by its names (`textScore` …): what a search or an index scan attached to the document.
    pub meta: Doc<'a>,
}

impl<'a> Cx<'a> {
    /// The context of one document for a program with `slots` variable slots ([`crate::Expr::slots`]).
    pub fn new(arena: &'a Arena, root: Doc<'a>, slots: usize) -> Cx<'a> {
        let vars = if slots == 0 { &[][..] } else { arena.bump().alloc_slice_fill_with(slots, |_| Cell::new(Value::Missing)) };
        Cx { arena, root: Value::Document(root), vars, meta: arena.meta() }
    }

    /// The same context with what is made going to another arena, which may be emptied before this one.
    pub fn within<'s>(&self, arena: &'s Arena) -> Cx<'s>
    where
        'a: 's,
    {
        let slot = |i: usize| Cell::new(self.vars.get(i).map_or(Value::Missing, |v| v.get()));
        Cx { arena, root: self.root, vars: arena.bump().alloc_slice_fill_with(self.vars.len(), slot), meta: self.meta }
    }
}
