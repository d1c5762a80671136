//! `Forwarded` and `X-Forwarded-*`: what trusted proxies say is continued, what others claim is replaced.

use super::super::harness::{Gateway, Upstream, h2};

const CLAIMS: &str = "\nx-forwarded-for: 10.0.0.1\nx-forwarded-for: 192.0.2.66\nx-forwarded-proto: https\nx-forwarded-host: evil.test\
\nx-forwarded-port: 443\nx-forwarded-prefix: /admin\nx-real-ip: 10.0.0.1\nforwarded: for=10.0.0.1;proto=https\
\ntrue-client-ip: 10.0.0.1\nx-client-ip: 10.0.0.1\nx_forwarded_for: 10.0.0.1\nx-request-id: forged";

fn gateway(trusted: &str, upstream: &Upstream) -> Gateway {
    Gateway::with(
        trusted,
        &format!(
            "runtime: {{workers: 1}}
accessLog: [{{kind: stdout, format: json}}]
upstreams: [{{name: u, endpoints: [{{address: \"{}\"}}]}}]
routes:
  - {{name: inner, match: [{{path: {{prefix: /inner}}}}], policies: [{{ipRestriction: {{allow: [10.0.0.0/8]}}}}], backends: [{{upstream: u}}]}}
  - {{name: r, match: [{{path: {{prefix: /}}}}], backends: [{{upstream: u}}]}}
",
            upstream.address
        ),
    )
}

#[test]
fn what_a_stranger_claims_is_replaced_and_believed_by_nobody() {
    let upstream = Upstream::echo();
    let gateway = gateway("", &upstream);
    let answer = gateway.send(&format!("GET / HTTP/1.1\nhost: a.test{CLAIMS}"), b"");
    assert_eq!(answer.status, 200);
    let seen = upstream.seen().remove(0);
    let all = |name: &str| {
        let same = seen.headers.iter().filter(|(known, _)| known.eq_ignore_ascii_case(name));
        same.map(|(_, value)| value.as_str()).collect::<Vec<_>>()
    };
    assert_eq!(all("x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(all("x-forwarded-proto"), ["http"]);
    assert_eq!(all("x-forwarded-host"), ["a.test"]);
    for gone in [
        "x-forwarded-port",
        "x-forwarded-prefix",
        "x-real-ip",
        "forwarded",
        "true-client-ip",
        "x-client-ip",
        "x_forwarded_for",
    ] {
        assert!(all(gone).is_empty(), "{gone}: {seen:?}");
    }
    assert_eq!(all("x-request-id").len(), 1);
    assert_ne!(all("x-request-id"), ["forged"]);
    assert_eq!(gateway.send(&format!("GET /inner HTTP/1.1\nhost: a.test{CLAIMS}"), b"").status, 403);
    for record in gateway.records(2) {
        assert_eq!(record["client_ip"], "127.0.0.1", "{record}");
    }
    h2::run(async {
        let client = h2::Client::connect(gateway.address).await;
        let mut request = h2::request("GET", "/inner");
        request.headers_mut().insert("x-forwarded-for", "10.0.0.1".parse().expect("a value"));
        assert_eq!(client.fetch(request, b"", None).await.expect("an answer").status, 403);
    });
}

#[test]
fn behind_trusted_proxies_the_client_is_found_from_the_right() {
    let upstream = Upstream::echo();
    let gateway = gateway("trustedProxies: [127.0.0.0/8, 192.0.2.0/24, \"2001:db8::/32\"]", &upstream);
    // What stands left of the first address that is not trusted was said by nobody who is.
    let rows = [
        ("x-forwarded-for: 10.0.0.1", "10.0.0.1", 200),
        ("x-forwarded-for: 10.0.0.1, 192.0.2.7", "10.0.0.1", 200),
        ("x-forwarded-for: 10.0.0.1, 203.0.113.5, 192.0.2.7", "203.0.113.5", 403),
        ("x-forwarded-for: 10.0.0.1\nx-forwarded-for: 203.0.113.5", "203.0.113.5", 403),
        ("x-forwarded-for: 203.0.113.5, 10.0.0.1:4711", "10.0.0.1", 200),
        ("x-forwarded-for: 10.0.0.1, junk", "127.0.0.1", 403),
        ("x-forwarded-for: 203.0.113.5, [2001:db8::7]:1", "203.0.113.5", 403),
        ("forwarded: for=10.0.0.1;proto=https", "10.0.0.1", 200),
        ("forwarded: for=10.0.0.1, for=\"[2001:db9::1]:80\";by=x, for=192.0.2.7", "2001:db9::1", 403),
        ("x-real-ip: 10.0.0.1", "127.0.0.1", 403),
    ];
    for (header, _, status) in &rows {
        let answer = gateway.send(&format!("GET /inner HTTP/1.1\nhost: a.test\n{header}"), b"");
        assert_eq!(answer.status, *status, "{header}");
    }
    for (record, (header, client, _)) in gateway.records(rows.len()).iter().zip(&rows) {
        assert_eq!(record["client_ip"], *client, "{header}");
    }
}

#[test]
fn a_trusted_proxys_words_are_continued() {
    let upstream = Upstream::echo();
    let gateway = gateway("trustedProxies: [127.0.0.0/8]", &upstream);
    let head = "GET / HTTP/1.1\nhost: inner.test\nx-forwarded-for: 203.0.113.5\nx-forwarded-proto: https\
\nx-forwarded-host: shop.test\nforwarded: for=203.0.113.5\nx-request-id: from-the-edge-1";
    assert_eq!(gateway.send(head, b"").status, 200);
    let seen = upstream.seen().remove(0);
    assert_eq!(seen.header("x-forwarded-for"), Some("203.0.113.5, 127.0.0.1"));
    assert_eq!(seen.header("x-forwarded-proto"), Some("https"));
    assert_eq!(seen.header("x-forwarded-host"), Some("shop.test"));
    assert_eq!(seen.header("x-request-id"), Some("from-the-edge-1"));
    let forwarded: Vec<_> = seen
        .headers
        .iter()
        .filter(|(name, _)| name == "forwarded")
        .map(|(_, value)| value.as_str())
        .collect();
    assert_eq!(forwarded, ["for=203.0.113.5", "for=127.0.0.1"]);
}
