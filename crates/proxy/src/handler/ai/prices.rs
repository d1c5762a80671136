//! What models cost: as the catalogue has it, and as the configuration overrules it.

use std::sync::Arc;

use ai::{
    canon::Usage,
    catalogue::{self, Price, Rates, UnitPrices},
    cost::{Class, Units, cost, cost_of_units},
    units,
};
use model::{Finding, Policy, Snapshot, TokenPrices, TokenUsage, UnitUsage, Usd, resource::ai::ModelPrice};

/// The table that prices of the configuration are of.
const CONFIGURED: &str = "configuration";

/// Targets whose price nobody knows, where a budget of money refuses them.
pub(crate) fn unknown(snapshot: &Snapshot) -> Vec<Finding> {
    let Some(ai) = snapshot.config.ai.as_ref().filter(|_| snapshot.policies().any(Policy::asks_prices))
    else {
        return Vec::new();
    };
    let mut found = Vec::new();
    for (place, model) in ai.models.iter().enumerate() {
        for (index, target) in model.targets.iter().enumerate().filter(|(_, one)| !one.model.contains('*')) {
            let provider = ai.providers.iter().find(|provider| provider.name == target.provider);
            let Some(provider) = provider else { continue };
            let prices = TargetPrices::compile(&ai.prices, &provider.name, &provider.kind, &target.model);
            if prices.of(&target.model).is_none() {
                let message = format!(
                    "nobody knows what `{}` costs, and a budget of money refuses it: give its price in `ai.prices`, or \
                     set `unknownPrice: free`",
                    target.model
                );
                found.push(Finding::new("", format!("ai.models[{place}].targets[{index}].model"), message));
            }
        }
    }
    found
}

/// What one model costs.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Priced {
    prices: catalogue::Prices,
    table: Arc<str>,
}

/// What a target's models cost.
#[derive(Clone)]
pub(crate) struct TargetPrices {
    kind: String,
    /// Those of the configuration for its provider.
    configured: Vec<(String, Arc<Priced>)>,
    /// Of the one model that it has, when it is one.
    one: Option<Option<Arc<Priced>>>,
}

impl TargetPrices {
    pub(super) fn compile(prices: &[ModelPrice], provider: &str, kind: &str, model: &str) -> Self {
        let configured = prices
            .iter()
            .filter(|price| price.provider == provider)
            .map(|price| (price.model.clone(), Arc::new(Priced::of(price))))
            .collect();
        let mut compiled = Self { kind: kind.to_owned(), configured, one: None };
        if !model.contains('*') {
            compiled.one = Some(compiled.find(model));
        }
        compiled
    }

    /// What a model costs; `None` when nobody knows.
    pub(crate) fn of(&self, model: &str) -> Option<Arc<Priced>> {
        match &self.one {
            Some(one) => one.clone(),
            None => self.find(model),
        }
    }

    fn find(&self, model: &str) -> Option<Arc<Priced>> {
        let fits = |pattern: &str| match pattern.strip_suffix('*') {
            Some(begin) => model.starts_with(begin),
            None => model == pattern,
        };
        if let Some((_, priced)) = self.configured.iter().find(|(pattern, _)| fits(pattern)) {
            return Some(priced.clone());
        }
        let models = catalogue::models(&self.kind).ok()?;
        let found = models.find(model).filter(|found| !found.prices.is_unknown())?;
        let table = match models.taken {
            Some(day) => format!("{} {day}", self.kind),
            None => self.kind.clone(),
        };
        Some(Arc::new(Priced { prices: found.prices.clone(), table: table.into() }))
    }
}

impl Priced {
    fn of(settings: &ModelPrice) -> Self {
        // A dollar per million tokens is a million picodollars per token.
        let price = |usd: Option<Usd>| {
            usd.map(|usd| Price(u64::try_from(usd.picodollars() / 1_000_000).unwrap_or(u64::MAX)))
        };
        let tokens = Rates {
            input: price(settings.input).or(Some(Price(0))),
            output: price(settings.output).or(Some(Price(0))),
            cache_read: price(settings.cache_read),
            cache_write: price(settings.cache_write),
            ..Rates::default()
        };
        let each =
            |usd: Option<Usd>| usd.map(|usd| Price(u64::try_from(usd.picodollars()).unwrap_or(u64::MAX)));
        let units = UnitPrices {
            image: each(settings.image),
            second_in: each(settings.second_in),
            second_out: each(settings.second_out),
            character: each(settings.character),
            query: each(settings.query),
            page: None,
        };
        Self { prices: catalogue::Prices { tokens, units, ..Default::default() }, table: CONFIGURED.into() }
    }

    /// Whether long prompts cost something else in a class of service.
    pub(crate) fn has_tiers(&self, tier: &str) -> bool {
        let own = if tier == "batch" { self.prices.batch.as_ref() } else { None };
        !own.unwrap_or(&self.prices.tokens).above.is_empty()
    }

    pub(crate) fn prices(&self) -> &catalogue::Prices {
        &self.prices
    }

    #[cfg(test)]
    pub(crate) fn in_test(input: u64, output: u64) -> Self {
        let tokens = Rates { input: Some(Price(input)), output: Some(Price(output)), ..Rates::default() };
        Self { prices: catalogue::Prices { tokens, ..Default::default() }, table: CONFIGURED.into() }
    }
}

impl TokenPrices for Priced {
    fn picodollars(&self, usage: &TokenUsage, tier: Option<&str>) -> u128 {
        let usage = Usage {
            input: usage.input,
            cache_read: usage.cache_read,
            cache_write: usage.cache_write,
            cache_write_long: usage.cache_write_long,
            input_audio: usage.input_audio,
            input_image: usage.input_image,
            output: usage.output,
            reasoning: usage.reasoning,
            output_audio: usage.output_audio,
            output_image: usage.output_image,
        };
        cost(&self.prices, &usage, tier.map(Class::from_word).unwrap_or_default()).0
    }

    fn of_units(&self, used: &UnitUsage) -> Option<u128> {
        let units = Units {
            images: used.images,
            seconds_in: used.seconds_in,
            seconds_out: used.seconds_out,
            characters: used.characters,
            queries: used.queries,
            pages: 0,
        };
        units::paid(&self.prices, &units).map(|paid| cost_of_units(&self.prices, &paid).0)
    }

    fn table(&self) -> &str {
        &self.table
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_overrules_the_catalogue_and_the_first_that_fits_holds() {
        let settings: Vec<ModelPrice> = serde_json::from_value(serde_json::json!([
            {"provider": "one", "model": "gpt-4o-mini", "input": "1.5", "output": 6},
            {"provider": "one", "model": "own-*", "input": 0.25},
            {"provider": "two", "model": "*", "input": 9},
        ]))
        .expect("good settings");
        let prices = TargetPrices::compile(&settings, "one", "openai", "*");
        let cost = |model: &str| {
            let usage = TokenUsage { input: 1_000_000, output: 1_000_000, ..Default::default() };
            prices
                .of(model)
                .map(|found| (Usd::of(found.picodollars(&usage, None)).to_string(), found.table.to_string()))
        };
        assert_eq!(cost("gpt-4o-mini"), Some(("7.50".into(), "configuration".into())));
        assert_eq!(cost("own-7b"), Some(("0.25".into(), "configuration".into())));
        assert_eq!(cost("nobodys-7b"), None);
        let (of_catalogue, table) = cost("gpt-4o").expect("the catalogue knows it");
        assert_eq!(of_catalogue, "12.50");
        assert!(table.starts_with("openai 20"), "{table}");
    }
}
