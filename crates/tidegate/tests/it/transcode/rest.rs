//! REST: paths, bodies, metadata, deadlines and errors.

use serde_json::json as value;

use super::*;

#[test]
fn paths_bodies_and_answers_are_those_of_the_annotations() {
    let (_server, gateway) = all(How::default());
    let get = |target: &str| gateway.get(target);
    let answer = get("/v1/greetings/Ada%20L?language=fr");
    assert_eq!(
        (answer.status, answer.json()["message"].clone()),
        (200, "Bonjour, Ada L".into()),
        "{}",
        answer.text()
    );
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(
        get("/v1/shelves/1/books/2").json(),
        value!({"name": "shelves/1/books/2", "title": "Sea chart"})
    );
    let made = json(
        &gateway,
        "POST",
        "/v1/shelves/1/books?requestId=7",
        "{\"title\":\"T\",\"pages\":\"12\",\"genre\":\"ATLAS\"}",
    );
    let want = value!({"name": "shelves/1/books/7", "title": "T", "pages": "12", "genre": "ATLAS"});
    assert_eq!(made.json(), want, "{}", made.text());
    let changed = json(&gateway, "PATCH", "/v1/shelves/1/books/7?updateMask=title", "{\"title\":\"U\"}");
    assert_eq!(changed.json(), value!({"name": "shelves/1/books/7", "title": "U"}));
    let list = get("/v1/shelves/1/books?tags=a&tags=b");
    assert_eq!(
        list.json(),
        value!([{"name": "shelves/1", "title": "a"}, {"name": "shelves/1", "title": "b"}])
    );
    let file = get("/v1/files/a/b.txt");
    assert_eq!((file.header("content-type"), file.text().as_str()), (Some("text/plain"), "a\nb"));
    let archived = gateway.send("ARCHIVE /v1/shelves/1/books/2 HTTP/1.1\nhost: a.test", b"");
    assert_eq!(archived.status, 200, "{}", archived.text());
    let echoed = value!({"int64Value": "-9", "timestamp": "2026-01-02T03:04:05Z", "duration": "1.500s", "bytesValue": "AAH/",
        "any": {"@type": "type.googleapis.com/demo.Author", "givenName": "C"}, "struct": {"a": [1.0, null]}});
    assert_eq!(json(&gateway, "POST", "/v1/echo", &echoed.to_string()).json(), echoed);
}

#[test]
fn what_does_not_fit_never_reaches_the_server() {
    let (server, gateway) = all(How::default());
    for (method, target, body, status, told) in [
        ("GET", "/v1/greetings/a?count=x", "", 400, "`count`"),
        ("POST", "/v1/greetings", "{\"nobody\":1}", 400, "nobody"),
        ("POST", "/v1/shelves/1/books", "{\"author\":{\"x\":1}}", 400, "`author`"),
        ("GET", "/v1/nothing/here", "", 404, "no method"),
        ("PUT", "/v1/shelves/1/books", "", 405, ""),
    ] {
        let answer = json(&gateway, method, target, body);
        assert_eq!(answer.status, status, "{method} {target}: {}", answer.text());
        assert_eq!(answer.header("content-type"), Some("application/problem+json"));
        assert!(answer.text().contains(told), "{}", answer.text());
    }
    let allow = json(&gateway, "PUT", "/v1/shelves/1/books", "");
    assert_eq!(allow.header("allow"), Some("GET, POST"));
    let xml = gateway.send(
        "POST /v1/greetings HTTP/1.1\nhost: a.test\ncontent-type: text/xml\ncontent-length: 4",
        b"<a/>",
    );
    assert_eq!(xml.status, 415);
    let large = json(&gateway, "POST", "/v1/greetings", &format!("{{\"name\":\"{}\"}}", "x".repeat(5 << 20)));
    assert_eq!(large.status, 413);
    assert_eq!(server.log(), [""; 0]);
}

