//! `jwt`: algorithms and key files.

use super::{
    super::harness::{Gateway, Upstream, eventually, free_port, run},
    ask,
    tokens::{ALL, Signer, claims, jwks},
};

fn text(port: u16, upstream: &Upstream, algorithms: &str) -> String {
    format!(
        "listeners: [{{name: public, address: \"127.0.0.1:{port}\"}}]
upstreams: [{{name: u, endpoints: [{{address: \"{}\"}}]}}]
routes:
  - name: r
    match: [{{path: {{prefix: /}}}}]
    policies: [{{jwt: {{issuer: 'https://id.example.test', algorithms: {algorithms}, jwks: {{file: jwks.json}}}}}}]
    backends: [{{upstream: u}}]\n",
        upstream.address
    )
}

fn start(keys: &str, algorithms: &str) -> (Gateway, Upstream) {
    let (upstream, port) = (Upstream::echo(), free_port());
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("jwks.json"), keys).expect("a file");
    let text = text(port, &upstream, algorithms);
    (Gateway::in_folder(folder, &text, ([127, 0, 0, 1], port).into(), |_| {}), upstream)
}

fn status(gateway: &Gateway, signer: &Signer) -> u16 {
    ask(gateway, "/", &format!("\nauthorization: Bearer {}", signer.sign(&claims(|_| {})))).status
}

#[test]
fn every_algorithm_verifies_and_only_where_it_is_allowed() {
    let signers: Vec<Signer> = ALL.into_iter().map(|name| Signer::new(name, name)).collect();
    let keys = jwks(&signers.iter().collect::<Vec<_>>());
    let (gateway, _upstream) = start(&keys, &format!("[{}]", ALL.join(", ")));
    for (name, signer) in ALL.iter().zip(&signers) {
        assert_eq!(status(&gateway, signer), 200, "{name}");
        let twin = Signer::new(name, name);
        assert_eq!(status(&gateway, &twin), 401, "{name} of another key with the same id");
    }
    let (gateway, _upstream) = start(&keys, "[ES256, PS384]");
    for (name, signer) in ALL.iter().zip(&signers) {
        let want = if ["ES256", "PS384"].contains(name) { 200 } else { 401 };
        assert_eq!(status(&gateway, signer), want, "{name}");
    }
}

#[test]
fn a_changed_key_file_is_read_again() {
    let (old, new) = (Signer::new("ES256", "old"), Signer::new("ES256", "new"));
    let (gateway, _upstream) = start(&jwks(&[&old]), "[ES256]");
    assert_eq!((status(&gateway, &old), status(&gateway, &new)), (200, 401));
    std::fs::write(gateway.folder.path().join("jwks.json"), jwks(&[&new])).expect("a file");
    eventually("the new keys", || status(&gateway, &new) == 200);
    assert_eq!(status(&gateway, &old), 401);
    std::fs::write(gateway.folder.path().join("jwks.json"), "{}").expect("a file");
    eventually("a refusal", || gateway.readiness()["lastReload"] == "refused");
    assert!(gateway.readiness()["reloadError"].as_str().is_some_and(|error| error.contains("jwks.json")));
    assert_eq!(status(&gateway, &new), 200, "what runs goes on with the keys that it has");
}

#[test]
fn a_key_set_without_a_key_that_serves_refuses_the_configuration_at_its_place() {
    let folder = tempfile::tempdir().expect("a folder");
    let (upstream, path) = (Upstream::echo(), folder.path().join("tidegate.yaml"));
    std::fs::write(&path, text(8080, &upstream, "[RS256]")).expect("a file");
    let validate = || run(&["validate", "-c", &path.display().to_string()]);
    for keys in ["{}", "not json", &jwks(&[&Signer::new("ES256", "one")])] {
        std::fs::write(folder.path().join("jwks.json"), keys).expect("a file");
        let (code, _, problems) = validate();
        assert_eq!(code, 3, "{keys}");
        for part in ["routes[0].policies[0].jwt", "jwks.json", "tidegate.yaml:6:17"] {
            assert!(problems.contains(part), "lacks {part:?}:\n{problems}");
        }
    }
    std::fs::write(folder.path().join("jwks.json"), jwks(&[&Signer::new("RS256", "one")])).expect("a file");
    assert_eq!(validate().0, 0);
}
