//! The beginning of a sign-in: who is sent to the provider, and what it is asked.

use http::{HeaderMap, HeaderValue, Method, header};
use model::policy::oidc::Unauthenticated;

use super::{
    Became, Inner, provider_away, seal, sent_to,
    session::{Login, challenge, is_own_path, now},
};
use crate::{
    call::Call,
    failure::{Failure, Problem, Stage},
    policy::Verdict,
};

impl Inner {
    /// Sends a browser to the provider, to come back to `target` in the end.
    pub(super) async fn begin(&self, call: &mut Call, target: &str) -> Verdict {
        let Some(known) = self.provider.known().await.filter(|known| !known.authorization.is_empty()) else {
            self.note(call, Became::Away);
            return Verdict::Fail(provider_away().with_detail("nothing is known yet about the provider"));
        };
        let Some(origin) = self.origin(call) else {
            return Verdict::Fail(
                Failure::client(Stage::Policy, Problem::BadRequest).with_hint("a host is needed"),
            );
        };
        let Some(login) = self.login(&origin, target) else {
            return Verdict::Fail(
                Failure::gateway(Stage::Policy, Problem::Internal).with_detail("no randomness"),
            );
        };
        let mut query = form_urlencoded::Serializer::new(String::new());
        query
            .append_pair("response_type", "code")
            .append_pair("client_id", &self.client.id)
            .append_pair("redirect_uri", &login.callback)
            .append_pair("scope", &self.scope)
            .append_pair("state", &login.state)
            .append_pair("nonce", &login.nonce)
            .append_pair("code_challenge", &challenge(&login.verifier))
            .append_pair("code_challenge_method", "S256");
        if let Some(age) = self.auth_max_age {
            query.append_pair("max_age", &age.as_secs().to_string());
        }
        query.extend_pairs(&self.parameters);
        let url = with_query(&known.authorization, &query.finish());
        let sealed = serde_json::to_vec(&login).ok().and_then(|text| self.seal.seal("login", &text));
        let Some(sealed) = sealed else {
            return Verdict::Fail(
                Failure::gateway(Stage::Policy, Problem::Internal).with_detail("no randomness"),
            );
        };
        let age = self.login_timeout.as_secs().max(1);
        let cookies = self.cookies.keep_login(&call.head.headers, &login.state, &sealed, age);
        self.write(call, cookies);
        self.note(call, Became::Begun);
        sent_to(&url)
    }

    fn login(&self, origin: &str, target: &str) -> Option<Login> {
        // What is not a path of this host is not gone to, nor one of the policy's own, which would begin all over.
        let path = target.split(['?', '#']).next().unwrap_or_default();
        let path = percent_encoding::percent_decode_str(path).decode_utf8_lossy();
        // A path that leads up may lead there, too, and so does one with more slashes than it needs.
        let merged: String =
            path.split('/').filter(|one| !one.is_empty()).flat_map(|one| ["/", one]).collect();
        let is_own = self.own(&merged).is_some() || path.contains("/.");
        let return_to = if is_own_path(target) && !is_own { target } else { "/" };
        Some(Login {
            state: seal::token()?,
            nonce: seal::token()?,
            verifier: seal::token()?,
            callback: format!("{origin}{}/callback", self.path),
            return_to: return_to.to_owned(),
            begun: now(),
        })
    }
}

/// An address with one more query.
pub(super) fn with_query(url: &str, query: &str) -> String {
    let separator = if url.contains('?') { '&' } else { '?' };
    format!("{url}{separator}{query}")
}

/// Whether the answer is to be a page that a browser shows, so that another page may stand in its place.
pub(super) fn is_for_a_page(call: &Call, choice: Unauthenticated) -> bool {
    if !matches!(call.head.method, Method::GET | Method::HEAD) || call.upgrade.is_some() {
        return false;
    }
    match choice {
        Unauthenticated::Redirect => true,
        Unauthenticated::Deny => false,
        Unauthenticated::Auto => navigates(&call.head.headers),
    }
}

fn navigates(headers: &HeaderMap) -> bool {
    let bytes = |name: &str| headers.get(name).map(HeaderValue::as_bytes);
    // What is fetched beforehand is looked at by nobody yet.
    if bytes("sec-purpose").is_some_and(|purpose| purpose.starts_with(b"prefetch")) {
        return false;
    }
    if let Some(mode) = bytes("sec-fetch-mode") {
        return mode == b"navigate";
    }
    if bytes("x-requested-with").is_some() {
        return false;
    }
    headers.get_all(header::ACCEPT).iter().any(|value| {
        value.as_bytes().split(|byte| *byte == b',').any(|kind| {
            let kind = kind.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
            kind.eq_ignore_ascii_case(b"text/html") || kind.eq_ignore_ascii_case(b"application/xhtml+xml")
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::testing::{call, with_header};

    #[test]
    fn a_browser_that_navigates_is_sent_and_a_script_is_told() {
        use Unauthenticated::{Auto, Deny, Redirect};
        let navigation = || with_header(call("GET", "/"), "sec-fetch-mode", "navigate");
        let html = || with_header(call("GET", "/"), "accept", "text/html,application/xhtml+xml,*/*;q=0.8");
        let script = || with_header(html(), "sec-fetch-mode", "cors");
        let jquery = || with_header(html(), "x-requested-with", "XMLHttpRequest");
        let posted = || with_header(call("POST", "/"), "sec-fetch-mode", "navigate");
        let early = || with_header(navigation(), "sec-purpose", "prefetch;prerender");
        for (call, choice, want) in [
            (navigation(), Auto, true),
            (html(), Auto, true),
            (script(), Auto, false),
            (jquery(), Auto, false),
            (posted(), Auto, false),
            (early(), Auto, false),
            (with_header(call("GET", "/"), "accept", "*/*"), Auto, false),
            (with_header(call("GET", "/"), "accept", "application/json"), Auto, false),
            (call("GET", "/"), Auto, false),
            (call("GET", "/"), Redirect, true),
            (posted(), Redirect, false),
            (navigation(), Deny, false),
        ] {
            let shown = format!("{choice:?} {:?}", call.head.headers);
            assert_eq!(is_for_a_page(&call, choice), want, "{shown}");
        }
    }
}
