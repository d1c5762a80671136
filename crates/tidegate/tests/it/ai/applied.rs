//! What is known of a target is applied to a request in its own dialect, too, and nothing else is touched; fields of one
//! vendor's go to this vendor alone, and what goes no further is named.

use ai::dialect::Dialect;
use serde_json::Value;

use super::{KEY, gateway, post, provider};
use crate::harness::{Gateway, Seen, Upstream};

fn one(upstream: &Upstream, kind: &str, path: &str, model: &str, route: &str) -> Gateway {
    let base = format!("http://{}{path}", upstream.address);
    gateway(&[("p", kind, base)], &[("smart", &[("p", model, 1)])], route)
}

fn last(upstream: &Upstream) -> (Seen, String) {
    let seen = upstream.seen().pop().expect("a request");
    let body = String::from_utf8_lossy(&seen.body).into_owned();
    (seen, body)
}

const O3: &str = r#"{ "model":"smart", "max_tokens" : 50,"temperature":0.5,"x":1.50,"messages":[{"role":"user","content":"case: text"}]}"#;

#[test]
fn a_reasoning_model_is_not_sent_what_it_refuses() {
    let upstream = provider::of(Dialect::OpenAiChat);
    let o3 = one(&upstream, "openai", "/v1", "o3", "");
    let answer = post(&o3, "/ai/v1/chat/completions", "", O3);
    assert_eq!((answer.status, answer.header("x-tidegate-dropped")), (200, Some("temperature")));
    assert_eq!(
        last(&upstream).1,
        r#"{ "model":"o3", "max_completion_tokens" : 50,"x":1.50,"messages":[{"role":"user","content":"case: text"}]}"#
    );
    assert_eq!(o3.records(1)[0]["ai"]["dropped"], serde_json::json!(["temperature"]));
    // Another dialect's callers are served by the same rules.
    let body = r#"{"model":"smart","max_tokens":50,"temperature":0.5,"messages":[{"role":"user","content":"case: text"}]}"#;
    let answer = post(&o3, "/ai/v1/messages", "\nanthropic-version: 2023-06-01", body);
    assert_eq!((answer.status, answer.header("x-tidegate-dropped")), (200, Some("temperature")));
    let sent: Value = serde_json::from_str(&last(&upstream).1).expect("JSON");
    assert_eq!((&sent["max_completion_tokens"], sent.get("temperature")), (&50.into(), None));
    // A strict route refuses, and asks nobody.
    let count = upstream.seen().len();
    let strict = one(&upstream, "openai", "/v1", "o3", "strict: true");
    let refused = post(&strict, "/ai/v1/chat/completions", "", O3);
    assert_eq!(refused.status, 422, "{}", refused.text());
    assert!(refused.text().contains("temperature"), "{}", refused.text());
    assert_eq!(upstream.seen().len(), count);
    // Who takes all of it is sent all of it.
    let plain = one(&upstream, "openai", "/v1", "gpt-4o", "");
    let answer = post(&plain, "/ai/v1/chat/completions", "", O3);
    assert_eq!((answer.status, answer.header("x-tidegate-dropped")), (200, None));
    assert_eq!(last(&upstream).1, O3.replace("smart", "gpt-4o"));
}

