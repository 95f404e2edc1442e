//! replSetGetStatus, replSetGetConfig: the replica set of one member that smongo presents itself as. shutdown.

use smongo_bson::{DocWriter, Result, Value};

use super::{ADMIN, Args, Command, LIGHT};
use crate::clock::now_millis;
use crate::door::{After, Cx};

pub const REPL_SET_GET_STATUS: Command = Command::new("replSetGetStatus", status, ADMIN | LIGHT);
pub const REPL_SET_GET_CONFIG: Command = Command::new("replSetGetConfig", config, ADMIN | LIGHT);
pub const SHUTDOWN: Command = Command::new("shutdown", shutdown, ADMIN | LIGHT);

/// The name of the set.
const SET: &str = "rs0";

fn status(cx: &mut Cx<'_>, args: &mut Args<'_>, reply: &mut DocWriter<'_>) -> Result<()> {
    args.accept(&["initialSync"]);
    args.finish()?;
    let last = cx.op.shared.clock.last();
    let applied = Value::DateTime(i64::from(last.time) * 1000);
    let uptime = cx.op.shared.started.elapsed().as_secs() as i32;
    reply.append("set", SET).append("date", Value::DateTime(now_millis())).append("myState", 1).append("term", 1i64);
    reply.append("heartbeatIntervalMillis", 2000i64).append("majorityVoteCount", 1).append("writeMajorityCount", 1);
    reply.append("votingMembersCount", 1).append("writableVotingMembersCount", 1);
    {
        let mut times = reply.document("optimes");
        for name in ["lastCommittedOpTime", "readConcernMajorityOpTime", "appliedOpTime", "durableOpTime"] {
            times.document(name).append("ts", last).append("t", 1i64);
        }
    }
    let mut members = reply.array("members");
    let mut member = members.document();
    member.append("_id", 0).append("name", &*cx.client.local).append("health", 1.0).append("state", 1).append("stateStr", "PRIMARY");
    member.append("uptime", uptime);
    member.document("optime").append("ts", last).append("t", 1i64);
    member.append("optimeDate", applied).append("configVersion", 1).append("configTerm", 1).append("self", true);
    Ok(())
}

fn config(cx: &mut Cx<'_>, args: &mut Args<'_>, reply: &mut DocWriter<'_>) -> Result<()> {
    args.accept(&["commitmentStatus"]);
    args.finish()?;
    let mut config = reply.document("config");
    config.append("_id", SET).append("version", 1).append("term", 1).append("protocolVersion", 1i64);
    {
        let mut members = config.array("members");
        let mut member = members.document();
        member.append("_id", 0).append("host", &*cx.client.local).append("arbiterOnly", false).append("buildIndexes", true);
        member.append("hidden", false).append("priority", 1.0).append("votes", 1);
    }
    config.document("settings").append("heartbeatIntervalMillis", 2000);
    Ok(())
}

/// The transport closes the connection without a reply, and the process ends in good order.
fn shutdown(cx: &mut Cx<'_>, args: &mut Args<'_>, _reply: &mut DocWriter<'_>) -> Result<()> {
    args.accept(&["force", "timeoutSecs"]);
    args.finish()?;
    cx.after = After::Close;
    cx.op.shared.begin_shutdown();
    Ok(())
}
