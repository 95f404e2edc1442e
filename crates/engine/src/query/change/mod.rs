//! Change streams: the oplog as events for those who watch.
//!
//! `$changeStream` reads the oplog behind a position ([`token`]), turns each operation into an event ([`event`]) with the
//! images it was asked for ([`crate::data::oplog::images`]), and hands the events to the stages behind it. It holds no storage between two batches:
//! where it stands is a timestamp and the position within that timestamp's entry.

mod describe;
mod event;
mod split;
mod token;

use std::ops::Range;
use std::sync::Arc;

use parking_lot::Mutex;
use smongo_bson::{Code, Doc, DocBuf, Error, Result, Value, bail, err};
use smongo_mql::pipeline::change_stream::{BeforeChange, ChangeStreamSpec, FullDocument, Start, check_followers};
use smongo_mql::pipeline::stage_array;
use smongo_mql::{CompileCx, Host, Pipeline, Stream};

use crate::data::catalog::find_by_id;
use crate::data::namespace::Ns;
use crate::data::op::OpCx;
use crate::data::oplog::{self, images};
use crate::data::watchers::Interest;
use crate::query::exec::{Held, op_of};
use event::{Images, Kind, Moment, Operation, Scope};
use token::{Position, Token};

/// Entries that are none of the stream's business are passed in runs of this many before it looks whether it was killed.
const INTERRUPT_EVERY: u64 = 1024;

/// What a cursor over a change stream needs to know beyond its documents.
pub struct Watch {
    progress: Arc<Progress>,
    /// What the stream waits for when it has nothing to tell.
    pub interest: Interest,
    /// `postBatchResumeToken` of the next reply.
    pub token: DocBuf,
}

impl Watch {
    /// The batch holds this event now.
    pub fn delivered(&mut self, event: Doc<'_>) {
        if let Value::Document(id) = event.get("_id") {
            self.token = DocBuf::from(id);
        }
    }

    /// The stream has nothing more for now. Returns whether it has ended for good.
    pub fn caught_up(&mut self) -> bool {
        let state = self.progress.0.lock();
        self.token = state.token().to_doc();
        state.closed
    }
}

/// The label by which a driver knows whether it may resume the stream after this error.
pub fn label(e: Error) -> Error {
    const RESUMABLE: &[i32] = &[6, 7, 63, 89, 91, 133, 150, 189, 234, 262, 9001, 10107, 11600, 11602, 13388, 13435, 13436];
    match e.code() {
        Code::ChangeStreamFatalError | Code::ChangeStreamHistoryLost | Code::InvalidResumeToken => e.with_label("NonResumableChangeStreamError"),
        code if RESUMABLE.contains(&code.0) => e.with_label("ResumableChangeStreamError"),
        _ => e,
    }
}

/// Shared by the stream and whoever looks after it from the other end of the pipeline.
struct Progress(Mutex<State>);

struct State {
    /// Everything before this timestamp was seen.
    next: u64,
    /// The event delivered last.
    last: Option<Position>,
    /// The stream ended with an invalidate event.
    closed: bool,
}

impl State {
    /// That of the last event, until something later was seen.
    fn token(&self) -> Token {
        match self.last {
            Some(at) if at.ts.saturating_add(1) >= self.next => Token::Event(at),
            _ => Token::Mark(self.next),
        }
    }
}

