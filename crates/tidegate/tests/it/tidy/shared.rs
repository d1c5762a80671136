//! The program and its tests are compiled once: crates that both have have the same features in both.

use std::{collections::BTreeSet, process::Command};

use super::root;

/// Packages with their features, as cargo resolves them.
fn packages(chosen: &[&str]) -> BTreeSet<String> {
    let done = Command::new(env!("CARGO"))
        .args(["tree", "--offline", "--locked", "--prefix", "none", "--format", "{p} {f}"])
        .args(chosen)
        .current_dir(root())
        .output()
        .expect("cargo runs");
    assert!(done.status.success(), "cargo tree: {}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8_lossy(&done.stdout)
        .lines()
        .map(|line| line.trim_end_matches(" (*)").to_owned())
        .collect()
}

#[test]
fn tests_ask_for_no_feature_that_the_program_lacks() {
    let tests = packages(&["--workspace", "--edges", "normal,build,dev"]);
    let program = packages(&["--package", "tidegate", "--edges", "normal,build"]);
    assert!(program.len() > 300, "{} packages", program.len());
    let twice: Vec<_> = program.difference(&tests).map(String::as_str).collect();
    assert!(
        twice.is_empty(),
        "compiled twice, once with these features and once with what tests ask for; add the missing features to the \
         list in crates/tidegate/Cargo.toml:\n{}",
        twice.join("\n")
    );
}
