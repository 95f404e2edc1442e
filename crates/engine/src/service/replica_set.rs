//! What there is to know of the replica set this server is the only member of; its configuration is in `local.system.replset`.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use smongo_bson::{DocBuf, ObjectId, Result, Value, number};

use crate::data::catalog::{Collection, find_by_id};
use crate::data::namespace::Ns;
use crate::service::shared::Shared;

pub const CONFIG: &str = "system.replset";

/// Where the configuration is.
pub fn home() -> Ns {
    Ns::unchecked("local", CONFIG)
}

/// What a configuration says that nobody gave.
pub struct Facts {
    name: String,
    /// The address by which clients reach the server.
    host: String,
    /// The same as long as the database lives.
    id: ObjectId,
}

impl Facts {
    pub fn of(shared: &Shared, host: &str) -> Facts {
        let uuid = shared.catalog.get(&Ns::unchecked("admin", "system.version")).map(|coll| coll.uuid).unwrap_or_default();
        let mut id = [0; 12];
        id.copy_from_slice(&uuid.as_bytes()[..12]);
        let host = if host.is_empty() { shared.address.lock().clone() } else { host.to_owned() };
        Facts { name: shared.options.replica_set.clone(), host, id: ObjectId(id) }
    }
}

/// The configuration of a set of one member that nobody has configured.
pub fn default_config(facts: &Facts) -> DocBuf {
    DocBuf::build(|w| {
        w.append("_id", &*facts.name).append("version", 1).append("term", 1);
        {
            let mut members = w.array("members");
            let mut member = members.document();
            member.append("_id", 0).append("host", &*facts.host).append("arbiterOnly", false).append("buildIndexes", true);
            member.append("hidden", false).append("priority", 1.0);
            member.document("tags");
            member.append("secondaryDelaySecs", 0i64).append("votes", 1);
        }
        w.append("protocolVersion", 1i64).append("writeConcernMajorityJournalDefault", true);
        let mut settings = w.document("settings");
        settings.append("chainingAllowed", true).append("heartbeatIntervalMillis", 2000).append("heartbeatTimeoutSecs", 10);
        settings.append("electionTimeoutMillis", 10_000).append("catchUpTimeoutMillis", -1).append("catchUpTakeoverDelayMillis", 30_000);
        settings.document("getLastErrorModes");
        settings.document("getLastErrorDefaults").append("w", 1).append("wtimeout", 0);
        settings.append("replicaSetId", facts.id);
    })
}

/// The version of the configuration in force.
pub fn version(shared: &Shared) -> i32 {
    shared.config_version.load(Ordering::Relaxed)
}

pub fn set_version(shared: &Shared, version: i32) {
    shared.config_version.store(version, Ordering::Relaxed);
}

/// Reads what was configured before the database was opened.
pub fn load(shared: &Arc<Shared>) -> Result<()> {
    let Some(coll) = shared.catalog.get(&home()) else { return Ok(()) };
    let mut op = shared.op();
    if let Some((_, config)) = find_by_id(&mut op, &coll, Value::String(&shared.options.replica_set))? {
        set_version(shared, number::to_i64_exact(config.get("version")).unwrap_or(1) as i32);
    }
    Ok(())
}

/// `local.system.replset` as commands that read find it, as long as nobody has configured the set.
pub fn collection(shared: &Shared, ns: &Ns) -> Option<Arc<Collection>> {
    let wanted = ns.db() == "local" && ns.coll() == CONFIG;
    wanted.then(|| crate::data::catalog::made(ns, vec![default_config(&Facts::of(shared, ""))]))?
}
