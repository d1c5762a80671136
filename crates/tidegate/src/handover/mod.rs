//! Zero-loss upgrade: a new process takes the listening sockets of the running one.
//!
//! They meet at a Unix socket in the data directory. The new process, its configuration compiled, asks; it gets every
//! listening socket, serves from them beside the old one, and says that it is ready; the old one then drains and ends.
//! Until it has said so, the old one goes on whatever becomes of the new.

mod heir;
mod owner;
mod packet;
mod successor;

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
    time::Duration,
};

use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType,
    sockopt::{Timeout, set_socket_timeout, socket_peercred},
};
use serde::{Deserialize, Serialize};

pub(crate) use self::{
    heir::{Predecessor, meet},
    owner::{Owner, Waiting},
    successor::Successor,
};

/// The file in the data directory.
const FILE: &str = "upgrade.sock";
/// Version of the packets.
const VERSION: u32 = 1;
/// How long either side waits for the other's next packet.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long the old process waits for the new one to serve.
const READY_PATIENCE: Duration = Duration::from_secs(60);
/// Longest path that fits a Unix socket's address.
const PATH_BYTES_MAX: usize = 107;

/// What the new process says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum FromHeir {
    /// It asks for the sockets.
    Ask { version: u32 },
    /// It serves.
    Ready,
}

/// What the old process says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum FromOwner {
    /// Some of the sockets, in the order of the labels.
    Sockets { labels: Vec<Label>, more: bool },
    /// It keeps them.
    Refused { reason: String },
    /// It accepts no more, and ends when what is in flight has.
    Leaving,
}

/// What a socket is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Label {
    role: Role,
    name: String,
    address: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Role {
    Listener,
    Admin,
}

/// The listening sockets of a process.
#[derive(Debug, Default)]
pub(crate) struct Sockets {
    pub(crate) listeners: Vec<proxy::Inherited>,
    pub(crate) admin: Vec<proxy::Inherited>,
}

impl Sockets {
    /// Adds those of another.
    pub(crate) fn extend(&mut self, other: Self) {
        self.listeners.extend(other.listeners);
        self.admin.extend(other.admin);
    }
}

/// The address of a socket in a folder, whatever the length of the folder's path: the folder is kept open while the
/// address is in use.
struct Place {
    path: PathBuf,
    folder: std::fs::File,
}

impl Place {
    fn new(data_dir: &Path, file: &str) -> io::Result<Self> {
        Ok(Self { path: data_dir.join(file), folder: std::fs::File::open(data_dir)? })
    }

    fn address(&self) -> io::Result<SocketAddrUnix> {
        use std::os::{fd::AsRawFd, unix::ffi::OsStrExt};
        if self.path.as_os_str().as_bytes().len() <= PATH_BYTES_MAX {
            return Ok(SocketAddrUnix::new(&self.path)?);
        }
        let file = self.path.file_name().unwrap_or_default().to_string_lossy();
        Ok(SocketAddrUnix::new(format!("/proc/self/fd/{}/{file}", self.folder.as_raw_fd()))?)
    }
}

/// A socket that keeps packets apart.
fn seqpacket() -> io::Result<OwnedFd> {
    Ok(rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?)
}

fn wait_at_most(socket: impl AsFd, patience: Duration) -> io::Result<()> {
    set_socket_timeout(socket.as_fd(), Timeout::Recv, Some(patience))?;
    Ok(set_socket_timeout(socket.as_fd(), Timeout::Send, Some(patience))?)
}

/// The other side's process, if it runs as `user`.
fn peer_of(socket: impl AsFd, user: u32) -> io::Result<u32> {
    let peer = socket_peercred(socket)?;
    if peer.uid.as_raw() != user {
        return Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            format!("the other process runs as another user ({})", peer.uid.as_raw()),
        ));
    }
    Ok(peer.pid.as_raw_nonzero().get().unsigned_abs())
}

/// The user that this process runs as.
fn own_user() -> u32 {
    rustix::process::geteuid().as_raw()
}
