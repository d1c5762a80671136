//! Chains: the policies of one owner in the order of their phases, and how several owners' chains run as one.
//!
//! What runs for a call is the union of the listener's chain, the route's (which holds the global ones), and once
//! authentication has found a consumer, the consumer's. Phase comes first, then owner, then the order in the file.
//! Policies that configure one thing ([`Link::gives_way`]) run only for the most specific owner. The chain of the
//! upstream follows when a backend is picked; on the way out it is the first.

use std::sync::Arc;

use http::{HeaderName, Method, Response};
use model::{Finding, Phase, PolicyUse};

use super::{Flow, Policy, Verdict};
use crate::{
    body::Body,
    call::Call,
    compiled::Building,
    consumer::Consumer,
    failure::{Failure, Problem},
    handler::around,
    upstream::Upstream,
};

/// One compiled policy and where it came from.
pub(crate) struct Link {
    pub(crate) phase: Phase,
    pub(crate) kind: &'static str,
    /// One of this kind at a more specific place replaces it. Those that judge or limit add up instead: what an
    /// operator sets globally, a route cannot lift.
    gives_way: bool,
    /// It judges requests as they arrive from outside.
    judges_arrivals: bool,
    pub(crate) owner: Arc<str>,
    /// It comes from the global policies, in whatever chain it stands.
    is_global: bool,
    pub(crate) policy: Arc<dyn Policy>,
}

/// The owner of the global policies.
pub(crate) const GLOBAL: &str = "global";

/// The policies of one owner, in the order of their phases.
#[derive(Default)]
pub(crate) struct Chain {
    pub(crate) links: Vec<Link>,
    /// Request headers that these policies say who the caller is with.
    identity: Vec<HeaderName>,
    /// Of them, those that are other ones for other callers.
    of_callers: Vec<HeaderName>,
    /// Those that they find the caller by, and query parameters.
    credentials: Vec<HeaderName>,
    parameters: Vec<Box<str>>,
    /// Whether they may find out who calls.
    authenticates: bool,
}

/// What the chains that may follow those of a listener and a route say who the caller is with.
#[derive(Default)]
pub(crate) struct Beyond {
    identity: Vec<HeaderName>,
    credentials: Vec<HeaderName>,
    parameters: Vec<Box<str>>,
    authenticates: bool,
}

impl Beyond {
    /// Of the chains of a route's upstreams.
    pub(crate) fn of<'a>(chains: impl Iterator<Item = &'a Chain>) -> Self {
        let mut beyond = Self::default();
        for chain in chains {
            beyond.identity.extend_from_slice(&chain.identity);
            beyond.credentials.extend_from_slice(&chain.credentials);
            beyond.parameters.extend_from_slice(&chain.parameters);
            beyond.authenticates |= chain.authenticates;
        }
        beyond
    }
}

/// How far a call has come in each of its chains.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Progress {
    listener: usize,
    route: usize,
    consumer: usize,
    upstream: usize,
    /// Whether the consumer's policies take part: authentication was through, so that it will not change.
    has_consumer: bool,
}

impl Progress {
    /// Whether policies of an upstream have seen the call.
    pub(crate) fn is_beyond_choice(&self) -> bool {
        self.upstream > 0
    }
}

/// How a request's way through its policies ended.
pub(crate) enum Passed {
    /// All let it through.
    Through,
    /// All let it through, and some stand around its handler.
    Around,
    /// One answered.
    Answered(Box<Response<Body>>),
}

