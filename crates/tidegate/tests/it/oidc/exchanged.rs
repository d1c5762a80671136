//! `oauth2TokenExchange` at a certified provider that looks at the subject's token itself (RFC 8693 as a grant of its own).

use serde_json::{Value, json};

use super::{World, browser::Browser};
use crate::{
    harness::{Answer, raw},
    policies::tokens::{Signer, claims, jwks},
};

/// A gateway that lets in whom this policy knows, by any route, and on one of them exchanges their tokens.
fn world(ways: &str, exchange: &str) -> World {
    let world = World::start("{}", "", "");
    let text = std::fs::read_to_string(world.gateway.config()).expect("the configuration");
    let text = text.split_once('\n').expect("lines").1.to_owned();
    let from = text.find("    policies: [{oidc").expect("the policy");
    let to = from + text[from..].find('\n').expect("a line");
    let provider = world.provider;
    let policies = format!(
        "    policies: [{{oauth2TokenExchange: {{tokenEndpoint: 'http://{provider}/token', client: {{id: gate, secret: gate-secret}}{exchange}}}}}]"
    );
    let ways = ways.replace("PROVIDER", &format!("http://{provider}"));
    let text = format!("{}{policies}{}\nglobalPolicies: [{{{ways}}}]\n", &text[..from], &text[to..]);
    let live = world.gateway.reload(&text);
    assert_eq!(live["reloadsRefused"], 0, "{}", world.gateway.stderr());
    world
}

/// The provider's answer to a form.
fn form(world: &World, path: &str, client: &str, body: &str) -> Answer {
    let text = format!(
        "POST {path} HTTP/1.1\r\nhost: {}\r\nauthorization: Basic {client}\r\ncontent-type: application/x-www-form-urlencoded\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        world.provider,
        body.len()
    );
    Answer::parse(&raw(world.provider, text.as_bytes())).expect("an answer")
}

/// `machine:machine-secret`.
const MACHINE: &str = "bWFjaGluZTptYWNoaW5lLXNlY3JldA==";

/// A token of the client `machine`.
fn machine(world: &World) -> String {
    let body = "grant_type=client_credentials&scope=orders:read%20orders:write";
    let answer = form(world, "/token", MACHINE, body);
    answer.json()["access_token"].as_str().unwrap_or_else(|| panic!("{}", answer.text())).to_owned()
}

/// What the provider says of the token that the upstream saw.
fn given(world: &World) -> Value {
    let seen = world.upstream.seen().pop().expect("a request");
    let token =
        seen.header("authorization").and_then(|value| value.strip_prefix("Bearer ")).expect("a token");
    form(world, "/token/introspection", MACHINE, &format!("token={token}")).json()
}

const SESSION: &str = "oidc: {issuer: 'PROVIDER', clientId: shop, clientSecret: 'a secret: of 100% & more', \
    secret: 'the secret of the tests, which is long enough', scopes: [openid, 'orders:read'], accessTokenHeader: authorization}";
const ASKED: &str = "oauth2Introspection: {issuer: 'PROVIDER', clientId: api, clientSecret: api-secret, ttl: 1m, hideCredentials: true}";

#[test]
fn whoever_has_signed_in_goes_on_with_a_token_that_the_provider_gave_for_theirs() {
    let world = world(
        SESSION,
        ", audience: orders, scopes: ['orders:read'], resources: ['https://one.test/', 'https://two.test/']",
    );
    world.signed_in("ann");
    let told = given(&world);
    for (name, want) in [
        ("active", json!(true)),
        ("sub", json!("ann")),
        ("client_id", json!("gate")),
        ("scope", json!("orders:read")),
        ("act", json!({"sub": "gate"})),
        ("was", json!("shop")),
        ("for", json!(["orders"])),
        ("resources", json!(["https://one.test/", "https://two.test/"])),
    ] {
        assert_eq!(told[name], want, "{name}: {told}");
    }
    world.signed_in("bob");
    assert_eq!(given(&world)["sub"], "bob");
}

#[test]
fn a_token_that_has_been_taken_back_is_given_nothing_for() {
    let world = world(ASKED, ", audience: stock");
    let mut script = Browser::default();
    let mut ask = |token: &str, path: &str| {
        script.send("GET", &world.url(path), &format!("\nauthorization: Bearer {token}"), "")
    };
    let good = machine(&world);
    assert_eq!(ask(&good, "/x").status, 200);
    let told = given(&world);
    assert_eq!(
        (&told["client_id"], &told["for"], &told["was"]),
        (&json!("gate"), &json!(["stock"]), &json!("machine"))
    );
    assert_eq!(told["scope"], "orders:read orders:write", "{told}");
    // What the issuer said is kept for a while; the provider knows better when it is to give another.
    let other = machine(&world);
    assert_eq!(ask(&other, "/bye").text(), "bye");
    assert_eq!(form(&world, "/token/revocation", MACHINE, &format!("token={other}")).status, 200);
    assert_eq!(ask(&other, "/bye").text(), "bye");
    let answer = ask(&other, "/x");
    assert_eq!((answer.status, answer.problem().as_deref()), (403, Some("forbidden")), "{}", answer.text());
    assert_eq!(world.upstream.seen().len(), 1);
}

#[test]
fn what_the_provider_did_not_give_or_does_not_allow_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let (signer, keys) = (Signer::new("ES256", "one"), folder.path().join("jwks.json"));
    std::fs::write(&keys, jwks(&[&signer])).expect("a file");
    let strange = format!(
        "jwt: {{issuer: https://id.example.test, audiences: [shop], algorithms: [ES256], jwks: {{file: '{}'}}}}",
        keys.display()
    );
    // Good to the policy before, and to the provider nobody's: invalid_grant.
    let token = signer.sign(&claims(|_| {}));
    // invalid_target, and invalid_scope.
    for (ways, exchange) in [
        (strange.as_str(), ""),
        (ASKED, ", audience: elsewhere"),
        (ASKED, ", scopes: ['orders:all']"),
        (ASKED, ", subjectTokenType: 'urn:ietf:params:oauth:token-type:id_token'"),
    ] {
        let world = world(ways, exchange);
        let token = if ways == ASKED { machine(&world) } else { token.clone() };
        let mut script = Browser::default();
        let answer = script.send("GET", &world.url("/x"), &format!("\nauthorization: Bearer {token}"), "");
        assert_eq!(
            (answer.status, answer.problem().as_deref()),
            (403, Some("forbidden")),
            "{exchange}: {}",
            answer.text()
        );
        assert!(world.upstream.seen().is_empty(), "{exchange}");
        assert!(!answer.text().contains("nobody knows"), "nothing of the inside: {}", answer.text());
    }
}
