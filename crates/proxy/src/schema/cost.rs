//! How much it takes to judge a value by a schema, found out before it is done.
//!
//! A schema that refers to itself, or to the same part twice, may have a value judged in more ways with each level of it:
//! a few hundred bytes are enough for more than a lifetime. So the ways are counted here: which parts of the schema apply
//! at each place of the value, and how often. What is counted is never less than what is judged, for all branches of a
//! choice are, and all patterns fit. References that lead elsewhere than into the schema by a pointer are not followed:
//! such a schema is not judged by.

use std::collections::HashMap;

use serde_json::{Map, Value};

/// Words of parts that apply where the schema itself does: one part, a list of them, parts by name.
const HERE: [&str; 4] = ["not", "if", "then", "else"];
const HERE_LISTS: [&str; 3] = ["allOf", "anyOf", "oneOf"];
const HERE_NAMED: [&str; 2] = ["dependentSchemas", "dependencies"];
/// Words of parts that apply to all members, or to all items.
const MEMBERS: [&str; 3] = ["additionalProperties", "unevaluatedProperties", "propertyNames"];
const ITEMS: [&str; 5] = ["items", "additionalItems", "unevaluatedItems", "contains", "prefixItems"];
/// Words before which all parts that apply here are judged once more, and those in them: what they have seen is not kept.
const AFTER_ALL: [&str; 2] = ["unevaluatedProperties", "unevaluatedItems"];
/// So many times, at most, of parts that lie in each other as people write them.
const TIMES_MORE: u64 = 8;
/// Words that lead to where nobody can tell ahead.
const DYNAMIC: [&str; 2] = ["$dynamicRef", "$recursiveRef"];
/// References that are followed one after the other before anything is judged.
const CHAIN_MAX: usize = 64;

/// Parts of a schema by where they are in memory, and how often each applies.
type Parts<'s> = HashMap<*const Value, (&'s Value, u64)>;

/// Whether a value can be judged by a schema in no more than so many steps.
pub(super) fn is_within(schema: &Value, value: &Value, steps: u64) -> bool {
    let mut judging = Judging { root: schema, left: steps };
    let mut parts = Parts::new();
    judging.add(&mut parts, schema, 1, 0).is_some() && judging.judge(value, parts).is_some()
}

/// How many values there are in one, itself included.
pub(super) fn values(value: &Value) -> u64 {
    let inner: u64 = match value {
        Value::Array(items) => items.iter().map(values).sum(),
        Value::Object(members) => members.values().map(values).sum(),
        _ => 0,
    };
    inner.saturating_add(1)
}

/// The patterns of a schema: each is compiled.
pub(super) fn patterns(schema: &Value) -> usize {
    match schema {
        Value::Object(members) => members
            .iter()
            .map(|(key, one)| match key.as_str() {
                "pattern" => 1 + patterns(one),
                "patternProperties" => one.as_object().map_or(0, Map::len) + patterns(one),
                _ => patterns(one),
            })
            .sum(),
        Value::Array(items) => items.iter().map(patterns).sum(),
        _ => 0,
    }
}

struct Judging<'s> {
    root: &'s Value,
    left: u64,
}

impl<'s> Judging<'s> {
    /// Takes steps off what is left; nothing when that is not enough.
    fn spend(&mut self, steps: u64) -> Option<()> {
        self.left = self.left.checked_sub(steps)?;
        Some(())
    }

    /// Adds a part that applies so often at one place, and what applies there with it.
    fn add(&mut self, parts: &mut Parts<'s>, part: &'s Value, times: u64, chain: usize) -> Option<()> {
        let Value::Object(members) = part else { return Some(()) };
        if chain > CHAIN_MAX {
            return None;
        }
        let is_judged_again = AFTER_ALL.iter().any(|key| members.contains_key(*key));
        let times = if is_judged_again { times.saturating_mul(TIMES_MORE) } else { times };
        self.spend(times)?;
        let entry = parts.entry(std::ptr::from_ref(part)).or_insert((part, 0));
        entry.1 = entry.1.saturating_add(times);
        for (key, inner) in members {
            match (key.as_str(), inner) {
                ("$ref", Value::String(to)) => {
                    let target = self.target(to)?;
                    self.add(parts, target, times, chain + 1)?;
                }
                (key, _) if DYNAMIC.contains(&key) => return None,
                (key, inner) if HERE.contains(&key) => self.add(parts, inner, times, chain + 1)?,
                (key, Value::Array(all)) if HERE_LISTS.contains(&key) => {
                    for one in all {
                        self.add(parts, one, times, chain + 1)?;
                    }
                }
                (key, Value::Object(all)) if HERE_NAMED.contains(&key) => {
                    for one in all.values() {
                        self.add(parts, one, times, chain + 1)?;
                    }
                }
                _ => {}
            }
        }
        Some(())
    }

