//! getDefaultRWConcern, setDefaultRWConcern

use smongo_bson::{Doc, DocBuf, DocWriter, Result, Value, bail, number};
use smongo_mql::access::Action;

use crate::data::catalog::find_by_id;
use crate::data::clock::now_millis;
use crate::data::namespace::Ns;
use crate::data::op::OpCx;
use crate::data::write;
use crate::service::command::{ADMIN, Access, Args, Command, Cx, ReadConcern, WRITES, WriteConcern};
use crate::service::default_concerns::{DefaultConcerns, Defaults};
use crate::service::shared::Shared;

pub const GET: Command = Command::new("getDefaultRWConcern", get, ADMIN, Access::Cluster(&[Action::GetDefaultRWConcern]));
pub const SET: Command = Command::new("setDefaultRWConcern", set, ADMIN | WRITES, Access::Cluster(&[Action::SetDefaultRWConcern]));

/// The `_id` of the document in `config.settings`.
const ID: &str = "ReadWriteConcernDefaults";

fn get(cx: &mut Cx<'_>, args: &mut Args<'_>, reply: &mut DocWriter<'_>) -> Result<()> {
    let in_memory = args.strict_bool("inMemory")?.unwrap_or(false);
    args.finish()?;
    if !in_memory {
        let _alone = cx.shared.alone_in_settings(&mut cx.op)?;
        load(&cx.shared.default_concerns, &mut cx.op)?;
    }
    show(&cx.shared, &cx.shared.default_concerns.get(), reply);
    if in_memory {
        reply.append("inMemory", true);
    }
    Ok(())
}

fn set(cx: &mut Cx<'_>, args: &mut Args<'_>, reply: &mut DocWriter<'_>) -> Result<()> {
    let read = args.doc("defaultReadConcern")?;
    let write = args.doc("defaultWriteConcern")?;
    args.finish()?;
    if read.is_none() && write.is_none() {
        bail!(BadValue, "At least one of the \"defaultReadConcern\" or \"defaultWriteConcern\" fields must be present");
    }
    let _alone = cx.shared.alone_in_settings(&mut cx.op)?;
    load(&cx.shared.default_concerns, &mut cx.op)?;
    let shared = cx.shared.clone();
    let mut defaults = shared.default_concerns.get();
    if let Some(read) = read {
        defaults.read = checked_read(read)?;
    }
    if let Some(write) = write {
        defaults.write = checked_write(write, defaults.write.is_some())?;
    }
    defaults.updated = Some((shared.clock.last(), now_millis()));
    store(cx, &defaults)?;
    show(&shared, &defaults, reply);
    shared.default_concerns.set(defaults);
    Ok(())
}

fn checked_read(read: Doc<'_>) -> Result<Option<DocBuf>> {
    let parsed = ReadConcern::parse(read)?;
    match parsed.level.as_deref() {
        None => Ok(None),
        Some(level @ ("local" | "available" | "majority")) => Ok(Some(DocBuf::build(|w| {
            w.append("level", level);
        }))),
        Some(level) => bail!(BadValue, "level: \"{level}\" is not suitable for the default read concern"),
    }
}

fn checked_write(write: Doc<'_>, was_set: bool) -> Result<Option<DocBuf>> {
    let parsed = WriteConcern::parse(write)?;
    if write.is_empty() {
        if was_set {
            bail!(IllegalOperation, "The global default write concern cannot be unset once it is set.");
        }
        return Ok(None);
    }
    if write.get("w").is_missing() {
        bail!(BadValue, "The default write concern must have 'w' field.");
    }
    if parsed.unacknowledged {
        bail!(BadValue, "Unacknowledged write concern is not suitable for the default write concern");
    }
    if let Some(mode) = &parsed.unsatisfiable {
        match mode.parse::<u32>() {
            Ok(_) => bail!(UnsatisfiableWriteConcern, "Not enough data-bearing nodes"),
            Err(_) => bail!(UnknownReplWriteConcern, "No write concern mode named '{mode}' found in replica set configuration"),
        }
    }
    Ok(Some(DocBuf::build(|w| {
        match write.get("w") {
            v if v.is_number() => w.append("w", number::to_i64_rounded(v) as i32),
            v => w.append("w", v),
        };
        if !write.get("j").is_missing() {
            w.append("j", write.get("j").truthy());
        }
        w.append("wtimeout", number::to_i64_rounded(write.get("wtimeout")) as i32);
    })))
}

fn show(shared: &Shared, defaults: &Defaults, w: &mut DocWriter<'_>) {
    // What writes without a write concern get: w: 1 survives the end of the process, w: "majority" that of the machine, too.
    let implicit = if shared.options.always_durable { Value::String("majority") } else { Value::Int32(1) };
    let read = defaults.read.clone().unwrap_or_else(|| DocBuf::build(|w| { w.append("level", "local"); }));
    let write = defaults.write.clone().unwrap_or_else(|| DocBuf::build(|w| { w.append("w", implicit).append("wtimeout", 0); }));
    w.append("defaultReadConcern", read.as_doc()).append("defaultWriteConcern", write.as_doc());
    if let Some((time, wall)) = defaults.updated {
        w.append("updateOpTime", time).append("updateWallClockTime", Value::DateTime(wall));
    }
    let source = |set: bool| if set { "global" } else { "implicit" };
    w.append("defaultWriteConcernSource", source(defaults.write.is_some())).append("defaultReadConcernSource", source(defaults.read.is_some()));
    w.append("localUpdateWallClockTime", Value::DateTime(now_millis()));
}

fn settings() -> Ns {
    Ns::unchecked("config", "settings")
}

/// Reads what was stored: when a database is opened, and whenever somebody asks, who may have restored `config.settings` meanwhile.
pub fn load(concerns: &DefaultConcerns, op: &mut OpCx) -> Result<()> {
    let Some(coll) = op.data.catalog.get(&settings()) else { return Ok(()) };
    if let Some((_, doc)) = find_by_id(op, &coll, Value::String(ID))? {
        let stored = DocBuf::from(doc);
        concerns.load(stored.as_doc());
    }
    op.end_read();
    Ok(())
}

fn store(cx: &mut Cx<'_>, defaults: &Defaults) -> Result<()> {
    let document = DocBuf::build(|w| {
        w.append("_id", ID);
        for (name, part) in [("defaultReadConcern", &defaults.read), ("defaultWriteConcern", &defaults.write)] {
            if let Some(part) = part {
                w.append(name, part.as_doc());
            }
        }
        if let Some((time, wall)) = defaults.updated {
            w.append("updateOpTime", time).append("updateWallClockTime", Value::DateTime(wall));
        }
    });
    write::put(&mut cx.op, &settings(), document.as_doc())
}
