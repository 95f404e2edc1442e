//! Languages of text search: their stems and stop words.

use std::collections::HashSet;
use std::sync::OnceLock;

use rust_stemmers::{Algorithm, Stemmer};
use smongo_bson::{Result, bail};

/// A language whose words are reduced to stems and whose most common words are left out; `None` does neither.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Language(Option<usize>);

/// Name, ISO 639-1 code, stemmer.
const LANGUAGES: &[(&str, &str, Algorithm)] = &[
    ("danish", "da", Algorithm::Danish),
    ("dutch", "nl", Algorithm::Dutch),
    ("english", "en", Algorithm::English),
    ("finnish", "fi", Algorithm::Finnish),
    ("french", "fr", Algorithm::French),
    ("german", "de", Algorithm::German),
    ("hungarian", "hu", Algorithm::Hungarian),
    ("italian", "it", Algorithm::Italian),
    ("norwegian", "nb", Algorithm::Norwegian),
    ("portuguese", "pt", Algorithm::Portuguese),
    ("romanian", "ro", Algorithm::Romanian),
    ("russian", "ru", Algorithm::Russian),
    ("spanish", "es", Algorithm::Spanish),
    ("swedish", "sv", Algorithm::Swedish),
    ("turkish", "tr", Algorithm::Turkish),
];

impl Language {
    pub const NONE: Language = Language(None);

    /// By name or code, in any case; error 2 for others.
    pub fn named(name: &str) -> Result<Language> {
        let lower = name.to_lowercase();
        if lower == "none" {
            return Ok(Language::NONE);
        }
        match LANGUAGES.iter().position(|(n, code, _)| *n == lower || *code == lower) {
            Some(at) => Ok(Language(Some(at))),
            None => bail!(BadValue, "unsupported language: \"{name}\" for text index version 3"),
        }
    }

    fn row(self) -> Option<&'static (&'static str, &'static str, Algorithm)> {
        LANGUAGES.get(self.0?)
    }

    pub fn name(self) -> &'static str {
        self.row().map_or("none", |(name, ..)| name)
    }

    /// What reduces this language's words to stems.
    pub fn stemmer(self) -> Option<Stemmer> {
        self.row().map(|(.., algorithm)| Stemmer::create(*algorithm))
    }

    /// Whether a lower-case word is too common to be searched for.
    pub fn is_stop_word(self, word: &str) -> bool {
        static WORDS: [OnceLock<HashSet<&'static str>>; LANGUAGES.len()] = [const { OnceLock::new() }; LANGUAGES.len()];
        let (Some(at), Some((name, code, _))) = (self.0, self.row()) else { return false };
        let load = || stop_words::lookup(code).or_else(|| stop_words::lookup(name)).unwrap_or_default().iter().copied().collect();
        WORDS.get(at).is_some_and(|words| words.get_or_init(load).contains(word))
    }
}
