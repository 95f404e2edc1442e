//! createSearchIndexes, updateSearchIndex, dropSearchIndex, listSearchIndexes

use std::sync::Arc;

use smongo_bson::{Doc, DocBuf, DocWriter, ObjectId, Result, bail, err};
use smongo_mql::access::Action;
use smongo_mql::stream::Docs;
use smongo_search::definition::IndexType;

use crate::data::catalog::{Collection, SearchIndex};
use crate::data::clock::now_millis;
use crate::data::namespace::Ns;
use crate::query::exec;
use crate::service::command::{Access, Args, Command, Cx, WRITES};
use crate::service::cursors::{Batch, Parked};
use crate::service::host::search_off;

pub const CREATE: Command = Command::new("createSearchIndexes", create, WRITES, Access::Named(&[Action::CreateSearchIndexes]));
pub const UPDATE: Command = Command::new("updateSearchIndex", update, WRITES, Access::Named(&[Action::UpdateSearchIndex]));
pub const DROP: Command = Command::new("dropSearchIndex", drop_index, WRITES, Access::Named(&[Action::DropSearchIndex]));
pub const LIST: Command = Command::new("listSearchIndexes", list, 0, Access::Named(&[Action::ListSearchIndexes]));

/// The most search indexes that a collection may have.
const MOST: usize = 64;

fn namespace(cx: &Cx<'_>, args: &mut Args<'_>) -> Result<Ns> {
    if !cx.shared.parameters.searches() {
        return Err(search_off(""));
    }
    let ns = args.ns(&cx.db)?;
    if matches!(ns.db(), "local" | "config") || ns.coll().starts_with("system.") {
        bail!(InvalidNamespace, "Search indexes are not supported on {ns}");
    }
    Ok(ns)
}

/// What a command wants made.
struct Wanted<'a> {
    name: &'a str,
    kind: IndexType,
    definition: Doc<'a>,
}

fn wanted(spec: Doc<'_>) -> Result<Wanted<'_>> {
    let mut args = Args::nested("createSearchIndexes.indexes", spec);
    let (name, kind, definition) = (args.str("name")?, args.str("type")?, args.doc("definition")?);
    args.finish()?;
    let name = name.unwrap_or("default");
    if name.is_empty() {
        bail!(UnknownError, "\"name\" cannot be empty");
    }
    let kind = kind.unwrap_or("search");
    let Some(kind) = IndexType::parse(kind) else { bail!(UnknownError, "\"type\" must be one of [search, vectorSearch]") };
    let Some(definition) = definition else { return Err(args.missing("definition")) };
    Ok(Wanted { name, kind, definition })
}

fn create(cx: &mut Cx<'_>, args: &mut Args<'_>, reply: &mut DocWriter<'_>) -> Result<()> {
    let ns = namespace(cx, args)?;
    let Some(specs) = args.docs("indexes")? else { return Err(args.missing("indexes")) };
    args.finish()?;
    if specs.is_empty() {
        bail!(UnknownError, "\"indexes\" cannot be empty");
    }
    let wanted = specs.into_iter().map(wanted).collect::<Result<Vec<_>>>()?;
    let shared = cx.shared.clone();
    let made = shared.catalog.change_search_indexes(&mut cx.op, &ns, |coll| {
        if coll.timeseries.is_some() {
            bail!(NotImplemented, "search indexes on time-series collections are not implemented: {ns}");
        }
        let mut all = coll.search.clone();
        let made = wanted.iter().map(|wanted| add(&mut all, wanted)).collect::<Result<Vec<_>>>()?;
        if all.len() > MOST {
            bail!(CannotCreateIndex, "a collection may have at most {MOST} search indexes: {ns}");
        }
        Ok(((all.len() > coll.search.len()).then_some(all), made))
    })?;
    let mut created = reply.array("indexesCreated");
    for index in made {
        created.document().append("id", &*index.id).append("name", &*index.name);
    }
    Ok(())
}

/// One more index, or the one that is there already and no other.
fn add(all: &mut Vec<Arc<SearchIndex>>, wanted: &Wanted<'_>) -> Result<Arc<SearchIndex>> {
    if let Some(there) = all.iter().find(|index| index.name == wanted.name) {
        if there.kind == wanted.kind && there.definition.as_bytes() == wanted.definition.as_bytes() {
            return Ok(there.clone());
        }
        bail!(IndexAlreadyExists, "Index {} already exists with a different definition. Drop it first if needed.", wanted.name);
    }
    let id = ObjectId::generate().to_string();
    let index = Arc::new(SearchIndex::new(id, wanted.name, wanted.kind, wanted.definition, 0, now_millis())?);
    all.push(index.clone());
    Ok(index)
}

/// Which index a command is about: by name or by id.
struct Which<'a> {
    name: Option<&'a str>,
    id: Option<&'a str>,
}

