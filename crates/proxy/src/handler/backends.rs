//! `backends`: one of several upstreams by weight, or the one that the client is tied to.

pub(crate) mod steer;
mod sticky;

use std::{rc::Rc, sync::Arc, time::Duration};

use http::Response;
use model::resource::route::{Backend, Route, Sticky as StickySettings};
use resilience::balance::{WeightedCycle, pull};

use self::sticky::Sticky;
use crate::{
    body::Body,
    call::{Call, Upgrade},
    compiled::Building,
    failure::{Failure, Problem, Stage},
    guard,
    policy::{Passed, chain, rewrite::SentHost},
    upstream::{Effort, Upstream, tries},
    worker::Worker,
};

/// Weighted upstreams.
pub(crate) struct Backends {
    targets: Vec<Target>,
    /// Kept over reloads while the weights stay as they are, so that shares stay exact.
    cycle: Arc<WeightedCycle>,
    sticky: Option<Sticky>,
    host_header: Option<String>,
    websocket: bool,
}

/// One upstream as this route uses it.
pub(crate) struct Target {
    pub(crate) upstream: Arc<Upstream>,
    pub(crate) effort: Effort,
    /// Its share against the others; nobody is sent to one without any, or stays there.
    pub(crate) weight: u32,
}

impl Backends {
    /// Whether HTTP/2 is spoken to all of them.
    pub(crate) fn are_all_http2(&self) -> bool {
        self.targets.iter().all(|target| target.upstream.is_http2())
    }

    pub(crate) fn compile(
        route: &Route,
        backends: &[Backend],
        sticky: Option<&StickySettings>,
        cx: &Building<'_>,
    ) -> Result<Self, (&'static str, String)> {
        let mut targets = Vec::with_capacity(backends.len());
        for (index, backend) in backends.iter().enumerate() {
            let upstream = cx.upstreams.get(backend.upstream.as_str()).ok_or_else(|| {
                ("backends", format!("[{index}].upstream: no upstream `{}`", backend.upstream))
            })?;
            let timeouts = route.timeouts.apply(&upstream.settings.timeouts);
            let retry = route.retry.apply(&upstream.settings.retry);
            targets.push(Target {
                upstream: upstream.clone(),
                weight: backend.weight,
                effort: Effort::new(&timeouts, &retry, upstream.settings.hedging.as_ref()),
            });
        }
        let weights: Vec<u32> = backends.iter().map(|backend| backend.weight).collect();
        if weights.iter().all(|weight| *weight == 0) {
            return Err(("backends", "at least one needs a weight above 0".into()));
        }
        let cycle = cx.keep("backends", &weights, || WeightedCycle::new(&weights));
        let sticky = sticky.map(|settings| Sticky::compile(settings, cx)).transpose();
        let sticky = sticky.map_err(|error| ("sticky", error))?;
        Ok(Self {
            targets,
            cycle,
            sticky,
            host_header: route.host_header.clone(),
            websocket: route.websocket,
        })
    }

    /// What it is, in words, for an explanation.
    pub(super) fn explain(&self) -> String {
        super::asks("backends", self.upstreams())
    }

    /// The upstreams that it asks.
    pub(super) fn upstreams(&self) -> Vec<&Arc<Upstream>> {
        self.targets.iter().map(|target| &target.upstream).collect()
    }

    pub(crate) async fn handle(
        &self,
        worker: &Rc<Worker>,
        call: &mut Call,
        mut body: Body,
    ) -> Result<Response<Body>, Failure> {
        if matches!(call.upgrade, Some(Upgrade::Connection | Upgrade::Stream)) && !self.websocket {
            return Err(Failure::client(Stage::Guard, Problem::NotImplemented)
                .with_hint("this route does not take WebSocket connections"));
        }
        let steered = steer::take(call);
        let tied = self.sticky.as_ref().and_then(|sticky| sticky.tied(call));
        let target = match tied.as_ref().and_then(|tied| tied.upstream.as_deref()) {
            Some(name) => self.takers().find(|target| &*target.upstream.name == name),
            None => None,
        };
        let hash = tied.as_ref().and_then(|tied| tied.hash);
        // Whose turn it is among the others is not asked for a call that is not theirs.
        let target = steered.as_deref().or(target).or_else(|| self.choose(hash));
        let Some(target) = target else {
            return Err(Failure::gateway(Stage::Pick, Problem::NoHealthyEndpoint)
                .with_retry_after(Duration::from_secs(1)));
        };
        call.record.upstream = Some(target.upstream.name.clone());
        if call.upgrade == Some(Upgrade::Connect) && target.upstream.is_http2() {
            return Err(Failure::gateway(Stage::Pick, Problem::NotImplemented)
                .with_hint("CONNECT goes to upstreams of HTTP/1.1 alone, and this one speaks HTTP/2"));
        }
        if let Passed::Answered(response) =
            chain::upstream_request(&target.upstream.chain, call, &mut body).await?
        {
            return Ok(*response);
        }
        if let Some(consumer) = &call.consumer {
            call.record.consumer = Some(consumer.name.clone());
        }
        self.host(call, &target.upstream);
        let wish = tries::Wish {
            endpoint: tied.as_ref().and_then(|tied| tied.endpoint.clone()),
            hash: hash.or_else(|| tries::hash_of(call, &target.upstream)),
        };
        let mut response = tries::forward(worker, call, target, &wish, body).await?;
        guard::clean_answer(&mut response);
        if let Some(sticky) = &self.sticky {
            sticky.tie(call, tied.as_ref(), &target.upstream.name, &mut response);
        }
        Ok(response)
    }

    /// Those that take calls at all.
    fn takers(&self) -> impl Iterator<Item = &Target> {
        self.targets.iter().filter(|target| target.weight > 0)
    }

    /// The one whose turn it is, or that a hash falls to.
    fn choose(&self, hash: Option<u64>) -> Option<&Target> {
        let Some(hash) = hash else { return self.targets.get(self.cycle.next().unwrap_or(0)) };
        let pull = |target: &Target| pull(hash, &target.upstream.name, target.weight);
        self.takers().max_by(|one, other| pull(one).total_cmp(&pull(other)))
    }

    /// States the host that the upstream is asked for.
    fn host(&self, call: &mut Call, upstream: &Upstream) {
        if call.head.extensions.get::<SentHost>().is_some() {
            call.host_from_endpoint = false;
            return;
        }
        let wanted = self.host_header.as_deref().unwrap_or(&upstream.settings.host_header);
        if wanted != "preserve"
            && wanted != "upstream"
            && let Ok(value) = http::HeaderValue::from_str(wanted)
        {
            call.head.headers.insert(http::header::HOST, value);
        }
        call.host_from_endpoint = wanted == "upstream";
    }
}
