//! A worker's UDP sockets, as its QUIC endpoint sees them: datagrams for others are handed on before it does.

use std::{
    fmt,
    future::Future,
    hash::BuildHasher,
    io::{self, IoSliceMut},
    net::SocketAddr,
    os::fd::OwnedFd,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http3::steer::{self, Envelope, Home};
use quinn::{
    AsyncUdpSocket, UdpPoller,
    udp::{RecvMeta, Transmit, UdpSocketState},
};
use rustix::net::SendFlags;
use tokio::{
    io::Interest,
    time::{Instant, Sleep, sleep},
};

use super::{
    lane::{Datagram, Lane},
    report::{COUNTS, count},
};

/// Rounds of datagrams for others before other tasks get their turn.
const ROUNDS_MAX: usize = 32;

/// The pause after an error that may last, and how often it is told of.
const PAUSE: Duration = Duration::from_millis(50);
const COMPLAINTS: Duration = Duration::from_secs(60);

/// A UDP socket with what the kernel can do on it.
struct Udp {
    io: tokio::net::UdpSocket,
    state: UdpSocketState,
}

/// A process before this one that still has connections.
#[derive(Debug, Clone)]
pub(super) struct Earlier {
    pub(super) home: Home,
    /// Its end of what is received here for it.
    pub(super) to: Arc<OwnedFd>,
}

/// The sockets of a worker.
pub(super) struct Socket {
    /// Those that it reads.
    read: Vec<Udp>,
    /// The one that it sends on: the first that it reads, or another worker's.
    write: Udp,
    /// Whose it is.
    home: Home,
    lanes: Arc<[Lane]>,
    earlier: Vec<Earlier>,
    /// There are fewer sockets than workers: new connections are spread by their address.
    spread: Option<foldhash::fast::RandomState>,
    /// Whose turn it is: what others hand on, or one of the own sockets.
    turn: AtomicUsize,
    trouble: Mutex<Trouble>,
}

/// What went wrong with receiving.
#[derive(Default)]
struct Trouble {
    /// Until when nothing is received.
    rest: Option<Pin<Box<Sleep>>>,
    told: Option<Instant>,
}

impl Udp {
    fn new(socket: std::net::UdpSocket) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        Ok(Self {
            state: UdpSocketState::new((&socket).into())?,
            io: tokio::net::UdpSocket::from_std(socket)?,
        })
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.io.poll_recv_ready(cx))?;
            let received =
                self.io.try_io(Interest::READABLE, || self.state.recv((&self.io).into(), bufs, meta));
            match received {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                received => return Poll::Ready(received),
            }
        }
    }
}

impl Socket {
    pub(super) fn new(share: super::Share) -> io::Result<Self> {
        let read = share.read.into_iter().map(Udp::new).collect::<io::Result<_>>()?;
        let spread = share.is_spread.then(foldhash::fast::RandomState::default);
        Ok(Self {
            read,
            write: Udp::new(share.write)?,
            home: share.home,
            lanes: share.lanes,
            earlier: share.earlier,
            spread,
            turn: AtomicUsize::new(0),
            trouble: Mutex::default(),
        })
    }

    /// Receiving has failed. An error that is passed on would end the endpoint with all its connections.
    fn fail(&self, error: &io::Error) {
        let mut trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        trouble.rest = Some(Box::pin(sleep(PAUSE)));
        let now = Instant::now();
        if trouble.told.is_none_or(|told| now.saturating_duration_since(told) >= COMPLAINTS) {
            trouble.told = Some(now);
            tracing::error!("cannot receive datagrams of QUIC: {error}; it is tried again and again");
        }
    }

    /// Whether nothing is received because that has failed; wakes when it is tried again.
    fn rests(&self, cx: &mut Context<'_>) -> bool {
        let mut trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(rest) = &mut trouble.rest else { return false };
        if rest.as_mut().poll(cx).is_pending() {
            return true;
        }
        trouble.rest = None;
        false
    }

    fn lane(&self) -> Option<&Lane> {
        self.lanes.get(usize::from(self.home.worker))
    }

