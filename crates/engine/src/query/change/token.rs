//! Resume tokens: `{_data: <hex>}`, whose text sorts as the events do.
//!
//! | bytes | what |
//! |---|---|
//! | 1 | `82` |
//! | 8 | timestamp of the oplog entry |
//! | 1 | version, 1 |
//! | 1 | kind: 0 a mark between events (nothing before the timestamp is to come), 80 an event |
//! | 4 | events only: position among the operations of the entry |
//! | 1 | events only: 1 for the invalidate event that follows an event |
//! | 4 | events only: number of the fragment of a split event, 0 for a whole one |
//! | 1 | `04`, the end |

use smongo_bson::{Doc, DocBuf, Result, Value, bail};

const TAG: u8 = 0x82;
const VERSION: u8 = 1;
const MARK: u8 = 0;
const EVENT: u8 = 0x80;
const END: u8 = 4;

/// The place of an event in the stream of all events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    pub ts: u64,
    /// Among the operations of the oplog entry.
    pub op: u32,
    /// The invalidate event behind the event of the same operation.
    pub invalidate: bool,
    /// Of a split event, from 1; 0 for a whole one.
    pub fragment: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Token {
    /// Everything before this timestamp has been seen.
    Mark(u64),
    Event(Position),
}

impl Token {
    pub fn to_doc(self) -> DocBuf {
        DocBuf::build(|w| {
            w.append("_data", &*self.text());
        })
    }

    pub fn text(self) -> String {
        let (ts, event) = match self {
            Token::Mark(ts) => (ts, None),
            Token::Event(at) => (at.ts, Some(at)),
        };
        let mut bytes = Vec::with_capacity(24);
        bytes.push(TAG);
        bytes.extend_from_slice(&ts.to_be_bytes());
        bytes.push(VERSION);
        match event {
            None => bytes.push(MARK),
            Some(at) => {
                bytes.push(EVENT);
                bytes.extend_from_slice(&at.op.to_be_bytes());
                bytes.push(u8::from(at.invalidate));
                bytes.extend_from_slice(&at.fragment.to_be_bytes());
            }
        }
        bytes.push(END);
        hex(&bytes)
    }

    pub fn parse(doc: Doc<'_>) -> Result<Token> {
        let Value::String(text) = doc.get("_data") else {
            bail!(40647, "Bad resume token: _data of missing or of wrong type: {doc:?}");
        };
        match doc.get("_typeBits") {
            Value::Missing | Value::Binary(_) => {}
            _ => bail!(40648, "Bad resume token: _typeBits of wrong type: {doc:?}"),
        }
        if text.is_empty() {
            bail!(40649, "Bad resume token: _data is an empty string");
        }
        let Some(bytes) = unhex(text) else { bail!(FailedToParse, "resume token string was not a valid hex string") };
        Token::decode(&bytes)
    }

    /// The end byte may be missing and anything may follow it.
    fn decode(bytes: &[u8]) -> Result<Token> {
        let mut reader = Reader(bytes);
        match reader.take::<1>()? {
            [TAG] => {}
            [tag] => bail!(50811, "Unknown type: {tag}"),
        }
        let ts = u64::from_be_bytes(reader.take()?);
        match reader.take::<1>()? {
            [VERSION] => {}
            [version] => bail!(InvalidResumeToken, "resume token of unknown version {version}"),
        }
        match reader.take::<1>()? {
            [MARK] => Ok(Token::Mark(ts)),
            [EVENT] => {
                let op = u32::from_be_bytes(reader.take()?);
                let [invalidate] = reader.take()?;
                let fragment = u32::from_be_bytes(reader.take()?);
                Ok(Token::Event(Position { ts, op, invalidate: invalidate != 0, fragment }))
            }
            [kind] => bail!(InvalidResumeToken, "resume token of unknown kind {kind}"),
        }
    }

    pub fn ts(self) -> u64 {
        match self {
            Token::Mark(ts) => ts,
            Token::Event(at) => at.ts,
        }
    }
}

struct Reader<'b>(&'b [u8]);

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N]> {
        match self.0.split_first_chunk::<N>() {
            Some((head, rest)) => {
                self.0 = rest;
                Ok(*head)
            }
            None => bail!(Overflow, "the resume token ends too early"),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02X}")).collect()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) {
        return None;
    }
    let digit = |b: u8| char::from(b).to_digit(16);
    text.as_bytes().chunks(2).map(|pair| Some((digit(pair[0])? * 16 + digit(pair[1])?) as u8)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_come_back_and_their_text_sorts_as_they_do() {
        let at = |ts, op, invalidate, fragment| Position { ts, op, invalidate, fragment };
        let events = [at(1, 0, false, 0), at(1, 0, false, 1), at(1, 0, true, 0), at(1, 7, false, 0), at(1 << 40, 0, false, 0)];
        let texts: Vec<String> = events.iter().map(|e| Token::Event(*e).text()).collect();
        assert!(texts.is_sorted());
        for event in events {
            assert_eq!(Token::parse(Token::Event(event).to_doc().as_doc()).unwrap(), Token::Event(event));
        }
        assert!(Token::Mark(1).text() < texts[0] && texts[3] < Token::Mark(2).text());
        assert_eq!(Token::parse(Token::Mark(9).to_doc().as_doc()).unwrap(), Token::Mark(9));
    }

    #[test]
    fn the_end_byte_is_optional_and_what_lacks_more_is_refused() {
        let text = Token::Event(Position { ts: 5, op: 1, ..Position::default() }).text();
        let token = |t: &str| Token::parse(DocBuf::build(|w| { w.append("_data", t); }).as_doc()).map_err(|e| e.code().0);
        assert!(token(&text[..text.len() - 2]).is_ok());
        assert!(token(&format!("{}FF", text.to_lowercase())).is_ok());
        assert_eq!(token(&text[..text.len() - 4]), Err(15));
        assert_eq!(token("00"), Err(50811));
        assert_eq!(token("xyz"), Err(9));
        assert_eq!(token(""), Err(40649));
    }
}
