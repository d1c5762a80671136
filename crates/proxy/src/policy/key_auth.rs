//! `keyAuth`: lets in who shows a consumer's API key.

use std::{borrow::Cow, sync::Arc};

use http::{HeaderName, HeaderValue, header};

use super::{
    Flow, Needs, NeedsOf, Policy,
    credentials::{self, Repeated},
};
use crate::{
    body::Body,
    call::Call,
    compiled::Building,
    consumer::{Consumer, Consumers, KeyOf},
    handler::ai::realtime,
};

/// The compiled policy.
pub(crate) struct KeyAuth {
    headers: Vec<HeaderName>,
    query: Option<String>,
    hide: bool,
    consumers: Arc<Consumers>,
    anonymous: Option<Arc<Consumer>>,
    challenge: HeaderValue,
}

impl KeyAuth {
    pub(crate) fn compile(settings: &model::policy::KeyAuth, cx: &Building<'_>) -> Result<Self, String> {
        let headers: Vec<HeaderName> = settings.sources().iter().map(model::HeaderName::to_http).collect();
        let consumers = credentials::consumers(cx)?;
        let scheme = if headers.contains(&header::AUTHORIZATION) { "Bearer" } else { "ApiKey" };
        Ok(Self {
            headers,
            query: settings.query.clone(),
            hide: settings.hide_credentials,
            anonymous: credentials::anonymous(settings.anonymous.as_deref(), &consumers)?,
            consumers,
            challenge: credentials::challenge(scheme, "tidegate")?,
        })
    }

    /// The key that is shown, in the first place where there is one.
    fn shown<'a>(&self, call: &'a Call) -> Result<Option<Cow<'a, [u8]>>, Repeated> {
        let mut shown = None;
        // Every place is looked at, so that a repeated header is refused even behind another key.
        for name in &self.headers {
            if let Some(value) = credentials::in_header(&call.head.headers, name)? {
                let bearer = (*name == header::AUTHORIZATION)
                    .then(|| credentials::after_scheme(value, "Bearer"))
                    .flatten();
                shown = shown.or(Some(Cow::Borrowed(bearer.unwrap_or(value))));
            }
        }
        // Browsers cannot send header fields with a WebSocket; OpenAI's have the key among the subprotocols.
        if call.upgrade.is_some() && self.headers.contains(&header::AUTHORIZATION) {
            let mut keys = realtime::offered_keys(&call.head.headers);
            let key = keys.next();
            if keys.next().is_some() {
                return Err(Repeated);
            }
            shown = shown.or(key.map(Cow::Borrowed));
        }
        if let Some(name) = &self.query
            && let Some(value) = credentials::in_query(&call.head.uri, name)?
        {
            shown = shown.or(Some(match value {
                Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
                Cow::Owned(text) => Cow::Owned(text.into_bytes()),
            }));
        }
        Ok(shown)
    }

    fn hide(&self, call: &mut Call) {
        for name in &self.headers {
            call.head.headers.remove(name);
        }
        if call.upgrade.is_some() {
            realtime::hide_key(&mut call.head.headers);
        }
        if let Some(name) = &self.query {
            credentials::hide_in_query(call, name);
        }
    }
}

impl NeedsOf for model::policy::KeyAuth {
    // Its credentials are all that it looks at.
    fn needs(&self) -> Needs {
        Needs::default()
    }
}

impl Policy for KeyAuth {
    fn is_shown(&self, call: &Call) -> bool {
        !matches!(self.shown(call), Ok(None))
    }

    fn conceal(&self, call: &mut Call, stays: &dyn Fn(&HeaderName) -> bool, asked: &dyn Fn(&str) -> bool) {
        for name in self.headers.iter().filter(|name| !stays(name)) {
            call.head.headers.remove(name);
        }
        // Only this way looks for a key among the subprotocols, whoever else looks at the header.
        if call.upgrade.is_some() && self.headers.contains(&header::AUTHORIZATION) {
            realtime::hide_key(&mut call.head.headers);
        }
        if let Some(name) = self.query.as_deref().filter(|name| !asked(name)) {
            credentials::hide_in_query(call, name);
        }
    }

