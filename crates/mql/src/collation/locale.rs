//! The locales MongoDB knows, by their ICU names.

use icu_locale_core::Locale;

/// Languages and regional variants, sorted.
const LOCALES: &[&str] = &[
    "af", "am", "ar", "as", "az", "be", "bg", "bn", "bo", "bs", "bs_Cyrl", "ca", "ceb", "chr", "cs", "cy", "da", "de", "de_AT",
    "dsb", "dz", "ee", "el", "en", "en_US", "en_US_POSIX", "eo", "es", "et", "fa", "fa_AF", "fi", "fil", "fo", "fr", "fr_CA", "ga",
    "gl", "gu", "ha", "haw", "he", "hi", "hr", "hsb", "hu", "hy", "id", "ig", "is", "it", "ja", "ka", "kk", "kl", "km", "kn", "ko",
    "kok", "ky", "lb", "lkt", "ln", "lo", "lt", "lv", "mk", "ml", "mn", "mr", "ms", "mt", "my", "nb", "ne", "nl", "nn", "om", "or",
    "pa", "pl", "ps", "pt", "ro", "ru", "se", "si", "sk", "sl", "smn", "sq", "sr", "sr_Latn", "sv", "sw", "ta", "te", "th", "to",
    "tr", "ug", "uk", "ur", "uz", "vi", "wae", "wo", "yi", "yo", "zh", "zh_Hant", "zu",
];

/// ICU's long names of collation variants and those of BCP 47, sorted.
const VARIANTS: &[(&str, &str)] = &[
    ("big5han", "big5han"),
    ("compat", "compat"),
    ("dictionary", "dict"),
    ("emoji", "emoji"),
    ("eor", "eor"),
    ("gb2312han", "gb2312"),
    ("phonebook", "phonebk"),
    ("phonetic", "phonetic"),
    ("pinyin", "pinyin"),
    ("reformed", "reformed"),
    ("search", "search"),
    ("searchjl", "searchjl"),
    ("standard", "standard"),
    ("stroke", "stroke"),
    ("traditional", "trad"),
    ("unihan", "unihan"),
    ("zhuyin", "zhuyin"),
];

/// Locales without letters of their own: they sort like the root.
const ROOT: &[&str] = &["de", "en", "en_US", "fr", "fr_CA", "ga", "id", "it", "lb", "ms", "nl", "pt", "sw", "wo", "zu"];

fn base(name: &str) -> &str {
    name.split('@').next().unwrap_or_default()
}

/// The locale of an ICU name such as `de@collation=phonebook`; `None` when MongoDB does not know it.
pub(super) fn find(name: &str) -> Option<Locale> {
    let language = base(name);
    LOCALES.binary_search(&language).ok()?;
    let tag = match language {
        "en_US_POSIX" => "en-US-u-va-posix".to_owned(),
        other => other.replace('_', "-"),
    };
    let Some((_, keywords)) = name.split_once('@') else { return parse(&tag) };
    let variant = keywords.strip_prefix("collation=")?;
    let row = VARIANTS.binary_search_by(|(long, _)| (*long).cmp(variant)).ok()?;
    let (_, short) = VARIANTS.get(row)?;
    parse(&format!("{tag}-u-co-{short}"))
}

pub(super) fn parse(tag: &str) -> Option<Locale> {
    tag.parse().ok()
}

/// French of Canada compares accents from the end.
pub(super) fn is_backwards(name: &str) -> bool {
    base(name) == "fr_CA"
}

pub(super) fn is_root(name: &str) -> bool {
    ROOT.contains(&name)
}

/// Locales for which ICU turns normalisation on.
pub(super) fn normalizes(name: &str) -> bool {
    matches!(base(name), "as" | "bn" | "gu" | "hi" | "kn" | "kok" | "ml" | "mr" | "ne" | "or" | "pa" | "ta" | "te" | "vi" | "wae")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_sorted() {
        assert!(LOCALES.is_sorted());
        assert!(VARIANTS.is_sorted());
    }

    #[test]
    fn every_locale_parses() {
        assert!(LOCALES.iter().all(|name| find(name).is_some()));
        assert!(find("zzz").is_none() && find("").is_none());
        assert!(find("de@collation=phonebook").is_some());
    }
}
