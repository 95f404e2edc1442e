//! replSetResizeOplog: the oplog's size and how long its entries stay.

use smongo_bson::{DocWriter, Result, Value, bail, number};
use smongo_mql::access::Action;

use crate::data::oplog;
use crate::service::command::{ADMIN, Access, Args, Command, Cx};

pub const REPL_SET_RESIZE_OPLOG: Command = Command::new("replSetResizeOplog", resize_oplog, ADMIN, Access::Cluster(&[Action::ReplSetConfigure]));

/// Megabytes: the manual's bounds of `size`, the upper one a petabyte.
const LEAST_MB: f64 = 990.0;
const MOST_MB: f64 = (1u64 << 30) as f64;

fn resize_oplog(cx: &mut Cx<'_>, args: &mut Args<'_>, _reply: &mut DocWriter<'_>) -> Result<()> {
    // The manual: a size must be a double, also where the shell would make an integer of it.
    let size = match args.value("size") {
        v if v.is_nullish() => None,
        Value::Double(mb) => Some(mb),
        v => return Err(args.wrong_type("size", v, "double")),
    };
    let hours = match args.value("minRetentionHours") {
        v if v.is_nullish() => None,
        v if v.is_number() => number::to_f64(v),
        v => return Err(args.wrong_type("minRetentionHours", v, "double, int, decimal, long")),
    };
    args.finish()?;
    if let Some(mb) = size {
        in_range("size", mb, LEAST_MB, MOST_MB)?;
    }
    if let Some(hours) = hours {
        in_range("minRetentionHours", hours, 0.0, f64::MAX)?;
    }
    oplog::resize(&cx.shared, |limits| {
        if let Some(mb) = size {
            limits.bytes = (mb * f64::from(1 << 20)) as u64;
        }
        if let Some(hours) = hours {
            limits.retention_hours = hours;
        }
    })
}

fn in_range(name: &str, value: f64, least: f64, most: f64) -> Result<()> {
    if value > most {
        bail!(BadValue, "BSON field '{name}' value must be <= {most}, actual value '{value}'");
    }
    // Not a number is in no range.
    if value < least || value.is_nan() {
        bail!(BadValue, "BSON field '{name}' value must be >= {least}, actual value '{value}'");
    }
    Ok(())
}
