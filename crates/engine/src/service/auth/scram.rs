//! SCRAM (RFC 5802, RFC 7677): the salted keys that are kept of a password, and the server's side of the exchange that proves it.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use md5::Md5;
use sha1::Sha1;
use sha2::{Digest, Sha256};
use smongo_bson::{Doc, DocWriter, Result, bail, err, number};
use subtle::ConstantTimeEq;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mechanism {
    Sha1,
    Sha256,
}

/// What is kept of a password.
#[derive(Clone)]
pub struct Keys {
    pub iterations: i32,
    pub salt: Vec<u8>,
    stored: Vec<u8>,
    server: Vec<u8>,
}

impl Mechanism {
    pub const ALL: [Mechanism; 2] = [Mechanism::Sha1, Mechanism::Sha256];

    pub fn name(self) -> &'static str {
        match self {
            Mechanism::Sha1 => "SCRAM-SHA-1",
            Mechanism::Sha256 => "SCRAM-SHA-256",
        }
    }

    pub fn of_name(name: &str) -> Option<Mechanism> {
        Mechanism::ALL.into_iter().find(|m| m.name() == name)
    }

    pub fn parse(name: &str) -> Result<Mechanism> {
        match Mechanism::of_name(name) {
            Some(mechanism) => Ok(mechanism),
            None => bail!(BadValue, "Unknown auth mechanism '{name}'"),
        }
    }

    /// Bytes of a salt: with the four that the derivation appends they fill what one round of the hash takes.
    pub fn salt_bytes(self) -> usize {
        match self {
            Mechanism::Sha1 => 16,
            Mechanism::Sha256 => 28,
        }
    }

    pub fn hash_bytes(self) -> usize {
        match self {
            Mechanism::Sha1 => 20,
            Mechanism::Sha256 => 32,
        }
    }

    /// What goes into the derivation for a password.
    pub fn prepared<'p>(self, user: &str, password: &'p str) -> Result<Cow<'p, str>> {
        match self {
            Mechanism::Sha1 => Ok(Cow::Owned(format!("{:x}", Md5::digest(format!("{user}:mongo:{password}"))))),
            Mechanism::Sha256 => match stringprep::saslprep(password) {
                Ok(prepared) => Ok(prepared),
                Err(e) => bail!(BadValue, "Password preparation failed: {e}"),
            },
        }
    }

    fn hash(self, message: &[u8]) -> Vec<u8> {
        match self {
            Mechanism::Sha1 => Sha1::digest(message).to_vec(),
            Mechanism::Sha256 => Sha256::digest(message).to_vec(),
        }
    }

    fn hmac(self, key: &[u8], message: &[u8]) -> Vec<u8> {
        match self {
            Mechanism::Sha1 => hmac::<Sha1>(key, message),
            Mechanism::Sha256 => hmac::<Sha256>(key, message),
        }
    }

    fn salted(self, password: &[u8], salt: &[u8], iterations: i32) -> Vec<u8> {
        match self {
            Mechanism::Sha1 => salted::<Sha1>(password, salt, iterations),
            Mechanism::Sha256 => salted::<Sha256>(password, salt, iterations),
        }
    }
}

impl Keys {
    /// Of a new password, under a salt of its own. `prepared`: see [`Mechanism::prepared`].
    pub fn derive(mechanism: Mechanism, prepared: &str, iterations: i32) -> Result<Keys> {
        let mut salt = vec![0; mechanism.salt_bytes()];
        random(&mut salt)?;
        Ok(Keys::salted(mechanism, prepared, salt, iterations))
    }

    fn salted(mechanism: Mechanism, prepared: &str, salt: Vec<u8>, iterations: i32) -> Keys {
        let salted = mechanism.salted(prepared.as_bytes(), &salt, iterations);
        let stored = mechanism.hash(&mechanism.hmac(&salted, b"Client Key"));
        Keys { iterations, salt, stored, server: mechanism.hmac(&salted, b"Server Key") }
    }

