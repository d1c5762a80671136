//! Tokens for servers: the gateway's own, and those in exchange for the caller's.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use serde_json::{Value, json};

use super::{GOLD, ask, config, server::Server};
use crate::{
    harness::{Answer, Gateway, Upstream},
    policies::tokens::{Signer, claims, jwks},
};

/// A server of tokens, which answers slowly, numbers its tokens, and gives nothing to `eve`.
fn token_server(refused: &'static str) -> (Upstream, Arc<AtomicUsize>) {
    let count = Arc::new(AtomicUsize::new(0));
    let given = count.clone();
    let upstream = Upstream::scripted(move |seen| {
        crate::harness::pause(200);
        let form = String::from_utf8_lossy(&seen.body).into_owned();
        let number = given.fetch_add(1, Ordering::Relaxed) + 1;
        let is_refused = !refused.is_empty() && form.contains(refused);
        let (status, text) = if is_refused {
            ("400 Bad", json!({"error": "invalid_grant"}))
        } else {
            (
                "200 OK",
                json!({"access_token": format!("given-{number}"), "token_type": "Bearer", "expires_in": 3600,
                              "issued_token_type": "urn:ietf:params:oauth:token-type:access_token"}),
            )
        };
        let text = text.to_string();
        let head = format!("HTTP/1.1 {status}\r\ncontent-type: application/json\r\n");
        Some(format!("{head}content-length: {}\r\n\r\n{text}", text.len()).into_bytes())
    });
    (upstream, count)
}

fn stateless_call(gateway: &Gateway, token: &str) -> Answer {
    let meta = json!({"io.modelcontextprotocol/protocolVersion": "2026-07-28",
                      "io.modelcontextprotocol/clientCapabilities": {}});
    let params = json!({"name": "shop_buy", "arguments": {}, "_meta": meta});
    let message = json!({"jsonrpc": "2.0", "id": 5, "method": "tools/call", "params": params});
    let headers = "\nmcp-protocol-version: 2026-07-28\nmcp-method: tools/call\nmcp-name: shop_buy\nauthorization: Bearer ";
    ask(gateway, "POST", &format!("{headers}{token}"), &message.to_string())
}

#[test]
fn the_callers_token_is_exchanged_and_never_passed_through() {
    let folder = tempfile::tempdir().expect("a folder");
    let (signer, keys) = (Signer::new("ES256", "one"), folder.path().join("jwks.json"));
    std::fs::write(&keys, jwks(&[&signer])).expect("a file");
    let eve = signer.sign(&claims(|claims| claims["sub"] = json!("eve")));
    let (tokens, count) = token_server(Box::leak(eve.clone().into_boxed_str()));
    let shop = Server::with(&["buy"]);
    let auth = format!(
        ", auth: {{tokenExchange: {{tokenEndpoint: \"http://{}/token\", clientId: gate, clientSecret: a&b, audience: shop-api, scope: \"a b\"}}}}",
        tokens.address
    );
    let jwt = format!(
        "[{{jwt: {{issuer: https://id.example.test, audiences: [shop], algorithms: [ES256], jwks: {{file: '{}'}}}}}}]",
        keys.display()
    );
    let text = config(&[("shop", shop.url(), &auth)], "").replace("[{keyAuth: {header: x-api-key}}]", &jwt);
    let gateway = Gateway::start(&text);
    let ann = signer.sign(&claims(|_| {}));
    std::thread::scope(|scope| {
        let calls: Vec<_> = (0..6).map(|_| scope.spawn(|| stateless_call(&gateway, &ann))).collect();
        for call in calls {
            let answer = call.join().expect("an answer");
            assert_eq!(answer.status, 200, "{}", answer.text());
        }
    });
    assert_eq!(count.load(Ordering::Relaxed), 1, "one exchange for one token");
    let asked = tokens.seen().remove(0);
    assert!(asked.header("authorization").is_some_and(|value| value.starts_with("Basic ")), "{asked:?}");
    let form = String::from_utf8_lossy(&asked.body).into_owned();
    for part in [
        "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Atoken-exchange",
        "subject_token_type=urn%3Aietf%3Aparams%3Aoauth%3Atoken-type%3Aaccess_token",
        "audience=shop-api",
        "scope=a%20b",
        &format!("subject_token={ann}"),
    ] {
        assert!(form.contains(part), "{part}: {form}");
    }
    for seen in shop.upstream.seen() {
        assert_eq!(seen.header("authorization"), Some("Bearer given-1"), "{seen:?}");
        assert!(!format!("{seen:?}").contains(&ann));
    }
    let bob = signer.sign(&claims(|claims| claims["sub"] = json!("bob")));
    assert_eq!(stateless_call(&gateway, &bob).status, 200);
    assert_eq!(count.load(Ordering::Relaxed), 2);
    let last = shop.upstream.seen().pop().expect("a request");
    assert_eq!(last.header("authorization"), Some("Bearer given-2"));
    let before = shop.upstream.seen().len();
    let refused = stateless_call(&gateway, &eve);
    assert_eq!(refused.status, 403, "{}", refused.text());
    assert_eq!(shop.upstream.seen().len(), before, "nobody is asked in the name of who got nothing");
    assert!(!gateway.stderr().contains(&ann) && !gateway.stderr().contains("given-"), "no token in the log");
}

