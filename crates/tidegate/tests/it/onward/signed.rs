//! `signRequests`: what upstreams are sent is judged by other hands' libraries.

use std::{
    process::Command,
    sync::atomic::{AtomicUsize, Ordering},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use super::telling;
use crate::harness::{
    Answer, Gateway, Peer, Seen, Upstream, free_port, identity_provider, peers_folder, python, run_with,
};

const SECRET: &str = "a shared secret of the tests";

fn told(command: Command) -> String {
    let (is_good, told) = Peer::start(command).finish();
    assert!(is_good, "the judge fails: {told}");
    told
}

/// A gateway in a folder with the judge's keys.
fn with_keys(text: impl FnOnce(u16) -> String) -> Gateway {
    let folder = tempfile::tempdir().expect("a folder");
    told(identity_provider(include_str!("judge.mjs"), &["keys", &folder.path().display().to_string()]));
    let port = free_port();
    Gateway::in_folder(folder, &text(port), ([127, 0, 0, 1], port).into(), |_| {})
}

/// A gateway with a route for each policy, `/0`, `/1` and so on, to one upstream.
fn with_routes(upstream: &Upstream, policies: &[&str]) -> Gateway {
    let routes: String = policies
        .iter()
        .enumerate()
        .map(|(at, policy)| {
            format!(
                "  - {{name: r{at}, match: [{{path: {{prefix: /{at}}}}}], policies: [{{signRequests: {{{policy}}}}}], backends: [{{upstream: u}}]}}\n"
            )
        })
        .collect();
    with_keys(|port| {
        format!(
            "accessLog: [{{kind: stdout}}]
listeners: [{{name: public, address: \"127.0.0.1:{port}\"}}]
upstreams: [{{name: u, endpoints: [{{address: \"{}\"}}]}}]
routes:
{routes}",
            upstream.address
        )
    })
}

fn post(gateway: &Gateway, target: &str, headers: &str, body: &str) -> Answer {
    let length = body.len();
    gateway.send(
        &format!("POST {target} HTTP/1.1\nhost: a.example{headers}\ncontent-length: {length}"),
        body.as_bytes(),
    )
}

/// A request as the judge wants it, with what it is judged by.
fn job(seen: &Seen, with: Value) -> Value {
    let mut headers = serde_json::Map::new();
    for (name, value) in &seen.headers {
        let name = name.to_lowercase();
        let joined = match headers.get(&name).and_then(Value::as_str) {
            Some(before) => format!("{before}, {value}"),
            None => value.clone(),
        };
        headers.insert(name, joined.into());
    }
    let host = seen.header("host").expect("a host");
    let mut job = json!({
        "method": seen.line.split(' ').next(), "url": format!("http://{host}{}", seen.target()),
        "headers": headers, "body": STANDARD.encode(&seen.body),
    });
    for (key, value) in with.as_object().expect("an object") {
        job[key] = value.clone();
    }
    job
}

fn judged(gateway: &Gateway, jobs: &[Value]) -> Vec<Value> {
    let folder = gateway.folder.path().display().to_string();
    let jobs = Value::from(jobs.to_vec()).to_string();
    let told = told(identity_provider(include_str!("judge.mjs"), &["judge", &folder, &jobs]));
    serde_json::from_str(&told).expect("JSON")
}

#[test]
fn message_signatures_of_every_kind_of_key_are_good_to_another_library() {
    let upstream = telling();
    let of = |name: &str, algorithm: &str| {
        format!("key: {{algorithm: {algorithm}, secret: {{file: {name}.pem}}}}")
    };
    let kinds = [
        ("ed", "ed25519"),
        ("ec", "ecdsa-p256-sha256"),
        ("wide", "ecdsa-p384-sha384"),
        ("pss", "rsa-pss-sha512"),
        ("rsa", "rsa-v1_5-sha256"),
    ];
    let mut policies: Vec<String> = kinds.iter().map(|(name, algorithm)| of(name, algorithm)).collect();
    policies.push(format!(
        "key: {{id: 'shared \"one\"', algorithm: hmac-sha256, secret: '{SECRET}'}}, digest: sha-512, label: mine, tag: orders, \
         expires: 1m, nonce: true, components: ['@target-uri', '@scheme', '@request-target', '@method', x-a, x-gone, content-digest]"
    ));
    let policies: Vec<&str> = policies.iter().map(String::as_str).collect();
    let gateway = with_routes(&upstream, &policies);
    let fields = json!(["@method", "@authority", "@path", "@query", "content-digest"]);
    let mut jobs = Vec::new();
    for at in 0..policies.len() {
        let forged =
            "\nsignature: sig1=:aGk=:\nsignature-input: sig1=(\"@method\");created=1\nx-a: one\nx-a: two";
        let answer = post(&gateway, &format!("/{at}/p?a=b%20c&d"), forged, "the body");
        assert_eq!(answer.status, 200, "{}", answer.text());
        let seen = upstream.seen().pop().expect("a request");
        assert_eq!(seen.body, b"the body");
        let lines =
            |name: &str| seen.headers.iter().filter(|(known, _)| known.eq_ignore_ascii_case(name)).count();
        assert_eq!((lines("signature"), lines("signature-input")), (1, 1), "nothing of the client's is left");
        let by = match kinds.get(at) {
            Some((name, _)) => json!({"key": name, "fields": fields, "params": ["created", "keyid", "alg"]}),
            None => json!({
                "secret": SECRET, "id": "shared \"one\"", "params": ["created", "expires", "nonce", "keyid", "alg", "tag"],
                "fields": ["@target-uri", "@scheme", "@request-target", "@method", "x-a", "content-digest"],
            }),
        };
        jobs.push(job(&seen, by));
    }
    let input = jobs[5]["headers"]["signature-input"].as_str().expect("text").to_owned();
    assert!(input.starts_with("mine=(\"@target-uri\" \"@scheme\" \"@request-target\" \"@method\" \"x-a\" \"content-digest\");created="), "{input}");
    assert!(jobs[5]["headers"]["content-digest"].as_str().is_some_and(|told| told.starts_with("sha-512=:")));
    // What was changed on the way is not good.
    let changed = [
        ("/0/q", "url", json!(jobs[0]["url"].as_str().expect("text").replace("/p?", "/q?"))),
        ("the body", "body", json!(STANDARD.encode("another"))),
        ("the method", "method", json!("PUT")),
    ];
    for (_, key, value) in &changed {
        let mut job = jobs[0].clone();
        job[*key] = value.clone();
        jobs.push(job);
    }
    let mut another = jobs[5].clone();
    another["headers"]["x-a"] = "one, three".into();
    jobs.push(another);
    let all = judged(&gateway, &jobs);
    assert_eq!(all[..6], vec![Value::Bool(true); 6], "{all:?}");
    assert!(all[6..].iter().all(|one| *one != Value::Bool(true)), "{all:?}");
    let count = |outcome: &str| {
        gateway.metric(&format!(
            "tidegate_sign_requests_total{{policy=\"routes/r0/signRequests\",outcome=\"{outcome}\"}}"
        ))
    };
    assert_eq!((count("signed"), count("failed")), (Some(1.0), Some(0.0)));
    let record = gateway.record("the shared key's", |record| record["onward"][0]["key"] == "shared \"one\"");
    assert_eq!(record["onward"][0]["policy"], "signRequests");
    assert!(!gateway.stdout().contains(SECRET) && !gateway.stderr().contains(SECRET));
}

#[test]
fn a_signature_is_of_the_request_as_it_goes_out_and_anew_for_each_try() {
    let count = AtomicUsize::new(0);
    let upstream = Upstream::scripted(move |_| {
        let status = if count.fetch_add(1, Ordering::Relaxed) == 0 { "503 No" } else { "200 OK" };
        Some(format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n").into_bytes())
    });
    let other = telling();
    let covered =
        "['@method', '@target-uri', x-late, x-upstream, x-token, traceparent, content-type, content-digest]";
    let gateway = with_keys(|port| {
        format!(
            "accessLog: [{{kind: stdout}}]
listeners: [{{name: public, address: \"127.0.0.1:{port}\"}}]
consumers: [{{name: app, keys: [app-key-of-the-test]}}]
tokenIssuers: [{{name: own, issuer: https://own.test, keys: [{{key: {{file: ec.pem}}}}]}}]
upstreams:
  - name: u
    endpoints: [{{address: \"{}\"}}]
    retry: {{maxAttempts: 3, on: [\"503\"]}}
    policies:
      - signRequests: {{label: of-upstream, key: {{id: b, algorithm: hmac-sha256, secret: 'another {SECRET}'}}, components: ['@path', x-upstream]}}
      - headers: {{request: {{set: {{x-upstream: \"2\"}}}}}}
  - {{name: other, endpoints: [{{address: \"{}\"}}]}}
routes:
  - name: r
    match: [{{path: {{prefix: /a}}}}]
    policies:
      - signRequests: {{nonce: true, key: {{id: a, algorithm: ed25519, secret: {{file: ed.pem}}}}, components: {covered}}}
      - keyAuth: {{}}
      - internalJwt: {{issuer: own, header: x-token}}
      - headers: {{request: {{set: {{x-late: \"1\"}}}}}}
      - rewrite: {{path: {{replacePrefix: /b}}}}
      - transform: {{request: {{body: [{{jq: '.n + 1'}}]}}}}
      - mirror: {{upstream: other}}
    backends: [{{upstream: u}}]
",
            upstream.address, other.address
        )
    });
    let headers = "\nx-api-key: app-key-of-the-test\ncontent-type: application/json\nidempotency-key: k";
    let answer = post(&gateway, "/a/x?y=z", headers, "{\"n\": 41}");
    assert_eq!(answer.status, 200, "{}", gateway.stdout());
    let seen = upstream.seen();
    assert_eq!(seen.len(), 2, "it was tried again");
    let fields =
        ["@method", "@target-uri", "x-late", "x-upstream", "x-token", "traceparent", "content-digest"];
    let mut jobs = Vec::new();
    for one in &seen {
        assert_eq!((one.body.as_slice(), one.target()), (&b"42"[..], "/b/x?y=z"));
        jobs.push(job(one, json!({"key": "ed", "id": "a", "fields": fields, "params": ["nonce"]})));
        let by = json!({"secret": format!("another {SECRET}"), "id": "b", "fields": ["@path", "x-upstream"]});
        jobs.push(job(one, by));
    }
    assert_eq!(judged(&gateway, &jobs), vec![Value::Bool(true); 4], "{seen:?}");
    assert_ne!(jobs[0]["headers"]["signature-input"], jobs[2]["headers"]["signature-input"]);
    crate::harness::eventually("the copy is there", || !other.seen().is_empty());
    let copy = other.seen().pop().expect("a copy");
    assert_eq!((copy.header("signature"), copy.header("signature-input")), (None, None), "{copy:?}");
    assert_eq!(copy.header("x-token"), None, "what is for another upstream is for no other");
    assert_eq!(copy.header("x-late"), Some("1"));
}

#[test]
fn requests_to_aws_are_signed_as_botocore_signs_them_and_ask_for_nothing_in_the_gateways_name() {
    let upstream = telling();
    let key = "credentials: {accessKeyId: AKIDEXAMPLE, secretAccessKey: the/secret+key";
    let policies = [
        format!("style: awsSigV4, aws: {{region: eu-central-1, service: execute-api, {key}}}}}"),
        format!(
            "style: awsSigV4, aws: {{region: eu-central-1, service: s3, headers: [x-amz-meta-*], {key}, sessionToken: a+session/token==}}}}"
        ),
        format!(
            "style: awsSigV4, maxBodySize: 10B, aws: {{region: eu-central-1, service: s3, unsignedPayload: large, {key}}}}}"
        ),
        format!(
            "style: awsSigV4, aws: {{region: eu-central-1, service: s3, unsignedPayload: always, {key}}}}}"
        ),
    ];
    let policies: Vec<&str> = policies.iter().map(String::as_str).collect();
    let gateway = with_routes(&upstream, &policies);
    let forged = "\nauthorization: Bearer the-clients\nx-amz-date: 20200101T000000Z\nx-amz-security-token: forged\nx-amz-acl: public-read\nx-amz-copy-source: /others/secrets\nx-amz-meta-a:  one   two\ncontent-type: text/plain";
    let mut asked = Vec::new();
    for (at, target, body, is_unsigned) in [
        (0, "/0/a%20b/c/?b=2%20x&a=1&a=0~", "the body", false),
        (0, "/0", "", false),
        (1, "/1/a%20b/c%2Bd(1)?list-type=2", "the body", false),
        (2, "/2/small", "small", false),
        (2, "/2/large", "more than ten bytes", true),
        (3, "/3/any", "small", true),
    ] {
        let answer = post(&gateway, target, forged, body);
        assert_eq!(answer.status, 200, "{target}: {}", answer.text());
        let seen = upstream.seen().pop().expect("a request");
        assert_eq!((seen.target(), seen.body.as_slice()), (target, body.as_bytes()));
        let whole = format!("{seen:?}");
        for gone in ["the-clients", "20200101T000000Z", "forged", "x-amz-acl", "x-amz-copy-source"] {
            assert!(!whole.contains(gone), "{gone}: {whole}");
        }
        assert_eq!(seen.header("x-amz-meta-a").is_some(), at == 1, "{whole}");
        let token = (at == 1).then_some("a+session/token==");
        assert_eq!(seen.header("x-amz-security-token"), token);
        let digest = seen.header("x-amz-content-sha256");
        assert_eq!(digest == Some("UNSIGNED-PAYLOAD"), is_unsigned, "{target}");
        assert_eq!(digest.is_some(), at > 0);
        let service = if at == 0 { "execute-api" } else { "s3" };
        let by = json!({
            "region": "eu-central-1", "service": service, "id": "AKIDEXAMPLE", "secret": "the/secret+key", "token": token,
            "unsigned": is_unsigned,
        });
        let mut asks = job(&seen, by);
        // botocore takes addresses whose paths are encoded as it encodes them.
        let url = asks["url"].as_str().expect("text").replace('(', "%28").replace(')', "%29");
        asks["url"] = url.into();
        asked.push((json!({"aws": asks}), seen));
    }
    let texts: Vec<String> = asked.iter().map(|(asks, _)| asks.to_string()).collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let output = told(python(include_str!("../ai/signing.py"), &texts));
    assert_eq!(output.lines().count(), asked.len(), "{output}");
    for (line, (_, seen)) in output.lines().zip(&asked) {
        let judged: Value = serde_json::from_str(line).expect("JSON");
        assert_eq!(judged["authorization"].as_str(), seen.header("authorization"), "{}", seen.line);
        assert_eq!(judged["digest"].as_str(), seen.header("x-amz-content-sha256"), "{}", seen.line);
    }
    let unsigned = gateway
        .metric("tidegate_sign_requests_total{policy=\"routes/r2/signRequests\",outcome=\"unsigned\"}");
    assert_eq!(unsigned, Some(1.0));
    assert!(!gateway.stdout().contains("the/secret+key"));
}

#[test]
fn webhooks_are_good_to_the_vendors_own_libraries() {
    let upstream = telling();
    let policies = [
        format!("style: github, secrets: ['{SECRET}']"),
        format!("style: stripe, secrets: ['a new secret', '{SECRET}']"),
        format!("style: slack, secrets: ['{SECRET}']"),
    ];
    let policies: Vec<&str> = policies.iter().map(String::as_str).collect();
    let gateway = with_routes(&upstream, &policies);
    let body = r#"{"id": "evt_1", "object": "event", "event": "paid ✓"}"#;
    let forged = "\nx-hub-signature-256: sha256=00\nstripe-signature: t=1,v1=00\nx-slack-signature: v0=00\nx-slack-request-timestamp: 1";
    let mut seen = Vec::new();
    for at in 0..3 {
        assert_eq!(post(&gateway, &format!("/{at}"), forged, body).status, 200);
        seen.push(upstream.seen().pop().expect("a request"));
    }
    let by = |style: &str, secret: &str| json!({"style": style, "secret": secret});
    let mut other = seen[0].clone();
    other.body = b"{}".to_vec();
    let jobs = [
        job(&seen[0], by("github", SECRET)),
        job(&seen[1], by("stripe", SECRET)),
        job(&seen[1], by("stripe", "a new secret")),
        job(&seen[0], by("github", "wrong")),
        job(&other, by("github", SECRET)),
        job(&seen[1], by("stripe", "wrong")),
    ];
    let all = judged(&gateway, &jobs);
    assert_eq!(all[..3], vec![Value::Bool(true); 3], "{all:?}");
    assert!(all[3..].iter().all(|one| *one != Value::Bool(true)), "{all:?}");
    let script = "
import sys
from slack_sdk.signature import SignatureVerifier
secret, stamp, signature, body = sys.argv[1:]
print(SignatureVerifier(secret).is_valid(body=body, timestamp=stamp, signature=signature))
";
    let slack = |body: &str| {
        let header = |name: &str| seen[2].header(name).expect("a header").to_owned();
        let mut command = Command::new(peers_folder().join("webhooks/bin/python"));
        let stamp = header("x-slack-request-timestamp");
        command.args(["-c", script, SECRET, &stamp, &header("x-slack-signature"), body]);
        told(command).trim().to_owned()
    };
    assert_eq!((slack(body).as_str(), slack("{}").as_str()), ("True", "False"));
}

#[test]
fn a_body_over_the_bound_is_refused_and_one_that_is_not_covered_flows() {
    let upstream = telling();
    let key = format!("key: {{id: a, algorithm: hmac-sha256, secret: '{SECRET}'}}, maxBodySize: 1KiB");
    let policies = [
        key.clone(),
        format!("{key}, components: ['@path']"),
        format!("style: github, maxBodySize: 1KiB, secrets: ['{SECRET}']"),
    ];
    let policies: Vec<&str> = policies.iter().map(String::as_str).collect();
    let gateway = with_routes(&upstream, &policies);
    let large = "x".repeat(1025);
    let large = large.as_str();
    for (at, body, want) in [(0, &large[1..], 200), (0, large, 413), (1, large, 200), (2, large, 413)] {
        let answer = post(&gateway, &format!("/{at}"), "", body);
        assert_eq!(answer.status, want, "{at} {}", body.len());
        if want == 413 {
            assert_eq!(answer.problem().as_deref(), Some("body-too-large"));
            assert!(answer.text().contains("signed has 1024 bytes at most"), "{}", answer.text());
        }
    }
    assert_eq!(upstream.seen().len(), 2);
    let chunked = "POST /0 HTTP/1.1\nhost: a.example\ntransfer-encoding: chunked";
    assert_eq!(
        gateway.send(chunked, b"3\r\nabc\r\n0\r\n\r\n").status,
        200,
        "a length that nobody knew before"
    );
    assert_eq!(upstream.seen().pop().expect("a request").body, b"abc");
    let count = gateway
        .metric("tidegate_sign_requests_total{policy=\"routes/r0/signRequests\",outcome=\"too-large\"}");
    assert_eq!(count, Some(1.0));
}

#[test]
fn settings_that_say_nothing_or_too_much_are_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = folder.path().join("tidegate.yaml");
    for (settings, want) in [
        ("{}", "expected what signs under `key`"),
        ("{key: {algorithm: hmac-sha256, secret: {env: A}}}", "needs an `id`"),
        ("{key: {id: a, algorithm: ed25519, secret: {env: A}}}", "no private key in PEM"),
        ("{key: {id: a, algorithm: hmac-sha256, secret: {env: A}}, components: [X-A]}", "small letters"),
        (
            "{key: {id: a, algorithm: hmac-sha256, secret: {env: A}}, components: [content-length]}",
            "not the same at the other end",
        ),
        (
            "{key: {id: a, algorithm: hmac-sha256, secret: {env: A}}, components: [signature]}",
            "cannot sign itself",
        ),
        (
            "{key: {id: a, algorithm: hmac-sha256, secret: {env: A}}, components: ['@path', '@path']}",
            "covered twice",
        ),
        ("{key: {id: a, algorithm: hmac-sha256, secret: {env: A}}, label: 'A b'}", "a letter first"),
        ("{key: {id: a, algorithm: hmac-sha256, secret: {env: A}}, secrets: [{env: A}]}", "another `style`"),
        ("{style: github}", "one secret"),
        ("{style: github, secrets: [{env: A}, {env: A}]}", "one secret"),
        ("{style: stripe, secrets: [{env: A}], label: a}", "another `style`"),
        ("{style: awsSigV4}", "under `aws`"),
        (
            "{style: awsSigV4, aws: {region: r, service: s3, credentials: {accessKeyId: {env: A}}}}",
            "go together",
        ),
        (
            "{style: awsSigV4, aws: {region: r, service: es, unsignedPayload: always, credentials: {accessKeyId: {env: A}, secretAccessKey: {env: A}}}}",
            "S3 alone",
        ),
        (
            "{style: awsSigV4, aws: {region: r, service: s3, headers: [x-amz-date], credentials: {accessKeyId: {env: A}, secretAccessKey: {env: A}}}}",
            "sets it itself",
        ),
        (
            "{style: awsSigV4, aws: {region: r, service: s3, headers: [authorization], credentials: {accessKeyId: {env: A}, secretAccessKey: {env: A}}}}",
            "begins with `x-amz-`",
        ),
    ] {
        let text = format!(
            "listeners: [{{name: l, address: \"127.0.0.1:0\"}}]\nroutes: [{{name: r, match: [{{path: {{prefix: /}}}}], policies: [{{signRequests: {settings}}}], respond: {{}}}}]\n"
        );
        std::fs::write(&config, text).expect("written");
        let config = config.display().to_string();
        let (code, out, err) = run_with(&["validate", "--config", &config], &[("A", "a secret of the test")]);
        assert!(code != 0 && (out.contains(want) || err.contains(want)), "{settings}: {code} {out} {err}");
        assert!(!err.contains("a secret of the test"), "{err}");
    }
}