    /// For somebody who is not there: whatever is proven, it is not right.
    pub fn nobodys(mechanism: Mechanism, salt: &[u8], iterations: i32) -> Result<Keys> {
        let mut keys = vec![0; 2 * mechanism.hash_bytes()];
        random(&mut keys)?;
        let server = keys.split_off(mechanism.hash_bytes());
        Ok(Keys { iterations, salt: salt[..mechanism.salt_bytes().min(salt.len())].to_vec(), stored: keys, server })
    }

    /// As they are stored in a user; `None` when that is not what they look like.
    pub fn parse(mechanism: Mechanism, doc: Doc<'_>) -> Option<Keys> {
        let bytes = |name: &str| doc.get(name).as_str().and_then(|text| STANDARD.decode(text).ok()).filter(|bytes| !bytes.is_empty());
        let iterations = number::to_i64_exact(doc.get("iterationCount")).and_then(|n| i32::try_from(n).ok()).filter(|n| *n > 0)?;
        let keys = Keys { iterations, salt: bytes("salt")?, stored: bytes("storedKey")?, server: bytes("serverKey")? };
        [&keys.stored, &keys.server].iter().all(|key| key.len() == mechanism.hash_bytes()).then_some(keys)
    }

    /// Writes them under the mechanism's name.
    pub fn write(&self, mechanism: Mechanism, w: &mut DocWriter<'_>) {
        let mut w = w.document(mechanism.name());
        w.append("iterationCount", self.iterations).append("salt", &*STANDARD.encode(&self.salt));
        w.append("storedKey", &*STANDARD.encode(&self.stored)).append("serverKey", &*STANDARD.encode(&self.server));
    }

    /// Whether a password is the one these were made of.
    pub fn fit(&self, mechanism: Mechanism, prepared: &str) -> bool {
        let given = Keys::salted(mechanism, prepared, self.salt.clone(), self.iterations);
        bool::from(given.stored.ct_eq(&self.stored))
    }
}

/// Bytes that nobody can guess.
pub fn random(bytes: &mut [u8]) -> Result<()> {
    match getrandom::fill(bytes) {
        Ok(()) => Ok(()),
        Err(e) => bail!(InternalError, "the system gives no random numbers: {e}"),
    }
}

/// The server's nonce, which it puts behind the client's.
pub fn nonce() -> Result<String> {
    let mut bytes = [0; 24];
    random(&mut bytes)?;
    Ok(STANDARD.encode(bytes))
}

/// What a client says first.
#[derive(Debug, PartialEq, Eq)]
pub struct ClientFirst {
    pub user: String,
    nonce: String,
    /// `n,,` or what stands in its place; the client repeats it in its proof.
    header: String,
    /// The message without the header.
    bare: String,
}

impl ClientFirst {
    /// `None` where the message is none, or asks for what is not there: channel binding, extensions that must be understood.
    pub fn parse(message: &[u8]) -> Option<ClientFirst> {
        let message = std::str::from_utf8(message).ok()?;
        let mut parts = message.splitn(3, ',');
        let (binding, authorization, bare) = (parts.next()?, parts.next()?, parts.next()?);
        if !matches!(binding, "n" | "y") {
            return None;
        }
        let mut fields = bare.split(',');
        let user = unescaped(fields.next()?.strip_prefix("n=")?)?;
        // Nobody acts for somebody else.
        let acts_for = match authorization {
            "" => None,
            name => Some(unescaped(name.strip_prefix("a=")?)?),
        };
        if user.is_empty() || acts_for.is_some_and(|name| name != user) {
            return None;
        }
        let nonce = fields.next()?.strip_prefix("r=")?.to_owned();
        if nonce.is_empty() || !nonce.bytes().all(|b| b.is_ascii_graphic()) {
            return None;
        }
        let header = message[..message.len() - bare.len()].to_owned();
        Some(ClientFirst { user, nonce, header, bare: bare.to_owned() })
    }
}

