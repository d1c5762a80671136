//! A name server that says what a test tells it to, over UDP and TCP.

use std::{
    collections::HashMap,
    io::{Read, Write},
    net::{IpAddr, SocketAddr, TcpListener, UdpSocket},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

/// Types of records.
pub const A: u16 = 1;
/// IPv6 addresses.
pub const AAAA: u16 = 28;
/// Names of addresses.
pub const PTR: u16 = 12;
/// Services.
pub const SRV: u16 = 33;

/// What a name server says to a question.
#[derive(Debug, Clone)]
pub enum Say {
    /// These records, valid for so many seconds.
    Records(u32, Vec<Data>),
    /// The same, but over UDP only that there is more than fits.
    TooLarge(u32, Vec<Data>),
    /// There is no such name.
    NoSuchName,
    /// There is such a name, without records of this type.
    NoSuchRecords,
    /// Something is wrong with the server.
    Failure,
    /// Nothing at all.
    Silence,
}

/// The data of a record.
#[derive(Debug, Clone)]
pub enum Data {
    /// An address of either family.
    Address(IpAddr),
    /// Priority, weight, port and target.
    Service(u16, u16, u16, String),
    /// A name.
    Name(String),
}

type Answers = Mutex<HashMap<(String, u16), Say>>;

/// A running name server; ends with the test.
pub struct NameServer {
    /// Where it is.
    pub address: SocketAddr,
    answers: Arc<Answers>,
    asked: Arc<Mutex<Vec<(String, u16)>>>,
    stop: Arc<AtomicBool>,
}

impl NameServer {
    /// Starts one that knows no name.
    pub fn start() -> Self {
        let address = SocketAddr::from(([127, 0, 0, 1], super::free_port()));
        let udp = UdpSocket::bind(address).expect("a free port");
        let tcp = TcpListener::bind(address).expect("a free port");
        udp.set_read_timeout(Some(Duration::from_millis(100))).expect("a timeout");
        let answers = Arc::<Answers>::default();
        let asked = Arc::<Mutex<Vec<(String, u16)>>>::default();
        let stop = Arc::<AtomicBool>::default();
        let server = Self { address, answers: answers.clone(), asked: asked.clone(), stop: stop.clone() };
        {
            let (answers, asked, stop) = (answers.clone(), asked.clone(), stop.clone());
            std::thread::spawn(move || {
                let mut buffer = [0; 1500];
                while !stop.load(Ordering::Relaxed) {
                    let Ok((count, from)) = udp.recv_from(&mut buffer) else { continue };
                    if let Some(answer) = answer(&buffer[..count], true, &answers, &asked) {
                        let _ = udp.send_to(&answer, from);
                    }
                }
            });
        }
        std::thread::spawn(move || {
            for mut stream in tcp.incoming().flatten() {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                let mut length = [0; 2];
                while stream.read_exact(&mut length).is_ok() {
                    let mut question = vec![0; usize::from(u16::from_be_bytes(length))];
                    if stream.read_exact(&mut question).is_err() {
                        break;
                    }
                    let Some(answer) = answer(&question, false, &answers, &asked) else { break };
                    let mut framed = (answer.len() as u16).to_be_bytes().to_vec();
                    framed.extend(answer);
                    if stream.write_all(&framed).is_err() {
                        break;
                    }
                }
            }
        });
        server
    }

    /// Sets what it says about a name, without a dot at the end.
    pub fn say(&self, name: &str, kind: u16, say: Say) {
        self.answers.lock().expect("not poisoned").insert((name.to_owned(), kind), say);
    }

    /// Sets the addresses of a name, and that there are none of the other family.
    pub fn addresses(&self, name: &str, ttl: u32, addresses: &[&str]) {
        let all: Vec<IpAddr> = addresses.iter().map(|text| text.parse().expect("an address")).collect();
        for (kind, is_v4) in [(A, true), (AAAA, false)] {
            let data: Vec<_> =
                all.iter().filter(|one| one.is_ipv4() == is_v4).map(|one| Data::Address(*one)).collect();
            let say = if data.is_empty() { Say::NoSuchRecords } else { Say::Records(ttl, data) };
            self.say(name, kind, say);
        }
    }

    /// How often it was asked for a name.
    pub fn asked(&self, name: &str, kind: u16) -> usize {
        let asked = self.asked.lock().expect("not poisoned");
        asked.iter().filter(|(known, type_)| known == name && *type_ == kind).count()
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = std::net::TcpStream::connect(self.address);
    }
}

/// The name and the type that a message asks for, and where the question ends (RFC 1035 §4.1).
fn question(message: &[u8]) -> Option<(String, u16, usize)> {
    let (mut at, mut labels) = (12, Vec::new());
    loop {
        let length = usize::from(*message.get(at)?);
        at += 1;
        if length == 0 {
            break;
        }
        labels.push(String::from_utf8(message.get(at..at + length)?.to_ascii_lowercase()).ok()?);
        at += length;
    }
    let kind = u16::from_be_bytes([*message.get(at)?, *message.get(at + 1)?]);
    Some((labels.join("."), kind, at + 4))
}

fn answer(
    message: &[u8],
    is_udp: bool,
    answers: &Answers,
    asked: &Mutex<Vec<(String, u16)>>,
) -> Option<Vec<u8>> {
    let (name, kind, end) = question(message)?;
    asked.lock().expect("not poisoned").push((name.clone(), kind));
    let say = answers.lock().expect("not poisoned").get(&(name, kind)).cloned().unwrap_or(Say::NoSuchName);
    let (code, is_cut, ttl, records) = match say {
        Say::Records(ttl, records) => (0, false, ttl, records),
        Say::TooLarge(_, _) if is_udp => (0, true, 0, Vec::new()),
        Say::TooLarge(ttl, records) => (0, false, ttl, records),
        Say::NoSuchName => (3, false, 0, Vec::new()),
        Say::NoSuchRecords => (0, false, 0, Vec::new()),
        Say::Failure => (2, false, 0, Vec::new()),
        Say::Silence => return None,
    };
    let mut out = message[..2].to_vec();
    out.extend([0x85 | u8::from(is_cut) << 1, 0x80 | code]);
    out.extend([0, 1]);
    out.extend((records.len() as u16).to_be_bytes());
    out.extend([0; 4]);
    out.extend(&message[12..end]);
    for record in records {
        let mut data = Vec::new();
        match record {
            Data::Address(IpAddr::V4(v4)) => data.extend(v4.octets()),
            Data::Address(IpAddr::V6(v6)) => data.extend(v6.octets()),
            Data::Service(priority, weight, port, target) => {
                [priority, weight, port].iter().for_each(|one| data.extend(one.to_be_bytes()));
                write_name(&target, &mut data);
            }
            Data::Name(name) => write_name(&name, &mut data),
        }
        out.extend([0xc0, 12]);
        out.extend(kind.to_be_bytes());
        out.extend([0, 1]);
        out.extend(ttl.to_be_bytes());
        out.extend((data.len() as u16).to_be_bytes());
        out.extend(data);
    }
    Some(out)
}

/// A name as labels (RFC 1035 §3.1).
fn write_name(name: &str, out: &mut Vec<u8>) {
    for label in name.split('.') {
        out.push(label.len() as u8);
        out.extend(label.as_bytes());
    }
    out.push(0);
}
