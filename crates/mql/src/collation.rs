//! Collations: how strings compare, by ICU.

mod locale;

use std::cmp::Ordering;

use icu_collator::options::{AlternateHandling, CaseLevel, CollatorOptions, MaxVariable, Strength};
use icu_collator::preferences::{CollationCaseFirst, CollationNumericOrdering};
use icu_collator::{CollatorBorrowed, CollatorPreferences};
use icu_locale_core::Locale;
use smongo_bson::compare::Collator;
use smongo_bson::decimal::Rounding;
use smongo_bson::{Doc, DocBuf, Result, Value, bail, err};

/// The version of ICU's data that MongoDB reports and accepts.
const VERSION: &str = "57.1";

/// A collation as a command's or index's `collation` document gives it, ready to compare.
pub struct Collation {
    /// The complete specification with every default filled in, as MongoDB gives it back.
    pub spec: DocBuf,
    icu: CollatorBorrowed<'static>,
    /// Decides before `icu` where that does not know the locale's letters: see [`build`].
    letters: Option<CollatorBorrowed<'static>>,
    /// `en_US_POSIX`, of which ICU4X has no data: the order of the bytes.
    posix: bool,
}

/// The options of a specification, as far as they were given.
#[derive(Default)]
struct Options<'a> {
    locale: &'a str,
    case_level: Option<bool>,
    case_first: Option<&'a str>,
    strength: Option<i32>,
    numeric: Option<bool>,
    alternate: Option<&'a str>,
    max_variable: Option<&'a str>,
    normalization: Option<bool>,
    backwards: Option<bool>,
}

impl Collation {
    /// Parses a `collation` document; `None` for `{locale: "simple"}`.
    ///
    /// Errors: 14 for a wrong type, 2 for a wrong value, 40414 without a locale, 40415 for an unknown field, 161 for a
    /// foreign version.
    pub fn parse(spec: Doc<'_>) -> Result<Option<Collation>> {
        let options = read(spec)?;
        if options.locale == "simple" {
            return Ok(None);
        }
        let Some(locale) = locale::find(options.locale) else {
            bail!(BadValue, "Field 'locale' is invalid in: {}", spec);
        };
        let (icu, letters) = build(&options, locale)?;
        let spec = filled(&options, &icu);
        check_case_first(&options)?;
        Ok(Some(Collation { spec, icu, letters, posix: options.locale == "en_US_POSIX" }))
    }

    /// Whether two collations compare alike.
    pub fn same(a: Option<&Collation>, b: Option<&Collation>) -> bool {
        match (a, b) {
            (None, None) => true,
            (Some(a), Some(b)) => a.spec.as_bytes() == b.spec.as_bytes(),
            _ => false,
        }
    }
}

impl std::fmt::Debug for Collation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.spec.fmt(f)
    }
}

impl Collator for Collation {
    fn compare(&self, a: &str, b: &str) -> Ordering {
        if self.posix {
            return a.cmp(b);
        }
        let letters = self.letters.as_ref().map_or(Ordering::Equal, |c| c.compare(a, b));
        letters.then_with(|| self.icu.compare(a, b))
    }

    fn sort_key(&self, s: &str, out: &mut Vec<u8>) {
        if self.posix {
            return out.extend_from_slice(s.as_bytes());
        }
        if let Some(letters) = &self.letters {
            // Writing to a vector cannot fail. No sort key holds a zero byte, so this separates.
            let _ = letters.write_sort_key_to(s, out);
            out.push(0);
        }
        let _ = self.icu.write_sort_key_to(s, out);
    }
}

fn read(spec: Doc<'_>) -> Result<Options<'_>> {
    let mut options = Options::default();
    let mut has_locale = false;
    for e in spec {
        let (name, value) = (e.name(), e.value());
        match name {
            "locale" => {
                options.locale = string(name, value)?.ok_or_else(|| wrong_type(name, value, "string"))?;
                has_locale = true;
            }
            "caseLevel" => options.case_level = boolean(name, value)?,
            "caseFirst" => options.case_first = one_of(name, value, &["upper", "lower", "off"])?,
            "strength" => options.strength = strength(value)?,
            "numericOrdering" => options.numeric = boolean(name, value)?,
            "alternate" => options.alternate = one_of(name, value, &["non-ignorable", "shifted"])?,
            "maxVariable" => options.max_variable = one_of(name, value, &["punct", "space"])?,
            "normalization" => options.normalization = boolean(name, value)?,
            "backwards" => {
                options.backwards = boolean(name, value)?;
                if options.backwards.is_none() {
                    return Err(wrong_type(name, value, "bool"));
                }
            }
            "version" => {
                if string(name, value)?.is_some_and(|v| v != VERSION) {
                    bail!(161, "Requested collation version does not match the available version {VERSION}");
                }
            }
            _ => bail!(40415, "BSON field 'collation.{name}' is an unknown field."),
        }
    }
    if !has_locale {
        bail!(40414, "BSON field 'collation.locale' is missing but a required field");
    }
    Ok(options)
}

fn wrong_type(name: &str, value: Value<'_>, expected: &str) -> smongo_bson::Error {
    err!(TypeMismatch, "BSON field 'collation.{name}' is the wrong type '{}', expected type '{expected}'", value.type_name())
}

fn string<'a>(name: &str, value: Value<'a>) -> Result<Option<&'a str>> {
    match value {
        Value::String(s) => Ok(Some(s)),
        Value::Null | Value::Undefined => Ok(None),
        v => Err(wrong_type(name, v, "string")),
    }
}

fn boolean(name: &str, value: Value<'_>) -> Result<Option<bool>> {
    match value {
        Value::Bool(b) => Ok(Some(b)),
        Value::Null | Value::Undefined => Ok(None),
        v => Err(wrong_type(name, v, "bool")),
    }
}

