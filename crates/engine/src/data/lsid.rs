//! The ids of logical sessions: what drivers' `lsid` says.

use smongo_bson::{Binary, DocBuf, Result, Value, bail};

/// SHA-256 of nothing: what MongoDB calls the user of sessions without one.
pub const NOBODY: [u8; 32] = [
    0xe3, 0xb0, 0xc4, 0x42, 0x98, 0xfc, 0x1c, 0x14, 0x9a, 0xfb, 0xf4, 0xc8, 0x99, 0x6f, 0xb9, 0x24, 0x27, 0xae, 0x41, 0xe4, 0x64, 0x9b, 0x93, 0x4c, 0xa4, 0x95,
    0x99, 0x1b, 0x78, 0x52, 0xb8, 0x55,
];

/// The hash of a user's full name, by which what is his is known.
pub type Uid = [u8; 32];

/// A logical session's id: a UUID, and the hash of the user where there is one.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Lsid {
    pub id: [u8; 16],
    pub uid: Option<Uid>,
}

impl Lsid {
    /// Makes it the session of whoever speaks. Only who is trusted may name another user.
    pub fn claim(&mut self, own: Option<[u8; 32]>, trusted: bool) -> Result<()> {
        match self.uid {
            Some(NOBODY) if own.is_none() => self.uid = None,
            Some(given) if trusted || Some(given) == own => {}
            Some(_) => bail!(Unauthorized, "Unauthorized to set user digest in LogicalSessionId"),
            None => self.uid = own,
        }
        Ok(())
    }

    pub fn to_doc(&self) -> DocBuf {
        DocBuf::build(|w| {
            let mut raw = [4; 17];
            raw[1..].copy_from_slice(&self.id);
            w.append("id", Value::Binary(Binary::from_raw(&raw)));
            if let Some(uid) = &self.uid {
                let mut raw = [0; 33];
                raw[1..].copy_from_slice(uid);
                w.append("uid", Value::Binary(Binary::from_raw(&raw)));
            }
        })
    }
}
