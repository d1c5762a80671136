//! `scripts/peers.sh` on a system that lacks what the tests need, and what `scripts/bench.sh` writes.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    process::Command,
};

use super::tidy::root;

#[test]
fn what_is_missing_is_told_at_once_with_the_command_that_installs_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = std::env::var_os("PATH").expect("a path");
    for name in ["bash", "mkdir", "dirname"] {
        let found = std::env::split_paths(&path).map(|at| at.join(name)).find(|at| at.exists());
        symlink(found.expect(name), folder.path().join(name)).expect("a link");
    }
    // Somebody who may not install packages.
    fs::write(folder.path().join("id"), "#!/bin/sh\necho 1000\n").expect("a file");
    fs::set_permissions(folder.path().join("id"), fs::Permissions::from_mode(0o755)).expect("a mode");
    let output = Command::new(folder.path().join("bash"))
        .arg(root().join("scripts/peers.sh"))
        .env("PATH", folder.path())
        .output()
        .expect("bash runs");
    assert_eq!(output.status.code(), Some(1));
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(told.contains("sudo apt-get install python3 python3-venv build-essential curl"), "{told}");
}

#[test]
fn the_figures_of_the_readme_are_those_of_the_performance_page() {
    let rows = |text: &str| -> Vec<String> {
        let rows = text.lines().filter(|line| line.starts_with("| ") && line.contains(" | ≤ "));
        // Why a goal is missed stands on the page alone.
        rows.map(|row| {
            row.split("**: ").next().unwrap_or_default().trim_end_matches([' ', '|', '*']).to_owned()
        })
        .collect()
    };
    let read = |path: &str| fs::read_to_string(root().join(path)).expect("a page");
    let readme = read("README.md");
    let (of_bench, of_ai) =
        readme.split_once("<!-- figures of the AI gateway -->").expect("the README has both");
    let page = rows(&read("docs/performance.md"));
    assert!(page.len() > 10, "{page:?}");
    assert_eq!(rows(of_bench), page, "README.md (left) differs; `make bench` writes both");
    let page = rows(&read("docs/performance-ai.md"));
    assert!(page.len() > 5, "{page:?}");
    assert_eq!(rows(of_ai), page, "README.md (left) differs; `scripts/bench.sh --ai` writes both");
}