/// What stands in objects of a body is fitted like what stands at its top, and the rest of the bytes stay.
#[test]
fn parameters_inside_of_objects_are_fitted_to_the_model_in_every_dialect() {
    let thinks = r#"{"model":"smart","max_tokens":2000,"thinking":{"type":"enabled","budget_tokens":4000},"messages":[{"role":"user","content":"case: text"}]}"#;
    for (dialect, kind, base, model, path, body, want, dropped) in [
        (
            Dialect::Anthropic,
            "anthropic",
            "",
            "claude-sonnet-4-5",
            "/ai/v1/messages",
            thinks,
            thinks.replace("4000", "1500"),
            "thinking",
        ),
        (
            Dialect::Gemini,
            "gemini",
            "/v1beta",
            "gemini-3.8-flash",
            "/ai/v1beta/models/smart:generateContent",
            r#"{ "contents":[{"role":"user","parts":[{"text":"case: text"}]}], "generationConfig" : {"temperature":0.5, "maxOutputTokens":50} }"#,
            r#"{ "contents":[{"role":"user","parts":[{"text":"case: text"}]}], "generationConfig" : { "maxOutputTokens":50} }"#.to_owned(),
            "generationConfig.temperature",
        ),
        (
            Dialect::Bedrock,
            "bedrock",
            "",
            "anthropic.claude-opus-4-7",
            "/ai/model/smart/converse",
            r#"{"messages":[{"role":"user","content":[{"text":"case: text"}]}],"inferenceConfig":{"maxTokens":50,"topP":0.5}}"#,
            r#"{"messages":[{"role":"user","content":[{"text":"case: text"}]}],"inferenceConfig":{"maxTokens":50}}"#.to_owned(),
            "inferenceConfig.topP",
        ),
        (
            Dialect::OpenAiResponses,
            "openai",
            "/v1",
            "gpt-5-codex",
            "/ai/v1/responses",
            r#"{"model":"smart","reasoning":{"effort":"minimal"},"input":[{"role":"user","content":"case: text"}]}"#,
            r#"{"model":"smart","reasoning":{"effort":"low"},"input":[{"role":"user","content":"case: text"}]}"#.to_owned(),
            "reasoning.effort",
        ),
        (
            Dialect::OpenAiChat,
            "deepseek",
            "",
            "deepseek-chat",
            "/ai/v1/chat/completions",
            r#"{"model":"smart","reasoning_effort":"low","messages":[{"role":"user","content":"case: text"}]}"#,
            r#"{"model":"smart","messages":[{"role":"user","content":"case: text"}]}"#.to_owned(),
            "reasoning_effort",
        ),
        (
            Dialect::Cohere,
            "cohere",
            "",
            "command-a-reasoning-08-2025",
            "/ai/v2/chat",
            r#"{"model":"smart","max_tokens":2000,"thinking":{"type":"enabled","token_budget":4000},"messages":[{"role":"user","content":"case: text"}]}"#,
            r#"{"model":"smart","max_tokens":2000,"thinking":{"type":"enabled","token_budget":1999},"messages":[{"role":"user","content":"case: text"}]}"#.to_owned(),
            "thinking",
        ),
    ] {
        let upstream = provider::of(dialect);
        let gateway = one(&upstream, kind, base, model, "");
        let answer = post(&gateway, path, "", body);
        assert_eq!((answer.status, answer.header("x-tidegate-dropped")), (200, Some(dropped)), "{path}: {}", answer.text());
        let sent = last(&upstream).1;
        assert_eq!(sent, want.replace("smart", model), "{path}");
        // What is asked for is known to the whole of a strict route.
        let strict = one(&upstream, kind, base, model, "strict: true");
        assert_eq!(post(&strict, path, "", body).status, 422, "{path}");
    }
    // Between calls a budget of Claude's is that of several answers, where Claude is told of it.
    let upstream = provider::of(Dialect::Anthropic);
    let gateway = one(&upstream, "anthropic", "", "claude-sonnet-4-5", "");
    let beta = "\nanthropic-version: 2023-06-01\nanthropic-beta: interleaved-thinking-2025-05-14";
    let answer = post(&gateway, "/ai/v1/messages", beta, thinks);
    assert_eq!((answer.status, answer.header("x-tidegate-dropped")), (200, None), "{}", answer.text());
    assert_eq!(last(&upstream).1, thinks.replace("smart", "claude-sonnet-4-5"));
}

