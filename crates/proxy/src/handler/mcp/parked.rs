//! Calls whose servers have asked, until their clients come back with the answers: what a client comes back with, how
//! many such calls there may be, and what became of them.
//!
//! A state is sealed, of one round of one call, and names a call of this process: which is kept here, by a number that
//! nobody can guess, with the way to the worker that has its stream.

use std::{
    collections::HashMap,
    sync::{
        Mutex,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use aws_lc_rs::{digest, rand};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};

use super::{session::locked, sessions::Sessions};

/// Calls of one caller that wait for its answers; the oldest gives way.
pub(super) const EACH_MAX: usize = 64;
/// The same of all callers of a route; beyond it the oldest of whoever has most gives way to those who have less.
const ALL_MAX: usize = 1024;
/// Bytes that servers of a route say while their clients are asked; beyond it they are not read.
const BYTES_MAX: usize = 64 * 1024 * 1024;
/// Bytes of a state that are read: longer ones are none of the gateway's.
const STATE_BYTES_MAX: usize = 4096;
const PURPOSE: &str = "asked";
/// Version of what a state holds.
const FORM: u8 = 1;

/// What a client comes back with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct State {
    #[serde(rename = "f")]
    form: u8,
    /// The round of the call.
    #[serde(rename = "i")]
    pub(super) id: Box<str>,
    /// Until when it is open, in seconds since 1970.
    #[serde(rename = "u")]
    pub(super) until: u64,
    /// The server that asks.
    #[serde(rename = "s")]
    pub(super) server: Box<str>,
    /// Whose call it is, and what call: see [`binding`].
    #[serde(rename = "b")]
    pub(super) binding: Box<str>,
}

impl State {
    pub(super) fn new(id: &str, until: u64, server: &str, binding: &str) -> Self {
        Self { form: FORM, id: id.into(), until, server: server.into(), binding: binding.into() }
    }
}

impl Sessions {
    /// A state as the client gets it.
    pub(super) fn state_sealed(&self, state: &State) -> Option<String> {
        self.sealed(PURPOSE, serde_json::to_vec(state).ok()?)
    }

    /// What a client came back with, where it is one of this gateway's; a server's own is none.
    pub(super) fn state_of(&self, text: &str) -> Option<State> {
        if text.len() > STATE_BYTES_MAX {
            return None;
        }
        let state: State = serde_json::from_slice(&self.unsealed(PURPOSE, text)?).ok()?;
        (state.form == FORM).then_some(state)
    }
}

/// One text for several, in which none can pass for another.
pub(super) fn binding(parts: &[&str]) -> String {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in parts {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part.as_bytes());
    }
    URL_SAFE_NO_PAD.encode(context.finish())
}

/// A number that nobody can guess; none where the system has no random ones.
pub(super) fn fresh_id() -> Option<Box<str>> {
    let mut bytes = [0; 16];
    rand::fill(&mut bytes).ok()?;
    Some(URL_SAFE_NO_PAD.encode(bytes).into())
}

/// What became of calls whose servers asked.
#[derive(Debug, Default)]
pub(super) struct Counts {
    /// Rounds that clients were asked.
    pub(super) asked: AtomicU64,
    /// Rounds that they answered.
    pub(super) answered: AtomicU64,
    /// Rounds that were open for too long.
    pub(super) expired: AtomicU64,
    /// Rounds that gave way to newer ones.
    pub(super) evicted: AtomicU64,
    /// Questions that could be put to nobody.
    pub(super) refused: AtomicU64,
    /// Rounds that ended otherwise: a server that took no answer, a client that left.
    pub(super) lost: AtomicU64,
}

/// One more.
pub(super) fn count(of: &AtomicU64) {
    of.fetch_add(1, Ordering::Relaxed);
}

/// Calls that wait for their clients. `T` is the way to them.
pub(super) struct Parked<T> {
    table: Mutex<Table<T>>,
    bytes: AtomicUsize,
    pub(super) counts: Counts,
}

struct Table<T> {
    calls: HashMap<Box<str>, Place<T>>,
    /// How many each caller has.
    each: HashMap<Box<str>, usize>,
    next: u64,
}

struct Place<T> {
    owner: Box<str>,
    number: u64,
    call: T,
}

/// There are as many as there may be.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Full;

impl<T> Default for Parked<T> {
    fn default() -> Self {
        let table = Table { calls: HashMap::new(), each: HashMap::new(), next: 0 };
        Self { table: Mutex::new(table), bytes: AtomicUsize::new(0), counts: Counts::default() }
    }
}

impl<T> Table<T> {
    fn remove(&mut self, id: &str) -> Option<T> {
        let place = self.calls.remove(id)?;
        if let Some(own) = self.each.get_mut(&place.owner) {
            *own -= 1;
            if *own == 0 {
                self.each.remove(&place.owner);
            }
        }
        Some(place.call)
    }

    /// Takes out the oldest call of a caller.
    fn oldest_of(&mut self, owner: &str) -> Option<T> {
        let own = self.calls.iter().filter(|(_, place)| *place.owner == *owner);
        let oldest = own.min_by_key(|(_, place)| place.number).map(|(id, _)| id.clone())?;
        self.remove(&oldest)
    }
}

