//! Bounds of what one request may ask for.

/// Nesting that is read: selections, values, types. What is deeper is refused by the parser before it is on the stack.
pub(crate) const NESTING_MAX: usize = 200;

/// Steps that one operation may be measured in. Only lists whose sizes are told by a field above them need more than
/// one step for what is written once.
pub(crate) const STEPS_MAX: usize = 100_000;

/// Bounds of what one request may ask for.
#[derive(Debug, Clone, PartialEq)]
pub struct Limits {
    /// Tokens of a document.
    pub tokens: usize,
    /// Fields below one another; a field at the root is 1 deep.
    pub depth: u32,
    /// Aliases, each counted as often as its fragment is spread.
    pub aliases: u64,
    /// Fields at the root.
    pub root_fields: u64,
    /// Directives, each counted as often as its fragment is spread.
    pub directives: u64,
    /// Operations in one request.
    pub batch: usize,
    /// What all operations of a request may cost together.
    pub cost: Option<f64>,
}

impl Default for Limits {
    fn default() -> Self {
        Self { tokens: 5_000, depth: 15, aliases: 30, root_fields: 20, directives: 50, batch: 1, cost: None }
    }
}
