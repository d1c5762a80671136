//! `normalizeErrors`: services' errors as problem documents.

use serde_json::json;

use super::{
    super::harness::{Answer, Client, Gateway, Upstream, eventually},
    refused, with_policies,
};

fn gateway(settings: &str) -> Gateway {
    let upstream = Upstream::scripted(|seen| {
        let (status, more, body) = match seen.target() {
            "/html" => (
                "404 Not Found",
                "content-type: text/html\r\netag: \"a\"\r\ncontent-language: de",
                "<h1>secret stack</h1>",
            ),
            "/busy" => (
                "429 Too Many Requests",
                "content-type: application/json\r\nretry-after: 7\r\ncontent-encoding: identity",
                r#"{"error":{"message":"slow\ndown"}}"#,
            ),
            "/login" => ("401 Unauthorized", "www-authenticate: Basic realm=\"x\"\r\nset-cookie: a=b", ""),
            "/broken" => (
                "500 Internal Server Error",
                "content-type: application/json",
                r#"{"message":"secret stack"}"#,
            ),
            "/problem" => ("409 Conflict", "content-type: application/problem+json", r#"{"title":"own"}"#),
            "/gzip" => ("400 Bad Request", "content-type: application/json\r\ncontent-encoding: gzip", "xx"),
            "/grpc" => ("503 Service Unavailable", "content-type: application/grpc", "grpc"),
            _ => ("200 OK", "content-type: text/plain", "fine"),
        };
        let length = body.len();
        let body = if seen.line.starts_with("HEAD") { "" } else { body };
        Some(format!("HTTP/1.1 {status}\r\n{more}\r\ncontent-length: {length}\r\n\r\n{body}").into_bytes())
    });
    let gateway = Gateway::start(&format!(
        "upstreams: [{{name: u, endpoints: [{{address: \"{}\"}}]}}]
routes:
  - {{name: gone, match: [{{path: {{prefix: /gone}}}}], policies: [{{normalizeErrors: {settings}}}], backends: [{{upstream: nobody}}]}}
  - {{name: r, match: [{{path: {{prefix: /}}}}], policies: [{{normalizeErrors: {settings}}}], backends: [{{upstream: u}}]}}\n",
        upstream.address
    ).replace("upstreams: [", "upstreams: [{name: nobody, endpoints: [{address: \"127.0.0.1:1\"}]}, "));
    // It serves as long as the process.
    std::mem::forget(upstream);
    gateway
}

fn get(gateway: &Gateway, target: &str) -> Answer {
    gateway.send(&format!("GET {target} HTTP/1.1\nhost: a"), b"")
}

/// The head of the answer to a HEAD.
fn head(gateway: &Gateway, target: &str, headers: &str) -> Answer {
    let mut client = Client::connect(gateway.address);
    let headers = headers.replace('\n', "\r\n");
    client.write(format!("HEAD {target} HTTP/1.1\r\nhost: a{headers}\r\nconnection: close\r\n\r\n"));
    client.read_head().expect("a head")
}

#[test]
fn errors_become_problem_documents_and_keep_what_clients_act_on() {
    let gateway = gateway("{}");
    for (target, status, title) in [
        ("/html", 404, "Not Found"),
        ("/busy", 429, "Too Many Requests"),
        ("/login", 401, "Unauthorized"),
        ("/broken", 500, "Internal Server Error"),
        ("/gzip", 400, "Bad Request"),
    ] {
        let answer = get(&gateway, target);
        assert_eq!(
            (answer.status, answer.header("content-type")),
            (status, Some("application/problem+json")),
            "{target}"
        );
        let problem = answer.json();
        assert_eq!(
            (&problem["type"], &problem["title"], &problem["status"]),
            (&json!("about:blank"), &json!(title), &json!(status))
        );
        assert_eq!(problem["requestId"].as_str(), answer.header("x-request-id"));
        assert!(problem.get("detail").is_none() && !answer.text().contains("secret"), "{problem}");
        for name in ["etag", "content-language", "content-encoding"] {
            assert_eq!(answer.header(name), None, "{target} {name}");
        }
    }
    assert_eq!(get(&gateway, "/busy").header("retry-after"), Some("7"));
    let login = get(&gateway, "/login");
    assert_eq!(
        (login.header("www-authenticate"), login.header("set-cookie")),
        (Some("Basic realm=\"x\""), Some("a=b"))
    );
    assert_eq!(get(&gateway, "/problem").json(), json!({"title": "own"}));
    assert_eq!(
        (get(&gateway, "/fine").text(), get(&gateway, "/grpc").text()),
        ("fine".to_owned(), "grpc".to_owned())
    );
    let head = head(&gateway, "/html", "");
    assert_eq!(
        (head.status, head.header("content-type"), head.body.len()),
        (404, Some("application/problem+json"), 0)
    );
    let own = get(&gateway, "/gone");
    assert_eq!(
        (own.status, own.problem().as_deref()),
        (502, Some("connect-failed")),
        "the gateway's own stay as they are"
    );
    eventually("the metrics", || {
        let of = |outcome: &str| {
            gateway.metric(&format!("tidegate_normalized_errors_total{{policy=\"routes/r/normalizeErrors\",outcome=\"{outcome}\"}}"))
        };
        of("normalized") == Some(8.0) && of("kept") == Some(1.0)
    });
}

#[test]
fn a_detail_is_told_where_that_is_wanted() {
    let gateway = gateway(
        "{on: ['429', 5xx, '409'], keepProblems: false, detailFrom: [error.message, message, title]}",
    );
    assert_eq!(get(&gateway, "/busy").json()["detail"], "slowdown", "no letters that control");
    assert!(
        get(&gateway, "/broken").json().get("detail").is_none(),
        "of the service's own faults nothing is told"
    );
    assert_eq!(get(&gateway, "/problem").json()["detail"], "own");
    assert_eq!(get(&gateway, "/html").header("content-type"), Some("text/html"), "another status");
    let all = self::gateway("{detailFrom: [message], detailOn: [5xx], maxSize: 10B}");
    assert!(get(&all, "/broken").json().get("detail").is_none(), "what is larger is not looked into");
}

#[test]
fn settings_that_mean_nothing_are_refused() {
    for (settings, words) in [
        ("{on: []}", &["at least one status"][..]),
        ("{on: [2xx]}", &["`2xx`"]),
        ("{detailFrom: [a..b]}", &["no path"]),
    ] {
        refused(&with_policies(&format!("[{{normalizeErrors: {settings}}}]")), words);
    }
}
