//! The machine and the process: hostInfo, listCommands, getLog, logRotate, features, and what only sharded clusters have.

use smongo_bson::{DocWriter, Result, Value, bail};
use smongo_mql::access::Action;

use crate::commands::rules;
use crate::data::clock::now_millis;
use crate::service::audit::Audit;
use crate::service::command::{ADMIN, Access, Args, Command, Cx, LIGHT, READS, WRITES};

pub const HOST_INFO: Command = Command::new("hostInfo", host_info, 0, Access::Cluster(&[Action::HostInfo]));
pub const LIST_COMMANDS: Command = Command::new("listCommands", list_commands, 0, Access::Open);
pub const GET_LOG: Command = Command::new("getLog", get_log, ADMIN, Access::Cluster(&[Action::GetLog]));
pub const LOG_ROTATE: Command = Command::new("logRotate", log_rotate, ADMIN, Access::Cluster(&[Action::LogRotate]));
pub const FEATURES: Command = Command::new("features", features, 0, Access::User);
pub const IS_DB_GRID: Command = Command::new("isdbgrid", not_sharded, 0, Access::User);
pub const SHARDING_STATE: Command = Command::new("shardingState", sharding_state, ADMIN, Access::Cluster(&[Action::ShardingState]));
pub const GET_SHARD_MAP: Command = Command::new("getShardMap", not_sharded, ADMIN, Access::Cluster(&[Action::GetShardMap]));
pub const MAP_REDUCE: Command = Command::new("mapReduce", map_reduce, READS | WRITES, Access::Computed(rules::map_reduce));
pub const MAP_REDUCE_LOWER: Command = Command::new("mapreduce", map_reduce, READS | WRITES, Access::Computed(rules::map_reduce));
pub const GET_LAST_ERROR: Command = Command::new("getLastError", get_last_error, 0, Access::User);
pub const GET_LAST_ERROR_LOWER: Command = Command::new("getlasterror", get_last_error, 0, Access::User);
pub const DROP_CONNECTIONS: Command = Command::new("dropConnections", drop_connections, ADMIN, Access::Cluster(&[Action::DropConnections]));

/// What the operating system tells; fields that it does not tell are not there.
fn host_info(_cx: &mut Cx<'_>, args: &mut Args<'_>, reply: &mut DocWriter<'_>) -> Result<()> {
    args.finish()?;
    let cores = std::thread::available_parallelism().map_or(1, |n| n.get()) as i32;
    let memory = memory_megabytes();
    let uname = rustix::system::uname();
    {
        let mut system = reply.document("system");
        system.append("currentTime", Value::DateTime(now_millis())).append("hostname", &*uname.nodename().to_string_lossy());
        system.append("cpuAddrSize", usize::BITS as i32);
        if let Some(total) = memory {
            system.append("memSizeMB", total).append("memLimitMB", memory_limit_megabytes().map_or(total, |limit| limit.min(total)));
        }
        system.append("numCores", cores).append("numCoresAvailableToProcess", cores);
        let cpus = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        system.append("numPhysicalCores", distinct(&cpus, &["physical id", "core id"]).unwrap_or(cores)).append("numCpuSockets", distinct(&cpus, &["physical id"]).unwrap_or(1));
        system.append("cpuArch", std::env::consts::ARCH);
        let nodes = numa_nodes();
        system.append("numaEnabled", nodes > 1).append("numNumaNodes", nodes);
    }
    {
        let mut os = reply.document("os");
        os.append("type", "Linux").append("name", &*os_name().unwrap_or_else(|| uname.sysname().to_string_lossy().into_owned()));
        os.append("version", &*format!("Kernel {}", uname.release().to_string_lossy()));
    }
    let mut extra = reply.document("extra");
    extra.append("versionString", &*uname.version().to_string_lossy()).append("kernelVersion", &*uname.release().to_string_lossy());
    extra.append("pageSize", rustix::param::page_size() as i64);
    if let Some(megabytes) = memory {
        extra.append("numPages", (megabytes << 20) / rustix::param::page_size() as i64);
    }
    Ok(())
}

fn memory_megabytes() -> Option<i64> {
    let info = std::fs::read_to_string("/proc/meminfo").ok()?;
    let kilobytes: i64 = info.lines().find(|l| l.starts_with("MemTotal:"))?.split_whitespace().nth(1)?.parse().ok()?;
    Some(kilobytes / 1024)
}

/// The limit of the control group, when there is one.
fn memory_limit_megabytes() -> Option<i64> {
    let limit = std::fs::read_to_string("/sys/fs/cgroup/memory.max").ok()?;
    Some(limit.trim().parse::<i64>().ok()? / (1 << 20))
}

/// The number of different values (or combinations of them) that processors have in these fields.
fn distinct(cpuinfo: &str, fields: &[&str]) -> Option<i32> {
    let of = |processor: &str| -> Option<Vec<String>> {
        let value = |field: &&str| Some(processor.lines().find(|l| l.starts_with(field))?.split(':').nth(1)?.trim().to_owned());
        fields.iter().map(value).collect()
    };
    let all: std::collections::HashSet<_> = cpuinfo.split("\n\n").filter_map(of).collect();
    (!all.is_empty()).then_some(all.len() as i32)
}

fn numa_nodes() -> i32 {
    let entries = std::fs::read_dir("/sys/devices/system/node").into_iter().flatten().flatten();
    entries.filter(|e| e.file_name().to_string_lossy().strip_prefix("node").is_some_and(|n| n.parse::<u32>().is_ok())).count().max(1) as i32
}

