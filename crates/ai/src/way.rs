//! Values of JSON by the way that leads to them. Ways are written here and not by callers, so that nothing in them is
//! escaped, and nothing has to be unescaped at each use.

use serde_json::Value;

/// A value that may hold others.
pub(crate) trait Way {
    /// What stands at the end of a way: names and places, a slash before each.
    fn at(&self, way: &str) -> Option<&Value>;
}

impl Way for Value {
    fn at(&self, way: &str) -> Option<&Value> {
        way.split('/').skip(1).try_fold(self, |value, step| match value {
            Self::Object(fields) => fields.get(step),
            Self::Array(items) => items.get(step.parse::<usize>().ok()?),
            _ => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn ways_lead_where_pointers_do() {
        let value = json!({"a": {"b": [1, {"c": null}], "0": 2}});
        for way in ["", "/a", "/a/b/0", "/a/b/1/c", "/a/0", "/a/b/x", "/a/b/2", "/b", "/a/b/0/c"] {
            assert_eq!(value.at(way), value.pointer(way), "{way}");
        }
    }
}
