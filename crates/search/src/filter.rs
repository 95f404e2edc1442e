//! The filter of a vector search. Its operators look like those of the query language and mean less: a value is compared with values
//! of its own type, numbers as doubles, null with a null that is there, and a negation is everything else.

use smongo_bson::{Binary, Doc, Result, Value, number};

use crate::spec::wrong;

#[derive(Debug)]
pub enum Filter {
    And(Vec<Filter>),
    Or(Vec<Filter>),
    Not(Box<Filter>),
    Leaf(String, Test),
}

#[derive(Debug)]
pub enum Test {
    Any(Vec<Literal>),
    Compare(Comparison, Literal),
    Exists,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    Greater,
    GreaterOrEqual,
    Less,
    LessOrEqual,
}

/// A value that a filter compares with.
#[derive(Clone, Debug, PartialEq)]
pub enum Literal {
    Null,
    Bool(bool),
    Number(f64),
    String(String),
    ObjectId([u8; 12]),
    Date(i64),
    Uuid([u8; 16]),
}

impl Literal {
    fn of(value: Value<'_>) -> Option<Literal> {
        Some(match value {
            Value::Null => Literal::Null,
            Value::Bool(b) => Literal::Bool(b),
            Value::Int32(_) | Value::Int64(_) | Value::Double(_) => Literal::Number(number::to_f64(value)?),
            Value::String(s) => Literal::String(s.to_owned()),
            Value::ObjectId(id) => Literal::ObjectId(id.0),
            Value::DateTime(millis) => Literal::Date(millis),
            Value::Binary(binary) => Literal::Uuid(uuid(binary)?),
            _ => return None,
        })
    }

    fn compare(&self, other: &Literal) -> Option<std::cmp::Ordering> {
        match (self, other) {
            (Literal::Null, Literal::Null) => Some(std::cmp::Ordering::Equal),
            (Literal::Bool(a), Literal::Bool(b)) => Some(a.cmp(b)),
            (Literal::Number(a), Literal::Number(b)) => a.partial_cmp(b),
            (Literal::String(a), Literal::String(b)) => Some(a.cmp(b)),
            (Literal::ObjectId(a), Literal::ObjectId(b)) => Some(a.cmp(b)),
            (Literal::Date(a), Literal::Date(b)) => Some(a.cmp(b)),
            (Literal::Uuid(a), Literal::Uuid(b)) => Some(a.cmp(b)),
            _ => None,
        }
    }
}

fn uuid(binary: Binary<'_>) -> Option<[u8; 16]> {
    if binary.subtype() == 4 { binary.bytes().try_into().ok() } else { None }
}

/// Reads a filter; `paths` are those that may be filtered by.
///
/// # Errors
/// UnknownError with the path of what is wrong.
pub fn parse(place: &str, filter: Doc<'_>, paths: &[String]) -> Result<Filter> {
    let mut all = Vec::new();
    for field in filter {
        let (name, value) = (field.name(), field.value());
        let here = format!("{place}.{name}");
        match name {
            "$and" => all.push(Filter::And(list(&here, value, paths)?)),
            "$or" => all.push(Filter::Or(list(&here, value, paths)?)),
            "$nor" => all.push(Filter::Not(Box::new(Filter::Or(list(&here, value, paths)?)))),
            _ if name.starts_with('$') => return Err(wrong(place, format_args!("unrecognized field \"{name}\""))),
            _ if !paths.iter().any(|path| path == name) => {
                smongo_bson::bail!(UnknownError, "Path '{name}' needs to be indexed as filter");
            }
            _ => all.push(on_path(&here, name, value)?),
        }
    }
    Ok(Filter::And(all))
}

fn list(place: &str, value: Value<'_>, paths: &[String]) -> Result<Vec<Filter>> {
    let Value::Array(list) = value else { return Err(wrong(place, "must be an array")) };
    if list.is_empty() {
        return Err(wrong(place, "cannot be empty"));
    }
    let one = |(at, value): (usize, Value<'_>)| match value {
        Value::Document(filter) => parse(&format!("{place}[{at}]"), filter, paths),
        _ => Err(wrong(&format!("{place}[{at}]"), "must be a document")),
    };
    list.iter().enumerate().map(one).collect()
}

