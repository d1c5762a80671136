//! Which worker a datagram of QUIC is for, by the connection id that it is sent to.
//!
//! The kernel spreads datagrams over the sockets of one port by the client's address and port. A client that moves, or
//! whose router gives it another port, lands at another socket in the middle of its connection. So each id that this
//! server gives out says which process and which worker gave it: whoever receives the datagram reads that and hands it
//! on. A client's first datagrams carry an id of its own; they belong to whoever receives them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

/// Bytes of an id that this server gives out.
pub const ID_BYTES: usize = 12;
/// Bytes of an id that nobody can guess.
pub const RANDOM_BYTES: usize = 8;
/// The version of QUIC whose long headers are understood (RFC 9000).
const VERSION: [u8; 4] = [0, 0, 0, 1];

/// Who gave out a connection id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Home {
    /// Which process of those that follow each other.
    pub epoch: u16,
    /// Which of its workers.
    pub worker: u16,
}

impl Home {
    /// A connection id of this worker.
    pub fn id(self, random: [u8; RANDOM_BYTES]) -> [u8; ID_BYTES] {
        let mut id = [0; ID_BYTES];
        id[..2].copy_from_slice(&self.epoch.to_be_bytes());
        id[2..4].copy_from_slice(&self.worker.to_be_bytes());
        id[4..].copy_from_slice(&random);
        id
    }

    /// Who gave out an id, if it is one of ours.
    pub fn of(id: &[u8]) -> Option<Self> {
        let [epoch_high, epoch_low, worker_high, worker_low, rest @ ..] = id else { return None };
        (rest.len() == RANDOM_BYTES).then(|| Self {
            epoch: u16::from_be_bytes([*epoch_high, *epoch_low]),
            worker: u16::from_be_bytes([*worker_high, *worker_low]),
        })
    }
}

/// Whom a datagram is for. None when it belongs to whoever received it: the first ones of a connection, whose id the
/// client made up, and all that is not understood.
pub fn home(datagram: &[u8]) -> Option<Home> {
    let (first, rest) = datagram.split_first()?;
    if first & 0x80 == 0 {
        return Home::of(rest.get(..ID_BYTES)?);
    }
    let (version, rest) = rest.split_at_checked(4)?;
    // Of the long headers, that of the handshake alone is sent to an id of ours (RFC 9000 §17.2.4).
    let is_handshake = first & 0x30 == 0x20;
    if version != VERSION || !is_handshake {
        return None;
    }
    let (length, rest) = rest.split_first()?;
    Home::of(rest.get(..usize::from(*length))?)
}

/// Keeps some of the datagrams that were received in one piece, each of `stride` bytes but for the last, which may have
/// fewer: moves them to the front, in their order, and says how many bytes they are.
pub fn keep(received: &mut [u8], stride: usize, mut is_kept: impl FnMut(&[u8]) -> bool) -> usize {
    let (mut kept, mut at) = (0, 0);
    while at < received.len() {
        let end = at.saturating_add(stride.max(1)).min(received.len());
        if is_kept(&received[at..end]) {
            received.copy_within(at..end, kept);
            kept += end - at;
        }
        at = end;
    }
    kept
}

/// A datagram on its way to another process, with what the kernel told of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope<'d> {
    /// Who sent it.
    pub from: SocketAddr,
    /// The address that it was sent to.
    pub to: Option<IpAddr>,
    /// Its mark of congestion, two bits.
    pub ecn: u8,
    /// What is in it.
    pub payload: &'d [u8],
}

/// Bytes that an envelope adds.
pub const ENVELOPE_BYTES: usize = 1 + 16 + 2 + 4 + 16;
const FROM_V6: u8 = 0x10;
const TO_V4: u8 = 0x20;
const TO_V6: u8 = 0x40;

impl<'d> Envelope<'d> {
    /// Its bytes.
    pub fn write(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(ENVELOPE_BYTES + self.payload.len());
        let (from, scope) = match self.from {
            SocketAddr::V4(from) => (IpAddr::V4(*from.ip()), 0),
            SocketAddr::V6(from) => (IpAddr::V6(*from.ip()), from.scope_id()),
        };
        let to = match self.to {
            None => 0,
            Some(IpAddr::V4(_)) => TO_V4,
            Some(IpAddr::V6(_)) => TO_V6,
        };
        out.push(self.ecn & 3 | if from.is_ipv6() { FROM_V6 } else { 0 } | to);
        out.extend_from_slice(&wide(from));
        out.extend_from_slice(&self.from.port().to_be_bytes());
        out.extend_from_slice(&scope.to_be_bytes());
        out.extend_from_slice(&self.to.map_or([0; 16], wide));
        out.extend_from_slice(self.payload);
        out
    }

