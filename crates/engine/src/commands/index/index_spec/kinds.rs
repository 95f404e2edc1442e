//! What the kinds of index allow: wildcard, geospatial, hashed.

use smongo_bson::{Doc, Element, Result, Value, bail, number};
use smongo_mql::matcher::Grid;

use crate::data::catalog::wildcard_scope;

/// The kind an element of a key pattern names.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Plugin {
    Plain,
    Hashed,
    Flat,
    Sphere,
    Text,
}

fn is_wildcard_name(name: &str) -> bool {
    name.split('.').any(|p| p == "$**")
}

/// The kind of one field; refuses what no kind is.
pub fn plugin(e: Element<'_>) -> Result<Plugin> {
    let wildcard = is_wildcard_name(e.name());
    match e.value() {
        Value::String("text") => Ok(Plugin::Text),
        Value::String(kind) if wildcard => bail!(CannotCreateIndex, "The key of a wildcard index must be a number, not '{kind}'"),
        Value::String("hashed") => Ok(Plugin::Hashed),
        Value::String("2d") => Ok(Plugin::Flat),
        Value::String("2dsphere") => Ok(Plugin::Sphere),
        Value::String("wildcard") => bail!(7246202, "The key '{}' cannot be of type 'wildcard': wildcard indexes are made by '$**'", e.name()),
        Value::String(kind) => bail!(CannotCreateIndex, "Unknown index plugin '{kind}'"),
        v if v.is_number() => match number::to_f64(v) {
            Some(0.0) => bail!(CannotCreateIndex, "Values in the index key pattern cannot be 0."),
            Some(n) if n.is_nan() => bail!(CannotCreateIndex, "Values in the index key pattern cannot be NaN."),
            _ => Ok(Plugin::Plain),
        },
        v => bail!(CannotCreateIndex, "Values in v:2 index key pattern cannot be of type {}. Only numbers > 0, numbers < 0, and strings are allowed.", v.type_name()),
    }
}

/// Which kinds go together, and which options with them.
pub fn check(spec: Doc<'_>, key: Doc<'_>, version: i32) -> Result<()> {
    let plugins = key.iter().map(plugin).collect::<Result<Vec<_>>>()?;
    let count = |wanted: Plugin| plugins.iter().filter(|p| **p == wanted).count();
    let (hashed, flat, sphere, text) = (count(Plugin::Hashed), count(Plugin::Flat), count(Plugin::Sphere), count(Plugin::Text));
    if [hashed, flat, sphere, text].iter().filter(|n| **n > 0).count() > 1 {
        bail!(CannotCreateIndex, "Can't use more than one index plugin for a single index.");
    }
    if hashed > 1 {
        bail!(31303, "A maximum of one index field is allowed to be hashed but found {hashed} for 'key' {key:?}");
    }
    let unique = spec.get("unique").truthy() || spec.get("prepareUnique").truthy();
    if hashed > 0 && unique {
        bail!(16764, "Currently hashed indexes cannot guarantee uniqueness. Use a regular index.");
    }
    geo(spec, &plugins, flat, sphere)?;
    if text == 0 {
        wildcard(spec, key, &plugins, version)?;
    }
    Ok(())
}

fn geo(spec: Doc<'_>, plugins: &[Plugin], flat: usize, sphere: usize) -> Result<()> {
    if flat > 1 {
        bail!(16800, "can't have 2 geo fields");
    }
    if flat > 0 && plugins.first() != Some(&Plugin::Flat) {
        bail!(16801, "2d has to be first in index");
    }
    if flat > 0 {
        Grid::new(spec)?;
    }
    for option in ["bits", "min", "max"] {
        let v = spec.get(option);
        if !v.is_missing() && !v.is_number() {
            bail!(TypeMismatch, "The field '{option}' must be a number, but got {}", v.type_name());
        }
    }
    match spec.get("2dsphereIndexVersion") {
        Value::Missing => Ok(()),
        v if !v.is_number() => bail!(TypeMismatch, "The field '2dsphereIndexVersion' must be a number, but got {}", v.type_name()),
        Value::Decimal(_) => bail!(CannotCreateIndex, "unsupported geo index version, only support versions: [1, 2, 3]"),
        v => match number::to_f64(v) {
            Some(n) if sphere == 0 || [1.0, 2.0, 3.0].contains(&n) => Ok(()),
            _ => bail!(CannotCreateIndex, "unsupported geo index version, only support versions: [1, 2, 3]"),
        },
    }
}

fn wildcard(spec: Doc<'_>, key: Doc<'_>, plugins: &[Plugin], version: i32) -> Result<()> {
    let projection = spec.get("wildcardProjection");
    if !matches!(projection, Value::Missing | Value::Document(_)) {
        bail!(TypeMismatch, "The field 'wildcardProjection' must be a non-empty object, but got {}", projection.type_name());
    }
    let wild: Vec<&str> = key.iter().map(|e| e.name()).filter(|n| is_wildcard_name(n)).collect();
    let [field] = wild[..] else {
        if wild.len() > 1 {
            bail!(7246201, "wildcard indexes do not allow more than one wildcard field: {key:?}");
        }
        if !projection.is_missing() {
            bail!(BadValue, "The field 'wildcardProjection' is only allowed in an 'wildcard' index");
        }
        return Ok(());
    };
    if field.split('.').filter(|p| *p == "$**").count() > 1 || !field.ends_with("$**") {
        bail!(CannotCreateIndex, "Index key contains an illegal field name: '$**' must be the last component: '{field}'");
    }
    for option in ["unique", "prepareUnique", "sparse"] {
        if spec.get(option).truthy() {
            bail!(CannotCreateIndex, "Index type 'wildcard' does not support the {option} option");
        }
    }
    if spec.contains("expireAfterSeconds") {
        bail!(CannotCreateIndex, "Index type 'wildcard' cannot be a TTL index");
    }
    if version < 2 {
        bail!(CannotCreateIndex, "Index type 'wildcard' is not allowed with v: {version}");
    }
    if plugins.iter().any(|p| *p != Plugin::Plain) {
        bail!(CannotCreateIndex, "Index type 'wildcard' cannot be used with other index types in one index");
    }
    if let Value::Document(d) = projection {
        if d.is_empty() {
            bail!(FailedToParse, "The 'wildcardProjection' field can't be an empty object");
        }
        if field != "$**" {
            bail!(FailedToParse, "The field 'wildcardProjection' is only allowed when 'key' is {{\"$**\": ±1}}");
        }
    }
    let scope = wildcard_scope(spec, field)?;
    for e in key.iter().filter(|e| e.name() != field) {
        if !scope.touches(e.name()) {
            continue;
        }
        if projection.is_missing() && field == "$**" {
            bail!(CannotCreateIndex, "Compound wildcard indexes on all fields must have a wildcardProjection that excludes '{}'", e.name());
        }
        bail!(7246209, "wildcardProjection of a compound wildcard index must exclude all of its regular fields, and does not '{}'", e.name());
    }
    Ok(())
}