impl<'a> Which<'a> {
    fn read(args: &mut Args<'a>) -> Result<Which<'a>> {
        let which = Which { name: args.str("name")?, id: args.str("id")? };
        match (which.name, which.id) {
            (Some(_), Some(_)) => bail!(UnknownError, "only one of [id, name] may be present"),
            _ => Ok(which),
        }
    }

    fn required(args: &mut Args<'a>) -> Result<Which<'a>> {
        match Which::read(args)? {
            Which { name: None, id: None } => bail!(UnknownError, "one of [id, name] must be present"),
            which => Ok(which),
        }
    }

    fn place(&self, coll: &Collection) -> Result<usize> {
        let is_it = |index: &Arc<SearchIndex>| self.name.is_none_or(|name| index.name == name) && self.id.is_none_or(|id| index.id == id);
        let found = coll.search.iter().position(is_it);
        found.ok_or_else(|| match (self.name, self.id) {
            (Some(name), _) => err!(IndexNotFound, "No index with name {name} exists in namespace {}", coll.ns),
            (_, id) => err!(IndexNotFound, "No index with id {} exists in namespace {}", id.unwrap_or_default(), coll.ns),
        })
    }
}

fn update(cx: &mut Cx<'_>, args: &mut Args<'_>, _reply: &mut DocWriter<'_>) -> Result<()> {
    let ns = namespace(cx, args)?;
    let which = Which::required(args)?;
    let Some(definition) = args.doc("definition")? else { return Err(args.missing("definition")) };
    args.finish()?;
    let shared = cx.shared.clone();
    shared.catalog.change_search_indexes(&mut cx.op, &ns, |coll| {
        let at = which.place(coll)?;
        let mut all = coll.search.clone();
        let old = &coll.search[at];
        all[at] = Arc::new(SearchIndex::new(old.id.clone(), &old.name, old.kind, definition, old.version.saturating_add(1), now_millis())?);
        Ok((Some(all), ()))
    })
}

fn drop_index(cx: &mut Cx<'_>, args: &mut Args<'_>, _reply: &mut DocWriter<'_>) -> Result<()> {
    let ns = namespace(cx, args)?;
    let which = Which::required(args)?;
    args.finish()?;
    let shared = cx.shared.clone();
    shared.catalog.change_search_indexes(&mut cx.op, &ns, |coll| {
        let at = which.place(coll)?;
        let mut all = coll.search.clone();
        all.remove(at);
        Ok((Some(all), ()))
    })
}

fn list(cx: &mut Cx<'_>, args: &mut Args<'_>, reply: &mut DocWriter<'_>) -> Result<()> {
    let ns = namespace(cx, args)?;
    let which = Which::read(args)?;
    args.finish()?;
    let spec = DocBuf::build(|w| {
        which.name.into_iter().for_each(|name| {
            w.append("name", name);
        });
        which.id.into_iter().for_each(|id| {
            w.append("id", id);
        });
    });
    let docs = exec::list_search_indexes(&mut cx.op, &ns, spec.as_doc())?;
    let clearance = cx.pass.clearance(&ns);
    let mut cursor = Parked::new(ns, Box::new(Docs::new(docs)), clearance);
    cursor.lsid = cx.lsid.clone();
    cx.shared.clone().cursors.first_batch(&mut cx.op, cursor, Batch { documents: None }, false, reply)
}

#[cfg(test)]
mod tests {
    use smongo_bson::json::parse_doc;

    use crate::Engine;
    use crate::data::options::Options;
    use crate::service::command::Client;

    /// Drivers find out by the error that there is no search.
    #[test]
    fn without_a_search_host_all_of_it_is_refused() {
        let options = Options { parameters: vec![("mongotHost".to_owned(), String::new())], ..Options::default() };
        let engine = Engine::open(options).unwrap_or_else(|e| unreachable!("{e}"));
        let mut session = engine.session(Client::owner());
        let mut code = |text: &str| session.run_command("d", &parse_doc(text).unwrap_or_default()).err().map(|e| e.code().0);
        assert_eq!(code(r#"{"insert": "t", "documents": [{}]}"#), None);
        for refused in [
            r#"{"createSearchIndexes": "t", "indexes": [{"definition": {"mappings": {"dynamic": true}}}]}"#,
            r#"{"updateSearchIndex": "t", "name": "x", "definition": {}}"#,
            r#"{"dropSearchIndex": "t", "name": "x"}"#,
            r#"{"listSearchIndexes": "t"}"#,
            r#"{"aggregate": "t", "pipeline": [{"$listSearchIndexes": {}}], "cursor": {}}"#,
            r#"{"aggregate": "t", "pipeline": [{"$search": {}}], "cursor": {}}"#,
            r#"{"aggregate": "t", "pipeline": [{"$vectorSearch": {}}], "cursor": {}}"#,
        ] {
            assert_eq!(code(refused), Some(31082), "{refused}");
        }
    }
}
