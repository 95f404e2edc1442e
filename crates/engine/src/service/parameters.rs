//! Server parameters: those of MongoDB's that mean something here.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use parking_lot::Mutex;
use smongo_bson::{DocWriter, Result, Value, bail, number};

use crate::data::limits;
use crate::data::namespace::Ns;
use crate::data::options::Options;
use crate::data::tuning::Tuning;
use crate::service::auth::scram::Mechanism;
use crate::service::log_components::Components;

/// The versions whose features a database may be told to use, oldest first, and the one it uses untold.
pub const VERSIONS: &[&str] = &["8.0", "8.1", "8.2"];
pub const FEATURE_COMPATIBILITY: &str = "8.2";

/// Where versions are told of.
pub fn versions() -> Ns {
    Ns::unchecked("admin", "system.version")
}

pub struct Parameters {
    allow_disk_use: AtomicBool,
    cursor_timeout_ms: AtomicI64,
    log_level: AtomicI64,
    ttl_enabled: AtomicBool,
    ttl_sleep_secs: AtomicI64,
    snapshot_window: AtomicI64,
    session_minutes: AtomicI64,
    transaction_lifetime: AtomicI64,
    journal_interval_ms: i64,
    test_commands: bool,
    require_api_version: AtomicBool,
    /// Those that the floors below read.
    pub tuning: Arc<Tuning>,
    quiet: AtomicBool,
    /// Whom automation is told to be run by; hello says it.
    automation: Mutex<String>,
    /// Where searches are answered: here, whatever it says, but for an empty one, which is a server without search.
    mongot: Mutex<String>,
    components: Components,
    /// The version whose features the database may use.
    compatibility: Mutex<&'static str>,
    audit_successes: AtomicBool,
    login: Login,
}

/// Those about logging in.
struct Login {
    /// The mechanisms that are accepted, as `--setParameter` names them.
    mechanisms: Mutex<String>,
    sha1_iterations: AtomicI64,
    sha256_iterations: AtomicI64,
    failed_delay_ms: AtomicI64,
    localhost_bypass: AtomicBool,
    /// Whether that was said.
    localhost_bypass_given: AtomicBool,
    build_info: Mutex<String>,
}

const MECHANISMS: &[&str] = &["MONGODB-X509", "SCRAM-SHA-1", "SCRAM-SHA-256"];

/// One parameter: its name and what it is.
pub struct Row {
    pub name: &'static str,
    kind: Kind,
    pub at_startup: bool,
    pub at_runtime: bool,
}

type At<T> = fn(&Parameters) -> &T;

enum Kind {
    Bool(At<AtomicBool>),
    /// With the least and the greatest value.
    Int(At<AtomicI64>, i64, i64),
    Long(At<AtomicI64>, i64, i64),
    /// With the most bytes.
    Text(At<Mutex<String>>, usize),
    /// One of a few words.
    Choice(At<Mutex<String>>, &'static [&'static str]),
    /// Some of a few words, with commas between them; shown as an array.
    Words(At<Mutex<String>>, &'static [&'static str]),
    Components,
    Fixed(fn(&Parameters, &str, &mut DocWriter<'_>)),
}

const fn changeable(name: &'static str, kind: Kind) -> Row {
    Row { name, kind, at_startup: true, at_runtime: true }
}

const fn at_startup(name: &'static str, kind: Kind) -> Row {
    Row { name, kind, at_startup: true, at_runtime: false }
}

const fn fixed(name: &'static str, at_startup: bool, show: fn(&Parameters, &str, &mut DocWriter<'_>)) -> Row {
    Row { name, kind: Kind::Fixed(show), at_startup, at_runtime: false }
}

