//! killOp, currentOp, killSessions, killAllSessions, killAllSessionsByPattern

use smongo_bson::{Array, Doc, DocWriter, Result, Value, bail, number};
use smongo_mql::access::{Action, Need, Resource};

use crate::commands::rules;
use crate::data::lsid::Lsid;
use crate::service::command::{ADMIN, Access, Args, Command, Cx, LIGHT, Trust};
use crate::service::auth::principals::Principal;
use crate::service::auth::users::uid;
use crate::service::current_op::{self, Show};
use crate::service::sessions::digest;

pub const KILL_OP: Command = Command::new("killOp", kill_op, ADMIN | LIGHT, Access::User);
pub const CURRENT_OP: Command = Command::new("currentOp", current_op, ADMIN | LIGHT, Access::Computed(rules::current_op));
pub const KILL_SESSIONS: Command = Command::new("killSessions", kill_sessions, LIGHT, Access::User);
pub const KILL_ALL_SESSIONS: Command = Command::new("killAllSessions", kill_all_sessions, LIGHT, Access::Cluster(&[Action::KillAnySession]));
pub const KILL_ALL_SESSIONS_BY_PATTERN: Command = Command::new("killAllSessionsByPattern", kill_by_pattern, LIGHT, Access::Computed(rules::kill_by_pattern));

fn kill_op(cx: &mut Cx<'_>, args: &mut Args<'_>, reply: &mut DocWriter<'_>) -> Result<()> {
    let op = args.value("op");
    // Fields that nobody knows are nothing to this command.
    args.rest();
    if op.is_missing() {
        bail!(NoSuchKey, "Missing expected field \"op\"");
    }
    if !op.is_number() {
        bail!(TypeMismatch, "Expected field \"op\" to have numeric type, but found {}", op.type_name());
    }
    let Some(id) = number::to_i64_exact(op) else {
        bail!(BadValue, "Expected field \"op\" to have a value exactly representable as a 64-bit integer, but found {op:?}")
    };
    if i32::try_from(id).is_err() {
        bail!(26823, "invalid op : {id}. Op ID cannot be represented with 32 bits");
    }
    // One's own, or another's by who may kill any. Nobody else learns which numbers there are.
    if !cx.pass.held_to().is_some_and(|uid| cx.shared.operations.belongs_to(id as u64, uid)) {
        cx.pass.require(Need::new(Resource::Cluster, &[Action::Killop]), &cx.db, args.body().as_doc())?;
    }
    cx.shared.operations.kill(id as u64);
    cx.shared.wake_sleepers();
    reply.append("info", "attempting to kill op");
    Ok(())
}

fn current_op(cx: &mut Cx<'_>, args: &mut Args<'_>, reply: &mut DocWriter<'_>) -> Result<()> {
    // What is left of the arguments is a filter over the listing.
    args.first();
    let own = args.value("$ownOps").truthy();
    let show = Show { idle_connections: args.value("$all").truthy(), idle_cursors: false, idle_sessions: true, truncate: true, only: cx.pass.held_to().filter(|_| own) };
    let filter = smongo_bson::DocBuf::build(|w| {
        for e in args.rest() {
            w.append_element(&e);
        }
    });
    let matcher = smongo_mql::Matcher::compile(filter.as_doc(), &cx.op.compile)?;
    let arena = smongo_mql::Arena::new();
    let mut list = reply.array("inprog");
    for doc in current_op::list(&cx.shared, show) {
        if matcher.matches(doc.as_doc(), &arena)? {
            list.push(doc.as_doc());
        }
    }
    Ok(())
}

/// The array that is the command's first field.
fn listed<'a>(cx: &Cx<'_>, args: &mut Args<'a>) -> Result<Array<'a>> {
    match args.first() {
        Value::Array(list) => Ok(list),
        v => Err(args.wrong_type(cx.command.name, v, "array")),
    }
}

