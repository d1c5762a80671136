//! What a composed answer says of how long it holds, and for whom: the least of what its parts say.
//!
//! A part that says nothing takes nothing away. `Set-Cookie` of parts goes nowhere, so it does not count.

use std::time::SystemTime;

use http::{HeaderMap, HeaderName, HeaderValue, header};

/// What was heard so far.
#[derive(Debug, Default)]
pub(super) struct Caching {
    no_store: bool,
    no_cache: bool,
    is_private: bool,
    must_revalidate: bool,
    /// Every part said `public`.
    is_public: bool,
    heard: bool,
    /// Seconds, for everybody and for caches that serve several.
    max_age: Option<u64>,
    shared_age: Option<u64>,
    vary: Vec<HeaderName>,
    varies_by_all: bool,
}

/// What one part says.
#[derive(Debug, Default)]
struct Said {
    no_store: bool,
    no_cache: bool,
    is_private: bool,
    is_public: bool,
    must_revalidate: bool,
    max_age: Option<u64>,
    shared_age: Option<u64>,
}

impl Said {
    fn of(headers: &HeaderMap) -> Self {
        let mut said = Self::default();
        let fields = headers.get_all(header::CACHE_CONTROL).iter();
        for directive in fields.flat_map(|value| value.as_bytes().split(|byte| *byte == b',')) {
            let Ok(directive) = std::str::from_utf8(directive) else { continue };
            let (name, value) = directive.split_once('=').unwrap_or((directive, ""));
            // What is no number of seconds is none: nothing is fresh then.
            let seconds = || value.trim().trim_matches('"').parse().unwrap_or(0);
            match name.trim().to_ascii_lowercase().as_str() {
                "no-store" => said.no_store = true,
                "no-cache" => said.no_cache = true,
                "private" => said.is_private = true,
                "public" => said.is_public = true,
                "must-revalidate" | "proxy-revalidate" => said.must_revalidate = true,
                "max-age" => said.max_age = Some(least(said.max_age, seconds())),
                "s-maxage" => said.shared_age = Some(least(said.shared_age, seconds())),
                _ => {}
            }
        }
        if said.max_age.is_none()
            && let Some(expires) = headers.get(header::EXPIRES)
        {
            let until = expires.to_str().ok().and_then(|text| httpdate::parse_http_date(text).ok());
            let left = until.and_then(|until| until.duration_since(SystemTime::now()).ok());
            said.max_age = Some(left.map_or(0, |left| left.as_secs()));
            return said;
        }
        let age =
            headers.get(header::AGE).and_then(|age| age.to_str().ok()?.trim().parse().ok()).unwrap_or(0);
        said.max_age = said.max_age.map(|seconds| seconds.saturating_sub(age));
        said.shared_age = said.shared_age.map(|seconds| seconds.saturating_sub(age));
        said
    }
}

fn least(known: Option<u64>, other: u64) -> u64 {
    known.map_or(other, |known| known.min(other))
}

impl Caching {
    /// Nothing is heard yet; the answer is made of these fields of the client's in any case, and of who calls where it
    /// `tells_who`.
    pub(super) fn new(varies_by: &[HeaderName], tells_who: bool) -> Self {
        // A template may put who calls, or the client's credentials, where no part's fields tell of them: into a path, of which
        // a part may say with reason that everybody may have it.
        let is_private =
            tells_who || varies_by.iter().any(|name| [header::AUTHORIZATION, header::COOKIE].contains(name));
        Self { vary: varies_by.to_vec(), is_public: true, is_private, ..Self::default() }
    }

    /// Hears the head of a part: whether it was asked for with the client's credentials, and which fields of its request
    /// were the client's.
    pub(super) fn hear(
        &mut self,
        headers: &HeaderMap,
        has_credentials: bool,
        is_clients: impl Fn(&HeaderName) -> bool,
    ) {
        let said = Said::of(headers);
        self.heard = true;
        self.no_store |= said.no_store;
        self.no_cache |= said.no_cache;
        self.must_revalidate |= said.must_revalidate;
        let is_for_all = said.is_public || said.shared_age.is_some();
        self.is_private |= said.is_private || (has_credentials && !is_for_all);
        self.is_public &= is_for_all;
        if let Some(seconds) = said.shared_age.or(said.max_age) {
            self.shared_age = Some(least(self.shared_age, seconds));
        }
        if let Some(seconds) = said.max_age {
            self.max_age = Some(least(self.max_age, seconds));
        }
        for name in headers.get_all(header::VARY).iter().filter_map(|value| value.to_str().ok()) {
            for name in name.split(',').map(str::trim).filter(|name| !name.is_empty()) {
                self.varies_by_all |= name == "*";
                let Ok(name) = HeaderName::try_from(name) else { continue };
                if is_clients(&name) && !self.vary.contains(&name) {
                    self.vary.push(name);
                }
            }
        }
    }

