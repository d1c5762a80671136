//! `acl`: lets in consumers and groups by name.

use std::collections::HashSet;

use super::{Flow, Needs, NeedsOf, Policy};
use crate::{
    body::Body,
    call::Call,
    compiled::Building,
    consumer::Consumer,
    failure::{Failure, Problem},
};

/// The compiled policy.
pub(crate) struct Acl {
    allow: HashSet<Box<str>>,
    deny: HashSet<Box<str>>,
}

impl Acl {
    pub(crate) fn compile(settings: &model::policy::Acl, _: &Building<'_>) -> Result<Self, String> {
        let names = |list: &[String]| list.iter().map(|name| name.as_str().into()).collect();
        Ok(Self { allow: names(&settings.allow), deny: names(&settings.deny) })
    }

    fn lets_in(&self, call: &Call) -> bool {
        match &call.consumer {
            Some(consumer) => {
                (self.allow.is_empty() || names(&self.allow, consumer)) && !names(&self.deny, consumer)
            }
            // A verified token without a consumer is somebody, but nobody with a name.
            None => self.allow.is_empty() && call.claims.is_some(),
        }
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
}
