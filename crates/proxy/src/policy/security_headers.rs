//! `securityHeaders`: tells browsers what they may do with answers.
//!
//! It stands around everything else, so that answers of the gateway's own have these headers, too.

use std::fmt::Write;

use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use model::policy::security_headers::Existing;

use super::{Flow, Needs, NeedsOf, Policy};
use crate::{body::Body, call::Call, compiled::Building};

const PERMISSIONS_POLICY: HeaderName = HeaderName::from_static("permissions-policy");
const OPENER_POLICY: HeaderName = HeaderName::from_static("cross-origin-opener-policy");
const EMBEDDER_POLICY: HeaderName = HeaderName::from_static("cross-origin-embedder-policy");
const RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");
const REPORTING_ENDPOINTS: HeaderName = HeaderName::from_static("reporting-endpoints");

/// The compiled policy.
pub(crate) struct SecurityHeaders {
    hsts: Option<HeaderValue>,
    set: Vec<(HeaderName, HeaderValue)>,
    remove: Vec<HeaderName>,
    keeps: bool,
}

/// The client came by TLS, as a trusted peer says or as it came here.
struct Secure;

impl SecurityHeaders {
    pub(crate) fn compile(
        settings: &model::policy::SecurityHeaders,
        _: &Building<'_>,
    ) -> Result<Self, String> {
        let value =
            |text: &str| HeaderValue::from_str(text).map_err(|_| format!("`{text}` is no header's value"));
        let hsts = settings.hsts.as_ref().map(|hsts| {
            let mut text = format!("max-age={}", hsts.max_age.as_secs());
            text.push_str(if hsts.include_sub_domains { "; includeSubDomains" } else { "" });
            text.push_str(if hsts.preload { "; preload" } else { "" });
            value(&text)
        });
        let mut reporting = String::new();
        for (name, url) in &settings.reporting_endpoints {
            let comma = if reporting.is_empty() { "" } else { ", " };
            let _ = write!(reporting, "{comma}{name}=\"{url}\"");
        }
        let texts = [
            (header::X_CONTENT_TYPE_OPTIONS, settings.content_type_options.then_some("nosniff")),
            (header::X_FRAME_OPTIONS, settings.frame_options.map(|options| options.as_str())),
            (header::REFERRER_POLICY, settings.referrer_policy.map(|policy| policy.as_str())),
            (header::CONTENT_SECURITY_POLICY, settings.content_security_policy.as_deref()),
            (
                header::CONTENT_SECURITY_POLICY_REPORT_ONLY,
                settings.content_security_policy_report_only.as_deref(),
            ),
            (PERMISSIONS_POLICY, settings.permissions_policy.as_deref()),
            (OPENER_POLICY, settings.cross_origin_opener_policy.map(|policy| policy.as_str())),
            (EMBEDDER_POLICY, settings.cross_origin_embedder_policy.map(|policy| policy.as_str())),
            (RESOURCE_POLICY, settings.cross_origin_resource_policy.map(|policy| policy.as_str())),
            (REPORTING_ENDPOINTS, Some(reporting.as_str()).filter(|text| !text.is_empty())),
        ];
        let set = texts.into_iter().filter_map(|(name, text)| Some((name, value(text?))));
        Ok(Self {
            hsts: hsts.transpose()?,
            set: set.map(|(name, value)| Ok((name, value?))).collect::<Result<_, String>>()?,
            remove: settings.remove.iter().map(model::HeaderName::to_http).collect(),
            keeps: settings.existing == Existing::Keep,
        })
    }

    fn put(&self, headers: &mut HeaderMap, name: &HeaderName, value: &HeaderValue) {
        if !self.keeps || !headers.contains_key(name) {
            headers.insert(name.clone(), value.clone());
        }
    }
}

impl NeedsOf for model::policy::SecurityHeaders {
    fn needs(&self) -> Needs {
        Needs::default()
    }
}

impl Policy for SecurityHeaders {
    fn request<'a>(&'a self, call: &'a mut Call, _: &'a mut Body) -> Flow<'a> {
        // Later the header may be another: it is what upstreams are told.
        if call.is_https() && self.hsts.is_some() {
            call.keep(self, Secure);
        }
        Flow::Continue
    }

    fn response(&self, call: &mut Call, answer: &mut Response<Body>) {
        let is_secure = call.take::<_, Secure>(self).is_some();
        if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
            return;
        }
        let headers = answer.headers_mut();
        for name in &self.remove {
            headers.remove(name);
        }
        for (name, value) in &self.set {
            self.put(headers, name, value);
        }
        match &self.hsts {
            Some(hsts) if is_secure => self.put(headers, &header::STRICT_TRANSPORT_SECURITY, hsts),
            // In the clear anybody could have put it in (RFC 6797 §7.2).
            Some(_) => {
                headers.remove(header::STRICT_TRANSPORT_SECURITY);
            }
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::testing::{building, call, outcome, with_header};

    fn answered(settings: serde_json::Value, proto: &str, own: &[(&str, &str)]) -> HeaderMap {
        let settings = serde_json::from_value(settings).expect("good settings");
        let policy = building("", |cx| SecurityHeaders::compile(&settings, cx)).expect("compiles");
        let mut call = with_header(call("GET", "/"), "x-forwarded-proto", proto);
        outcome(&policy, &mut call).expect("goes on");
        let mut answer = Response::builder();
        for (name, value) in own {
            answer = answer.header(*name, *value);
        }
        let mut answer = answer.body(Body::Empty).expect("an answer");
        policy.response(&mut call, &mut answer);
        answer.into_parts().0.headers
    }

    #[test]
    fn transport_security_is_told_by_tls_alone() {
        let hsts = |proto, own: &[(&str, &str)]| {
            answered(serde_json::json!({}), proto, own)
                .get(header::STRICT_TRANSPORT_SECURITY)
                .map(|value| value.to_str().expect("text").to_owned())
        };
        assert_eq!(hsts("https", &[]).as_deref(), Some("max-age=31536000"));
        assert_eq!(hsts("http", &[]), None);
        assert_eq!(hsts("http", &[("strict-transport-security", "max-age=1")]), None);
    }

    #[test]
    fn the_gateways_word_replaces_the_upstreams_or_leaves_it() {
        let own = [("x-frame-options", "ALLOW"), ("x-frame-options", "DENY"), ("server", "x/1.2")];
        let headers = answered(serde_json::json!({}), "http", &own);
        assert_eq!(headers.get_all("x-frame-options").iter().collect::<Vec<_>>(), ["SAMEORIGIN"]);
        assert!(!headers.contains_key("server"));
        let kept = answered(serde_json::json!({"existing": "keep", "remove": []}), "http", &own);
        assert_eq!(kept.get_all("x-frame-options").iter().count(), 2);
        assert_eq!(kept["x-content-type-options"], "nosniff");
        assert_eq!(kept["server"], "x/1.2");
    }
}
