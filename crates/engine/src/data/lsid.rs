//! The ids of logical sessions: what drivers' `lsid` says.

use smongo_bson::{Binary, DocBuf, Value};

/// A logical session's id: a UUID, and the hash of the user where there is one.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Lsid {
    pub id: [u8; 16],
    pub uid: Option<[u8; 32]>,
}

impl Lsid {
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
