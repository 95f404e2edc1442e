//! `$vectorSearch`: what its stage asks for.

use smongo_bson::{Array, Doc, Result, Value, bail, number};

use crate::definition::VectorDefinition;
use crate::filter::{self, Filter};
use crate::spec::{Spec, wrong};
use crate::vector::{Kind, Query, QueryError, Vector};

/// The most candidates that a search may look at.
const MAX_CANDIDATES: i32 = 10_000;
/// From here on an exact search is refused.
const MAX_EXACT: i32 = 2_147_483_630;

/// A stage that is well-formed. Whether it suits its index, [`Request::on`] tells.
pub struct Request<'a> {
    pub index: &'a str,
    pub path: &'a str,
    vector: Owned,
    pub limit: usize,
    /// How many candidates an approximate search looks at; `None` for an exact one.
    pub candidates: Option<usize>,
    filter: Option<Doc<'a>>,
    pub stored_source: bool,
    nested: bool,
}

/// A vector with its values.
#[derive(Clone, Debug)]
pub enum Owned {
    Float(Vec<f32>),
    Int8(Vec<i8>),
    Bit(Vec<u8>),
}

impl Owned {
    pub fn view(&self) -> Vector<'_> {
        match self {
            Owned::Float(values) => Vector::Float(values),
            Owned::Int8(values) => Vector::Int8(values),
            Owned::Bit(bytes) => Vector::Bit(bytes),
        }
    }
}

/// A search that suits its index.
pub struct Search {
    pub query: Query,
    pub filter: Option<Filter>,
}

impl<'a> Request<'a> {
    /// # Errors
    /// UnknownError, with the path of what is wrong.
    pub fn parse(stage: Doc<'a>) -> Result<Request<'a>> {
        let spec = Spec::new("", stage);
        if let Some(unsupported) = ["query", "model"].into_iter().find(|name| spec.get(name).is_some()) {
            return Err(spec.wrong(unsupported, "is for indexes that embed text, which are not supported"));
        }
        let index = spec.require("index", spec.text("index")?)?;
        let path = spec.require("path", spec.string("path")?)?;
        let vector = spec.require("queryVector", spec.get("queryVector"))?;
        let vector = query_vector(vector)?;
        let exact = spec.bool("exact")?.unwrap_or(false);
        let limit = spec.require("limit", spec.integer("limit", 1..=i32::MAX)?)?;
        let candidates = spec.integer("numCandidates", 1..=MAX_CANDIDATES)?;
        match (exact, candidates) {
            (true, Some(_)) => bail!(UnknownError, "\"numCandidates\" must be omitted when \"exact\" is set to true"),
            (true, None) if limit > MAX_EXACT => return Err(spec.wrong("limit", format_args!("must be within bounds [1..{MAX_EXACT}]"))),
            (false, None) => return Err(spec.wrong("numCandidates", "is required")),
            (false, Some(candidates)) if candidates < limit => return Err(spec.wrong("numCandidates", "must be greater than or equal to \"limit\"")),
            _ => {}
        }
        let filter = spec.document("filter")?;
        let parent = spec.document("parentFilter")?;
        let nested = match spec.document("nestedOptions")? {
            None => parent.is_some(),
            Some(options) => {
                let options = Spec::new("nestedOptions", options);
                options.one_of("scoreMode", &[("max", ()), ("avg", ())])?;
                options.finish()?;
                true
            }
        };
        let stored_source = spec.bool("returnStoredSource")?.unwrap_or(false);
        if let Some(options) = spec.document("explainOptions")? {
            let options = Spec::new("explainOptions", options);
            options.require("traceDocumentIds", options.array("traceDocumentIds")?)?;
            options.finish()?;
        }
        if let Some(preference) = spec.document("searchNodePreference")? {
            let preference = Spec::new("searchNodePreference", preference);
            preference.require("key", preference.text("key")?)?;
            preference.finish()?;
        }
        Ok(Request { index, path, vector, limit: limit as usize, candidates: candidates.map(|n| n as usize), filter, stored_source, nested })
    }

    /// Checks the request against the index it names.
    pub fn on(&self, definition: &VectorDefinition) -> Result<Search> {
        let Some(field) = definition.vector(self.path) else { bail!(UnknownError, "{} is not indexed as vector", self.path) };
        let dims = self.vector.view().dims();
        if dims != field.dims {
            bail!(UnknownError, "vector field is indexed with {} dimensions but queried with {dims}", field.dims);
        }
        if self.nested {
            bail!(UnknownError, "\"parentFilter\" and \"nestedOptions\" need an index with a \"nestedRoot\"");
        }
        if self.stored_source && definition.stored.is_none() {
            bail!(UnknownError, "\"returnStoredSource\" needs an index with a \"storedSource\"");
        }
        let query = Query::new(field.similarity, self.vector.view()).map_err(|e| match e {
            QueryError::ZeroVector => smongo_bson::err!(UnknownError, "Cosine similarity cannot be calculated against a zero vector."),
            QueryError::BitsNeedEuclidean => smongo_bson::err!(UnknownError, "vectors of bits need the similarity euclidean"),
        })?;
        let filter = self.filter.map(|filter| filter::parse("filter", filter, &definition.filters)).transpose()?;
        Ok(Search { query, filter })
    }
}

fn query_vector(value: Value<'_>) -> Result<Owned> {
    match value {
        Value::Array(list) => numbers(list).ok_or_else(|| wrong("queryVector", "must be an array of finite numbers")),
        Value::Binary(binary) => binary_vector(binary).ok_or_else(|| wrong("queryVector", "must be a vector of float32, int8 or packed bits that are finite and fill their bytes")),
        _ => Err(wrong("queryVector", "must be an array or binary data")),
    }
    .and_then(|vector| if vector.view().dims() == 0 { Err(wrong("queryVector", "cannot be empty")) } else { Ok(vector) })
}

/// Numbers of any type but decimal, all of them finite as floats.
fn numbers(list: Array<'_>) -> Option<Owned> {
    let one = |value: Value<'_>| match value {
        Value::Int32(_) | Value::Int64(_) | Value::Double(_) => number::to_f64(value).map(|x| x as f32).filter(|x| x.is_finite()),
        _ => None,
    };
    list.iter().map(one).collect::<Option<Vec<f32>>>().map(Owned::Float)
}

