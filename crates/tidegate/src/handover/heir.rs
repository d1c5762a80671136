//! The new process's side: it meets the running one, takes its sockets and sees it leave.

use std::{io, os::fd::OwnedFd, path::Path};

use super::{
    FILE, FromHeir, FromOwner, Label, PATIENCE, Place, Role, Sockets, VERSION, own_user, packet, peer_of,
    seqpacket, wait_at_most,
};

/// The process that runs now with the same data directory.
pub(crate) struct Predecessor {
    socket: OwnedFd,
    /// Its process id.
    pub(crate) pid: u32,
}

/// Meets the process that runs with a data directory, if there is one.
pub(crate) fn meet(data_dir: &Path) -> io::Result<Option<Predecessor>> {
    let nobody = |error: &io::Error| {
        matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused)
    };
    let place = match Place::new(data_dir, FILE) {
        Err(error) if nobody(&error) => return Ok(None),
        place => place?,
    };
    let socket = seqpacket()?;
    match rustix::net::connect(&socket, &place.address()?).map_err(io::Error::from) {
        Err(error) if nobody(&error) => return Ok(None),
        met => met?,
    }
    let pid = peer_of(&socket, own_user())?;
    wait_at_most(&socket, PATIENCE)?;
    Ok(Some(Predecessor { socket, pid }))
}

impl Predecessor {
    /// Asks for its sockets.
    pub(crate) fn take(&self) -> io::Result<Sockets> {
        packet::send(&self.socket, &FromHeir::Ask { version: VERSION }, &[])?;
        let mut sockets = Sockets::default();
        loop {
            match packet::receive(&self.socket)? {
                (FromOwner::Sockets { labels, more }, fds) => {
                    if labels.len() != fds.len() {
                        return Err(io::Error::new(
                            io::ErrorKind::InvalidData,
                            "labels without their sockets",
                        ));
                    }
                    for (label, fd) in labels.into_iter().zip(fds) {
                        sockets.sort_in(label, fd);
                    }
                    if !more {
                        return Ok(sockets);
                    }
                }
                (FromOwner::Refused { reason }, _) => return Err(io::Error::other(reason)),
                (FromOwner::Leaving, _) => return Err(io::Error::other("it leaves without being asked to")),
            }
        }
    }

    /// Tells it that this process serves. When this returns well, the other accepts nothing more; when it does not,
    /// the other goes on and this process must not.
    pub(crate) fn relieve(&self) -> io::Result<()> {
        packet::send(&self.socket, &FromHeir::Ready, &[])?;
        match packet::receive(&self.socket)?.0 {
            FromOwner::Leaving => Ok(()),
            FromOwner::Refused { reason } => Err(io::Error::other(reason)),
            FromOwner::Sockets { .. } => Err(io::Error::other("it has not understood")),
        }
    }
}

impl Sockets {
    fn sort_in(&mut self, label: Label, socket: OwnedFd) {
        let place = match label.role {
            Role::Listener => &mut self.listeners,
            Role::Admin => &mut self.admin,
        };
        let address = Some(label.address).filter(|address| !address.is_empty());
        place.push(proxy::Inherited { listener: label.name, address, socket });
    }
}
