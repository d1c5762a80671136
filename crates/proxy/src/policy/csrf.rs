//! `csrf`: refuses what other sites make browsers do.
//!
//! What a browser says of where a request comes from no page can change. Programs are no browsers and say nothing, so
//! that a missing header means something else than one that tells of another site.

use std::borrow::Cow;

use http::{HeaderMap, HeaderName, Method, header};
use model::{Enforcement, policy::csrf::WithoutHeaders};

use super::{
    Flow, Needs, NeedsOf, Policy,
    counted::{Counted, Metric},
    credentials::in_header,
    judged,
    origins::Origins,
};
use crate::{
    body::Body,
    call::{Call, Upgrade},
    compiled::Building,
    failure::{Failure, Problem},
};

static METRIC: Metric = Metric {
    name: "tidegate_csrf_total",
    help: "Requests that change something and WebSocket handshakes, by whether another site made a browser send them.",
    outcomes: &["passed", "detected", "refused"],
    gauges: &[],
};
const PASSED: usize = 0;
const DETECTED: usize = 1;
const REFUSED: usize = 2;

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// The compiled policy.
pub(crate) struct Csrf {
    mode: Enforcement,
    allowed: Origins,
    allows_same_site: bool,
    passes_without: bool,
    reads_referer: bool,
    safe: Vec<Method>,
    judges_handshakes: bool,
    counted: std::sync::Arc<Counted>,
}

/// Why a request is another site's, for the record.
type Reason = Cow<'static, str>;

impl Csrf {
    pub(crate) fn compile(settings: &model::policy::Csrf, cx: &Building<'_>) -> Result<Self, String> {
        let mut allowed = Origins::default();
        settings.allow_origins.iter().try_for_each(|origin| allowed.add(origin))?;
        let method = |name: &String| {
            Method::from_bytes(name.as_bytes())
                .map_err(|_| format!("`safeMethods`: `{name}` is not a method"))
        };
        Ok(Self {
            mode: settings.mode,
            allowed,
            allows_same_site: settings.allow_same_site,
            passes_without: settings.without_headers == WithoutHeaders::Allow,
            reads_referer: settings.referer,
            safe: settings.safe_methods.iter().map(method).collect::<Result<_, _>>()?,
            judges_handshakes: settings.web_sockets,
            counted: Counted::of(&METRIC, cx),
        })
    }

    fn looks_at(&self, call: &Call) -> bool {
        let is_handshake = matches!(call.upgrade, Some(Upgrade::Connection | Upgrade::Stream));
        (is_handshake && self.judges_handshakes) || !self.safe.contains(&call.head.method)
    }

    fn judge(&self, call: &Call) -> Result<(), Reason> {
        let headers = &call.head.headers;
        // Of two which one would be meant?
        let origin = in_header(headers, &header::ORIGIN).map_err(|_| "`Origin` is there more than once")?;
        let site =
            in_header(headers, &SEC_FETCH_SITE).map_err(|_| "`Sec-Fetch-Site` is there more than once")?;
        if let Some(site) = site {
            // It tells of all redirects on the way, and where a page hides its origin, too: `Origin` may be `null` then.
            return match site {
                b"same-origin" | b"none" => Ok(()),
                b"same-site" if self.allows_same_site => Ok(()),
                _ if origin.is_some_and(|origin| self.is_allowed(origin)) => Ok(()),
                site => Err(told("`Sec-Fetch-Site` is", site)),
            };
        }
        if let Some(origin) = origin {
            return self.judge_origin(call, origin, "`Origin` is");
        }
        if self.reads_referer {
            let referer =
                in_header(headers, &header::REFERER).map_err(|_| "`Referer` is there more than once")?;
            if let Some(referer) = referer {
                return self.judge_origin(call, origin_of(referer), "`Referer` is of");
            }
        }
        match self.passes_without {
            true => Ok(()),
            false => Err("nothing says where it comes from".into()),
        }
    }

    fn judge_origin(&self, call: &Call, origin: &[u8], what: &str) -> Result<(), Reason> {
        match self.is_allowed(origin) || is_own(call, origin) {
            true => Ok(()),
            false => Err(told(what, shown(origin))),
        }
    }

    fn is_allowed(&self, origin: &[u8]) -> bool {
        // Anybody's page can have the origin `null`, so that nobody can be let in by it.
        origin != b"null" && std::str::from_utf8(origin).is_ok_and(|origin| self.allowed.has(origin))
    }
}

