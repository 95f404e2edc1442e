//! Definitions of search indexes: what of a document is in them.

use smongo_bson::{Doc, Result, Value, bail};

use crate::spec::{Spec, wrong};
use crate::vector::{MAX_DIMS, Similarity};

/// The most vector fields that an index may have.
const MAX_VECTORS: usize = 64;

#[derive(Clone, Debug)]
pub enum Definition {
    Vector(VectorDefinition),
    /// `{mappings, …}`. Nothing runs over it yet.
    Text,
}

/// An index of type `vectorSearch`.
#[derive(Clone, Debug, Default)]
pub struct VectorDefinition {
    pub vectors: Vec<VectorField>,
    /// The array whose elements have the vectors below it, each of its own.
    pub nested_root: Option<String>,
    /// The paths that may be filtered by.
    pub filters: Vec<String>,
    /// `storedSource` is there. Documents are read as they are, so that which of their fields it names makes no difference.
    pub stored: bool,
}

#[derive(Clone, Debug)]
pub struct VectorField {
    pub path: String,
    pub dims: usize,
    pub similarity: Similarity,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IndexType {
    Search,
    VectorSearch,
}

impl IndexType {
    pub fn parse(name: &str) -> Option<IndexType> {
        match name {
            "search" => Some(IndexType::Search),
            "vectorSearch" => Some(IndexType::VectorSearch),
            _ => None,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            IndexType::Search => "search",
            IndexType::VectorSearch => "vectorSearch",
        }
    }
}

impl Definition {
    /// # Errors
    /// UnknownError for what is wrong with it, NotImplemented for what is not there yet.
    pub fn parse(kind: IndexType, definition: Doc<'_>) -> Result<Definition> {
        match kind {
            IndexType::VectorSearch => VectorDefinition::parse(definition).map(Definition::Vector),
            IndexType::Search => check_text(definition).map(|()| Definition::Text),
        }
    }
}

impl VectorDefinition {
    fn parse(definition: Doc<'_>) -> Result<VectorDefinition> {
        let spec = Spec::new("", definition);
        let fields = spec.require("fields", spec.array("fields")?)?;
        let nested = spec.text("nestedRoot")?;
        let mut found = VectorDefinition { stored: stored_source(&spec)?, ..VectorDefinition::default() };
        spec.finish()?;
        let mut paths: Vec<String> = Vec::new();
        for (at, value) in fields.iter().enumerate() {
            let place = format!("fields[{at}]");
            let Value::Document(field) = value else { return Err(wrong(&place, "must be a document")) };
            let path = found.field(&place, field)?;
            if paths.contains(&path) {
                bail!(UnknownError, "\"{place}.path\" is there twice: {path}");
            }
            paths.push(path);
        }
        if found.vectors.is_empty() {
            return Err(wrong("fields", "must have at least one field of type vector"));
        }
        if found.vectors.len() > MAX_VECTORS {
            return Err(wrong("fields", format_args!("may have at most {MAX_VECTORS} fields of type vector")));
        }
        if let Some(root) = nested {
            if !found.vectors.iter().any(|field| below(root, &field.path).is_some()) {
                bail!(CommandFailed, "\"nestedRoot\" must be an ancestor of a vector's path: {root}");
            }
            found.nested_root = Some(root.to_owned());
        }
        Ok(found)
    }

    fn field(&mut self, place: &str, field: Doc<'_>) -> Result<String> {
        let spec = Spec::new(place, field);
        let is_vector = spec.require("type", spec.one_of("type", &[("vector", true), ("filter", false)])?)?;
        let path = spec.require("path", spec.text("path")?)?.to_owned();
        if !is_vector {
            spec.finish()?;
            self.filters.push(path.clone());
            return Ok(path);
        }
        let dims = spec.require("numDimensions", spec.integer("numDimensions", 1..=MAX_DIMS as i32)?)? as usize;
        let similarities = [("euclidean", Similarity::Euclidean), ("cosine", Similarity::Cosine), ("dotProduct", Similarity::DotProduct)];
        let similarity = spec.require("similarity", spec.one_of("similarity", &similarities)?)?;
        // They change what an index costs, and never an answer: vectors are kept and scored as they are.
        let is_binary = spec.one_of("quantization", &[("none", false), ("scalar", false), ("binary", true)])?;
        if is_binary == Some(true) && !dims.is_multiple_of(8) {
            return Err(spec.wrong("numDimensions", "must be a multiple of 8 for binary quantization"));
        }
        let is_flat = spec.one_of("indexingMethod", &[("hnsw", false), ("flat", true)])?;
        if let Some(options) = spec.document("hnswOptions")? {
            if is_flat == Some(true) {
                return Err(spec.wrong("hnswOptions", "may only be present for indexingMethod hnsw"));
            }
            let options = Spec::new(spec.path("hnswOptions"), options);
            options.integer("maxEdges", 16..=64)?;
            options.integer("numEdgeCandidates", 100..=3200)?;
            options.finish()?;
        }
        spec.finish()?;
        self.vectors.push(VectorField { path: path.clone(), dims, similarity });
        Ok(path)
    }

    pub fn vector(&self, path: &str) -> Option<&VectorField> {
        self.vectors.iter().find(|field| field.path == path)
    }
}

/// What follows in a path on the path of one of its ancestors.
pub(crate) fn below<'p>(root: &str, path: &'p str) -> Option<&'p str> {
    path.strip_prefix(root)?.strip_prefix('.')
}

fn stored_source(spec: &Spec<'_>) -> Result<bool> {
    let stored = match spec.get("storedSource") {
        None | Some(Value::Bool(false)) => return Ok(false),
        Some(Value::Document(stored)) => Spec::new(spec.path("storedSource"), stored),
        Some(_) => return Err(spec.wrong("storedSource", "must be false or a document")),
    };
    let (include, exclude) = (stored.array("include")?, stored.array("exclude")?);
    let check = |name: &str, list: smongo_bson::Array<'_>| {
        let are_paths = list.iter().all(|v| v.as_str().is_some_and(|path| !path.is_empty()));
        if are_paths && !list.is_empty() { Ok(()) } else { Err(stored.wrong(name, "must be an array of paths")) }
    };
    match (include, exclude) {
        (Some(list), None) => check("include", list)?,
        (None, Some(list)) => check("exclude", list)?,
        (None, None) => return Err(wrong(&spec.path("storedSource"), "one of [include, exclude] must be present")),
        (Some(_), Some(_)) => return Err(wrong(&spec.path("storedSource"), "only one of [include, exclude] may be present")),
    }
    stored.finish()?;
    Ok(true)
}

/// As much of a text index's definition as tells that it is one.
fn check_text(definition: Doc<'_>) -> Result<()> {
    let spec = Spec::new("", definition);
    let mappings = Spec::new("mappings", spec.require("mappings", spec.document("mappings")?)?);
    match mappings.get("dynamic") {
        None | Some(Value::Bool(_) | Value::Document(_)) => {}
        Some(_) => return Err(mappings.wrong("dynamic", "must be a boolean or a document")),
    }
    mappings.document("fields")?;
    mappings.finish()?;
    spec.text("analyzer")?;
    spec.text("searchAnalyzer")?;
    stored_source(&spec)?;
    spec.array("analyzers")?;
    spec.array("synonyms")?;
    spec.array("typeSets")?;
    spec.integer("numPartitions", 1..=64)?;
    spec.get("indexFeatureVersion");
    spec.finish()
}
