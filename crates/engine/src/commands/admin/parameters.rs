//! getParameter, setParameter, getCmdLineOpts

use smongo_bson::{DocWriter, Result, Value, bail};
use smongo_mql::access::Action;

use crate::service::command::{ADMIN, Access, Args, Command, Cx, LIGHT, Trust};
use crate::service::parameters::{self, PARAMETERS, Row};

pub const GET_PARAMETER: Command = Command::new("getParameter", get_parameter, ADMIN, Access::Cluster(&[Action::GetParameter]));
pub const SET_PARAMETER: Command = Command::new("setParameter", set_parameter, ADMIN, Access::Cluster(&[Action::SetParameter]));
pub const GET_CMD_LINE_OPTS: Command = Command::new("getCmdLineOpts", get_cmd_line_opts, ADMIN | LIGHT, Access::Cluster(&[Action::GetCmdLineOpts]));

/// What the value of `getParameter` selects.
#[derive(Default)]
struct Selector {
    all: bool,
    details: bool,
    at_startup: bool,
    at_runtime: bool,
}

impl Selector {
    fn parse(value: Value<'_>) -> Result<Selector> {
        let mut selector = Selector::default();
        match value {
            Value::String("*") => selector.all = true,
            Value::Document(d) => {
                let mut args = Args::nested("getParameter.getParameter", d);
                selector.all = args.strict_bool("allParameters")?.unwrap_or(false);
                selector.details = args.strict_bool("showDetails")?.unwrap_or(false);
                match args.str("setAt")? {
                    None => {}
                    Some("startup") => selector.at_startup = true,
                    Some("runtime") => selector.at_runtime = true,
                    Some(v) => bail!(BadValue, "Enumeration value '{v}' for field 'getParameter.setAt' is not a valid value."),
                }
                args.finish()?;
            }
            _ => {}
        }
        Ok(selector)
    }

    fn selects(&self, row: &Row, named: &[String]) -> bool {
        let settable = (!self.at_startup || row.at_startup) && (!self.at_runtime || row.at_runtime);
        settable && (self.all || named.iter().any(|name| name == row.name))
    }
}

fn get_parameter(cx: &mut Cx<'_>, args: &mut Args<'_>, reply: &mut DocWriter<'_>) -> Result<()> {
    let selector = Selector::parse(args.first())?;
    let named: Vec<String> = args.rest().iter().map(|e| e.name().to_owned()).collect();
    let mut found = false;
    for row in PARAMETERS.iter().filter(|row| selector.selects(row, &named)) {
        found = true;
        if selector.details {
            let mut w = reply.document(row.name);
            cx.shared.parameters.show(row, "value", &mut w);
            w.append("settableAtRuntime", row.at_runtime).append("settableAtStartup", row.at_startup);
        } else {
            cx.shared.parameters.show(row, row.name, reply);
        }
    }
    if !found {
        bail!(InvalidOptions, "no option found to get");
    }
    Ok(())
}

fn set_parameter(cx: &mut Cx<'_>, args: &mut Args<'_>, reply: &mut DocWriter<'_>) -> Result<()> {
    args.first();
    let wanted = args.rest();
    let mut rows = Vec::new();
    for e in &wanted {
        match parameters::find(e.name()) {
            None => bail!(InvalidOptions, "attempted to set unrecognized parameter [{}], use help:true to see options ", e.name()),
            Some(row) if !row.at_runtime => bail!(IllegalOperation, "not allowed to change [{}] at runtime", e.name()),
            Some(row) => rows.push((row, e.value())),
        }
    }
    let Some((first, _)) = rows.first() else { bail!(InvalidOptions, "no option found to set, use help:true to see options ") };
    let parameters = &cx.shared.parameters;
    parameters.show(first, "was", reply);
    rows.iter().try_for_each(|(row, value)| parameters.set(row, *value))
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
    parsed.document("replication").append("replSet", &*cx.shared.options.replica_set);
    if let Some(path) = cx.shared.store.path() {
        parsed.document("storage").append("dbPath", &*path.to_string_lossy());
    }
    if let Some(audit) = &cx.shared.options.audit {
        parsed.append("auditLog", audit.startup.get("auditLog"));
    }
    if cx.client.trust == Trust::Enforced {
        parsed.document("security").append("authorization", "enabled");
    }
    let mut parameters = parsed.document("setParameter");
    for (name, value) in &cx.shared.options.parameters {
        parameters.append(name, &**value);
    }
    Ok(())
}
