//! Who may begin a handshake: so many at a time, of an address and altogether, and under load only those who have shown
//! that they receive at their address.

use std::{cell::RefCell, collections::HashMap, net::IpAddr, rc::Rc};

use model::resource::http3::Retry;

/// Handshakes under way in a worker from which on a client has to show that it has its address.
const BUSY: usize = 100;
/// Handshakes under way in a worker at most.
const HANDSHAKES_MAX: usize = 2000;

/// What becomes of a client's first datagram.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict<P> {
    /// Its handshake begins.
    Begin(P),
    /// It is sent a token, and comes again with it. Nothing is kept for it.
    Retry,
    /// It is told that it is refused.
    Refuse,
    /// Nothing at all.
    Ignore,
}

/// The handshakes under way in a worker.
#[derive(Debug, Default)]
pub(super) struct Gate(RefCell<UnderWay>);

#[derive(Debug, Default)]
struct UnderWay {
    all: usize,
    by_address: HashMap<IpAddr, u32>,
}

/// A handshake under way; the gate forgets it when this is dropped.
#[derive(Debug)]
pub(super) struct Pass {
    gate: Rc<Gate>,
    address: IpAddr,
}

impl Gate {
    /// Judges a first datagram. `is_shown` says whether the client has shown that it has its address.
    pub(super) fn judge(
        self: &Rc<Self>,
        address: IpAddr,
        is_shown: bool,
        retry: Retry,
        of_an_address: u32,
    ) -> Verdict<Pass> {
        let address = network(address);
        let mut under_way = self.0.borrow_mut();
        let own = under_way.by_address.get(&address).copied().unwrap_or(0);
        let is_busy = under_way.all >= BUSY || own >= of_an_address;
        if !is_shown && (retry == Retry::Always || is_busy) {
            return Verdict::Retry;
        }
        if own >= of_an_address {
            // What it has shown is that these handshakes are its own.
            return Verdict::Refuse;
        }
        if under_way.all >= HANDSHAKES_MAX {
            return Verdict::Ignore;
        }
        under_way.all += 1;
        *under_way.by_address.entry(address).or_default() += 1;
        Verdict::Begin(Pass { gate: self.clone(), address })
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        let mut under_way = self.gate.0.borrow_mut();
        under_way.all -= 1;
        if let Some(count) = under_way.by_address.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                under_way.by_address.remove(&self.address);
            }
        }
    }
}

/// What one client has: an IPv4 address, or a whole /64.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => {
            let bits = u128::from(address) & !u128::from(u64::MAX);
            IpAddr::V6(bits.into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    fn begin(gate: &Rc<Gate>, address: &str, is_shown: bool) -> Verdict<()> {
        match gate.judge(ip(address), is_shown, Retry::Auto, 3) {
            Verdict::Begin(pass) => {
                std::mem::forget(pass);
                Verdict::Begin(())
            }
            Verdict::Retry => Verdict::Retry,
            Verdict::Refuse => Verdict::Refuse,
            Verdict::Ignore => Verdict::Ignore,
        }
    }

    #[test]
    fn an_address_has_its_share_and_strangers_cannot_use_it_up() {
        let gate = Rc::<Gate>::default();
        for address in ["2001:db8::1", "2001:db8::2", "2001:db8:0:0:ffff::3"] {
            assert_eq!(begin(&gate, address, false), Verdict::Begin(()));
        }
        // Who only says that it is there is asked to show it; who has shown it has had its share.
        assert_eq!(begin(&gate, "2001:db8::4", false), Verdict::Retry);
        assert_eq!(begin(&gate, "2001:db8::4", true), Verdict::Refuse);
        assert_eq!(begin(&gate, "2001:db8:0:1::4", false), Verdict::Begin(()));
        assert_eq!(begin(&gate, "::ffff:192.0.2.1", false), Verdict::Begin(()));
    }

    #[test]
    fn under_load_nothing_is_done_for_who_has_not_shown_its_address() {
        let gate = Rc::<Gate>::default();
        let address = |number: usize| format!("10.0.{}.{}", number / 250, number % 250);
        for number in 0..BUSY {
            assert_eq!(begin(&gate, &address(number), false), Verdict::Begin(()));
        }
        assert_eq!(begin(&gate, "192.0.2.1", false), Verdict::Retry);
        for number in BUSY..HANDSHAKES_MAX {
            assert_eq!(begin(&gate, &address(number), true), Verdict::Begin(()));
        }
        assert_eq!(begin(&gate, "192.0.2.1", true), Verdict::Ignore);
    }

    #[test]
    fn a_handshake_that_ends_makes_room_and_leaves_nothing() {
        let gate = Rc::<Gate>::default();
        let judge = || gate.judge(ip("192.0.2.1"), true, Retry::Auto, 1);
        let first = judge();
        assert_eq!(judge().map_pass(), Verdict::Refuse);
        drop(first);
        assert!(gate.0.borrow().by_address.is_empty() && gate.0.borrow().all == 0);
        assert!(matches!(judge(), Verdict::Begin(_)));
        assert_eq!(gate.judge(ip("192.0.2.1"), false, Retry::Always, 1).map_pass(), Verdict::Retry);
    }

    impl Verdict<Pass> {
        fn map_pass(self) -> Verdict<()> {
            match self {
                Self::Begin(_) => Verdict::Begin(()),
                Self::Retry => Verdict::Retry,
                Self::Refuse => Verdict::Refuse,
                Self::Ignore => Verdict::Ignore,
            }
        }
    }
}
