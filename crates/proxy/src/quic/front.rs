//! The UDP sockets of an address, one for each worker, and what becomes of them when the next process takes over.
//!
//! A process that hands its sockets on stops reading them at once: two readers of one socket would tear handshakes
//! apart. The next one reads them, and sends back what is for connections of the first, over a pair of sockets for each
//! worker. When the next one goes away without having taken over, the pairs end, and the first reads again.

use std::{
    collections::HashMap,
    io,
    net::SocketAddr,
    os::fd::OwnedFd,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use http3::steer::{ENVELOPE_BYTES, Envelope, Home};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use socket2::{Domain, Protocol, SockRef, Type};
use tokio::net::UnixStream;

use super::{
    lane::{Lane, unpack},
    socket::Earlier,
};
use crate::listener::sockets::{Inherited, take_inherited};

/// Bytes that wait in a socket, in the kernel: a worker that is busy for a moment loses nothing.
const SOCKET_BUFFER_BYTES: usize = 2 * 1024 * 1024;
const DATAGRAM_BYTES_MAX: usize = 65_535;
/// What a UDP socket of a listener is called between two processes, before its address.
const SOCKET: &str = "quic:";
/// What the way back to a worker is called, before its process, its number and the address.
const BACK: &str = "quic-back:";

/// The UDP sockets of an address.
pub(crate) struct Front {
    pub(crate) address: String,
    sockets: Vec<std::net::UdpSocket>,
    lanes: Arc<[Lane]>,
    earlier: Vec<Earlier>,
    /// The listener that is served; none when it was taken away.
    listener: Arc<Mutex<Option<Arc<str>>>>,
    epoch: u16,
}

/// What a worker gets of it.
pub(crate) struct Share {
    pub(super) read: Vec<std::net::UdpSocket>,
    pub(super) write: std::net::UdpSocket,
    pub(super) home: Home,
    pub(super) lanes: Arc<[Lane]>,
    pub(super) earlier: Vec<Earlier>,
    pub(super) is_spread: bool,
    pub(super) listener: Arc<Mutex<Option<Arc<str>>>>,
}

/// A worker's end of what the next process sends back.
pub(crate) struct Heir {
    lanes: Arc<[Lane]>,
    worker: usize,
    from: OwnedFd,
    /// The next process is there: to be set once, by the first that notices its end.
    is_there: Arc<AtomicBool>,
}

impl Front {
    /// Takes over or binds the sockets of an address.
    pub(crate) fn open(
        address: &str,
        listener: &str,
        workers: usize,
        inherited: &mut Vec<Inherited>,
    ) -> io::Result<Self> {
        let taken = take_inherited(inherited, listener, &format!("{SOCKET}{address}"));
        let earlier = take_back(inherited, address);
        let epoch = epoch(&earlier)?;
        let sockets = match taken.is_empty() {
            true => (0..workers).map(|_| bind(address)).collect::<io::Result<_>>()?,
            false => taken.into_iter().map(std::net::UdpSocket::from).collect(),
        };
        Ok(Self {
            address: address.to_owned(),
            sockets,
            lanes: (0..workers).map(|_| Lane::new()).collect(),
            earlier,
            listener: Arc::default(),
            epoch,
        })
    }

    /// Whom new connections are for from now on.
    pub(crate) fn serve(&self, listener: Option<&Arc<str>>) {
        *self.listener.lock().unwrap_or_else(PoisonError::into_inner) = listener.cloned();
    }

    /// The sockets by worker. A socket has one reader: the datagrams of a handshake stay together.
    pub(crate) fn shares(&self) -> io::Result<Vec<Share>> {
        let workers = self.lanes.len();
        let of = |worker: usize| self.sockets.iter().skip(worker).step_by(workers);
        (0..workers)
            .map(|worker| {
                Ok(Share {
                    read: of(worker).map(std::net::UdpSocket::try_clone).collect::<io::Result<_>>()?,
                    write: self.sockets[worker % self.sockets.len()].try_clone()?,
                    home: Home { epoch: self.epoch, worker: worker as u16 },
                    lanes: self.lanes.clone(),
                    earlier: self.earlier.clone(),
                    is_spread: self.sockets.len() < workers,
                    listener: self.listener.clone(),
                })
            })
            .collect()
    }

    /// The sockets and the ways back, for the next process, and what this one's workers have to read meanwhile.
    pub(crate) fn hand_over(&self) -> io::Result<(Vec<Inherited>, Vec<Heir>)> {
        let listener = self.listener.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(listener) = listener else { return Ok((Vec::new(), Vec::new())) };
        let named = |address: String, socket: OwnedFd| Inherited {
            listener: listener.to_string(),
            address: Some(address),
            socket,
        };
        let mut all = Vec::new();
        for socket in &self.sockets {
            all.push(named(format!("{SOCKET}{}", self.address), socket.try_clone()?.into()));
        }
        let back = |home: Home| format!("{BACK}{}:{}:{}", home.epoch, home.worker, self.address);
        for earlier in &self.earlier {
            all.push(named(back(earlier.home), earlier.to.try_clone()?));
        }
        let is_there = Arc::new(AtomicBool::new(true));
        let mut heirs = Vec::new();
        for worker in 0..self.lanes.len() {
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            let (from, to) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
            // As far as the kernel allows: a process that starts beside this one makes both late.
            let _ = SockRef::from(&to).set_send_buffer_size(SOCKET_BUFFER_BYTES);
            all.push(named(back(Home { epoch: self.epoch, worker: worker as u16 }), to));
            heirs.push(Heir { lanes: self.lanes.clone(), worker, from, is_there: is_there.clone() });
        }
        self.lanes.iter().for_each(|lane| lane.pause(true));
        Ok((all, heirs))
    }
}

impl Heir {
    /// Which worker is to read it.
    pub(crate) fn worker(&self) -> usize {
        self.worker
    }
}

/// Reads what the next process sends back to a worker, until that process ends.
pub(crate) async fn read_heir(heir: Heir) {
    if let Err(error) = read_all(&heir).await {
        tracing::warn!("what the new process sends back cannot be read: {error}");
    }
    if heir.is_there.swap(false, Ordering::AcqRel) {
        heir.lanes.iter().for_each(|lane| lane.pause(false));
    }
}

async fn read_all(heir: &Heir) -> io::Result<()> {
    // It keeps packets apart, each of which a read takes whole.
    let from = UnixStream::from_std(heir.from.try_clone()?.into())?;
    let mut buffer = vec![0; ENVELOPE_BYTES + DATAGRAM_BYTES_MAX];
    loop {
        // Others on this thread have their turn, however much comes: what is read here is theirs to answer.
        tokio::task::consume_budget().await;
        from.readable().await?;
        let length = match from.try_read(&mut buffer) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
            length => length?,
        };
        if length == 0 {
            return Ok(());
        }
        if let Some(envelope) = Envelope::read(&buffer[..length]) {
            heir.lanes[heir.worker].send(unpack(&envelope));
        }
    }
}

