//! Calls that say they would switch protocols, to upstreams that do not: whatever judges bodies judges theirs.

use serde_json::json;

use super::{
    super::harness::{Answer, Client, Gateway, Seen, Upstream},
    last,
};

const SECRET: &str = r#"{"email":"ann@example.com"}"#;
const ASKS: &str = "\nconnection: upgrade\nupgrade: websocket\nsec-websocket-version: 13\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==";

/// Switches where the path ends so, and else answers like any service.
fn upstream() -> Upstream {
    Upstream::scripted(|seen: &Seen| {
        let plain = |status: &str, kind: &str, body: &str| {
            format!(
                "HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n\r\n{body}",
                body.len()
            )
        };
        let text = match seen.target() {
            target if target.ends_with("/switch") => {
                format!(
                    "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\ncontent-type: text/html\r\n\r\n{SECRET}"
                )
            }
            target if target.starts_with("/errors") => {
                plain("404 Not Found", "application/json", r#"{"message":"none","stack":"secret"}"#)
            }
            target if target.starts_with("/waf") => {
                plain("200 OK", "text/html", "You have an SQL syntax error")
            }
            _ => plain("200 OK", "application/json", SECRET),
        };
        Some(text.into_bytes())
    })
}

fn gateway(upstream: &Upstream) -> (Gateway, tempfile::TempDir) {
    let rules = tempfile::tempdir().expect("a folder");
    let rule = "SecRule RESPONSE_BODY \"@contains SQL syntax\" \"id:1,phase:4,deny\"\n\
                SecRule ARGS \"@contains attack\" \"id:2,phase:2,deny\"\n";
    std::fs::write(rules.path().join("own.conf"), rule).expect("a file");
    let document = "openapi: 3.1.0\ninfo: {title: T, version: \"1\"}\npaths: {/document/switch: {get: {responses: {\"200\": {description: d}}}}}\n";
    std::fs::write(rules.path().join("api.yaml"), document).expect("a file");
    let by_document =
        format!("{{validate: {{openapi: {{file: {}/api.yaml}}, answers: enforce}}}}", rules.path().display());
    let waf = format!("{{waf: {{rules: [\"{}\"], response: {{}}}}}}", rules.path().display());
    let routes: String = [
        ("mask", "{mask: {fields: [email], on: both}}"),
        ("transform", "{transform: {request: {body: [{jq: '{a: .email}'}]}, answer: {body: [{jq: '{b: .email}'}], status: {2xx: 203}}}}"),
        ("validate", "{validate: {answers: enforce, schemas: {body: {schema: {type: object, required: [id]}}, answer: {schema: {type: object, required: [id]}}}}}"),
        ("etag", "{etag: {}}"),
        ("errors", "{normalizeErrors: {}}"),
        ("errors-told", "{normalizeErrors: {detailFrom: [message]}}"),
        ("waf", &waf),
        ("document", &by_document),
    ]
    .iter()
    .map(|(name, policy)| {
        format!("  - {{name: {name}, match: [{{path: {{prefix: /{name}/}}}}], websocket: true, policies: [{policy}], backends: [{{upstream: u}}]}}\n")
    })
    .collect();
    let gateway = Gateway::start(&format!(
        "accessLog: [{{kind: stdout}}]
upstreams: [{{name: u, endpoints: [{{address: \"{}\"}}]}}]
routes:
{routes}  - {{name: own, match: [{{path: {{prefix: /own}}}}], policies: [{{mask: {{fields: [email]}}}}], respond: {{headers: {{content-type: application/json}}, body: '{SECRET}'}}}}
",
        upstream.address
    ));
    (gateway, rules)
}

fn ask(gateway: &Gateway, path: &str, body: &str) -> Answer {
    let length = match body {
        "" => String::new(),
        body => {
            let kind = if body.starts_with('{') { "json" } else { "x-www-form-urlencoded" };
            format!("\ncontent-type: application/{kind}\ncontent-length: {}", body.len())
        }
    };
    let head = format!("GET {path} HTTP/1.1\nhost: a{ASKS}{length}").replace('\n', "\r\n");
    let mut client = Client::connect(gateway.address);
    client.write(format!("{head}\r\n\r\n{body}"));
    client.read().expect("an answer")
}

#[test]
fn who_only_says_that_they_would_switch_is_answered_as_anybody_is() {
    let upstream = upstream();
    let (gateway, _rules) = gateway(&upstream);
    let masked = ask(&gateway, "/mask/x", "");
    assert_eq!((masked.status, masked.json()), (200, json!({"email": "[masked]"})));
    let own = ask(&gateway, "/own", "");
    assert_eq!(
        (own.status, own.json()),
        (200, json!({"email": "[masked]"})),
        "an answer of the gateway's own"
    );
    let made = ask(&gateway, "/transform/x", "");
    assert_eq!((made.status, made.json()), (203, json!({"b": "ann@example.com"})));
    let judged = ask(&gateway, "/validate/x", "");
    assert_eq!((judged.status, judged.text().contains("ann@")), (502, false), "{}", judged.text());
    assert!(ask(&gateway, "/etag/x", "").header("etag").is_some());
    for path in ["/errors/x", "/errors-told/x"] {
        let error = ask(&gateway, path, "");
        assert_eq!(
            (error.status, error.header("content-type")),
            (404, Some("application/problem+json")),
            "{path}"
        );
        assert!(!error.text().contains("secret"), "{}", error.text());
    }
    assert_eq!(ask(&gateway, "/waf/x", "").status, 403);
}

#[test]
fn the_body_of_who_only_says_that_they_would_switch_is_judged_too() {
    let upstream = upstream();
    let (gateway, _rules) = gateway(&upstream);
    assert_eq!(ask(&gateway, "/mask/x", SECRET).status, 200);
    assert_eq!(last(&upstream).body, br#"{"email":"[masked]"}"#);
    assert_eq!(ask(&gateway, "/transform/x", SECRET).status, 203);
    assert_eq!(last(&upstream).body, br#"{"a":"ann@example.com"}"#);
    let seen = upstream.seen().len();
    assert_eq!(ask(&gateway, "/validate/x", SECRET).status, 400);
    assert_eq!(ask(&gateway, "/waf/x", "a=attack").status, 403);
    assert_eq!(upstream.seen().len(), seen, "what is refused does not come through");
}

#[test]
fn what_does_switch_flows_past_all_of_them() {
    let upstream = upstream();
    let (gateway, _rules) = gateway(&upstream);
    for name in ["mask", "transform", "validate", "etag", "errors", "errors-told", "waf", "document"] {
        let mut client = Client::connect(gateway.address);
        let head = format!("GET /{name}/switch HTTP/1.1\nhost: a{ASKS}").replace('\n', "\r\n");
        client.write(format!("{head}\r\n\r\n"));
        assert_eq!(client.read().map(|answer| answer.status), Some(101), "{name}");
        assert_eq!(client.read_bytes(SECRET.len()), SECRET.as_bytes(), "{name}");
    }
}
