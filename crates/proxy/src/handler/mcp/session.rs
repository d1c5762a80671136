//! A session: what was agreed with whom, and what is remembered of it beside that.

use std::{
    any::Any,
    collections::HashMap,
    rc::Rc,
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::AtomicU64},
};

use serde::{Deserialize, Serialize};

pub use super::keys::keep_keys_in;
pub(in crate::handler) use super::keys::secret;
pub(crate) use super::keys::{data_dir, kept};
use super::{asked::Asker, asking::Open, beside::Beside, message::spelled, revision::Revision};

/// Calls of one session that are remembered while they are on their way.
const IN_FLIGHT_MAX: usize = 1024;

/// What a session is with one server.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Leg {
    /// The server.
    #[serde(rename = "n")]
    pub(super) server: Arc<str>,
    /// The id that the server gave, when it gave one.
    #[serde(rename = "i", default, skip_serializing_if = "Option::is_none")]
    pub(super) id: Option<Box<str>>,
    /// The revision that it speaks.
    #[serde(rename = "r")]
    pub(super) revision: Revision,
    /// What it can do.
    #[serde(rename = "c")]
    pub(super) can: Can,
}

/// What a server can do.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Can(pub(super) u8);

impl Can {
    pub(super) const TOOLS: u8 = 1;
    pub(super) const RESOURCES: u8 = 2;
    pub(super) const PROMPTS: u8 = 4;
    pub(super) const COMPLETIONS: u8 = 8;
    pub(super) const LOGGING: u8 = 16;

    /// Whether it can do this.
    pub(super) fn do_(self, what: u8) -> bool {
        self.0 & what != 0
    }
}

/// What an id holds.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Seal {
    /// When it began, in seconds since 1970.
    #[serde(rename = "t")]
    pub(super) began: u64,
    /// Whom it belongs to.
    #[serde(rename = "w")]
    pub(super) who: String,
    /// The revision that the client speaks.
    #[serde(rename = "r")]
    pub(super) revision: Revision,
    /// What the client told of itself, for servers that come later.
    #[serde(rename = "p")]
    pub(super) client: String,
    /// The servers that took part from the beginning.
    #[serde(rename = "s")]
    pub(super) legs: Vec<Leg>,
}

/// A session as one call sees it.
#[derive(Clone)]
pub(super) struct Session {
    /// Its id as clients send it.
    pub(super) id: Arc<str>,
    /// Says nothing of the id.
    pub(super) digest: Arc<str>,
    pub(super) seal: Arc<Seal>,
    pub(super) live: Arc<Live>,
    /// Of a caller who is nobody: the session ends at the servers when the last of the call lets go of it.
    pub(super) guest: Option<Rc<dyn Any>>,
    /// Of a client of the revision without sessions: who it is, and what it can be asked.
    pub(super) asker: Option<Rc<Asker>>,
    /// The call is a batch, whose answers come together: nobody can be asked before them.
    pub(super) in_batch: bool,
}

/// What is remembered of a session beside its id.
#[derive(Default)]
pub(super) struct Live {
    /// Milliseconds after the start.
    pub(super) used: AtomicU64,
    /// Whom it is counted for.
    pub(super) owner: Box<str>,
    /// Legs that were begun, or begun again, after the session.
    pub(super) late: Mutex<HashMap<Arc<str>, Leg>>,
    /// Questions of servers that wait for answers.
    pub(super) open: Mutex<Open>,
    /// Servers' own streams beside the calls of clients that can be asked, by server and the session there.
    pub(super) beside: Mutex<HashMap<String, Arc<Beside>>>,
    /// Which server works on a request, by its id.
    in_flight: Mutex<HashMap<Box<str>, Arc<str>>>,
}

pub(super) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Live {
    /// Of a session that is counted for `owner` and was used at this time.
    pub(super) fn of(owner: &str, used: u64) -> Self {
        Self { used: AtomicU64::new(used), owner: owner.into(), ..Self::default() }
    }

    /// Legs that were begun after the session.
    pub(super) fn begun(&self) -> Vec<Leg> {
        locked(&self.late).values().cloned().collect()
    }
}

impl Session {
    pub(super) fn of(id: Arc<str>, digest: Arc<str>, seal: Seal, live: Arc<Live>) -> Self {
        Self { id, digest, seal: Arc::new(seal), live, guest: None, asker: None, in_batch: false }
    }

    /// One that nobody comes back to.
    pub(super) fn of_one_call(seal: Seal) -> Self {
        let (id, digest) = ("".into(), "stateless".into());
        Self::of(id, digest, seal, Arc::default())
    }

    /// What it is with a server; `None` when it has not begun with it.
    pub(super) fn leg(&self, server: &str) -> Option<Leg> {
        let late = locked(&self.live.late).get(server).cloned();
        late.or_else(|| self.seal.legs.iter().find(|leg| &*leg.server == server).cloned())
    }

    /// Remembers a leg that was begun after the session.
    pub(super) fn begin(&self, leg: Leg) {
        locked(&self.live.late).insert(leg.server.clone(), leg);
    }

    /// Remembers which server works on a request.
    pub(super) fn sent(&self, id: &str, server: &Arc<str>) {
        let mut all = locked(&self.live.in_flight);
        if all.len() < IN_FLIGHT_MAX {
            all.insert(spelled(id).into(), server.clone());
        }
    }

    /// Forgets it.
    pub(super) fn done(&self, id: &str) {
        locked(&self.live.in_flight).remove(&*spelled(id));
    }

    /// Which server works on a request, as far as is known here.
    pub(super) fn works_on(&self, id: &str) -> Option<Arc<str>> {
        locked(&self.live.in_flight).get(&*spelled(id)).cloned()
    }
}
