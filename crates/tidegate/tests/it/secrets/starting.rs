//! At the start: what is read, what is waited for, and what is said when nothing comes of it.

use std::{fs, net::SocketAddr};

use serde_json::json;

use super::{APP_ROLE, Mock, TOKEN, gateway, text, with_key};
use crate::harness::{eventually, free_port, run_with};

const ENVIRONMENT: [(&str, &str); 2] =
    [("TEST_VAULT_TOKEN", "token-of-the-test"), ("TEST_SECRET_ID", "secret-id-of-the-test")];

/// Runs a command on a configuration to its end.
fn end_of(command: &str, text: &str, environment: &[(&str, &str)]) -> (i32, String) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("tidegate.yaml");
    fs::write(&path, text).expect("a file");
    let data = folder.path().join("data").display().to_string();
    let path = path.display().to_string();
    let mut arguments = command.split(' ').collect::<Vec<_>>();
    arguments.extend(["--config", &path]);
    if command == "run" {
        arguments.extend(["--data-dir", &data]);
    }
    let (code, out, problems) = run_with(&arguments, environment);
    // Long lines are wrapped; what they say is one text.
    let told = out + &problems;
    let words: Vec<&str> = told.split_whitespace().filter(|word| *word != "│").collect();
    (code, words.join(" "))
}

fn address() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], free_port()))
}

#[test]
fn keys_of_both_engines_are_read_with_one_login_and_one_question_for_each_path() {
    let vault = Mock::start();
    vault.put(
        "secret/shop/keys",
        json!({"one": "first-key-of-the-test", "two": "second-key-of-the-test", "n": 12345678}),
    );
    vault.put_old("legacy/keys", json!({"old": "old-key-of-the-test"}));
    let keys = "{vault: 'secret/shop/keys#one'}, {vault: 'secret/shop/keys#two'}, {vault: 'secret/shop/keys#n'}, {vault: 'legacy/keys#old'}";
    let gateway = gateway(&vault, APP_ROLE, "", keys);
    for key in ["first-key-of-the-test", "second-key-of-the-test", "12345678", "old-key-of-the-test"] {
        assert_eq!(with_key(&gateway, key).status, 200, "{key}");
    }
    assert_eq!(with_key(&gateway, "secret/shop/keys#one").status, 401);
    assert_eq!(vault.asked("auth/approle/login"), 1);
    let first: Vec<_> = vault.seen().into_iter().take(6).map(|seen| seen.line).collect();
    let reads = first.iter().filter(|line| line.contains("/v1/secret/data/shop/keys")).count();
    assert_eq!(reads, 1, "{first:?}");
    // Nothing of it shows anywhere.
    let shown = gateway.admin_get("/api/v1/config").text();
    assert!(shown.contains("secret/shop/keys#one"), "{shown}");
    let (stderr, stdout) = (gateway.stderr(), gateway.stdout());
    for secret in ["first-key-of-the-test", "secret-id-of-the-test", "hvs.login"] {
        assert!(!shown.contains(secret) && !stderr.contains(secret) && !stdout.contains(secret), "{secret}");
    }
}

#[test]
fn what_cannot_be_read_refuses_the_start_and_says_where_and_why() {
    let vault = Mock::start();
    vault.put("secret/shop", json!({"key": "key-of-the-test", "other": "x"}));
    let is_told = |auth: &str, key: &str, environment: &[(&str, &str)], parts: &[&str]| {
        let text = text(address(), &vault, auth, ", startTimeout: 500ms", &format!("{{vault: '{key}'}}"));
        let (code, told) = end_of("run", &text, environment);
        assert_eq!(code, 3, "{told}");
        for part in parts.iter().chain(&["consumers[0].keys[0]", "tidegate.yaml:4:"]) {
            assert!(told.contains(part), "lacks {part:?}:\n{told}");
        }
        for secret in ["token-of-the-test", "secret-id-of-the-test", "key-of-the-test"] {
            assert!(!told.contains(secret), "{told}");
        }
    };
    is_told(
        TOKEN,
        "secret/shop#missing",
        &ENVIRONMENT,
        &["`secret/shop` has no key `missing`", "key, other"],
    );
    is_told(
        TOKEN,
        "secret/nothing#key",
        &ENVIRONMENT,
        &["cannot read `secret/nothing` from the vault at http://127.0.0.1", "nothing lies there (404)"],
    );
    is_told(TOKEN, "secret/data/shop#key", &ENVIRONMENT, &["without `data/`"]);
    let bad = [("TEST_VAULT_TOKEN", "wrong"), ("TEST_SECRET_ID", "wrong")];
    is_told(
        TOKEN,
        "secret/shop#key",
        &bad,
        &["permission denied (403: 2 errors occurred: * permission denied", "`read` on `secret/data/shop`"],
    );
    is_told(
        APP_ROLE,
        "secret/shop#key",
        &bad,
        &["cannot sign in at `auth/approle/login`", "invalid role or secret ID"],
    );
    vault.state().faults = (1000, 503, "Vault is sealed");
    is_told(TOKEN, "secret/shop#key", &ENVIRONMENT, &["it is sealed: unseal it (503: Vault is sealed)"]);
    vault.state().faults = (0, 0, "");
    // Nobody is there at all.
    let gone = address();
    let text = text(address(), &vault, TOKEN, ", startTimeout: 300ms", "{vault: 'secret/shop#key'}");
    let text = text.replace(&vault.address().to_string(), &gone.to_string());
    let (code, told) = end_of("run", &text, &ENVIRONMENT);
    assert!(code == 3 && told.contains("cannot connect to 127.0.0.1"), "{told}");
}