impl Chain {
    /// Builds the policies of one owner; `global` is the owner of those that every route has. What cannot be built
    /// is told, every one of them, and refuses the configuration: a chain that lacks it must never run.
    pub(crate) fn compile(
        uses: &[PolicyUse],
        owner: &str,
        cx: &Building<'_>,
        found: &mut Vec<Finding>,
    ) -> Self {
        let mut links = Vec::with_capacity(uses.len());
        let (mut identity, mut of_callers) = (Vec::new(), Vec::new());
        let (mut credentials, mut parameters) = (Vec::new(), Vec::new());
        let (is_global, is_consumers) = (owner == GLOBAL, owner.starts_with("consumers/"));
        let mut authenticates = false;
        for (index, used) in uses.iter().enumerate() {
            let (of, key) = match owner {
                GLOBAL => ("", format!("globalPolicies[{index}]")),
                owner => (owner, format!("policies[{index}]")),
            };
            let Some(settings) = cx.snapshot.policy(used) else {
                found.push(Finding::new(of, key, "names no policy"));
                continue;
            };
            let needs = super::needs(settings);
            if !needs.of_gateway {
                of_callers.extend_from_slice(&needs.identity);
            }
            identity.extend(needs.identity);
            if is_consumers {
                // Whatever a consumer's own policies set, they set because of who calls. Fields that HTTP itself gives a
                // meaning say something else for everybody else, and stay.
                identity.extend(needs.set.into_iter().filter(|name| !is_of_http(name)));
            }
            authenticates |= settings.phase() == Phase::Authentication;
            credentials.extend(settings.credential_headers().iter().map(model::HeaderName::to_http));
            parameters.extend(settings.credential_parameter().map(Box::<str>::from));
            let kind = settings.name();
            let is_upstream = owner.starts_with("upstreams/");
            let (owner, of, key): (Arc<str>, _, _) = match used {
                PolicyUse::Shared(shared) => {
                    let owner = format!("policies/{}", shared.name);
                    (owner.as_str().into(), owner, format!("policy.{kind}"))
                }
                PolicyUse::Inline(_) => (owner.into(), of.to_owned(), format!("{key}.{kind}")),
            };
            match super::compile(settings, &cx.of(&format!("{owner}/{kind}"))) {
                // Those of an upstream's own are not waited for: then nothing would be judged, and nobody told.
                Ok(policy) if is_upstream && policy.waits_for_answers() => {
                    let why =
                        "it judges whole answers, which no policy of an upstream does: put it on the routes";
                    found.push(Finding::new(of, key, why));
                }
                Ok(policy) => links.push(Link {
                    phase: settings.phase(),
                    kind,
                    gives_way: settings.gives_way(),
                    judges_arrivals: settings.judges_arrivals(),
                    owner,
                    is_global,
                    policy,
                }),
                Err(error) => found.push(Finding::new(of, key, error)),
            }
        }
        links.sort_by_key(|link| link.phase);
        Self { links, identity, of_callers, credentials, parameters, authenticates }
    }

    /// Request headers that these policies say who the caller is with.
    pub(crate) fn identity(&self) -> &[HeaderName] {
        &self.identity
    }

    /// Of them, those that are other ones for other callers: none by which the gateway itself is known.
    pub(crate) fn of_callers(&self) -> &[HeaderName] {
        &self.of_callers
    }

    /// A route's chain with the global one in front of it.
    pub(crate) fn under(self, global: &Self) -> Self {
        let own = self.links;
        let mut links: Vec<Link> = global
            .links
            .iter()
            .filter(|link| !link.gives_way || !own.iter().any(|other| other.kind == link.kind))
            .map(Link::share)
            .collect();
        links.extend(own);
        links.sort_by_key(|link| link.phase);
        Self {
            links,
            identity: [self.identity, global.identity.clone()].concat(),
            of_callers: [self.of_callers, global.of_callers.clone()].concat(),
            credentials: [self.credentials, global.credentials.clone()].concat(),
            parameters: [self.parameters, global.parameters.clone()].concat(),
            authenticates: self.authenticates || global.authenticates,
        }
    }

    /// Upstreams that its policies may have calls sent to in place of their route's own.
    pub(crate) fn leads_to(&self) -> Vec<Arc<Upstream>> {
        self.links.iter().flat_map(|link| link.policy.leads_to()).collect()
    }

