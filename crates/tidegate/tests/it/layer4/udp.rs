//! UDP: sessions by address, answers to whom they are for and in order, and their bounds.

use std::{
    net::{SocketAddr, UdpSocket},
    time::Duration,
};

use super::{free, open};
use crate::harness::{
    dns::{self, Data, NameServer, Say},
    eventually, python,
};

/// A client's socket.
fn socket(to: SocketAddr) -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    socket.set_read_timeout(Some(Duration::from_secs(5))).expect("a timeout");
    socket.connect(to).expect("an address");
    socket
}

/// An endpoint that says each datagram back, with its own name in front; ends with the test.
fn echo(name: &'static str) -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let address = socket.local_addr().expect("an address");
    std::thread::spawn(move || {
        let mut buffer = vec![0; 65_536];
        while let Ok((count, from)) = socket.recv_from(&mut buffer) {
            let _ = socket.send_to(&[name.as_bytes(), &buffer[..count]].concat(), from);
        }
    });
    address
}

fn text(listen: SocketAddr, endpoints: &[SocketAddr], route: &str) -> String {
    let endpoints: Vec<String> = endpoints.iter().map(|one| format!("{{address: \"{one}\"}}")).collect();
    format!(
        "listeners: [{{name: l, address: \"{listen}\", protocol: udp}}]
upstreams: [{{name: u, endpoints: [{}]}}]
streamRoutes: [{{name: r, listeners: [l], backends: [{{upstream: u}}]{route}}}]
",
        endpoints.join(", ")
    )
}

fn heard(socket: &UdpSocket) -> Option<String> {
    let mut buffer = vec![0; 65_536];
    let count = socket.recv(&mut buffer).ok()?;
    Some(String::from_utf8_lossy(&buffer[..count]).into_owned())
}

#[test]
fn a_session_stays_at_its_endpoint_and_answers_come_in_order_to_whom_they_are_for() {
    let (listen, one, two) = (free(), echo("one "), echo("two "));
    let gateway = open(&text(listen, &[one, two], ", idleTimeout: 3s"), listen);
    let clients: Vec<UdpSocket> = (0..4).map(|_| socket(listen)).collect();
    let mut names = Vec::new();
    for (number, client) in clients.iter().enumerate() {
        for turn in 0..20 {
            client.send(format!("{number}-{turn}").as_bytes()).expect("sent");
        }
        let mut name = None;
        for turn in 0..20 {
            let told = heard(client).expect("an answer");
            let (by, text) = told.split_once(' ').expect("a name");
            assert_eq!(text, format!("{number}-{turn}"), "in order, and its own");
            assert_eq!(*name.get_or_insert_with(|| by.to_owned()), by, "one endpoint");
        }
        names.extend(name);
    }
    names.sort();
    assert_eq!(names, ["one", "one", "two", "two"], "sessions are balanced");
    assert_eq!(gateway.metric("tidegate_stream_open{route=\"r\"}"), Some(4.0));
    let record = gateway.record("a session", |record| record["message"] == "session");
    assert_eq!((&record["ended"], &record["protocol"]), (&"idle".into(), &"udp".into()));
    assert_eq!(
        (record["request_datagrams"].as_u64(), record["response_datagrams"].as_u64()),
        (Some(20), Some(20))
    );
    eventually("all are over", || gateway.metric("tidegate_stream_open{route=\"r\"}") == Some(0.0));
    clients[0].send(b"again").expect("sent");
    assert!(heard(&clients[0]).expect("an answer").ends_with(" again"), "a new session");
}

#[test]
fn datagrams_that_are_too_large_and_clients_that_are_too_many_are_dropped_and_counted() {
    let listen = free();
    let gateway = open(&text(listen, &[echo("e ")], ", maxDatagramSize: 1KiB, maxConnections: 1"), listen);
    let client = socket(listen);
    client.send(&[b'x'; 1025]).expect("sent");
    client.send(&[b'y'; 1000]).expect("sent");
    assert_eq!(heard(&client).expect("an answer").len(), 1002);
    // The answer has two bytes more than what was asked, and is one too large.
    client.send(&[b'z'; 1024]).expect("sent");
    client.send(b"small").expect("sent");
    assert_eq!(heard(&client).expect("an answer"), "e small");
    let dropped = "tidegate_stream_datagrams_dropped_total{route=\"r\",reason=\"too-large\"}";
    assert_eq!(gateway.metric(dropped), Some(2.0));
    let other = socket(listen);
    other.set_read_timeout(Some(Duration::from_millis(300))).expect("a timeout");
    other.send(b"one too many").expect("sent");
    assert_eq!(heard(&other), None);
    assert_eq!(gateway.metric("tidegate_stream_connections_total{route=\"r\",ended=\"full\"}"), Some(1.0));
    client.send(b"still").expect("sent");
    assert_eq!(heard(&client).as_deref(), Some("e still"));
}