#[test]
fn a_vault_that_is_sealed_busy_or_behind_is_waited_for() {
    for (count, status, text) in [
        (4, 503, "Vault is sealed"),
        (2, 429, "request path \"secret/data/shop\": rate limit quota exceeded"),
        (3, 412, "required index state not present"),
        (2, 500, "internal error"),
    ] {
        let vault = Mock::start();
        vault.put("secret/shop", json!({"key": "key-of-the-test"}));
        vault.state().faults = (count, status, text);
        let gateway = gateway(&vault, TOKEN, ", startTimeout: 15s", "{vault: 'secret/shop#key'}");
        assert_eq!(with_key(&gateway, "key-of-the-test").status, 200, "{status}");
    }
}

#[test]
fn a_namespace_a_service_account_and_a_standby_are_understood() {
    let vault = Mock::start();
    vault.put("secret/shop", json!({"key": "key-of-the-test"}));
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("jwt");
    fs::write(&file, "header.claims.signature\n").expect("a file");
    {
        let mut state = vault.state();
        (state.namespace, state.jwt, state.login_seconds) =
            (Some("team/a"), "header.claims.signature".to_owned(), 3);
        // A standby sends its askers to the active one: here to itself.
        state.redirect = Some(format!("http://{}", vault.address()));
    }
    let auth = format!("{{kubernetes: {{mount: cluster-7, role: gateway, tokenFile: {}}}}}", file.display());
    let gateway = gateway(&vault, &auth, ", namespace: team/a", "{vault: 'secret/shop#key'}");
    assert_eq!(with_key(&gateway, "key-of-the-test").status, 200);
    // The file changes with time, and so does what is shown when the next token is needed.
    fs::write(&file, "another.token.entirely").expect("a file");
    {
        let mut state = vault.state();
        state.jwt = "another.token.entirely".to_owned();
        state.tokens.clear();
    }
    vault.put("secret/shop", json!({"key": "next-key-of-the-test"}));
    eventually("the next key is good", || with_key(&gateway, "next-key-of-the-test").status == 200);
    assert_eq!(vault.state().logins, 2);
}

#[test]
fn validate_asks_nobody_and_says_so_unless_it_is_told_to() {
    let vault = Mock::start();
    vault.put("secret/shop", json!({"key": "key-of-the-test"}));
    let of = |key: &str| text(address(), &vault, TOKEN, ", startTimeout: 300ms", key);
    let (code, told) =
        end_of("validate", &of("{vault: 'secret/shop#key'}, {vault: 'secret/x#y'}"), &ENVIRONMENT);
    assert_eq!(code, 0, "{told}");
    for part in [
        "the vault was not asked: 2 secrets of it were neither read nor checked",
        "`tidegate validate --vault` reads and checks them",
        "consumers[0].keys[0]",
        "ok: 1 listener",
    ] {
        assert!(told.contains(part), "lacks {part:?}:\n{told}");
    }
    assert!(vault.seen().is_empty());
    let (code, told) = end_of("validate --vault", &of("{vault: 'secret/shop#key'}"), &ENVIRONMENT);
    assert!(code == 0 && !told.contains("not asked"), "{told}");
    assert!(told.contains("asking the vault at http://127.0.0.1") && told.contains("up to 300ms"), "{told}");
    let (code, told) = end_of("validate --vault", &of("{vault: 'secret/x#y'}"), &ENVIRONMENT);
    assert!(code == 3 && told.contains("nothing lies there"), "{told}");
    // Without a vault, and with one that is opened by what lies in it.
    let without: String = of("{vault: 'secret/shop#key'}")
        .lines()
        .filter(|line| !line.starts_with("vault:"))
        .map(|line| format!("{line}\n"))
        .collect();
    let (code, told) = end_of("validate", &without, &ENVIRONMENT);
    assert!(code == 3 && told.contains("there is no vault in this configuration"), "{told}");
    let itself = of("{vault: 'secret/shop#key'}").replace("{env: TEST_VAULT_TOKEN}", "{vault: 'secret/a#b'}");
    let (code, told) = end_of("validate", &itself, &ENVIRONMENT);
    assert!(code == 3 && told.contains("what opens the vault cannot lie in it"), "{told}");
}

#[test]
fn nobody_is_asked_in_the_clear_but_on_this_machine() {
    let vault = Mock::start();
    let text = text(address(), &vault, TOKEN, "", "{vault: 'secret/shop#key'}");
    let text = text.replace(&format!("http://{}", vault.address()), "http://vault.example.test:8200");
    let (code, told) = end_of("validate", &text, &ENVIRONMENT);
    assert!(code == 3 && told.contains("secrets come over https"), "{told}");
}