/// A name in which `=2C` stands for a comma and `=3D` for an equals sign; any other `=` is an error.
fn unescaped(name: &str) -> Option<String> {
    let mut parts = name.split('=');
    let mut all = parts.next()?.to_owned();
    for part in parts {
        match (part.strip_prefix("2C"), part.strip_prefix("3D")) {
            (Some(rest), _) => all.extend([",", rest]),
            (_, Some(rest)) => all.extend(["=", rest]),
            _ => return None,
        }
    }
    Some(all)
}

/// An exchange that waits for the client's proof.
pub struct Exchange {
    mechanism: Mechanism,
    keys: Keys,
    header: String,
    nonce: String,
    /// What the proof is of, as far as it was said: the client's first message without its header, and the server's.
    said: String,
}

impl Exchange {
    /// Answers the first message.
    pub fn begin(mechanism: Mechanism, first: ClientFirst, keys: Keys, nonce: &str) -> (Exchange, String) {
        let nonce = format!("{}{nonce}", first.nonce);
        let answer = format!("r={nonce},s={},i={}", STANDARD.encode(&keys.salt), keys.iterations);
        let said = format!("{},{answer}", first.bare);
        (Exchange { mechanism, keys, header: first.header, nonce, said }, answer)
    }

    /// Answers the proof; `None` where it is not right.
    pub fn finish(self, message: &[u8]) -> Option<String> {
        let message = std::str::from_utf8(message).ok()?;
        let (without, proof) = message.rsplit_once(",p=")?;
        let mut fields = without.split(',');
        let header = STANDARD.decode(fields.next()?.strip_prefix("c=")?).ok()?;
        let nonce = fields.next()?.strip_prefix("r=")?;
        if header != self.header.as_bytes() || nonce != self.nonce {
            return None;
        }
        let proof = STANDARD.decode(proof).ok().filter(|proof| proof.len() == self.mechanism.hash_bytes())?;
        let said = format!("{},{without}", self.said);
        let signature = self.mechanism.hmac(&self.keys.stored, said.as_bytes());
        let key: Vec<u8> = proof.iter().zip(&signature).map(|(a, b)| a ^ b).collect();
        let verified = self.mechanism.hmac(&self.keys.server, said.as_bytes());
        let right = bool::from(self.mechanism.hash(&key).ct_eq(&self.keys.stored));
        right.then(|| format!("v={}", STANDARD.encode(verified)))
    }
}

/// The other side of the conversation: a program that logs in to a server.
pub struct Asking {
    mechanism: Mechanism,
    prepared: String,
    /// The first message without its header.
    first: String,
    nonce: String,
}

impl Asking {
    /// With the first message to send.
    pub fn begin(mechanism: Mechanism, user: &str, password: &str) -> Result<(Asking, String)> {
        let nonce = nonce()?;
        let first = format!("n={},r={nonce}", user.replace('=', "=3D").replace(',', "=2C"));
        let message = format!("n,,{first}");
        Ok((Asking { mechanism, prepared: mechanism.prepared(user, password)?.into_owned(), first, nonce }, message))
    }

    /// The second message to send, and what the server must answer to show that it knows the user, too.
    pub fn prove(&self, answer: &[u8]) -> Result<(String, String)> {
        let malformed = || err!(ProtocolError, "The server's answer is no answer of {}", self.mechanism.name());
        let answer = std::str::from_utf8(answer).map_err(|_| malformed())?;
        let field = |name: &str| answer.split(',').find_map(|field| field.strip_prefix(name)).ok_or_else(malformed);
        let (nonce, iterations) = (field("r=")?, field("i=")?.parse::<i32>().map_err(|_| malformed())?);
        let salt = STANDARD.decode(field("s=")?).map_err(|_| malformed())?;
        // Whoever asks for fewer wants to guess.
        if !nonce.starts_with(&self.nonce) || nonce.len() == self.nonce.len() || !(4096..=10_000_000).contains(&iterations) {
            return Err(malformed());
        }
        let salted = self.mechanism.salted(self.prepared.as_bytes(), &salt, iterations);
        let key = self.mechanism.hmac(&salted, b"Client Key");
        let without = format!("c=biws,r={nonce}");
        let said = format!("{},{answer},{without}", self.first);
        let signature = self.mechanism.hmac(&self.mechanism.hash(&key), said.as_bytes());
        let proof: Vec<u8> = key.iter().zip(&signature).map(|(a, b)| a ^ b).collect();
        let verified = self.mechanism.hmac(&self.mechanism.hmac(&salted, b"Server Key"), said.as_bytes());
        Ok((format!("{without},p={}", STANDARD.encode(proof)), format!("v={}", STANDARD.encode(verified))))
    }
}

