//! docs/reference.md is the JSON Schema as a page: written here, and checked to be current.

use std::{collections::BTreeSet, fmt::Write, fs};

use serde_json::Value;

use super::tidy::root;

const HEAD: &str = "# Configuration reference

Every key, its type, default and meaning: the JSON Schema that `tidegate schema` prints, as a page. A test writes it
(`TIDEGATE_WRITE_DOCS=1 cargo test -p tidegate --test it reference`) and checks that it is current.
";

#[test]
fn reference_is_current() {
    let (code, schema, problems) = super::harness::run(&["schema"]);
    assert_eq!(code, 0, "{problems}");
    let schema: Value = serde_json::from_str(&schema).expect("a schema");
    let page = page(&schema);
    let path = root().join("docs/reference.md");
    if std::env::var_os("TIDEGATE_WRITE_DOCS").is_some() {
        fs::write(&path, &page).expect("docs/ can be written");
    }
    let known = fs::read_to_string(&path).unwrap_or_default();
    assert!(known == page, "docs/reference.md is not current: run with TIDEGATE_WRITE_DOCS=1");
}

fn page(schema: &Value) -> String {
    let mut page = HEAD.to_owned();
    let mut waiting = vec!["Configuration".to_owned()];
    let mut done = BTreeSet::new();
    while let Some(name) = waiting.pop() {
        if !done.insert(name.clone()) {
            continue;
        }
        let definition = if name == "Configuration" { schema } else { &schema["$defs"][&name] };
        let mut found = Vec::new();
        section(&name, definition, &mut page, &mut found);
        // A stack: what is found first must be taken first.
        waiting.extend(found.into_iter().rev());
    }
    page
}

fn section(name: &str, definition: &Value, page: &mut String, found: &mut Vec<String>) {
    let _ = write!(page, "\n## {name}\n");
    if let Some(text) = definition["description"].as_str() {
        let _ = write!(page, "\n{text}\n");
    }
    let words = words(definition);
    if !words.is_empty() {
        let _ = write!(page, "\nOne of {}.\n", words.join(", "));
    }
    let objects = [definition]
        .into_iter()
        .chain(definition["anyOf"].as_array().into_iter().flatten())
        .chain(definition["oneOf"].as_array().into_iter().flatten());
    for object in objects {
        let Some(properties) = object["properties"].as_object() else { continue };
        page.push_str("\n| key | type | default | meaning |\n|---|---|---|---|\n");
        let required = object["required"].as_array();
        for (key, value) in properties {
            let is_required =
                required.is_some_and(|all| all.iter().any(|name| name.as_str() == Some(key.as_str())));
            let default = match &value["default"] {
                _ if is_required => "**required**".to_owned(),
                Value::Null => String::new(),
                Value::Object(_) => "as below".to_owned(),
                Value::Array(items) if items.is_empty() => String::new(),
                other => format!("`{other}`"),
            };
            let meaning = value["description"].as_str().unwrap_or_default().replace('|', "\\|");
            let _ = writeln!(page, "| `{key}` | {} | {default} | {meaning} |", kind(value, found));
        }
    }
    if name != "Configuration" && definition["$ref"].is_string() {
        let _ = write!(page, "\nAs {}.\n", kind(definition, found));
    }
}

/// The words that an enumeration consists of.
fn words(definition: &Value) -> Vec<String> {
    let listed = definition["enum"].as_array().into_iter().flatten().map(|word| format!("`{word}`"));
    let choices = definition["oneOf"].as_array().into_iter().flatten();
    let described = choices.filter_map(|choice| {
        let word = choice.get("const")?;
        let meaning =
            choice["description"].as_str().map(|text| text.trim_end_matches('.')).unwrap_or_default();
        Some(if meaning.is_empty() { format!("`{word}`") } else { format!("`{word}` ({meaning})") })
    });
    listed.chain(described).collect()
}

/// A type as a few words, linked where it has a section.
fn kind(value: &Value, found: &mut Vec<String>) -> String {
    if let Some(reference) = value["$ref"].as_str() {
        let name = reference.rsplit('/').next().unwrap_or_default().to_owned();
        let link = format!("[{name}](#{})", name.to_lowercase());
        found.push(name);
        return link;
    }
    if let Some(choices) = value["anyOf"].as_array() {
        let kinds = choices.iter().filter(|choice| choice["type"] != "null");
        return kinds.map(|choice| kind(choice, found)).collect::<Vec<_>>().join(" or ");
    }
    if !value["items"].is_null() {
        return format!("list of {}", kind(&value["items"], found));
    }
    if value["additionalProperties"].is_object() {
        return format!("map to {}", kind(&value["additionalProperties"], found));
    }
    let name = match &value["type"] {
        Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).find(|kind| *kind != "null"),
        kind => kind.as_str(),
    };
    match (name, value["format"].as_str()) {
        (Some("string"), Some(format)) => format.replace('-', " "),
        (Some(name), _) => name.to_owned(),
        (None, _) => words(value).join(", "),
    }
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
    let reference = fs::read_to_string(root().join("docs/reference.md")).expect("a page");
    let named = named(&page);
    assert!(named.len() > 40, "{named:?}");
    let missing: Vec<_> =
        named.iter().filter(|name| !reference.contains(&format!("\n| `{name}` |"))).collect();
    assert!(missing.is_empty(), "{missing:?}");
}
