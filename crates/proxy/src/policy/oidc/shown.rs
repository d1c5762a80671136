//! The session that a request shows, and whether it is one still.

use http::HeaderMap;
use serde_json::Value;

use super::{
    Found, Inner,
    ended::Of,
    session::{self, Session},
    store::{self, Shared, Store},
    store_away,
};
use crate::{call::Call, failure::Failure};

impl Inner {
    /// What follows from a session as it is shown, if nothing more has to be asked.
    fn found(&self, session: Session, name: Option<String>, is_current: bool, now: u64) -> Option<Found> {
        if session.ends(self.max_age, self.idle) <= now {
            return None;
        }
        let claims = session.claims()?;
        let mut found = Found { session, claims, name, is_new: !is_current };
        if self.has_ended(&found) || self.lacks_access(&found.session, now) {
            return None;
        }
        let idle = self.idle.map_or(u64::MAX, session::millis);
        if now.saturating_sub(found.session.seen) > idle / 8 {
            found.session.seen = now;
            found.is_new = true;
        }
        Some(found)
    }

    /// Whether upstreams would get a token that has ended, for good.
    fn lacks_access(&self, session: &Session, now: u64) -> bool {
        self.access_header.is_some() && !self.can_renew(session) && session.is_over(now)
    }

    fn can_renew(&self, session: &Session) -> bool {
        self.renews && session.refresh.is_some()
    }

    pub(super) fn is_due(&self, session: &Session, now: u64) -> bool {
        self.can_renew(session) && session.is_due(now, self.renew_before)
    }

    /// Whether somebody has ended it; the shared store knows by itself.
    pub(super) fn has_ended(&self, found: &Found) -> bool {
        if matches!(self.store, Store::Redis(_)) {
            return false;
        }
        let begun = found.session.begun;
        let text = |name: &str| found.claims.get(name).and_then(Value::as_str);
        let state = &self.state;
        state.ended.has(Of::Id, &found.session.id, begun)
            || text("sid").is_some_and(|sid| {
                state.ended.has(Of::Sid, sid, begun) || state.told.has(Of::Sid, sid, begun)
            })
            || text("sub").is_some_and(|sub| state.ended.has(Of::Subject, sub, begun))
    }

    /// The session in a request's cookies.
    pub(super) fn in_cookies(&self, headers: &HeaderMap, now: u64) -> Option<Found> {
        let (text, is_new) = self.seal.open("session", &self.cookies.session(headers)?)?;
        self.found(serde_json::from_slice(&text).ok()?, None, is_new, now)
    }

    /// The session that a request's cookie has the id of.
    async fn in_store(
        &self,
        shared: &Shared,
        headers: &HeaderMap,
        now: u64,
    ) -> Result<Option<Found>, store::Away> {
        let Some(id) = self.cookies.session(headers).filter(|id| store::is_id(id)) else { return Ok(None) };
        let name = shared.name(&String::from_utf8_lossy(&id));
        let kept = shared.get(&self.seal, &name).await?;
        Ok(kept.and_then(|(session, is_new)| self.found(session, Some(name), is_new, now)))
    }

    /// The session of a call, wherever sessions are.
    pub(super) async fn shown(&self, call: &Call, now: u64) -> Result<Option<Found>, Failure> {
        match &self.store {
            Store::Cookie => Ok(self.in_cookies(&call.head.headers, now)),
            Store::Redis(shared) => {
                let found = self.in_store(shared, &call.head.headers, now).await;
                found.map_err(|store::Away| store_away())
            }
        }
    }
}
