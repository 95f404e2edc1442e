//! The flags of TLS, with mongod's names.

use std::path::PathBuf;

use clap::ValueEnum;
use smongo_server::{Mode, Tls};

use super::Failure;

#[derive(clap::Args, Clone)]
#[command(next_help_heading = "TLS")]
pub struct Args {
    /// Which TCP connections are encrypted: all, those whose client wants it (allowTLS and preferTLS are the same here), or none
    #[arg(long = "tlsMode", value_enum, default_value_t = TlsMode::Disabled, value_name = "MODE")]
    tls_mode: TlsMode,
    /// The server's certificate, the chain above it, and its private key, in one PEM file
    #[arg(long = "tlsCertificateKeyFile", value_name = "FILE")]
    certificate_key_file: Option<PathBuf>,
    /// Certificates of those who sign clients' certificates, PEM. With it every client has to show a certificate
    #[arg(long = "tlsCAFile", value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// Lists of certificates that they have revoked, PEM
    #[arg(long = "tlsCRLFile", value_name = "FILE", requires = "ca_file")]
    crl_file: Option<PathBuf>,
    /// Also clients without a certificate may come; one that is shown has to be good
    #[arg(long = "tlsAllowConnectionsWithoutCertificates", requires = "ca_file")]
    allow_connections_without_certificates: bool,
    /// Versions that are not spoken, separated by commas: TLS1_2, TLS1_3 (TLS1_0 and TLS1_1 never are)
    #[arg(long = "tlsDisabledProtocols", value_name = "VERSIONS", value_delimiter = ',')]
    disabled_protocols: Vec<Protocol>,
    #[command(flatten)]
    refused: Refused,
}

/// What mongod has for purposes that this server does not serve.
#[derive(clap::Args, Clone)]
struct Refused {
    #[arg(long = "tlsClusterFile", value_name = "FILE", hide = true)]
    cluster_file: Option<String>,
    #[arg(long = "tlsClusterCAFile", value_name = "FILE", hide = true)]
    cluster_ca_file: Option<String>,
    #[arg(long = "tlsClusterPassword", value_name = "PASSWORD", hide = true, num_args = 0..=1)]
    cluster_password: Option<Option<String>>,
    #[arg(long = "tlsCertificateKeyFilePassword", value_name = "PASSWORD", hide = true, num_args = 0..=1)]
    key_password: Option<Option<String>>,
    #[arg(long = "tlsAllowInvalidCertificates", hide = true)]
    allow_invalid_certificates: bool,
    #[arg(long = "tlsAllowInvalidHostnames", hide = true)]
    allow_invalid_hostnames: bool,
    #[arg(long = "tlsFIPSMode", hide = true)]
    fips: bool,
    #[arg(long = "tlsCertificateSelector", value_name = "SELECTOR", hide = true)]
    selector: Option<String>,
    #[arg(long = "sslMode", value_name = "MODE", hide = true)]
    ssl_mode: Option<String>,
    #[arg(long = "sslPEMKeyFile", value_name = "FILE", hide = true)]
    ssl_pem_key_file: Option<String>,
    #[arg(long = "sslCAFile", value_name = "FILE", hide = true)]
    ssl_ca_file: Option<String>,
}

impl Refused {
    fn check(&self) -> Result<(), Failure> {
        let one_member = "it is for the members of a replica set, and this server is the only member of its set";
        for (given, flag, why) in [
            (self.cluster_file.is_some(), "--tlsClusterFile", one_member),
            (self.cluster_ca_file.is_some(), "--tlsClusterCAFile", one_member),
            (self.cluster_password.is_some(), "--tlsClusterPassword", one_member),
            (self.key_password.is_some(), "--tlsCertificateKeyFilePassword", "private keys with a password are not read; take it off with: openssl pkey -in FILE -out key.pem"),
            (self.allow_invalid_certificates, "--tlsAllowInvalidCertificates", "a certificate that is shown has to be good; --tlsAllowConnectionsWithoutCertificates lets clients come without one"),
            (self.allow_invalid_hostnames, "--tlsAllowInvalidHostnames", one_member),
            (self.fips, "--tlsFIPSMode", "the cryptography of this server is not certified for it"),
            (self.selector.is_some(), "--tlsCertificateSelector", "certificates are read from --tlsCertificateKeyFile"),
            (self.ssl_mode.is_some(), "--sslMode", "its name is --tlsMode"),
            (self.ssl_pem_key_file.is_some(), "--sslPEMKeyFile", "its name is --tlsCertificateKeyFile"),
            (self.ssl_ca_file.is_some(), "--sslCAFile", "its name is --tlsCAFile"),
        ] {
            if given {
                return Err(Failure::usage(format!("{flag} is not there: {why}")));
            }
        }
        Ok(())
    }
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum TlsMode {
    #[value(name = "disabled")]
    Disabled,
    #[value(name = "allowTLS")]
    Allow,
    #[value(name = "preferTLS")]
    Prefer,
    #[value(name = "requireTLS")]
    Require,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Protocol {
    #[value(name = "TLS1_0")]
    Tls10,
    #[value(name = "TLS1_1")]
    Tls11,
    #[value(name = "TLS1_2")]
    Tls12,
    #[value(name = "TLS1_3")]
    Tls13,
    #[value(name = "none")]
    None,
}

impl Args {
    /// What is asked of connections.
    ///
    /// # Errors
    /// Flags that do not go together.
    pub fn tls(&self) -> Result<Tls, Failure> {
        self.refused.check()?;
        let mode = match self.tls_mode {
            TlsMode::Disabled => Mode::Disabled,
            TlsMode::Allow | TlsMode::Prefer => Mode::Allow,
            TlsMode::Require => Mode::Require,
        };
        let any = self.certificate_key_file.is_some() || self.ca_file.is_some() || !self.disabled_protocols.is_empty();
        let certificate_key_file = match (&self.certificate_key_file, mode) {
            (_, Mode::Disabled) if any => return Err(Failure::usage("the flags of TLS need --tlsMode, as requireTLS")),
            (None, Mode::Allow | Mode::Require) => return Err(Failure::usage("--tlsMode needs --tlsCertificateKeyFile, the server's certificate and private key")),
            (file, _) => file.clone().unwrap_or_default(),
        };
        Ok(Tls {
            mode,
            certificate_key_file,
            ca_file: self.ca_file.clone(),
            crl_file: self.crl_file.clone(),
            allow_connections_without_certificates: self.allow_connections_without_certificates,
            without_tls12: self.disabled_protocols.contains(&Protocol::Tls12),
            without_tls13: self.disabled_protocols.contains(&Protocol::Tls13),
        })
    }
}
