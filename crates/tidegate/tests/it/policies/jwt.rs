//! `jwt`: whom a good token lets in, and what of it goes on. Forged tokens are in `attacks::jwt`.

use serde_json::json;

use super::{
    super::harness::{Gateway, Upstream, eventually, free_port},
    ask, last,
    tokens::{Signer, claims, jwks, now},
};

const BASE: &str =
    "issuer: https://id.example.test, audiences: [shop], algorithms: [ES256], jwks: {file: jwks.json}";

/// A gateway that trusts one key, under a `jwt` policy with further settings, and an upstream behind it.
fn setup(settings: &str, more: &str, rest: &str) -> (Gateway, Upstream, Signer) {
    let (upstream, signer) = (Upstream::echo(), Signer::new("ES256", "one"));
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("jwks.json"), jwks(&[&signer])).expect("a file");
    let port = free_port();
    let text = format!(
        "listeners: [{{name: public, address: \"127.0.0.1:{port}\"}}]
accessLog: [{{kind: stdout}}]
upstreams: [{{name: u, endpoints: [{{address: \"{}\"}}]}}]
{rest}routes:
  - {{name: r, match: [{{path: {{prefix: /}}}}], policies: [{{jwt: {{{settings}}}}}{more}], backends: [{{upstream: u}}]}}\n",
        upstream.address
    );
    let gateway = Gateway::in_folder(folder, &text, ([127, 0, 0, 1], port).into(), |_| {});
    (gateway, upstream, signer)
}

fn bearer(token: &str) -> String {
    format!("\nauthorization: Bearer {token}")
}

#[test]
fn a_token_in_the_query_is_not_in_the_access_log() {
    let (gateway, _upstream, signer) = setup(&format!("{BASE}, source: {{query: jot}}"), "", "");
    let token = signer.sign(&claims(|_| {}));
    assert_eq!(ask(&gateway, &format!("/?jot={token}&a=1"), "").status, 200);
    assert_eq!(ask(&gateway, &format!("/?%6Aot={token}"), "").status, 200);
    gateway.records(2);
    assert!(!gateway.stdout().contains(&token), "{}", gateway.stdout());
}

#[test]
fn a_token_goes_on_to_the_upstream_unless_it_is_to_be_hidden() {
    for (settings, goes_on) in [(BASE.to_owned(), true), (format!("{BASE}, hideCredentials: true"), false)] {
        let (gateway, upstream, signer) = setup(&settings, "", "");
        assert_eq!(ask(&gateway, "/", &bearer(&signer.sign(&claims(|_| {})))).status, 200);
        assert_eq!(last(&upstream).header("authorization").is_some(), goes_on, "{settings}");
    }
}

#[test]
fn bad_tokens_lock_out_nobody_else_though_all_begin_alike() {
    let lockout = ", {lockout: {by: [address, key], maxFailures: 2, maxFailuresPerAddress: 5}}";
    let (gateway, _upstream, signer) = setup(BASE, lockout, "trustedProxies: [127.0.0.0/8]\n");
    let from = |address: &str, token: &str| {
        ask(&gateway, "/", &format!("{}\nx-forwarded-for: {address}", bearer(token))).status
    };
    let (good, bad) = (signer.sign(&claims(|_| {})), Signer::new("ES256", "one").sign(&claims(|_| {})));
    assert_eq!([0; 3].map(|_| from("192.0.2.1", &bad)), [401; 3]);
    assert_eq!(from("192.0.2.2", &good), 200, "somebody else's token");
    assert_eq!([0; 3].map(|_| from("192.0.2.1", &bad)), [401, 401, 429], "the address is counted");
}

#[test]
fn people_whom_their_tokens_tell_apart_have_idempotency_keys_of_their_own() {
    // Both come from one address, and are nobody's consumer.
    let (gateway, _upstream, signer) = setup(BASE, ", {idempotency: {}}", "");
    let replayed = |who: &str| {
        let token = signer.sign(&claims(|claims| claims["sub"] = json!(who)));
        let head = format!(
            "POST /pay HTTP/1.1\nhost: a.test\ncontent-length: 3\nidempotency-key: order-1{}",
            bearer(&token)
        );
        let answer = gateway.send(&head, b"a=1");
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.header("idempotency-replayed").is_some()
    };
    assert_eq!(["ann", "bob", "ann", "bob"].map(replayed), [false, false, true, true]);
}

#[test]
fn times_are_judged_with_the_leeway_that_is_set() {
    let (gateway, _upstream, signer) = setup(&format!("{BASE}, leeway: 30s"), "", "");
    for (change, status) in [
        (json!({"exp": now() - 10}), 200),
        (json!({"exp": now() - 40}), 401),
        (json!({"nbf": now() + 10}), 200),
        (json!({"nbf": now() + 120}), 401),
        (json!({"exp": null}), 401),
        (json!({"exp": "soon"}), 401),
    ] {
        let token = signer.sign(&claims(|claims| {
            for (name, value) in change.as_object().expect("claims") {
                claims[name] = value.clone();
            }
        }));
        let answer = ask(&gateway, "/", &bearer(&token));
        assert_eq!(answer.status, status, "{change}");
        if status == 401 {
            assert_eq!(answer.header("www-authenticate"), Some("Bearer error=\"invalid_token\""));
        }
    }
}

#[test]
fn a_token_that_was_good_is_judged_anew_each_time() {
    let (gateway, _upstream, signer) = setup(&format!("{BASE}, leeway: 0s"), "", "");
    let ends = now() + 2;
    let good = signer.sign(&claims(|claims| claims["exp"] = json!(ends)));
    for _ in 0..3 {
        assert_eq!(ask(&gateway, "/", &bearer(&good)).status, 200);
    }
    // Neither another signature of what was signed, nor the signature of something else.
    let (message, signature) = good.rsplit_once('.').expect("three parts");
    let other = signer.sign(&claims(|claims| claims["sub"] = json!("somebody-else")));
    let (other_message, other_signature) = other.rsplit_once('.').expect("three parts");
    for (message, signature) in [(message, other_signature), (other_message, signature)] {
        assert_eq!(ask(&gateway, "/", &bearer(&format!("{message}.{signature}"))).status, 401);
    }
    assert_eq!(ask(&gateway, "/", &bearer(&good)).status, 200);
    eventually("its end", || ask(&gateway, "/", &bearer(&good)).status == 401);
    assert!(now() >= ends);
}

#[test]
fn required_claims_must_be_there_and_equal() {
    let rules = "requiredClaims: {tier: gold, 'org.id': 7, email: null, roles: admin}";
    let (gateway, _upstream, signer) = setup(&format!("{BASE}, {rules}"), "", "");
    let good = json!({"tier": "gold", "org": {"id": 7}, "email": "a@b", "roles": ["user", "admin"]});
    let status = |change: &dyn Fn(&mut serde_json::Value)| {
        let mut own = good.clone();
        change(&mut own);
        let token = signer.sign(&claims(|claims| {
            for (name, value) in own.as_object().expect("claims") {
                claims[name] = value.clone();
            }
        }));
        ask(&gateway, "/", &bearer(&token)).status
    };
    assert_eq!(status(&|_| {}), 200);
    assert_eq!(status(&|own| own["tier"] = json!("silver")), 401);
    assert_eq!(status(&|own| own["org"] = json!({"id": "7"})), 401);
    assert_eq!(status(&|own| own["email"] = json!(null)), 401);
    assert_eq!(status(&|own| own["roles"] = json!(["user"])), 401);
}

#[test]
fn a_missing_scope_is_403_and_says_which_are_needed() {
    let (gateway, _upstream, signer) = setup(&format!("{BASE}, requiredScopes: [orders, write]"), "", "");
    for (scopes, status) in [
        (json!({"scope": "write orders"}), 200),
        (json!({"scope": null, "scp": ["orders", "write"]}), 200),
        (json!({"scope": "orders"}), 403),
        (json!({"scope": "orders writes"}), 403),
        (json!({"scope": null}), 403),
    ] {
        let token = signer.sign(&claims(|claims| {
            for (name, value) in scopes.as_object().expect("claims") {
                claims[name] = value.clone();
            }
        }));
        let answer = ask(&gateway, "/", &bearer(&token));
        assert_eq!(answer.status, status, "{scopes}");
        if status == 403 {
            let challenge = "Bearer error=\"insufficient_scope\", scope=\"orders write\"";
            assert_eq!(answer.header("www-authenticate"), Some(challenge));
        }
    }
}

#[test]
fn a_token_is_looked_for_where_it_is_said_to_be_and_hidden_there() {
    for (source, good, bad) in [
        ("{header: x-token}", ("/", "\nx-token: TOKEN"), ("/", "\nauthorization: Bearer TOKEN")),
        ("{cookie: session}", ("/", "\ncookie: a=1; session=TOKEN"), ("/?session=TOKEN", "")),
        ("{query: token}", ("/?token=TOKEN&b=2", ""), ("/", "\ntoken: TOKEN")),
    ] {
        let (gateway, upstream, signer) =
            setup(&format!("{BASE}, source: {source}, hideCredentials: true"), "", "");
        let token = signer.sign(&claims(|_| {}));
        let send = |(target, headers): (&str, &str)| {
            ask(&gateway, &target.replace("TOKEN", &token), &headers.replace("TOKEN", &token)).status
        };
        assert_eq!((send(bad), send(good)), (401, 200), "{source}");
        assert!(!format!("{:?}", last(&upstream)).contains(&token), "{source}");
        assert_eq!(upstream.seen().len(), 1);
    }
    let (gateway, upstream, signer) = setup(BASE, "", "");
    assert_eq!(ask(&gateway, "/", &bearer(&signer.sign(&claims(|_| {})))).status, 200);
    assert!(last(&upstream).header("authorization").is_some(), "it goes on where nobody hides it");
}

#[test]
fn claims_go_on_as_headers_and_no_client_can_set_them() {
    let settings =
        format!("{BASE}, anonymous: nobody, claimsToHeaders: {{x-user: sub, x-org: org.id, x-roles: roles}}");
    let (gateway, upstream, signer) = setup(&settings, "", "consumers: [{name: nobody}]\n");
    let token = signer.sign(&claims(|claims| {
        claims["org"] = json!({"id": 7});
        claims["roles"] = json!(["a", "b"]);
    }));
    let spoofed = "\nx-user: root\nx-org: 1\nx-roles: admin";
    assert_eq!(ask(&gateway, "/", &format!("{}{spoofed}", bearer(&token))).status, 200);
    let seen = last(&upstream);
    assert_eq!((seen.header("x-user"), seen.header("x-org")), (Some("ann"), Some("7")));
    let bare = signer.sign(&claims(|_| {}));
    assert_eq!(ask(&gateway, "/", &format!("{}{spoofed}", bearer(&bare))).status, 200);
    assert_eq!((last(&upstream).header("x-user"), last(&upstream).header("x-org")), (Some("ann"), None));
    assert_eq!(ask(&gateway, "/", spoofed).status, 200, "nobody is a consumer here");
    for name in ["x-user", "x-org", "x-roles"] {
        assert_eq!(last(&upstream).header(name), None, "an identity header stays absent: {name}");
    }
    assert_eq!(ask(&gateway, "/", &bearer("not.a.token")).status, 401, "a bad token is nobody");
}

#[test]
fn a_token_is_the_consumer_that_its_claims_say() {
    let consumers = "consumers:
  - {name: by-sub, jwt: [{issuer: 'https://id.example.test', value: ann}]}
  - {name: by-client, jwt: [{claim: client.id, value: web}]}
  - {name: elsewhere, jwt: [{issuer: 'https://other.test', value: bob}]}
";
    let more = ", {headers: {request: {set: {x-who: '{{ consumer.name }}'}}}}";
    let (gateway, upstream, signer) = setup(&format!("{BASE}, consumerClaim: team"), more, consumers);
    let who = |sub: &str, client: Option<&str>, team: Option<&str>| {
        let token = signer.sign(&claims(|claims| {
            claims["sub"] = json!(sub);
            claims["client"] = json!({"id": client});
            claims["team"] = json!(team);
        }));
        match ask(&gateway, "/", &bearer(&token)).status {
            200 => last(&upstream).header("x-who").unwrap_or_default().to_owned(),
            status => status.to_string(),
        }
    };
    assert_eq!(who("ann", None, None), "by-sub");
    assert_eq!(who("cat", Some("web"), None), "by-client");
    assert_eq!(who("cat", None, Some("elsewhere")), "elsewhere", "by the claim that names consumers");
    assert_eq!(who("bob", None, None), "401", "that issuer's bob is another one");
    assert_eq!(who("cat", None, Some("nobody")), "401");
    super::logged(&gateway, "by-sub");
}
