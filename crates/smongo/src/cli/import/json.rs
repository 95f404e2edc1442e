//! JSON inputs: one document a line, an array of documents, or documents one behind the other.

use std::io::{self, BufRead, Read};

use super::record::Place;

/// The longest text of a document: one of 16 MB whose every character is escaped is shorter.
pub const MOST_TEXT: usize = 128 << 20;

/// One document a line; blank lines are passed over.
pub struct Lines<R> {
    input: R,
    at: Place,
}

impl<R: BufRead> Lines<R> {
    /// `at` is where the input stands.
    pub fn new(input: R, at: Place) -> Lines<R> {
        Lines { input, at }
    }

    /// Reads the next line into `text`.
    pub fn next(&mut self, text: &mut Vec<u8>) -> io::Result<Piece> {
        loop {
            text.clear();
            let begins = self.at;
            let read = Read::take(&mut self.input, MOST_TEXT as u64 + 1).read_until(b'\n', text)?;
            if read == 0 {
                return Ok(Piece::End);
            }
            self.at.bytes += read as u64;
            if text.last() == Some(&b'\n') {
                self.at.line += 1;
            } else if read > MOST_TEXT {
                self.skip_line()?;
                return Ok(Piece::Bad(begins, format!("the line is longer than {MOST_TEXT} bytes")));
            }
            if !text.trim_ascii().is_empty() {
                text.truncate(text.trim_ascii_end().len());
                return Ok(Piece::Text(begins));
            }
        }
    }

    /// Passes over what is left of a line, without keeping it.
    fn skip_line(&mut self) -> io::Result<()> {
        loop {
            let chunk = self.input.fill_buf()?;
            let end = chunk.iter().position(|b| *b == b'\n');
            let used = end.map_or(chunk.len(), |n| n + 1);
            if used == 0 {
                return Ok(());
            }
            self.input.consume(used);
            self.at.bytes += used as u64;
            if end.is_some() {
                self.at.line += 1;
                return Ok(());
            }
        }
    }
}

/// The elements of an array, or documents one behind the other. An element ends where its braces close, and what is no document
/// with the comma or the line, so a bad one does not spoil the next. Where there is no telling what comes next, reading ends.
pub struct Elements<R> {
    input: R,
    at: Place,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// Before the array's bracket.
    Before,
    /// In the array, where an element must come; only at its beginning may it end instead.
    Element { first: bool },
    /// In the array, behind an element.
    Separator,
    /// Behind the array.
    Behind,
    /// No array: documents follow one another.
    Stream,
    Ended,
}

/// What comes next in the input.
pub enum Piece {
    /// The text of an element.
    Text(Place),
    /// Something that is none, and why; after it there may be more.
    Bad(Place, String),
    End,
}

impl<R: BufRead> Elements<R> {
    /// `at` is where the input stands.
    pub fn new(input: R, array: bool, at: Place) -> Elements<R> {
        Elements { input, at, state: if array { State::Before } else { State::Stream } }
    }

    /// Reads the next element into `text`.
    pub fn next(&mut self, text: &mut Vec<u8>) -> io::Result<Piece> {
        text.clear();
        loop {
            let Some(byte) = self.peek()? else { return Ok(self.end()) };
            match (self.state, byte) {
                (State::Ended, _) => return Ok(Piece::End),
                (_, b) if b.is_ascii_whitespace() => self.take(byte),
                (State::Before, b'[') => {
                    self.state = State::Element { first: true };
                    self.take(byte);
                }
                (State::Separator, b',') => {
                    self.state = State::Element { first: false };
                    self.take(byte);
                }
                (State::Separator | State::Element { first: true }, b']') => {
                    self.state = State::Behind;
                    self.take(byte);
                }
                (State::Element { .. } | State::Stream, b'{') => return self.element(text),
                (State::Element { .. }, b',') => {
                    let at = self.at;
                    self.take(byte);
                    return Ok(Piece::Bad(at, "expected a document, found a second comma".to_owned()));
                }
                (State::Element { .. }, b']') => {
                    let at = self.at;
                    self.state = State::Behind;
                    self.take(byte);
                    return Ok(Piece::Bad(at, "expected a document behind the comma, found the end of the array".to_owned()));
                }
                (State::Element { .. }, _) => return self.element(text),
                (State::Separator, _) => return Ok(self.give_up(format!("expected ',' or ']' behind the document, found {}", shown(byte)))),
                (State::Behind, _) => return Ok(self.give_up(format!("expected nothing behind the array, found {}", shown(byte)))),
                (State::Before | State::Stream, _) => return Ok(self.give_up(format!("expected a JSON document, found {}", shown(byte)))),
            }
        }
    }

    /// The input is over: in the midst of an array that is an error.
    fn end(&mut self) -> Piece {
        match self.state {
            State::Element { .. } | State::Separator => self.give_up("the array is not closed: the file is cut off".to_owned()),
            _ => {
                self.state = State::Ended;
                Piece::End
            }
        }
    }

    fn give_up(&mut self, reason: String) -> Piece {
        self.state = State::Ended;
        Piece::Bad(self.at, reason)
    }

    fn peek(&mut self) -> io::Result<Option<u8>> {
        Ok(self.input.fill_buf()?.first().copied())
    }

    fn take(&mut self, byte: u8) {
        self.at.pass(byte);
        self.input.consume(1);
    }