/// Opens a change stream: the first of the stages is `$changeStream`. `coll` is empty for a database or the cluster.
pub fn open(op: &mut OpCx, db: &str, coll: &str, stages: &[DocBuf], cx: &CompileCx) -> Result<(Box<dyn Stream>, Watch)> {
    let Some((first, rest)) = stages.split_first() else { bail!(InternalError, "a change stream without its stage") };
    let spec = ChangeStreamSpec::parse(first.as_doc().first().map_or(Value::Missing, |e| e.value()))?;
    let followers: Vec<Doc<'_>> = rest.iter().map(|s| s.as_doc()).collect();
    let splits = check_followers(&followers)?;
    let rest = if splits { &rest[..rest.len() - 1] } else { rest };
    let scope = scope(op, &spec, db, coll)?;
    let array = stage_array(rest);
    let Some(array) = array.as_array() else { bail!(InternalError, "a pipeline that is no array") };
    let name = if coll.is_empty() { "$cmd.aggregate" } else { coll };
    let pipeline = Pipeline::compile(array, &CompileCx { coll: name.to_owned(), ..cx.clone() })?;

    let stream = ChangeStream::start(op, spec, scope)?;
    let resumed = stream.seek.filter(|at| at.fragment > 0);
    if resumed.is_some() && !splits {
        bail!(ChangeStreamFatalError, "The resume token is of a fragment of a split event; the stream needs $changeStreamSplitLargeEvent to go on from it");
    }
    let progress = stream.progress.clone();
    let watch = Watch { token: progress.0.lock().token().to_doc(), progress: progress.clone(), interest: stream.scope.interest() };
    let events = pipeline.open(Box::new(stream))?;
    let mut events: Box<dyn Stream> = Box::new(KeepsToken { input: events, progress: progress.clone() });
    if splits {
        events = Box::new(split::Split::new(events, progress, resumed.map_or(0, |at| at.fragment)));
    }
    Ok((events, watch))
}

fn scope(op: &OpCx, spec: &ChangeStreamSpec, db: &str, coll: &str) -> Result<Scope> {
    if spec.all_changes_for_cluster {
        if db != "admin" || !coll.is_empty() {
            bail!(InvalidOptions, "A $changeStream with 'allChangesForCluster:true' may only be opened on the 'admin' database, and with no collection name; found {db}.{coll}");
        }
        return Ok(Scope::Cluster);
    }
    if matches!(db, "admin" | "config" | "local") {
        bail!(InvalidNamespace, "$changeStream may not be opened on the internal {db} database");
    }
    if coll.is_empty() {
        return Ok(Scope::Database(db.to_owned()));
    }
    if coll.starts_with("system.") {
        bail!(InvalidNamespace, "$changeStream may not be opened on the internal {db}.{coll} collection");
    }
    let ns = Ns::new(db, coll)?;
    if op.collection(&ns)?.is_some_and(|c| c.view().is_some()) {
        bail!(CommandNotSupportedOnView, "Namespace {ns} is a view, not a collection");
    }
    Ok(Scope::Collection { db: db.to_owned(), coll: coll.to_owned() })
}

struct ChangeStream {
    spec: ChangeStreamSpec,
    scope: Scope,
    progress: Arc<Progress>,
    cursor: Held,
    /// The newest timestamp that the snapshot being read holds with everything before it.
    limit: u64,
    /// The timestamp to read next.
    next: u64,
    /// The entry whose operations are being reported, and where in its bytes they are.
    entry: DocBuf,
    operations: Vec<Range<usize>>,
    /// The operation of the entry that comes next.
    at: Position,
    /// The event of the resume token, until the stream has come by it.
    seek: Option<Position>,
    event: DocBuf,
}

impl ChangeStream {
    fn start(op: &mut OpCx, spec: ChangeStreamSpec, scope: Scope) -> Result<ChangeStream> {
        let token = match &spec.start {
            Start::Now => Token::Mark(op.data.clock.visible().to_u64() + 1),
            Start::At(ts) => Token::Mark(ts.to_u64()),
            Start::ResumeAfter(doc) => match Token::parse(doc.as_doc())? {
                Token::Event(at) if at.invalidate => {
                    bail!(InvalidResumeToken, "Attempting to resume a change stream using 'resumeAfter' is not allowed from an invalidate notification.")
                }
                token => token,
            },
            Start::StartAfter(doc) => Token::parse(doc.as_doc())?,
        };
        let seek = match token {
            Token::Mark(_) => None,
            Token::Event(at) => Some(at),
        };
        let next = token.ts();
        let state = State { next, last: seek, closed: false };
        let stream = ChangeStream {
            spec,
            scope,
            progress: Arc::new(Progress(Mutex::new(state))),
            cursor: Held::default(),
            limit: 0,
            next,
            entry: DocBuf::new(),
            operations: Vec::new(),
            at: Position::default(),
            seek,
            event: DocBuf::new(),
        };
        stream.check_history(op)?;
        Ok(stream)
    }

