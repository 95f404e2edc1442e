//! CSV inputs. Values are integers, floating-point numbers or strings, whichever fits first, as mongoimport infers them.

use std::cell::Cell;
use std::io;
use std::rc::Rc;

use csv::{ByteRecord, Reader, ReaderBuilder};
use smongo_bson::{DocBuf, DocWriter};

use super::record::{Place, Record};

/// A field of the documents: a column, or a document of fields whose names had dots.
enum Field {
    Column(usize),
    Document(Vec<(String, Field)>),
}

pub struct Csv<R> {
    reader: Reader<Quotes<R>>,
    fields: Vec<(String, Field)>,
    columns: usize,
    ignore_blanks: bool,
    /// Where the reader began.
    start: u64,
    /// Whether what was read so far ends within quotes.
    open: Rc<Cell<bool>>,
    /// The record that was read ahead: at the end of the file it may turn out to have swallowed what follows an open quote.
    ahead: Option<Record>,
}

impl<R: io::Read> Csv<R> {
    /// With the names of the fields, or with `None` where the first line has them. `start`: bytes of the file before the input.
    pub fn new(input: R, names: Option<Vec<String>>, ignore_blanks: bool, start: u64) -> Result<Csv<R>, String> {
        let open = Rc::new(Cell::new(false));
        let input = Quotes { input, state: Quote::Start, open: open.clone() };
        let mut reader = ReaderBuilder::new().has_headers(false).flexible(true).from_reader(input);
        let names = match names {
            Some(names) => names,
            None => header(&mut reader)?,
        };
        let fields = tree(&names)?;
        let mut csv = Csv { reader, fields, columns: names.len(), ignore_blanks, start, open, ahead: None };
        csv.ahead = csv.read().map_err(|e| e.to_string())?;
        if csv.ahead.is_none() && csv.open.get() {
            return Err("line 1, byte 1: a quote of the header is not closed".to_owned());
        }
        Ok(csv)
    }

    pub fn next(&mut self) -> io::Result<Option<Record>> {
        let Some(record) = self.ahead.take() else { return Ok(None) };
        self.ahead = self.read()?;
        if self.ahead.is_none() && self.open.get() {
            return Ok(Some(Record { doc: Err("a quote is not closed: the file is cut off, or a quote is missing".to_owned()), ..record }));
        }
        Ok(Some(record))
    }

    fn read(&mut self) -> io::Result<Option<Record>> {
        let mut row = ByteRecord::new();
        let read = self.reader.read_byte_record(&mut row);
        let place = |at: &csv::Position| Place { line: at.line(), bytes: self.start + at.byte() };
        match read {
            Ok(true) => {}
            Ok(false) => return Ok(None),
            Err(e) if e.is_io_error() => return Err(io::Error::other(e)),
            Err(e) => return Ok(Some(Record { at: place(self.reader.position()), doc: Err(e.to_string()) })),
        }
        let at = row.position().map_or(Place::START, place);
        Ok(Some(Record { at, doc: self.document(&row) }))
    }

    fn document(&self, row: &ByteRecord) -> Result<DocBuf, String> {
        let mut cells = Vec::with_capacity(row.len());
        for (n, cell) in row.iter().enumerate() {
            cells.push(std::str::from_utf8(cell).map_err(|_| format!("column {} is not UTF-8", n + 1))?);
        }
        Ok(DocBuf::build(|w| {
            self.write(w, &self.fields, &cells);
            // Cells beyond the header are kept, under names that count them.
            for (n, cell) in cells.iter().enumerate().skip(self.columns) {
                append(w, &format!("field{n}"), cell);
            }
        }))
    }

    fn write(&self, w: &mut DocWriter<'_>, fields: &[(String, Field)], cells: &[&str]) {
        for (name, field) in fields {
            match field {
                Field::Column(n) => {
                    if let Some(cell) = cells.get(*n).filter(|c| !(self.ignore_blanks && c.is_empty())) {
                        append(w, name, cell);
                    }
                }
                Field::Document(inner) if self.any(inner, cells) => self.write(&mut w.document(name), inner, cells),
                Field::Document(_) => {}
            }
        }
    }

    /// Whether a document of fields would have any.
    fn any(&self, fields: &[(String, Field)], cells: &[&str]) -> bool {
        fields.iter().any(|(_, field)| match field {
            Field::Column(n) => cells.get(*n).is_some_and(|c| !(self.ignore_blanks && c.is_empty())),
            Field::Document(inner) => self.any(inner, cells),
        })
    }
}

/// Passes an input on and remembers whether it stands within quotes, as the reader of CSV takes them: one at the beginning of a
/// cell opens, the next that is not doubled closes.
struct Quotes<R> {
    input: R,
    state: Quote,
    open: Rc<Cell<bool>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Quote {
    /// At the beginning of a cell.
    Start,
    Cell,
    Open,
    /// Behind a quote within quotes: it has closed them, unless another follows.
    Closing,
}

impl<R: io::Read> io::Read for Quotes<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.input.read(buf)?;
        for byte in buf.iter().take(n) {
            self.state = match (self.state, byte) {
                (Quote::Open, b'"') => Quote::Closing,
                (Quote::Open, _) => Quote::Open,
                (Quote::Start | Quote::Closing, b'"') => Quote::Open,
                (_, b',' | b'\n' | b'\r') => Quote::Start,
                _ => Quote::Cell,
            };
        }
        self.open.set(self.state == Quote::Open);
        Ok(n)
    }
}

