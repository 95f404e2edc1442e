//! validateDBMetadata: what of the catalog is not in the Stable API.

use smongo_bson::{Code, DocWriter, Result, bail};
use smongo_mql::pipeline::stage_array;

use crate::commands::rules;
use crate::commands::crud::aggregate::{check_strict, required_bool};
use crate::data::catalog::Collection;
use crate::data::limits;
use crate::service::command::{Access, Args, Command, Cx};

pub const VALIDATE_DB_METADATA: Command = Command::new("validateDBMetadata", validate_db_metadata, 0, Access::Computed(rules::validate_metadata));

fn validate_db_metadata(cx: &mut Cx<'_>, args: &mut Args<'_>, reply: &mut DocWriter<'_>) -> Result<()> {
    let Some(api) = args.doc("apiParameters")? else { return Err(args.missing("apiParameters")) };
    let mut nested = Args::nested("validateDBMetadata.apiParameters", api);
    let Some(version) = nested.str("version")? else { return Err(nested.missing("version")) };
    let strict = required_bool(&mut nested, "strict")?.unwrap_or(false);
    required_bool(&mut nested, "deprecationErrors")?;
    nested.finish()?;
    let (db, coll) = (args.str("db")?, args.str("collection")?);
    args.finish()?;
    db.map_or(Ok(()), check_db)?;
    if let Some(name) = coll.filter(|name| name.is_empty() || name.starts_with('.') || name.contains('\0')) {
        bail!(InvalidNamespace, "Invalid collection name: '{name}'");
    }
    let mut errors = reply.array("apiVersionErrors");
    // Nothing in the catalog is deprecated, and there is one version.
    if version != "1" || !strict {
        return Ok(());
    }
    let wanted = |c: &&std::sync::Arc<Collection>| db.is_none_or(|db| c.ns.db() == db) && coll.is_none_or(|name| c.ns.coll() == name);
    for coll in cx.shared.catalog.all().iter().filter(wanted) {
        let mut report = |message: &str| {
            let mut w = errors.document();
            w.append("ns", coll.ns.as_str()).append("code", Code::APIStrictError.0).append("codeName", "APIStrictError").append("errmsg", message);
        };
        for index in &coll.indexes {
            if index.sparse || index.key().iter().any(|e| e.value().as_str() == Some("text")) {
                report(&format!("The index with name {} is not allowed in API version 1.", index.name));
            }
        }
        if let Some(view) = coll.view()
            && let Some(stages) = stage_array(&view.pipeline).as_array()
            && let Err(e) = check_strict(stages)
        {
            report(e.message());
        }
    }
    Ok(())
}

fn check_db(db: &str) -> Result<()> {
    match db {
        "" => bail!(28539, "'db' cannot be empty"),
        db if db.contains(['.', '\0']) || db.len() > limits::DATABASE_NAME_BYTES => bail!(InvalidNamespace, "Invalid database name: '{db}'"),
        db if db.contains([' ', '/', '\\', '"']) => bail!(13280, "Invalid database name: '{db}'"),
        _ => Ok(()),
    }
}
