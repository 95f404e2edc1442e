//! Reading a command's fields, with MongoDB's errors; what nobody read is refused.

use smongo_bson::{Array, Code, Doc, DocBuf, Element, Error, Result, Value, bail, err, number};

use super::Sequence;
use crate::data::namespace::{self, Ns};

/// Fields every command may carry; the door has looked at those that mean something here.
const GENERIC: &[&str] = &[
    "$audit", "$client", "$clusterTime", "$configServerState", "$configTime", "$db", "$readPreference", "$replData",
    "$topologyTime", "$traceCtx", "apiDeprecationErrors", "apiStrict", "apiVersion", "autocommit", "clientOperationKey",
    "comment", "coordinator", "databaseVersion", "help", "impersonatedUsers", "internalClientOperationKey", "lsid",
    "maxTimeMS", "maxTimeMSOpOnly", "mayBypassWriteBlocking", "originalQueryShapeHash", "querySamplingOptions",
    "rawData", "readConcern", "releaseMemoryAfterUse", "requestDeprioritized", "serialization_context", "shardVersion",
    "startOrContinueTransaction", "startTransaction", "stmtId", "stmtIds", "txnNumber", "txnRetryCounter",
    "versionContext", "writeConcern",
];

/// The fields of a command, or of a document inside one.
pub struct Args<'a> {
    /// What errors call the fields' owner: the command's name, or a path such as `update.updates`.
    owner: &'a str,
    fields: Vec<Field<'a>>,
    sequences: &'a [Sequence<'a>],
    /// A document inside a command, which carries no generic fields.
    nested: bool,
}

struct Field<'a> {
    print: u32,
    read: bool,
    element: Element<'a>,
}

/// A number that two names rarely share: with it, looking for a field that is not there, as most lookups do, compares
/// one number a field. Of a name in the source it is a constant.
#[inline]
fn print(name: &[u8]) -> u32 {
    match name {
        [] => 0,
        [first, .., last] => (name.len() as u32) << 16 | u32::from(*first) << 8 | u32::from(*last),
        [only] => 1 << 16 | u32::from(*only),
    }
}

