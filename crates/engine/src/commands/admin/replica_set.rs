//! The replica set of one member that smongo presents itself as: what it is, and the commands that would change it. shutdown.

use smongo_bson::{Doc, DocBuf, DocWriter, Result, Value, bail, number};
use smongo_mql::access::Action;

use crate::data::catalog::find_by_id;
use crate::data::clock::now_millis;
use crate::data::namespace::Ns;
use crate::data::op::OpCx;
use crate::data::oplog::Change;
use crate::data::write;
use crate::service::audit::Event;
use crate::service::command::{ADMIN, Access, After, Args, Command, Cx, LIGHT};
use crate::service::replica_set::{self, Facts};

pub const APPEND_OPLOG_NOTE: Command = Command::new("appendOplogNote", append_oplog_note, ADMIN, Access::Cluster(&[Action::AppendOplogNote]));
pub const FREEZE: Command = Command::new("replSetFreeze", freeze, ADMIN, Access::Cluster(&[Action::ReplSetStateChange]));
pub const GET_CONFIG: Command = Command::new("replSetGetConfig", get_config, ADMIN | LIGHT, Access::Cluster(&[Action::ReplSetGetConfig]));
pub const GET_STATUS: Command = Command::new("replSetGetStatus", get_status, ADMIN | LIGHT, Access::Cluster(&[Action::ReplSetGetStatus]));
pub const INITIATE: Command = Command::new("replSetInitiate", initiate, ADMIN, Access::Cluster(&[Action::ReplSetConfigure]));
pub const MAINTENANCE: Command = Command::new("replSetMaintenance", maintenance, ADMIN, Access::Cluster(&[Action::ReplSetStateChange]));
pub const RECONFIG: Command = Command::new("replSetReconfig", reconfig, ADMIN, Access::Cluster(&[Action::ReplSetConfigure]));
pub const STEP_DOWN: Command = Command::new("replSetStepDown", step_down, ADMIN, Access::Cluster(&[Action::ReplSetStateChange]));
pub const SYNC_FROM: Command = Command::new("replSetSyncFrom", sync_from, ADMIN, Access::Cluster(&[Action::ReplSetStateChange]));
pub const SHUTDOWN: Command = Command::new("shutdown", shutdown, ADMIN | LIGHT, Access::Cluster(&[Action::Shutdown]));

fn get_status(cx: &mut Cx<'_>, args: &mut Args<'_>, reply: &mut DocWriter<'_>) -> Result<()> {
    args.accept(&["initialSync"]);
    args.finish()?;
    write_status(cx, reply);
    Ok(())
}

/// What replSetGetStatus answers. All that was written is committed, applied and, as far as anybody may ask, durable.
pub fn write_status(cx: &Cx<'_>, reply: &mut DocWriter<'_>) {
    let shared = &cx.shared;
    let last = shared.clock.last();
    let wall = Value::DateTime(i64::from(last.time) * 1000);
    let elected = smongo_bson::Timestamp::from_u64(shared.opened_at());
    let elected_at = Value::DateTime(i64::from(elected.time) * 1000);
    reply.append("set", &*shared.options.replica_set).append("date", Value::DateTime(now_millis())).append("myState", 1).append("term", 1i64);
    reply.append("syncSourceHost", "").append("syncSourceId", -1);
    reply.append("heartbeatIntervalMillis", 2000i64).append("majorityVoteCount", 1).append("writeMajorityCount", 1);
    reply.append("votingMembersCount", 1).append("writableVotingMembersCount", 1);
    {
        let mut times = reply.document("optimes");
        let op_time = |times: &mut DocWriter<'_>, name: &str| {
            times.document(name).append("ts", last).append("t", 1i64);
        };
        op_time(&mut times, "lastCommittedOpTime");
        times.append("lastCommittedWallTime", wall);
        for name in ["readConcernMajorityOpTime", "appliedOpTime", "durableOpTime", "writtenOpTime"] {
            op_time(&mut times, name);
        }
        for name in ["lastAppliedWallTime", "lastDurableWallTime", "lastWrittenWallTime"] {
            times.append(name, wall);
        }
    }
    reply.append("lastStableRecoveryTimestamp", last);
    let mut members = reply.array("members");
    let mut member = members.document();
    member.append("_id", 0).append("name", &*cx.client.local).append("health", 1.0).append("state", 1).append("stateStr", "PRIMARY");
    member.append("uptime", shared.started.elapsed().as_secs() as i32);
    member.document("optime").append("ts", last).append("t", 1i64);
    member.append("optimeDate", wall).append("lastAppliedWallTime", wall).append("lastDurableWallTime", wall);
    member.append("lastWrittenWallTime", wall).append("syncSourceHost", "").append("syncSourceId", -1).append("infoMessage", "");
    member.append("electionTime", elected).append("electionDate", elected_at);
    member.append("configVersion", replica_set::version(shared)).append("configTerm", 1).append("self", true).append("lastHeartbeatMessage", "");
}

