//! Clients that move: a connection goes on from another port, whichever worker its datagrams reach there, and ends its
//! requests when it comes from another address.

use std::{collections::HashSet, io::Write};

use super::{
    Front,
    client::{read, request},
};
use crate::harness::{Upstream, h2::run, pause, read_request};

const WORKERS: &str = "runtime: {workers: 4}";

#[test]
fn a_connection_goes_on_from_every_port() {
    let upstream = Upstream::echo();
    let front = Front::before(upstream.address, "true", "", WORKERS);
    run(async {
        let mut client = front.client().await;
        let id = client.connection.stable_id();
        let mut ports = HashSet::new();
        // With four workers, this many new ports reach another one than the connection's own all but surely.
        for round in 0..16 {
            client.move_to([127, 0, 0, 1]);
            ports.insert(client.endpoint.local_addr().expect("an address").port());
            let asked = request("POST", &format!("/{round}"));
            let answer = client.fetch(asked, &vec![b'x'; 20_000], None).await.expect("an answer");
            assert_eq!(answer.text(), format!("/{round}"));
        }
        assert_eq!(ports.len(), 16);
        assert_eq!(client.connection.stable_id(), id);
        assert!(client.connection.close_reason().is_none());
    });
    // One connection to the upstream's pool of one worker: the requests never left it.
    assert_eq!(front.gateway.metric("tidegate_connections_total{listener=\"tls\"}"), Some(1.0));
    assert_eq!(front.gateway.records(16).len(), 16);
}

#[test]
fn a_client_from_another_address_ends_what_it_began_and_comes_anew() {
    const PIECES: usize = 40;
    let upstream = Upstream::raw(|mut reader, seen| {
        while let Some(request) = read_request(&mut reader) {
            seen.lock().expect("not poisoned").push(request);
            let length = PIECES * 10_000;
            let stream = reader.get_mut();
            let _ =
                stream.write_all(format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n").as_bytes());
            for _ in 0..PIECES {
                let _ = stream.write_all(&[b'x'; 10_000]);
                pause(20);
            }
        }
    });
    let front = Front::before(upstream.address, "true", "", WORKERS);
    run(async {
        let mut client = front.client().await;
        let mut stream = client.begin(request("GET", "/long")).await.expect("a stream");
        stream.finish().await.expect("sent");
        let head = stream.recv_response().await.expect("a head");
        client.move_to([127, 0, 0, 2]);
        // Something that the client says tells the gateway where it is now.
        let _ = client.begin(request("GET", "/new")).await;
        let answer = read(&mut stream, head).await.expect("all of it");
        assert_eq!(answer.body.len(), PIECES * 10_000);
        let ended = async { while client.get("/again").await.is_ok() {} };
        tokio::time::timeout(super::client::PATIENCE, ended).await.expect("it is sent away");
    });
    // Whatever was asked from there was judged by the address that the handshake showed.
    let records = front.gateway.records(1);
    assert!(records.iter().all(|record| record["client_ip"] == "127.0.0.1"), "{records:?}");
}
