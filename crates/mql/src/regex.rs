//! Regular expressions with MongoDB's options, by PCRE2 with a match limit.

use pcre2::bytes::{CaptureLocations, RegexBuilder};
use smongo_bson::{Code, Error, Result, bail, err};

/// Longest pattern in bytes, as in MongoDB.
pub const MAX_PATTERN: usize = 16_384;

/// How much backtracking one match may do before it is given up.
const MATCH_LIMIT: u32 = 10_000_000;

/// A compiled regular expression. Strings are UTF-8; positions are byte offsets ([`code_points`] converts).
pub struct Regex {
    pub pattern: String,
    /// MongoDB's options, sorted and without duplicates.
    pub options: String,
    prefix: Option<String>,
    exact: bool,
    code: pcre2::bytes::Regex,
}

/// The places of a match and its groups in a string; reusable.
pub struct Captures(CaptureLocations);

impl Regex {
    /// Options are MongoDB's `i m s x u`.
    ///
    /// Errors: 51091 for a pattern PCRE2 refuses or one too long, 51108 for an unknown option, 2 for a NUL in the pattern.
    pub fn new(pattern: &str, options: &str) -> Result<Regex> {
        if pattern.contains('\0') {
            bail!(BadValue, "Regular expression cannot contain an embedded null byte");
        }
        if pattern.len() > MAX_PATTERN {
            bail!(51091, "Regular expression is invalid: regular expression is too large");
        }
        let mut builder = RegexBuilder::new();
        builder.utf(true).jit_if_available(true).max_jit_stack_size(Some(1 << 20));
        for flag in options.chars() {
            match flag {
                'i' => builder.caseless(true),
                'm' => builder.multi_line(true),
                's' => builder.dotall(true),
                'x' => builder.extended(true),
                'u' => &mut builder,
                other => bail!(51108, "invalid flag in regex options: {other}"),
            };
        }
        let code = builder.build(&format!("(*LIMIT_MATCH={MATCH_LIMIT}){pattern}")).map_err(|e| bad_pattern(&e))?;
        let mut flags: Vec<char> = options.chars().collect();
        flags.sort_unstable();
        flags.dedup();
        let options: String = flags.into_iter().collect();
        let (prefix, exact) = literal_prefix(pattern, &options).map_or((None, false), |(p, e)| (Some(p), e));
        Ok(Regex { pattern: pattern.to_owned(), options, prefix, exact, code })
    }

    /// Compiles a BSON regular expression literal.
    pub fn from_bson(regex: smongo_bson::Regex<'_>) -> Result<Regex> {
        Regex::new(regex.pattern(), regex.options())
    }

    pub fn is_match(&self, text: &str) -> Result<bool> {
        self.code.is_match(text.as_bytes()).map_err(|e| failed(&e))
    }

    /// Whether a stored regular expression is this one.
    pub fn equals(&self, other: smongo_bson::Regex<'_>) -> bool {
        self.pattern == other.pattern() && self.options == other.options()
    }

    /// The first match at or behind byte `start` (a character boundary), as byte offsets.
    pub fn find_at(&self, text: &str, start: usize) -> Result<Option<(usize, usize)>> {
        let found = self.code.find_at(text.as_bytes(), start).map_err(|e| failed(&e))?;
        Ok(found.map(|m| (m.start(), m.end())))
    }

    /// Room for the groups of this expression's matches.
    pub fn captures(&self) -> Captures {
        Captures(self.code.capture_locations())
    }

    /// Like [`find_at`](Self::find_at); fills `groups` with the match (0) and its groups.
    pub fn captures_at(&self, text: &str, start: usize, groups: &mut Captures) -> Result<bool> {
        let found = self.code.captures_read_at(&mut groups.0, text.as_bytes(), start).map_err(|e| failed(&e))?;
        Ok(found.is_some())
    }

    /// The literal prefix every match starts with (`^abc`): index bounds are made of it.
    pub fn prefix(&self) -> Option<&str> {
        self.prefix.as_deref()
    }

    /// Whether the expression is nothing but its prefix: every string that begins with [`prefix`](Self::prefix) matches.
    pub fn is_exact_prefix(&self) -> bool {
        self.exact
    }
}

impl Captures {
    /// Byte offsets of group `index`; `None` when it took no part in the match.
    pub fn get(&self, index: usize) -> Option<(usize, usize)> {
        self.0.get(index)
    }

    /// The number of groups, the whole match included.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl std::fmt::Debug for Regex {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "/{}/{}", self.pattern, self.options)
    }
}

/// The code point offset of byte `at` in `text`, as `$regexFind` reports positions.
pub fn code_points(text: &str, at: usize) -> usize {
    text.get(..at).map_or(0, |head| head.chars().count())
}

fn bad_pattern(e: &pcre2::Error) -> Error {
    err!(51091, "Regular expression is invalid: {e}")
}

fn failed(e: &pcre2::Error) -> Error {
    Error::new(Code(51156), format!("Error occurred while executing the regular expression: {e}"))
}

/// The literal every match begins with, and whether the pattern is only that. Needs an anchor at the start and a
/// case-sensitive pattern without alternatives.
fn literal_prefix(pattern: &str, options: &str) -> Option<(String, bool)> {
    if options.contains(['i', 'x']) {
        return None;
    }
    let body = match (pattern.strip_prefix("\\A"), pattern.strip_prefix('^')) {
        (Some(rest), _) => rest,
        (None, Some(rest)) if !options.contains('m') => rest,
        _ => return None,
    };
    if body.contains('|') {
        return None;
    }
    let (prefix, exact) = literal_run(body);
    (!prefix.is_empty()).then_some((prefix, exact))
}

/// Characters of a pattern that stand for themselves, up to the first that does not.
fn literal_run(body: &str) -> (String, bool) {
    let mut out = String::new();
    let mut chars = body.chars();
    while let Some(c) = chars.next() {
        match c {
            '*' | '?' | '{' => {
                out.pop();
                return (out, false);
            }
            '\\' => match chars.next() {
                Some('Q') => {
                    let (quoted, rest) = chars.as_str().split_once("\\E").unwrap_or((chars.as_str(), ""));
                    out.push_str(quoted);
                    chars = rest.chars();
                }
                Some(e) if !e.is_alphanumeric() => out.push(e),
                _ => return (out, false),
            },
            '.' | '[' | '(' | ')' | '+' | '^' | '$' => return (out, false),
            c => out.push(c),
        }
    }
    (out, true)
}

#[cfg(test)]
mod tests {
    use super::literal_prefix;

    fn prefix(pattern: &str, options: &str) -> Option<(String, bool)> {
        literal_prefix(pattern, options)
    }

    #[test]
    fn prefixes() {
        assert_eq!(prefix("^abc", ""), Some(("abc".into(), true)));
        assert_eq!(prefix("^abc.*", ""), Some(("abc".into(), false)));
        assert_eq!(prefix("^abc?d", ""), Some(("ab".into(), false)));
        assert_eq!(prefix("^a\\.b\\d", ""), Some(("a.b".into(), false)));
        assert_eq!(prefix("\\Aab\\Q.*\\Ec", "m"), Some(("ab.*c".into(), true)));
        assert_eq!(prefix("^é+", ""), Some(("é".into(), false)));
        assert_eq!(prefix("^a|b", ""), None);
        assert_eq!(prefix("^a", "m"), None);
        assert_eq!(prefix("^a", "i"), None);
        assert_eq!(prefix("^(?i)a", ""), None);
        assert_eq!(prefix("abc", ""), None);
    }
}