    /// Entries between the stream's position and the oldest one kept are gone.
    fn check_history(&self, op: &OpCx) -> Result<()> {
        let trimmed = op.data.oplog_trimmed();
        if trimmed > 0 && self.next <= trimmed {
            bail!(ChangeStreamHistoryLost, "Resume of change stream was not possible, as the resume point may no longer be in the oplog.");
        }
        Ok(())
    }

    /// Moves the cursor to the next entry that is visible; `false` when there is none yet.
    fn step(&mut self, op: &mut OpCx) -> Result<bool> {
        let data = op.data.clone();
        let found = match self.cursor.get() {
            Some(cursor) => op.store()?.next(cursor)?,
            None => {
                op.end_read();
                // What is visible is asked before the snapshot begins, so that the snapshot holds all of it.
                self.limit = data.clock.visible().to_u64();
                if self.is_idle(op) {
                    self.check_history(op)?;
                    self.pass();
                    return Ok(false);
                }
                let cursor = self.cursor.open(op, &data.oplog)?;
                let found = op.store()?.seek_ge(cursor, &self.next.to_be_bytes())?;
                self.check_history(op)?;
                found
            }
        };
        if found {
            let cursor = self.cursor.require()?;
            let ts = op.lent().key(cursor).first_chunk::<8>().map_or(u64::MAX, |k| u64::from_be_bytes(*k));
            if ts <= self.limit {
                self.next = ts + 1;
                self.at = Position { ts, ..Position::default() };
                return Ok(true);
            }
        }
        self.cursor.release(op);
        op.end_read();
        self.pass();
        Ok(false)
    }

    /// Everything visible was seen.
    fn pass(&mut self) {
        self.next = self.next.max(self.limit + 1);
        let mut state = self.progress.0.lock();
        state.next = state.next.max(self.next);
    }

    /// Whether it is known without reading the oplog that nothing of the stream's came at or after `next` and is visible. A stream
    /// that others write beside need not pass by all that they write.
    fn is_idle(&self, op: &OpCx) -> bool {
        if op.data.maybe_redefined_since(self.next) {
            return false;
        }
        let catalog = &op.data.catalog;
        match &self.scope {
            Scope::Collection { db, coll } => catalog.get(&Ns::unchecked(db, coll)).is_none_or(|c| c.state.last_change() < self.next),
            Scope::Database(db) => catalog.collections(db).iter().all(|c| c.state.last_change() < self.next),
            Scope::Cluster => false,
        }
    }

    /// Takes the next entry that may hold events of the stream.
    fn next_entry(&mut self, op: &mut OpCx) -> Result<bool> {
        // The position moves on over entries of others, and the operations of the last one are not theirs.
        self.operations.clear();
        let mut passed = 0u64;
        while self.step(op)? {
            let cursor = self.cursor.require()?;
            let mut entry = Doc::from_checked(op.lent().value(cursor));
            let whole;
            if oplog::is_last_of_many(entry) {
                let last = DocBuf::from(entry);
                let data = op.data.clone();
                whole = oplog::whole_transaction(&data, op.store()?, last.as_doc())?;
                entry = whole.as_doc();
            }
            if operations(entry).any(|o| Operation::read(o, &self.scope, self.spec.show_expanded_events).is_some()) {
                self.operations.clear();
                self.operations.extend(operations(entry).map(|o| place_in(entry, o)));
                self.entry = DocBuf::from(entry);
                return Ok(true);
            }
            passed += 1;
            if passed.is_multiple_of(INTERRUPT_EVERY) {
                op.interrupt()?;
            }
        }
        Ok(false)
    }

