//! `basicAuth`: lets in who shows a consumer's user name and password.

use std::sync::Arc;

use base64::{Engine, engine::general_purpose::STANDARD};
use http::{HeaderName, HeaderValue, header};

use super::{
    Flow, Needs, NeedsOf, Policy, Verdict,
    credentials::{self, Repeated},
};
use crate::{
    body::Body,
    call::Call,
    compiled::Building,
    consumer::{Busy, Consumer, Consumers, PasswordOf, Slowly},
    failure::{Failure, Problem, Stage},
};

/// The compiled policy.
pub(crate) struct BasicAuth {
    hide: bool,
    consumers: Arc<Consumers>,
    anonymous: Option<Arc<Consumer>>,
    challenge: HeaderValue,
    background: tokio::runtime::Handle,
}

const WRONG: &str = "the user name or the password is not valid";

impl BasicAuth {
    pub(crate) fn compile(settings: &model::policy::BasicAuth, cx: &Building<'_>) -> Result<Self, String> {
        let consumers = credentials::consumers(cx)?;
        Ok(Self {
            hide: settings.hide_credentials,
            anonymous: credentials::anonymous(settings.anonymous.as_deref(), &consumers)?,
            consumers,
            challenge: credentials::challenge("Basic", &settings.realm)?,
            background: cx.background.clone(),
        })
    }

    fn enter(&self, call: &mut Call, consumer: &Arc<Consumer>) -> Result<(), Failure> {
        credentials::enter(call, consumer, &self.challenge)?;
        credentials::enter_by_password(call);
        if self.hide {
            call.head.headers.remove(header::AUTHORIZATION);
        }
        Ok(())
    }

    /// The hash of the password takes time on purpose.
    async fn judge(&self, call: &mut Call, asked: Slowly, password: Vec<u8>) -> Verdict {
        let (consumers, client) = (&self.consumers, call.client);
        let found = consumers.with_password_slowly(asked, password, client, &self.background).await;
        let entered = match found {
            Ok(Some(consumer)) => self.enter(call, consumer),
            Ok(None) => Err(credentials::unauthenticated(&self.challenge, WRONG)),
            Err(Busy) => Err(Failure::gateway(Stage::Policy, Problem::Unavailable)
                .with_hint("too many passwords are being judged")
                .with_retry_after(std::time::Duration::from_secs(1))),
        };
        entered.map_or_else(Verdict::Fail, |()| Verdict::Continue)
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
        let (user, password) = match credentials::in_header(&call.head.headers, &header::AUTHORIZATION) {
            Err(Repeated) => {
                let hint = "the credentials are given more than once";
                return Flow::Fail(credentials::unauthenticated(&self.challenge, hint));
            }
            Ok(Some(value)) => match parse(value) {
                Some(pair) => pair,
                None => return Flow::Fail(credentials::unauthenticated(&self.challenge, WRONG)),
            },
            Ok(None) => {
                if let Some(anonymous) = &self.anonymous {
                    anonymous.stand_in(call);
                    return Flow::Continue;
                }
                let hint = "a user name and a password are needed";
                return Flow::Fail(credentials::unauthenticated(&self.challenge, hint));
            }
        };
        match self.consumers.with_password(&user, &password) {
            PasswordOf::Consumer(consumer) => {
                self.enter(call, consumer).map_or_else(Flow::Fail, |()| Flow::Continue)
            }
            PasswordOf::Nobody => Flow::Fail(credentials::unauthenticated(&self.challenge, WRONG)),
            PasswordOf::Slowly(asked) => Flow::Wait(Box::pin(self.judge(call, asked, password))),
        }
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