#[test]
fn bytes_of_every_dialect_pass_as_they_are() {
    for (dialect, kind, base, model, path, body) in [
        (
            Dialect::OpenAiResponses,
            "openai",
            "/v1",
            "gpt-5-codex",
            "/ai/v1/responses",
            r#"{ "model" : "smart","input":[{"role":"user","content":"case: text","odd":1.50}],  "new_field":{"a":[ ]} }"#,
        ),
        (
            Dialect::Anthropic,
            "anthropic",
            "",
            "claude-sonnet-4-5",
            "/ai/v1/messages",
            r#"{ "model" : "smart","max_tokens":50, "messages":[{"role":"user","content":"case: text","odd":1.50}],  "new_field":{"a":[ ]} }"#,
        ),
        (
            Dialect::Gemini,
            "gemini",
            "/v1beta",
            "gemini-2.5-flash",
            "/ai/v1beta/models/smart:generateContent",
            r#"{ "contents":[{"role":"user","parts":[{"text":"case: text","odd":1.50}]}],  "newField":{"a":[ ]} }"#,
        ),
        (
            Dialect::Bedrock,
            "bedrock",
            "",
            "amazon.nova-lite-v1:0",
            "/ai/model/smart/converse",
            r#"{ "messages":[{"role":"user","content":[{"text":"case: text","odd":1.50}]}],  "newField":{"a":[ ]} }"#,
        ),
        (
            Dialect::Cohere,
            "cohere",
            "",
            "command-a-03-2025",
            "/ai/v2/chat",
            r#"{ "model" : "smart","messages":[{"role":"user","content":"case: text","odd":1.50}],  "new_field":{"a":[ ]} }"#,
        ),
    ] {
        let upstream = provider::of(dialect);
        let gateway = one(&upstream, kind, base, model, "");
        let answer = post(&gateway, path, "", body);
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        assert_eq!(last(&upstream).1, body.replace("smart", model), "{path}");
        // What Responses keep is named by ids that the gateway seals.
        if dialect != Dialect::OpenAiResponses {
            assert_eq!(answer.text(), provider::fixture(dialect, "answers", "text"), "{path}");
        }
    }
}

const HI: &str = r#"{"model":"smart","max_tokens":50,"messages":[{"role":"user","content":"case: text"}]}"#;

#[test]
fn what_is_for_one_vendor_goes_to_this_vendor_alone() {
    let claude = provider::of(Dialect::Anthropic);
    let chat = provider::of(Dialect::OpenAiChat);
    let beta = "\nanthropic-version: 2023-06-01\nanthropic-beta: context-1m\nx-stainless-lang: python";
    // Its own: the query and the fields go on.
    let own = one(&claude, "anthropic", "", "claude-sonnet-4-5", "");
    let answer = post(&own, "/ai/v1/messages?beta=true", beta, HI);
    assert_eq!((answer.status, answer.header("x-tidegate-dropped")), (200, None), "{}", answer.text());
    let seen = last(&claude).0;
    assert_eq!(seen.target(), "/v1/messages?beta=true");
    assert_eq!(seen.header("anthropic-beta"), Some("context-1m"));
    assert_eq!(seen.header("x-stainless-lang"), None);
    // Another vendor's: left out, and named.
    let other = one(&chat, "openai", "/v1", "gpt-4o", "");
    let answer = post(&other, "/ai/v1/messages?beta=true", beta, HI);
    assert_eq!((answer.status, answer.header("x-tidegate-dropped")), (200, Some("?beta, anthropic-beta")));
    let seen = last(&chat).0;
    assert!(!seen.target().contains("beta") && seen.header("anthropic-beta").is_none(), "{seen:?}");
    // Azure serves Claude in its own words, too.
    let foundry = one(&claude, "azure-foundry", "", "claude-sonnet-4-5", "");
    let answer = post(&foundry, "/ai/v1/messages?beta=true", beta, HI);
    assert_eq!((answer.status, answer.header("x-tidegate-dropped")), (200, None), "{}", answer.text());
    let seen = last(&claude).0;
    assert_eq!(seen.header("anthropic-beta"), Some("context-1m"));
    assert!(seen.target().ends_with("?beta=true"), "{}", seen.target());
    // OpenAI's fields are not Groq's, though the dialect is.
    let organization = "\nopenai-organization: o1\nopenai-beta: x=1";
    let groq = one(&chat, "groq", "/openai/v1", "llama-3.3-70b-versatile", "");
    let answer = post(&groq, "/ai/v1/chat/completions", organization, HI);
    let mut dropped: Vec<&str> =
        answer.header("x-tidegate-dropped").unwrap_or_default().split(", ").collect();
    dropped.sort_unstable();
    assert_eq!(dropped, ["openai-beta", "openai-organization"]);
    assert_eq!(last(&chat).0.header("openai-organization"), None);
    let answer = post(&other, "/ai/v1/chat/completions", organization, HI);
    assert_eq!((answer.status, answer.header("x-tidegate-dropped")), (200, None));
    assert_eq!(last(&chat).0.header("openai-beta"), Some("x=1"));
    // What an SDK says of itself asks for nothing, also where nothing may be lost.
    let strict = one(&chat, "openai", "/v1", "gpt-4o", "strict: true");
    let body = r#"{"contents":[{"role":"user","parts":[{"text":"case: text"}]}]}"#;
    let path = "/ai/v1beta/models/smart:streamGenerateContent?alt=sse";
    let answer = post(&strict, path, "\nx-goog-api-client: google-genai-sdk/3.6.1", body);
    assert_eq!(answer.status, 200, "{}", answer.text());
    let refused = post(&strict, path, "\nx-goog-user-project: p", body);
    assert_eq!(refused.status, 422, "{}", refused.text());
}

