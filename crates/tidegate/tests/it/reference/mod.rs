//! docs/reference/ is the JSON Schema as pages, one for each resource, handler and policy: written here, and checked to be
//! current.

mod examples;
mod page;
mod running;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

use serde_json::Value;

use super::tidy::root;

const FOLDER: &str = "docs/reference";

#[test]
fn reference_is_current() {
    let (code, schema, problems) = super::harness::run(&["schema"]);
    assert_eq!(code, 0, "{problems}");
    let schema: Value = serde_json::from_str(&schema).expect("a schema");
    let pages = page::all(&schema, &examples::Examples::read());
    let folder = root().join(FOLDER);
    if std::env::var_os("TIDEGATE_WRITE_DOCS").is_some() {
        let _ = fs::remove_dir_all(&folder);
        for (name, text) in &pages {
            let path = folder.join(name);
            fs::create_dir_all(path.parent().expect("a folder")).expect("docs/ can be written");
            fs::write(path, text).expect("docs/ can be written");
        }
    }
    let known = written();
    let names = |pages: &BTreeMap<String, String>| pages.keys().cloned().collect::<BTreeSet<_>>();
    assert_eq!(names(&known), names(&pages), "run with TIDEGATE_WRITE_DOCS=1");
    let stale: Vec<_> =
        pages.iter().filter(|(name, text)| known[*name] != **text).map(|(name, _)| name).collect();
    assert!(stale.is_empty(), "{stale:?} are not current: run with TIDEGATE_WRITE_DOCS=1");
}

/// The pages as they are, by their path in the folder.
fn written() -> BTreeMap<String, String> {
    let folder = root().join(FOLDER);
    let files = super::tidy::files(&folder, ".md").into_iter();
    files
        .map(|path| {
            let name = path.strip_prefix(&folder).expect("a file of the folder").display().to_string();
            (name, fs::read_to_string(path).expect("a page"))
        })
        .collect()
}

/// The settings of ours in the second column of the tables of docs/compare.md, without what stands around them.
fn named(page: &str) -> BTreeSet<String> {
    let rows = page.lines().filter(|line| line.starts_with("| ")).filter_map(|line| line.split(" | ").nth(1));
    let codes =
        rows.flat_map(|cell| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>());
    let settings = codes.filter(|code| !code.contains(' ') && !code.starts_with('/'));
    settings
        .flat_map(|code| {
            code.split('.').map(|step| step.trim_end_matches("[]").to_owned()).collect::<Vec<_>>()
        })
        .collect()
}

#[test]
fn every_setting_that_the_comparison_names_is_in_the_reference() {
    let page = fs::read_to_string(root().join("docs/compare.md")).expect("a page");
    let reference: String = written().into_values().collect();
    let named = named(&page);
    assert!(named.len() > 40, "{named:?}");
    let is_told = |name: &str| {
        [format!("\n| `{name}` |"), format!("\n| [`{name}`](")].iter().any(|row| reference.contains(row))
    };
    let missing: Vec<_> = named.iter().filter(|name| !is_told(name)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn every_policy_and_handler_is_in_the_comparison() {
    let page = fs::read_to_string(root().join("docs/compare.md")).expect("a page");
    let named = named(&page);
    let ours = written().into_keys().filter_map(|name| {
        let (folder, name) = name.trim_end_matches(".md").split_once('/')?;
        ["policies", "handlers"].contains(&folder).then(|| name.to_owned())
    });
    let ours: Vec<String> = ours.collect();
    assert!(ours.len() > 60, "{ours:?}");
    let missing: Vec<_> = ours.iter().filter(|name| !named.contains(*name)).collect();
    assert!(missing.is_empty(), "{missing:?} have no row");
}