/// What of an origin is shown: no path, no query and no password. These may be secrets, and go into records.
fn shown(origin: &[u8]) -> &[u8] {
    match origin_of(origin) {
        b"null" => b"null",
        origin if origin.contains(&b'@') || !origin.windows(3).any(|three| three == b"://") => b"no origin",
        origin => origin,
    }
}

/// What a header says, shortened.
fn told(what: &str, value: &[u8]) -> Reason {
    const SHOWN_BYTES_MAX: usize = 100;
    let shown = value.get(..SHOWN_BYTES_MAX).unwrap_or(value);
    format!("{what} {}", String::from_utf8_lossy(shown)).into()
}

/// The origin in an address: all before its path.
fn origin_of(referer: &[u8]) -> &[u8] {
    let begin = referer.windows(3).position(|three| three == b"://").map_or(0, |at| at + 3);
    let length = referer[begin..].iter().position(|byte| b"/?#".contains(byte));
    length.map_or(referer, |length| &referer[..begin + length])
}

/// Whether an origin is that of the host that was asked for.
fn is_own(call: &Call, origin: &[u8]) -> bool {
    let Ok(origin) = std::str::from_utf8(origin) else { return false };
    let Some((scheme, authority)) = origin.split_once("://") else { return false };
    let default = match scheme {
        "https" => ":443",
        // A page that came without TLS may be anybody's on the way.
        "http" if !call.is_https() => ":80",
        _ => return false,
    };
    let plain = |authority: &str| {
        let lower = authority.to_ascii_lowercase();
        lower.strip_suffix(default).map(str::to_owned).unwrap_or(lower)
    };
    asked(&call.head.headers).is_some_and(|asked| !asked.is_empty() && plain(asked) == plain(authority))
}

/// The host and port that the client asked for, as a trusted peer says or as they came here.
fn asked(headers: &HeaderMap) -> Option<&str> {
    let told = in_header(headers, &X_FORWARDED_HOST).ok().flatten();
    let told = told.filter(|told| !told.iter().any(|byte| matches!(byte, b',' | b' ')));
    let host = told.or_else(|| in_header(headers, &header::HOST).ok().flatten())?;
    std::str::from_utf8(host).ok()
}

impl NeedsOf for model::policy::Csrf {
    fn needs(&self) -> Needs {
        Needs::headers([header::ORIGIN, header::REFERER, SEC_FETCH_SITE])
    }
}

