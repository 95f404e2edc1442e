//! Documents made of index keys, as far as a query needs them, so that their records are not read; and tests of keys.

use smongo_bson::keystring::{self, TypeBitsReader};
use smongo_bson::{Doc, DocWriter, Result, Type, bail};
use smongo_storage::Table;

use super::{Counters, Entry, Rows, Test};
use crate::data::keys::{RecordId, record_key};
use crate::data::op::OpCx;
use crate::query::plan::{Covered, Filter};

/// The fields of a document, some levels deep.
struct Field {
    name: String,
    place: Place,
}

enum Place {
    /// A value of the key, by its position among those that are taken out.
    Value(usize),
    Inside(Vec<Field>),
}

/// A value in `Keys::values`.
#[derive(Clone, Copy)]
struct Slot {
    tag: u8,
    start: usize,
    end: usize,
}

/// Takes keys apart and makes documents of them.
struct Keys {
    covered: Covered,
    fields: Vec<Field>,
    values: Vec<u8>,
    slots: Vec<Slot>,
}

impl Keys {
    fn new(covered: Covered) -> Keys {
        let mut fields = Vec::new();
        for (n, part) in covered.parts.iter().enumerate() {
            if let Some(path) = covered.index.paths.get(*part) {
                place(&mut fields, path.text(), n);
            }
        }
        Keys { covered, fields, values: Vec::new(), slots: Vec::new() }
    }

    /// Decodes a key; tells whether all values are known: null stands also for a missing field, undefined for an empty array.
    fn decode(&mut self, entry: &Entry<'_>) -> Result<bool> {
        self.values.clear();
        self.slots.clear();
        let mut bits = TypeBitsReader::new(entry.bits);
        let mut rest = entry.key;
        let mut wanted = self.covered.parts.iter().peekable();
        let mut known = true;
        for (n, part) in self.covered.index.parts.iter().enumerate() {
            let Some(next) = wanted.peek() else { break };
            let start = self.values.len();
            // Values in front are decoded too: the type bits count them.
            let (tag, after) = keystring::decode_into(&mut self.values, rest, part.descending, &mut bits)?;
            rest = after;
            if **next != n {
                self.values.truncate(start);
                continue;
            }
            wanted.next();
            known &= tag != Type::Null as u8 && tag != Type::Undefined as u8;
            self.slots.push(Slot { tag, start, end: self.values.len() });
        }
        Ok(known)
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.clear();
        self.write_fields(&self.fields, &mut DocWriter::new(out));
    }

    fn write_fields(&self, fields: &[Field], w: &mut DocWriter<'_>) {
        for field in fields {
            match &field.place {
                Place::Inside(inner) => self.write_fields(inner, &mut w.document(&field.name)),
                Place::Value(n) => {
                    if let Some(slot) = self.slots.get(*n) {
                        w.append_bytes(slot.tag, &field.name, self.values.get(slot.start..slot.end).unwrap_or_default());
                    }
                }
            }
        }
    }
}

fn place(fields: &mut Vec<Field>, path: &str, value: usize) {
    let Some((first, rest)) = path.split_once('.') else {
        fields.push(Field { name: path.to_owned(), place: Place::Value(value) });
        return;
    };
    let at = match fields.iter().position(|f| f.name == first) {
        Some(at) => at,
        None => {
            fields.push(Field { name: first.to_owned(), place: Place::Inside(Vec::new()) });
            fields.len() - 1
        }
    };
    if let Some(Field { place: Place::Inside(inner), .. }) = fields.get_mut(at) {
        place(inner, rest, value);
    }
}

/// What is done with the documents of keys.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// They go on in place of the records.
    Documents,
    /// They are tested only. Null and a missing field are the same to the tests.
    Test,
}

pub struct Cover {
    input: Box<dyn Rows>,
    records: Table,
    keys: Keys,
    mode: Mode,
    test: Test,
    /// Documents with arrays have come while the plan was parked, so that its keys are parts of values.
    stale: bool,
    parked: bool,
    buf: Vec<u8>,
    counters: Counters,
}

impl Cover {
    pub fn documents(input: Box<dyn Rows>, records: Table, covered: Covered) -> Cover {
        Cover::new(input, records, covered, Mode::Documents, None)
    }

    pub fn filter(input: Box<dyn Rows>, records: Table, covered: Covered, filter: Filter) -> Cover {
        Cover::new(input, records, covered, Mode::Test, Some(filter))
    }

    fn new(input: Box<dyn Rows>, records: Table, covered: Covered, mode: Mode, filter: Option<Filter>) -> Cover {
        let test = Test::new(filter);
        Cover { input, records, keys: Keys::new(covered), mode, test, stale: false, parked: false, buf: Vec::new(), counters: Counters::default() }
    }

    /// Makes the document of the current entry; `false` when its record is gone.
    fn make(&mut self, op: &mut OpCx) -> Result<bool> {
        let Some(entry) = self.input.entry() else { bail!(InternalError, "a covered plan without keys") };
        if !self.stale && (self.keys.decode(&entry)? || self.mode == Mode::Test) {
            self.keys.write(&mut self.buf);
            return Ok(true);
        }
        let Some(found) = op.store()?.get(&self.records, &record_key(self.input.record_id()))? else { return Ok(false) };
        self.counters.docs += 1;
        self.buf.clear();
        self.buf.extend_from_slice(found);
        Ok(true)
    }
}

impl Rows for Cover {
    fn advance(&mut self, op: &mut OpCx) -> Result<bool> {
        while self.input.advance(op)? {
            if std::mem::take(&mut self.parked) {
                self.stale = !self.keys.covered.holds();
            }
            if self.make(op)? && self.test.passes(Doc::from_checked(&self.buf))? {
                self.counters.advanced += 1;
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn record_id(&self) -> RecordId {
        self.input.record_id()
    }

    fn doc(&self) -> Doc<'_> {
        Doc::from_checked(&self.buf)
    }

    fn input(&self) -> Option<&dyn Rows> {
        Some(&*self.input)
    }

    fn park(&mut self, op: &mut OpCx) {
        self.parked = true;
        self.input.park(op);
    }

    fn counters(&self, out: &mut Vec<Counters>) {
        out.push(self.counters.clone());
        self.input.counters(out);
    }
}
