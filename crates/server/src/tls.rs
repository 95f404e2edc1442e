//! TLS: what is asked of whom, certificates and their renewal, and the encrypted way of a connection's bytes.

use std::fmt::Display;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use parking_lot::RwLock;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, StreamOwned, SupportedProtocolVersion, version};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::dn;
use crate::wire::Paced;

/// How long before its end a certificate is spoken of.
const SOON: i64 = 30 * 24 * 3600;
/// What one read of a socket brings; a record holds up to 16 KiB.
const BUFFER: usize = 17 << 10;

/// Which connections are encrypted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// None.
    #[default]
    Disabled,
    /// Those whose client wants it: both kinds come to one port.
    Allow,
    /// All by TCP. Unix sockets are plain.
    Require,
}

/// Files and demands. The files are read when the server is bound, and again by [`Certificates::reload`].
#[derive(Clone, Debug, Default)]
pub struct Tls {
    pub mode: Mode,
    /// The server's certificate, the chain above it and its private key, PEM.
    pub certificate_key_file: PathBuf,
    /// Certificates of those who may sign a client's certificate. With it clients have to show one.
    pub ca_file: Option<PathBuf>,
    /// Lists of what they have revoked.
    pub crl_file: Option<PathBuf>,
    /// Clients need not show a certificate; one that is shown has to be a good one.
    pub allow_connections_without_certificates: bool,
    /// Versions that are not spoken, of those that could be.
    pub without_tls12: bool,
    pub without_tls13: bool,
}

/// The certificates in use.
pub struct Certificates {
    tls: Tls,
    /// Taken by each new connection. Open ones go on with what they began with.
    current: RwLock<Arc<ServerConfig>>,
}

/// A configuration that is made of the files as they are now, and what should be known of them.
struct Made {
    config: ServerConfig,
    warnings: Vec<String>,
}

impl Certificates {
    /// Reads the files. The answer has warnings beside it.
    ///
    /// # Errors
    /// What is wrong with which file.
    pub fn open(tls: Tls) -> io::Result<(Certificates, Vec<String>)> {
        let Made { config, warnings } = tls.make()?;
        Ok((Certificates { tls, current: RwLock::new(Arc::new(config)) }, warnings))
    }

    /// Reads all files anew; new connections use what is in them.
    ///
    /// # Errors
    /// What is wrong with which file: what was in use stays in use.
    pub fn reload(&self) -> io::Result<()> {
        let Made { config, warnings } = self.tls.make()?;
        *self.current.write() = Arc::new(config);
        for warning in warnings {
            tracing::warn!("{warning}");
        }
        Ok(())
    }

    pub fn mode(&self) -> Mode {
        self.tls.mode
    }

    /// Begins the encrypted conversation with a client who has begun to speak.
    ///
    /// # Errors
    /// The two could not agree, or the client's certificate is not a good one; the client has been told.
    pub fn accept<'s>(&self, paced: Paced<'s>) -> io::Result<Encrypted<'s>> {
        let config = self.current.read().clone();
        let mut connection = ServerConnection::new(config).map_err(io::Error::other)?;
        let mut socket = Buffered { paced, buf: vec![0; BUFFER], start: 0, end: 0 };
        while connection.is_handshaking() {
            connection.complete_io(&mut socket)?;
        }
        Ok(Encrypted(Box::new(StreamOwned::new(connection, socket))))
    }
}

