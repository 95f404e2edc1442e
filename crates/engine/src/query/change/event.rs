//! Events: what one operation of the oplog is to a watcher.

use smongo_bson::{Doc, DocBuf, DocWriter, Timestamp, Value};

use super::describe;
use super::token::{Position, Token};
use crate::data::namespace::Ns;
use crate::data::watchers::Interest;

/// What a stream watches.
#[derive(Clone, Debug)]
pub enum Scope {
    Collection { db: String, coll: String },
    Database(String),
    Cluster,
}

impl Scope {
    /// What a stream over it waits for.
    pub fn interest(&self) -> Interest {
        match self {
            Scope::Collection { db, coll } => Interest::Collection(Ns::unchecked(db, coll)),
            Scope::Database(db) => Interest::Database(db.clone()),
            Scope::Cluster => Interest::Everything,
        }
    }

    fn contains(&self, db: &str, coll: &str) -> bool {
        match self {
            Scope::Collection { db: d, coll: c } => d == db && c == coll,
            Scope::Database(d) => d == db && !coll.starts_with("system."),
            Scope::Cluster => !matches!(db, "admin" | "config" | "local") && !coll.starts_with("system."),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Insert,
    Update,
    Replace,
    Delete,
    Drop,
    Rename,
    DropDatabase,
    Create,
    CreateIndexes,
    DropIndexes,
    Modify,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Kind::Insert => "insert",
            Kind::Update => "update",
            Kind::Replace => "replace",
            Kind::Delete => "delete",
            Kind::Drop => "drop",
            Kind::Rename => "rename",
            Kind::DropDatabase => "dropDatabase",
            Kind::Create => "create",
            Kind::CreateIndexes => "createIndexes",
            Kind::DropIndexes => "dropIndexes",
            Kind::Modify => "modify",
        }
    }

    /// Events only `showExpandedEvents` shows.
    fn is_expanded(self) -> bool {
        matches!(self, Kind::Create | Kind::CreateIndexes | Kind::DropIndexes | Kind::Modify)
    }
}

/// An operation that a stream reports.
#[derive(Clone, Copy)]
pub struct Operation<'e> {
    pub kind: Kind,
    pub db: &'e str,
    /// Empty for `dropDatabase`.
    pub coll: &'e str,
    /// The collection's UUID, as BSON has it.
    pub uuid: Value<'e>,
    pub o: Doc<'e>,
    pub o2: Doc<'e>,
}

impl<'e> Operation<'e> {
    /// Reads an operation of an oplog entry; `None` when the stream does not report it.
    pub fn read(op: Doc<'e>, scope: &Scope, expanded: bool) -> Option<Operation<'e>> {
        let (ns, o) = (op.get("ns").as_str()?, op.get("o").as_doc()?);
        let (db, mut coll) = ns.split_once('.')?;
        let kind = match op.get("op").as_str()? {
            "i" => Kind::Insert,
            // A diff says so; anything else is a whole document.
            "u" if o.first().is_some_and(|e| e.name() == "$v") => Kind::Update,
            "u" => Kind::Replace,
            "d" => Kind::Delete,
            "c" => {
                let command = o.first()?;
                let kind = match command.name() {
                    "drop" => Kind::Drop,
                    "renameCollection" => Kind::Rename,
                    "dropDatabase" => Kind::DropDatabase,
                    "create" => Kind::Create,
                    "createIndexes" => Kind::CreateIndexes,
                    "dropIndexes" => Kind::DropIndexes,
                    "collMod" => Kind::Modify,
                    _ => return None,
                };
                coll = match kind {
                    Kind::DropDatabase => "",
                    Kind::Rename => command.value().as_str()?.split_once('.')?.1,
                    _ => command.value().as_str()?,
                };
                kind
            }
            _ => return None,
        };
        let operation = Operation { kind, db, coll, uuid: op.get("ui"), o, o2: op.get("o2").as_doc().unwrap_or(Doc::EMPTY) };
        let shown = match kind {
            Kind::DropDatabase => !matches!(scope, Scope::Collection { .. }) && scope.contains(db, ""),
            Kind::Rename => scope.contains(db, coll) || operation.target().is_some_and(|(db, coll)| scope.contains(db, coll)),
            // Views have no UUID; that one is dropped is an expanded event.
            Kind::Drop => scope.contains(db, coll) && (expanded || !operation.uuid.is_missing()),
            _ => scope.contains(db, coll) && (expanded || !kind.is_expanded()),
        };
        shown.then_some(operation)
    }

    /// Database and collection a rename leads to.
    fn target(&self) -> Option<(&'e str, &'e str)> {
        self.o.get("to").as_str()?.split_once('.')
    }

    /// Whether the event ends the stream.
    pub fn invalidates(&self, scope: &Scope) -> bool {
        match scope {
            Scope::Collection { .. } => matches!(self.kind, Kind::Drop | Kind::Rename),
            Scope::Database(_) => self.kind == Kind::DropDatabase,
            Scope::Cluster => false,
        }
    }

    /// `_id` of the document, for operations on one.
    pub fn document_key(&self) -> Doc<'e> {
        match self.kind {
            Kind::Delete => self.o,
            _ => self.o2,
        }
    }
}