/// The ways back to processes that were here before.
fn take_back(inherited: &mut Vec<Inherited>, address: &str) -> Vec<Earlier> {
    let home = |one: &Inherited| {
        let (epoch, rest) = one.address.as_deref()?.strip_prefix(BACK)?.split_once(':')?;
        let (worker, at) = rest.split_once(':')?;
        let home = Home { epoch: epoch.parse().ok()?, worker: worker.parse().ok()? };
        (at == address).then_some(home)
    };
    let mut earlier = Vec::new();
    let mut rest = Vec::new();
    for one in inherited.drain(..) {
        match home(&one) {
            Some(home) => earlier.push(Earlier { home, to: Arc::new(one.socket) }),
            None => rest.push(one),
        }
    }
    *inherited = rest;
    earlier
}

/// What this process is told from those before it by.
fn epoch(earlier: &[Earlier]) -> io::Result<u16> {
    static EPOCH: OnceLock<u16> = OnceLock::new();
    if let Some(epoch) = EPOCH.get() {
        return Ok(*epoch);
    }
    loop {
        let mut bytes = [0; 2];
        aws_lc_rs::rand::fill(&mut bytes)
            .map_err(|_| io::Error::other("the system gives no random numbers"))?;
        let epoch = u16::from_be_bytes(bytes);
        if earlier.iter().all(|earlier| earlier.home.epoch != epoch) {
            return Ok(*EPOCH.get_or_init(|| epoch));
        }
    }
}

