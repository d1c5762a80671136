//! What a provider is sent beside the body: which of the caller's header fields go on, and which stay here.

use ai::{
    canon::{Loss, Losses},
    dialect::Dialect,
};
use http::{HeaderMap, HeaderName, HeaderValue, header};

use super::{prepare, provider::Provider};

/// Where vendors' SDKs put a key. All of them are ours to judge, and none goes on.
pub(crate) const CREDENTIALS: [&str; 5] =
    ["authorization", "x-api-key", "x-goog-api-key", "api-key", "proxy-authorization"];

/// What belongs to a caller's own signature, beside `authorization`.
const SIGNATURES: [&str; 3] = ["x-amz-date", "x-amz-security-token", "x-amz-content-sha256"];

/// Fields that say where a caller is, or belong to its own session: no provider's business.
const PRIVATE: [&str; 11] = [
    "cookie",
    "forwarded",
    "x-real-ip",
    "x-client-ip",
    "x-cluster-client-ip",
    "true-client-ip",
    "cdn-loop",
    "via",
    "referer",
    "origin",
    "x-sso-token",
];

/// How the names begin of what proxies say of a caller: its address and its way here, and, where they have signed it in,
/// who it is and by which token.
const OF_PROXIES: [&str; 25] = [
    "x-forwarded-",
    "x-original-",
    "x-originating-",
    "x-auth-request-",
    "x-authentik-",
    "x-pomerium-",
    "x-webauth-",
    "x-remote-",
    "remote-",
    "client-cert",
    "ssl-client-",
    "x-client-cert",
    "x-ssl-client-",
    "cf-",
    "fastly-",
    "fly-",
    "akamai-",
    "cloudfront-",
    "x-azure-",
    "x-ms-client-",
    "x-ms-token-",
    "x-amzn-oidc-",
    "x-envoy-",
    "x-vercel-",
    "x-appengine-",
];
/// The same in the words of a vendor's own cloud.
const OF_GOOGLES_PROXY: [&str; 2] = ["x-goog-authenticated-", "x-goog-iap-"];
/// What callers ask of Cloudflare's gateway, which is a provider.
const OF_CLOUDFLARE: &str = "cf-aig-";

/// Whether a field is between a caller and whoever stands before the gateway.
fn is_private(name: &str) -> bool {
    let begins = |begin: &&str| name.starts_with(*begin);
    PRIVATE.contains(&name)
        || OF_GOOGLES_PROXY.iter().any(begins)
        || (OF_PROXIES.iter().any(begins) && !name.starts_with(OF_CLOUDFLARE))
}

/// Fields that describe the body as it came, or what the caller itself can decode.
const OF_THE_BODY: [&str; 5] =
    ["content-length", "content-encoding", "accept-encoding", "content-type", "accept"];

/// Beginnings of the names that one vendor's own fields have, and the kinds of providers that are this vendor, or serve
/// its models in its name. Many others speak its dialect. What an `openai-compatible` address is nobody knows: it may
/// well be another gateway.
const VENDORS: [(&str, &[&str]); 6] = [
    ("openai-", &["openai", "azure-openai", "azure-foundry", "openai-compatible"]),
    ("anthropic-", CLAUDES),
    ("x-goog-", &["gemini", "vertex", "vertex-anthropic"]),
    ("x-amz", &["bedrock", "bedrock-mantle"]),
    ("x-stainless-", &[]),
    ("x-client-name", &["cohere"]),
];

/// Where Claude is served in its vendor's name.
const CLAUDES: &[&str] =
    &["anthropic", "vertex-anthropic", "azure-foundry", "bedrock-mantle", "databricks", "openai-compatible"];

/// The beta by which Claude thinks between calls, where a budget of thoughts is that of several answers.
const INTERLEAVED: &str = "interleaved-thinking";

