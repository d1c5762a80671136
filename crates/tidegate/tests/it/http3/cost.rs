//! What a request over HTTP/3 costs the gateway beside one over HTTP/2: processor time, which is told and bounded.

use std::sync::Arc;

use super::{
    Front,
    client::{Client, request},
};
use crate::{
    harness::{Gateway, h2, h2::run},
    wire::tls::client,
};

const REQUESTS: usize = 960;
const AT_A_TIME: usize = 32;
/// Builds without optimisation are here, too, and tests run beside this one.
const RATIO_MAX: f64 = 8.0;

const FIXED: &str = "runtime: {workers: 1}
routes: [{name: r, match: [{path: {prefix: /}}], respond: {body: inside}}]\n";

/// Processor time of a process so far, in hundredths of a second.
fn used(gateway: &Gateway) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", gateway.pid())).expect("its times");
    let fields: Vec<&str> = stat.rsplit(") ").next().expect("fields").split(' ').collect();
    fields[11].parse::<u64>().expect("a number") + fields[12].parse::<u64>().expect("a number")
}

#[test]
fn a_small_request_costs_a_bounded_multiple_of_one_over_http2() {
    let front = Front::start("true", "", FIXED);
    let http3 = run(async {
        let client: Client = front.client().await;
        let before = used(&front.gateway);
        let mut asking = tokio::task::JoinSet::new();
        for _ in 0..AT_A_TIME {
            let mut send = client.send.clone();
            asking.spawn_local(async move {
                for _ in 0..REQUESTS / AT_A_TIME {
                    let mut stream = send.send_request(request("GET", "/")).await.expect("a stream");
                    stream.finish().await.expect("sent");
                    let head = stream.recv_response().await.expect("an answer");
                    super::client::read(&mut stream, head).await.expect("an answer");
                }
            });
        }
        while let Some(done) = asking.join_next().await {
            done.expect("no panic");
        }
        used(&front.gateway) - before
    });
    let http2 = run(async {
        let config = client(front.authority.roots(), None, &["h2"]);
        let io = tokio::net::TcpStream::connect(front.gateway.address).await.expect("a connection");
        let name = rustls::pki_types::ServerName::try_from("a.test").expect("a name");
        let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
        let client = h2::Client::over(connector.connect(name, io).await.expect("TLS")).await;
        let before = used(&front.gateway);
        let mut asking = tokio::task::JoinSet::new();
        for _ in 0..AT_A_TIME {
            let client = client.clone();
            asking.spawn_local(async move {
                for _ in 0..REQUESTS / AT_A_TIME {
                    let request = http::Request::get("https://a.test/").body(()).expect("a request");
                    client.fetch(request, b"", None).await.expect("an answer");
                }
            });
        }
        while let Some(done) = asking.join_next().await {
            done.expect("no panic");
        }
        used(&front.gateway) - before
    });
    let ratio = http3 as f64 / http2.max(1) as f64;
    println!(
        "{REQUESTS} requests: {http3}0 ms over HTTP/3, {http2}0 ms over HTTP/2, {ratio:.2} times as much"
    );
    assert!(ratio < RATIO_MAX, "{ratio}");
}
