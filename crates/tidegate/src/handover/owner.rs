//! The running process's side: it waits, on a thread of its own, for one that wants to take over.

use std::{
    io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::PermissionsExt,
    },
    path::{Path, PathBuf},
};

use tokio::sync::oneshot;

use super::{
    FILE, FromHeir, FromOwner, Label, PATIENCE, Place, READY_PATIENCE, Role, Sockets, VERSION, own_user,
    packet, packet::SOCKETS_MAX, peer_of, seqpacket, wait_at_most,
};

/// A new process serves in place of this one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Upgraded {
    /// Its process id.
    pub(crate) pid: u32,
}

/// The socket at which this process can be met.
pub(crate) struct Owner {
    listener: OwnedFd,
    path: PathBuf,
}

/// A process that can be met.
pub(crate) struct Waiting {
    upgraded: oneshot::Receiver<Upgraded>,
    path: PathBuf,
}

impl Waiting {
    /// Ready when another process serves in place of this one.
    pub(crate) async fn upgraded(&mut self) -> Upgraded {
        match (&mut self.upgraded).await {
            Ok(upgraded) => upgraded,
            Err(_) => std::future::pending().await,
        }
    }

    /// Is met no more: this process ends, and the next one starts anew.
    pub(crate) fn withdraw(self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

impl Owner {
    /// Takes the place in the data directory, for this user alone. Whoever was there before is met no more.
    pub(crate) fn bind(data_dir: &Path) -> io::Result<Self> {
        crate::run::data_dir(data_dir)?;
        // Made beside and moved into place, so that it is never there with wider rights or without a listener.
        let place = Place::new(data_dir, &format!(".upgrade.{}", std::process::id()))?;
        let _ = std::fs::remove_file(&place.path);
        let listener = seqpacket()?;
        rustix::net::bind(&listener, &place.address()?)?;
        std::fs::set_permissions(&place.path, std::fs::Permissions::from_mode(0o600))?;
        rustix::net::listen(&listener, 8)?;
        let path = data_dir.join(FILE);
        std::fs::rename(&place.path, &path)?;
        Ok(Self { listener, path })
    }

    /// Waits for a process that takes over. `sockets` gives what there is at that moment.
    pub(crate) fn wait(
        self,
        sockets: impl Fn() -> io::Result<Sockets> + Send + 'static,
    ) -> io::Result<Waiting> {
        let (tell, upgraded) = oneshot::channel();
        let path = self.path;
        let listener = self.listener;
        let serve = move || {
            while !tell.is_closed() {
                let accepted = rustix::net::accept_with(&listener, rustix::net::SocketFlags::CLOEXEC);
                let Ok(connection) = accepted else {
                    std::thread::park_timeout(std::time::Duration::from_millis(100));
                    continue;
                };
                if tell.is_closed() {
                    return;
                }
                match attend(&connection, own_user(), &sockets) {
                    Ok(Some(heir)) => {
                        let _ = tell.send(heir);
                        return;
                    }
                    Ok(None) => {}
                    Err(error) => {
                        tracing::warn!("no upgrade: {error}; this process goes on");
                    }
                }
            }
        };
        std::thread::Builder::new().name("upgrade".into()).spawn(serve)?;
        Ok(Waiting { upgraded, path })
    }
}

/// Attends to one process. None when it wanted nothing: a second start that looks whether somebody runs.
fn attend(
    connection: impl AsFd,
    user: u32,
    sockets: impl Fn() -> io::Result<Sockets>,
) -> io::Result<Option<Upgraded>> {
    let connection = connection.as_fd();
    wait_at_most(connection, PATIENCE)?;
    let pid = match peer_of(connection, user) {
        Ok(pid) => pid,
        Err(error) => {
            refuse(connection, "it belongs to another user");
            return Err(error);
        }
    };
    match packet::receive(connection) {
        Ok((FromHeir::Ask { version: VERSION }, _)) => {}
        Ok((FromHeir::Ask { version }, _)) => {
            let reason = format!("it speaks version {VERSION} of the hand-over, not {version}");
            refuse(connection, &reason);
            return Err(io::Error::other(reason));
        }
        Ok((FromHeir::Ready, _)) => return Err(io::Error::other("the new process has not asked")),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    }
    tracing::info!(pid, "a new process asks for the listening sockets");
    hand_over(connection, sockets()?)?;
    wait_at_most(connection, READY_PATIENCE)?;
    match packet::receive(connection)?.0 {
        FromHeir::Ready => {}
        FromHeir::Ask { .. } => return Err(io::Error::other("the new process asks twice")),
    }
    // From here on the other serves: if it cannot be told, it ends, and this process goes on.
    packet::send(connection, &FromOwner::Leaving, &[])?;
    Ok(Some(Upgraded { pid }))
}

fn refuse(connection: impl AsFd, reason: &str) {
    let _ = packet::send(connection, &FromOwner::Refused { reason: reason.to_owned() }, &[]);
}

fn hand_over(connection: impl AsFd, sockets: Sockets) -> io::Result<()> {
    let listeners = sockets.listeners.into_iter().map(|one| (Role::Listener, one));
    let all: Vec<_> = listeners.chain(sockets.admin.into_iter().map(|one| (Role::Admin, one))).collect();
    let mut rest = &all[..];
    loop {
        let (some, after) = rest.split_at(rest.len().min(SOCKETS_MAX));
        rest = after;
        let labels = some.iter().map(|(role, one)| Label {
            role: *role,
            name: one.listener.clone(),
            address: one.address.clone().unwrap_or_default(),
        });
        let message = FromOwner::Sockets { labels: labels.collect(), more: !rest.is_empty() };
        let fds: Vec<_> = some.iter().map(|(_, one)| one.socket.as_fd()).collect();
        packet::send(&connection, &message, &fds)?;
        if rest.is_empty() {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use rustix::net::{AddressFamily, SocketFlags, SocketType};

    use super::*;

    fn pair() -> (OwnedFd, OwnedFd) {
        let kind = SocketType::SEQPACKET;
        rustix::net::socketpair(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None).expect("a pair")
    }

    fn some(count: usize) -> io::Result<Sockets> {
        let made = |at: usize| proxy::Inherited {
            listener: format!("l{at}"),
            address: Some(format!("127.0.0.1:{at}")),
            socket: TcpListener::bind("127.0.0.1:0").expect("a socket").into(),
        };
        Ok(Sockets { listeners: (0..count).map(made).collect(), admin: vec![made(count)] })
    }

    fn receive(from: &OwnedFd) -> (FromOwner, Vec<OwnedFd>) {
        packet::receive(from).expect("a packet")
    }

    #[test]
    fn another_user_gets_no_sockets() {
        let (ours, theirs) = pair();
        packet::send(&theirs, &FromHeir::Ask { version: VERSION }, &[]).expect("sent");
        let attended = attend(&ours, own_user() + 1, || some(1));
        assert_eq!(attended.expect_err("refused").kind(), io::ErrorKind::PermissionDenied);
        let (answer, sockets) = receive(&theirs);
        assert!(matches!(answer, FromOwner::Refused { .. }) && sockets.is_empty(), "{answer:?}");
    }

    #[test]
    fn another_version_is_refused_by_name() {
        let (ours, theirs) = pair();
        packet::send(&theirs, &FromHeir::Ask { version: VERSION + 1 }, &[]).expect("sent");
        attend(&ours, own_user(), || some(1)).expect_err("refused");
        let (answer, sockets) = receive(&theirs);
        assert!(matches!(&answer, FromOwner::Refused { reason } if reason.contains("version")), "{answer:?}");
        assert!(sockets.is_empty());
    }

    #[test]
    fn any_number_of_sockets_arrives_with_its_labels_and_the_old_leaves_only_when_told() {
        for count in [0, 1, SOCKETS_MAX, 3 * SOCKETS_MAX + 5] {
            let (ours, theirs) = pair();
            let old = std::thread::spawn(move || attend(&ours, own_user(), || some(count)));
            packet::send(&theirs, &FromHeir::Ask { version: VERSION }, &[]).expect("sent");
            let mut names = Vec::new();
            loop {
                let (answer, sockets) = receive(&theirs);
                let FromOwner::Sockets { labels, more } = answer else { panic!("{answer:?}") };
                assert_eq!(labels.len(), sockets.len());
                names.extend(labels.into_iter().map(|label| label.name));
                if !more {
                    break;
                }
            }
            assert_eq!(names, (0..=count).map(|at| format!("l{at}")).collect::<Vec<_>>());
            packet::send(&theirs, &FromHeir::Ready, &[]).expect("sent");
            assert!(matches!(receive(&theirs).0, FromOwner::Leaving));
            assert!(old.join().expect("a thread").expect("a good end").is_some());
        }
    }

    #[test]
    fn a_new_process_that_dies_before_it_is_ready_changes_nothing() {
        let (ours, theirs) = pair();
        packet::send(&theirs, &FromHeir::Ask { version: VERSION }, &[]).expect("sent");
        let old = std::thread::spawn(move || attend(&ours, own_user(), || some(2)));
        receive(&theirs);
        drop(theirs);
        old.join().expect("a thread").expect_err("no upgrade");
    }

    #[test]
    fn a_folder_with_a_long_path_is_no_hindrance() {
        let folder = tempfile::tempdir().expect("a folder");
        let deep = folder.path().join("d".repeat(100)).join("e".repeat(100));
        let owner = Owner::bind(&deep).expect("a socket");
        let mode = std::fs::metadata(&owner.path).expect("a file").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let mut waiting = owner.wait(|| some(2)).expect("a thread");
        let met = super::super::meet(&deep).expect("no error").expect("somebody");
        assert_eq!(met.pid, std::process::id());
        assert_eq!(met.take().expect("sockets").listeners.len(), 2);
        met.relieve().expect("it leaves");
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let upgraded = runtime.block_on(waiting.upgraded());
        assert_eq!(upgraded.pid, std::process::id());
        waiting.withdraw();
        assert!(super::super::meet(&deep).expect("no error").is_none());
    }
}
