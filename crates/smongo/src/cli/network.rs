//! How `smongo serve` is reached, and by whom.

use std::path::PathBuf;

use smongo_engine::Engine;
use smongo_server::{Exposure, Listen, Mode};

use super::{Failure, tls};

#[derive(clap::Args, Clone)]
#[command(next_help_heading = "Network and logins")]
pub struct Args {
    /// TCP port; 0 takes any free one
    #[arg(long, default_value_t = 27017)]
    pub port: u16,
    /// Addresses or names to listen on, separated by commas; * is every address. What other machines reach needs --auth
    #[arg(long = "bind_ip", value_name = "ADDRS", value_delimiter = ',', default_value = "127.0.0.1")]
    bind_ip: Vec<String>,
    /// Listen on every IPv4 address, and with --ipv6 on every IPv6 address
    #[arg(long = "bind_ip_all", conflicts_with = "bind_ip")]
    bind_ip_all: bool,
    /// With --bind_ip_all, listen on every IPv6 address, too
    #[arg(long)]
    ipv6: bool,
    /// Clients must log in, and may do what their user's roles allow
    #[arg(long, conflicts_with_all = ["noauth", "allow_unauthenticated_network"])]
    auth: bool,
    /// Nobody has to log in: whoever reaches the server owns the data (the default)
    #[arg(long)]
    noauth: bool,
    /// Without --auth, also listen on addresses that other machines can reach: whoever reaches the port owns the data
    #[arg(long)]
    allow_unauthenticated_network: bool,
    /// Also listen on the unix socket DIR/mongodb-PORT.sock
    #[arg(long = "unixSocketPrefix", value_name = "DIR")]
    pub unix_socket_prefix: Option<PathBuf>,
    /// Mode of the unix socket's file
    #[arg(long = "filePermissions", value_name = "MODE", value_parser = mode, default_value = "0700")]
    file_permissions: u32,
    /// The host:port that the server tells drivers to reach it by; by default the address each came in on
    #[arg(long, value_name = "HOST:PORT")]
    advertise: Option<String>,
    /// Most connections at a time
    #[arg(long = "maxConns", default_value_t = 65_536)]
    max_conns: usize,
    #[command(flatten)]
    members: Members,
    #[command(flatten)]
    tls: tls::Args,
}

/// What mongod takes so that the members of a replica set know each other. Whoever gives one of these expects to be protected by it.
#[derive(clap::Args, Clone)]
struct Members {
    #[arg(long = "keyFile", value_name = "FILE", hide = true)]
    key_file: Option<String>,
    #[arg(long = "clusterAuthMode", value_name = "MODE", hide = true)]
    cluster_auth_mode: Option<String>,
    #[arg(long = "transitionToAuth", hide = true)]
    transition_to_auth: bool,
}

impl Members {
    fn check(&self) -> Result<(), Failure> {
        let refuse = |flag: &str, instead: &str| {
            Err(Failure::usage(format!(
                "{flag} is about how the members of a replica set know each other, and this server is the only member of its set. {instead}"
            )))
        };
        if self.key_file.is_some() {
            return refuse("--keyFile", "To have clients log in, which it does in mongod, too, use --auth.");
        }
        if self.cluster_auth_mode.is_some() {
            return refuse("--clusterAuthMode", "To have clients log in, use --auth.");
        }
        if self.transition_to_auth {
            return refuse("--transitionToAuth", "Make the users with `smongo user add` or over an open server, and then start it with --auth.");
        }
        Ok(())
    }
}

/// Three octal digits, with or without a zero in front.
fn mode(text: &str) -> Result<u32, String> {
    match u32::from_str_radix(text, 8) {
        Ok(mode) if mode <= 0o777 => Ok(mode),
        _ => Err("expected a file's mode in octal digits, as 0700".to_string()),
    }
}

impl Args {
    /// Where to listen.
    ///
    /// # Errors
    /// An argument stands for something that this server cannot do, or for an address that is not to be listened on.
    ///
    /// With a `first_user` in the environment clients must log in.
    pub fn listen(&self, first_user: bool) -> Result<Listen, Failure> {
        self.members.check()?;
        if first_user && (self.noauth || self.allow_unauthenticated_network) {
            return Err(Failure::usage("MONGO_INITDB_ROOT_USERNAME has clients log in; --noauth and --allow-unauthenticated-network say the opposite"));
        }
        let hosts = if self.bind_ip_all { vec!["*".to_owned()] } else { self.bind_ip.clone() };
        let hosts = hosts.iter().map(|h| h.trim()).filter(|h| !h.is_empty());
        let listen = Listen {
            tcp: hosts.map(|host| (host.to_owned(), self.port)).collect(),
            ipv6: self.ipv6,
            unix_mode: self.file_permissions,
            exposure: match (self.auth || first_user, self.allow_unauthenticated_network) {
                (true, _) => Exposure::Authenticated,
                (false, true) => Exposure::AcceptedOpen,
                (false, false) => Exposure::Loopback,
            },
            tls: self.tls.tls()?,
            advertise: self.advertise.clone(),
            max_connections: self.max_conns,
            ..Listen::default()
        };
        if listen.tcp.is_empty() {
            return Err(Failure::new("--bind_ip names no address"));
        }
        // Before anything is made or opened.
        listen.check()?;
        Ok(listen)
    }
}

/// What whoever starts a server like this should know.
pub fn warn(engine: &Engine, listen: &Listen) -> Result<(), Failure> {
    let beyond = listen.beyond_loopback()?.is_some();
    if beyond && listen.exposure == Exposure::Authenticated && listen.tls.mode != Mode::Require {
        engine.warn("Other machines can reach this server without TLS: whoever is on the way can read and change what is said. Start it with --tlsMode requireTLS to change that.".into());
    }
    if listen.exposure != Exposure::Authenticated {
        if beyond {
            engine.warn("Other machines can reach this server, and nobody has to log in: whoever reaches it may read and change all data. Start it with --auth to change that.".into());
        }
        if engine.has_users() {
            engine.warn("There are users, but nobody has to log in: whoever reaches this server may do everything. Start it with --auth to change that.".into());
        }
    }
    Ok(())
}
