//! Retryable writes: a statement that is sent twice is applied once, with the first reply, also after a restart.
//!
//! What a statement answered is written in the statement's own transaction, under its session and number. A session keeps the
//! statements of its newest transaction number; keys are used again from number to number, so a session takes little room.
//! One command of a session's retryable write runs at a time: a second try waits for the first one to end.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::lock_api::ArcMutexGuard;
use smongo_bson::{Doc, DocBuf, Result, Value, number};
use smongo_storage::{Begin, Durability, Session};

use crate::data::clock::now_millis;
use crate::data::database::Data;
use crate::data::keys::{COMMIT_STATEMENT, session_key, session_prefix};
use crate::data::limits;
use crate::data::lsid::Lsid;

/// Where a logical session keeps what its retryable write answered.
pub trait Answers: Send + Sync {
    /// What the statement answered, if it was applied.
    fn answered(&self, statement: i32) -> Option<DocBuf>;
    fn remember(&self, statements: &mut Vec<Statements>);
}

pub type Turn = ArcMutexGuard<parking_lot::RawMutex, ()>;

/// A run of statements with the same answer.
#[derive(Clone, Debug)]
pub struct Statements {
    pub first: i32,
    pub last: i32,
    pub reply: DocBuf,
}

/// The retryable write a command belongs to.
pub struct Retry {
    pub session: Arc<dyn Answers>,
    pub lsid: Lsid,
    pub number: i64,
    /// Written in the transaction that has not committed yet.
    pub noted: Vec<Statements>,
    /// Keeps other tries of the same write waiting.
    pub _turn: Turn,
}

impl Retry {
    /// What an earlier try of this statement answered.
    pub fn answered(&self, statement: i32) -> Option<DocBuf> {
        self.session.answered(statement)
    }

    /// Writes what statements answer, in the session's transaction.
    pub fn note(&mut self, data: &Data, session: &mut Session, statements: Statements) -> Result<()> {
        let record = DocBuf::build(|w| {
            w.append("n", self.number).append("last", statements.last).append("t", Value::DateTime(now_millis()));
            w.append("r", statements.reply.as_doc());
        });
        session.insert(&data.statements, &key(&self.lsid, statements.first), record.as_bytes())?;
        self.noted.push(statements);
        Ok(())
    }

    /// The transaction committed.
    pub fn committed(&mut self) {
        if !self.noted.is_empty() {
            self.session.remember(&mut self.noted);
        }
    }
}

fn key(lsid: &Lsid, statement: i32) -> Vec<u8> {
    session_key(&lsid.id, lsid.uid.as_ref(), statement)
}

/// Writes that a multi-document transaction committed, in its own transaction.
pub fn note_commit(data: &Data, session: &mut Session, lsid: &Lsid, number: i64) -> Result<()> {
    let record = DocBuf::build(|w| {
        w.append("n", number).append("t", Value::DateTime(now_millis()));
    });
    session.insert(&data.statements, &key(lsid, COMMIT_STATEMENT), record.as_bytes())?;
    Ok(())
}

/// What the store remembers of a session.
#[derive(Debug)]
pub struct Remembered {
    pub number: i64,
    pub committed: bool,
    pub statements: Vec<Statements>,
}

/// Reads what the store remembers of a session that this process has not seen.
pub fn load(data: &Data, lsid: &Lsid) -> Result<Option<Remembered>> {
    let mut session = data.store.session()?;
    session.begin(Begin::default())?;
    let prefix = session_prefix(&lsid.id, lsid.uid.as_ref());
    let cursor = session.open(&data.statements)?;
    let mut found = session.seek_ge(cursor, &prefix)?;
    let mut newest: Option<Remembered> = None;
    while found && session.key(cursor).starts_with(&prefix) {
        let statement = session.key(cursor).last_chunk::<4>().map_or(0, |b| i32::from_be_bytes(*b));
        add(&mut newest, statement, Doc::from_checked(session.value(cursor)));
        found = session.next(cursor)?;
    }
    session.release(cursor);
    session.rollback()?;
    Ok(newest)
}

fn add(newest: &mut Option<Remembered>, statement: i32, record: Doc<'_>) {
    let number = number::to_i64_exact(record.get("n")).unwrap_or(-1);
    if newest.as_ref().is_none_or(|r| r.number < number) {
        *newest = Some(Remembered { number, committed: false, statements: Vec::new() });
    }
    let Some(remembered) = newest.as_mut().filter(|r| r.number == number) else { return };
    if statement == COMMIT_STATEMENT {
        remembered.committed = true;
        return;
    }
    let last = number::to_i64_exact(record.get("last")).map_or(statement, |n| n as i32);
    let reply = DocBuf::from(record.get("r").as_doc().unwrap_or(Doc::EMPTY));
    remembered.statements.push(Statements { first: statement, last, reply });
}

/// Removes records older than a session may live idle.
pub fn expire(data: &Data, idle: Duration) -> Result<()> {
    let oldest = now_millis().saturating_sub(i64::try_from(idle.as_millis()).unwrap_or(i64::MAX));
    let mut from: Option<Vec<u8>> = None;
    loop {
        let mut session = data.store.session()?;
        session.begin(Begin::default())?;
        let cursor = session.open(&data.statements)?;
        let mut found = match &from {
            None => session.next(cursor)?,
            Some(key) => session.seek_ge(cursor, key)?,
        };
        let (mut old, mut seen) = (Vec::new(), 0);
        while found && seen < limits::EXPIRE_STEP {
            seen += 1;
            if matches!(Doc::from_checked(session.value(cursor)).get("t"), Value::DateTime(t) if t < oldest) {
                old.push(session.key(cursor).to_vec());
            }
            found = session.next(cursor)?;
        }
        from = found.then(|| session.key(cursor).to_vec());
        session.release(cursor);
        for key in &old {
            session.remove(&data.statements, key)?;
        }
        session.commit(Durability::Lazy)?;
        if from.is_none() || data.shutting_down() {
            return Ok(());
        }
    }
}

/// How long a second try waits before it looks again whether it should go on waiting.
pub const TURN_POLL: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_newest_number_of_a_session_counts() {
        let record = |n: i64, last: i32| DocBuf::build(|w| {
            w.append("n", n).append("last", last);
            w.document("r").append("n", 1);
        });
        let mut newest = None;
        add(&mut newest, 0, record(4, 9).as_doc());
        add(&mut newest, 10, record(3, 19).as_doc());
        let remembered = newest.as_ref().unwrap();
        assert_eq!((remembered.number, remembered.statements.len(), remembered.committed), (4, 1, false));
        add(&mut newest, COMMIT_STATEMENT, record(5, 0).as_doc());
        let remembered = newest.unwrap();
        assert_eq!((remembered.number, remembered.statements.len(), remembered.committed), (5, 0, true));
    }
}
