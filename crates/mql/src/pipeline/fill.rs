//! `$fill`: values for null and missing fields; a `$setWindowFields` and a `$addFields` in one.

use smongo_bson::{DocBuf, DocWriter, Result, Value, bail};

use super::args::{Spec, field_path};
use super::{Stage, basic, window};
use crate::cx::CompileCx;

/// The two stages a `$fill` stands for.
pub(crate) struct Fill {
    window: Option<DocBuf>,
    add_fields: Option<DocBuf>,
}

pub(super) fn parse(arg: Value<'_>, cx: &CompileCx, out: &mut Vec<Stage>) -> Result<()> {
    let fill = read(arg)?;
    if let Some(spec) = &fill.window {
        window::parse(Value::Document(spec.as_doc()), cx, out)?;
    }
    if let Some(spec) = &fill.add_fields {
        basic::parse_add_fields(Value::Document(spec.as_doc()), cx, out)?;
    }
    Ok(())
}

impl Fill {
    /// The `$addFields` of one that gives values only, which may stand in an update.
    pub fn values_only(arg: Value<'_>) -> Result<DocBuf> {
        match read(arg)? {
            Fill { window: None, add_fields: Some(spec) } => Ok(spec),
            _ => bail!(InvalidOptions, "$setWindowFields is not allowed to be used within an update"),
        }
    }
}

fn read(arg: Value<'_>) -> Result<Fill> {
    let Value::Document(doc) = arg else {
        bail!(FailedToParse, "The $fill stage specification must be an object, found {}", arg.type_name());
    };
    let spec = Spec::read("$fill", doc, &["output", "partitionBy", "partitionByFields", "sortBy"])?;
    let fields = spec.require("output", spec.document("output")?)?;
    if fields.is_empty() {
        bail!(6050203, "The output specification of $fill must have at least one field");
    }
    let sort = spec.document("sortBy")?;
    let mut constants = Vec::new();
    let mut methods = Vec::new();
    for field in fields {
        let Value::Document(how) = field.value() else {
            bail!(6050200, "Each field of $fill's 'output' must be an object, but '{}' is {}", field.name(), field.value().type_name());
        };
        field_path(field.name())?;
        let how = Spec::read("$fill.output", how, &["method", "value"])?;
        match (how.raw("value"), how.string("method")?) {
            (Some(value), None) => constants.push((field.name(), value)),
            (None, Some("linear")) => methods.push((field.name(), "$linearFill")),
            (None, Some("locf")) => methods.push((field.name(), "$locf")),
            (None, Some(other)) => bail!(6050202, "Method must be either locf or linear, but found {other}"),
            _ => bail!(6050201, "Each field of $fill's 'output' must have either a 'value' or a 'method'"),
        }
    }
    if methods.iter().any(|(_, m)| *m == "$linearFill") && sort.is_none() {
        bail!(605001, "$linearFill must be specified with a top level sortBy expression with exactly one element");
    }
    let partition = partition(&spec)?;
    let window = (!methods.is_empty()).then(|| {
        DocBuf::build(|w| {
            if let Some(partition) = &partition {
                w.append("partitionBy", partition.get(""));
            }
            if let Some(sort) = sort {
                w.append("sortBy", sort);
            }
            let mut output = w.document("output");
            for (name, method) in &methods {
                output.document(name).append(method, Value::String(&format!("${name}")));
            }
        })
    });
    let add_fields = (!constants.is_empty()).then(|| DocBuf::build(|w| constants.iter().for_each(|(name, value)| if_null(w, name, *value))));
    Ok(Fill { window, add_fields })
}

fn if_null(w: &mut DocWriter<'_>, name: &str, value: Value<'_>) {
    let mut expr = w.document(name);
    let mut args = expr.array("$ifNull");
    args.push(Value::String(&format!("${name}")));
    args.push(value);
}

/// The partition expression, in a field without a name.
fn partition(spec: &Spec<'_>) -> Result<Option<DocBuf>> {
    match (spec.get("partitionBy"), spec.get("partitionByFields")) {
        (Some(_), Some(_)) => bail!(6050204, "Maximum one of 'partitionBy' and 'partitionByFields can be specified in '$fill'"),
        (Some(v @ (Value::String(_) | Value::Document(_))), None) => Ok(Some(wrapped(v))),
        (Some(v), None) => Err(spec.wrong("partitionBy", v, "string, object")),
        (None, Some(Value::Array(list))) => {
            let mut names = Vec::new();
            for name in list.iter() {
                let Value::String(name) = name else { return Err(spec.wrong("partitionByFields", name, "string")) };
                field_path(name)?;
                names.push(name);
            }
            let keys = smongo_bson::ValueBuf::array(|w| {
                for name in &names {
                    w.push(Value::String(&format!("${name}")));
                }
            });
            let by = DocBuf::build(|w| {
                for (at, key) in keys.as_array().into_iter().flat_map(|a| a.iter().enumerate()) {
                    w.append(&format!("f{at}"), key);
                }
            });
            Ok((!names.is_empty()).then(|| wrapped(Value::Document(by.as_doc()))))
        }
        (None, Some(v)) => Err(spec.wrong("partitionByFields", v, "array")),
        (None, None) => Ok(None),
    }
}

fn wrapped(value: Value<'_>) -> DocBuf {
    DocBuf::build(|w| {
        w.append("", value);
    })
}
