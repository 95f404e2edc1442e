//! The fields any command may carry, and what they ask.

use smongo_bson::{Array, Doc, Result, Timestamp, Value, bail, err, number};

use super::{Args, Command, IN_TXN, LIGHT, READS, RETRYABLE, WRITES};
use crate::data::api::Api;
use crate::data::clock::Clock;
use crate::data::lsid::Lsid;

/// The commands of Stable API version 1, sorted.
const API_1: &[&str] = &[
    "abortTransaction", "aggregate", "authenticate", "bulkWrite", "collMod", "commitTransaction", "count", "create", "createIndexes", "delete", "drop",
    "dropDatabase", "dropIndexes", "endSessions", "explain", "find", "findAndModify", "findandmodify", "getMore", "hello", "insert", "killCursors",
    "listCollections", "listDatabases", "listIndexes", "ping", "refreshSessions", "saslContinue", "saslStart", "update",
];

/// Whether a command is in Stable API version 1.
pub fn in_api_1(command: &str) -> bool {
    API_1.binary_search(&command).is_ok()
}

/// Generic fields of a command.
pub struct Generic<'a> {
    pub command: &'static str,
    pub db: &'a str,
    pub lsid: Option<Lsid>,
    pub txn_number: Option<i64>,
    pub autocommit: Option<bool>,
    pub start_transaction: bool,
    pub stmt_id: Option<i32>,
    pub stmt_ids: Option<Array<'a>>,
    pub max_time_ms: i64,
    pub comment: Value<'a>,
    pub read_concern: ReadConcern,
    pub write_concern: WriteConcern,
    pub cluster_time: Option<Timestamp>,
    pub api: Api,
}

/// A parsed read concern. One member: what is committed here is majority committed.
#[derive(Clone, Debug, Default)]
pub struct ReadConcern {
    /// It says something at all.
    pub given: bool,
    pub level: Option<String>,
    pub after_cluster_time: Option<Timestamp>,
    pub at_cluster_time: Option<Timestamp>,
}

/// A parsed write concern.
#[derive(Clone, Debug, Default)]
pub struct WriteConcern {
    pub given: bool,
    /// On disk before the reply: `j: true` or `w: "majority"`.
    pub durable: bool,
    /// `w: 0`.
    pub unacknowledged: bool,
    /// A `w` that one member cannot satisfy: the write happens, the reply carries a write concern error.
    pub unsatisfiable: Option<String>,
}

