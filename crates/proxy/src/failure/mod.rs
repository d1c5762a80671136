//! What went wrong with a call: whose fault, where, what the client is told and whether another try may help.
//!
//! [`Problem`] is the closed list of what the gateway answers on its own; [`answer`] turns a failure into a
//! response. Nothing else in this crate writes an error response.

mod answer;
pub(crate) mod graphql;
mod problem;

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
pub(crate) use model::{FailureRecord, Side, Stage};

pub(crate) use self::answer::{answer, is_grpc, problem_text};
pub use self::problem::Problem;

/// Bytes of what happened that a record keeps: it may repeat what a caller sent, which is as long as bodies are.
const DETAIL_BYTES_MAX: usize = 4096;

/// How much of a request may have reached an upstream before its try failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sent {
    /// Provably nothing: another try cannot repeat an effect.
    Nothing,
    /// Possibly all of it.
    Perhaps,
}

/// A failed call. Boxed, so that a `Result` on the request path stays one word wide.
#[derive(Debug, Clone)]
pub(crate) struct Failure(Box<Inner>);

#[derive(Debug, Clone)]
struct Inner {
    side: Side,
    stage: Stage,
    problem: Problem,
    /// Another status than the problem's own.
    status: Option<StatusCode>,
    sent: Sent,
    /// For the client: what to mend. Never holds anything of the upstream's or of the configuration.
    hint: Option<String>,
    /// For the client: what is wrong, place by place.
    errors: Option<serde_json::Value>,
    /// For the log.
    detail: Option<String>,
    retry_after: Option<Duration>,
    headers: HeaderMap,
    /// The endpoint refused the connection: nobody listens there.
    refused: bool,
    /// The code of a JSON-RPC error that says the same.
    rpc_code: Option<i32>,
    /// The code in the error object of a dialect that has such.
    code: Option<&'static str>,
}

impl Failure {
    /// A failure with nothing but its kind.
    pub(crate) fn new(side: Side, stage: Stage, problem: Problem) -> Self {
        Self(Box::new(Inner {
            side,
            stage,
            problem,
            status: None,
            sent: Sent::Perhaps,
            hint: None,
            errors: None,
            detail: None,
            retry_after: None,
            headers: HeaderMap::new(),
            refused: false,
            rpc_code: None,
            code: None,
        }))
    }

    /// The client's fault.
    pub(crate) fn client(stage: Stage, problem: Problem) -> Self {
        Self::new(Side::Client, stage, problem)
    }

    /// The gateway's own refusal or fault.
    pub(crate) fn gateway(stage: Stage, problem: Problem) -> Self {
        Self::new(Side::Gateway, stage, problem)
    }

    /// The upstream's fault; the error is for the log alone.
    pub(crate) fn upstream(stage: Stage, problem: Problem, error: impl std::fmt::Display) -> Self {
        Self::new(Side::Upstream, stage, problem).with_detail(error.to_string())
    }

    /// A request that a policy refuses: the client can mend it.
    pub(crate) fn refused(problem: Problem) -> Self {
        Self::client(Stage::Policy, problem)
    }

    /// Tells the client what to mend.
    #[must_use]
    pub(crate) fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    /// Tells the client what is wrong, place by place.
    #[must_use]
    pub(crate) fn with_errors(mut self, errors: serde_json::Value) -> Self {
        self.0.errors = Some(errors);
        self
    }

    /// Tells the log, and only the log, what happened.
    #[must_use]
    pub(crate) fn with_detail(mut self, detail: impl Into<String>) -> Self {
        self.0.detail = Some(detail.into());
        self
    }

    /// When the client may come again; becomes `Retry-After`, rounded up to whole seconds.
    #[must_use]
    pub(crate) fn with_retry_after(mut self, after: Duration) -> Self {
        self.0.retry_after = Some(after);
        self
    }

