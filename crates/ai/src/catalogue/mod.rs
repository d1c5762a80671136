//! The catalogue of providers and models: what ships with the gateway, as data.
//!
//! Each provider is a file in `catalogue/`, and its models are another beside it, written by `catalogue/import.py` with
//! the day on which the facts were taken. A file is parsed when somebody first asks for it, so that a provider that
//! nobody uses costs nothing but its text. Configuration may add to all of this and overrule it; that is done where
//! configuration is compiled.

mod auth;
mod body;
mod capability;
mod error;
mod families;
mod files;
mod model;
mod pattern;
mod price;
mod provider;
mod query;
mod quirks;
#[cfg(test)]
mod tests;

pub use self::{
    auth::{Auth, Credential},
    capability::{Capabilities, Capability},
    error::CatalogueError,
    model::{Day, Model, Models, Surface},
    pattern::fits,
    price::{Price, Prices, Rates, UnitPrices},
    provider::{Also, Placeholder, Provider},
    query::{Found, Query, query},
};
use crate::rules::Rules;

/// The names of all providers, in their order.
pub fn names() -> impl Iterator<Item = &'static str> {
    files::ENTRIES.iter().map(|entry| entry.name)
}

/// The name of a provider as the catalogue holds it.
fn known(name: &str) -> Result<&'static str, CatalogueError> {
    names().find(|known| *known == name).ok_or_else(|| CatalogueError::UnknownProvider {
        name: name.to_owned(),
        nearest: error::nearest(name, names()),
    })
}

fn entry(name: &str) -> Result<&'static files::Entry, CatalogueError> {
    let name = known(name)?;
    files::ENTRIES
        .iter()
        .find(|entry| entry.name == name)
        .ok_or(CatalogueError::UnknownProvider { name: name.to_owned(), nearest: None })
}

/// A provider by its name.
pub fn provider(name: &str) -> Result<&'static Provider, CatalogueError> {
    entry(name)?.provider()
}

/// Every provider.
pub fn providers() -> impl Iterator<Item = Result<&'static Provider, CatalogueError>> {
    files::ENTRIES.iter().map(files::Entry::provider)
}

/// The models of a provider.
pub fn models(provider: &str) -> Result<&'static Models, CatalogueError> {
    entry(provider)?.models()
}

/// A model by its provider's name and its own: exactly, else as [`Models::find`] has it.
pub fn find(provider: &str, model: &str) -> Option<&'static Model> {
    models(provider).ok()?.find(model)
}

/// What a model takes: the provider's quirks, the rules of its families, its own rules, and the model's own limit, each
/// over the ones before. Of an unknown provider, nothing is known but the defaults.
pub fn rules(provider: &str, model: &str) -> Rules {
    let Ok(found) = self::provider(provider) else { return Rules::default() };
    found.rules(model, find(provider, model))
}

impl Provider {
    /// What a model takes at this provider; `facts` are the catalogue's about it, if it knows it.
    pub fn rules(&self, model: &str, facts: Option<&Model>) -> Rules {
        let mut rules = Rules {
            max_output_tokens: facts.and_then(|facts| facts.max_output),
            no_custom_tools: !self.custom_tools,
            ..Rules::default()
        };
        let families = self.families.iter().filter_map(|family| family.rules().ok()).flatten();
        let all = std::iter::once(&self.quirks).chain(families).chain(&self.rules);
        for quirks in all.filter(|quirks| quirks.fit(model)) {
            quirks.apply(&mut rules);
        }
        let most = rules.max_output_tokens.unwrap_or(u64::MAX);
        rules.default_max_output_tokens = rules.default_max_output_tokens.min(most);
        rules
    }
}
