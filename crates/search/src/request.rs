//! `$vectorSearch`: what its stage asks for.

use smongo_bson::{Array, Doc, Result, Value, bail, number};

use crate::definition::{VectorDefinition, below};
use crate::filter::{self, Filter};
use crate::spec::{Spec, wrong};
use crate::vector::{Kind, Query, QueryError, Vector, norm};

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
    filter: Option<Doc<'a>>,
    parent_filter: Option<Doc<'a>>,
    stored_source: bool,
    /// `nestedOptions.scoreMode`: the mean of the elements' scores, and not the best; `None` without such options.
    mean: Option<bool>,
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
    query: Query,
    /// The vector's path, in the element of an array where `root` is one.
    path: String,
    root: Option<String>,
    filter: Option<Filter>,
    parent_filter: Option<Filter>,
    mean: bool,
}

impl<'a> Request<'a> {
    /// `explained`: it is not to run, and may say what of it is to be traced.
    ///
    /// # Errors
    /// UnknownError, with the path of what is wrong.
    pub fn parse(stage: Doc<'a>, explained: bool) -> Result<Request<'a>> {
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
        let mean = match spec.document("nestedOptions")? {
            None => None,
            Some(options) => {
                let options = Spec::new("nestedOptions", options);
                let mean = options.one_of("scoreMode", &[("max", false), ("avg", true)])?;
                options.finish()?;
                Some(mean.unwrap_or(false))
            }
        };
        let stored_source = spec.bool("returnStoredSource")?.unwrap_or(false);
        if let Some(options) = spec.document("explainOptions")? {
            if !explained {
                return Err(spec.wrong("explainOptions", "may only be present in an explain"));
            }
            let options = Spec::new("explainOptions", options);
            let traced = options.require("traceDocumentIds", options.array("traceDocumentIds")?)?;
            if traced.is_empty() {
                return Err(options.wrong("traceDocumentIds", "cannot be empty"));
            }
            if traced.iter().any(|id| matches!(id, Value::Null)) {
                return Err(options.wrong("traceDocumentIds", "cannot have a null"));
            }
            options.finish()?;
        }
        if let Some(preference) = spec.document("searchNodePreference")? {
            let preference = Spec::new("searchNodePreference", preference);
            preference.require("key", preference.text("key")?)?;
        }
        Ok(Request { index, path, vector, limit: limit as usize, filter, parent_filter: parent, stored_source, mean })
    }

    /// Checks the request against the index it names.
    pub fn on(&self, definition: &VectorDefinition) -> Result<Search> {
        let Some(field) = definition.vector(self.path) else { bail!(UnknownError, "{} is not indexed as vector", self.path) };
        let dims = self.vector.view().dims();
        if dims != field.dims {
            bail!(UnknownError, "vector field is indexed with {} dimensions but queried with {dims}", field.dims);
        }
        let nested = definition.nested_root.as_ref().and_then(|root| Some((root.clone(), below(root, self.path)?)));
        if self.mean.is_some() && nested.is_none() {
            bail!(UnknownError, "\"nestedOptions\" needs an index with a \"nestedRoot\" above the vector");
        }
        if self.stored_source && !definition.stored {
            bail!(UnknownError, "\"returnStoredSource\" needs an index with a \"storedSource\"");
        }
        let query = Query::new(field.similarity, self.vector.view()).map_err(|e| match e {
            QueryError::ZeroVector => smongo_bson::err!(UnknownError, "Cosine similarity cannot be calculated against a zero vector."),
            QueryError::BitsNeedEuclidean => smongo_bson::err!(UnknownError, "vectors of bits need the similarity euclidean"),
        })?;
        let filter = self.filter.map(|filter| filter::parse("filter", filter, &definition.filters)).transpose()?;
        let parent_filter = self.parent_filter.map(|filter| filter::parse("parentFilter", filter, &definition.filters)).transpose()?;
        let path = nested.as_ref().map_or(self.path, |(_, path)| path).to_owned();
        Ok(Search { query, path, root: nested.map(|(root, _)| root), filter, parent_filter, mean: self.mean.unwrap_or(false) })
    }
}

impl Search {
    /// A document's score; `None` when it is not found.
    pub fn score(&self, doc: Doc<'_>) -> Option<f32> {
        let Some(root) = &self.root else {
            let passes = |filter: &Option<Filter>| filter.as_ref().is_none_or(|filter| filter.matches(doc, &|path| Some(path)));
            return self.of(doc).filter(|_| passes(&self.filter) && passes(&self.parent_filter));
        };
        // The one filter is about the elements, the other about what is not in them.
        let outside = |path| if below(root, path).is_some() { None } else { Some(path) };
        if self.parent_filter.as_ref().is_some_and(|filter| !filter.matches(doc, &outside)) {
            return None;
        }
        let elements = root.split('.').try_fold(Value::Document(doc), |value, name| Some(value.as_doc()?.get(name)))?;
        let (mut best, mut sum, mut n) = (f32::NEG_INFINITY, 0.0, 0u32);
        let mut one = |element: Doc<'_>| {
            if self.filter.as_ref().is_none_or(|filter| filter.matches(element, &|path| below(root, path)))
                && let Some(score) = self.of(element)
            {
                (best, sum, n) = (best.max(score), sum + score, n + 1);
            }
        };
        match elements {
            Value::Document(element) => one(element),
            Value::Array(list) => list.iter().filter_map(|v| v.as_doc()).for_each(one),
            _ => {}
        }
        match (n, self.mean) {
            (0, _) => None,
            (n, true) => Some(sum / n as f32),
            (_, false) => Some(best),
        }
    }

    fn of(&self, doc: Doc<'_>) -> Option<f32> {
        let wanted = self.query.vector();
        let vector = vector_of(doc, &self.path, wanted.kind(), wanted.dims())?;
        self.query.score(vector.view(), norm(vector.view()))
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
fn vector_of(doc: Doc<'_>, path: &str, kind: Kind, dims: usize) -> Option<Owned> {
    let value = path.split('.').try_fold(Value::Document(doc), |value, name| Some(value.as_doc()?.get(name)))?;
    let vector = match value {
        Value::Array(list) if kind == Kind::Float => numbers(list)?,
        Value::Binary(binary) => binary_vector(binary)?,
        _ => return None,
    };
    (vector.view().kind() == kind && vector.view().dims() == dims).then_some(vector)
}
