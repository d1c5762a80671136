//! Chains: the policies of one owner in the order of their phases, and how several owners' chains run as one.
//!
//! What runs for a call is the union of four chains: the listener's, the route's (which holds the global ones), and
//! once authentication has found a consumer, the consumer's. Phase comes first, then owner, then the order in the
//! file. Policies that configure one thing ([`most_specific_wins`]) run only for the most specific owner.

use std::sync::Arc;

use http::Response;
use model::{Phase, Policy as Settings, PolicyUse};

use super::{Flow, Policy, Verdict};
use crate::{body::Body, call::Call, compiled::Building, failure::Failure};

/// One compiled policy and where it came from.
pub(crate) struct Link {
    pub(crate) phase: Phase,
    pub(crate) kind: &'static str,
    pub(crate) owner: Arc<str>,
    pub(crate) policy: Arc<dyn Policy>,
}

/// The policies of one owner, in the order of their phases.
#[derive(Default)]
pub(crate) struct Chain {
    pub(crate) links: Vec<Link>,
}

/// How far a call has come in each of its chains.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Progress {
    listener: usize,
    route: usize,
    consumer: usize,
}

/// How a request's way through its policies ended.
pub(crate) enum Passed {
    /// All let it through.
    Through,
    /// One answered.
    Answered(Box<Response<Body>>),
}

/// Whether a policy of this kind at a more specific place replaces one at a more general place. Those that judge
/// or limit add up instead: what an operator sets globally, a route cannot lift.
fn most_specific_wins(kind: &str) -> bool {
    matches!(kind, "cors" | "compress" | "decompress" | "deprecation" | "faultInjection")
}

impl Chain {
    /// Builds the policies of one owner.
    pub(crate) fn compile(uses: &[PolicyUse], owner: &str, cx: &Building<'_>) -> Result<Self, String> {
        let mut links = Vec::with_capacity(uses.len());
        for (index, used) in uses.iter().enumerate() {
            let settings = cx
                .snapshot
                .policy(used)
                .ok_or_else(|| format!("{owner}: policies[{index}] names no policy"))?;
            let owner: Arc<str> = match used {
                PolicyUse::Shared(shared) => format!("policies/{}", shared.name).into(),
                PolicyUse::Inline(_) => owner.into(),
            };
            links.push(Link::compile(settings, owner, index, cx)?);
        }
        links.sort_by_key(|link| link.phase);
        Ok(Self { links })
    }

    /// A route's chain with the global one in front of it.
    pub(crate) fn under(self, global: &Self) -> Self {
        let own = self.links;
        let mut links: Vec<Link> = global
            .links
            .iter()
            .filter(|link| !most_specific_wins(link.kind) || !own.iter().any(|other| other.kind == link.kind))
            .map(Link::share)
            .collect();
        links.extend(own);
        links.sort_by_key(|link| link.phase);
        Self { links }
    }

    fn has(&self, kind: &str) -> bool {
        self.links.iter().any(|link| link.kind == kind)
    }
}

impl Link {
    fn compile(
        settings: &Settings,
        owner: Arc<str>,
        index: usize,
        cx: &Building<'_>,
    ) -> Result<Self, String> {
        let kind = settings.name();
        let building = cx.of(&format!("{owner}/{kind}"));
        let policy = super::compile(settings, &building)
            .map_err(|error| format!("{owner}: policies[{index}].{kind}: {error}"))?;
        Ok(Self { phase: settings.phase(), kind, owner, policy })
    }

    fn share(&self) -> Self {
        Self { phase: self.phase, kind: self.kind, owner: self.owner.clone(), policy: self.policy.clone() }
    }
}

/// Name and owner of the policies of a listener and a route, in the order in which they run.
pub(crate) fn order(listener: &Chain, route: &Chain) -> Vec<(String, String)> {
    let own = listener.links.iter().filter(|link| !most_specific_wins(link.kind) || !route.has(link.kind));
    let mut links: Vec<&Link> = own.chain(&route.links).collect();
    links.sort_by_key(|link| link.phase);
    links.into_iter().map(|link| (link.kind.to_owned(), link.owner.to_string())).collect()
}

/// The chains that a call runs through, of one snapshot.
struct Chains {
    plan: crate::worker::Plan,
    peer: std::rc::Rc<crate::conn::peer::Peer>,
    route: Option<usize>,
    consumer: Option<Arc<crate::consumer::Consumer>>,
}

