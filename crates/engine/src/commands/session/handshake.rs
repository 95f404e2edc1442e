//! hello, isMaster, ping: what drivers say first and now and then.

use std::time::Duration;

use smongo_bson::{Array, Doc, DocBuf, DocWriter, ObjectId, Result, Value, bail, number};

use crate::commands::access::login;
use crate::data::clock::now_millis;
use crate::data::limits;
use crate::service::audit::{self, Event, Weight};
use crate::service::command::{Access, Args, Command, Cx, LIGHT};
use crate::service::shared::Shared;

pub const HELLO: Command = Command::new("hello", hello, LIGHT, Access::Open).hiding(&["speculativeAuthenticate"]);
pub const IS_MASTER: Command = Command::new("isMaster", hello, LIGHT, Access::Open).hiding(&["speculativeAuthenticate"]);
pub const IS_MASTER_LOWER: Command = Command::new("ismaster", hello, LIGHT, Access::Open).hiding(&["speculativeAuthenticate"]);
pub const PING: Command = Command::new("ping", ping, LIGHT, Access::Open);

fn ping(_cx: &mut Cx<'_>, args: &mut Args<'_>, _reply: &mut DocWriter<'_>) -> Result<()> {
    args.finish()
}

fn hello(cx: &mut Cx<'_>, args: &mut Args<'_>, w: &mut DocWriter<'_>) -> Result<()> {
    let await_ms = args.int("maxAwaitTimeMS")?;
    let version = args.doc("topologyVersion")?;
    let metadata = args.doc("client")?;
    let compression = args.array("compression")?;
    let hello_ok = args.bool("helloOk")?;
    let mechanisms_of = mechanisms_for(args.value("saslSupportedMechs"))?;
    let speculative = args.doc("speculativeAuthenticate")?;
    // Fields that nobody knows are nothing to a hello: an older server must understand a newer driver's.
    args.rest();
    remember(cx, metadata)?;
    wait_for_change(cx, version, await_ms)?;
    let awaits = version.is_some();

    if cx.command.name == "hello" {
        w.append("isWritablePrimary", true);
    } else {
        if hello_ok {
            w.append("helloOk", true);
        }
        w.append("ismaster", true);
    }
    {
        let mut v = w.document("topologyVersion");
        v.append("processId", cx.shared.process).append("counter", cx.shared.topology_counter());
    }
    w.append("secondary", false).append("setName", &*cx.shared.options.replica_set).append("setVersion", crate::service::replica_set::version(&cx.shared)).append("primary", &*cx.client.local).append("me", &*cx.client.local);
    w.array("hosts").push(&*cx.client.local);
    w.append("electionId", ELECTION);
    last_write(&cx.shared, w);
    w.append("maxBsonObjectSize", limits::DOCUMENT_BYTES as i32)
        .append("maxMessageSizeBytes", limits::MESSAGE_BYTES)
        .append("maxWriteBatchSize", limits::WRITE_BATCH as i32)
        .append("localTime", Value::DateTime(now_millis()))
        .append("logicalSessionTimeoutMinutes", cx.shared.parameters.session_minutes())
        .append("connectionId", cx.connection as i32)
        .append("minWireVersion", 0)
        .append("maxWireVersion", 27)
        .append("readOnly", false);
    let automation = cx.shared.parameters.automation();
    if !automation.is_empty() {
        w.append("automationServiceDescriptor", &*automation);
    }
    negotiate(cx, compression, w);
    if let Some(user) = mechanisms_of {
        login::write_mechanisms(cx, user, w)?;
    }
    // Monitors, which await changes, never log in.
    if let Some(command) = speculative.filter(|_| !awaits) {
        login::speculate(cx, command, w);
    }
    Ok(())
}

