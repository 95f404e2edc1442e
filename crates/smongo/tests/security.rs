//! Settings from a file and from the environment, and tools that log in.
#![cfg(feature = "cli")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Output, Stdio};

struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Place {
        Place(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).display().to_string()
    }

    fn file(&self, name: &str, text: &str) -> String {
        std::fs::write(self.path(name), text).unwrap();
        self.path(name)
    }

    /// The program, without settings of whoever runs the test.
    fn smongo(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_smongo"));
        for name in ["SMONGO_URI", "MONGO_INITDB_DATABASE", "MONGO_INITDB_ROOT_USERNAME", "MONGO_INITDB_ROOT_PASSWORD"] {
            command.env_remove(name);
        }
        command.current_dir(self.0.path()).args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn run(&self, args: &[&str]) -> Output {
        self.smongo(args).output().unwrap()
    }
}

fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Starts it and waits for its line; the port.
fn start(mut command: Command) -> (Child, String) {
    let mut child = command.spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    let port = line.split("mongodb://127.0.0.1:").nth(1).and_then(|rest| rest.split('/').next()).map(str::to_owned);
    match port {
        Some(port) => (child, port),
        None => panic!("{line}{}", err(&child.wait_with_output().unwrap())),
    }
}

fn stop(child: Child) -> Output {
    assert!(Command::new("kill").arg(child.id().to_string()).status().unwrap().success());
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", err(&output));
    output
}

#[test]
fn a_file_of_settings_is_read_and_flags_win() {
    let place = Place::new();
    let text = format!(
        "# as mongod's\nstorage:\n  dbPath: {}\n  engine: inMemory\nsystemLog:\n  destination: file\n  path: \"{}\"\n  logAppend: true\n  verbosity: 1\nnet:\n  port: 1\n  \
         bindIp: 127.0.0.1\n  unixDomainSocket:\n    pathPrefix: {}\n    filePermissions: 0750\nsecurity:\n  authorization: enabled\nreplication:\nsetParameter:\n  scramIterationCount: 5001\n",
        place.path("db"),
        place.path("log"),
        place.0.path().display()
    );
    let file = place.file("smongo.conf", &text);
    for serve in [&[][..], &["serve"]] {
        let (child, port) = start(place.smongo(&[serve, &["--config", &file, "--port", "0"]].concat()));
        let socket = std::fs::metadata(place.path(&format!("mongodb-{port}.sock"))).unwrap();
        assert_eq!(std::os::unix::fs::PermissionsExt::mode(&socket.permissions()) & 0o777, 0o750);
        let uri = format!("mongodb://127.0.0.1:{port}");
        let refused = place.run(&["export", "--uri", &uri, "-d", "t", "-c", "c"]);
        let enforced = !refused.status.success();
        // Only what the gate refuses tells of the setting: `--noauth` is the other way.
        stop(child);
        let (child, port) = start(place.smongo(&["-f", &file, "--port", "0", "--noauth"]));
        let open = place.run(&["export", "--uri", &format!("mongodb://127.0.0.1:{port}"), "-d", "t", "-c", "c"]);
        assert!(open.status.success(), "{}", err(&open));
        assert!(!enforced || err(&refused).contains("requires authentication"), "{}", err(&refused));
        stop(child);
    }
    assert!(std::fs::read_to_string(place.path("log")).unwrap().contains("shutting down"));
    for (text, words) in [
        ("net:\n  prot: 1\n", "net.prot is not known"),
        ("net:\n  port: 1\n  port: 2\n", "duplicate"),
        ("net: 5\n", "net is not known"),
        ("net:\n  port: [1, 2]\n", "net.port: one value"),
        ("net:\n  port:\n", "net.port has no value"),
        ("net:\n\tport: 1\n", "--config"),
        ("just words\n", "settings are expected"),
        ("security:\n  keyFile: /k\n", "security.authorization: enabled"),
        ("security:\n  authorization: yes\n", "enabled or disabled"),
        ("processManagement:\n  fork: true\n", "processManagement.fork can only be false"),
        ("systemLog:\n  destination: syslog\n", "systemLog.destination can only be file"),
        ("net:\n  bindIp: 0.0.0.0\n", "--auth"),
        ("net:\n  port: 70000\n", "70000"),
        ("net:\n  tls:\n    mode: requireTLS\n", "--tlsCertificateKeyFile"),
        ("---\n---\nnet:\n  port: 1\n", "more than one document"),
    ] {
        let file = place.file("bad.conf", text);
        let refused = place.run(&["--config", &file, "--storageEngine", "inMemory"]);
        assert!(!refused.status.success() && err(&refused).contains(words), "{text}: {}", err(&refused));
    }
    let missing = place.run(&["--config", "/no/such.conf"]);
    assert!(!missing.status.success() && err(&missing).contains("/no/such.conf"));
}

