//! Every configuration that a reader can copy is one that loads.
//!
//! A block of a page need not be whole: what it lacks is put beside it by rule. A listener and a route are added
//! where it has none, a policy alone is placed among the global ones, and the files and variables that it refers to
//! are made. A block that begins with the name of another program's file is judged by that program.

use std::{fs, path::Path, process::Command};

use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};

use super::{files, root};
use crate::{
    harness::{run, run_with},
    otlp::receiver::peers,
};

#[test]
fn every_example_loads() {
    let all: Vec<_> = ["examples", "docs"].iter().flat_map(|of| files(&root().join(of), ".yaml")).collect();
    assert!(!all.is_empty(), "there is at least one example");
    for path in all {
        let (code, _, problems) = run(&["validate", "--config", &path.display().to_string()]);
        assert_eq!(code, 0, "{}:\n{problems}", path.display());
    }
}

/// The blocks of a page, however far they are indented.
pub(crate) fn blocks(page: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let mut indent = None;
    for line in page.lines() {
        let code = line.trim_start();
        match indent {
            None if ["```yaml", "```yml"].iter().any(|fence| code.starts_with(fence)) => {
                indent = Some(line.len() - code.len());
                found.push(String::new());
            }
            Some(_) if code.starts_with("```") => indent = None,
            Some(indent) => {
                let block = found.last_mut().expect("one has begun");
                block.push_str(line.get(indent..).unwrap_or_default());
                block.push('\n');
            }
            None => {}
        }
    }
    found
}

/// The keys at the left edge.
fn keys(block: &str) -> Vec<&str> {
    let starts = block.lines().filter(|line| line.starts_with(char::is_alphabetic));
    starts.filter_map(|line| line.split_once(':').map(|(key, _)| key)).collect()
}

/// The whole configuration that a block is a part of.
fn completed(block: &str) -> String {
    let keys = keys(block);
    let mut text = match keys[..] {
        [only] if model::policy::Policy::NAMES.contains(&only) => {
            let inside: String = block.lines().map(|line| format!("      {line}\n")).collect();
            format!("globalPolicies:\n  -\n{inside}")
        }
        _ => block.to_owned(),
    };
    for (key, value) in [
        ("listeners", "[{name: of-the-test, address: \"127.0.0.1:8080\"}]"),
        ("routes", "[{name: of-the-test, match: [{path: {prefix: /}}], respond: {}}]"),
    ] {
        if !keys.contains(&key) {
            text.push_str(&format!("{key}: {value}\n"));
        }
    }
    text
}

/// The same with Debian's rules against attacks where scripts/peers.sh puts them.
pub(crate) fn whole(block: &str) -> String {
    let rules = peers().join("modsecurity/usr/share/modsecurity-crs/rules");
    completed(block).replace("/usr/share/modsecurity-crs/rules", &rules.display().to_string())
}

/// Makes the certificates and keys that a text names, one pair for all.
pub(crate) fn make_files(text: &str, folder: &Path) {
    let mut params = CertificateParams::new(vec!["example.test".to_owned()]).expect("parameters");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().expect("a key");
    fs::create_dir_all(folder.join("public")).expect("a folder");
    let certificate = params.self_signed(&key).expect("a certificate").pem();
    for name in text.split([' ', ',', '{', '}', '\n', '"']) {
        let content = match name.rsplit_once('.').map(|(_, ending)| ending) {
            Some("crt" | "pem") => certificate.clone(),
            // Of several keys that sign no two are one.
            Some("key") if name.starts_with("signing") => KeyPair::generate().expect("a key").serialize_pem(),
            Some("key") => key.serialize_pem(),
            Some("ocsp") => "a response".to_owned(),
            Some("mmdb") => {
                fs::create_dir_all(folder.join("geo")).expect("a folder");
                fs::write(folder.join(name), places()).expect("a file");
                continue;
            }
            Some("wasm") => {
                fs::create_dir_all(folder.join("plugins")).expect("a folder");
                fs::write(folder.join(name), crate::plugins::small("")).expect("a file");
                continue;
            }
            Some("yaml") if name != "tidegate.yaml" => {
                "openapi: 3.1.0\npaths: {/pets: {get: {operationId: listPets, tags: [pets], responses: {'200': {description: pets}}}, delete: {operationId: deletePets, tags: [admin], responses: {'204': {description: gone}}}}}\n"
                    .to_owned()
            }
            Some("graphql") => {
                "type Query { search: [Product] all: [Product] }\ntype Mutation { a: Int }\ntype Product { a: Int }\ntype User { email: String }\n".to_owned()
            }
            _ => continue,
        };
        fs::write(folder.join(name), content).expect("a file");
    }
}