    /// Whether a datagram was for somebody else, who has it now.
    fn hand_on(&self, datagram: &[u8], meta: &RecvMeta) -> bool {
        let Some(home) = steer::home(datagram) else {
            let Some(hasher) = &self.spread else { return false };
            let worker = hasher.hash_one(meta.addr) % self.lanes.len() as u64;
            return self.pass(worker as u16, datagram, meta);
        };
        if home.epoch == self.home.epoch {
            return self.pass(home.worker, datagram, meta);
        }
        let Some(earlier) = self.earlier.iter().find(|earlier| earlier.home == home) else { return false };
        count(&COUNTS.to_processes);
        let ecn = meta.ecn.map_or(0, |ecn| ecn as u8);
        let envelope = Envelope { from: meta.addr, to: meta.dst_ip, ecn, payload: datagram }.write();
        let _ = rustix::net::send(&*earlier.to, &envelope, SendFlags::DONTWAIT | SendFlags::NOSIGNAL);
        true
    }

    /// Whether another worker has the datagram now.
    fn pass(&self, worker: u16, datagram: &[u8], meta: &RecvMeta) -> bool {
        if worker == self.home.worker {
            return false;
        }
        let Some(lane) = self.lanes.get(usize::from(worker)) else { return false };
        count(&COUNTS.to_workers);
        let mut meta = *meta;
        (meta.len, meta.stride) = (datagram.len(), datagram.len());
        lane.send(Datagram { meta, bytes: Bytes::copy_from_slice(datagram) });
        true
    }
}

/// Takes what another worker has received for this one.
fn take(lane: &Lane, cx: &mut Context<'_>, bufs: &mut [IoSliceMut<'_>], meta: &mut [RecvMeta]) -> bool {
    let (Some(buf), Some(meta)) = (bufs.first_mut(), meta.first_mut()) else { return false };
    while let Poll::Ready(Some(datagram)) = lane.poll_recv(cx) {
        // One for which there is no room is lost, as in a socket.
        let Some(room) = buf.get_mut(..datagram.bytes.len()) else { continue };
        room.copy_from_slice(&datagram.bytes);
        *meta = datagram.meta;
        return true;
    }
    false
}

impl AsyncUdpSocket for Socket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(Writable { socket: self, waiting: None })
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let write = &self.write;
        write.io.try_io(Interest::WRITABLE, || write.state.send((&write.io).into(), transmit))
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let Some(lane) = self.lane() else { return Poll::Pending };
        // Neither a flood of what others hand on nor one socket of several keeps the rest from being read.
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        if turn.is_multiple_of(2) && take(lane, cx, bufs, meta) {
            return Poll::Ready(Ok(1));
        }
        let mut rounds = 0;
        let is_dry = loop {
            if rounds == ROUNDS_MAX || lane.is_paused(cx) || self.rests(cx) {
                break rounds < ROUNDS_MAX;
            }
            let mut has_read = false;
            for at in 0..self.read.len() {
                let Some(socket) = self.read.get((turn / 2 + rounds + at) % self.read.len()) else {
                    continue;
                };
                let Poll::Ready(count) = socket.poll_recv(cx, bufs, meta) else { continue };
                has_read = true;
                let count = match count {
                    Ok(count) => count,
                    Err(error) => {
                        self.fail(&error);
                        continue;
                    }
                };
                let mut kept = 0;
                for (buf, meta) in bufs.iter_mut().zip(meta.iter_mut()).take(count) {
                    let length = meta.len.min(buf.len());
                    meta.len = steer::keep(&mut buf[..length], meta.stride, |datagram| {
                        !self.hand_on(datagram, meta)
                    });
                    kept += meta.len;
                }
                if kept > 0 {
                    return Poll::Ready(Ok(count));
                }
            }
            if !has_read {
                break true;
            }
            rounds += 1;
        };
        if take(lane, cx, bufs, meta) {
            return Poll::Ready(Ok(1));
        }
        if !is_dry {
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.write.io.local_addr()
    }

    fn max_transmit_segments(&self) -> usize {
        self.write.state.max_gso_segments()
    }

    fn max_receive_segments(&self) -> usize {
        self.write.state.gro_segments()
    }

    fn may_fragment(&self) -> bool {
        self.write.state.may_fragment()
    }
}

impl fmt::Debug for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Socket").field("home", &self.home).finish_non_exhaustive()
    }
}

type Waiting = Pin<Box<dyn Future<Output = io::Result<()>> + Send + Sync>>;

/// Waits until a socket takes more.
struct Writable {
    socket: Arc<Socket>,
    waiting: Option<Waiting>,
}