impl<'a> Generic<'a> {
    /// `api_required`: the command must name a version of the Stable API.
    pub fn parse(command: &'static Command, args: &mut Args<'a>, api_required: bool) -> Result<Generic<'a>> {
        let mut g = Generic::none(command.name);
        g.db = args.str("$db")?.unwrap_or("admin");
        g.comment = args.value("comment");
        if let Some(lsid) = args.doc("lsid")? {
            g.lsid = Some(Lsid::parse(lsid)?);
        }
        g.txn_number = args.typed_long("txnNumber")?;
        g.autocommit = args.strict_bool("autocommit")?;
        g.start_transaction = match args.strict_bool("startTransaction")? {
            Some(false) => bail!(InvalidOptions, "Specifying startTransaction=false is not allowed."),
            start => start.is_some(),
        };
        g.stmt_id = args.int("stmtId")?.map(|n| n as i32);
        g.stmt_ids = args.array("stmtIds")?;
        g.max_time_ms = max_time(args.value("maxTimeMS"))?;
        if let Some(rc) = args.doc("readConcern")? {
            g.read_concern = ReadConcern::parse(rc)?;
        }
        match args.value("writeConcern") {
            Value::Document(wc) => g.write_concern = WriteConcern::parse(wc)?,
            v if v.is_nullish() => {}
            v => return Err(args.wrong_type("writeConcern", v, "object")),
        }
        g.cluster_time = cluster_time(args)?;
        g.api = check_api(command, args, api_required)?;
        g.check_transaction(command)?;
        if g.in_transaction() {
            g.check_in_transaction(args.target())?;
        }
        if g.write_concern.given && !command.is(WRITES) {
            bail!(InvalidOptions, "Command {} does not support writeConcern", command.name);
        }
        g.check_read_concern(command)?;
        Ok(g)
    }

    fn none(command: &'static str) -> Generic<'a> {
        Generic {
            command,
            db: "admin",
            lsid: None,
            txn_number: None,
            autocommit: None,
            start_transaction: false,
            stmt_id: None,
            stmt_ids: None,
            max_time_ms: 0,
            comment: Value::Missing,
            read_concern: ReadConcern::default(),
            write_concern: WriteConcern::default(),
            cluster_time: None,
            api: Api::default(),
        }
    }

    /// Commands that read nothing of a collection know the level `local` only. In a transaction its first command's level is the transaction's.
    fn check_read_concern(&self, command: &Command) -> Result<()> {
        match &self.read_concern.level {
            Some(level) if level != "local" && !command.is(READS) && !self.in_transaction() => bail!(
                InvalidOptions,
                "Command {} does not support {{ readConcern: {{ level: \"{level}\", provenance: \"clientSupplied\" }} }} :: caused by :: read concern not supported",
                command.name
            ),
            _ => Ok(()),
        }
    }

    fn check_transaction(&self, command: &Command) -> Result<()> {
        let in_txn = self.autocommit.is_some() || self.start_transaction;
        if self.autocommit == Some(true) {
            bail!(InvalidOptions, "Specifying autocommit=true is not allowed.");
        }
        if self.start_transaction && self.autocommit.is_none() {
            bail!(InvalidOptions, "'startTransaction' field requires 'autocommit' field to also be specified");
        }
        if in_txn && self.txn_number.is_none() {
            bail!(InvalidOptions, "'autocommit' field requires a transaction number to also be specified");
        }
        if self.txn_number.is_some() && self.lsid.is_none() {
            bail!(InvalidOptions, "Transaction number requires a session ID to also be specified");
        }
        if self.txn_number.is_some_and(|n| n < 0) {
            bail!(InvalidOptions, "Transaction number cannot be negative");
        }
        if !in_txn && self.txn_number.is_some() && !command.is(RETRYABLE) {
            bail!(50768, "txnNumber may only be provided for multi-document transactions and retryable write commands. autocommit:false was not provided, and {} is not a retryable write command.", command.name);
        }
        if in_txn && !command.is(IN_TXN) {
            bail!(OperationNotSupportedInTransaction, "Cannot run '{}' in a multi-document transaction.", command.name);
        }
        if self.start_transaction && ["getMore", "killCursors", "commitTransaction", "abortTransaction"].contains(&command.name) {
            bail!(OperationNotSupportedInTransaction, "Cannot run '{}' as the first operation of a multi-document transaction.", command.name);
        }
        if in_txn && self.write_concern.given && !command.name.ends_with("Transaction") {
            bail!(InvalidOptions, "writeConcern is not allowed within a multi-statement transaction");
        }
        Ok(())
    }

    /// What a command of a transaction may read, and at which level. `target` is the collection it names.
    fn check_in_transaction(&self, target: Option<&str>) -> Result<()> {
        if matches!(self.db, "config" | "local") {
            bail!(OperationNotSupportedInTransaction, "Cannot run command against the '{}' database in a transaction.", self.db);
        }
        if let Some(coll @ ("system.profile" | "system.views")) = target {
            bail!(OperationNotSupportedInTransaction, "Cannot run command against the '{}.{coll}' collection in a transaction.", self.db);
        }
        if !self.start_transaction && self.read_concern.given {
            bail!(InvalidOptions, "Only the first command in a transaction may specify a readConcern");
        }
        match self.read_concern.level.as_deref() {
            None | Some("local" | "majority" | "snapshot") => Ok(()),
            Some(_) => bail!(InvalidOptions, "The readConcern level must be either 'local' (default), 'majority' or 'snapshot' in order to run in a transaction"),
        }
    }

    pub fn in_transaction(&self) -> bool {
        self.autocommit == Some(false)
    }
}