/// All of them, sorted by name.
pub static PARAMETERS: &[Row] = &[
    changeable("allowDiskUseByDefault", Kind::Bool(|p| &p.allow_disk_use)),
    changeable("auditAuthorizationSuccess", Kind::Bool(|p| &p.audit_successes)),
    changeable("authFailedDelayMs", Kind::Int(|p| &p.login.failed_delay_ms, 0, 5000)),
    fixed("authSchemaVersion", false, |_, name, w| {
        // As createUser stores them: with keys of SCRAM.
        w.append(name, 5);
    }),
    at_startup("authenticationMechanisms", Kind::Words(|p| &p.login.mechanisms, MECHANISMS)),
    changeable("automationServiceDescriptor", Kind::Text(|p| &p.automation, 64)),
    at_startup("buildInfoAuthMode", Kind::Choice(|p| &p.login.build_info, &["allowedPreAuth", "requiresAuth", "versionOnlyIfPreAuth"])),
    changeable("cursorTimeoutMillis", Kind::Long(|p| &p.cursor_timeout_ms, 1, i64::MAX)),
    at_startup("enableLocalhostAuthBypass", Kind::Bool(|p| &p.login.localhost_bypass)),
    fixed("enableTestCommands", true, |p, name, w| {
        w.append(name, p.test_commands);
    }),
    fixed("featureCompatibilityVersion", false, |p, name, w| {
        w.document(name).append("version", p.compatibility());
    }),
    fixed("journalCommitInterval", false, |p, name, w| {
        w.append(name, p.journal_interval_ms as i32);
    }),
    at_startup("localLogicalSessionTimeoutMinutes", Kind::Int(|p| &p.session_minutes, 1, i32::MAX as i64)),
    changeable("logComponentVerbosity", Kind::Components),
    changeable("logLevel", Kind::Int(|p| &p.log_level, 0, 5)),
    fixed("maxBSONDepth", false, |_, name, w| {
        w.append(name, smongo_bson::check::MAX_DEPTH as i32);
    }),
    changeable("maxTransactionLockRequestTimeoutMillis", Kind::Int(|p| &p.tuning.lock_wait_ms, -1, i32::MAX as i64)),
    changeable("minSnapshotHistoryWindowInSeconds", Kind::Int(|p| &p.snapshot_window, 0, i32::MAX as i64)),
    at_startup("mongotHost", Kind::Text(|p| &p.mongot, 256)),
    changeable("notablescan", Kind::Bool(|p| &p.tuning.no_table_scan)),
    changeable("quiet", Kind::Bool(|p| &p.quiet)),
    changeable("requireApiVersion", Kind::Bool(|p| &p.require_api_version)),
    changeable("scramIterationCount", Kind::Int(|p| &p.login.sha1_iterations, 5000, i32::MAX as i64)),
    changeable("scramSHA256IterationCount", Kind::Int(|p| &p.login.sha256_iterations, 5000, i32::MAX as i64)),
    changeable("transactionLifetimeLimitSeconds", Kind::Int(|p| &p.transaction_lifetime, 1, i32::MAX as i64)),
    changeable("ttlMonitorEnabled", Kind::Bool(|p| &p.ttl_enabled)),
    changeable("ttlMonitorSleepSecs", Kind::Int(|p| &p.ttl_sleep_secs, 1, i32::MAX as i64)),
];

impl Parameters {
    /// The defaults, and over them what `--setParameter` says.
    pub fn new(options: &Options) -> Result<Parameters> {
        let parameters = Parameters {
            allow_disk_use: true.into(),
            cursor_timeout_ms: (limits::CURSOR_IDLE.as_millis() as i64).into(),
            log_level: 0.into(),
            ttl_enabled: true.into(),
            ttl_sleep_secs: (limits::TTL_SECONDS as i64).into(),
            snapshot_window: limits::SNAPSHOT_SECONDS.into(),
            session_minutes: i64::from(limits::SESSION_IDLE_MINUTES).into(),
            transaction_lifetime: (limits::TRANSACTION_LIFETIME.as_secs() as i64).into(),
            journal_interval_ms: options.journal_interval.as_millis() as i64,
            test_commands: options.test_commands,
            require_api_version: false.into(),
            tuning: Arc::default(),
            quiet: false.into(),
            automation: Mutex::default(),
            mongot: Mutex::new("localhost:27028".to_owned()),
            components: Components::default(),
            compatibility: Mutex::new(FEATURE_COMPATIBILITY),
            audit_successes: false.into(),
            login: Login {
                mechanisms: Mutex::new(MECHANISMS.join(",")),
                sha1_iterations: 10_000.into(),
                sha256_iterations: 15_000.into(),
                failed_delay_ms: 0.into(),
                localhost_bypass: true.into(),
                localhost_bypass_given: false.into(),
                build_info: Mutex::new("requiresAuth".to_owned()),
            },
        };
        for (name, text) in options.parameters.iter().filter(|(name, _)| name != "enableTestCommands") {
            let Some(row) = find(name).filter(|row| row.at_startup) else { bail!(BadValue, "Unknown --setParameter '{name}'") };
            let value = match (text.as_str(), text.parse::<i64>()) {
                ("true", _) => Value::Bool(true),
                ("false", _) => Value::Bool(false),
                (_, Ok(n)) => Value::Int64(n),
                _ => Value::String(text),
            };
            parameters.set(row, value)?;
            if row.name == "enableLocalhostAuthBypass" {
                parameters.login.localhost_bypass_given.store(true, Ordering::Relaxed);
            }
        }
        Ok(parameters)
    }