impl Policy for Csrf {
    fn request<'a>(&'a self, call: &'a mut Call, _: &'a mut Body) -> Flow<'a> {
        if !self.looks_at(call) {
            return Flow::Continue;
        }
        let Err(reason) = self.judge(call) else {
            self.counted.note(PASSED);
            return Flow::Continue;
        };
        if !judged::object(call, "csrf", self.mode, &*reason) {
            self.counted.note(DETECTED);
            return Flow::Continue;
        }
        self.counted.note(REFUSED);
        Flow::Fail(
            Failure::refused(Problem::Forbidden)
                .with_hint("pages of this origin may not send such requests")
                .with_detail(reason.into_owned()),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::testing::{building, call, outcome, with_header};

    fn policy(settings: serde_json::Value) -> Csrf {
        let settings = serde_json::from_value(settings).expect("good settings");
        building("", |cx| Csrf::compile(&settings, cx)).expect("compiles")
    }

    /// Whether a POST to `api.example.test`, which came without TLS, passes with these headers.
    fn passes(policy: &Csrf, headers: &[(&'static str, &str)]) -> bool {
        let mut call = call("POST", "/");
        for (name, value) in headers {
            call = with_header(call, name, value);
        }
        outcome(policy, &mut call).is_ok()
    }

    #[test]
    fn what_browsers_say_of_the_site_decides_before_the_origin_does() {
        let policy =
            policy(serde_json::json!({"allowOrigins": ["https://app.test", "https://*.partner.test"]}));
        for (site, origin, want) in [
            ("same-origin", None, true),
            ("same-origin", Some("null"), true),
            ("none", None, true),
            ("same-site", Some("http://api.example.test"), false),
            ("cross-site", None, false),
            ("cross-site", Some("https://evil.test"), false),
            ("cross-site", Some("https://app.test"), true),
            ("cross-site", Some("https://a.partner.test"), true),
            ("cross-site", Some("https://evilpartner.test"), false),
            ("cross-site", Some("null"), false),
            ("same-origin, cross-site", Some("http://api.example.test"), false),
            ("Same-Origin", None, false),
            ("", None, false),
        ] {
            let mut headers = vec![("sec-fetch-site", site)];
            headers.extend(origin.map(|origin| ("origin", origin)));
            assert_eq!(passes(&policy, &headers), want, "{site} {origin:?}");
        }
    }

    #[test]
    fn without_it_the_origin_has_to_be_ones_own() {
        let policy = policy(serde_json::json!({}));
        for (origin, want) in [
            ("http://api.example.test", true),
            ("http://API.example.test:80", true),
            ("https://api.example.test", true),
            ("https://api.example.test:443", true),
            ("https://api.example.test:8443", false),
            ("http://api.example.test:443", false),
            ("http://api.example.test.evil.test", false),
            ("http://evil.test", false),
            ("http://api.example.test@evil.test", false),
            ("ftp://api.example.test", false),
            ("api.example.test", false),
            ("null", false),
            ("", false),
        ] {
            assert_eq!(passes(&policy, &[("origin", origin)]), want, "{origin}");
        }
        let twice = [("origin", "http://api.example.test"), ("origin", "http://api.example.test")];
        assert!(!passes(&policy, &twice));
        let secure = [("origin", "http://api.example.test"), ("x-forwarded-proto", "https")];
        assert!(!passes(&policy, &secure), "a page that came in the clear");
    }

    proptest::proptest! {
        #[test]
        fn nothing_but_ones_own_origin_passes_however_it_is_written(
            made in "(https?|ftp)?(://)?(api\\.example\\.test)?(:80|:443)?[:/@?#.a-z0-9-]{0,20}",
            bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..60),
        ) {
            const OWN: [&str; 4] = [
                "http://api.example.test",
                "http://api.example.test:80",
                "https://api.example.test",
                "https://api.example.test:443",
            ];
            let policy = policy(serde_json::json!({}));
            for value in [made.as_bytes(), bytes.as_slice()] {
                let Ok(value) = http::HeaderValue::from_bytes(value) else { continue };
                let text = String::from_utf8_lossy(value.as_bytes()).to_ascii_lowercase();
                for name in [header::ORIGIN, header::REFERER] {
                    // Of a referer the origin counts.
                    let ends = if name == header::ORIGIN { "" } else { "/?#" };
                    let is_own = OWN.iter().any(|own| {
                        text.strip_prefix(own).is_some_and(|rest| rest.is_empty() || rest.starts_with(|letter: char| ends.contains(letter)))
                    });
                    let mut asked = call("POST", "/");
                    asked.head.headers.insert(name, value.clone());
                    assert!(outcome(&policy, &mut asked).is_err() || is_own, "{text}");
                }
            }
        }
    }

    #[test]
    fn a_referer_stands_in_for_an_origin() {
        let policy = policy(serde_json::json!({"withoutHeaders": "refuse"}));
        for (referer, want) in [
            ("http://api.example.test/form?a=b", true),
            ("http://api.example.test", true),
            ("http://evil.test/http://api.example.test/", false),
            ("http://api.example.test.evil.test/", false),
            ("/form", false),
            ("http://evil.test?://api.example.test/", false),
        ] {
            assert_eq!(passes(&policy, &[("referer", referer)]), want, "{referer}");
        }
        assert!(!passes(&policy, &[]), "nothing says where it comes from");
        for (name, value, want) in [
            ("referer", "http://evil.test/a?token=secret#secret", "`Referer` is of http://evil.test"),
            ("referer", "http://user:secret@evil.test/", "`Referer` is of no origin"),
            ("referer", "/form?token=secret", "`Referer` is of no origin"),
            ("referer", "token-secret", "`Referer` is of no origin"),
            ("origin", "http://evil.test/?token=secret", "`Origin` is http://evil.test"),
            ("origin", "null", "`Origin` is null"),
        ] {
            let call = with_header(call("POST", "/"), name, value);
            assert_eq!(policy.judge(&call).expect_err("not one's own"), want, "{value}");
        }
        let blind = self::policy(serde_json::json!({"withoutHeaders": "refuse", "referer": false}));
        assert!(!passes(&blind, &[("referer", "http://api.example.test/")]));
    }
}
