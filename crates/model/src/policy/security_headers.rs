//! `securityHeaders`: tells browsers what they may do with answers.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Place, Settings, headers::FRAMING};
use crate::{Duration, HeaderName, load::Context};

/// Sets the headers by which browsers protect a site and its visitors, on every answer, the gateway's own included. `null`
/// leaves one out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct SecurityHeaders {
    /// `Strict-Transport-Security`, where the client came by TLS: from then on browsers come by no other way.
    pub hsts: Option<Hsts>,
    /// `X-Content-Type-Options: nosniff`: a body is what its content type says.
    pub content_type_options: bool,
    /// `X-Frame-Options`: who may show answers in a frame. `frame-ancestors` of a content security policy says it better.
    pub frame_options: Option<FrameOptions>,
    /// `Referrer-Policy`: what other sites are told of where a visitor comes from.
    pub referrer_policy: Option<ReferrerPolicy>,
    /// `Content-Security-Policy`: from where a page may load what.
    pub content_security_policy: Option<String>,
    /// `Content-Security-Policy-Report-Only`: what would be refused is only reported.
    pub content_security_policy_report_only: Option<String>,
    /// `Permissions-Policy`: which of a browser's features a page may use, such as `camera=(), geolocation=(self)`.
    pub permissions_policy: Option<String>,
    /// `Cross-Origin-Opener-Policy`: whether a page shares its group of windows with those of others.
    pub cross_origin_opener_policy: Option<OpenerPolicy>,
    /// `Cross-Origin-Embedder-Policy`: whether a page loads only what says that it may be loaded.
    pub cross_origin_embedder_policy: Option<EmbedderPolicy>,
    /// `Cross-Origin-Resource-Policy`: whose pages may load answers.
    pub cross_origin_resource_policy: Option<ResourcePolicy>,
    /// `Reporting-Endpoints`: where browsers send reports, by the names that policies have for them.
    pub reporting_endpoints: BTreeMap<String, String>,
    /// Headers of upstreams that say what they run on, and are taken out.
    pub remove: Vec<HeaderName>,
    /// What becomes of those of these headers that an upstream sends itself.
    pub existing: Existing,
}

/// How browsers are told to come by TLS alone (RFC 6797).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Hsts {
    /// How long browsers keep to it; `0s` has them forget it.
    pub max_age: Duration,
    /// For all subdomains, too.
    pub include_sub_domains: bool,
    /// Agrees to be in the list that browsers bring along, which is hard to leave.
    pub preload: bool,
}

/// What becomes of a header that an upstream sends itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Existing {
    /// The gateway's takes its place.
    #[default]
    Replace,
    /// It stays as it is.
    Keep,
}

