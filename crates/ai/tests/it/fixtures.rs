//! Where fixtures are found, and golden files compared.

use std::{
    fs,
    path::{Path, PathBuf},
};

use ai::{
    canon::{Loss, Losses},
    dialect::{Dialect, Spoken, Telling},
    stream::{Framing, event_stream, sse},
};
use serde_json::{Value, json};

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(name)
}

/// A fixture: its name without the ending, and its text.
pub(crate) struct Fixture {
    pub(crate) name: String,
    pub(crate) text: String,
}

/// The fixtures of a dialect and a kind, by name. There must be some.
pub(crate) fn fixtures(dialect: Dialect, kind: &str) -> Vec<Fixture> {
    let path = folder("fixtures").join(dialect.name()).join(kind);
    let entries = fs::read_dir(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut found: Vec<_> = entries
        .map(|entry| {
            let path = entry.expect("an entry").path();
            let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
            Fixture { name, text: fs::read_to_string(&path).expect("a fixture") }
        })
        .collect();
    found.sort_by(|a, b| a.name.cmp(&b.name));
    assert!(!found.is_empty(), "no fixtures in {}", path.display());
    found
}

/// What the path of a fixture's request says: fixtures of dialects that name the model in the path hold it as `_model`
/// and `_stream`, which are taken out of the body.
pub(crate) fn spoken(text: &str) -> (Spoken, Vec<u8>) {
    let mut value: Value = serde_json::from_str(text).expect("a fixture is JSON");
    let object = value.as_object_mut().expect("an object");
    let model = object.shift_remove("_model").and_then(|model| model.as_str().map(str::to_owned));
    let stream = object.shift_remove("_stream").and_then(|stream| stream.as_bool()).unwrap_or(false);
    (Spoken { model, stream }, serde_json::to_vec(&value).expect("JSON"))
}

/// What every golden answer is told with.
pub(crate) fn telling() -> Telling {
    Telling {
        model: "the-model".to_owned(),
        id: "tg-1".to_owned(),
        created: 1_700_000_000,
        include_usage: true,
        ..Telling::default()
    }
}

/// The bytes of a stream fixture, framed as its provider frames them.
pub(crate) fn framed(text: &str, framing: Framing) -> Vec<u8> {
    let mut out = Vec::new();
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        let frame: Value = serde_json::from_str(line).expect("a frame is JSON");
        let event = frame.get("event").and_then(Value::as_str);
        let data = match &frame["data"] {
            Value::String(text) => text.clone().into_bytes(),
            other => serde_json::to_vec(other).expect("JSON"),
        };
        match framing {
            Framing::Sse => sse::write(event, &data, &mut out),
            Framing::EventStream => {
                let exception = frame.get("exception").and_then(Value::as_bool).unwrap_or(false);
                event_stream::write(event.expect("an event type"), exception, &data, &mut out);
            }
            Framing::JsonArray => unreachable!("streams are asked for as events"),
        }
    }
    out
}

/// The loss report as a caller sees it.
pub(crate) fn losses(losses: &Losses, caller: Dialect) -> Value {
    losses
        .iter()
        .map(|loss| match loss {
            Loss::Feature(feature, Some(place)) => {
                json!(format!("{place}: {}", caller.feature_name(*feature)))
            }
            Loss::Feature(feature, None) => json!(caller.feature_name(*feature)),
            Loss::Field(path) => json!(path),
        })
        .collect()
}

/// Compares with a golden file, or writes it.
pub(crate) fn golden(path: &str, text: &str) {
    let file = folder("golden").join(path);
    if std::env::var_os("TIDEGATE_GOLDEN").is_some_and(|wish| wish == "write") {
        fs::create_dir_all(file.parent().expect("a folder")).expect("the folder");
        fs::write(&file, text).expect("written");
        return;
    }
    let want = fs::read_to_string(&file)
        .unwrap_or_else(|error| panic!("{}: {error}; write it with TIDEGATE_GOLDEN=write", file.display()));
    assert_eq!(text, want, "{} differs; look, and write it anew with TIDEGATE_GOLDEN=write", file.display());
}

/// JSON for a golden file.
pub(crate) fn pretty(value: &Value) -> String {
    format!("{}\n", serde_json::to_string_pretty(value).expect("JSON"))
}

/// Adds what became of a fixture in one dialect to the text of its golden file.
pub(crate) fn section(all: &mut String, to: Dialect, text: &str) {
    all.push_str(&format!("== {} ==\n{text}\n", to.name()));
}