impl<T> Parked<T> {
    /// Keeps a call; what gave way to it is given back.
    pub(super) fn put(&self, id: &str, owner: &str, call: T) -> Result<Option<T>, Full> {
        let mut table = locked(&self.table);
        let own = table.each.get(owner).copied().unwrap_or_default();
        let mut gone = None;
        if own >= EACH_MAX {
            gone = table.oldest_of(owner);
        } else if table.calls.len() >= ALL_MAX {
            let most = table.each.iter().max_by_key(|(_, count)| **count);
            let most = most.filter(|(_, count)| **count > own + 1).map(|(owner, _)| owner.clone());
            // Whoever has some makes room for its own.
            let gives_way = most.or_else(|| (own > 0).then(|| owner.into())).ok_or(Full)?;
            gone = table.oldest_of(&gives_way);
        }
        table.next += 1;
        let number = table.next;
        table.calls.insert(id.into(), Place { owner: owner.into(), number, call });
        *table.each.entry(owner.into()).or_default() += 1;
        Ok(gone)
    }

    /// Takes a call out: only one can.
    pub(super) fn take(&self, id: &str) -> Option<T> {
        locked(&self.table).remove(id)
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        locked(&self.table).calls.len()
    }

    /// Whether servers may say more while their clients are asked.
    pub(super) fn has_room(&self) -> bool {
        self.bytes.load(Ordering::Relaxed) < BYTES_MAX
    }

    pub(super) fn holds(&self, bytes: usize) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn lets_go(&self, bytes: usize) {
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{super::sessions::Bounds, *};

    fn sessions(route: &str, secret: &[u8]) -> Sessions {
        let (idle, lifetime) = (Duration::from_secs(60), Duration::from_secs(100));
        Sessions::new(secret, route, Bounds { max: 16, max_each: 20, idle, lifetime }).expect("a key")
    }

    #[test]
    fn a_state_is_of_one_gateway_and_route_and_no_letter_of_it_can_be_changed() {
        let own = sessions("tools", b"one secret of the tests");
        let state = State::new("id", 7, "shop", "binding");
        let sealed = own.state_sealed(&state).expect("sealed");
        assert_eq!(own.state_of(&sealed).as_ref(), Some(&state));
        for text in ["", "1", "tidegate-asks-1", "{}", &own.sealed("", b"{}".to_vec()).expect("sealed")] {
            assert_eq!(own.state_of(text), None, "{text}");
        }
        assert_eq!(sessions("tools", b"another secret").state_of(&sealed), None);
        assert_eq!(sessions("other", b"one secret of the tests").state_of(&sealed), None);
        assert_eq!(sessions("tools", b"one secret of the tests").state_of(&sealed), Some(state));
        for at in 0..sealed.len() {
            let mut forged = sealed.clone().into_bytes();
            forged[at] = if forged[at] == b'A' { b'B' } else { b'A' };
            let forged = String::from_utf8(forged).expect("text");
            // The last letter may hold bits that are none.
            assert!(forged == sealed || own.state_of(&forged).is_none() || at + 1 == sealed.len(), "{at}");
        }
    }

    #[test]
    fn what_a_state_is_bound_to_cannot_be_shifted_from_one_part_to_the_next() {
        assert_ne!(binding(&["ab", "c"]), binding(&["a", "bc"]));
        assert_ne!(binding(&["a", ""]), binding(&["a"]));
        assert_eq!(binding(&["a", "b"]), binding(&["a", "b"]));
        assert_ne!(fresh_id(), fresh_id());
    }

    #[test]
    fn the_oldest_of_a_caller_gives_way_and_nobody_takes_anothers_room() {
        let parked = Parked::default();
        for number in 0..EACH_MAX {
            assert_eq!(parked.put(&format!("gold-{number}"), "gold", number), Ok(None));
        }
        assert_eq!(parked.put("web", "web", 7), Ok(None));
        assert_eq!(parked.put("gold-new", "gold", 1000), Ok(Some(0)), "its own oldest");
        assert_eq!((parked.take("gold-0"), parked.len()), (None, EACH_MAX + 1));
        assert_eq!((parked.take("web"), parked.take("web")), (Some(7), None), "once");
        for number in 0..ALL_MAX - EACH_MAX {
            assert_eq!(parked.put(&format!("other-{number}"), &format!("caller {number}"), number), Ok(None));
        }
        assert_eq!(parked.len(), ALL_MAX);
        assert_eq!(parked.put("late", "late", 7), Ok(Some(1)), "whoever has most makes room");
        assert_eq!(parked.put("gold-newer", "gold", 1), Ok(Some(2)), "its own room");
        assert_eq!((parked.take("gold-5"), parked.len()), (Some(5), ALL_MAX - 1));
        let few = Parked::default();
        for number in 0..ALL_MAX {
            assert_eq!(few.put(&number.to_string(), &number.to_string(), number), Ok(None));
        }
        assert_eq!(few.put("late", "late", 7), Err(Full), "nobody has more than one");
        assert_eq!(few.put("again", "3", 7), Ok(Some(3)), "its own room");
    }
}
