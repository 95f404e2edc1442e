//! `smongo serve`: the server. Flags bear mongod's names.

use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::{ArgAction, ValueEnum};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2};
use signal_hook::iterator::Signals;
use smongo_bson::DocBuf;
use smongo_engine::{Engine, Options};
use smongo_server::{Certificates, Exposure, Listen, Mode, Server, Stopper};
use tracing::Level;

use super::container::FirstUser;
use super::log::LogFile;
use super::{Failure, Outcome, audit, log, network};

/// Exit status of mongod when a socket cannot be bound, and when the data cannot be opened.
const NET_ERROR: u8 = 48;
const DATA_ERROR: u8 = 100;

#[derive(clap::Args, Clone)]
#[command(after_help = "\
Security:
  A new server listens on this machine only, and whoever is on it may do everything.
  smongo user add ann                      makes a user and asks for the password; the first may do everything
  smongo serve --auth --bind_ip_all        lets other machines in, and has clients log in, as
                                           mongodb://ann:PASSWORD@HOST:27017/?authSource=admin
  ... --tlsMode requireTLS --tlsCertificateKeyFile server.pem
                                           nobody on the way reads along; tls=true in the URI")]
pub struct Args {
    /// A file of settings: YAML, with mongod's names. Flags win over it
    #[arg(short = 'f', long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Directory of the data; made when it does not exist
    #[arg(long, value_name = "DIR", default_value = "./data")]
    dbpath: PathBuf,
    /// Use the directory for a new database though there are other files in it
    #[arg(long)]
    allow_other_files: bool,
    /// Repair the data, say what is lost, and end, as the subcommand repair
    #[arg(long)]
    repair: bool,
    /// Where documents are kept: on disk or in memory only
    #[arg(long = "storageEngine", value_enum, default_value_t = StorageEngine::WiredTiger)]
    storage_engine: StorageEngine,
    /// Size of the cache in gigabytes, as 0.5; the least is 0.0625 (64 MB), which less stands for, too
    #[arg(long = "wiredTigerCacheSizeGB", value_name = "GB")]
    cache_size_gb: Option<f64>,
    /// Milliseconds between writes of the journal to disk
    #[arg(long = "journalCommitInterval", value_name = "MS", value_parser = clap::value_parser!(u64).range(1..=500))]
    journal_commit_interval: Option<u64>,
    /// Have every acknowledged write on disk before its reply, as j: true and w: "majority" do: it survives a power failure, too
    #[arg(long)]
    durable: bool,
    /// Seconds between checkpoints, which write the data's files; 0 makes none until the server ends
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(0..=9_000_000))]
    syncdelay: u64,
    /// Megabytes that a new oplog may hold; that of an existing database keeps its size, which replSetResizeOplog changes
    #[arg(long = "oplogSize", value_name = "MB", value_parser = clap::value_parser!(u64).range(1..=1 << 30))]
    oplog_size: Option<u64>,
    /// Hours for which entries of the oplog stay at least, as 1.5
    #[arg(long = "oplogMinRetentionHours", value_name = "HOURS")]
    oplog_min_retention_hours: Option<f64>,
    /// A server parameter, as enableTestCommands=1; may be given several times
    #[arg(long = "setParameter", value_name = "NAME=VALUE", value_parser = parameter)]
    set_parameter: Vec<(String, String)>,
    /// Name of the replica set, of which this server is the only member: rs0 if none is given
    #[arg(long = "replSet", value_name = "NAME")]
    repl_set: Option<String>,
    /// Log to this file instead of stderr
    #[arg(long, value_name = "FILE")]
    logpath: Option<PathBuf>,
    /// Append to an existing log file instead of renaming it
    #[arg(long, requires = "logpath")]
    logappend: bool,
    /// Log only errors
    #[arg(long, conflicts_with = "verbose")]
    quiet: bool,
    /// Log more; -vv and -vvv still more
    #[arg(short, long, action = ArgAction::Count)]
    verbose: u8,
    #[command(flatten)]
    network: network::Args,
    #[command(flatten)]
    audit: audit::Args,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "camelCase")]
