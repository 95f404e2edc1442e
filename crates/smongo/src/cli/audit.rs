//! The flags of the audit log, as mongod's.

use std::fmt::Display;
use std::path::PathBuf;

use clap::ValueEnum;
use smongo_bson::{DocBuf, json};
use smongo_engine::{Audit, Destination};

use super::Failure;

#[derive(clap::Args, Clone)]
#[command(next_help_heading = "Audit log")]
pub struct Args {
    /// Write who did what, a line of JSON each: to a file, the console or the system's log
    #[arg(long = "auditDestination", value_enum, value_name = "WHERE")]
    pub destination: Option<Where>,
    /// The file of --auditDestination file
    #[arg(long = "auditPath", value_name = "FILE", requires = "destination")]
    path: Option<PathBuf>,
    /// Write only events that match, as '{atype: {$in: ["authenticate", "authCheck"]}}'
    #[arg(long = "auditFilter", value_name = "FILTER", requires = "destination")]
    filter: Option<String>,
    /// Have every line on disk before what it tells of is done
    #[arg(long = "auditSync", requires = "destination")]
    sync: bool,
    /// What becomes of what cannot be written: it is refused, or counted and done all the same
    #[arg(long = "auditFailure", value_enum, value_name = "WHAT", default_value_t = OnFailure::Refuse, requires = "destination")]
    failure: OnFailure,
    /// How events are written: JSON
    #[arg(long = "auditFormat", value_name = "FORMAT", default_value = "JSON", requires = "destination")]
    format: String,
    #[arg(long = "auditSchema", value_name = "SCHEMA", default_value = "mongo", requires = "destination", hide = true)]
    schema: String,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Where {
    File,
    Console,
    Syslog,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum OnFailure {
    Refuse,
    Continue,
}

impl Args {
    /// What the flags ask for; `startup` is what the log's first line tells of all of them.
    ///
    /// # Errors
    /// Flags that do not go together, or ask for what is not there.
    pub fn audit(&self) -> Result<Option<Audit>, Failure> {
        let Some(to) = self.destination else { return Ok(None) };
        if !self.format.eq_ignore_ascii_case("JSON") {
            return Err(Failure::usage(format!("--auditFormat {}: events are written as JSON, and in no other format", self.format)));
        }
        if self.schema != "mongo" {
            return Err(Failure::usage(format!("--auditSchema {}: events are written in the schema mongo, and in no other", self.schema)));
        }
        let destination = match (to, &self.path) {
            (Where::File, Some(path)) => Destination::File(path.clone()),
            (Where::File, None) => return Err(Failure::usage("--auditDestination file needs --auditPath FILE")),
            (_, Some(_)) => return Err(Failure::usage("--auditPath is for --auditDestination file")),
            (Where::Console, None) => Destination::Console,
            (Where::Syslog, None) => Destination::Syslog,
        };
        if self.sync && to != Where::File {
            return Err(Failure::usage("--auditSync is for --auditDestination file"));
        }
        let filter = self.filter.as_deref().map(|text| parse(text).map_err(|e| Failure::usage(format!("--auditFilter {text}: {e}")))).transpose()?;
        Ok(Some(Audit { destination, filter, sync: self.sync, goes_on: self.failure == OnFailure::Continue, startup: self.startup() }))
    }

    /// As the audit log tells of itself.
    fn startup(&self) -> DocBuf {
        DocBuf::build(|w| {
            let mut w = w.document("auditLog");
            w.append("destination", self.destination.and_then(|d| d.to_possible_value()).as_ref().map_or("", |v| v.get_name())).append("format", "JSON");
            if let Some(path) = &self.path {
                w.append("path", &*path.display().to_string());
            }
            if let Some(filter) = &self.filter {
                w.append("filter", &**filter);
            }
            w.append("sync", self.sync).append("failure", self.failure.to_possible_value().as_ref().map_or("", |v| v.get_name()));
        })
    }
}

/// A filter as people write one: JSON, where names need no quotes, strings may have single ones, and `/^a/i` is a regular expression.
fn parse(text: &str) -> Result<DocBuf, String> {
    json::parse_doc(&strict(text)?).map_err(|e| e.message().to_owned())
}

fn strict(text: &str) -> Result<String, String> {
    let mut out = String::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let end = |at: Option<usize>, what: &dyn Display| at.ok_or_else(|| format!("{what} has no end"));
        let word = |c: char| c.is_alphanumeric() || matches!(c, '_' | '$');
        let len = match c {
            '"' | '\'' => {
                let len = end(quoted(rest, c), &"a string")?;
                out.push_str(&quote(&rest[1..len - 1], c));
                len
            }
            '/' => {
                let len = end(quoted(rest, '/'), &"a regular expression")?;
                let flags = rest[len..].find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len() - len);
                // The older notation doubles what stands before a point.
                let pattern = rest[1..len - 1].replace("\\\\", "\\").replace("\\/", "/");
                let strings = [&*pattern, &rest[len..len + flags]].map(|text| json::value_to_relaxed(smongo_bson::Value::String(text)));
                out.push_str(&format!("{{\"$regularExpression\":{{\"pattern\":{},\"options\":{}}}}}", strings[0], strings[1]));
                len + flags
            }
            c if word(c) && !c.is_ascii_digit() => {
                let len = rest.find(|c: char| !word(c) && c != '.').unwrap_or(rest.len());
                let is_name = rest[len..].trim_start().starts_with(':');
                if is_name { out.push_str(&format!("\"{}\"", &rest[..len])) } else { out.push_str(&rest[..len]) }
                len
            }
            // With the sign and the exponent.
            c if c.is_ascii_digit() => {
                let len = rest.find(|c: char| !matches!(c, '0'..='9' | '.' | 'e' | 'E' | '+' | '-')).unwrap_or(rest.len());
                out.push_str(&rest[..len]);
                len
            }
            c => {
                out.push(c);
                c.len_utf8()
            }
        };
        rest = &rest[len..];
    }
    Ok(out)
}

