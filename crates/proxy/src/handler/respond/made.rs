//! Values that a schema describes: the same for the same schema and the same seed.

use serde_json::{Map, Value, json};

use crate::openapi::schema::Document;

/// How deep values nest; what must go on beyond is null.
const DEPTH_MAX: usize = 12;
/// From here on only members that are required are made.
const OPTIONAL_DEPTH_MAX: usize = 5;
/// Values of one answer.
const VALUES_MAX: usize = 5_000;
/// Schemas that are brought together for one answer: those of `allOf` may lead back to themselves in many ways.
const JOINED_MAX: usize = 20_000;
/// Items of one list, and letters of one text, that are made.
const ITEMS_MAX: u64 = 20;
const LETTERS_MAX: u64 = 10_000;

/// Makes values.
pub(super) struct Maker<'d> {
    document: &'d Document,
    /// Numbers that look drawn; without a seed the plainest value is made, and examples count.
    seed: Option<u64>,
    values: usize,
    joined: usize,
}

impl<'d> Maker<'d> {
    pub(super) fn new(document: &'d Document, seed: Option<u64>) -> Self {
        Self { document, seed, values: 0, joined: 0 }
    }

    /// A value of a schema.
    ///
    /// # Errors
    /// A sentence for the operator: the schema leads nowhere.
    pub(super) fn make(&mut self, schema: &Value) -> Result<Value, String> {
        self.value(schema, 0)
    }

