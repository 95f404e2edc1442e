//! What somebody else wrote, on its way into a text that people read.

use std::fmt::{Display, Formatter, Result};

/// The most characters of it that are shown.
const MOST: usize = 256;

/// Shows a text so that it cannot pretend to be something else: no ends of lines, no commands to a terminal, nothing that turns the
/// direction of what follows, and not too much of it.
pub struct Escaped<'a>(pub &'a str);

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        for (n, c) in self.0.chars().enumerate() {
            if n == MOST {
                return f.write_str("…");
            }
            if is_unsafe(c) {
                write!(f, "{}", c.escape_unicode())?;
            } else {
                write!(f, "{c}")?;
            }
        }
        Ok(())
    }
}

/// Whether a character does something to the text around it: ends of lines and what commands a terminal, marks of direction, separators
/// of lines and paragraphs, and what has no width.
pub fn is_unsafe(c: char) -> bool {
    let invisible = matches!(
        c,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
    );
    c.is_control() || invisible
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_it_moves_the_cursor() {
        for (text, shown) in [
            ("käse, 🦀", "käse, 🦀"),
            ("a\r\nWARN b", "a\\u{d}\\u{a}WARN b"),
            ("\u{1b}[31m", "\\u{1b}[31m"),
            ("\u{9b}31m\u{7f}", "\\u{9b}31m\\u{7f}"),
            ("a\u{202e}b\u{2066}c\u{2028}", "a\\u{202e}b\\u{2066}c\\u{2028}"),
        ] {
            assert_eq!(Escaped(text).to_string(), shown);
        }
        assert_eq!(Escaped(&"x".repeat(300)).to_string(), format!("{}…", "x".repeat(256)));
        assert_eq!(Escaped(&"x".repeat(256)).to_string().len(), 256);
    }
}
