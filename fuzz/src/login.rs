//! Logging in: bytes as the messages of SCRAM, and sequences of its commands on one connection. Nothing but a right proof makes
//! somebody of a stranger.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::OnceLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};
use smongo_bson::{Binary, DocBuf, DocWriter, Value, json};
use smongo_engine::{Client, Engine, Options, Request, Session, Trust};

const MECHANISM: &str = "SCRAM-SHA-256";

fn engine() -> &'static Engine {
    static ENGINE: OnceLock<Engine> = OnceLock::new();
    ENGINE.get_or_init(|| {
        let parameters = vec![("scramSHA256IterationCount".to_owned(), "5000".to_owned())];
        let engine = Engine::open(Options { parameters, ..Options::default() }).expect("an engine in memory");
        let mut owner = engine.session(Client::owner());
        for (name, password) in USERS.iter().filter_map(|(name, password)| Some((name, (*password)?))) {
            let command = json::parse_doc(&format!(r#"{{"createUser": "{name}", "pwd": "{password}", "roles": [], "mechanisms": ["{MECHANISM}"]}}"#));
            owner.run_command("d", &command.expect("a command")).expect("a new user");
        }
        engine
    })
}

/// Those who are there have a password.
const USERS: [(&str, Option<&str>); 3] = [("ann", Some("pencil")), ("bob", Some("rubber")), ("nobody", None)];

/// A connection of a server that asks who is there; nothing is counted, so that nothing waits.
fn stranger() -> Session {
    engine().session(Client { remote: "10.0.0.1:5000".into(), trust: Trust::Open, ..Client::owner() })
}

fn run(session: &mut Session, fill: impl FnOnce(&mut DocWriter<'_>)) -> DocBuf {
    let body = DocBuf::build(fill);
    let mut reply = Vec::new();
    session.run(&Request::new(body.as_doc()), &mut reply);
    DocBuf::parse(reply).expect("a reply is a document")
}

fn payload(w: &mut DocWriter<'_>, bytes: &[u8]) {
    let raw = [b"\0", bytes].concat();
    w.append("payload", Value::Binary(Binary::from_raw(&raw)));
}

fn start(session: &mut Session, message: &[u8], skip_empty: bool) -> DocBuf {
    run(session, |w| {
        w.append("saslStart", 1).append("mechanism", MECHANISM);
        payload(w, message);
        w.document("options").append("skipEmptyExchange", skip_empty);
        w.append("$db", "d");
    })
}

fn proceed(session: &mut Session, id: i32, message: &[u8]) -> DocBuf {
    run(session, |w| {
        w.append("saslContinue", 1).append("conversationId", id);
        payload(w, message);
        w.append("$db", "d");
    })
}

fn answered(reply: &DocBuf) -> Option<String> {
    match reply.get("payload") {
        Value::Binary(b) if reply.get("ok").truthy() => Some(String::from_utf8(b.bytes().to_vec()).expect("the server's messages are text")),
        _ => None,
    }
}

fn who(session: &mut Session) -> Option<String> {
    let status = run(session, |w| {
        w.append("connectionStatus", 1).append("$db", "admin");
    });
    let users = status.get("authInfo").as_doc().and_then(|info| info.get("authenticatedUsers").as_array()).expect("it tells the users");
    let name = users.iter().next().and_then(|user| user.as_doc()).map(|user| user.get("user").as_str().unwrap_or_default().to_owned());
    name
}

/// Bytes as the client's two messages; `NONCE` in the second stands for the server's.
pub fn scram(data: &[u8]) {
    thread_local! {
        static SESSION: RefCell<Session> = RefCell::new(stranger());
    }
    let cut = data.iter().position(|b| *b == b'|').unwrap_or(data.len());
    let (first, last) = (&data[..cut], data.get(cut + 1..).unwrap_or_default());
    SESSION.with_borrow_mut(|session| {
        let begun = start(session, first, true);
        let Some(said) = answered(&begun) else {
            assert_eq!(code(&begun), 18, "{begun:?}");
            return;
        };
        let nonce = said.strip_prefix("r=").and_then(|rest| rest.split(',').next()).expect("the server says its nonce");
        let last = String::from_utf8_lossy(last).replace("NONCE", nonce);
        let done = proceed(session, 1, last.as_bytes());
        assert_eq!(code(&done), 18, "{done:?}");
        assert_eq!(who(session), None);
    });
}

/// Good messages, to be bent.
pub fn scram_seeds() -> Vec<Vec<u8>> {
    ["n,,n=ann,r=abc|c=biws,r=NONCE,p=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", "y,a=a=2Cb,n=a=2Cb,r=x|c=eSws,r=NONCE,z=1,p=AAAA"].map(|s| s.as_bytes().to_vec()).to_vec()
}

fn code(reply: &DocBuf) -> i32 {
    match reply.get("code") {
        Value::Int32(code) => code,
        _ => 0,
    }
}

fn hmac(key: &[u8], message: &[u8]) -> [u8; 32] {
    let mut block = [0; 64];
    block[..key.len()].copy_from_slice(key);
    let inner = Sha256::new().chain_update(block.map(|b| b ^ 0x36)).chain_update(message).finalize();
    Sha256::new().chain_update(block.map(|b| b ^ 0x5c)).chain_update(inner).finalize().into()
}

/// A user's key: made once, since its salt stays.
fn client_key(user: usize, salt: &[u8]) -> [u8; 32] {
    thread_local! {
        static KEYS: RefCell<HashMap<usize, [u8; 32]>> = RefCell::default();
    }
    KEYS.with_borrow_mut(|keys| {
        *keys.entry(user).or_insert_with(|| {
            let password = USERS[user].1.unwrap_or("pencil");
            let mut last = hmac(password.as_bytes(), &[salt, &[0, 0, 0, 1]].concat());
            let mut all = last;
            for _ in 1..5000 {
                last = hmac(password.as_bytes(), &last);
                all.iter_mut().zip(last).for_each(|(a, b)| *a ^= b);
            }
            hmac(&all, b"Client Key")
        })
    })
}

/// What a right client would send.
fn proof(user: usize, bare: &str, said: &str) -> String {
    let field = |name: &str| said.split(',').find_map(|f| f.strip_prefix(name)).expect("a field of the server's message");
    let without = format!("c=biws,r={}", field("r="));
    let key = client_key(user, &STANDARD.decode(field("s=")).expect("base64"));
    let signature = hmac(&Sha256::digest(key), format!("{bare},{said},{without}").as_bytes());
    let proof: Vec<u8> = key.iter().zip(signature).map(|(a, b)| a ^ b).collect();
    format!("{without},p={}", STANDARD.encode(proof))
}

/// Where a conversation stands, as it must be.
enum Stands {
    Nowhere,
    Proof { user: usize, skip: bool, bare: String, said: String },
    End { user: usize },
}

/// Bytes as steps of a client, right ones and wrong ones. The connection is who the right ones make it.
pub fn conversation(data: &[u8]) {
    let mut session = stranger();
    let (mut stands, mut is) = (Stands::Nowhere, None);
    for step in data.iter().take(40) {
        let user = usize::from(step >> 4) % USERS.len();
        let before = std::mem::replace(&mut stands, Stands::Nowhere);
        match step % 16 {
            0..=4 => {
                let (skip, bare) = (step % 2 == 0, format!("n={},r=c{step}", USERS[user].0));
                let begun = start(&mut session, format!("n,,{bare}").as_bytes(), skip);
                let said = answered(&begun).expect("a first message is answered");
                stands = Stands::Proof { user, skip, bare, said };
            }
            5..=9 => match before {
                Stands::Proof { user, skip, bare, said } => {
                    let right = USERS[user].1.is_some();
                    let done = proceed(&mut session, 1, proof(user, &bare, &said).as_bytes());
                    assert_eq!((code(&done), done.get("done").truthy()), if right { (0, skip) } else { (18, false) }, "{done:?}");
                    match (right, skip) {
                        (true, true) => is = Some(USERS[user].0.to_owned()),
                        (true, false) => stands = Stands::End { user },
                        _ => {}
                    }
                }
                Stands::End { user } => {
                    assert!(proceed(&mut session, 1, b"").get("done").truthy());
                    is = Some(USERS[user].0.to_owned());
                }
                Stands::Nowhere => assert_eq!(code(&proceed(&mut session, 1, b"")), 17),
            },
            10 => assert!(matches!((code(&proceed(&mut session, 1, b"c=biws,r=x,p=AAAA")), before), (17, Stands::Nowhere) | (18, Stands::Proof { .. } | Stands::End { .. }))),
            11 => assert_eq!(code(&proceed(&mut session, 2, b"")), 17),
            12 => assert_eq!(code(&start(&mut session, b"n,,x", true)), 18),
            13 => {
                run(&mut session, |w| {
                    w.append("logout", 1).append("$db", "d");
                });
                // It ends the conversation of who is there only.
                (is, stands) = if is.is_some() { (None, Stands::Nowhere) } else { (None, before) };
            }
            // Anything else leaves the conversation as it is.
            _ => {
                run(&mut session, |w| {
                    w.append("ping", 1).append("$db", "d");
                });
                stands = before;
            }
        }
        assert_eq!(who(&mut session), is, "after step {step} of {data:?}");
    }
}
