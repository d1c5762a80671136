//! `internalJwt`: what upstreams are told of who calls, verified by the libraries that services use.

use std::{
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, Command, Stdio},
    time::{SystemTime, UNIX_EPOCH},
};

use serde_json::{Value, json};

use super::{claims, head, key, telling};
use crate::{
    harness::{Answer, Gateway, Upstream, eventually, free_port, node, pause, python, run},
    policies::tokens::{Signer, claims as of_caller, jwks},
};

const CONSUMERS: &str = "consumers:
  - {name: gold, groups: [partners, 'a,b'], keys: [gold-key-of-the-test]}
  - {name: web, keys: [web-key-of-the-test]}
";

/// A library that verifies tokens.
struct Verifier {
    child: Child,
    lines: BufReader<std::process::ChildStdout>,
}

impl Verifier {
    fn start(mut command: Command) -> Self {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("it starts");
        let lines = BufReader::new(child.stdout.take().expect("its output"));
        let mut verifier = Self { child, lines };
        assert_eq!(verifier.line(), "ready");
        verifier
    }

    fn both(url: &str) -> [Self; 2] {
        [
            Self::start(python(include_str!("verify.py"), &[url])),
            Self::start(node("verify", include_str!("verify.mjs"), &[url])),
        ]
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.lines.read_line(&mut line).expect("a line");
        line.trim().to_owned()
    }

    fn verify(&mut self, audience: &str, token: &str) -> Value {
        let input = self.child.stdin.as_mut().expect("its input");
        writeln!(input, "{audience} {token}").expect("written");
        serde_json::from_str(&self.line()).expect("JSON")
    }
}

