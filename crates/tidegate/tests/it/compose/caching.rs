//! What a composed answer says of how long it holds, and for whom.

use super::*;

/// An upstream that answers a path with the fields that the path names, percent-encoded.
fn saying() -> Upstream {
    Upstream::scripted(|seen| {
        let fields = match seen.target() {
            "/long" => "cache-control: max-age=600\r\n",
            "/short" => "cache-control: max-age=60\r\nage: 20\r\nvary: accept-language, accept\r\n",
            "/never" => "cache-control: no-store\r\nset-cookie: a=b\r\n",
            "/moved" => {
                return Some(b"HTTP/1.1 302 X\r\nlocation: /there\r\ncache-control: no-cache\r\nset-cookie: a=b\r\ncontent-length: 0\r\n\r\n".to_vec());
            }
            "/who" => {
                return Some(
                    b"HTTP/1.1 401 X\r\nwww-authenticate: Bearer realm=\"x\"\r\ncontent-length: 0\r\n\r\n"
                        .to_vec(),
                );
            }
            _ => "",
        };
        let head = format!(
            "HTTP/1.1 200 X\r\n{fields}content-type: application/json\r\ncontent-length: 2\r\n\r\n{{}}"
        );
        Some(head.into_bytes())
    })
}

#[test]
fn a_composed_answer_holds_no_longer_than_its_parts() {
    let upstream = saying();
    let gateway = gateway(
        &upstream,
        "
forwardHeaders: [accept-language, authorization]
calls:
  one: {upstream: u, path: /long}
  two: {upstream: u, path: \"/{id}\", passOn: [302, 401]}",
        "",
    );
    let answer = gateway.get("/page/short");
    assert_eq!(answer.header("cache-control"), Some("max-age=40"));
    assert_eq!(answer.header("vary"), Some("accept-language"));
    let answer = gateway.get("/page/never");
    assert_eq!((answer.header("cache-control"), answer.header("set-cookie")), (Some("no-store"), None));
    let answer = gateway.send("GET /page/short HTTP/1.1\nhost: t\nauthorization: Bearer x", b"");
    assert_eq!(answer.header("cache-control"), Some("private, max-age=40"));
    let answer = gateway.get("/page/moved");
    assert_eq!((answer.status, answer.header("location")), (302, Some("/there")));
    assert_eq!((answer.header("cache-control"), answer.header("set-cookie")), (Some("no-cache"), None));
    let answer = gateway.get("/page/who");
    assert_eq!((answer.status, answer.header("www-authenticate")), (401, Some("Bearer realm=\"x\"")));
}

#[test]
fn a_kept_answer_ends_with_its_shortest_part() {
    let upstream = saying();
    let gateway = gateway(
        &upstream,
        "calls: {one: {upstream: u, path: /long}, two: {upstream: u, path: \"/{id}\"}}",
        "    policies: [{cache: {defaultTtl: 1m}}]",
    );
    for _ in 0..2 {
        assert_eq!(gateway.get("/page/never").status, 200);
    }
    let seen = targets(&upstream);
    assert_eq!(seen.iter().filter(|target| *target == "/never").count(), 2, "{seen:?}");
}
