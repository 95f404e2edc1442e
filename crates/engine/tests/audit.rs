//! The audit log over sessions as a server makes them: what it tells, and what is refused when it cannot.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use smongo_bson::{Binary, DocBuf, Value, json};
use smongo_engine::{Asking, Audit, Client, Destination, Engine, Mechanism, Options, Request, Sequence, Session, Trust, Way};

struct World {
    dir: tempfile::TempDir,
    engine: Engine,
}

fn audit(path: &Path) -> Audit {
    Audit { destination: Destination::File(path.to_owned()), filter: None, sync: false, goes_on: false, startup: json::parse_doc(r#"{"net": {"port": 27017}}"#).unwrap() }
}

fn open(audit: Audit) -> Engine {
    Engine::open(Options { audit: Some(audit), test_commands: true, ..Options::default() }).unwrap()
}

impl World {
    /// With ann, who may do everything, and bob, who may read `shop`.
    fn new(change: impl FnOnce(&mut Audit)) -> World {
        let dir = tempfile::tempdir().unwrap();
        let mut options = audit(&dir.path().join("audit.json"));
        change(&mut options);
        let engine = open(options);
        let mut owner = Conn(engine.session(Client::owner()));
        owner.ok("admin", r#"{"createUser": "ann", "pwd": "annsecret", "roles": ["root"]}"#);
        owner.ok("admin", r#"{"createUser": "bob", "pwd": "bobsecret", "roles": [{"role": "read", "db": "shop"}]}"#);
        drop(owner);
        World { dir, engine }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("audit.json")
    }

    fn stranger(&self) -> Conn {
        let address: SocketAddr = "10.1.2.3:5000".parse().unwrap();
        let mut client = Client { remote: address.to_string(), local: "10.0.0.1:27017".into(), trust: Trust::Enforced, ..Client::owner() };
        client.peer.way = Way::Ip { from: address.ip(), to: [10, 0, 0, 1].into() };
        Conn(self.engine.session(client))
    }

    fn ann(&self) -> Conn {
        let mut conn = self.stranger();
        conn.login("ann", "annsecret").unwrap();
        conn
    }

    fn owner(&self) -> Conn {
        Conn(self.engine.session(Client::owner()))
    }

    /// What was written since the last time: each line is JSON by itself.
    fn lines(&self) -> Vec<DocBuf> {
        // What nobody waits for comes before what somebody waits for.
        self.owner().ok("admin", r#"{"logApplicationMessage": "so far"}"#);
        let text = std::fs::read_to_string(self.path()).unwrap();
        assert!(text.ends_with('\n') && !text.contains("secret"), "{text}");
        // The notation of binary values is an older one.
        let read = |line: &str| json::parse_doc(&line.replace("\"$binary\"", "\"binary\"").replace("\"$type\"", "\"type\""));
        let lines: Vec<DocBuf> = text.lines().map(|line| read(line).unwrap_or_else(|e| panic!("{line}: {e}"))).collect();
        let said = |line: &&DocBuf| line.get("param").as_doc().unwrap().get("msg").as_str() == Some("so far");
        let marks: Vec<usize> = lines.iter().enumerate().filter(|(_, line)| said(line)).map(|(n, _)| n).collect();
        let from = marks.len().checked_sub(2).map_or(0, |n| marks[n] + 1);
        lines[from..lines.len() - 1].to_vec()
    }

    /// Action, parameters and result of each.
    fn told(&self) -> Vec<String> {
        let of = |line: &DocBuf| format!("{} {} {}", line.get("atype").as_str().unwrap(), json::value_to_relaxed(line.get("param")), json::value_to_relaxed(line.get("result")));
        self.lines().iter().map(of).collect()
    }
}

struct Conn(Session);

impl Conn {
    fn send(&mut self, request: &Request<'_>) -> Result<DocBuf, (i32, String)> {
        let mut out = Vec::new();
        self.0.run(request, &mut out);
        let reply = DocBuf::from_checked(out);
        match (reply.get("ok").truthy(), reply.get("code")) {
            (true, _) => Ok(reply),
            (_, Value::Int32(code)) => Err((code, reply.get("errmsg").as_str().unwrap().to_owned())),
            _ => panic!("{:?}", reply.as_doc()),
        }
    }

    fn run(&mut self, db: &str, command: &str) -> Result<DocBuf, (i32, String)> {
        let command = json::parse_doc(command).unwrap_or_else(|e| panic!("{command}: {e}"));
        let body = DocBuf::build(|w| {
            w.append_all(command.as_doc()).append("$db", db);
        });
        self.send(&Request::new(body.as_doc()))
    }

    fn ok(&mut self, db: &str, command: &str) -> DocBuf {
        self.run(db, command).unwrap_or_else(|e| panic!("{command}: {e:?}"))
    }

    fn code(&mut self, db: &str, command: &str) -> i32 {
        self.run(db, command).map_or_else(|e| e.0, |_| 0)
    }

    fn payload(&mut self, begin: &str, mechanism: Option<&str>, payload: &str) -> Result<DocBuf, (i32, String)> {
        let raw = [b"\0", payload.as_bytes()].concat();
        let body = DocBuf::build(|w| {
            w.append(begin, 1).append("conversationId", if mechanism.is_none() { Value::Int32(1) } else { Value::Missing });
            w.append("mechanism", mechanism.map_or(Value::Missing, Value::String)).append("payload", Value::Binary(Binary::from_raw(&raw)));
            if mechanism.is_some() {
                w.document("options").append("skipEmptyExchange", true);
            }
            w.append("$db", "admin");
        });
        self.send(&Request::new(body.as_doc()))
    }

    fn login(&mut self, user: &str, password: &str) -> Result<(), i32> {
        let (asking, first) = Asking::begin(Mechanism::Sha256, user, password).unwrap();
        let reply = self.payload("saslStart", Some("SCRAM-SHA-256"), &first).map_err(|e| e.0)?;
        let Value::Binary(answer) = reply.get("payload") else { panic!("{:?}", reply.as_doc()) };
        let (proof, _) = asking.prove(answer.bytes()).unwrap();
        self.payload("saslContinue", None, &proof).map(drop).map_err(|e| e.0)
    }
}

#[test]
fn the_first_lines() {
    let world = World::new(|_| {});
    let told = world.told();
    assert!(told[0].starts_with(r#"startup {"startupOptions":{"net":{"port":27017}},"initialClusterServerParameter":[{"_id":"changeStreamOptions","#), "{}", told[0]);
    let made = |coll: &str, index: &str, spec: &str| {
        ["IndexBuildStarted", "IndexBuildSucceeded"].map(|state| format!(r#"createIndex {{"ns":"admin.{coll}","indexName":"{index}","indexSpec":{spec},"indexBuildState":"{state}"}} 0"#))
    };
    let expected: Vec<String> = [vec![r#"createCollection {"ns":"admin.system.users"} 0"#.to_owned()]]
        .into_iter()
        .chain([made("system.users", "_id_", r#"{"v":2,"key":{"_id":1},"name":"_id_"}"#).to_vec()])
        .chain([made("system.users", "user_1_db_1", r#"{"v":2,"unique":true,"key":{"user":1,"db":1},"name":"user_1_db_1"}"#).to_vec()])
        .chain([vec![
            r#"createUser {"user":"ann","db":"admin","roles":[{"role":"root","db":"admin"}]} 0"#.to_owned(),
            r#"createUser {"user":"bob","db":"admin","roles":[{"role":"read","db":"shop"}]} 0"#.to_owned(),
        ]])
        .flatten()
        .collect();
    assert_eq!(told[1..], expected);
    // Who owns the data comes from nowhere.
    let text = std::fs::read_to_string(world.path()).unwrap();
    let ends = r#""local":{"isSystemUser":true},"remote":{"isSystemUser":true},"users":[],"roles":[]"#;
    assert!(text.lines().all(|line| line.contains(ends)), "{text}");
}

#[test]
fn an_event_says_who_and_from_where() {
    let world = World::new(|_| {});
    let mut ann = world.ann();
    world.lines();
    ann.ok("shop", r#"{"create": "c"}"#);
    let status = ann.ok("admin", r#"{"connectionStatus": 1}"#);
    let lines = world.lines();
    let line = lines.iter().find(|line| line.get("atype").as_str() == Some("createCollection")).unwrap();
    let names: Vec<&str> = line.as_doc().iter().map(|e| e.name()).collect();
    assert_eq!(names, ["atype", "ts", "uuid", "local", "remote", "users", "roles", "param", "result"]);
    let text = json::to_relaxed(line.as_doc());
    for part in [
        r#""local":{"ip":"10.0.0.1","port":27017},"remote":{"ip":"10.1.2.3","port":5000}"#,
        r#""users":[{"user":"ann","db":"admin"}],"roles":[{"role":"root","db":"admin"}],"param":{"ns":"shop.c"},"result":0"#,
    ] {
        assert!(text.contains(part), "{text}");
    }
    // The notation of mongod's log.
    let text = std::fs::read_to_string(world.path()).unwrap();
    let Value::Binary(uuid) = status.get("uuid") else { panic!() };
    use base64::Engine as _;
    let uuid = base64::engine::general_purpose::STANDARD.encode(uuid.bytes());
    assert!(text.contains(&format!(r#""uuid":{{"$binary":"{uuid}","$type":"04"}}"#)), "{text}");
    assert!(text.lines().all(|line| line.split(r#""ts":{"$date":""#).nth(1).is_some_and(|rest| rest[23..].starts_with("+00:00\"}"))), "{text}");
}

#[test]
fn logins_and_their_ends() {
    let world = World::new(|_| {});
    world.lines();
    let login = |user: &str, result: i32| format!(r#"authenticate {{"user":"{user}","db":"admin","mechanism":"SCRAM-SHA-256"}} {result}"#);
    let mut conn = world.stranger();
    assert_eq!(conn.login("ann", "wrong"), Err(18));
    assert_eq!(conn.login("nobody", "wrong"), Err(18));
    conn.login("ann", "annsecret").unwrap();
    assert_eq!(world.told(), [login("ann", 18), login("nobody", 18), login("ann", 0)]);
    conn.ok("admin", r#"{"logout": 1}"#);
    conn.login("bob", "bobsecret").unwrap();
    drop(conn);
    let gone = |user: &str, reason: &str| format!(r#"logout {{"reason":"{reason}","initialUsers":[{{"user":"{user}","db":"admin"}}],"updatedUsers":[]}} 0"#);
    assert_eq!(world.told(), [gone("ann", "Explicit logout from admin"), login("bob", 0), gone("bob", "Implicit logout due to client connection closure")]);

    // Half of a login, by a new beginning, a wrong number, and an end.
    let (_, first) = Asking::begin(Mechanism::Sha256, "ann", "annsecret").unwrap();
    let mut conn = world.stranger();
    conn.payload("saslStart", Some("SCRAM-SHA-256"), &first).unwrap();
    assert_eq!(conn.payload("saslStart", Some("PLAIN"), "x").unwrap_err().0, 334);
    conn.payload("saslStart", Some("SCRAM-SHA-256"), &first).unwrap();
    assert_eq!(conn.code("admin", r#"{"saslContinue": 1, "conversationId": 7, "payload": ""}"#), 17);
    conn.payload("saslStart", Some("SCRAM-SHA-256"), &first).unwrap();
    drop(conn);
    let plain = r#"authenticate {"user":"","db":"admin","mechanism":"PLAIN"} 334"#.to_owned();
    assert_eq!(world.told(), [login("ann", 337), plain, login("ann", 337), login("ann", 337)]);

    // Without a name there is a failure all the same.
    let mut conn = world.stranger();
    assert_eq!(conn.payload("saslStart", Some("SCRAM-SHA-256"), "no SCRAM").unwrap_err().0, 18);
    assert_eq!(conn.code("$external", r#"{"authenticate": 1, "mechanism": "MONGODB-X509"}"#), 18);
    assert_eq!(world.told(), [r#"authenticate {"user":"","db":"","mechanism":"SCRAM-SHA-256"} 18"#, r#"authenticate {"user":"","db":"","mechanism":"MONGODB-X509"} 18"#]);

    // Who is dropped is logged out by his next command, which is then a stranger's.
    let mut bob = world.stranger();
    bob.login("bob", "bobsecret").unwrap();
    world.owner().ok("admin", r#"{"dropUser": "bob"}"#);
    assert_eq!(bob.code("shop", r#"{"find": "c"}"#), 13);
    drop(bob);
    let told = world.told();
    assert_eq!(told[1], r#"dropUser {"user":"bob","db":"admin"} 0"#);
    assert_eq!(told[2], gone("bob", "Implicit logout because the user is gone or may not come from there"));
    assert!(told[3].starts_with(r#"authCheck {"command":"find","ns":"shop.c","args":{"find":"c","$db":"shop"}} 13"#) && told.len() == 4, "{told:#?}");
    // A session that was made somebody's without a login has none to end.
    drop(world.engine.session_as("ann", "admin").unwrap());
    assert_eq!(world.told(), [""; 0]);
}

#[test]
fn data_definition() {
    let world = World::new(|_| {});
    let mut ann = world.ann();
    world.lines();
    ann.ok("shop", r#"{"create": "c"}"#);
    let id = |ns: &str| ["Started", "Succeeded"].map(|s| format!(r#"createIndex {{"ns":"{ns}","indexName":"_id_","indexSpec":{{"v":2,"key":{{"_id":1}},"name":"_id_"}},"indexBuildState":"IndexBuild{s}"}} 0"#));
    let [started, succeeded] = id("shop.c");
    assert_eq!(world.told(), [r#"createDatabase {"ns":"shop"} 0"#, r#"createCollection {"ns":"shop.c"} 0"#, &*started, &*succeeded]);
    // By an insertion, too.
    ann.ok("shop", r#"{"insert": "d", "documents": [{"_id": 1, "a": 1}, {"_id": 2, "a": 1}]}"#);
    assert_eq!(world.told()[0], r#"createCollection {"ns":"shop.d"} 0"#);
    ann.ok("shop", r#"{"create": "v", "viewOn": "d", "pipeline": [{"$match": {"a": 1}}]}"#);
    assert_eq!(world.told(), [r#"createCollection {"ns":"shop.v","viewOn":"shop.d","pipeline":[{"$match":{"a":1}}]} 0"#]);

    ann.ok("shop", r#"{"createIndexes": "d", "indexes": [{"key": {"a": 1}, "name": "a_1"}, {"key": {"b": 1}, "name": "b_1"}]}"#);
    let index = |name: &str, spec: &str, state: &str, result: i32| format!(r#"createIndex {{"ns":"shop.d","indexName":"{name}","indexSpec":{spec},"indexBuildState":"IndexBuild{state}"}} {result}"#);
    let (a, b) = (r#"{"v":2,"key":{"a":1},"name":"a_1"}"#, r#"{"v":2,"key":{"b":1},"name":"b_1"}"#);
    assert_eq!(world.told(), [index("a_1", a, "Started", 0), index("b_1", b, "Started", 0), index("a_1", a, "Succeeded", 0), index("b_1", b, "Succeeded", 0)]);
    assert_eq!(ann.code("shop", r#"{"createIndexes": "d", "indexes": [{"key": {"a": 1}, "name": "u", "unique": true}]}"#), 11000);
    let told = world.told();
    assert!(told.len() == 2 && told[0].contains("IndexBuildStarted") && told[1].contains(r#""IndexBuildAborted"} 276"#), "{told:#?}");
    ann.ok("shop", r#"{"dropIndexes": "d", "index": "*"}"#);
    assert_eq!(world.told(), [r#"dropIndex {"ns":"shop.d","indexName":"a_1"} 0"#, r#"dropIndex {"ns":"shop.d","indexName":"b_1"} 0"#]);

    ann.ok("admin", r#"{"renameCollection": "shop.d", "to": "shop.e"}"#);
    ann.ok("admin", r#"{"renameCollection": "shop.e", "to": "shop.c", "dropTarget": true}"#);
    assert_eq!(world.told(), [r#"renameCollection {"old":"shop.d","new":"shop.e"} 0"#, r#"dropCollection {"ns":"shop.c"} 0"#, r#"renameCollection {"old":"shop.e","new":"shop.c"} 0"#]);
    ann.ok("shop", r#"{"drop": "v"}"#);
    ann.ok("shop", r#"{"drop": "gone"}"#);
    assert_eq!(world.told(), [r#"dropCollection {"ns":"shop.v","viewOn":"shop.d","pipeline":[{"$match":{"a":1}}]} 0"#, r#"dropCollection {"ns":"shop.gone"} 26"#]);
    ann.ok("shop", r#"{"dropDatabase": 1}"#);
    assert_eq!(world.told(), [r#"dropCollection {"ns":"shop.c"} 0"#, r#"dropDatabase {"ns":"shop"} 0"#]);
    ann.ok("a", r#"{"create": "c", "capped": true, "size": 4096}"#);
    ann.ok("admin", r#"{"renameCollection": "a.c", "to": "b.c"}"#);
    assert_eq!(world.told()[4..], [r#"createDatabase {"ns":"b"} 0"#, r#"renameCollection {"old":"a.c","new":"b.c"} 0"#]);
    // The oplog is silent about this one; the audit log is not.
    ann.ok("local", r#"{"create": "own"}"#);
    ann.ok("local", r#"{"drop": "own"}"#);
    let told = world.told();
    assert!(told.contains(&r#"createCollection {"ns":"local.own"} 0"#.to_owned()) && told.last().unwrap() == r#"dropCollection {"ns":"local.own"} 0"#, "{told:#?}");
}

#[test]
fn a_transaction_is_told_when_it_commits() {
    let world = World::new(|_| {});
    let mut ann = world.ann();
    world.lines();
    let within = |number: i32, command: &str, first: bool| {
        let start = if first { r#""startTransaction": true, "# } else { "" };
        format!(r#"{{{command}, {start}"autocommit": false, "txnNumber": {{"$numberLong": "{number}"}}, "lsid": {{"id": {{"$binary": {{"base64": "AAAAAAAAAAAAAAAAAAAAAA==", "subType": "04"}}}}}}}}"#)
    };
    for (number, end) in [(1, "abortTransaction"), (2, "commitTransaction")] {
        ann.ok("t", &within(number, r#""create": "c""#, true));
        ann.ok("t", &within(number, r#""insert": "d", "documents": [{"_id": 1}]"#, false));
        assert_eq!(world.told(), [""; 0]);
        ann.ok("admin", &within(number, &format!(r#""{end}": 1"#), false));
        let told: Vec<String> = world.told().into_iter().filter(|line| !line.starts_with("createIndex")).collect();
        match end {
            "abortTransaction" => assert!(told.is_empty(), "{told:#?}"),
            _ => assert_eq!(told, [r#"createDatabase {"ns":"t"} 0"#, r#"createCollection {"ns":"t.c"} 0"#, r#"createCollection {"ns":"t.d"} 0"#]),
        }
    }
}

#[test]
fn users_and_roles() {
    let world = World::new(|_| {});
    let mut ann = world.ann();
    ann.ok("shop", r#"{"createRole": "first", "privileges": [], "roles": []}"#);
    world.lines();
    let privileges = r#"[{"resource":{"db":"shop","collection":"c"},"actions":["find"]}]"#;
    let r = r#"[{"role":"read","db":"shop"}]"#;
    for (command, told) in [
        (r#"{"createUser": "u", "pwd": "a secret", "customData": {"n": 1}, "roles": ["read"]}"#.to_owned(), format!(r#"createUser {{"user":"u","db":"shop","customData":{{"n":1}},"roles":{r}}} 0"#)),
        (r#"{"updateUser": "u", "pwd": "other secret"}"#.to_owned(), r#"updateUser {"user":"u","db":"shop","passwordChanged":true} 0"#.to_owned()),
        (r#"{"updateUser": "u", "roles": [], "customData": {}}"#.to_owned(), r#"updateUser {"user":"u","db":"shop","passwordChanged":false,"customData":{},"roles":[]} 0"#.to_owned()),
        (r#"{"grantRolesToUser": "u", "roles": ["read"]}"#.to_owned(), format!(r#"grantRolesToUser {{"user":"u","db":"shop","roles":{r}}} 0"#)),
        // What changes nothing was done all the same.
        (r#"{"grantRolesToUser": "u", "roles": ["read"]}"#.to_owned(), format!(r#"grantRolesToUser {{"user":"u","db":"shop","roles":{r}}} 0"#)),
        (r#"{"revokeRolesFromUser": "u", "roles": ["read"]}"#.to_owned(), format!(r#"revokeRolesFromUser {{"user":"u","db":"shop","roles":{r}}} 0"#)),
        (r#"{"dropUser": "u"}"#.to_owned(), r#"dropUser {"user":"u","db":"shop"} 0"#.to_owned()),
        (r#"{"dropAllUsersFromDatabase": 1}"#.to_owned(), r#"dropAllUsersFromDatabase {"db":"shop"} 0"#.to_owned()),
        (format!(r#"{{"createRole": "r", "privileges": {privileges}, "roles": []}}"#), format!(r#"createRole {{"role":"r","db":"shop","roles":[],"privileges":{privileges}}} 0"#)),
        (r#"{"updateRole": "r", "roles": ["read"]}"#.to_owned(), format!(r#"updateRole {{"role":"r","db":"shop","roles":{r}}} 0"#)),
        (format!(r#"{{"revokePrivilegesFromRole": "r", "privileges": {privileges}}}"#), format!(r#"revokePrivilegesFromRole {{"role":"r","db":"shop","privileges":{privileges}}} 0"#)),
        (format!(r#"{{"grantPrivilegesToRole": "r", "privileges": {privileges}}}"#), format!(r#"grantPrivilegesToRole {{"role":"r","db":"shop","privileges":{privileges}}} 0"#)),
        (r#"{"revokeRolesFromRole": "r", "roles": ["read"]}"#.to_owned(), format!(r#"revokeRolesFromRole {{"role":"r","db":"shop","roles":{r}}} 0"#)),
        (r#"{"grantRolesToRole": "r", "roles": ["read"]}"#.to_owned(), format!(r#"grantRolesToRole {{"role":"r","db":"shop","roles":{r}}} 0"#)),
        (r#"{"dropRole": "r"}"#.to_owned(), r#"dropRole {"role":"r","db":"shop"} 0"#.to_owned()),
        (r#"{"dropAllRolesFromDatabase": 1}"#.to_owned(), r#"dropAllRolesFromDatabase {"db":"shop"} 0"#.to_owned()),
    ] {
        ann.ok("shop", &command);
        assert_eq!(world.told(), [told], "{command}");
    }
    // What fails tells nothing: it has changed nothing, and was allowed.
    for command in [r#"{"dropUser": "nobody"}"#, r#"{"createUser": "x", "pwd": "p", "roles": ["none"]}"#, r#"{"dropRole": "nothing"}"#] {
        assert_ne!(ann.code("shop", command), 0);
    }
    ann.code("admin", r#"{"createUser": "ann", "pwd": "a secret", "roles": []}"#);
    assert_eq!(world.told(), [""; 0]);
}

#[test]
fn users_that_are_changed_past_their_commands() {
    let world = World::new(|_| {});
    let mut ann = world.ann();
    world.lines();
    let user = r#"{"_id": "shop.u", "user": "u", "db": "shop", "credentials": {"SCRAM-SHA-256": {"storedKey": "a secret"}}, "roles": []}"#;
    ann.ok("admin", &format!(r#"{{"insert": "system.users", "documents": [{user}]}}"#));
    ann.ok("admin", r#"{"update": "system.users", "updates": [{"q": {"_id": "shop.u"}, "u": {"$set": {"roles": [{"role": "root", "db": "admin"}], "credentials.SCRAM-SHA-1": "a secret"}}}]}"#);
    ann.ok("admin", r#"{"delete": "system.users", "deletes": [{"q": {"_id": "shop.u"}, "limit": 1}]}"#);
    ann.ok("admin", r#"{"delete": "system.users", "deletes": [{"q": {"_id": "shop.u"}, "limit": 1}]}"#);
    let mutation = |document: &str, operation: &str| format!(r#"directAuthMutation {{"document":{document},"ns":"admin.system.users","operation":"{operation}"}} 0"#);
    assert_eq!(world.told(), [
        mutation(r#"{"_id":"shop.u","user":"u","db":"shop","credentials":["SCRAM-SHA-256"],"roles":[]}"#, "insert"),
        mutation(r#"{"_id":"shop.u","user":"u","db":"shop","credentials":["SCRAM-SHA-256","SCRAM-SHA-1"],"roles":[{"role":"root","db":"admin"}]}"#, "update"),
        mutation(r#"{"_id":"shop.u"}"#, "remove"),
    ]);
    // mongorestore's way.
    ann.ok("admin", &format!(r#"{{"insert": "tempusers", "documents": [{user}]}}"#));
    ann.ok("admin", r#"{"_mergeAuthzCollections": 1, "tempUsersCollection": "admin.tempusers", "db": "", "drop": false}"#);
    assert_eq!(world.told().last(), Some(&mutation(r#"{"_id":"shop.u","user":"u","db":"shop","credentials":["SCRAM-SHA-256"],"roles":[]}"#, "insert")));
}

#[test]
fn what_is_refused_and_what_is_allowed() {
    let world = World::new(|_| {});
    let mut stranger = world.stranger();
    let mut bob = world.stranger();
    bob.login("bob", "bobsecret").unwrap();
    world.lines();
    assert_eq!(stranger.code("shop", r#"{"find": "c", "filter": {"a": 1}}"#), 13);
    assert_eq!(bob.code("shop", r#"{"insert": "c", "documents": [{"_id": 1}]}"#), 13);
    assert_eq!(bob.code("shop", r#"{"createUser": "x", "pwd": "a secret", "roles": []}"#), 13);
    assert_eq!(bob.code("admin", r#"{"killOp": 1, "op": 5}"#), 13);
    assert_eq!(bob.code("shop", r#"{"find": "c"}"#), 0);
    assert_eq!(world.told(), [
        r#"authCheck {"command":"find","ns":"shop.c","args":{"find":"c","filter":{"a":1},"$db":"shop"}} 13"#,
        r#"authCheck {"command":"insert","ns":"shop.c","args":{"insert":"c","documents":[{"_id":1}],"$db":"shop"}} 13"#,
        r#"authCheck {"command":"createUser","args":{"createUser":"x","pwd":"xxx","roles":[],"$db":"shop"}} 13"#,
        r#"authCheck {"command":"killOp","args":{"killOp":1,"op":5,"$db":"admin"}} 13"#,
    ]);
    world.owner().ok("admin", r#"{"setParameter": 1, "auditAuthorizationSuccess": true}"#);
    bob.ok("admin", r#"{"ping": 1}"#);
    bob.ok("shop", r#"{"find": "c"}"#);
    let mut ann = world.ann();
    let docs = json::parse_doc(r#"{"_id": 1}"#).unwrap();
    let body = json::parse_doc(r#"{"insert": "c", "$db": "shop"}"#).unwrap();
    let beside = [Sequence { name: "documents", docs: docs.as_bytes() }];
    ann.send(&Request { body: body.as_doc(), sequences: &beside }).unwrap();
    let long = "x".repeat(100_000);
    ann.ok("shop", &format!(r#"{{"insert": "c", "documents": [{{"_id": "{long}"}}]}}"#));
    let told: Vec<String> = world.told().into_iter().filter(|line| line.starts_with("authCheck")).collect();
    assert_eq!(told[..2], [r#"authCheck {"command":"find","ns":"shop.c","args":{"find":"c","$db":"shop"}} 0"#, r#"authCheck {"command":"insert","ns":"shop.c","args":{"insert":"c","$db":"shop","documents":[{"_id":1}]}} 0"#]);
    assert!(told[2].starts_with(r#"authCheck {"command":"insert","ns":"shop.c","args":{"insert":"c","$db":"shop","$truncated":100"#) && told.len() == 3, "{told:#?}");
}

#[test]
fn what_else_is_told() {
    let world = World::new(|_| {});
    let mut ann = world.ann();
    world.lines();
    ann.ok("admin", r#"{"hello": 1, "client": {"driver": {"name": "d", "version": "1"}, "os": {"type": "Linux"}}}"#);
    ann.ok("admin", r#"{"logApplicationMessage": "line\nend"}"#);
    assert_eq!(ann.code("admin", r#"{"logApplicationMessage": 1}"#), 14);
    ann.ok("admin", r#"{"getClusterParameter": ["changeStreamOptions"]}"#);
    ann.ok("admin", r#"{"setClusterParameter": {"changeStreamOptions": {"preAndPostImages": {"expireAfterSeconds": 60}}}}"#);
    let told = world.told();
    assert_eq!(told[0], r#"clientMetadata {"localEndpoint":{"ip":"10.0.0.1","port":27017},"clientMetadata":{"driver":{"name":"d","version":"1"},"os":{"type":"Linux"}}} 0"#);
    assert_eq!(told[1], r#"applicationMessage {"msg":"line\nend"} 0"#);
    assert_eq!(told[2], r#"getClusterParameter {"requestedClusterServerParameters":["changeStreamOptions"]} 0"#);
    let set = told.iter().find(|line| line.starts_with("setClusterParameter")).unwrap();
    assert!(set.contains(r#"{"originalClusterServerParameter":{"_id":"changeStreamOptions","#) && set.contains(r#""expireAfterSeconds":"off"}},"updatedClusterServerParameter":{"_id""#), "{set}");
    let status = ann.ok("admin", r#"{"serverStatus": 1}"#);
    assert_eq!(json::value_to_relaxed(status.get("security").as_doc().unwrap().get("audit")), r#"{"failing":false,"lost":0}"#);
    // The end is the last line.
    drop(ann);
    let path = world.path();
    let World { dir: _dir, engine } = world;
    engine.close().unwrap();
    let text = std::fs::read_to_string(path).unwrap();
    assert!(text.lines().last().unwrap().starts_with(r#"{"atype":"shutdown","#), "{text}");
    assert!(text.lines().last().unwrap().ends_with(r#""param":{},"result":0}"#), "{text}");
}

/// A line says what was about to happen; another one that it did not.
#[test]
fn what_fails_after_its_line_is_corrected() {
    let world = World::new(|_| {});
    let mut ann = world.ann();
    let mut owner = world.owner();
    let set = |seconds: i32, most: &str| format!(r#"{{"setClusterParameter": {{"changeStreamOptions": {{"preAndPostImages": {{"expireAfterSeconds": {seconds}}}}}}}{most}}}"#);
    ann.ok("admin", &set(60, ""));
    world.lines();
    // Nobody can write for a while.
    owner.ok("admin", r#"{"fsync": 1, "lock": true}"#);
    assert_eq!(ann.code("admin", &set(90, r#", "maxTimeMS": 50"#)), 50);
    owner.ok("admin", r#"{"fsyncUnlock": 1}"#);
    let told = world.told();
    assert!(told.len() == 2 && told[0].ends_with("} 0") && told[1].ends_with("} 50") && told[0][..told[0].len() - 1] == told[1][..told[1].len() - 2], "{told:#?}");
}

#[test]
fn a_filter_chooses() {
    let filter = json::parse_doc(r#"{"atype": {"$in": ["createCollection", "applicationMessage"]}, "param.ns": {"$not": {"$regularExpression": {"pattern": "^hidden\\.", "options": ""}}}}"#).unwrap();
    let world = World::new(|audit| audit.filter = Some(filter));
    let mut ann = world.ann();
    world.lines();
    ann.ok("shop", r#"{"create": "c"}"#);
    ann.ok("hidden", r#"{"create": "c"}"#);
    ann.ok("shop", r#"{"drop": "c"}"#);
    assert_eq!(world.told(), [r#"createCollection {"ns":"shop.c"} 0"#]);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.json");
    let faulty = Audit { filter: Some(json::parse_doc(r#"{"a": {"$gtx": 1}}"#).unwrap()), ..audit(&path) };
    let refused = Engine::open(Options { audit: Some(faulty), ..Options::default() }).err().unwrap();
    assert!(refused.message().contains("the filter of the audit log") && !path.exists(), "{refused:?}");
}

#[test]
fn the_file_is_begun_anew() {
    let world = World::new(|_| {});
    let mut ann = world.ann();
    world.lines();
    for which in [r#""audit""#, "1", "true"] {
        ann.ok("admin", &format!(r#"{{"logRotate": {which}}}"#));
    }
    ann.ok("admin", r#"{"logRotate": "server"}"#);
    assert_eq!(std::fs::read_dir(world.dir.path()).unwrap().count(), 4);
    ann.ok("shop", r#"{"create": "c"}"#);
    let text = std::fs::read_to_string(world.path()).unwrap();
    assert!(text.starts_with(r#"{"atype":"createDatabase""#), "{text}");
    let all: usize = std::fs::read_dir(world.dir.path()).unwrap().map(|f| std::fs::read_to_string(f.unwrap().path()).unwrap().matches("createUser").count()).sum();
    assert_eq!(all, 2);
    let mut plain = Engine::open(Options::default()).unwrap().session(Client::owner());
    let refused = plain.run_command("admin", &json::parse_doc(r#"{"logRotate": "audit"}"#).unwrap()).unwrap_err();
    assert_eq!(refused.code().0, 4);
}

/// What cannot be told is refused; what is not told goes on; who owns the data does as he likes.
#[test]
fn when_nothing_can_be_written() {
    let world = World::new(|_| {});
    let mut ann = world.ann();
    let mut bob = world.stranger();
    bob.login("bob", "bobsecret").unwrap();
    ann.ok("shop", r#"{"create": "c"}"#);
    world.lines();
    let away = world.dir.path().with_extension("away");
    std::fs::rename(world.dir.path(), &away).unwrap();
    let mut refused = |db: &str, command: &str| {
        let e = ann.run(db, command).unwrap_err();
        assert!(e.0 == 96 && e.1.starts_with("the audit log cannot be written: "), "{command}: {e:?}");
    };
    for command in [
        r#"{"create": "d"}"#, r#"{"drop": "c"}"#, r#"{"dropDatabase": 1}"#, r#"{"createIndexes": "c", "indexes": [{"key": {"a": 1}, "name": "a_1"}]}"#,
        r#"{"createUser": "u", "pwd": "p", "roles": []}"#, r#"{"insert": "implied", "documents": [{}]}"#, r#"{"drop": "missing"}"#,
    ] {
        refused("shop", command);
    }
    refused("admin", r#"{"dropUser": "bob"}"#);
    refused("admin", r#"{"logApplicationMessage": "m"}"#);
    refused("admin", r#"{"renameCollection": "shop.c", "to": "shop.d"}"#);
    // A transaction that cannot be told aborts, and the session goes on.
    let within = |command: &str, first: bool| {
        let start = if first { r#""startTransaction": true, "# } else { "" };
        format!(r#"{{{command}, {start}"autocommit": false, "txnNumber": {{"$numberLong": "1"}}, "lsid": {{"id": {{"$binary": {{"base64": "AAAAAAAAAAAAAAAAAAAAAA==", "subType": "04"}}}}}}}}"#)
    };
    ann.ok("shop", &within(r#""insert": "fromtransaction", "documents": [{"_id": 1}]"#, true));
    assert_eq!(ann.code("admin", &within(r#""commitTransaction": 1"#, false)), 96);
    assert_ne!(ann.code("admin", &within(r#""commitTransaction": 1"#, false)), 0);
    // Neither is a stranger told whether he has guessed right.
    for password in ["annsecret", "wrong"] {
        assert_eq!(world.stranger().login("ann", password), Err(96), "{password}");
    }
    assert_eq!(bob.code("shop", r#"{"insert": "c", "documents": [{}]}"#), 96);
    // Nothing of it was done.
    let names = |conn: &mut Conn| json::value_to_relaxed(conn.ok("shop", r#"{"listCollections": 1, "nameOnly": true}"#).get("cursor"));
    assert_eq!(names(&mut ann), r#"{"firstBatch":[{"name":"c","type":"collection"}],"id":0,"ns":"shop.$cmd.listCollections"}"#);
    ann.ok("shop", r#"{"insert": "c", "documents": [{}]}"#);
    bob.ok("shop", r#"{"find": "c"}"#);
    let status = |conn: &mut Conn| json::value_to_relaxed(conn.ok("admin", r#"{"serverStatus": 1}"#).get("security").as_doc().unwrap().get("audit"));
    assert_eq!(status(&mut ann), r#"{"failing":true,"lost":0}"#);
    // The owner's session works, and what it does counts as lost.
    world.owner().ok("shop", r#"{"create": "owners"}"#);
    assert_eq!(status(&mut ann), r#"{"failing":true,"lost":1}"#);
    std::fs::rename(&away, world.dir.path()).unwrap();
    std::thread::sleep(Duration::from_millis(1500));
    assert_eq!(status(&mut ann), r#"{"failing":false,"lost":1}"#);
    ann.ok("shop", r#"{"create": "d"}"#);
    let told = world.told();
    // What had happened waited: who was refused.
    let count = |what: &str| told.iter().filter(|line| line.starts_with(what)).count();
    assert_eq!((count("authCheck"), count("createUser"), count("createCollection"), count("dropUser")), (1, 0, 1, 0), "{told:#?}");
    assert!(told.iter().any(|line| line.ends_with(" 18")), "{told:#?}");
}

#[test]
fn a_full_disk_at_the_start() {
    let full = |goes_on: bool| {
        let engine = open(Audit { goes_on, ..audit(Path::new("/dev/full")) });
        Conn(engine.session(Client::owner())).ok("admin", r#"{"createUser": "ann", "pwd": "p", "roles": ["root"]}"#);
        engine
    };
    let client = || Client { trust: Trust::Enforced, ..Client::owner() };
    let engine = full(false);
    let mut session = engine.session(client());
    assert_eq!(session.login("ann", "p", "admin").unwrap_err().code().0, 96);
    engine.close().unwrap();
    let engine = full(true);
    let mut session = engine.session(client());
    session.login("ann", "p", "admin").unwrap();
    let mut ann = Conn(session);
    ann.ok("shop", r#"{"create": "c"}"#);
    let status = ann.ok("admin", r#"{"serverStatus": 1}"#);
    let Value::Int64(lost) = status.get("security").as_doc().unwrap().get("audit").as_doc().unwrap().get("lost") else { panic!() };
    assert!(lost >= 3, "{lost}");
    drop(ann);
    engine.close().unwrap();
}

/// Two databases that write one file would cut each other's lines: the second does not begin. With a file each they do not mix.
#[test]
fn two_databases() {
    let dir = tempfile::tempdir().unwrap();
    let paths = ["one.json", "two.json"].map(|name| dir.path().join(name));
    let engines = [open(audit(&paths[0])), open(audit(&paths[1]))];
    let refused = Engine::open(Options { audit: Some(audit(&paths[0])), ..Options::default() }).err().unwrap();
    assert!(refused.message().contains("another database writes its audit log there"), "{refused:?}");
    std::thread::scope(|scope| {
        for (n, engine) in engines.iter().enumerate() {
            scope.spawn(move || {
                let mut conn = Conn(engine.session(Client { trust: Trust::Open, ..Client::owner() }));
                for c in 0..50 {
                    conn.ok(&format!("db{n}"), &format!(r#"{{"create": "c{c}"}}"#));
                }
            });
        }
    });
    for (n, path) in paths.iter().enumerate() {
        let text = std::fs::read_to_string(path).unwrap();
        assert_eq!((text.matches("createCollection").count(), text.contains(&format!("db{}", 1 - n))), (50, false));
    }
    // Closed, it is free.
    let [one, _two] = engines;
    one.close().unwrap();
    open(audit(&paths[0])).close().unwrap();
}

/// On the disk before the answer.
#[test]
fn synced_lines() {
    let world = World::new(|audit| audit.sync = true);
    let mut ann = world.ann();
    ann.ok("shop", r#"{"create": "c"}"#);
    assert!(world.told().contains(&r#"createCollection {"ns":"shop.c"} 0"#.to_owned()));
}