    /// Makes the next event of the entry; `false` when it has no more.
    fn next_event(&mut self, op: &mut OpCx) -> Result<bool> {
        let entry = std::mem::take(&mut self.entry);
        let found = self.next_event_of(op, entry.as_doc());
        self.entry = entry;
        found
    }

    fn next_event_of(&mut self, op: &mut OpCx, entry: Doc<'_>) -> Result<bool> {
        let in_transaction = is_transaction(entry);
        while let Some(place) = self.operations.get(self.at.op as usize) {
            let Some(bytes) = entry.as_bytes().get(place.clone()) else { bail!(InternalError, "an operation outside of its entry") };
            let at = self.at;
            let read = Operation::read(Doc::from_checked(bytes), &self.scope, self.spec.show_expanded_events);
            let invalidates = read.as_ref().is_some_and(|o| o.invalidates(&self.scope));
            self.at = match (at.invalidate, invalidates) {
                // The invalidate event of the same operation comes next.
                (false, true) => Position { invalidate: true, ..at },
                _ => Position { op: at.op + 1, invalidate: false, ..at },
            };
            let Some(read) = read else { continue };
            if self.wanted(at)? {
                let moment = Moment { entry, in_transaction, at };
                self.event = if at.invalidate { event::invalidate(moment) } else { self.build(op, &read, moment)? };
                let mut state = self.progress.0.lock();
                state.last = Some(at);
                state.closed = at.invalidate;
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether the event at a position is to be delivered: those up to the resume token's are not.
    fn wanted(&mut self, at: Position) -> Result<bool> {
        let Some(seek) = self.seek else { return Ok(true) };
        match at.cmp(&Position { fragment: 0, ..seek }) {
            std::cmp::Ordering::Less => Ok(false),
            std::cmp::Ordering::Equal => {
                self.seek = None;
                // Of a split event the rest is still to come.
                Ok(seek.fragment > 0)
            }
            std::cmp::Ordering::Greater => {
                bail!(ChangeStreamFatalError, "cannot resume stream; the resume token was not found. {}", Token::Event(seek).text())
            }
        }
    }

    fn build(&self, op: &mut OpCx, operation: &Operation<'_>, moment: Moment<'_>) -> Result<DocBuf> {
        let before = match operation.kind {
            Kind::Update | Kind::Replace | Kind::Delete => self.before_change(op, moment)?,
            _ => None,
        };
        let full = match operation.kind {
            Kind::Update => self.full_document(op, operation, moment, before.as_ref())?,
            _ => None,
        };
        let images = Images { full_document: full, before_change: before.filter(|_| self.spec.before_change != BeforeChange::Off) };
        Ok(event::build(operation, moment, &images, self.spec.show_expanded_events))
    }

    /// The pre-image, when the event is to carry it or the post-image is to be made of it; `Some(None)` when there is none.
    fn before_change(&self, op: &mut OpCx, moment: Moment<'_>) -> Result<Option<Option<DocBuf>>> {
        let for_post_image = matches!(self.spec.full_document, FullDocument::WhenAvailable | FullDocument::Required);
        if self.spec.before_change == BeforeChange::Off && !for_post_image {
            return Ok(None);
        }
        let image = images::read(op, moment.at.ts, moment.at.op)?;
        if image.is_none() && self.spec.before_change == BeforeChange::Required {
            bail!(NoMatchingDocument, "Change stream was configured to require a pre-image for all update, delete and replace events, but the pre-image was not found for event: {}", Token::Event(moment.at).text());
        }
        Ok(Some(image))
    }

    fn full_document(&self, op: &mut OpCx, operation: &Operation<'_>, moment: Moment<'_>, before: Option<&Option<DocBuf>>) -> Result<Option<Option<DocBuf>>> {
        let post_image = || -> Result<Option<DocBuf>> {
            let Some(Some(before)) = before else { return Ok(None) };
            let diff = operation.o.get("diff").as_doc().unwrap_or(Doc::EMPTY);
            Ok(Some(smongo_mql::update::diff::apply(diff, before.as_doc())?))
        };
        match self.spec.full_document {
            FullDocument::Default => Ok(None),
            FullDocument::UpdateLookup => Ok(Some(current(op, operation)?)),
            FullDocument::WhenAvailable => Ok(Some(post_image()?)),
            FullDocument::Required => match post_image()? {
                Some(image) => Ok(Some(Some(image))),
                None => Err(err!(NoMatchingDocument, "Change stream was configured to require a post-image for all update events, but the post-image was not found for event: {}", Token::Event(moment.at).text())),
            },
        }
    }
}

/// The document as it is now, of the same collection.
fn current(op: &mut OpCx, operation: &Operation<'_>) -> Result<Option<DocBuf>> {
    let ns = Ns::unchecked(operation.db, operation.coll);
    let Some(coll) = op.collection(&ns)? else { return Ok(None) };
    let same = matches!(operation.uuid, Value::Binary(b) if b.bytes() == coll.uuid.as_bytes());
    if !same {
        return Ok(None);
    }
    let found = find_by_id(op, &coll, operation.document_key().get("_id"))?;
    Ok(found.map(|(_, doc)| DocBuf::from(doc)))
}

fn is_transaction(entry: Doc<'_>) -> bool {
    entry.get("o").as_doc().and_then(|o| o.first()).is_some_and(|e| e.name() == "applyOps")
}

/// The operations of an entry: one, or those of a transaction.
fn operations(entry: Doc<'_>) -> impl Iterator<Item = Doc<'_>> {
    let bundle = match entry.get("o").as_doc().and_then(|o| o.first()) {
        Some(e) if e.name() == "applyOps" => e.value().as_array(),
        _ => None,
    };
    let one = if bundle.is_some() { None } else { Some(entry) };
    // The operations of a part come with the last part.
    let bundle = bundle.filter(|_| !oplog::is_part(entry));
    one.into_iter().chain(bundle.into_iter().flat_map(|a| a.iter().filter_map(|v| v.as_doc())))
}

/// Where the bytes of an operation are in those of the entry that holds it.
fn place_in(entry: Doc<'_>, operation: Doc<'_>) -> Range<usize> {
    let start = operation.as_bytes().as_ptr().addr() - entry.as_bytes().as_ptr().addr();
    start..start + operation.as_bytes().len()
}

impl Stream for ChangeStream {
    fn advance(&mut self, host: &mut dyn Host) -> Result<bool> {
        let op = op_of(host)?;
        if self.progress.0.lock().closed {
            return Ok(false);
        }
        loop {
            if self.next_event(op)? {
                return Ok(true);
            }
            if !self.next_entry(op)? {
                return Ok(false);
            }
        }
    }

    fn doc(&self) -> Doc<'_> {
        self.event.as_doc()
    }

    fn park(&mut self, host: &mut dyn Host) {
        if let Ok(op) = op_of(host) {
            self.cursor.release(op);
        }
    }
}

/// Holds the pipeline to its duty to leave the resume token alone.
struct KeepsToken {
    input: Box<dyn Stream>,
    progress: Arc<Progress>,
}

impl Stream for KeepsToken {
    fn advance(&mut self, host: &mut dyn Host) -> Result<bool> {
        if !self.input.advance(host)? {
            return Ok(false);
        }
        let expected = self.progress.0.lock().last.map(|at| Token::Event(at).to_doc()).unwrap_or_default();
        let found = self.input.doc().get("_id");
        if !matches!(found, Value::Document(id) if id.as_bytes() == expected.as_bytes()) {
            bail!(
                ChangeStreamFatalError,
                "Encountered an event whose _id field, which contains the resume token, was modified by the pipeline. Modifying the _id field of an event makes it impossible to resume the stream from that point. Only transformations that retain the unmodified _id field are allowed. Expected: {:?} but found: {:?}",
                expected.as_doc(),
                self.input.doc().get("_id")
            );
        }
        Ok(true)
    }

    fn doc(&self) -> Doc<'_> {
        self.input.doc()
    }

    fn park(&mut self, host: &mut dyn Host) {
        self.input.park(host);
    }
}
