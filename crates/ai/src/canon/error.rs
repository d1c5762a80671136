//! What goes wrong between a caller and a model, in terms that every dialect can say.

use std::time::Duration;

/// A failure, of the caller, the gateway or the provider.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    /// What kind.
    pub kind: ErrorKind,
    /// The HTTP status that belongs to it.
    pub status: u16,
    /// What to tell the caller.
    pub message: String,
    /// The provider's own code (`context_length_exceeded`), kept towards the caller where the dialect has a place.
    pub code: Option<String>,
    /// The field at fault.
    pub param: Option<String>,
    /// When to try again.
    pub retry_after: Option<Duration>,
}

/// What kind of failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// The request is malformed, or asks for what cannot be: 400, 422.
    Invalid,
    /// No key, or a wrong one: 401.
    Authentication,
    /// The key may not do this: 403.
    Permission,
    /// No such model, file, route: 404.
    NotFound,
    /// The request is too large: 413.
    TooLarge,
    /// The prompt is longer than the model's context: 400.
    ContextLength,
    /// The provider's filter refused: 400.
    ContentFilter,
    /// Too many requests or tokens: 429.
    RateLimited,
    /// The money is spent: 429 or 402.
    Quota,
    /// The provider failed: 500, 502.
    Server,
    /// The provider is busy: 503, 529.
    Overloaded,
    /// It took too long: 504, 408.
    Timeout,
}

impl ErrorKind {
    /// The kind that an HTTP status means when nothing else is known.
    pub fn of_status(status: u16) -> Self {
        match status {
            401 => Self::Authentication,
            402 => Self::Quota,
            403 => Self::Permission,
            404 => Self::NotFound,
            408 | 504 => Self::Timeout,
            413 => Self::TooLarge,
            429 => Self::RateLimited,
            // Something that the provider itself relies on failed.
            424 => Self::Server,
            503 | 529 => Self::Overloaded,
            400..=499 => Self::Invalid,
            _ => Self::Server,
        }
    }

    /// The status that it has when nothing else is known.
    pub fn status(self) -> u16 {
        match self {
            Self::Invalid | Self::ContextLength | Self::ContentFilter => 400,
            Self::Authentication => 401,
            Self::Permission => 403,
            Self::NotFound => 404,
            Self::TooLarge => 413,
            Self::RateLimited | Self::Quota => 429,
            Self::Server => 500,
            Self::Overloaded => 503,
            Self::Timeout => 504,
        }
    }
}

impl Error {
    /// With the status that its kind has.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            status: kind.status(),
            message: message.into(),
            code: None,
            param: None,
            retry_after: None,
        }
    }

    /// A field of the request is not what it must be.
    pub fn invalid(param: impl Into<String>, message: impl Into<String>) -> Self {
        Self { param: Some(param.into()), ..Self::new(ErrorKind::Invalid, message) }
    }

    /// What a provider said that its own dialect does not explain.
    pub fn of_status(status: u16, message: impl Into<String>) -> Self {
        Self { status, ..Self::new(ErrorKind::of_status(status), message) }
    }
}