/// The bytes of what begins and ends with this mark.
fn quoted(text: &str, mark: char) -> Option<usize> {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        if c == mark && !escaped {
            return Some(at + c.len_utf8());
        }
        escaped = c == '\\' && !escaped;
    }
    None
}

/// A string's inside in the marks of JSON.
fn quote(inside: &str, mark: char) -> String {
    if mark == '"' { format!("\"{inside}\"") } else { format!("\"{}\"", inside.replace("\\'", "'").replace('"', "\\\"")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The manual's examples, and what a hasty hand makes of them.
    #[test]
    fn filters_are_read_as_people_write_them() {
        for (text, read) in [
            (r#"{ atype: { $in: [ "createCollection", "dropCollection" ] } }"#, r#"{"atype":{"$in":["createCollection","dropCollection"]}}"#),
            (r#"{ atype: "authenticate", "param.db": "test" }"#, r#"{"atype":"authenticate","param.db":"test"}"#),
            (r#"{ "param.ns": /^test\\./ }"#, r#"{"param.ns":{"$regularExpression":{"pattern":"^test\\.","options":""}}}"#),
            (r#"{ "param.ns": /^te\/st\.a"/im, a: 1 }"#, r#"{"param.ns":{"$regularExpression":{"pattern":"^te/st\\.a\"","options":"im"}},"a":1}"#),
            (r#"{ roles: { role: 'read"Write', db: 'it\'s' } }"#, r#"{"roles":{"role":"read\"Write","db":"it's"}}"#),
            (r#"{result: {$ne: 0}, a.b: true, c: null, d: -1.5e3, e: [1,2], "f": "x: y /z/"}"#, r#"{"result":{"$ne":0},"a.b":true,"c":null,"d":-1500.0,"e":[1,2],"f":"x: y /z/"}"#),
            (r#"{"$or":[{"atype":"authenticate"},{"roles.role":"readWrite"}]}"#, r#"{"$or":[{"atype":"authenticate"},{"roles.role":"readWrite"}]}"#),
        ] {
            let parsed = parse(text).map(|doc| json::to_relaxed(doc.as_doc()));
            assert_eq!(parsed.as_deref(), Ok(read), "{text}");
        }
        for text in ["", "{", "[1]", "{a: 'b}", "{a: /b}", "{a: b}", "atype"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
