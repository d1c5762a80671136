//! Google's workload identity federation, against a security token service and an impersonation endpoint that are
//! stand-ins: they check what Google's documentation (AIP-4117, RFC 8693) says that they are sent.

use ai::dialect::Dialect;
use serde_json::{Value, json};

use super::{KEY, post, provider};
use crate::harness::{Answer, Gateway, Upstream, eventually};

/// Google's side, and the identity provider whose token is at an address.
fn google() -> Upstream {
    Upstream::scripted(|seen| {
        let (status, body) = match seen.target() {
            "/subject" if seen.header("metadata") == Some("true") => {
                (200, json!({"id_token": "from-an-address"}))
            }
            "/v1/token" if String::from_utf8_lossy(&seen.body).contains("subject_token=nobody") => {
                (400, json!({"error": "invalid_grant", "error_description": "nobody is trusted"}))
            }
            "/v1/token" => (
                200,
                json!({"access_token": "exchanged", "token_type": "Bearer", "expires_in": 3600,
                    "issued_token_type": "urn:ietf:params:oauth:token-type:access_token"}),
            ),
            "/v1/projects/-/serviceAccounts/gw:generateAccessToken" => {
                (200, json!({"accessToken": "ya29.of-the-account", "expireTime": "2099-01-01T00:00:00Z"}))
            }
            other => (404, json!({"error": {"message": other}})),
        };
        let body = body.to_string();
        let head = format!(
            "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        Some((head + &body).into_bytes())
    })
}

fn document(google: &Upstream, source: &Value, impersonates: bool) -> Value {
    let mut document = json!({
        "type": "external_account", "universe_domain": "googleapis.com",
        "audience": "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/pool/providers/k8s",
        "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
        "token_url": format!("http://{}/v1/token", google.address),
        "credential_source": source,
    });
    if impersonates {
        let url = format!("http://{}/v1/projects/-/serviceAccounts/gw:generateAccessToken", google.address);
        document["service_account_impersonation_url"] = url.into();
        document["service_account_impersonation"] = json!({"token_lifetime_seconds": 1800});
    }
    document
}

fn gateway(upstream: &Upstream, document: &Value) -> Gateway {
    let folder = tempfile::tempdir().expect("a folder").keep();
    let file = folder.join("federation.json");
    std::fs::write(&file, document.to_string()).expect("a file");
    Gateway::start(&format!(
        "consumers: [{{name: app, keys: [{KEY}]}}]
routes:
  - name: models
    match: [{{path: {{prefix: /ai}}}}]
    policies: [{{keyAuth: {{}}}}]
    ai: {{stripPrefix: /ai}}
ai:
  providers: [{{name: p, kind: gemini, baseUrl: \"http://{}/v1beta\", google: {{externalAccount: {{file: \"{}\"}}}}}}]
  models: [{{name: smart, targets: [{{provider: p, model: gemini-2.5-flash}}]}}]
",
        upstream.address,
        file.display()
    ))
}

fn ask(gateway: &Gateway) -> Answer {
    let body = r#"{"model":"smart","messages":[{"role":"user","content":"case: text"}]}"#;
    post(gateway, "/ai/v1/chat/completions", "", body)
}

#[test]
fn a_token_in_a_file_is_exchanged_and_becomes_a_service_accounts() {
    let (google, upstream) = (google(), provider::of(Dialect::Gemini));
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("token");
    std::fs::write(&file, "from.a.file\n").expect("a file");
    let gateway = gateway(&upstream, &document(&google, &json!({"file": file}), true));
    assert_eq!(ask(&gateway).status, 200);
    assert_eq!(upstream.seen()[0].header("authorization"), Some("Bearer ya29.of-the-account"));
    let seen = google.seen();
    let form = String::from_utf8_lossy(&seen[0].body).into_owned();
    for wanted in [
        "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Atoken-exchange",
        "audience=%2F%2Fiam.googleapis.com%2Fprojects%2F1%2F",
        "subject_token_type=urn%3Aietf%3Aparams%3Aoauth%3Atoken-type%3Ajwt",
        "subject_token=from.a.file",
        "scope=https%3A%2F%2Fwww.googleapis.com%2Fauth%2Fcloud-platform",
    ] {
        assert!(form.contains(wanted), "{wanted}: {form}");
    }
    assert_eq!(seen[1].header("authorization"), Some("Bearer exchanged"));
    let asked: Value = serde_json::from_slice(&seen[1].body).expect("JSON");
    let scope = "https://www.googleapis.com/auth/generative-language";
    assert_eq!(asked, json!({"scope": [scope], "lifetime": "1800s"}));
}

#[test]
fn a_token_at_an_address_is_read_as_the_document_says_and_used_as_it_is() {
    let (google, upstream) = (google(), provider::of(Dialect::Gemini));
    let source = json!({"url": format!("http://{}/subject", google.address), "headers": {"Metadata": "true"},
        "format": {"type": "json", "subject_token_field_name": "id_token"}});
    let gateway = gateway(&upstream, &document(&google, &source, false));
    assert_eq!(ask(&gateway).status, 200);
    assert_eq!(upstream.seen()[0].header("authorization"), Some("Bearer exchanged"));
    let form = String::from_utf8_lossy(&google.seen()[1].body).into_owned();
    assert!(form.contains("subject_token=from-an-address"), "{form}");
    assert!(form.contains("scope=https%3A%2F%2Fwww.googleapis.com%2Fauth%2Fgenerative-language"), "{form}");
}

#[test]
fn what_google_refuses_is_told_in_the_log_and_no_token_is_in_it() {
    let (google, upstream) = (google(), provider::of(Dialect::Gemini));
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("token");
    std::fs::write(&file, "nobody").expect("a file");
    let gateway = gateway(&upstream, &document(&google, &json!({"file": file}), true));
    assert_eq!(ask(&gateway).status, 503);
    assert!(upstream.seen().is_empty());
    eventually("the reason in the log", || gateway.stderr().contains("nobody is trusted"));
    assert!(!gateway.stderr().contains("subject_token"), "{}", gateway.stderr());
}

#[test]
fn documents_that_would_run_programs_or_lead_elsewhere_are_refused() {
    let google = google();
    let file = json!({"file": "/var/run/token"});
    for (source, at, value, wanted) in [
        (json!({"executable": {"command": "/bin/sh"}}), "", json!(null), "programs are not run"),
        (
            json!({"environment_id": "aws1", "url": "http://169.254.169.254"}),
            "",
            json!(null),
            "AWS has `metadata`",
        ),
        (json!({"file": "relative"}), "", json!(null), "must be an absolute path"),
        (file.clone(), "token_url", json!("http://192.0.2.1/token"), "`token_url`"),
        (json!({"url": "http://192.0.2.1/token"}), "", json!(null), "`credential_source.url`"),
        (file, "type", json!("authorized_user"), "`external_account`"),
    ] {
        let mut document = document(&google, &source, false);
        if !at.is_empty() {
            document[at] = value;
        }
        let text = format!(
            "listeners: [{{name: l, address: 127.0.0.1:0}}]\nroutes: [{{name: m, match: [{{path: {{prefix: /}}}}], ai: {{}}}}]\nai:\n  providers: [{{name: p, kind: gemini, google: {{externalAccount: '{document}'}}}}]\n  models: [{{name: smart, targets: [{{provider: p, model: g}}]}}]\n"
        );
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("tidegate.yaml");
        std::fs::write(&path, text).expect("a file");
        let (code, out, error) = crate::harness::run(&["validate", "-c", path.to_str().expect("a path")]);
        let all = (out + &error).replace('│', " ").split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(code != 0 && all.contains(wanted), "{wanted}: {code} {all}");
    }
}
