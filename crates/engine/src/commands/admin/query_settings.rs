//! setQuerySettings, removeQuerySettings

use smongo_bson::{Doc, DocBuf, DocWriter, Result, Value, bail};
use smongo_mql::access::Action;

use crate::data::namespace::{self, Ns};
use crate::service::command::{ADMIN, Access, Args, Command, Cx};
use crate::service::query_settings::{QuerySettings, Setting, hash};

pub const SET: Command = Command::new("setQuerySettings", set, ADMIN, Access::Cluster(&[Action::QuerySettings]));
pub const REMOVE: Command = Command::new("removeQuerySettings", remove, ADMIN, Access::Cluster(&[Action::QuerySettings]));

/// What names a shape: a query of it, or its hash.
enum Which {
    Query(DocBuf),
    Hash(String),
}

impl Which {
    fn read(args: &mut Args<'_>, command: &str) -> Result<Which> {
        match args.first() {
            Value::Document(query) => {
                check_query(query)?;
                Ok(Which::Query(DocBuf::from(query)))
            }
            Value::String(text) => {
                if !text.bytes().all(|b| b.is_ascii_hexdigit()) || text.len() % 2 != 0 {
                    bail!(BadValue, "Failed to parse the query shape hash '{text}': it is not made of hexadecimal digits");
                }
                if text.len() != 64 {
                    bail!(InvalidLength, "Invalid query shape hash '{text}': it must have 64 digits");
                }
                Ok(Which::Hash(text.to_ascii_uppercase()))
            }
            v => Err(args.wrong_type(command, v, "string, object")),
        }
    }

    fn hash(&self) -> Result<String> {
        match self {
            Which::Query(query) => hash(query.as_doc()),
            Which::Hash(hash) => Ok(hash.clone()),
        }
    }
}

/// A find, distinct or aggregate of a collection, with its `$db`.
fn check_query(query: Doc<'_>) -> Result<()> {
    let name = query.first().map_or("", |e| e.name());
    if !matches!(name, "find" | "distinct" | "aggregate") {
        bail!(7746402, "QueryShape can not be computed for command: {query}");
    }
    let mut args = Args::nested(name, query);
    let Some(db) = args.str("$db")? else { return Err(args.missing("$db")) };
    namespace::check_database(db)?;
    if let Value::String(coll) = query.get(name) {
        Ns::new(db, coll)?;
    }
    Ok(())
}

/// What cannot be set, though it can be removed.
fn check_settable(query: Doc<'_>) -> Result<()> {
    let db = query.get("$db").as_str().unwrap_or_default();
    if matches!(db, "admin" | "config" | "local") || query.first().and_then(|e| e.value().as_str()).is_some_and(|coll| coll.starts_with("system.")) {
        bail!(8584900, "Can not set query settings for queries on the server's own collections: {query}");
    }
    // A read by _id is not planned.
    let by_id = query.get("filter").as_doc().is_some_and(|filter| {
        let plain = |v: Value<'_>| v.as_doc().is_none_or(|d| d.first().is_none_or(|e| !e.name().starts_with('$') || e.name() == "$eq"));
        filter.len() == 1 && filter.first().is_some_and(|e| e.name() == "_id" && plain(e.value()))
    });
    if by_id && query.first().is_some_and(|e| e.name() == "find") && !query.contains("collation") {
        bail!(7746606, "setQuerySettings command cannot be used on a query that is answered by its _id alone");
    }
    Ok(())
}

fn set(cx: &mut Cx<'_>, args: &mut Args<'_>, reply: &mut DocWriter<'_>) -> Result<()> {
    let which = Which::read(args, "setQuerySettings")?;
    let Some(given) = args.doc("settings")? else { return Err(args.missing("settings")) };
    args.finish()?;
    let given = check_settings(given)?;
    if let Which::Query(query) = &which {
        check_settable(query.as_doc())?;
    }
    let hash = which.hash()?;
    let known = cx.shared.query_settings.get(&hash);
    let query = match (&known, which) {
        (Some(known), _) => known.query.clone(),
        (None, Which::Query(query)) => query,
        (None, Which::Hash(_)) => bail!(7746401, "New query settings can only be created with a query instance, but a query hash was given."),
    };
    let before = known.map(|known| known.settings).unwrap_or_default();
    // What is not mentioned stays as it was.
    let settings = DocBuf::build(|w| {
        for name in ["indexHints", "queryFramework", "reject", "comment"] {
            let value = if given.as_doc().contains(name) { given.get(name) } else { before.get(name) };
            if !(name == "reject" && !value.truthy()) {
                w.append(name, value);
            }
        }
    });
    if settings.as_doc().iter().all(|e| e.name() == "comment") {
        bail!(7746604, "settings field in setQuerySettings command cannot be empty or contain only default values: removeQuerySettings removes them");
    }
    let setting = Setting { hash: hash.clone(), settings, query };
    reply.append("queryShapeHash", &*hash).append("representativeQuery", setting.query.as_doc()).append("settings", setting.settings.as_doc());
    QuerySettings::change(cx.shared, &mut cx.op, |all| {
        all.retain(|other| other.hash != hash);
        all.push(setting);
    })
}