/// A gateway that takes keys in every place in which a vendor's SDK has them.
fn with_every_place(upstream: &Upstream) -> Gateway {
    let base = format!("http://{}/v1", upstream.address);
    let text = super::config(&[("p", "openai", base)], &[("smart", &[("p", "gpt-4o", 1)])], "");
    let places = "headers: [x-api-key, authorization, x-goog-api-key, api-key], query: key";
    Gateway::start(&text.replace("headers: [x-api-key, authorization, x-goog-api-key]", places))
}

#[test]
fn a_key_is_taken_where_each_sdk_has_it_and_goes_no_further() {
    let upstream = provider::of(Dialect::OpenAiChat);
    let gateway = with_every_place(&upstream);
    let send = |path: &str, fields: &str| {
        let head = format!("POST {path} HTTP/1.1\nhost: gw\ncontent-length: {}{fields}", HI.len());
        gateway.send(&head, HI.as_bytes())
    };
    let chat = "/ai/v1/chat/completions";
    let azure = "/ai/openai/deployments/smart/chat/completions?api-version=2024-10-21";
    for (path, fields) in [
        (chat.to_owned(), format!("\nauthorization: Bearer {KEY}")),
        (chat.to_owned(), format!("\nx-api-key: {KEY}")),
        (chat.to_owned(), format!("\nx-goog-api-key: {KEY}")),
        (chat.to_owned(), format!("\napi-key: {KEY}")),
        (format!("{chat}?key={KEY}"), String::new()),
        (azure.to_owned(), format!("\napi-key: {KEY}")),
        // Some SDKs send two, and neither goes on.
        (chat.to_owned(), format!("\nx-api-key: {KEY}\nauthorization: Bearer {KEY}")),
        (chat.to_owned(), format!("\napi-key: {KEY}\nx-goog-api-key: {KEY}")),
    ] {
        let answer = send(&path, &fields);
        assert_eq!(answer.status, 200, "{path} {fields}: {}", answer.text());
        assert_eq!(answer.header("x-tidegate-dropped"), None, "{path}");
        let (seen, body) = last(&upstream);
        assert_eq!(seen.target(), "/v1/chat/completions", "{path}");
        assert_eq!(seen.header("authorization"), Some("Bearer provider-key-of-the-test"));
        assert_eq!(body, HI.replace("smart", "gpt-4o"), "{path}");
        assert!(!format!("{seen:?}").contains(KEY), "{path} {fields}: {seen:?}");
    }
    let count = upstream.seen().len();
    assert_eq!(send(chat, "").status, 401);
    assert_eq!(upstream.seen().len(), count);
}

