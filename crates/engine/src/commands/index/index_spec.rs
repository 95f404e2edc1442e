//! Index specifications: checking what createIndexes is given and what is there already.

use smongo_bson::compare::compare_docs;
use smongo_bson::{Doc, DocBuf, Result, Value, bail, err, number};
use smongo_mql::{CompileCx, Matcher};

mod kinds;
mod text;

use kinds::Plugin;

use crate::commands::definition::create::collation;
use crate::data::catalog::Collection;
use crate::data::limits;

/// Options an index may have, beside `v`, `key` and `name`.
const OPTIONS: &[&str] = &[
    "2dsphereIndexVersion", "background", "bits", "bucketSize", "clustered", "collation", "coarsestIndexedLevel", "default_language", "dropDups",
    "expireAfterSeconds", "finestIndexedLevel", "hidden", "key", "language_override", "max", "min", "name", "ns", "partialFilterExpression",
    "prepareUnique", "sparse", "storageEngine", "textIndexVersion", "unique", "v", "weights", "wildcardProjection",
];

/// A specification without the options that no index has.
pub fn known_options(spec: Doc<'_>) -> DocBuf {
    DocBuf::build(|w| {
        for e in spec.iter().filter(|e| OPTIONS.contains(&e.name())) {
            w.append_element(&e);
        }
    })
}

/// The specification as it is stored: checked, in MongoDB's order, defaults filled in.
pub fn normalise(spec: Doc<'_>, coll: Option<&Collection>, cx: &CompileCx) -> Result<DocBuf> {
    for e in spec {
        if !OPTIONS.contains(&e.name()) {
            bail!(InvalidIndexSpecificationOption, "The field '{}' is not valid for an index specification. Specification: {spec:?}", e.name());
        }
    }
    let key = match spec.get("key") {
        Value::Document(d) => d,
        Value::Missing => bail!(FailedToParse, "The 'key' field is a required property of an index specification"),
        v => bail!(TypeMismatch, "The field 'key' must be an object, but got {}", v.type_name()),
    };
    check_key(key)?;
    if key.len() == 1 && key.contains("_id") && number::to_f64(key.get("_id")).is_some_and(|n| n != 1.0) {
        bail!(BadValue, "The field 'key' for an _id index must be {{_id: 1}}, but got {key:?}");
    }
    let name = match spec.get("name") {
        Value::String("") => bail!(CannotCreateIndex, "Index name cannot be empty"),
        Value::String(s) if s.contains('\0') => bail!(CannotCreateIndex, "Index name cannot contain NUL bytes"),
        Value::String("*") => bail!(BadValue, "The index name '*' is not valid."),
        Value::String(s) => s,
        Value::Missing => bail!(FailedToParse, "The 'name' field is a required property of an index specification"),
        v => bail!(TypeMismatch, "The field 'name' must be a string, but got {}", v.type_name()),
    };
    let version = match spec.get("v") {
        Value::Missing => 2,
        v => match number::to_i64_exact(v) {
            Some(n @ (1 | 2)) => n as i32,
            _ => bail!(CannotCreateIndex, "Invalid index specification {spec:?}; cannot create an index with v={v:?}"),
        },
    };
    let id = key.len() == 1 && key.contains("_id") && number::to_f64(key.get("_id")) == Some(1.0);
    if name == "_id_" && !id {
        bail!(BadValue, "The index name '_id_' is reserved for the _id index, which must have key pattern {{_id: 1}}, found {key:?}");
    }
    let asked = match spec.get("collation") {
        Value::Missing => None,
        Value::Document(d) if d.is_empty() => bail!(BadValue, "The field 'collation' cannot be an empty object"),
        Value::Document(d) => Some(d),
        v => bail!(TypeMismatch, "The field 'collation' must be an object, but got {}", v.type_name()),
    };
    let collation = match (collation(asked)?, coll) {
        (Some(c), _) => Some(c),
        (None, Some(coll)) if !spec.contains("collation") => coll.collation.as_ref().map(|c| c.spec.clone()),
        _ => None,
    };
    kinds::check(spec, key, version)?;
    let text = text::normalise(spec, key)?;
    check_options(spec, key, id, cx)?;
    if collation.is_some() && key.iter().any(|e| matches!(e.value(), Value::String("text" | "2d"))) {
        bail!(CannotCreateIndex, "Index type of {key:?} does not support collation: {:?}", collation.unwrap_or_default());
    }
    let key = text.as_ref().map_or(key, |t| t.key.as_doc());
    let sphere = key.iter().any(|e| e.value().as_str() == Some("2dsphere"));
    Ok(DocBuf::build(|w| {
        w.append("v", version).append("key", key).append("name", if id { "_id_" } else { name });
        for flag in ["unique", "sparse", "hidden", "prepareUnique", "background"] {
            if flag == "background" {
                w.append(flag, spec.get(flag));
            } else if spec.get(flag).truthy() && !(id && flag == "unique") {
                w.append(flag, true);
            }
        }
        let of_kind = ["bits", "wildcardProjection"];
        if let Some(seconds) = number::to_i64_saturating(spec.get("expireAfterSeconds")) {
            w.append("expireAfterSeconds", seconds as i32);
        }
        for option in ["partialFilterExpression", "storageEngine"].into_iter().chain(of_kind) {
            w.append(option, spec.get(option));
        }
        for option in ["min", "max"] {
            if let Some(n) = number::to_f64(spec.get(option)) {
                w.append(option, n);
            }
        }
        if let Some(c) = &collation {
            w.append("collation", c.as_doc());
        }
        if sphere {
            w.append("2dsphereIndexVersion", 3);
        }
        if let Some(text) = &text {
            w.append_all(text.options.as_doc());
        }
    }))
}

