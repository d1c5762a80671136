//! What models were asked and what it cost, by route, provider and the configured name of the model.

use std::{collections::BTreeMap, sync::Arc};

use model::{CallRecord, TokenUsage, UnitUsage};

use super::{Exposition, Live};

/// Picodollars in a dollar.
const DOLLAR: f64 = 1e12;

/// Counts of models. Their names are those of the configuration, never a caller's words.
#[derive(Debug, Default)]
pub(super) struct Models(BTreeMap<Names, Counts>);

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Names {
    route: Arc<str>,
    provider: Arc<str>,
    model: Arc<str>,
}

#[derive(Debug, Default, Clone)]
struct Counts {
    usage: TokenUsage,
    units: UnitUsage,
    picodollars: u128,
    estimates: u64,
    unpriced: u64,
}

impl Models {
    pub(super) fn record(&mut self, call: &CallRecord) {
        let (Some(ai), Some(route)) = (&call.ai, &call.route) else { return };
        let Some(spending) = ai.spending() else { return };
        let names = Names { route: route.clone(), provider: ai.provider.clone(), model: ai.alias.clone() };
        let counts = self.0.entry(names).or_default();
        let (all, one) = (&mut counts.usage, &spending.usage);
        all.input = all.input.saturating_add(one.input);
        all.cache_read = all.cache_read.saturating_add(one.cache_read);
        all.cache_write = all.cache_write.saturating_add(one.cache_write);
        all.output = all.output.saturating_add(one.output);
        all.reasoning = all.reasoning.saturating_add(one.reasoning);
        all.input_audio = all.input_audio.saturating_add(one.input_audio);
        all.output_audio = all.output_audio.saturating_add(one.output_audio);
        counts.units = counts.units.and(spending.units);
        counts.estimates += u64::from(spending.is_estimate);
        match spending.picodollars {
            Some(cost) => counts.picodollars = counts.picodollars.saturating_add(cost),
            None => counts.unpriced += 1,
        }
    }

    pub(super) fn add(&mut self, other: &Self) {
        for (names, more) in &other.0 {
            let counts = self.0.entry(names.clone()).or_default();
            let (all, one) = (&mut counts.usage, &more.usage);
            all.input = all.input.saturating_add(one.input);
            all.cache_read = all.cache_read.saturating_add(one.cache_read);
            all.cache_write = all.cache_write.saturating_add(one.cache_write);
            all.output = all.output.saturating_add(one.output);
            all.reasoning = all.reasoning.saturating_add(one.reasoning);
            all.input_audio = all.input_audio.saturating_add(one.input_audio);
            all.output_audio = all.output_audio.saturating_add(one.output_audio);
            counts.units = counts.units.and(more.units);
            counts.picodollars = counts.picodollars.saturating_add(more.picodollars);
            counts.estimates += more.estimates;
            counts.unpriced += more.unpriced;
        }
    }

    /// Forgets what is not configured any more.
    pub(super) fn prune(&mut self, live: &Live) {
        self.0.retain(|names, _| live.routes.contains(&*names.route) && live.models.contains(&*names.model));
    }

    pub(super) fn render(&self, out: &mut Exposition) {
        for (names, counts) in &self.0 {
            let kinds = [
                ("input", counts.usage.input),
                ("cache_read", counts.usage.cache_read),
                ("cache_write", counts.usage.cache_write),
                ("output", counts.usage.output),
                ("reasoning", counts.usage.reasoning),
                ("input_audio", counts.usage.input_audio),
                ("output_audio", counts.usage.output_audio),
            ];
            for (kind, tokens) in kinds.into_iter().filter(|(_, tokens)| *tokens > 0) {
                let labels = [
                    ("route", &*names.route),
                    ("provider", &*names.provider),
                    ("model", &*names.model),
                    ("kind", kind),
                ];
                let help = "Tokens of models; those of caches are among the input, thoughts among the output, sound among either.";
                out.counter("tidegate_ai_tokens_total", help, &labels, tokens as f64);
            }
        }
        for (names, counts) in &self.0 {
            for (unit, count) in counts.units.named().into_iter().filter(|(_, count)| *count > 0) {
                let [route, provider, model] = names.labels();
                let help = "Pictures, letters spoken, seconds of sound and searches of models.";
                let labels = [route, provider, model, ("unit", unit)];
                out.counter("tidegate_ai_units_total", help, &labels, count as f64);
            }
        }
        for (names, counts) in &self.0 {
            let help = "What models cost, in US dollars.";
            let cost = counts.picodollars as f64 / DOLLAR;
            out.counter("tidegate_ai_cost_usd_total", help, &names.labels(), cost);
        }
        for (names, counts) in &self.0 {
            let help = "Calls whose tokens were counted here, for the provider did not tell.";
            out.counter("tidegate_ai_estimated_calls_total", help, &names.labels(), counts.estimates as f64);
        }
        for (names, counts) in &self.0 {
            let help = "Calls to models without a price.";
            out.counter("tidegate_ai_unpriced_calls_total", help, &names.labels(), counts.unpriced as f64);
        }
    }
}

impl Names {
    fn labels(&self) -> [(&'static str, &str); 3] {
        [("route", &self.route), ("provider", &self.provider), ("model", &self.model)]
    }
}