fn remove(cx: &mut Cx<'_>, args: &mut Args<'_>, _reply: &mut DocWriter<'_>) -> Result<()> {
    let which = Which::read(args, "removeQuerySettings")?;
    args.finish()?;
    let hash = which.hash()?;
    if cx.shared.query_settings.get(&hash).is_none() {
        return Ok(());
    }
    QuerySettings::change(cx.shared, &mut cx.op, |all| all.retain(|other| other.hash != hash))
}

/// The settings as they are stored.
fn check_settings(given: Doc<'_>) -> Result<DocBuf> {
    if given.is_empty() {
        bail!(8727502, "settings field in setQuerySettings command cannot be empty");
    }
    let mut args = Args::nested("setQuerySettings.settings", given);
    let hints: Vec<Doc<'_>> = match args.value("indexHints") {
        v if v.is_nullish() => Vec::new(),
        Value::Document(hint) => vec![hint],
        Value::Array(list) => {
            if let Some(other) = list.iter().find(|v| v.as_doc().is_none()) {
                return Err(args.wrong_type("indexHints", other, "object"));
            }
            list.iter().filter_map(|v| v.as_doc()).collect()
        }
        v => return Err(args.wrong_type("indexHints", v, "array, object")),
    };
    let framework = match args.value("queryFramework") {
        Value::Missing => None,
        Value::String(name @ ("classic" | "sbe")) => Some(name),
        Value::String(other) => bail!(BadValue, "Enumeration value '{other}' for field 'setQuerySettings.settings.queryFramework' is not a valid value."),
        v if v.is_nullish() => None,
        v => return Err(args.wrong_type("queryFramework", v, "string")),
    };
    let reject = match args.value("reject") {
        Value::Missing => None,
        Value::Bool(reject) => Some(reject),
        v => return Err(args.wrong_type("reject", v, "bool")),
    };
    let comment = args.value("comment");
    args.finish()?;
    let mut named = Vec::new();
    for hint in hints {
        named.extend(check_hint(hint)?);
    }
    Ok(DocBuf::build(|w| {
        if !named.is_empty() {
            let mut list = w.array("indexHints");
            named.iter().for_each(|hint| {
                list.push(*hint);
            });
        }
        w.append("queryFramework", framework.map_or(Value::Missing, Value::String));
        w.append("reject", reject.map_or(Value::Missing, Value::Bool));
        w.append("comment", comment);
    }))
}

/// One of `indexHints`; `None` where it names no index.
fn check_hint(hint: Doc<'_>) -> Result<Option<Doc<'_>>> {
    let mut args = Args::nested("setQuerySettings.settings.indexHints", hint);
    let Some(ns) = args.doc("ns")? else { return Err(args.missing("ns")) };
    let Some(indexes) = args.array("allowedIndexes")? else { return Err(args.missing("allowedIndexes")) };
    args.finish()?;
    let mut ns = Args::nested("setQuerySettings.settings.indexHints.ns", ns);
    if ns.str("db")?.is_none() {
        bail!(8727500, "indexHints.ns must name a database: 'db' is missing");
    }
    if ns.str("coll")?.is_none() {
        bail!(8727501, "indexHints.ns must name a collection: 'coll' is missing");
    }
    ns.finish()?;
    if let Some(other) = indexes.iter().find(|v| !matches!(v, Value::String(_) | Value::Document(_))) {
        bail!(FailedToParse, "allowedIndexes takes names and key patterns of indexes, not {}", other.type_name());
    }
    Ok((!indexes.is_empty()).then_some(hint))
}
