//! convertToCapped, cloneCollectionAsCapped

use smongo_bson::{Code, Doc, DocBuf, DocWriter, Result, Value, bail, number};
use smongo_mql::access::Action;

use super::create::in_order;
use crate::commands::rules;
use crate::data::{limits, write};
use crate::data::catalog::write_capped;
use crate::data::namespace::{self, Ns};
use crate::service::command::{Access, Args, Command, Cx, WRITES};

pub const CONVERT_TO_CAPPED: Command = Command::new("convertToCapped", convert, WRITES, Access::Named(&[Action::ConvertToCapped]));
pub const CLONE_COLLECTION_AS_CAPPED: Command = Command::new("cloneCollectionAsCapped", clone, WRITES, Access::Computed(rules::clone_as_capped));

fn convert(cx: &mut Cx<'_>, args: &mut Args<'_>, _reply: &mut DocWriter<'_>) -> Result<()> {
    let ns = converted(cx, args)?;
    let size = size(args)?;
    // MongoDB reads no other field of this command, and refuses none.
    args.rest();
    let shared = cx.shared.clone();
    if shared.catalog.require(&ns)?.timeseries.is_some() {
        bail!(CommandNotSupportedOnView, "convertToCapped is not supported on the time-series collection {ns}");
    }
    namespace::check_creatable(&ns)?;
    shared.cursors.invalidate("collection dropped", |cursor| *cursor == ns);
    let options = options(size, &shared.catalog.require(&ns)?.options);
    shared.catalog.convert_to_capped(&mut cx.op, &ns, options)
}

/// The collection to convert, whose documents go through one with a longer name in MongoDB.
fn converted(cx: &Cx<'_>, args: &mut Args<'_>) -> Result<Ns> {
    const TEMPORARY: usize = "tmpXXXXX.convertToCapped.".len();
    match args.first() {
        Value::String("system.views") => bail!(BadValue, "Cannot convert system.views to a capped collection"),
        Value::String(name) if name.starts_with('$') => bail!(NamespaceNotFound, "source collection {}.{name} does not exist", cx.db),
        _ => {}
    }
    let ns = args.ns(&cx.db)?;
    if ns.coll().starts_with("system.buckets.") {
        bail!(IllegalOperation, "Cannot convert {ns}: it holds a time-series collection's buckets");
    }
    if TEMPORARY + ns.as_str().len() > limits::NAMESPACE_BYTES {
        bail!(InvalidNamespace, "Fully qualified namespace is too long. Namespace: {ns} Max: {}", limits::NAMESPACE_BYTES - TEMPORARY);
    }
    Ok(ns)
}

fn clone(cx: &mut Cx<'_>, args: &mut Args<'_>, _reply: &mut DocWriter<'_>) -> Result<()> {
    let from = source(cx, args)?;
    let to = match args.value("toCollection") {
        Value::String(name) => name,
        v => bail!(TypeMismatch, "'toCollection' must be of type String, found {}", v.type_name()),
    };
    let size = size(args)?;
    args.rest();
    let to = Ns::new(&cx.db, to)?;
    namespace::check_creatable(&to)?;
    let shared = cx.shared.clone();
    if shared.catalog.get(&to).is_some_and(|c| c.view().is_some()) {
        bail!(CommandNotSupportedOnView, "cloneCollectionAsCapped not supported for views: {to}");
    }
    let Some(coll) = shared.catalog.get(&from) else { bail!(NamespaceNotFound, "source collection {from} does not exist") };
    if coll.timeseries.is_some() {
        bail!(CommandNotSupportedOnView, "cloneCollectionAsCapped is not supported on the time-series collection {from}");
    }
    let Some(storage) = coll.storage() else { bail!(CommandNotSupportedOnView, "cloneCollectionAsCapped not supported for views: {from}") };
    let target = shared.catalog.create(&mut cx.op, &to, options(size, &coll.options), Default::default())?;

    let mut next = crate::data::catalog::first_that_fits(&mut cx.op, storage, &target)?;
    loop {
        let group = read_group(cx, storage, &mut next)?;
        if group.is_empty() {
            return Ok(());
        }
        cx.op.write(|op| {
            for doc in &group {
                write::insert(op, &target, doc.as_doc())?;
                write::evict(op, &target)?;
            }
            Ok(())
        })?;
        cx.interrupt()?;
    }
}

/// Some documents from record id `next` on, which is moved behind them.
fn read_group(cx: &mut Cx<'_>, storage: &crate::data::catalog::Storage, next: &mut i64) -> Result<Vec<DocBuf>> {
    const GROUP: usize = 500;
    let mut docs = Vec::new();
    let store = cx.op.store()?;
    let cursor = store.open(&storage.records)?;
    let mut more = store.seek_ge(cursor, &crate::data::keys::record_key(*next))?;
    while more && docs.len() < GROUP {
        docs.push(DocBuf::from(Doc::from_checked(store.value(cursor))));
        *next = crate::data::keys::record_id(store.key(cursor)) + 1;
        more = store.next(cursor)?;
    }
    store.release(cursor);
    cx.op.end_read();
    Ok(docs)
}

/// The collection to copy. A name that is only too long names a collection that cannot exist.
fn source(cx: &Cx<'_>, args: &mut Args<'_>) -> Result<Ns> {
    match args.ns(&cx.db) {
        Err(e) if e.code() == Code::InvalidNamespace => match args.first() {
            v if v.as_str().is_none() => bail!(TypeMismatch, "collection name has invalid type {}", v.type_name()),
            Value::String(name) if cx.db.len() + 1 + name.len() > limits::NAMESPACE_BYTES => bail!(NamespaceNotFound, "source collection {}.{name} does not exist", cx.db),
            _ => Err(e),
        },
        done => {
            let ns = done?;
            if ns.coll().starts_with("system.buckets.") {
                bail!(IllegalOperation, "Cannot clone {ns}: it holds a time-series collection's buckets");
            }
            Ok(ns)
        }
    }
}

fn size(args: &mut Args<'_>) -> Result<i64> {
    let value = args.value("size");
    if !value.is_number() {
        bail!(InvalidOptions, "Capped collection size must be greater than zero");
    }
    match number::to_i64_rounded(value) {
        n if n <= 0 => bail!(InvalidOptions, "Capped collection size must be greater than zero"),
        n if n > limits::CAPPED_BYTES => bail!(BadValue, "Capped collection size cannot exceed 1 PB"),
        n => Ok(n),
    }
}

/// The options of the capped collection: the old one's, its collation and validator among them, but for what makes its size.
fn options(size: i64, old: &DocBuf) -> DocBuf {
    const OWN: &[&str] = &["capped", "size", "clusteredIndex", "expireAfterSeconds"];
    let options = DocBuf::build(|w| {
        write_capped(w, size, 0);
        for e in old.as_doc().iter().filter(|e| !OWN.contains(&e.name())) {
            w.append_element(&e);
        }
    });
    in_order(&options)
}
