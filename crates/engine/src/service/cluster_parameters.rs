//! What `setClusterParameter` set.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use parking_lot::RwLock;
use smongo_bson::{DocBuf, number};

use crate::data::namespace::Ns;

/// Where they are kept.
pub fn home() -> Ns {
    Ns::unchecked("config", "clusterParameters")
}

/// The parameters that were set, by name, as they are stored.
#[derive(Default)]
pub struct ClusterParameters {
    stored: RwLock<BTreeMap<&'static str, DocBuf>>,
    /// Zero: images live as long as their oplog entries.
    image_seconds: AtomicI64,
}

impl ClusterParameters {
    /// How long images of change streams are kept, when not as long as their oplog entries.
    pub fn image_lifetime(&self) -> Option<Duration> {
        let seconds = self.image_seconds.load(Ordering::Relaxed);
        (seconds > 0).then(|| Duration::from_secs(seconds as u64))
    }

    pub fn take(&self, name: &'static str, document: DocBuf) {
        if name == "changeStreamOptions" {
            let seconds = document.get("preAndPostImages").as_doc().map(|images| images.get("expireAfterSeconds"));
            self.image_seconds.store(seconds.and_then(number::to_i64_exact).unwrap_or(0), Ordering::Relaxed);
        }
        self.stored.write().insert(name, document);
    }

    /// What a command of its own has stored.
    pub fn remember(&self, name: &'static str, document: DocBuf) {
        self.stored.write().insert(name, document);
    }

    pub fn stored(&self, name: &str) -> Option<DocBuf> {
        self.stored.read().get(name).cloned()
    }
}