    /// A number below a bound; 0 without a seed.
    fn drawn(&mut self, bound: u64) -> u64 {
        let Some(seed) = &mut self.seed else { return 0 };
        // SplitMix64.
        *seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = *seed;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)).checked_rem(bound).unwrap_or_default()
    }

    fn value(&mut self, written: &Value, depth: usize) -> Result<Value, String> {
        self.values += 1;
        if depth > DEPTH_MAX || self.values > VALUES_MAX {
            return Ok(Value::Null);
        }
        let schema = self.document.part(written)?;
        if let Some(value) = schema.get("const") {
            return Ok(value.clone());
        }
        if self.seed.is_none() {
            let first = schema.get("examples").and_then(|all| all.get(0));
            if let Some(given) = schema.get("example").or(first).or_else(|| schema.get("default")) {
                return Ok(given.clone());
            }
        }
        if let Some(values) = schema.get("enum").and_then(Value::as_array).filter(|values| !values.is_empty())
        {
            let at = usize::try_from(self.drawn(values.len() as u64)).unwrap_or_default();
            return Ok(values.get(at).cloned().unwrap_or_default());
        }
        for key in ["oneOf", "anyOf"] {
            let Some(all) = schema.get(key).and_then(Value::as_array).filter(|all| !all.is_empty()) else {
                continue;
            };
            let at = usize::try_from(self.drawn(all.len() as u64)).unwrap_or_default();
            let chosen = all.get(at).cloned().unwrap_or_default();
            let rest = without(schema, key);
            return match rest.as_object().is_some_and(has_shape) {
                true => self.value(&json!({"allOf": [rest, chosen]}), depth + 1),
                false => self.value(&chosen, depth + 1),
            };
        }
        if let Some(all) = schema.get("allOf").and_then(Value::as_array) {
            let mut whole = Map::new();
            self.join(&mut whole, &without(schema, "allOf"), 0)?;
            for one in all {
                self.join(&mut whole, one, 0)?;
            }
            return self.value(&Value::Object(whole), depth + 1);
        }
        match kind(schema) {
            "object" => self.object(schema, depth),
            "array" => self.list(schema, depth),
            "string" => Ok(self.text(schema).into()),
            "integer" => Ok(self.number(schema, true)),
            "number" => Ok(self.number(schema, false)),
            "boolean" => Ok((self.seed.is_none() || self.drawn(2) == 1).into()),
            _ => Ok(Value::Null),
        }
    }

    /// Brings what several schemas say together.
    fn join(&mut self, whole: &mut Map<String, Value>, one: &Value, depth: usize) -> Result<(), String> {
        self.joined += 1;
        if depth > DEPTH_MAX || self.joined > JOINED_MAX {
            return Ok(());
        }
        let one = self.document.part(one)?;
        for (key, value) in one.as_object().into_iter().flatten() {
            match (key.as_str(), whole.get_mut(key), value) {
                ("allOf", _, Value::Array(all)) => {
                    for one in all {
                        self.join(whole, one, depth + 1)?;
                    }
                }
                ("properties", Some(Value::Object(known)), Value::Object(more)) => {
                    known.extend(more.iter().map(|(name, schema)| (name.clone(), schema.clone())));
                }
                ("required", Some(Value::Array(known)), Value::Array(more)) => {
                    known.extend(more.iter().cloned());
                }
                ("minimum" | "minLength" | "minItems", Some(known), more)
                    if known.as_f64() > more.as_f64() => {}
                ("maximum" | "maxLength" | "maxItems", Some(known), more)
                    if known.as_f64() < more.as_f64() => {}
                _ => _ = whole.insert(key.clone(), value.clone()),
            }
        }
        Ok(())
    }

    fn object(&mut self, schema: &Value, depth: usize) -> Result<Value, String> {
        let mut all = Map::new();
        let required = schema.get("required").and_then(Value::as_array);
        let is_required = |name: &str| required.is_some_and(|names| names.iter().any(|one| one == name));
        for (name, one) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
            let is_hidden = self.document.part(one)?.get("writeOnly") == Some(&Value::Bool(true));
            if is_hidden || (depth >= OPTIONAL_DEPTH_MAX && !is_required(name)) {
                continue;
            }
            let value = self.value(one, depth + 1)?;
            all.insert(name.clone(), value);
        }
        let fewest = schema.get("minProperties").and_then(Value::as_u64).unwrap_or_default().min(ITEMS_MAX);
        let more = schema.get("additionalProperties").filter(|more| more.is_object());
        if let Some(more) = more {
            let wanted = fewest.max(u64::from(all.is_empty() && depth < OPTIONAL_DEPTH_MAX));
            for at in all.len() as u64..wanted {
                let value = self.value(more, depth + 1)?;
                all.insert(format!("key{}", at + 1), value);
            }
        }
        Ok(Value::Object(all))
    }

    fn list(&mut self, schema: &Value, depth: usize) -> Result<Value, String> {
        let bound = |key: &str| schema.get(key).and_then(Value::as_u64);
        let usual = if depth >= OPTIONAL_DEPTH_MAX { 0 } else { 1 + self.drawn(3) };
        let count = usual
            .max(bound("minItems").unwrap_or(0))
            .min(bound("maxItems").unwrap_or(ITEMS_MAX))
            .min(ITEMS_MAX);
        let is_set = schema.get("uniqueItems") == Some(&Value::Bool(true));
        let nothing = Value::Bool(true);
        let mut all: Vec<Value> = Vec::new();
        for at in 0..count {
            let first = schema
                .get("prefixItems")
                .and_then(|items| items.get(usize::try_from(at).unwrap_or_default()));
            let items = first.or_else(|| schema.get("items")).unwrap_or(&nothing);
            let mut item = self.value(items, depth + 1)?;
            if is_set && all.contains(&item) {
                item = other(&item, at);
                if all.contains(&item) {
                    break;
                }
            }
            all.push(item);
        }
        Ok(Value::Array(all))
    }

    fn text(&mut self, schema: &Value) -> String {
        let two = |number: u64| format!("{number:02}");
        let day = 1 + self.drawn(28);
        let plain = match schema.get("format").and_then(Value::as_str) {
            Some("date-time") => format!("2026-01-{}T{}:00:00Z", two(day), two(self.drawn(24))),
            Some("date") => format!("2026-01-{}", two(day)),
            Some("time") => format!("{}:00:00Z", two(self.drawn(24))),
            Some("duration") => format!("P{day}D"),
            Some("email" | "idn-email") => format!("user{}@example.com", 1 + self.drawn(1000)),
            Some("uuid") => {
                let (high, low) = (self.drawn(u64::MAX), self.drawn(u64::MAX));
                let part = |value: u64, shift: u32, mask: u64| (value >> shift) & mask;
                format!(
                    "{:08x}-{:04x}-4{:03x}-8{:03x}-{:012x}",
                    part(high, 32, 0xffff_ffff),
                    part(high, 16, 0xffff),
                    part(high, 0, 0xfff),
                    part(low, 48, 0xfff),
                    part(low, 0, 0xffff_ffff_ffff)
                )
            }
            Some("uri" | "url" | "iri") => format!("https://example.com/{}", 1 + self.drawn(1000)),
            Some("uri-reference" | "iri-reference") => format!("/{}", 1 + self.drawn(1000)),
            Some("hostname" | "idn-hostname") => format!("host{}.example.com", 1 + self.drawn(1000)),
            Some("ipv4") => format!("192.0.2.{}", 1 + self.drawn(254)),
            Some("ipv6") => format!("2001:db8::{:x}", 1 + self.drawn(0xfffe)),
            Some("byte") => "dGV4dA==".to_owned(),
            Some("json-pointer") => "/a".to_owned(),
            _ if self.seed.is_some() => format!("text{}", 1 + self.drawn(1000)),
            _ => "text".to_owned(),
        };
        let bound = |key: &str| schema.get(key).and_then(Value::as_u64);
        let shortest = usize::try_from(bound("minLength").unwrap_or(0).min(LETTERS_MAX)).unwrap_or_default();
        let longest = usize::try_from(bound("maxLength").unwrap_or(LETTERS_MAX)).unwrap_or(usize::MAX);
        let mut letters: String = plain.chars().take(longest).collect();
        let missing = shortest.saturating_sub(letters.chars().count());
        letters.extend(std::iter::repeat_n('x', missing));
        letters
    }

    fn number(&mut self, schema: &Value, is_whole: bool) -> Value {
        let bound = |key: &str| schema.get(key).and_then(Value::as_f64);
        let is_open = |key: &str| schema.get(key) == Some(&Value::Bool(true));
        let step = bound("multipleOf").filter(|step| *step > 0.0).unwrap_or(if is_whole { 1.0 } else { 0.5 });
        let least = match (bound("minimum"), bound("exclusiveMinimum")) {
            (Some(least), _) if is_open("exclusiveMinimum") => Some(least + step),
            (least, Some(open)) => Some(least.unwrap_or(f64::MIN).max(open + step)),
            (least, None) => least,
        };
        let most = match (bound("maximum"), bound("exclusiveMaximum")) {
            (Some(most), _) if is_open("exclusiveMaximum") => Some(most - step),
            (most, Some(open)) => Some(most.unwrap_or(f64::MAX).min(open - step)),
            (most, None) => most,
        };
        let from = least.unwrap_or_else(|| most.map_or(step, |most| most.min(step)));
        // The first multiple from there on.
        let from = if is_whole || bound("multipleOf").is_some() { (from / step).ceil() * step } else { from };
        let room = most.map_or(1000.0, |most| ((most - from) / step).floor().clamp(0.0, 1000.0));
        let value = from + self.drawn(room as u64 + 1) as f64 * step;
        match is_whole {
            true => (value as i64).into(),
            false => serde_json::Number::from_f64(value).map_or(Value::Null, Value::Number),
        }
    }
}

