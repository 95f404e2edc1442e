//! `$text`: its words, phrases and negations.

use smongo_bson::{Doc, Result, Value, bail};

use super::tokens::{Tokenizer, fold};
use super::{Care, Language, TextFields};

/// The argument of `$text`.
#[derive(Clone, Debug)]
pub struct Search {
    text: String,
    /// `None`: the index's own.
    language: Option<Language>,
    care: Care,
}

/// A search in one language, ready to be asked.
pub struct Asked {
    /// Terms as the index has them.
    pub terms: Vec<String>,
    words: Vec<String>,
    without: Vec<String>,
    phrases: Vec<String>,
    without_phrases: Vec<String>,
    care: Care,
    language: Language,
}

impl Search {
    pub fn parse(value: Value<'_>) -> Result<Search> {
        let Value::Document(spec) = value else { bail!(TypeMismatch, "$text expects an object, not {}", value.type_name()) };
        let (mut text, mut language, mut care) = (None, None, Care::default());
        for e in spec {
            match (e.name(), e.value()) {
                ("$search", Value::String(s)) => text = Some(s.to_owned()),
                ("$language", Value::String("")) => {}
                ("$language", Value::String(s)) => language = Some(Language::named(s)?),
                ("$caseSensitive", Value::Bool(b)) => care.case = b,
                ("$diacriticSensitive", Value::Bool(b)) => care.diacritics = b,
                (name @ ("$search" | "$language"), v) => bail!(TypeMismatch, "\"{name}\" had the wrong type. Expected string, found {}", v.type_name()),
                (name @ ("$caseSensitive" | "$diacriticSensitive"), v) => bail!(TypeMismatch, "\"{name}\" had the wrong type. Expected bool, found {}", v.type_name()),
                (other, _) => bail!(BadValue, "extra fields in $text: {other}"),
            }
        }
        let Some(text) = text else { bail!(NoSuchKey, "Missing expected field \"$search\"") };
        Ok(Search { text, language, care })
    }

    /// The search as an index with these fields understands it.
    pub fn ask(&self, fields: &TextFields) -> Asked {
        let language = self.language.unwrap_or(fields.language());
        let mut asked = Asked {
            terms: Vec::new(),
            words: Vec::new(),
            without: Vec::new(),
            phrases: Vec::new(),
            without_phrases: Vec::new(),
            care: self.care,
            language,
        };
        let (plain, careful) = (Tokenizer::new(language, Care::default()), Tokenizer::new(language, self.care));
        let mut rest = self.text.as_str();
        let mut begins_word = true;
        while let Some(c) = rest.chars().next() {
            let negated = c == '-' && begins_word;
            let from = if negated { rest.get(1..).unwrap_or_default() } else { rest };
            if let Some(quoted) = from.strip_prefix('"') {
                let (phrase, behind) = quoted.split_once('"').unwrap_or((quoted, ""));
                rest = behind;
                begins_word = true;
                if phrase.trim().is_empty() {
                    continue;
                }
                if negated {
                    asked.without_phrases.push(fold(phrase, self.care));
                } else {
                    asked.phrases.push(fold(phrase, self.care));
                    asked.terms.extend(plain.terms(phrase));
                    asked.words.extend(careful.terms(phrase));
                }
                continue;
            }
            let end = from.find(|c: char| c.is_whitespace() || c == '"').unwrap_or(from.len());
            let (word, behind) = from.split_at(end);
            if negated {
                asked.without.extend(careful.terms(word));
            } else {
                asked.terms.extend(plain.terms(word));
                asked.words.extend(careful.terms(word));
            }
            begins_word = behind.starts_with(char::is_whitespace) || behind.starts_with('"');
            rest = behind.trim_start();
        }
        asked.terms.sort_unstable();
        asked.terms.dedup();
        asked
    }
}

impl Asked {
    /// Whether a document in which the index knows one of the terms passes the rest of the search.
    pub fn accepts(&self, fields: &TextFields, doc: Doc<'_>) -> bool {
        let careful = self.care != Care::default();
        if !careful && self.without.is_empty() && self.phrases.is_empty() && self.without_phrases.is_empty() {
            return true;
        }
        let mut met = vec![false; self.phrases.len()];
        let (mut word, mut refused) = (!careful, false);
        fields.visit(doc, &mut |text, _, language| {
            // Words are compared as terms of the search's language where that was given.
            let language = if self.language == fields.language() { language } else { self.language };
            let tokenizer = Tokenizer::new(language, self.care);
            for term in tokenizer.terms(text) {
                word |= self.words.contains(&term);
                refused |= self.without.contains(&term);
            }
            let folded = fold(text, self.care);
            for (phrase, met) in self.phrases.iter().zip(&mut met) {
                *met |= folded.contains(phrase.as_str());
            }
            refused |= self.without_phrases.iter().any(|p| folded.contains(p.as_str()));
        });
        word && !refused && met.iter().all(|m| *m)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use smongo_bson::json::parse_doc;

    fn asked(search: &str) -> (TextFields, Asked) {
        let spec = parse_doc(r#"{"weights": {"a": 1}}"#).unwrap_or_default();
        let query = parse_doc(search).unwrap_or_default();
        let fields = TextFields::new(spec.as_doc()).expect("fields");
        let asked = Search::parse(query.as_doc().into()).expect("a search").ask(&fields);
        (fields, asked)
    }

    #[test]
    fn words_phrases_and_negations() {
        let (fields, a) = asked(r#"{"$search": "the quick \"Brown Fox\" -lazy well-known"}"#);
        assert_eq!(a.terms, ["brown", "fox", "known", "quick", "well"]);
        let passes = |doc: &str| a.accepts(&fields, parse_doc(doc).unwrap_or_default().as_doc());
        assert!(passes(r#"{"a": "a brown fox, quick"}"#));
        assert!(!passes(r#"{"a": "quick"}"#));
        assert!(!passes(r#"{"a": "lazy brown fox"}"#));
    }
}
