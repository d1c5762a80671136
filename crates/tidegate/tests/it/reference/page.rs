//! The pages: what stands on which, and the tables on each.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
};

use serde_json::Value;

use super::examples::Examples;

const HEAD: &str = "# Configuration reference

Every key, its type, default and meaning: the JSON Schema that `tidegate schema` prints, as pages, with an example on each. A
test writes them (`TIDEGATE_WRITE_DOCS=1 cargo test -p tidegate --test it reference`) and checks that they are current.
";
/// Where what several pages need is described.
const SHARED: &str = "types.md";
const INDEX: &str = "README.md";

/// One page to be.
struct Page<'s> {
    /// Its place in the folder without `.md`, and the name of its example.
    name: String,
    key: &'s str,
    about: &'s str,
    schema: &'s Value,
}

impl<'s> Page<'s> {
    fn new(folder: &str, key: &'s str, schema: &'s Value) -> Self {
        let about = schema["description"].as_str().unwrap_or_default();
        Self { name: format!("{folder}{key}"), key, about, schema }
    }

    fn file(&self) -> String {
        format!("{}.md", self.name)
    }
}

/// All pages by their path in the folder.
pub(super) fn all(schema: &Value, examples: &Examples) -> BTreeMap<String, String> {
    let pages = pages(schema);
    let places = places(schema, &pages);
    let mut written = BTreeMap::from([(INDEX.to_owned(), index(&pages, &places))]);
    for page in &pages {
        written.insert(page.file(), one(page, schema, &places, examples));
    }
    let mut text = "# Types that several pages refer to\n".to_owned();
    sections(SHARED, schema, &places, &mut text);
    written.insert(SHARED.to_owned(), text);
    written
}

/// A page for each key of a configuration, each handler of a route and each policy.
fn pages(schema: &Value) -> Vec<Page<'_>> {
    let route = &schema["$defs"]["Route"];
    let required =
        route["oneOf"].as_array().into_iter().flatten().filter_map(|one| one["required"][0].as_str());
    let handlers: Vec<_> = required.collect();
    assert!(handlers.len() > 5, "{handlers:?}");
    let resources = properties(schema).map(|(key, value)| Page::new("", key, value));
    let handlers = properties(route)
        .filter(|(key, _)| handlers.contains(key))
        .map(|(key, value)| Page::new("handlers/", key, value));
    let policies =
        properties(&schema["$defs"]["Policy"]).map(|(key, value)| Page::new("policies/", key, value));
    resources.chain(handlers).chain(policies).collect()
}

fn properties(definition: &Value) -> impl Iterator<Item = (&str, &Value)> {
    definition["properties"].as_object().into_iter().flatten().map(|(key, value)| (key.as_str(), value))
}