#[test]
fn one_address_has_its_share_of_the_sessions_and_others_theirs() {
    let listen = free();
    let gateway = open(&text(listen, &[echo("e ")], ", maxPerAddress: 2, idleTimeout: 1s"), listen);
    let clients: Vec<UdpSocket> = (0..3).map(|_| socket(listen)).collect();
    for client in &clients {
        client.set_read_timeout(Some(Duration::from_secs(1))).expect("a timeout");
        client.send(b"a").expect("sent");
    }
    let answered = clients.iter().filter(|client| heard(client).is_some()).count();
    assert_eq!(answered, 2);
    let other = UdpSocket::bind("127.0.0.2:0").expect("another address");
    other.set_read_timeout(Some(Duration::from_secs(5))).expect("a timeout");
    other.connect(listen).expect("an address");
    other.send(b"b").expect("sent");
    assert_eq!(heard(&other).as_deref(), Some("e b"));
    assert_eq!(gateway.metric("tidegate_stream_connections_total{route=\"r\",ended=\"full\"}"), Some(1.0));
    // What is over is given back.
    eventually("all are over", || gateway.metric("tidegate_stream_open{route=\"r\"}") == Some(0.0));
    clients[2].send(b"c").expect("sent");
    assert_eq!(heard(&clients[2]).as_deref(), Some("e c"));
}

#[test]
fn a_session_that_nobody_answers_is_not_kept_by_what_its_client_sends() {
    let (listen, mute) = (free(), UdpSocket::bind("127.0.0.1:0").expect("a socket"));
    let route = ", idleTimeout: 1s";
    let gateway = open(&text(listen, &[mute.local_addr().expect("an address")], route), listen);
    let client = socket(listen);
    let idle = || gateway.metric("tidegate_stream_connections_total{route=\"r\",ended=\"idle\"}");
    eventually("it ends while the client goes on", || {
        client.send(b"a").expect("sent");
        idle() >= Some(1.0)
    });
    // One that is answered lasts.
    let listen = free();
    let gateway = open(&text(listen, &[echo("e ")], route), listen);
    let client = socket(listen);
    let began = std::time::Instant::now();
    while began.elapsed() < Duration::from_millis(2500) {
        client.send(b"a").expect("sent");
        assert_eq!(heard(&client).as_deref(), Some("e a"));
        crate::harness::pause(100);
    }
    assert_eq!(gateway.metric("tidegate_stream_connections_total{route=\"r\",ended=\"idle\"}"), Some(0.0));
}

#[test]
fn an_endpoint_at_which_nobody_listens_is_set_aside() {
    let (listen, dead, live) = (free(), free(), echo("live "));
    let gateway = open(&text(listen, &[dead, live], ""), listen);
    let client = socket(listen);
    client.set_read_timeout(Some(Duration::from_millis(200))).expect("a timeout");
    eventually("an answer", || {
        client.send(b"a").expect("sent");
        heard(&client).as_deref() == Some("live a")
    });
    for _ in 0..4 {
        let client = socket(listen);
        client.send(b"b").expect("sent");
        assert_eq!(heard(&client).as_deref(), Some("live b"));
    }
    drop(gateway);
}

#[test]
fn a_process_without_descriptors_blames_no_endpoint_and_says_so_once() {
    let (listen, one) = (free(), echo("e "));
    let outliers = ", idleTimeout: 3s";
    let text = text(listen, &[one, echo("e ")], outliers).replacen(
        "{name: u,",
        "{name: u, outlierDetection: {consecutiveLocalOriginFailure: 1, baseEjectionTime: 60s},",
        1,
    );
    let gateway = open(&text, listen);
    let held = std::fs::read_dir(format!("/proc/{}/fd", gateway.pid())).expect("its descriptors").count();
    // Sessions may have half of the descriptors, which is more than are left.
    let limit = std::process::Command::new("prlimit")
        .args([&format!("--pid={}", gateway.pid()), &format!("--nofile={}", held + 10)])
        .status();
    assert!(limit.expect("prlimit runs").success());
    let clients: Vec<UdpSocket> = (0..60).map(|_| socket(listen)).collect();
    for client in &clients {
        client.send(b"a").expect("sent");
    }
    assert_eq!(heard(&clients[0]).as_deref(), Some("e a"), "the first ones have their session");
    eventually("their time is over", || gateway.metric("tidegate_stream_open{route=\"r\"}") == Some(0.0));
    let ended = |how: &str| {
        gateway.metric(&format!("tidegate_stream_connections_total{{route=\"r\",ended=\"{how}\"}}"))
    };
    assert!(ended("full") >= Some(45.0), "{:?}", ended("full"));
    assert_eq!(ended("unreachable"), Some(0.0));
    assert_eq!(
        gateway.metric(&format!("tidegate_upstream_endpoint_ejected{{upstream=\"u\",endpoint=\"{one}\"}}")),
        Some(0.0)
    );
    let said = gateway.stderr();
    assert_eq!(said.matches("sessions of `r` cannot begin: ").count(), 1, "{said}");
    clients[0].send(b"b").expect("sent");
    assert_eq!(heard(&clients[0]).as_deref(), Some("e b"), "and they begin again");
}