fn header<R: io::Read>(reader: &mut Reader<R>) -> Result<Vec<String>, String> {
    let mut row = ByteRecord::new();
    if !reader.read_byte_record(&mut row).map_err(|e| e.to_string())? {
        return Err("line 1, byte 1: the file has no header line".to_string());
    }
    let name = |cell: &[u8]| std::str::from_utf8(cell).map(|s| s.trim_start_matches('\u{feff}').trim().to_string());
    row.iter().map(name).collect::<Result<_, _>>().map_err(|_| "line 1, byte 1: the header line is not UTF-8".to_string())
}

/// The names as a tree, in the order of their first occurrence.
fn tree(names: &[String]) -> Result<Vec<(String, Field)>, String> {
    let mut fields = Vec::new();
    for (column, name) in names.iter().enumerate() {
        if name.split('.').any(|part| part.is_empty() || part.starts_with('$')) || name.contains('\0') {
            return Err(format!("'{name}' cannot be the name of a field"));
        }
        add(&mut fields, name, column).map_err(|()| format!("the name '{name}' stands twice, or within another"))?;
    }
    Ok(fields)
}

fn add(fields: &mut Vec<(String, Field)>, name: &str, column: usize) -> Result<(), ()> {
    let (first, rest) = name.split_once('.').map_or((name, None), |(first, rest)| (first, Some(rest)));
    let found = fields.iter_mut().find(|(n, _)| n == first);
    match (found, rest) {
        (None, None) => fields.push((first.to_string(), Field::Column(column))),
        (None, Some(rest)) => {
            let mut inner = Vec::new();
            add(&mut inner, rest, column)?;
            fields.push((first.to_string(), Field::Document(inner)));
        }
        (Some((_, Field::Document(inner))), Some(rest)) => add(inner, rest, column)?,
        _ => return Err(()),
    }
    Ok(())
}

fn append(w: &mut DocWriter<'_>, name: &str, cell: &str) {
    if let Ok(n) = cell.parse::<i64>() {
        match i32::try_from(n) {
            Ok(n) => w.append(name, n),
            Err(_) => w.append(name, n),
        };
    } else if let Ok(n) = cell.parse::<f64>() {
        w.append(name, n);
    } else {
        w.append(name, cell);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use smongo_bson::json::to_canonical;

    fn all(input: &str, names: Option<&str>, ignore_blanks: bool) -> Vec<(u64, String)> {
        let names = names.map(|n| n.split(',').map(str::to_string).collect());
        let mut csv = Csv::new(input.as_bytes(), names, ignore_blanks, 0).map_err(|e| panic!("{e}")).unwrap();
        std::iter::from_fn(|| csv.next().unwrap()).map(|r| (r.at.line, r.doc.map_or_else(|e| e, |d| to_canonical(d.as_doc())))).collect()
    }

    #[test]
    fn types_are_inferred_and_dots_nest() {
        let got = all("a,b.c,d,b.e\n1,2.5,\"x,\"\"y\"\"\nz\",3000000000\n-7,,1e3,007\n", None, false);
        let one = r#"{"a":{"$numberInt":"1"},"b":{"c":{"$numberDouble":"2.5"},"e":{"$numberLong":"3000000000"}},"d":"x,\"y\"\nz"}"#;
        let two = r#"{"a":{"$numberInt":"-7"},"b":{"c":"","e":{"$numberInt":"7"}},"d":{"$numberDouble":"1000.0"}}"#;
        assert_eq!(got, [(2, one.to_string()), (4, two.to_string())]);
    }

    #[test]
    fn rows_may_be_short_long_or_blank() {
        let got = all("1\nx,y,z\n,\n", Some("a,b"), true);
        let want = [(1, r#"{"a":{"$numberInt":"1"}}"#), (2, r#"{"a":"x","b":"y","field2":"z"}"#), (3, "{}")];
        assert_eq!(got, want.map(|(n, s)| (n, s.to_string())));
    }

    #[test]
    fn a_quote_that_is_not_closed_is_told_with_its_row() {
        let got = all("1,2\n3,\"x\n4,5\n", Some("a,b"), false);
        assert_eq!(got[0].1, r#"{"a":{"$numberInt":"1"},"b":{"$numberInt":"2"}}"#);
        assert!(got.len() == 2 && got[1].0 == 2 && got[1].1.contains("quote"), "{got:?}");
        for fine in ["a\"b,c\n", "\"a\"\"\",c\n", "\"a\"b,c\n", "\"\"", "x"] {
            assert!(all(fine, Some("a,b"), false).iter().all(|(_, row)| row.starts_with('{')), "{fine}");
        }
    }

    #[test]
    fn names_that_collide_are_refused() {
        for header in ["a,a", "a,a.b", "a.b,a", "a.", "", "$x"] {
            assert!(Csv::new(header.as_bytes(), None, false, 0).is_err(), "{header}");
        }
    }
}
