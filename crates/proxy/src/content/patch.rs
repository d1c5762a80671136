//! Changes of JSON documents: JSON Patch (RFC 6902) and Merge Patch (RFC 7396).

use serde_json::{Map, Value};

/// Values that copies may add to a document, so that copies of copies end.
const COPIED_MAX: usize = 100_000;
/// Steps of a pointer.
const STEPS_MAX: usize = 128;

/// One operation of a JSON Patch.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Operation {
    Add(Vec<String>, Value),
    Remove(Vec<String>),
    Replace(Vec<String>, Value),
    Move { from: Vec<String>, to: Vec<String> },
    Copy { from: Vec<String>, to: Vec<String> },
    Test(Vec<String>, Value),
}

/// Reads a patch. An error is a sentence for the operator.
pub(crate) fn read(patch: &[Value]) -> Result<Vec<Operation>, String> {
    patch
        .iter()
        .enumerate()
        .map(|(at, one)| operation(one).map_err(|error| format!("[{at}]: {error}")))
        .collect()
}

fn operation(one: &Value) -> Result<Operation, String> {
    let place = |key: &str| {
        let text = one
            .get(key)
            .and_then(Value::as_str)
            .ok_or_else(|| format!("expected `{key}`, a JSON pointer"))?;
        pointer(text).map_err(|error| format!("{key}: {error}"))
    };
    let value = || one.get("value").cloned().ok_or_else(|| "expected a `value`".to_owned());
    Ok(match one.get("op").and_then(Value::as_str) {
        Some("add") => Operation::Add(place("path")?, value()?),
        Some("remove") => Operation::Remove(place("path")?),
        Some("replace") => Operation::Replace(place("path")?, value()?),
        Some("move") => {
            let (from, to) = (place("from")?, place("path")?);
            if to.len() > from.len() && to.starts_with(&from) {
                return Err("nothing can be moved into itself".to_owned());
            }
            Operation::Move { from, to }
        }
        Some("copy") => Operation::Copy { from: place("from")?, to: place("path")? },
        Some("test") => Operation::Test(place("path")?, value()?),
        _ => return Err("`op` is none of add, remove, replace, move, copy and test".to_owned()),
    })
}

/// The steps of a JSON pointer (RFC 6901).
pub(crate) fn pointer(text: &str) -> Result<Vec<String>, String> {
    if text.is_empty() {
        return Ok(Vec::new());
    }
    let inside = text
        .strip_prefix('/')
        .ok_or_else(|| format!("`{text}` is no JSON pointer, which begins with `/`"))?;
    let steps: Vec<String> =
        inside.split('/').map(|step| step.replace("~1", "/").replace("~0", "~")).collect();
    match steps.len() > STEPS_MAX {
        true => Err(format!("it has more than {STEPS_MAX} steps")),
        false => Ok(steps),
    }
}

/// Applies a patch: all of it, or an error that says which operation did not fit.
pub(crate) fn apply(document: &mut Value, patch: &[Operation]) -> Result<(), String> {
    let mut left = COPIED_MAX;
    for (at, operation) in patch.iter().enumerate() {
        one(document, operation, &mut left)
            .map_err(|error| format!("operation {at} of the patch: {error}"))?;
    }
    Ok(())
}

fn one(document: &mut Value, operation: &Operation, left: &mut usize) -> Result<(), String> {
    match operation {
        Operation::Add(path, value) => add(document, path, value.clone()),
        Operation::Remove(path) => remove(document, path).map(drop),
        Operation::Replace(path, value) => {
            *at(document, path).ok_or("there is nothing to replace")? = value.clone();
            Ok(())
        }
        Operation::Move { from, to } => {
            let value = remove(document, from)?;
            add(document, to, value)
        }
        Operation::Copy { from, to } => {
            let value = at(document, from).ok_or("there is nothing to copy")?;
            *left = left.checked_sub(count(value)).ok_or("it copies too much")?;
            let value = value.clone();
            add(document, to, value)
        }
        Operation::Test(path, want) => match at(document, path) {
            Some(found) if same(found, want) => Ok(()),
            _ => Err("the test failed".to_owned()),
        },
    }
}

fn count(value: &Value) -> usize {
    match value {
        Value::Array(items) => items.iter().map(count).sum::<usize>() + 1,
        Value::Object(members) => members.values().map(count).sum::<usize>() + 1,
        _ => 1,
    }
}