    fn request<'a>(&'a self, call: &'a mut Call, _: &'a mut Body) -> Flow<'a> {
        let (consumer, hint) = match self.shown(call) {
            Err(Repeated) => (None, "the API key is given more than once"),
            Ok(Some(key)) => match self.consumers.with_key(&key) {
                KeyOf::Consumer(consumer, entry) => (Some((consumer, entry)), ""),
                KeyOf::Ended => (None, "the API key has expired"),
                KeyOf::Nobody => (None, "the API key is not valid"),
            },
            Ok(None) => {
                if let Some(anonymous) = &self.anonymous {
                    anonymous.stand_in(call);
                    return Flow::Continue;
                }
                (None, "an API key is needed")
            }
        };
        let Some((consumer, entry)) = consumer else {
            return Flow::Fail(credentials::unauthenticated(&self.challenge, hint));
        };
        if let Err(failure) = credentials::enter(call, consumer, &self.challenge) {
            return Flow::Fail(failure);
        }
        call.shown_key = Some(entry);
        call.authorization_is_judged |= self.headers.contains(&http::header::AUTHORIZATION);
        if self.hide {
            self.hide(call);
        }
        Flow::Continue
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        failure::Problem,
        policy::testing::{building, call_in, outcome, with_header},
    };

    const CONSUMERS: &str = "consumers:\n- {name: gold, keys: [gold-key, other-gold-key]}\n- {name: guest}\n";

    fn check(settings: serde_json::Value, target: &str, headers: &[(&'static str, &str)]) -> (String, Call) {
        let settings = serde_json::from_value(settings).expect("good settings");
        building(CONSUMERS, |cx| {
            let policy = KeyAuth::compile(&settings, cx).expect("compiles");
            let mut call = call_in(cx, "GET", target);
            for (name, value) in headers {
                call = with_header(call, name, value);
            }
            let result = match outcome(&policy, &mut call) {
                Ok(()) => {
                    call.consumer.as_ref().map_or("nobody".into(), |consumer| consumer.name.to_string())
                }
                Err(failure) => {
                    assert_eq!(failure.problem(), Problem::Unauthenticated);
                    "401".to_owned()
                }
            };
            (result, call)
        })
    }

    #[test]
    fn only_a_consumers_key_lets_in() {
        let header = serde_json::json!({"header": "x-api-key"});
        for (headers, want) in [
            (&[("x-api-key", "gold-key")][..], "gold"),
            (&[("x-api-key", "other-gold-key")], "gold"),
            (&[], "401"),
            (&[("x-api-key", "")], "401"),
            (&[("x-api-key", "gold-ke")], "401"),
            (&[("x-api-key", "gold-key ")], "401"),
            (&[("x-api-key", "GOLD-KEY")], "401"),
            (&[("x-api-key", "Bearer gold-key")], "401"),
            (&[("x_api_key", "gold-key")], "401"),
            (&[("authorization", "gold-key")], "401"),
            (&[("x-api-key", "gold-key"), ("x-api-key", "gold-key")], "401"),
            (&[("x-api-key", "gold-key"), ("x-api-key", "wrong")], "401"),
            (&[("x-api-key", "gold-key,wrong")], "401"),
        ] {
            assert_eq!(check(header.clone(), "/?x-api-key=gold-key", headers).0, want, "{headers:?}");
        }
    }

    #[test]
    fn every_vendors_header_is_taken_and_none_reaches_the_upstream() {
        let settings = serde_json::json!({"headers": ["x-api-key", "authorization", "x-goog-api-key"]});
        for headers in [
            &[("x-api-key", "gold-key")][..],
            &[("authorization", "Bearer gold-key")],
            &[("authorization", "bearer gold-key")],
            &[("authorization", "gold-key")],
            &[("x-goog-api-key", "gold-key")],
            &[("x-api-key", "gold-key"), ("authorization", "Bearer gold-key")],
        ] {
            let (result, call) = check(settings.clone(), "/", headers);
            assert_eq!(result, "gold", "{headers:?}");
            for (name, _) in headers {
                assert!(!call.head.headers.contains_key(*name), "{name} reached the upstream");
            }
        }
    }

    #[test]
    fn a_key_in_the_query_is_taken_out_of_it() {
        let settings = serde_json::json!({"query": "key"});
        let (result, call) = check(settings.clone(), "/p?a=1&key=gold%2Dkey&b=2", &[]);
        assert_eq!((&*result, call.head.uri.to_string().as_str()), ("gold", "/p?a=1&b=2"));
        for target in ["/p?key=gold-key&key=gold-key", "/p?key=%zz", "/p?key", "/p?Key=gold-key"] {
            assert_eq!(check(settings.clone(), target, &[]).0, "401", "{target}");
        }
    }

    #[test]
    fn anonymous_is_for_calls_without_a_key_and_never_for_a_wrong_one() {
        let settings = serde_json::json!({"anonymous": "guest"});
        assert_eq!(check(settings.clone(), "/", &[]).0, "guest");
        assert_eq!(check(settings, "/", &[("x-api-key", "wrong")]).0, "401");
    }

    #[test]
    fn an_anonymous_consumer_that_is_not_there_refuses_the_configuration() {
        let settings = serde_json::from_value(serde_json::json!({"anonymous": "nobody"})).expect("settings");
        building(CONSUMERS, |cx| assert!(KeyAuth::compile(&settings, cx).is_err()));
    }
}
