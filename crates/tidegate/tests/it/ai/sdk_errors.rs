//! What goes wrong reaches users of the official SDKs as the exceptions that they know: a refused key, a model that is
//! not there, a request that the provider refuses, one that has too much to do, and a stream that fails in its middle.
//! Of every provider, whatever its dialect, and with the hint when to try again.

use ai::dialect::Dialect;
use serde_json::Value;

use super::{
    KEY, Named, config, provider,
    sdk::{KINDS, Program, in_javascript, in_python},
};
use crate::harness::{Gateway, Peer, Seen, Upstream};

/// The key of a consumer that may use one model alone.
const NARROW: &str = "the-key-of-the-narrow-one";
/// When the providers say to try again.
const HINT: &str = "17";

/// The fixtures of each dialect: what the provider refuses as wrong, its own failure, that it has too much to do, and a
/// stream that fails in its middle.
fn fixtures(dialect: Dialect) -> [&'static str; 4] {
    match dialect {
        Dialect::OpenAiChat | Dialect::OpenAiResponses => {
            ["400-invalid", "500-server", "503-overloaded", "error-midway"]
        }
        Dialect::Anthropic => ["400-invalid", "500-api", "529-overloaded", "error-overloaded"],
        Dialect::Gemini => ["400-invalid", "500-internal", "503-overloaded", "error_midway"],
        Dialect::Bedrock => ["400-invalid", "500-internal", "503-unavailable", "error-model"],
        Dialect::Cohere => ["400-invalid", "500-server", "503-unavailable", "error_midway"],
    }
}

/// Answers with the fixture that the case in the prompt stands for.
fn failing(dialect: Dialect) -> Upstream {
    Upstream::scripted(move |seen| {
        let body = String::from_utf8_lossy(&seen.body).into_owned();
        let [invalid, failed, busy, midway] = fixtures(dialect);
        if body.contains("case: midway") {
            let framing = dialect.provider_framing();
            let stream = provider::framed(&provider::fixture(dialect, "streams", midway), framing);
            let head = format!(
                "HTTP/1.1 200 OK\r\ncontent-type: {}\r\ncontent-length: {}\r\n\r\n",
                framing.media_type(),
                stream.len()
            );
            return Some([head.as_bytes(), &stream].concat());
        }
        let named = body.replace("case: invalid", &format!("case: {invalid}"));
        let named = named.replace("case: failed", &format!("case: {failed}"));
        let named =
            named.replace("case: busy", &format!("case: {busy}")).replace("case: limit", "case: 429-rate");
        let answer = provider::answer(dialect, &Seen { body: named.into_bytes(), ..seen.clone() });
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let is_for_later = body.contains("case: busy") || body.contains("case: limit");
        let mut fields = if is_for_later { format!("retry-after: {HINT}\r\n") } else { String::new() };
        let kinds = [
            ("invalid", "ValidationException"),
            ("failed", "InternalServerException"),
            ("busy", "ServiceUnavailableException"),
            ("limit", "ThrottlingException"),
        ];
        let kind = kinds.iter().find(|(case, _)| body.contains(&format!("case: {case}")));
        // Amazon names its exceptions in a field.
        if let (Dialect::Bedrock, Some((_, kind))) = (dialect, kind) {
            fields += &format!("x-amzn-errortype: {kind}\r\n");
        }
        Some(answer.replacen("content-length", &format!("{fields}content-length"), 1).into_bytes())
    })
}