fn check_key(key: Doc<'_>) -> Result<()> {
    if key.is_empty() {
        bail!(CannotCreateIndex, "Index keys cannot be an empty object");
    }
    if key.len() > limits::INDEX_FIELDS {
        bail!(13103, "Index key pattern has too many fields, at most {} are allowed", limits::INDEX_FIELDS);
    }
    for e in key {
        let plugin = kinds::plugin(e)?;
        check_path(e.name(), plugin)?;
    }
    Ok(())
}

fn check_path(path: &str, plugin: Plugin) -> Result<()> {
    if path.is_empty() || path.split('.').any(str::is_empty) {
        bail!(CannotCreateIndex, "Index keys cannot contain an empty field: '{path}'");
    }
    // All fields: of the document in an index of texts, also of one of its fields in a wildcard index.
    let all = |part: &str| part == "$**" && (plugin != Plugin::Text || path == "$**");
    // A reference is a field's value, so its parts are not the first.
    let reference = |n: usize, part: &str| n > 0 && matches!(part, "$id" | "$db" | "$ref");
    if let Some((_, part)) = path.split('.').enumerate().find(|(n, part)| part.starts_with('$') && !reference(*n, part) && !all(part)) {
        bail!(CannotCreateIndex, "Index key contains an illegal field name: field name starts with '$': '{part}'");
    }
    Ok(())
}

/// What the specification of the index on `_id` may say; nobody minds `background`.
const ID_INDEX_FIELDS: &[&str] = &["key", "name", "v", "ns", "collation", "background"];

fn check_options(spec: Doc<'_>, key: Doc<'_>, id: bool, cx: &CompileCx) -> Result<()> {
    match spec.get("hidden") {
        Value::Missing | Value::Bool(_) => {}
        v => bail!(TypeMismatch, "The field 'hidden' must be a bool, but got {}", v.type_name()),
    }
    for flag in ["unique", "sparse", "background", "prepareUnique"] {
        match spec.get(flag) {
            Value::Missing | Value::Bool(_) => {}
            v if v.is_number() => {}
            v => bail!(TypeMismatch, "The field '{flag}' has value {flag}: {v:?}, which is not convertible to bool"),
        }
    }
    for unsupported in ["clustered", "bucketSize"] {
        if spec.contains(unsupported) {
            bail!(NotImplemented, "the index option '{unsupported}' is not implemented");
        }
    }
    if id && let Some(e) = spec.iter().find(|e| !ID_INDEX_FIELDS.contains(&e.name())) {
        bail!(InvalidIndexSpecificationOption, "The field '{}' is not valid for an _id index specification. Specification: {spec:?}", e.name());
    }
    match spec.get("expireAfterSeconds") {
        Value::Missing => {}
        v if !v.is_number() => bail!(CannotCreateIndex, "TTL index 'expireAfterSeconds' option must be numeric, but received a type of '{}'. Index spec: {spec:?}", v.type_name()),
        v if number::to_f64(v).is_some_and(|n| n.is_nan() || n < 0.0 || n > f64::from(i32::MAX)) => {
            bail!(CannotCreateIndex, "TTL index 'expireAfterSeconds' option must be within an acceptable range, try a different number. Index spec: {spec:?}")
        }
        _ if key.len() != 1 => bail!(CannotCreateIndex, "TTL indexes are single-field indexes, compound indexes do not support TTL. Index spec: {spec:?}"),
        _ => {}
    }
    match spec.get("partialFilterExpression") {
        Value::Missing => Ok(()),
        Value::Document(_) if spec.get("sparse").truthy() => {
            bail!(CannotCreateIndex, "cannot mix \"partialFilterExpression\" and \"sparse\" options")
        }
        Value::Document(filter) => {
            let compiled = Matcher::compile(filter, &CompileCx { now: cx.now, cluster_time: cx.cluster_time, ..CompileCx::default() })?;
            compiled.own().iter().try_for_each(partial_filter)
        }
        v => bail!(TypeMismatch, "The field 'partialFilterExpression' must be an object, but got {}", v.type_name()),
    }
}

