//! The URI of a server: one host, a user, and the few options that mean something for a tool.

use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use smongo_engine::Mechanism;
use smongo_server::tls;

use super::Failure;
use super::target::ReadWrite;

pub struct Uri {
    /// Host and port, or the path of a unix socket.
    host: String,
    pub user: Option<String>,
    pub password: Option<String>,
    /// The database that the user belongs to.
    pub source: String,
    /// How to log in, where it is said.
    pub mechanism: Option<Mechanism>,
    tls: bool,
    tls_ca_file: Option<PathBuf>,
    tls_certificate_key_file: Option<PathBuf>,
}

impl Uri {
    /// Options that are not known are refused: they may change the meaning. `secret`: whether a password may stand in it.
    pub fn parse(text: &str, secret: bool) -> Result<Uri, Failure> {
        // A password must not come back in the message.
        let shown = match text.rsplit_once('@') {
            Some((_, host)) => format!("mongodb://…@{host}"),
            None => text.to_owned(),
        };
        let refuse = |why: &str| Failure::usage(format!("{} {shown}: {why}", if secret { "SMONGO_URI" } else { "--uri" }));
        let rest = text.strip_prefix("mongodb://").ok_or_else(|| refuse("expected mongodb://[USER@]HOST[:PORT]"))?;
        let (rest, options) = rest.split_once('?').unwrap_or((rest, ""));
        let (hosts, db) = rest.split_once('/').unwrap_or((rest, ""));
        let (login, host) = hosts.rsplit_once('@').map_or((None, hosts), |(login, host)| (Some(login), host));
        if host.is_empty() || host.contains(',') {
            return Err(refuse("exactly one host is expected"));
        }
        let decoded = |text: &str| decode(text).ok_or_else(|| refuse("a % is to be followed by two hexadecimal digits"));
        let mut uri = Uri {
            host: decoded(host)?,
            user: None,
            password: None,
            source: if db.is_empty() { "admin".to_owned() } else { decoded(db)? },
            mechanism: None,
            tls: false,
            tls_ca_file: None,
            tls_certificate_key_file: None,
        };
        if let Some(login) = login {
            let (user, password) = login.split_once(':').map_or((login, None), |(user, password)| (user, Some(password)));
            if password.is_some() && !secret {
                return Err(refuse("everybody on this machine can read the arguments of a program. Put the password into a file for --password-file, or the whole URI into SMONGO_URI in the environment, or let the terminal ask"));
            }
            if user.is_empty() {
                return Err(refuse("the user's name is empty"));
            }
            uri.user = Some(decoded(user)?);
            uri.password = password.map(decoded).transpose()?;
        }
        for option in options.split('&').filter(|o| !o.is_empty()) {
            let (name, value) = option.split_once('=').unwrap_or((option, ""));
            let value = decoded(value)?;
            match (&*name.to_ascii_lowercase(), &*value) {
                ("directconnection", "true") | ("tls" | "ssl", "false") => {}
                ("tls" | "ssl", "true") => uri.tls = true,
                ("tlscafile", file) => uri.tls_ca_file = Some(file.into()),
                ("tlscertificatekeyfile", file) => uri.tls_certificate_key_file = Some(file.into()),
                ("authsource", db) if !db.is_empty() => db.clone_into(&mut uri.source),
                ("authmechanism", name) => uri.mechanism = Some(Mechanism::of_name(name).ok_or_else(|| refuse("authMechanism is SCRAM-SHA-256 or SCRAM-SHA-1 here"))?),
                _ => return Err(refuse(&format!("the option {name}={value} is not supported"))),
            }
        }
        if uri.tls && uri.tls_ca_file.is_none() {
            return Err(refuse("tls=true needs tlsCAFile=FILE, the certificate of who signed the server's"));
        }
        if !uri.tls && (uri.tls_ca_file.is_some() || uri.tls_certificate_key_file.is_some()) {
            return Err(refuse("the files of TLS need tls=true"));
        }
        Ok(uri)
    }

    pub fn connect(&self) -> Result<Box<dyn ReadWrite>, Failure> {
        let failed = |at: &str, e: std::io::Error| Failure::new(format!("cannot connect to {at}: {e}"));
        if self.host.contains('/') {
            return Ok(Box::new(UnixStream::connect(&self.host).map_err(|e| failed(&self.host, e))?));
        }
        let (name, port) = match self.host.rsplit_once(':') {
            Some((name, port)) if port.parse::<u16>().is_ok() => (name, port),
            _ => (&*self.host, "27017"),
        };
        let address = format!("{name}:{port}");
        let stream = TcpStream::connect(&address).map_err(|e| failed(&address, e))?;
        stream.set_nodelay(true)?;
        match &self.tls_ca_file {
            Some(ca) if self.tls => {
                let name = name.trim_start_matches('[').trim_end_matches(']');
                let secure = tls::connect(stream, name, ca, self.tls_certificate_key_file.as_deref());
                Ok(Box::new(secure.map_err(|e| failed(&address, e))?))
            }
            _ => Ok(Box::new(stream)),
        }
    }
}

/// Percent-encoding undone.
fn decode(text: &str) -> Option<String> {
    let mut out = Vec::new();
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let digits = [bytes.next()?, bytes.next()?];
            out.push(u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?);
        } else {
            out.push(byte);
        }
    }
    String::from_utf8(out).ok()
}