fn kill_sessions(cx: &mut Cx<'_>, args: &mut Args<'_>, _reply: &mut DocWriter<'_>) -> Result<()> {
    let list = listed(cx, args)?;
    args.finish()?;
    let (own, trust) = (cx.auth.uid(), cx.client.trust);
    let mut ids = Vec::new();
    for v in list.iter() {
        match v {
            Value::Document(d) => {
                let mut lsid = Lsid::parse(d)?;
                // Others' sessions are named by who may kill any.
                lsid.claim(own, cx.pass.holds(Need::new(Resource::Cluster, &[Action::KillAnySession])))?;
                ids.push(lsid);
            }
            v => bail!(TypeMismatch, "a session id must be an object, found {}", v.type_name()),
        }
    }
    if ids.is_empty() {
        ids = cx.shared.sessions.ids();
        ids.retain(|id| trust == Trust::Owner || id.uid == own);
    }
    kill(cx, &ids);
    Ok(())
}

fn kill_all_sessions(cx: &mut Cx<'_>, args: &mut Args<'_>, _reply: &mut DocWriter<'_>) -> Result<()> {
    let list = listed(cx, args)?;
    args.finish()?;
    let users = Principal::parse_listed(list)?;
    let mut ids = cx.shared.sessions.ids();
    ids.retain(|id| users.is_empty() || users.iter().any(|user| id.uid == Some(uid(user))));
    kill(cx, &ids);
    Ok(())
}

/// Kills the sessions that one of the patterns picks, or all when there is none.
fn kill_by_pattern(cx: &mut Cx<'_>, args: &mut Args<'_>, _reply: &mut DocWriter<'_>) -> Result<()> {
    let list = listed(cx, args)?;
    args.finish()?;
    let mut patterns = Vec::new();
    for (n, pattern) in list.iter().enumerate() {
        match pattern {
            Value::Document(d) => patterns.push(Pattern::parse(d)?),
            v => return Err(args.wrong_type(&format!("killAllSessionsByPattern.{n}"), v, "object")),
        }
    }
    let mut ids = cx.shared.sessions.ids();
    ids.retain(|id| patterns.is_empty() || patterns.iter().any(|p| p.picks(id)));
    kill(cx, &ids);
    Ok(())
}

/// Sessions of an id, or of a user by the hash of the name.
struct Pattern {
    lsid: Option<Lsid>,
    uid: Option<[u8; 32]>,
}

impl Pattern {
    fn parse(spec: Doc<'_>) -> Result<Pattern> {
        let mut args = Args::nested("KillAllSessionsByPatternCmd.killAllSessionsByPattern", spec);
        let lsid = args.doc("lsid")?.map(Lsid::parse).transpose()?;
        let uid = digest(&mut args, "uid")?;
        // Whom the sessions are to be killed for matters where there are privileges.
        args.accept(&["users", "roles"]);
        args.finish()?;
        if lsid.is_some() && uid.is_some() {
            bail!(InvalidOptions, "At most one of lsid and uid may be specified in a KillAllSessionsByPattern item");
        }
        Ok(Pattern { lsid, uid })
    }

    fn picks(&self, id: &Lsid) -> bool {
        // Named without its user it is the session of whomever.
        let same = |wanted: &Lsid| wanted.id == id.id && (wanted.uid.is_none() || wanted.uid == id.uid);
        self.lsid.as_ref().is_none_or(same) && self.uid.is_none_or(|wanted| id.uid == Some(wanted))
    }
}

fn kill(cx: &Cx<'_>, ids: &[Lsid]) {
    let shared = &cx.shared;
    let own = cx.lsid.as_ref();
    let others: Vec<Lsid> = ids.iter().filter(|id| Some(*id) != own).cloned().collect();
    shared.operations.kill_sessions(&others);
    shared.wake_sleepers();
    shared.cursors.kill_where(|c| c.lsid.as_ref().is_some_and(|l| ids.contains(l)));
    shared.sessions.abort(ids);
}
