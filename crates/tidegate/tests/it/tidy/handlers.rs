//! A handler is two files of one name and one line in each registry, and nothing else knows it by name.

use std::{collections::BTreeMap, fs};

use super::{
    files,
    policies::{code, words},
    root,
};

const SETTINGS: &str = "crates/model/src/resource";
const BEHAVIOURS: &str = "crates/proxy/src/handler";
/// What a schema cannot say of some settings is a file of its own.
const RULES: &str = "crates/model/src/rules";

/// What is about one handler alone, and nothing for a new one.
const ABOUT_ONE: [(&str, &str); 5] = [
    // Its servers, and the agents: what checks, reports and upstreams are made of.
    ("crates/model/src/resource/config.rs", "Mcp"),
    ("crates/model/src/resource/config.rs", "A2a"),
    // A prompt may be a tool.
    ("crates/model/src/rules/mcp_local.rs", "Prompt"),
    // `/api/v1/prompts`, and the models of a route of `ai`.
    ("crates/tidegate/src/admin/prompts.rs", "Prompt"),
    ("crates/tidegate/src/cli/names.rs", "Ai"),
];

/// A registry as it stands: each handler's file, with its variant.
fn registry(folder: &str, begin: &str, end: &str) -> BTreeMap<String, String> {
    let text = fs::read_to_string(root().join(folder).join("mod.rs")).expect("a registry");
    let table = text.split(begin).nth(1).expect("a table").split(end).next().expect("its end");
    let entry = |line: &str| {
        let (file, rest) = line.split_once(": ").expect("`file: Name(Type)`");
        let (name, _) = rest.split_once('(').expect("`Name(Type)`");
        (file.to_owned(), name.to_owned())
    };
    table.lines().map(str::trim).filter(|line| !line.starts_with("#[")).map(entry).collect()
}

fn of_settings() -> BTreeMap<String, String> {
    registry(SETTINGS, "\n        $make! {\n", "\n        }")
}

#[test]
fn every_handler_is_a_pair_of_files_with_a_line_in_each_registry() {
    let (model, proxy) = (of_settings(), registry(BEHAVIOURS, "\nhandlers! {\n", "\n}"));
    assert!(model.len() >= 12, "{model:?}");
    assert_eq!(model, proxy, "the registries of settings (left) and of behaviours (right)");
    for (folder, file) in
        [SETTINGS, BEHAVIOURS].iter().flat_map(|folder| model.keys().map(move |f| (folder, f)))
    {
        let own = [format!("{folder}/{file}.rs"), format!("{folder}/{file}/mod.rs")];
        assert!(own.iter().any(|own| root().join(own).is_file()), "neither of {own:?} is there");
    }
    // Beside handlers there is what several of them share, and what stands in for one that a build has not.
    let mut behave = Vec::new();
    for path in files(&root().join(BEHAVIOURS), ".rs") {
        let text = fs::read_to_string(&path).expect("a source file");
        if text.lines().any(|line| line.starts_with("impl Answers for ")) {
            let below =
                path.strip_prefix(root().join(BEHAVIOURS)).expect("below").to_string_lossy().into_owned();
            let name = below.strip_suffix("/mod.rs").or(below.strip_suffix(".rs")).expect("a source file");
            behave.extend((name != "transcode_off").then(|| name.to_owned()));
        }
    }
    behave.sort();
    assert_eq!(behave, model.into_keys().collect::<Vec<_>>(), "behaviours (left), registry (right)");
}

#[test]
fn nothing_else_knows_a_handler_by_name() {
    let known = of_settings();
    let (mut found, mut excepted) = (Vec::new(), Vec::new());
    for path in files(&root().join("crates"), ".rs") {
        let of_crate = path.strip_prefix(root()).expect("below the root").to_string_lossy().into_owned();
        // Importers write documents, and no variants.
        if !of_crate.contains("/src/") || of_crate.contains("fuzzing") {
            continue;
        }
        let code = code(&path);
        let is_registry = [SETTINGS, BEHAVIOURS].iter().any(|folder| of_crate == format!("{folder}/mod.rs"));
        for (file, name) in &known {
            if is_registry {
                let lines = code.lines().map(str::trim_start);
                // `ai` is a crate, too, and `transcode` a feature.
                let lines =
                    lines.filter(|line| !["//", "#[", "use "].iter().any(|begin| line.starts_with(begin)));
                let lines = lines.filter(|line| words(line).any(|word| word == file)).count();
                if lines != 1 {
                    found.push(format!("{of_crate}: `{file}` stands in {lines} lines, expected one"));
                }
                continue;
            }
            let is_own = |folder: &&str| {
                let rest = of_crate.strip_prefix(&format!("{folder}/{file}"));
                rest.is_some_and(|rest| rest.starts_with(['/', '.']))
            };
            if [SETTINGS, BEHAVIOURS, RULES].iter().any(is_own) {
                continue;
            }
            let is_whole = |rest: &str| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_');
            if code.split(&*format!("Handler::{name}")).skip(1).any(is_whole) {
                match ABOUT_ONE.contains(&(of_crate.as_str(), name.as_str())) {
                    true => excepted.push((of_crate.clone(), name.clone())),
                    false => found.push(format!("{of_crate}: `Handler::{name}`")),
                }
            }
        }
    }
    assert!(found.is_empty(), "a new handler would have to be added here, too:\n{}", found.join("\n"));
    assert_eq!(excepted.len(), ABOUT_ONE.len(), "of the exceptions only these are some: {excepted:?}");
}
