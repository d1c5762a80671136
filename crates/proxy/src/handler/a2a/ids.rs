//! Ids of tasks and contexts as clients know them: sealed, so that they belong to whoever made them, over any restart.
//!
//! An id is an AES-256-GCM box over the agent's own id. Whom it belongs to and which agent it is of is bound to it but
//! not in it: for anyone else, and for another agent, it opens nothing. The same id is sealed to the same box, for
//! clients compare ids, so the nonce is made of what is sealed (a keyed hash).

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    digest, hmac,
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

/// Bytes of an id that are read.
const ID_BYTES_MAX: usize = 4096;

/// What an id names.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Task,
    /// A context that the agent made.
    Context,
    /// A context that the client named itself, as the agent knows it.
    Named,
}

/// The keys of a route.
pub(super) struct Keys {
    route: Box<str>,
    seal: LessSafeKey,
    nonce: hmac::Key,
}

impl Keys {
    pub(super) fn new(secret: &[u8], route: &str) -> Result<Self, String> {
        let derived = |label: &[u8]| {
            let mut context = digest::Context::new(&digest::SHA256);
            context.update(label);
            context.update(secret);
            context.finish()
        };
        let seal = UnboundKey::new(&AES_256_GCM, derived(b"tidegate a2a seal 1\0").as_ref())
            .map_err(|_| "the key of ids cannot be used".to_owned())?;
        Ok(Self {
            route: route.into(),
            seal: LessSafeKey::new(seal),
            nonce: hmac::Key::new(hmac::HMAC_SHA256, derived(b"tidegate a2a nonce 1\0").as_ref()),
        })
    }

    /// The ids of one caller at one agent.
    pub(super) fn of(&self, agent: &str, who: &str) -> Ids<'_> {
        let mut bound = Vec::with_capacity(64);
        for part in [&*self.route, agent, who] {
            bound.extend_from_slice(&(part.len() as u64).to_be_bytes());
            bound.extend_from_slice(part.as_bytes());
        }
        Ids { keys: self, bound }
    }
}

/// The ids of one caller at one agent.
pub(super) struct Ids<'k> {
    keys: &'k Keys,
    bound: Vec<u8>,
}

impl Ids<'_> {
    fn aad(&self, kind: Kind) -> Vec<u8> {
        let mut aad = vec![match kind {
            Kind::Task => b't',
            Kind::Context => b'c',
            Kind::Named => b'n',
        }];
        aad.extend_from_slice(&self.bound);
        aad
    }

    /// An id as the other side knows it.
    pub(super) fn seal(&self, kind: Kind, raw: &str) -> String {
        let aad = self.aad(kind);
        let mut context = hmac::Context::with_key(&self.keys.nonce);
        context.update(&aad);
        context.update(raw.as_bytes());
        let tag = context.sign();
        let mut nonce = [0; NONCE_LEN];
        nonce.iter_mut().zip(tag.as_ref()).for_each(|(to, from)| *to = *from);
        let mut sealed = raw.as_bytes().to_vec();
        let unique = Nonce::assume_unique_for_key(nonce);
        if self.keys.seal.seal_in_place_append_tag(unique, Aad::from(&aad), &mut sealed).is_err() {
            // Only what is gigabytes long cannot be sealed; it opens nothing.
            return String::new();
        }
        let mut bytes = nonce.to_vec();
        bytes.append(&mut sealed);
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// What was sealed for this caller; none when this is no such id.
    pub(super) fn open(&self, kind: Kind, id: &str) -> Option<String> {
        if id.len() > ID_BYTES_MAX {
            return None;
        }
        let mut bytes = URL_SAFE_NO_PAD.decode(id).ok()?;
        let (nonce, sealed) = bytes.split_at_mut_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let raw = self.keys.seal.open_in_place(nonce, Aad::from(self.aad(kind)), sealed).ok()?;
        String::from_utf8(raw.to_vec()).ok()
    }

    /// A context of a client's as the agent knows it. One that the client named itself is the agent's under a name that
    /// nobody else's has.
    pub(super) fn context_in(&self, id: &str) -> Option<String> {
        if id.len() > ID_BYTES_MAX / 2 {
            return None;
        }
        Some(self.open(Kind::Context, id).unwrap_or_else(|| self.seal(Kind::Named, id)))
    }

    /// A context of the agent's as the client knows it.
    pub(super) fn context_out(&self, raw: &str) -> String {
        self.open(Kind::Named, raw).unwrap_or_else(|| self.seal(Kind::Context, raw))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(secret: &str, route: &str) -> Keys {
        Keys::new(secret.as_bytes(), route).expect("keys")
    }

    #[test]
    fn an_id_is_its_owners_alone_and_always_the_same() {
        let all = keys("a secret of the tests", "agents");
        let gold = all.of("travel", "consumer gold");
        let id = gold.seal(Kind::Task, "task-1");
        assert_eq!(id, gold.seal(Kind::Task, "task-1"));
        assert!(!id.contains("task"));
        let again = keys("a secret of the tests", "agents");
        assert_eq!(again.of("travel", "consumer gold").open(Kind::Task, &id).as_deref(), Some("task-1"));
        assert_eq!(gold.open(Kind::Context, &id), None, "of another kind");
        assert_eq!(all.of("travel", "consumer web").open(Kind::Task, &id), None, "of another consumer");
        assert_eq!(all.of("other", "consumer gold").open(Kind::Task, &id), None, "of another agent");
        assert_eq!(all.of("trave", "lconsumer gold").open(Kind::Task, &id), None);
        assert_eq!(
            keys("a secret of the tests", "other").of("travel", "consumer gold").open(Kind::Task, &id),
            None
        );
        assert_eq!(
            keys("another secret", "agents").of("travel", "consumer gold").open(Kind::Task, &id),
            None
        );
        for at in 0..id.len() {
            let mut forged = id.clone().into_bytes();
            forged[at] = if forged[at] == b'A' { b'B' } else { b'A' };
            let forged = String::from_utf8(forged).expect("text");
            assert!(gold.open(Kind::Task, &forged).is_none_or(|raw| raw == "task-1"), "letter {at}");
        }
        for hostile in ["", "task-1", "AAAA", "é", &"A".repeat(5000)] {
            assert_eq!(gold.open(Kind::Task, hostile), None);
        }
    }

    #[test]
    fn a_context_that_a_client_named_keeps_its_name_and_is_nobody_elses() {
        let all = keys("a secret of the tests", "agents");
        let (gold, web) = (all.of("travel", "consumer gold"), all.of("travel", "consumer web"));
        let raw = gold.context_in("my-talk").expect("short");
        assert_eq!(gold.context_out(&raw), "my-talk");
        assert_ne!(web.context_in("my-talk"), Some(raw.clone()));
        assert_ne!(web.context_out(&raw), "my-talk");
        let own = gold.context_out("ctx-7");
        assert_eq!(gold.context_in(&own).as_deref(), Some("ctx-7"));
        assert_ne!(web.context_in(&own).as_deref(), Some("ctx-7"));
    }
}
