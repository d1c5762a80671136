//! `strangler`: moves paths from an old system to new services, step by step.
//!
//! It says where a call goes, and the route's handler sends it there as it would to an upstream of its own. Callers are told
//! apart by a hash that every gateway computes alike: whoever is below the share has moved, so that a larger share moves
//! further callers and none back.

mod key;
pub(crate) mod report;

use std::{sync::Arc, time::Instant};

use http::{HeaderName, HeaderValue, Method, Response, header};
use model::{
    Moved,
    policy::strangler::{StranglerFallback, StranglerOverride, StranglerRule},
    resource::route::Handler,
};
use resilience::cutover::{Cutover, CutoverSettings};

use self::{
    key::Key,
    report::{Progress, Standing},
};
use super::{Flow, Needs, NeedsOf, Policy, facts::facts};
use crate::{
    body::Body,
    call::{Call, GRPC_STATUS},
    compiled::Building,
    expression::{Expression, Scope},
    failure::{Problem, Side},
    handler::backends::{Target, steer},
    protected::of_expression,
    router::PathTest,
    upstream::{Effort, Upstream},
};

/// The compiled policy.
pub(crate) struct Strangler {
    rules: Vec<Rule>,
    key: Key,
    choice: Option<Choice>,
}

struct Rule {
    name: Arc<str>,
    path: PathTest,
    methods: Vec<Method>,
    target: Arc<Target>,
    standing: Arc<Standing>,
    /// For people.
    words: String,
}

/// Who may choose a side, and how.
struct Choice {
    header: HeaderName,
    when: Option<Expression>,
}

/// What the request phase leaves: where the call is sent, and since when.
struct Sent {
    rule: usize,
    at: Instant,
    is_new: bool,
}

/// A call that the new service has not answered yet. Where the client leaves before, it is dropped with the call.
struct Awaited {
    standing: Option<Arc<Standing>>,
    at: Instant,
}

impl Drop for Awaited {
    fn drop(&mut self) {
        if let Some(standing) = self.standing.take() {
            standing.left(self.at, Instant::now());
        }
    }
}

/// The cookie that a caller is given.
struct Given(HeaderValue);

impl Strangler {
    pub(crate) fn compile(settings: &model::policy::Strangler, cx: &Building<'_>) -> Result<Self, String> {
        let route = cx
            .owner
            .strip_prefix("routes/")
            .and_then(|rest| rest.rsplit_once('/'))
            .and_then(|(name, _)| cx.snapshot.config.routes.iter().find(|route| route.name == name));
        let route =
            route.ok_or("it moves the paths of one route, and stands in that route's own `policies`")?;
        if !matches!(route.handler, Handler::Backends { .. }) {
            return Err("the old system is the route's `backends`, and this route has none".into());
        }
        let mut rules = Vec::with_capacity(settings.rules.len());
        for (index, rule) in settings.rules.iter().enumerate() {
            let fallback = rule.fallback.as_ref().or(settings.fallback.as_ref());
            let compiled = Rule::compile(rule, fallback, route, cx);
            rules.push(compiled.map_err(|error| format!("rules[{index}]: {error}"))?);
        }
        Ok(Self {
            rules,
            key: Key::compile(&settings.sticky, settings.seed.as_deref().unwrap_or(&route.name)),
            choice: settings.choice.as_ref().map(Choice::compile).transpose()?,
        })
    }

    fn rule(&self, method: &Method, path: &str) -> Option<(usize, &Rule)> {
        let fits = |rule: &Rule| {
            (rule.methods.is_empty() || rule.methods.contains(method)) && rule.path.accepts(path)
        };
        self.rules.iter().enumerate().find(|(_, rule)| fits(rule))
    }
}

impl Choice {
    fn compile(settings: &StranglerOverride) -> Result<Self, String> {
        let condition = |text: &String| {
            Expression::condition(text, Scope::Call).map_err(|error| format!("`override.when`: {error}"))
        };
        Ok(Self {
            header: settings.header.to_http(),
            when: settings.when.as_ref().map(condition).transpose()?,
        })
    }

    /// Whether the call is to be on the new side, where it may say so.
    fn of(&self, call: &Call) -> Option<bool> {
        let is_new = match call.head.headers.get(&self.header)?.as_bytes() {
            b"new" => true,
            b"old" => false,
            _ => return None,
        };
        self.when.as_ref().is_none_or(|when| when.eval_bool(&facts(call))).then_some(is_new)
    }
}

