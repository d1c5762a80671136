//! `waf` in the whole gateway refuses those of the requests of `bench/waf_requests.py` that ModSecurity in Apache refuses
//! with Debian's rules, but for those listed here. The engine is held to more than that in `crates/waf/tests/it/verdicts.rs`.

use std::{collections::BTreeMap, fs, path::Path, process::Command};

use super::super::harness::{Answer, Gateway, peers_folder, raw};

/// Requests that the gateway refuses otherwise than Apache with ModSecurity does, and how many of them there are.
const OTHERWISE: &[(&str, usize, &str)] = &[
    (
        "hostile: evasion, multipart: an empty file name: 403",
        1,
        "what only some take for a file is looked at as a field here",
    ),
    (
        "hostile: evasion, XML: UTF-7: 400",
        1,
        "ModSecurity reads XML in an encoding in which no rule knows what it says",
    ),
];

/// What the requests are, and whether ModSecurity refuses them at the first level.
fn verdicts() -> Vec<(String, bool)> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../waf/tests/verdicts/crs-3.3.4.tsv");
    let text = fs::read_to_string(path).expect("the file of verdicts");
    let line = |line: &str| {
        let cells: Vec<&str> = line.split('\t').collect();
        (format!("{}: {}", cells[1], cells[2]), !cells[3].starts_with("200 "))
    };
    text.lines().filter(|line| !line.starts_with('#')).map(line).collect()
}

/// The requests, each over a connection of its own.
fn requests() -> Vec<Vec<u8>> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../bench/waf_requests.py");
    let made = Command::new("python3").arg("-B").arg(script).arg("--packed").output().expect("python3");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let (mut rest, mut all) = (&made.stdout[..], Vec::new());
    while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
        let length: usize = String::from_utf8_lossy(&rest[..end]).parse().expect("a length");
        let (one, after) = rest[end + 1..].split_at(length);
        let head = one.windows(4).position(|window| window == b"\r\n\r\n").expect("a head");
        all.push([&one[..head], b"\r\nConnection: close", &one[head..]].concat());
        rest = after;
    }
    all
}

#[test]
fn the_gateway_refuses_what_modsecurity_refuses() {
    let debian =
        peers_folder().join("modsecurity").canonicalize().expect("Debian's rules: run scripts/peers.sh");
    let gateway = Gateway::start(&format!(
        "routes: [{{name: r, match: [{{path: {{prefix: /}}}}], respond: {{}}, policies: [{{waf: {{\
         rules: [\"{0}/usr/share/modsecurity-crs/rules\"], setup: \"{0}/etc/modsecurity/crs/crs-setup.conf\", \
         paranoia: 1, allowedMethods: [GET, HEAD, POST, OPTIONS]}}}}]}}]",
        debian.display()
    ));
    let (verdicts, requests) = (verdicts(), requests());
    assert_eq!(verdicts.len(), requests.len());
    let mut otherwise: BTreeMap<String, usize> = BTreeMap::new();
    for ((what, is_refused), request) in verdicts.iter().zip(&requests) {
        let answer = Answer::parse(&raw(gateway.address, request)).expect("an answer");
        if (answer.status != 200) != *is_refused {
            *otherwise.entry(format!("{what}: {}", answer.status)).or_default() += 1;
        }
    }
    let listed = OTHERWISE.iter().map(|(what, count, _)| ((*what).to_owned(), *count)).collect();
    assert_eq!(otherwise, listed);
}
