//! Of a call that a policy against abuse had something to say of.

/// What one policy said.
#[derive(Debug, Clone)]
pub struct Judged {
    /// The policy, by the key that it has in the configuration.
    pub policy: &'static str,
    /// `refused`; `detected`, where nothing is refused; or what else the policy calls it.
    pub outcome: &'static str,
    /// Why.
    pub reason: Box<str>,
    /// How sure it is, where it counts.
    pub score: Option<u32>,
}
