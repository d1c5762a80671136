//! `acl`: lets in consumers and groups by name.

use std::collections::HashSet;

use serde_json::Value;

use super::{Flow, Needs, NeedsOf, Policy};
use crate::{
    body::Body,
    call::Call,
    compiled::Building,
    consumer::Consumer,
    failure::{Failure, Problem},
    template,
};

/// The compiled policy.
pub(crate) struct Acl {
    allow: HashSet<Box<str>>,
    claims: Vec<Wanted>,
    deny: HashSet<Box<str>>,
}

/// A claim that lets in.
struct Wanted {
    path: Box<[Box<str>]>,
    values: Vec<String>,
}

impl Acl {
    pub(crate) fn compile(settings: &model::policy::Acl, _: &Building<'_>) -> Result<Self, String> {
        let names = |list: &[String]| list.iter().map(|name| name.as_str().into()).collect();
        let path = |claim: &str| claim.split('.').map(Into::into).collect();
        let claims = settings.allow_claims.iter();
        let claims =
            claims.map(|(claim, values)| Wanted { path: path(claim), values: values.clone() }).collect();
        Ok(Self { allow: names(&settings.allow), claims, deny: names(&settings.deny) })
    }

    fn lets_in(&self, call: &Call) -> bool {
        let is_open = self.allow.is_empty() && self.claims.is_empty();
        match &call.consumer {
            Some(consumer) => {
                (is_open || names(&self.allow, consumer) || self.claims_let_in(call))
                    && !names(&self.deny, consumer)
            }
            // A verified token without a consumer is somebody, but nobody with a name.
            None => call.claims.is_some() && (is_open || self.claims_let_in(call)),
        }
    }

    fn claims_let_in(&self, call: &Call) -> bool {
        let Some(claims) = call.claims.as_deref() else { return false };
        self.claims.iter().any(|Wanted { path, values }| {
            let is_one = |value: &Value| values.iter().any(|wanted| is_value(value, wanted));
            match template::claim(claims, path) {
                Some(Value::Array(all)) => all.iter().any(is_one),
                Some(value) => is_one(value),
                None => false,
            }
        })
    }
}

/// Whether a claim's value is this text; of others than texts, as they are written.
fn is_value(value: &Value, wanted: &str) -> bool {
    match value {
        Value::Null | Value::Array(_) | Value::Object(_) => false,
        value => template::claim_text(value).as_deref() == Some(wanted),
    }
}

/// Whether the list has the consumer's own name or one of its groups.
fn names(list: &HashSet<Box<str>>, consumer: &Consumer) -> bool {
    list.contains(&*consumer.name) || consumer.groups.iter().any(|group| list.contains(group))
}

impl NeedsOf for model::policy::Acl {
    fn needs(&self) -> Needs {
        Needs::default()
    }
}

impl Policy for Acl {
    fn request<'a>(&'a self, call: &'a mut Call, _: &'a mut Body) -> Flow<'a> {
        if self.lets_in(call) { Flow::Continue } else { Flow::Fail(Failure::refused(Problem::Forbidden)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::testing::{building, call_in, outcome, with_claims};

    const CONSUMERS: &str = "consumers:
- {name: gold, groups: [partners, paying]}
- {name: web, groups: [partners]}
- {name: lone}
";

    #[test]
    fn deny_wins_over_allow_and_nobody_is_nobody() {
        let all = ["gold", "web", "lone", "token", "nobody"];
        for (allow, deny, want) in [
            (&[][..], &[][..], &["gold", "web", "lone", "token"][..]),
            (&["partners"], &[], &["gold", "web"]),
            (&["gold", "lone"], &[], &["gold", "lone"]),
            (&["partners"], &["paying"], &["web"]),
            (&[], &["web"], &["gold", "lone", "token"]),
            (&["token", "nobody"], &[], &[]),
        ] {
            let settings = model::policy::Acl {
                allow: allow.iter().map(|name: &&str| name.to_string()).collect(),
                deny: deny.iter().map(|name: &&str| name.to_string()).collect(),
                ..model::policy::Acl::default()
            };
            building(CONSUMERS, |cx| {
                let policy = Acl::compile(&settings, cx).expect("compiles");
                let let_in = all.into_iter().filter(|name| {
                    let mut call = call_in(cx, "GET", "/");
                    if let Some(consumer) = cx.consumers.and_then(|all| all.named(name)) {
                        consumer.enter(&mut call).expect("the only caller");
                    }
                    if *name == "token" {
                        call = with_claims(call, r#"{"sub":"token"}"#);
                    }
                    outcome(&policy, &mut call).is_ok()
                });
                assert_eq!(let_in.collect::<Vec<_>>(), want, "allow {allow:?} deny {deny:?}");
            });
        }
    }

    #[test]
    fn a_claim_lets_in_by_one_of_its_values_alone() {
        let settings = serde_json::json!({"allow": ["gold"], "deny": ["web"],
            "allowClaims": {"realm.roles": ["admin", "ops"], "level": ["3"], "staff": ["true"]}});
        let settings: model::policy::Acl = serde_json::from_value(settings).expect("settings");
        building(CONSUMERS, |cx| {
            let policy = Acl::compile(&settings, cx).expect("compiles");
            let judge = |name: &str, claims: &str| {
                let mut call = with_claims(call_in(cx, "GET", "/"), claims);
                if let Some(consumer) = cx.consumers.and_then(|all| all.named(name)) {
                    consumer.enter(&mut call).expect("the only caller");
                }
                outcome(&policy, &mut call).is_ok()
            };
            for claims in [
                r#"{"realm": {"roles": ["user", "ops"]}}"#,
                r#"{"realm.roles": "admin"}"#,
                r#"{"level": 3}"#,
                r#"{"staff": true}"#,
            ] {
                assert!(judge("", claims), "{claims}");
                assert!(judge("lone", claims), "{claims}");
                assert!(!judge("web", claims), "denied by name: {claims}");
            }
            for claims in [
                "{}",
                r#"{"realm": {"roles": ["administrator", "user"]}}"#,
                r#"{"realm": {"roles": {"admin": true}}}"#,
                r#"{"roles": ["admin"]}"#,
                r#"{"level": [[3]]}"#,
                r#"{"name": "gold"}"#,
            ] {
                assert!(!judge("", claims), "{claims}");
                assert!(!judge("lone", claims), "{claims}");
            }
            assert!(judge("gold", "{}"));
        });
    }
}
