//! One entry of a route's `match`, compiled: what a request must be beside its host and path.

use std::collections::BTreeSet;

use http::Method;
use model::{Cidr, Route, resource::route_match::Match};

use super::{
    RequestView, RouteId, Router,
    captures::{CapturesView, Ranges},
    host::HostPattern,
    pattern::Pattern,
    value::{HeaderTest, NamedTest},
};
use crate::{
    expression::{Expression, Facts, Scope},
    listener::forwarded::came_by_tls,
};

/// One entry of a route's `match`.
#[derive(Debug)]
pub(super) struct Rule {
    pub(super) route: RouteId,
    /// Which entry of the route's `match`.
    pub(super) entry: u16,
    pub(super) priority: i32,
    pub(super) hosts: Box<[HostPattern]>,
    pub(super) pattern: Pattern,
    /// By index of the listener; every listener when `None`.
    pub(super) listeners: Option<Box<[bool]>>,
    /// Every method when empty.
    pub(super) methods: Box<[Method]>,
    pub(super) headers: Box<[HeaderTest]>,
    pub(super) query: Box<[NamedTest]>,
    pub(super) cookies: Box<[NamedTest]>,
    pub(super) clients: Box<[Cidr]>,
    pub(super) sni: Box<[HostPattern]>,
    pub(super) when: Option<(Box<str>, Expression)>,
}

/// How a request stands to a rule whose host and path match.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Match,
    /// All but the method holds.
    OtherMethod,
    No,
}

/// A mistake in an entry: its key under the entry, and what is wrong.
pub(super) type Mistake = (String, String);

impl Rule {
    /// Compiles everything but the path pattern, which the caller has read.
    pub(super) fn compile(
        (id, route): (RouteId, &Route),
        (entry, settings): (u16, &Match),
        pattern: Pattern,
        hosts: Box<[HostPattern]>,
        listeners: Option<Box<[bool]>>,
    ) -> Result<Self, Vec<Mistake>> {
        let mut mistakes = Vec::new();
        let methods = each(&settings.methods, "methods", &mut mistakes, method);
        let headers = each(&settings.headers, "headers", &mut mistakes, HeaderTest::compile);
        let query = each(&settings.query, "query", &mut mistakes, NamedTest::compile);
        let cookies = each(&settings.cookies, "cookies", &mut mistakes, NamedTest::compile);
        let sni = each(&settings.sni, "sni", &mut mistakes, |text| HostPattern::compile(text));
        let mut when = None;
        if let Some(text) = &settings.when {
            match Expression::condition(text, Scope::Route { captures: &pattern.names }) {
                Ok(expression) => when = Some((text.as_str().into(), expression)),
                Err(message) => mistakes.push(("when".to_owned(), message)),
            }
        }
        if !mistakes.is_empty() {
            return Err(mistakes);
        }
        let clients = settings.client_address.clone().into();
        let priority = route.priority;
        Ok(Self {
            route: id,
            entry,
            priority,
            hosts,
            pattern,
            listeners,
            methods,
            headers,
            query,
            cookies,
            clients,
            sni,
            when,
        })
    }

    /// Judges everything but host and path, the cheap and likely first.
    pub(super) fn judge(&self, request: &RequestView<'_>, ranges: &Ranges, router: &Router) -> Verdict {
        let holds = self.takes_listener(request.listener)
            && self.takes_client(request)
            && self.takes_sni(request.sni)
            && self.headers.iter().all(|test| test.holds(request.headers))
            && self.query.iter().all(|test| test.holds_in_query(request.query))
            && self.cookies.iter().all(|test| test.holds_in_cookies(request.headers))
            && self.when_holds(request, ranges, router);
        match (holds, self.takes_method(request.method)) {
            (true, true) => Verdict::Match,
            (true, false) => Verdict::OtherMethod,
            (false, _) => Verdict::No,
        }
    }

    pub(super) fn takes_listener(&self, listener: usize) -> bool {
        self.listeners.as_ref().is_none_or(|listeners| listeners.get(listener).copied().unwrap_or(false))
    }

    pub(super) fn takes_method(&self, method: &Method) -> bool {
        self.methods.is_empty() || self.methods.contains(method)
    }

    pub(super) fn takes_client(&self, request: &RequestView<'_>) -> bool {
        self.clients.is_empty() || self.clients.iter().any(|network| network.contains(request.client))
    }

