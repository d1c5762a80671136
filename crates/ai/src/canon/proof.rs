//! Proofs of thought: what a model wants back, unread, with its own thoughts in the next turn.
//!
//! Vendors sign or encrypt thoughts and refuse a tool round that comes without them. A caller whose dialect has
//! another place for such a thing, or none, must carry it all the same. So a proof that leaves its own vendor's
//! dialect is put in an envelope, a text that any dialect can hold; on the way back it is opened, and goes out only
//! towards the vendor that issued it.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};

/// What a model wants back with its thoughts.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Proof {
    /// Who issued it, and alone can read it.
    pub issuer: String,
    /// What it is.
    pub kind: ProofKind,
    /// The vendor's bytes, as text.
    pub value: String,
    /// The vendor's id of the thought (Responses: `rs_…`).
    pub id: Option<String>,
}

/// What a proof is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ProofKind {
    /// A signature over thoughts that are there to be read.
    Signature,
    /// The thoughts themselves, encrypted.
    Encrypted,
    /// A mark on the very part that carries it, a call or a text (Gemini).
    Mark,
}

/// How an envelope begins. The version is part of it.
const ENVELOPE: &str = "tg1.";
/// What stands between envelopes that follow each other.
const BEFORE: &str = ".tg1.";
/// Envelopes in one text that are opened: no answer has so many.
const PROOFS_MAX: usize = 256;
/// What stands before the value of a proof that rides behind what was said: no value begins so.
const BEHIND: char = '\u{1}';
/// The id of a mark that belongs to the text before it.
const AFTER: &str = "after";
/// Between the fields of an envelope: it is in no field but the last.
const BETWEEN: char = '\n';

impl Proof {
    /// A text of the letters of base64url and `.`, that [`Proof::open`] reads.
    pub fn seal(&self) -> String {
        let kind = match self.kind {
            ProofKind::Signature => "s",
            ProofKind::Encrypted => "e",
            ProofKind::Mark => "m",
        };
        let id = self.id.as_deref().unwrap_or_default();
        let inner = [self.issuer.as_str(), kind, id, self.value.as_str()].join(&BETWEEN.to_string());
        format!("{ENVELOPE}{}", URL_SAFE_NO_PAD.encode(inner))
    }

    /// Opens an envelope; `None` when the text is not one.
    pub fn open(text: &str) -> Option<Self> {
        let inner = String::from_utf8(URL_SAFE_NO_PAD.decode(text.strip_prefix(ENVELOPE)?).ok()?).ok()?;
        let mut fields = inner.splitn(4, BETWEEN);
        let issuer = fields.next()?.to_owned();
        let kind = match fields.next()? {
            "s" => ProofKind::Signature,
            "e" => ProofKind::Encrypted,
            "m" => ProofKind::Mark,
            _ => return None,
        };
        let id = Some(fields.next()?).filter(|id| !id.is_empty()).map(str::to_owned);
        Some(Self { issuer, kind, value: fields.next()?.to_owned(), id })
    }

    /// Opens envelopes that follow each other with a dot between them; none when the text is not of such alone.
    pub fn open_all(text: &str) -> Vec<Self> {
        let all = text.strip_prefix(ENVELOPE).map(|rest| rest.split(BEFORE));
        let opened: Option<Vec<Self>> = all.and_then(|all| {
            all.take(PROOFS_MAX).map(|one| Self::open(&format!("{ENVELOPE}{one}"))).collect()
        });
        opened.unwrap_or_default()
    }

    /// Adds what came of a proof to what came before of it: a signature may come in pieces.
    pub fn grow(place: &mut Option<Self>, new: Self) {
        match place {
            Some(old) if old.issuer == new.issuer && old.kind == new.kind => old.value.push_str(&new.value),
            _ => *place = Some(new),
        }
    }

