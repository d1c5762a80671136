//! The catalogue of models as a configuration has it: what ships, with `ai.catalogue` over it.

use std::collections::HashMap;

use ai::{
    catalogue::{self, Capabilities, Model, Price, Prices, Rates, Surface},
    rules::Rules,
};
use model::resource::{ai::Ai, catalogue::CatalogueEntry};

/// What a configuration says of models, by kind and name.
#[derive(Debug, Default)]
pub struct Known(HashMap<(String, String), Model>);

impl Known {
    /// Reads `ai.catalogue`.
    ///
    /// # Errors
    /// What an entry has wrong, with its place in the list.
    pub fn of(ai: &Ai) -> Result<Self, String> {
        let mut known = HashMap::new();
        for (index, entry) in ai.catalogue.iter().enumerate() {
            let model = facts(entry).map_err(|error| format!("ai.catalogue[{index}]: {error}"))?;
            if known.insert((entry.kind.clone(), entry.model.clone()), model).is_some() {
                return Err(format!(
                    "ai.catalogue[{index}]: `{}` of `{}` is there twice",
                    entry.model, entry.kind
                ));
            }
        }
        Ok(Self(known))
    }

    /// The model of this very name, as the configuration has it.
    pub fn exact(&self, kind: &str, model: &str) -> Option<&Model> {
        self.0.get(&(kind.to_owned(), model.to_owned()))
    }

    /// A model's facts: the configuration's, else those that ship.
    pub fn find(&self, kind: &str, model: &str) -> Option<&Model> {
        self.exact(kind, model).or_else(|| catalogue::find(kind, model))
    }

    /// All that the configuration has.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Model)> {
        self.0.iter().map(|((kind, _), model)| (kind.as_str(), model))
    }

    /// What a model takes.
    pub(crate) fn rules(&self, kind: &str, model: &str) -> Rules {
        match (self.exact(kind, model), catalogue::provider(kind)) {
            (Some(facts), Ok(provider)) => provider.rules(model, Some(facts)),
            _ => catalogue::rules(kind, model),
        }
    }
}

/// An entry over what ships.
fn facts(entry: &CatalogueEntry) -> Result<Model, String> {
    catalogue::provider(&entry.kind).map_err(|error| format!("kind: {error}"))?;
    if entry.model.is_empty() || entry.model.contains('*') {
        return Err("model: expected the name of one model".to_owned());
    }
    let mut facts = match catalogue::find(&entry.kind, &entry.model) {
        Some(shipped) => Model { name: entry.model.clone(), ..shipped.clone() },
        None => Model {
            name: entry.model.clone(),
            surface: Surface::Chat,
            context: None,
            max_output: None,
            vector_size: None,
            can: Capabilities::default(),
            prices: Prices::default(),
            retires: None,
        },
    };
    facts.context = entry.context.or(facts.context);
    facts.max_output = entry.max_output.or(facts.max_output);
    if let Some(can) = &entry.can {
        facts.can = Capabilities::parse(&can.join(",")).map_err(|error| format!("can: {error}"))?;
    }
    if let Some(price) = &entry.price {
        let read = |key: &str, dollars: Option<f64>| {
            let price = dollars.map(|dollars| Price::per_million_tokens(&dollars.to_string())).transpose();
            price.map_err(|error| format!("price.{key}: {error}"))
        };
        let tokens = Rates {
            input: read("input", price.input)?,
            output: read("output", price.output)?,
            cache_read: read("cacheRead", price.cache_read)?,
            cache_write: read("cacheWrite", price.cache_write)?,
            ..Rates::default()
        };
        facts.prices = Prices { tokens, ..Prices::default() };
    }
    Ok(facts)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(yaml: &str) -> Result<Known, String> {
        let entries: Vec<CatalogueEntry> = serde_json::from_str(yaml).expect("entries");
        Known::of(&Ai { catalogue: entries, ..Ai::default() })
    }

    #[test]
    fn what_is_left_out_is_as_it_ships_and_new_models_are_known() {
        let known = known(
            r#"[{"kind":"openai","model":"gpt-4o","maxOutput":99,"price":{"input":0.25,"output":1}},
                {"kind":"openai","model":"gpt-99","context":7,"can":["tools","vision"]}]"#,
        )
        .expect("entries");
        let (shipped, ours) = (catalogue::find("openai", "gpt-4o"), known.find("openai", "gpt-4o"));
        let (shipped, ours) = (shipped.expect("ships"), ours.expect("ours"));
        assert_eq!((ours.context, ours.can, ours.max_output), (shipped.context, shipped.can, Some(99)));
        assert_eq!(ours.prices.tokens.input, Some(Price(250_000)));
        assert_eq!(ours.prices.tokens.cache_read, None, "all prices are replaced at once");
        assert_eq!(known.rules("openai", "gpt-4o").max_output_tokens, Some(99));
        assert_eq!(known.find("openai", "gpt-99").and_then(|model| model.context), Some(7));
        assert_eq!(known.find("openai", "gpt-4o-mini"), catalogue::find("openai", "gpt-4o-mini"));
    }

    #[test]
    fn mistakes_name_their_place() {
        for (entries, says) in [
            (r#"[{"kind":"opnai","model":"a"}]"#, "ai.catalogue[0]: kind: no provider is named `opnai`"),
            (r#"[{"kind":"openai","model":"a*"}]"#, "ai.catalogue[0]: model:"),
            (r#"[{"kind":"openai","model":"a","can":["fly"]}]"#, "can: `fly` is no capability"),
            (r#"[{"kind":"openai","model":"a","price":{"input":-1}}]"#, "price.input"),
            (r#"[{"kind":"openai","model":"a"},{"kind":"openai","model":"a"}]"#, "there twice"),
        ] {
            let error = known(entries).expect_err(entries);
            assert!(error.contains(says), "{entries}: {error}");
        }
    }
}