/// Makes an enum of words that stand in a header as they are configured.
macro_rules! words {
    ($(#[$about:meta])* $Name:ident { $($(#[$doc:meta])* $Variant:ident => $key:literal, $value:literal;)* }) => {
        $(#[$about])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
        pub enum $Name {
            $($(#[$doc])* #[serde(rename = $key)] $Variant,)*
        }

        impl $Name {
            /// As it stands in the header.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$Variant => $value,)*
                }
            }
        }
    };
}

words! {
    /// Who may show answers in a frame.
    FrameOptions {
        /// Nobody.
        Deny => "deny", "DENY";
        /// Pages of the same origin.
        SameOrigin => "sameOrigin", "SAMEORIGIN";
    }
}

words! {
    /// What other sites are told of where a visitor comes from.
    ReferrerPolicy {
        /// Nothing.
        NoReferrer => "noReferrer", "no-referrer";
        /// The whole address, but nothing from https to http.
        NoReferrerWhenDowngrade => "noReferrerWhenDowngrade", "no-referrer-when-downgrade";
        /// The origin.
        Origin => "origin", "origin";
        /// The origin; to the same origin the whole address.
        OriginWhenCrossOrigin => "originWhenCrossOrigin", "origin-when-cross-origin";
        /// To the same origin the whole address; nothing to others.
        SameOrigin => "sameOrigin", "same-origin";
        /// The origin, but nothing from https to http.
        StrictOrigin => "strictOrigin", "strict-origin";
        /// The origin; to the same origin the whole address; nothing from https to http.
        StrictOriginWhenCrossOrigin => "strictOriginWhenCrossOrigin", "strict-origin-when-cross-origin";
        /// The whole address, always.
        UnsafeUrl => "unsafeUrl", "unsafe-url";
    }
}

words! {
    /// Whether a page shares its group of windows with those of others.
    OpenerPolicy {
        /// With those of any origin.
        UnsafeNone => "unsafeNone", "unsafe-none";
        /// With those of its own origin, and those that it opens.
        SameOriginAllowPopups => "sameOriginAllowPopups", "same-origin-allow-popups";
        /// With those of its own origin.
        SameOrigin => "sameOrigin", "same-origin";
        /// With none but its own.
        NoopenerAllowPopups => "noopenerAllowPopups", "noopener-allow-popups";
    }
}

words! {
    /// Whether a page loads only what says that it may be loaded.
    EmbedderPolicy {
        /// It loads anything.
        UnsafeNone => "unsafeNone", "unsafe-none";
        /// It loads only what says so.
        RequireCorp => "requireCorp", "require-corp";
        /// It loads others' without credentials.
        Credentialless => "credentialless", "credentialless";
    }
}

words! {
    /// Whose pages may load answers.
    ResourcePolicy {
        /// Those of the same site.
        SameSite => "sameSite", "same-site";
        /// Those of the same origin.
        SameOrigin => "sameOrigin", "same-origin";
        /// Anybody's.
        CrossOrigin => "crossOrigin", "cross-origin";
    }
}

const DAY_SECONDS: u64 = 24 * 3600;
/// What the list that browsers bring along asks for.
const PRELOAD_SECONDS: u64 = 365 * DAY_SECONDS;

impl Default for Hsts {
    fn default() -> Self {
        Self { max_age: Duration::from_secs(365 * DAY_SECONDS), include_sub_domains: false, preload: false }
    }
}

impl Default for SecurityHeaders {
    fn default() -> Self {
        let remove = ["server", "x-powered-by", "x-aspnet-version", "x-aspnetmvc-version"];
        Self {
            hsts: Some(Hsts::default()),
            content_type_options: true,
            frame_options: Some(FrameOptions::SameOrigin),
            referrer_policy: Some(ReferrerPolicy::StrictOriginWhenCrossOrigin),
            content_security_policy: None,
            content_security_policy_report_only: None,
            permissions_policy: None,
            cross_origin_opener_policy: None,
            cross_origin_embedder_policy: None,
            cross_origin_resource_policy: None,
            reporting_endpoints: BTreeMap::new(),
            remove: remove.map(HeaderName::from_static).to_vec(),
            existing: Existing::Replace,
        }
    }
}

impl Settings for SecurityHeaders {
    fn place(&self) -> Place<'_> {
        Place::Outermost
    }

    fn gives_way(&self) -> bool {
        true
    }

    fn validate(&self, at: &mut Context<'_, '_>) {
        if let Some(hsts) = &self.hsts
            && hsts.preload
            && (!hsts.include_sub_domains || hsts.max_age.as_secs() < PRELOAD_SECONDS)
        {
            at.field("hsts", |at| {
                at.error("`preload` needs `includeSubDomains` and a `maxAge` of 365 days or more");
            });
        }
        for (key, policy) in [
            ("contentSecurityPolicy", &self.content_security_policy),
            ("contentSecurityPolicyReportOnly", &self.content_security_policy_report_only),
        ] {
            if let Some(wrong) = policy.as_deref().and_then(wrong_content_policy) {
                at.field(key, |at| at.error(wrong));
            }
        }
        if let Some(wrong) = self.permissions_policy.as_deref().and_then(wrong_permissions) {
            at.field("permissionsPolicy", |at| at.error(wrong));
        }
        at.field("reportingEndpoints", |at| {
            for (name, url) in &self.reporting_endpoints {
                let is_token = name.starts_with(|c: char| c.is_ascii_lowercase() || c == '*')
                    && name.bytes().all(|byte| {
                        byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-.*".contains(&byte)
                    });
                let is_address = (url.starts_with("https://") || url.starts_with('/'))
                    && url.bytes().all(|byte| byte.is_ascii_graphic() && !b"\"\\".contains(&byte));
                if !is_token {
                    at.field(name, |at| at.error("expected a name in small letters, such as `csp`"));
                } else if !is_address {
                    at.field(name, |at| at.error("expected an https address or a path"));
                }
            }
        });
        at.each("remove", &self.remove, |at, name| {
            if FRAMING.contains(&name.as_str()) {
                at.error(format!("`{name}` is the gateway's own to set"));
            }
        });
    }
}

/// What is wrong with a content security policy, as far as that can be told without knowing the page.
fn wrong_content_policy(policy: &str) -> Option<String> {
    if !is_visible(policy) {
        return Some("expected directives on one line, such as `default-src 'self'`".into());
    }
    if policy.contains(',') {
        return Some("a comma begins another policy; directives are parted by `;`".into());
    }
    let mut known: Vec<&str> = Vec::new();
    for directive in policy.split(';').map(str::trim).filter(|directive| !directive.is_empty()) {
        let mut words = directive.split_ascii_whitespace();
        let name = words.next().unwrap_or_default();
        if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-') {
            return Some(format!("`{name}` is no directive: they are such as `default-src`"));
        }
        if known.contains(&name) {
            return Some(format!("`{name}` is there twice, and browsers read the first alone"));
        }
        known.push(name);
        const KEYWORDS: [&str; 8] = [
            "self",
            "none",
            "unsafe-inline",
            "unsafe-eval",
            "unsafe-hashes",
            "strict-dynamic",
            "report-sample",
            "wasm-unsafe-eval",
        ];
        let is_of_sources = name.ends_with("-src")
            || name.ends_with("-src-elem")
            || name.ends_with("-src-attr")
            || ["frame-ancestors", "form-action", "base-uri"].contains(&name);
        if let Some(word) = words.find(|word| is_of_sources && KEYWORDS.contains(word)) {
            return Some(format!("`{word}` without quotes is the name of a host: write `'{word}'`"));
        }
    }
    known.is_empty().then(|| "expected directives, such as `default-src 'self'`".into())
}

/// What is wrong with a permissions policy.
fn wrong_permissions(policy: &str) -> Option<String> {
    let hint = "expected features such as `camera=(), geolocation=(self \"https://maps.example\")`";
    if !is_visible(policy) || policy.trim().is_empty() {
        return Some(hint.into());
    }
    // Commas part features; within parentheses there are none.
    let wrong = policy.split(',').map(str::trim).find(|feature| {
        let Some((name, list)) = feature.split_once('=') else { return true };
        let is_name = !name.is_empty() && name.bytes().all(|b| b.is_ascii_lowercase() || b"-_".contains(&b));
        let is_list = list == "*" || list == "self" || (list.starts_with('(') && list.ends_with(')'));
        !is_name || !is_list
    });
    wrong.map(|feature| format!("`{feature}` is none: {hint}"))
}

fn is_visible(text: &str) -> bool {
    text.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic())
}