    pub(super) fn takes_sni(&self, sni: Option<&str>) -> bool {
        if self.sni.is_empty() {
            return true;
        }
        let lower = sni.map(str::to_ascii_lowercase);
        self.sni.iter().any(|pattern| pattern.matches(lower.as_deref()))
    }

    pub(super) fn when_holds(&self, request: &RequestView<'_>, ranges: &Ranges, router: &Router) -> bool {
        let Some((_, expression)) = &self.when else { return true };
        let captures = CapturesView { names: &self.pattern.names, ranges, path: request.path };
        expression.eval_bool(&Facts {
            method: request.method.as_str(),
            path: request.path,
            host: request.host.unwrap_or_default(),
            scheme: if came_by_tls(request.headers, request.tls) { "https" } else { "http" },
            query: request.query.unwrap_or_default(),
            headers: request.headers,
            client: request.client,
            listener: router.listeners.get(request.listener).map_or("", |name| name),
            sni: request.sni.unwrap_or_default(),
            consumer: None,
            claims: None,
            tool: None,
            captures,
            ai: None,
        })
    }

    /// Whether every request that the other takes is taken, given that host and path are; as far as it is plain
    /// to see.
    pub(super) fn covers_predicates(&self, other: &Self) -> bool {
        let listeners = match (&self.listeners, &other.listeners) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(own), Some(others)) => own.iter().zip(others).all(|(own, other)| *own || !*other),
        };
        let subset =
            |own: &[Method], others: &[Method]| !others.is_empty() && others.iter().all(|m| own.contains(m));
        let clients = |own: &[Cidr], others: &[Cidr]| {
            !others.is_empty() && others.iter().all(|other| own.iter().any(|own| own.covers(other)))
        };
        let sni = |own: &[HostPattern], others: &[HostPattern]| {
            !others.is_empty() && others.iter().all(|other| own.iter().any(|own| own.covers(other)))
        };
        listeners
            && (self.methods.is_empty() || subset(&self.methods, &other.methods))
            && self.headers.iter().all(|own| other.headers.iter().any(|other| own.covers(other)))
            && self.query.iter().all(|own| other.query.iter().any(|other| own.covers(other)))
            && self.cookies.iter().all(|own| other.cookies.iter().any(|other| own.covers(other)))
            && (self.clients.is_empty() || clients(&self.clients, &other.clients))
            && (self.sni.is_empty() || sni(&self.sni, &other.sni))
            && match (&self.when, &other.when) {
                (None, _) => true,
                (Some(_), None) => false,
                (Some((own, _)), Some((other, _))) => own == other,
            }
    }

    /// Adds the methods to those of an `Allow`.
    pub(super) fn allow<'a>(&'a self, methods: &mut BTreeSet<&'a str>) {
        methods.extend(self.methods.iter().map(Method::as_str));
    }

    /// What must hold beside host, path and methods, one line each.
    pub(super) fn describe_predicates(&self) -> Vec<String> {
        let mut lines = Vec::new();
        lines.extend(self.headers.iter().map(HeaderTest::describe));
        lines.extend(self.query.iter().map(|test| test.describe("query")));
        lines.extend(self.cookies.iter().map(|test| test.describe("cookie")));
        if !self.clients.is_empty() {
            lines.push(format!("client in {}", join(&self.clients)));
        }
        if !self.sni.is_empty() {
            lines.push(format!("sni {}", join(&self.sni)));
        }
        if let Some((text, _)) = &self.when {
            lines.push(format!("when {text}"));
        }
        lines
    }
}

/// The items, with commas between.
pub(super) fn join<T: ToString>(items: &[T]) -> String {
    items.iter().map(T::to_string).collect::<Vec<_>>().join(", ")
}

fn each<S, T>(
    settings: &[S],
    key: &str,
    mistakes: &mut Vec<Mistake>,
    compile: impl Fn(&S) -> Result<T, String>,
) -> Box<[T]> {
    let mut compiled = Vec::with_capacity(settings.len());
    for (at, settings) in settings.iter().enumerate() {
        match compile(settings) {
            Ok(item) => compiled.push(item),
            Err(message) => mistakes.push((format!("{key}[{at}]"), message)),
        }
    }
    compiled.into()
}

/// A method. Methods are case-sensitive; that a well-known one in small letters is meant in capitals is certain.
fn method(text: &String) -> Result<Method, String> {
    const KNOWN: [&str; 9] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"];
    let known = KNOWN.into_iter().find(|known| known.eq_ignore_ascii_case(text));
    Method::from_bytes(known.unwrap_or(text).as_bytes()).map_err(|_| format!("`{text}` is no method"))
}
