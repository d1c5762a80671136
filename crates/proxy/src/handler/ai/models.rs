//! The names of models that callers may use, and what stands behind each.

use std::{borrow::Cow, sync::Arc};

use ai::{
    catalogue::{self, Surface},
    dialect::Dialect,
    rules::Rules,
};
use model::resource::ai::{Ai, Model};

use super::{
    choice::{Choice, Standing},
    prices::{Priced, TargetPrices},
    provider::Provider,
    shadow::Shadow,
};
use crate::{catalogue::Known, compiled::Building};

/// The models of one route.
pub(crate) struct Models {
    exact: Vec<Alias>,
    /// Names with a `*` at their end, the longest first.
    patterns: Vec<Alias>,
}

/// A name, and what stands behind it.
pub(crate) struct Alias {
    /// Without its `*`.
    pub(crate) name: Arc<str>,
    /// With it, as it is configured.
    full_name: Arc<str>,
    pub(super) targets: Vec<Arc<Target>>,
    pub(super) choice: Choice,
    /// Models that are asked the same beside it.
    pub(super) shadows: Vec<Arc<Shadow>>,
}

/// A model of a provider.
pub(crate) struct Target {
    pub(crate) provider: Arc<Provider>,
    model: String,
    /// What the model takes, when it is one and not whatever the caller names.
    rules: Option<Rules>,
    /// What is spoken with it, when it is one.
    own: Option<Dialect>,
    /// What is known of it, when it is one.
    pub(super) facts: Option<&'static catalogue::Model>,
    pub(super) standing: Standing,
    pub(super) prices: TargetPrices,
    known: Arc<Known>,
}

/// What the models of one provider cost, by its names of them.
pub(super) struct PricesAt(Vec<(String, TargetPrices)>);

impl PricesAt {
    /// What a model costs, by the name that answers tell: that of a target, or a version of it.
    pub(super) fn of(&self, served: &str) -> Option<Arc<Priced>> {
        let fits = |model: &str| match model.split_once('*') {
            Some((begin, end)) => {
                served.len() >= model.len() - 1 && served.starts_with(begin) && served.ends_with(end)
            }
            None => served == model,
        };
        if let Some((_, prices)) = self.0.iter().find(|(model, _)| fits(model)) {
            return prices.of(served);
        }
        let versions = self.0.iter().filter(|(model, _)| served.starts_with(&**model));
        let (model, prices) = versions.max_by_key(|(model, _)| model.len())?;
        prices.of(model)
    }

    /// Which table most of these prices are of.
    pub(super) fn table(&self) -> Box<str> {
        let table = self.0.iter().find_map(|(model, prices)| prices.of(model));
        table.map_or_else(|| "".into(), |prices| model::TokenPrices::table(&*prices).into())
    }
}

/// What a call asks for: an alias, and what its `*` stands for.
pub(crate) struct Asked<'m> {
    pub(crate) alias: &'m Alias,
    rest: &'m str,
}

impl Models {
    pub(super) fn compile(ai: &Ai, only: Option<&[String]>, cx: &Building<'_>) -> Result<Self, String> {
        let known = Arc::new(Known::of(ai)?);
        let mut models = Self { exact: Vec::new(), patterns: Vec::new() };
        for model in &ai.models {
            if only.is_some_and(|only| !only.contains(&model.name)) {
                continue;
            }
            let alias = Alias::compile(model, ai, &known, cx)?;
            let list = if model.name.ends_with('*') { &mut models.patterns } else { &mut models.exact };
            list.push(alias);
        }
        models.exact.sort_by(|a, b| a.name.cmp(&b.name));
        models.patterns.sort_by_key(|alias| std::cmp::Reverse(alias.name.len()));
        Ok(models)
    }

    /// What a name stands for: exactly, or by the longest pattern.
    pub(super) fn find<'m>(&'m self, name: &'m str) -> Option<Asked<'m>> {
        if let Ok(at) = self.exact.binary_search_by(|alias| (*alias.name).cmp(name)) {
            return Some(Asked { alias: &self.exact[at], rest: "" });
        }
        self.patterns.iter().find_map(|alias| Some(Asked { alias, rest: name.strip_prefix(&*alias.name)? }))
    }

    /// Whether every target of a model takes a feature.
    pub(super) fn take(&self, name: &str, feature: ai::canon::Feature) -> bool {
        let takes = |asked: &Asked<'_>, target: &Target| !target.rules(&asked.model(target)).refuses(feature);
        self.find(name).is_some_and(|asked| asked.alias.targets.iter().all(|target| takes(&asked, target)))
    }

    /// The providers of these models, each once.
    pub(super) fn providers(&self) -> Vec<&Arc<Provider>> {
        let mut found: Vec<&Arc<Provider>> = Vec::new();
        for target in self.exact.iter().chain(&self.patterns).flat_map(|alias| &alias.targets) {
            if !found.iter().any(|one| one.name == target.provider.name) {
                found.push(&target.provider);
            }
        }
        found
    }

