//! The fields any command may carry, and what they ask.

use smongo_bson::{Array, Doc, Result, Timestamp, Value, bail, err, number};

use crate::commands::{self, Args, Command};
use crate::sessions::Lsid;

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
}

/// A parsed read concern. One member: what is committed here is majority committed.
#[derive(Clone, Debug, Default)]
pub struct ReadConcern {
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
    pub fn parse(command: &'static Command, args: &mut Args<'a>) -> Result<Generic<'a>> {
        let mut g = Generic::none(command.name);
        g.db = args.str("$db")?.unwrap_or("admin");
        g.comment = args.value("comment");
        if let Some(lsid) = args.doc("lsid")? {
            g.lsid = Some(Lsid::parse(lsid)?);
        }
        g.txn_number = args.typed_long("txnNumber")?;
        g.autocommit = args.strict_bool("autocommit")?;
        g.start_transaction = args.strict_bool("startTransaction")?.unwrap_or(false);
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
        g.check_api(args)?;
        g.check_transaction(command)?;
        if g.write_concern.given && !command.is(commands::WRITES) {
            bail!(InvalidOptions, "Command {} does not support writeConcern", command.name);
        }
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
        }
    }

    fn check_api(&self, args: &mut Args<'a>) -> Result<()> {
        let version = args.str("apiVersion")?;
        let strict = args.strict_bool("apiStrict")?;
        let deprecation = args.strict_bool("apiDeprecationErrors")?;
        match version {
            Some("1") => Ok(()),
            Some(v) => bail!(APIVersionError, "API version must be \"1\", got: {v}"),
            None if strict.is_some() || deprecation.is_some() => {
                bail!(InvalidOptions, "Provided apiStrict and/or apiDeprecationErrors without passing apiVersion")
            }
            None => Ok(()),
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
        if !in_txn && self.txn_number.is_some() && !command.is(commands::RETRYABLE) {
            bail!(50768, "txnNumber may only be provided for multi-document transactions and retryable write commands. autocommit:false was not provided, and {} is not a retryable write command.", command.name);
        }
        if in_txn && !command.is(commands::IN_TXN) {
            bail!(OperationNotSupportedInTransaction, "Cannot run '{}' in a multi-document transaction.", command.name);
        }
        if in_txn && self.write_concern.given && !command.name.ends_with("Transaction") {
            bail!(InvalidOptions, "writeConcern is not allowed within a multi-statement transaction");
        }
        Ok(())
    }

    pub fn in_transaction(&self) -> bool {
        self.autocommit == Some(false)
    }
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

    fn parse(doc: Doc<'_>) -> Result<ReadConcern> {
        let mut args = Args::nested("readConcern.", doc);
        let level = args.str("level")?;
        if let Some(level) = level
            && !["local", "majority", "linearizable", "available", "snapshot"].contains(&level)
        {
            bail!(BadValue, "Enumeration value '{level}' for field 'readConcern.level' is not a valid value.");
        }
        let mut time = |name: &str| match args.value(name) {
            Value::Timestamp(ts) => Ok(Some(ts)),
            v if v.is_nullish() => Ok(None),
            v => Err(args.wrong_type(name, v, "timestamp")),
        };
        let (after_cluster_time, at_cluster_time) = (time("afterClusterTime")?, time("atClusterTime")?);
        args.accept(&["provenance", "afterOpTime"]);
        args.finish()?;
        if at_cluster_time.is_some() && level != Some("snapshot") {
            bail!(InvalidOptions, "readConcern level must be snapshot when atClusterTime is specified");
        }
        Ok(ReadConcern { level: level.map(str::to_owned), after_cluster_time, at_cluster_time })
    }
}

impl WriteConcern {
    pub fn parse(doc: Doc<'_>) -> Result<WriteConcern> {
        let mut args = Args::nested("writeConcern.", doc);
        let mut wc = WriteConcern { given: true, ..WriteConcern::default() };
        let w = args.value("w");
        match w {
            Value::String("majority") => wc.durable = true,
            Value::String(mode) => wc.unsatisfiable = Some(mode.to_owned()),
            v if v.is_number() => match number::to_i64_saturating(v).unwrap_or(0) {
                0 => wc.unacknowledged = true,
                1 => {}
                n @ 2..=50 => wc.unsatisfiable = Some(n.to_string()),
                _ => bail!(FailedToParse, "w has to be a non-negative number and not greater than 50; found: {}", number::to_i64_saturating(v).unwrap_or(0)),
            },
            v if v.is_nullish() => {}
            Value::Document(_) => wc.unsatisfiable = Some("tags".to_owned()),
            v => bail!(FailedToParse, "w has to be a number, string, or object; found: {}", v.type_name()),
        }
        wc.durable |= args.flag("j")? | args.flag("fsync")?;
        if let Value::Missing | Value::Null = args.value("wtimeout") {
        } else if !args.value("wtimeout").is_number() {
            bail!(FailedToParse, "wtimeout must be a number");
        }
        args.accept(&["wtimeout", "provenance", "getLastError", "wElectionId", "wOpTime"]);
        args.finish()?;
        Ok(wc)
    }
}

impl Args<'_> {
    /// `j` and `fsync`: a bool or a number.
    fn flag(&mut self, name: &str) -> Result<bool> {
        match self.value(name) {
            v if v.is_nullish() => Ok(false),
            v @ Value::Bool(_) => Ok(v.truthy()),
            v if v.is_number() => Ok(v.truthy()),
            _ => bail!(FailedToParse, "{name} must be numeric or a boolean value"),
        }
    }

    /// A field that must be of type long.
    fn typed_long(&mut self, name: &str) -> Result<Option<i64>> {
        match self.value(name) {
            Value::Int64(n) => Ok(Some(n)),
            v if v.is_nullish() => Ok(None),
            v => Err(self.wrong_type(name, v, "long")),
        }
    }
}
