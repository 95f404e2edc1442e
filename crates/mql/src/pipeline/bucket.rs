//! `$bucket`: a `$group` by ranges, then a `$sort`.

use smongo_bson::compare::{Collator, compare_with};
use smongo_bson::{DocBuf, Result, Value, ValueBuf, bail};

use super::{Stage, group, registry};
use crate::cx::CompileCx;
use crate::expr::Expr;

/// Whether `groupBy` is a `$`-prefixed path or an expression object.
pub(super) fn is_expression(value: Value<'_>) -> bool {
    match value {
        Value::String(s) => s.starts_with('$'),
        Value::Document(d) => d.first().is_some_and(|f| f.name().starts_with('$')),
        _ => false,
    }
}

pub(super) fn parse(arg: Value<'_>, cx: &CompileCx, out: &mut Vec<Stage>) -> Result<()> {
    let Value::Document(spec) = arg else {
        bail!(40201, "Argument to $bucket stage must be an object, but found type: {}.", arg.type_name());
    };
    let (mut group_by, mut boundaries, mut default, mut output) = (None, None, None, None);
    for field in spec {
        let value = field.value();
        match field.name() {
            "groupBy" => {
                if !is_expression(value) {
                    bail!(40202, "The $bucket 'groupBy' field must be defined as a $-prefixed path or an expression object, but found: {value:?}.");
                }
                group_by = Some(value);
            }
            "boundaries" => boundaries = Some(parse_boundaries(value, cx)?),
            "default" => {
                let expr = Expr::compile(value, &cx.at_once())?;
                let Some(constant) = expr.constant() else { bail!(40195, "The $bucket 'default' field must be a constant expression, but found: {value:?}.") };
                default = Some(default_id(constant));
            }
            "output" => {
                let Value::Document(d) = value else {
                    bail!(40196, "The $bucket 'output' field must be an object, but found type: {}.", value.type_name());
                };
                output = Some(d);
            }
            other => bail!(40197, "Unrecognized option to $bucket: {other}."),
        }
    }
    let (Some(group_by), Some(boundaries)) = (group_by, boundaries) else {
        bail!(40198, "$bucket requires 'groupBy' and 'boundaries' to be specified.");
    };
    if let Some(default) = &default {
        check_default(default.view(), &boundaries, cx)?;
    }
    let group = DocBuf::build(|w| {
        switch(&mut w.document("_id"), group_by, &boundaries, default.as_ref());
        match output {
            Some(fields) => drop(w.append_all(fields)),
            None => drop(w.document("count").append("$sum", 1)),
        }
    });
    group::parse(Value::Document(group.as_doc()), cx, out)?;
    let order = DocBuf::build(|w| {
        w.append("_id", 1);
    });
    registry::parse_sort(Value::Document(order.as_doc()), cx, out)
}

/// What the default bucket's `_id` is: MongoDB passes the value through BSON in a way that turns code into a string and wraps the
/// keys that bound all others.
fn default_id(value: Value<'_>) -> ValueBuf {
    match value {
        Value::JavaScript(code) => ValueBuf::new(Value::String(code)),
        Value::MinKey | Value::MaxKey => ValueBuf::document(DocBuf::build(|w| {
            w.append("", value);
        })),
        v => ValueBuf::new(v),
    }
}

fn parse_boundaries(value: Value<'_>, cx: &CompileCx) -> Result<Vec<ValueBuf>> {
    let Value::Array(list) = value else {
        bail!(40200, "The $bucket 'boundaries' field must be an array, but found type: {}.", value.type_name());
    };
    let mut boundaries: Vec<ValueBuf> = Vec::new();
    for item in list.iter() {
        let expr = Expr::compile(item, &cx.at_once())?;
        let Some(constant) = expr.literal_constant() else {
            bail!(40191, "The $bucket 'boundaries' field must be an array of constant values, but found value: {item:?}.");
        };
        boundaries.push(ValueBuf::new(constant));
    }
    if boundaries.len() < 2 {
        bail!(40192, "The $bucket 'boundaries' field must have at least 2 values, but found {} value(s).", boundaries.len());
    }
    for pair in boundaries.windows(2) {
        let [a, b] = pair else { continue };
        let (a, b) = (a.view(), b.view());
        if a.type_of().rank() != b.type_of().rank() {
            bail!(40193, "All values in the the 'boundaries' option to $bucket must have the same type. Found conflicting types {} and {}.", a.type_name(), b.type_name());
        }
        if compare_with(a, b, collator(cx)).is_ge() {
            bail!(40194, "The 'boundaries' option to $bucket must be sorted in ascending order, but elements {a:?} and {b:?} are not.");
        }
    }
    Ok(boundaries)
}

fn collator(cx: &CompileCx) -> Option<&dyn Collator> {
    cx.collation.as_deref().map(|c| c as &dyn Collator)
}

fn check_default(default: Value<'_>, boundaries: &[ValueBuf], cx: &CompileCx) -> Result<()> {
    let (Some(low), Some(high)) = (boundaries.first(), boundaries.last()) else { return Ok(()) };
    let at_least = compare_with(default, low.view(), collator(cx)).is_ge();
    if at_least && compare_with(default, high.view(), collator(cx)).is_lt() {
        bail!(40199, "The $bucket 'default' field must be less than the lowest boundary or greater than or equal to the highest boundary.");
    }
    Ok(())
}

/// `{$switch: …}` that yields the lower bound of the value's range.
fn switch(w: &mut smongo_bson::DocWriter<'_>, group_by: Value<'_>, boundaries: &[ValueBuf], default: Option<&ValueBuf>) {
    let mut switch = w.document("$switch");
    {
        let mut branches = switch.array("branches");
        for pair in boundaries.windows(2) {
            let [low, high] = pair else { continue };
            let mut branch = branches.document();
            {
                let mut case = branch.document("case");
                let mut both = case.array("$and");
                for (op, bound) in [("$gte", low), ("$lt", high)] {
                    let mut term = both.document();
                    let mut sides = term.array(op);
                    sides.push(group_by);
                    sides.document().append("$literal", bound.view());
                }
            }
            branch.document("then").append("$literal", low.view());
        }
    }
    if let Some(default) = default {
        switch.document("default").append("$literal", default.view());
    }
}