impl<'a> Args<'a> {
    pub fn new(owner: &'a str, doc: Doc<'a>, sequences: &'a [Sequence<'a>]) -> Args<'a> {
        // Commands of drivers have about a dozen fields.
        let mut fields = Vec::with_capacity(16);
        fields.extend(doc.iter().map(|element| Field { print: print(element.name_bytes()), read: false, element }));
        Args { owner, fields, sequences, nested: false }
    }

    /// The fields of a document inside a command.
    pub fn nested(owner: &'a str, doc: Doc<'a>) -> Args<'a> {
        Args { nested: true, ..Args::new(owner, doc, &[]) }
    }

    /// The collection that the command's first field names, if it names one; the field is still to be read.
    pub fn target(&self) -> Option<&'a str> {
        self.fields.first().and_then(|f| f.element.value().as_str())
    }

    /// The value of a field, which is still to be read; `Missing` when it is not there.
    pub fn peek(&self, name: &str) -> Value<'a> {
        let found = self.fields.iter().find(|f| f.element.name_bytes() == name.as_bytes());
        found.map_or(Value::Missing, |f| f.element.value())
    }

    /// The value of the first field, which is still to be read.
    pub fn peek_first(&self) -> Value<'a> {
        self.fields.first().map_or(Value::Missing, |f| f.element.value())
    }

    /// The documents that [`docs`](Args::docs) will read; without those that are none.
    pub fn peek_docs(&self, name: &str) -> Vec<Doc<'a>> {
        match self.sequences.iter().find(|s| s.name == name) {
            Some(sequence) => sequence.iter().collect(),
            None => self.peek(name).as_array().unwrap_or(Array::EMPTY).iter().filter_map(|v| v.as_doc()).collect(),
        }
    }

    /// The value of a field, read whatever its type; `Missing` when it is not there.
    #[inline]
    pub fn value(&mut self, name: &str) -> Value<'a> {
        self.element(name).map_or(Value::Missing, |e| e.value())
    }

    #[inline]
    fn element(&mut self, name: &str) -> Option<Element<'a>> {
        let wanted = print(name.as_bytes());
        let field = self.fields.iter_mut().find(|f| f.print == wanted && f.element.name_bytes() == name.as_bytes())?;
        field.read = true;
        Some(field.element)
    }

    /// The value of a field; null and undefined count as absent, as they do in MongoDB's commands.
    #[inline]
    fn present(&mut self, name: &str) -> Option<Value<'a>> {
        match self.value(name) {
            v if v.is_nullish() => None,
            v => Some(v),
        }
    }

    pub fn wrong_type(&self, name: &str, value: Value<'_>, expected: &str) -> Error {
        let types = if expected.contains(',') { format!("types '[{expected}]'") } else { format!("type '{expected}'") };
        err!(TypeMismatch, "BSON field '{}.{name}' is the wrong type '{}', expected {types}", self.owner, value.type_name())
    }

    pub fn missing(&self, name: &str) -> Error {
        err!(IDLFailedToParse, "BSON field '{}.{name}' is missing but a required field", self.owner)
    }

    #[inline]
    pub fn doc(&mut self, name: &str) -> Result<Option<Doc<'a>>> {
        match self.present(name) {
            None => Ok(None),
            Some(Value::Document(d)) => Ok(Some(d)),
            Some(v) => Err(self.wrong_type(name, v, "object")),
        }
    }

    #[inline]
    pub fn array(&mut self, name: &str) -> Result<Option<Array<'a>>> {
        match self.present(name) {
            None => Ok(None),
            Some(Value::Array(a)) => Ok(Some(a)),
            Some(v) => Err(self.wrong_type(name, v, "array")),
        }
    }

    #[inline]
    pub fn str(&mut self, name: &str) -> Result<Option<&'a str>> {
        match self.present(name) {
            None => Ok(None),
            Some(Value::String(s)) => Ok(Some(s)),
            Some(v) => Err(self.wrong_type(name, v, "string")),
        }
    }

    /// A bool that must be one.
    #[inline]
    pub fn strict_bool(&mut self, name: &str) -> Result<Option<bool>> {
        match self.present(name) {
            None => Ok(None),
            Some(Value::Bool(b)) => Ok(Some(b)),
            Some(v) => Err(self.wrong_type(name, v, "bool")),
        }
    }

    /// A bool, or a number that stands for one.
    #[inline]
    pub fn bool(&mut self, name: &str) -> Result<bool> {
        match self.present(name) {
            None => Ok(false),
            Some(v @ Value::Bool(_)) => Ok(v.truthy()),
            Some(v) if v.is_number() => Ok(v.truthy()),
            Some(v) => Err(self.wrong_type(name, v, "bool, long, int, decimal, double")),
        }
    }

    /// An integer given as any number: a double's fraction is cut off, a decimal is rounded to the nearest even.
    #[inline]
    pub fn int(&mut self, name: &str) -> Result<Option<i64>> {
        match self.present(name) {
            None => Ok(None),
            Some(v) if v.is_number() => Ok(Some(number::to_i64_rounded(v))),
            Some(v) => Err(self.wrong_type(name, v, "long, int, decimal, double")),
        }
    }

    /// An integer that must not be negative; errors as MongoDB words them for `skip`, `limit`, `batchSize`.
    pub fn non_negative(&mut self, name: &str) -> Result<Option<i64>> {
        match self.int(name)? {
            Some(n) if n < 0 => bail!(BadValue, "BSON field '{name}' value must be >= 0, actual value '{n}'"),
            n => Ok(n),
        }
    }

    /// A UUID; `subtype` is the error for binary data of another subtype than 4.
    pub fn uuid(&mut self, name: &str, subtype: Code) -> Result<Option<uuid::Uuid>> {
        match self.present(name) {
            None => Ok(None),
            Some(Value::Binary(b)) if b.subtype() == 4 => match uuid::Uuid::from_slice(b.bytes()) {
                Ok(uuid) => Ok(Some(uuid)),
                Err(_) => bail!(InvalidUUID, "uuid must be a 16-byte binary field with UUID (4) subtype"),
            },
            Some(Value::Binary(b)) => {
                Err(Error::new(subtype, format!("BSON field '{}.{name}' is binary data of subtype {}, expected a UUID", self.owner, b.subtype())))
            }
            Some(v) => Err(self.wrong_type(name, v, "binData")),
        }
    }

    /// The documents of an array field, or of the document sequence that stands for it. They come in order.
    pub fn docs(&mut self, name: &str) -> Result<Option<Vec<Doc<'a>>>> {
        if let Some(sequence) = self.sequences.iter().find(|s| s.name == name) {
            return Ok(Some(sequence.iter().collect()));
        }
        let Some(array) = self.array(name)? else { return Ok(None) };
        let mut docs = Vec::new();
        for element in array.elements() {
            match element.value() {
                Value::Document(d) => docs.push(d),
                v => return Err(self.wrong_type(&format!("{name}.{}", element.name()), v, "object")),
            }
        }
        Ok(Some(docs))
    }

    /// The collection a command addresses by its first field.
    pub fn ns(&mut self, db: &str) -> Result<Ns> {
        match self.first() {
            Value::String(coll) => Ns::new(db, coll),
            v => {
                namespace::check_database(db)?;
                bail!(InvalidNamespace, "collection name has invalid type {}", v.type_name())
            }
        }
    }

    /// The value of the command's first field.
    pub fn first(&mut self) -> Value<'a> {
        let Some(field) = self.fields.first_mut() else { return Value::Missing };
        field.read = true;
        field.element.value()
    }

    /// Reads a field and refuses it when it is there: an option that is known and not implemented.
    pub fn refuse(&mut self, names: &[&str]) -> Result<()> {
        for name in names {
            if self.present(name).is_some_and(|v| !matches!(v, Value::Bool(false))) {
                bail!(NotImplemented, "the option '{}.{name}' is not implemented", self.owner);
            }
        }
        Ok(())
    }

    /// Marks fields as read that are valid and change nothing here.
    pub fn accept(&mut self, names: &[&str]) {
        for name in names {
            let _ = self.element(name);
        }
    }

    /// Refuses any field that nobody read, and any that stands twice.
    pub fn finish(&self) -> Result<()> {
        for (n, field) in self.fields.iter().enumerate() {
            if field.read {
                continue;
            }
            let name = field.element.name();
            let twice = self.fields[..n].iter().any(|f| f.element.name_bytes() == name.as_bytes());
            if twice {
                return Err(Error::new(Code(40413), format!("BSON field '{}.{name}' is a duplicate field", self.owner)));
            }
            if !self.nested && (n == 0 || GENERIC.contains(&name)) {
                continue;
            }
            return Err(err!(IDLUnknownField, "BSON field '{}.{name}' is an unknown field.", self.owner));
        }
        Ok(())
    }

    /// The fields as one document again.
    pub fn body(&self) -> DocBuf {
        DocBuf::build(|w| {
            for field in &self.fields {
                w.append_element(&field.element);
            }
        })
    }

    /// The fields not read so far and not generic.
    pub fn rest(&mut self) -> Vec<Element<'a>> {
        let mut rest = Vec::new();
        for field in &mut self.fields {
            if !field.read && !GENERIC.contains(&field.element.name()) {
                field.read = true;
                rest.push(field.element);
            }
        }
        rest
    }
}

/// A string that is one of a few.
pub fn choice<'a>(args: &mut Args<'a>, name: &str, valid: &[&str]) -> Result<Option<&'a str>> {
    match args.str(name)? {
        Some(v) if !valid.contains(&v) => {
            bail!(BadValue, "Enumeration value '{v}' for field '{name}' is not a valid value.")
        }
        v => Ok(v),
    }
}