    /// From a brace to the one that closes it; what does not begin with a brace, to the next comma or line.
    fn element(&mut self, text: &mut Vec<u8>) -> io::Result<Piece> {
        let begins = self.at;
        let mut nesting = Nesting::default();
        let braced = self.peek()? == Some(b'{');
        loop {
            let chunk = self.input.fill_buf()?;
            if chunk.is_empty() {
                return Ok(if braced { self.cut_off(begins) } else { self.behind(begins) });
            }
            let (mut used, mut done) = (0, false);
            for &byte in chunk {
                if !braced && nesting.is_outside() && matches!(byte, b',' | b'\n' | b']') {
                    done = true;
                    break;
                }
                used += 1;
                self.at.pass(byte);
                nesting.pass(byte);
                if braced && nesting.is_outside() {
                    done = true;
                    break;
                }
            }
            text.extend_from_slice(chunk.get(..used).unwrap_or(chunk));
            self.input.consume(used);
            if done {
                return Ok(self.behind(begins));
            }
            if text.len() > MOST_TEXT {
                self.state = State::Ended;
                return Ok(Piece::Bad(begins, format!("the document does not end within {MOST_TEXT} bytes")));
            }
        }
    }

    fn behind(&mut self, begins: Place) -> Piece {
        if self.state != State::Stream {
            self.state = State::Separator;
        }
        Piece::Text(begins)
    }

    fn cut_off(&mut self, begins: Place) -> Piece {
        self.state = State::Ended;
        Piece::Bad(begins, "the document is not closed: the file is cut off, or a quote or brace is missing".to_owned())
    }
}

/// How deep in braces and quotes a text is.
#[derive(Default)]
struct Nesting {
    depth: u64,
    quoted: bool,
    escaped: bool,
}

impl Nesting {
    fn is_outside(&self) -> bool {
        self.depth == 0 && !self.quoted
    }

    fn pass(&mut self, byte: u8) {
        match byte {
            _ if self.escaped => self.escaped = false,
            b'\\' if self.quoted => self.escaped = true,
            b'"' => self.quoted = !self.quoted,
            b'{' | b'[' if !self.quoted => self.depth += 1,
            b'}' | b']' if !self.quoted => self.depth = self.depth.saturating_sub(1),
            _ => {}
        }
    }
}

/// A byte as an error names it.
fn shown(byte: u8) -> String {
    match byte {
        b' '..=b'~' => format!("'{}'", char::from(byte)),
        _ => format!("the byte 0x{byte:02X}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(mut next: impl FnMut(&mut Vec<u8>) -> io::Result<Piece>) -> Vec<(u64, u64, String)> {
        let (mut all, mut text) = (Vec::new(), Vec::new());
        loop {
            match next(&mut text).unwrap() {
                Piece::Text(at) => all.push((at.line, at.bytes, String::from_utf8_lossy(&text).into_owned())),
                Piece::Bad(at, why) => all.push((at.line, at.bytes, format!("! {why}"))),
                Piece::End => return all,
            }
            assert!(all.len() < 100, "it does not end");
        }
    }

    fn elements(input: &str, array: bool) -> Vec<(u64, u64, String)> {
        let mut e = Elements::new(io::BufReader::with_capacity(3, input.as_bytes()), array, Place::START);
        pieces(|text| e.next(text))
    }

    fn owned<const N: usize>(list: [(u64, u64, &str); N]) -> Vec<(u64, u64, String)> {
        list.map(|(line, byte, text)| (line, byte, text.to_owned())).to_vec()
    }

    #[test]
    fn an_array_is_split_at_its_elements() {
        let got = elements("[{\"a\": \"}\\\"]\"},\n {\"b\": [1,\n{}]} , 17, nonsense here,\n{\"c\":1}\n]\n", true);
        let want = [(1, 1, "{\"a\": \"}\\\"]\"}"), (2, 17, "{\"b\": [1,\n{}]}"), (3, 34, "17"), (3, 38, "nonsense here"), (4, 53, "{\"c\":1}")];
        assert_eq!(got, owned(want));
    }

    #[test]
    fn documents_follow_one_another() {
        let got = elements("{\"a\":1}{\"b\":\n2}\n\n{\"c\"", false);
        assert_eq!(got[..2], owned([(1, 0, "{\"a\":1}"), (1, 7, "{\"b\":\n2}")]));
        assert!(got.len() == 3 && got[2].0 == 4 && got[2].2.contains("cut off"), "{got:?}");
    }

    #[test]
    fn whatever_the_bytes_are_reading_them_ends() {
        for (input, array, count) in [
            ("a,b\n1,2\n", false, 1),
            ("{\"a\":1},{\"a\":2}\n", false, 2),
            ("// a comment\n{\"a\":1}\n", false, 1),
            ("]", false, 1),
            (",", false, 1),
            ("\0", false, 1),
            ("[{},{}", true, 3),
            ("[", true, 1),
            ("[{},", true, 2),
            ("[{},,{}]", true, 3),
            ("[{},]", true, 2),
            ("[{} {}]", true, 2),
            ("[{}] {}", true, 2),
            ("[{}]]", true, 2),
            ("[}]", true, 1),
            ("[]", true, 0),
            ("", false, 0),
        ] {
            assert_eq!(elements(input, array).len(), count, "{input:?}: {:?}", elements(input, array));
        }
    }

    #[test]
    fn lines_are_counted() {
        let mut lines = Lines::new("{}\n\n  \nx\r\ny".as_bytes(), Place::START);
        assert_eq!(pieces(|text| lines.next(text)), owned([(1, 0, "{}"), (4, 7, "x"), (5, 10, "y")]));
    }
}