fn on_path(place: &str, path: &str, value: Value<'_>) -> Result<Filter> {
    let leaf = |test| Filter::Leaf(path.to_owned(), test);
    let Value::Document(tests) = value else { return Ok(leaf(Test::Any(vec![literal(place, value)?]))) };
    if tests.is_empty() || !tests.iter().all(|test| test.name().starts_with('$')) {
        return Err(wrong(place, "must be a boolean, number, string, ObjectId, date, UUID or null, or a document of operators"));
    }
    let mut all = Vec::new();
    for test in tests {
        let (name, value) = (test.name(), test.value());
        let here = format!("{place}.{name}");
        let compared = |comparison| Ok::<_, smongo_bson::Error>(leaf(Test::Compare(comparison, literal(&here, value)?)));
        all.push(match name {
            "$eq" => leaf(Test::Any(vec![literal(&here, value)?])),
            "$ne" => Filter::Not(Box::new(leaf(Test::Any(vec![literal(&here, value)?])))),
            "$in" => leaf(Test::Any(literals(&here, value)?)),
            "$nin" => Filter::Not(Box::new(leaf(Test::Any(literals(&here, value)?)))),
            "$gt" => compared(Comparison::Greater)?,
            "$gte" => compared(Comparison::GreaterOrEqual)?,
            "$lt" => compared(Comparison::Less)?,
            "$lte" => compared(Comparison::LessOrEqual)?,
            "$exists" => match value {
                Value::Bool(true) => leaf(Test::Exists),
                Value::Bool(false) => Filter::Not(Box::new(leaf(Test::Exists))),
                _ => return Err(wrong(&here, "must be a boolean")),
            },
            "$not" => match value {
                Value::Document(_) => Filter::Not(Box::new(on_path(&here, path, value)?)),
                _ => return Err(wrong(&here, "must be a document")),
            },
            _ => return Err(wrong(place, format_args!("unrecognized field \"{name}\""))),
        });
    }
    Ok(Filter::And(all))
}

fn literal(place: &str, value: Value<'_>) -> Result<Literal> {
    Literal::of(value).ok_or_else(|| wrong(place, "must be a boolean, number, string, ObjectId, date, UUID or null"))
}

/// The values of `$in` and `$nin`: some, of one type.
fn literals(place: &str, value: Value<'_>) -> Result<Vec<Literal>> {
    let Value::Array(list) = value else { return Err(wrong(place, "must be an array")) };
    if list.is_empty() {
        return Err(wrong(place, "cannot be empty"));
    }
    let one = |(at, value): (usize, Value<'_>)| match value {
        Value::Null => Err(wrong(&format!("{place}[{at}]"), "cannot be null")),
        value => literal(&format!("{place}[{at}]"), value),
    };
    let all = list.iter().enumerate().map(one).collect::<Result<Vec<_>>>()?;
    if all.windows(2).any(|pair| std::mem::discriminant(&pair[0]) != std::mem::discriminant(&pair[1])) {
        return Err(wrong(place, "must have values of one type"));
    }
    Ok(all)
}

impl Filter {
    /// Whether a document is found; `within` says where in it a path leads, if it leads there at all.
    pub fn matches<'p>(&'p self, doc: Doc<'_>, within: &dyn Fn(&'p str) -> Option<&'p str>) -> bool {
        match self {
            Filter::And(all) => all.iter().all(|filter| filter.matches(doc, within)),
            Filter::Or(some) => some.iter().any(|filter| filter.matches(doc, within)),
            Filter::Not(filter) => !filter.matches(doc, within),
            Filter::Leaf(path, test) => {
                let mut found = false;
                if let Some(path) = within(path) {
                    visit(Value::Document(doc), path, &mut |value| found |= test.matches(value));
                }
                found
            }
        }
    }
}

impl Test {
    fn matches(&self, value: Value<'_>) -> bool {
        let literal = Literal::of(value);
        match self {
            Test::Exists => true,
            Test::Any(wanted) => literal.is_some_and(|literal| wanted.iter().any(|one| literal.compare(one) == Some(std::cmp::Ordering::Equal))),
            Test::Compare(comparison, bound) => literal.and_then(|literal| literal.compare(bound)).is_some_and(|order| match comparison {
                Comparison::Greater => order.is_gt(),
                Comparison::GreaterOrEqual => order.is_ge(),
                Comparison::Less => order.is_lt(),
                Comparison::LessOrEqual => order.is_le(),
            }),
        }
    }
}

/// All values at a path, those of arrays one by one.
fn visit(value: Value<'_>, path: &str, sink: &mut dyn FnMut(Value<'_>)) {
    match value {
        Value::Array(list) => list.iter().for_each(|value| visit(value, path, sink)),
        Value::Missing => {}
        value if path.is_empty() => sink(value),
        Value::Document(doc) => {
            let (head, rest) = path.split_once('.').unwrap_or((path, ""));
            visit(doc.get(head), rest, sink);
        }
        _ => {}
    }
}