/// Numbers are the same by value (RFC 6902 §4.6).
fn same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => one == other || one.as_f64() == other.as_f64(),
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| same(one, other))
        }
        (Value::Object(one), Value::Object(other)) => {
            let of_other =
                |(name, value): (&String, &Value)| other.get(name).is_some_and(|other| same(value, other));
            one.len() == other.len() && one.iter().all(of_other)
        }
        (one, other) => one == other,
    }
}

fn index(step: &str, bound: usize) -> Option<usize> {
    let is_plain = step == "0" || (!step.starts_with('0') && step.bytes().all(|byte| byte.is_ascii_digit()));
    step.parse().ok().filter(|at| is_plain && *at < bound)
}

fn at<'v>(document: &'v mut Value, path: &[String]) -> Option<&'v mut Value> {
    path.iter().try_fold(document, |value, step| match value {
        Value::Object(members) => members.get_mut(step),
        Value::Array(items) => {
            let at = index(step, items.len())?;
            items.get_mut(at)
        }
        _ => None,
    })
}

fn add(document: &mut Value, path: &[String], value: Value) -> Result<(), String> {
    let Some((last, above)) = path.split_last() else {
        *document = value;
        return Ok(());
    };
    match at(document, above) {
        Some(Value::Object(members)) => {
            members.insert(last.clone(), value);
            Ok(())
        }
        Some(Value::Array(items)) => {
            let at = if last == "-" { Some(items.len()) } else { index(last, items.len() + 1) };
            items.insert(at.ok_or("there is no such place in the list")?, value);
            Ok(())
        }
        _ => Err("there is nothing that it could be added to".to_owned()),
    }
}

fn remove(document: &mut Value, path: &[String]) -> Result<Value, String> {
    let Some((last, above)) = path.split_last() else { return Ok(std::mem::take(document)) };
    let removed = match at(document, above) {
        Some(Value::Object(members)) => members.shift_remove(last),
        Some(Value::Array(items)) => index(last, items.len()).map(|at| items.remove(at)),
        _ => None,
    };
    removed.ok_or_else(|| "there is nothing to take away".to_owned())
}

