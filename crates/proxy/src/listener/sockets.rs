//! Listening sockets: bound anew, or taken over from the process before or from a service manager.
//!
//! A connection that waits in the queue of a socket is reset when the socket is closed, whatever other sockets share
//! its port (`SO_REUSEPORT`). So what is taken over is the very sockets, all of them, whether this process has as many
//! workers as the one before or not: several workers may share a socket, and a worker may have several.

use std::{
    io,
    net::SocketAddr,
    os::{
        fd::OwnedFd,
        unix::net::{UnixListener, UnixStream},
    },
    path::Path,
    sync::Arc,
};

use model::resource::socket_file::SocketFile;
use socket2::{Domain, Protocol, SockRef, Type};

/// Connections that wait to be accepted.
const BACKLOG: i32 = 4096;
/// Bytes of datagrams that wait in a socket, in the kernel.
const DATAGRAM_BUFFER_BYTES: usize = 2 * 1024 * 1024;
/// Bytes that a connection holds back beyond what is on its way.
const UNSENT_BYTES_MAX: u32 = 32 * 1024;

/// A listening socket that was made elsewhere.
#[derive(Debug)]
pub struct Inherited {
    /// The name of the listener that it was made for.
    pub listener: String,
    /// The address as that listener's configuration has it; none when only the socket itself knows.
    pub address: Option<String>,
    /// The socket.
    pub socket: OwnedFd,
}

/// A listening socket.
#[derive(Debug)]
pub(crate) enum Kind {
    Tcp(std::net::TcpListener),
    Unix(UnixListener),
    Udp(std::net::UdpSocket),
}

/// A listening socket of one worker.
pub(crate) struct Socket {
    pub(crate) listener: Arc<str>,
    pub(crate) kind: Kind,
}

/// What a listener listens on.
#[derive(Debug)]
pub(crate) struct Bound {
    pub(crate) address: String,
    pub(crate) sockets: Vec<Kind>,
}

impl Kind {
    fn from_fd(socket: OwnedFd) -> io::Result<Self> {
        let reference = SockRef::from(&socket);
        reference.set_nonblocking(true)?;
        let is_unix = reference.local_addr()?.is_unix();
        let is_udp = reference.r#type()? == Type::DGRAM;
        Ok(match (is_unix, is_udp) {
            (true, _) => Self::Unix(socket.into()),
            (false, true) => Self::Udp(socket.into()),
            (false, false) => Self::Tcp(socket.into()),
        })
    }

    fn try_clone(&self) -> io::Result<Self> {
        match self {
            Self::Tcp(socket) => socket.try_clone().map(Self::Tcp),
            Self::Unix(socket) => socket.try_clone().map(Self::Unix),
            Self::Udp(socket) => socket.try_clone().map(Self::Udp),
        }
    }

    /// Whether datagrams come, and no connections.
    pub(crate) fn is_udp(&self) -> bool {
        matches!(self, Self::Udp(_))
    }
}

impl Bound {
    /// The sockets by worker: each socket has at least one worker, and each worker at least one socket. One of datagrams has
    /// one alone, so that all of a client come to the same.
    pub(crate) fn shares(&self, listener: &Arc<str>, workers: usize) -> io::Result<Vec<(usize, Socket)>> {
        let is_udp = self.sockets.iter().any(Kind::is_udp);
        let turns = if is_udp { self.sockets.len() } else { self.sockets.len().max(workers) };
        (0..turns)
            .map(|turn| {
                let kind = self.sockets[turn % self.sockets.len()].try_clone()?;
                Ok((turn % workers, Socket { listener: listener.clone(), kind }))
            })
            .collect()
    }

    /// The sockets for another process.
    pub(crate) fn hand_over(&self, listener: &str) -> io::Result<Vec<Inherited>> {
        let made = |socket: &Kind| {
            let socket = match socket.try_clone()? {
                Kind::Tcp(socket) => socket.into(),
                Kind::Unix(socket) => socket.into(),
                Kind::Udp(socket) => socket.into(),
            };
            Ok(Inherited { listener: listener.to_owned(), address: Some(self.address.clone()), socket })
        };
        self.sockets.iter().map(made).collect()
    }
}

/// Takes the sockets that were made for a listener: those of its name, if they are at its address or the service
/// manager has named them so; those at its address otherwise.
pub fn take_inherited(from: &mut Vec<Inherited>, listener: &str, address: &str) -> Vec<OwnedFd> {
    let named = |one: &Inherited| {
        one.listener == listener && one.address.as_deref().is_none_or(|there| is_same(there, address))
    };
    let there = |one: &Inherited| match &one.address {
        Some(there) => is_same(there, address) && !is_any_port(address),
        None => SockRef::from(&one.socket).local_addr().is_ok_and(|local| is_at(&local, address)),
    };
    let by_name = from.iter().any(named);
    let mut taken = Vec::new();
    let mut rest = Vec::new();
    for one in from.drain(..) {
        if if by_name { named(&one) } else { there(&one) } {
            taken.push(one.socket);
        } else {
            rest.push(one);
        }
    }
    *from = rest;
    taken
}

