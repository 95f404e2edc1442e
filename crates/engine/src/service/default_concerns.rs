//! The read and write concern of commands that name none (setDefaultRWConcern). Kept in `config.settings`.

use parking_lot::RwLock;
use smongo_bson::{Doc, DocBuf, Timestamp, Value};
use crate::service::command::WriteConcern;


#[derive(Clone, Default)]
pub struct Defaults {
    /// As they were given, with defaults filled in; `None` while nobody set any.
    pub read: Option<DocBuf>,
    pub write: Option<DocBuf>,
    pub updated: Option<(Timestamp, i64)>,
}

#[derive(Default)]
pub struct DefaultConcerns {
    defaults: RwLock<Defaults>,
    /// The write concern, parsed; read by every command that names none.
    write: RwLock<WriteConcern>,
}

impl DefaultConcerns {
    pub fn get(&self) -> Defaults {
        self.defaults.read().clone()
    }

    pub fn set(&self, defaults: Defaults) {
        *self.write.write() = defaults.write.as_ref().and_then(|w| WriteConcern::parse(w.as_doc()).ok()).unwrap_or_default();
        *self.defaults.write() = defaults;
    }

    /// What a command without a write concern gets.
    pub fn write_concern(&self) -> WriteConcern {
        WriteConcern { given: false, ..self.write.read().clone() }
    }

    /// From the document in `config.settings`.
    pub fn load(&self, stored: Doc<'_>) {
        let part = |name: &str| stored.get(name).as_doc().map(DocBuf::from);
        let updated = match (stored.get("updateOpTime"), stored.get("updateWallClockTime")) {
            (Value::Timestamp(ts), Value::DateTime(wall)) => Some((ts, wall)),
            _ => None,
        };
        self.set(Defaults { read: part("defaultReadConcern"), write: part("defaultWriteConcern"), updated });
    }
}
