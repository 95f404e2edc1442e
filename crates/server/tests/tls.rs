//! Encrypted connections: who may come, what is said to whom by mistake, certificates that are renewed while clients work.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod authority;
mod common;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use authority::{Authority, Validity};
use common::{Raw, Running, body, code, msg, number, ok, ping, start_with};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion, version};
use smongo_engine::Client;
use smongo_server::{Listen, Mode, Tls};

type Secure = Raw<StreamOwned<ClientConnection, TcpStream>>;

struct Place {
    dir: tempfile::TempDir,
    authority: Authority,
}

impl Place {
    fn new() -> Place {
        let place = Place { dir: tempfile::tempdir().unwrap(), authority: Authority::new("our authority") };
        place.write("ca.pem", &place.authority.pem());
        place.write("server.pem", &place.authority.sign("CN=server", Validity::Now).pem);
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    fn tls(&self, mode: Mode) -> Tls {
        Tls { mode, certificate_key_file: self.path("server.pem"), ..Tls::default() }
    }

    /// Clients have to show a certificate.
    fn strict(&self) -> Tls {
        Tls { ca_file: Some(self.path("ca.pem")), ..self.tls(Mode::Require) }
    }

    /// What a client that trusts our authority has, with a certificate where it is given one.
    fn config(&self, identity: Option<&str>, versions: &[&'static SupportedProtocolVersion]) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.authority.pem().as_bytes()).unwrap()).unwrap();
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider())).with_protocol_versions(versions).unwrap().with_root_certificates(roots);
        match identity {
            None => builder.with_no_client_auth(),
            Some(pem) => {
                let chain = CertificateDer::pem_slice_iter(pem.as_bytes()).map(Result::unwrap).collect();
                builder.with_client_auth_cert(chain, PrivateKeyDer::from_pem_slice(pem.as_bytes()).unwrap()).unwrap()
            }
        }
    }

    /// Connects and says ping; what went wrong otherwise.
    fn ping(&self, server: &Running, identity: Option<&str>) -> std::io::Result<Secure> {
        self.ping_as(server, identity, &[&version::TLS13, &version::TLS12])
    }