#[test]
fn the_first_user_of_a_container_comes_from_its_environment() {
    let place = Place::new();
    let secret = place.file("secret", "pa:ss w\u{f6}rd\n");
    let container = |env: &[(&str, &str)], args: &[&str]| {
        let db = place.path("db");
        let mut command = place.smongo(&[&["--dbpath", &db, "--port", "0"], args].concat());
        command.envs(env.iter().copied());
        command
    };
    for (env, args, words) in [
        (&[("MONGO_INITDB_ROOT_USERNAME", "ann")][..], &[][..], "belong together"),
        (&[("MONGO_INITDB_ROOT_PASSWORD", "x")], &[], "belong together"),
        (&[("MONGO_INITDB_ROOT_PASSWORD_FILE", &secret)], &[], "belong together"),
        (&[("MONGO_INITDB_ROOT_USERNAME", "ann"), ("MONGO_INITDB_ROOT_PASSWORD", "")], &[], "neither may be empty"),
        (&[("MONGO_INITDB_ROOT_USERNAME", "ann"), ("MONGO_INITDB_ROOT_PASSWORD", "x"), ("MONGO_INITDB_ROOT_PASSWORD_FILE", &secret)], &[], "twice"),
        (&[("MONGO_INITDB_ROOT_USERNAME", "ann"), ("MONGO_INITDB_ROOT_PASSWORD_FILE", "/no/such")], &[], "/no/such"),
        (&[("MONGO_INITDB_DATABASE", "shop")], &[], "mongosh"),
        (&[("MONGO_INITDB_ROOT_USERNAME", "ann"), ("MONGO_INITDB_ROOT_PASSWORD", "x")], &["--noauth"], "the opposite"),
    ] {
        let refused = container(env, args).output().unwrap();
        assert!(!refused.status.success() && err(&refused).contains(words), "{env:?}: {}", err(&refused));
        assert!(!std::path::Path::new(&place.path("db")).exists(), "{env:?}");
    }
    let env = [("MONGO_INITDB_ROOT_USERNAME", "ann"), ("MONGO_INITDB_ROOT_PASSWORD_FILE", &*secret)];
    // Beyond loopback, as containers do: clients have to log in.
    for round in 0..2 {
        let (child, port) = start(container(&env, &["--bind_ip_all"]));
        let mut import = place.smongo(&["import", "--uri", &format!("mongodb://ann@127.0.0.1:{port}"), "--password-file", &secret, "-d", "t", "-c", "c"]);
        let mut import = import.stdin(Stdio::piped()).spawn().unwrap();
        import.stdin.take().unwrap().write_all(b"{\"a\":1}\n").unwrap();
        let imported = import.wait_with_output().unwrap();
        assert!(imported.status.success(), "round {round}: {}", err(&imported));
        stop(child);
    }
    let users = place.run(&["user", "list", "--dbpath", &place.path("db")]);
    assert_eq!(String::from_utf8_lossy(&users.stdout).lines().count(), 1, "{}", err(&users));
}

