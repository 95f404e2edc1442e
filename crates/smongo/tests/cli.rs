//! The program: serving, importing and exporting, as a user runs it.
#![cfg(feature = "cli")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

fn smongo(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_smongo"));
    command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn run(args: &[&str]) -> Output {
    smongo(args).output().unwrap()
}

fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A directory with a database in it and input files beside it.
struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    fn new() -> Place {
        Place { dir: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    fn file(&self, name: &str, text: &str) -> String {
        std::fs::write(self.dir.path().join(name), text).unwrap();
        self.path(name)
    }

    fn import(&self, file: &str, args: &[&str]) -> Output {
        let db = self.path("db");
        run(&[&["import", "--dbpath", &db, "-d", "t", "-c", "c", "--file", file], args].concat())
    }

    /// The collection, sorted by `_id`, without ids that were made up.
    fn export(&self, args: &[&str]) -> String {
        let db = self.path("db");
        let output = run(&[&["export", "--dbpath", &db, "-d", "t", "-c", "c", "--sort", r#"{"_id":1}"#], args].concat());
        assert!(output.status.success(), "{}", err(&output));
        out(&output)
    }
}

/// Starts a server and waits for its line; returns the URI.
fn serve(dbpath: &str, args: &[&str]) -> (Child, String) {
    let mut child = smongo(&[&["serve", "--port", "0", "--dbpath", dbpath], args].concat()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    let uri = line.trim().split(" ready: ").nth(1).unwrap_or_else(|| panic!("{line}")).to_string();
    (child, uri)
}

fn terminate(mut child: Child) {
    assert!(Command::new("kill").arg(child.id().to_string()).status().unwrap().success());
    let status = child.wait().unwrap();
    let mut rest = String::new();
    child.stderr.take().unwrap().read_to_string(&mut rest).unwrap();
    assert!(status.success(), "{rest}");
    assert_eq!(rest, "", "nothing is logged by default");
}

#[test]
fn a_backup_is_a_database_of_its_own() {
    let place = Place::new();
    let file = place.file("in.json", "{\"_id\": 1}\n{\"_id\": 2}\n");
    assert!(place.import(&file, &[]).status.success());
    let (from, copy) = (place.path("db"), place.path("copy"));
    let (server, uri) = serve(&from, &[]);
    let output = run(&["backup", "--uri", &uri, "--out", &copy]);
    assert!(output.status.success(), "{}", err(&output));
    let again = run(&["backup", "--uri", &uri, "--out", &copy]);
    assert!(!again.status.success() && err(&again).contains("is not empty"), "{}", err(&again));
    terminate(server);
    let output = run(&["backup", "--dbpath", &from, "--out", &place.path("another")]);
    assert!(output.status.success(), "{}", err(&output));
    for name in ["copy", "another"] {
        let output = run(&["export", "--dbpath", &place.path(name), "-d", "t", "-c", "c", "--sort", r#"{"_id":1}"#]);
        assert_eq!(out(&output), "{\"_id\":1}\n{\"_id\":2}\n", "{}", err(&output));
    }
}

#[test]
fn a_server_says_where_it_is_and_ends_cleanly() {
    let place = Place::new();
    let (child, uri) = serve(&place.path("db"), &[]);
    let port = uri.strip_prefix("mongodb://127.0.0.1:").and_then(|r| r.split('/').next()).unwrap();
    TcpStream::connect(("127.0.0.1", port.parse().unwrap())).unwrap();
    let second = run(&["serve", "--port", "0", "--dbpath", &place.path("db")]);
    assert_eq!(second.status.code(), Some(100), "a data directory belongs to one process");
    assert!(!err(&second).is_empty() && out(&second).is_empty());
    let taken = run(&["--port", port, "--dbpath", &place.path("other")]);
    assert_eq!(taken.status.code(), Some(48), "{}", err(&taken));
    terminate(child);
}

#[test]
fn signals_rotate_the_log_or_close_the_data_and_never_just_end_the_server() {
    let place = Place::new();
    let (db, log) = (place.path("db"), place.path("log"));
    let (child, uri) = serve(&db, &["--logpath", &log, "-v"]);
    let address = uri.split("//").nth(1).unwrap().split('/').next().unwrap().to_owned();
    let send = |signal: &str| assert!(Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap().success());
    let logs = || std::fs::read_dir(place.dir.path()).unwrap().flatten().filter(|e| e.file_name().to_string_lossy().starts_with("log")).count();
    for signal in ["-HUP", "-USR2", "-USR1", "-USR1"] {
        let before = logs();
        send(signal);
        let begun = std::time::Instant::now();
        while signal == "-USR1" && logs() == before {
            assert!(begun.elapsed() < std::time::Duration::from_secs(10));
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        TcpStream::connect(&address).unwrap();
    }
    assert_eq!(logs(), 3, "the one in use and two that were set aside, though in the same second");
    assert!(std::fs::read_to_string(&log).unwrap().contains("log"), "the log goes on");
    send("-QUIT");
    let mut child = child;
    assert!(child.wait().unwrap().success());
}

#[test]
fn a_unix_socket_is_bound_when_asked() {
    let place = Place::new();
    let prefix = place.dir.path().display().to_string();
    let (child, uri) = serve(&place.path("db"), &["--unixSocketPrefix", &prefix, "--storageEngine", "inMemory"]);
    let port = uri.trim_start_matches("mongodb://127.0.0.1:").split('/').next().unwrap();
    let socket = place.path(&format!("mongodb-{port}.sock"));
    assert!(Path::new(&socket).exists());
    let encoded = format!("mongodb://{}", socket.replace('/', "%2F"));
    let mut import = smongo(&["import", "--uri", &encoded, "-d", "t", "-c", "c"]).stdin(Stdio::piped()).spawn().unwrap();
    import.stdin.take().unwrap().write_all(b"{\"a\":1}\n{\"a\":2}\n").unwrap();
    let imported = import.wait_with_output().unwrap();
    assert!(imported.status.success(), "{}", err(&imported));
    let exported = run(&["export", "--uri", &uri, "-d", "t", "-c", "c", "--query", r#"{"a":{"$gt":1}}"#, "--type", "csv", "--fields", "a"]);
    assert_eq!(out(&exported), "a\n2\n", "{}", err(&exported));
    terminate(child);
    assert!(!Path::new(&socket).exists());
}

#[test]
fn what_is_unsafe_or_unknown_is_refused() {
    let place = Place::new();
    let db = place.path("db");
    for (args, words) in [
        (vec!["--bind_ip", "0.0.0.0"], "--allow-unauthenticated-network"),
        (vec!["--bind_ip", "127.0.0.1,::"], "--allow-unauthenticated-network"),
        (vec!["--bind_ip_all"], "--allow-unauthenticated-network"),
        (vec!["--replSet", ""], "--replSet"),
        (vec!["--fork"], "--fork"),
        (vec!["--bind_ip", "*"], "--auth"),
        (vec!["--bind_ip_all", "--noauth"], "--auth"),
        (vec!["--auth", "--noauth"], "--noauth"),
        (vec!["--auth", "--allow-unauthenticated-network"], "--allow-unauthenticated-network"),
        (vec!["--keyFile", "/k"], "use --auth"),
        (vec!["--clusterAuthMode", "x509"], "use --auth"),
        (vec!["--transitionToAuth"], "smongo user add"),
        (vec!["--filePermissions", "0888"], "octal"),
        (vec!["--tlsMode", "requireTLS"], "--tlsCertificateKeyFile"),
        (vec!["--tlsCertificateKeyFile", "/nosuch"], "--tlsMode"),
        (vec!["--tlsMode", "requireTLS", "--tlsCertificateKeyFile", "/nosuch.pem"], "/nosuch.pem"),
        (vec!["--tlsMode", "requireTLS", "--tlsCertificateKeyFile", "/x", "--tlsCRLFile", "/y"], "--tlsCAFile"),
        (vec!["--tlsMode", "on"], "requireTLS"),
        (vec!["--tlsClusterFile", "/x"], "--tlsClusterFile"),
        (vec!["--tlsAllowInvalidCertificates"], "--tlsAllowConnectionsWithoutCertificates"),
        (vec!["--tlsFIPSMode"], "--tlsFIPSMode"),
        (vec!["--tlsCertificateSelector", "x"], "--tlsCertificateKeyFile"),
        (vec!["--sslMode", "requireSSL"], "--tlsMode"),
        (vec!["--filePermissions", "1000"], "octal"),
        (vec!["--setParameter", "nonsense"], "NAME=VALUE"),
    ] {
        let refused = run(&[&["serve", "--port", "0", "--dbpath", &db][..], &args].concat());
        assert!(!refused.status.success() && err(&refused).contains(words), "{args:?}: {}", err(&refused));
    }
}

/// What is refused because of its address has made and opened nothing.
#[test]
fn a_refused_address_leaves_no_directory() {
    let place = Place::new();
    let db = place.path("db");
    assert!(!run(&["serve", "--port", "0", "--dbpath", &db, "--bind_ip_all"]).status.success());
    assert!(!Path::new(&db).exists());
}

#[test]
fn files_and_sockets_are_for_their_user() {
    let mode = |path: &str| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let place = Place::new();
    let (db, prefix) = (place.path("deep/er/db"), place.dir.path().display().to_string());
    for (flags, expected) in [(&[][..], 0o700), (&["--filePermissions", "0622"][..], 0o622), (&["--filePermissions", "000777"][..], 0o777)] {
        let (child, uri) = serve(&db, &[&["--unixSocketPrefix", &prefix][..], flags].concat());
        let port = uri.trim_start_matches("mongodb://127.0.0.1:").split('/').next().unwrap();
        assert_eq!(mode(&place.path(&format!("mongodb-{port}.sock"))), expected);
        terminate(child);
    }
    assert_eq!(mode(&db), 0o700);
}

/// A certificate for localhost and its key in one file.
fn certify(file: &str) {
    let key = format!("{file}.key");
    let mut made = Command::new("openssl");
    made.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "99", "-subj", "/CN=localhost"]);
    let made = made_with(&mut made, &["-addext", "subjectAltName=DNS:localhost", "-keyout", &key, "-out", file]);
    assert!(made.status.success(), "{}", err(&made));
    let both = std::fs::read_to_string(file).unwrap() + &std::fs::read_to_string(&key).unwrap();
    std::fs::write(file, both).unwrap();
}

fn made_with(command: &mut Command, args: &[&str]) -> Output {
    command.args(args).output().expect("openssl is needed")
}

#[test]
fn a_hangup_has_the_certificate_read_anew() {
    let place = Place::new();
    let file = place.path("server.pem");
    certify(&file);
    let (child, uri) = serve(&place.path("db"), &["--storageEngine", "inMemory", "--tlsMode", "requireTLS", "--tlsCertificateKeyFile", &file]);
    let port = uri.trim_start_matches("mongodb://127.0.0.1:").split('/').next().unwrap().to_owned();
    let shown = || out(&made_with(Command::new("openssl").stdin(Stdio::null()), &["s_client", "-connect", &format!("127.0.0.1:{port}")]));
    let certificate = |shown: &str| shown.split("-----BEGIN").nth(1).unwrap_or_default().split("-----END").next().unwrap().to_owned();
    let first = certificate(&shown());
    assert!(first.len() > 100, "{first}");
    let hang_up = || assert!(made_with(&mut Command::new("kill"), &["-HUP", &child.id().to_string()]).status.success());
    // A file that is no good changes nothing.
    std::fs::write(&file, "half").unwrap();
    hang_up();
    std::thread::sleep(std::time::Duration::from_millis(300));
    assert_eq!(certificate(&shown()), first);
    certify(&file);
    hang_up();
    let until = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while certificate(&shown()) == first {
        assert!(std::time::Instant::now() < until);
    }
    assert!(made_with(&mut Command::new("kill"), &[&child.id().to_string()]).status.success());
    let ended = child.wait_with_output().unwrap();
    assert!(ended.status.success() && err(&ended).contains("no certificate in it"), "{}", err(&ended));
}

#[test]
fn json_comes_in_as_an_array_as_lines_or_in_a_row() {
    let place = Place::new();
    let kept = "{\"_id\":1,\"n\":{\"$numberLong\":\"5\"}}\n{\"_id\":2,\"d\":{\"$date\":\"2020-01-01T00:00:00Z\"}}\n";
    let array = "[ {\"_id\":1,\"n\":{\"$numberLong\":\"5\"}},\n {\"_id\":2,\"d\":{\"$date\":\"2020-01-01T00:00:00Z\"}} ]";
    for (name, text) in [("a.json", array), ("b.json", kept), ("c.jsonl", kept), ("d.json", &kept.replace(",\"", ",\n  \""))] {
        let file = place.file(name, text);
        let imported = place.import(&file, &["--drop"]);
        assert!(imported.status.success(), "{name}: {}", err(&imported));
        assert!(err(&imported).contains("imported 2 documents into t.c, 0 failed"), "{}", err(&imported));
        assert_eq!(place.export(&["--jsonFormat", "canonical"]).lines().count(), 2);
        assert!(place.export(&[]).starts_with("{\"_id\":1,\"n\":5}\n"));
        assert!(place.export(&["--jsonArray"]).starts_with('['));
    }
}

#[test]
fn a_bad_line_is_named_and_the_rest_kept_or_nothing() {
    let place = Place::new();
    let file = place.file("x.ndjson", "{\"_id\":1}\n\n{\"_id\":2,}\n{\"_id\":1}\n{\"_id\":3}\n{\"_id\":{\"$oid\":\"zz\"}}\n");
    let none = place.import(&file, &["--all-or-nothing"]);
    assert_eq!(none.status.code(), Some(1));
    assert!(err(&none).contains("line 3, byte ") && err(&none).contains("nothing was imported"), "{}", err(&none));
    assert!(!Path::new(&place.path("db")).exists());
    let rest = place.import(&file, &[]);
    assert_eq!(rest.status.code(), Some(3));
    for words in ["line 3, byte 21: ", "line 4, byte 23: E11000", "line 6, byte 43: ", "imported 2 documents into t.c, 3 failed"] {
        assert!(err(&rest).contains(words), "{words}: {}", err(&rest));
    }
    assert_eq!(place.export(&[]), "{\"_id\":1}\n{\"_id\":3}\n");
    let until = place.import(&file, &["--drop", "--stopOnError"]);
    assert_eq!(until.status.code(), Some(3), "{}", err(&until));
    assert_eq!(place.export(&[]), "{\"_id\":1}\n");
}

#[test]
fn all_or_nothing_takes_back_what_turns_out_double() {
    let place = Place::new();
    place.import(&place.file("a.ndjson", "{\"_id\":7}\n"), &[]);
    let clash = place.file("b.ndjson", "{\"_id\":8}\n{\"_id\":9}\n{\"_id\":7}\n");
    let none = place.import(&clash, &["--all-or-nothing"]);
    assert_eq!(none.status.code(), Some(1), "{}", err(&none));
    assert!(err(&none).contains("line 3, byte 21: E11000"), "{}", err(&none));
    assert_eq!(place.export(&[]), "{\"_id\":7}\n");
    let all = place.import(&clash, &["--all-or-nothing", "--drop"]);
    assert!(all.status.success(), "{}", err(&all));
    assert_eq!(place.export(&[]), "{\"_id\":7}\n{\"_id\":8}\n{\"_id\":9}\n");
}

/// Whatever a file holds, reading it ends, and what is told is what is there: the documents stored, the place of what was wrong.
#[test]
fn every_malformed_file_ends_with_its_place_and_true_counts() {
    let deep = format!("{{\"a\":{}1{}}}", "[".repeat(5000), "]".repeat(5000));
    let long = format!("{{\"_id\":1}}\n{{\"a\":\"{}\"}}\n{{\"_id\":2}}\n", "x".repeat(17 << 20));
    let utf16: Vec<u8> = "{\"a\":1}\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    // The file, its bytes, what is stored, the exit status, what is said.
    let files: &[(&str, &[u8], u64, i32, &str)] = &[
        ("cities.txt", b"name,pop\nOslo,1\n", 0, 1, "line 1, byte 1: expected a JSON document, found 'n'"),
        ("a.json.gz", b"\x1f\x8b\x08\0\0\0\0\0\0\x03\xab\xe6\x02\0", 0, 1, "line 1, byte 1: the input is compressed by gzip"),
        ("row.json", b"{\"_id\":1},{\"_id\":2}\n", 1, 3, "line 1, byte 10: expected a JSON document, found ','"),
        ("row2.json", b"{\"_id\":1}\n{\"_id\":2},{\"_id\":3}\n", 1, 3, "line 2, byte "),
        ("comment.json", b"// no\n{\"_id\":1}\n", 0, 1, "line 1, byte 1: expected a JSON document, found '/'"),
        ("hash.jsonl", b"# no\n{\"_id\":1}\n", 1, 3, "line 1, byte 1: "),
        ("cut.json", b"[{\"_id\":1},\n{\"_id\":2}", 2, 3, "line 2, byte 22: the array is not closed"),
        ("cut2.json", b"[{\"_id\":1},\n{\"_id\"", 1, 3, "line 2, byte 13: the document is not closed"),
        ("cut3.json", b"{\"_id\":1}\n\n{\"_id\":2,\n\"b\":[1,", 1, 3, "line 3, byte "),
        ("two.json", b"[{\"_id\":1},,{\"_id\":2}]", 2, 3, "line 1, byte 12: expected a document, found a second comma"),
        ("tail.json", b"[{\"_id\":1},]", 1, 3, "line 1, byte 12: "),
        ("gap.json", b"[{\"_id\":1} {\"_id\":2}]", 1, 3, "line 1, byte 12: expected ',' or ']'"),
        ("more.json", b"[{\"_id\":1}] {\"_id\":2}", 1, 3, "line 1, byte 13: expected nothing behind the array"),
        ("scalar.json", b"[1, {\"_id\":2}]", 1, 3, "line 1, byte 2: "),
        ("multi.json", b"{\"_id\":\n1,\n\"b\" 2}\n", 0, 1, "line 3, byte "),
        ("bom.json", b"\xef\xbb\xbf{\"_id\":1}\nx", 1, 3, "line 2, byte 14: "),
        ("nul.json", b"\0\0\0\0", 0, 1, "line 1, byte 1: expected a JSON document, found the byte 0x00"),
        ("nul.jsonl", b"{\"_id\":1}\n\0\n{\"_id\":2}\n", 2, 3, "line 2, byte 11: "),
        ("latin1.json", b"{\"_id\":1,\"a\":\"\xe9\"}", 0, 1, "line 1, byte 15: the text is not UTF-8"),
        ("utf16.json", &utf16, 0, 1, "line 1, byte 1: the input is UTF-16"),
        ("utf16bom.csv", b"\xff\xfea\0,\0", 0, 1, "line 1, byte 1: the input is UTF-16"),
        ("empty.json", b"", 0, 0, "imported 0 documents"),
        ("blank.json", b" \n\n", 0, 0, "imported 0 documents"),
        ("none.json", b"[]", 0, 0, "imported 0 documents"),
        ("empty.csv", b"", 0, 1, "line 1, byte 1: the file has no header line"),
        ("quote.csv", b"_id,b\n1,2\n2,\"x\n3,4\n", 1, 3, "line 3, byte 11: a quote is not closed"),
        ("quote2.csv", b"_id,\"b\n1,2\n", 0, 1, "a quote of the header is not closed"),
        ("latin1.csv", b"_id,b\n1,\xe9\n2,x\n", 1, 3, "line 2, byte 7: column 2 is not UTF-8"),
        ("deep.json", deep.as_bytes(), 0, 1, "line 1, byte "),
        ("long.json", long.as_bytes(), 2, 3, "line 2, byte 11: the document is "),
    ];
    for (name, bytes, stored, status, words) in files {
        let place = Place::new();
        std::fs::write(place.path(name), bytes).unwrap();
        let args: &[&str] = if name.ends_with(".csv") { &["--headerline"] } else { &[] };
        let output = place.import(&place.path(name), args);
        assert_eq!(output.status.code(), Some(*status), "{name}: {}", err(&output));
        assert!(err(&output).contains(words), "{name}: {}", err(&output));
        assert!(err(&output).contains(&format!("imported {stored} document")), "{name}: {}", err(&output));
        assert_eq!(place.export(&[]).lines().count() as u64, *stored, "{name}");
        let none = place.import(&place.path(name), &[args, &["--drop", "--all-or-nothing"]].concat());
        assert_eq!(none.status.code(), Some((*status).min(1)), "{name}: {}", err(&none));
    }
    let place = Place::new();
    let directory = place.import(&place.path(""), &[]);
    assert!(directory.status.code() == Some(1) && err(&directory).contains("is a directory"), "{}", err(&directory));
    assert_eq!(place.import(&place.path("missing.json"), &[]).status.code(), Some(1));
    assert_eq!(place.import(&place.path("missing.json"), &["--nosuch"]).status.code(), Some(2));
}

#[test]
fn upserts_replace_and_merge() {
    let place = Place::new();
    place.import(&place.file("a.ndjson", "{\"_id\":1,\"k\":\"x\",\"n\":1}\n"), &[]);
    let upsert = place.import(&place.file("b.ndjson", "{\"k\":\"x\",\"m\":2}\n{\"_id\":2,\"k\":\"y\"}\n"), &["--mode", "upsert", "--upsertFields", "k"]);
    assert!(upsert.status.success(), "{}", err(&upsert));
    assert_eq!(place.export(&[]), "{\"_id\":1,\"k\":\"x\",\"m\":2}\n{\"_id\":2,\"k\":\"y\"}\n");
    let merge = place.import(&place.file("c.ndjson", "{\"_id\":1,\"z\":3}\n"), &["--mode", "merge"]);
    assert!(merge.status.success(), "{}", err(&merge));
    assert_eq!(place.export(&["--query", "{\"_id\":1}"]), "{\"_id\":1,\"k\":\"x\",\"m\":2,\"z\":3}\n");
}

#[test]
fn csv_goes_in_and_comes_out() {
    let place = Place::new();
    let file = place.file("cities.csv", "_id,name,at.lat,pop\n1,\"Oslo, Norway\",59.9,700000\n2,Rome,,3000000000\n");
    let imported = place.import(&file, &["--headerline", "--ignoreBlanks"]);
    assert!(imported.status.success(), "{}", err(&imported));
    assert_eq!(place.export(&["--query", "{\"_id\":1}"]), "{\"_id\":1,\"name\":\"Oslo, Norway\",\"at\":{\"lat\":59.9},\"pop\":700000}\n");
    let fields = ["--type", "csv", "--fields", "name,at.lat,pop"];
    assert_eq!(place.export(&fields), "name,at.lat,pop\n\"Oslo, Norway\",59.9,700000\nRome,,3000000000\n");
    assert_eq!(place.export(&[&fields[..], &["--limit", "1", "--skip", "1", "--noHeaderLine"]].concat()), "Rome,,3000000000\n");
    assert_eq!(place.import(&file, &[]).status.code(), Some(2), "a CSV file needs names");
}