enum StorageEngine {
    WiredTiger,
    InMemory,
}

fn parameter(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_string(), value.to_string())),
        _ => Err("expected NAME=VALUE".to_string()),
    }
}

pub fn main(args: Args) -> Outcome {
    let level = match (args.quiet, args.verbose) {
        (true, _) => Level::ERROR,
        (_, 0) => Level::WARN,
        (_, 1) => Level::INFO,
        (_, 2) => Level::DEBUG,
        _ => Level::TRACE,
    };
    if args.repair {
        return super::repair::run(&args.dbpath);
    }
    let log = log::start(level, args.logpath.as_deref(), args.logappend)?;
    let first_user = FirstUser::of_environment()?;
    let listen = args.network.listen(first_user.is_some())?;
    let mut options = options(&args)?;
    if let Some(audit) = &mut options.audit {
        audit.startup = startup(&args, &listen, &audit.startup);
    }
    let engine = Engine::open(options).map_err(|e| Failure { status: DATA_ERROR, ..e.into() })?;
    if let Some(user) = first_user {
        user.make(&engine)?;
    }
    warn_of_directory(&engine, &args);
    network::warn(&engine, &listen)?;
    let encrypted = listen.tls.mode == Mode::Require;
    let (server, port) = bind(&engine, listen, &args.network).map_err(|e| Failure { status: NET_ERROR, ..e.into() })?;
    heed_signals(engine.clone(), server.stopper(), log, server.certificates())?;
    announce(&server, port, encrypted)?;
    server.run();
    engine.begin_shutdown();
    engine.close()?;
    Ok(ExitCode::SUCCESS)
}

fn options(args: &Args) -> Result<Options, Failure> {
    let mut options = Options {
        parameters: args.set_parameter.clone(),
        allow_other_files: args.allow_other_files,
        always_durable: args.durable,
        audit: args.audit.audit()?,
        ..Options::default()
    };
    if args.storage_engine == StorageEngine::WiredTiger {
        options.path = Some(args.dbpath.clone());
    }
    if let Some(gb) = args.cache_size_gb {
        if !(0.01..=10_000.0).contains(&gb) {
            return Err(Failure::new("--wiredTigerCacheSizeGB must be between 0.01 and 10000"));
        }
        options.cache_bytes = ((gb * f64::from(1 << 30)) as u64).max(Options::LEAST_CACHE);
    }
    if args.oplog_min_retention_hours.is_some_and(|hours| !hours.is_finite() || hours < 0.0) {
        return Err(Failure::new("--oplogMinRetentionHours must not be negative"));
    }
    options.oplog_retention_hours = args.oplog_min_retention_hours;
    options.oplog_bytes = args.oplog_size.map(|mb| mb << 20);
    options.checkpoint_interval = Duration::from_secs(args.syncdelay);
    if let Some(name) = &args.repl_set {
        // What stood behind a slash were once the other members.
        match name.split('/').next() {
            Some(name) if !name.is_empty() => name.clone_into(&mut options.replica_set),
            _ => return Err(Failure::new("--replSet takes the name of a replica set")),
        }
    }
    if let Some(ms) = args.journal_commit_interval {
        options.journal_interval = Duration::from_millis(ms);
    }
    let test_commands = args.set_parameter.iter().rev().find(|(name, _)| name == "enableTestCommands");
    options.test_commands = test_commands.is_some_and(|(_, value)| value == "1" || value == "true");
    Ok(options)
}

/// What the first line of the audit log tells of how the server was started.
fn startup(args: &Args, listen: &Listen, audit: &DocBuf) -> DocBuf {
    DocBuf::build(|w| {
        if let Some(file) = &args.config {
            w.append("config", &*file.display().to_string());
        }
        {
            let mut net = w.document("net");
            let hosts: Vec<&str> = listen.tcp.iter().map(|(host, _)| &**host).collect();
            net.append("bindIp", &*hosts.join(",")).append("port", i32::from(args.network.port));
            let mode = match listen.tls.mode {
                Mode::Disabled => "disabled",
                Mode::Allow => "allowTLS",
                Mode::Require => "requireTLS",
            };
            net.document("tls").append("mode", mode);
        }
        w.document("replication").append("replSet", args.repl_set.as_deref().unwrap_or("rs0"));
        w.document("security").append("authorization", if listen.exposure == Exposure::Authenticated { "enabled" } else { "disabled" });
        w.document("storage").append("dbPath", &*args.dbpath.display().to_string());
        {
            let mut parameters = w.document("setParameter");
            args.set_parameter.iter().for_each(|(name, value)| {
                parameters.append(name, &**value);
            });
        }
        w.append_all(audit.as_doc());
    })
}

