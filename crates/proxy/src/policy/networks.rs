//! Networks as sorted ranges that do not overlap: a search of a hundred thousand looks at seventeen.

use std::net::IpAddr;

/// Networks of both families.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Networks {
    v4: Box<[(u32, u32)]>,
    v6: Box<[(u128, u128)]>,
}

/// Networks that are still gathered.
#[derive(Default)]
pub(crate) struct Gathered {
    v4: Vec<(u32, u32)>,
    v6: Vec<(u128, u128)>,
}

impl Gathered {
    /// Adds all addresses that share these leading bits. IPv4-mapped addresses are IPv4 addresses.
    pub(super) fn add(&mut self, network: &model::Cidr) {
        match network.address() {
            IpAddr::V4(v4) => {
                let hosts = u32::MAX.checked_shr(network.prefix().into()).unwrap_or(0);
                self.v4.push((v4.to_bits(), v4.to_bits() | hosts));
            }
            IpAddr::V6(v6) => {
                let hosts = u128::MAX.checked_shr(network.prefix().into()).unwrap_or(0);
                self.v6.push((v6.to_bits(), v6.to_bits() | hosts));
            }
        }
    }

    /// Adds the addresses from one to another; false when these are no range.
    pub(super) fn add_range(&mut self, first: IpAddr, last: IpAddr) -> bool {
        match (first.to_canonical(), last.to_canonical()) {
            (IpAddr::V4(first), IpAddr::V4(last)) if first <= last => {
                self.v4.push((first.to_bits(), last.to_bits()));
                true
            }
            (IpAddr::V6(first), IpAddr::V6(last)) if first <= last => {
                self.v6.push((first.to_bits(), last.to_bits()));
                true
            }
            _ => false,
        }
    }

    /// How many were added.
    pub(super) fn len(&self) -> usize {
        self.v4.len() + self.v6.len()
    }

    pub(super) fn finish(self) -> Networks {
        Networks {
            v4: merged(self.v4, |last| last.checked_add(1)),
            v6: merged(self.v6, |last| last.checked_add(1)),
        }
    }
}

fn merged<T: Ord + Copy>(mut ranges: Vec<(T, T)>, next: impl Fn(T) -> Option<T>) -> Box<[(T, T)]> {
    ranges.sort_unstable();
    ranges.dedup_by(|following, kept| {
        let touches = following.0 <= kept.1 || next(kept.1) == Some(following.0);
        if touches {
            kept.1 = kept.1.max(following.1);
        }
        touches
    });
    ranges.into_boxed_slice()
}

fn holds<T: Ord>(ranges: &[(T, T)], one: &T) -> bool {
    let after = ranges.partition_point(|(first, _)| first <= one);
    after.checked_sub(1).and_then(|at| ranges.get(at)).is_some_and(|(_, last)| one <= last)
}

impl Networks {
    pub(super) fn new(networks: &[model::Cidr]) -> Self {
        let mut gathered = Gathered::default();
        networks.iter().for_each(|network| gathered.add(network));
        gathered.finish()
    }

    /// Whether one of them holds an address.
    pub(super) fn contains(&self, address: IpAddr) -> bool {
        match address.to_canonical() {
            IpAddr::V4(v4) => holds(&self.v4, &v4.to_bits()),
            IpAddr::V6(v6) => holds(&self.v6, &v6.to_bits()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn an_address_is_in_them_when_it_is_in_one(
            networks in proptest::collection::vec((any::<u32>(), 0_u8..=32), 0..40),
            wide in proptest::collection::vec((any::<u128>(), 0_u8..=128), 0..40),
            address in any::<u32>(),
            nearby in 0_usize..40,
        ) {
            let v4 = networks.iter().map(|(bits, prefix)| model::Cidr::new(std::net::Ipv4Addr::from_bits(*bits).into(), *prefix));
            let v6 = wide.iter().map(|(bits, prefix)| model::Cidr::new(std::net::Ipv6Addr::from_bits(*bits).into(), *prefix));
            let all: Vec<model::Cidr> = v4.chain(v6).flatten().collect();
            let found = Networks::new(&all);
            let edges = all.get(nearby).map(|network| network.address());
            for one in [Some(std::net::Ipv4Addr::from_bits(address).into()), edges].into_iter().flatten() {
                let want = all.iter().any(|network| network.contains(one));
                prop_assert_eq!(found.contains(one), want);
            }
        }
    }

    #[test]
    fn the_first_and_the_last_address_of_all_are_found() {
        let all = ["0.0.0.0/0".parse().expect("a network"), "::/0".parse().expect("a network")];
        let found = Networks::new(&all);
        for address in ["0.0.0.0", "255.255.255.255", "::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"] {
            assert!(found.contains(address.parse().expect("an address")), "{address}");
        }
        assert!(!Networks::default().contains("0.0.0.0".parse().expect("an address")));
    }
}
