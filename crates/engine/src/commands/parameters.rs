//! getParameter, setParameter, getCmdLineOpts

use smongo_bson::{DocWriter, Result, Value, bail};

use super::{ADMIN, Args, Command, LIGHT};
use crate::door::Cx;
use crate::limits;

pub const GET_PARAMETER: Command = Command::new("getParameter", get_parameter, ADMIN);
pub const SET_PARAMETER: Command = Command::new("setParameter", set_parameter, ADMIN);
pub const GET_CMD_LINE_OPTS: Command = Command::new("getCmdLineOpts", get_cmd_line_opts, ADMIN | LIGHT);

type Show = fn(&Cx<'_>, &str, &mut DocWriter<'_>);

/// Parameters that can be read. None can be changed while the server runs.
const PARAMETERS: &[(&str, Show)] = &[
    ("authenticationMechanisms", |_, name, w| {
        w.array(name);
    }),
    ("cursorTimeoutMillis", |_, name, w| {
        w.append(name, limits::CURSOR_IDLE.as_millis() as i64);
    }),
    ("enableTestCommands", |cx, name, w| {
        w.append(name, cx.op.shared.options.test_commands);
    }),
    ("featureCompatibilityVersion", |_, name, w| {
        w.document(name).append("version", "8.2");
    }),
    ("localLogicalSessionTimeoutMinutes", |_, name, w| {
        w.append(name, limits::SESSION_IDLE_MINUTES);
    }),
    ("requireApiVersion", |_, name, w| {
        w.append(name, false);
    }),
    ("transactionLifetimeLimitSeconds", |_, name, w| {
        w.append(name, limits::TRANSACTION_LIFETIME.as_secs() as i32);
    }),
    ("ttlMonitorEnabled", |_, name, w| {
        w.append(name, true);
    }),
    ("ttlMonitorSleepSecs", |_, name, w| {
        w.append(name, limits::TTL_SECONDS as i32);
    }),
];

fn get_parameter(cx: &mut Cx<'_>, args: &mut Args<'_>, reply: &mut DocWriter<'_>) -> Result<()> {
    let all = args.first();
    let wanted: Vec<String> = args.rest().iter().map(|e| e.name().to_owned()).collect();
    let all = matches!(all, Value::String("*")) || all.as_doc().is_some_and(|d| d.get("allParameters").truthy());
    let mut found = 0;
    for (name, show) in PARAMETERS {
        if all || wanted.iter().any(|w| w == name) {
            found += 1;
            show(cx, name, reply);
        }
    }
    if found == 0 {
        bail!(InvalidOptions, "no option found to get");
    }
    Ok(())
}

fn set_parameter(_cx: &mut Cx<'_>, args: &mut Args<'_>, _reply: &mut DocWriter<'_>) -> Result<()> {
    args.first();
    match args.rest().first() {
        None => bail!(InvalidOptions, "no option found to set, use help:true to see options "),
        Some(e) if PARAMETERS.iter().any(|(name, _)| *name == e.name()) => bail!(IllegalOperation, "not allowed to change [{}] at runtime", e.name()),
        Some(e) => bail!(InvalidOptions, "attempted to set unrecognized parameter [{}], use help:true to see options ", e.name()),
    }
}

fn get_cmd_line_opts(cx: &mut Cx<'_>, args: &mut Args<'_>, reply: &mut DocWriter<'_>) -> Result<()> {
    args.finish()?;
    {
        let mut argv = reply.array("argv");
        for arg in std::env::args() {
            argv.push(&*arg);
        }
    }
    let mut parsed = reply.document("parsed");
    parsed.document("replication").append("replSet", "rs0");
    if let Some(path) = cx.op.shared.store.path() {
        parsed.document("storage").append("dbPath", &*path.to_string_lossy());
    }
    let mut parameters = parsed.document("setParameter");
    for (name, value) in &cx.op.shared.options.parameters {
        parameters.append(name, &**value);
    }
    Ok(())
}