fn is_same(a: &str, b: &str) -> bool {
    a == b || matches!((a.parse::<SocketAddr>(), b.parse::<SocketAddr>()), (Ok(a), Ok(b)) if a == b)
}

fn is_any_port(address: &str) -> bool {
    address.parse::<SocketAddr>().is_ok_and(|address| address.port() == 0)
}

fn is_at(local: &socket2::SockAddr, address: &str) -> bool {
    match address.strip_prefix("unix:") {
        Some(path) => local.as_pathname() == Some(Path::new(path)),
        None => local.as_socket().is_some_and(|local| address.parse() == Ok(local)),
    }
}

/// Whether a socket is one of datagrams.
pub(crate) fn is_of_datagrams(socket: &OwnedFd) -> bool {
    SockRef::from(socket).r#type().is_ok_and(|kind| kind == Type::DGRAM)
}

/// Makes the sockets of a listener out of those that were taken over.
pub(crate) fn adopt(address: &str, taken: Vec<OwnedFd>) -> io::Result<Bound> {
    taken
        .iter()
        .filter(|socket| !is_of_datagrams(socket))
        .for_each(|socket| wake_early(&SockRef::from(socket)));
    let sockets = taken.into_iter().map(Kind::from_fd).collect::<io::Result<_>>()?;
    Ok(Bound { address: address.to_owned(), sockets })
}

/// Binds an address: one socket per worker on TCP, one for all on a path.
pub(crate) fn bind(address: &str, workers: usize, file: Option<&SocketFile>) -> io::Result<Bound> {
    let sockets = match address.strip_prefix("unix:") {
        Some(path) => vec![Kind::Unix(bind_unix(Path::new(path), file)?)],
        None => {
            let address = address.parse().map_err(|_| {
                io::Error::new(io::ErrorKind::InvalidInput, format!("`{address}` is not an address"))
            })?;
            let bind = |_| bind_tcp(address).map(Kind::Tcp);
            (0..workers).map(bind).collect::<io::Result<_>>()?
        }
    };
    Ok(Bound { address: address.to_owned(), sockets })
}

/// Binds an address for datagrams: one socket per worker.
pub(crate) fn bind_udp(address: &str, workers: usize) -> io::Result<Bound> {
    let address: SocketAddr = address
        .parse()
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, format!("`{address}` is not an address")))?;
    let bind = |_| {
        let socket = socket2::Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
        socket.set_reuse_port(true)?;
        if address.is_ipv6() {
            socket.set_only_v6(false)?;
        }
        socket.set_nonblocking(true)?;
        // As far as the system allows: a worker that is busy for a moment loses nothing.
        let _ = socket.set_recv_buffer_size(DATAGRAM_BUFFER_BYTES);
        let _ = socket.set_send_buffer_size(DATAGRAM_BUFFER_BYTES);
        socket.bind(&address.into())?;
        Ok(Kind::Udp(socket.into()))
    };
    let sockets = (0..workers).map(bind).collect::<io::Result<_>>()?;
    Ok(Bound { address: address.to_string(), sockets })
}

fn bind_unix(path: &Path, file: Option<&SocketFile>) -> io::Result<UnixListener> {
    remove_stale(path)?;
    let Some(file) = file else {
        let socket = UnixListener::bind(path)?;
        socket.set_nonblocking(true)?;
        return Ok(socket);
    };
    // Made beside and moved into place, so that it is never there with wider rights.
    let mut beside = path.as_os_str().to_owned();
    beside.push(format!(".{}", std::process::id()));
    let beside = Path::new(&beside);
    let _ = std::fs::remove_file(beside);
    let made = UnixListener::bind(beside).and_then(|socket| {
        socket.set_nonblocking(true)?;
        give_rights(beside, file)?;
        std::fs::rename(beside, path)?;
        Ok(socket)
    });
    if made.is_err() {
        let _ = std::fs::remove_file(beside);
    }
    made
}

/// Removes the file that a process which is gone has left. One at which somebody listens stays, and so does what is no
/// socket.
fn remove_stale(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::FileTypeExt;
    let Ok(found) = std::fs::symlink_metadata(path) else { return Ok(()) };
    if !found.file_type().is_socket() {
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, "there is a file that is no socket"));
    }
    match UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => std::fs::remove_file(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(_) => Err(io::ErrorKind::AddrInUse.into()),
    }
}

/// Gives the file of a socket its mode and owner; an address without a file has none.
pub(crate) fn set_rights(address: &str, file: Option<&SocketFile>) -> io::Result<()> {
    match (address.strip_prefix("unix:"), file) {
        (Some(path), Some(file)) => give_rights(Path::new(path), file),
        _ => Ok(()),
    }
}

