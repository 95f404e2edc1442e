//! $changeStream and $changeStreamSplitLargeEvent: their arguments, and what may follow them. The events are the engine's.

use smongo_bson::{Doc, DocBuf, Result, Timestamp, Value, bail};

use super::{Stage, source};
use crate::cx::CompileCx;

pub const CHANGE_STREAM: &str = "$changeStream";
pub const SPLIT_LARGE_EVENT: &str = "$changeStreamSplitLargeEvent";

/// Stages that keep an event an event.
const FOLLOWERS: &[&str] = &["$addFields", "$match", "$project", "$redact", "$replaceRoot", "$replaceWith", "$set", "$unset"];

/// The argument of `$changeStream`.
#[derive(Clone, Debug, Default)]
pub struct ChangeStreamSpec {
    pub full_document: FullDocument,
    pub before_change: BeforeChange,
    pub start: Start,
    pub all_changes_for_cluster: bool,
    pub show_expanded_events: bool,
}

/// What an update event carries as `fullDocument`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FullDocument {
    #[default]
    Default,
    UpdateLookup,
    WhenAvailable,
    Required,
}

/// What an event carries as `fullDocumentBeforeChange`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BeforeChange {
    #[default]
    Off,
    WhenAvailable,
    Required,
}

/// Where a stream begins.
#[derive(Clone, Debug, Default)]
pub enum Start {
    #[default]
    Now,
    At(Timestamp),
    /// A resume token, which must not be an invalidate event's.
    ResumeAfter(DocBuf),
    StartAfter(DocBuf),
}

impl ChangeStreamSpec {
    /// Reads the stage's argument. Resume tokens are only known to be documents.
    pub fn parse(arg: Value<'_>) -> Result<ChangeStreamSpec> {
        let Value::Document(doc) = arg else { bail!(6188500, "the $changeStream stage must be a nested object, but found {}", arg.type_name()) };
        let mut spec = ChangeStreamSpec::default();
        let (mut resume_after, mut start_after, mut at) = (None, None, None);
        for field in doc {
            let value = field.value();
            match field.name() {
                "fullDocument" => spec.full_document = full_document(value)?,
                "fullDocumentBeforeChange" => spec.before_change = before_change(value)?,
                "resumeAfter" => resume_after = token("resumeAfter", value)?,
                "startAfter" => start_after = token("startAfter", value)?,
                "startAtOperationTime" => {
                    at = match value {
                        Value::Timestamp(ts) => Some(ts),
                        Value::Null => None,
                        v => return Err(wrong_type("startAtOperationTime", v, "timestamp")),
                    }
                }
                "allChangesForCluster" => spec.all_changes_for_cluster = boolean("allChangesForCluster", value)?,
                "showExpandedEvents" => spec.show_expanded_events = boolean("showExpandedEvents", value)?,
                other => bail!(40415, "BSON field '$changeStream.{other}' is an unknown field."),
            }
        }
        spec.start = match (resume_after, start_after, at) {
            (Some(_), Some(_), _) => bail!(50865, "Do not specify both 'resumeAfter' and 'startAfter' in a $changeStream stage"),
            (Some(_), _, Some(_)) | (_, Some(_), Some(_)) => {
                bail!(40674, "Only one type of resume option is allowed, but multiple were found.")
            }
            (Some(token), None, None) => Start::ResumeAfter(token),
            (None, Some(token), None) => Start::StartAfter(token),
            (None, None, Some(ts)) => Start::At(ts),
            (None, None, None) => Start::Now,
        };
        Ok(spec)
    }
}

fn wrong_type(name: &str, value: Value<'_>, expected: &str) -> smongo_bson::Error {
    smongo_bson::err!(TypeMismatch, "BSON field '$changeStream.{name}' is the wrong type '{}', expected type '{expected}'", value.type_name())
}

fn boolean(name: &str, value: Value<'_>) -> Result<bool> {
    match value {
        Value::Bool(b) => Ok(b),
        v => Err(wrong_type(name, v, "bool")),
    }
}

