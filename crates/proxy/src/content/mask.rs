//! What is hidden: fields of JSON by their paths, and in texts whatever detectors find.

use ai::guard::{
    detect::Kind,
    scan::{At, Scanner},
};
use model::policy::mask::{Step, steps};
use serde_json::Value;

/// How deep JSON is looked through; what lies deeper is hidden whole.
const DEPTH_MAX: usize = 128;

/// What is hidden, compiled.
pub(crate) struct Hidden {
    paths: Vec<Vec<Step>>,
    scanner: Scanner,
    replacement: String,
    removes: bool,
}

impl Hidden {
    pub(crate) fn compile(
        fields: &[String],
        kinds: &[Kind],
        replacement: &str,
        removes: bool,
    ) -> Result<Self, String> {
        let kinds: Vec<(Kind, usize)> = kinds.iter().map(|kind| (*kind, 0)).collect();
        let scanner = Scanner::compile(&kinds, &[]).map_err(|(_, error)| error)?;
        let path = |path: &String| steps(path).ok_or_else(|| format!("`{path}` is no path"));
        Ok(Self {
            paths: fields.iter().map(path).collect::<Result<_, _>>()?,
            scanner,
            replacement: replacement.to_owned(),
            removes,
        })
    }

    /// Whether texts that are no JSON are looked through.
    pub(crate) fn looks_at_texts(&self) -> bool {
        !self.scanner.is_empty()
    }

    /// Hides what is to be hidden in a value.
    pub(crate) fn hide(&self, value: &mut Value) {
        for path in &self.paths {
            self.hide_path(value, path, 0);
        }
        if self.looks_at_texts() {
            self.hide_texts(value, 0);
        }
    }

    fn hide_path(&self, value: &mut Value, path: &[Step], depth: usize) {
        let Some((step, rest)) = path.split_first() else { return };
        if depth > DEPTH_MAX {
            *value = self.replacement.as_str().into();
            return;
        }
        match (step, value) {
            (Step::Deep, value) => {
                // Here, and below in whatever there is.
                self.hide_path(value, rest, depth + 1);
                match value {
                    Value::Object(members) => {
                        members.values_mut().for_each(|one| self.hide_path(one, path, depth + 1))
                    }
                    Value::Array(items) => {
                        items.iter_mut().for_each(|one| self.hide_path(one, path, depth + 1))
                    }
                    _ => {}
                }
            }
            (Step::Items, Value::Array(items)) if rest.is_empty() && self.removes => items.clear(),
            (Step::Items, Value::Array(items)) if rest.is_empty() => {
                items.iter_mut().for_each(|item| *item = self.replacement.as_str().into());
            }
            (Step::Items, Value::Array(items)) => {
                items.iter_mut().for_each(|item| self.hide_path(item, rest, depth + 1))
            }
            (Step::Name(name), Value::Object(members)) => match rest.is_empty() {
                true if self.removes => _ = members.shift_remove(name),
                true => {
                    if let Some(one) = members.get_mut(name) {
                        *one = self.replacement.as_str().into();
                    }
                }
                false => {
                    if let Some(one) = members.get_mut(name) {
                        self.hide_path(one, rest, depth + 1);
                    }
                }
            },
            (Step::Any, Value::Object(members)) => match rest.is_empty() {
                true if self.removes => members.clear(),
                true => members.values_mut().for_each(|one| *one = self.replacement.as_str().into()),
                false => members.values_mut().for_each(|one| self.hide_path(one, rest, depth + 1)),
            },
            _ => {}
        }
    }

    fn hide_texts(&self, value: &mut Value, depth: usize) {
        if depth > DEPTH_MAX {
            *value = self.replacement.as_str().into();
            return;
        }
        match value {
            Value::String(text) => {
                if let Some(hidden) = self.text(text) {
                    *text = hidden;
                }
            }
            // A card's number may stand as a number.
            Value::Number(number) => {
                if let Some(hidden) = self.text(&number.to_string()) {
                    *value = hidden.into();
                }
            }
            Value::Array(items) => items.iter_mut().for_each(|item| self.hide_texts(item, depth + 1)),
            Value::Object(members) => members.values_mut().for_each(|one| self.hide_texts(one, depth + 1)),
            Value::Null | Value::Bool(_) => {}
        }
    }