    /// What its policies would do with a request, in words.
    pub(crate) fn explain(&self, method: &Method, path: &str) -> Vec<String> {
        self.links.iter().flat_map(|link| link.policy.explain(method, path)).collect()
    }

    fn has(&self, kind: &str) -> bool {
        has(&self.links, kind)
    }

    /// Whether one of its policies answers preflights.
    pub(crate) fn answers_preflights(&self) -> bool {
        self.links.iter().any(|link| link.phase == Phase::Cors)
    }
}

impl Link {
    fn share(&self) -> Self {
        Self {
            phase: self.phase,
            kind: self.kind,
            gives_way: self.gives_way,
            judges_arrivals: self.judges_arrivals,
            owner: self.owner.clone(),
            is_global: self.is_global,
            policy: self.policy.clone(),
        }
    }
}

/// Name and owner of the policies of a listener and a route, in the order in which they run.
pub(crate) fn order(listener: &Chain, route: &Chain) -> Vec<(String, String)> {
    let (global, own): (Vec<&Link>, Vec<&Link>) = route.links.iter().partition(|link| link.is_global);
    let stays = |link: &&Link, over: &dyn Fn(&str) -> bool| !link.gives_way || !over(link.kind);
    let of_route = |kind: &str| own.iter().any(|link| link.kind == kind);
    let global = global.into_iter().filter(|link| stays(link, &|kind| listener.has(kind)));
    let between = listener.links.iter().filter(|link| stays(link, &of_route));
    let mut links: Vec<&Link> = global.chain(between).chain(own.iter().copied()).collect();
    links.sort_by_key(|link| link.phase);
    links.into_iter().map(|link| (link.kind.to_owned(), link.owner.to_string())).collect()
}

/// The chains that a call runs through, of one snapshot.
struct Chains {
    plan: crate::worker::Plan,
    listener: usize,
    route: Option<usize>,
    consumer: Option<Arc<crate::consumer::Consumer>>,
}

impl Chains {
    fn of(call: &Call) -> Self {
        Self {
            plan: call.plan.clone(),
            listener: call.listener,
            route: call.route,
            consumer: call.consumer.clone(),
        }
    }

    fn route(&self) -> &[Link] {
        self.route.and_then(|route| self.plan.routes.get(route)).map_or(&[], |route| &route.chain.links)
    }

    fn listener(&self) -> &[Link] {
        self.plan.listeners.get(self.listener).map_or(&[], |listener| &listener.chain.links)
    }

    fn consumer(&self) -> &[Link] {
        self.consumer.as_ref().map_or(&[], |consumer| &consumer.chain.links)
    }

    /// Whether policies of the listener or the route may still find out who calls.
    fn still_authenticate(&self, progress: &Progress) -> bool {
        let next = [self.listener().get(progress.listener), self.route().get(progress.route)];
        next.into_iter().flatten().any(|link| link.phase <= Phase::Authentication)
    }

    /// Whether a link of the route's chain gives way to one of the same kind at a more specific place.
    fn is_replaced(&self, link: &Link) -> bool {
        link.gives_way
            && (has(self.consumer(), link.kind) || (link.is_global && has(self.listener(), link.kind)))
    }

    /// The same for a link of the listener's chain.
    fn is_replaced_on_listener(&self, link: &Link) -> bool {
        let of_route = |other: &Link| other.kind == link.kind && !other.is_global;
        link.gives_way && (has(self.consumer(), link.kind) || self.route().iter().any(of_route))
    }

    /// The chain of the upstream that was picked.
    fn upstream(&self, call: &Call) -> &[Link] {
        let name = call.record.upstream.as_ref();
        name.and_then(|name| self.plan.upstreams.get(name)).map_or(&[], |upstream| &upstream.chain.links)
    }
}