fn get_config(cx: &mut Cx<'_>, args: &mut Args<'_>, reply: &mut DocWriter<'_>) -> Result<()> {
    let commitment = args.bool("commitmentStatus")?;
    args.finish()?;
    let config = current(cx)?;
    reply.append("config", config.as_doc());
    if commitment {
        reply.append("commitmentStatus", true);
    }
    Ok(())
}

/// The configuration that was given, or the one a set of one member has without any.
fn current(cx: &mut Cx<'_>) -> Result<DocBuf> {
    let shared = cx.shared.clone();
    match given(&mut cx.op)? {
        Some(config) => Ok(config),
        None => Ok(replica_set::default_config(&Facts::of(&shared, &cx.client.local))),
    }
}

fn given(op: &mut OpCx) -> Result<Option<DocBuf>> {
    let shared = op.data.clone();
    let Some(coll) = shared.catalog.get(&replica_set::home()) else { return Ok(None) };
    let found = find_by_id(op, &coll, Value::String(&shared.options.replica_set))?;
    Ok(found.map(|(_, doc)| DocBuf::from(doc)))
}

/// What the server finds when it starts is a set that was initiated.
fn initiate(_cx: &mut Cx<'_>, args: &mut Args<'_>, _reply: &mut DocWriter<'_>) -> Result<()> {
    match args.first() {
        Value::Document(_) => {}
        v if v.is_nullish() || v.is_number() || v.as_bool().is_some() || v.as_str().is_some() => {}
        v => return Err(args.wrong_type("replSetInitiate", v, "object")),
    }
    args.finish()?;
    bail!(AlreadyInitialized, "already initialized")
}

/// Takes what describes this one member: names it goes by, tags, times. Anything else asks for a set that this is not.
fn reconfig(cx: &mut Cx<'_>, args: &mut Args<'_>, _reply: &mut DocWriter<'_>) -> Result<()> {
    let config = match args.first() {
        Value::Document(config) => config,
        _ => bail!(BadValue, "no configuration specified"),
    };
    let force = args.bool("force")?;
    args.value("maxTimeMS");
    args.finish()?;
    let name = cx.shared.options.replica_set.clone();
    let _alone = cx.shared.alone_in_settings(&mut cx.op)?;
    let old = current(cx)?;
    if config.get("_id").as_str() != Some(&*name) {
        bail!(
            NewReplicaSetConfigurationIncompatible,
            "New and old configurations differ in replica set name; the old was {name}, and the new is {}",
            config.get("_id").as_str().unwrap_or_default()
        );
    }
    let version = |config: Doc<'_>| number::to_i64_exact(config.get("version")).unwrap_or(0);
    let mut next = version(config);
    if force {
        next = next.max(version(old.as_doc()) + 1);
    }
    if !(1..=i64::from(i32::MAX)).contains(&next) {
        bail!(InvalidReplicaSetConfig, "version field value of {next} is out of range");
    }
    if next <= version(old.as_doc()) {
        bail!(NewReplicaSetConfigurationIncompatible, "New replica set configuration version must be greater than old, but {next} is not greater than {} for replica set {name}", version(old.as_doc()));
    }
    check_members(config)?;
    let stored = DocBuf::build(|w| {
        w.append("_id", &*name).append("version", next as i32).append("term", 1);
        for e in config.iter().filter(|e| !matches!(e.name(), "_id" | "version" | "term")) {
            w.append_element(&e);
        }
    });
    let shared = cx.shared.clone();
    shared.catalog.create_own(&mut cx.op, &replica_set::home(), DocBuf::new())?;
    let event = || {
        Event::new("replSetReconfig", |w| {
            w.append("old", old.as_doc()).append("new", stored.as_doc());
        })
    };
    cx.told(event, |cx| write::put(&mut cx.op, &replica_set::home(), stored.as_doc()))?;
    replica_set::set_version(&cx.shared, next as i32);
    cx.op.make_durable(true)
}