fn one_of<'a>(name: &str, value: Value<'a>, allowed: &[&str]) -> Result<Option<&'a str>> {
    match string(name, value)? {
        Some(s) if !allowed.contains(&s) => bail!(BadValue, "Enumeration value '{s}' for field 'collation.{name}' is not a valid value."),
        other => Ok(other),
    }
}

fn strength(value: Value<'_>) -> Result<Option<i32>> {
    let n = match value {
        Value::Null | Value::Undefined => return Ok(None),
        Value::Int32(n) => i64::from(n),
        Value::Int64(n) => n,
        // Doubles are cut, decimals rounded half to even; what is no number is 0.
        Value::Double(d) => d as i64,
        Value::Decimal(d) => d.round_to_integer(Rounding::HalfEven).to_i64_exact().unwrap_or(0),
        v => {
            bail!(TypeMismatch, "BSON field 'collation.strength' is the wrong type '{}', expected types '[int, decimal, double, long]'", v.type_name())
        }
    };
    match n {
        1..=5 => Ok(Some(n as i32)),
        _ if n < 1 => bail!(BadValue, "BSON field 'strength' value must be >= 1, actual value '{n}'"),
        _ => bail!(BadValue, "BSON field 'strength' value must be <= 5, actual value '{n}'"),
    }
}

/// `caseFirst` has nothing to order at the first two levels.
fn check_case_first(options: &Options<'_>) -> Result<()> {
    let levels = options.strength.unwrap_or(3);
    if matches!(options.case_first, Some("upper" | "lower")) && options.case_level != Some(true) && levels < 3 {
        bail!(BadValue, "'caseFirst' is invalid unless 'caseLevel' is on or 'strength' is greater than 2");
    }
    if options.backwards == Some(true) && levels == 1 {
        bail!(BadValue, "'backwards' is invalid with 'strength' of 1");
    }
    Ok(())
}

/// The collators. ICU4X reverses the second level for `fr-CA` only, whose letters are those of the root: with
/// `backwards` the locale's own letters are compared first, then the rest by `fr-CA`.
fn build(options: &Options<'_>, locale: Locale) -> Result<(CollatorBorrowed<'static>, Option<CollatorBorrowed<'static>>)> {
    let own_backwards = locale::is_backwards(options.locale);
    let backwards = options.backwards.unwrap_or(own_backwards);
    if backwards == own_backwards {
        return Ok((collator(options, &locale, None)?, None));
    }
    let other = if backwards { locale::parse("fr-CA") } else { locale::parse("fr") };
    let Some(other) = other else { bail!(InternalError, "collation data is missing") };
    let letters = if locale::is_root(options.locale) || !backwards { None } else { Some(collator(options, &locale, Some(Strength::Primary))?) };
    Ok((collator(options, &other, None)?, letters))
}

fn collator(options: &Options<'_>, locale: &Locale, only: Option<Strength>) -> Result<CollatorBorrowed<'static>> {
    let mut icu = CollatorOptions::default();
    icu.strength = only.or(options.strength.map(|n| match n {
        1 => Strength::Primary,
        2 => Strength::Secondary,
        4 => Strength::Quaternary,
        5 => Strength::Identical,
        _ => Strength::Tertiary,
    }));
    icu.alternate_handling = options.alternate.map(|a| if a == "shifted" { AlternateHandling::Shifted } else { AlternateHandling::NonIgnorable });
    icu.max_variable = options.max_variable.map(|m| if m == "space" { MaxVariable::Space } else { MaxVariable::Punctuation });
    // The level of case is behind that of accents: where only letters count, it does not.
    icu.case_level = options.case_level.filter(|_| only.is_none()).map(|on| if on { CaseLevel::On } else { CaseLevel::Off });
    let mut preferences = CollatorPreferences::from(locale);
    if let Some(first) = options.case_first {
        preferences.case_first = Some(match first {
            "upper" => CollationCaseFirst::Upper,
            "lower" => CollationCaseFirst::Lower,
            _ => CollationCaseFirst::False,
        });
    }
    if let Some(numeric) = options.numeric {
        preferences.numeric_ordering = Some(if numeric { CollationNumericOrdering::True } else { CollationNumericOrdering::False });
    }
    CollatorBorrowed::try_new(preferences, icu).map_err(|e| err!(BadValue, "Field 'locale' is invalid: {e}"))
}

/// The specification with what the locale decided where nothing was given.
fn filled(options: &Options<'_>, icu: &CollatorBorrowed<'static>) -> DocBuf {
    let resolved = icu.resolved_options();
    let strength = match resolved.strength {
        Strength::Primary => 1,
        Strength::Secondary => 2,
        Strength::Quaternary => 4,
        Strength::Identical => 5,
        _ => 3,
    };
    let case_first = match resolved.case_first {
        CollationCaseFirst::Upper => "upper",
        CollationCaseFirst::Lower => "lower",
        _ => "off",
    };
    let shifted = resolved.alternate_handling == AlternateHandling::Shifted;
    let max_variable = if resolved.max_variable == MaxVariable::Space { "space" } else { "punct" };
    DocBuf::build(|w| {
        w.append("locale", options.locale);
        w.append("caseLevel", resolved.case_level == CaseLevel::On);
        w.append("caseFirst", case_first);
        w.append("strength", strength);
        w.append("numericOrdering", resolved.numeric == CollationNumericOrdering::True);
        w.append("alternate", if shifted { "shifted" } else { "non-ignorable" });
        w.append("maxVariable", max_variable);
        w.append("normalization", options.normalization.unwrap_or(locale::normalizes(options.locale)));
        w.append("backwards", options.backwards.unwrap_or(locale::is_backwards(options.locale)));
        w.append("version", VERSION);
    })
}