    /// A text without what is found in it; none when there is nothing.
    pub(crate) fn text(&self, text: &str) -> Option<String> {
        let mut cache = self.scanner.cache();
        let looks = self.scanner.look(&mut cache, text);
        if looks.is_clear() {
            self.scanner.keep(cache);
            return None;
        }
        let (mut out, mut from, mut at) = (String::new(), 0, 0);
        let mut before = None;
        loop {
            let next = self.scanner.firsts().next(text, at, before);
            let Some(rest) = text.get(next..).filter(|rest| !rest.is_empty()) else { break };
            let previous = text.get(..next).and_then(|before| before.chars().next_back());
            let length = match self.scanner.at(&mut cache, looks, previous, rest, false) {
                At::Something(length, _) if length > 0 => {
                    out.push_str(text.get(from..next).unwrap_or_default());
                    out.push_str(&self.replacement);
                    from = next + length;
                    length
                }
                _ => rest.chars().next().map_or(1, char::len_utf8),
            };
            at = next + length;
            before = text.get(..at).and_then(|before| before.chars().next_back());
        }
        self.scanner.keep(cache);
        (from > 0).then(|| {
            out.push_str(text.get(from..).unwrap_or_default());
            out
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn hidden(fields: &[&str], removes: bool, mut value: Value) -> Value {
        let fields: Vec<String> = fields.iter().map(|path| (*path).to_owned()).collect();
        Hidden::compile(&fields, &[], "***", removes).expect("paths").hide(&mut value);
        value
    }

    #[test]
    fn fields_are_hidden_by_their_paths() {
        let value =
            json!({"a": {"b": 1, "c": [{"d": "x", "e": 1}, {"d": {"f": 2}}]}, "password": "p", "l": [1, 2]});
        for (fields, want) in [
            (
                &["a.b", "nothing.there", "password.x"][..],
                json!({"a": {"b": "***", "c": [{"d": "x", "e": 1}, {"d": {"f": 2}}]}, "password": "p", "l": [1, 2]}),
            ),
            (
                &["a.c[].d"],
                json!({"a": {"b": 1, "c": [{"d": "***", "e": 1}, {"d": "***"}]}, "password": "p", "l": [1, 2]}),
            ),
            (
                &["**.f", "**.password", "l[]"],
                json!({"a": {"b": 1, "c": [{"d": "x", "e": 1}, {"d": {"f": "***"}}]}, "password": "***", "l": ["***", "***"]}),
            ),
            (
                &[r"x\.y", r"a.x\.y"],
                json!({"a": {"b": 1, "c": [{"d": "x", "e": 1}, {"d": {"f": 2}}]}, "password": "p", "l": [1, 2]}),
            ),
            (&["a.*"], json!({"a": {"b": "***", "c": "***"}, "password": "p", "l": [1, 2]})),
        ] {
            assert_eq!(hidden(fields, false, value.clone()), want, "{fields:?}");
        }
        assert_eq!(hidden(&["a", "**.l"], true, value), json!({"password": "p"}));
    }

    #[test]
    fn names_with_dots_and_items_of_a_body_that_is_a_list_are_addressed() {
        let value = json!([{"a.b": 1, "a": {"b": 2}, "*": 3}, {"a.b": {"c.d": [4]}}]);
        let want = json!([{"a.b": "***", "a": {"b": 2}, "*": 3}, {"a.b": "***"}]);
        assert_eq!(hidden(&[r"[].a\.b"], false, value.clone()), want);
        let want = json!([{"a.b": 1, "a": {"b": 2}}, {"a.b": {}}]);
        assert_eq!(hidden(&[r"[].\*", r"**.c\.d"], true, value.clone()), want);
        assert_eq!(hidden(&["[]"], true, value), json!([]));
    }

    #[test]
    fn what_is_to_be_removed_leaves_nothing_in_its_place() {
        let value = json!({"a": [{"b": 1}, 2], "c": {"d": 3, "e": 4}, "f": [[1], [2]]});
        assert_eq!(hidden(&["a[]", "c.*", "f[][]"], true, value), json!({"a": [], "c": {}, "f": [[], []]}));
    }

    #[test]
    fn texts_are_looked_through_and_only_what_is_found_is_hidden() {
        let hidden = Hidden::compile(&[], &[Kind::Email, Kind::Card], "***", false).expect("detectors");
        let mut value = json!({"t": ["write to ann@example.com, or bo@example.org!", 4111111111111111_u64, "plain", 5], "é": "é ann@example.com é"});
        hidden.hide(&mut value);
        assert_eq!(value, json!({"t": ["write to ***, or ***!", "***", "plain", 5], "é": "é *** é"}));
        assert_eq!(hidden.text("nothing here"), None);
    }

    proptest! {
        #[test]
        fn what_is_hidden_is_not_there_any_more(around in "[a-z é,.!]{0,12}", after in "[ ,!][a-z é]{0,12}") {
            let hidden = Hidden::compile(&[], &[Kind::Email], "***", false).expect("detectors");
            let text = format!("{around} ann@example.com{after}");
            let told = hidden.text(&text).expect("something was there");
            prop_assert!(!told.contains("ann@example.com") && told.contains("***"), "{}", told);
        }
    }
}
