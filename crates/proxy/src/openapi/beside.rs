//! Files beside a document, brought into it: their references and those to them lead inside of the one.

use std::path::{Component, Path, PathBuf};

use serde_json::{Map, Value};

/// Where the other files stand in the document.
const KEY: &str = "x-tidegate-files";
/// How deep files are looked through.
const DEPTH_MAX: usize = 256;

/// Puts other files into a document. References to what is not among them stay, and are told by whoever follows them.
pub(super) fn join(root: &mut Value, file: &Path, others: Vec<(PathBuf, Value)>) -> Result<(), String> {
    let known: Vec<PathBuf> = others.iter().map(|(path, _)| tidied(path)).collect();
    let file = tidied(file);
    let leads = |from: &Path, reference: &str| -> Option<String> {
        let (name, pointer) = reference.split_once('#').unwrap_or((reference, ""));
        let target = match name {
            "" => from.to_path_buf(),
            name if name.contains("://") => return None,
            name => tidied(&from.parent().unwrap_or(Path::new("")).join(decoded(name)?)),
        };
        if target == file {
            return Some(format!("#{pointer}"));
        }
        let at = known.iter().position(|path| *path == target)?;
        Some(format!("#/{KEY}/{at}{pointer}"))
    };
    rewrite(root, &file, &leads, 0)?;
    let mut all = Map::new();
    for (at, (path, mut tree)) in others.into_iter().enumerate() {
        rewrite(&mut tree, &tidied(&path), &leads, 0)?;
        all.insert(at.to_string(), tree);
    }
    match root {
        Value::Object(root) => _ = root.insert(KEY.to_owned(), Value::Object(all)),
        _ => return Err("it is no mapping".to_owned()),
    }
    Ok(())
}

/// A relative name without its escapes.
fn decoded(name: &str) -> Option<String> {
    percent_encoding::percent_decode_str(name).decode_utf8().ok().map(|name| name.into_owned())
}

fn rewrite(
    value: &mut Value,
    from: &Path,
    leads: &impl Fn(&Path, &str) -> Option<String>,
    depth: usize,
) -> Result<(), String> {
    if depth > DEPTH_MAX {
        return Err(format!("more than {DEPTH_MAX} lists and mappings lie inside of each other"));
    }
    match value {
        Value::Object(members) => {
            for (key, value) in members {
                if let ("$ref", Value::String(reference)) = (key.as_str(), &mut *value) {
                    if let Some(inside) = leads(from, reference) {
                        *reference = inside;
                    }
                    continue;
                }
                rewrite(value, from, leads, depth + 1)?;
            }
        }
        Value::Array(items) => {
            for item in items {
                rewrite(item, from, leads, depth + 1)?;
            }
        }
        _ => {}
    }
    Ok(())
}

/// A path without `.` and `..`, as far as names alone tell.
pub(crate) fn tidied(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir if out.file_name().is_some() => _ = out.pop(),
            part => out.push(part),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn references_between_files_lead_inside_of_the_one() {
        let mut root = json!({
            "a": {"$ref": "common.yaml#/defs/A"}, "b": {"$ref": "#/a"}, "c": {"$ref": "./parts/x.json"},
            "d": {"$ref": "https://example.com/x.json#/a"}, "e": {"$ref": "unknown.yaml#/a"},
        });
        let common = json!({"defs": {"A": {"$ref": "#/defs/B"}, "B": {"$ref": "api.yaml#/a"}}});
        let part = json!({"$ref": "../common.yaml#/defs/B"});
        let others = vec![("/x/common.yaml".into(), common), ("/x/parts/x.json".into(), part)];
        join(&mut root, Path::new("/x/./api.yaml"), others).expect("joined");
        let want = json!({
            "a": {"$ref": "#/x-tidegate-files/0/defs/A"}, "b": {"$ref": "#/a"},
            "c": {"$ref": "#/x-tidegate-files/1"},
            "d": {"$ref": "https://example.com/x.json#/a"}, "e": {"$ref": "unknown.yaml#/a"},
            "x-tidegate-files": {
                "0": {"defs": {"A": {"$ref": "#/x-tidegate-files/0/defs/B"}, "B": {"$ref": "#/a"}}},
                "1": {"$ref": "#/x-tidegate-files/0/defs/B"},
            },
        });
        assert_eq!(root, want);
    }
}