impl Drop for Verifier {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The configuration: an issuer, a route with keys of callers, one for whoever comes, and the key set.
fn config(issuer: &str, policy: &str, upstream: &Upstream) -> String {
    format!(
        "accessLog: [{{kind: stdout}}]
tokenIssuers: [{{name: internal, issuer: 'https://gateway.test', {issuer}}}]
{CONSUMERS}upstreams: [{{name: u, endpoints: [{{address: \"{}\"}}]}}]
routes:
  - {{name: keys, match: [{{path: {{exact: /jwks}}}}], respond: {{jwks: internal}}}}
  - name: open
    match: [{{path: {{prefix: /open}}}}]
    policies: [{{internalJwt: {{issuer: internal{policy}}}}}]
    backends: [{{upstream: u}}]
  - name: r
    match: [{{path: {{prefix: /}}}}]
    policies: [{{keyAuth: {{header: x-api-key}}}}, {{internalJwt: {{issuer: internal{policy}}}}}]
    backends: [{{upstream: u}}]
",
        upstream.address
    )
}

fn start(issuer: &str, policy: &str) -> (Gateway, Upstream) {
    let upstream = telling();
    (Gateway::start(&config(issuer, policy, &upstream)), upstream)
}

fn as_caller(gateway: &Gateway, key: &str) -> Answer {
    gateway.send(&format!("GET /x HTTP/1.1\nhost: a.test\nx-api-key: {key}-key-of-the-test"), b"")
}

/// The token that the upstream saw.
fn shown(answer: &Answer) -> String {
    assert_eq!(answer.status, 200, "{}", answer.text());
    let text = answer.text();
    let line = text.lines().find_map(|line| line.strip_prefix("authorization: Bearer "));
    line.unwrap_or_else(|| panic!("no token in {text}")).to_owned()
}

fn kids(gateway: &Gateway) -> Vec<String> {
    let answer = gateway.get("/jwks");
    assert_eq!(answer.header("content-type"), Some("application/jwk-set+json"));
    let set = answer.json();
    let keys = set["keys"].as_array().expect("keys");
    assert!(keys.iter().all(|key| key.get("d").is_none()), "{set}");
    keys.iter().map(|key| key["kid"].as_str().expect("a kid").to_owned()).collect()
}

/// A moment so many seconds from now.
fn moment(seconds: u64) -> String {
    let at = SystemTime::now().duration_since(UNIX_EPOCH).expect("a time").as_secs() + seconds;
    let text = Command::new("date").args(["-u", "-d", &format!("@{at}"), "+%Y-%m-%dT%H:%M:%SZ"]).output();
    String::from_utf8(text.expect("a date").stdout).expect("text").trim().to_owned()
}

#[test]
fn services_verify_tokens_by_what_is_published_over_a_rotation() {
    let folder = tempfile::tempdir().expect("a folder");
    let place = |name: &str| folder.path().join(name).display().to_string();
    std::fs::write(place("a.pem"), key()).expect("a key");
    std::fs::write(place("b.pem"), key()).expect("a key");
    let keys = format!(
        "keys: [{{key: {{file: '{}'}}}}, {{key: {{file: '{}'}}, from: '{}'}}], lifetime: 60s",
        place("a.pem"),
        place("b.pem"),
        moment(6)
    );
    let (gateway, _upstream) = start(&keys, ", audiences: [orders]");
    let mut verifiers = Verifier::both(&format!("http://{}/jwks", gateway.address));
    let old = shown(&as_caller(&gateway, "gold"));
    let published = kids(&gateway);
    assert_eq!(published.len(), 2, "the next key is there before it signs");
    for verifier in &mut verifiers {
        let told = verifier.verify("orders", &old);
        assert_eq!((&told["sub"], &told["aud"]), (&json!("gold"), &json!("orders")), "{told}");
        assert_eq!(told["exp"].as_u64().zip(told["iat"].as_u64()).map(|(exp, iat)| exp - iat), Some(60));
        let early = told["iat"].as_u64().zip(told["nbf"].as_u64()).map(|(iat, nbf)| iat - nbf);
        assert_eq!(early, Some(60), "whoever checks it may be a moment behind");
        assert!(verifier.verify("others", &old)["error"].is_string(), "it is for another audience");
        let forged = format!("{}A", &old[..old.len() - 2]);
        assert!(verifier.verify("orders", &forged)["error"].is_string());
    }
    let of_old = head(&old)["kid"].clone();
    assert_eq!(of_old, json!(published[0]));
    pause(6_500);
    assert_eq!(shown(&as_caller(&gateway, "gold")), old, "a token is used for its time, whatever signs now");
    let new = shown(&as_caller(&gateway, "web"));
    assert_eq!(head(&new)["kid"], json!(published[1]));
    for verifier in &mut verifiers {
        for (token, who) in [(&old, "gold"), (&new, "web")] {
            assert_eq!(verifier.verify("orders", token)["sub"], json!(who));
        }
    }
    assert_eq!(kids(&gateway), published, "the old key is there until its last token has ended");
}

#[test]
fn every_algorithm_is_verified_and_a_token_is_used_again_for_its_caller_alone() {
    for algorithm in ["ES256", "EdDSA", "RS256"] {
        let (gateway, _upstream) = start(&format!("algorithm: {algorithm}, generated: {{}}"), "");
        let [gold, again, web] = ["gold", "gold", "web"].map(|who| shown(&as_caller(&gateway, who)));
        assert!(gold == again && gold != web, "{algorithm}");
        assert_eq!(head(&gold)["alg"], json!(algorithm));
        for mut verifier in Verifier::both(&format!("http://{}/jwks", gateway.address)) {
            assert_eq!(verifier.verify("-", &gold)["sub"], json!("gold"));
            assert_eq!(verifier.verify("-", &web)["sub"], json!("web"));
        }
        let count = |outcome: &str| {
            let series = format!(
                "tidegate_internal_jwt_total{{policy=\"routes/r/internalJwt\",outcome=\"{outcome}\"}}"
            );
            gateway.metric(&series)
        };
        assert_eq!((count("signed"), count("kept")), (Some(2.0), Some(1.0)));
        let record = gateway.record("a call", |record| record["onward"][0]["outcome"] == "kept");
        assert_eq!(record["onward"][0]["policy"], "internalJwt");
        assert_eq!(record["onward"][0]["key"], head(&gold)["kid"]);
        assert!(!gateway.stdout().contains(&gold) && !gateway.stderr().contains(&gold));
    }
}

#[test]
fn what_a_client_says_under_the_header_never_reaches_the_upstream() {
    let forged = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJyb290In0.";
    for (header, policy) in [("authorization", ""), ("x-identity", ", header: x-identity")] {
        let (gateway, upstream) = start("generated: {}", policy);
        let underscored = header.replace('-', "_");
        for path in ["/x", "/open"] {
            for own in [
                format!("{header}: Bearer {forged}"),
                format!("{header}: {forged}\n{header}: {forged}"),
                format!("{underscored}: {forged}"),
                format!("{header}: {forged}\nconnection: {header}"),
                format!("{}: {forged}", header.to_uppercase()),
            ] {
                let answer = gateway.send(
                    &format!("GET {path} HTTP/1.1\nhost: a.test\nx-api-key: gold-key-of-the-test\n{own}"),
                    b"",
                );
                assert!(answer.status == 200 || answer.status == 400, "{own}: {}", answer.text());
            }
        }
        let seen = upstream.seen();
        assert!(seen.len() >= 8, "{}", seen.len());
        for seen in seen {
            assert!(!format!("{seen:?}").contains(forged), "{seen:?}");
            let tokens = seen.headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case(header)).count();
            assert_eq!(tokens, usize::from(seen.target() == "/x"), "{seen:?}");
        }
    }
}

#[test]
fn claims_keep_their_types_and_callers_of_tokens_are_told_of() {
    let folder = tempfile::tempdir().expect("a folder");
    let (signer, keys) = (Signer::new("ES256", "one"), folder.path().join("jwks.json"));
    std::fs::write(&keys, jwks(&[&signer])).expect("a file");
    let policy = ", audiences: [a, b], header: x-identity, claims: {roles: '{{ jwt.roles }}', who: 'user {{ jwt.sub }}', \
                  groups: '{{ consumer.groups }}', absent: '{{ jwt.nothing }}', level: '{{ jwt.level }}', nested: '{{ jwt.nested }}'}, \
                  expressions: {is_get: 'request.method == \"GET\"', size: 'size(jwt.sub)', what: 'request.path + \"!\"', none: 'jwt.nothing'}";
    let upstream = telling();
    let text = config("generated: {}", policy, &upstream).replace(
        "{keyAuth: {header: x-api-key}}",
        &format!(
            "{{jwt: {{issuer: https://id.example.test, audiences: [shop], algorithms: [ES256], hideCredentials: true, jwks: {{file: '{}'}}}}}}",
            keys.display()
        ),
    );
    let gateway = Gateway::start(&text);
    let ask = |token: &str| {
        let answer =
            gateway.send(&format!("GET /x HTTP/1.1\nhost: a.test\nauthorization: Bearer {token}"), b"");
        assert_eq!(answer.status, 200, "{}", answer.text());
        let text = answer.text();
        assert!(!text.contains(token), "the caller's own token stays here");
        claims(text.lines().find_map(|line| line.strip_prefix("x-identity: ")).expect("a token"))
    };
    let told = ask(&signer.sign(&of_caller(|claims| {
        claims["sub"] = json!("ann");
        claims["roles"] = json!(["x", "y"]);
        claims["level"] = json!(7);
        claims["nested"] = json!({"a": [true]});
    })));
    for (name, want) in [
        ("sub", json!("ann")),
        ("aud", json!(["a", "b"])),
        ("roles", json!(["x", "y"])),
        ("who", json!("user ann")),
        ("level", json!(7)),
        ("nested", json!({"a": [true]})),
        ("is_get", json!(true)),
        ("size", json!(3)),
        ("what", json!("/x!")),
        ("absent", Value::Null),
        ("groups", Value::Null),
        ("none", Value::Null),
        ("iss", json!("https://gateway.test")),
    ] {
        assert_eq!(told[name], want, "{name}: {told}");
    }
    let other = ask(&signer.sign(&of_caller(|claims| claims["sub"] = json!("bob"))));
    assert_eq!(other["sub"], json!("bob"));
    let (gateway, _upstream) = start("generated: {}", ", claims: {groups: '{{ consumer.groups }}'}");
    assert_eq!(claims(&shown(&as_caller(&gateway, "gold")))["groups"], json!(["partners", "a,b"]));
}

#[test]
fn callers_that_nobody_knows_pass_are_refused_or_get_a_token_without_a_subject() {
    for (unknown, status) in [("pass", 200), ("refuse", 401), ("token", 200)] {
        let (gateway, upstream) = start("generated: {}", &format!(", unknown: {unknown}"));
        let answer = gateway.get("/open");
        assert_eq!(answer.status, status, "{unknown}: {}", answer.text());
        let seen = upstream.seen();
        let token = seen.first().and_then(|seen| seen.header("authorization"));
        assert_eq!(token.is_some(), unknown == "token", "{unknown}");
        if let Some(token) = token {
            assert!(claims(token.trim_start_matches("Bearer ")).get("sub").is_none());
        }
        assert_eq!(seen.len(), usize::from(status == 200));
    }
}

#[test]
fn keys_that_the_gateway_makes_outlive_it_rotate_and_are_nobody_elses_to_read() {
    let upstream = telling();
    let issuer = "generated: {rotateEvery: 16s, publishBefore: 5s}, lifetime: 10s";
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], free_port()));
    let listener = format!("listeners: [{{name: public, address: \"{address}\"}}]\n");
    let text = format!("{listener}{}", config(issuer, "", &upstream));
    let mut gateway = Gateway::from_text(&text, address, |_| {});
    let first = kids(&gateway);
    assert_eq!(first.len(), 1);
    let folder = std::mem::replace(&mut gateway.folder, tempfile::tempdir().expect("a folder"));
    drop(gateway);
    let data = folder.path().join("data");
    let gateway = Gateway::in_folder(folder, &text, address, |_| {});
    assert_eq!(kids(&gateway), first, "the keys are as they were");
    let mut files: Vec<std::path::PathBuf> = Vec::new();
    collect(&data.join("token-keys"), &mut files);
    let file = files.iter().find(|file| file.extension().is_some_and(|end| end == "json")).expect("a file");
    use std::os::unix::fs::PermissionsExt;
    assert_eq!(std::fs::metadata(file).expect("a file").permissions().mode() & 0o777, 0o600);
    eventually("the next key is published", || kids(&gateway).len() == 2);
    assert_eq!(head(&shown(&as_caller(&gateway, "web")))["kid"], json!(first[0]), "and does not sign yet");
    eventually("it signs", || head(&shown(&as_caller(&gateway, "gold")))["kid"] != json!(first[0]));
    assert!(kids(&gateway).contains(&first[0]), "the old one is still there");
    let told = gateway.admin_get("/api/v1/status").json();
    assert_eq!(told["tokenIssuers"][0]["name"], "internal", "{told}");
    assert_ne!(told["tokenIssuers"][0]["signs"], json!(first[0]));
    assert!(!told.to_string().contains("\"d\""));
}

fn collect(folder: &Path, into: &mut Vec<std::path::PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
        match entry.path().is_dir() {
            true => collect(&entry.path(), into),
            false => into.push(entry.path()),
        }
    }
}

#[test]
fn a_key_that_the_configuration_names_no_more_signs_nothing_and_is_published_until_its_tokens_end() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("key.pem");
    std::fs::write(&file, key()).expect("a key");
    let (gateway, _upstream) = start(&format!("keys: [{{key: {{file: '{}'}}}}]", file.display()), "");
    let (old, first) = (shown(&as_caller(&gateway, "gold")), kids(&gateway));
    std::fs::write(&file, key()).expect("a key");
    gateway.signal("HUP");
    eventually("the new key is published", || kids(&gateway) != first);
    let new = shown(&as_caller(&gateway, "gold"));
    assert_ne!(head(&new)["kid"], head(&old)["kid"], "what was kept is not used any more");
    for mut verifier in Verifier::both(&format!("http://{}/jwks", gateway.address)) {
        assert_eq!(verifier.verify("-", &old)["sub"], json!("gold"), "an old token is good until its end");
        assert_eq!(verifier.verify("-", &new)["sub"], json!("gold"));
    }
}

#[test]
fn what_cannot_sign_refuses_the_configuration_and_is_not_shown() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("key.pem"), key()).expect("a key");
    let config = folder.path().join("tidegate.yaml");
    for (issuer, policy, want) in [
        ("keys: [{key: not-a-key}]", "issuer: internal", "no private key in PEM"),
        ("algorithm: RS256, keys: [{key: {file: key.pem}}]", "issuer: internal", "RS256 wants an RSA key"),
        ("keys: [{key: {file: key.pem}}, {key: {file: key.pem}}]", "issuer: internal", "given twice"),
        ("lifetime: 5m", "issuer: internal", "expected `keys` or `generated`"),
        (
            "generated: {rotateEvery: 1h, publishBefore: 1h}",
            "issuer: internal",
            "`publishBefore` and `lifetime` together",
        ),
        ("generated: {}", "issuer: another", "there is no token issuer `another`"),
        ("generated: {}", "issuer: internal, claims: {sub: x}", "`sub` is the gateway's own to set"),
        ("generated: {}", "issuer: internal, header: connection", "is no header for a token"),
        ("generated: {}", "issuer: internal, expressions: {a: 'jwt.'}", "expressions.a"),
    ] {
        let text = format!(
            "listeners: [{{name: l, address: \"127.0.0.1:8080\"}}]
tokenIssuers: [{{name: internal, issuer: i, {issuer}}}]
routes: [{{name: r, match: [{{path: {{prefix: /}}}}], policies: [{{internalJwt: {{{policy}}}}}], respond: {{}}}}]
"
        );
        std::fs::write(&config, text).expect("a configuration");
        let (code, out, err) = run(&["validate", "--config", &config.display().to_string()]);
        let told = format!("{out}{err}");
        assert!(code != 0 && told.contains(want), "{issuer} {policy}: {told}");
        assert!(!told.contains("not-a-key"), "{told}");
    }
}
