//! Of a call that rules against attacks fired for.

/// What the rules said.
#[derive(Debug, Clone, Default)]
pub struct WafRecord {
    /// `refused`, or `detected` when nothing is refused, or `noted` when the rules let it pass.
    pub outcome: &'static str,
    /// The rule that refused the call, or would have; 0 when it took too many steps.
    pub by: Option<u32>,
    /// The score of the request.
    pub score: i64,
    /// The score of the answer.
    pub answer_score: i64,
    /// The rules that fired, in order.
    pub fired: Vec<WafFired>,
}

/// A rule that fired.
#[derive(Debug, Clone)]
pub struct WafFired {
    /// Its id.
    pub rule: u32,
    /// Where it found something and what, when that is recorded.
    pub matched: Option<(String, String)>,
}