/// Merges a patch into a document (RFC 7396).
pub(crate) fn merge(document: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *document = patch.clone();
        return;
    };
    if !document.is_object() {
        *document = Value::Object(Map::new());
    }
    let Value::Object(members) = document else { return };
    for (name, value) in patch {
        match value.is_null() {
            true => _ = members.shift_remove(name),
            false => merge(members.entry(name.clone()).or_insert(Value::Null), value),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn patched(mut document: Value, patch: Value) -> Result<Value, String> {
        let patch = read(patch.as_array().expect("a list"))?;
        apply(&mut document, &patch).map(|()| document)
    }

    #[test]
    fn the_examples_of_rfc_6902_hold() {
        for (document, patch, want) in [
            (
                json!({"foo": "bar"}),
                json!([{"op": "add", "path": "/baz", "value": "qux"}]),
                Some(json!({"baz": "qux", "foo": "bar"})),
            ),
            (
                json!({"foo": ["bar", "baz"]}),
                json!([{"op": "add", "path": "/foo/1", "value": "qux"}]),
                Some(json!({"foo": ["bar", "qux", "baz"]})),
            ),
            (
                json!({"baz": "qux", "foo": "bar"}),
                json!([{"op": "remove", "path": "/baz"}]),
                Some(json!({"foo": "bar"})),
            ),
            (
                json!({"foo": ["bar", "qux", "baz"]}),
                json!([{"op": "remove", "path": "/foo/1"}]),
                Some(json!({"foo": ["bar", "baz"]})),
            ),
            (
                json!({"baz": "qux", "foo": "bar"}),
                json!([{"op": "replace", "path": "/baz", "value": "boo"}]),
                Some(json!({"baz": "boo", "foo": "bar"})),
            ),
            (
                json!({"foo": {"bar": "baz", "waldo": "fred"}, "qux": {"corge": "grault"}}),
                json!([{"op": "move", "from": "/foo/waldo", "path": "/qux/thud"}]),
                Some(json!({"foo": {"bar": "baz"}, "qux": {"corge": "grault", "thud": "fred"}})),
            ),
            (
                json!({"foo": ["all", "grass", "cows", "eat"]}),
                json!([{"op": "move", "from": "/foo/1", "path": "/foo/3"}]),
                Some(json!({"foo": ["all", "cows", "eat", "grass"]})),
            ),
            (
                json!({"baz": "qux", "foo": ["a", 2, "c"]}),
                json!([{"op": "test", "path": "/baz", "value": "qux"}, {"op": "test", "path": "/foo/1", "value": 2.0}]),
                Some(json!({"baz": "qux", "foo": ["a", 2, "c"]})),
            ),
            (json!({"baz": "qux"}), json!([{"op": "test", "path": "/baz", "value": "bar"}]), None),
            (
                json!({"foo": "bar"}),
                json!([{"op": "add", "path": "/child", "value": {"grandchild": {}}}]),
                Some(json!({"foo": "bar", "child": {"grandchild": {}}})),
            ),
            (json!({"foo": "bar"}), json!([{"op": "add", "path": "/baz/bat", "value": "qux"}]), None),
            (
                json!({"/": 9, "~1": 10}),
                json!([{"op": "test", "path": "/~01", "value": 10}]),
                Some(json!({"/": 9, "~1": 10})),
            ),
            (json!({"/": 9, "~1": 10}), json!([{"op": "test", "path": "/~01", "value": "10"}]), None),
            (
                json!({"foo": ["bar"]}),
                json!([{"op": "add", "path": "/foo/-", "value": ["abc", "def"]}]),
                Some(json!({"foo": ["bar", ["abc", "def"]]})),
            ),
            (json!({"foo": ["bar"]}), json!([{"op": "add", "path": "/foo/01", "value": 1}]), None),
            (json!({"foo": ["bar"]}), json!([{"op": "add", "path": "/foo/2", "value": 1}]), None),
            (json!({"a": 1}), json!([{"op": "replace", "path": "", "value": 2}]), Some(json!(2))),
        ] {
            assert_eq!(patched(document.clone(), patch.clone()).ok(), want, "{document} {patch}");
        }
        for wrong in [
            json!([{"op": "add", "path": "/a"}]),
            json!([{"op": "x", "path": "/a"}]),
            json!([{"op": "remove", "path": "a"}]),
            json!([{"op": "move", "from": "/a", "path": "/a/b"}]),
        ] {
            assert!(read(wrong.as_array().expect("a list")).is_err(), "{wrong}");
        }
        let doubling: Vec<Value> =
            (0..60).map(|at| json!({"op": "copy", "from": "", "path": format!("/{at}")})).collect();
        assert!(
            patched(json!({"a": 1}), doubling.into()).is_err_and(|error| error.contains("copies too much"))
        );
    }

    #[test]
    fn the_examples_of_rfc_7396_hold() {
        for (document, patch, want) in [
            (json!({"a": "b"}), json!({"a": "c"}), json!({"a": "c"})),
            (json!({"a": "b"}), json!({"b": "c"}), json!({"a": "b", "b": "c"})),
            (json!({"a": "b", "b": "c"}), json!({"a": null}), json!({"b": "c"})),
            (json!({"a": ["b"]}), json!({"a": "c"}), json!({"a": "c"})),
            (json!({"a": {"b": "c"}}), json!({"a": {"b": "d", "c": null}}), json!({"a": {"b": "d"}})),
            (json!({"a": [{"b": "c"}]}), json!({"a": [1]}), json!({"a": [1]})),
            (json!(["a", "b"]), json!(["c", "d"]), json!(["c", "d"])),
            (json!({"a": "foo"}), json!(null), json!(null)),
            (json!({"e": null}), json!({"a": 1}), json!({"e": null, "a": 1})),
            (json!([1, 2]), json!({"a": "b", "c": null}), json!({"a": "b"})),
            (json!({}), json!({"a": {"bb": {"ccc": null}}}), json!({"a": {"bb": {}}})),
        ] {
            let mut merged = document.clone();
            merge(&mut merged, &patch);
            assert_eq!(merged, want, "{document} {patch}");
        }
    }

    proptest! {
        #[test]
        fn what_is_added_can_be_taken_away(name in "[a-z~/]{0,4}", at in 0..4_usize) {
            let document = json!({"list": [1, 2, 3], "o": {"a": {}}});
            let step = name.replace('~', "~0").replace('/', "~1");
            for path in [format!("/o/a/{step}"), format!("/list/{at}")] {
                let patch = json!([{"op": "add", "path": path, "value": {"x": 1}}, {"op": "remove", "path": path}]);
                prop_assert_eq!(patched(document.clone(), patch), Ok(document.clone()));
            }
        }
    }
}
