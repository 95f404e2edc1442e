//! What is kept of a user's password: SCRAM's salted keys.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use md5::{Digest, Md5};
use sha1::Sha1;
use sha2::Sha256;
use smongo_bson::{DocWriter, Result, bail};
use uuid::Uuid;

use crate::commands::diagnostic::stats::hex;

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Mechanism {
    Sha1,
    Sha256,
}

impl Mechanism {
    pub const ALL: [Mechanism; 2] = [Mechanism::Sha1, Mechanism::Sha256];

    pub fn name(self) -> &'static str {
        match self {
            Mechanism::Sha1 => "SCRAM-SHA-1",
            Mechanism::Sha256 => "SCRAM-SHA-256",
        }
    }

    pub fn parse(name: &str) -> Result<Mechanism> {
        match Mechanism::ALL.into_iter().find(|m| m.name() == name) {
            Some(mechanism) => Ok(mechanism),
            None => bail!(BadValue, "Unknown auth mechanism '{name}'"),
        }
    }

    /// Writes the credentials under the mechanism's name. `digested`: the password is what SCRAM-SHA-1 makes of it already.
    pub fn write(self, user: &str, password: &str, digested: bool, w: &mut DocWriter<'_>) -> Result<()> {
        let mut w = w.document(self.name());
        match self {
            Mechanism::Sha1 => {
                let digest = if digested { password.to_owned() } else { hex(&Md5::digest(format!("{user}:mongo:{password}"))) };
                write::<Sha1>(digest.as_bytes(), &salt()[..16], 10_000, &mut w);
            }
            Mechanism::Sha256 if digested => bail!(BadValue, "Use of SCRAM-SHA-256 requires undigested passwords"),
            // Those that are ASCII are what SASLprep makes of them.
            Mechanism::Sha256 if !password.is_ascii() => bail!(NotImplemented, "SCRAM-SHA-256 with passwords beyond ASCII is not implemented"),
            Mechanism::Sha256 => write::<Sha256>(password.as_bytes(), &salt()[..28], 15_000, &mut w),
        }
        Ok(())
    }
}

fn salt() -> [u8; 32] {
    let mut salt = [0; 32];
    salt[..16].copy_from_slice(Uuid::new_v4().as_bytes());
    salt[16..].copy_from_slice(Uuid::new_v4().as_bytes());
    salt
}

fn write<D: Digest>(password: &[u8], salt: &[u8], iterations: i32, w: &mut DocWriter<'_>) {
    let salted = salted::<D>(password, salt, iterations);
    let stored = D::digest(hmac::<D>(&salted, b"Client Key"));
    let server = hmac::<D>(&salted, b"Server Key");
    w.append("iterationCount", iterations).append("salt", &*STANDARD.encode(salt));
    w.append("storedKey", &*STANDARD.encode(&stored)).append("serverKey", &*STANDARD.encode(server));
}

/// RFC 5802's `Hi`: the password, made slow to guess.
fn salted<D: Digest>(password: &[u8], salt: &[u8], iterations: i32) -> Vec<u8> {
    let mut last = hmac::<D>(password, &[salt, &1u32.to_be_bytes()].concat());
    let mut all = last.clone();
    for _ in 1..iterations {
        last = hmac::<D>(password, &last);
        all.iter_mut().zip(&last).for_each(|(a, b)| *a ^= b);
    }
    all
}

/// RFC 2104, for hashes with blocks of 64 bytes.
fn hmac<D: Digest>(key: &[u8], message: &[u8]) -> Vec<u8> {
    let mut block = [0; 64];
    if key.len() > block.len() {
        let short = D::digest(key);
        block[..short.len()].copy_from_slice(&short);
    } else {
        block[..key.len()].copy_from_slice(key);
    }
    let inner = D::new().chain_update(block.map(|b| b ^ 0x36)).chain_update(message).finalize();
    D::new().chain_update(block.map(|b| b ^ 0x5c)).chain_update(inner).finalize().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The examples of RFC 5802 and RFC 7677, whose password is "pencil".
    #[test]
    fn the_examples_of_the_standards() {
        let salt = STANDARD.decode("QSXCR+Q6sek8bf92").unwrap_or_default();
        let server = hmac::<Sha1>(&salted::<Sha1>(b"pencil", &salt, 4096), b"Server Key");
        assert_eq!(hex(&server), "0fe09258b3ac852ba502cc62ba903eaacdbf7d31");
        let salt = STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap_or_default();
        let server = hmac::<Sha256>(&salted::<Sha256>(b"pencil", &salt, 4096), b"Server Key");
        assert_eq!(hex(&server), "c1f3cbc1c13a9d35a14c0990eed97629ea225863e566a4314ab99f3f00e5d9d5");
    }
}
