//! ID tokens that are not what they say: a provider of the test's own gives them for a code, and nobody is signed in by them.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use aws_lc_rs::hmac;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use serde_json::{Value, json};

use super::{
    browser::{Browser, between},
    configuration, telling,
};
use crate::{
    harness::{Gateway, Upstream, free_port},
    policies::tokens::{Signer, jwks, now},
};

/// A provider with these keys, and the ID token that it gives for the next code.
fn provider(signers: &[&Signer]) -> (Upstream, Arc<Mutex<String>>) {
    let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let (own, keys) = (format!("http://{address}"), jwks(signers));
    let (given, gives) = {
        let given = Arc::new(Mutex::new(String::new()));
        (given.clone(), given)
    };
    let document = json!({
        "issuer": own,
        "authorization_endpoint": format!("{own}/auth"),
        "token_endpoint": format!("{own}/token"),
        "jwks_uri": format!("{own}/jwks"),
    })
    .to_string();
    let upstream = Upstream::on(address, move |seen| {
        let body = match seen.target() {
            "/.well-known/openid-configuration" => document.clone(),
            "/jwks" => keys.clone(),
            "/token" => {
                let token = gives.lock().expect("not poisoned").clone();
                json!({"access_token": "a", "token_type": "Bearer", "expires_in": 600, "id_token": token})
                    .to_string()
            }
            _ => return None,
        };
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        Some((head + &body).into_bytes())
    });
    (upstream, given)
}

/// What is between the dots of a token, of JSON.
fn part(value: &Value) -> String {
    BASE64.encode(value.to_string())
}

/// A token by a shared secret.
fn by_secret(secret: &[u8], claims: &Value) -> String {
    let input = format!("{}.{}", part(&json!({"alg": "HS256", "kid": "one"})), part(claims));
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), input.as_bytes());
    format!("{input}.{}", BASE64.encode(tag))
}

/// A token whose form is not what it has to be.
fn forged(form: &str, ec: &Signer, stranger: &Signer, claims: &Value) -> String {
    let whole = ec.sign(claims);
    let (unsigned, signature) = whole.rsplit_once('.').expect("three parts");
    let none = |head: Value| format!("{}.{}.", part(&head), part(claims));
    match form {
        "none" | "None" | "nOnE" | "" => none(json!({ "alg": form })),
        "no algorithm" => none(json!({})),
        // As OpenID Connect allows where a client's secret is known to nobody else.
        "the client's secret" => by_secret(b"a secret: of 100% & more", claims),
        "the published key as a secret" => by_secret(part(&ec.jwk()).as_bytes(), claims),
        "no secret" => by_secret(b"", claims),
        "a stranger of the same name" => stranger.sign(claims),
        "a stranger's key within" => stranger.sign_under(json!({"jwk": stranger.jwk()}), claims),
        "a key from elsewhere" => {
            stranger.sign_under(json!({"kid": "x", "jku": "http://127.0.0.1:1/"}), claims)
        }
        "the name of another key" => ec.sign_under(json!({"kid": "two"}), claims),
        "an unknown name" => ec.sign_under(json!({"kid": "three"}), claims),
        "an unknown extension" => ec.sign_under(json!({"kid": "one", "crit": ["x"], "x": 1}), claims),
        "no signature" => format!("{unsigned}."),
        "two parts" => unsigned.to_owned(),
        "four parts" => format!("{whole}.x"),
        "half a signature" => format!("{unsigned}.{}", &signature[..40]),
        "a signature of nothing" => format!("{unsigned}.{}", BASE64.encode([0; 64])),
        "other claims" => {
            let mut root = claims.clone();
            root["sub"] = json!("root");
            let head = unsigned.split('.').next().expect("a head");
            format!("{head}.{}.{signature}", part(&root))
        }
        "a list of claims" => ec.sign(&json!([claims])),
        "no token" => "no-token".to_owned(),
        _ => String::new(),
    }
}

const FORMS: [&str; 22] = [
    "none",
    "None",
    "nOnE",
    "",
    "no algorithm",
    "the client's secret",
    "the published key as a secret",
    "no secret",
    "a stranger of the same name",
    "a stranger's key within",
    "a key from elsewhere",
    "the name of another key",
    "an unknown name",
    "an unknown extension",
    "no signature",
    "two parts",
    "four parts",
    "half a signature",
    "a signature of nothing",
    "other claims",
    "a list of claims",
    "no token",
];

#[test]
fn nobody_is_signed_in_by_a_forged_id_token() {
    let (ec, rsa) = (Signer::new("ES256", "one"), Signer::new("RS256", "two"));
    let stranger = Signer::new("ES256", "one");
    let (provider, given) = provider(&[&ec, &rsa]);
    let (address, upstream) = (SocketAddr::from(([127, 0, 0, 1], free_port())), telling());
    let text = configuration(address, provider.address, &upstream, "", "");
    let gateway = Gateway::from_text(&text, address, |_| {});
    let url = |path: &str| format!("http://{address}{path}");
    let issuer = format!("http://{}", provider.address);
    // A sign-in at which a token is given that is made for its nonce: what the browser is told, and what it may do then.
    let sign_in = |make: &dyn Fn(&str) -> String| {
        let mut browser = Browser::default();
        let begun = browser.get(&url("/start"));
        let place = begun.header("location").unwrap_or_else(|| panic!("{}", begun.text()));
        let place = format!("{place}&");
        let of = |name: &str| between(&place, &format!("{name}="), "&").expect("a parameter");
        *given.lock().expect("not poisoned") = make(of("nonce"));
        let back = browser.get(&url(&format!("/oidc/callback?state={}&code=c", of("state"))));
        (back.status, browser.fetch(&url("/data")).status)
    };
    let claims = |nonce: &str, change: &Value| {
        let mut claims = json!({"iss": issuer, "aud": "shop", "sub": "ann", "nonce": nonce, "iat": now(), "exp": now() + 600});
        for (name, value) in change.as_object().expect("claims") {
            match value {
                Value::Null => drop(claims.as_object_mut().expect("an object").remove(name)),
                value => claims[name] = value.clone(),
            }
        }
        claims
    };
    let unchanged = json!({});
    for signer in [&ec, &rsa] {
        let good = sign_in(&|nonce| signer.sign(&claims(nonce, &unchanged)));
        assert_eq!(good, (303, 200), "{}", gateway.stdout());
    }
    let mut wrong = Vec::new();
    for form in FORMS {
        let told = sign_in(&|nonce| forged(form, &ec, &stranger, &claims(nonce, &unchanged)));
        if told != (403, 401) {
            wrong.push(format!("{form}: {told:?}"));
        }
    }
    for change in [
        json!({"iss": "http://127.0.0.1:1"}),
        json!({"iss": null}),
        json!({"aud": "bank"}),
        json!({"aud": ["shop", "bank"]}),
        json!({"aud": null}),
        json!({"azp": "bank"}),
        json!({"exp": now() - 3600}),
        json!({"exp": null}),
        json!({"exp": "9999999999"}),
        json!({"nbf": now() + 3600}),
        json!({"iat": null}),
        json!({"iat": now() + 3600}),
        json!({"sub": null}),
        json!({"sub": ""}),
        json!({"sub": 7}),
        json!({"nonce": null}),
        json!({"nonce": "another"}),
        json!({"nonce": ["another"]}),
    ] {
        let told = sign_in(&|nonce| ec.sign(&claims(nonce, &change)));
        if told != (403, 401) {
            wrong.push(format!("{change}: {told:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(upstream.seen().len(), 2, "those of the good ones alone");
}