    /// What was heard is for nobody but whoever calls.
    pub(super) fn keep_from_others(&mut self) {
        self.is_private = true;
    }

    /// Says it.
    pub(super) fn tell(&self, headers: &mut HeaderMap) {
        if let Some(said) = self.said()
            && let Ok(value) = HeaderValue::try_from(said)
        {
            headers.insert(header::CACHE_CONTROL, value);
        }
        let mut names: Vec<&str> = self.vary.iter().map(HeaderName::as_str).collect();
        if self.varies_by_all {
            names = vec!["*"];
        }
        if let (false, Ok(value)) = (names.is_empty(), HeaderValue::try_from(names.join(", "))) {
            headers.insert(header::VARY, value);
        }
    }

    fn said(&self) -> Option<String> {
        if self.no_store {
            return Some("no-store".to_owned());
        }
        let mut said: Vec<String> = Vec::new();
        let flags = [
            (self.is_private, "private"),
            (self.heard && self.is_public && !self.is_private, "public"),
            (self.no_cache, "no-cache"),
            (self.must_revalidate, "must-revalidate"),
        ];
        said.extend(flags.iter().filter(|flag| flag.0).map(|flag| flag.1.to_owned()));
        said.extend(self.max_age.map(|seconds| format!("max-age={seconds}")));
        if let Some(seconds) =
            self.shared_age.filter(|seconds| Some(*seconds) != self.max_age && !self.is_private)
        {
            said.push(format!("s-maxage={seconds}"));
        }
        (!said.is_empty()).then(|| said.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        fields
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect()
    }

    /// What is said of these parts, each with whether it was asked for with credentials.
    fn said(parts: &[(&[(&'static str, &'static str)], bool)]) -> (String, String) {
        let mut caching = Caching::new(&[], false);
        for (fields, has_credentials) in parts {
            caching.hear(&part(fields), *has_credentials, |name| name != header::ACCEPT);
        }
        let mut headers = HeaderMap::new();
        caching.tell(&mut headers);
        let text = |name| {
            headers.get(name).map_or("", |value: &HeaderValue| value.to_str().unwrap_or("?")).to_owned()
        };
        (text(header::CACHE_CONTROL), text(header::VARY))
    }

    #[test]
    fn the_whole_holds_no_longer_than_its_parts() {
        let control = |value: &'static str| [("cache-control", value)];
        let check = |parts: &[(&[(&'static str, &'static str)], bool)], want: &str| {
            assert_eq!(said(parts).0, want, "{parts:?}");
        };
        check(&[(&[], false)], "");
        check(&[(&control("max-age=60"), false), (&control("max-age=5"), false), (&[], false)], "max-age=5");
        check(&[(&control("max-age=60"), false), (&control("no-store"), false)], "no-store");
        check(
            &[(&control("public, max-age=60"), false), (&control("Private"), false)],
            "private, max-age=60",
        );
        check(&[(&[("cache-control", "max-age=60"), ("age", "50")], false)], "max-age=10");
        check(&[(&control("max-age=oh"), false)], "max-age=0");
        check(&[(&[("expires", "0")], false)], "max-age=0");
        check(
            &[(&control("s-maxage=9, max-age=60"), false), (&control("public, max-age=30"), false)],
            "public, max-age=30, s-maxage=9",
        );
        check(&[(&control("no-cache, must-revalidate"), false)], "no-cache, must-revalidate");
        // Who was asked for with the client's credentials is for that client, unless it says otherwise.
        check(&[(&[], true)], "private");
        check(&[(&control("max-age=60"), true)], "private, max-age=60");
        check(&[(&control("public, max-age=60"), true)], "public, max-age=60");
    }

    #[test]
    fn the_whole_varies_by_what_came_from_the_client() {
        let vary = |value: &'static str| [("vary", value)];
        let both = [(&vary("Accept-Language, accept")[..], false), (&vary("x-tenant")[..], false)];
        assert_eq!(said(&both).1, "accept-language, x-tenant");
        assert_eq!(said(&[(&vary("*"), false)]).1, "*");
    }
}
