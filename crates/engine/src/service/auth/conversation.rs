//! Logging in by several messages: the server's side of SASL. A connection has one conversation at most.

use std::sync::Arc;
use std::time::Instant;

use smongo_bson::{Result, bail};

use super::connection::{Connection, Peer};
use super::principals::Principal;
use super::scram::{self, ClientFirst, Exchange, Mechanism};
use super::users::Account;
use crate::data::limits;

/// The id of a connection's only conversation.
pub const ID: i32 = 1;

/// What `saslStart` asks.
pub struct SaslStart<'a> {
    pub db: String,
    pub mechanism: &'a str,
    pub payload: Vec<u8>,
    /// The client wants no empty messages at the end.
    pub skip_empty: bool,
    /// It came with a hello, by a client that does not know yet what the user can log in by.
    pub speculative: bool,
}

/// What the client is answered.
pub struct Answer {
    pub payload: Vec<u8>,
    pub done: bool,
}

/// A conversation that waits for the client.
pub struct Conversation {
    mechanism: Mechanism,
    who: Principal,
    /// None for somebody who is not there, or cannot log in that way.
    account: Option<Arc<Account>>,
    skip_empty: bool,
    speculative: bool,
    since: Instant,
    step: Step,
}

enum Step {
    /// For the proof.
    Proof(Exchange),
    /// For the empty message after it.
    End,
}

impl Conversation {
    /// Who logs in, and how.
    pub(super) fn names(&self) -> (&Principal, &'static str) {
        (&self.who, self.mechanism.name())
    }
}

impl Connection {
    /// Begins a conversation, in the place of the one that was under way.
    pub fn start(&mut self, peer: &Peer<'_>, start: SaslStart<'_>) -> Result<Answer> {
        self.abandon(peer);
        let enabled = Mechanism::of_name(start.mechanism).filter(|mechanism| peer.shared.parameters.enables(mechanism.name()));
        let Some(mechanism) = enabled else {
            return Err(peer.unavailable(&start.db, start.mechanism));
        };
        let refuse = |who: Option<&Principal>, reason: &str| Err(peer.refuse(who, mechanism.name(), reason));
        if start.payload.len() > limits::LOGIN_BYTES {
            return refuse(None, "the first message is too long");
        }
        let Some(first) = ClientFirst::parse(&start.payload) else { return refuse(None, "the first message is none of SCRAM") };
        let who = Principal::new(&first.user, &start.db);
        peer.may_try(&who, mechanism.name())?;
        let account = peer.shared.users.account(peer.shared, &who)?;
        // The reply says what the user can log in by, and the client takes that: nothing has failed yet.
        if start.speculative && account.as_ref().is_some_and(|account| account.keys(mechanism).is_none()) {
            return Err(super::connection::failure());
        }
        peer.shared.logins.received(mechanism.name(), start.speculative);
        // Made for everybody, so that it takes the same time.
        let nobodys = peer.nobodys_keys(mechanism, &who)?;
        let keys = account.as_ref().and_then(|account| account.keys(mechanism));
        let (exchange, answer) = Exchange::begin(mechanism, first, keys.unwrap_or(&nobodys).clone(), &scram::nonce()?);
        let account = account.filter(|account| account.keys(mechanism).is_some());
        self.conversation = Some(Conversation { mechanism, who, account, skip_empty: start.skip_empty, speculative: start.speculative, since: Instant::now(), step: Step::Proof(exchange) });
        Ok(Answer { payload: answer.into_bytes(), done: false })
    }

    /// The client's next message.
    pub fn proceed(&mut self, peer: &Peer<'_>, id: i32, payload: &[u8]) -> Result<Answer> {
        if id != ID {
            self.abandon(peer);
        }
        let Some(conversation) = self.conversation.take() else { bail!(ProtocolError, "No SASL session state found") };
        let Conversation { mechanism, who, account, skip_empty, speculative, since, step } = conversation;
        let refuse = |reason: &str| Err(peer.refuse(Some(&who), mechanism.name(), reason));
        if since.elapsed() > limits::LOGIN_TIME {
            return refuse("it took too long");
        }
        if payload.len() > limits::LOGIN_BYTES {
            return refuse("a message is too long");
        }
        match (step, account) {
            (Step::Proof(exchange), account) => {
                let verified = exchange.finish(payload);
                let (Some(verified), Some(account)) = (verified, account) else { return refuse("wrong name or password") };
                if skip_empty {
                    self.admit(peer, &account, mechanism.name(), speculative)?;
                } else {
                    self.conversation = Some(Conversation { mechanism, who, account: Some(account), skip_empty, speculative, since, step: Step::End });
                }
                Ok(Answer { payload: verified.into_bytes(), done: skip_empty })
            }
            (Step::End, Some(account)) if payload.is_empty() => {
                self.admit(peer, &account, mechanism.name(), speculative)?;
                Ok(Answer { payload: Vec::new(), done: true })
            }
            (Step::End, _) => refuse("the last message is not empty"),
        }
    }
}