impl Chains {
    fn of(call: &Call) -> Self {
        Self {
            plan: call.plan.clone(),
            peer: call.peer.clone(),
            route: call.route,
            consumer: call.consumer.clone(),
        }
    }

    fn route(&self) -> &[Link] {
        self.route.and_then(|route| self.plan.routes.get(route)).map_or(&[], |route| &route.chain.links)
    }

    fn listener(&self) -> &[Link] {
        &self.plan.listener(&self.peer.listener).chain.links
    }

    fn consumer(&self) -> &[Link] {
        self.consumer.as_ref().map_or(&[], |consumer| &consumer.chain.links)
    }

    /// Whether a listener's link gives way to a route's of the same kind.
    fn is_replaced(&self, link: &Link) -> bool {
        most_specific_wins(link.kind)
            && self
                .route
                .and_then(|route| self.plan.routes.get(route))
                .is_some_and(|route| route.chain.has(link.kind))
    }
}

/// Runs the request phases.
pub(crate) async fn request(call: &mut Call, body: &mut Body) -> Result<Passed, Failure> {
    let mut chains = Chains::of(call);
    if chains.route().is_empty() && chains.listener().is_empty() {
        return Ok(Passed::Through);
    }
    loop {
        if chains.consumer.is_none() && call.consumer.is_some() {
            chains.consumer = call.consumer.clone();
        }
        let progress = &mut call.chain;
        let listener = chains.listener().get(progress.listener);
        let route = chains.route().get(progress.route);
        let consumer = chains.consumer().get(progress.consumer);
        let phase = |link: Option<&Link>| link.map(|link| link.phase);
        let first = [phase(listener), phase(route), phase(consumer)].into_iter().flatten().min();
        let Some(first) = first else { return Ok(Passed::Through) };
        let link = if phase(listener) == Some(first) {
            progress.listener += 1;
            listener.filter(|link| !chains.is_replaced(link))
        } else if phase(route) == Some(first) {
            progress.route += 1;
            route
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
        match verdict {
            Verdict::Continue => {}
            Verdict::Answer(answer) => {
                call.record.stopped_by = Some(link.kind);
                return Ok(Passed::Answered(answer));
            }
            Verdict::Fail(failure) => {
                call.record.stopped_by = Some(link.kind);
                return Err(failure);
            }
        }
    }
}

/// Runs the response phases of what the request came past, in reverse.
pub(crate) fn response(call: &mut Call, answer: &mut Response<Body>) {
    let mut progress = std::mem::take(&mut call.chain);
    if progress.listener + progress.route + progress.consumer == 0 {
        return;
    }
    let chains = Chains::of(call);
    loop {
        let last = |links: &'_ [Link], at: usize| {
            at.checked_sub(1).and_then(|at| links.get(at)).map(|link| link.phase)
        };
        let listener = last(chains.listener(), progress.listener);
        let route = last(chains.route(), progress.route);
        let consumer = last(chains.consumer(), progress.consumer);
        let Some(phase) = [listener, route, consumer].into_iter().flatten().max() else { return };
        let link = if consumer == Some(phase) {
            progress.consumer -= 1;
            chains.consumer().get(progress.consumer)
        } else if route == Some(phase) {
            progress.route -= 1;
            chains.route().get(progress.route)
        } else {
            progress.listener -= 1;
            chains.listener().get(progress.listener).filter(|link| !chains.is_replaced(link))
        };
        if let Some(link) = link {
            link.policy.response(call, answer);
        }
    }
}

/// Runs an upstream's own chain, which comes after the choice of a backend.
pub(crate) async fn upstream_request(
    chain: &Chain,
    call: &mut Call,
    body: &mut Body,
) -> Result<Passed, Failure> {
    for link in &chain.links {
        let verdict = match link.policy.request(call, body) {
            Flow::Continue => continue,
            Flow::Answer(answer) => Verdict::Answer(answer),
            Flow::Fail(failure) => Verdict::Fail(failure),
            Flow::Wait(future) => future.await,
        };
        match verdict {
            Verdict::Continue => {}
            Verdict::Answer(answer) => return Ok(Passed::Answered(answer)),
            Verdict::Fail(failure) => {
                call.record.stopped_by = Some(link.kind);
                return Err(failure);
            }
        }
    }
    Ok(Passed::Through)
}
