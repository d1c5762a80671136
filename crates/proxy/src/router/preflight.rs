//! Whose a CORS preflight is: the route's that takes the request after it, where that one answers preflights.
//!
//! A wider route that takes every method knows nothing of what a browser waits for. A rule that is there for `OPTIONS` or for
//! preflights has them for itself.

use http::{HeaderMap, Method, header};

use super::{
    Captures, Found, RequestView, RouteId, Router,
    rule::{Rule, Verdict},
};

/// Whether it is a preflight (the Fetch standard).
pub(crate) fn is_preflight(method: &Method, headers: &HeaderMap) -> bool {
    *method == Method::OPTIONS
        && headers.contains_key(header::ORIGIN)
        && headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
}

impl Router {
    /// The method that the route of a preflight is found by in place of its own; nothing when this is none, or is for the route
    /// that takes `OPTIONS`. `answers` says whether a route answers preflights.
    pub(crate) fn stands_for(
        &self,
        request: &RequestView<'_>,
        answers: impl Fn(RouteId) -> bool,
    ) -> Option<Method> {
        if !is_preflight(request.method, request.headers) {
            return None;
        }
        let asked = request.headers.get(header::ACCESS_CONTROL_REQUEST_METHOD)?;
        let asked = Method::from_bytes(asked.as_bytes()).ok()?;
        if self.is_for_itself(request) {
            return None;
        }
        let next = RequestView { method: &asked, ..*request };
        match self.find(&next, &mut Captures::default()) {
            Found::Route { id, .. } if answers(id) => Some(asked),
            _ => None,
        }
    }

    /// Whether the rule that takes a preflight wants it as such, and does not take it as one request of any method.
    fn is_for_itself(&self, preflight: &RequestView<'_>) -> bool {
        let mut is_own = false;
        self.visit(preflight, &mut |index, ranges| {
            let rule = &self.rules[index as usize];
            let takes =
                rule.takes_method(preflight.method) && rule.judge(preflight, ranges, self) == Verdict::Match;
            is_own = takes && names_preflights(rule);
            takes
        });
        is_own
    }
}

/// Whether a rule that takes a preflight names `OPTIONS`, or looks at what only preflights have.
fn names_preflights(rule: &Rule) -> bool {
    let asked = header::ACCESS_CONTROL_REQUEST_METHOD;
    let is_named =
        |text: &str| text.contains("OPTIONS") || text.to_ascii_lowercase().contains(asked.as_str());
    !rule.methods.is_empty()
        || rule.headers.iter().any(|test| *test.name() == asked)
        || rule.when.as_ref().is_some_and(|(text, _)| is_named(text))
}
