//! Keys and passwords of which only a hash is known, and what makes them.

use std::{
    io::Write,
    process::{Command, Stdio},
    time::Instant,
};

use super::{ask, basic};
use crate::harness::{Gateway, run};

/// What `tidegate hash` prints for what is on its standard input.
fn hash(arguments: &[&str], input: &str) -> (bool, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_tidegate"))
        .arg("hash")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary runs");
    child.stdin.take().expect("its input").write_all(input.as_bytes()).expect("written");
    let output = child.wait_with_output().expect("it ends");
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&text).trim().to_owned())
}

fn gateway(consumers: &str, policy: &str) -> Gateway {
    Gateway::start(&format!(
        "accessLog: [{{kind: stdout}}]\n{consumers}
routes: [{{name: r, match: [{{path: {{prefix: /}}}}], policies: [{{{policy}}}], respond: {{body: welcome}}}}]\n"
    ))
}

fn with_key(gateway: &Gateway, key: &str) -> u16 {
    ask(gateway, "/", &format!("\nx-api-key: {key}")).status
}

#[test]
fn a_key_that_is_known_by_its_hash_lets_in_until_it_ends() {
    // Not by our own means: printf 'hashed-key-of-the-test' | sha256sum
    let (is_good, line) = hash(&[], "hashed-key-of-the-test\n");
    let digest = "eb73c59d851690145b12b124be5743d39acfde235a7c0199087f0454bb029ca3";
    assert_eq!((is_good, line.as_str()), (true, format!("sha256: {digest}").as_str()));
    let (_, ended) = hash(&[], "ended-key-of-the-test");
    let (_, later) = hash(&[], "later-key-of-the-test");
    let consumers = format!(
        "consumers:
  - name: gold
    keys: [plain-key-of-the-test]
    hashedKeys:
      - {{{line}, name: the shop's}}
      - {{{ended}, expiresAt: 2020-01-01}}
      - {{{later}, expiresAt: 2096-01-01}}"
    );
    let gateway = gateway(&consumers, "keyAuth: {}");
    for (key, status) in [
        ("plain-key-of-the-test", 200),
        ("hashed-key-of-the-test", 200),
        ("later-key-of-the-test", 200),
        ("ended-key-of-the-test", 401),
        ("hashed-key-of-the-tes", 401),
        (line.trim_start_matches("sha256: "), 401),
    ] {
        assert_eq!(with_key(&gateway, key), status, "{key}");
    }
    let answer = ask(&gateway, "/", "\nx-api-key: ended-key-of-the-test");
    assert!(answer.text().contains("the API key has expired"), "{}", answer.text());
    let shown = gateway.admin_get("/api/v1/config").text();
    assert!(!shown.contains("hashed-key-of-the-test"), "{shown}");
}

#[test]
fn a_key_is_made_with_its_hash_and_what_is_no_hash_is_refused_without_being_shown() {
    let (is_good, made) = hash(&["--generate", "--prefix", "shop_"], "");
    assert!(is_good, "{made}");
    let (key, line) = made.split_once('\n').expect("two lines");
    let key = key.strip_prefix("key: ").expect("the key");
    assert!(key.starts_with("shop_") && key.len() == 5 + 64, "{key}");
    assert_eq!(hash(&[], key), (true, line.to_owned()));
    // Whoever writes it on the command line is told where it belongs, and it is not said again.
    let (is_good, told) = hash(&["my-own-key"], "");
    assert!(!is_good && told.contains("standard input") && !told.contains("my-own-key"), "{told}");
    let gateway = gateway(&format!("consumers: [{{name: gold, hashedKeys: [{{{line}}}]}}]"), "keyAuth: {}");
    assert_eq!(with_key(&gateway, key), 200);
    for (input, arguments, part) in [
        ("", &[][..], "nothing on standard input"),
        ("two words", &[], "no spaces"),
        ("", &["--password"], "nothing on standard input"),
        ("", &["--generate", "--prefix", "a b"], "a prefix has letters"),
    ] {
        let (is_good, told) = hash(arguments, input);
        assert!(!is_good && told.contains(part), "{told}");
    }
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("tidegate.yaml");
    let twice = format!("{{{line}}}");
    for (consumers, part) in [
        (
            "consumers: [{name: a, hashedKeys: [{sha256: my-own-secret-key}]}]\n".to_owned(),
            "64 hexadecimal digits",
        ),
        (
            format!("consumers: [{{name: a, hashedKeys: [{twice}]}}, {{name: b, hashedKeys: [{twice}]}}]\n"),
            "also a key of consumer `a`",
        ),
    ] {
        std::fs::write(&path, consumers).expect("a file");
        let (code, _, told) = run(&["validate", "--config", &path.display().to_string()]);
        assert!(code == 3 && told.contains(part), "{told}");
        assert!(!told.contains("my-own-secret-key"), "{told}");
    }
}

#[test]
fn a_password_may_be_what_argon2_makes_of_it_and_is_computed_once_for_a_while() {
    let (is_good, made) = hash(&["--password"], "correct horse\n");
    assert!(is_good && made.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{made}");
    let consumers = format!("consumers: [{{name: gold, basic: [{{username: ann, password: '{made}'}}]}}]");
    let gateway = gateway(&consumers, "basicAuth: {}");
    let signed = |pair: &str| ask(&gateway, "/", &basic(pair)).status;
    for (pair, status) in [
        ("ann:correct horse", 200),
        ("ann:correct  horse", 401),
        ("ann:", 401),
        ("bob:correct horse", 401),
        (format!("ann:{made}").as_str(), 401),
    ] {
        assert_eq!(signed(pair), status, "{pair}");
    }
    // It is remembered: twenty more take less than one hash each.
    let slowly = Instant::now();
    assert_eq!(signed("ann:wrong"), 401);
    let slowly = slowly.elapsed();
    let began = Instant::now();
    for _ in 0..20 {
        assert_eq!(signed("ann:correct horse"), 200);
    }
    assert!(began.elapsed() < slowly * 20, "{:?} for twenty, {slowly:?} for a wrong one", began.elapsed());
    // So is what is wrong, of users that there are and of others: another way in may know them, and is asked after this.
    for pair in ["ann:wrong", "nobody:wrong"] {
        assert_eq!(signed(pair), 401);
        let began = Instant::now();
        (0..20).for_each(|_| assert_eq!(signed(pair), 401));
        assert!(
            began.elapsed() < slowly * 20,
            "{pair}: {:?} for twenty, {slowly:?} for one",
            began.elapsed()
        );
    }
    assert!(
        !gateway.stderr().contains("literal secret"),
        "a hash is meant to stand there: {}",
        gateway.stderr()
    );
}

#[test]
fn many_calls_of_one_user_at_once_are_judged_by_one_hash() {
    let (_, made) = hash(&["--password"], "correct horse\n");
    let consumers = format!("consumers: [{{name: gold, basic: [{{username: ann, password: '{made}'}}]}}]");
    let gateway = gateway(&consumers, "basicAuth: {}");
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let call = || ask(&gateway, "/", &basic("ann:correct horse")).status;
        let all: Vec<_> = (0..100).map(|_| scope.spawn(call)).collect();
        all.into_iter().map(|one| one.join().expect("an answer")).collect()
    });
    assert_eq!(statuses, [200; 100]);
}