fn os_name() -> Option<String> {
    let release = std::fs::read_to_string("/etc/os-release").ok()?;
    let line = release.lines().find_map(|l| l.strip_prefix("PRETTY_NAME="))?;
    Some(line.trim_matches('"').to_owned())
}

fn list_commands(_cx: &mut Cx<'_>, args: &mut Args<'_>, reply: &mut DocWriter<'_>) -> Result<()> {
    args.rest();
    let mut list = reply.document("commands");
    for row in crate::commands::COMMANDS {
        let mut w = list.document(row.name);
        w.append("help", "").append("requiresAuth", !row.is(LIGHT)).append("secondaryOk", !row.is(WRITES)).append("adminOnly", row.is(ADMIN));
        {
            let mut versions = w.array("apiVersions");
            if crate::service::command::in_api_1(row.name) {
                versions.push("1");
            }
        }
        w.array("deprecatedApiVersions");
    }
    Ok(())
}

fn get_log(cx: &mut Cx<'_>, args: &mut Args<'_>, reply: &mut DocWriter<'_>) -> Result<()> {
    let which = match args.first() {
        Value::String(s) => s,
        v if v.is_nullish() => return Err(args.missing("getLog")),
        v => return Err(args.wrong_type("getLog", v, "string")),
    };
    args.finish()?;
    match which {
        "*" => {
            let mut names = reply.array("names");
            names.push("global").push("startupWarnings");
        }
        // The log goes to wherever the program's subscriber sends it; none of it is kept in memory but what the opening found.
        "global" | "startupWarnings" => {
            let warnings = if which == "global" { Vec::new() } else { cx.shared.warnings() };
            reply.append("totalLinesWritten", warnings.len() as i32);
            let mut log = reply.array("log");
            for warning in warnings {
                log.push(&*crate::data::damage::log_line(&warning));
            }
        }
        other => bail!(OperationFailed, "No log named '{other}'"),
    }
    Ok(())
}

/// There is no log file of the server's own to rotate, so rotating it is done at once; the audit log is begun anew.
fn log_rotate(cx: &mut Cx<'_>, args: &mut Args<'_>, _reply: &mut DocWriter<'_>) -> Result<()> {
    let audit = match args.first() {
        Value::String("server") => None,
        Value::String("audit") if cx.shared.audit.is_some() => cx.shared.audit.as_ref(),
        Value::Bool(_) => cx.shared.audit.as_ref(),
        Value::String(other) => bail!(NoSuchKey, "Unknown log type for rotate: '{other}'"),
        v if v.is_number() => cx.shared.audit.as_ref(),
        v => return Err(args.wrong_type("logRotate", v, "bool, int, decimal, long, double, string")),
    };
    args.finish()?;
    audit.map_or(Ok(()), Audit::rotate)
}

fn features(cx: &mut Cx<'_>, args: &mut Args<'_>, reply: &mut DocWriter<'_>) -> Result<()> {
    args.rest();
    reply.append("oidMachine", i32::from_be_bytes([0, cx.shared.process.0[4], cx.shared.process.0[5], cx.shared.process.0[6]]));
    Ok(())
}

fn not_sharded(cx: &mut Cx<'_>, _args: &mut Args<'_>, _reply: &mut DocWriter<'_>) -> Result<()> {
    bail!(CommandNotFound, "no such command: '{}'", cx.command.name)
}

fn sharding_state(_cx: &mut Cx<'_>, args: &mut Args<'_>, reply: &mut DocWriter<'_>) -> Result<()> {
    args.rest();
    reply.append("enabled", false);
    Ok(())
}

fn map_reduce(_cx: &mut Cx<'_>, args: &mut Args<'_>, _reply: &mut DocWriter<'_>) -> Result<()> {
    args.rest();
    bail!(NotImplemented, "mapReduce is not supported: there is no JavaScript engine")
}

fn get_last_error(cx: &mut Cx<'_>, _args: &mut Args<'_>, _reply: &mut DocWriter<'_>) -> Result<()> {
    bail!(CommandNotFound, "no such command: '{}'", cx.command.name)
}

/// There are connections to no other server, so every list of them is dropped already.
fn drop_connections(_cx: &mut Cx<'_>, args: &mut Args<'_>, _reply: &mut DocWriter<'_>) -> Result<()> {
    let Some(hosts) = args.array("hostAndPort")? else { return Err(args.missing("hostAndPort")) };
    for element in hosts.elements() {
        match element.value() {
            v if v.is_nullish() => {}
            Value::String(host) => check_host(host)?,
            v => return Err(args.wrong_type(&format!("hostAndPort.{}", element.name()), v, "string")),
        }
    }
    args.finish()
}

/// `host`, `host:port`, `[::1]:port`.
fn check_host(text: &str) -> Result<()> {
    let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, "")) => (host, None),
        Some((host, rest)) => (host, Some(rest.strip_prefix(':').unwrap_or(""))),
        None => text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port))),
    };
    if host.is_empty() {
        bail!(FailedToParse, "Empty host component parsing HostAndPort from \"{text}\"");
    }
    match port.map(str::parse::<u16>) {
        None => Ok(()),
        Some(Ok(n)) if n > 0 => Ok(()),
        _ => bail!(FailedToParse, "Port number in \"{text}\" is no number from 1 to 65535"),
    }
}