/// A database of addresses that knows of half of them that they are in Germany and of one system.
fn places() -> Vec<u8> {
    let text = |text: &str| [&[0x40 | text.len() as u8], text.as_bytes()].concat();
    let one = |key: &str, value: &str| [vec![0xe1], text(key), text(value)].concat();
    let record = [
        vec![0xe3],
        text("country"),
        one("iso_code", "DE"),
        text("continent"),
        one("code", "EU"),
        text("autonomous_system_number"),
        vec![0xc2, 0xfb, 0xf4],
    ]
    .concat();
    // One node: its left side is the record, its right side nothing.
    let tree = [0, 0, 17, 0, 0, 1];
    let mut file = [tree.as_slice(), &[0; 16], &record, b"\xab\xcd\xefMaxMind.com", &[0xe9]].concat();
    for (key, value) in [
        ("binary_format_major_version", vec![0xa1, 2]),
        ("binary_format_minor_version", vec![0xa0]),
        ("build_epoch", vec![1, 2, 1]),
        ("database_type", text("Country")),
        ("description", [vec![0xe1], text("en"), text("of-the-test")].concat()),
        ("ip_version", vec![0xa1, 6]),
        ("languages", vec![0, 4]),
        ("node_count", vec![0xc1, 1]),
        ("record_size", vec![0xa1, 24]),
    ] {
        file.extend(text(key));
        file.extend(value);
    }
    file
}

/// The variables that a text names.
pub(crate) fn variables(text: &str) -> Vec<(&str, &str)> {
    let named = text.split("{env: ").skip(1).filter_map(|rest| rest.split(['}', ',']).next());
    let value = |name: &str| match name {
        "DATABASE_URL" => "postgresql://of-the-test/of-the-test",
        "SHOP_SESSION_SECRET" => "of-the-test, and longer than what is guessed",
        _ => "of-the-test",
    };
    named.map(|name| (name, value(name))).collect()
}

/// What a page's block is refused for.
fn refused(block: &str) -> Option<String> {
    let folder = tempfile::tempdir().expect("a folder");
    let first = block.lines().next().unwrap_or_default();
    let named = first.strip_prefix("# ").filter(|name| name.ends_with(".yaml") || name.ends_with(".yml"));
    if let Some("prometheus.yml") = named {
        let rules = root().join("deploy/prometheus/rules.yaml");
        fs::copy(rules, folder.path().join("rules.yaml")).expect("the rules");
        fs::write(folder.path().join("prometheus.yml"), block).expect("a file");
        let mut promtool = Command::new(peers().join("promtool"));
        let said = promtool.args(["check", "config", "prometheus.yml"]).current_dir(&folder).output();
        let said = said.expect("promtool runs");
        return (!said.status.success()).then(|| String::from_utf8_lossy(&said.stderr).into_owned());
    }
    if let Some("cases.yaml") = named {
        let path = folder.path().join("cases.yaml");
        fs::write(&path, block).expect("a file");
        let (code, _, problems) = run(&["prompt", "test", "--check", &path.display().to_string()]);
        return (code != 0).then_some(problems);
    }
    let text = whole(block);
    make_files(&text, folder.path());
    let file = folder.path().join("tidegate.yaml");
    fs::write(&file, &text).expect("a file");
    let (code, _, problems) =
        run_with(&["validate", "--config", &file.display().to_string()], &variables(&text));
    (code != 0).then_some(problems)
}

#[test]
fn every_block_of_the_documents_loads() {
    let mut pages = files(&root().join("docs"), ".md");
    pages.extend(files(&root().join("examples"), ".md"));
    pages.extend(
        ["README.md", "CONTRIBUTING.md", "ARCHITECTURE.md", "SECURITY.md"].map(|page| root().join(page)),
    );
    let (mut checked, mut bad) = (0, Vec::new());
    for path in pages {
        for (number, block) in blocks(&fs::read_to_string(&path).expect("a page")).iter().enumerate() {
            checked += 1;
            if let Some(problems) = refused(block) {
                bad.push(format!("{} block {}:\n{block}\n{problems}", path.display(), number + 1));
            }
        }
    }
    assert!(checked >= 10, "{checked} blocks");
    assert!(bad.is_empty(), "{}", bad.join("\n"));
}

#[test]
fn a_block_that_does_not_load_is_seen_wherever_it_stands() {
    for block in
        ["acessLog: []\n", "jwt: {issuer: x}\n", "listeners: [{name: a}]\n", "# prometheus.yml\nscrape: 1\n"]
    {
        assert!(refused(block).is_some(), "{block}");
    }
    assert_eq!(blocks("- a\n  ```yaml\n  a:\n    b: 1\n  ```\n```sh\nx\n```\n"), ["a:\n  b: 1\n"]);
}