/// What a partial index's filter may consist of.
fn partial_filter(node: &smongo_mql::matcher::Node) -> Result<()> {
    use smongo_mql::matcher::Node;
    match node {
        Node::And(children) | Node::Or(children) => children.iter().try_for_each(partial_filter),
        Node::Compare { .. } | Node::In { .. } | Node::Exists { .. } | Node::Type { .. } | Node::Field { .. } => Ok(()),
        Node::Text(_) => Err(err!(BadValue, "$text is not allowed in a partial index")),
        Node::Expr(_) => Err(err!(QueryFeatureNotAllowed, "$expr is not allowed in this context")),
        _ => Err(err!(CannotCreateIndex, "Expression not supported in partial index")),
    }
}

/// Whether an index of this specification is there already. Fails when one of the same name or key differs.
pub fn conflict(coll: &Collection, spec: Doc<'_>) -> Result<bool> {
    let same = |a: Value<'_>, b: Value<'_>| smongo_bson::compare::equal(a, b);
    let key = spec.get("key").as_doc().unwrap_or(Doc::EMPTY);
    let name = spec.get("name").as_str().unwrap_or_default();
    for index in &coll.indexes {
        let text = |d: Doc<'_>| d.contains("textIndexVersion");
        if text(index.spec.as_doc()) && text(spec) {
            let fields = ["name", "key", "weights", "default_language", "language_override", "partialFilterExpression"];
            if fields.iter().all(|f| same(index.spec.get(f), spec.get(f))) {
                return Ok(true);
            }
            bail!(IndexOptionsConflict, "only one text index per collection allowed, found existing text index \"{}\"", index.name);
        }
        let same_key = compare_docs(index.key(), key, None).is_eq();
        // Indexes that differ in any of these may stand beside each other on the same fields.
        let signature = ["collation", "unique", "sparse", "wildcardProjection"].iter().all(|f| same(index.spec.get(f), spec.get(f)))
            && same_filter(index.partial.as_ref(), spec.get("partialFilterExpression"))?;
        let options = ["expireAfterSeconds", "hidden"].iter().all(|f| same(index.spec.get(f), spec.get(f)));
        if index.name == name {
            if same_key && (index.is_id() || signature && options) {
                return Ok(true);
            }
            if same_key && signature {
                bail!(IndexOptionsConflict, "An equivalent index already exists with the same name but different options. Requested index: {spec:?}, existing index: {:?}", index.spec);
            }
            bail!(IndexKeySpecsConflict, "An existing index has the same name as the requested index. When index names are not specified, they are auto generated and can cause conflicts. Please refer to our documentation. Requested index: {spec:?}, existing index: {:?}", index.spec);
        }
        if same_key && signature {
            if options {
                bail!(IndexOptionsConflict, "Index already exists with a different name: {}", index.name);
            }
            bail!(IndexOptionsConflict, "An equivalent index already exists with a different name and options. Requested index: {spec:?}, existing index: {:?}", index.spec);
        }
    }
    Ok(false)
}

/// Whether filters of partial indexes are the same but for the order of their conditions.
fn same_filter(known: Option<&Matcher>, wanted: Value<'_>) -> Result<bool> {
    Ok(match (known, wanted) {
        (None, Value::Missing) => true,
        (Some(known), Value::Document(filter)) => {
            let wanted = Matcher::compile(filter, &CompileCx { collation: known.collation.clone(), ..CompileCx::default() })?;
            crate::query::plan::normal_form(known).as_bytes() == crate::query::plan::normal_form(&wanted).as_bytes()
        }
        _ => false,
    })
}

/// Whether two specifications of one command are in each other's way: the same name, or the same key and kind.
pub fn check_batch(specs: &[DocBuf]) -> Result<()> {
    for (n, spec) in specs.iter().enumerate() {
        for earlier in specs.iter().take(n).filter(|e| e.as_bytes() != spec.as_bytes()) {
            let same = |f: &str| smongo_bson::compare::equal(earlier.get(f), spec.get(f));
            if same("name") {
                bail!(IndexKeySpecsConflict, "Identical index name '{}' for different indexes: {spec:?}, {earlier:?}", spec.get("name").as_str().unwrap_or_default());
            }
            if ["key", "collation", "unique", "sparse", "wildcardProjection", "partialFilterExpression"].iter().all(|f| same(f)) {
                bail!(IndexOptionsConflict, "Index already exists with a different name: {}", earlier.get("name").as_str().unwrap_or_default());
            }
        }
    }
    Ok(())
}