/// The user whose mechanisms a client wants to know: `database.name`.
fn mechanisms_for(value: Value<'_>) -> Result<Option<&str>> {
    match value {
        Value::Missing => Ok(None),
        Value::String(user) if user.contains('.') => Ok(Some(user)),
        Value::String(user) => bail!(BadValue, "UserName must contain a '.' separated database.user pair, found \"{user}\""),
        Value::Document(_) => bail!(BadValue, "saslSupportedMechs must name a user"),
        v => bail!(TypeMismatch, "saslSupportedMechs must be a string, found {}", v.type_name()),
    }
}

/// The election of the first term, which there is no other after.
pub const ELECTION: ObjectId = ObjectId([0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 1]);

pub fn last_write(shared: &Shared, w: &mut DocWriter<'_>) {
    let ts = shared.clock.last();
    let date = Value::DateTime(i64::from(ts.time) * 1000);
    let mut last = w.document("lastWrite");
    for (time, wall) in [("opTime", "lastWriteDate"), ("majorityOpTime", "majorityWriteDate")] {
        {
            let mut op_time = last.document(time);
            op_time.append("ts", ts).append("t", 1i64);
        }
        last.append(wall, date);
    }
}

/// The compressors both sides know, in the client's order.
fn negotiate(cx: &Cx<'_>, offered: Option<Array<'_>>, w: &mut DocWriter<'_>) {
    let Some(offered) = offered else { return };
    let common: Vec<&str> = offered.iter().filter_map(|v| v.as_str()).filter(|c| cx.client.compressors.contains(c)).collect();
    if !common.is_empty() {
        let mut list = w.array("compression");
        for c in common {
            list.push(c);
        }
    }
}

/// The client's metadata come with its first hello only.
fn remember(cx: &mut Cx<'_>, metadata: Option<Doc<'_>>) -> Result<()> {
    let Some(metadata) = metadata else { return Ok(()) };
    if cx.metadata.is_some() {
        bail!(ClientMetadataCannotBeMutated, "The client metadata document may only be sent in the first hello");
    }
    if metadata.as_bytes().len() > 512 {
        bail!(ClientMetadataDocumentTooLarge, "The client metadata document must be less then or equal to 512 bytes");
    }
    if let Some(name) = metadata.get("application").as_doc().and_then(|a| a.get("name").as_str())
        && name.len() > 128
    {
        bail!(ClientMetadataAppNameTooLarge, "The 'client.application.name' field must be less then or equal to 128 bytes in the client metadata document");
    }
    for required in ["driver", "os"] {
        if !metadata.contains(required) {
            bail!(ClientMetadataMissingField, "Missing required sub-document '{required}' in the client metadata document");
        }
    }
    *cx.metadata = Some(DocBuf::from(metadata));
    cx.tell(Weight::Past, || {
        Event::new("clientMetadata", |w| {
            audit::write_end(Some(cx.client), false, &mut w.document("localEndpoint"));
            w.append("clientMetadata", metadata);
        })
    })
}

/// An awaitable hello that knows the current topology sleeps until it changes, which for one member is at shutdown.
fn wait_for_change(cx: &mut Cx<'_>, version: Option<Doc<'_>>, await_ms: Option<i64>) -> Result<()> {
    let (Some(version), Some(ms)) = (version, await_ms) else {
        if version.is_some() != await_ms.is_some() {
            bail!(31368, "A request with a 'topologyVersion' must include 'maxAwaitTimeMS'");
        }
        return Ok(());
    };
    if ms < 0 {
        bail!(31373, "maxAwaitTimeMS must be a non-negative integer");
    }
    let shared = cx.shared.clone();
    let same = matches!(version.get("processId"), Value::ObjectId(id) if id == shared.process)
        && number::to_i64_exact(version.get("counter")) == Some(shared.topology_counter());
    if same {
        // The monitor's connection does nothing else, so its thread may sleep here; the client's own time limit must not end it.
        cx.op.deadline = None;
        let kill = cx.op.kill.clone();
        shared.wait_for_shutdown(Duration::from_millis(ms as u64), || kill.is_set());
        // At shutdown it tells that there is no primary any more.
        if !shared.shutting_down() {
            cx.op.kill.check()?;
        }
    }
    Ok(())
}