    fn ping_as(&self, server: &Running, identity: Option<&str>, versions: &[&'static SupportedProtocolVersion]) -> std::io::Result<Secure> {
        let stream = TcpStream::connect(server.handle.local_addrs()[0])?;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        let name = ServerName::try_from("localhost").unwrap();
        let connection = ClientConnection::new(Arc::new(self.config(identity, versions)), name).map_err(std::io::Error::other)?;
        let mut stream = StreamOwned::new(connection, stream);
        stream.write_all(&msg(77, 0, &[body(&ping())]))?;
        stream.flush()?;
        let mut byte = [0; 16];
        stream.read_exact(&mut byte)?;
        let mut rest = vec![0; u32::from_le_bytes(*byte.first_chunk().unwrap()) as usize - 16];
        stream.read_exact(&mut rest)?;
        Ok(Raw { stream })
    }
}

fn serve(tls: Tls) -> Running {
    start_with(Listen { tcp: vec![("127.0.0.1".into(), 0)], tls, ..Listen::default() })
}

/// What serverStatus tells of connections by version 1.2 and 1.3.
fn counted(server: &Running) -> [bool; 2] {
    let status = server.engine.session(Client::owner()).run_command("admin", &smongo_bson::json::parse_doc(r#"{"serverStatus": 1}"#).unwrap()).unwrap();
    let versions = status.get("transportSecurity").as_doc().unwrap();
    ["1.2", "1.3"].map(|version| versions.get(version).truthy())
}

#[test]
fn both_versions_are_spoken_and_either_can_be_left_out() {
    let place = Place::new();
    let spoken = |tls: Tls| {
        let server = serve(tls);
        let spoken = [&version::TLS12, &version::TLS13].map(|version| place.ping_as(&server, None, &[version]).is_ok());
        assert_eq!(counted(&server), spoken);
        spoken
    };
    assert_eq!(spoken(place.tls(Mode::Require)), [true, true]);
    assert_eq!(spoken(Tls { without_tls12: true, ..place.tls(Mode::Require) }), [false, true]);
    assert_eq!(spoken(Tls { without_tls13: true, ..place.tls(Mode::Require) }), [true, false]);
    let none = Tls { without_tls12: true, without_tls13: true, ..place.tls(Mode::Require) };
    assert!(smongo_server::Certificates::open(none).is_err());
}

#[test]
fn plain_and_encrypted_clients_share_a_port_or_do_not() {
    let place = Place::new();
    let required = serve(place.tls(Mode::Require));
    assert!(place.ping(&required, None).is_ok());
    assert!(required.client().round(&msg(1, 0, &[body(&ping())])).is_none());
    let allowed = serve(place.tls(Mode::Allow));
    assert!(place.ping(&allowed, None).is_ok() && allowed.client().ping_works());
    // In pieces, too; a message as long as what TLS begins with is one.
    let mut client = allowed.client();
    for byte in msg(1, 0, &[body(&ping())]) {
        client.send(&[byte]);
    }
    assert!(client.recv().is_some());
    let long = smongo_bson::DocBuf::build(|w| {
        w.append("ping", 1).append("$db", "admin").append("comment", "x".repeat(725).as_str());
    });
    let frame = msg(1, 0, &[body(&long)]);
    assert_eq!(&frame[..4], &[0x16, 3, 0, 0], "{}", frame.len());
    assert!(ok(allowed.client().round(&frame).unwrap().body().as_doc()));
    let disabled = common::start();
    assert!(place.ping(&disabled, None).is_err() && disabled.client().ping_works());
    for server in [&required, &allowed, &disabled] {
        let mut browser = TcpStream::connect(server.handle.local_addrs()[0]).unwrap();
        browser.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        let mut page = String::new();
        let _ = browser.read_to_string(&mut page);
        assert!(page.starts_with("HTTP/1.0 200 OK") && page.contains("MongoDB"), "{page}");
    }
}

#[test]
fn clients_certificates_are_asked_for_and_checked() {
    let place = Place::new();
    let authority = &place.authority;
    let (good, revoked) = (authority.sign("CN=good", Validity::Now), authority.sign("CN=bad", Validity::Now));
    let expired = authority.sign("CN=old", Validity::Past);
    let early = authority.sign("CN=early", Validity::Future);
    let foreign = Authority::new("our authority").sign("CN=good", Validity::Now);
    let crl = place.write("crl.pem", &authority.revoke(&[&revoked], Validity::Now));
    let optional = Tls { allow_connections_without_certificates: true, ..place.strict() };
    for (tls, nobody, bad) in [
        (place.tls(Mode::Require), true, true),
        (place.strict(), false, true),
        (optional.clone(), true, true),
        (Tls { crl_file: Some(crl.clone()), ..place.strict() }, false, false),
        (Tls { crl_file: Some(crl), ..optional }, true, false),
    ] {
        let server = serve(tls.clone());
        for versions in [&[&version::TLS12], &[&version::TLS13]] {
            let come = |pem: Option<&str>| place.ping_as(&server, pem, versions).is_ok();
            assert_eq!((come(None), come(Some(&good.pem)), come(Some(&revoked.pem))), (nobody, true, bad), "{tls:?}");
            if tls.ca_file.is_some() {
                assert!(!come(Some(&expired.pem)) && !come(Some(&early.pem)) && !come(Some(&foreign.pem)), "{tls:?}");
            }
        }
    }
    // A list that nobody has renewed says nothing any more.
    let old = place.write("old.pem", &authority.revoke(&[], Validity::Past));
    let server = serve(Tls { crl_file: Some(old), ..place.strict() });
    assert!(place.ping(&server, Some(&good.pem)).is_err());
}

#[test]
fn what_is_wrong_with_a_file_is_said_by_its_name() {
    let place = Place::new();
    let own = place.authority.sign("CN=server", Validity::Now);
    let other = place.authority.sign("CN=server", Validity::Now);
    let locked = own.pem.replace("BEGIN PRIVATE KEY", "BEGIN ENCRYPTED PRIVATE KEY").replace("END PRIVATE KEY", "END ENCRYPTED PRIVATE KEY");
    let without_key = own.pem.split("-----BEGIN PRIVATE").next().unwrap().to_owned();
    let without_certificate = own.pem[own.pem.find("-----BEGIN PRIVATE").unwrap()..].to_owned();
    let mixed = format!("{without_key}{}", &other.pem[other.pem.find("-----BEGIN PRIVATE").unwrap()..]);
    for (text, words) in [
        (String::new(), "no certificate"),
        ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".into(), "identity.pem"),
        (without_key, "no private key"),
        (without_certificate, "no certificate"),
        (mixed, "does not belong"),
        (locked, "openssl pkey"),
        (place.authority.sign("CN=server", Validity::Past).pem, "expired"),
        (place.authority.sign("CN=server", Validity::Future).pem, "not yet valid"),
    ] {
        let file = place.write("identity.pem", &text);
        let refused = smongo_server::Certificates::open(Tls { certificate_key_file: file, ..place.tls(Mode::Require) }).err().unwrap().to_string();
        assert!(refused.contains("identity.pem") && refused.contains(words), "{refused}");
    }
    let missing = place.path("missing.pem");
    for tls in [
        Tls { certificate_key_file: missing.clone(), ..place.tls(Mode::Require) },
        Tls { ca_file: Some(missing.clone()), ..place.tls(Mode::Require) },
        Tls { crl_file: Some(missing.clone()), ..place.strict() },
        Tls { ca_file: Some(place.write("missing.pem.empty", "")), ..place.tls(Mode::Require) },
        Tls { crl_file: Some(place.path("missing.pem.empty")), ..place.strict() },
    ] {
        let refused = smongo_server::Certificates::open(tls).err().unwrap().to_string();
        assert!(refused.contains("missing.pem"), "{refused}");
    }
    let warnings = |pem: &str| smongo_server::Certificates::open(Tls { certificate_key_file: place.write("identity.pem", pem), ..place.tls(Mode::Require) }).unwrap().1.join("\n");
    assert!(warnings(&place.authority.sign("CN=server", Validity::Soon).pem).contains("expires on"));
    assert!(warnings(&place.authority.sign_nameless("CN=server").pem).contains("subject alternative name"));
    assert!(warnings(&own.pem).contains("chmod 600"));
}

#[test]
fn the_subject_is_what_openssl_says() {
    let place = Place::new();
    for subject in ["CN=a", "C=DE,ST=B,L=C,O=D,OU=E,CN=F", "DC=org,UID=u,CN=n", "O=a\\, b\\+c,CN= lead and trail ", "CN=#x\"<>;\\\\"] {
        let pem = place.authority.sign(subject, Validity::Now).pem;
        let file = place.write("client.pem", &pem);
        let output = Command::new("openssl").args(["x509", "-noout", "-subject", "-nameopt", "RFC2253", "-in"]).arg(&file).output();
        let Ok(output) = output else { panic!("openssl is needed") };
        let said = String::from_utf8(output.stdout).unwrap().trim_end_matches('\n').strip_prefix("subject=").unwrap().to_owned();
        let server = serve(place.strict());
        let mut owner = server.engine.session(smongo_engine::Client::owner());
        let user = smongo_bson::DocBuf::build(|w| {
            w.append("createUser", said.as_str());
            w.array("roles");
        });
        owner.run_command("$external", &user).unwrap();
        let mut client = place.ping(&server, Some(&pem)).unwrap();
        for (name, expected) in [(None, 0), (Some(said.as_str()), 0), (Some("CN=somebody else"), 18)] {
            let reply = client.run(|w| {
                w.append("authenticate", 1).append("mechanism", "MONGODB-X509").append("$db", "$external");
                if let Some(name) = name {
                    w.append("user", name);
                }
            });
            assert_eq!(code(reply.as_doc()), expected, "{subject}: {said}: {reply:?}");
        }
    }
}

/// Versions that nobody should speak any more are refused, whatever the client is willing to do for them.
#[test]
fn openssl_hears_what_it_should() {
    let place = Place::new();
    let server = serve(place.tls(Mode::Require));
    let at = server.handle.local_addrs()[0].to_string();
    let connect = |args: &[&str]| {
        let mut child = Command::new("openssl");
        child.args(["s_client", "-connect", &at, "-servername", "localhost", "-verify_return_error", "-CAfile"]).arg(place.path("ca.pem")).args(args);
        let child = child.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("openssl is needed");
        let output = child.wait_with_output().unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    for old in [&["-tls1", "-cipher", "DEFAULT@SECLEVEL=0"][..], &["-tls1_1", "-cipher", "DEFAULT@SECLEVEL=0"]] {
        assert!(!connect(old).0, "{old:?}");
    }
    for (new, name) in [("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")] {
        let (came, said) = connect(&[new]);
        assert!(came && said.contains(name) && said.contains("Verify return code: 0"), "{new}: {said}");
    }
}

#[test]
fn certificates_change_under_load_and_no_operation_fails() {
    let place = Place::new();
    let server = serve(place.tls(Mode::Require));
    let (stop, rounds) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let mut old = place.ping(&server, None).unwrap();
                while !stop.load(Ordering::Relaxed) {
                    assert!(old.ping_works());
                    assert!(place.ping(&server, None).unwrap().ping_works());
                    rounds.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let serial = || {
            let client = place.ping(&server, None).unwrap();
            client.stream.conn.peer_certificates().unwrap()[0].to_vec()
        };
        let mut seen = vec![serial()];
        for round in 0..12 {
            // A broken file leaves the old one in use.
            let before = rounds.load(Ordering::Relaxed);
            let rotate = |expected: i64| {
                let mut client = place.ping(&server, None).unwrap();
                let reply = client.run(|w| {
                    w.append("rotateCertificates", 1).append("message", "it was time").append("$db", "admin");
                });
                assert_eq!(code(reply.as_doc()), expected, "{reply:?}");
            };
            if round % 3 == 2 {
                place.write("server.pem", "half");
                rotate(140);
                assert_eq!(&serial(), seen.last().unwrap());
            }
            place.write("server.pem", &place.authority.sign("CN=server", Validity::Now).pem);
            rotate(0);
            let now = serial();
            assert!(!seen.contains(&now));
            seen.push(now);
            while rounds.load(Ordering::Relaxed) < before + 3 {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
    // Where there is nothing to rotate that is said.
    let plain = common::start();
    let reply = plain.client().run(|w| {
        w.append("rotateCertificates", 1).append("$db", "admin");
    });
    assert_eq!(code(reply.as_doc()), 140);
}

#[test]
fn large_messages_go_both_ways_whole() {
    let place = Place::new();
    let server = serve(place.tls(Mode::Require));
    let mut client = place.ping(&server, None).unwrap();
    for size in [100usize, 16_300, 16_384, 65_536, 70_000, 3_000_000, 15_000_000] {
        let text = "x".repeat(size);
        let doc = smongo_bson::DocBuf::build(|w| {
            w.append("_id", size as i64).append("text", text.as_str());
        });
        let reply = client.run(|w| {
            w.append("insert", "c").append("$db", "t");
            w.array("documents").push(doc.as_doc());
        });
        assert!(ok(reply.as_doc()), "{reply:?}");
        let reply = client.run(|w| {
            w.append("find", "c").append("$db", "t");
            w.document("filter").append("_id", size as i64);
        });
        let found = reply.get("cursor").as_doc().unwrap().get("firstBatch").as_array().unwrap().get(0).as_doc().unwrap();
        assert_eq!(found.get("text").as_str().map(str::len), Some(size));
        assert_eq!(number(found.get("_id")), Some(size as f64));
    }
}
