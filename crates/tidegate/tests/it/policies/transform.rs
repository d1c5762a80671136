//! `transform`: other bodies and statuses, of whole messages and of streams.

use std::io::Write;

use serde_json::{Value, json};

use super::{
    super::harness::{Answer, Client, Gateway, Upstream, eventually, pause},
    last, refused,
};

fn gateway(upstream: &Upstream, transform: &str) -> Gateway {
    Gateway::start(&format!(
        "upstreams: [{{name: u, endpoints: [{{address: \"{}\"}}]}}]
routes: [{{name: r, match: [{{path: {{prefix: /}}}}], policies: [{{transform: {transform}}}], backends: [{{upstream: u}}]}}]\n",
        upstream.address
    ))
}

fn post(gateway: &Gateway, kind: &str, headers: &str, body: &str) -> Answer {
    let head = format!(
        "POST /a/b?x=1 HTTP/1.1\nhost: a\ncontent-type: {kind}{headers}\ncontent-length: {}",
        body.len()
    );
    gateway.send(&head, body.as_bytes())
}

fn get(gateway: &Gateway, target: &str, headers: &str) -> Answer {
    gateway.send(&format!("GET {target} HTTP/1.1\nhost: a{headers}"), b"")
}

const JSON: &str = "application/json";

#[test]
fn requests_become_what_the_service_expects() {
    let upstream = Upstream::echo();
    let xml = "<order id=\"5\"><item>a</item><item>b</item></order>";
    for (steps, kind, body, want_kind, want) in [
        (
            "[{jq: '{id: .a, path: $request.path, x: $request.query.x}'}]",
            JSON,
            r#"{"a": 1}"#,
            JSON,
            r#"{"id":1,"path":"/a/b","x":"1"}"#,
        ),
        (
            "[{patch: [{op: move, from: /a, path: /b}, {op: add, path: /c/-, value: 2}]}]",
            JSON,
            r#"{"a":1,"c":[]}"#,
            JSON,
            r#"{"b":1,"c":[2]}"#,
        ),
        (
            "[{mergePatch: {a: null, b: {c: 1}}}]",
            "application/x+json",
            r#"{"a":1}"#,
            "application/x+json",
            r#"{"b":{"c":1}}"#,
        ),
        (
            "[{xmlToJson: true}, {jq: '.order | {id: .[\"@id\"], item}'}]",
            "text/xml",
            xml,
            JSON,
            r#"{"id":"5","item":["a","b"]}"#,
        ),
        ("[{xmlToJson: {}}, {jq: .order.item}]", "text/xml", xml, JSON, r#"["a","b"]"#),
        (
            "[{jsonToXml: true}]",
            JSON,
            r#"{"order":{"item":"a"}}"#,
            "application/xml",
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?><order><item>a</item></order>",
        ),
        (
            "[{jsonToXml: {root: order}}]",
            JSON,
            r#"{"item":["a","<"]}"#,
            "application/xml",
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?><order><item>a</item><item>&lt;</item></order>",
        ),
        (
            "[{template: '{{ body.name | upper }} of {{ request.path }}', contentType: text/csv}]",
            JSON,
            r#"{"name":"{{ x }}"}"#,
            "text/csv",
            "{{ X }} of /a/b",
        ),
        ("[{template: '<{{ body }}>'}]", "text/plain", "hi", "text/plain; charset=utf-8", "<hi>"),
    ] {
        let gateway = gateway(&upstream, &format!("{{request: {{body: {steps}}}}}"));
        let answer = post(&gateway, kind, "\ndigest: x\ncontent-md5: x", body);
        assert_eq!(answer.status, 200, "{steps}: {}", answer.text());
        let seen = last(&upstream);
        let parsed = |text: &[u8]| serde_json::from_slice::<Value>(text).ok();
        assert!(
            seen.body == want.as_bytes()
                || (parsed(&seen.body).is_some() && parsed(&seen.body) == parsed(want.as_bytes())),
            "{steps}: {}",
            String::from_utf8_lossy(&seen.body)
        );
        assert_eq!(seen.header("content-type"), Some(want_kind), "{steps}");
        assert_eq!(seen.header("content-length"), Some(seen.body.len().to_string().as_str()), "{steps}");
        assert!(seen.header("digest").is_none() && seen.header("content-md5").is_none());
    }
}

#[test]
fn requests_that_cannot_be_made_into_others_do_not_come_through() {
    let upstream = Upstream::echo();
    let gateway = gateway(&upstream, "{request: {maxSize: 1KiB, body: [{jq: '.a.b'}]}}");
    assert_eq!(post(&gateway, JSON, "", r#"{"a":{"b":1}}"#).status, 200);
    let seen = upstream.seen().len();
    for (kind, headers, body, want) in [
        (JSON, "", "{", 400),
        (JSON, "", r#"{"a":[1]}"#, 400),
        (JSON, "\ncontent-encoding: gzip", "{}", 415),
        // Whoever reads it may go by either.
        (JSON, "\ncontent-type: text/plain", "{}", 415),
        ("text/plain", "\ncontent-type: application/json", "{}", 415),
        ("application/json, text/plain", "", "{}", 415),
        ("text/json", "", r#"{"a":[1]}"#, 400),
        ("application/json; charset=utf-7", "", r#"{"a":{"b":"+ACI-"}}"#, 415),
        (JSON, "", &format!("\"{}\"", "x".repeat(2_000)), 413),
    ] {
        let answer = post(&gateway, kind, headers, body);
        assert_eq!(answer.status, want, "{body}: {}", answer.text());
    }
    assert_eq!(upstream.seen().len(), seen);
    assert_eq!(post(&gateway, "image/png", "", "{").status, 200, "what is none of its business passes");
    assert_eq!(last(&upstream).body, b"{");
    let xml = self::gateway(&upstream, "{request: {body: [{xmlToJson: true}]}}");
    for hostile in [
        "<!DOCTYPE a [<!ENTITY x SYSTEM \"file:///etc/passwd\">]><a>&x;</a>",
        "<!DOCTYPE l [<!ENTITY a \"x\"><!ENTITY b \"&a;&a;\">]><l>&b;</l>",
        &"<a>".repeat(5_000),
    ] {
        let answer = post(&xml, "application/xml", "", hostile);
        assert_eq!((answer.status, answer.problem().as_deref()), (400, Some("invalid")), "{hostile}");
    }
    let endless = self::gateway(&upstream, "{request: {body: [{jq: '[range(0; infinite)]'}]}}");
    assert_eq!(post(&endless, JSON, "", "{}").status, 400);
}

/// Answers with what the path names.
fn answering() -> Upstream {
    Upstream::scripted(|seen| {
        let (status, kind, body) = match seen.target() {
            "/json" => ("200 OK", JSON, r#"{"data":{"id":5,"secret":"s"}}"#.to_owned()),
            "/large" => ("200 OK", JSON, format!("{{\"data\":[{}1]}}", "1,".repeat(30_000))),
            "/broken" => ("200 OK", JSON, "{".to_owned()),
            "/error" => ("500 Internal Server Error", JSON, r#"{"data":1}"#.to_owned()),
            "/missing" => ("404 Not Found", JSON, r#"{"data":1}"#.to_owned()),
            "/text" => ("200 OK", "text/plain", "data".to_owned()),
            "/gzip" => ("200 OK", "application/json\r\ncontent-encoding: gzip", "xx".to_owned()),
            "/none" => return Some(b"HTTP/1.1 204 No Content\r\netag: \"t\"\r\n\r\n".to_vec()),
            _ => return Some(b"HTTP/1.1 304 Not Modified\r\netag: \"t\"\r\n\r\n".to_vec()),
        };
        let length = body.len();
        let head = format!(
            "HTTP/1.1 {status}\r\ncontent-type: {kind}\r\netag: \"t\"\r\naccept-ranges: bytes\r\ndigest: x\r\ncontent-length: {length}\r\n\r\n"
        );
        Some(if seen.line.starts_with("HEAD") {
            head.into_bytes()
        } else {
            format!("{head}{body}").into_bytes()
        })
    })
}

#[test]
fn answers_become_others_and_say_only_what_is_true_of_them() {
    let upstream = answering();
    let gateway = gateway(
        &upstream,
        "{answer: {body: [{jq: '.data'}, {mergePatch: {secret: null}}], status: {'404': 410, 5xx: 503}}}",
    );
    let answer = get(&gateway, "/json", "\naccept-encoding: gzip\nrange: bytes=0-1");
    assert_eq!((answer.status, answer.text().as_str()), (200, r#"{"id":5}"#));
    assert_eq!(answer.header("content-length"), Some("8"));
    assert_eq!(answer.header("etag"), Some("W/\"t\""), "it promises the same bytes no more");
    assert!(answer.header("accept-ranges").is_none() && answer.header("digest").is_none());
    let seen = last(&upstream);
    assert!(
        seen.header("accept-encoding").is_none() && seen.header("range").is_none(),
        "what is made into something else is whole"
    );
    let head = gateway.send("HEAD /json HTTP/1.1\nhost: a", b"");
    assert_eq!(
        (head.status, head.header("content-length"), head.header("etag")),
        (200, None, Some("W/\"t\""))
    );
    let not_modified = get(&gateway, "/304", "\nif-none-match: W/\"t\"");
    assert_eq!((not_modified.status, not_modified.header("etag")), (304, Some("W/\"t\"")));
    for (target, want, body) in [
        ("/text", 200, Some("data")),
        ("/none", 204, Some("")),
        ("/error", 503, Some(r#"{"data":1}"#)),
        ("/missing", 410, Some(r#"{"data":1}"#)),
        ("/broken", 502, None),
        ("/gzip", 502, None),
    ] {
        let answer = get(&gateway, target, "");
        assert_eq!(answer.status, want, "{target}: {}", answer.text());
        if let Some(body) = body {
            assert_eq!(answer.text(), body, "{target}");
        }
    }
    let large = get(&gateway, "/large", "");
    assert_eq!(large.status, 200, "{}", large.text());
    eventually("the metrics", || {
        let of = |outcome: &str| {
            gateway.metric(&format!(
                "tidegate_transform_messages_total{{policy=\"routes/r/transform\",outcome=\"{outcome}\"}}"
            ))
        };
        of("failed") == Some(2.0) && of("transformed") == Some(2.0)
    });
    let all = self::gateway(
        &upstream,
        "{answer: {on: [2xx, 5xx], body: [{jq: '{status: $status}'}], maxSize: 1KiB}}",
    );
    assert_eq!(get(&all, "/error", "").json(), json!({"status": 500}));
    assert_eq!(get(&all, "/missing", "").json(), json!({"data": 1}));
    assert_eq!(get(&all, "/large", "").status, 502, "what is not held whole does not pass as it was");
}

#[test]
fn streams_become_others_piece_by_piece_as_they_come() {
    for (kind, pieces, want) in [
        (
            "text/event-stream",
            [
                "event: a\r\nid: 1\r\ndata: {\"a\":\r\ndata: 1}\r\n\r\n",
                ": hello\n\ndata: {\"a\"",
                ":2}\n\ndata: [DONE]\n\n",
            ],
            ["event: a\nid: 1\ndata: {\"b\":1}\n\n", ": hello\n\n", "data: {\"b\":2}\n\ndata: [DONE]\n\n"],
        ),
        (
            "application/x-ndjson",
            ["{\"a\":1}\n", "{\"a\":2}\n{\"a\"", ":3}\n\n{\"a\":4}"],
            ["{\"b\":1}\n", "{\"b\":2}\n", "{\"b\":3}\n\n{\"b\":4}\n"],
        ),
    ] {
        let upstream = Upstream::raw(move |mut reader, _| {
            let mut head = String::new();
            while std::io::BufRead::read_line(&mut reader, &mut head).is_ok_and(|read| read > 2) {}
            let mut stream = reader.into_inner();
            let head = format!(
                "HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\netag: \"t\"\r\ntransfer-encoding: chunked\r\n\r\n"
            );
            let _ = stream.write_all(head.as_bytes());
            for piece in pieces {
                let _ = stream.write_all(format!("{:x}\r\n{piece}\r\n", piece.len()).as_bytes());
                pause(300);
            }
            let _ = stream.write_all(b"0\r\n\r\n");
        });
        let gateway = gateway(&upstream, "{answer: {body: [{jq: '{b: .a}'}]}}");
        let mut client = Client::connect(gateway.address);
        client.write("GET /s HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
        let head = client.read_head().expect("a head");
        assert_eq!((head.status, head.header("etag")), (200, Some("W/\"t\"")));
        let begun = std::time::Instant::now();
        let (mut got, mut first) = (Vec::new(), None);
        let mut buffer = [0; 4096];
        loop {
            let read = client.read_some(&mut buffer);
            got.extend_from_slice(&buffer[..read]);
            if read > 0 && String::from_utf8_lossy(&got).contains(want[0]) {
                first.get_or_insert(begun.elapsed());
            }
            if read == 0 || got.ends_with(b"0\r\n\r\n") {
                break;
            }
        }
        let text = unchunked(&got);
        assert_eq!(text, want.concat(), "{kind}");
        assert!(
            first.is_some_and(|first| first.as_millis() < 250),
            "{first:?}: the first piece leaves at once"
        );
    }
}

fn unchunked(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes).into_owned();
    let (mut rest, mut out) = (text.as_str(), String::new());
    while let Some((size, after)) = rest.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).expect("a size");
        out.push_str(&after[..size]);
        rest = after[size..].strip_prefix("\r\n").unwrap_or_default();
    }
    out
}

#[test]
fn steps_that_cannot_be_compiled_are_told_when_they_are_loaded() {
    let text = |transform: &str| {
        format!(
            "listeners: [{{name: public, address: \"127.0.0.1:8080\"}}]\nroutes: [{{name: r, match: [{{path: {{prefix: /}}}}], policies: [{{transform: {transform}}}], respond: {{}}}}]\n"
        )
    };
    for (transform, words) in [
        ("{}", &["changes nothing"][..]),
        ("{request: {body: [{}]}}", &["expected exactly one of"]),
        ("{request: {body: [{jq: '.a', xmlToJson: true}]}}", &["expected exactly one of"]),
        ("{request: {body: [{jq: '.a |'}]}}", &["request.body[0].jq:", "expected"]),
        ("{answer: {body: [{jq: 'env'}]}}", &["answer.body[0].jq:", "programs here know nothing"]),
        ("{answer: {body: [{template: '{{ body'}]}}", &["answer.body[0].template: line 1"]),
        (
            "{answer: {body: [{patch: [{op: add, path: a, value: 1}]}]}}",
            &["answer.body[0].patch[0].path", "JSON pointer"],
        ),
        ("{answer: {body: [{template: x}, {jq: .}]}}", &["answer.body[1]", "must be the last"]),
        ("{answer: {status: {'404': 204}}}", &["a status whose answers have a body"]),
        ("{answer: {status: {'9xx': 500}}}", &["found `9xx`"]),
    ] {
        refused(&text(transform), words);
    }
}
