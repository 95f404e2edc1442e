//! `logComponentVerbosity`: how much each part of the server logs. A part inherits what is said of the one it belongs to, and that of all.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, Ordering};

use parking_lot::Mutex;
use smongo_bson::{Doc, DocWriter, Result, Value, bail, number};

/// The parts MongoDB names, those inside of others behind them.
const COMPONENTS: &[&str] = &[
    "accessControl", "command", "control", "executor", "ftdc", "geo", "index", "network", "network.asio", "network.bridge", "network.connectionPool",
    "processHealth", "query", "query.rejected", "replication", "replication.election", "replication.heartbeats", "replication.initialSync",
    "replication.rollback", "sharding", "storage", "storage.journal", "storage.recovery", "storage.wt", "tenantMigration", "test", "transaction", "write",
];

/// What inherits.
const INHERITS: i64 = -1;

pub struct Components {
    levels: Mutex<BTreeMap<&'static str, i64>>,
    /// Of `command`, which is asked for with every command.
    commands: AtomicI64,
}

impl Default for Components {
    fn default() -> Components {
        Components { levels: Mutex::default(), commands: INHERITS.into() }
    }
}

impl Components {
    /// The level of commands, where it is not that of everything.
    pub fn of_commands(&self) -> Option<i64> {
        Some(self.commands.load(Ordering::Relaxed)).filter(|level| *level >= 0)
    }

    pub fn show(&self, whole: i64, w: &mut DocWriter<'_>) {
        let levels = self.levels.lock();
        let level = |name: &str| levels.get(name).copied().unwrap_or(INHERITS) as i32;
        w.append("verbosity", whole as i32);
        for name in COMPONENTS.iter().filter(|name| !name.contains('.')) {
            let mut part = w.document(name);
            part.append("verbosity", level(name));
            for (inner, last) in COMPONENTS.iter().filter_map(|inner| Some((inner, inner.strip_prefix(name)?.strip_prefix('.')?))) {
                part.document(last).append("verbosity", level(inner));
            }
        }
    }

    /// Sets all levels that a value names, or none; that of everything comes back.
    pub fn set(&self, value: Value<'_>) -> Result<Option<i64>> {
        let Value::Document(value) = value else { bail!(TypeMismatch, "log component verbosity is not a BSON object, but {}", value.type_name()) };
        let mut wanted = Vec::new();
        let mut whole = None;
        for e in value {
            match e.name() {
                "verbosity" => whole = Some(level("verbosity", e.value())?.max(0)),
                name => collect(name, e.value(), &mut wanted)?,
            }
        }
        let mut levels = self.levels.lock();
        levels.extend(wanted);
        self.commands.store(levels.get("command").copied().unwrap_or(INHERITS), Ordering::Relaxed);
        Ok(whole)
    }
}

fn level(name: &str, value: Value<'_>) -> Result<i64> {
    if !value.is_number() {
        bail!(BadValue, "Expected {name} to be a number, but found {}", value.type_name());
    }
    match number::to_i64_exact(value) {
        Some(level @ INHERITS..=5) => Ok(level),
        _ => bail!(BadValue, "{name} is not a verbosity from -1 to 5"),
    }
}

fn collect(name: &str, value: Value<'_>, wanted: &mut Vec<(&'static str, i64)>) -> Result<()> {
    let Some(known) = COMPONENTS.iter().find(|known| **known == name) else { bail!(BadValue, "Invalid component name {name}") };
    let Value::Document(parts) = value else {
        wanted.push((known, level(name, value)?));
        return Ok(());
    };
    for e in Doc::iter(parts) {
        match e.name() {
            "verbosity" => wanted.push((known, level(name, e.value())?)),
            inner => collect(&format!("{name}.{inner}"), e.value(), wanted)?,
        }
    }
    Ok(())
}
