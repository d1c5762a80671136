//! A policy is two files of one name and one line in each registry, and nothing else knows it by name.

use std::{collections::BTreeMap, fs, path::Path, process::Command};

use super::{files, root};

const SETTINGS: &str = "crates/model/src/policy";
const BEHAVIOURS: &str = "crates/proxy/src/policy";

/// A registry as it stands: each policy's file with its type, and its key where the line has one.
fn registry(folder: &str) -> BTreeMap<String, (String, Option<String>)> {
    let text = fs::read_to_string(root().join(folder).join("mod.rs")).expect("a registry");
    let table = text.split("\npolicies! {\n").nth(1).expect("a table").split("\n}").next().expect("its end");
    let entry = |line: &str| {
        let (file, rest) = line.trim().trim_end_matches(';').split_once(": ").expect("`file: Name`");
        let (name, key) = match rest.split_once(" => ") {
            Some((name, rest)) => (name, rest.split('"').nth(1).map(str::to_owned)),
            None => (rest, None),
        };
        (file.to_owned(), (name.to_owned(), key))
    };
    table.lines().map(entry).collect()
}

/// The files of a folder that `is_policy`, by name.
fn policies_in(folder: &str, is_policy: fn(&str) -> bool) -> Vec<String> {
    let all = fs::read_dir(root().join(folder)).expect("a folder").flatten();
    let mut names: Vec<String> = all
        .filter(|entry| {
            entry.path().is_file() && fs::read_to_string(entry.path()).is_ok_and(|t| is_policy(&t))
        })
        .filter_map(|entry| entry.file_name().to_string_lossy().strip_suffix(".rs").map(str::to_owned))
        .filter(|name| name != "mod")
        .collect();
    names.sort();
    names
}

#[test]
fn every_policy_is_a_pair_of_files_with_a_line_in_each_registry() {
    let (model, proxy) = (registry(SETTINGS), registry(BEHAVIOURS));
    assert!(model.len() >= 15, "{model:?}");
    let named = |all: &BTreeMap<String, (String, Option<String>)>| -> Vec<(String, String)> {
        all.iter().map(|(file, (name, _))| (file.clone(), name.clone())).collect()
    };
    assert_eq!(named(&model), named(&proxy), "the registries of settings (left) and of behaviours (right)");
    let all: Vec<String> = model.keys().cloned().collect();
    assert_eq!(policies_in(SETTINGS, |_| true), all, "files of {SETTINGS} (left), registry (right)");
    // Beside policies there is what several of them share: it behaves like none itself.
    let behaves = |text: &str| text.lines().any(|line| line.starts_with("impl Policy for "));
    assert_eq!(policies_in(BEHAVIOURS, behaves), all, "behaviours in {BEHAVIOURS} (left), registry (right)");
}

/// The code of a file, without its unit tests.
pub(super) fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).expect("a source file");
    text.split("#[cfg(test)]\nmod ").next().unwrap_or_default().to_owned()
}

pub(super) fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_alphanumeric() && c != '_')
}

#[test]
fn nothing_else_knows_a_policy_by_name() {
    let known = registry(SETTINGS);
    let mut found = Vec::new();
    for path in files(&root().join("crates"), ".rs") {
        let of_crate = path.strip_prefix(root()).expect("below the root").to_string_lossy().into_owned();
        let is_registry = [SETTINGS, BEHAVIOURS].iter().any(|folder| of_crate == format!("{folder}/mod.rs"));
        // Importers write what another gateway's plugins become: no policy is complete without being found there.
        let is_importer = of_crate.contains("/cli/import/");
        if !of_crate.contains("/src/") || of_crate.contains("fuzzing") || is_importer {
            continue;
        }
        let code = code(&path);
        for (file, (name, key)) in &known {
            let own = [SETTINGS, BEHAVIOURS].map(|folder| format!("{folder}/{file}"));
            if own.iter().any(|own| of_crate.starts_with(own)) {
                continue;
            }
            if is_registry {
                // Some phases are named like the policies for which they were made.
                let is_phase =
                    ["Cors", "IpRestriction", "Waf", "RateLimit", "Cache"].contains(&name.as_str());
                let names = |word: &str| word == file || (word == name && !is_phase);
                let lines = code.lines().filter(|line| !line.trim_start().starts_with("//"));
                let lines = lines.filter(|line| words(line).any(names)).count();
                // These are words of the registry itself, too.
                let is_word = ["headers", "transform", "validate"].contains(&file.as_str());
                if lines != 1 && !is_word {
                    found.push(format!("{of_crate}: `{file}` stands in {lines} lines, expected one"));
                }
                continue;
            }
            let variants = ["Policy", "Settings"].map(|of| format!("{of}::{name}"));
            let mut marks: Vec<String> = variants.to_vec();
            // Keys of one word are words of other things, too, and `anyOf` is one of JSON Schema's.
            marks.extend(
                key.iter()
                    .filter(|key| key.contains(char::is_uppercase) && *key != "anyOf")
                    .map(|key| format!("\"{key}\"")),
            );
            for mark in marks {
                let is_whole = |rest: &str| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_');
                if code.split(&*mark).skip(1).any(is_whole) {
                    found.push(format!("{of_crate}: `{mark}`"));
                }
            }
        }
    }
    assert!(found.is_empty(), "a new policy would have to be added here, too:\n{}", found.join("\n"));
}

#[test]
fn files_that_only_a_registry_names_are_formatted_like_all_others() {
    let behaviours = files(&root().join(BEHAVIOURS), ".rs");
    let sinks = ["crates/model/src/resource/access_log", "crates/telemetry/src/senders"];
    let sinks = sinks.iter().flat_map(|folder| files(&root().join(folder), ".rs"));
    let handlers = ["crates/model/src/resource", "crates/proxy/src/handler"];
    let handlers = handlers.iter().flat_map(|folder| files(&root().join(folder), ".rs"));
    let all = files(&root().join(SETTINGS), ".rs").into_iter().chain(behaviours).chain(sinks).chain(handlers);
    let mut rustfmt = Command::new("rustfmt");
    rustfmt.args(["--check", "--edition", "2024", "--config-path"]).arg(root()).args(all);
    let output = rustfmt.output().expect("rustfmt runs");
    assert!(output.status.success(), "run `make fmt`:\n{}", String::from_utf8_lossy(&output.stdout));
}
