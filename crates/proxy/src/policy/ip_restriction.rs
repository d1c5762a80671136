//! `ipRestriction`: lets in client addresses.

use std::net::IpAddr;

use super::{Flow, Needs, NeedsOf, Policy, networks::Networks};
use crate::{
    body::Body,
    call::Call,
    compiled::Building,
    failure::{Failure, Problem},
};

/// The compiled policy.
pub(crate) struct IpRestriction {
    allow: Option<Networks>,
    deny: Networks,
}

impl IpRestriction {
    pub(crate) fn compile(settings: &model::policy::IpRestriction, _: &Building<'_>) -> Result<Self, String> {
        let allow = (!settings.allow.is_empty()).then(|| Networks::new(&settings.allow));
        Ok(Self { allow, deny: Networks::new(&settings.deny) })
    }

    fn lets_in(&self, client: IpAddr) -> bool {
        self.allow.as_ref().is_none_or(|allow| allow.contains(client)) && !self.deny.contains(client)
    }
}

impl NeedsOf for model::policy::IpRestriction {
    fn needs(&self) -> Needs {
        Needs::default()
    }
}

impl Policy for IpRestriction {
    fn request<'a>(&'a self, call: &'a mut Call, _: &'a mut Body) -> Flow<'a> {
        match self.lets_in(call.client) {
            true => Flow::Continue,
            false => Flow::Fail(
                Failure::refused(Problem::Forbidden)
                    .with_detail(format!("the client address {} is not let in", call.client)),
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::testing::building;

    fn lets_in(allow: &[&str], deny: &[&str], client: &str) -> bool {
        let cidrs = |list: &[&str]| list.iter().map(|text| text.parse().expect("a network")).collect();
        let settings = model::policy::IpRestriction { allow: cidrs(allow), deny: cidrs(deny) };
        let policy = building("", |cx| IpRestriction::compile(&settings, cx).expect("compiles"));
        policy.lets_in(client.parse().expect("an address"))
    }

    #[test]
    fn deny_wins_over_allow() {
        for (allow, deny, client, want) in [
            (&[][..], &[][..], "192.0.2.1", true),
            (&["192.0.2.0/24"], &[], "192.0.2.255", true),
            (&["192.0.2.0/24"], &[], "192.0.3.0", false),
            (&["192.0.2.0/24"], &["192.0.2.7"], "192.0.2.7", false),
            (&["192.0.2.0/24"], &["192.0.2.7"], "192.0.2.8", true),
            (&[], &["0.0.0.0/0"], "255.255.255.255", false),
            (&[], &["0.0.0.0/0"], "2001:db8::1", true),
            (&["::/0"], &[], "192.0.2.1", false),
            (&["2001:db8::/32"], &[], "2001:db8:ffff::1", true),
            (&["2001:db8::/32"], &[], "2001:db9::1", false),
            (&["::/0"], &[], "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", true),
            (&["10.0.0.0/8", "10.1.0.0/16", "10.255.0.0/16"], &[], "10.200.0.1", true),
        ] {
            assert_eq!(lets_in(allow, deny, client), want, "{allow:?} {deny:?} {client}");
        }
    }

    #[test]
    fn an_ipv4_client_is_the_same_written_as_ipv6() {
        assert!(!lets_in(&[], &["192.0.2.0/24"], "::ffff:192.0.2.1"));
        assert!(lets_in(&["192.0.2.0/24"], &[], "::ffff:192.0.2.1"));
    }
}
