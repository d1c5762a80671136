//! Whose fault a provider's refusal is: the key's, for every call or for a model, or that of the one request.
//!
//! What one request brings about must not shut out the others: a prompt that a filter refuses, one that is larger than
//! the account's limit, more tokens than the money left can pay, an account named that is not the key's. Where the
//! answer does not say, it is a [`Fault::Doubt`], and a key is set aside for it only when several callers met with it.

use ai::canon::{Error, ErrorKind};
use http::{HeaderMap, StatusCode};

/// Whose fault a refusal is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// The key is not taken at all: wrong, locked, its money spent.
    Key,
    /// The key is at its limit for the model.
    Limit,
    /// It may be the key's or the request's.
    Doubt,
    /// The request's: another key, or another target, may take it.
    Request,
    /// The request's: the provider's filter refused what it says.
    Filtered,
}

/// What is known of a refused request beside the answer's body.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Signs {
    /// The caller named an account of its own, which may not be the key's.
    pub(super) names_account: bool,
    /// Tokens of the request, roughly.
    pub(super) tokens: u64,
    /// The answer tells of limits, and of each something is left.
    pub(super) has_room: bool,
    /// The limit of tokens that the answer tells.
    pub(super) limit: Option<u64>,
}

/// Fields by which callers name an account.
pub(super) const ACCOUNTS: [&str; 3] = ["openai-organization", "openai-project", "x-goog-user-project"];

/// Codes of a key that is locked or was never allowed anything, where the status is 403.
const LOCKED: [&str; 11] = [
    "API_KEY_SERVICE_BLOCKED",
    "API_KEY_IP_ADDRESS_BLOCKED",
    "API_KEY_INVALID",
    "SERVICE_DISABLED",
    "CONSUMER_SUSPENDED",
    "CONSUMER_INVALID",
    "BILLING_DISABLED",
    "account_deactivated",
    "account_suspended",
    "access_terminated",
    "invalid_api_key",
];

/// Words of filters, in small letters.
const FILTERS: [&str; 10] = [
    "moderation",
    "flagged",
    "content policy",
    "content_policy",
    "usage polic",
    "safety",
    "prohibited content",
    "prohibited_content",
    "content_filter",
    "guardrail",
];

impl Signs {
    /// Of an answer's fields.
    pub(super) fn of(names_account: bool, answered: &HeaderMap, tokens: u64) -> Self {
        let (mut left, mut limit): (Option<bool>, Option<u64>) = (None, None);
        for (name, value) in answered {
            let name = name.as_str();
            if !name.contains("ratelimit") {
                continue;
            }
            let Some(value) = value.to_str().ok().and_then(|text| text.trim().parse::<f64>().ok()) else {
                continue;
            };
            if name.contains("remaining") {
                left = Some(left.unwrap_or(true) && value > 0.0);
            } else if name.contains("limit-tokens") || name.contains("input-tokens-limit") {
                limit = Some(limit.map_or(value as u64, |known| known.min(value as u64)));
            }
        }
        Self { names_account, tokens, has_room: left == Some(true), limit }
    }
}

impl Fault {
    /// Of a provider's answer; `None` where it says nothing of keys.
    pub(super) fn of(status: StatusCode, error: &Error, signs: &Signs) -> Option<Self> {
        let code = error.code.as_deref().unwrap_or_default();
        let says = |words: &[&str]| {
            let message = error.message.to_ascii_lowercase();
            words.iter().any(|word| message.contains(word) || code.eq_ignore_ascii_case(word))
        };
        Some(match status {
            StatusCode::UNAUTHORIZED if signs.names_account => Self::Doubt,
            StatusCode::UNAUTHORIZED => Self::Key,
            StatusCode::PAYMENT_REQUIRED if says(&["fewer max_tokens", "can only afford"]) => Self::Request,
            StatusCode::PAYMENT_REQUIRED => Self::Key,
            StatusCode::FORBIDDEN if error.kind == ErrorKind::ContentFilter || says(&FILTERS) => {
                Self::Filtered
            }
            StatusCode::FORBIDDEN if signs.names_account => Self::Doubt,
            StatusCode::FORBIDDEN if LOCKED.contains(&code) || error.kind == ErrorKind::Authentication => {
                Self::Key
            }
            StatusCode::FORBIDDEN => Self::Doubt,
            StatusCode::TOO_MANY_REQUESTS if error.kind == ErrorKind::Quota => Self::Key,
            StatusCode::TOO_MANY_REQUESTS if is_too_large(&error.message, signs) => Self::Request,
            StatusCode::TOO_MANY_REQUESTS if signs.has_room => Self::Doubt,
            StatusCode::TOO_MANY_REQUESTS => Self::Limit,
            _ => return None,
        })
    }
}

/// Whether a request is larger than the whole limit, so that it is over it however little others use.
fn is_too_large(message: &str, signs: &Signs) -> bool {
    let message = message.to_ascii_lowercase();
    if ["request too large", "extra usage is required for long context", "for long context requests"]
        .iter()
        .any(|words| message.contains(words))
    {
        return true;
    }
    let limit = number_after(&message, "limit").or(signs.limit);
    let wanted = number_after(&message, "requested").unwrap_or(signs.tokens);
    limit.is_some_and(|limit| wanted > limit)
}

