//! Secrets of a vault: asked for once each when all else is known, told by nothing, and part of the revision.

use std::{cell::RefCell, io, path::Path};

use bytes::Bytes;
use model::{Resolver, Secret, Snapshot, Source, VaultName};

const TEXT: &str = r#"
vault:
  address: https://vault.example.test:8200
  auth: {appRole: {roleId: {env: ROLE}, secretId: {file: secret-id}}}
consumers:
  - {name: a, keys: [{vault: "secret/shop#one"}, {vault: "secret/shop#two"}]}
  - {name: b, keys: [{vault: "/secret/shop#three"}], basic: [{username: u, password: {vault: "secret/shop#one"}}]}
"#;

/// Tells what was asked, and answers with a value of its own.
struct Vault {
    asked: RefCell<Vec<String>>,
    answer: fn(&VaultName) -> Result<String, String>,
}

impl Resolver for Vault {
    fn env(&self, name: &str) -> Option<String> {
        (name == "ROLE").then(|| "role-of-the-test".to_owned())
    }

    fn file(&self, _: &Path) -> io::Result<Bytes> {
        Ok(Bytes::from_static(b"secret-id-of-the-test\n"))
    }

    fn vault(&self, so_far: &Snapshot, names: &[VaultName]) -> Option<Vec<Result<String, String>>> {
        // What opens it is known by now.
        let settings = so_far.config.vault.as_ref().expect("a vault");
        let model::resource::vault::VaultAuth::AppRole(role) = &settings.auth else {
            panic!("another method")
        };
        assert_eq!(so_far.secret(&role.role_id), "role-of-the-test");
        assert_eq!(role.secret_id.as_ref().map(|id| so_far.secret(id)), Some("secret-id-of-the-test"));
        self.asked.borrow_mut().extend(names.iter().map(ToString::to_string));
        Some(names.iter().map(self.answer).collect())
    }
}

fn load(
    text: &str,
    answer: fn(&VaultName) -> Result<String, String>,
) -> (Result<Snapshot, String>, Vec<String>) {
    let vault = Vault { asked: RefCell::default(), answer };
    let loaded = model::load(&[Source::new("tidegate.yaml", text)], &vault);
    (loaded.map_err(|found| found.render(false)), vault.asked.into_inner())
}

#[test]
fn each_is_asked_for_once_and_shows_nowhere() {
    let (loaded, asked) = load(TEXT, |name| Ok(format!("value-of-{}", name.key())));
    let snapshot = loaded.expect("loads");
    assert_eq!(asked, ["secret/shop#one", "secret/shop#three", "secret/shop#two"]);
    let keys: Vec<&Secret> = snapshot.config.consumers.iter().flat_map(|consumer| &consumer.keys).collect();
    let values: Vec<&str> = keys.iter().map(|key| snapshot.secret(key)).collect();
    assert_eq!(values, ["value-of-one", "value-of-two", "value-of-three"]);
    let shown = format!(
        "{snapshot:?} {} {:?}",
        serde_json::to_string(&*snapshot.config).expect("JSON"),
        snapshot.config
    );
    assert!(
        shown.contains("secret/shop#one") && !shown.contains("value-of") && !shown.contains("of-the-test"),
        "{shown}"
    );
    let (other, _) = load(TEXT, |name| Ok(format!("other-value-of-{}", name.key())));
    assert_ne!(other.expect("loads").revision, snapshot.revision, "a value that changes is a change");
}

#[test]
fn what_cannot_be_had_is_told_at_each_place_that_wants_it() {
    let (loaded, _) = load(TEXT, |name| match name.key() {
        "one" => Err("cannot read `secret/shop`: sealed".to_owned()),
        "two" => Ok(String::new()),
        _ => Ok("value-of-three".to_owned()),
    });
    let told = loaded.expect_err("refused");
    for part in [
        "consumers[0].keys[0]: cannot read `secret/shop`: sealed",
        "consumers[0].keys[1]: `secret/shop#two` is empty in the vault",
        "consumers[1].basic[0].password: cannot read",
    ] {
        assert!(told.contains(part), "lacks {part}:\n{told}");
    }
    assert!(!told.contains("value-of-three"), "{told}");
}

#[test]
fn nobody_is_asked_while_something_else_is_wrong() {
    let (loaded, asked) = load(&TEXT.replace("ROLE", "MISSING"), |_| panic!("asked"));
    assert!(loaded.is_err_and(|told| told.contains("`MISSING` is not set")));
    assert!(asked.is_empty());
    let (loaded, asked) = load(&format!("{TEXT}listeners: 7\n"), |_| panic!("asked"));
    assert!(loaded.is_err() && asked.is_empty());
}

#[test]
fn whoever_only_looks_gets_something_in_their_place_and_is_told_so() {
    let loaded = crate::support::load(&TEXT.replace("secretId: {file: secret-id}", "secretId: {env: ID}"));
    let snapshot = loaded.expect("loads");
    assert_eq!(snapshot.unread_secrets(), 3);
    let warnings = snapshot.warnings.to_string();
    assert!(
        warnings.contains("the vault was not asked: 3 secrets of it were neither read nor checked"),
        "{warnings}"
    );
    let values: Vec<&str> = snapshot
        .config
        .consumers
        .iter()
        .flat_map(|consumer| &consumer.keys)
        .map(|key| snapshot.secret(key))
        .collect();
    assert!(values.iter().all(|value| value.len() > 40) && values[0] != values[1], "{values:?}");
}