fn bind(address: &str) -> io::Result<std::net::UdpSocket> {
    let wrong = |_| io::Error::new(io::ErrorKind::InvalidInput, format!("`{address}` is not an address"));
    let address: SocketAddr = address.parse().map_err(wrong)?;
    let socket = socket2::Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_reuse_port(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.set_nonblocking(true)?;
    // The kernel gives as much of it as it may.
    let reference = SockRef::from(&socket);
    let _ = reference.set_recv_buffer_size(SOCKET_BUFFER_BYTES);
    let _ = reference.set_send_buffer_size(SOCKET_BUFFER_BYTES);
    socket.bind(&address.into())?;
    Ok(socket.into())
}

/// Whether somebody else has a UDP port: `SO_REUSEPORT` would share it silently.
pub(crate) fn is_taken(address: &str) -> bool {
    let Ok(address) = address.parse::<SocketAddr>() else { return false };
    let probe = || -> io::Result<()> {
        let socket = socket2::Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
        socket.bind(&address.into())
    };
    matches!(probe(), Err(error) if error.kind() == io::ErrorKind::AddrInUse)
}

/// All fronts of a process, by their address.
#[derive(Default)]
pub(crate) struct Fronts(HashMap<String, Front>);

impl Fronts {
    /// Opens those that are wanted and not there; nothing is changed when one cannot be. `wanted` are listeners with
    /// their addresses.
    pub(crate) fn prepare(
        &self,
        wanted: &[(Arc<str>, String)],
        workers: usize,
        inherited: &mut Vec<Inherited>,
    ) -> Result<Vec<Front>, (Arc<str>, String, io::Error)> {
        let mut made = Vec::new();
        for (listener, address) in wanted {
            if self.0.contains_key(address) {
                continue;
            }
            let is_inherited =
                inherited.iter().any(|one| one.address.as_deref() == Some(&format!("{SOCKET}{address}")));
            let opened = match !is_inherited && is_taken(address) {
                true => Err(io::ErrorKind::AddrInUse.into()),
                false => Front::open(address, listener, workers, inherited),
            };
            made.push(opened.map_err(|error| (listener.clone(), format!("{address} (UDP)"), error))?);
        }
        Ok(made)
    }

    /// Takes those in that were opened, and has each serve its listener. A front that nobody wants any more stays for
    /// its connections and for the day it is wanted again, and refuses new ones: closing its sockets would leave the
    /// connections without.
    pub(crate) fn settle(
        &mut self,
        made: Vec<Front>,
        wanted: &[(Arc<str>, String)],
    ) -> io::Result<Vec<Share>> {
        let mut shares = Vec::new();
        for front in made {
            shares.extend(front.shares()?);
            self.0.insert(front.address.clone(), front);
        }
        for front in self.0.values() {
            front.serve(wanted.iter().find(|(_, address)| *address == front.address).map(|(name, _)| name));
        }
        Ok(shares)
    }

    /// [`Front::hand_over`] of all.
    pub(crate) fn hand_over(&self) -> io::Result<(Vec<Inherited>, Vec<Heir>)> {
        let (mut sockets, mut heirs) = (Vec::new(), Vec::new());
        for front in self.0.values() {
            let (some, of_it) = front.hand_over()?;
            sockets.extend(some);
            heirs.extend(of_it);
        }
        Ok((sockets, heirs))
    }
}

impl Share {
    /// Which worker it is for.
    pub(crate) fn worker(&self) -> usize {
        usize::from(self.home.worker)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inherited(address: &str) -> Inherited {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").expect("a socket").into();
        Inherited { listener: "a".to_owned(), address: Some(address.to_owned()), socket }
    }

    #[test]
    fn ways_back_are_told_from_sockets_and_from_other_addresses() {
        let mut all: Vec<_> = [
            "quic:127.0.0.1:443",
            "quic-back:7:1:127.0.0.1:443",
            "quic-back:7:2:127.0.0.1:444",
            "quic-back:70000:2:127.0.0.1:443",
            "127.0.0.1:443",
        ]
        .into_iter()
        .map(inherited)
        .collect();
        let earlier = take_back(&mut all, "127.0.0.1:443");
        assert_eq!(earlier.iter().map(|one| one.home).collect::<Vec<_>>(), [Home { epoch: 7, worker: 1 }]);
        assert_eq!(all.len(), 4);
        assert_eq!(take_inherited(&mut all, "a", "quic:127.0.0.1:443").len(), 1);
    }

    #[test]
    fn every_socket_has_one_reader_and_every_worker_one_to_send_on() {
        for (sockets, workers) in [(1, 3), (3, 3), (5, 2)] {
            let mut from: Vec<_> = (0..sockets).map(|_| inherited("quic:127.0.0.1:443")).collect();
            let front = Front::open("127.0.0.1:443", "a", workers, &mut from).expect("a front");
            let shares = front.shares().expect("shares");
            let read: usize = shares.iter().map(|share| share.read.len()).sum();
            assert_eq!((shares.len(), read), (workers, sockets));
            assert_eq!(shares[0].is_spread, sockets < workers);
        }
    }
}