#[test]
fn nothing_is_exchanged_that_no_policy_has_checked() {
    let (tokens, count) = token_server("");
    let shop = Server::with(&["buy"]);
    let auth = format!(
        ", auth: {{tokenExchange: {{tokenEndpoint: \"http://{}/token\", audience: shop}}}}",
        tokens.address
    );
    let gateway = Gateway::start(&config(&[("shop", shop.url(), &auth)], ""));
    let answer = stateless_call(&gateway, &format!("made-up\nx-api-key: {GOLD}"));
    assert_eq!(answer.status, 401, "{}", answer.text());
    assert_eq!((count.load(Ordering::Relaxed), shop.upstream.seen().len()), (0, 0));
}

#[test]
fn a_token_for_another_resource_is_refused_and_told_where_one_for_this_is_had() {
    let folder = tempfile::tempdir().expect("a folder");
    let (signer, keys) = (Signer::new("ES256", "one"), folder.path().join("jwks.json"));
    std::fs::write(&keys, jwks(&[&signer])).expect("a file");
    let shop = Server::with(&["buy"]);
    let jwt = format!(
        "[{{jwt: {{issuer: https://id.example.test, audiences: [\"https://api.example.com/mcp\"], algorithms: [ES256], jwks: {{file: '{}'}}}}}}]",
        keys.display()
    );
    let more = "      oauth:
        resource: https://api.example.com/mcp
        authorizationServers: [\"https://id.example.test\"]
        scopes: [tools]
";
    let text = config(&[("shop", shop.url(), "")], more).replace("[{keyAuth: {header: x-api-key}}]", &jwt);
    let gateway = Gateway::start(&text);
    let token = |audience: Value| signer.sign(&claims(|claims| claims["aud"] = audience));
    for audience in [
        json!("https://api.example.com/mcp"),
        json!(["https://other.example.com/mcp", "https://api.example.com/mcp"]),
    ] {
        let answer = stateless_call(&gateway, &token(audience.clone()));
        assert_eq!(answer.status, 200, "{audience}: {}", answer.text());
    }
    let before = shop.upstream.seen().len();
    for audience in [
        json!("https://other.example.com/mcp"),
        json!("https://api.example.com/mcp/other"),
        json!("https://api.example.com"),
        json!(["https://other.example.com/mcp"]),
        json!([]),
        Value::Null,
    ] {
        let refused = stateless_call(&gateway, &token(audience.clone()));
        assert_eq!(refused.status, 401, "{audience}: {}", refused.text());
        let told = refused.header("www-authenticate").unwrap_or_default();
        let pointer =
            "resource_metadata=\"https://api.example.com/.well-known/oauth-protected-resource/mcp\"";
        assert!(told.starts_with("Bearer ") && told.contains(pointer), "{audience}: {told}");
        assert!(told.contains("error=\"invalid_token\""), "{audience}: {told}");
    }
    assert_eq!(shop.upstream.seen().len(), before, "none of these reached a server");
}

#[test]
fn a_server_is_shown_a_token_of_the_gateways_own() {
    let (tokens, count) = token_server("");
    let shop = Server::with(&["buy"]);
    let auth = format!(
        ", auth: {{clientCredentials: {{tokenEndpoint: \"http://{}/token\", clientId: gate, clientSecret: s3cret-of-the-gate, scope: tools, clientInForm: true}}}}",
        tokens.address
    );
    let gateway = Gateway::start(&config(&[("shop", shop.url(), &auth)], ""));
    for _ in 0..3 {
        let answer = stateless_call(&gateway, &format!("callers-own\nx-api-key: {GOLD}"));
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    assert_eq!(count.load(Ordering::Relaxed), 1);
    let form = String::from_utf8_lossy(&tokens.seen().remove(0).body).into_owned();
    assert_eq!(
        form,
        "grant_type=client_credentials&scope=tools&client_id=gate&client_secret=s3cret-of-the-gate"
    );
    for seen in shop.upstream.seen() {
        assert_eq!(seen.header("authorization"), Some("Bearer given-1"));
        assert!(!format!("{seen:?}").contains("callers-own"));
    }
    let live: Value = gateway.admin_get("/api/v1/config").json();
    assert!(!live.to_string().contains("s3cret"), "{live}");
}