/// RFC 5802's `Hi`: the password, made slow to guess.
fn salted<D: Digest + Clone>(password: &[u8], salt: &[u8], iterations: i32) -> Vec<u8> {
    // All rounds have the same key, so that its two blocks are hashed once.
    let keyed = Hmac::<D>::new(password);
    let mut last = keyed.of(&[salt, &1u32.to_be_bytes()]);
    let mut all = last.clone();
    for _ in 1..iterations {
        last = keyed.of(&[&last]);
        all.iter_mut().zip(&last).for_each(|(a, b)| *a ^= b);
    }
    all
}

/// RFC 2104, for hashes with blocks of 64 bytes: both hashes as the key leaves them.
struct Hmac<D> {
    inner: D,
    outer: D,
}

impl<D: Digest + Clone> Hmac<D> {
    fn new(key: &[u8]) -> Hmac<D> {
        let mut block = [0; 64];
        if key.len() > block.len() {
            let short = D::digest(key);
            block[..short.len()].copy_from_slice(&short);
        } else {
            block[..key.len()].copy_from_slice(key);
        }
        Hmac { inner: D::new().chain_update(block.map(|b| b ^ 0x36)), outer: D::new().chain_update(block.map(|b| b ^ 0x5c)) }
    }

    fn of(&self, message: &[&[u8]]) -> Vec<u8> {
        let mut inner = self.inner.clone();
        message.iter().for_each(|part| inner.update(part));
        self.outer.clone().chain_update(inner.finalize()).finalize().to_vec()
    }
}

fn hmac<D: Digest + Clone>(key: &[u8], message: &[u8]) -> Vec<u8> {
    Hmac::<D>::new(key).of(&[message])
}