    /// What arrived where `issuer` puts its own proofs: its own, or an envelope with another's.
    pub fn received(text: String, issuer: &str, kind: ProofKind) -> Self {
        Self::open(&text).unwrap_or_else(|| Self { issuer: issuer.to_owned(), kind, value: text, id: None })
    }

    /// What to write where `reader` expects its own proofs: its own as it is, another's in an envelope.
    pub fn told_to(&self, reader: &str) -> String {
        if self.issuer == reader { self.value.clone() } else { self.seal() }
    }

    /// A mark on a text, for a caller in whose dialect it can only stand behind the text, as hidden thoughts: those
    /// before a call are the call's.
    pub fn after(&self) -> Self {
        Self { id: Some(AFTER.to_owned()), ..self.clone() }
    }

    /// Takes off what [`Proof::after`] put on; whether it was there.
    pub fn take_after(&mut self) -> bool {
        self.id.take_if(|id| id == AFTER).is_some()
    }

    /// The proof of a thought that stands behind what was said, for its ride on the id of a call.
    pub(crate) fn behind(&self) -> Self {
        Self { value: format!("{BEHIND}{}", self.value), ..self.clone() }
    }

    /// Takes off what [`Proof::behind`] put on; whether it was there.
    pub(crate) fn take_behind(&mut self) -> bool {
        let is_behind = self.value.starts_with(BEHIND);
        if is_behind {
            self.value.remove(0);
        }
        is_behind
    }

    /// What a caller without any place for proofs carries in the id of a call: `call_1` becomes `call_1.tg1.…`.
    pub fn ride(&self, id: &str) -> String {
        format!("{id}.{}", self.seal())
    }

    /// Takes the riders off the id of a call, in the order in which they got on.
    pub fn dismount(id: &str) -> (&str, Vec<Self>) {
        let Some(at) = id.find(BEFORE) else { return (id, Vec::new()) };
        let riders = id[at + BEFORE.len()..].split(BEFORE);
        let opened: Option<Vec<Self>> =
            riders.map(|rider| Self::open(&format!("{ENVELOPE}{rider}"))).collect();
        match opened {
            Some(riders) => (&id[..at], riders),
            None => (id, Vec::new()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn an_envelope_gives_back_what_was_put_in(
            issuer in "[a-z]{1,12}", value in "\\PC{0,80}(\n\\PC{0,10})?", id in proptest::option::of("[a-z_0-9]{1,20}"),
            kind in prop_oneof![Just(ProofKind::Signature), Just(ProofKind::Encrypted), Just(ProofKind::Mark)],
        ) {
            let proof = Proof { issuer, kind, value, id };
            prop_assert_eq!(Proof::open(&proof.seal()), Some(proof.clone()));
            prop_assert_eq!(Proof::open_all(&proof.seal()), vec![proof.clone()]);
            let both = format!("{}.{}", proof.seal(), proof.seal());
            prop_assert_eq!(Proof::open_all(&both), vec![proof.clone(), proof.clone()]);
            prop_assert_eq!(Proof::open_all(&format!("{both}.")), vec![]);
            let ridden = proof.ride("call_9");
            prop_assert_eq!(Proof::dismount(&ridden), ("call_9", vec![proof.clone()]));
            let twice = proof.ride(&ridden);
            prop_assert_eq!(Proof::dismount(&twice), ("call_9", vec![proof.clone(), proof]));
        }
    }

    #[test]
    fn a_proof_goes_bare_to_its_own_vendor_and_sealed_to_others() {
        let proof = Proof::received("sig".into(), "anthropic", ProofKind::Signature);
        assert_eq!(proof.told_to("anthropic"), "sig");
        let sealed = proof.told_to("gemini");
        assert_eq!(Proof::received(sealed, "gemini", ProofKind::Signature), proof);
    }

    #[test]
    fn ids_without_a_rider_stay() {
        for id in ["call_1", "a.b", "x.tg1.!!", ""] {
            assert_eq!(Proof::dismount(id), (id, Vec::new()));
        }
    }
}