impl Rule {
    fn compile(
        settings: &StranglerRule,
        fallback: Option<&StranglerFallback>,
        route: &model::Route,
        cx: &Building<'_>,
    ) -> Result<Self, String> {
        let upstream = cx.upstreams.get(settings.to.as_str());
        let upstream = upstream.ok_or_else(|| format!("to: no upstream `{}`", settings.to))?;
        let own = &upstream.settings;
        let (timeouts, retry) = (route.timeouts.apply(&own.timeouts), route.retry.apply(&own.retry));
        let effort = Effort::new(&timeouts, &retry, own.hedging.as_ref());
        let method =
            |name: &String| Method::from_bytes(name.as_bytes()).map_err(|error| format!("methods: {error}"));
        let name: Arc<str> = settings.name.as_str().into();
        // What an operator has said stands over reloads, and so do counts; what was measured is about one service and its
        // thresholds.
        let progress = cx.keep(&format!("progress/{name}"), &(), Progress::default);
        let cutover = fallback.map(|fallback| {
            cx.keep(&format!("cutover/{name}"), &(&settings.to, fallback), || {
                Cutover::new(cutover(fallback), Instant::now())
            })
        });
        let standing = cx.keep(&format!("{}/{name}", report::KEPT), &(settings, fallback), || Standing {
            rule: name.clone(),
            to: upstream.name.clone(),
            configured: settings.percent.fraction(),
            progress,
            cutover,
        });
        let path = match &settings.path {
            Some(path) => serde_json::to_string(path).unwrap_or_default(),
            None => "any path".to_owned(),
        };
        Ok(Self {
            path: PathTest::compile(settings.path.as_ref()).map_err(|error| format!("path: {error}"))?,
            methods: settings.methods.iter().map(method).collect::<Result<_, _>>()?,
            target: Arc::new(Target { upstream: upstream.clone(), effort, weight: 1 }),
            words: format!(
                "rule `{name}` ({path}) has moved {} % of callers to `{}`",
                settings.percent.get(),
                settings.to
            ),
            standing,
            name,
        })
    }
}

fn cutover(settings: &StranglerFallback) -> CutoverSettings {
    CutoverSettings {
        failure_rate: settings.failure_rate.get(),
        slow_rate: settings.slow_rate.get(),
        slow: settings.slow_duration.get(),
        window: settings.window.get(),
        minimum_calls: settings.minimum_calls,
        wait: settings.wait.get(),
        ramp: settings.ramp.get(),
    }
}

impl NeedsOf for model::policy::Strangler {
    fn needs(&self) -> Needs {
        let choice = self.choice.iter();
        let headers = choice.flat_map(|choice| {
            let read = choice.when.as_deref().into_iter().flat_map(of_expression);
            read.chain([choice.header.to_http()]).collect::<Vec<_>>()
        });
        Needs::headers(headers.chain(key::headers(&self.sticky)))
    }
}

impl Policy for Strangler {
    fn leads_to(&self) -> Vec<Arc<Upstream>> {
        self.rules.iter().map(|rule| rule.target.upstream.clone()).collect()
    }

    fn explain(&self, method: &Method, path: &str) -> Vec<String> {
        self.rule(method, path).map(|(_, rule)| rule.words.clone()).into_iter().collect()
    }

    fn request<'a>(&'a self, call: &'a mut Call, _: &'a mut Body) -> Flow<'a> {
        let Some((index, rule)) = self.rule(&call.head.method, call.routed_path()) else {
            return Flow::Continue;
        };
        let (place, given) = self.key.place(call);
        if let Some(cookie) = given {
            call.keep(self, Given(cookie));
        }
        let choice = self.choice.as_ref().and_then(|choice| choice.of(call));
        let now = Instant::now();
        let (is_new, why) = rule.standing.side(place, choice, now);
        rule.standing.progress.sent(is_new);
        let side = if is_new { "new" } else { "old" };
        call.traffic().moved = Some(Moved { rule: rule.name.clone(), side, why });
        if is_new {
            steer::steer(call, &rule.target);
            call.keep(self, Awaited { standing: Some(rule.standing.clone()), at: now });
        }
        call.keep(self, Sent { rule: index, at: now, is_new });
        Flow::Continue
    }

    fn response(&self, call: &mut Call, answer: &mut Response<Body>) {
        if let Some(Given(cookie)) = call.take::<_, Given>(self) {
            answer.headers_mut().append(header::SET_COOKIE, cookie);
        }
        if let Some(mut awaited) = call.take::<_, Awaited>(self) {
            awaited.standing = None;
        }
        let Some(Sent { rule, at, is_new: true }) = call.take::<_, Sent>(self) else { return };
        let Some(rule) = self.rules.get(rule) else { return };
        // Somebody nearer to the client knew the answer, and the new service was not asked.
        if steer::is_waiting(call) {
            return;
        }
        let Some(is_failure) = failed(call, answer) else { return };
        rule.standing.ended(at, Instant::now(), is_failure);
    }
}

/// Whether the new service failed a call; none where that is not its doing.
fn failed(call: &Call, answer: &Response<Body>) -> Option<bool> {
    if let Some(failure) = &call.record.failure {
        let is_out = [Problem::NoHealthyEndpoint, Problem::CircuitOpen, Problem::BulkheadFull]
            .iter()
            .any(|problem| problem.slug() == failure.reason);
        return (failure.side == Side::Upstream
            || is_out
            || failure.reason == Problem::UpstreamStarting.slug())
        .then_some(true);
    }
    // gRPC tells of a failure in the head when nothing follows; a status behind messages comes too late for this.
    let grpc = answer.headers().get(GRPC_STATUS).map(HeaderValue::as_bytes);
    let is_grpc_failure = matches!(grpc, Some(b"2" | b"4" | b"13" | b"14" | b"15"));
    Some(answer.status().is_server_error() || is_grpc_failure)
}

#[cfg(test)]
mod tests;