/// The exceptions of an SDK: of a wrong key, a model that the key is not for, one that is not there, an invalid request,
/// a provider's failure, an overload, a limit, and a stream that fails in its middle.
struct Exceptions {
    sdk: &'static str,
    program: Program,
    names: [&'static str; 8],
    /// Its users can read the header that says when to try again.
    shows_hints: bool,
}

fn check(exceptions: &Exceptions) {
    check_with(exceptions, &[]);
}

/// The same with variables for the SDK.
fn check_with(exceptions: &Exceptions, variables: &[(&str, &str)]) {
    let upstreams: Vec<Upstream> = KINDS.iter().map(|(dialect, ..)| failing(*dialect)).collect();
    let providers: Vec<(&str, &str, String)> = KINDS
        .iter()
        .zip(&upstreams)
        .map(|((dialect, kind, path, _), upstream)| {
            (dialect.name(), *kind, format!("http://{}{path}", upstream.address))
        })
        .collect();
    let targets: Vec<[(&str, &str, u32); 1]> =
        KINDS.iter().map(|(dialect, .., model)| [(dialect.name(), *model, 1)]).collect();
    let models: Vec<Named<'_>> =
        KINDS.iter().zip(&targets).map(|((dialect, ..), targets)| (dialect.name(), &targets[..])).collect();
    let narrow = format!("consumers: [{{name: narrow, keys: [{NARROW}], models: [cohere]}}, ");
    let gateway = Gateway::start(&config(&providers, &models, "").replace("consumers: [", &narrow));
    let mut cases: Vec<(String, &str, Option<u16>)> = Vec::new();
    let [wrong_key, narrow, absent, invalid, failed, busy, limit, midway] = exceptions.names;
    cases.push(("text@anthropic@no-such-key".to_owned(), wrong_key, Some(401)));
    cases.push((format!("text@anthropic@{NARROW}"), narrow, Some(403)));
    cases.push(("text@no-such-model".to_owned(), absent, Some(404)));
    for (dialect, ..) in KINDS {
        let name = dialect.name();
        for (what, error, status) in
            [("invalid", invalid, Some(400)), ("failed", failed, Some(500)), ("midway", midway, None)]
        {
            let how = if what == "midway" { "stream:" } else { "" };
            cases.push((format!("{how}{what}@{name}"), error, status));
            if what == "invalid" {
                cases.push((format!("stream:{what}@{name}"), error, status));
            }
        }
        cases.push((format!("busy@{name}"), busy, Some(0)));
        cases.push((format!("limit@{name}"), limit, Some(429)));
    }
    let base = format!("http://{}/ai", gateway.address);
    let mut arguments = vec![exceptions.sdk, &base, KEY, "anthropic"];
    arguments.extend(cases.iter().map(|(case, ..)| case.as_str()));
    let mut peer = (exceptions.program)(&arguments);
    peer.envs(variables.iter().copied());
    let (well, output) = Peer::start(peer).finish();
    assert!(well, "{output}");
    let lines: Vec<Value> = output.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(lines.len(), cases.len(), "{output}");
    let mut wrong = Vec::new();
    for ((case, error, status), line) in cases.iter().zip(&lines) {
        let is_status = match status {
            None => true,
            // Each dialect has its own number for too much to do.
            Some(0) => line["status"].as_u64().is_some_and(|status| matches!(status, 503 | 529)),
            Some(status) => line["status"] == *status,
        };
        let is_hint = !exceptions.shows_hints
            || !(case.starts_with("busy") || case.starts_with("limit"))
            || line["hint"] == HINT;
        let is_error = error.split('|').any(|error| line["error"] == error);
        if !is_error || !is_status || !is_hint {
            wrong.push(format!("{} {case}: not {error} {status:?}: {line}", exceptions.sdk));
        }
    }
    assert!(wrong.is_empty(), "{}\n{}", wrong.join("\n"), gateway.stderr());
}

const OPENAI: [&str; 8] = [
    "AuthenticationError",
    "PermissionDeniedError",
    "NotFoundError",
    "BadRequestError",
    "InternalServerError",
    "InternalServerError",
    "RateLimitError",
    "APIError",
];

#[test]
fn openais_exceptions_in_python() {
    check(&Exceptions { sdk: "openai-chat", program: in_python, names: OPENAI, shows_hints: true });
    // An event tells of it, at which this SDK does not raise.
    let mut names = OPENAI;
    names[7] = "StreamFailed";
    check(&Exceptions { sdk: "openai-responses", program: in_python, names, shows_hints: true });
}

#[test]
fn openais_exceptions_in_javascript() {
    for sdk in ["openai-chat", "openai-responses"] {
        check(&Exceptions { sdk, program: in_javascript, names: OPENAI, shows_hints: true });
    }
}

#[test]
fn anthropics_exceptions_in_python() {
    let mut names = OPENAI;
    names[5] = "OverloadedError|ServiceUnavailableError";
    names[7] = "OverloadedError|InternalServerError|APIStatusError";
    check(&Exceptions { sdk: "anthropic", program: in_python, names, shows_hints: true });
}

#[test]
fn anthropics_exceptions_in_javascript() {
    let mut names = OPENAI;
    names[5] = "OverloadedError|ServiceUnavailableError";
    check(&Exceptions { sdk: "anthropic", program: in_javascript, names, shows_hints: true });
}

#[test]
fn googles_exceptions() {
    let [refused, failed] = ["ClientError", "ServerError"];
    let names = [refused, refused, refused, refused, failed, failed, refused, failed];
    check(&Exceptions { sdk: "gemini", program: in_python, names, shows_hints: true });
    check(&Exceptions { sdk: "gemini", program: in_javascript, names: ["ApiError"; 8], shows_hints: false });
}

#[test]
fn coheres_exceptions() {
    let names = [
        "UnauthorizedError",
        "ForbiddenError",
        "NotFoundError",
        "BadRequestError",
        "InternalServerError",
        // Anthropic's 529 is none that this SDK has a class for.
        "ServiceUnavailableError|ApiError",
        "TooManyRequestsError",
        // The last event tells of it, as Cohere's own does.
        "StreamFailed",
    ];
    check(&Exceptions { sdk: "cohere", program: in_python, names, shows_hints: true });
}

#[test]
fn amazons_exceptions() {
    let names = [
        // Of `UnrecognizedClientException` this SDK has no class.
        "ClientError",
        "AccessDeniedException",
        "ResourceNotFoundException",
        "ValidationException",
        "InternalServerException",
        "ServiceUnavailableException",
        "ThrottlingException",
        "EventStreamError",
    ];
    let signed = [("AWS_ACCESS_KEY_ID", "AKIDOFTHECALLER"), ("AWS_SECRET_ACCESS_KEY", "the-callers-secret")];
    let exceptions = Exceptions { sdk: "bedrock", program: in_python, names, shows_hints: true };
    check_with(&exceptions, &signed);
}

#[test]
fn vercels_exceptions() {
    for sdk in ["vercel:openai-chat", "vercel:openai-responses", "vercel:anthropic", "vercel:gemini"] {
        let mut names = ["APICallError"; 8];
        names[7] = "APICallError|StreamProviderError";
        check(&Exceptions { sdk, program: in_javascript, names, shows_hints: true });
    }
}