impl Tls {
    fn make(&self) -> io::Result<Made> {
        let mut warnings = Vec::new();
        let (chain, key) = read_identity(&self.certificate_key_file, &mut warnings)?;
        let provider = Arc::new(ring::default_provider());
        let builder = ServerConfig::builder_with_provider(provider.clone()).with_protocol_versions(&self.versions()?).map_err(io::Error::other)?;
        let builder = match &self.ca_file {
            None => builder.with_no_client_auth(),
            Some(ca) => {
                let mut verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(read_roots(ca)?), provider);
                if let Some(file) = &self.crl_file {
                    // As OpenSSL does for mongod: the client's own certificate is looked up, in a list of its issuer's that is not too old.
                    verifier = verifier.with_crls(read_crls(file)?).only_check_end_entity_revocation().enforce_revocation_expiration();
                }
                if self.allow_connections_without_certificates {
                    verifier = verifier.allow_unauthenticated();
                }
                builder.with_client_cert_verifier(verifier.build().map_err(|e| fault(ca, e))?)
            }
        };
        let config = builder.with_single_cert(chain, key).map_err(|e| match e {
            rustls::Error::InconsistentKeys(_) => fault(&self.certificate_key_file, "the private key does not belong to the certificate"),
            e => fault(&self.certificate_key_file, e),
        })?;
        Ok(Made { config, warnings })
    }

    fn versions(&self) -> io::Result<Vec<&'static SupportedProtocolVersion>> {
        let all = [(&version::TLS13, self.without_tls13), (&version::TLS12, self.without_tls12)];
        let spoken: Vec<_> = all.into_iter().filter(|(_, without)| !without).map(|(version, _)| version).collect();
        match spoken.is_empty() {
            true => Err(io::Error::new(io::ErrorKind::InvalidInput, "all versions of TLS are disabled")),
            false => Ok(spoken),
        }
    }
}

fn fault(file: &Path, what: impl Display) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("{}: {what}", file.display()))
}

fn read(file: &Path) -> io::Result<Vec<u8>> {
    std::fs::read(file).map_err(|e| io::Error::new(e.kind(), format!("{}: {e}", file.display())))
}

/// The certificate with the chain above it, and its key.
fn read_identity(file: &Path, warnings: &mut Vec<String>) -> io::Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)> {
    let pem = read(file)?;
    let chain = certificates(file, &pem)?;
    let Some(own) = chain.first() else {
        return Err(fault(file, "there is no certificate in it"));
    };
    let key = match PrivateKeyDer::from_pem_slice(&pem) {
        Ok(key) if !is_locked(&pem) => key,
        _ if is_locked(&pem) => {
            let name = file.display();
            let advice = format!(
                "the private key needs a password, and this server would have to store it beside the key. Take it off with: openssl pkey -in {name} -out key.pem \
                 and put the certificate and key.pem into one file"
            );
            return Err(fault(file, advice));
        }
        Err(e) => return Err(fault(file, format!("there is no private key in it: {e}"))),
        Ok(_) => return Err(fault(file, "there is no private key in it")),
    };
    warnings.extend(examine(file, own)?);
    Ok((chain, key))
}

/// Whether a private key is encrypted.
fn is_locked(pem: &[u8]) -> bool {
    let text = String::from_utf8_lossy(pem);
    text.contains("BEGIN ENCRYPTED PRIVATE KEY") || text.contains("Proc-Type: 4,ENCRYPTED")
}

fn certificates(file: &Path, pem: &[u8]) -> io::Result<Vec<CertificateDer<'static>>> {
    CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().map_err(|e| fault(file, e))
}

fn read_roots(file: &Path) -> io::Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(file, &read(file)?)? {
        roots.add(certificate).map_err(|e| fault(file, e))?;
    }
    match roots.is_empty() {
        true => Err(fault(file, "there is no certificate in it")),
        false => Ok(roots),
    }
}

fn read_crls(file: &Path) -> io::Result<Vec<CertificateRevocationListDer<'static>>> {
    let pem = read(file)?;
    let lists: Vec<_> = CertificateRevocationListDer::pem_slice_iter(&pem).collect::<Result<_, _>>().map_err(|e| fault(file, e))?;
    match lists.is_empty() {
        true => Err(fault(file, "there is no revocation list in it")),
        false => Ok(lists),
    }
}