#[test]
fn tools_log_in_and_say_no_password_aloud() {
    let place = Place::new();
    let (db, secret, wrong) = (place.path("db"), place.file("secret", "p@ss/w\u{f6}rd\n"), place.file("wrong", "other\n"));
    for (name, extra) in [("ann", &[][..]), ("b@,=:ob", &["--role", "root@admin", "--db", "shop"])] {
        let added = place.run(&[&["user", "add", name, "--dbpath", &db, "--password-file", &secret], extra].concat());
        assert!(added.status.success(), "{}", err(&added));
    }
    let key = place.path("key.pem");
    let pem = place.path("server.pem");
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "9", "-subj", "/CN=x", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"])
        .args(["-addext", "basicConstraints=critical,CA:FALSE", "-keyout", &key, "-out", &pem])
        .output()
        .expect("openssl is needed");
    assert!(made.status.success(), "{}", err(&made));
    let ca = place.file("ca.pem", &std::fs::read_to_string(&pem).unwrap());
    place.file("server.pem", &(std::fs::read_to_string(&pem).unwrap() + &std::fs::read_to_string(&key).unwrap()));
    let (child, port) = start(place.smongo(&["--dbpath", &db, "--port", "0", "--auth", "--tlsMode", "allowTLS", "--tlsCertificateKeyFile", &pem]));
    let export = |uri: &str, args: &[&str]| place.run(&[&["export", "--uri", &uri.replace("PORT", &port), "-d", "t", "-c", "c"], args].concat());
    let file = ["--password-file", &secret];
    for uri in [
        "mongodb://ann@127.0.0.1:PORT".to_owned(),
        "mongodb://ann@127.0.0.1:PORT/?authMechanism=SCRAM-SHA-1".to_owned(),
        "mongodb://ann@127.0.0.1:PORT/t?authSource=admin&directConnection=true".to_owned(),
        "mongodb://b%40%2C%3D%3Aob@127.0.0.1:PORT/shop".to_owned(),
        format!("mongodb://ann@localhost:PORT/?tls=true&tlsCAFile={}", ca.replace('/', "%2F")),
    ] {
        let exported = export(&uri, &file);
        assert!(exported.status.success(), "{uri}: {}", err(&exported));
        let refused = export(&uri, &["--password-file", &wrong]);
        assert!(!refused.status.success() && err(&refused).contains("Authentication failed"), "{uri}: {}", err(&refused));
    }
    for (uri, words) in [
        ("mongodb://ann:geheim@127.0.0.1:PORT", "SMONGO_URI"),
        ("mongodb://ann:geheim@127.0.0.1:PORT/?nosuch=1", "SMONGO_URI"),
        ("mongodb://ann@127.0.0.1:PORT/?tls=true", "tlsCAFile"),
        ("mongodb://ann@127.0.0.1:PORT/?retryWrites=true", "retryWrites"),
        ("mongodb://ann@127.0.0.1:PORT/?authMechanism=PLAIN", "authMechanism"),
        ("mongodb://@127.0.0.1:PORT", "empty"),
        ("mongodb://a%zz@127.0.0.1:PORT", "hexadecimal"),
        ("mongodb://nobody@127.0.0.1:PORT", "Authentication failed"),
    ] {
        let refused = export(uri, &file);
        let said = err(&refused);
        assert!(!refused.status.success() && said.contains(words) && !said.contains("geheim"), "{uri}: {said}");
    }
    let by_environment = |password: &str| {
        let uri = format!("mongodb://ann:{password}@127.0.0.1:{port}");
        place.smongo(&["export", "-d", "t", "-c", "c"]).env("SMONGO_URI", uri).output().unwrap()
    };
    assert!(by_environment("p%40ss%2Fw%C3%B6rd").status.success());
    assert!(err(&by_environment("geheim")).contains("Authentication failed"));
    // Who names a directory means it, whatever is in the environment.
    let other = place.smongo(&["export", "--dbpath", "nosuch", "-d", "t", "-c", "c"]).env("SMONGO_URI", "mongodb://x").output().unwrap();
    assert!(err(&other).contains("there is no directory nosuch"));
    stop(child);
}