/// Where each definition is described: the page that it is the subject of, or a section of the one page that refers to
/// it, or of the shared one.
fn places(schema: &Value, pages: &[Page<'_>]) -> BTreeMap<String, String> {
    let subjects: BTreeMap<&str, String> =
        pages.iter().filter_map(|page| Some((target(page.schema)?, page.file()))).collect();
    let mut users: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for page in pages {
        let mut waiting = referred(page.schema);
        let mut seen = BTreeSet::new();
        while let Some(name) = waiting.pop() {
            if seen.insert(name) {
                users.entry(name.to_owned()).or_default().insert(page.file());
                if subjects.get(name).is_none_or(|file| *file == page.file()) {
                    waiting.extend(referred(&schema["$defs"][name]));
                }
            }
        }
    }
    let place = |(name, users): (String, BTreeSet<String>)| {
        let section = name.to_lowercase();
        let place = match (subjects.get(name.as_str()), users.len()) {
            (Some(file), _) => file.clone(),
            (None, 1) => format!("{}#{section}", users.into_iter().next().unwrap_or_default()),
            (None, _) => format!("{SHARED}#{section}"),
        };
        (name, place)
    };
    users.into_iter().map(place).collect()
}

/// The definition that a key's value is, or a list of.
fn target(value: &Value) -> Option<&str> {
    let inside = if value["items"].is_object() { &value["items"] } else { value };
    let choices = inside["anyOf"].as_array().into_iter().flatten();
    let reference = choices.chain([inside]).find_map(|choice| choice["$ref"].as_str())?;
    reference.rsplit('/').next()
}

/// All definitions that a schema refers to.
fn referred(value: &Value) -> Vec<&str> {
    match value {
        Value::Object(map) => {
            let own =
                map.get("$ref").and_then(Value::as_str).and_then(|reference| reference.rsplit('/').next());
            own.into_iter().chain(map.values().flat_map(referred)).collect()
        }
        Value::Array(values) => values.iter().flat_map(referred).collect(),
        _ => Vec::new(),
    }
}

fn index(pages: &[Page<'_>], places: &BTreeMap<String, String>) -> String {
    let mut text = HEAD.to_owned();
    for (title, folder) in
        [("Configuration", ""), ("Handlers of a route", "handlers/"), ("Policies", "policies/")]
    {
        let _ = write!(text, "\n## {title}\n\n| key | type | meaning |\n|---|---|---|\n");
        let of_folder =
            |page: &&Page<'_>| page.name.strip_prefix(folder).is_some_and(|rest| !rest.contains('/'));
        for page in pages.iter().filter(of_folder) {
            let kind = kind(page.schema, INDEX, places);
            let _ = writeln!(text, "| [`{}`]({}) | {kind} | {} |", page.key, page.file(), cell(page.about));
        }
    }
    let _ = write!(text, "\n[Types]({SHARED}) has what several of them refer to.\n");
    text
}

/// One page: what it is, an example, its keys, and the types that nothing else refers to.
fn one(page: &Page<'_>, schema: &Value, places: &BTreeMap<String, String>, examples: &Examples) -> String {
    let file = page.file();
    let mut text = format!("# `{}`\n\n{}\n", page.key, page.about);
    let example = examples.of(&page.name);
    let _ = write!(text, "\n```yaml\n{}```\n", example.text);
    if let Some(name) = &example.page {
        let up = "../".repeat(1 + file.matches('/').count());
        let title = name.trim_end_matches(".md");
        let _ = write!(text, "\nFrom [{title}]({up}{name}), which tells more.\n");
    }
    let own = target(page.schema).filter(|name| places[*name] == file);
    let definition = own.map_or(page.schema, |name| &schema["$defs"][name]);
    if definition["description"].as_str().is_some_and(|about| about != page.about) {
        let _ = write!(text, "\n{}\n", definition["description"].as_str().unwrap_or_default());
    }
    body(definition, &file, places, &mut text);
    if own.is_none() && target(page.schema).is_some() {
        let _ = write!(text, "\nIts type is {}.\n", kind(page.schema, &file, places));
    }
    sections(&file, schema, places, &mut text);
    text
}

/// The types that have a section of a page.
fn sections(file: &str, schema: &Value, places: &BTreeMap<String, String>, text: &mut String) {
    let is_here = |place: &str| place.split_once('#').is_some_and(|(of, _)| of == file);
    for (name, _) in places.iter().filter(|(_, place)| is_here(place)) {
        let definition = &schema["$defs"][name];
        let _ = write!(text, "\n## {name}\n");
        if let Some(about) = definition["description"].as_str() {
            let _ = write!(text, "\n{about}\n");
        }
        body(definition, file, places, text);
        if definition["$ref"].is_string() {
            let _ = write!(text, "\nAs {}.\n", kind(definition, file, places));
        }
    }
}

/// The words and the keys of a definition.
fn body(definition: &Value, file: &str, places: &BTreeMap<String, String>, text: &mut String) {
    let words = words(definition);
    if !words.is_empty() {
        let _ = write!(text, "\nOne of {}.\n", words.join(", "));
    }
    let objects = [definition]
        .into_iter()
        .chain(definition["anyOf"].as_array().into_iter().flatten())
        .chain(definition["oneOf"].as_array().into_iter().flatten());
    for object in objects.filter(|object| object["properties"].is_object()) {
        text.push_str("\n| key | type | default | meaning |\n|---|---|---|---|\n");
        let required: Vec<_> =
            object["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        for (key, value) in properties(object) {
            let default = match &value["default"] {
                _ if required.contains(&key) => "**required**".to_owned(),
                Value::Null => String::new(),
                Value::Object(_) => "that of its keys".to_owned(),
                Value::Array(items) if items.is_empty() => String::new(),
                other => format!("`{other}`"),
            };
            let meaning = cell(value["description"].as_str().unwrap_or_default());
            let _ = writeln!(text, "| `{key}` | {} | {default} | {meaning} |", kind(value, file, places));
        }
    }
}

/// A text that can stand in a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace("\n\n", "<br>").replace('\n', " ")
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

/// A type as a few words, linked where it has a section or a page.
fn kind(value: &Value, from: &str, places: &BTreeMap<String, String>) -> String {
    if let Some(reference) = value["$ref"].as_str() {
        let name = reference.rsplit('/').next().unwrap_or_default();
        return format!("[{name}]({})", link(name, from, places));
    }
    if let Some(choices) = value["anyOf"].as_array() {
        let kinds = choices.iter().filter(|choice| choice["type"] != "null");
        return kinds.map(|choice| kind(choice, from, places)).collect::<Vec<_>>().join(" or ");
    }
    if !value["items"].is_null() {
        return format!("list of {}", kind(&value["items"], from, places));
    }
    if value["additionalProperties"].is_object() {
        return format!("map to {}", kind(&value["additionalProperties"], from, places));
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

/// Where a definition is described, as seen from a page.
fn link(name: &str, from: &str, places: &BTreeMap<String, String>) -> String {
    let place = &places[name];
    match place.strip_prefix(from) {
        // The page itself, whose title is a key.
        Some("") => {
            format!("#{}", from.rsplit('/').next().unwrap_or_default().trim_end_matches(".md").to_lowercase())
        }
        Some(section) => section.to_owned(),
        None => format!("{}{place}", "../".repeat(from.matches('/').count())),
    }
}
