//! Rewriting the expectations of a script from a run, to be reviewed before they are committed.

use smongo_bson::{Doc, DocBuf, json};

use crate::play::{Door, drain, with_database};
use crate::script::{Expect, Script, Step, logical_lines};

/// The text of a case file with its expectations as the door answers now. Commands and comments stay; a step whose kind
/// of answer is the same keeps the fields it looks at.
pub fn bless(text: &str, door: &mut dyn Door) -> Result<String, String> {
    let script = Script::parse(text)?;
    let mut answers = script.steps.iter().map(|step| answer(step, door));
    let mut out = String::new();
    let lines: Vec<&str> = text.lines().collect();
    let mut copied = 0;
    let mut replaced = false;
    for (number, content) in logical_lines(text) {
        let first = number - 1;
        let last = (first + 1..lines.len()).find(|n| !continues(lines[*n])).unwrap_or(lines.len());
        copy(&mut out, lines.get(copied..first).unwrap_or_default());
        copied = last;
        if content.starts_with('>') {
            copy(&mut out, lines.get(first..last).unwrap_or_default());
            replaced = false;
        } else if !std::mem::replace(&mut replaced, true) {
            let answer = answers.next().unwrap_or_else(|| Err("an expectation before any command".into()))?;
            answer.iter().for_each(|line| push(&mut out, line));
        }
    }
    copy(&mut out, lines.get(copied..).unwrap_or_default());
    Ok(out)
}

fn continues(line: &str) -> bool {
    line.starts_with(char::is_whitespace) && !line.trim().is_empty()
}

fn push(out: &mut String, line: &str) {
    out.push_str(line);
    out.push('\n');
}

fn copy(out: &mut String, lines: &[&str]) {
    lines.iter().for_each(|l| push(out, l));
}

/// The expectation lines a step should have.
fn answer(step: &Step, door: &mut dyn Door) -> Result<Vec<String>, String> {
    let command = with_database(step.command.as_doc());
    let reply = door.run(command.as_doc())?;
    if !reply.get("ok").truthy() {
        return Ok(vec![error(step, &reply)]);
    }
    let mut lines = Vec::new();
    for expect in &step.expect {
        if let Expect::Fields(fields) = expect {
            lines.push(format!("< {}", shown(&chosen(fields.as_doc(), reply.as_doc()))));
        }
    }
    let wants_documents = step.expect.iter().any(|e| matches!(e, Expect::Document(_) | Expect::NoDocuments));
    let was_error = step.expect.iter().all(|e| matches!(e, Expect::Error { .. }));
    if wants_documents || (was_error && reply.get("cursor").as_doc().is_some()) {
        let documents = drain(&reply, command.get("$db"), door)?;
        lines.extend(documents.iter().map(|d| format!("= {}", shown(d))));
        if documents.is_empty() {
            lines.push("= .".to_owned());
        }
    } else if was_error {
        let own = DocBuf::build(|w| {
            for e in reply.as_doc().iter().filter(|e| !matches!(e.name(), "ok" | "$clusterTime" | "operationTime")) {
                w.append_element(&e);
            }
        });
        lines.push(format!("< {}", shown(&own)));
    }
    Ok(lines)
}

/// The error, with the text that was looked for where it is still part of the message.
fn error(step: &Step, reply: &DocBuf) -> String {
    let message = reply.get("errmsg").as_str().unwrap_or_default();
    let text = step.expect.iter().find_map(|e| match e {
        Expect::Error { text, .. } if message.contains(text.as_str()) => Some(text.as_str()),
        _ => None,
    });
    let code = smongo_bson::number::to_i64_exact(reply.get("code")).unwrap_or_default();
    format!("! {code} {} {}", reply.get("codeName").as_str().unwrap_or_default(), text.unwrap_or_default()).trim_end().to_owned()
}

/// As short as it can be read back.
fn shown(doc: &DocBuf) -> String {
    let relaxed = json::to_relaxed(doc.as_doc());
    let same = json::parse_doc(&relaxed).is_ok_and(|d| d.as_bytes() == doc.as_bytes());
    if same { relaxed } else { json::to_canonical(doc.as_doc()) }
}

/// The reply's values of the fields that were expected.
fn chosen(fields: Doc<'_>, reply: Doc<'_>) -> DocBuf {
    DocBuf::build(|w| {
        for e in fields {
            w.append(e.name(), reply.get(e.name()));
        }
    })
}

#[cfg(test)]
mod tests {
    use smongo_bson::{Doc, DocBuf, json};

    struct Fixed(Vec<&'static str>);

    impl crate::Door for Fixed {
        fn run(&mut self, _command: Doc<'_>) -> Result<DocBuf, String> {
            json::parse_doc(self.0.remove(0)).map_err(|e| e.to_string())
        }
    }

    #[test]
    fn expectations_are_rewritten_and_nothing_else() {
        let text = "# A comment.\n> {\"insert\": \"t\",\n  \"documents\": []}\n< {\"n\": 1}\n\n# Another.\n> {\"find\": \"t\"}\n= {\"_id\": 1}\n= {\"_id\": 2}\n> {\"drop\": \"u\"}\n< {\"nIndexesWas\": 1}\n";
        let replies = vec![
            "{\"n\": 2, \"ok\": 1.0}",
            "{\"cursor\": {\"firstBatch\": [{\"_id\": 7}], \"id\": {\"$numberLong\": \"0\"}, \"ns\": \"test.t\"}, \"ok\": 1.0}",
            "{\"ok\": 0.0, \"code\": 26, \"codeName\": \"NamespaceNotFound\", \"errmsg\": \"ns not found\"}",
        ];
        let blessed = super::bless(text, &mut Fixed(replies)).expect("a blessed text");
        let expected = "# A comment.\n> {\"insert\": \"t\",\n  \"documents\": []}\n< {\"n\": 2}\n\n# Another.\n> {\"find\": \"t\"}\n= {\"_id\": 7}\n> {\"drop\": \"u\"}\n! 26 NamespaceNotFound\n";
        assert_eq!(blessed.replace(": ", ":"), expected.replace(": ", ":"));
    }
}
