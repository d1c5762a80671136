//! What the gateway answers on its own: a whole problem document to HTTP callers, a gRPC status to gRPC callers.

use http::Request;

use crate::{
    harness::{Answer, Gateway, Upstream, free_port, h2, pause},
    tidy::root,
};

/// A route for each problem that one request alone can cause, by its path.
fn gateway(broken: &Upstream, mute: &Upstream, vague: &Upstream) -> Gateway {
    let route = |name: &str, rest: &str| {
        format!("  - {{name: {name}, match: [{{path: {{prefix: /{name}}}}}], {rest}}}\n")
    };
    let guarded = |name: &str, policy: &str| route(name, &format!("policies: [{{{policy}}}], respond: {{}}"));
    let proxied = |name: &str| route(name, &format!("backends: [{{upstream: {name}}}]"));
    let upstream = |name: &str, port: u16, rest: &str| {
        format!(
            "  - {{name: {name}, endpoints: [{{address: \"127.0.0.1:{port}\"}}], retry: {{maxAttempts: 1}}{rest}}}\n"
        )
    };
    let to_vague = |name: &str, policy: &str| {
        route(name, &format!("policies: [{{{policy}}}], backends: [{{upstream: bad-upstream-answer}}]"))
    };
    Gateway::start(&[
        "accessLog: [{kind: stdout}]\nupstreams:\n",
        &upstream("connect-failed", free_port(), ""),
        &upstream("circuit-open", free_port(), ", circuitBreaker: {minimumNumberOfCalls: 1, waitDurationInOpenState: 1h}"),
        &upstream("upstream-reset", broken.address.port(), ""),
        &upstream("bad-upstream-answer", vague.address.port(), ""),
        &upstream("upstream-timeout", mute.address.port(), ", timeouts: {request: 100ms}"),
        "routes:\n",
        &guarded("unauthenticated", "keyAuth: {}"),
        &guarded("forbidden", "ipRestriction: {deny: [127.0.0.0/8]}"),
        "  - {name: method-not-allowed, match: [{path: {prefix: /method-not-allowed}, methods: [GET]}], respond: {}}\n",
        &guarded("gone", "deprecation: {sunsetAt: 2020-01-01, refuseAfterSunset: true}"),
        &to_vague("body-too-large", "requestLimits: {maxBodySize: 2}"),
        &guarded("uri-too-long", "requestLimits: {maxUriSize: 3}"),
        &to_vague("unsupported-media-type", "decompress: {}"),
        &guarded("rate-limited", "rateLimit: {limit: 1, window: 1h, key: global}"),
        &guarded("head-too-large", "requestLimits: {maxHeaders: 1}"),
        &guarded("injected-fault", "faultInjection: {abort: {status: 503, percent: 100}}"),
        &proxied("connect-failed"),
        &proxied("circuit-open"),
        &proxied("upstream-reset"),
        &proxied("bad-upstream-answer"),
        &proxied("upstream-timeout"),
    ]
    .concat())
}

/// The problems that one request can cause at a path of the same name.
const CAUSED: [&str; 18] = [
    "bad-path",
    "unauthenticated",
    "forbidden",
    "no-route",
    "method-not-allowed",
    "gone",
    "body-too-large",
    "uri-too-long",
    "unsupported-media-type",
    "expectation-failed",
    "rate-limited",
    "head-too-large",
    "injected-fault",
    "connect-failed",
    "upstream-reset",
    "bad-upstream-answer",
    "circuit-open",
    "upstream-timeout",
];

/// What else than its path causes a problem.
fn path(slug: &str) -> String {
    if slug == "bad-path" { "/a%2fb".to_owned() } else { format!("/{slug}/a") }
}

fn header(slug: &str) -> Option<(&'static str, &'static str)> {
    match slug {
        "unsupported-media-type" => Some(("content-encoding", "rot13")),
        "expectation-failed" => Some(("expect", "the-unexpected")),
        _ => None,
    }
}