#[test]
fn what_tells_of_a_callers_address_goes_no_further() {
    let upstream = provider::of(Dialect::OpenAiChat);
    let gateway = one(&upstream, "openai", "/v1", "gpt-4o", "");
    let names = [
        "forwarded",
        "x-forwarded-by",
        "x-forwarded-client-cert",
        "x-forwarded-server",
        "x-client-ip",
        "x-cluster-client-ip",
        "x-original-forwarded-for",
        "x-originating-ip",
        "true-client-ip",
        "cf-connecting-ip",
        "fastly-client-ip",
        "client-cert",
        "client-cert-chain",
        "via",
        "referer",
        "origin",
        "cookie",
        // Of whoever is signed in, by proxies that do that.
        "x-forwarded-user",
        "x-forwarded-email",
        "x-forwarded-groups",
        "x-forwarded-preferred-username",
        "x-forwarded-access-token",
        "x-auth-request-user",
        "x-auth-request-access-token",
        "remote-user",
        "x-ms-client-principal-name",
        "x-ms-token-aad-access-token",
        "x-amzn-oidc-accesstoken",
        "x-goog-iap-jwt-assertion",
        "x-goog-authenticated-user-email",
        "cf-access-jwt-assertion",
        "cf-connecting-ipv6",
        "x-azure-clientip",
        "x-azure-socketip",
        "fly-client-ip",
        "cloudfront-viewer-address",
        "x-envoy-external-address",
        "x-vercel-forwarded-for",
        "x-appengine-user-ip",
    ];
    let fields: String = names.iter().map(|name| format!("\n{name}: 203.0.113.9")).collect();
    let answer = post(&gateway, "/ai/v1/chat/completions", &format!("{fields}\nx-mine: goes on"), HI);
    assert_eq!(answer.status, 200, "{}", answer.text());
    let seen = last(&upstream).0;
    assert!(!format!("{seen:?}").contains("203.0.113.9"), "{seen:?}");
    assert_eq!(seen.header("x-mine"), Some("goes on"));
    // What is between a caller and a vendor's cloud is no word to this vendor.
    for (kind, dialect, base) in [("gemini", Dialect::Gemini, "/v1beta"), ("bedrock", Dialect::Bedrock, "")] {
        let (upstream, (model, path)) = (
            provider::of(dialect),
            match dialect {
                Dialect::Gemini => ("gemini-2.5-flash", "/ai/v1beta/models/smart:generateContent"),
                _ => ("amazon.nova-lite-v1:0", "/ai/model/smart/converse"),
            },
        );
        let gateway = one(&upstream, kind, base, model, "");
        let body = match dialect {
            Dialect::Gemini => r#"{"contents":[{"role":"user","parts":[{"text":"case: text"}]}]}"#,
            _ => r#"{"messages":[{"role":"user","content":[{"text":"case: text"}]}]}"#,
        };
        let answer = post(&gateway, path, &fields, body);
        assert_eq!(answer.status, 200, "{kind}: {}", answer.text());
        let seen = last(&upstream).0;
        assert!(!format!("{seen:?}").contains("203.0.113.9"), "{kind}: {seen:?}");
    }
}

#[test]
fn a_strict_route_refuses_in_every_dialect() {
    let upstream = provider::of(Dialect::OpenAiChat);
    let gateway = one(&upstream, "openai", "/v1", "gpt-4o", "strict: true");
    for (path, body, place) in [
        (
            "/ai/v1/messages",
            r#"{"model":"smart","max_tokens":50,"top_k":3,"messages":[{"role":"user","content":"case: text"}]}"#,
            "/error/message",
        ),
        (
            "/ai/model/smart/converse",
            r#"{"messages":[{"role":"user","content":[{"text":"case: text"}]}],"additionalModelRequestFields":{"top_k":3}}"#,
            "/message",
        ),
    ] {
        let answer = post(&gateway, path, "", body);
        assert_eq!(answer.status, 422, "{path}: {}", answer.text());
        let message = answer.json().pointer(place).and_then(Value::as_str).unwrap_or_default().to_owned();
        assert!(message.contains("top_k"), "{path}: {}", answer.text());
    }
    assert!(upstream.seen().is_empty());
}

