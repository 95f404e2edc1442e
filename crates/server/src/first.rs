//! What a connection's first bytes say of who is there.

use crate::frame::{HEADER, Header, OP_COMPRESSED, OP_MSG, OP_QUERY, i32_at};

/// As many bytes as it takes to know; a message has no less, and neither has what begins TLS.
pub const ENOUGH: usize = HEADER;

/// What to say to a browser.
pub const HTTP: &str = "HTTP/1.0 200 OK\r\nConnection: close\r\nContent-Type: text/plain\r\nContent-Length: 92\r\n\r\n\
                        This port speaks MongoDB's protocol, not HTTP: give its address to a driver or to mongosh.\r\n";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum First {
    /// Not enough to tell.
    More,
    /// A message, or what will be refused as one.
    Plain,
    Tls,
    Http,
}

/// Reads the first bytes. A message of 790 bytes begins as TLS does, and is known by its operation code.
pub fn classify(bytes: &[u8]) -> First {
    if [b"GET ", b"HEAD", b"POST", b"PUT "].iter().any(|method| bytes.starts_with(*method)) {
        return First::Http;
    }
    if bytes.len() < ENOUGH {
        return First::More;
    }
    let is_message = Header::parse(bytes).is_some() && i32_at(bytes, 12).is_some_and(|code| matches!(code, OP_MSG | OP_QUERY | OP_COMPRESSED));
    // A handshake's record, whatever its version, that begins with a ClientHello.
    let is_tls = matches!(bytes, [0x16, 3, 0..=4, _, _, 1, ..]);
    if is_tls && !is_message { First::Tls } else { First::Plain }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_tls_and_browsers_are_told_apart() {
        let message = |len: i32, id: i32, code: i32| [len, id, 0, code].map(i32::to_le_bytes).concat();
        for len in [16, 22, 0x316, 0x10316, 0x20316, 48_000_000] {
            for id in [0, 1, 256, 0x1ff, -1] {
                assert_eq!(classify(&message(len, id, OP_MSG)), First::Plain);
            }
        }
        let hello = [0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3, 9, 9, 9, 9, 9];
        assert_eq!(classify(&hello), First::Tls);
        assert_eq!(classify(&hello[..15]), First::More);
        assert_eq!(classify(b"GET / HTTP/1.1\r\n"), First::Http);
        assert_eq!(classify(b"GET "), First::Http);
        assert_eq!(classify(b"SSH-2.0-OpenSSH_9"), First::Plain);
        assert_eq!(classify(b""), First::More);
        let (head, body) = HTTP.split_once("\r\n\r\n").unwrap_or_default();
        assert!(head.contains(&format!("Content-Length: {}", body.len())), "{}", body.len());
    }
}