/// Whether a request's field is one that HTTP itself gives a meaning (RFC 9110, RFC 9111, Fetch).
fn is_of_http(name: &HeaderName) -> bool {
    const WHOLE: [&str; 16] = [
        "authorization",
        "cache-control",
        "cookie",
        "date",
        "expect",
        "from",
        "host",
        "max-forwards",
        "origin",
        "pragma",
        "priority",
        "range",
        "referer",
        "te",
        "user-agent",
        "via",
    ];
    const BEGINNINGS: [&str; 5] = ["accept", "access-control-", "content-", "if-", "sec-"];
    WHOLE.contains(&name.as_str()) || BEGINNINGS.iter().any(|begin| name.as_str().starts_with(begin))
}

fn has(links: &[Link], kind: &str) -> bool {
    links.iter().any(|link| link.kind == kind)
}

/// Removes what a client says about who it is: identity headers are set by policies or absent, from before
/// authentication on, so that nothing that counts, hashes or judges by them ever reads the client's own. Those of
/// upstreams and consumers are among them, whichever of these the call will come to.
pub(crate) fn forget_identity(call: &mut Call) {
    let plan = call.plan.clone();
    let Some(route) = call.route.and_then(|route| plan.routes.get(route)) else { return };
    let listener = plan.listeners.get(call.listener).map(|listener| &listener.chain);
    let (beyond, chains) = (&route.beyond, || listener.into_iter().chain([&route.chain]));
    let finds_callers = beyond.authenticates || chains().any(|chain| chain.authenticates);
    let of_consumers = plan.consumer_identity.iter().filter(|_| finds_callers);
    for name in chains().flat_map(|chain| &chain.identity).chain(&beyond.identity).chain(of_consumers) {
        let is_credential = chains().any(|chain| chain.credentials.contains(name));
        if !is_credential && !beyond.credentials.contains(name) {
            call.head.headers.remove(name);
        }
    }
}

/// Request headers in which the policies of a call's listener and route look for credentials, and those of the upstreams that
/// it may come to.
pub(crate) fn credential_headers(call: &Call) -> Vec<HeaderName> {
    let route = call.route.and_then(|route| call.plan.routes.get(route));
    let listener = call.plan.listeners.get(call.listener).map(|listener| &listener.chain);
    let chains = route.map(|route| &route.chain).into_iter().chain(listener);
    let beyond = route.into_iter().flat_map(|route| &route.beyond.credentials);
    let mut names: Vec<HeaderName> =
        chains.flat_map(|chain| &chain.credentials).chain(beyond).cloned().collect();
    names.sort_by(|one, other| one.as_str().cmp(other.as_str()));
    names.dedup();
    names
}

/// The query parameters in which they do.
pub(crate) fn credential_parameters(call: &Call) -> Vec<Box<str>> {
    let route = call.route.and_then(|route| call.plan.routes.get(route));
    let listener = call.plan.listeners.get(call.listener).map(|listener| &listener.chain);
    let chains = route.map(|route| &route.chain).into_iter().chain(listener);
    let beyond = route.into_iter().flat_map(|route| &route.beyond.parameters);
    let mut names: Vec<Box<str>> =
        chains.flat_map(|chain| &chain.parameters).chain(beyond).cloned().collect();
    names.sort();
    names.dedup();
    names
}

/// Request headers with which the policies of a call say who calls, credentials left out.
pub(crate) fn stated_identity(call: &Call) -> Vec<HeaderName> {
    let plan = call.plan.clone();
    let route = call.route.and_then(|route| plan.routes.get(route)).map(|route| &route.chain);
    let listener = plan.listeners.get(call.listener).map(|listener| &listener.chain);
    let chains = || route.into_iter().chain(listener);
    let all = chains().flat_map(|chain| &chain.identity).chain(&plan.consumer_identity);
    all.filter(|name| !chains().any(|chain| chain.credentials.contains(name))).cloned().collect()
}

