//! Text search: what a text index knows of documents, and what `$text` asks of it.

mod language;
mod search;
mod tokens;

use std::collections::BTreeMap;

use smongo_bson::{Array, Doc, Result, Value, number};

pub use language::Language;
pub use search::{Asked, Search};
pub use tokens::Care;
use tokens::Tokenizer;

/// The weight of a field that names none.
const PLAIN_WEIGHT: f64 = 1.0;

/// A text index's fields, their weights and languages.
#[derive(Clone, Debug)]
pub struct TextFields {
    /// Every field with its weight; `$**` for all of them.
    weights: Vec<(String, f64)>,
    everything: Option<f64>,
    language: Language,
    /// The field of a document that names the language of its texts.
    language_field: String,
}

impl TextFields {
    /// From the specification of an index, which was checked.
    pub fn new(spec: Doc<'_>) -> Result<TextFields> {
        let mut weights = Vec::new();
        let mut everything = None;
        for e in spec.get("weights").as_doc().unwrap_or(Doc::EMPTY) {
            let weight = number::to_f64(e.value()).unwrap_or(PLAIN_WEIGHT);
            match e.name() {
                "$**" => everything = Some(weight),
                name => weights.push((name.to_owned(), weight)),
            }
        }
        Ok(TextFields {
            weights,
            everything,
            language: Language::named(spec.get("default_language").as_str().unwrap_or("english"))?,
            language_field: spec.get("language_override").as_str().unwrap_or("language").to_owned(),
        })
    }

    pub fn language(&self) -> Language {
        self.language
    }

    /// The terms of a document, each with its score.
    pub fn terms(&self, doc: Doc<'_>) -> Vec<(String, f64)> {
        let mut scores: BTreeMap<String, f64> = BTreeMap::new();
        self.visit(doc, &mut |text, weight, language| score(text, weight, language, &mut scores));
        scores.into_iter().collect()
    }

    /// Calls `found` with every text in the index, its weight and its language.
    fn visit(&self, doc: Doc<'_>, found: &mut dyn FnMut(&str, f64, Language)) {
        self.document(doc, "", self.language, found);
    }

    fn document(&self, doc: Doc<'_>, prefix: &str, language: Language, found: &mut dyn FnMut(&str, f64, Language)) {
        let own = doc.get(&self.language_field).as_str().and_then(|name| Language::named(name).ok());
        let language = own.unwrap_or(language);
        for e in doc {
            let path = if prefix.is_empty() { e.name().to_owned() } else { format!("{prefix}.{}", e.name()) };
            let below = self.everything.is_some() || self.weights.iter().any(|(p, _)| p.strip_prefix(&*path).is_some_and(|rest| rest.starts_with('.')));
            let weight = self.weights.iter().find(|(p, _)| *p == path).map(|(_, w)| *w).or(self.everything);
            // What names the language is not itself a text.
            let weight = weight.filter(|_| e.name() != self.language_field || self.everything.is_none());
            if below || weight.is_some() {
                self.value(e.value(), &path, weight, below, language, found);
            }
        }
    }

    fn value(&self, value: Value<'_>, path: &str, weight: Option<f64>, below: bool, language: Language, found: &mut dyn FnMut(&str, f64, Language)) {
        match value {
            Value::String(text) => {
                if let Some(weight) = weight {
                    found(text, weight, language);
                }
            }
            Value::Document(d) if below => self.document(d, path, language, found),
            Value::Array(Array(items)) => items.iter().for_each(|e| self.value(e.value(), path, weight, below, language, found)),
            _ => {}
        }
    }
}

/// Adds a text's terms: the more often a term occurs and the shorter the text, the more it counts.
fn score(text: &str, weight: f64, language: Language, scores: &mut BTreeMap<String, f64>) {
    let tokenizer = Tokenizer::new(language, Care::default());
    let mut seen: BTreeMap<String, (u32, f64)> = BTreeMap::new();
    let mut tokens = 0u32;
    for term in tokenizer.terms(text) {
        tokens += 1;
        let (count, frequency) = seen.entry(term).or_default();
        // Each further occurrence adds half of what the one before did.
        *frequency += 0.5f64.powi(*count as i32);
        *count += 1;
    }
    for (term, (count, frequency)) in seen {
        let share = 0.5 * f64::from(count) / f64::from(tokens) + 0.5;
        // A text that is the term itself counts a little more.
        let whole = if text.eq_ignore_ascii_case(&term) { 1.1 } else { 1.0 };
        *scores.entry(term).or_default() += weight * frequency * share * whole;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use smongo_bson::json::parse_doc;

    fn terms(spec: &str, doc: &str) -> String {
        let (spec, doc) = (parse_doc(spec).unwrap_or_default(), parse_doc(doc).unwrap_or_default());
        let Ok(fields) = TextFields::new(spec.as_doc()) else { return "error".into() };
        fields.terms(doc.as_doc()).iter().map(|(t, s)| format!("{t}:{s}")).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn scores_of_the_manual() {
        let spec = r#"{"weights": {"subject": 1}}"#;
        assert_eq!(terms(spec, r#"{"subject": "baking"}"#), "bake:1");
        assert_eq!(terms(spec, r#"{"subject": "Baking a cake"}"#), "bake:0.75 cake:0.75");
        assert_eq!(terms(r#"{"weights": {"subject": 10}}"#, r#"{"subject": "test"}"#), "test:11");
    }

    #[test]
    fn languages_and_places() {
        let all = r#"{"weights": {"$**": 1}, "default_language": "none"}"#;
        assert_eq!(terms(all, r#"{"a": ["x y", 5, {"b": "z"}], "language": "none"}"#), "x:0.75 y:0.75 z:1.1");
        assert_eq!(terms(r#"{"weights": {"a.b": 1}}"#, r#"{"a": [{"b": "running"}, {"b": "running", "language": "none"}]}"#), "run:1 running:1.1");
    }
}
