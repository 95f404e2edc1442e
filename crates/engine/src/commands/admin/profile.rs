//! profile

use std::sync::Arc;
use std::time::Instant;

use smongo_bson::{DocWriter, Result, Value, bail, number};
use smongo_mql::Matcher;

use crate::commands::rules;
use crate::query::plan;
use crate::service::command::{Access, Args, Command, Cx};

pub const PROFILE: Command = Command::new("profile", profile, 0, Access::Computed(rules::profile));

fn profile(cx: &mut Cx<'_>, args: &mut Args<'_>, reply: &mut DocWriter<'_>) -> Result<()> {
    let level = match args.first() {
        v if v.is_number() => number::to_i64_rounded(v),
        v if v.is_nullish() => return Err(args.missing("profile")),
        v => return Err(args.wrong_type("profile", v, "int, decimal, long, double")),
    };
    let slow_ms = args.int("slowms")?;
    let sample_rate = match args.value("sampleRate") {
        v if v.is_nullish() => None,
        v if v.is_number() => number::to_f64(v),
        v => return Err(args.wrong_type("sampleRate", v, "int, decimal, long, double")),
    };
    // `None`: as it is. `Some(None)`: no filter any more.
    let filter = match args.value("filter") {
        Value::Missing => None,
        Value::String("unset") => Some(None),
        Value::Document(filter) => Some(Some(Arc::new(Matcher::compile(filter, &cx.op.compile)?))),
        v => bail!(BadValue, "profile filter must be an object, or the string \"unset\", but got {}", v.type_name()),
    };
    args.finish()?;
    if sample_rate.is_some_and(|rate| !(0.0..=1.0).contains(&rate)) {
        bail!(BadValue, "'sampleRate' must be between 0.0 and 1.0 inclusive");
    }
    let shared = cx.shared.clone();
    let (settings, mut current) = shared.profiler.settings(&cx.db);
    reply.append("was", current.level).append("slowms", settings.slow_ms).append("sampleRate", settings.sample_rate);
    if let Some(filter) = &current.filter {
        reply.append("filter", plan::describe_filter(filter).as_doc());
        reply.append("note", "When a filter expression is set, slowms and sampleRate are not used for profiling and slow-query log lines.");
    }
    // A level that is none only asks.
    let asks = !(0..=2).contains(&level);
    if !asks || slow_ms.is_some() || sample_rate.is_some() || filter.is_some() {
        if !asks {
            if current.level == 0 {
                current.since = Some(Instant::now());
            }
            current.level = level as i32;
        }
        if let Some(filter) = filter {
            current.filter = filter;
        }
        let slow_ms = slow_ms.map_or(settings.slow_ms, |n| n.clamp(i64::from(i32::MIN), i64::from(i32::MAX)) as i32);
        shared.profiler.change(&cx.db, slow_ms, sample_rate.unwrap_or(settings.sample_rate), current);
    }
    Ok(())
}