/// A keyed hash, for what must be the same each time and tell nobody anything.
pub fn keyed_hash(key: &[u8], message: &[u8]) -> Vec<u8> {
    hmac::<Sha256>(key, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(mechanism: Mechanism, password: &str, salt: &str) -> Keys {
        Keys::salted(mechanism, password, STANDARD.decode(salt).unwrap(), 4096)
    }

    /// Plays a whole conversation; the last answer.
    fn play(mechanism: Mechanism, keys: Keys, messages: [&str; 2], nonce: &str, answer: &str) -> Option<String> {
        let first = ClientFirst::parse(messages[0].as_bytes()).unwrap();
        let (exchange, said) = Exchange::begin(mechanism, first, keys, nonce);
        assert_eq!(said, answer);
        exchange.finish(messages[1].as_bytes())
    }

    /// Both sides understand each other, whatever is in the names; a server that does not know the password is found out.
    #[test]
    fn the_two_sides_agree() {
        for mechanism in Mechanism::ALL {
            for (user, password) in [("user", "pencil"), ("a=b,c", "p,=ä"), ("=2C", "x")] {
                let prepared = mechanism.prepared(user, password).unwrap();
                let keys = Keys::derive(mechanism, &prepared, 5000).unwrap();
                let (asking, first) = Asking::begin(mechanism, user, password).unwrap();
                let parsed = ClientFirst::parse(first.as_bytes()).unwrap();
                let (exchange, answer) = Exchange::begin(mechanism, parsed, keys, &nonce().unwrap());
                let (proof, expected) = asking.prove(answer.as_bytes()).unwrap();
                assert_eq!(exchange.finish(proof.as_bytes()), Some(expected));
                for (from, to) in [(",i=5000", ",i=1"), ("r=", "r=x"), (",s=", ",t=")] {
                    assert!(asking.prove(answer.replacen(from, to, 1).as_bytes()).is_err(), "{to}");
                }
            }
        }
    }

    /// The examples of RFC 5802, section 5, and RFC 7677, section 3, whose password is "pencil".
    #[test]
    fn the_conversations_of_the_standards() {
        let first = "n,,n=user,r=fyko+d2lbbFgONRv9qkxdawL";
        let last = "c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=";
        let said = "r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096";
        let keys1 = || keys(Mechanism::Sha1, "pencil", "QSXCR+Q6sek8bf92");
        assert_eq!(play(Mechanism::Sha1, keys1(), [first, last], "3rfcNHYJY1ZVvWVs7j", said).as_deref(), Some("v=rmF9pqV8S7suAoZWja4dJRkFsKQ="));

        let first = "n,,n=user,r=rOprNGfwEbeRWgbNEkqO";
        let last = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
        let said = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
        let keys256 = |password: &str| keys(Mechanism::Sha256, password, "W22ZaJ0SNY7soEsUEjb6gQ==");
        let nonce = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
        assert_eq!(play(Mechanism::Sha256, keys256("pencil"), [first, last], nonce, said).as_deref(), Some("v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="));
        // Another password, another nonce, another header, a proof that is cut off: none is right.
        assert_eq!(play(Mechanism::Sha256, keys256("pencils"), [first, last], nonce, said), None);
        for (from, to) in [("k0,p", "k1,p"), ("biws", "eSws"), ("dVQ=", ""), (",p=", ",q="), ("c=", "d="), ("dHzb", "dHzc")] {
            assert_eq!(play(Mechanism::Sha256, keys256("pencil"), [first, &last.replacen(from, to, 1)], nonce, said), None, "{to}");
        }
    }

    #[test]
    fn first_messages() {
        let user = |message: &str| ClientFirst::parse(message.as_bytes()).map(|first| first.user);
        assert_eq!(user("n,,n=user,r=x").as_deref(), Some("user"));
        assert_eq!(user("y,,n=a=2Cb=3Dc,r=x,z=later").as_deref(), Some("a,b=c"));
        assert_eq!(user("n,a=ann,n=ann,r=x").as_deref(), Some("ann"));
        for wrong in [
            "", "n", "n,,", "n,,n=user", "n,,n=user,r=", "n,,n=,r=x", "p=tls-unique,,n=user,r=x", "n,,m=ext,n=user,r=x", "n,,n=a=2cb,r=x", "n,,n=a=,r=x",
            "n,a=bob,n=ann,r=x", "n,,r=x,n=user", "n,,n=user,r=a b", "n,,n=user,r=\u{7f}",
        ] {
            assert_eq!(user(wrong), None, "{wrong}");
        }
        assert_eq!(ClientFirst::parse(b"n,,n=\xff,r=x"), None);
    }

    /// Only SHA-256's passwords are prepared: see RFC 4013's examples.
    #[test]
    fn passwords_are_prepared() {
        let prepared = |password: &str| Mechanism::Sha256.prepared("", password).map(Cow::into_owned).ok();
        assert_eq!(prepared("I\u{ad}X").as_deref(), Some("IX"));
        assert_eq!(prepared("\u{2168}").as_deref(), Some("IX"));
        assert_eq!(prepared("\u{aa}").as_deref(), Some("a"));
        assert_eq!(prepared("USER").as_deref(), Some("USER"));
        assert_eq!(prepared("\u{7}"), None);
        assert_eq!(prepared("\u{627}1"), None);
        assert_eq!(Mechanism::Sha1.prepared("u", "\u{7}").map(|p| p.len()).ok(), Some(32));
    }

    #[test]
    fn keys_are_written_and_read() {
        for mechanism in Mechanism::ALL {
            let keys = Keys::derive(mechanism, "pencil", 5000).unwrap();
            let doc = smongo_bson::DocBuf::build(|w| keys.write(mechanism, w));
            let read = Keys::parse(mechanism, doc.get(mechanism.name()).as_doc().unwrap()).unwrap();
            assert!(read.fit(mechanism, "pencil") && !read.fit(mechanism, "pencils"));
        }
    }
}