/// Binary data of subtype 9: the type of its elements, how many of the last bits do not count, and the elements.
fn binary_vector(binary: smongo_bson::Binary<'_>) -> Option<Owned> {
    const SUBTYPE: u8 = 9;
    let (kind, padding, data) = match binary.bytes() {
        [kind, padding, data @ ..] if binary.subtype() == SUBTYPE => (*kind, *padding, data),
        _ => return None,
    };
    match (kind, padding) {
        (0x27, 0) => {
            let (chunks, []) = data.as_chunks::<4>() else { return None };
            let values: Vec<f32> = chunks.iter().map(|chunk| f32::from_le_bytes(*chunk)).collect();
            values.iter().all(|x| x.is_finite()).then_some(Owned::Float(values))
        }
        (0x03, 0) => Some(Owned::Int8(data.iter().map(|b| *b as i8).collect())),
        (0x10, 0) => Some(Owned::Bit(data.to_vec())),
        _ => None,
    }
}

/// The vector that a document has at a path, which leads through documents only; of a kind and with as many dimensions as are asked for.
pub fn vector_of(doc: Doc<'_>, path: &str, kind: Kind, dims: usize) -> Option<Owned> {
    let value = path.split('.').try_fold(Value::Document(doc), |value, name| Some(value.as_doc()?.get(name)))?;
    let vector = match value {
        Value::Array(list) if kind == Kind::Float => numbers(list)?,
        Value::Binary(binary) => binary_vector(binary)?,
        _ => return None,
    };
    (vector.view().kind() == kind && vector.view().dims() == dims).then_some(vector)
}
