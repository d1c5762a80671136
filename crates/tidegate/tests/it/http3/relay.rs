//! What is between a client and the gateway: passes datagrams on, notes the kinds of the gateway's, and holds them back when it
//! is told to.

use std::{
    net::{SocketAddr, UdpSocket},
    sync::{Arc, Mutex},
};

/// Passes datagrams on. Its threads end with the test's process.
pub(super) struct Relay {
    /// Where clients reach the gateway by it.
    pub(super) address: SocketAddr,
    state: Arc<Mutex<State>>,
    here: UdpSocket,
}

#[derive(Default)]
struct State {
    client: Option<SocketAddr>,
    /// Of the gateway's long headers.
    kinds: Vec<u8>,
    /// What the gateway said since it is held back.
    held: Option<Vec<Vec<u8>>>,
}

impl Relay {
    pub(super) fn to(gateway: SocketAddr) -> Self {
        let here = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        let there = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        there.connect(gateway).expect("a way");
        let clone = |socket: &UdpSocket| socket.try_clone().expect("a socket");
        let (address, state) = (here.local_addr().expect("an address"), Arc::<Mutex<State>>::default());
        let (from_client, to_gateway, known) = (clone(&here), clone(&there), state.clone());
        std::thread::spawn(move || {
            let mut buffer = [0; 65_536];
            while let Ok((length, from)) = from_client.recv_from(&mut buffer) {
                known.lock().expect("not poisoned").client = Some(from);
                let _ = to_gateway.send(&buffer[..length]);
            }
        });
        let (to_client, known) = (clone(&here), state.clone());
        std::thread::spawn(move || {
            let mut buffer = [0; 65_536];
            while let Ok(length) = there.recv(&mut buffer) {
                let said = &buffer[..length];
                let mut state = known.lock().expect("not poisoned");
                if said[0] & 0x80 != 0 {
                    state.kinds.push(said[0] >> 4 & 3);
                }
                let client = state.client;
                match (&mut state.held, client) {
                    (Some(held), _) => held.push(said.to_vec()),
                    (None, Some(client)) => _ = to_client.send_to(said, client),
                    (None, None) => {}
                }
            }
        });
        Self { address, state, here }
    }

    /// The kinds of the long headers that the gateway sent.
    pub(super) fn kinds(&self) -> Vec<u8> {
        self.state.lock().expect("not poisoned").kinds.clone()
    }

    /// From now on the client hears nothing.
    pub(super) fn hold(&self) {
        self.state.lock().expect("not poisoned").held.get_or_insert_default();
    }

    /// It hears all that was said meanwhile.
    pub(super) fn release(&self) {
        let mut state = self.state.lock().expect("not poisoned");
        let (held, client) = (state.held.take().unwrap_or_default(), state.client);
        for said in held {
            if let Some(client) = client {
                let _ = self.here.send_to(&said, client);
            }
        }
    }
}
