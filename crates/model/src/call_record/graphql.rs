//! Of a call that asked a service of GraphQL for something.

use std::sync::Arc;

/// What was asked for.
#[derive(Debug, Clone, Default)]
pub struct GraphqlRecord {
    /// The operation's name, as the client gave it; that of the first of several.
    pub operation: Option<Arc<str>>,
    /// `query`, `mutation` or `subscription`, as soon as that is known.
    pub kind: Option<&'static str>,
    /// How many operations came in one request.
    pub operations: u32,
    /// Whether they came as a list.
    pub is_batch: bool,
    /// What they may cost together.
    pub cost: f64,
    /// How deep the deepest is.
    pub depth: u32,
    /// Whether a text was known by an id: `hit` or `listed`; `unlisted` when the list does not have it.
    pub persisted: Option<&'static str>,
    /// Why it was refused.
    pub refused: Option<&'static str>,
}