/// Runs the request phases.
pub(crate) async fn request(call: &mut Call, body: &mut Body) -> Result<Passed, Failure> {
    let mut chains = Chains { consumer: None, ..Chains::of(call) };
    if chains.route().is_empty() && chains.listener().is_empty() && call.consumer.is_none() {
        return Ok(Passed::Through);
    }
    loop {
        if chains.consumer.is_none() && call.consumer.is_some() && !chains.still_authenticate(&call.chain) {
            // From here on the caller is counted with, and stays who it is.
            chains.consumer = call.consumer.clone();
            call.stands_in = false;
        }
        call.chain.has_consumer = chains.consumer.is_some();
        let progress = &mut call.chain;
        let listener = chains.listener().get(progress.listener);
        let route = chains.route().get(progress.route);
        let consumer = chains.consumer().get(progress.consumer);
        let phase = |link: Option<&Link>| link.map(|link| link.phase);
        let first = [phase(listener), phase(route), phase(consumer)].into_iter().flatten().min();
        let Some(first) = first else {
            return Ok(if around::is_any(call) { Passed::Around } else { Passed::Through });
        };
        // Within a phase: global, listener, route, consumer. The global ones stand first in the route's chain.
        let is_global = route.is_some_and(|link| link.phase == first && link.is_global);
        let link = if phase(listener) == Some(first) && !is_global {
            progress.listener += 1;
            listener.filter(|link| !chains.is_replaced_on_listener(link))
        } else if phase(route) == Some(first) {
            progress.route += 1;
            route.filter(|link| !chains.is_replaced(link))
        } else {
            progress.consumer += 1;
            consumer
        };
        let Some(link) = link else { continue };
        let verdict = match link.policy.request(call, body) {
            Flow::Continue => continue,
            Flow::Answer(answer) => Verdict::Answer(answer),
            Flow::Fail(failure) => Verdict::Fail(failure),
            Flow::Wait(future) => future.await,
        };
        if let Some(answer) = conclude(verdict, link, call)? {
            return Ok(Passed::Answered(answer));
        }
    }
}

/// Notes who stopped the call, when somebody did. Who knows the answer stops nobody.
fn conclude(verdict: Verdict, link: &Link, call: &mut Call) -> Result<Option<Box<Response<Body>>>, Failure> {
    match verdict {
        Verdict::Continue => Ok(None),
        Verdict::Answer(answer) => {
            if link.phase != Phase::Cache {
                call.record.stopped_by = Some(link.kind);
            }
            Ok(Some(answer))
        }
        Verdict::Fail(failure) => {
            call.record.stopped_by = Some(link.kind);
            Err(failure)
        }
    }
}

/// Runs the response phases of what the request came past, in reverse. A policy that takes time with the answer is
/// given back: it is to judge, and then this runs again for the others.
pub(crate) fn response(call: &mut Call, answer: &mut Response<Body>) -> Option<Arc<dyn Policy>> {
    let mut progress = std::mem::take(&mut call.chain);
    if progress.listener + progress.route + progress.consumer + progress.upstream == 0 {
        return None;
    }
    let mut chains = Chains::of(call);
    if !progress.has_consumer {
        chains.consumer = None;
    }
    for link in chains.upstream(call).iter().take(progress.upstream).rev() {
        link.policy.response(call, answer);
    }
    progress.upstream = 0;
    loop {
        let last = |links: &'_ [Link], at: usize| {
            at.checked_sub(1).and_then(|at| links.get(at)).map(|link| (link.phase, link.is_global))
        };
        let phase = |last: Option<(Phase, bool)>| last.map(|(phase, _)| phase);
        let listener = last(chains.listener(), progress.listener);
        let route = last(chains.route(), progress.route);
        let consumer = last(chains.consumer(), progress.consumer);
        let latest = [phase(listener), phase(route), phase(consumer)].into_iter().flatten().max();
        let latest = latest?;
        let link = if phase(consumer) == Some(latest) {
            progress.consumer -= 1;
            chains.consumer().get(progress.consumer)
        } else if route == Some((latest, false)) || phase(listener) != Some(latest) {
            progress.route -= 1;
            chains.route().get(progress.route).filter(|link| !chains.is_replaced(link))
        } else {
            progress.listener -= 1;
            chains.listener().get(progress.listener).filter(|link| !chains.is_replaced_on_listener(link))
        };
        if let Some(link) = link {
            if link.policy.waits_for_answers() {
                call.chain = progress;
                return Some(link.policy.clone());
            }
            link.policy.response(call, answer);
        }
    }
}