#[test]
fn a_process_that_takes_over_has_the_socket_and_a_drain_ends_sessions() {
    let listen = free();
    let text = format!("{}shutdown: {{drainDelay: 0s}}\n", text(listen, &[echo("e ")], ""));
    let mut gateway = open(&text, listen);
    let client = socket(listen);
    client.send(b"a").expect("sent");
    assert_eq!(heard(&client).as_deref(), Some("e a"));
    gateway.upgrade();
    let other = socket(listen);
    other.send(b"b").expect("sent");
    assert_eq!(heard(&other).as_deref(), Some("e b"));
    gateway.record("the session of the process before", |record| record["ended"] == "drained");
    gateway.signal("TERM");
    assert!(gateway.wait().success());
}

#[test]
fn names_are_resolved_through_it() {
    let names = NameServer::start();
    names.addresses("service.test", 60, &["192.0.2.1", "192.0.2.2"]);
    names.say("alias.test", dns::PTR, Say::Records(60, vec![Data::Name("service.test".to_owned())]));
    let listen = free();
    let gateway = open(&text(listen, &[names.address], ""), listen);
    let script = r#"
import socket, struct, sys
def ask(name, kind):
    head = struct.pack(">HHHHHH", 4242, 0x0100, 1, 0, 0, 0)
    labels = b"".join(bytes([len(part)]) + part.encode() for part in name.split(".")) + b"\0"
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.settimeout(5)
    sock.sendto(head + labels + struct.pack(">HH", kind, 1), ("127.0.0.1", int(sys.argv[1])))
    answer, _ = sock.recvfrom(4096)
    assert answer[:2] == head[:2]
    return struct.unpack(">H", answer[6:8])[0], answer
count, answer = ask("service.test", 1)
print(count, socket.inet_aton("192.0.2.2") in answer)
print(ask("missing.test", 1)[1][3] & 15)
"#;
    let (is_good, told) = crate::harness::Peer::start(python(script, &[&listen.port().to_string()])).finish();
    assert!(is_good, "{told}");
    assert_eq!(told, "2 True\n3");
    assert_eq!(gateway.metric("tidegate_stream_datagrams_total{route=\"r\",direction=\"sent\"}"), Some(2.0));
}

#[test]
fn sessions_outlive_the_name_of_their_listener_and_nobody_is_left_unheard() {
    let (listen, one) = (free(), echo("e "));
    let text = text(listen, &[one], ", idleTimeout: 2s");
    let gateway = open(&text, listen);
    let clients: Vec<UdpSocket> = (0..8).map(|_| socket(listen)).collect();
    let asked = |when: &str| {
        for client in &clients {
            client.send(when.as_bytes()).expect("sent");
            assert_eq!(heard(client).as_deref(), Some(&*format!("e {when}")), "{when}\n{}", gateway.stderr());
        }
    };
    asked("before");
    let renamed = text.replacen("[{name: l,", "[{name: another,", 1).replacen(
        "listeners: [l]",
        "listeners: [another]",
        1,
    );
    assert_ne!(renamed, text);
    assert_eq!(gateway.reload(&renamed)["lastReload"], "ok", "{}", gateway.stderr());
    asked("after");
    // Whoever is new is heard as well, at whichever socket the kernel hands it to.
    for number in 0..16 {
        let client = socket(listen);
        client.send(b"new").expect("sent");
        assert_eq!(heard(&client).as_deref(), Some("e new"), "{number}\n{}", gateway.stderr());
    }
    // And the sockets of before go when their sessions do: the address is free for who comes next.
    eventually("all are over", || gateway.metric("tidegate_stream_open{route=\"r\"}") == Some(0.0));
}