impl UdpPoller for Writable {
    fn poll_writable(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let waiting = this.waiting.get_or_insert_with(|| {
            let socket = this.socket.clone();
            Box::pin(async move { socket.write.io.writable().await })
        });
        let ready = ready!(waiting.as_mut().poll(cx));
        this.waiting = None;
        Poll::Ready(ready)
    }
}

impl fmt::Debug for Writable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writable").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;
    use crate::quic::Share;

    fn udp() -> std::net::UdpSocket {
        std::net::UdpSocket::bind("127.0.0.1:0").expect("a socket")
    }

    /// One look at the sockets, and what came: its first byte.
    fn look(socket: &Socket) -> Option<u8> {
        let (mut buffer, mut meta) = (vec![0; 2048], [RecvMeta::default()]);
        let mut bufs = [IoSliceMut::new(&mut buffer)];
        let mut cx = Context::from_waker(Waker::noop());
        match socket.poll_recv(&mut cx, &mut bufs, &mut meta) {
            Poll::Ready(Ok(1)) => bufs[0].first().copied(),
            Poll::Ready(other) => panic!("{other:?}"),
            Poll::Pending => None,
        }
    }

    #[test]
    fn an_error_of_one_socket_ends_neither_it_nor_the_others() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let (bad, good, client, gone) = (udp(), udp(), udp(), udp());
            let address = |socket: &std::net::UdpSocket| socket.local_addr().expect("an address");
            bad.connect(address(&gone)).expect("a place");
            gone.send_to(&[7; 4], address(&bad)).expect("sent");
            client.send_to(&[1; 4], address(&good)).expect("sent");
            drop(gone);
            // That nobody is there any more is told by the next read.
            bad.send(&[9; 4]).expect("sent");
            let socket = Socket::new(Share {
                write: good.try_clone().expect("a socket"),
                read: vec![bad, good],
                home: Home { epoch: 1, worker: 0 },
                lanes: [Lane::new()].into(),
                earlier: Vec::new(),
                is_spread: false,
                listener: Arc::new(Mutex::default()),
            })
            .expect("a socket");
            for own in &socket.read {
                own.io.readable().await.expect("a socket");
            }
            let mut seen = Vec::new();
            for _ in 0..50 {
                seen.extend(look(&socket));
                sleep(Duration::from_millis(10)).await;
            }
            seen.sort_unstable();
            assert_eq!(seen, [1, 7], "what came to either");
            let told = socket.trouble.lock().unwrap_or_else(PoisonError::into_inner).told;
            assert!(told.is_some(), "there was an error");
        });
    }

    #[test]
    fn a_flood_of_what_others_hand_on_keeps_no_socket_from_being_read() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let read = [udp(), udp()];
            let to = read.each_ref().map(|socket| socket.local_addr().expect("an address"));
            let lanes: Arc<[Lane]> = [Lane::new()].into();
            let socket = Socket::new(Share {
                write: read[0].try_clone().expect("a socket"),
                read: read.into(),
                home: Home { epoch: 1, worker: 0 },
                lanes: lanes.clone(),
                earlier: Vec::new(),
                is_spread: false,
                listener: Arc::new(Mutex::default()),
            })
            .expect("a socket");
            let client = udp();
            for (number, to) in to.iter().enumerate() {
                for _ in 0..40 {
                    client.send_to(&[number as u8; 4], to).expect("sent");
                }
            }
            for own in &socket.read {
                own.io.readable().await.expect("a socket");
            }
            let mut seen = [0; 3];
            for _ in 0..60 {
                let mut meta = RecvMeta::default();
                (meta.len, meta.stride) = (4, 4);
                for _ in 0..10 {
                    lanes[0].send(Datagram { meta, bytes: Bytes::from_static(&[2; 4]) });
                }
                // Readiness and the budget of a task are given anew at each turn alone.
                tokio::task::yield_now().await;
                if let Some(whose) = look(&socket) {
                    seen[usize::from(whose)] += 1;
                }
            }
            assert_eq!(seen.iter().sum::<i32>(), 60, "there is always something: {seen:?}");
            assert!(
                seen[2] == 30 && seen[..2].iter().all(|count| *count >= 14),
                "{seen:?} of two sockets and others"
            );
        });
    }
}