fn check_members(config: Doc<'_>) -> Result<()> {
    let Some(members) = config.get("members").as_array() else {
        bail!(InvalidReplicaSetConfig, "BSON field 'ReplSetConfig.members' is missing but a required field");
    };
    let members: Vec<Doc<'_>> = members.iter().filter_map(|m| m.as_doc()).collect();
    let [member] = members[..] else {
        bail!(NewReplicaSetConfigurationIncompatible, "this server is the only member of its replica set: a configuration with {} members is not supported", members.len());
    };
    if !matches!(member.get("host"), Value::String(host) if !host.is_empty()) {
        bail!(InvalidReplicaSetConfig, "BSON field 'ReplSetConfig.members.host' is missing but a required field");
    }
    let number = |name: &str| match member.get(name) {
        Value::Missing => Some(1.0),
        v => number::to_f64(v),
    };
    let votes = number("votes").is_some_and(|n| n == 1.0);
    let electable = number("priority").is_some_and(|n| n > 0.0) && !member.get("arbiterOnly").truthy() && !member.get("hidden").truthy();
    if !votes || !electable {
        bail!(NodeNotElectable, "The only member of the replica set, {}, must be electable", member.get("host").as_str().unwrap_or_default());
    }
    Ok(())
}

/// There is nobody to take over, so that nobody can be waited for.
fn step_down(cx: &mut Cx<'_>, args: &mut Args<'_>, _reply: &mut DocWriter<'_>) -> Result<()> {
    let seconds = args.int("replSetStepDown")?.unwrap_or(60);
    let catch_up = args.int("secondaryCatchUpPeriodSecs")?;
    let force = args.bool("force")?;
    args.finish()?;
    if seconds < 0 {
        bail!(BadValue, "stepdown period must be a positive integer");
    }
    if catch_up.is_some_and(|n| n < 0) {
        bail!(BadValue, "secondaryCatchUpPeriodSecs period must be a positive or absent");
    }
    if seconds < catch_up.unwrap_or(if force { 0 } else { 10 }) {
        bail!(BadValue, "stepdown period must be longer than secondaryCatchUpPeriodSecs");
    }
    if force {
        bail!(NotImplemented, "this server is the only member of its replica set and stays its primary");
    }
    let last = cx.shared.clock.last();
    bail!(
        ExceededTimeLimit,
        "No electable secondaries caught up as of Timestamp({}, {}). Please use the replSetStepDown command with the argument {{force: true}} to force node to step down.",
        last.time, last.increment
    )
}

fn freeze(_cx: &mut Cx<'_>, args: &mut Args<'_>, _reply: &mut DocWriter<'_>) -> Result<()> {
    if args.int("replSetFreeze")?.is_some_and(|n| n < 0) {
        bail!(BadValue, "negative seconds are not allowed");
    }
    args.finish()?;
    bail!(NotSecondary, "cannot freeze node when primary or running for election. state: Primary")
}

fn maintenance(_cx: &mut Cx<'_>, args: &mut Args<'_>, _reply: &mut DocWriter<'_>) -> Result<()> {
    args.first();
    args.finish()?;
    bail!(NotSecondary, "primaries can't modify maintenance mode")
}

fn sync_from(_cx: &mut Cx<'_>, args: &mut Args<'_>, _reply: &mut DocWriter<'_>) -> Result<()> {
    match args.first() {
        Value::String(_) => {}
        v => return Err(args.wrong_type("replSetSyncFrom", v, "string")),
    }
    args.finish()?;
    bail!(NotSecondary, "primaries don't sync")
}

/// Writes a document of the caller's into the oplog, as an entry that changes nothing.
fn append_oplog_note(cx: &mut Cx<'_>, args: &mut Args<'_>, _reply: &mut DocWriter<'_>) -> Result<()> {
    args.first();
    let note = match args.doc("data")? {
        Some(note) => DocBuf::from(note),
        None => bail!(NoSuchKey, "Missing expected field \"data\""),
    };
    let least = match args.value("maxClusterTime") {
        Value::Timestamp(time) => Some(time),
        v if v.is_nullish() => None,
        v => return Err(args.wrong_type("maxClusterTime", v, "timestamp")),
    };
    args.finish()?;
    if least.is_some_and(|time| cx.shared.clock.last() > time) {
        bail!(StaleClusterTime, "Requested maxClusterTime is less than the last primary OpTime");
    }
    cx.op.write(|op| {
        op.store()?;
        op.pending.add(&Ns::unchecked("admin", ""), None, Change::Noop { message: note.as_doc() });
        Ok(())
    })
}

/// The transport closes the connection without a reply, and the process ends in good order.
fn shutdown(cx: &mut Cx<'_>, args: &mut Args<'_>, _reply: &mut DocWriter<'_>) -> Result<()> {
    args.accept(&["force", "timeoutSecs"]);
    args.finish()?;
    cx.after = After::Close;
    cx.shared.begin_shutdown();
    Ok(())
}
