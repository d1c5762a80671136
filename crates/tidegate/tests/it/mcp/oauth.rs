//! Tokens as official SDKs get them by themselves: from the first refusal over the metadata of the resource and of its
//! authorization server to a token by PKCE, to one with more scopes where that has too few, and to new ones when theirs end.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use super::{config, sdk::report, server::Server};
use crate::{
    harness::{Gateway, Peer, Seen, Upstream, free_port, node, python},
    policies::tokens::{Signer, jwks, now},
};

/// How long a token is good, in seconds.
const LIFE: u64 = 2;

/// What a user has agreed to.
#[derive(Clone)]
struct Grant {
    challenge: String,
    redirect: String,
    resource: String,
    scope: String,
}

#[derive(Default)]
struct State {
    /// By codes, and by tokens that bring new ones.
    grants: BTreeMap<String, Grant>,
    /// What tokens were given for, and with which scopes.
    given: Vec<(String, String)>,
    /// Why something was refused.
    refused: Vec<String>,
    next: usize,
}

/// A small authorization server, whose users agree to everything.
struct Authority {
    upstream: Upstream,
    state: Arc<Mutex<State>>,
}

/// The fields of a query or a form.
fn fields(text: &str) -> BTreeMap<String, String> {
    let decoded = |text: &str| {
        let (text, mut out) = (text.replace('+', " ").into_bytes(), Vec::new());
        let mut rest = text.as_slice();
        while let Some((first, more)) = rest.split_first() {
            let hex = more.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
            match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()).filter(|_| *first == b'%') {
                Some(byte) => {
                    out.push(byte);
                    rest = &more[2..];
                }
                None => {
                    out.push(*first);
                    rest = more;
                }
            }
        }
        String::from_utf8(out).expect("text")
    };
    let pairs = text.split('&').filter_map(|pair| pair.split_once('='));
    pairs.map(|(name, value)| (decoded(name), decoded(value))).collect()
}

fn answered(status: &str, more: &str, body: &Value) -> Option<Vec<u8>> {
    let body = body.to_string();
    let head = format!("HTTP/1.1 {status}\r\ncontent-type: application/json\r\n{more}");
    Some(format!("{head}content-length: {}\r\n\r\n{body}", body.len()).into_bytes())
}

fn refused(state: &mut State, why: &str) -> Option<Vec<u8>> {
    state.refused.push(why.to_owned());
    answered("400 Bad Request", "", &json!({"error": "invalid_request", "error_description": why}))
}

impl State {
    /// A name that nobody has yet.
    fn name(&mut self, kind: &str) -> String {
        self.next += 1;
        format!("{kind}-{}", self.next)
    }

    /// A user agrees.
    fn authorize(
        &mut self,
        issuer: &str,
        query: &BTreeMap<String, String>,
        resource: &str,
    ) -> Option<Vec<u8>> {
        let of = |name: &str| query.get(name).cloned().unwrap_or_default();
        for (name, want) in [
            ("response_type", "code"),
            ("code_challenge_method", "S256"),
            ("client_id", "client-of-the-test"),
            ("resource", resource),
        ] {
            if of(name) != want {
                return refused(self, &format!("`{name}` is {:?}", of(name)));
            }
        }
        let code = self.name("code");
        let grant = Grant {
            challenge: of("code_challenge"),
            redirect: of("redirect_uri"),
            resource: of("resource"),
            scope: of("scope"),
        };
        let back = format!("{}?code={code}&state={}&iss={issuer}", grant.redirect, of("state"));
        self.grants.insert(code, grant);
        answered("302 Found", &format!("location: {back}\r\n"), &Value::Null)
    }

    /// Gives tokens for a code or for one of its own; each is good once.
    fn token(&mut self, issuer: &str, form: &BTreeMap<String, String>, signer: &Signer) -> Option<Vec<u8>> {
        let of = |name: &str| form.get(name).cloned().unwrap_or_default();
        let kind = of("grant_type");
        let by = if kind == "refresh_token" { of("refresh_token") } else { of("code") };
        let Some(grant) = self.grants.remove(&by) else {
            return refused(self, &format!("nothing is known of {by:?}"));
        };
        let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, of("code_verifier").as_bytes());
        let is_proven = kind == "refresh_token" || URL_SAFE_NO_PAD.encode(hash) == grant.challenge;
        let is_back = kind == "refresh_token" || of("redirect_uri") == grant.redirect;
        if !is_proven || !is_back || of("resource") != grant.resource {
            return refused(self, &format!("{kind}: {form:?}"));
        }
        let claims = json!({"iss": issuer, "aud": grant.resource, "sub": "ann", "scope": grant.scope,
                            "exp": now() + LIFE});
        let refresh = self.name("refresh");
        self.given.push((kind, grant.scope.clone()));
        let told = json!({"access_token": signer.sign(&claims), "token_type": "Bearer", "expires_in": LIFE,
                          "refresh_token": refresh, "scope": grant.scope});
        self.grants.insert(refresh, grant);
        answered("200 OK", "cache-control: no-store\r\n", &told)
    }
}

