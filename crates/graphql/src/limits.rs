//! Bounds of what one request may ask for.

/// Nesting that is read: selections, values, types. What is deeper is refused by the parser before it is on the stack.
pub(crate) const NESTING_MAX: usize = 200;

/// Selections within one another that are measured anew below a page, through whatever fragments.
pub(crate) const DESCENT_MAX: usize = NESTING_MAX + 56;

/// Steps that one operation may be measured in, whatever it is, and for each node of its document and variables more.
/// What is written once needs several steps where pages of several sizes tell of lists in it.
pub(crate) const STEPS_MIN: usize = 10_000;
pub(crate) const STEPS_PER_NODE: usize = 16;

/// Lists of the schema's own description within one another: a field's type's fields are two.
pub(crate) const META_LISTS_MAX: u32 = 2;

/// Bounds of what one request may ask for.
#[derive(Debug, Clone, PartialEq)]
pub struct Limits {
    /// Tokens of a document.
    pub tokens: usize,
    /// Fields below one another; a field at the root is 1 deep.
    pub depth: u32,
    /// Fields, each counted as often as its fragment is spread.
    pub fields: u64,
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
        Self {
            tokens: 5_000,
            depth: 15,
            fields: 2_000,
            aliases: 30,
            root_fields: 20,
            directives: 50,
            batch: 1,
            cost: None,
        }
    }
}
