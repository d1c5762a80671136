//! `ipRestriction`: lets in client addresses.

use std::net::IpAddr;

use super::{Flow, Needs, NeedsOf, Policy};
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

/// Networks as sorted ranges that do not overlap, so that a long list costs a binary search.
#[derive(Default)]
struct Networks {
    v4: Vec<(u128, u128)>,
    v6: Vec<(u128, u128)>,
}

impl Networks {
    fn new(networks: &[model::Cidr]) -> Self {
        let ranges = |v4: bool| {
            let mut ranges: Vec<_> =
                networks.iter().filter(|network| network.address().is_ipv4() == v4).map(range).collect();
            ranges.sort_unstable();
            ranges.dedup_by(|next, kept| {
                let overlap = next.0 <= kept.1;
                if overlap {
                    kept.1 = kept.1.max(next.1);
                }
                overlap
            });
            ranges
        };
        Self { v4: ranges(true), v6: ranges(false) }
    }

    fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        let ranges = if address.is_ipv4() { &self.v4 } else { &self.v6 };
        let bits = bits(address);
        let after = ranges.partition_point(|(first, _)| *first <= bits);
        after > 0 && bits <= ranges[after - 1].1
    }
}

fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => v4.to_bits().into(),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

fn range(network: &model::Cidr) -> (u128, u128) {
    let first = bits(network.address());
    let width = if network.address().is_ipv4() { 32 } else { 128 };
    let hosts = 1_u128.checked_shl(width - u32::from(network.prefix())).map_or(u128::MAX, |count| count - 1);
    (first, first | hosts)
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
