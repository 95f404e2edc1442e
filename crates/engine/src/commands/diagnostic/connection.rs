//! What a client asks about its own connection: connectionStatus, whatsmyuri.

use smongo_bson::{Binary, DocWriter, Result, Value};
use crate::commands::rules;
use crate::service::auth::principals::{Kind, role_array};
use crate::service::audit;
use crate::service::auth::privileges;
use crate::service::command::{ADMIN, Access, Args, Command, Cx, LIGHT};

use crate::data::clock::now_millis;
use crate::data::namespace::Ns;
use crate::query::exec::storage_stats;

pub const GET_DIAGNOSTIC_DATA: Command = Command::new("getDiagnosticData", get_diagnostic_data, ADMIN, Access::Computed(rules::diagnostic_data));
pub const CONNECTION_STATUS: Command = Command::new("connectionStatus", connection_status, LIGHT, Access::Open);
pub const WHATS_MY_URI: Command = Command::new("whatsmyuri", whats_my_uri, LIGHT, Access::Open);

/// What MongoDB samples each second for its diagnostic files: the replies of some commands, each between two times, and what the
/// operating system tells.
fn get_diagnostic_data(cx: &mut Cx<'_>, args: &mut Args<'_>, reply: &mut DocWriter<'_>) -> Result<()> {
    args.rest();
    let now = || Value::DateTime(now_millis());
    let mut data = reply.document("data");
    data.append("start", now());
    {
        let mut section = data.document("serverStatus");
        section.append("start", now());
        super::status::write_status(cx, &[], &mut section);
        section.append("ok", 1.0).append("end", now());
    }
    {
        let mut section = data.document("replSetGetStatus");
        section.append("start", now());
        crate::commands::admin::replica_set::write_status(cx, &mut section);
        section.append("ok", 1.0).append("end", now());
    }
    if let Some(oplog) = cx.shared.catalog.get(&Ns::unchecked("local", "oplog.rs")) {
        let mut section = data.document("local.oplog.rs.stats");
        section.append("start", now()).append("ns", oplog.ns.as_str());
        storage_stats(&cx.op, &oplog, 1, &mut section)?;
        section.append("ok", 1.0).append("end", now());
    }
    {
        let mut section = data.document("systemMetrics");
        section.append("start", now());
        system_metrics(&mut section);
        section.append("end", now());
    }
    data.append("end", now());
    Ok(())
}

/// Processors and memory, under the names MongoDB gives what Linux counts.
fn system_metrics(w: &mut DocWriter<'_>) {
    const TIMES: [&str; 10] = ["user_ms", "nice_ms", "system_ms", "idle_ms", "iowait_ms", "irq_ms", "softirq_ms", "steal_ms", "guest_ms", "guest_nice_ms"];
    let stat = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let line = |name: &str| stat.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(' '));
    {
        let mut cpu = w.document("cpu");
        cpu.append("num_cpus", std::thread::available_parallelism().map_or(1, |n| n.get()) as i64);
        // A hundredth of a second each.
        for (name, ticks) in TIMES.iter().zip(line("cpu").unwrap_or_default().split_whitespace()) {
            cpu.append(name, ticks.parse::<i64>().unwrap_or(0) * 10);
        }
        for name in ["ctxt", "btime", "processes", "procs_running", "procs_blocked"] {
            if let Some(n) = line(name).and_then(|n| n.trim().parse::<i64>().ok()) {
                cpu.append(name, n);
            }
        }
    }
    let mut memory = w.document("memory");
    for line in std::fs::read_to_string("/proc/meminfo").unwrap_or_default().lines() {
        if let Some((name, rest)) = line.split_once(':')
            && let Some(Ok(kilobytes)) = rest.split_whitespace().next().map(str::parse::<i64>)
        {
            memory.append(&format!("{name}_kb"), kilobytes);
        }
    }
}

fn connection_status(cx: &mut Cx<'_>, args: &mut Args<'_>, reply: &mut DocWriter<'_>) -> Result<()> {
    let privileges = args.bool("showPrivileges")?;
    args.finish()?;
    let mut info = reply.document("authInfo");
    let user = cx.auth.user();
    {
        let mut users = info.array("authenticatedUsers");
        if let Some(user) = user {
            user.principal.write(Kind::User, &mut users.document());
        }
    }
    let roles = user.map_or(&[][..], |user| &user.all_roles);
    info.append("authenticatedUserRoles", role_array(roles).view());
    if privileges {
        let privileges = user.map(|user| user.all_privileges()).unwrap_or_default();
        info.append("authenticatedUserPrivileges", privileges::array(&privileges).view());
    }
    info.finish();
    reply.append("uuid", Value::Binary(Binary::from_raw(&audit::uuid(cx.shared.process, cx.connection))));
    Ok(())
}

fn whats_my_uri(cx: &mut Cx<'_>, args: &mut Args<'_>, reply: &mut DocWriter<'_>) -> Result<()> {
    args.rest();
    reply.append("you", &*cx.client.remote);
    Ok(())
}
