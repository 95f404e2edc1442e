//! Query settings: for queries of a shape, the indexes they may use, or that they are rejected. Kept in `config.clusterParameters`, as in
//! MongoDB, and looked up only where there are any.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::RwLock;
use smongo_bson::{Doc, DocBuf, DocWriter, Result, Value, ValueBuf, bail};
use smongo_mql::collation::Collation;

use crate::data::catalog::find_by_id;
use crate::data::namespace::Ns;
use crate::data::op::OpCx;
use crate::data::write;
use crate::query::plan::hashes;
use crate::service::cluster_parameters;
use crate::service::command::Command;
use crate::service::shared::Shared;

/// The `_id` of the document that holds them all.
pub const NAME: &str = "querySettings";

#[derive(Default)]
pub struct QuerySettings {
    any: AtomicBool,
    all: RwLock<Arc<Vec<Setting>>>,
}

/// The settings of one shape.
#[derive(Clone)]
pub struct Setting {
    pub hash: String,
    pub settings: DocBuf,
    /// The query they were given with.
    pub query: DocBuf,
}

impl Setting {
    fn from_doc(doc: Doc<'_>) -> Setting {
        let part = |name: &str| doc.get(name).as_doc().map(DocBuf::from).unwrap_or_default();
        Setting { hash: doc.get("queryShapeHash").as_str().unwrap_or_default().to_owned(), settings: part("settings"), query: part("representativeQuery") }
    }

    /// As it is stored, and `$querySettings` shows it.
    pub fn write(&self, w: &mut DocWriter<'_>, debug_shape: bool) {
        w.append("queryShapeHash", &*self.hash).append("settings", self.settings.as_doc()).append("representativeQuery", self.query.as_doc());
        if debug_shape {
            shape(self.query.as_doc(), &mut w.document("debugQueryShape"));
        }
    }
}

/// The hash of a query's shape: a find, distinct or aggregate with its `$db`.
pub fn hash(query: Doc<'_>) -> Result<String> {
    let collation = match query.get("collation") {
        Value::Document(spec) if !spec.is_empty() => Collation::parse(spec)?,
        _ => None,
    };
    Ok(hashes::query_shape(query, query.get("$db").as_str().unwrap_or_default(), collation.as_ref()))
}

impl QuerySettings {
    /// Reads what was set before the database was opened.
    pub fn load(shared: &Arc<Shared>) -> Result<()> {
        let Some(coll) = shared.catalog.get(&cluster_parameters::home()) else { return Ok(()) };
        let mut op = shared.op();
        if let Some((_, doc)) = find_by_id(&mut op, &coll, Value::String(NAME))? {
            let list = doc.get("settingsArray").as_array();
            let all = list.into_iter().flat_map(|a| a.iter().filter_map(|v| v.as_doc()).map(Setting::from_doc)).collect();
            shared.query_settings.take(all);
        }
        Ok(())
    }

    fn take(&self, all: Vec<Setting>) {
        self.any.store(!all.is_empty(), Ordering::Release);
        *self.all.write() = Arc::new(all);
    }

    pub fn all(&self) -> Arc<Vec<Setting>> {
        self.all.read().clone()
    }

    pub fn get(&self, hash: &str) -> Option<Setting> {
        self.all.read().iter().find(|s| s.hash == hash).cloned()
    }

    /// Changes them, where they are stored and then in memory.
    pub fn change(shared: &Shared, op: &mut OpCx, change: impl FnOnce(&mut Vec<Setting>)) -> Result<()> {
        let _alone = shared.alone_in_settings(op)?;
        let mut all = shared.query_settings.all().to_vec();
        change(&mut all);
        let document = DocBuf::build(|w| {
            w.append("_id", NAME).append("clusterParameterTime", shared.clock.take_stamp());
            let mut list = w.array("settingsArray");
            all.iter().for_each(|setting| setting.write(&mut list.document(), false));
        });
        write::put(op, &cluster_parameters::home(), document.as_doc())?;
        shared.cluster_parameters.remember(NAME, document);
        shared.query_settings.take(all);
        op.make_durable(true)
    }

    /// What is set for a command that is about to run; fails when it is rejected.
    pub fn of(&self, command: &Command, body: Doc<'_>) -> Result<Option<Setting>> {
        if !self.any.load(Ordering::Acquire) {
            return Ok(None);
        }
        let explained = command.name == "explain";
        let query = match body.get("explain") {
            Value::Document(inner) if explained => DocBuf::build(|w| {
                w.append_all(inner).append("$db", if inner.contains("$db") { Value::Missing } else { body.get("$db") });
            }),
            _ if matches!(command.name, "find" | "distinct" | "aggregate") => DocBuf::from(body),
            _ => return Ok(None),
        };
        // What is malformed is told by the command itself.
        let Some(setting) = hash(query.as_doc()).ok().and_then(|hash| self.get(&hash)) else { return Ok(None) };
        if setting.settings.get("reject").truthy() && !explained {
            bail!(QueryRejectedBySettings, "Query rejected by admin query settings");
        }
        Ok(Some(setting))
    }
}

/// The shape of a query, with kinds in the place of values.
fn shape(query: Doc<'_>, w: &mut DocWriter<'_>) {
    let command = query.first().map_or("", |e| e.name());
    let ns = Ns::unchecked(query.get("$db").as_str().unwrap_or_default(), query.get(command).as_str().unwrap_or_default());
    w.document("cmdNs").append("db", ns.db()).append("coll", ns.coll());
    w.append("command", command);
    for e in query.iter().skip(1).filter(|e| e.name() != "$db") {
        match (e.name(), e.value()) {
            ("filter" | "query", Value::Document(filter)) => shape_of_filter(filter, &mut w.document(e.name())),
            ("sort" | "key" | "collation" | "hint", value) => {
                w.append(e.name(), value);
            }
            (name, value) => {
                w.append(name, kinds(value).view());
            }
        }
    }
}

fn shape_of_filter(filter: Doc<'_>, w: &mut DocWriter<'_>) {
    for e in filter {
        match e.value() {
            _ if e.name().starts_with('$') => {
                w.append(e.name(), kinds(e.value()).view());
            }
            Value::Document(operators) if operators.first().is_some_and(|o| o.name().starts_with('$')) => {
                w.append(e.name(), kinds(e.value()).view());
            }
            value => {
                w.document(e.name()).append("$eq", kinds(value).view());
            }
        }
    }
}

/// A value with its constants replaced by their kind.
fn kinds(value: Value<'_>) -> ValueBuf {
    match value {
        Value::Document(d) => {
            let shaped = DocBuf::build(|w| {
                for e in d {
                    w.append(e.name(), kinds(e.value()).view());
                }
            });
            ValueBuf::new(Value::Document(shaped.as_doc()))
        }
        Value::Array(a) => ValueBuf::array(|w| {
            a.iter().for_each(|v| {
                w.push(kinds(v).view());
            });
        }),
        Value::String(s) if s.starts_with('$') => ValueBuf::new(value),
        v if v.is_number() => ValueBuf::new(Value::String("?number")),
        v => ValueBuf::new(Value::String(&format!("?{}", v.type_name()))),
    }
}