/// Which of the owner and the group of a socket's file this system does not know, by their keys, and why.
pub fn unknown_names(file: &SocketFile) -> Vec<(&'static str, String)> {
    let all = [("owner", &file.owner, "/etc/passwd"), ("group", &file.group, "/etc/group")];
    let told = all.into_iter().filter_map(|(key, name, list)| {
        let wrong = super::owner::id(name.as_deref()?, Path::new(list)).err()?;
        Some((key, wrong.to_string()))
    });
    told.collect()
}

fn give_rights(path: &Path, file: &SocketFile) -> io::Result<()> {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    let id = |wanted: &Option<String>, list: &str| {
        wanted.as_deref().map(|name| super::owner::id(name, Path::new(list))).transpose()
    };
    let (owner, group) = (id(&file.owner, "/etc/passwd")?, id(&file.group, "/etc/group")?);
    let found = std::fs::metadata(path)?;
    // What is so already is left alone: to change it may need rights that this process has no more.
    let owner = owner.filter(|owner| *owner != found.uid());
    let group = group.filter(|group| *group != found.gid());
    if owner.is_some() || group.is_some() {
        std::os::unix::fs::chown(path, owner, group)?;
    }
    match file.mode_bits() {
        Some(bits) => std::fs::set_permissions(path, std::fs::Permissions::from_mode(bits)),
        None => Ok(()),
    }
}

fn bind_tcp(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = socket2::Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    wake_early(&SockRef::from(&socket));
    Ok(socket.into())
}

/// Has the kernel say that a connection takes more as soon as little is left to send, which those that are accepted
/// inherit. It would wait for a third of its buffer otherwise, megabytes for a fast start, and a client that reads
/// steadily but slowly would look like one that reads nothing.
fn wake_early(socket: &SockRef<'_>) {
    let _ = socket.set_tcp_notsent_lowat(UNSENT_BYTES_MAX);
}

/// Whether somebody else listens at an address: `SO_REUSEPORT` would share it silently.
pub(crate) fn is_taken(address: &str, is_udp: bool) -> bool {
    let Ok(address) = address.parse::<SocketAddr>() else { return false };
    let probe = || -> io::Result<()> {
        let (kind, protocol) = match is_udp {
            true => (Type::DGRAM, Protocol::UDP),
            false => (Type::STREAM, Protocol::TCP),
        };
        let socket = socket2::Socket::new(Domain::for_address(address), kind, Some(protocol))?;
        if !is_udp {
            socket.set_reuse_address(true)?;
        }
        socket.bind(&address.into())
    };
    matches!(probe(), Err(error) if error.kind() == io::ErrorKind::AddrInUse)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inherited(listener: &str, address: Option<&str>) -> (Inherited, SocketAddr) {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").expect("a socket");
        let at = socket.local_addr().expect("an address");
        let one = Inherited {
            listener: listener.to_owned(),
            address: address.map(str::to_owned),
            socket: socket.into(),
        };
        (one, at)
    }

    #[test]
    fn sockets_are_matched_by_name_then_by_address() {
        let pool = || -> Vec<Inherited> {
            [("a", "10.0.0.1:80"), ("a", "10.0.0.1:80"), ("b", "10.0.0.1:81"), ("c", "127.0.0.1:0")]
                .into_iter()
                .map(|(name, address)| inherited(name, Some(address)).0)
                .collect()
        };
        for (listener, address, taken) in [
            ("a", "10.0.0.1:80", 2),
            ("renamed", "10.0.0.1:80", 2),
            ("a", "10.0.0.1:81", 1),
            ("b", "10.0.0.1:82", 0),
            ("c", "127.0.0.1:0", 1),
            ("d", "127.0.0.1:0", 0),
        ] {
            let mut from = pool();
            assert_eq!(take_inherited(&mut from, listener, address).len(), taken, "{listener} {address}");
            assert_eq!(from.len(), 4 - taken);
        }
    }

    #[test]
    fn a_service_managers_name_counts_more_than_the_address() {
        let (one, _) = inherited("public", None);
        let (other, at) = inherited("connection.socket", None);
        let mut from = vec![one, other];
        assert_eq!(take_inherited(&mut from, "public", "0.0.0.0:80").len(), 1);
        assert_eq!(take_inherited(&mut from, "else", &at.to_string()).len(), 1);
        assert!(from.is_empty());
    }

    #[test]
    fn every_socket_has_a_worker_and_every_worker_a_socket() {
        for (sockets, workers) in [(1, 4), (2, 3), (3, 3), (5, 2)] {
            let taken = (0..sockets).map(|_| inherited("a", None).0.socket).collect();
            let bound = adopt("x", taken).expect("sockets");
            let shares = bound.shares(&Arc::from("a"), workers).expect("shares");
            let served: std::collections::BTreeSet<_> = shares
                .iter()
                .map(|(_, socket)| match &socket.kind {
                    Kind::Tcp(socket) => socket.local_addr().expect("an address").port(),
                    Kind::Unix(_) | Kind::Udp(_) => 0,
                })
                .collect();
            let busy: std::collections::BTreeSet<_> = shares.iter().map(|(worker, _)| *worker).collect();
            assert_eq!((served.len(), busy.len()), (sockets, workers));
        }
    }
}
