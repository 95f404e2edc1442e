//! Index specifications: checking what createIndexes is given and what is there already.

use smongo_bson::compare::compare_docs;
use smongo_bson::{Doc, DocBuf, Element, Result, Value, bail, err, number};
use smongo_mql::{CompileCx, Matcher};

use super::create::collation;
use crate::catalog::Collection;
use crate::limits;

/// Options an index may have, beside `v`, `key` and `name`.
const OPTIONS: &[&str] = &[
    "2dsphereIndexVersion", "background", "bits", "bucketSize", "clustered", "collation", "coarsestIndexedLevel", "default_language", "dropDups",
    "expireAfterSeconds", "finestIndexedLevel", "hidden", "key", "language_override", "max", "min", "name", "ns", "partialFilterExpression",
    "prepareUnique", "sparse", "storageEngine", "textIndexVersion", "unique", "v", "weights", "wildcardProjection",
];

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
    let asked = match spec.get("collation") {
        Value::Missing => None,
        Value::Document(d) => Some(d),
        v => bail!(TypeMismatch, "The field 'collation' must be an object, but got {}", v.type_name()),
    };
    let collation = match (collation(asked)?, coll) {
        (Some(c), _) => Some(c),
        (None, Some(coll)) if !spec.contains("collation") => coll.collation.as_ref().map(|c| c.spec.clone()),
        _ => None,
    };
    check_options(spec, key, id, cx)?;
    Ok(DocBuf::build(|w| {
        w.append("v", version).append("key", key).append("name", if id { "_id_" } else { name });
        for flag in ["unique", "sparse", "hidden", "background"] {
            if flag == "background" {
                w.append(flag, spec.get(flag));
            } else if spec.get(flag).truthy() && !(id && flag == "unique") {
                w.append(flag, true);
            }
        }
        for option in ["expireAfterSeconds", "partialFilterExpression", "storageEngine"] {
            w.append(option, spec.get(option));
        }
        if let Some(c) = &collation {
            w.append("collation", c.as_doc());
        }
    }))
}

fn check_key(key: Doc<'_>) -> Result<()> {
    if key.is_empty() {
        bail!(CannotCreateIndex, "Index keys cannot be an empty object");
    }
    if key.len() > limits::INDEX_FIELDS {
        bail!(CannotCreateIndex, "Index key pattern has too many fields, at most {} are allowed", limits::INDEX_FIELDS);
    }
    let mut hashed = 0;
    for e in key {
        check_path(e.name())?;
        check_direction(e)?;
        hashed += u32::from(e.value().as_str() == Some("hashed"));
    }
    if hashed > 1 {
        bail!(31303, "A maximum of one index field is allowed to be hashed but found {hashed} for 'key' {key:?}");
    }
    Ok(())
}

fn check_path(path: &str) -> Result<()> {
    if path.is_empty() || path.split('.').any(str::is_empty) {
        bail!(CannotCreateIndex, "Index keys cannot contain an empty field: '{path}'");
    }
    let reference = |part: &str| matches!(part, "$id" | "$db" | "$ref" | "$**");
    if let Some(part) = path.split('.').find(|p| p.starts_with('$') && !reference(p)) {
        bail!(CannotCreateIndex, "Index key contains an illegal field name: field name starts with '$': '{part}'");
    }
    Ok(())
}

fn check_direction(e: Element<'_>) -> Result<()> {
    if e.name().ends_with("$**") {
        bail!(NotImplemented, "wildcard indexes are not implemented");
    }
    match e.value() {
        Value::String("hashed") => Ok(()),
        Value::String(kind @ ("text" | "2d" | "2dsphere")) => bail!(NotImplemented, "indexes of type '{kind}' are not implemented"),
        Value::String(kind) => bail!(CannotCreateIndex, "Unknown index plugin '{kind}'"),
        v if v.is_number() => match number::to_f64(v) {
            Some(0.0) => bail!(CannotCreateIndex, "Values in the index key pattern cannot be 0."),
            Some(n) if n.is_nan() => bail!(CannotCreateIndex, "Values in the index key pattern cannot be NaN."),
            _ => Ok(()),
        },
        v => bail!(CannotCreateIndex, "Values in v:2 index key pattern cannot be of type {}. Only numbers > 0, numbers < 0, and strings are allowed.", v.type_name()),
    }
}

fn check_options(spec: Doc<'_>, key: Doc<'_>, id: bool, cx: &CompileCx) -> Result<()> {
    for flag in ["unique", "sparse", "background", "hidden"] {
        match spec.get(flag) {
            Value::Missing | Value::Bool(_) => {}
            v if v.is_number() => {}
            v => bail!(TypeMismatch, "The field '{flag}' has value {flag}: {v:?}, which is not convertible to bool"),
        }
    }
    for unsupported in ["wildcardProjection", "weights", "clustered", "prepareUnique", "bucketSize"] {
        if spec.contains(unsupported) {
            bail!(NotImplemented, "the index option '{unsupported}' is not implemented");
        }
    }
    if id && ["sparse", "hidden", "partialFilterExpression", "expireAfterSeconds"].iter().any(|o| spec.get(o).truthy()) {
        bail!(InvalidIndexSpecificationOption, "The field is not valid for an _id index specification. Specification: {spec:?}");
    }
    let hashed = key.iter().any(|e| e.value().as_str() == Some("hashed"));
    if hashed && spec.get("unique").truthy() {
        bail!(16764, "Currently hashed indexes cannot guarantee uniqueness. Use a regular index.");
    }
    match spec.get("expireAfterSeconds") {
        Value::Missing => {}
        v if !v.is_number() => bail!(TypeMismatch, "TTL index 'expireAfterSeconds' option must be numeric, but received a type of '{}'. Index spec: {spec:?}", v.type_name()),
        v if number::to_f64(v).is_some_and(|n| n < 0.0 || n > f64::from(i32::MAX)) => {
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
            let compiled = Matcher::compile(filter, &CompileCx { now: cx.now, ..CompileCx::default() })?;
            partial_filter(&compiled.root, 0)
        }
        v => bail!(TypeMismatch, "The field 'partialFilterExpression' must be an object, but got {}", v.type_name()),
    }
}

/// What a partial index's filter may consist of.
fn partial_filter(node: &smongo_mql::matcher::Node, depth: usize) -> Result<()> {
    use smongo_mql::matcher::Node;
    match node {
        Node::And(children) | Node::Or(children) => children.iter().try_for_each(|c| partial_filter(c, depth + 1)),
        Node::Compare { .. } | Node::In { .. } | Node::Exists { .. } | Node::Type { .. } => Ok(()),
        _ => Err(err!(CannotCreateIndex, "Expression not supported in partial index")),
    }
}

/// Whether an index of this specification is there already. Fails when one of the same name or key differs.
pub fn conflict(coll: &Collection, spec: Doc<'_>) -> Result<bool> {
    let same = |a: Value<'_>, b: Value<'_>| smongo_bson::compare::equal(a, b);
    let key = spec.get("key").as_doc().unwrap_or(Doc::EMPTY);
    let name = spec.get("name").as_str().unwrap_or_default();
    for index in &coll.indexes {
        let same_key = compare_docs(index.key(), key, None).is_eq();
        let signature = ["collation", "partialFilterExpression"].iter().all(|f| same(index.spec.get(f), spec.get(f)));
        let options = ["unique", "sparse", "expireAfterSeconds"].iter().all(|f| same(index.spec.get(f), spec.get(f)));
        if index.name == name {
            if same_key && signature && options {
                return Ok(true);
            }
            if index.is_id() && same_key {
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
