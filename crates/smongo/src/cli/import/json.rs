//! JSON inputs: one document a line, an array of documents, or documents one behind the other.

use std::io::{self, BufRead};

/// One document a line; blank lines are passed over.
pub struct Lines<R> {
    input: R,
    line: u64,
}

impl<R: BufRead> Lines<R> {
    pub fn new(input: R) -> Lines<R> {
        Lines { input, line: 0 }
    }

    /// Reads the next line into `text`; its number, or `None` at the end.
    pub fn next(&mut self, text: &mut Vec<u8>) -> io::Result<Option<u64>> {
        loop {
            text.clear();
            if self.input.read_until(b'\n', text)? == 0 {
                return Ok(None);
            }
            self.line += 1;
            if !text.trim_ascii().is_empty() {
                text.truncate(text.trim_ascii_end().len());
                return Ok(Some(self.line));
            }
        }
    }
}

/// The elements of an array, or documents one behind the other. An element ends where its braces close, so a bad one does
/// not spoil the next.
pub struct Elements<R> {
    input: R,
    line: u64,
    array: bool,
    opened: bool,
}

impl<R: BufRead> Elements<R> {
    pub fn new(input: R, array: bool) -> Elements<R> {
        Elements { input, line: 1, array, opened: false }
    }

    /// Reads the next element into `text`; the line it begins in, or `None` at the end.
    pub fn next(&mut self, text: &mut Vec<u8>) -> io::Result<Option<u64>> {
        text.clear();
        loop {
            let Some(byte) = self.peek()? else { return Ok(None) };
            match byte {
                b'[' if self.array && !self.opened => self.opened = true,
                b',' | b']' if self.array => {}
                b if b.is_ascii_whitespace() => {}
                _ => break,
            }
            self.take(byte);
        }
        let begins = self.line;
        self.element(text)?;
        Ok(Some(begins))
    }

    fn peek(&mut self) -> io::Result<Option<u8>> {
        Ok(self.input.fill_buf()?.first().copied())
    }

    fn take(&mut self, byte: u8) {
        self.line += u64::from(byte == b'\n');
        self.input.consume(1);
    }

    /// From a brace to the one that closes it; what does not begin with a brace, to the next comma or line.
    fn element(&mut self, text: &mut Vec<u8>) -> io::Result<()> {
        let (mut depth, mut quoted, mut escaped) = (0u32, false, false);
        let braced = self.peek()? == Some(b'{');
        loop {
            let chunk = self.input.fill_buf()?;
            if chunk.is_empty() {
                return Ok(());
            }
            let mut used = 0;
            let mut done = false;
            for &byte in chunk {
                if !braced && !quoted && depth == 0 && matches!(byte, b',' | b'\n' | b']') {
                    done = true;
                    break;
                }
                used += 1;
                self.line += u64::from(byte == b'\n');
                match byte {
                    _ if escaped => escaped = false,
                    b'\\' if quoted => escaped = true,
                    b'"' => quoted = !quoted,
                    b'{' | b'[' if !quoted => depth += 1,
                    b'}' | b']' if !quoted => depth = depth.saturating_sub(1),
                    _ => {}
                }
                if braced && depth == 0 {
                    done = true;
                    break;
                }
            }
            text.extend_from_slice(chunk.get(..used).unwrap_or(chunk));
            self.input.consume(used);
            if done {
                return Ok(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn elements(input: &str, array: bool) -> Vec<(u64, String)> {
        let mut e = Elements::new(io::BufReader::with_capacity(3, input.as_bytes()), array);
        let (mut all, mut text) = (Vec::new(), Vec::new());
        while let Some(line) = e.next(&mut text).unwrap_or_default() {
            all.push((line, String::from_utf8_lossy(&text).into_owned()));
        }
        all
    }

    #[test]
    fn an_array_is_split_at_its_elements() {
        let got = elements("[{\"a\": \"}\\\"]\"},\n {\"b\": [1,\n{}]} , 17, nonsense here,\n{\"c\":1}\n]\n", true);
        let want = [(1, "{\"a\": \"}\\\"]\"}"), (2, "{\"b\": [1,\n{}]}"), (3, "17"), (3, "nonsense here"), (4, "{\"c\":1}")];
        assert_eq!(got, want.map(|(n, s)| (n, s.to_string())));
    }

    #[test]
    fn documents_follow_one_another() {
        let got = elements("{\"a\":1}{\"b\":\n2}\n\n{\"c\"", false);
        assert_eq!(got, [(1, "{\"a\":1}".to_string()), (1, "{\"b\":\n2}".to_string()), (4, "{\"c\"".to_string())]);
    }

    #[test]
    fn lines_are_counted() {
        let mut lines = Lines::new("{}\n\n  \nx\r\ny".as_bytes());
        let mut text = Vec::new();
        let mut all = Vec::new();
        while let Some(n) = lines.next(&mut text).unwrap_or_default() {
            all.push((n, text.clone()));
        }
        assert_eq!(all, [(1, b"{}".to_vec()), (4, b"x".to_vec()), (5, b"y".to_vec())]);
    }
}
