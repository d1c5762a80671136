//! Ids as callers see them: sealed, so that each says which provider and which key it belongs to, and opens for the
//! caller that made it alone. Nothing need be remembered for that.
//!
//! The same id is sealed to the same text each time, for clients compare them: the nonce is a keyed digest of what is
//! sealed (as in RFC 8452, made of AES-256-GCM and HMAC).

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey},
    digest, hmac,
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};

use super::super::shared::Kept;

/// Begins what is sealed, behind the vendor's own prefix.
const MARK: &str = "tg1";
const NONCE_BYTES: usize = 12;
/// Characters of an id that are read.
pub(super) const ID_MAX: usize = 2048;
/// What an id of a vendor's begins with, so that ours do too.
const PREFIXES: [&str; 9] =
    ["msgbatch_", "batch_", "file-", "file_", "upload_", "part_", "resp_", "conv_", "id_"];

/// What an id stands for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in super::super) struct Named {
    /// Name of the provider.
    #[serde(rename = "p")]
    pub(in super::super) provider: String,
    /// The mark of the key that made it.
    #[serde(rename = "k")]
    pub(in super::super) key: String,
    /// The provider's own id.
    #[serde(rename = "i")]
    pub(in super::super) id: String,
    /// Of a file of requests: the most that they may spend.
    #[serde(rename = "e", default, skip_serializing_if = "Option::is_none")]
    pub(in super::super) estimate: Option<Estimate>,
    /// Of a file of results: the provider's id of their batch.
    #[serde(rename = "b", default, skip_serializing_if = "Option::is_none")]
    pub(in super::super) batch: Option<String>,
    /// Of a batch: what is held for it where any gateway may settle it.
    #[serde(rename = "h", default, skip_serializing_if = "Option::is_none")]
    pub(in super::super) kept: Option<Paid>,
}

/// The most that the requests of a batch may spend.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(in super::super) struct Estimate {
    /// The models as the caller named them.
    #[serde(rename = "m")]
    pub(super) models: Vec<String>,
    #[serde(rename = "n")]
    pub(super) requests: u64,
    #[serde(rename = "i")]
    pub(super) input: u64,
    #[serde(rename = "o")]
    pub(super) output: u64,
    /// Microdollars, rounded up.
    #[serde(rename = "c")]
    pub(super) cost: u64,
    /// A model whose price nobody knows.
    #[serde(rename = "u", default, skip_serializing_if = "Option::is_none")]
    pub(super) unpriced: Option<String>,
}

/// What is held for a batch in a store that gateways share.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in super::super) struct Paid {
    #[serde(flatten)]
    pub(super) kept: Kept,
    /// The most that it may cost, in microdollars, rounded up.
    #[serde(rename = "m")]
    pub(super) cost: u64,
}

/// Seals ids, and opens them.
pub(in super::super) struct Seals {
    key: LessSafeKey,
    mac: hmac::Key,
}

fn prefix_of(id: &str) -> &'static str {
    PREFIXES.into_iter().find(|prefix| id.starts_with(prefix)).unwrap_or("id_")
}

impl Seals {
    pub(in super::super) fn new(secret: &[u8]) -> Result<Self, String> {
        let derived = |label: &[u8]| {
            let mut context = digest::Context::new(&digest::SHA256);
            context.update(label);
            context.update(secret);
            context.finish()
        };
        let key = UnboundKey::new(&AES_256_GCM, derived(b"tidegate ai ids 1\0").as_ref())
            .map_err(|_| "the key of ids cannot be used".to_owned())?;
        let mac = hmac::Key::new(hmac::HMAC_SHA256, derived(b"tidegate ai ids nonce 1\0").as_ref());
        Ok(Self { key: LessSafeKey::new(key), mac })
    }

    /// An id as its owner gets it.
    pub(in super::super) fn seal(&self, who: &str, named: &Named) -> Option<String> {
        let prefix = prefix_of(&named.id);
        let bound = format!("{prefix}\0{who}");
        let mut text = serde_json::to_vec(named).ok()?;
        let mut context = hmac::Context::with_key(&self.mac);
        context.update(&(bound.len() as u64).to_be_bytes());
        context.update(bound.as_bytes());
        context.update(&text);
        let tag = context.sign();
        let mut bytes = tag.as_ref().get(..NONCE_BYTES)?.to_vec();
        let nonce = Nonce::try_assume_unique_for_key(&bytes).ok()?;
        self.key.seal_in_place_append_tag(nonce, Aad::from(bound.as_bytes()), &mut text).ok()?;
        bytes.append(&mut text);
        Some(format!("{prefix}{MARK}{}", URL_SAFE_NO_PAD.encode(bytes)))
    }

