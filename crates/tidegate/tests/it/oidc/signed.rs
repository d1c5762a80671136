//! `hmac`: requests that others have signed, with their own libraries.

use std::process::Command;

use serde_json::{Value, json};

use super::{
    super::harness::{Answer, Client, Gateway, Peer, Upstream, free_port, identity_provider, peers_folder},
    telling,
};

const SECRET: &str = "a shared secret of the tests";

/// A gateway with this policy and keys of its signers, which are in its folder.
struct World {
    gateway: Gateway,
    upstream: Upstream,
}

fn run(command: Command) -> String {
    let (is_good, told) = Peer::start(command).finish();
    assert!(is_good, "the signer fails: {told}");
    told
}

impl World {
    fn start(settings: &str, rest: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().display().to_string();
        run(identity_provider(include_str!("signer.mjs"), &["keys", &path]));
        let (upstream, port) = (telling(), free_port());
        let text = format!(
            "accessLog: [{{kind: stdout}}]
listeners: [{{name: public, address: \"127.0.0.1:{port}\"}}]
upstreams: [{{name: u, endpoints: [{{address: \"{}\"}}]}}]
routes:
  - {{name: r, match: [{{path: {{prefix: /}}}}], policies: [{{hmac: {{{settings}}}}}], backends: [{{upstream: u}}]}}
{rest}",
            upstream.address
        );
        let address = ([127, 0, 0, 1], port).into();
        Self { gateway: Gateway::in_folder(folder, &text, address, |_| {}), upstream }
    }

    /// The headers of each job.
    fn sign(&self, mut jobs: Value) -> Vec<Vec<(String, String)>> {
        for job in jobs.as_array_mut().expect("jobs") {
            if job["url"].is_null() {
                job["url"] = format!("http://{}/p?a=b", self.gateway.address).into();
            }
        }
        let folder = self.gateway.folder.path().display().to_string();
        let told = run(identity_provider(include_str!("signer.mjs"), &["sign", &folder, &jobs.to_string()]));
        let all: Vec<serde_json::Map<String, Value>> = serde_json::from_str(&told).expect("JSON");
        let pairs = |(name, value): (String, Value)| (name, value.as_str().expect("text").to_owned());
        all.into_iter().map(|headers| headers.into_iter().map(pairs).collect()).collect()
    }

    fn send(&self, target: &str, headers: &[(String, String)], body: &str) -> Answer {
        let lines: String = headers.iter().map(|(name, value)| format!("\n{name}: {value}")).collect();
        let (host, length) = (self.gateway.address, body.len());
        let head = format!("POST {target} HTTP/1.1\nhost: {host}{lines}\ncontent-length: {length}");
        self.gateway.send(&head, body.as_bytes())
    }

    fn is_refused(&self, what: &str, target: &str, headers: &[(String, String)], body: &str) {
        let before = self.upstream.seen().len();
        let answer = self.send(target, headers, body);
        assert_eq!((answer.status, answer.problem().as_deref()), (401, Some("unauthenticated")), "{what}");
        assert_eq!(answer.header("www-authenticate"), Some("Signature"), "{what}");
        assert!(answer.text().contains("a valid signature is needed"), "{what}: {}", answer.text());
        assert_eq!(self.upstream.seen().len(), before, "{what}");
    }
}

fn changed(
    headers: &[(String, String)],
    name: &str,
    change: impl Fn(&str) -> String,
) -> Vec<(String, String)> {
    let mut headers = headers.to_vec();
    let field = headers.iter_mut().find(|(known, _)| known.eq_ignore_ascii_case(name)).expect("it is there");
    field.1 = change(&field.1);
    headers
}

#[test]
fn message_signatures_of_every_kind_of_key_are_good_once() {
    let world = World::start(
        &format!("jwks: signers.json, keys: [{{id: shared, secret: '{SECRET}'}}]"),
        "consumers: [{name: partner, jwt: [{claim: keyid, value: ed}]}]\n",
    );
    let jobs = json!([
        {"key": "ed", "body": "one"}, {"key": "ec", "body": "one"}, {"key": "pss", "body": "one"},
        {"key": "rsa", "body": "one"}, {"key": "shared", "secret": SECRET, "body": "one"},
    ]);
    for headers in world.sign(jobs) {
        let answer = world.send("/p?a=b", &headers, "one");
        assert_eq!(answer.status, 200, "{headers:?} {}", world.gateway.stdout());
        assert_eq!(world.upstream.seen().last().expect("a request").body, b"one");
        world.is_refused("a second time", "/p?a=b", &headers, "one");
    }
    let record = world.gateway.record("the partner's", |r| r["status"] == 200 && !r["consumer"].is_null());
    assert_eq!(record["consumer"], "partner");
    let count = |outcome: &str| {
        world
            .gateway
            .metric(&format!("tidegate_hmac_total{{policy=\"routes/r/hmac\",outcome=\"{outcome}\"}}"))
    };
    assert_eq!((count("good"), count("replayed")), (Some(5.0), Some(5.0)));
}

#[test]
fn what_was_changed_or_is_not_covered_is_refused() {
    let world = World::start(&format!("jwks: signers.json, keys: [{{id: shared, secret: '{SECRET}'}}]"), "");
    let all = world.sign(json!([
        {"key": "ed", "body": "one"},
        {"key": "ed", "body": "one", "fields": ["@method", "@authority", "@path", "content-digest"]},
        {"key": "ed", "body": "one", "fields": ["@method", "@authority", "@path", "@query"]},
        {"key": "ed", "body": "one", "age": 400, "lasts": 1000},
        {"key": "ed", "body": "one", "age": -60},
        {"key": "ed", "body": "one", "age": 100, "lasts": 20},
        {"key": "ed", "body": "one", "params": ["keyid", "alg"]},
        {"key": "ed", "body": "one", "params": ["created", "alg"]},
        {"key": "stranger", "body": "one"},
        {"key": "stranger", "as": "ed", "body": "one"},
        {"key": "shared", "secret": "another secret", "body": "one"},
        // The public key as if it were a shared secret.
        {"key": "ed", "secret": SECRET, "body": "one"},
        {"key": "ec", "as": "ed", "body": "one"},
    ]));
    let good = &all[0];
    let (what, rest) = (
        [
            "no query",
            "no digest",
            "too old",
            "of the future",
            "expired",
            "no time",
            "no key",
            "a stranger",
            "a stranger by another name",
            "another secret",
            "another kind of key",
            "another key",
        ],
        &all[1..],
    );
    for (what, headers) in what.iter().zip(rest) {
        world.is_refused(what, "/p?a=b", headers, "one");
    }
    world.is_refused("another body", "/p?a=b", good, "two");
    world.is_refused("no body", "/p?a=b", good, "");
    world.is_refused("another path", "/q?a=b", good, "one");
    world.is_refused("another query", "/p?a=c", good, "one");
    let digest = |_: &str| "sha-256=:LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=:".to_owned();
    world.is_refused("another digest", "/p?a=b", &changed(good, "content-digest", digest), "one");
    for (from, to) in
        [("\"@query\"", "\"@path\""), ("created=1", "created=2"), ("keyid=\"ed\"", "keyid=\"ec\"")]
    {
        let headers = changed(good, "signature-input", |text| text.replace(from, to));
        world.is_refused(from, "/p?a=b", &headers, "one");
    }
    for broken in ["", "sig1=()", "sig1", "sig1=(\"@method\""] {
        let headers = changed(good, "signature-input", |_| broken.to_owned());
        world.is_refused(broken, "/p?a=b", &headers, "one");
    }
    let empty = changed(good, "signature", |_| "sig1=::".to_owned());
    world.is_refused("an empty signature", "/p?a=b", &empty, "one");
    world.is_refused("nothing at all", "/p?a=b", &[], "one");
    let host = changed(good, "signature-input", str::to_owned);
    let lines: String = host.iter().map(|(name, value)| format!("\n{name}: {value}")).collect();
    let answer = world
        .gateway
        .send(&format!("POST /p?a=b HTTP/1.1\nhost: other.test{lines}\ncontent-length: 3"), b"one");
    assert_eq!(answer.status, 401, "another host");
    assert_eq!(world.send("/p?a=b", good, "one").status, 200, "and as it was signed it is good");
}

#[test]
fn what_has_to_be_covered_is_the_policys_to_say() {
    let world = World::start(
        "jwks: signers.json, components: ['@method', x-amount], unsignedBody: true, tag: pay, allowReplays: true",
        "",
    );
    let fields = json!(["@method", "x-amount"]);
    let headers = json!({"x-amount": "10"});
    let all = world.sign(json!([
        {"key": "ed", "fields": fields, "headers": headers, "tag": "pay"},
        {"key": "ed", "fields": fields, "headers": headers, "tag": "refund"},
        {"key": "ed", "fields": fields, "headers": headers},
        {"key": "ed", "fields": ["@method"], "headers": headers, "tag": "pay"},
    ]));
    for _ in 0..2 {
        assert_eq!(world.send("/any", &all[0], "any body").status, 200);
    }
    for headers in &all[1..] {
        world.is_refused("another", "/any", headers, "any body");
    }
    world.is_refused("another amount", "/any", &changed(&all[0], "x-amount", |_| "99".to_owned()), "");
    // Two fields of one name are one value, which was not signed.
    let twice = [all[0].clone(), vec![("x-amount".to_owned(), "99".to_owned())]].concat();
    world.is_refused("a second amount", "/any", &twice, "");
    // A signature of somebody else's beside the good one does no harm.
    let other = world.sign(
        json!([{"key": "stranger", "fields": fields, "headers": headers, "tag": "pay", "name": "other"}]),
    );
    let both: Vec<(String, String)> = all[0]
        .iter()
        .map(|(name, value)| {
            let more = other[0]
                .iter()
                .find(|(known, _)| known == name && name.to_lowercase().starts_with("signature"));
            (name.clone(), more.map_or(value.clone(), |(_, more)| format!("{more}, {value}")))
        })
        .collect();
    assert_eq!(world.send("/any", &both, "").status, 200);
}

#[test]
fn githubs_and_stripes_webhooks_are_known_by_their_own_libraries() {
    let body = r#"{"event": "paid ✓"}"#;
    for style in ["github", "stripe"] {
        let world = World::start(
            &format!("style: {style}, secrets: ['an old secret', '{SECRET}'], consumer: hooks"),
            "consumers: [{name: hooks}]\n",
        );
        let all = world.sign(json!([
            {"style": style, "secret": SECRET, "body": body},
            {"style": style, "secret": "wrong", "body": body},
            {"style": style, "secret": "an old secret", "body": "other"},
        ]));
        world.is_refused("another body", "/hook", &all[0], "{}");
        assert_eq!(world.send("/hook", &all[0], body).status, 200, "{style}");
        assert_eq!(world.upstream.seen().last().expect("a request").body, body.as_bytes());
        assert_eq!(world.gateway.record("the hook's", |r| r["status"] == 200)["consumer"], "hooks");
        world.is_refused("a second time", "/hook", &all[0], body);
        world.is_refused("another secret", "/hook", &all[1], body);
        assert_eq!(world.send("/hook", &all[2], "other").status, 200, "the secret of before");
        world.is_refused("nothing", "/hook", &[], body);
    }
    let world = World::start(&format!("style: stripe, secrets: ['{SECRET}'], maxAge: 60s, leeway: 0s"), "");
    let all = world.sign(json!([
        {"style": "stripe", "secret": SECRET, "body": body, "age": 90},
        {"style": "stripe", "secret": SECRET, "body": body, "age": -30},
        {"style": "stripe", "secret": SECRET, "body": body, "age": 30},
    ]));
    world.is_refused("too old", "/hook", &all[0], body);
    world.is_refused("of the future", "/hook", &all[1], body);
    let later = changed(&all[0], "stripe-signature", |text| text.replacen("t=1", "t=2", 1));
    world.is_refused("another time", "/hook", &later, body);
    assert_eq!(world.send("/hook", &all[2], body).status, 200);
}

#[test]
fn slacks_requests_are_known_as_its_own_library_signs_them() {
    let world = World::start(&format!("style: slack, secrets: ['{SECRET}'], maxAge: 1m"), "");
    let script = "
import sys, time
from slack_sdk.signature import SignatureVerifier
secret, age, body = sys.argv[1], int(sys.argv[2]), sys.argv[3]
stamp = str(int(time.time()) - age)
print(stamp)
print(SignatureVerifier(secret).generate_signature(timestamp=stamp, body=body))
";
    let sign = |secret: &str, age: &str, body: &str| {
        let python = peers_folder().join("webhooks/bin/python");
        assert!(python.exists(), "{} is missing: run scripts/peers.sh", python.display());
        let mut command = Command::new(python);
        command.args(["-c", script, secret, age, body]);
        let told = run(command);
        let (stamp, signature) = told.split_once('\n').expect("two lines");
        vec![
            ("x-slack-request-timestamp".to_owned(), stamp.to_owned()),
            ("x-slack-signature".to_owned(), signature.to_owned()),
        ]
    };
    let body = "token=x&team_id=T1&text=hi";
    let good = sign(SECRET, "0", body);
    world.is_refused("another body", "/", &good, "text=hi");
    let later = changed(&good, "x-slack-request-timestamp", |text| {
        (text.parse::<u64>().expect("a number") + 1).to_string()
    });
    world.is_refused("another time", "/", &later, body);
    assert_eq!(world.send("/", &good, body).status, 200);
    world.is_refused("a second time", "/", &good, body);
    world.is_refused("another secret", "/", &sign("wrong", "0", body), body);
    world.is_refused("too old", "/", &sign(SECRET, "120", body), body);
    let twice = [good.clone(), good].concat();
    world.is_refused("twice", "/", &twice, body);
}

#[test]
fn a_body_that_is_too_large_to_be_looked_at_is_told_so() {
    let world = World::start(&format!("style: github, secrets: ['{SECRET}'], maxBodySize: 10B"), "");
    let all = world.sign(json!([
        {"style": "github", "secret": SECRET, "body": "0123456789"},
        {"style": "github", "secret": SECRET, "body": "0123456789a"},
    ]));
    assert_eq!(world.send("/", &all[0], "0123456789").status, 200);
    assert_eq!(world.send("/", &all[1], "0123456789a").status, 413);
}

/// Two signed messages as one with both signatures.
fn both(one: &[(String, String)], other: &[(String, String)]) -> Vec<(String, String)> {
    let join = |(name, value): &(String, String)| {
        let is_one = |(known, _): &&(String, String)| known.eq_ignore_ascii_case(name);
        match (name.to_ascii_lowercase().starts_with("signature"), other.iter().find(is_one)) {
            (true, Some((_, more))) => (name.clone(), format!("{value}, {more}")),
            _ => (name.clone(), value.clone()),
        }
    };
    one.iter().map(join).collect()
}

#[test]
fn of_several_signatures_one_good_one_is_enough_and_each_is_good_once() {
    let world = World::start(
        &format!("jwks: signers.json, keys: [{{id: shared, secret: '{SECRET}'}}]"),
        "consumers: [{name: partner, jwt: [{claim: keyid, value: ed}]}]\n",
    );
    let jobs = json!([
        {"key": "ed", "body": "one", "name": "a"}, {"key": "shared", "secret": SECRET, "body": "one", "name": "b"},
        {"key": "ed", "body": "two", "name": "a"}, {"key": "shared", "secret": SECRET, "body": "two", "name": "b"},
        {"key": "stranger", "body": "six", "name": "a"}, {"key": "ed", "body": "six", "name": "b"},
        {"key": "stranger", "body": "ten", "name": "a"}, {"key": "stranger", "body": "ten", "name": "b"},
    ]);
    let all = world.sign(jobs);
    // Both are good: with either of them taken out the message is another, and as good, and was used all the same.
    let together = both(&all[0], &all[1]);
    let answer = world.send("/p?a=b", &together, "one");
    assert_eq!(answer.status, 200, "{together:?} {}", world.gateway.stdout());
    world.is_refused("both once more", "/p?a=b", &together, "one");
    world.is_refused("the first of both", "/p?a=b", &all[0], "one");
    world.is_refused("the second of both", "/p?a=b", &all[1], "one");
    // And the other way round.
    assert_eq!(world.send("/p?a=b", &all[3], "two").status, 200);
    world.is_refused("one that was used, with another", "/p?a=b", &both(&all[2], &all[3]), "two");
    // A bad one beside a good one makes nothing worse, and says nothing of who it is.
    assert_eq!(world.send("/p?a=b", &both(&all[4], &all[5]), "six").status, 200);
    let record = world
        .gateway
        .record("the partner's", |record| record["consumer"] == "partner" && record["status"] == 200);
    assert_eq!(record["consumer"], "partner");
    world.is_refused("two bad ones", "/p?a=b", &both(&all[6], &all[7]), "ten");
    // Labels belong together.
    let crossed = changed(&all[2], "signature", |text| text.replacen("a=", "c=", 1));
    world.is_refused("a signature of another label", "/p?a=b", &crossed, "two");
}

#[test]
fn a_body_beside_a_wish_to_switch_has_to_be_signed_like_any_other() {
    let upstream = telling();
    let gateway = Gateway::start(&format!(
        "upstreams: [{{name: u, endpoints: [{{address: \"{}\"}}]}}]
routes: [{{name: r, match: [{{path: {{prefix: /}}}}], websocket: true, policies: [{{hmac: {{style: github, secrets: ['{SECRET}'], allowReplays: true}}}}], backends: [{{upstream: u}}]}}]\n",
        upstream.address
    ));
    let ask = |signed: &str, body: &str| {
        let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, SECRET.as_bytes());
        let tag = aws_lc_rs::hmac::sign(&key, signed.as_bytes());
        let hex: String = tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        let asks = "connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==";
        let mut client = Client::connect(gateway.address);
        client.write(format!(
            "GET /x HTTP/1.1\r\nhost: a\r\n{asks}\r\nx-hub-signature-256: sha256={hex}\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        ));
        client.read().expect("an answer").status
    };
    assert_eq!(ask("pay 1", "pay 1"), 200);
    assert_eq!(upstream.seen().pop().expect("a request").body, b"pay 1");
    assert_eq!((ask("", "pay 9"), ask("pay 1", "pay 9")), (401, 401));
    assert_eq!(upstream.seen().len(), 1);
}
