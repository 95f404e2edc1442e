//! Words of texts.

use icu_normalizer::DecomposingNormalizerBorrowed;
use rust_stemmers::Stemmer;

use super::Language;

/// How much of a text's letters counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Care {
    pub case: bool,
    pub diacritics: bool,
}

/// Whether a character parts words: everything but letters, digits, marks and the underscore.
fn parts_words(c: char) -> bool {
    !(c.is_alphanumeric() || c == '_' || is_mark(c))
}

/// Marks that combine with the letter before them.
fn is_mark(c: char) -> bool {
    matches!(c, '\u{300}'..='\u{36f}' | '\u{1ab0}'..='\u{1aff}' | '\u{1dc0}'..='\u{1dff}' | '\u{20d0}'..='\u{20ff}' | '\u{fe20}'..='\u{fe2f}')
}

/// A text without the differences that do not count.
pub fn fold(text: &str, care: Care) -> String {
    let lower = if care.case { text.to_owned() } else { text.to_lowercase() };
    if care.diacritics || lower.is_ascii() {
        return lower;
    }
    DecomposingNormalizerBorrowed::new_nfd().normalize(&lower).chars().filter(|c| !is_mark(*c)).collect()
}

/// Makes the terms of texts in one language.
pub struct Tokenizer {
    language: Language,
    stemmer: Option<Stemmer>,
    care: Care,
}

impl Tokenizer {
    pub fn new(language: Language, care: Care) -> Tokenizer {
        Tokenizer { language, stemmer: language.stemmer(), care }
    }

    /// The term of a word; `None` for a stop word.
    fn term(&self, word: &str) -> Option<String> {
        let lower = word.to_lowercase();
        if self.language.is_stop_word(&lower) {
            return None;
        }
        let Some(stemmer) = &self.stemmer else { return Some(fold(word, self.care)) };
        let stem = stemmer.stem(&lower);
        if !self.care.case {
            return Some(fold(&stem, self.care));
        }
        // Stems are found in lower case; the term keeps the case of what they keep of the word.
        let kept = word.to_lowercase().chars().zip(stem.chars()).take_while(|(a, b)| a == b).count();
        let term: String = word.chars().take(kept).chain(stem.chars().skip(kept)).collect();
        Some(fold(&term, self.care))
    }

    /// The terms of a text, in order.
    pub fn terms<'t>(&'t self, text: &'t str) -> impl Iterator<Item = String> + 't {
        text.split(parts_words).filter(|w| !w.is_empty()).filter_map(|w| self.term(w))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn terms(text: &str, language: &str, care: Care) -> String {
        let tokenizer = Tokenizer::new(Language::named(language).unwrap_or(Language::NONE), care);
        tokenizer.terms(text).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn stems_and_stop_words() {
        assert_eq!(terms("The quick brown foxes are running", "english", Care::default()), "quick brown fox run");
        assert_eq!(terms("The quick brown foxes", "none", Care::default()), "the quick brown foxes");
        assert_eq!(terms("well-known user_id $price", "en", Care::default()), "well known user_id price");
    }

    #[test]
    fn case_and_diacritics() {
        assert_eq!(terms("Café", "none", Care::default()), "cafe");
        assert_eq!(terms("Café", "none", Care { case: true, diacritics: true }), "Café");
        assert_eq!(terms("Coffee", "english", Care { case: true, diacritics: false }), "Coffe");
    }
}
