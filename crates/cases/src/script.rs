//! Parsing case files.

use smongo_bson::{DocBuf, json};

/// A parsed case file.
pub struct Script {
    pub steps: Vec<Step>,
}

/// A command and what its reply must be like.
pub struct Step {
    /// Line of the command, counted from 1.
    pub line: usize,
    pub command: DocBuf,
    pub expect: Vec<Expect>,
}

pub enum Expect {
    Fields(DocBuf),
    Document(DocBuf),
    NoDocuments,
    Error { code: i32, name: String, text: String },
}

impl Script {
    /// Parses a file's text; errors name the line.
    pub fn parse(text: &str) -> Result<Script, String> {
        let mut steps: Vec<Step> = Vec::new();
        for (line, content) in logical_lines(text) {
            let at = |e: String| format!("line {line}: {e}");
            let (mark, rest) = content.split_at(content.len().min(1));
            let rest = rest.trim();
            let doc = || json::parse_doc(rest).map_err(|e| at(e.to_string()));
            if mark == ">" {
                steps.push(Step { line, command: doc()?, expect: Vec::new() });
                continue;
            }
            let expect = match (mark, rest) {
                ("<", _) => Expect::Fields(doc()?),
                ("=", ".") => Expect::NoDocuments,
                ("=", _) => Expect::Document(doc()?),
                ("!", _) => error(rest).ok_or_else(|| at("expected `! CODE NAME [text]`".into()))?,
                _ => return Err(at(format!("a line cannot begin with {mark:?}"))),
            };
            let step = steps.last_mut().ok_or_else(|| at("an expectation before any command".into()))?;
            step.expect.push(expect);
        }
        for step in &steps {
            if step.expect.is_empty() {
                return Err(format!("line {}: a command without expectation shows nothing", step.line));
            }
        }
        Ok(Script { steps })
    }
}

fn error(rest: &str) -> Option<Expect> {
    let mut words = rest.splitn(3, ' ');
    let code = words.next()?.parse().ok()?;
    Some(Expect::Error { code, name: words.next()?.to_owned(), text: words.next().unwrap_or("").trim().to_owned() })
}

/// Lines without comments and empty ones; continued lines joined; with the number of the first.
pub(crate) fn logical_lines(text: &str) -> Vec<(usize, String)> {
    let mut lines: Vec<(usize, String)> = Vec::new();
    for (n, line) in text.lines().enumerate() {
        if line.trim().is_empty() || line.starts_with('#') {
            continue;
        }
        match (line.starts_with(char::is_whitespace), lines.last_mut()) {
            (true, Some((_, last))) => {
                last.push(' ');
                last.push_str(line.trim());
            }
            _ => lines.push((n + 1, line.trim_end().to_owned())),
        }
    }
    lines
}