fn token(name: &str, value: Value<'_>) -> Result<Option<DocBuf>> {
    match value {
        Value::Document(d) => Ok(Some(DocBuf::from(d))),
        Value::Null => Ok(None),
        v => Err(wrong_type(name, v, "object")),
    }
}

fn unknown_mode<T>(name: &str, mode: &str) -> Result<T> {
    bail!(BadValue, "Enumeration value '{mode}' for field '$changeStream.{name}' is not a valid value.")
}

fn full_document(value: Value<'_>) -> Result<FullDocument> {
    match value {
        Value::Null | Value::String("default") => Ok(FullDocument::Default),
        Value::String("updateLookup") => Ok(FullDocument::UpdateLookup),
        Value::String("whenAvailable") => Ok(FullDocument::WhenAvailable),
        Value::String("required") => Ok(FullDocument::Required),
        Value::String(mode) => unknown_mode("fullDocument", mode),
        v => Err(wrong_type("fullDocument", v, "string")),
    }
}

fn before_change(value: Value<'_>) -> Result<BeforeChange> {
    match value {
        Value::Null | Value::String("off") => Ok(BeforeChange::Off),
        Value::String("whenAvailable") => Ok(BeforeChange::WhenAvailable),
        Value::String("required") => Ok(BeforeChange::Required),
        Value::String(mode) => unknown_mode("fullDocumentBeforeChange", mode),
        v => Err(wrong_type("fullDocumentBeforeChange", v, "string")),
    }
}

pub(super) fn parse(arg: Value<'_>, cx: &CompileCx, out: &mut Vec<Stage>) -> Result<()> {
    ChangeStreamSpec::parse(arg)?;
    source::push(CHANGE_STREAM, arg, cx, out)
}

/// Behind a `$changeStream` the engine does the splitting and takes the stage out of the pipeline first.
pub(super) fn parse_split(arg: Value<'_>, _cx: &CompileCx, _out: &mut Vec<Stage>) -> Result<()> {
    check_split(arg)?;
    bail!(IllegalOperation, "$changeStreamSplitLargeEvent can only be used in a $changeStream pipeline")
}

fn check_split(arg: Value<'_>) -> Result<()> {
    match arg {
        Value::Document(d) if d.is_empty() => Ok(()),
        Value::Document(_) => bail!(7182800, "$changeStreamSplitLargeEvent spec should be an empty object"),
        v => bail!(7182800, "$changeStreamSplitLargeEvent spec should be an empty object, but found {}", v.type_name()),
    }
}

/// Checks the stages behind a `$changeStream`; tells whether the last of them splits large events.
pub fn check_followers(stages: &[Doc<'_>]) -> Result<bool> {
    for (at, stage) in stages.iter().enumerate() {
        let Some(first) = stage.first() else { continue };
        match first.name() {
            SPLIT_LARGE_EVENT => {
                check_split(first.value())?;
                if at + 1 != stages.len() {
                    bail!(7182802, "$changeStreamSplitLargeEvent must be the last stage in the pipeline");
                }
                return Ok(true);
            }
            "$fill" if fills_with_values(first.value()) => {}
            // The registry complains of what is no stage at all.
            name if FOLLOWERS.contains(&name) || super::registry::find(name).is_none() => {}
            name => bail!(IllegalOperation, "{name} is not permitted in a $changeStream pipeline"),
        }
    }
    Ok(false)
}

/// A `$fill` that needs no order and no neighbours is an `$addFields`.
fn fills_with_values(arg: Value<'_>) -> bool {
    let Value::Document(fill) = arg else { return true };
    let by_value = |v: Value<'_>| v.as_doc().is_none_or(|d| !d.contains("method"));
    !fill.contains("sortBy") && fill.get("output").as_doc().is_none_or(|o| o.iter().all(|e| by_value(e.value())))
}