#[test]
fn errors_are_problem_documents_with_what_the_server_says() {
    let (_server, gateway) = all(How::default());
    for (code, status, name) in [
        (1, 499, "CANCELLED"),
        (2, 500, "UNKNOWN"),
        (3, 400, "INVALID_ARGUMENT"),
        (4, 504, "DEADLINE_EXCEEDED"),
        (5, 404, "NOT_FOUND"),
        (6, 409, "ALREADY_EXISTS"),
        (7, 403, "PERMISSION_DENIED"),
        (8, 429, "RESOURCE_EXHAUSTED"),
        (9, 400, "FAILED_PRECONDITION"),
        (10, 409, "ABORTED"),
        (11, 400, "OUT_OF_RANGE"),
        (12, 501, "UNIMPLEMENTED"),
        (13, 500, "INTERNAL"),
        (14, 503, "UNAVAILABLE"),
        (15, 500, "DATA_LOSS"),
        (16, 401, "UNAUTHENTICATED"),
    ] {
        let answer = gateway.get(&format!("/v1/fail/{code}?message=no%20%E2%9A%93"));
        assert_eq!(answer.status, status, "{name}: {}", answer.text());
        let problem = answer.json();
        assert_eq!((problem["code"].as_str(), problem["detail"].as_str()), (Some(name), Some("no \u{2693}")));
        assert_eq!(problem["status"], status);
    }
    let answer = gateway.get("/v1/fail/5?message=gone&withDetails=true");
    assert_eq!(answer.header("content-type"), Some("application/problem+json"));
    assert_eq!((answer.header("retry-after"), answer.header("x-failed")), (Some("7"), Some("yes")));
    let problem = answer.json();
    assert_eq!(problem["type"], "urn:tidegate:problem:grpc-status");
    let details = value!([
        {"@type": "type.googleapis.com/google.rpc.BadRequest",
         "fieldViolations": [{"field": "code", "description": "is what it is"}]},
        {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "7s"},
        {"@type": "type.googleapis.com/unknown.Thing", "value": "AQI="},
    ]);
    assert_eq!(problem["details"], details, "{problem}");
    let record = gateway.record("one of them", |record| record["grpc_status"] == 5);
    assert_eq!(record["rpc"]["method"], "demo.Greeter/Fail", "{record}");
    assert_eq!(record["rpc"]["protocol"], "rest");
    let series = "tidegate_transcode_calls_total{listener=\"public\",route=\"all\",method=\"demo.Greeter/Fail\",protocol=\"rest\",code=\"5\"}";
    eventually("it is counted", || gateway.metric(series) == Some(2.0));
}

#[test]
fn header_fields_are_metadata_both_ways_and_the_deadline_goes_along() {
    let server = Server::start(How { gzip: true, ..How::default() });
    let gateway = gateway(&server, "descriptorSet: \"SET\"", "timeouts: {request: 5s}");
    let answer = gateway.send(
        "GET /v1/greetings/a HTTP/1.1\nhost: a.test\nauthorization: Bearer t\nx-test: 1\nx-test: 2\nx-test-bin: AAE=\nx-test-odd-bin: no base64!\ncookie: a=b\naccept: */*",
        b"",
    );
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!((answer.header("x-served-by"), answer.header("x-bytes-bin")), (Some("tonic"), Some("AP8")));
    assert_eq!(answer.header("grpc-encoding"), None);
    let seen: Vec<String> = serde_json::from_value(answer.json()["seen"].clone()).expect("a list");
    let (timeouts, others): (Vec<_>, Vec<_>) =
        seen.iter().partition(|line| line.starts_with("grpc-timeout: "));
    assert_eq!(
        others,
        [
            "authorization: Bearer t",
            "content-type: application/grpc",
            "cookie: a=b",
            "x-test-bin: AAE=",
            "x-test: 1",
            "x-test: 2"
        ]
    );
    let micros: u64 =
        timeouts[0].trim_start_matches("grpc-timeout: ").trim_end_matches('u').parse().expect("a number");
    assert!((1_000_000..=5_000_000).contains(&micros), "{micros}");
}

