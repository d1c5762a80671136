//! Errors of vendors, each as its documents have it.

use serde_json::Value;

use super::{Words, broken, google};
use crate::{
    canon::{Error, ErrorKind},
    dialect::Dialect,
};

/// Bytes of an error that is no JSON, at most.
const TEXT_BYTES_MAX: usize = 500;

pub(super) fn read(words: Words, status: u16, body: &[u8]) -> Error {
    match words {
        Words::Google | Words::Ranking => return Dialect::Gemini.read_error(status, body),
        Words::Bedrock => return Dialect::Bedrock.read_error(status, body),
        _ => {}
    }
    let Ok(value) = serde_json::from_slice::<Value>(body) else {
        let text = String::from_utf8_lossy(body.get(..TEXT_BYTES_MAX).unwrap_or(body)).trim().to_owned();
        let text = if text.is_empty() { "the provider gave no reason".to_owned() } else { text };
        return Error::of_status(status, text);
    };
    match words {
        Words::ElevenLabs => elevenlabs(status, &value),
        Words::Deepgram => deepgram(status, &value),
        Words::Stability => stability(status, &value),
        Words::MiniMax => {
            refused_by_minimax(&value).unwrap_or_else(|| Dialect::OpenAiChat.read_error(status, body))
        }
        Words::Watsonx => watsonx(status, &value),
        _ => Dialect::OpenAiChat.read_error(status, body),
    }
}

fn text<'v>(value: &'v Value, way: &str) -> Option<&'v str> {
    value.pointer(way).and_then(Value::as_str).filter(|text| !text.is_empty())
}

fn said(status: u16, message: Option<String>, value: &Value) -> Error {
    Error::of_status(status, message.unwrap_or_else(|| value.to_string()))
}

/// `{"detail": {"status", "message"}}`, `{"detail": [{"loc", "msg"}]}` or `{"detail": "…"}` (ElevenLabs: API reference,
/// Errors).
fn elevenlabs(status: u16, value: &Value) -> Error {
    let message = text(value, "/detail/message").or_else(|| text(value, "/detail")).map(str::to_owned);
    let fields = value.get("detail").and_then(Value::as_array).map(|list| {
        let one = |fault: &Value| {
            let place: Vec<&str> = fault
                .get("loc")
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
                .collect();
            format!("{}: {}", place.join("."), text(fault, "/msg").unwrap_or("is wrong"))
        };
        list.iter().map(one).collect::<Vec<_>>().join("; ")
    });
    let mut error = said(status, message.or(fields), value);
    let code = text(value, "/detail/status").or_else(|| text(value, "/detail/code"));
    match code {
        Some("quota_exceeded") => error = Error { status: 429, kind: ErrorKind::Quota, ..error },
        Some("too_many_concurrent_requests" | "rate_limit_exceeded" | "system_busy") => {
            error.kind = ErrorKind::RateLimited;
        }
        _ => {}
    }
    error.code = code.map(str::to_owned);
    error
}

/// `{"err_code", "err_msg"}`, or `{"category", "message", "details"}` (Deepgram: Errors).
fn deepgram(status: u16, value: &Value) -> Error {
    let message = text(value, "/err_msg").or_else(|| text(value, "/message"));
    let details = text(value, "/details").map(|details| format!(": {details}")).unwrap_or_default();
    let mut error = said(status, message.map(|message| format!("{message}{details}")), value);
    error.code = text(value, "/err_code").or_else(|| text(value, "/category")).map(str::to_owned);
    error
}

/// `{"id", "name", "errors": […]}` (Stability AI: REST API, responses).
fn stability(status: u16, value: &Value) -> Error {
    let list = value.get("errors").and_then(Value::as_array);
    let texts = list.map(|list| list.iter().filter_map(Value::as_str).collect::<Vec<_>>().join("; "));
    let error = said(status, texts.filter(|text| !text.is_empty()), value);
    match text(value, "/name") {
        Some("content_moderation") => google::filtered(error.message),
        name => Error { code: name.map(str::to_owned), ..error },
    }
}

/// `{"errors": [{"code", "message"}]}` (IBM Cloud API: watsonx.ai, error handling).
fn watsonx(status: u16, value: &Value) -> Error {
    let mut error = said(status, text(value, "/errors/0/message").map(str::to_owned), value);
    error.code = text(value, "/errors/0/code").map(str::to_owned);
    error
}

/// An answer of MiniMax's, which tells errors with status 200 (MiniMax: Error codes).
pub(super) fn minimax(body: &[u8]) -> Result<Value, Error> {
    let value: Value =
        serde_json::from_slice(body).map_err(|_| broken("the provider's answer is no JSON"))?;
    match refused_by_minimax(&value) {
        // It tells of the gateway's account.
        Some(error) if matches!(error.kind, ErrorKind::Authentication | ErrorKind::Quota) => {
            Err(broken("the provider refuses the gateway's credentials, or its account has no money left"))
        }
        Some(error) => Err(error),
        None => Ok(value),
    }
}