impl Authority {
    /// One that gives tokens for one resource.
    fn of(resource: &str) -> Self {
        let (signer, resource) = (Signer::new("ES256", "one"), resource.to_owned());
        let state = Arc::new(Mutex::new(State::default()));
        let own = state.clone();
        let upstream = Upstream::scripted(move |seen: &Seen| {
            let issuer = format!("http://{}", seen.header("host").unwrap_or_default());
            let (path, query) = seen.target().split_once('?').unwrap_or((seen.target(), ""));
            let mut state = own.lock().expect("not poisoned");
            match path {
                "/.well-known/oauth-authorization-server" => answered(
                    "200 OK",
                    "",
                    &json!({"issuer": issuer, "authorization_endpoint": format!("{issuer}/authorize"),
                        "token_endpoint": format!("{issuer}/token"), "registration_endpoint": format!("{issuer}/register"),
                        "response_types_supported": ["code"], "code_challenge_methods_supported": ["S256"],
                        "grant_types_supported": ["authorization_code", "refresh_token"],
                        "token_endpoint_auth_methods_supported": ["none"],
                        "authorization_response_iss_parameter_supported": true}),
                ),
                "/register" => {
                    let mut told: Value = serde_json::from_slice(&seen.body).expect("JSON");
                    told["client_id"] = json!("client-of-the-test");
                    told["token_endpoint_auth_method"] = json!("none");
                    answered("201 Created", "", &told)
                }
                "/authorize" => state.authorize(&issuer, &fields(query), &resource),
                "/token" => state.token(&issuer, &fields(&String::from_utf8_lossy(&seen.body)), &signer),
                "/jwks" => answered("200 OK", "", &serde_json::from_str(&jwks(&[&signer])).expect("JSON")),
                _ => answered("404 Not Found", "", &json!({})),
            }
        });
        Self { upstream, state }
    }
}

/// A gateway that wants tokens of an authority's, with these scopes, of which its metadata names one.
fn guarded(shop: &Server, scopes: &str) -> (Gateway, Authority) {
    let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let resource = format!("http://{address}/mcp");
    let authority = Authority::of(&resource);
    let issuer = format!("http://{}", authority.upstream.address);
    let more = format!(
        "      oauth: {{resource: \"{resource}\", authorizationServers: [\"{issuer}\"], scopes: [tools]}}\n"
    );
    let jwt = format!(
        "[{{jwt: {{issuer: \"{issuer}\", audiences: [\"{resource}\"], algorithms: [ES256], leeway: 0s, requiredScopes: [{scopes}], jwks: {{url: \"{issuer}/jwks\"}}}}}}]"
    );
    let text = config(&[("shop", shop.url(), "")], &more).replace("[{keyAuth: {header: x-api-key}}]", &jwt);
    let text = format!("listeners: [{{name: public, address: \"{address}\"}}]\n{text}");
    (Gateway::from_text(&text, address, |_| {}), authority)
}

/// A client that has no token calls a tool, waits until its token has ended, and calls it again. It asks for more scopes
/// when it has too few, if it can.
fn check(gets_more_scopes: bool, client: impl FnOnce(&str) -> std::process::Command) {
    let shop = Server::with(&["buy"]);
    let (gateway, authority) = guarded(&shop, if gets_more_scopes { "tools, orders" } else { "tools" });
    let report = report(&gateway, Peer::start(client(&format!("http://{}/mcp", gateway.address))));
    assert_eq!((&report["tools"], &report["first"]), (&json!(["shop_buy"]), &json!("buy")), "{report}");
    assert_eq!(report["later"], "buy", "{report}");
    let state = authority.state.lock().expect("not poisoned");
    assert!(state.refused.is_empty(), "{:?}", state.refused);
    let given: Vec<(&str, &str)> =
        state.given.iter().map(|(kind, scope)| (kind.as_str(), scope.as_str())).collect();
    let [first, rest @ ..] = given.as_slice() else { panic!("{given:?}") };
    let mut rest = rest;
    assert_eq!(*first, ("authorization_code", "tools"));
    if gets_more_scopes {
        let [second, more @ ..] = rest else { panic!("{given:?}") };
        assert_eq!(second.0, "authorization_code");
        for scope in ["tools", "orders"] {
            assert!(second.1.split(' ').any(|one| one == scope), "{given:?}");
        }
        rest = more;
    }
    assert!(!rest.is_empty() && rest.iter().all(|(kind, _)| *kind == "refresh_token"), "{given:?}");
    // None of the tokens went on.
    for seen in shop.upstream.seen() {
        assert_eq!(seen.header("authorization"), None, "{seen:?}");
    }
}

#[test]
fn pythons_client_finds_its_tokens_by_itself() {
    check(true, |url| python(include_str!("oauth.py"), &[url]));
}

#[test]
fn javascripts_client_finds_its_tokens_by_itself() {
    // It renews the token that it has in place of asking for more.
    check(false, |url| node("oauth", include_str!("oauth.mjs"), &[url, "@modelcontextprotocol/sdk"]));
}

#[test]
fn javascripts_newer_client_finds_its_tokens_by_itself() {
    check(true, |url| node("oauth-newer", include_str!("oauth.mjs"), &[url, "@modelcontextprotocol/client"]));
}
