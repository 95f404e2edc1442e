//! updateDescription: what an oplog entry's diff says, by dotted paths.

use smongo_bson::path::is_number;
use smongo_bson::{Doc, DocBuf, DocWriter, Value, ValueBuf};

/// One step of a path.
#[derive(Clone, Copy)]
enum Step<'a> {
    Field(&'a str),
    Index(&'a str),
}

#[derive(Default)]
struct Description {
    updated: DocBuf,
    removed: Vec<String>,
    truncated: Vec<(String, i32)>,
    /// Paths whose text alone does not tell fields from positions, with their parts.
    ambiguous: Vec<(String, ValueBuf)>,
}

/// Appends `updateDescription` for a `{$v: 2, diff}` entry.
pub fn append(w: &mut DocWriter<'_>, diff: Doc<'_>, disambiguate: bool) {
    let mut description = Description::default();
    let mut updated = Vec::new();
    {
        let mut out = DocWriter::new(&mut updated);
        description.document(diff, &mut Vec::new(), &mut out);
    }
    description.updated = DocBuf::from_checked(updated);
    let mut w = w.document("updateDescription");
    w.append("updatedFields", description.updated.as_doc());
    {
        let mut removed = w.array("removedFields");
        for path in &description.removed {
            removed.push(&**path);
        }
    }
    {
        let mut truncated = w.array("truncatedArrays");
        for (path, size) in &description.truncated {
            truncated.document().append("field", &**path).append("newSize", *size);
        }
    }
    if disambiguate {
        let mut paths = w.document("disambiguatedPaths");
        for (path, parts) in &description.ambiguous {
            paths.append(path, parts.view());
        }
    }
}

impl Description {
    fn document<'d>(&mut self, diff: Doc<'d>, at: &mut Vec<Step<'d>>, updated: &mut DocWriter<'_>) {
        for part in diff {
            match (part.name(), part.value()) {
                ("d", Value::Document(gone)) => {
                    for field in gone {
                        let path = self.path(at, Step::Field(field.name()));
                        self.removed.push(path);
                    }
                }
                ("u" | "i", Value::Document(new)) => {
                    for field in new {
                        let path = self.path(at, Step::Field(field.name()));
                        updated.append(&path, field.value());
                    }
                }
                (name, Value::Document(inner)) if name.starts_with('s') => {
                    self.inside(inner, at, Step::Field(name.get(1..).unwrap_or_default()), updated);
                }
                _ => {}
            }
        }
    }

    fn inside<'d>(&mut self, diff: Doc<'d>, at: &mut Vec<Step<'d>>, step: Step<'d>, updated: &mut DocWriter<'_>) {
        at.push(step);
        if diff.get("a").truthy() {
            self.array(diff, at, updated);
        } else {
            self.document(diff, at, updated);
        }
        at.pop();
    }

    fn array<'d>(&mut self, diff: Doc<'d>, at: &mut Vec<Step<'d>>, updated: &mut DocWriter<'_>) {
        for part in diff {
            let name = part.name();
            match (name.as_bytes().first(), part.value()) {
                (Some(b'l'), Value::Int32(size)) => {
                    let path = self.join(at, None);
                    self.truncated.push((path, size));
                }
                (Some(b'u'), value) => {
                    let path = self.path(at, Step::Index(name.get(1..).unwrap_or_default()));
                    updated.append(&path, value);
                }
                (Some(b's'), Value::Document(inner)) => {
                    self.inside(inner, at, Step::Index(name.get(1..).unwrap_or_default()), updated);
                }
                _ => {}
            }
        }
    }

    fn path(&mut self, at: &[Step<'_>], last: Step<'_>) -> String {
        self.join(at, Some(last))
    }

    /// The dotted path; noted when its text is ambiguous.
    fn join(&mut self, at: &[Step<'_>], last: Option<Step<'_>>) -> String {
        let steps = || at.iter().copied().chain(last);
        let texts: Vec<&str> = steps().map(|s| match s { Step::Field(t) | Step::Index(t) => t }).collect();
        let path = texts.join(".");
        if steps().any(is_ambiguous) {
            let parts = ValueBuf::array(|w| {
                for step in steps() {
                    match step {
                        Step::Field(name) => w.push(name),
                        Step::Index(n) => w.push(n.parse::<i32>().unwrap_or(i32::MAX)),
                    };
                }
            });
            self.ambiguous.push((path.clone(), parts));
        }
        path
    }
}

/// A field whose name holds a dot or looks like a position.
fn is_ambiguous(step: Step<'_>) -> bool {
    match step {
        Step::Field(name) => name.contains('.') || is_number(name),
        Step::Index(_) => false,
    }
}
