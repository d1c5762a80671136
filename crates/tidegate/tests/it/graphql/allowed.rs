//! Who may ask for which fields, by what a verified token says.

use serde_json::{Value, json};

use super::*;
use crate::policies::tokens::{Signer, claims, jwks};

#[test]
fn scopes_and_claims_of_a_token_let_in() {
    let shop = Shop::start();
    let signer = Signer::new("ES256", "one");
    let keys = shop.file("jwks.json", &jwks(&[&signer]));
    let gateway = shop.behind(&format!(
        "{{jwt: {{issuer: https://id.example.test, audiences: [shop], algorithms: [ES256], jwks: {{file: \"{keys}\"}}}}}},
         {{graphql: {{schema: \"{}\", fields: [
           {{of: [User.email], scopes: [mail, read]}},
           {{of: [User.name], claims: {{realm_access.roles: [admin, boss]}}}},
           {{of: [Book.title], claims: {{tier: [gold], level: [\"3\"]}}}}]}}}}",
        shop.schema()
    ));
    let asked = |change: &Value, text: &str| {
        let token = signer.sign(&claims(|claims| {
            for (name, value) in change.as_object().expect("claims") {
                claims[name] = value.clone();
            }
        }));
        let headers = format!("content-type: application/json\nauthorization: Bearer {token}");
        post_with(&gateway, &headers, &json!({ "query": text }).to_string())
    };
    let (email, name, title) = ("{ me { email } }", "{ me { name } }", "{ book(id: 1) { title } }");
    for (change, text, is_let_in) in [
        (json!({}), "{ me { id } }", true),
        (json!({"scope": "mail read"}), email, true),
        (json!({"scope": "read other mail"}), email, true),
        (json!({"scp": ["read", "mail"]}), email, true),
        (json!({"scope": "mail", "scp": ["read"]}), email, true),
        (json!({}), email, false),
        (json!({"scope": "mail"}), email, false),
        (json!({"scope": "mailread"}), email, false),
        (json!({"scope": "mail reading"}), email, false),
        (json!({"scp": ["mail read"]}), email, false),
        (json!({"scope": ["mail", 1]}), email, false),
        (json!({"scope": {"mail": true, "read": true}}), email, false),
        (json!({"realm_access": {"roles": ["user", "boss"]}}), name, true),
        (json!({"realm_access": {"roles": "admin"}}), name, true),
        (json!({"realm_access": {"roles": ["user"]}}), name, false),
        (json!({"realm_access": {"roles": []}}), name, false),
        (json!({"realm_access": {"roles": ["administrator"]}}), name, false),
        (json!({"realm_access": {"roles": [["admin"]]}}), name, false),
        (json!({"realm_access": "admin"}), name, false),
        (json!({"roles": ["admin"]}), name, false),
        (json!({"tier": "gold", "level": 3}), title, true),
        (json!({"tier": ["silver", "gold"], "level": "3"}), title, true),
        (json!({"tier": "gold"}), title, false),
        (json!({"tier": "gold", "level": 4}), title, false),
        (json!({"tier": null, "level": 3}), title, false),
        // Each rule that is touched, and all of it.
        (json!({"scope": "mail read"}), "{ me { email name } }", false),
        (json!({"scope": "mail read", "realm_access": {"roles": "boss"}}), "{ me { email name } }", true),
    ] {
        let answer = asked(&change, text);
        match is_let_in {
            true => assert!(answer.status == 200 && answer.json()["data"].is_object(), "{change} {text}"),
            false => {
                assert_eq!((answer.status, code(&answer).as_str()), (403, "FORBIDDEN"), "{change} {text}")
            }
        }
    }
}