#[test]
fn a_provider_of_an_open_circuit_is_left_for_the_next() {
    let broken = Upstream::fixed(500, r#"{"error":{"message":"no","type":"server_error"}}"#);
    let well = provider::of(Dialect::OpenAiChat);
    let text = super::config(
        &[
            ("p", "openai", format!("http://{}/v1", broken.address)),
            ("q", "openai", format!("http://{}/v1", well.address)),
        ],
        &[("smart", &[("p", "gpt-4o", 1), ("q", "gpt-4o", 0)])],
        "",
    );
    let circuit = "kind: openai, circuitBreaker: {minimumNumberOfCalls: 2, failureRateThreshold: 50, waitDurationInOpenState: 1h}, baseUrl: \"";
    let text = text.replacen("kind: openai, baseUrl: \"", circuit, 1);
    let gateway = Gateway::start(&text);
    for _ in 0..8 {
        let answer = post(&gateway, "/ai/v1/chat/completions", "", HI);
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(answer.header("x-tidegate-provider"), Some("q"));
    }
    let asked = broken.seen().len();
    assert!((2..8).contains(&asked), "it was asked {asked} times, until its circuit opened");
}

#[test]
fn a_provider_whose_circuit_was_open_is_asked_once_and_then_has_its_traffic_back() {
    let is_well = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let mended = is_well.clone();
    let first = Upstream::scripted(move |seen| match mended.load(std::sync::atomic::Ordering::SeqCst) {
        true => Some(provider::answer(Dialect::OpenAiChat, seen)),
        false => Some(b"HTTP/1.1 500 X\r\ncontent-length: 2\r\n\r\n{}".to_vec()),
    });
    let second = provider::of(Dialect::OpenAiChat);
    let base = |upstream: &Upstream| format!("http://{}/v1", upstream.address);
    let text = super::config(
        &[("p", "openai", base(&first)), ("q", "openai", base(&second))],
        &[("smart", &[("p", "gpt-4o", 1), ("q", "gpt-4o", 0)])],
        "",
    );
    let circuit = "kind: openai, circuitBreaker: {minimumNumberOfCalls: 2, failureRateThreshold: 50, waitDurationInOpenState: 1s, permittedNumberOfCallsInHalfOpenState: 1}, baseUrl: \"";
    let gateway = Gateway::start(&text.replacen("kind: openai, baseUrl: \"", circuit, 1));
    let served = || {
        let answer = post(&gateway, "/ai/v1/chat/completions", "", HI);
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.header("x-tidegate-provider").expect("a provider").to_owned()
    };
    let opens = || (0..4).for_each(|_| assert_eq!(served(), "q"));
    opens();
    let asked = first.seen().len();
    opens();
    assert_eq!(first.seen().len(), asked, "it is open");
    // One call tries it, fails, and nobody else is sent there.
    crate::harness::pause(1100);
    opens();
    assert_eq!(first.seen().len(), asked + 1, "one call tried it");
    is_well.store(true, std::sync::atomic::Ordering::SeqCst);
    crate::harness::pause(1100);
    for _ in 0..6 {
        assert_eq!(served(), "p", "it has its traffic back");
    }
    assert_eq!(first.seen().len(), asked + 7);
}

#[test]
fn tokens_are_counted_by_the_target_that_speaks_the_callers_dialect() {
    for (kind, base, model, path, target, body, told) in [
        (
            "anthropic",
            "",
            "claude-sonnet-4-5",
            "/ai/v1/messages/count_tokens?beta=true",
            "/v1/messages/count_tokens?beta=true",
            r#"{"model":"smart", "messages":[{"role":"user","content":"x"}]}"#,
            r#"{"input_tokens":7}"#,
        ),
        (
            "gemini",
            "/v1beta",
            "gemini-2.5-flash",
            "/ai/v1beta/models/smart:countTokens",
            "/v1beta/models/gemini-2.5-flash:countTokens",
            r#"{ "contents":[{"role":"user","parts":[{"text":"x"}]}]}"#,
            r#"{"totalTokens":7}"#,
        ),
        (
            "bedrock",
            "",
            "amazon.nova-lite-v1:0",
            "/ai/model/smart/count-tokens",
            "/model/amazon.nova-lite-v1%3A0/count-tokens",
            r#"{"input":{ "converse":{"messages":[{"role":"user","content":[{"text":"x"}]}]}}}"#,
            r#"{"inputTokens":7}"#,
        ),
    ] {
        let upstream = Upstream::fixed(200, told);
        let gateway = one(&upstream, kind, base, model, "");
        let answer = post(&gateway, path, "", body);
        assert_eq!((answer.status, answer.text().as_str()), (200, told), "{path}");
        assert_eq!(answer.header("x-tidegate-estimate"), None);
        let (seen, sent) = last(&upstream);
        assert_eq!((seen.target(), sent), (target, body.replace("smart", model)), "{path}");
    }
}

/// Calls with a key, a model and further fields, and whether each is served.
type Calls<'c> = &'c [(&'c str, &'c str, &'c str, u16)];

#[test]
fn tokens_are_counted_together_for_whom_a_limit_says() {
    let by_key: &[(&str, Calls<'_>)] = &[
        ("group", &[("ann", "smart", "", 200), ("bob", "smart", "", 429), ("cid", "smart", "", 200)]),
        ("key", &[("ann", "smart", "", 200), ("ann", "smart", "", 429), ("ann-2", "smart", "", 200)]),
        ("model", &[("ann", "smart", "", 200), ("cid", "smart", "", 429), ("ann", "other", "", 200)]),
        ("consumer", &[("ann", "smart", "", 200), ("ann-2", "smart", "", 429), ("bob", "smart", "", 200)]),
        (
            "{cel: \"request.headers['x-team']\"}",
            &[
                ("ann", "smart", "\nx-team: a", 200),
                ("bob", "smart", "\nx-team: a", 429),
                ("ann", "smart", "\nx-team: b", 200),
                ("ann", "smart", "", 200),
                ("bob", "smart", "", 429),
            ],
        ),
    ];
    for kind in ["tokenRateLimit: {output: 500, window: 1h", "budget: {tokens: 900, per: day"] {
        for (key, calls) in by_key {
            let upstream = super::limits::told(300, 300);
            let base = format!("http://{}/v1", upstream.address);
            let models: &[super::Named<'_>] =
                &[("smart", &[("p", "gpt-4o", 1)]), ("other", &[("p", "gpt-4o", 1)])];
            let text = super::config(&[("p", "openai", base)], models, "");
            let consumers = "consumers: [{name: ann, keys: [ann-key-of-the-test, ann-2-key-of-the-test], groups: [gold]}, {name: bob, keys: [bob-key-of-the-test], groups: [gold]}, {name: cid, keys: [cid-key-of-the-test]}]";
            let (_, rest) = text.split_once('\n').expect("lines");
            let limit = format!("x-goog-api-key]}}}}, {{{kind}, key: {key}}}}}]");
            let text = format!("{consumers}\n{}", rest.replace("x-goog-api-key]}}]", &limit));
            let gateway = Gateway::start(&text);
            for (who, model, fields, want) in *calls {
                let body = format!(
                    r#"{{"model":"{model}","max_tokens":300,"messages":[{{"role":"user","content":"hi"}}]}}"#
                );
                let head = format!(
                    "POST /ai/v1/chat/completions HTTP/1.1\nhost: gw\nx-api-key: {who}-key-of-the-test\ncontent-length: {}{fields}",
                    body.len()
                );
                let answer = gateway.send(&head, body.as_bytes());
                assert_eq!(answer.status, *want, "{kind} {key} {who} {model} {fields}: {}", answer.text());
            }
        }
    }
}

/// A text that speaks of a flag asks for nothing: what is fitted is so still.
#[test]
fn a_flag_that_only_a_text_names_switches_no_rule_off() {
    let upstream = provider::of(Dialect::Bedrock);
    let gateway = one(&upstream, "bedrock", "", "anthropic.claude-sonnet-4-5-20250929-v1:0", "");
    for (flag, want) in [("", 1500), (r#""anthropic_beta":["interleaved-thinking-2025-05-14"],"#, 4000)] {
        let body = format!(
            r#"{{"messages":[{{"role":"user","content":[{{"text":"case: text of interleaved-thinking"}}]}}],"inferenceConfig":{{"maxTokens":2000}},"additionalModelRequestFields":{{{flag}"thinking":{{"type":"enabled","budget_tokens":4000}}}}}}"#
        );
        let answer = post(&gateway, "/ai/model/smart/converse", "", &body);
        assert_eq!(answer.status, 200, "{}", answer.text());
        let sent = last(&upstream).1;
        assert!(sent.contains(&format!(r#""budget_tokens":{want}"#)), "{sent}");
    }
}