    /// Reads one; none when it is not.
    pub fn read(bytes: &'d [u8]) -> Option<Self> {
        let (flags, rest) = bytes.split_first()?;
        let (from, rest) = rest.split_first_chunk::<16>()?;
        let (port, rest) = rest.split_first_chunk::<2>()?;
        let (scope, rest) = rest.split_first_chunk::<4>()?;
        let (to, payload) = rest.split_first_chunk::<16>()?;
        let port = u16::from_be_bytes(*port);
        let from = match narrow(*from, flags & FROM_V6 != 0) {
            IpAddr::V4(ip) => SocketAddr::from((ip, port)),
            IpAddr::V6(ip) => SocketAddrV6::new(ip, port, 0, u32::from_be_bytes(*scope)).into(),
        };
        let to = match flags & (TO_V4 | TO_V6) {
            0 => None,
            kind => Some(narrow(*to, kind & TO_V6 != 0)),
        };
        Some(Self { from, to, ecn: flags & 3, payload })
    }
}

fn wide(ip: IpAddr) -> [u8; 16] {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
        IpAddr::V6(ip) => ip.octets(),
    }
}

fn narrow(bytes: [u8; 16], is_v6: bool) -> IpAddr {
    if is_v6 {
        return Ipv6Addr::from(bytes).into();
    }
    let [.., a, b, c, d] = bytes;
    Ipv4Addr::new(a, b, c, d).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOME: Home = Home { epoch: 0xbeef, worker: 3 };

    fn long(kind: u8, version: [u8; 4], id: &[u8]) -> Vec<u8> {
        [&[0xc0 | kind << 4][..], &version, &[id.len() as u8], id, &[0; 30]].concat()
    }

    #[test]
    fn a_datagram_is_for_whoever_gave_out_its_id() {
        let id = HOME.id([7; RANDOM_BYTES]);
        assert_eq!(Home::of(&id), Some(HOME));
        let short = [&[0x41][..], &id, &[9; 40]].concat();
        assert_eq!(home(&short), Some(HOME));
        assert_eq!(home(&long(2, VERSION, &id)), Some(HOME));
        // The first ones, 0-RTT, Retry, another version, an id that is not ours, and bytes that are too few.
        for other in [
            long(0, VERSION, &id),
            long(1, VERSION, &id),
            long(3, VERSION, &id),
            long(2, [0x6b, 0x33, 0x43, 0xcf], &id),
            long(2, [0; 4], &id),
            long(2, VERSION, &id[..8]),
            long(2, VERSION, &[id, id].concat()[..20]),
            short[..12].to_vec(),
            long(2, VERSION, &id)[..17].to_vec(),
            vec![0x80],
            vec![],
        ] {
            assert_eq!(home(&other), None, "{other:x?}");
        }
    }

    #[test]
    fn a_cut_envelope_is_none() {
        let from = "192.0.2.1:7".parse().expect("an address");
        let bytes = Envelope { from, to: None, ecn: 2, payload: &[] }.write();
        assert_eq!(bytes.len(), ENVELOPE_BYTES);
        assert!((0..bytes.len()).all(|length| Envelope::read(&bytes[..length]).is_none()));
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_judged(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..60)) {
            let _ = home(&bytes);
            if let Some(envelope) = Envelope::read(&bytes) {
                assert_eq!(Envelope::read(&envelope.write()).as_ref(), Some(&envelope));
            }
        }

        #[test]
        fn what_is_kept_is_whole_and_in_order(bytes: Vec<u8>, stride in 0usize..40, choice: u64) {
            let chosen = |at: usize| choice >> (at % 64) & 1 == 1;
            let parts = || bytes.chunks(stride.max(1)).enumerate();
            let wanted: Vec<u8> = parts().filter(|(at, _)| chosen(*at)).flat_map(|(_, part)| part.to_vec()).collect();
            let (mut received, mut at, mut seen) = (bytes.clone(), 0, Vec::new());
            let kept = keep(&mut received, stride, |datagram| {
                seen.push(datagram.to_vec());
                at += 1;
                chosen(at - 1)
            });
            assert_eq!(&received[..kept], &wanted[..]);
            assert_eq!(seen, parts().map(|(_, part)| part.to_vec()).collect::<Vec<_>>());
        }

        #[test]
        fn an_envelope_is_read_as_it_was_written(
            v4: [u8; 4], v6: [u8; 16], is_v6: bool, port: u16, scope: u32, to in 0usize..3, ecn in 0u8..4, payload: Vec<u8>,
        ) {
            let from = match is_v6 {
                true => SocketAddrV6::new(v6.into(), port, 0, scope).into(),
                false => SocketAddr::from((v4, port)),
            };
            let to = [None, Some(IpAddr::from(v4)), Some(IpAddr::from(v6))][to];
            let envelope = Envelope { from, to, ecn, payload: &payload };
            assert_eq!(Envelope::read(&envelope.write()), Some(envelope.clone()));
        }
    }
}