/// Reads the Stable API's fields.
fn check_api(command: &Command, args: &mut Args<'_>, required: bool) -> Result<Api> {
    let version = args.str("apiVersion")?;
    let strict = args.strict_bool("apiStrict")?;
    let deprecation_errors = args.strict_bool("apiDeprecationErrors")?;
    match version {
        Some("1") if strict == Some(true) && !in_api_1(command.name) => bail!(
            APIStrictError,
            "Provided apiStrict:true, but the command {} is not in API Version 1. Information on supported commands and migrations in API Version 1 can be found at https://dochub.mongodb.org/core/manual-versioned-api",
            command.name
        ),
        Some("1") => {}
        Some(v) => bail!(APIVersionError, "API version must be \"1\", got: {v}"),
        None if strict.is_some() || deprecation_errors.is_some() => {
            bail!(4886600, "Provided apiStrict and/or apiDeprecationErrors without passing apiVersion")
        }
        None if required && !command.is(LIGHT) => bail!(498870, "The apiVersion parameter is required, please configure your MongoClient's API version"),
        None => return Ok(Api::default()),
    }
    Ok(Api { version: version.map(str::to_owned), strict, deprecation_errors })
}

fn max_time(value: Value<'_>) -> Result<i64> {
    if value.is_nullish() {
        return Ok(0);
    }
    if !value.is_number() {
        bail!(TypeMismatch, "maxTimeMS must be a number");
    }
    match number::to_i64_exact(value) {
        None => bail!(FailedToParse, "maxTimeMS has non-integral value"),
        Some(n) if (0..=i64::from(i32::MAX)).contains(&n) => Ok(n),
        Some(n) => bail!(BadValue, "{n} value for maxTimeMS is out of range [0, 2147483647]"),
    }
}

fn cluster_time(args: &mut Args<'_>) -> Result<Option<Timestamp>> {
    match args.doc("$clusterTime")?.map(|d| d.get("clusterTime")) {
        Some(Value::Timestamp(ts)) => Ok(Some(ts)),
        None => Ok(None),
        Some(v) => Err(err!(TypeMismatch, "BSON field '$clusterTime.clusterTime' is the wrong type '{}', expected type 'timestamp'", v.type_name())),
    }
}

impl ReadConcern {
    /// Only what a crash leaves may be answered.
    pub fn durable(&self) -> bool {
        matches!(self.level.as_deref(), Some("majority" | "linearizable" | "snapshot"))
    }

    /// Nobody can have seen a time that is still to come.
    pub fn check_times(&self, clock: &Clock) -> Result<()> {
        if self.after_cluster_time.is_none() && self.at_cluster_time.is_none() {
            return Ok(());
        }
        let now = clock.last();
        let times = [("afterClusterTime", self.after_cluster_time), ("atClusterTime", self.at_cluster_time)];
        match times.into_iter().find_map(|(name, time)| time.filter(|t| *t > now).map(|t| (name, t))) {
            Some((name, time)) => bail!(
                InvalidOptions,
                "readConcern {name} value must not be greater than the current clusterTime. Requested clusterTime: Timestamp({}, {}); current clusterTime: Timestamp({}, {})",
                time.time, time.increment, now.time, now.increment
            ),
            None => Ok(()),
        }
    }

