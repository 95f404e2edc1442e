//! The table of privileges as code: the actions and the built-in roles.

use std::fmt::Write as _;
use std::path::PathBuf;

use serde_json::Value;

use crate::root;

const TABLE: &str = "crates/engine/src/service/auth/privileges.json";

/// Writes the files anew.
pub fn write() -> Result<(), String> {
    for (path, text) in files()? {
        std::fs::write(&path, text).map_err(|e| format!("{}: {e}", path.display()))?;
    }
    Ok(())
}

/// Fails where a file is not what the table makes of it.
pub fn check() -> Result<(), String> {
    for (path, text) in files()? {
        if std::fs::read_to_string(&path).is_ok_and(|found| found == text) {
            continue;
        }
        return Err(format!("{} is not what {TABLE} says: cargo xtask access", path.display()));
    }
    Ok(())
}

fn files() -> Result<[(PathBuf, String); 2], String> {
    let text = std::fs::read_to_string(root().join(TABLE)).map_err(|e| format!("{TABLE}: {e}"))?;
    let table: Value = serde_json::from_str(&text).map_err(|e| format!("{TABLE}: {e}"))?;
    let actions = object(&table, "actions")?;
    let roles = object(&table, "roles")?;
    Ok([
        (root().join("crates/mql/src/access/actions.rs"), actions_file(actions)),
        (root().join("crates/engine/src/service/auth/builtin.rs"), roles_file(roles)?),
    ])
}

type Object = serde_json::Map<String, Value>;

fn object<'v>(value: &'v Value, name: &str) -> Result<&'v Object, String> {
    value[name].as_object().ok_or_else(|| format!("{TABLE}: no object `{name}`"))
}

fn strings(value: &Value) -> impl Iterator<Item = &str> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str)
}

/// `listCollections` as `ListCollections`.
fn variant(action: &str) -> String {
    let mut chars = action.chars();
    chars.next().map(|first| first.to_ascii_uppercase()).into_iter().chain(chars).collect()
}

/// Items of a list, some to a line.
fn lines(items: impl Iterator<Item = String>, indent: &str) -> String {
    let mut text = String::new();
    let mut length = usize::MAX;
    for item in items {
        if length.saturating_add(item.len()) > 150 {
            let _ = write!(text, "\n{indent}");
            length = 0;
        } else {
            text.push(' ');
        }
        length += item.len() + 2;
        let _ = write!(text, "{item},");
    }
    text
}

fn actions_file(actions: &Object) -> String {
    let mut names: Vec<&str> = actions.keys().map(String::as_str).collect();
    names.sort_unstable();
    let variants = lines(names.iter().map(|name| variant(name)), "    ");
    let quoted = lines(names.iter().map(|name| format!("{name:?}")), "    ");
    format!(
        "//! Written by `cargo xtask access`: what privileges allow.\n\n\
         /// The actions of MongoDB's manual, *Privilege Actions*.\n\
         #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]\n#[repr(u8)]\npub enum Action {{{variants}\n}}\n\n\
         /// The names of all, sorted, in the order of the variants.\npub const NAMES: [&str; {}] = [{quoted}\n];\n\n\
         /// All, in the order of their names.\npub const ALL: [Action; {}] = [{}\n];\n",
        names.len(),
        names.len(),
        lines(names.iter().map(|name| format!("Action::{}", variant(name))), "    ")
    )
}

fn roles_file(roles: &Object) -> Result<String, String> {
    let mut sorted: Vec<(&String, &Value)> = roles.iter().collect();
    sorted.sort_by_key(|(name, _)| name.as_str());
    let mut text = String::from(
        "//! Written by `cargo xtask access`: the roles that are there from the start, and what they allow.\n\n\
         use smongo_mql::access::{Action, Actions};\n\n\
         use super::roles::{Builtin, Target};\n\n\
         /// Sorted by name.\npub static ROLES: &[Builtin] = &[\n",
    );
    for (name, role) in sorted {
        let of_admin = role["on"] == "admin";
        let inherits: Vec<String> = strings(&role["inherits"]).map(|name| format!("{name:?}")).collect();
        let _ = writeln!(text, "    Builtin {{\n        name: {name:?},\n        of_admin: {of_admin},\n        inherits: &[{}],\n        privileges: &[", inherits.join(", "));
        for privilege in role["privileges"].as_array().into_iter().flatten() {
            let actions = lines(strings(&privilege["actions"]).map(|name| format!("Action::{}", variant(name))), "                ");
            let _ = writeln!(text, "            ({}, Actions::of(&[{actions}\n            ])),", target(&privilege["resource"])?);
        }
        text.push_str("        ],\n    },\n");
    }
    text.push_str("];\n");
    Ok(text)
}

fn target(resource: &Value) -> Result<String, String> {
    let part = |name: &str| resource[name].as_str();
    match (resource["cluster"] == true, resource["anyResource"] == true, part("db"), part("collection")) {
        (true, ..) => Ok("Target::Cluster".into()),
        (_, true, ..) => Ok("Target::AnyResource".into()),
        (.., Some("$db"), Some(coll)) => Ok(format!("Target::Own({coll:?})")),
        (.., Some(db), Some(coll)) => Ok(format!("Target::Ns({db:?}, {coll:?})")),
        _ => Err(format!("{TABLE}: a resource that is none: {resource}")),
    }
}