fn kind(schema: &Value) -> &str {
    let named = match schema.get("type") {
        Some(Value::String(name)) => Some(name.as_str()),
        Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).find(|name| *name != "null"),
        _ => None,
    };
    let has = |key: &str| schema.get(key).is_some();
    named.unwrap_or_else(|| match () {
        () if has("properties") || has("additionalProperties") => "object",
        () if has("items") || has("prefixItems") => "array",
        () if has("minimum") || has("maximum") => "number",
        () => "string",
    })
}

fn has_shape(schema: &Map<String, Value>) -> bool {
    ["properties", "allOf", "required", "type"].iter().any(|key| schema.contains_key(*key))
}

fn without(schema: &Value, key: &str) -> Value {
    let mut own = schema.as_object().cloned().unwrap_or_default();
    own.remove(key);
    own.remove("discriminator");
    Value::Object(own)
}

/// Another value of the same kind.
fn other(value: &Value, at: u64) -> Value {
    match value {
        Value::String(text) => format!("{text}{at}").into(),
        Value::Number(number) => match number.as_i64() {
            Some(whole) => whole.saturating_add(i64::try_from(at).unwrap_or_default()).into(),
            None => number.as_f64().map_or(Value::Null, |number| json!(number + at as f64)),
        },
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::openapi::schema::{Converter, Told};

    fn document() -> Document {
        let node = json!({"type": "object", "required": ["name", "next"], "properties": {
            "name": {"type": "string"}, "next": {"type": "array", "items": {"$ref": "#/components/schemas/Node"}},
            "hidden": {"type": "string", "writeOnly": true}}});
        Document { root: json!({"components": {"schemas": {"Node": node}}}), is_old: false }
    }

    fn schemas() -> Vec<Value> {
        vec![
            json!({"$ref": "#/components/schemas/Node"}),
            json!({"type": "integer", "minimum": 5, "exclusiveMaximum": 9, "multipleOf": 2}),
            json!({"type": "integer", "maximum": -3}),
            json!({"type": "number", "exclusiveMinimum": 0, "maximum": 1}),
            json!({"type": "string", "minLength": 12, "maxLength": 15}),
            json!({"type": "string", "maxLength": 2}),
            json!({"type": "array", "minItems": 3, "uniqueItems": true, "items": {"type": "integer", "minimum": 0}}),
            json!({"allOf": [{"type": "object", "required": ["a"], "properties": {"a": {"type": "boolean"}}},
                             {"properties": {"b": {"enum": ["x", "y"]}}, "required": ["b"]}]}),
            json!({"oneOf": [{"type": "integer", "minimum": 3}, {"type": "null"}]}),
            json!({"type": "object", "required": ["k"], "properties": {"k": {"const": 1}},
                   "anyOf": [{"properties": {"a": {"type": "integer"}}, "required": ["a"]}]}),
            json!({"type": "object", "minProperties": 2, "additionalProperties": {"type": "string", "format": "email"}}),
            json!({"type": ["null", "string"], "format": "uuid"}),
            json!({"type": "string", "format": "date-time"}),
            json!({"type": "string", "format": "ipv6"}),
        ]
    }

    proptest! {
        #[test]
        fn what_is_made_fits_its_schema_and_is_the_same_each_time(seed in any::<Option<u64>>(), at in 0..14_usize) {
            let (document, schema) = (document(), schemas().swap_remove(at));
            let made = Maker::new(&document, seed).make(&schema).expect("a value");
            let again = Maker::new(&document, seed).make(&schema).expect("a value");
            prop_assert_eq!(&made, &again);
            let mut converter = Converter::strict(&document, Told::Answer);
            let mut converted = converter.convert(&schema).expect("a schema");
            converter.finish(converted.as_object_mut().expect("an object")).expect("whole");
            let judge = crate::schema::Schema::judging(&converted).expect("a schema");
            prop_assert!(judge.fits(&made), "{} {}", schema, made);
        }
    }

    #[test]
    fn examples_count_and_secrets_are_left_out() {
        let document = document();
        let schema = json!({"type": "object", "properties": {"a": {"type": "string", "example": "one"}, "b": {"default": 2}}});
        assert_eq!(Maker::new(&document, None).make(&schema), Ok(json!({"a": "one", "b": 2})));
        let node =
            Maker::new(&document, None).make(&json!({"$ref": "#/components/schemas/Node"})).expect("a value");
        assert!(node.get("name").is_some() && node.get("hidden").is_none(), "{node}");
        assert!(Maker::new(&document, None).make(&json!({"$ref": "#/nowhere"})).is_err());
        let wide = json!({"type": "array", "minItems": 20, "items": {"type": "array", "minItems": 20,
            "items": {"type": "array", "minItems": 20, "items": {"type": "array", "minItems": 20, "items": {}}}}});
        assert!(Maker::new(&document, None).make(&wide).expect("a value").to_string().len() < 200_000);
    }
}
