//! `mask`: what not everybody may see is hidden, in bodies and in the access log.

use serde_json::json;

use super::{
    super::harness::{Answer, Client, Gateway, Upstream, eventually},
    last, refused, with_policies,
};

fn gateway(upstream: &Upstream, mask: &str) -> Gateway {
    Gateway::start(&format!(
        "accessLog: [{{kind: stdout}}]
upstreams: [{{name: u, endpoints: [{{address: \"{}\"}}]}}]
routes: [{{name: r, match: [{{path: {{prefix: /}}}}], policies: [{{mask: {mask}}}], backends: [{{upstream: u}}]}}]\n",
        upstream.address
    ))
}

fn answering() -> Upstream {
    Upstream::scripted(|seen| {
        let secret = r#"{"user":{"email":"ann@example.com","id":5},"cards":[{"number":"4111111111111111","label":"x"}],"note":"call ann@example.com"}"#;
        let (status, kind, body) = match seen.target() {
            "/text" => ("200 OK", "text/plain", "write to ann@example.com".to_owned()),
            "/error" => ("500 Internal Server Error", "application/problem+json", secret.to_owned()),
            "/events" => {
                ("200 OK", "text/event-stream", format!("data: {secret}\n\ndata: plain ann@example.com\n\n"))
            }
            "/lines" => ("200 OK", "application/x-ndjson", format!("{secret}\n{secret}\n")),
            "/broken" => ("200 OK", "application/json", "{\"user\":\"ann@example.com\"".to_owned()),
            "/part" => {
                ("206 Partial Content", "application/json\r\ncontent-range: bytes 0-1/5", secret.to_owned())
            }
            "/png" => ("200 OK", "image/png", "ann@example.com".to_owned()),
            "/large" => ("200 OK", "application/json", format!("\"{}\"", "x".repeat(3_000))),
            _ => ("200 OK", "application/json", secret.to_owned()),
        };
        let length = body.len();
        Some(format!("HTTP/1.1 {status}\r\ncontent-type: {kind}\r\netag: \"t\"\r\ncontent-length: {length}\r\n\r\n{body}").into_bytes())
    })
}

fn get(gateway: &Gateway, target: &str) -> Answer {
    gateway.send(&format!("GET {target} HTTP/1.1\nhost: a\nrange: bytes=0-1"), b"")
}

#[test]
fn fields_of_answers_are_hidden_by_their_paths() {
    let upstream = answering();
    let gateway = gateway(&upstream, "{fields: [user.email, 'cards[].number'], maxSize: 2KiB}");
    let answer = get(&gateway, "/json");
    let want = json!({"user": {"email": "[masked]", "id": 5}, "cards": [{"number": "[masked]", "label": "x"}], "note": "call ann@example.com"});
    assert_eq!((answer.status, answer.json(), answer.header("etag")), (200, want.clone(), Some("W/\"t\"")));
    assert_eq!(last(&upstream).header("range"), None, "a part could not be read");
    assert_eq!(get(&gateway, "/error").json(), want, "errors tell secrets, too");
    let lines = get(&gateway, "/lines");
    let lines: Vec<serde_json::Value> =
        lines.text().lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(lines, [want.clone(), want]);
    for target in ["/broken", "/large", "/part"] {
        let answer = get(&gateway, target);
        assert_eq!(answer.status, 502, "{target}: what cannot be looked through does not pass");
        assert!(!answer.text().contains("ann@"), "{}", answer.text());
    }
    let removing = self::gateway(&upstream, "{fields: ['**.email', cards], remove: true}");
    assert_eq!(get(&removing, "/json").text(), r#"{"user":{"id":5},"note":"call ann@example.com"}"#);
    eventually("the metrics", || {
        let of = |outcome: &str| {
            gateway.metric(&format!(
                "tidegate_mask_messages_total{{policy=\"routes/r/mask\",outcome=\"{outcome}\"}}"
            ))
        };
        of("masked") == Some(3.0) && of("failed") == Some(3.0)
    });
}

#[test]
fn detectors_find_what_stands_anywhere_in_texts_and_streams() {
    let upstream = answering();
    let gateway = gateway(&upstream, "{detect: [email, card], replacement: '***'}");
    let hidden = json!({"user": {"email": "***", "id": 5}, "cards": [{"number": "***", "label": "x"}], "note": "call ***"});
    assert_eq!(get(&gateway, "/json").json(), hidden);
    assert_eq!(get(&gateway, "/text").text(), "write to ***");
    assert_eq!(get(&gateway, "/events").text(), format!("data: {hidden}\n\ndata: plain ***\n\n"));
    assert_eq!(get(&gateway, "/png").text(), "ann@example.com", "what is no text is not looked at");
}

#[test]
fn detectors_look_at_names_and_comments_of_events_too() {
    let upstream = Upstream::scripted(|_| {
        let body = ": of ann@example.com\n\nevent: ann@example.com\ndata: {\"a\":1}\n\nid: 7\ndata: x\n\n";
        let kind = "content-type: text/event-stream";
        let length = body.len();
        Some(format!("HTTP/1.1 200 OK\r\n{kind}\r\ncontent-length: {length}\r\n\r\n{body}").into_bytes())
    });
    let gateway = gateway(&upstream, "{detect: [email], replacement: '***'}");
    let want = ": of ***\n\nevent: ***\ndata: {\"a\":1}\n\nid: 7\ndata: x\n\n";
    assert_eq!(get(&gateway, "/").text(), want);
}

#[test]
fn events_are_masked_however_their_lines_end_and_whatever_their_bytes() {
    let secret = r#"{"user":{"email":"ann@example.com"}}"#;
    let upstream = Upstream::scripted(move |seen| {
        let text = |end: &str| format!("event: a{end}data: {secret}{end}{end}data: {secret}{end}{end}");
        let bytes = match seen.target() {
            "/lf" => text("\n").into_bytes(),
            "/crlf" => text("\r\n").into_bytes(),
            "/cr" => text("\r").into_bytes(),
            // Each line may end in another way than the one before it.
            "/lfcr" => format!("event: a\ndata: {secret}\n\rdata: {secret}\r\n\r").into_bytes(),
            "/mixed" => format!("event: a\rdata: {secret}\r\n\ndata: {secret}\r\r\n").into_bytes(),
            "/mark" => {
                [b"\xef\xbb\xbf".as_slice(), text("\n").trim_start_matches("event: a\n").as_bytes()].concat()
            }
            "/bytes" => {
                let broken = secret.replace("\"}}", "\",\"x\":\"\u{1}\"}}").into_bytes();
                let broken =
                    broken.iter().map(|byte| if *byte == 1 { 0xff } else { *byte }).collect::<Vec<u8>>();
                [b"data: ".as_slice(), &broken, b"\n\n: \xff\n\ndata: ", secret.as_bytes(), b"\n\n"].concat()
            }
            // One that never ends is none to clients, and is not passed for that.
            _ => format!("data: {secret}\n\ndata: {secret}").into_bytes(),
        };
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: {}\r\n\r\n",
            bytes.len()
        );
        Some([head.into_bytes(), bytes].concat())
    });
    for settings in ["{fields: [user.email]}", "{detect: [email], replacement: '[masked]'}"] {
        let gateway = gateway(&upstream, settings);
        for target in ["/lf", "/crlf", "/cr", "/lfcr", "/mixed", "/mark", "/bytes", "/endless"] {
            let answer = get(&gateway, target);
            let text = answer.text();
            assert_eq!((answer.status, answer.header("content-length")), (200, None), "{target}");
            assert_eq!(
                (text.matches("[masked]").count(), text.contains("example.com")),
                (2, false),
                "{settings} {target}: {text:?}"
            );
        }
    }
}

#[test]
fn lines_that_begin_with_a_mark_are_masked_and_bytes_that_are_no_text_do_not_pass() {
    let upstream = Upstream::scripted(move |seen| {
        let secret = r#"{"user":{"email":"ann@example.com"}}"#;
        let bytes = match seen.target() {
            "/mark" => format!("\u{feff}{secret}\n{secret}\r\n").into_bytes(),
            _ => [b"{\"a\":\"\xff\",\"user\":{\"email\":\"ann@example.com\"}}\n".as_slice()].concat(),
        };
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/x-ndjson\r\ncontent-length: {}\r\n\r\n",
            bytes.len()
        );
        Some([head.into_bytes(), bytes].concat())
    });
    let gateway = gateway(&upstream, "{fields: [user.email]}");
    let marked = get(&gateway, "/mark").text();
    assert_eq!((marked.matches("[masked]").count(), marked.contains("ann@")), (2, false), "{marked:?}");
    let raw = super::super::harness::raw(
        gateway.address,
        b"GET /bytes HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n",
    );
    let text = String::from_utf8_lossy(&raw);
    assert!(!text.contains("ann@") && !text.ends_with("0\r\n\r\n"), "it breaks off: {text}");
}

#[test]
fn answers_without_a_body_or_with_a_part_of_one_tell_nothing_of_what_is_hidden() {
    let upstream = Upstream::scripted(|seen| {
        let body = r#"{"user":{"email":"ann@example.com"}}"#;
        let more = "content-type: application/json\r\netag: \"t\"\r\naccept-ranges: bytes\r\ncontent-md5: x";
        Some(match seen.target() {
            "/304" => format!("HTTP/1.1 304 Not Modified\r\n{more}\r\n\r\n"),
            "/parts" => {
                let part = format!("--b\r\ncontent-type: application/json\r\n\r\n{body}\r\n--b--");
                format!("HTTP/1.1 206 Partial Content\r\ncontent-type: multipart/byteranges; boundary=b\r\ncontent-length: {}\r\n\r\n{part}", part.len())
            }
            _ if seen.line.starts_with("HEAD") => {
                format!("HTTP/1.1 200 OK\r\n{more}\r\ncontent-length: {}\r\n\r\n", body.len())
            }
            _ => format!("HTTP/1.1 200 OK\r\n{more}\r\ncontent-length: {}\r\n\r\n{body}", body.len()),
        }
        .into_bytes())
    });
    let gateway = gateway(&upstream, "{fields: [user.email]}");
    let whole = get(&gateway, "/whole");
    let mut client = Client::connect(gateway.address);
    client.write("HEAD /whole HTTP/1.1\r\nhost: a\r\n\r\n");
    let head = client.read_head().expect("a head");
    for (what, answer) in [("whole", &whole), ("HEAD", &head), ("304", &get(&gateway, "/304"))] {
        assert_eq!(answer.header("etag"), Some("W/\"t\""), "{what}: it is no tag of these bytes");
        for name in ["accept-ranges", "content-md5"] {
            assert_eq!(answer.header(name), None, "{what} {name}");
        }
    }
    assert_eq!(
        (head.status, head.header("content-length")),
        (200, None),
        "what a GET would have is not known"
    );
    // The connection goes on: nothing stood behind the head.
    client.write("GET /304 HTTP/1.1\r\nhost: a\r\nif-none-match: W/\"t\"\r\n\r\n");
    assert_eq!(client.read().map(|answer| (answer.status, answer.body.len())), Some((304, 0)));
    let parts = get(&gateway, "/parts");
    assert_eq!((parts.status, parts.text().contains("ann@")), (502, false), "{}", parts.text());
}

#[test]
fn a_stream_that_comes_all_at_once_is_bounded_by_its_lines_and_not_by_its_length() {
    let of_lines = |line: &str, count: usize| {
        let body = serde_json::to_string(&line.repeat(count)).expect("a text");
        Gateway::start(&format!(
            "routes: [{{name: r, match: [{{path: {{prefix: /}}}}], policies: [{{mask: {{fields: [email], maxSize: 1KiB}}}}], respond: {{headers: {{content-type: application/x-ndjson}}, body: {body}}}}}]\n"
        ))
    };
    let gateway = of_lines("{\"email\":\"ann@example.com\"}\n", 10_000);
    let text = get(&gateway, "/").text();
    assert_eq!((text.matches("[masked]").count(), text.contains("ann@")), (10_000, false));
    let long = format!("{{\"email\":\"ann@example.com\",\"x\":\"{}\"}}\n", "x".repeat(300_000));
    let raw = super::super::harness::raw(
        of_lines(&long, 1).address,
        b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n",
    );
    let text = String::from_utf8_lossy(&raw);
    assert!(!text.contains("ann@") && !text.ends_with("0\r\n\r\n"), "it breaks off");
}

#[test]
fn an_answer_of_several_types_is_not_passed_for_the_one_that_is_not_looked_through() {
    let upstream = Upstream::scripted(|seen| {
        let body = r#"{"user":{"email":"ann@example.com"}}"#;
        let kinds = match seen.target() {
            "/two" => "content-type: text/plain\r\ncontent-type: application/json",
            "/list" => "content-type: text/plain, application/json",
            "/odd" => "content-type: application/json; a=\u{e9}",
            "/events" => "content-type: text/plain\r\ncontent-type: text/event-stream",
            "/text" => "content-type: text/json",
            _ => "content-type: text/html\r\ncontent-type: text/html",
        };
        Some(
            format!("HTTP/1.1 200 OK\r\n{kinds}\r\ncontent-length: {}\r\n\r\n{body}", body.len())
                .into_bytes(),
        )
    });
    let gateway = gateway(&upstream, "{fields: [user.email]}");
    for target in ["/two", "/list", "/odd", "/events"] {
        let answer = get(&gateway, target);
        assert_eq!((answer.status, answer.text().contains("ann@")), (502, false), "{target}");
    }
    let text = get(&gateway, "/text");
    assert_eq!((text.status, text.json()), (200, json!({"user": {"email": "[masked]"}})));
    assert_eq!(get(&gateway, "/html").status, 200, "none of them is looked through");
}

#[test]
fn requests_and_the_log_do_not_tell_what_is_hidden() {
    let upstream = Upstream::echo();
    let gateway = gateway(&upstream, "{fields: ['**.ssn'], detect: [email], on: request, logQuery: [token]}");
    let body = r#"{"a":{"ssn":"123-45-6789"},"to":"ann@example.com"}"#;
    let head = format!(
        "POST /x?token=hunter2&to=ann%40example.com&page=2 HTTP/1.1\nhost: a\ncontent-type: application/json\ncontent-length: {}",
        body.len()
    );
    assert_eq!(gateway.send(&head, body.as_bytes()).status, 200);
    let seen = last(&upstream);
    assert_eq!(String::from_utf8_lossy(&seen.body), r#"{"a":{"ssn":"[masked]"},"to":"[masked]"}"#);
    assert_eq!(seen.header("content-length"), Some(seen.body.len().to_string().as_str()));
    assert_eq!(
        seen.target(),
        "/x?token=hunter2&to=ann%40example.com&page=2",
        "the service gets its query as it came"
    );
    let record = gateway.record("the call", |record| record["method"] == "POST");
    let query = record["query"].as_str().expect("a query");
    assert!(query.contains("page=2") && query.contains("masked"), "{record}");
    assert!(!record.to_string().contains("hunter2") && !record.to_string().contains("ann"), "{record}");
}

#[test]
fn settings_that_mean_nothing_are_refused() {
    for (settings, words) in [
        ("{}", &["hides nothing"][..]),
        ("{fields: ['a..b']}", &["no path"]),
        ("{fields: ['a.**']}", &["no path"]),
        ("{fields: ['a[0]']}", &["no path"]),
        ("{fields: ['$.user.email']}", &["mask.fields[0]", "such as `user.email`"]),
        ("{fields: [a, /user/password]}", &["mask.fields[1]", "such as `user.password`"]),
        ("{fields: [a], maxSize: 0B}", &["more than nothing"]),
    ] {
        refused(&with_policies(&format!("[{{mask: {settings}}}]")), words);
    }
}