/// All that must stand before the one call that is looked at.
fn prepared() -> (Gateway, [Upstream; 3]) {
    let broken = Upstream::scripted(|_| None);
    let mute = Upstream::scripted(|_| {
        pause(10_000);
        None
    });
    let vague = Upstream::scripted(|_| {
        Some(b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab".to_vec())
    });
    let gateway = gateway(&broken, &mute, &vague);
    assert_eq!(gateway.get("/rate-limited").status, 200, "the first is let in");
    assert_eq!(gateway.get("/circuit-open").problem().as_deref(), Some("connect-failed"), "this opens it");
    (gateway, [broken, mute, vague])
}

#[test]
fn each_is_a_whole_document_for_http_and_found_in_the_log_by_its_id() {
    let (gateway, _upstreams) = prepared();
    for slug in CAUSED {
        let problem = proxy::Problem::ALL.iter().find(|known| known.slug() == slug).expect("a problem");
        let more = header(slug).map(|(name, value)| format!("\n{name}: {value}")).unwrap_or_default();
        let head = format!("POST {} HTTP/1.1\nhost: a.test\ncontent-length: 5{more}", path(slug));
        let answer: Answer = gateway.send(&head, b"abcde");
        // Content type, status, title and id of the document are looked at there.
        assert_eq!(answer.problem().as_deref(), Some(slug), "{}", answer.text());
        assert_eq!(answer.status, problem.status().as_u16(), "{slug}");
        let document = answer.json();
        assert_eq!(document["title"], problem.title(), "{slug}");
        let known = ["type", "title", "status", "detail", "requestId"];
        let fields: Vec<_> = document.as_object().expect("an object").keys().collect();
        assert!(fields.iter().all(|field| known.contains(&field.as_str())), "{document}");
        let id = document["requestId"].as_str().expect("an id");
        crate::harness::eventually("its line", || {
            gateway
                .records(1)
                .iter()
                .any(|record| record["request_id"] == id && record["failure"]["reason"] == slug)
        });
    }
}

#[test]
fn each_is_a_status_of_grpc_for_grpc_callers() {
    let (gateway, _upstreams) = prepared();
    h2::run(async {
        for slug in CAUSED {
            let problem = proxy::Problem::ALL.iter().find(|known| known.slug() == slug).expect("a problem");
            let client = h2::Client::connect(gateway.address).await;
            let mut request = Request::post(format!("http://a.test{}", path(slug)))
                .header("content-type", "application/grpc+proto")
                .header("te", "trailers");
            if let Some((name, value)) = header(slug) {
                request = request.header(name, value);
            }
            let request = request.body(()).expect("a request");
            let answer = client.fetch(request, b"\0\0\0\0\0", None).await.expect(slug);
            // "Trailers-Only": one head with all of it, and nothing after.
            assert_eq!(
                (answer.status, answer.header("content-type")),
                (200, Some("application/grpc")),
                "{slug}"
            );
            let code = problem.grpc_status().to_string();
            assert_eq!(answer.header("grpc-status"), Some(code.as_str()), "{slug}: {answer:?}");
            assert!(answer.header("grpc-message").is_some_and(|message| !message.is_empty()), "{slug}");
            assert!(answer.header("x-request-id").is_some_and(|id| id.len() >= 8), "{slug}");
            assert!(answer.body.is_empty() && answer.trailers.is_empty(), "{slug}: {answer:?}");
        }
    });
}

#[test]
fn bytes_that_are_no_request_get_a_document_too() {
    let gateway = Gateway::start("routes: [{name: r, match: [{path: {prefix: /}}], respond: {}}]\n");
    for (head, slug) in [
        ("GET / HTTP/1.1", "bad-request"),
        ("GET / HTTP/1.1\nhost: a\nhost: b", "bad-request"),
        ("GET / HTTP/3.0\nhost: a", "version-not-supported"),
        ("CONNECT a:443 HTTP/1.1\nhost: a:443", "not-implemented"),
    ] {
        assert_eq!(gateway.send(head, b"").problem().as_deref(), Some(slug), "{head}");
    }
}

/// The names of gRPC's status codes, in their order.
const GRPC_NAMES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

#[test]
fn each_stands_in_the_documents_with_its_status_and_grpc_code() {
    let page = std::fs::read_to_string(root().join("docs/problems.md")).expect("docs/problems.md");
    let told: Vec<(&str, &str)> = page
        .split("\n## ")
        .skip(1)
        .map(|section| {
            let mut lines = section.lines().filter(|line| !line.is_empty());
            (lines.next().expect("a heading"), lines.next().expect("a line under the heading"))
        })
        .collect();
    let meant: Vec<(&str, String)> = proxy::Problem::ALL
        .iter()
        .map(|problem| {
            let status = problem.recorded_status().as_u16();
            // Nobody is there any more to whom it could be sent.
            let place = if status == 499 { " in the log" } else { "" };
            let grpc = GRPC_NAMES[usize::from(problem.grpc_status())];
            (problem.slug(), format!("{status}{place} · gRPC {grpc}"))
        })
        .collect();
    let meant: Vec<(&str, &str)> = meant.iter().map(|(slug, codes)| (*slug, codes.as_str())).collect();
    assert_eq!(told, meant, "docs/problems.md (left) and the table of problems (right) differ");
}