#[test]
fn a_server_that_is_away_is_a_502_and_one_that_is_slow_a_504() {
    let server = Server::start(How::default());
    let gateway = gateway(&server, "descriptorSet: \"SET\"", "timeouts: {request: 300ms}");
    let slow = gateway.get("/v1/greetings/a?intervalMillis=5000");
    assert_eq!(slow.status, 504, "{}", slow.text());
    let away = started(&format!("127.0.0.1:{}", free_port()), "descriptorSet: \"SET\"", "");
    let answer = away.get("/v1/greetings/a");
    assert_eq!(
        (answer.status, answer.problem().as_deref()),
        (502, Some("connect-failed")),
        "{}",
        answer.text()
    );
}

#[test]
fn a_method_that_is_not_there_is_told_in_the_callers_language() {
    let (server, gateway) = all(How::default());
    let send = |headers: &str| {
        let head = format!("POST /demo.Nobody/SayHello HTTP/1.1\nhost: a.test\ncontent-length: 5\n{headers}");
        gateway.send(&head, &[0; 5])
    };
    assert_eq!(send("content-type: application/grpc-web").header("grpc-status"), Some("12"));
    let connect = send("content-type: application/proto\nconnect-protocol-version: 1");
    assert_eq!((connect.status, connect.json()["code"].clone()), (404, "unimplemented".into()));
    let stream = send("content-type: application/connect+proto");
    assert_eq!((stream.status, stream.header("content-type")), (200, Some("application/connect+proto")));
    assert_eq!(stream.body[0], 2);
    assert!(stream.text().contains("unimplemented"), "{}", stream.text());
    assert_eq!(server.log(), [""; 0]);
}

#[test]
fn policies_of_the_route_hold_and_speak_the_callers_language() {
    let server = Server::start(How::default());
    let gateway = gateway(&server, "descriptorSet: \"SET\"", "policies: [{keyAuth: {}}]");
    assert_eq!(gateway.get("/v1/greetings/a").status, 401);
    let web = gateway.send("POST /demo.Greeter/SayHello HTTP/1.1\nhost: a.test\ncontent-type: application/grpc-web+proto\ncontent-length: 5", &[0; 5]);
    assert_eq!((web.status, web.header("grpc-status")), (200, Some("16")), "{web:?}");
    assert_eq!(web.header("content-type"), Some("application/grpc-web+proto"));
    let connect = gateway.send("POST /demo.Greeter/SayHello HTTP/1.1\nhost: a.test\nconnect-protocol-version: 1\ncontent-type: application/json\ncontent-length: 2", b"{}");
    assert_eq!((connect.status, connect.json()["code"].clone()), (401, "unauthenticated".into()));
    assert_eq!(server.log(), [""; 0]);
}

#[test]
fn one_method_takes_captures_of_the_route() {
    let server = Server::start(How::default());
    let port = free_port();
    let folder = tempfile::tempdir().expect("a folder");
    let set = folder.path().join("greeter.binpb");
    fs::write(&set, SET).expect("a file");
    let text = format!(
        "listeners: [{{name: public, address: 127.0.0.1:{port}}}]
upstreams: [{{name: greeter, protocol: grpc, endpoints: [{{address: \"{}\"}}]}}]
routes:
  - name: hello
    match: [{{path: {{template: \"/v1/hello/{{name}}\"}}, methods: [GET, POST]}}]
    transcode: {{upstream: greeter, descriptorSet: \"{}\", method: demo.Greeter/SayHello, responseBody: message}}
",
        server.address,
        set.display()
    );
    let gateway = Gateway::from_text(&text, ([127, 0, 0, 1], port).into(), |_| {});
    assert_eq!(gateway.get("/v1/hello/Ada").text(), "\"Hello, Ada\"");
    assert_eq!(gateway.get("/v1/hello/Ada?language=fr").text(), "\"Bonjour, Ada\"");
    assert_eq!(json(&gateway, "POST", "/v1/hello/Ada", "{\"language\":\"fr\"}").text(), "\"Bonjour, Ada\"");
    assert_eq!(gateway.get("/v1/hello/Ada?nobody=1").status, 400);
}