/// An error that an answer of MiniMax's tells, with the status that others would give it (MiniMax: API reference, Error
/// Codes: 1002 rate limit, 1004 not authorized, 1008 insufficient balance, 1026 and 1027 sensitive, 1039 token limit, 1041
/// conn limit, 2013 invalid params, 2042 no access to the voice, 2045 rate growth limit, 2049 invalid key, 2056 usage limit
/// exceeded, 20132 invalid voice).
pub(super) fn refused_by_minimax(value: &Value) -> Option<Error> {
    let code = value.pointer("/base_resp/status_code").and_then(Value::as_i64).filter(|code| *code != 0)?;
    let message = text(value, "/base_resp/status_msg").unwrap_or("the provider gave no reason");
    let (kind, status) = match code {
        1002 | 1039 | 1041 | 2045 => (ErrorKind::RateLimited, 429),
        1026 | 1027 => return Some(google::filtered(message)),
        // 1042: too many letters that nobody sees.
        1042 | 2013 | 2042 | 20132 => (ErrorKind::Invalid, 400),
        1001 => (ErrorKind::Timeout, 504),
        // The gateway's own key, or its money.
        1004 | 2049 => (ErrorKind::Authentication, 401),
        1008 => (ErrorKind::Quota, 402),
        2056 => (ErrorKind::Quota, 429),
        _ => (ErrorKind::Server, 502),
    };
    Some(Error { status, code: Some(code.to_string()), ..Error::new(kind, message) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_read_as_each_vendor_tells_them() {
        use Words::{Deepgram, ElevenLabs, Google, Jina, MiniMax, Stability, Watsonx};
        for (words, status, body, want) in [
            (
                ElevenLabs,
                401,
                r#"{"detail":{"status":"quota_exceeded","message":"no credits"}}"#,
                (ErrorKind::Quota, 429, "no credits"),
            ),
            (
                ElevenLabs,
                422,
                r#"{"detail":[{"loc":["body","text"],"msg":"Field required","type":"missing"}]}"#,
                (ErrorKind::Invalid, 422, "body.text: Field required"),
            ),
            (
                Deepgram,
                400,
                r#"{"err_code":"Bad Request","err_msg":"corrupt or unsupported data","request_id":"r"}"#,
                (ErrorKind::Invalid, 400, "corrupt or unsupported data"),
            ),
            (
                Deepgram,
                400,
                r#"{"category":"INVALID_QUERY","message":"no","details":"model"}"#,
                (ErrorKind::Invalid, 400, "no: model"),
            ),
            (
                Stability,
                403,
                r#"{"id":"i","name":"content_moderation","errors":["flagged"]}"#,
                (ErrorKind::ContentFilter, 400, "flagged"),
            ),
            (
                Stability,
                400,
                r#"{"id":"i","name":"bad_request","errors":["a","b"]}"#,
                (ErrorKind::Invalid, 400, "a; b"),
            ),
            (
                MiniMax,
                200,
                r#"{"base_resp":{"status_code":1002,"status_msg":"slow down"}}"#,
                (ErrorKind::RateLimited, 429, "slow down"),
            ),
            (
                Watsonx,
                404,
                r#"{"errors":[{"code":"model_not_supported","message":"no model"}],"trace":"t"}"#,
                (ErrorKind::NotFound, 404, "no model"),
            ),
            (
                Google,
                400,
                r#"{"error":{"code":400,"message":"bad voice","status":"INVALID_ARGUMENT"}}"#,
                (ErrorKind::Invalid, 400, "bad voice"),
            ),
            (Jina, 422, r#"{"detail":"too long"}"#, (ErrorKind::Invalid, 422, "too long")),
            (Stability, 503, "<html>busy</html>", (ErrorKind::Overloaded, 503, "<html>busy</html>")),
            (Deepgram, 500, "", (ErrorKind::Server, 500, "the provider gave no reason")),
        ] {
            let error = read(words, status, body.as_bytes());
            assert_eq!((error.kind, error.status, error.message.as_str()), want, "{body}");
        }
        for (code, status) in
            [(1004, 401), (1008, 402), (2049, 401), (2056, 429), (1002, 429), (1042, 400), (1000, 502)]
        {
            let body = format!(r#"{{"base_resp":{{"status_code":{code},"status_msg":"no"}}}}"#);
            assert_eq!(
                MiniMax.hidden_error(body.as_bytes()).map(|error| error.status),
                Some(status),
                "{code}"
            );
        }
        for body in [r#"{"base_resp":{"status_code":0}}"#, r#"{"data":{}}"#, "no JSON"] {
            assert_eq!(MiniMax.hidden_error(body.as_bytes()), None, "{body}");
        }
        assert!(MiniMax.hides_errors() && !Google.hides_errors());
        for code in [1004, 1008, 2049] {
            let body =
                format!(r#"{{"base_resp":{{"status_code":{code},"status_msg":"key sk-1 is wrong"}}}}"#);
            let error = minimax(body.as_bytes()).expect_err("refused");
            assert!(error.status == 502 && !error.message.contains("sk-1"), "{error:?}");
        }
    }
}
