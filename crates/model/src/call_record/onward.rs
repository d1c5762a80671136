//! Of what upstreams were shown of who calls.

/// What one policy showed them.
#[derive(Debug, Clone)]
pub struct Onward {
    /// The policy, by the key that it has in the configuration.
    pub policy: &'static str,
    /// What came of it, as its metric has it.
    pub outcome: &'static str,
    /// The id of the key that signed.
    pub key: Option<Box<str>>,
}
