//! `etag`: tags of bodies, and 304 for whoever has them.

use super::{
    super::harness::{Answer, Client, Gateway, Upstream, eventually},
    refused, with_policies,
};

fn gateway(policies: &str) -> (Gateway, Upstream) {
    let upstream = Upstream::scripted(|seen| {
        let json = "content-type: application/json";
        let whole = |more: &str, body: &str| {
            format!("HTTP/1.1 200 OK\r\n{more}\r\ncontent-length: {}\r\n\r\n{body}", body.len())
        };
        let chunked = |kind: &str, body: &str| {
            format!(
                "HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n",
                body.len()
            )
        };
        let text = match seen.target() {
            "/own" => whole(&format!("{json}\r\netag: \"mine\""), "{}"),
            "/large" => whole(json, &"x".repeat(3_000)),
            "/private" => whole(&format!("{json}\r\ncache-control: private, no-store"), "{}"),
            "/chunked" => chunked("application/json", "{}"),
            "/events" => chunked("text/event-stream", "data: 1\n\n"),
            "/lines" => chunked("application/x-ndjson", "{}\n"),
            "/missing" => "HTTP/1.1 404 Not Found\r\ncontent-length: 2\r\n\r\n{}".to_owned(),
            "/other" => whole(json, "[\"another and long enough to be worth it\"]"),
            _ => whole(
                &format!("{json}\r\ncache-control: max-age=5\r\nvary: accept"),
                "[\"one that is long enough to be worth it\"]",
            ),
        };
        Some(text.into_bytes())
    });
    let gateway = Gateway::start(&format!(
        "upstreams: [{{name: u, endpoints: [{{address: \"{}\"}}]}}]
routes: [{{name: r, match: [{{path: {{prefix: /}}}}], policies: [{policies}], backends: [{{upstream: u}}]}}]\n",
        upstream.address
    ));
    (gateway, upstream)
}

fn get(gateway: &Gateway, target: &str, headers: &str) -> Answer {
    gateway.send(&format!("GET {target} HTTP/1.1\nhost: a{headers}"), b"")
}

#[test]
fn answers_are_tagged_and_who_has_them_gets_304() {
    let (gateway, _upstream) = gateway("{etag: {maxSize: 2KiB}}");
    let answer = get(&gateway, "/a", "");
    let tag = answer.header("etag").expect("a tag").to_owned();
    assert!(tag.starts_with('"') && tag.len() == 24, "{tag}");
    assert_eq!(get(&gateway, "/b", "").header("etag"), Some(tag.as_str()), "the same bytes");
    assert_ne!(get(&gateway, "/other", "").header("etag"), Some(tag.as_str()), "other bytes");
    for condition in [tag.clone(), format!("W/{tag}"), format!("\"x\", {tag}"), "*".to_owned()] {
        let had = get(&gateway, "/a", &format!("\nif-none-match: {condition}"));
        assert_eq!(
            (had.status, had.body.len(), had.header("etag")),
            (304, 0, Some(tag.as_str())),
            "{condition}"
        );
        assert_eq!(
            (had.header("cache-control"), had.header("vary"), had.header("content-length")),
            (Some("max-age=5"), Some("accept"), None)
        );
    }
    let not = get(&gateway, "/a", "\nif-none-match: \"x\"");
    assert_eq!((not.status, not.body.len()), (200, answer.body.len()));
    assert!(get(&gateway, "/chunked", "").header("etag").is_some());
    assert_eq!(get(&gateway, "/own", "").header("etag"), Some("\"mine\""));
    for target in ["/large", "/private", "/events", "/lines", "/missing"] {
        let answer = get(&gateway, target, "\nif-none-match: *");
        assert_eq!(answer.header("etag"), None, "{target}");
        assert!(answer.status != 304 && !answer.body.is_empty(), "{target}");
    }
    assert_eq!(get(&gateway, "/large", "").body.len(), 3_000);
    let post = gateway.send("POST /a HTTP/1.1\nhost: a\nif-none-match: *\ncontent-length: 0", b"");
    assert_eq!((post.status, post.header("etag")), (200, None));
    eventually("the metrics", || {
        gateway.metric("tidegate_etag_answers_total{policy=\"routes/r/etag\",outcome=\"not-modified\"}")
            == Some(4.0)
    });
}

#[test]
fn what_is_no_whole_answer_gets_no_tag() {
    let upstream = Upstream::scripted(|seen| {
        let more = "content-type: application/json\r\ncontent-length: 2";
        Some(
            match seen.target() {
                "/304" => "HTTP/1.1 304 Not Modified\r\nx-own: 1\r\n\r\n".to_owned(),
                "/206" => {
                    format!("HTTP/1.1 206 Partial Content\r\n{more}\r\ncontent-range: bytes 0-1/9\r\n\r\n[]")
                }
                "/204" => "HTTP/1.1 204 No Content\r\nx-own: 1\r\n\r\n".to_owned(),
                _ if seen.line.starts_with("HEAD") => format!("HTTP/1.1 200 OK\r\n{more}\r\n\r\n"),
                _ => format!("HTTP/1.1 200 OK\r\n{more}\r\n\r\n[]"),
            }
            .into_bytes(),
        )
    });
    let gateway = Gateway::start(&format!(
        "upstreams: [{{name: u, endpoints: [{{address: \"{}\"}}]}}]
routes: [{{name: r, match: [{{path: {{prefix: /}}}}], policies: [{{etag: {{}}}}], backends: [{{upstream: u}}]}}]\n",
        upstream.address
    ));
    for (target, status, length) in [("/304", 304, 0), ("/206", 206, 2), ("/204", 204, 0)] {
        let answer = get(&gateway, target, "\nif-none-match: *");
        assert_eq!(
            (answer.status, answer.body.len(), answer.header("etag")),
            (status, length, None),
            "{target}"
        );
    }
    let mut client = Client::connect(gateway.address);
    client.write("HEAD /a HTTP/1.1\r\nhost: a\r\nif-none-match: *\r\n\r\n");
    let head = client.read_head().expect("a head");
    assert_eq!((head.status, head.header("etag"), head.header("content-length")), (200, None, Some("2")));
    client.write("GET /a HTTP/1.1\r\nhost: a\r\nif-none-match: *\r\n\r\n");
    assert_eq!(client.read().map(|answer| answer.status), Some(304));
}

#[test]
fn weak_tags_and_those_of_compressed_answers_are_told_apart_from_strong_ones() {
    let (weak, _upstream) = gateway("{etag: {weak: true}}");
    let tag = get(&weak, "/a", "").header("etag").expect("a tag").to_owned();
    assert!(tag.starts_with("W/\""), "{tag}");
    assert_eq!(get(&weak, "/a", &format!("\nif-none-match: {tag}")).status, 304);
    let (both, _upstream) = gateway("{compress: {minSize: 1B}}, {etag: {}}");
    let small = get(&both, "/a", "\naccept-encoding: gzip");
    assert_eq!(small.header("content-encoding"), Some("gzip"));
    let tag = small.header("etag").expect("a tag").to_owned();
    assert!(tag.starts_with("W/\""), "other bytes than those that were tagged: {tag}");
    let had = get(&both, "/a", &format!("\naccept-encoding: gzip\nif-none-match: {tag}"));
    assert_eq!((had.status, had.body.len()), (304, 0));
}

#[test]
fn a_bound_of_nothing_is_refused() {
    refused(&with_policies("[{etag: {maxSize: 0B}}]"), &["more than nothing"]);
}
