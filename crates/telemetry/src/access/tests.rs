//! What lines hold, and what they do not.

use http::{HeaderValue, StatusCode};
use model::{FailureRecord, Side, Stage};
use serde_json::Value;

use super::{sample::call, *};

fn settings(text: &str) -> AccessLog {
    serde_json::from_str(text).expect("settings")
}

fn line(call: &CallRecord, redact: &Redact) -> Value {
    let mut out = Vec::new();
    line::json(call, redact, &mut out);
    serde_json::from_slice(&out).unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&out)))
}

#[test]
fn a_line_is_json_and_says_who_asked_what_and_how_it_went() {
    let line = line(&call(), &Redact::default());
    let expected = [
        ("timestamp", Value::from("2024-02-29T00:00:00.000Z")),
        ("trace_id", Value::from("01".repeat(16))),
        ("route", Value::from("catalog")),
        ("path", Value::from("/v1/products")),
        ("status", Value::from(200)),
        ("duration_ms", Value::from(1.5)),
        ("attempts", Value::from(2)),
        ("hedges", Value::from(1)),
        ("hedge_won", Value::from(true)),
        ("client_ip", Value::from("203.0.113.77")),
    ];
    for (name, value) in expected {
        assert_eq!(line[name], value, "{name}");
    }
    assert_eq!(line["failed_tries"][0]["endpoint"], "127.0.0.1:7002");
    assert_eq!(line["failed_tries"][0]["detail"], "connection refused");
    assert!(line.get("consumer").is_none(), "what is absent is left out");
}

#[test]
fn secrets_in_the_query_and_the_client_are_redacted() {
    let redact = Redact { client_address: true, ..Redact::default() };
    let line = line(&call(), &redact);
    assert_eq!(line["query"], "q=1&token=[redacted]");
    assert_eq!(line["client_ip"], "203.0.113.0");
}

#[test]
fn an_escaped_name_of_a_parameter_is_the_same_name() {
    let redact = Redact { query: vec!["a key".into()], client_address: false };
    for (query, want) in [
        ("a%20key=x", "a%20key=[redacted]"),
        ("%61+K%65y=x&b=1", "%61+K%65y=[redacted]&b=1"),
        ("a%2key=x&a%20ke=y&a%20keys=z", "a%2key=x&a%20ke=y&a%20keys=z"),
    ] {
        assert_eq!(line::redacted_query(query, &call(), &redact), want);
    }
}

#[test]
fn documents_and_variables_of_graphql_are_not_recorded() {
    let redact = Redact { query: vec!["token".into()], client_address: false };
    let mut call = call();
    let query = "query=%7Bme%7D&a=1&v%61riables=%7B%7D&extensions=%7B%7D&operationName=Me&token=t";
    assert_eq!(line::redacted_query(query, &call, &redact), query.replace("=t", "=[redacted]"));
    call.graphql = Some(Box::default());
    assert_eq!(
        line::redacted_query(query, &call, &redact),
        "query=[redacted]&a=1&v%61riables=[redacted]&extensions=[redacted]&operationName=Me&token=[redacted]"
    );
}

#[test]
fn a_failed_call_says_side_stage_and_reason() {
    let failure = FailureRecord {
        side: Side::Upstream,
        stage: Stage::Connect,
        reason: "connect-failed",
        detail: Some("refused".into()),
    };
    let failed = CallRecord { status: StatusCode::BAD_GATEWAY, failure: Some(failure), ..call() };
    let line = line(&failed, &Redact::default());
    assert_eq!(line["level"], "error");
    let expected = serde_json::json!({
        "side": "upstream", "stage": "connect", "reason": "connect-failed", "detail": "refused"
    });
    assert_eq!(line["failure"], expected);
}

#[test]
fn a_template_fills_its_places_and_refuses_unknown_ones() {
    let template =
        Template::parse("{{ status }} {{method}} {{ path }} {{ consumer }} {{ user_agent }}").expect("good");
    let mut out = Vec::new();
    let nasty = CallRecord { user_agent: Some(HeaderValue::from_bytes(b"a\tb").expect("a value")), ..call() };
    template.write(&nasty, &Redact::default(), &mut out);
    assert_eq!(String::from_utf8(out).expect("UTF-8"), "200 GET /v1/products - a\\tb");
    let wrong = Template::parse("{{ statos }}").map(|_| ()).expect_err("unknown");
    assert!(wrong.contains("`statos`") && wrong.contains("status"), "{wrong}");
}

#[test]
fn a_file_is_reopened_after_it_was_moved_away() {
    let dir = std::env::temp_dir().join(format!("tidegate-log-{}", std::process::id()));
    std::fs::create_dir_all(&dir).expect("a directory");
    let path = dir.join("access.log");
    let mut log = Log::open(&settings(&format!(
        r#"{{"kind":"file","path":{:?},"format":"{{{{ status }}}}"}}"#,
        path.display().to_string()
    )))
    .expect("opens");
    log.write(&[call()]);
    std::fs::rename(&path, dir.join("access.log.1")).expect("moved");
    log.write(&[call()]);
    log.reopen();
    log.write(&[call()]);
    let read = |name: &str| std::fs::read_to_string(dir.join(name)).expect("a file");
    assert_eq!((read("access.log.1"), read("access.log")), ("200\n200\n".into(), "200\n".into()));
    std::fs::remove_dir_all(&dir).expect("removed");
}