/// Runs the response phases, and waits for those that judge whole answers. What one of them fails with takes the answer's
/// place.
pub(crate) async fn judged(call: &mut Call, answer: &mut Response<Body>) -> Result<(), Failure> {
    while let Some(policy) = response(call, answer) {
        policy.judge(call, answer).await?;
    }
    Ok(())
}

/// Runs what a route itself judges and counts by, for a caller that another route has found out about: a tool of the
/// gateway's own. Whoever must be known there must be known here.
pub(crate) async fn within(chain: &Chain, call: &mut Call, body: &mut Body) -> Result<Passed, Failure> {
    let is_nobody = call.is_stranger || (call.consumer.is_none() && call.claims.is_none());
    if chain.authenticates && is_nobody {
        return Err(Failure::refused(Problem::Unauthenticated)
            .with_hint("this tool is for callers that say who they are, which its route does not ask them"));
    }
    for link in own_links(chain, call.consumer.clone().as_deref()) {
        call.chain.route += 1;
        let verdict = match link.policy.request(call, body) {
            Flow::Continue => continue,
            Flow::Answer(answer) => Verdict::Answer(answer),
            Flow::Fail(failure) => Verdict::Fail(failure),
            Flow::Wait(future) => future.await,
        };
        if let Some(answer) = conclude(verdict, link, call)? {
            return Ok(Passed::Answered(answer));
        }
    }
    Ok(Passed::Through)
}

/// Runs the response phases of what [`within`] came past, in reverse.
pub(crate) async fn within_response(
    chain: &Chain,
    call: &mut Call,
    answer: &mut Response<Body>,
) -> Result<(), Failure> {
    let consumer = call.consumer.clone();
    let passed: Vec<&Link> = own_links(chain, consumer.as_deref()).take(call.chain.route).collect();
    for link in passed.into_iter().rev() {
        match link.policy.waits_for_answers() {
            true => link.policy.judge(call, answer).await?,
            false => link.policy.response(call, answer),
        }
    }
    Ok(())
}

/// The links that are the route's own and are about neither who calls nor how the call arrived.
fn own_links<'c>(chain: &'c Chain, consumer: Option<&Consumer>) -> impl Iterator<Item = &'c Link> {
    let replaced =
        |link: &Link| link.gives_way && consumer.is_some_and(|consumer| consumer.chain.has(link.kind));
    let own = |link: &&Link| {
        !link.is_global
            && !link.judges_arrivals
            && !matches!(link.phase, Phase::Guard | Phase::Cors | Phase::Authentication)
    };
    chain.links.iter().filter(own).filter(|link| !replaced(link)).collect::<Vec<_>>().into_iter()
}

/// Runs an upstream's own chain, which comes after the choice of a backend, and the policies of a consumer that is
/// found there.
pub(crate) async fn upstream_request(
    chain: &Chain,
    call: &mut Call,
    body: &mut Body,
) -> Result<Passed, Failure> {
    let was_known = call.consumer.is_some();
    for link in &chain.links {
        call.chain.upstream += 1;
        let verdict = match link.policy.request(call, body) {
            Flow::Continue => continue,
            Flow::Answer(answer) => Verdict::Answer(answer),
            Flow::Fail(failure) => Verdict::Fail(failure),
            Flow::Wait(future) => future.await,
        };
        if let Some(answer) = conclude(verdict, link, call)? {
            return Ok(Passed::Answered(answer));
        }
    }
    match call.consumer.is_some() && !was_known {
        true => request(call, body).await,
        false => Ok(Passed::Through),
    }
}
