//! What is stated in one place: queries, and the versions of tools.

use std::{collections::BTreeMap, fs};

use super::{files, root, sources};

/// How statements of SQL begin.
const STATEMENTS: [&str; 10] = [
    "SELECT ",
    "INSERT ",
    "UPDATE ",
    "DELETE FROM ",
    "CREATE TABLE ",
    "CREATE INDEX ",
    "ALTER TABLE ",
    "DROP TABLE ",
    "PRAGMA ",
    "WITH RECURSIVE ",
];

/// Whether a line of code has a statement of SQL at the start of a text, or of a line of one.
fn has_sql(line: &str) -> bool {
    let starts = line.split(['"', '\'']).map(str::trim_start);
    starts.into_iter().any(|text| STATEMENTS.iter().any(|statement| text.starts_with(statement)))
}

#[test]
fn sql_is_seen_however_it_is_quoted() {
    for line in [
        "query(\"SELECT 1\")",
        "CREATE TABLE IF NOT EXISTS a (",
        "    INSERT INTO a",
        "r#\"UPDATE a SET b\"#",
    ] {
        assert!(has_sql(line), "{line}");
    }
    for line in ["// SELECT is", "header::PRAGMA,", "let update = 1;", "\"select\"", "Method::DELETE"] {
        assert!(!has_sql(line), "{line}");
    }
}

#[test]
fn sql_stands_under_store_alone() {
    let mut found = Vec::new();
    let mut stores = 0;
    for (path, text) in sources() {
        let sql = text.lines().enumerate().filter(|(_, line)| has_sql(line));
        let sql: Vec<usize> = sql.map(|(at, _)| at + 1).collect();
        let in_tests = path.components().any(|part| part.as_os_str() == "tests");
        match path.components().any(|part| part.as_os_str() == "store") {
            true => stores += sql.len(),
            false if in_tests => {}
            false => found.extend(sql.iter().map(|line| format!("{}:{line}", path.display()))),
        }
    }
    assert!(stores > 0, "there is SQL somewhere");
    assert!(found.is_empty(), "SQL outside of a folder `store`:\n{}", found.join("\n"));
}

#[test]
fn every_workspace_asks_for_the_same_compiler() {
    let mut stated = BTreeMap::new();
    for path in files(&root(), "Cargo.toml") {
        let text = fs::read_to_string(&path).expect("a manifest");
        let versions = text.lines().filter_map(|line| line.strip_prefix("rust-version = "));
        stated.extend(versions.map(|version| (path.clone(), version.trim_matches('"').to_owned())));
    }
    let first = stated.get(&root().join("Cargo.toml")).expect("the workspace states it").clone();
    assert!(stated.values().all(|version| *version == first), "{stated:?}");
    let members = stated.keys().filter(|path| path.starts_with(root().join("crates"))).count();
    assert_eq!(members, 0, "crates inherit it: {stated:?}");
    let recorded =
        fs::read_to_string(root().join("bench/instructions.toml")).expect("bench/instructions.toml");
    let is_new_enough = recorded.contains(&format!("compiler = \"rustc {first}."));
    assert!(is_new_enough, "bench/instructions.toml was recorded with another compiler than {first}");
}

#[test]
fn versions_of_peers_are_stated_in_one_script() {
    let script = root().join("scripts/peers.sh");
    let text = fs::read_to_string(&script).expect("scripts/peers.sh");
    let pinned: Vec<&str> = text.split_whitespace().filter(|word| word.contains("==")).collect();
    let pinned: Vec<&str> =
        pinned.into_iter().filter(|word| word.starts_with(|c: char| c == '"' || c.is_alphabetic())).collect();
    assert!(pinned.len() >= 5, "{pinned:?}");
    let mut found = Vec::new();
    for ending in [".sh", ".py", ".rs", ".md", ".toml", ".yaml", "Makefile"] {
        for path in files(&root(), ending).into_iter().filter(|path| *path != script) {
            let text = fs::read_to_string(&path).unwrap_or_default();
            for pin in &pinned {
                let name = pin.trim_matches('"').split(['=', '[']).next().unwrap_or_default();
                let marks = [format!("{name}=="), format!("{name}>="), format!("{name}~=")];
                if marks.iter().any(|mark| text.contains(mark)) {
                    found.push(format!("{}: {name}", path.display()));
                }
            }
        }
    }
    assert!(found.is_empty(), "stated again:\n{}", found.join("\n"));
}