    /// A header of the answer, such as `WWW-Authenticate` or `Allow`.
    #[must_use]
    pub(crate) fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.0.headers.append(name, value);
        self
    }

    /// Another status than the problem's own: what an operator asked to inject.
    #[must_use]
    pub(crate) fn with_status(mut self, status: StatusCode) -> Self {
        self.0.status = Some(status);
        self
    }

    /// States that nothing of the request can have reached the upstream.
    #[must_use]
    pub(crate) fn never_sent(mut self) -> Self {
        self.0.sent = Sent::Nothing;
        self
    }

    /// States that the endpoint refused the connection.
    #[must_use]
    pub(crate) fn with_refused(mut self) -> Self {
        self.0.refused = true;
        self
    }

    /// The code that a JSON-RPC caller is told.
    #[must_use]
    pub(crate) fn with_rpc_code(mut self, code: i32) -> Self {
        self.0.rpc_code = Some(code);
        self
    }

    /// The code that a JSON-RPC caller is told.
    pub(crate) fn rpc_code(&self) -> Option<i32> {
        self.0.rpc_code
    }

    /// The code that callers of a vendor's API branch on.
    #[must_use]
    pub(crate) fn with_code(mut self, code: &'static str) -> Self {
        self.0.code = Some(code);
        self
    }

    /// The code that callers of a vendor's API branch on.
    pub(crate) fn code(&self) -> Option<&'static str> {
        self.0.code
    }

    /// What the client is told to mend.
    pub(crate) fn hint(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }

    /// Adds the header fields that belong to its answer, whatever form that has.
    pub(crate) fn add_headers(&self, headers: &mut HeaderMap) {
        for (name, value) in &self.0.headers {
            headers.append(name, value.clone());
        }
        if let Some(after) = self.0.retry_after {
            let seconds = after.as_millis().div_ceil(1000).max(1);
            if let Ok(value) = HeaderValue::from_str(&seconds.to_string()) {
                headers.insert(http::header::RETRY_AFTER, value);
            }
        }
    }

    /// Whether the endpoint refused the connection.
    pub(crate) fn was_refused(&self) -> bool {
        self.0.refused
    }

    /// Whose fault it is.
    pub(crate) fn side(&self) -> Side {
        self.0.side
    }

    /// How far the call had come.
    pub(crate) fn stage(&self) -> Stage {
        self.0.stage
    }

    /// What is known beyond the problem, for the operator.
    pub(crate) fn detail(&self) -> Option<&str> {
        self.0.detail.as_deref().or(self.0.hint.as_deref())
    }

    /// The status of the answer.
    pub(crate) fn status(&self) -> StatusCode {
        self.0.status.unwrap_or_else(|| self.0.problem.status())
    }

    /// What happened.
    pub(crate) fn problem(&self) -> Problem {
        self.0.problem
    }

    /// The problem that the client reads of. Where an operator has 404 said in place of 403 nobody is to know that something
    /// is there: it is the answer of a path that no route matches.
    pub(crate) fn told(&self) -> Problem {
        match self.0.problem {
            Problem::Forbidden if self.status() == StatusCode::NOT_FOUND => Problem::NoRoute,
            problem => problem,
        }
    }

    /// How much of the request may have reached the upstream.
    pub(crate) fn sent(&self) -> Sent {
        self.0.sent
    }

    /// When the client may come again.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        self.0.retry_after
    }

    /// What the log is told.
    pub(crate) fn to_record(&self) -> FailureRecord {
        FailureRecord {
            side: self.0.side,
            stage: self.0.stage,
            reason: self.0.problem.slug(),
            detail: self.detail().map(kept),
        }
    }
}

/// As much of what happened as a record keeps.
fn kept(detail: &str) -> String {
    match detail.get(..detail.floor_char_boundary(DETAIL_BYTES_MAX)) {
        Some(begin) if begin.len() < detail.len() => format!("{begin}…"),
        _ => detail.to_owned(),
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({} at {})", self.0.problem.slug(), self.0.side.as_str(), self.0.stage.as_str())?;
        match &self.0.detail {
            Some(detail) => write!(f, ": {detail}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Failure {}