/// Refuses a certificate that no client would take today; tells what will be wrong with it soon, or is for some.
fn examine(file: &Path, certificate: &CertificateDer<'_>) -> io::Result<Vec<String>> {
    let (_, parsed) = X509Certificate::from_der(certificate).map_err(|e| fault(file, e))?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs() as i64;
    let (from, to) = (parsed.validity().not_before, parsed.validity().not_after);
    if now < from.timestamp() || now > to.timestamp() {
        return Err(fault(file, format!("the certificate is expired or not yet valid: it is from {from} to {to}")));
    }
    let mut warnings = Vec::new();
    if to.timestamp() - now < SOON {
        warnings.push(format!("The certificate in {} expires on {to}.", file.display()));
    }
    if !parsed.subject_alternative_name().is_ok_and(|name| name.is_some()) {
        warnings.push(format!("The certificate in {} has no subject alternative name: clients will not take it for that of this server.", file.display()));
    }
    if let Ok(mode) = std::fs::metadata(file).map(|m| std::os::unix::fs::PermissionsExt::mode(&m.permissions()))
        && mode & 0o077 != 0
    {
        warnings.push(format!("Other users of this machine can read the private key: chmod 600 {} keeps them from it.", file.display()));
    }
    Ok(warnings)
}

/// Connects to a server whose certificate, signed by one of those in the file, is for this host; with a certificate of one's own if there is one.
///
/// # Errors
/// What is wrong with which file, or with the server's certificate.
pub fn connect(mut stream: TcpStream, host: &str, ca_file: &Path, own: Option<&Path>) -> io::Result<StreamOwned<ClientConnection, TcpStream>> {
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider())).with_safe_default_protocol_versions().map_err(io::Error::other)?;
    let builder = builder.with_root_certificates(read_roots(ca_file)?);
    let config = match own {
        None => builder.with_no_client_auth(),
        Some(file) => {
            let (chain, key) = read_identity(file, &mut Vec::new())?;
            builder.with_client_auth_cert(chain, key).map_err(|e| fault(file, e))?
        }
    };
    let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
    let mut connection = ClientConnection::new(Arc::new(config), name).map_err(io::Error::other)?;
    while connection.is_handshaking() {
        connection.complete_io(&mut stream)?;
    }
    Ok(StreamOwned::new(connection, stream))
}

/// The subject of a certificate, DER, as RFC 2253; `None` where it has none that could be written so.
pub fn subject_of(certificate: &[u8]) -> Option<String> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    dn::rfc2253(certificate.subject())
}

/// An encrypted connection. It is read and written by one thread alone.
pub struct Encrypted<'s>(Box<StreamOwned<ServerConnection, Buffered<'s>>>);

impl<'s> Encrypted<'s> {
    /// The socket below.
    pub fn paced(&mut self) -> &mut Paced<'s> {
        &mut self.0.sock.paced
    }

    /// The subject of the certificate that the client showed, as RFC 2253.
    pub fn subject(&self) -> Option<String> {
        subject_of(self.0.conn.peer_certificates()?.first()?)
    }

    /// The version that both speak.
    pub fn version(&self) -> &'static str {
        match self.0.conn.protocol_version() {
            Some(rustls::ProtocolVersion::TLSv1_2) => "1.2",
            Some(rustls::ProtocolVersion::TLSv1_3) => "1.3",
            _ => "unknown",
        }
    }

    /// Tells the client that there will be no more.
    pub fn end(&mut self) {
        self.0.conn.send_close_notify();
        let _ = self.0.flush();
    }
}

impl Read for Encrypted<'_> {
    /// Messages have lengths, so that a client who leaves without a word can be told from one who was cut off.
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self.0.read(buf) {
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => Ok(0),
            other => other,
        }
    }
}

impl Write for Encrypted<'_> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.0.write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// A socket that is read in larger pieces than the 4 KiB that the library asks for.
struct Buffered<'s> {
    paced: Paced<'s>,
    buf: Vec<u8>,
    start: usize,
    end: usize,
}

impl Read for Buffered<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.start == self.end {
            (self.start, self.end) = (0, self.paced.read(&mut self.buf)?);
        }
        let held = self.buf.get(self.start..self.end).unwrap_or(&[]);
        let n = held.len().min(into.len());
        if let (Some(to), Some(from)) = (into.get_mut(..n), held.get(..n)) {
            to.copy_from_slice(from);
        }
        self.start += n;
        Ok(n)
    }
}

impl Write for Buffered<'_> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.paced.write(buf)
    }

    fn write_vectored(&mut self, bufs: &[io::IoSlice<'_>]) -> io::Result<usize> {
        self.paced.write_vectored(bufs)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
