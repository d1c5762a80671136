//! Of a call whose content was judged or changed.

use std::sync::Arc;

/// What policies over content found.
#[derive(Debug, Clone, Default)]
pub struct ContentRecord {
    /// The operation of the API's document, by its `operationId` or as `METHOD /path`.
    pub operation: Option<Arc<str>>,
    /// What came of judging the request: `invalid`, `unknown`, `unread`.
    pub request: Option<&'static str>,
    /// What came of judging the answer.
    pub answer: Option<&'static str>,
    /// What did not fit, each as `place: what was expected`; never what was found.
    pub faults: Vec<String>,
}
