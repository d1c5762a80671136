//! What a service has said, by what it was asked: kept for a while. Good answers and refusals have room of their own.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use aws_lc_rs::digest;
use http::{HeaderName, header};
use model::policy::ext_auth::ExtAuthCache;

use super::Said;
use crate::call::Call;

/// The digest of a question.
pub(super) type Key = [u8; 32];

/// What has been said.
pub(super) struct Kept {
    ttl: Duration,
    negative_ttl: Duration,
    by_target: bool,
    max: usize,
    sides: Mutex<(Side, Side)>,
}

#[derive(Default)]
struct Side {
    said: HashMap<Key, (Said, Instant)>,
    /// In the order in which they came.
    order: VecDeque<Key>,
}

impl Kept {
    pub(super) fn new(settings: &ExtAuthCache) -> Self {
        Self {
            ttl: settings.ttl.get(),
            negative_ttl: settings.negative_ttl.get(),
            by_target: !settings.ignore_target,
            max: settings.max_entries.max(1),
            sides: Mutex::default(),
        }
    }

    /// What a question is known by: everything that the service is told of it, but for when it is asked. Where the client is
    /// is part of it, for the service is told.
    pub(super) fn key(&self, call: &Call, shown: &[HeaderName]) -> Key {
        let mut context = digest::Context::new(&digest::SHA256);
        let mut part = |bytes: &[u8]| {
            context.update(&(bytes.len() as u64).to_be_bytes());
            context.update(bytes);
        };
        part(call.client.to_string().as_bytes());
        let certificate = call.peer.tls.as_ref().and_then(|tls| tls.client.as_ref());
        // Not its subject, which others may bear too: who is known by an alternative name often has none.
        part(certificate.map_or("", |client| &client.fingerprint).as_bytes());
        if self.by_target {
            part(call.head.method.as_str().as_bytes());
            part(call.head.headers.get(header::HOST).map_or(b"", |host| host.as_bytes()));
            part(call.head.uri.path_and_query().map_or("/", |target| target.as_str()).as_bytes());
            part(&[u8::from(call.record.tls)]);
        }
        for name in shown {
            let values: Vec<&[u8]> =
                call.head.headers.get_all(name).iter().map(|value| value.as_bytes()).collect();
            part(&(values.len() as u64).to_be_bytes());
            values.into_iter().for_each(&mut part);
        }
        let mut key = [0; 32];
        key.copy_from_slice(context.finish().as_ref());
        key
    }

    pub(super) fn get(&self, key: &Key) -> Option<Said> {
        let now = Instant::now();
        let sides = self.sides.lock().unwrap_or_else(PoisonError::into_inner);
        let found = sides.0.said.get(key).or_else(|| sides.1.said.get(key));
        found.filter(|(_, until)| now < *until).map(|(said, _)| said.clone())
    }

    pub(super) fn put(&self, key: Key, said: &Said) {
        let (Said::Allowed { answer: told, .. } | Said::Refused { headers: told, .. }) = said;
        if told.contains_key(header::SET_COOKIE) {
            // It is for one person, who is not yet told from others.
            return;
        }
        let mut sides = self.sides.lock().unwrap_or_else(PoisonError::into_inner);
        let (good, bad) = &mut *sides;
        let (side, other, ttl) = match said {
            Said::Allowed { .. } => (good, bad, self.ttl),
            Said::Refused { .. } => (bad, good, self.negative_ttl),
        };
        other.said.remove(&key);
        if ttl.is_zero() {
            side.said.remove(&key);
            return;
        }
        if side.said.insert(key, (said.clone(), Instant::now() + ttl)).is_none() {
            side.order.push_back(key);
        }
        // Of what was said otherwise meanwhile the place in the order is left.
        while side.said.len() > self.max || side.order.len() > self.max.saturating_mul(2) {
            let Some(oldest) = side.order.pop_front() else { break };
            side.said.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::testing::{call, with_header};

    fn kept(ignore_target: bool) -> Kept {
        Kept::new(&ExtAuthCache { max_entries: 2, ignore_target, ..ExtAuthCache::default() })
    }

    #[test]
    fn different_questions_are_told_apart_by_all_that_the_service_is_told() {
        let shown = [HeaderName::from_static("authorization"), HeaderName::from_static("x-a")];
        let (whole, narrow) = (kept(false), kept(true));
        let bearer = |target: &str, token: &str| with_header(call("GET", target), "authorization", token);
        let key = |call: &Call| whole.key(call, &shown);
        assert_eq!(key(&bearer("/a", "x")), key(&bearer("/a", "x")));
        let mut elsewhere = bearer("/a", "x");
        elsewhere.client = std::net::Ipv4Addr::new(192, 0, 2, 8).into();
        for other in [
            bearer("/b", "x"),
            bearer("/a?b", "x"),
            bearer("/a", "y"),
            with_header(bearer("/a", "x"), "authorization", ""),
            with_header(bearer("/a", "x"), "x-a", ""),
            elsewhere,
        ] {
            assert_ne!(key(&bearer("/a", "x")), key(&other));
        }
        assert_eq!(narrow.key(&bearer("/a", "x"), &shown), narrow.key(&bearer("/b", "x"), &shown));
        assert_ne!(narrow.key(&bearer("/a", "x"), &shown), narrow.key(&bearer("/a", "y"), &shown));
    }

    #[test]
    fn no_more_is_kept_than_there_is_room_for_and_refusals_only_by_choice() {
        let kept = kept(false);
        let allowed =
            || Said::Allowed { headers: Default::default(), removed: Vec::new(), answer: Default::default() };
        for n in 0..5 {
            kept.put([n; 32], &allowed());
        }
        assert!(kept.get(&[4; 32]).is_some() && kept.get(&[0; 32]).is_none());
        let refused = Said::Refused {
            status: http::StatusCode::FORBIDDEN,
            headers: Default::default(),
            body: Default::default(),
        };
        kept.put([4; 32], &refused);
        assert!(kept.get(&[4; 32]).is_none(), "it is not let in any more, and asked about again");
    }
}
