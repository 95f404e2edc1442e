//! Logging in, over sessions as a server makes them, with a client's side of SCRAM that is written here anew.

use std::net::SocketAddr;
use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use md5::Md5;
use sha1::Sha1;
use sha2::{Digest, Sha256};
use smongo_bson::{Binary, Doc, DocBuf, Value, json};
use smongo_engine::{Client, Engine, Options, Request, Session, Trust, Way};

fn hmac<D: Digest>(key: &[u8], message: &[u8]) -> Vec<u8> {
    let mut block = [0; 64];
    block[..key.len()].copy_from_slice(key);
    let inner = D::new().chain_update(block.map(|b| b ^ 0x36)).chain_update(message).finalize();
    D::new().chain_update(block.map(|b| b ^ 0x5c)).chain_update(inner).finalize().to_vec()
}

fn salted<D: Digest>(password: &[u8], salt: &[u8], iterations: u32) -> Vec<u8> {
    let mut last = hmac::<D>(password, &[salt, &[0, 0, 0, 1]].concat());
    let mut all = last.clone();
    for _ in 1..iterations {
        last = hmac::<D>(password, &last);
        all.iter_mut().zip(&last).for_each(|(a, b)| *a ^= b);
    }
    all
}

/// The proof of a password, and what the server must prove.
fn proof<D: Digest>(password: &[u8], salt: &[u8], iterations: u32, said: &str) -> (String, String) {
    let salted = salted::<D>(password, salt, iterations);
    let key = hmac::<D>(&salted, b"Client Key");
    let signature = hmac::<D>(&D::digest(&key), said.as_bytes());
    let proof: Vec<u8> = key.iter().zip(&signature).map(|(a, b)| a ^ b).collect();
    (STANDARD.encode(proof), STANDARD.encode(hmac::<D>(&hmac::<D>(&salted, b"Server Key"), said.as_bytes())))
}

struct Conn(Session);

type Failed = (i32, String);

fn binary(payload: &str) -> Vec<u8> {
    [b"\0", payload.as_bytes()].concat()
}

fn text(reply: &DocBuf) -> String {
    match reply.get("payload") {
        Value::Binary(b) => String::from_utf8(b.bytes().to_vec()).unwrap(),
        v => panic!("no payload but {v:?}"),
    }
}

impl Conn {
    fn from(engine: &Engine, remote: &str) -> Conn {
        let address: SocketAddr = remote.parse().unwrap();
        let mut client = Client { remote: remote.into(), local: "127.0.0.1:27017".into(), trust: Trust::Enforced, ..Client::owner() };
        client.peer.way = Way::Ip { from: address.ip(), to: [127, 0, 0, 1].into() };
        Conn(engine.session(client))
    }

    fn open(engine: &Engine) -> Conn {
        Conn(engine.session(Client { remote: "127.0.0.1:5000".into(), local: "127.0.0.1:27017".into(), trust: Trust::Open, ..Client::owner() }))
    }

    fn owner(engine: &Engine) -> Conn {
        Conn(engine.session(Client::owner()))
    }

    fn send(&mut self, body: &DocBuf) -> Result<DocBuf, Failed> {
        let mut out = Vec::new();
        self.0.run(&Request::new(body.as_doc()), &mut out);
        let reply = DocBuf::from_checked(out);
        match (reply.get("ok").truthy(), reply.get("code")) {
            (true, _) => Ok(reply),
            (_, Value::Int32(code)) => Err((code, reply.get("errmsg").as_str().unwrap_or_default().to_owned())),
            _ => panic!("{:?}", reply.as_doc()),
        }
    }

    fn run(&mut self, db: &str, command: &str) -> Result<DocBuf, Failed> {
        let command = json::parse_doc(command).unwrap();
        self.send(&DocBuf::build(|w| {
            w.append_all(command.as_doc()).append("$db", db);
        }))
    }

    fn ok(&mut self, db: &str, command: &str) -> DocBuf {
        self.run(db, command).unwrap_or_else(|e| panic!("{command}: {e:?}"))
    }

    fn code(&mut self, db: &str, command: &str) -> i32 {
        self.run(db, command).map_or_else(|e| e.0, |_| 0)
    }

    fn start(&mut self, mechanism: &str, db: &str, payload: &str, skip: bool) -> Result<DocBuf, Failed> {
        self.send(&DocBuf::build(|w| {
            w.append("saslStart", 1).append("mechanism", mechanism).append("payload", Value::Binary(Binary::from_raw(&binary(payload))));
            w.document("options").append("skipEmptyExchange", skip);
            w.append("$db", db);
        }))
    }

    fn proceed(&mut self, db: &str, id: i32, payload: &str) -> Result<DocBuf, Failed> {
        self.send(&DocBuf::build(|w| {
            w.append("saslContinue", 1).append("conversationId", id).append("payload", Value::Binary(Binary::from_raw(&binary(payload)))).append("$db", db);
        }))
    }

    /// The whole conversation.
    fn login(&mut self, mechanism: &str, user: &str, password: &str, db: &str, skip: bool) -> Result<(), Failed> {
        let bare = format!("n={user},r=clientnonce");
        let begun = self.start(mechanism, db, &format!("n,,{bare}"), skip)?;
        assert!(!begun.get("done").truthy());
        let (last, verify) = answer(mechanism, user, password, &bare, &text(&begun));
        let proven = self.proceed(db, 1, &last)?;
        assert_eq!(text(&proven), format!("v={verify}"));
        assert_eq!(proven.get("done").truthy(), skip);
        if !skip {
            assert_eq!(self.user(), None, "not before the end");
            assert!(self.proceed(db, 1, "")?.get("done").truthy());
        }
        Ok(())
    }

