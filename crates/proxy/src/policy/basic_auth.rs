//! `basicAuth`: lets in who shows a consumer's user name and password.

use std::sync::Arc;

use base64::{Engine, engine::general_purpose::STANDARD};
use http::{HeaderName, HeaderValue, header};

use super::{
    Flow, Needs, NeedsOf, Policy,
    credentials::{self, Repeated},
};
use crate::{
    body::Body,
    call::Call,
    compiled::Building,
    consumer::{Consumer, Consumers},
};

/// The compiled policy.
pub(crate) struct BasicAuth {
    hide: bool,
    consumers: Arc<Consumers>,
    anonymous: Option<Arc<Consumer>>,
    challenge: HeaderValue,
}

impl BasicAuth {
    pub(crate) fn compile(settings: &model::policy::BasicAuth, cx: &Building<'_>) -> Result<Self, String> {
        let consumers = credentials::consumers(cx)?;
        Ok(Self {
            hide: settings.hide_credentials,
            anonymous: credentials::anonymous(settings.anonymous.as_deref(), &consumers)?,
            consumers,
            challenge: credentials::challenge("Basic", &settings.realm)?,
        })
    }
}

/// User name and password of a header's value (RFC 7617 §2).
pub(super) fn parse(value: &[u8]) -> Option<(String, Vec<u8>)> {
    let mut pair = STANDARD.decode(credentials::after_scheme(value, "Basic")?).ok()?;
    let colon = pair.iter().position(|byte| *byte == b':')?;
    let password = pair.split_off(colon + 1);
    pair.pop();
    Some((String::from_utf8(pair).ok()?, password))
}

impl NeedsOf for model::policy::BasicAuth {
    // Its credentials are all that it looks at.
    fn needs(&self) -> Needs {
        Needs::default()
    }
}

impl Policy for BasicAuth {
    fn is_shown(&self, call: &Call) -> bool {
        call.head.headers.contains_key(header::AUTHORIZATION)
    }

    fn conceal(&self, call: &mut Call, stays: &dyn Fn(&HeaderName) -> bool, _: &dyn Fn(&str) -> bool) {
        if !stays(&header::AUTHORIZATION) {
            call.head.headers.remove(header::AUTHORIZATION);
        }
    }

    fn request<'a>(&'a self, call: &'a mut Call, _: &'a mut Body) -> Flow<'a> {
        let (consumer, hint) = match credentials::in_header(&call.head.headers, &header::AUTHORIZATION) {
            Err(Repeated) => (None, "the credentials are given more than once"),
            Ok(Some(value)) => {
                let consumer =
                    parse(value).and_then(|(user, password)| self.consumers.with_password(&user, &password));
                (consumer, "the user name or the password is not valid")
            }
            Ok(None) => {
                if let Some(anonymous) = &self.anonymous {
                    anonymous.stand_in(call);
                    return Flow::Continue;
                }
                (None, "a user name and a password are needed")
            }
        };
        let Some(consumer) = consumer else {
            return Flow::Fail(credentials::unauthenticated(&self.challenge, hint));
        };
        if let Err(failure) = credentials::enter(call, consumer, &self.challenge) {
            return Flow::Fail(failure);
        }
        call.authorization_is_judged = true;
        if self.hide {
            call.head.headers.remove(header::AUTHORIZATION);
        }
        Flow::Continue
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::testing::{building, call_in, outcome, with_header};

    fn check(values: &[String]) -> Option<String> {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, b"secret:2");
        let hex: String = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        let consumers = format!(
            "consumers:\n- {{name: one, basic: [{{username: ann, password: secret}}]}}\n\
             - {{name: two, basic: [{{username: bob, password: 'sha256:{hex}'}}]}}\n"
        );
        building(&consumers, |cx| {
            let policy = BasicAuth::compile(&model::policy::BasicAuth::default(), cx).expect("compiles");
            let mut call = call_in(cx, "GET", "/");
            for value in values {
                call = with_header(call, "authorization", value);
            }
            outcome(&policy, &mut call).ok()?;
            assert!(!call.head.headers.contains_key("authorization"), "the password reached the upstream");
            call.consumer.as_ref().map(|consumer| consumer.name.to_string())
        })
    }

    #[test]
    fn only_the_right_password_lets_in() {
        let basic = |pair: &str| format!("Basic {}", STANDARD.encode(pair));
        for (values, want) in [
            (vec![basic("ann:secret")], Some("one")),
            (vec![basic("bob:secret:2")], Some("two")),
            (vec![basic("ann:secret").replace("Basic", "basic")], Some("one")),
            (vec![], None),
            (vec![basic("ann:Secret")], None),
            (vec![basic("ann:")], None),
            (vec![basic("ann")], None),
            (vec![basic(":secret")], None),
            (vec![basic("nobody:secret")], None),
            (vec![basic("ann:secret\n")], None),
            (vec!["Basic !!!".to_owned()], None),
            (vec!["Bearer abc".to_owned()], None),
            (vec![basic("ann:secret"), basic("ann:secret")], None),
            (vec![basic("ann:secret"), basic("bob:wrong")], None),
        ] {
            assert_eq!(check(&values).as_deref(), want, "{values:?}");
        }
    }
}