/// Who else uses this machine should not be able to read the files.
fn warn_of_directory(engine: &Engine, args: &Args) {
    if args.storage_engine == StorageEngine::WiredTiger
        && let Ok(directory) = std::fs::metadata(&args.dbpath)
        && directory.permissions().mode() & 0o077 != 0
    {
        engine.warn(format!("Other users of this machine can look into the data directory {0}: chmod 700 {0} keeps them out.", args.dbpath.display()));
    }
}

/// Binds TCP first: the unix socket bears the port's number, which may have been 0. All addresses share one port.
fn bind(engine: &Engine, listen: Listen, args: &network::Args) -> io::Result<(Server, u16)> {
    let mut server = Server::bind(engine, listen)?;
    let port = server.local_addrs().first().map_or(args.port, SocketAddr::port);
    if let Some(prefix) = &args.unix_socket_prefix {
        server.bind_unix(prefix.join(format!("mongodb-{port}.sock")))?;
    }
    Ok((server, port))
}

/// Prints the one line that says the server is ready and where.
fn announce(server: &Server, port: u16, encrypted: bool) -> io::Result<()> {
    let ip = server.local_addrs().first().map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), SocketAddr::ip);
    let reachable = match ip {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        other => other,
    };
    let at = SocketAddr::new(reachable, port);
    let mut out = io::stdout().lock();
    writeln!(out, "smongo {} ready: mongodb://{at}/?directConnection=true{}", env!("CARGO_PKG_VERSION"), if encrypted { "&tls=true" } else { "" })?;
    out.flush()
}

/// Files of logs are begun anew; those that are kept bear the time in their names.
fn begin_anew(log: Option<&LogFile>, engine: Option<&Engine>) {
    match log.map(LogFile::rotate) {
        Some(Ok(())) => tracing::info!("a new log file"),
        Some(Err(e)) => tracing::error!("the log goes on in the old file: {e}"),
        None => {}
    }
    if let Some(Err(e)) = engine.map(Engine::rotate_audit) {
        tracing::error!("{e}");
    }
}

/// The first SIGTERM, SIGINT or SIGQUIT lets running commands end and closes the data; the second ends the process at once. SIGUSR1
/// begins a new log file and a new file of the audit log, as mongod does; SIGHUP has the certificates read anew. SIGUSR2 has no meaning yet, and none of them may end a
/// database that has data to close.
fn heed_signals(engine: Engine, stopper: Stopper, log: Option<LogFile>, certificates: Option<Arc<Certificates>>) -> io::Result<()> {
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGQUIT, SIGUSR1, SIGUSR2, SIGHUP])?;
    std::thread::Builder::new().name("signals".into()).spawn(move || {
        let mut engine = Some(engine);
        for signal in signals.forever() {
            match (signal, &log) {
                (SIGTERM | SIGINT | SIGQUIT, _) => {
                    let Some(engine) = engine.take() else { signal_hook::low_level::exit(130) };
                    tracing::info!("shutting down");
                    stopper.stop();
                    engine.begin_shutdown();
                }
                (SIGUSR1, log) => begin_anew(log.as_ref(), engine.as_ref()),
                (SIGHUP, _) if let Some(certificates) = &certificates => match certificates.reload() {
                    Ok(()) => tracing::info!("the certificates were read anew"),
                    Err(e) => tracing::error!("the certificates were not read anew, those in use stay so: {e}"),
                },
                (signal, _) => tracing::warn!("signal {signal} has no meaning here"),
            }
        }
    })?;
    Ok(())
}
