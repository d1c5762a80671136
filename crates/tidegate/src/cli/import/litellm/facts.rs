//! What is said of a model: prices, sizes and abilities.

use ai::catalogue;
use serde_json::{Map, Value, json};

use super::Import;

/// Their price and ours; those of tokens are per million here.
const PRICES: [(&str, &str, bool); 11] = [
    ("input_cost_per_token", "input", true),
    ("output_cost_per_token", "output", true),
    ("cache_read_input_token_cost", "cacheRead", true),
    ("cache_creation_input_token_cost", "cacheWrite", true),
    ("input_cost_per_character", "character", false),
    ("input_cost_per_second", "secondIn", false),
    ("output_cost_per_second", "secondOut", false),
    ("output_cost_per_image", "image", false),
    ("input_cost_per_image", "image", false),
    ("cost_per_image", "image", false),
    ("input_cost_per_query", "query", false),
];

/// What only describes, and needs no counterpart.
const WORDS: [&str; 10] = [
    "id",
    "db_model",
    "description",
    "mode",
    "created_at",
    "updated_at",
    "version",
    "display_name",
    "litellm_provider",
    "created_by",
];

/// What they say that a model can, and how it is called here.
const ABILITIES: [(&str, &str); 4] = [
    ("supports_function_calling", "tools"),
    ("supports_vision", "vision"),
    ("supports_reasoning", "reasoning"),
    ("supports_response_schema", "json-schema"),
];

impl Import {
    /// Takes prices and facts out of the two places in which they may stand.
    pub(super) fn facts(
        &mut self,
        provider: &str,
        kind: &str,
        model: &str,
        params: &mut Map<String, Value>,
        info: &mut Map<String, Value>,
        at: &str,
    ) {
        let mut price = Map::new();
        for (theirs, ours, is_per_million) in PRICES {
            let found = [params.remove(theirs), info.remove(theirs)];
            let Some(number) = found.iter().flatten().find_map(number) else { continue };
            price
                .entry(ours)
                .or_insert_with(|| dollars(if is_per_million { number * 1e6 } else { number }).into());
        }
        if !price.is_empty() {
            let mut entry = Map::from_iter([
                ("provider".to_owned(), Value::from(provider)),
                ("model".to_owned(), Value::from(model)),
            ]);
            entry.extend(price);
            let is_known =
                |known: &Value| known["provider"] == entry["provider"] && known["model"] == entry["model"];
            match self.prices.iter().any(is_known) {
                true => self.note(at, "a second price of the same model; the first one counts"),
                false => self.prices.push(entry.into()),
            }
        }
        for word in WORDS {
            info.remove(word);
        }
        if model.ends_with('*') {
            return;
        }
        let mut entry = Map::new();
        let context = info.remove("max_input_tokens").as_ref().and_then(Value::as_u64);
        let most = info.remove("max_tokens").as_ref().and_then(Value::as_u64);
        let output = info.remove("max_output_tokens").as_ref().and_then(Value::as_u64).or(most);
        for (ours, number) in [("context", context), ("maxOutput", output)] {
            if let Some(number) = number.filter(|number| *number > 0) {
                entry.insert(ours.into(), number.into());
            }
        }
        let can: Vec<&str> = ABILITIES
            .iter()
            .filter(|(theirs, _)| info.remove(*theirs).is_some_and(|value| value == true))
            .map(|(_, ours)| *ours)
            .collect();
        // What the catalogue knows of a model is more than this.
        if !can.is_empty() && catalogue::find(kind, model).is_none() {
            entry.insert("can".into(), can.into());
        }
        if entry.is_empty() {
            return;
        }
        let mut whole = json!({"kind": kind, "model": model});
        for (key, value) in entry {
            whole[key] = value;
        }
        let is_known = |known: &Value| known["kind"] == whole["kind"] && known["model"] == whole["model"];
        if !self.catalogue.iter().any(is_known) {
            self.catalogue.push(whole);
        }
    }
}

/// A number, which YAML may have taken for a text (`1e-7`).
pub(super) fn number(value: &Value) -> Option<f64> {
    value
        .as_f64()
        .or_else(|| value.as_str()?.parse().ok())
        .filter(|number| number.is_finite() && *number >= 0.0)
}

/// Dollars with as many places as there are, twelve at most.
pub(super) fn dollars(amount: f64) -> String {
    let text = format!("{amount:.12}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    // What a number in binary lets stand behind its last place.
    let short = format!("{:.9}", amount);
    let short = short.trim_end_matches('0').trim_end_matches('.');
    let is_same = short.parse::<f64>().is_ok_and(|number| (number - amount).abs() <= amount.abs() * 1e-12);
    if is_same { short.to_owned() } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prices_are_written_as_people_write_them() {
        for (per_token, want) in
            [(1.5e-7, "0.15"), (3e-6, "3"), (2.5e-6, "2.5"), (1e-12, "0.000001"), (0.0, "0")]
        {
            assert_eq!(dollars(per_token * 1e6), want, "{per_token}");
        }
        assert_eq!(number(&Value::from("1e-7")), Some(1e-7));
        assert_eq!(number(&Value::from(-1.0)), None);
    }
}