    /// What an id stands for; `None` for everybody but its owner.
    pub(in super::super) fn open(&self, who: &str, id: &str) -> Option<Named> {
        if id.len() > ID_MAX {
            return None;
        }
        let prefix = prefix_of(id);
        let mut bytes = URL_SAFE_NO_PAD.decode(id.strip_prefix(prefix)?.strip_prefix(MARK)?).ok()?;
        let (nonce, sealed) = bytes.split_at_mut_checked(NONCE_BYTES)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let bound = format!("{prefix}\0{who}");
        let text = self.key.open_in_place(nonce, Aad::from(bound.as_bytes()), sealed).ok()?;
        serde_json::from_slice(text).ok()
    }

    /// A body in which every JSON string that is an id of the caller's stands for what it seals, and what those are.
    /// `None` when there is none.
    pub(in super::super) fn opened(&self, who: &str, body: &[u8]) -> Option<(Vec<u8>, Vec<Named>)> {
        let mut out = Vec::new();
        let mut found = Vec::new();
        let mut from = 0;
        for at in memchr::memmem::find_iter(body, MARK) {
            let is_text = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
            let before = body.get(..at)?;
            let begin = at - before.iter().rev().take_while(|byte| is_text(byte)).take(16).count();
            let end = at + body.get(at..)?.iter().take(ID_MAX).take_while(|byte| is_text(byte)).count();
            let is_whole = begin.checked_sub(1).and_then(|at| body.get(at)) == Some(&b'"')
                && body.get(end) == Some(&b'"')
                && begin >= from;
            let id = body.get(begin..end).and_then(|id| std::str::from_utf8(id).ok());
            let Some(named) = id.filter(|_| is_whole).and_then(|id| self.open(who, id)) else { continue };
            out.extend_from_slice(body.get(from..begin)?);
            out.extend_from_slice(named.id.as_bytes());
            from = end;
            found.push(named);
        }
        if found.is_empty() {
            return None;
        }
        out.extend_from_slice(body.get(from..)?);
        Some((out, found))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(id: &str) -> Named {
        Named {
            provider: "p".into(),
            key: "k".into(),
            id: id.into(),
            estimate: None,
            batch: None,
            kept: None,
        }
    }

    #[test]
    fn an_id_is_its_owners_and_always_the_same() {
        let seals = Seals::new(b"a secret of the tests").expect("seals");
        let id = seals.seal("consumer a", &named("file-1")).expect("sealed");
        assert!(id.starts_with("file-tg1"), "{id}");
        assert_eq!(seals.seal("consumer a", &named("file-1")).as_deref(), Some(&*id));
        assert_eq!(seals.open("consumer a", &id), Some(named("file-1")));
        assert_eq!(seals.open("consumer b", &id), None);
        assert_eq!(
            seals.open("consumer a", &id.replace("file-", "batch_")),
            None,
            "nor is it another kind's"
        );
        let mut other = id.clone().into_bytes();
        other[20] ^= 1;
        assert_eq!(seals.open("consumer a", &String::from_utf8_lossy(&other)), None);
        let elsewhere = Seals::new(b"another secret of the tests").expect("seals");
        assert_eq!(elsewhere.open("consumer a", &id), None);
        for odd in ["", "file-", "file-tg1", "file-tg1AAAA", "tg1"] {
            assert_eq!(seals.open("consumer a", odd), None, "{odd}");
        }
    }

    #[test]
    fn ids_are_opened_where_they_are_whole_strings() {
        let seals = Seals::new(b"a secret of the tests").expect("seals");
        let id = seals.seal("a", &named("file-1")).expect("sealed");
        let body = format!(r#"{{"a":"{id}","b":"see {id}","c":"tg1","d":"{id}"}}"#);
        let (opened, found) = seals.opened("a", body.as_bytes()).expect("opened");
        let want = format!(r#"{{"a":"file-1","b":"see {id}","c":"tg1","d":"file-1"}}"#);
        assert_eq!(String::from_utf8(opened).expect("text"), want);
        assert_eq!(found.len(), 2);
        assert!(seals.opened("b", body.as_bytes()).is_none());
        assert!(seals.opened("a", b"{\"model\":\"tg1\"}").is_none());
    }
}