    /// What the models that a provider serves here cost.
    pub(super) fn prices_at(&self, provider: &str) -> PricesAt {
        let targets = self.exact.iter().chain(&self.patterns).flat_map(|alias| &alias.targets);
        let here = targets.filter(|target| *target.provider.name == *provider);
        PricesAt(here.map(|target| (target.model.clone(), target.prices.clone())).collect())
    }

    /// The names that can be listed: patterns name no model.
    pub(super) fn names(&self) -> impl Iterator<Item = (&Arc<str>, &str, Option<Surface>)> {
        self.exact.iter().map(|alias| {
            let first = alias.targets.first();
            let surface = first.and_then(|target| target.facts).map(|facts| facts.surface);
            (&alias.name, first.map_or("tidegate", |target| &*target.provider.name), surface)
        })
    }
}

/// The name in `ai.models` that serves a model: its own, or the longest pattern.
pub(super) fn serving<'a>(ai: &'a Ai, model: &str) -> Option<&'a str> {
    let fits = |name: &str| match name.strip_suffix('*') {
        Some(begin) => model.starts_with(begin),
        None => name == model,
    };
    let names = ai.models.iter().map(|model| model.name.as_str()).filter(|name| fits(name));
    names.max_by_key(|name| (!name.ends_with('*'), name.len()))
}

impl Alias {
    fn compile(model: &Model, ai: &Ai, known: &Arc<Known>, cx: &Building<'_>) -> Result<Self, String> {
        let mut targets = Vec::with_capacity(model.targets.len());
        for (index, target) in model.targets.iter().enumerate() {
            let settings = ai.providers.iter().find(|provider| provider.name == target.provider);
            let settings = settings.ok_or_else(|| format!("no provider `{}`", target.provider))?;
            let provider = cx.providers.get(target.provider.as_str());
            let provider = provider.ok_or_else(|| format!("provider `{}` is not there", target.provider))?;
            let is_one = !target.model.contains('*');
            // Either way the facts are read now, and not by the first call.
            let facts = catalogue::models(&settings.kind);
            facts.map_err(|error| format!("`{}`: {error}", settings.kind))?;
            let rules = is_one.then(|| known.rules(&settings.kind, &target.model));
            let facts = is_one.then(|| catalogue::find(&settings.kind, &target.model)).flatten();
            let standing = Standing::compile(model, index, cx)?;
            let prices = TargetPrices::compile(&ai.prices, &target.provider, &settings.kind, &target.model);
            let (provider, model) = (provider.clone(), target.model.clone());
            let own = is_one.then(|| provider.kind.dialect_of(&model));
            let known = known.clone();
            targets.push(Arc::new(Target { provider, model, rules, own, facts, standing, prices, known }));
        }
        let mut shadows = Vec::with_capacity(model.shadow.len());
        for (index, settings) in model.shadow.iter().enumerate() {
            let provider = cx.providers.get(settings.provider.as_str());
            let provider =
                provider.ok_or_else(|| format!("provider `{}` is not there", settings.provider))?.clone();
            let kind = &provider.kind.name;
            let target = Target {
                rules: Some(known.rules(kind, &settings.model)),
                own: Some(provider.kind.dialect_of(&settings.model)),
                facts: catalogue::find(kind, &settings.model),
                standing: Standing::aside(&settings.provider, &settings.model),
                prices: TargetPrices::compile(&ai.prices, &settings.provider, kind, &settings.model),
                known: known.clone(),
                model: settings.model.clone(),
                provider,
            };
            let place = format!("{}/{index}", model.name);
            shadows.push(Arc::new(Shadow::new(settings, target, &place, cx)));
        }
        let choice = Choice::compile(model, &targets, cx);
        let name = model.name.trim_end_matches('*').into();
        Ok(Self { name, full_name: model.name.as_str().into(), targets, choice, shadows })
    }

    /// All of its targets.
    pub(super) fn targets(&self) -> &[Arc<Target>] {
        &self.targets
    }

    /// One of its targets, to be kept beyond the call.
    pub(super) fn shared(&self, target: &Target) -> Option<Arc<Target>> {
        self.targets.iter().find(|one| std::ptr::eq(&raw const ***one, &raw const *target)).cloned()
    }

    /// As the configuration has it, `*` included.
    pub(crate) fn full_name(&self) -> &Arc<str> {
        &self.full_name
    }
}

impl Target {
    /// Whether it is one model, and not whatever the caller names.
    pub(super) fn is_one(&self) -> bool {
        self.rules.is_some()
    }

    /// The dialect in which a caller of `wanted` is served by a model of this: see [`Provider::dialect_for`].
    pub(super) fn dialect_for(&self, wanted: Dialect, model: &str) -> Dialect {
        let own = self.own.unwrap_or_else(|| self.provider.kind.dialect_of(model));
        self.provider.dialect_where(wanted, own)
    }

    /// What a model takes.
    pub(crate) fn rules(&self, model: &str) -> Cow<'_, Rules> {
        match &self.rules {
            Some(rules) => Cow::Borrowed(rules),
            None => Cow::Owned(self.known.rules(&self.provider.kind.name, model)),
        }
    }
}

impl Asked<'_> {
    /// The model of a target, as its provider names it.
    pub(crate) fn model(&self, target: &Target) -> String {
        target.model.replace('*', self.rest)
    }
}