/// Whether a caller asks Claude to think between calls.
pub(super) fn is_interleaved(came: &HeaderMap) -> bool {
    let mut betas = came.get_all("anthropic-beta").iter().filter_map(|betas| betas.to_str().ok());
    betas.any(|betas| betas.contains(INTERLEAVED))
}

/// Whether a target that is sent this body learns of it: by the header field, or at Bedrock by the body.
pub(super) fn learns_of_interleaving(asks: bool, provider: &Provider, dialect: Dialect, body: &[u8]) -> bool {
    match dialect {
        // A text that speaks of it asks for nothing.
        Dialect::Bedrock => {
            memchr::memmem::find(body, INTERLEAVED.as_bytes()).is_some()
                && serde_json::from_slice::<serde_json::Value>(body).is_ok_and(|body| {
                    let flags = body.pointer("/additionalModelRequestFields/anthropic_beta");
                    flags.is_some_and(|flags| flags.to_string().contains(INTERLEAVED))
                })
        }
        _ => asks && CLAUDES.contains(&provider.kind.name.as_str()),
    }
}

/// Fields by which SDKs say what they are: they ask for nothing.
const OF_THE_SDK: [&str; 2] = ["x-stainless-", "x-goog-api-client"];

/// The caller's fields as a provider gets them. Fields of another vendor's are left out, and named in `losses` where
/// they ask for something.
pub(super) fn headers(
    from: &HeaderMap,
    provider: &Provider,
    spoken: Dialect,
    target: Dialect,
    losses: &mut Losses,
) -> HeaderMap {
    let kind = provider.kind.name.as_str();
    let mut headers = HeaderMap::with_capacity(from.len() + 4);
    for (name, value) in from {
        let text = name.as_str();
        if CREDENTIALS.contains(&text)
            || SIGNATURES.contains(&text)
            || is_private(text)
            || OF_THE_BODY.contains(&text)
        {
            continue;
        }
        let vendor = VENDORS.iter().find(|(begin, _)| text.starts_with(begin));
        // The version is the dialect's own.
        let is_version = text == super::ANTHROPIC_VERSION;
        if is_version && spoken == Dialect::Anthropic && target == Dialect::Anthropic {
            headers.append(name.clone(), value.clone());
            continue;
        }
        if let Some((_, kinds)) = vendor
            && !kinds.contains(&kind)
        {
            if !is_version && !OF_THE_SDK.iter().any(|begin| text.starts_with(begin)) {
                losses.add(Loss::Field(text.to_owned()));
            }
            continue;
        }
        headers.append(name.clone(), value.clone());
    }
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers
}

/// The query of a caller as a provider of its own dialect gets it, or nobody: what asks for something that another
/// vendor has goes no further, and is named.
pub(super) fn query(from: Option<&str>, provider: &Provider, passes: bool, losses: &mut Losses) -> String {
    let kind = provider.kind.name.as_str();
    let mut kept: Vec<&str> = Vec::new();
    for pair in from.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
        let name = prepare::name_of(pair);
        let is_kept = match &*name {
            // Azure's paths have one of their own, and others have none.
            "api-version" => continue,
            "beta" => passes && CLAUDES.contains(&kind),
            _ => passes,
        };
        // How a stream is framed is between the caller and the gateway.
        let is_framing = matches!(&*name, "alt" | "$alt" | "prettyPrint" | "$prettyPrint");
        match is_kept {
            true => kept.push(pair),
            false if is_framing => {}
            false => losses.add(Loss::Field(format!("?{name}"))),
        }
    }
    kept.join("&")
}

/// Adds the fields that a dialect demands.
pub(super) fn dialect_headers(headers: &mut HeaderMap, fields: &[(&'static str, String)]) {
    for (name, value) in fields {
        let name = HeaderName::from_static(name);
        if let (false, Ok(value)) = (headers.contains_key(&name), HeaderValue::from_str(value)) {
            headers.insert(name, value);
        }
    }
}
