//! saslStart, saslContinue, authenticate, logout

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use smongo_bson::{Binary, Doc, DocWriter, Result, Value, bail};

use crate::service::audit::{self, Weight};
use crate::service::auth::principals::Principal;
use crate::service::auth::scram::Mechanism;
use crate::service::auth::{Answer, Connection, Peer, SaslStart};
use crate::service::command::{Access, Args, Command, Cx, LIGHT};

pub const SASL_START: Command = Command::new("saslStart", sasl_start, LIGHT, Access::Open).hiding(&["payload"]);
pub const SASL_CONTINUE: Command = Command::new("saslContinue", sasl_continue, LIGHT, Access::Open).hiding(&["payload"]);
pub const AUTHENTICATE: Command = Command::new("authenticate", authenticate, LIGHT, Access::Open);
pub const LOGOUT: Command = Command::new("logout", logout, LIGHT, Access::Open);

fn sasl_start(cx: &mut Cx<'_>, args: &mut Args<'_>, reply: &mut DocWriter<'_>) -> Result<()> {
    let start = read_start(args, &cx.db, false)?;
    args.finish()?;
    let answer = with_peer(cx, |auth, peer| auth.start(peer, start))?;
    write_answer(&answer, reply);
    Ok(())
}

fn read_start<'a>(args: &mut Args<'a>, db: &str, speculative: bool) -> Result<SaslStart<'a>> {
    let Some(mechanism) = args.str("mechanism")? else { return Err(args.missing("mechanism")) };
    let payload = payload(args)?;
    let skip_empty = match args.doc("options")? {
        Some(options) => options.get("skipEmptyExchange").truthy(),
        None => false,
    };
    // Whoever logs in is somebody from then on, whatever this says.
    args.bool("autoAuthorize")?;
    Ok(SaslStart { db: db.to_owned(), mechanism, payload, skip_empty, speculative })
}

/// Bytes, or base64 of them.
fn payload(args: &mut Args<'_>) -> Result<Vec<u8>> {
    match args.value("payload") {
        Value::Binary(bytes) => Ok(bytes.bytes().to_vec()),
        Value::String(text) => match STANDARD.decode(text) {
            Ok(bytes) => Ok(bytes),
            Err(e) => bail!(FailedToParse, "the payload is no base64: {e}"),
        },
        v if v.is_nullish() => Err(args.missing("payload")),
        v => Err(args.wrong_type("payload", v, "string, binData")),
    }
}

fn sasl_continue(cx: &mut Cx<'_>, args: &mut Args<'_>, reply: &mut DocWriter<'_>) -> Result<()> {
    let Some(id) = args.int("conversationId")? else { return Err(args.missing("conversationId")) };
    let payload = payload(args)?;
    args.finish()?;
    let answer = with_peer(cx, |auth, peer| auth.proceed(peer, i32::try_from(id).unwrap_or(0), &payload))?;
    write_answer(&answer, reply);
    Ok(())
}

fn write_answer(answer: &Answer, w: &mut DocWriter<'_>) {
    let mut raw = vec![0];
    raw.extend_from_slice(&answer.payload);
    w.append("conversationId", 1).append("done", answer.done).append("payload", Value::Binary(Binary::from_raw(&raw)));
}

/// Runs a step of a login: it may wait, and holds nothing meanwhile.
fn with_peer<T>(cx: &mut Cx<'_>, step: impl FnOnce(&mut Connection, &Peer<'_>) -> Result<T>) -> Result<T> {
    let kill = cx.op.kill.clone();
    let peer = Peer { shared: cx.shared, client: cx.client, connection: cx.connection, kill: &kill };
    step(cx.auth, &peer)
}

/// MONGODB-X509: the name is the subject of the certificate that the connection was opened with.
fn authenticate(cx: &mut Cx<'_>, args: &mut Args<'_>, reply: &mut DocWriter<'_>) -> Result<()> {
    let mechanism = args.str("mechanism")?;
    let user = args.str("user")?;
    args.rest();
    let db = cx.db.clone();
    let name = with_peer(cx, |auth, peer| auth.by_certificate(peer, &db, mechanism.unwrap_or("MONGODB-X509"), user, false))?;
    reply.append("dbname", &*db).append("user", &*name);
    Ok(())
}

fn logout(cx: &mut Cx<'_>, args: &mut Args<'_>, _reply: &mut DocWriter<'_>) -> Result<()> {
    args.rest();
    let db = cx.db.clone();
    if let Some(user) = cx.auth.user().filter(|user| user.principal.db == db).cloned() {
        cx.tell(Weight::Past, || audit::logout(&user, &format!("Explicit logout from {db}")))?;
        with_peer(cx, |auth, peer| {
            auth.log_out(peer);
            Ok(())
        })?;
    }
    Ok(())
}

/// hello's `speculativeAuthenticate`: the first command of a login, sent along. It is answered in a field of the reply; when it
/// fails there is none, and the client goes the long way.
pub fn speculate(cx: &mut Cx<'_>, command: Doc<'_>, w: &mut DocWriter<'_>) {
    let mut args = Args::nested("speculativeAuthenticate", command);
    let name = command.first().map_or("", |e| e.name());
    let Ok(db) = args.str("db").map(|db| db.unwrap_or("admin")) else { return };
    match name {
        "saslStart" => {
            let Ok(start) = read_start(&mut args, db, true) else { return };
            if let Ok(answer) = with_peer(cx, |auth, peer| auth.start(peer, start)) {
                write_answer(&answer, &mut w.document("speculativeAuthenticate"));
            }
        }
        "authenticate" => {
            let (Ok(mechanism), Ok(user)) = (args.str("mechanism"), args.str("user")) else { return };
            if let Ok(name) = with_peer(cx, |auth, peer| auth.by_certificate(peer, db, mechanism.unwrap_or("MONGODB-X509"), user, true)) {
                w.document("speculativeAuthenticate").append("dbname", db).append("user", &*name);
            }
        }
        _ => {}
    }
}

/// hello's `saslSupportedMechs`: by what the user of this name can log in. Somebody who is not there can as much as a new user,
/// so that nobody learns who is.
pub fn write_mechanisms(cx: &Cx<'_>, user: &str, w: &mut DocWriter<'_>) -> Result<()> {
    let Some((db, name)) = user.split_once('.') else { bail!(BadValue, "UserName must contain a '.' separated database.user pair, found \"{user}\"") };
    cx.shared.logins.asked();
    let who = Principal::new(name, db);
    let known = cx.shared.users.account(cx.shared, &who)?;
    let mut names: Vec<&str> = match &known {
        Some(account) if account.external => vec!["MONGODB-X509"],
        Some(account) => account.mechanisms().map(|mechanism| mechanism.name()).collect(),
        None if db == "$external" => return Ok(()),
        None => Mechanism::ALL.map(|mechanism| mechanism.name()).to_vec(),
    };
    names.retain(|name| cx.shared.parameters.enables(name));
    let mut list = w.array("saslSupportedMechs");
    for name in names {
        list.push(name);
    }
    Ok(())
}