    pub fn show(&self, row: &Row, name: &str, w: &mut DocWriter<'_>) {
        match row.kind {
            Kind::Bool(at) => w.append(name, at(self).load(Ordering::Relaxed)),
            Kind::Int(at, ..) => w.append(name, at(self).load(Ordering::Relaxed) as i32),
            Kind::Long(at, ..) => w.append(name, at(self).load(Ordering::Relaxed)),
            Kind::Text(at, _) | Kind::Choice(at, _) => w.append(name, &**at(self).lock()),
            Kind::Words(at, _) => {
                let mut list = w.array(name);
                at(self).lock().split(',').for_each(|word| {
                    list.push(word);
                });
                drop(list);
                w
            }
            Kind::Components => {
                self.components.show(self.log_level.load(Ordering::Relaxed), &mut w.document(name));
                w
            }
            Kind::Fixed(show) => {
                show(self, name, w);
                w
            }
        };
    }

    pub fn set(&self, row: &Row, value: Value<'_>) -> Result<()> {
        match row.kind {
            // Whatever it is, it is true or false.
            Kind::Bool(at) => at(self).store(value.truthy(), Ordering::Relaxed),
            Kind::Text(at, most) => match value {
                Value::String(text) if text.len() <= most => text.clone_into(&mut at(self).lock()),
                Value::String(_) => bail!(Overflow, "Value for parameter {} must be no more than {most} bytes", row.name),
                v => bail!(TypeMismatch, "Value for parameter {} must be of type string, not {}", row.name, v.type_name()),
            },
            Kind::Choice(at, words) | Kind::Words(at, words) => {
                let several = matches!(row.kind, Kind::Words(..));
                let Value::String(text) = value else { bail!(TypeMismatch, "Value for parameter {} must be of type string, not {}", row.name, value.type_name()) };
                let known = |word: &str| words.contains(&word);
                if !(known(text) || several && text.split(',').all(known)) {
                    bail!(BadValue, "Invalid value for parameter {}: {text:?} is not among {}", row.name, words.join(", "));
                }
                text.clone_into(&mut at(self).lock());
            }
            Kind::Components => {
                if let Some(level) = self.components.set(value)? {
                    self.log_level.store(level, Ordering::Relaxed);
                }
            }
            Kind::Int(at, least, most) | Kind::Long(at, least, most) => match value.as_bool().map_or(value, |b| Value::Int32(i32::from(b))) {
                v if v.is_number() => match number::to_i64_rounded(v) {
                    n if n < least => bail!(BadValue, "Invalid value for parameter {}: {n} is not greater than or equal to {least}", row.name),
                    n if n > most => bail!(BadValue, "Invalid value for parameter {}: {n} is not less than or equal to {most}", row.name),
                    n => at(self).store(n, Ordering::Relaxed),
                },
                v => bail!(BadValue, "Failed to set parameter {}: a number is expected, not {}", row.name, v.type_name()),
            },
            Kind::Fixed(_) => bail!(IllegalOperation, "not allowed to change [{}] at runtime", row.name),
        }
        Ok(())
    }

