//! Rules that keep the house: crate arrows, promises at the top of files, sizes; what they are about has a file each.

pub(crate) mod documents;
mod handlers;
mod links;
mod policies;
mod shared;
mod statements;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// Longest function and file, in lines.
const FUNCTION_LINES_MAX: usize = 120;
const FILE_LINES_MAX: usize = 800;

pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("two folders up").to_owned()
}

/// Every file below a folder that ends so, `target` and hidden folders left out.
pub(crate) fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
        if path.is_dir() && name != "target" && name != "node_modules" && !name.starts_with('.') {
            found.extend(files(&path, ending));
        } else if name.ends_with(ending) {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn sources() -> Vec<(PathBuf, String)> {
    let all = [root().join("crates"), root().join("examples"), root().join("fuzz"), root().join("bench")];
    let files = all.iter().flat_map(|folder| files(folder, ".rs"));
    files.map(|path| (path.clone(), fs::read_to_string(&path).expect("a source file"))).collect()
}

#[test]
fn every_file_opens_with_its_promise() {
    let silent: Vec<_> = sources().into_iter().filter(|(_, text)| !text.starts_with("//! ")).collect();
    assert!(
        silent.is_empty(),
        "without `//!`: {:?}",
        silent.iter().map(|(path, _)| path).collect::<Vec<_>>()
    );
}

/// Whether a line of code begins a function, whoever may call it and however.
fn begins_function(code: &str) -> bool {
    let mut words = code.split_whitespace();
    let is_qualifier = |word: &&str| {
        matches!(*word, "pub" | "async" | "const" | "unsafe" | "default") || word.starts_with("pub(")
    };
    words.find(|word| !is_qualifier(word)) == Some("fn")
}

#[test]
fn a_function_is_seen_whoever_may_call_it() {
    for code in [
        "fn a() {",
        "pub fn a() {",
        "pub async fn a() {",
        "pub(super) async fn a() {",
        "pub(crate) const fn a<T>(",
    ] {
        assert!(begins_function(code), "{code}");
    }
    for code in ["let f = fn_of(x);", "type F = fn (u8);", "pub struct A {", "// fn a() {"] {
        assert!(!begins_function(code), "{code}");
    }
}

#[test]
fn no_file_and_no_function_is_too_long() {
    let mut long = Vec::new();
    for (path, text) in sources() {
        let lines: Vec<&str> = text.lines().collect();
        if lines.len() > FILE_LINES_MAX {
            long.push(format!("{}: {} lines", path.display(), lines.len()));
        }
        for (at, line) in lines.iter().enumerate() {
            let code = line.trim_start();
            if !begins_function(code) {
                continue;
            }
            let indent = line.len() - code.len();
            let end = format!("{}}}", " ".repeat(indent));
            let length = lines[at..].iter().position(|line| *line == end).unwrap_or(0);
            if length > FUNCTION_LINES_MAX {
                long.push(format!("{}:{}: a function of {length} lines", path.display(), at + 1));
            }
        }
    }
    assert!(long.is_empty(), "{}", long.join("\n"));
}

#[test]
fn crates_depend_only_on_what_the_design_allows() {
    let allowed: BTreeMap<&str, &[&str]> = BTreeMap::from([
        ("tidegate-model", &[][..]),
        ("tidegate-http1", &[]),
        ("tidegate-http3", &[]),
        ("tidegate-resilience", &[]),
        ("tidegate-mutate", &[]),
        ("tidegate-ai", &[]),
        ("tidegate-waf", &[]),
        ("tidegate-transcode", &[]),
        ("tidegate-events", &[]),
        ("tidegate-graphql", &[]),
        ("tidegate-identity", &[]),
        ("tidegate-vault", &[]),
        ("tidegate-acme", &[]),
        ("tidegate-layer4", &[]),
        ("tidegate-kafka", &[]),
        ("tidegate-wasm", &[]),
        ("tidegate-mock-provider", &["tidegate-ai"]),
        ("shop", &[]),
        ("tidegate-sinks", &[]),
        ("tidegate-telemetry", &["tidegate-model", "tidegate-sinks", "tidegate-kafka"]),
        (
            "tidegate-proxy",
            &[
                "tidegate-model",
                "tidegate-http1",
                "tidegate-http3",
                "tidegate-resilience",
                "tidegate-ai",
                "tidegate-waf",
                "tidegate-transcode",
                "tidegate-events",
                "tidegate-kafka",
                "tidegate-graphql",
                "tidegate-identity",
                "tidegate-wasm",
                "tidegate-layer4",
                "tidegate-telemetry",
            ],
        ),
        (
            "tidegate",
            &[
                "tidegate-model",
                "tidegate-acme",
                "tidegate-ai",
                "tidegate-proxy",
                "tidegate-telemetry",
                "tidegate-vault",
            ],
        ),
    ]);
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(root())
        .output()
        .expect("cargo runs");
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).expect("metadata");
    let packages = metadata["packages"].as_array().expect("packages");
    assert_eq!(packages.len(), allowed.len(), "a crate without a rule here, or a rule without a crate");
    for package in packages {
        let name = package["name"].as_str().expect("a name");
        for dependency in package["dependencies"].as_array().expect("dependencies") {
            let other = dependency["name"].as_str().expect("a name");
            let is_ours = allowed.contains_key(other);
            // What builds a crate is as much a part of it as what it is built from; tests may know more.
            let is_of_tests = dependency["kind"] == "dev";
            assert!(
                !is_ours || is_of_tests || allowed[name].contains(&other),
                "{name} may not depend on {other}"
            );
        }
    }
}

#[test]
fn every_problem_has_a_section_in_the_documents() {
    let page = fs::read_to_string(root().join("docs/problems.md")).expect("docs/problems.md");
    for problem in proxy::Problem::ALL {
        let heading = format!("## {}\n", problem.slug());
        assert!(page.contains(&heading), "docs/problems.md lacks `{}`", heading.trim());
    }
}

#[test]
fn every_page_of_the_documents_is_reachable_from_the_readme() {
    let readme = fs::read_to_string(root().join("README.md")).expect("README.md");
    for page in fs::read_dir(root().join("docs")).expect("docs/").flatten() {
        let name = page.file_name().to_string_lossy().into_owned();
        if name.ends_with(".md") {
            assert!(readme.contains(&format!("docs/{name}")), "README.md does not link docs/{name}");
        }
    }
}