/// When and in which transaction it happened.
#[derive(Clone, Copy)]
pub struct Moment<'e> {
    pub entry: Doc<'e>,
    /// The entry is a multi-document transaction's.
    pub in_transaction: bool,
    pub at: Position,
}

/// The optional documents of an event; `None` leaves the field out.
#[derive(Default)]
pub struct Images {
    pub full_document: Option<Option<DocBuf>>,
    pub before_change: Option<Option<DocBuf>>,
}

fn append_image(w: &mut DocWriter<'_>, name: &str, image: &Option<Option<DocBuf>>) {
    match image {
        None => {}
        Some(None) => {
            w.append(name, Value::Null);
        }
        Some(Some(doc)) => {
            w.append(name, doc.as_doc());
        }
    }
}

fn head(w: &mut DocWriter<'_>, kind: &str, moment: Moment<'_>, uuid: Value<'_>) {
    w.append("_id", Token::Event(moment.at).to_doc().as_doc()).append("operationType", kind);
    w.append("clusterTime", Timestamp::from_u64(moment.at.ts));
    // Appending a missing value appends nothing.
    w.append("collectionUUID", uuid).append("wallTime", moment.entry.get("wall"));
    if moment.in_transaction {
        w.append("lsid", moment.entry.get("lsid")).append("txnNumber", moment.entry.get("txnNumber"));
    }
}

/// The event of an operation.
pub fn build(operation: &Operation<'_>, moment: Moment<'_>, images: &Images, expanded: bool) -> DocBuf {
    DocBuf::build(|w| {
        head(w, operation.kind.name(), moment, if expanded { operation.uuid } else { Value::Missing });
        if matches!(operation.kind, Kind::Insert | Kind::Replace) {
            w.append("fullDocument", operation.o);
        }
        if operation.kind == Kind::Create {
            w.append("nsType", if operation.o.contains("viewOn") { "view" } else { "collection" });
        }
        {
            let mut ns = w.document("ns");
            ns.append("db", operation.db);
            if operation.kind != Kind::DropDatabase {
                ns.append("coll", operation.coll);
            }
        }
        match operation.kind {
            Kind::Insert | Kind::Update | Kind::Replace | Kind::Delete => {
                w.append("documentKey", operation.document_key());
            }
            Kind::Rename => {
                if let Some((db, coll)) = operation.target() {
                    w.document("to").append("db", db).append("coll", coll);
                }
            }
            _ => {}
        }
        if operation.kind == Kind::Update {
            describe::append(w, operation.o.get("diff").as_doc().unwrap_or(Doc::EMPTY), expanded);
            append_image(w, "fullDocument", &images.full_document);
        }
        append_image(w, "fullDocumentBeforeChange", &images.before_change);
        if expanded {
            describe_command(w, operation);
        }
    })
}

/// The event behind one that ends the stream.
pub fn invalidate(moment: Moment<'_>) -> DocBuf {
    DocBuf::build(|w| head(w, "invalidate", Moment { in_transaction: false, ..moment }, Value::Missing))
}

/// `operationDescription` of data definition, and `stateBeforeChange`.
fn describe_command(w: &mut DocWriter<'_>, operation: &Operation<'_>) {
    let arguments = || operation.o.iter().skip(1);
    match operation.kind {
        Kind::Create => {
            let mut description = w.document("operationDescription");
            arguments().for_each(|e| {
                description.append_element(&e);
            });
        }
        Kind::Modify => {
            {
                let mut description = w.document("operationDescription");
                arguments().for_each(|e| {
                    description.append_element(&e);
                });
            }
            w.document("stateBeforeChange").append("collectionOptions", operation.o2.get("collectionOptions_old"));
        }
        Kind::CreateIndexes => {
            let mut description = w.document("operationDescription");
            let mut indexes = description.array("indexes");
            let mut index = indexes.document();
            arguments().for_each(|e| {
                index.append_element(&e);
            });
        }
        Kind::DropIndexes => {
            let mut description = w.document("operationDescription");
            description.array("indexes").push(operation.o2);
        }
        Kind::Rename => {
            let mut description = w.document("operationDescription");
            if let Some((db, coll)) = operation.target() {
                description.document("to").append("db", db).append("coll", coll);
            }
            let dropped = operation.o.get("dropTarget");
            if matches!(dropped, Value::Binary(_)) {
                description.append("dropTarget", dropped);
            }
        }
        _ => {}
    }
}
