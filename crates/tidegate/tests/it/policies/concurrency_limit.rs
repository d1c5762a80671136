//! `concurrencyLimit`.

use super::super::harness::{Client, Gateway, Upstream, eventually, pause};

fn setup(limit: &str) -> (Gateway, Upstream) {
    let upstream = Upstream::scripted(|seen| {
        if seen.target() == "/slow" {
            pause(600);
        }
        Some(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n".to_vec())
    });
    let gateway = Gateway::start(&format!(
        "upstreams: [{{name: u, endpoints: [{{address: \"{}\"}}]}}]
routes: [{{name: r, match: [{{path: {{prefix: /}}}}], policies: [{{concurrencyLimit: {limit}}}], backends: [{{upstream: u}}]}}]\n",
        upstream.address
    ));
    (gateway, upstream)
}

fn slow(gateway: &Gateway, headers: &str) -> Client {
    let mut client = Client::connect(gateway.address);
    client.write(format!("GET /slow HTTP/1.1\r\nhost: a\r\n{headers}\r\n"));
    client
}

#[test]
fn the_call_over_the_limit_is_refused_and_a_place_comes_back() {
    let (gateway, upstream) = setup("{limit: 2}");
    let mut running = [slow(&gateway, ""), slow(&gateway, "")];
    eventually("two calls in flight", || upstream.seen().len() == 2);
    let refused = gateway.get("/");
    assert_eq!((refused.status, refused.problem().as_deref()), (429, Some("concurrency-limited")));
    assert_eq!(refused.header("retry-after"), Some("1"));
    assert_eq!(upstream.seen().len(), 2);
    for client in &mut running {
        assert_eq!(client.read().expect("an answer").status, 200);
    }
    assert_eq!(gateway.get("/").status, 200);
}

#[test]
fn a_client_that_leaves_gives_its_place_back() {
    let (gateway, upstream) = setup("{limit: 1}");
    let running = slow(&gateway, "");
    eventually("a call in flight", || upstream.seen().len() == 1);
    assert_eq!(gateway.get("/").status, 429);
    drop(running);
    eventually("room again", || gateway.get("/").status == 200);
}

#[test]
fn each_key_has_places_of_its_own() {
    let (gateway, upstream) = setup("{limit: 1, key: {header: x-tenant}}");
    let _running = slow(&gateway, "x-tenant: a\r\n");
    eventually("a call in flight", || upstream.seen().len() == 1);
    let of = |tenant: &str| gateway.send(&format!("GET / HTTP/1.1\nhost: a\nx-tenant: {tenant}"), b"").status;
    assert_eq!((of("a"), of("b")), (429, 200));
}
