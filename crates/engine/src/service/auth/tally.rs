//! How many logged in, and by what: serverStatus tells.

use std::sync::atomic::{AtomicU64, Ordering};

use smongo_bson::DocWriter;

/// Those there are, sorted.
const MECHANISMS: [&str; 3] = ["MONGODB-X509", "SCRAM-SHA-1", "SCRAM-SHA-256"];

#[derive(Default)]
pub struct Logins {
    mechanisms: [Counts; 3],
    /// Clients that asked what a user can log in by.
    asked: AtomicU64,
}

#[derive(Default)]
struct Counts {
    all: Count,
    /// Those that came with a hello, which are among all.
    speculative: Count,
}

#[derive(Default)]
struct Count {
    received: AtomicU64,
    successful: AtomicU64,
}

impl Count {
    fn write(&self, w: &mut DocWriter<'_>) {
        w.append("received", self.received.load(Ordering::Relaxed) as i64).append("successful", self.successful.load(Ordering::Relaxed) as i64);
    }
}

impl Logins {
    pub fn asked(&self) {
        self.asked.fetch_add(1, Ordering::Relaxed);
    }

    pub fn received(&self, mechanism: &str, speculative: bool) {
        self.add(mechanism, speculative, |count| &count.received);
    }

    pub fn succeeded(&self, mechanism: &str, speculative: bool) {
        self.add(mechanism, speculative, |count| &count.successful);
    }

    fn add(&self, mechanism: &str, speculative: bool, at: fn(&Count) -> &AtomicU64) {
        let Some(counts) = MECHANISMS.iter().position(|m| *m == mechanism).and_then(|n| self.mechanisms.get(n)) else { return };
        at(&counts.all).fetch_add(1, Ordering::Relaxed);
        if speculative {
            at(&counts.speculative).fetch_add(1, Ordering::Relaxed);
        }
    }

    /// `enabled` tells which mechanisms there are to be told of.
    pub fn write(&self, enabled: impl Fn(&str) -> bool, w: &mut DocWriter<'_>) {
        w.append("saslSupportedMechsReceived", self.asked.load(Ordering::Relaxed) as i64);
        let mut list = w.document("mechanisms");
        for (name, counts) in MECHANISMS.iter().zip(&self.mechanisms).filter(|(name, _)| enabled(name)) {
            let mut w = list.document(name);
            counts.speculative.write(&mut w.document("speculativeAuthenticate"));
            // Members of a cluster log in at each other; there is only this one.
            Count::default().write(&mut w.document("clusterAuthenticate"));
            counts.all.write(&mut w.document("authenticate"));
        }
    }
}