    /// Who the connection is.
    fn user(&mut self) -> Option<String> {
        let status = self.ok("admin", r#"{"connectionStatus": 1}"#);
        let users = status.get("authInfo").as_doc().unwrap().get("authenticatedUsers").as_array().unwrap();
        let one = |user: Doc<'_>| format!("{}@{}", user.get("user").as_str().unwrap(), user.get("db").as_str().unwrap());
        users.iter().next().map(|user| one(user.as_doc().unwrap()))
    }

    fn roles(&mut self) -> String {
        let status = self.ok("admin", r#"{"connectionStatus": 1}"#);
        let roles = status.get("authInfo").as_doc().unwrap().get("authenticatedUserRoles").as_array().unwrap();
        let names: Vec<String> = roles.iter().map(|role| role.as_doc().unwrap().get("role").as_str().unwrap().to_owned()).collect();
        names.join(" ")
    }
}

/// The client's last message, and what the server must answer.
fn answer(mechanism: &str, user: &str, password: &str, bare: &str, server_first: &str) -> (String, String) {
    let field = |name: &str| server_first.split(',').find_map(|f| f.strip_prefix(name)).unwrap().to_owned();
    let (nonce, salt, iterations) = (field("r="), STANDARD.decode(field("s=")).unwrap(), field("i=").parse().unwrap());
    let without = format!("c=biws,r={nonce}");
    let said = format!("{bare},{server_first},{without}");
    let (proof, verify) = match mechanism {
        "SCRAM-SHA-1" => proof::<Sha1>(format!("{:x}", Md5::digest(format!("{user}:mongo:{password}"))).as_bytes(), &salt, iterations, &said),
        _ => proof::<Sha256>(password.as_bytes(), &salt, iterations, &said),
    };
    (format!("{without},p={proof}"), verify)
}

const BOTH: [&str; 2] = ["SCRAM-SHA-256", "SCRAM-SHA-1"];

fn memory() -> Engine {
    Engine::open(Options::default()).unwrap()
}

#[test]
fn both_mechanisms_with_and_without_the_empty_messages() {
    let engine = memory();
    Conn::owner(&engine).ok("app", r#"{"createUser": "ann", "pwd": "pencil", "roles": ["read", {"role": "root", "db": "admin"}]}"#);
    for mechanism in BOTH {
        for skip in [true, false] {
            for mut conn in [Conn::from(&engine, "10.0.0.1:5000"), Conn::open(&engine), Conn::owner(&engine)] {
                assert_eq!(conn.user(), None);
                conn.login(mechanism, "ann", "pencil", "app", skip).unwrap();
                assert_eq!(conn.user().as_deref(), Some("ann@app"));
                assert_eq!(conn.roles(), "read root");
                // Another user in its place, and out again.
                conn.ok("other", r#"{"logout": 1}"#);
                assert_eq!(conn.user().as_deref(), Some("ann@app"), "logout is of the user's database");
                conn.ok("app", r#"{"logout": 1}"#);
                assert_eq!(conn.user(), None);
            }
        }
    }
    // The second to log in takes the place of the first; a failure changes nothing.
    Conn::owner(&engine).ok("app", r#"{"createUser": "bob", "pwd": "p2", "roles": []}"#);
    let mut conn = Conn::from(&engine, "10.0.0.1:5000");
    conn.login(BOTH[0], "ann", "pencil", "app", true).unwrap();
    conn.login(BOTH[0], "bob", "p2", "app", true).unwrap();
    assert_eq!(conn.user().as_deref(), Some("bob@app"));
    conn.login(BOTH[0], "ann", "wrong", "app", true).unwrap_err();
    assert_eq!(conn.user().as_deref(), Some("bob@app"));
}

/// The users of the specification of drivers' authentication, section SASLprep.
#[test]
fn passwords_and_names_of_the_specification() {
    let engine = memory();
    let mut owner = Conn::owner(&engine);
    let users = [("\u{2168}", "\u{2163}", "IV"), ("IX", "IX", "IX"), ("I\u{ad}X", "x", "x"), ("a,b=c", "I\u{ad}X", "IX")];
    for (name, password, _) in users {
        owner.ok("admin", &format!(r#"{{"createUser": "{name}", "pwd": "{password}", "roles": [], "mechanisms": ["SCRAM-SHA-256"]}}"#));
    }
    for (name, _, prepared) in users {
        let mut conn = Conn::open(&engine);
        conn.login("SCRAM-SHA-256", &name.replace('=', "=3D").replace(',', "=2C"), prepared, "admin", true).unwrap();
        assert_eq!(conn.user().unwrap(), format!("{name}@admin"));
    }
    assert_eq!(owner.code("admin", r#"{"createUser": "x", "pwd": "\u0007", "roles": []}"#), 2);
    assert_eq!(owner.code("admin", r#"{"createUser": "x", "pwd": "\u0007", "roles": [], "mechanisms": ["SCRAM-SHA-1"]}"#), 0);
}

#[test]
fn whatever_fails_is_told_in_the_same_words() {
    let engine = memory();
    let mut owner = Conn::owner(&engine);
    owner.ok("app", r#"{"createUser": "ann", "pwd": "pencil", "roles": [], "mechanisms": ["SCRAM-SHA-256"]}"#);
    owner.ok("app", r#"{"createUser": "far", "pwd": "pencil", "roles": [], "authenticationRestrictions": [{"clientSource": ["10.9.0.0/16"]}]}"#);
    owner.ok("app", r#"{"createRole": "near", "privileges": [], "roles": [], "authenticationRestrictions": [{"clientSource": ["10.0.0.0/8"]}]}"#);
    owner.ok("app", r#"{"createUser": "two", "pwd": "pencil", "roles": ["near"], "authenticationRestrictions": [{"serverAddress": ["127.0.0.1"]}]}"#);
    owner.ok("app", r#"{"insert": "c", "documents": [{"_id": 1}]}"#);
    owner.ok("admin", r#"{"insert": "system.users", "documents": [{"_id": "app.odd", "user": "odd", "db": "app", "credentials": {"SCRAM-SHA-256": {"salt": 1}}, "roles": []}]}"#);
    let attempts = [
        ("SCRAM-SHA-256", "ann", "wrong"), ("SCRAM-SHA-256", "nobody", "pencil"), ("SCRAM-SHA-1", "ann", "pencil"), ("SCRAM-SHA-256", "far", "pencil"),
        ("SCRAM-SHA-256", "odd", "pencil"), ("SCRAM-SHA-256", "Ann", "pencil"), ("SCRAM-SHA-256", "__system", "pencil"),
    ];
    for (mechanism, user, password) in attempts {
        for skip in [true, false] {
            let mut conn = Conn::from(&engine, "10.0.0.1:5000");
            let failed = conn.login(mechanism, user, password, "app", skip);
            // One that is only restricted is let in no further.
            assert_eq!(failed, Err((18, "Authentication failed.".to_owned())), "{user}");
            assert_eq!(conn.user(), None);
            assert_eq!(conn.proceed("app", 1, "").unwrap_err().0, 17, "the conversation is over");
        }
    }
    Conn::from(&engine, "10.9.1.1:5000").login("SCRAM-SHA-256", "far", "pencil", "app", true).unwrap();
    Conn::from(&engine, "10.9.1.1:5000").login("SCRAM-SHA-256", "two", "pencil", "app", true).unwrap();
    Conn::from(&engine, "11.9.1.1:5000").login("SCRAM-SHA-256", "two", "pencil", "app", true).unwrap_err();
    let mut conn = Conn::from(&engine, "10.0.0.1:5000");
    for (mechanism, code) in [("PLAIN", 334), ("GSSAPI", 334), ("MONGODB-OIDC", 334), ("scram-sha-256", 334)] {
        let failed = conn.start(mechanism, "app", "n,,n=ann,r=x", true).unwrap_err();
        assert_eq!(failed, (code, format!("Received authentication for mechanism {mechanism} which is unknown or not enabled")));
    }
    for payload in ["", "n", "n,,n=ann", "p=tls-unique,,n=ann,r=x"] {
        assert_eq!(conn.start("SCRAM-SHA-256", "app", payload, true).unwrap_err().0, 18);
    }
    assert_eq!(conn.start("SCRAM-SHA-256", "app", &format!("n,,n=ann,r={}", "x".repeat(8192)), true).unwrap_err().0, 18);
    // Fields that nobody knows, and none where one must be.
    assert_eq!(conn.code("app", r#"{"saslStart": 1, "payload": "biws"}"#), 40414);
    assert_eq!(conn.code("app", r#"{"saslStart": 1, "mechanism": "SCRAM-SHA-256"}"#), 40414);
    assert_eq!(conn.code("app", r#"{"saslStart": 1, "mechanism": "SCRAM-SHA-256", "payload": 1}"#), 14);
    assert_eq!(conn.code("app", r#"{"saslContinue": 1, "conversationId": 1, "payload": "", "mechanism": "SCRAM-SHA-256"}"#), 40415);
    assert_eq!(conn.code("app", r#"{"saslContinue": 1, "conversationId": 1, "payload": ""}"#), 17);
    // Of another id, and with another nonce.
    conn.start("SCRAM-SHA-256", "app", "n,,n=ann,r=x", true).unwrap();
    assert_eq!(conn.proceed("app", 2, "").unwrap_err().0, 17);
    let begun = conn.start("SCRAM-SHA-256", "app", "n,,n=ann,r=x", true).unwrap();
    let (last, _) = answer("SCRAM-SHA-256", "ann", "pencil", "n=ann,r=x", &text(&begun));
    assert_eq!(conn.proceed("app", 1, &last.replace("r=x", "r=y")).unwrap_err().0, 18);
    // A proof is good for its own conversation only.
    let begun = conn.start("SCRAM-SHA-256", "app", "n,,n=ann,r=x", true).unwrap();
    let (last, _) = answer("SCRAM-SHA-256", "ann", "pencil", "n=ann,r=x", &text(&begun));
    conn.start("SCRAM-SHA-256", "app", "n,,n=ann,r=x", true).unwrap();
    assert_eq!(conn.proceed("app", 1, &last).unwrap_err().0, 18);
    assert_eq!(conn.user(), None);
}

#[test]
fn mechanisms_can_be_switched_off() {
    let options = Options { parameters: vec![("authenticationMechanisms".into(), "SCRAM-SHA-256,MONGODB-X509".into())], ..Options::default() };
    let engine = Engine::open(options).unwrap();
    let mut conn = Conn::owner(&engine);
    conn.ok("app", r#"{"createUser": "ann", "pwd": "pencil", "roles": []}"#);
    assert_eq!(conn.login("SCRAM-SHA-1", "ann", "pencil", "app", true).unwrap_err().0, 334);
    conn.login("SCRAM-SHA-256", "ann", "pencil", "app", true).unwrap();
    let hello = conn.ok("admin", r#"{"hello": 1, "saslSupportedMechs": "app.ann"}"#);
    assert_eq!(json::value_to_relaxed(hello.get("saslSupportedMechs")), r#"["SCRAM-SHA-256"]"#);
    assert!(Engine::open(Options { parameters: vec![("authenticationMechanisms".into(), "PLAIN".into())], ..Options::default() }).is_err());
}

/// Who is not there looks like who is, also tomorrow.
#[test]
fn somebody_who_is_not_there_has_a_salt() {
    let dir = tempfile::tempdir().unwrap();
    let open = || Engine::open(Options { path: Some(dir.path().to_owned()), ..Options::default() }).unwrap();
    let salts = |engine: &Engine| -> Vec<String> {
        let mut seen = Vec::new();
        for mechanism in BOTH {
            for user in ["ann", "nobody", "nobody2"] {
                let first = text(&Conn::from(engine, "10.0.0.1:5000").start(mechanism, "app", &format!("n,,n={user},r=x"), true).unwrap());
                let (nonce, rest) = first.split_once(",s=").unwrap();
                assert_eq!(nonce.len(), "r=x".len() + 32);
                seen.push(rest.to_owned());
            }
        }
        seen
    };
    let engine = open();
    Conn::owner(&engine).ok("app", r#"{"createUser": "ann", "pwd": "pencil", "roles": []}"#);
    let first = salts(&engine);
    assert_eq!(first.iter().map(String::len).collect::<Vec<_>>(), [[48; 3], [32; 3]].concat());
    assert!(first.iter().enumerate().all(|(n, salt)| !first[..n].contains(salt)));
    assert_eq!(first, salts(&engine));
    engine.close().unwrap();
    assert_eq!(first, salts(&open()));
}

#[test]
fn hello_tells_mechanisms_and_begins_a_login() {
    let engine = memory();
    let mut owner = Conn::owner(&engine);
    owner.ok("app", r#"{"createUser": "ann", "pwd": "pencil", "roles": []}"#);
    owner.ok("app", r#"{"createUser": "new", "pwd": "pencil", "roles": [], "mechanisms": ["SCRAM-SHA-256"]}"#);
    owner.ok("app", r#"{"createUser": "old", "pwd": "pencil", "roles": [], "mechanisms": ["SCRAM-SHA-1"]}"#);
    owner.ok("$external", r#"{"createUser": "CN=ann", "roles": []}"#);
    let mut conn = Conn::from(&engine, "10.0.0.1:5000");
    for (user, expected) in [
        ("app.ann", r#"["SCRAM-SHA-1","SCRAM-SHA-256"]"#), ("app.new", r#"["SCRAM-SHA-256"]"#), ("app.nobody", r#"["SCRAM-SHA-1","SCRAM-SHA-256"]"#),
        ("$external.CN=ann", r#"["MONGODB-X509"]"#),
    ] {
        let hello = conn.ok("admin", &format!(r#"{{"hello": 1, "saslSupportedMechs": "{user}"}}"#));
        assert_eq!(json::value_to_relaxed(hello.get("saslSupportedMechs")), expected, "{user}");
    }
    assert!(conn.ok("admin", r#"{"hello": 1, "saslSupportedMechs": "$external.nobody"}"#).get("saslSupportedMechs").is_missing());
    assert_eq!(conn.code("admin", r#"{"hello": 1, "saslSupportedMechs": "nodot"}"#), 2);
    let speculate = |conn: &mut Conn, user: &str, more: &str| {
        let payload = STANDARD.encode(format!("n,,n={user},r=x"));
        conn.ok("admin", &format!(r#"{{"isMaster": 1, {more} "speculativeAuthenticate": {{"saslStart": 1, "mechanism": "SCRAM-SHA-256", "payload": "{payload}", "db": "app", "options": {{"skipEmptyExchange": true}}}}}}"#))
    };
    for user in ["ann", "nobody"] {
        let hello = speculate(&mut conn, user, "");
        let begun = DocBuf::from(hello.get("speculativeAuthenticate").as_doc().unwrap());
        let (last, _) = answer("SCRAM-SHA-256", user, "pencil", &format!("n={user},r=x"), &text(&begun));
        let done = conn.proceed("app", 1, &last);
        assert_eq!(done.map(|reply| reply.get("done").truthy()).map_err(|e| e.0), if user == "ann" { Ok(true) } else { Err(18) });
    }
    assert_eq!(conn.user().as_deref(), Some("ann@app"));
    // Drivers try SHA-256 before they know that a user has no keys of it; then they take what the reply names, and must be able to.
    for _ in 0..50 {
        assert!(speculate(&mut conn, "old", "").get("speculativeAuthenticate").is_missing());
    }
    conn.login("SCRAM-SHA-1", "old", "pencil", "app", true).unwrap();
    // What makes no sense leaves the field away, and never fails the hello.
    for wrong in [r#"{"saslStart": 1, "mechanism": "PLAIN", "payload": "", "db": "app"}"#, r#"{"saslStart": 1}"#, "{}", r#"{"ping": 1}"#, r#"{"authenticate": 1, "mechanism": "MONGODB-X509", "db": "$external"}"#] {
        assert!(conn.ok("admin", &format!(r#"{{"hello": 1, "speculativeAuthenticate": {wrong}}}"#)).get("speculativeAuthenticate").is_missing(), "{wrong}");
    }
    let version = json::value_to_relaxed(conn.ok("admin", r#"{"hello": 1}"#).get("topologyVersion"));
    let awaits = speculate(&mut conn, "ann", &format!(r#""topologyVersion": {version}, "maxAwaitTimeMS": 1,"#));
    assert!(awaits.get("speculativeAuthenticate").is_missing());
    let status = owner.ok("admin", r#"{"serverStatus": 1}"#);
    let counts = status.get("security").as_doc().unwrap().get("authentication").as_doc().unwrap().get("mechanisms").as_doc().unwrap();
    let count = |mechanism: &str, kind: &str| json::value_to_relaxed(counts.get(mechanism).as_doc().unwrap().get(kind));
    assert_eq!(count("SCRAM-SHA-256", "speculativeAuthenticate"), r#"{"received":2,"successful":1}"#);
    assert_eq!(count("SCRAM-SHA-256", "authenticate"), r#"{"received":2,"successful":1}"#);
    assert_eq!(count("SCRAM-SHA-1", "authenticate"), r#"{"received":1,"successful":1}"#);
}

/// Whatever changes users, whoever is logged in is what the user has become.
#[test]
fn connections_follow_their_user() {
    let engine = memory();
    let mut owner = Conn::owner(&engine);
    owner.ok("app", r#"{"createRole": "clerk", "privileges": [], "roles": []}"#);
    owner.ok("app", r#"{"createUser": "ann", "pwd": "pencil", "roles": ["read"]}"#);
    let mut conn = Conn::from(&engine, "10.0.0.1:5000");
    conn.login(BOTH[0], "ann", "pencil", "app", true).unwrap();
    owner.ok("app", r#"{"grantRolesToUser": "ann", "roles": ["clerk"]}"#);
    assert_eq!(conn.roles(), "read clerk");
    owner.ok("app", r#"{"grantRolesToRole": "clerk", "roles": ["readWrite"]}"#);
    assert_eq!(conn.roles(), "read clerk readWrite");
    owner.ok("app", r#"{"dropRole": "clerk"}"#);
    assert_eq!(conn.roles(), "read");
    owner.ok("admin", r#"{"update": "system.users", "updates": [{"q": {"user": "ann"}, "u": {"$set": {"roles": [{"role": "dbAdmin", "db": "app"}]}}}]}"#);
    assert_eq!(conn.roles(), "dbAdmin");
    // A new password leaves connections as they are.
    owner.ok("app", r#"{"updateUser": "ann", "pwd": "other"}"#);
    assert_eq!(conn.user().as_deref(), Some("ann@app"));
    Conn::from(&engine, "10.0.0.1:5000").login(BOTH[0], "ann", "pencil", "app", true).unwrap_err();
    // Moved away to where it may not be.
    owner.ok("app", r#"{"updateUser": "ann", "authenticationRestrictions": [{"clientSource": ["10.1.0.0/16"]}]}"#);
    assert_eq!(conn.user(), None);
    owner.ok("app", r#"{"updateUser": "ann", "authenticationRestrictions": []}"#);
    let begin = |conn: &mut Conn| {
        conn.login(BOTH[0], "ann", "other", "app", true).unwrap();
        assert_eq!(conn.user().as_deref(), Some("ann@app"));
    };
    begin(&mut conn);
    // Made again under the same name it is somebody else.
    owner.ok("app", r#"{"dropUser": "ann"}"#);
    owner.ok("app", r#"{"createUser": "ann", "pwd": "other", "roles": []}"#);
    assert_eq!(conn.user(), None);
    for gone in [r#"{"delete": "system.users", "deletes": [{"q": {"user": "ann"}, "limit": 1}]}"#, r#"{"drop": "system.users"}"#] {
        begin(&mut conn);
        let users = owner.ok("admin", r#"{"find": "system.users"}"#);
        let user = users.get("cursor").as_doc().unwrap().get("firstBatch").as_array().unwrap().iter().next().map(|user| json::value_to_relaxed(user)).unwrap();
        owner.ok("admin", gone);
        assert_eq!(conn.user(), None, "{gone}");
        owner.ok("admin", &format!(r#"{{"insert": "system.users", "documents": [{user}]}}"#));
    }
    begin(&mut conn);
    owner.ok("app", r#"{"dropAllUsersFromDatabase": 1}"#);
    assert_eq!(conn.user(), None);
}

/// Who shows a certificate is the user of its subject, and nobody else.
#[test]
fn certificates_are_names() {
    let engine = memory();
    let mut owner = Conn::owner(&engine);
    owner.ok("$external", r#"{"createUser": "CN=ann,O=x", "roles": [{"role": "read", "db": "app"}]}"#);
    owner.ok("admin", r#"{"createUser": "CN=ann,O=x", "pwd": "pencil", "roles": []}"#);
    let shows = |subject: Option<&str>| {
        let mut client = Client { remote: "10.0.0.1:5000".into(), trust: Trust::Enforced, ..Client::owner() };
        client.peer.certificate = subject.map(str::to_owned);
        Conn(engine.session(client))
    };
    let authenticate = r#"{"authenticate": 1, "mechanism": "MONGODB-X509"}"#;
    for (subject, db, command, expected) in [
        (Some("CN=ann,O=x"), "$external", authenticate, Ok("CN=ann,O=x@$external")),
        (Some("CN=ann,O=x"), "$external", r#"{"authenticate": 1, "user": "CN=ann,O=x"}"#, Ok("CN=ann,O=x@$external")),
        (Some("CN=ann,O=x"), "$external", r#"{"authenticate": 1, "mechanism": "MONGODB-X509", "user": "CN=bob"}"#, Err(18)),
        (Some("CN=ann,O=x"), "admin", authenticate, Err(18)),
        (Some("CN=bob"), "$external", authenticate, Err(18)),
        (None, "$external", authenticate, Err(18)),
        (Some("CN=ann,O=x"), "$external", r#"{"authenticate": 1, "mechanism": "SCRAM-SHA-256", "user": "CN=ann,O=x"}"#, Err(18)),
    ] {
        let mut conn = shows(subject);
        assert_eq!(conn.run(db, command).map(|_| ()).map_err(|e| e.0), expected.map(|_| ()), "{command}");
        assert_eq!(conn.user().as_deref(), expected.ok());
        // Also with the first hello.
        let mut conn = shows(subject);
        let inner = command.replacen('{', &format!(r#"{{"authenticate": 1, "db": "{db}", "#), 1).replacen(r#", "authenticate": 1"#, "", 1);
        let speculative = format!(r#"{{"hello": 1, "speculativeAuthenticate": {inner}}}"#);
        let hello = conn.ok("admin", &speculative);
        assert_eq!(hello.get("speculativeAuthenticate").as_doc().map(|done| done.get("user").as_str().unwrap().to_owned()), expected.ok().map(|_| "CN=ann,O=x".to_owned()), "{speculative}");
    }
    // One that has no password cannot log in by one.
    assert_eq!(shows(None).start("SCRAM-SHA-256", "$external", "n,,n=CN=3Dann=2CO=3Dx,r=x", true).map(|_| ()), Ok(()));
    assert_eq!(shows(None).login("SCRAM-SHA-256", "CN=3Dann=2CO=3Dx", "pencil", "$external", true).unwrap_err().0, 18);
}

#[test]
fn callers_in_the_process_log_in_by_name_and_password() {
    let engine = memory();
    let mut owner = Conn::owner(&engine);
    owner.ok("app", r#"{"createUser": "ann", "pwd": "pencil", "roles": ["read"]}"#);
    owner.ok("app", r#"{"createUser": "old", "pwd": "pencil", "roles": [], "mechanisms": ["SCRAM-SHA-1"]}"#);
    let mut session = Conn::open(&engine);
    for (user, password, db) in [("ann", "pen", "app"), ("nobody", "pencil", "app"), ("ann", "pencil", "admin"), ("ann", "", "app"), ("ann", "\u{7}", "app")] {
        assert_eq!(session.0.login(user, password, db).unwrap_err().code().0, 18);
        assert_eq!(session.user(), None);
    }
    for user in ["ann", "old"] {
        session.0.login(user, "pencil", "app").unwrap();
        assert_eq!(session.user(), Some(format!("{user}@app")));
    }
    let mut session = Conn(engine.session_as("ann", "app").unwrap());
    assert_eq!((session.user().as_deref(), &*session.roles()), (Some("ann@app"), "read"));
    assert_eq!(engine.session_as("nobody", "app").map(drop).unwrap_err().code().0, 11);
    owner.ok("app", r#"{"dropUser": "ann"}"#);
    assert_eq!(session.user(), None);
}

/// A session belongs to its user: the same id is another session for somebody else.
#[test]
fn sessions_belong_to_users() {
    let engine = memory();
    let mut owner = Conn::owner(&engine);
    owner.ok("app", r#"{"createUser": "ann", "pwd": "pencil", "roles": [{"role": "root", "db": "admin"}]}"#);
    owner.ok("app", r#"{"createUser": "bob", "pwd": "pencil", "roles": ["readWrite"]}"#);
    owner.ok("app", r#"{"create": "c"}"#);
    let logged_in = |user: &str| {
        let mut conn = Conn::from(&engine, "10.0.0.1:5000");
        conn.login(BOTH[0], user, "pencil", "app", true).unwrap();
        conn
    };
    let (mut ann, mut bob) = (logged_in("ann"), logged_in("bob"));
    let lsid = r#"{"$binary": {"base64": "AAAAAAAAAAAAAAAAAAAAAQ==", "subType": "04"}}"#;
    let uid = |name: &str| format!(r#"{{"$binary": {{"base64": "{}", "subType": "00"}}}}"#, STANDARD.encode(Sha256::digest(name)));
    let insert = |id: i32, more: &str| format!(r#"{{"insert": "c", "documents": [{{"_id": {id}}}], "lsid": {{"id": {lsid}}}, "txnNumber": {{"$numberLong": "1"}}, "autocommit": false {more}}}"#);
    ann.ok("app", &insert(1, r#", "startTransaction": true"#));
    // Bob has no such transaction, can begin one of his own, and end neither Ann's session nor her transaction.
    assert_eq!(bob.code("app", &insert(2, "")), 251);
    bob.ok("app", &insert(3, r#", "startTransaction": true"#));
    let commit = format!(r#"{{"commitTransaction": 1, "lsid": {{"id": {lsid}}}, "txnNumber": {{"$numberLong": "1"}}, "autocommit": false}}"#);
    bob.ok("admin", &commit);
    for command in ["endSessions", "refreshSessions"] {
        bob.ok("admin", &format!(r#"{{"{command}": [{{"id": {lsid}}}]}}"#));
        assert_eq!(bob.code("admin", &format!(r#"{{"{command}": [{{"id": {lsid}, "uid": {}}}]}}"#, uid("ann@app"))), 13, "{command}");
    }
    bob.ok("admin", &format!(r#"{{"killSessions": [{{"id": {lsid}}}]}}"#));
    assert_eq!(bob.code("admin", &format!(r#"{{"killSessions": [{{"id": {lsid}, "uid": {}}}]}}"#, uid("ann@app"))), 13);
    bob.ok("admin", r#"{"killSessions": []}"#);
    Conn::from(&engine, "10.0.0.1:1").ok("admin", &format!(r#"{{"endSessions": [{{"id": {lsid}}}]}}"#));
    ann.ok("app", &insert(4, ""));
    let foreign = |name: &str| format!(r#"{{"find": "c", "lsid": {{"id": {lsid}, "uid": {}}}}}"#, uid(name));
    assert_eq!(bob.code("app", &foreign("ann@app")), 13);
    assert_eq!(bob.code("app", &foreign("bob@app")), 0);
    assert_eq!(bob.code("app", &foreign("")), 13);
    let mut open = Conn::open(&engine);
    assert_eq!(open.code("app", &foreign("ann@app")), 13);
    assert_eq!(open.code("app", &foreign("")), 0);
    assert_eq!(owner.code("app", &foreign("ann@app")), 0);
    // Who is no user's may not speak for users, or set the clock forward.
    for field in [r#""impersonatedUsers": []"#, r#""$audit": {"$impersonatedUsers": []}"#] {
        for conn in [&mut bob, &mut open] {
            assert_eq!(conn.code("app", &format!(r#"{{"count": "c", {field}}}"#)), 13);
        }
        assert_eq!(owner.code("app", &format!(r#"{{"count": "c", {field}}}"#)), 0);
    }
    let time = |reply: &DocBuf| match reply.get("operationTime") {
        Value::Timestamp(ts) => ts.time,
        v => panic!("{v:?}"),
    };
    let now = time(&owner.ok("admin", r#"{"ping": 1}"#));
    let ahead = format!(r#"{{"ping": 1, "$clusterTime": {{"clusterTime": {{"$timestamp": {{"t": {}, "i": 1}}}}}}}}"#, now + 3600);
    for conn in [&mut bob, &mut open] {
        assert!(time(&conn.ok("admin", &ahead)) < now + 3000);
    }
    assert!(time(&owner.ok("admin", &ahead)) >= now + 3600);
    ann.ok("admin", &format!(r#"{{"killSessions": [{{"id": {lsid}, "uid": {}}}]}}"#, uid("bob@app")));
    ann.ok("admin", &commit);
    let found = owner.ok("app", r#"{"distinct": "c", "key": "_id"}"#);
    assert_eq!(json::value_to_relaxed(found.get("values")), "[1,3,4]");
    // Each sees its own.
    for (conn, mine) in [(&mut ann, "ann@app"), (&mut bob, "bob@app")] {
        let listed = conn.ok("config", r#"{"aggregate": 1, "pipeline": [{"$listLocalSessions": {}}], "cursor": {}}"#);
        let batch = listed.get("cursor").as_doc().unwrap().get("firstBatch").as_array().unwrap();
        for session in batch.iter() {
            let id = session.as_doc().unwrap().get("_id").as_doc().unwrap();
            assert!(matches!(id.get("uid"), Value::Binary(b) if b.bytes() == &Sha256::digest(mine)[..]), "{id:?}");
        }
    }
}

/// Whoever is dropped leaves nothing that goes on: no command, no cursor, no transaction.
#[test]
fn nothing_goes_on_for_users_who_are_gone() {
    let engine = memory();
    let mut owner = Conn::owner(&engine);
    owner.ok("app", r#"{"insert": "c", "documents": [{"_id": 1}, {"_id": 2}]}"#);
    let user = r#"{"createUser": "ann", "pwd": "pencil", "roles": ["readWrite"], "mechanisms": ["SCRAM-SHA-256"]}"#;
    let connect = || {
        let mut conn = Conn::from(&engine, "10.0.0.1:5000");
        conn.login(BOTH[0], "ann", "pencil", "app", true).unwrap();
        conn
    };
    let lsid = r#""lsid": {"id": {"$binary": {"base64": "AAAAAAAAAAAAAAAAAAAAAQ==", "subType": "04"}}}, "txnNumber": {"$numberLong": "1"}, "autocommit": false"#;
    for drop in [r#"{"dropUser": "ann"}"#, r#"{"dropAllUsersFromDatabase": 1}"#] {
        owner.ok("app", user);
        let mut conn = connect();
        let cursor = conn.ok("app", r#"{"find": "c", "batchSize": 1}"#);
        let id = smongo_bson::number::to_i64_exact(cursor.get("cursor").as_doc().unwrap().get("id")).unwrap();
        conn.ok("app", &format!(r#"{{"update": "c", "updates": [{{"q": {{"_id": 2}}, "u": {{"$inc": {{"n": 1}}}}}}], "startTransaction": true, {lsid}}}"#));
        // One that waits for something that never comes.
        let mut waiting = connect();
        let stream = waiting.ok("app", r#"{"aggregate": "c", "pipeline": [{"$changeStream": {}}], "cursor": {}}"#);
        let stream = smongo_bson::number::to_i64_exact(stream.get("cursor").as_doc().unwrap().get("id")).unwrap();
        let begun = Instant::now();
        std::thread::scope(|scope| {
            let waits = scope.spawn(move || waiting.code("app", &format!(r#"{{"getMore": {{"$numberLong": "{stream}"}}, "collection": "c", "maxTimeMS": 60000}}"#)));
            std::thread::sleep(std::time::Duration::from_millis(200));
            owner.ok("app", drop);
            assert!(matches!(waits.join().unwrap(), 43 | 237 | 11601));
        });
        assert!(begun.elapsed().as_secs() < 30);
        // Nobody holds the document any more, and the cursor is gone.
        owner.ok("app", r#"{"update": "c", "updates": [{"q": {"_id": 2}, "u": {"$set": {"n": 0}}}], "maxTimeMS": 10000}"#);
        assert_eq!(owner.code("app", &format!(r#"{{"getMore": {{"$numberLong": "{id}"}}, "collection": "c"}}"#)), 43);
        assert_eq!(conn.code("app", r#"{"find": "c"}"#), 13);
    }
}

#[test]
fn users_are_merged_as_mongorestore_asks() {
    let engine = memory();
    let mut owner = Conn::owner(&engine);
    owner.ok("app", r#"{"createRole": "r1", "privileges": [], "roles": []}"#);
    for (db, user) in [("app", "stays"), ("app", "old"), ("other", "else")] {
        owner.ok(db, &format!(r#"{{"createUser": "{user}", "pwd": "pencil", "roles": []}}"#));
    }
    let ids = |owner: &mut Conn, coll: &str| json::value_to_relaxed(owner.ok("admin", &format!(r#"{{"distinct": "{coll}", "key": "_id"}}"#)).get("values"));
    let found = owner.ok("admin", r#"{"aggregate": "system.users", "pipeline": [{"$match": {"user": "old"}}, {"$set": {"_id": "app.new", "user": "new"}}], "cursor": {}}"#);
    let stays = owner.ok("admin", r#"{"aggregate": "system.users", "pipeline": [{"$match": {"user": "stays"}}, {"$set": {"customData": {"n": 1}}}], "cursor": {}}"#);
    for reply in [found, stays] {
        let batch = reply.get("cursor").as_doc().unwrap().get("firstBatch");
        owner.send(&DocBuf::build(|w| {
            w.append("insert", "tempusers").append("documents", batch).append("$db", "admin");
        })).unwrap();
    }
    owner.ok("admin", r#"{"insert": "temproles", "documents": [{"_id": "app.r2", "role": "r2", "db": "app", "privileges": [], "roles": []}, {"_id": "x.r3", "role": "r3", "db": "x", "privileges": [], "roles": []}]}"#);
    let merge = |drop: bool, db: &str| format!(r#"{{"_mergeAuthzCollections": 1, "tempUsersCollection": "admin.tempusers", "tempRolesCollection": "admin.temproles", "drop": {drop}, "db": "{db}", "writeConcern": {{"w": "majority"}}}}"#);
    owner.ok("admin", &merge(false, "app"));
    assert_eq!(ids(&mut owner, "system.users"), r#"["app.new","app.old","app.stays","other.else"]"#);
    assert_eq!(ids(&mut owner, "system.roles"), r#"["app.r1","app.r2"]"#);
    let custom = |owner: &mut Conn| smongo_bson::number::to_i64_exact(owner.ok("admin", r#"{"count": "system.users", "query": {"customData.n": 1}}"#).get("n"));
    assert_eq!(custom(&mut owner), Some(0), "who is there already stays as he is");
    Conn::open(&engine).login(BOTH[0], "new", "pencil", "app", true).unwrap();
    owner.ok("admin", &merge(true, "app"));
    assert_eq!((ids(&mut owner, "system.users").as_str(), custom(&mut owner)), (r#"["app.new","app.stays","other.else"]"#, Some(1)));
    assert_eq!(ids(&mut owner, "system.roles"), r#"["app.r2"]"#);
    owner.ok("admin", &merge(true, ""));
    assert_eq!(ids(&mut owner, "system.users"), r#"["app.new","app.stays"]"#);
    assert_eq!(ids(&mut owner, "system.roles"), r#"["app.r2","x.r3"]"#);
    // All or nothing.
    owner.ok("admin", r#"{"insert": "tempusers", "documents": [{"_id": "app.a", "user": "a", "db": "app", "credentials": {}, "roles": []}, {"_id": "b", "user": "b", "db": "app"}]}"#);
    assert_eq!(owner.code("admin", &merge(true, "")), 2);
    assert_eq!(ids(&mut owner, "system.users"), r#"["app.new","app.stays"]"#);
    assert_eq!(owner.code("admin", r#"{"_mergeAuthzCollections": 1, "drop": true, "db": ""}"#), 2);
    assert_eq!(owner.code("app", &merge(true, "")), 13);
    // No name stands twice, whatever the id.
    assert_eq!(owner.ok("admin", r#"{"insert": "system.users", "documents": [{"_id": "x", "user": "new", "db": "app"}]}"#).get("writeErrors").as_array().map(|e| e.len()), Some(1));
}

/// Known and unknown names cannot be told apart: same message, and the same time. `SMONGO_LOGINS=10000` for the long run.
#[test]
fn names_cannot_be_found_out() {
    let engine = memory();
    let mut owner = Conn::owner(&engine);
    owner.ok("app", r#"{"createUser": "known", "pwd": "pencil", "roles": ["read"]}"#);
    let rounds: usize = std::env::var("SMONGO_LOGINS").ok().and_then(|n| n.parse().ok()).unwrap_or(1000);
    let mut conn = Conn::open(&engine);
    for mechanism in BOTH {
        let mut times = [Vec::new(), Vec::new()];
        for round in 0..rounds {
            // In changing order: the second of two may find caches warm.
            for which in [round % 2, 1 - round % 2] {
                let user = ["known", "other"][which];
                let begun = Instant::now();
                let first = conn.start(mechanism, "app", &format!("n,,n={user},r=x"), true).unwrap();
                let nonce = text(&first).split(',').next().unwrap().to_owned();
                let length = if mechanism == "SCRAM-SHA-1" { 20 } else { 32 };
                let failed = conn.proceed("app", 1, &format!("c=biws,{nonce},p={}", STANDARD.encode(vec![7; length]))).unwrap_err();
                times[which].push(begun.elapsed().as_secs_f64() * 1e6);
                assert_eq!(failed, (18, "Authentication failed.".to_owned()));
            }
        }
        let [known, unknown] = times.map(|times| trimmed(times));
        let t = (known.0 - unknown.0) / ((known.1 + unknown.1) / rounds as f64).sqrt();
        println!("{mechanism}: {:.2} µs and {:.2} µs, t = {t:.2}", known.0, unknown.0);
        assert!(t.abs() < 4.5, "{mechanism}: known {known:?} and unknown {unknown:?} differ: t = {t}");
        assert!((known.0 - unknown.0).abs() < known.0 * 0.05);
    }
}

/// Mean and variance without the slowest twentieth, in which something else ran.
fn trimmed(mut times: Vec<f64>) -> (f64, f64) {
    times.sort_by(f64::total_cmp);
    times.truncate(times.len() * 19 / 20);
    let mean = times.iter().sum::<f64>() / times.len() as f64;
    (mean, times.iter().map(|t| (t - mean).powi(2)).sum::<f64>() / times.len() as f64)
}