    pub fn parse(doc: Doc<'_>) -> Result<ReadConcern> {
        let mut args = Args::nested("readConcern", doc);
        let level = args.str("level")?;
        if let Some(level) = level
            && !["local", "majority", "linearizable", "available", "snapshot"].contains(&level)
        {
            bail!(BadValue, "Enumeration value '{level}' for field 'readConcern.level' is not a valid value.");
        }
        let mut time = |name: &str| match args.value(name) {
            Value::Timestamp(ts) => Ok(Some(ts)),
            Value::Missing => Ok(None),
            v => Err(args.wrong_type(name, v, "timestamp")),
        };
        let (after_cluster_time, at_cluster_time) = (time("afterClusterTime")?, time("atClusterTime")?);
        provenance(&mut args)?;
        args.accept(&["afterOpTime"]);
        args.finish()?;
        if after_cluster_time.is_some_and(|t| t == Timestamp::default()) {
            bail!(InvalidOptions, "afterClusterTime cannot be a null timestamp");
        }
        if after_cluster_time.is_some() && matches!(level, Some("linearizable" | "available")) {
            bail!(InvalidOptions, "afterClusterTime field can be set only if level is equal to majority, local, or snapshot");
        }
        if after_cluster_time.is_some() && at_cluster_time.is_some() {
            bail!(InvalidOptions, "Can not specify both afterClusterTime and atClusterTime");
        }
        if at_cluster_time.is_some() && level != Some("snapshot") {
            bail!(InvalidOptions, "readConcern level must be snapshot when atClusterTime is specified");
        }
        if at_cluster_time.is_some_and(|t| t.time == 0) {
            bail!(InvalidOptions, "readConcern.atClusterTime cannot be a null timestamp");
        }
        Ok(ReadConcern { given: !doc.is_empty(), level: level.map(str::to_owned), after_cluster_time, at_cluster_time })
    }
}

/// Where a read or write concern came from; routers set it, and it changes nothing here.
fn provenance(args: &mut Args<'_>) -> Result<()> {
    match args.str("provenance")? {
        None | Some("clientSupplied" | "implicitDefault" | "customDefault" | "getLastErrorDefaults" | "internalWriteDefault") => Ok(()),
        Some(other) => bail!(BadValue, "Enumeration value '{other}' for field 'provenance' is not a valid value."),
    }
}

impl WriteConcern {
    pub fn parse(doc: Doc<'_>) -> Result<WriteConcern> {
        let mut args = Args::nested("writeConcern", doc);
        let mut wc = WriteConcern { given: true, ..WriteConcern::default() };
        match args.value("w") {
            Value::Missing => {}
            Value::Null => wc.unsatisfiable = Some(String::new()),
            Value::String("majority") => wc.durable = true,
            Value::String(mode) => wc.unsatisfiable = Some(mode.to_owned()),
            v if v.is_number() => wc.members(v)?,
            Value::Document(tags) => {
                if tags.is_empty() {
                    bail!(FailedToParse, "tagged write concern requires tags");
                }
                if let Some(tag) = tags.iter().find(|tag| !tag.value().is_number()) {
                    bail!(FailedToParse, "tags must be a single level document with only number values; found: {}", tag.value().type_name());
                }
                wc.unsatisfiable = Some("tags".to_owned());
            }
            v => bail!(FailedToParse, "w has to be a number, string, or object; found: {}", v.type_name()),
        }
        wc.durable |= args.bool("j")? | args.bool("fsync")?;
        // Nothing here takes long enough to time out, and MongoDB lets any type through.
        if number::to_i64_saturating(args.value("wtimeout")).is_some_and(|ms| ms > i64::from(i32::MAX)) {
            bail!(FailedToParse, "wtimeout must be a 32-bit integer");
        }
        provenance(&mut args)?;
        args.accept(&["getLastError", "wElectionId", "wOpTime"]);
        args.finish()?;
        Ok(wc)
    }

    /// A `w` that counts members.
    fn members(&mut self, w: Value<'_>) -> Result<()> {
        match number::to_i64_rounded(w) {
            _ if number::is_nan(w) => bail!(FailedToParse, "w has to be a non-negative number and not greater than 50; found: nan"),
            0 => self.unacknowledged = true,
            1 => {}
            n @ 2..=50 => self.unsatisfiable = Some(n.to_string()),
            n => bail!(FailedToParse, "w has to be a non-negative number and not greater than 50; found: {n}"),
        }
        Ok(())
    }
}

impl Args<'_> {
    /// A field that must be of type long.
    fn typed_long(&mut self, name: &str) -> Result<Option<i64>> {
        match self.value(name) {
            Value::Int64(n) => Ok(Some(n)),
            v if v.is_nullish() => Ok(None),
            v => Err(self.wrong_type(name, v, "long")),
        }
    }
}