    /// Whether a mechanism is one that users may log in by.
    pub fn enables(&self, mechanism: &str) -> bool {
        self.login.mechanisms.lock().split(',').any(|enabled| enabled == mechanism)
    }

    /// Iterations of the keys of a new password.
    pub fn iterations(&self, mechanism: Mechanism) -> i32 {
        let count = match mechanism {
            Mechanism::Sha1 => &self.login.sha1_iterations,
            Mechanism::Sha256 => &self.login.sha256_iterations,
        };
        count.load(Ordering::Relaxed) as i32
    }

    /// How long the answer to a failed login waits at least.
    pub fn failed_login_delay(&self) -> std::time::Duration {
        std::time::Duration::from_millis(self.login.failed_delay_ms.load(Ordering::Relaxed).max(0) as u64)
    }

    /// Whether somebody on the same machine may make the first user; `None` when nobody said so.
    pub fn localhost_bypass(&self) -> Option<bool> {
        self.login.localhost_bypass_given.load(Ordering::Relaxed).then(|| self.login.localhost_bypass.load(Ordering::Relaxed))
    }

    /// What those hear of buildInfo who have not logged in: see the parameter `buildInfoAuthMode`.
    pub fn build_info_mode(&self) -> String {
        self.login.build_info.lock().clone()
    }

    pub fn compatibility(&self) -> &'static str {
        *self.compatibility.lock()
    }

    pub fn set_compatibility(&self, version: &'static str) {
        *self.compatibility.lock() = version;
    }

    /// Commands must say which version of the API they use.
    pub fn require_api_version(&self) -> bool {
        self.require_api_version.load(Ordering::Relaxed)
    }

    /// The audit log tells also of what was allowed.
    pub fn audits_successes(&self) -> bool {
        self.audit_successes.load(Ordering::Relaxed)
    }

    pub fn allow_disk_use(&self) -> bool {
        self.allow_disk_use.load(Ordering::Relaxed)
    }

    pub fn cursor_timeout(&self) -> std::time::Duration {
        std::time::Duration::from_millis(self.cursor_timeout_ms.load(Ordering::Relaxed).max(1) as u64)
    }

    /// Minutes after which an idle session ends.
    pub fn session_minutes(&self) -> i32 {
        self.session_minutes.load(Ordering::Relaxed) as i32
    }

    pub fn session_timeout(&self) -> std::time::Duration {
        std::time::Duration::from_secs(60 * self.session_minutes().max(1) as u64)
    }

    /// After that time an idle transaction aborts.
    pub fn transaction_lifetime(&self) -> std::time::Duration {
        std::time::Duration::from_secs(self.transaction_lifetime.load(Ordering::Relaxed).max(1) as u64)
    }

    /// Seconds for which snapshots stay readable.
    pub fn snapshot_window(&self) -> u64 {
        self.snapshot_window.load(Ordering::Relaxed).max(0) as u64
    }

    /// From 1 on every command is logged.
    pub fn log_level(&self) -> i64 {
        self.components.of_commands().unwrap_or_else(|| self.log_level.load(Ordering::Relaxed))
    }

    /// Connections that come and go are not logged.
    pub fn quiet(&self) -> bool {
        self.quiet.load(Ordering::Relaxed)
    }

    /// Whether search indexes and searches are there at all.
    pub fn searches(&self) -> bool {
        !self.mongot.lock().is_empty()
    }

    pub fn automation(&self) -> String {
        self.automation.lock().clone()
    }

    /// Seconds between two passes over the TTL indexes; `None` when there are none.
    pub fn ttl_seconds(&self) -> Option<u64> {
        self.ttl_enabled.load(Ordering::Relaxed).then(|| self.ttl_sleep_secs.load(Ordering::Relaxed).max(1) as u64)
    }
}

/// The row of a parameter.
pub fn find(name: &str) -> Option<&'static Row> {
    PARAMETERS.binary_search_by(|row| row.name.cmp(name)).ok().map(|at| &PARAMETERS[at])
}

#[cfg(test)]
mod tests {
    #[test]
    fn parameters_are_sorted() {
        assert!(super::PARAMETERS.is_sorted_by(|a, b| a.name < b.name));
    }
}
