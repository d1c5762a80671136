//! Signatures of requests: made when everything else has been done to a request, for each try anew.
//!
//! Policies leave with a call what is to sign it; what an upstream's own policies leave signs what goes to that upstream, and
//! nothing else. A body that a signature covers is read whole before the first try.

use std::{rc::Rc, sync::Arc};

use bytes::Bytes;
use futures_util::future::LocalBoxFuture;
use http::request::Parts;

use super::Upstream;
use crate::{
    body::Body,
    call::Call,
    failure::{Failure, Problem},
    policy::held::Held,
};

/// How much of a body a signature needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Covers {
    /// Nothing: it flows on as it comes.
    Nothing,
    /// All of it, up to so many bytes; what is larger is refused.
    Whole(usize),
    /// All of it up to so many bytes, and nothing of what is larger.
    Small(usize),
}

/// Signs requests.
pub(crate) trait Sign: Send + Sync {
    /// What it needs of the body.
    fn covers(&self) -> Covers;

    /// Signs a head that is whole otherwise. Of the body it gets what it needs, where that was to be had.
    fn sign<'a>(
        &'a self,
        head: &'a mut Parts,
        is_https: bool,
        body: Option<&'a Bytes>,
    ) -> LocalBoxFuture<'a, Result<(), Failure>>;

    /// What is written down of a call that it signs.
    fn told(&self) -> model::Onward;

    /// A body was too large for it.
    fn refuses(&self) {}
}

/// What is to sign a call, with the upstream for which it is alone.
#[derive(Default)]
struct Signers(Vec<Signer>);

/// The upstream for which it is alone, and what signs.
type Signer = (Option<Arc<str>>, Arc<dyn Sign>);

/// By their addresses the notes are found.
static SIGNERS: u8 = 0;
static PREPARED: u8 = 1;

/// What signs each try of a call to an upstream.
struct Prepared {
    signers: Vec<Arc<dyn Sign>>,
    is_https: bool,
    body: Option<Bytes>,
}

/// Has a call signed: on its way to whatever upstream, or to the one that was chosen, where that is known.
pub(crate) fn put(call: &mut Call, signer: &Arc<dyn Sign>) {
    let chosen = call.record.upstream.clone().filter(|_| call.chain.is_beyond_choice());
    let mut signers = call.take::<_, Signers>(&SIGNERS).unwrap_or_default();
    if !signers.0.iter().any(|(to, known)| *to == chosen && Arc::ptr_eq(known, signer)) {
        signers.0.push((chosen, signer.clone()));
    }
    call.keep(&SIGNERS, signers);
}

/// Whether anything is to sign a call.
pub(super) fn is_any(call: &Call) -> bool {
    call.notes.iter().any(|(_, note)| note.is::<Signers>())
}

/// Reads what signatures cover of the body. All of it goes on as it came.
pub(super) async fn prepare(call: &mut Call, upstream: &Upstream, body: &mut Body) -> Result<(), Failure> {
    let _ = call.take::<_, Rc<Prepared>>(&PREPARED);
    let all = call.take::<_, Signers>(&SIGNERS).unwrap_or_default();
    let is_meant = |to: &Option<Arc<str>>| to.as_ref().is_none_or(|to| *to == upstream.name);
    let signers: Vec<Arc<dyn Sign>> =
        all.0.iter().filter(|(to, _)| is_meant(to)).map(|(_, signer)| signer.clone()).collect();
    call.keep(&SIGNERS, all);
    if signers.is_empty() {
        return Ok(());
    }
    let limit = |covers: Covers| match covers {
        Covers::Nothing => None,
        Covers::Whole(limit) | Covers::Small(limit) => Some(limit),
    };
    let known = match signers.iter().filter_map(|signer| limit(signer.covers())).max() {
        None => None,
        Some(_) if body.is_empty() || call.body_is_tunnel() => Some(Bytes::new()),
        Some(limit) => {
            let held = Held::read(body, limit).await?;
            let known = held.is_whole().then(|| held.beginning(limit));
            *body = held.into_body();
            call.has_been_sent();
            known
        }
    };
    for signer in &signers {
        if let Covers::Whole(limit) = signer.covers()
            && known.as_ref().is_none_or(|bytes| bytes.len() > limit)
        {
            signer.refuses();
            let hint = format!("a body that is signed has {limit} bytes at most");
            return Err(Failure::refused(Problem::BodyTooLarge).with_hint(hint));
        }
        call.record.onward.push(signer.told());
    }
    let prepared = Prepared { signers, is_https: upstream.tls.is_some(), body: known };
    call.keep(&PREPARED, Rc::new(prepared));
    Ok(())
}

/// What signs each try of a call.
fn prepared(call: &Call) -> Option<Rc<Prepared>> {
    call.notes.iter().find_map(|(_, note)| note.downcast_ref::<Rc<Prepared>>()).cloned()
}

/// The head of one try with its signatures: `own`, or the call's, when there are any.
pub(super) async fn head(call: &Call, own: Option<Parts>) -> Result<Option<Parts>, Failure> {
    let Some(prepared) = prepared(call) else { return Ok(own) };
    let mut head = own.unwrap_or_else(|| call.head.clone());
    for signer in &prepared.signers {
        let body = prepared.body.as_ref().filter(|body| match signer.covers() {
            Covers::Nothing => false,
            Covers::Whole(limit) | Covers::Small(limit) => body.len() <= limit,
        });
        signer.sign(&mut head, prepared.is_https, body).await?;
    }
    Ok(Some(head))
}
