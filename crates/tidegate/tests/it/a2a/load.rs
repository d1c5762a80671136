//! Mistakes in the settings of agents, told with their place and what to do.

use std::fs;

use super::config;
use crate::harness::run;

#[test]
fn mistakes_are_told_with_their_place() {
    let good = || vec![("echo", "http://127.0.0.1:9/".to_owned())];
    let twice = vec![("echo", "http://127.0.0.1:9/".to_owned()), ("echo", "http://127.0.0.1:8/".to_owned())];
    let odd = vec![("echo", "ftp://127.0.0.1/".to_owned())];
    for (agents, more, says) in [
        (vec![], "", "agents"),
        (twice, "", "there twice"),
        (odd, "", "expected `http://`"),
        (good(), "      publicUrl: /a2a\n", "expected a URL"),
        (good(), "      pushHosts: [\"http://x\"]\n", "expected a host"),
        (good(), "      idKey: short\n", "idKey"),
        (good(), "      rules: [{agents: [other], allow: \"true\"}]\n", "no agent `other`"),
        (good(), "      rules: [{methods: [SendMessage]}]\n", "expected `allow` or `rateLimit`"),
        (good(), "      rules: [{methods: [message/send], allow: \"true\"}]\n", "SendMessage"),
        (good(), "      rules: [{allow: \"nothing.here\"}]\n", "rules[0].allow"),
        (good(), "      cardTtl: 5\n", "cardTtl"),
    ] {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("tidegate.yaml");
        let listeners = "listeners: [{name: public, address: \"127.0.0.1:1\"}]\n";
        let text = config(&agents, more).replace("agents:\n\n", "agents: []\n");
        fs::write(&path, format!("{listeners}{text}")).expect("written");
        let (code, out, error) = run(&["validate", "-c", path.to_str().expect("a path")]);
        // Lines are broken where they are too long.
        let told = format!("{out}{error}").replace('│', " ");
        let told = told.split_whitespace().collect::<Vec<_>>().join(" ");
        assert_ne!(code, 0, "{says}: {told}");
        assert!(told.contains(says), "{says}: {told}");
    }
}
