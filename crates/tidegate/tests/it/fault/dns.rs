//! A name server with one name, whose addresses change and which may fail.

use std::{
    net::{IpAddr, SocketAddr, UdpSocket},
    sync::{Arc, Mutex},
};

/// What it does with a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    Answering,
    /// SERVFAIL.
    Failing,
    /// No answer at all.
    Silent,
}

/// A running name server; serves until the test's process ends.
pub(super) struct NameServer {
    pub(super) address: SocketAddr,
    state: Arc<Mutex<(Mode, Vec<[u8; 4]>)>>,
}

impl NameServer {
    pub(super) fn start() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
        let address = socket.local_addr().expect("an address");
        let state = Arc::new(Mutex::new((Mode::Answering, Vec::new())));
        let known = state.clone();
        std::thread::spawn(move || {
            let mut question = [0; 512];
            while let Ok((count, from)) = socket.recv_from(&mut question) {
                let (mode, addresses) = known.lock().expect("not poisoned").clone();
                if let Some(answer) = answer(&question[..count], mode, &addresses) {
                    let _ = socket.send_to(&answer, from);
                }
            }
        });
        Self { address, state }
    }

    /// What the name stands for from now on.
    pub(super) fn set(&self, addresses: &[SocketAddr]) {
        let octets = |address: &SocketAddr| match address.ip() {
            IpAddr::V4(ip) => ip.octets(),
            IpAddr::V6(_) => panic!("an address of version 4"),
        };
        self.state.lock().expect("not poisoned").1 = addresses.iter().map(octets).collect();
    }

    pub(super) fn mode(&self, mode: Mode) {
        self.state.lock().expect("not poisoned").0 = mode;
    }
}

/// The answer to a question for type A; every other type has no records (RFC 1035 §4).
fn answer(question: &[u8], mode: Mode, addresses: &[[u8; 4]]) -> Option<Vec<u8>> {
    let name = question.get(12..)?.iter().position(|byte| *byte == 0)? + 13;
    let asked = question.get(12..name + 4)?;
    let is_address = question.get(name..name + 2)? == [0, 1];
    let code = match mode {
        Mode::Silent => return None,
        Mode::Failing => 2,
        Mode::Answering => 0,
    };
    let records: &[[u8; 4]] = if is_address && code == 0 { addresses } else { &[] };
    let mut answer = question.get(..2)?.to_vec();
    answer.extend([0x85, 0x80 | code, 0, 1, 0, records.len() as u8, 0, 0, 0, 0]);
    answer.extend(asked);
    for record in records {
        // The name asked for, type A, class IN, one second to live, four bytes.
        answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4]);
        answer.extend(record);
    }
    Some(answer)
}