    /// Where a reference leads.
    fn target(&self, to: &str) -> Option<&'s Value> {
        let pointer = to.strip_prefix('#')?;
        if pointer.contains('%') {
            return None;
        }
        self.root.pointer(pointer)
    }

    /// Judges what is in a value by the parts that apply to it.
    fn judge(&mut self, value: &Value, parts: Parts<'s>) -> Option<()> {
        match value {
            Value::Array(items) => {
                let mut inner = Parts::new();
                for (part, times) in parts.values() {
                    for key in ITEMS {
                        match part.get(key) {
                            Some(Value::Array(all)) => {
                                for one in all {
                                    self.add(&mut inner, one, *times, 0)?;
                                }
                            }
                            Some(one) => self.add(&mut inner, one, *times, 0)?,
                            None => {}
                        }
                    }
                }
                self.each(items.iter(), &inner)
            }
            Value::Object(members) => {
                let mut any = Parts::new();
                for (part, times) in parts.values() {
                    for key in MEMBERS {
                        if let Some(one) = part.get(key) {
                            self.add(&mut any, one, *times, 0)?;
                        }
                    }
                    if let Some(Value::Object(all)) = part.get("patternProperties") {
                        for one in all.values() {
                            self.add(&mut any, one, *times, 0)?;
                        }
                    }
                }
                // Each part is asked for each name.
                let each = (parts.len() as u64).saturating_add(any.len() as u64);
                for (name, member) in members {
                    self.spend(each)?;
                    let mut inner = any.clone();
                    for (part, times) in parts.values() {
                        if let Some(one) = part.get("properties").and_then(|properties| properties.get(name))
                        {
                            self.add(&mut inner, one, *times, 0)?;
                        }
                    }
                    self.each(std::iter::once(member), &inner)?;
                }
                Some(())
            }
            _ => Some(()),
        }
    }

    /// The same of several values, to which the same parts apply.
    fn each<'v>(&mut self, values: impl Iterator<Item = &'v Value>, parts: &Parts<'s>) -> Option<()> {
        let times = parts.values().fold(1_u64, |sum, (_, times)| sum.saturating_add(*times));
        for value in values {
            self.spend(times)?;
            if value.is_array() || value.is_object() {
                self.judge(value, parts.clone())?;
            }
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const STEPS: u64 = 100_000;

    fn nested(levels: usize) -> Value {
        (0..levels).fold(json!([]), |inner, _| json!([inner]))
    }

    #[test]
    fn what_doubles_with_each_level_is_told_ahead_however_it_does() {
        let twice = |n: Value| json!({"$defs": {"n": n}, "$ref": "#/$defs/n"});
        let n = json!({"$ref": "#/$defs/n"});
        let choice = json!({"anyOf": [{"items": n, "maxItems": 0}, {"items": n, "maxItems": 0}]});
        let both = json!({"items": n, "contains": n});
        let all = json!({"items": {"allOf": [n, n]}});
        let after = json!({"anyOf": [{"items": n}], "unevaluatedItems": n});
        for schema in [twice(choice), twice(both), twice(all)] {
            assert!(is_within(&schema, &nested(8), STEPS), "{schema}");
            assert!(!is_within(&schema, &nested(60), STEPS), "{schema}");
        }
        assert!(!is_within(&twice(after), &nested(60), STEPS));
        // No level is needed where each part refers to the next one twice.
        let mut defs = Map::new();
        for at in 0..40 {
            let next = json!({"$ref": format!("#/$defs/d{}", at + 1)});
            defs.insert(format!("d{at}"), json!({"allOf": [next, next]}));
        }
        defs.insert("d40".to_owned(), json!({"type": "integer"}));
        assert!(!is_within(&json!({"$defs": defs, "$ref": "#/$defs/d0"}), &json!(1), STEPS));
    }

    #[test]
    fn many_parts_are_counted_for_each_name_that_none_of_them_knows() {
        let parts: Vec<Value> = (0..2000).map(|_| json!({"properties": {"a": {}}})).collect();
        let schema = json!({"allOf": parts});
        let members =
            |count: usize| Value::Object((0..count).map(|at| (format!("b{at}"), json!(1))).collect());
        assert!(is_within(&schema, &members(20), STEPS));
        assert!(!is_within(&schema, &members(2000), STEPS));
    }

    #[test]
    fn what_people_write_is_within() {
        let list = json!({"type": "object", "properties": {"value": {"type": "integer"},
            "next": {"anyOf": [{"$ref": "#"}, {"type": "null"}]}}, "required": ["value", "next"]});
        let value = (0..100).fold(Value::Null, |next, at| json!({"value": at, "next": next}));
        assert!(is_within(&list, &value, STEPS));
        let tree = json!({"$defs": {"node": {"type": "object", "properties": {
            "name": {"type": "string", "pattern": "^a"}, "children": {"type": "array", "items": {"$ref": "#/$defs/node"}}}}},
            "$ref": "#/$defs/node"});
        let leaf = json!({"name": "a", "children": []});
        let value =
            (0..50).fold(leaf.clone(), |inner, _| json!({"name": "a", "children": [leaf, inner, leaf]}));
        assert!(is_within(&tree, &value, STEPS));
        assert_eq!(patterns(&tree), 1);
        assert_eq!(patterns(&json!({"patternProperties": {"a": {"pattern": "b"}, "c": {}}})), 3);
    }

    #[test]
    fn a_circle_and_a_reference_elsewhere_are_none_that_is_judged_by() {
        for schema in [
            json!({"$ref": "#"}),
            json!({"$defs": {"a": {"allOf": [{"$ref": "#/$defs/a"}]}}, "$ref": "#/$defs/a"}),
            json!({"$dynamicRef": "#a"}),
            json!({"$ref": "https://x.org/y"}),
            json!({"$ref": "#/$defs/none"}),
        ] {
            assert!(!is_within(&schema, &json!(1), STEPS), "{schema}");
        }
    }
}
