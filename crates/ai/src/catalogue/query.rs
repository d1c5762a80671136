//! Questions about models: which providers have one that can this and takes that much.

use super::{Capabilities, CatalogueError, Day, Model, Surface, models, names, pattern};

/// What a model must be. The default takes every model.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Query<'a> {
    /// Only this provider's.
    pub provider: Option<&'a str>,
    /// Only names that fit this pattern.
    pub name: Option<&'a str>,
    /// It can all of this.
    pub can: Capabilities,
    /// It is for this.
    pub surface: Option<Surface>,
    /// It takes a prompt of at least so many tokens. A model of unknown context does not.
    pub context: u64,
    /// It is not turned off by this day.
    pub alive_on: Option<Day>,
}

/// A model that a query found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    /// Whose it is.
    pub provider: &'static str,
    /// The model.
    pub model: &'static Model,
}

impl Query<'_> {
    /// Whether a model is one of those.
    pub fn fits(&self, model: &Model) -> bool {
        self.name.is_none_or(|name| pattern::fits(name, &model.name))
            && model.can.covers(self.can)
            && self.surface.is_none_or(|surface| model.surface == surface)
            && (self.context == 0 || model.context.is_some_and(|context| context >= self.context))
            && self.alive_on.is_none_or(|day| model.retires.is_none_or(|retires| retires > day))
    }
}

/// The models that fit, by provider and name.
pub fn query(query: &Query<'_>) -> Result<Vec<Found>, CatalogueError> {
    let mut found = Vec::new();
    let one = query.provider.map(super::known).transpose()?;
    for provider in names().filter(|name| one.is_none_or(|one| one == *name)) {
        let fitting = models(provider)?.all().iter().filter(|model| query.fits(model));
        found.extend(fitting.map(|model| Found { provider, model }));
    }
    Ok(found)
}