/// The number that follows a word: `Limit 30000, Requested 45,000`, `limit: 30000`.
fn number_after(text: &str, word: &str) -> Option<u64> {
    text.match_indices(word).find_map(|(at, _)| {
        let rest = text.get(at + word.len()..)?.trim_start_matches([':', ' ']);
        let end = rest.find(|letter: char| !letter.is_ascii_digit() && letter != ',').unwrap_or(rest.len());
        rest.get(..end)?.replace(',', "").parse().ok()
    })
}

#[cfg(test)]
mod tests {
    use ai::dialect::Dialect;

    use super::*;

    fn fault(dialect: Dialect, status: u16, body: &str, signs: Signs) -> Option<Fault> {
        let error = dialect.read_error(status, body.as_bytes());
        Fault::of(StatusCode::from_u16(status).expect("a status"), &error, &signs)
    }

    #[test]
    fn refusals_of_each_dialect_are_told_apart() {
        use Dialect::{Anthropic, Bedrock, Cohere, Gemini, OpenAiChat, OpenAiResponses};
        let google = |reason: &str| {
            format!(
                r#"{{"error":{{"code":403,"message":"no","status":"PERMISSION_DENIED","details":[{{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"{reason}"}}]}}}}"#
            )
        };
        let (suspended, other) = (google("CONSUMER_SUSPENDED"), google("IAM_PERMISSION_DENIED"));
        for (dialect, status, body, want) in [
            (OpenAiChat, 401, r#"{"error":{"code":"invalid_api_key","message":"no"}}"#, Some(Fault::Key)),
            (OpenAiChat, 429, r#"{"error":{"code":"insufficient_quota","message":"no"}}"#, Some(Fault::Key)),
            (
                OpenAiChat,
                429,
                r#"{"error":{"code":"rate_limit_exceeded","type":"tokens","message":"Request too large for gpt-4o on tokens per min (TPM): Limit 30000, Requested 45000."}}"#,
                Some(Fault::Request),
            ),
            (
                OpenAiResponses,
                429,
                r#"{"error":{"code":"rate_limit_exceeded","type":"tokens","message":"Rate limit reached for gpt-4o on tokens per min (TPM): Limit 30000, Used 29000, Requested 4000."}}"#,
                Some(Fault::Limit),
            ),
            (
                OpenAiChat,
                403,
                r#"{"error":{"code":403,"message":"Your input was flagged","metadata":{"reasons":["hate"]}}}"#,
                Some(Fault::Filtered),
            ),
            (
                OpenAiChat,
                403,
                r#"{"error":{"code":"content_policy_violation","message":"no"}}"#,
                Some(Fault::Filtered),
            ),
            (OpenAiChat, 403, "<html>Sorry, you have been blocked</html>", Some(Fault::Doubt)),
            (OpenAiChat, 403, r#"{"error":{"code":"account_deactivated","message":"no"}}"#, Some(Fault::Key)),
            (
                OpenAiChat,
                402,
                r#"{"error":{"message":"This request requires more credits, or fewer max_tokens. You requested up to 65536 tokens, but can only afford 12"}}"#,
                Some(Fault::Request),
            ),
            (OpenAiChat, 402, r#"{"error":{"message":"Insufficient Balance"}}"#, Some(Fault::Key)),
            (
                Anthropic,
                403,
                r#"{"type":"error","error":{"type":"permission_error","message":"Your API key does not have permission to use the specified resource."}}"#,
                Some(Fault::Doubt),
            ),
            (
                Anthropic,
                429,
                r#"{"type":"error","error":{"type":"rate_limit_error","message":"Extra usage is required for long context requests."}}"#,
                Some(Fault::Request),
            ),
            (
                Anthropic,
                429,
                r#"{"type":"error","error":{"type":"rate_limit_error","message":"no"}}"#,
                Some(Fault::Limit),
            ),
            (Gemini, 403, suspended.as_str(), Some(Fault::Key)),
            (Gemini, 403, other.as_str(), Some(Fault::Doubt)),
            (Bedrock, 403, r#"{"__type":"AccessDeniedException","message":"no access"}"#, Some(Fault::Doubt)),
            (Cohere, 403, r#"{"message":"blocked by our usage policy"}"#, Some(Fault::Filtered)),
            (OpenAiChat, 400, r#"{"error":{"message":"no"}}"#, None),
            (OpenAiChat, 500, r#"{"error":{"message":"no"}}"#, None),
        ] {
            assert_eq!(fault(dialect, status, body, Signs::default()), want, "{dialect:?} {status} {body}");
        }
    }

    #[test]
    fn what_is_told_beside_the_body_decides_too() {
        let plain = r#"{"error":{"message":"slow down"}}"#;
        let chat = Dialect::OpenAiChat;
        let mut answered = HeaderMap::new();
        answered.insert("x-ratelimit-limit-tokens", "1000".parse().expect("a value"));
        answered.insert("x-ratelimit-remaining-tokens", "0".parse().expect("a value"));
        assert_eq!(fault(chat, 429, plain, Signs::of(false, &answered, 900)), Some(Fault::Limit));
        assert_eq!(fault(chat, 429, plain, Signs::of(false, &answered, 1100)), Some(Fault::Request));
        answered.insert("x-ratelimit-remaining-tokens", "400".parse().expect("a value"));
        assert_eq!(fault(chat, 429, plain, Signs::of(false, &answered, 900)), Some(Fault::Doubt));
        assert_eq!(fault(chat, 401, plain, Signs::of(false, &answered, 1)), Some(Fault::Key));
        assert_eq!(fault(chat, 401, plain, Signs::of(true, &answered, 1)), Some(Fault::Doubt));
    }
}
