//! Whose command runs on a thread. Whatever is committed there is told as his, however deep below the command it is.

use std::cell::RefCell;
use std::sync::Arc;

use smongo_bson::{Result, bail};

use super::event::for_a_while;
use super::{Audit, Event, PATIENCE, Weight, Who};
use crate::service::auth::users::User;
use crate::service::operations::Place;
use crate::service::shared::Shared;

struct Speaker {
    place: Arc<Place>,
    connection: u64,
    user: Option<Arc<User>>,
    /// What the command says of itself, in the place of what it changes of users and roles.
    told: Told,
}

enum Told {
    Nothing,
    /// To be written when it is committed.
    Due(Event),
    Written(Event),
}

thread_local! {
    static SPEAKER: RefCell<Option<Speaker>> = const { RefCell::new(None) };
}

/// As long as it is there, what the thread does is its speaker's.
pub struct Speaking(Option<Speaker>);

impl Drop for Speaking {
    fn drop(&mut self) {
        let before = self.0.take();
        let _ = SPEAKER.try_with(|speaker| *speaker.borrow_mut() = before);
    }
}

pub fn speak(place: &Arc<Place>, connection: u64, user: Option<&Arc<User>>) -> Speaking {
    let speaker = Speaker { place: place.clone(), connection, user: user.cloned(), told: Told::Nothing };
    Speaking(SPEAKER.with(|current| current.borrow_mut().replace(speaker)))
}

/// Runs something with whoever speaks on this thread, or with nobody where the database does something by itself.
pub fn speaking<T>(shared: &Shared, run: impl FnOnce(&Who<'_>) -> T) -> T {
    let current = SPEAKER.with(|s| s.borrow().as_ref().map(|s| (s.place.clone(), s.connection, s.user.clone())));
    match &current {
        Some((place, connection, user)) => {
            let check = || match shared.shutting_down() {
                true => bail!(InterruptedAtShutdown, "interrupted at shutdown"),
                false => place.check(),
            };
            run(&Who { client: Some(place.client()), connection: *connection, user: user.as_deref(), check: &check })
        }
        None => run(&Who { client: None, connection: 0, user: None, check: &for_a_while(PATIENCE) }),
    }
}

/// The command that runs on this thread will change users or roles: this is told when it commits that.
pub fn will_tell(event: Event) {
    SPEAKER.with(|s| {
        if let Some(speaker) = &mut *s.borrow_mut() {
            speaker.told = Told::Due(event);
        }
    });
}

/// What the command has to say of a change of users and roles, if it has: the first time an event, and nothing after that.
pub(super) fn told() -> Option<Option<Event>> {
    SPEAKER.with(|s| {
        let mut speaker = s.borrow_mut();
        let told = &mut speaker.as_mut()?.told;
        match std::mem::replace(told, Told::Nothing) {
            Told::Nothing => None,
            Told::Due(event) => {
                *told = Told::Written(event.clone());
                Some(Some(event))
            }
            Told::Written(event) => {
                *told = Told::Written(event);
                Some(None)
            }
        }
    })
}

/// It was not committed: the command may try again.
pub(super) fn untold() {
    SPEAKER.with(|s| {
        if let Some(speaker) = &mut *s.borrow_mut() {
            speaker.told = match std::mem::replace(&mut speaker.told, Told::Nothing) {
                Told::Written(event) => Told::Due(event),
                told => told,
            };
        }
    });
}

/// A command that went well and found nothing to change says so.
pub fn tell_the_rest(shared: &Shared, audit: &Audit) -> Result<()> {
    match told() {
        Some(Some(event)) => speaking(shared, |who| audit.tell(who, Weight::Before, &event)),
        _ => Ok(()),
    }
}
