//! Plugins: WebAssembly components that are compiled when a configuration is loaded, and the way of calls through them.
//!
//! Bounds and the world of components are the crate `wasm`'s; here calls are shown to them, and what they want becomes of
//! calls is done. `policy/wasm.rs` and `handler/plugin_route.rs` say when.

mod outside;
mod report;
mod shown;

use std::{collections::HashMap, sync::Arc};

use bytes::Bytes;
use http::{Method, Response, header};
use model::{Finding, resource::plugin::Plugin as Settings};
use serde_json::json;
use wasm::{Answer, Component, Counters, Level, Limits, Plugin, Stopped, Uses, Verdict as Said};

pub(crate) use self::report::Report;
use self::{
    outside::World,
    report::{ANSWERED, METRIC, PASSED, outcome},
};
use crate::{
    body::Body,
    call::Call,
    compiled::Building,
    content,
    failure::{Failure, Problem, Stage},
    handler::ai::gathered::{Ungathered, gather},
    policy::{Verdict, counted::Counted, errand, held::Held},
};

/// Plugins, by name.
pub(crate) type Plugins = HashMap<Arc<str>, Arc<Loaded>>;

/// A plugin: its component, compiled, and what all of its instances share.
pub(crate) struct Loaded {
    component: Arc<Component>,
    digest: Arc<str>,
    limits: Limits,
    counters: Arc<Counters>,
}

/// Compiles all plugins. One whose file and bounds are as they were goes on as it was.
pub(crate) fn compile(cx: &Building<'_>, errors: &mut Vec<Finding>) -> Plugins {
    let mut plugins = Plugins::new();
    for settings in &cx.snapshot.config.plugins {
        let owner = format!("plugins/{}", settings.name);
        match load(settings, &cx.of(&owner)) {
            Ok(loaded) => {
                plugins.insert(settings.name.as_str().into(), Arc::new(loaded));
            }
            Err((key, error)) => errors.push(Finding::new(owner, key, error)),
        }
    }
    plugins
}

fn load(settings: &Settings, cx: &Building<'_>) -> Result<Loaded, (&'static str, String)> {
    let bytes = cx.snapshot.file(&settings.file);
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &bytes);
    let digest: String = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    let digest = format!("sha256:{digest}");
    if let Some(wanted) = settings.digest.as_ref().filter(|wanted| **wanted != digest) {
        return Err((
            "digest",
            format!(
                "`{}` is another file: expected `{wanted}`, found `{digest}`; write that, or bring back the file",
                settings.file
            ),
        ));
    }
    let limits = Limits {
        memory: settings.max_memory.get(),
        cpu: settings.cpu_time.get(),
        time: settings.timeout.get(),
        fetches: settings.max_requests,
        instances: settings.max_instances,
        reuse: settings.calls_per_instance,
    };
    // Whether it starts depends on these bounds.
    let terms = json!([&digest, settings.max_memory, settings.cpu_time, settings.timeout]);
    let component = cx.keep("component", &terms, || Component::load(&bytes, &limits).map(Arc::new));
    match &*component {
        Ok(component) => Ok(Loaded {
            component: component.clone(),
            digest: digest.into(),
            limits,
            counters: cx.keep("counters", &(), Counters::default),
        }),
        Err(error) => Err(("file", format!("`{}`: {error}", settings.file))),
    }
}

/// Which code a plugin runs.
pub(crate) fn digest<'p>(plugins: &'p Plugins, name: &str) -> Option<&'p str> {
    plugins.get(name).map(|loaded| &*loaded.digest)
}

/// How a policy or route uses a plugin.
pub(crate) struct Wanted<'s> {
    pub(crate) plugin: &'s str,
    pub(crate) config: &'s serde_json::Value,
    pub(crate) upstreams: &'s [String],
    pub(crate) bytes_max: usize,
}

/// A plugin, as a policy or route uses it.
pub(crate) struct Used {
    name: Arc<str>,
    place: Arc<str>,
    plugin: Arc<Plugin>,
    bytes_max: usize,
    counted: Arc<Counted>,
}

impl Used {
    /// A plugin for one policy or route, with instances of its own. While nothing about it changes they go on over reloads.
    pub(crate) fn compile(wanted: &Wanted<'_>, cx: &Building<'_>) -> Result<Self, String> {
        let found = cx.plugins.and_then(|plugins| plugins.get_key_value(wanted.plugin));
        let (name, loaded) = found.ok_or_else(|| {
            format!("the plugin `{}` cannot be used: what is wrong is told at its place", wanted.plugin)
        })?;
        let limits = &loaded.limits;
        let terms =
            json!([wanted.plugin, wanted.config, wanted.upstreams, &loaded.digest, format!("{limits:?}"),]);
        let plugin = cx.keep("instances", &terms, || {
            let named = name.clone();
            let uses = Uses {
                config: wanted.config.to_string().into(),
                upstreams: wanted.upstreams.iter().map(|upstream| upstream.as_str().into()).collect(),
                counters: loaded.counters.clone(),
                log: Arc::new(move |level, line| log(&named, level, line)),
            };
            Plugin::new(loaded.component.clone(), limits.clone(), uses)
        });
        let counted = Counted::of(&METRIC, cx);
        counted.watch(0, plugin.instances());
        Ok(Self {
            name: name.clone(),
            place: cx.owner.as_str().into(),
            plugin,
            bytes_max: wanted.bytes_max,
            counted,
        })
    }

    /// The plugin's name.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Whether its component sees requests.
    pub(crate) fn sees_requests(&self) -> bool {
        self.plugin.component().sees_requests()
    }

    /// Whether its component sees answers.
    pub(crate) fn sees_responses(&self) -> bool {
        self.plugin.component().sees_responses()
    }

    /// Whether its component answers calls.
    pub(crate) fn handles(&self) -> bool {
        self.plugin.component().handles()
    }

    /// Has a request judged.
    pub(crate) async fn on_request(&self, call: &mut Call, body: &mut Body) -> Verdict {
        let mut read: Option<Bytes> = None;
        loop {
            let subject = shown::request(call, read.clone());
            let mut world = World::new(call, &subject, self.bytes_max);
            let (subject, said) = self.plugin.on_request(subject, &mut world).await;
            let said = match said {
                Ok(said) => said,
                // What it had changed by then is half of what it meant to.
                Err(stopped) => {
                    call.head.headers = subject.request.headers;
                    return Verdict::Fail(self.stopped(call, stopped));
                }
            };
            if let Err(failure) = shown::take_back(call, subject, body) {
                return Verdict::Fail(failure);
            }
            match said {
                Said::Next => {
                    self.counted.note(PASSED);
                    return Verdict::Continue;
                }
                Said::Answer(answer) => {
                    return match self.answer(call, answer) {
                        Ok(answer) => Verdict::Answer(Box::new(answer)),
                        Err(failure) => Verdict::Fail(failure),
                    };
                }
                Said::ReadBody if read.is_none() => {
                    // No instance waits for a client that is slow.
                    match errand::shown(call, body, self.bytes_max, false).await {
                        Ok((bytes, _)) => read = Some(bytes),
                        Err(failure) => return Verdict::Fail(failure),
                    }
                }
                Said::ReadBody => return Verdict::Fail(self.stopped(call, twice())),
            }
        }
    }

    /// Has an answer judged.
    pub(crate) async fn on_response(
        &self,
        call: &mut Call,
        answer: &mut Response<Body>,
    ) -> Result<(), Failure> {
        let mut read: Option<Bytes> = None;
        loop {
            let subject = shown::response(call, answer, read.clone());
            let mut world = World::new(call, &subject, self.bytes_max);
            let (subject, said) = self.plugin.on_response(subject, &mut world).await;
            shown::take_back_answer(call, subject, answer);
            match said {
                Ok(Said::Next) => {
                    self.counted.note(PASSED);
                    return Ok(());
                }
                Ok(Said::Answer(other)) => {
                    *answer = self.answer(call, other)?;
                    return Ok(());
                }
                Ok(Said::ReadBody) if read.is_none() => read = Some(self.read_answer(call, answer).await?),
                Ok(Said::ReadBody) => return Err(self.stopped(call, twice())),
                Err(stopped) => return Err(self.stopped(call, stopped)),
            }
        }
    }

    /// Has a call answered.
    pub(crate) async fn handle(&self, call: &mut Call, body: Body) -> Result<Response<Body>, Failure> {
        if call.upgrade.is_some() {
            return Err(Failure::client(Stage::Guard, Problem::NotImplemented)
                .with_hint("this route does not switch protocols"));
        }
        let body = gather(body, self.bytes_max).await.map_err(|why| match why {
            Ungathered::TooLarge => Failure::client(Stage::Body, Problem::BodyTooLarge)
                .with_hint(format!("a body has {} bytes at most here", self.bytes_max)),
            Ungathered::Failed(failure) => failure,
        })?;
        let subject = shown::request(call, Some(body));
        let mut world = World::new(call, &subject, self.bytes_max);
        let (subject, said) = self.plugin.handle(subject, &mut world).await;
        call.head.headers = subject.request.headers;
        match said {
            Ok(answer) => self.answer(call, answer),
            Err(stopped) => Err(self.stopped(call, stopped)),
        }
    }

    /// The bytes of an answer, which goes on as it came.
    async fn read_answer(&self, call: &Call, answer: &mut Response<Body>) -> Result<Bytes, Failure> {
        if call.head.method == Method::HEAD || content::is_bodiless(answer.status()) {
            return Ok(Bytes::new());
        }
        let held = Held::read(answer.body_mut(), self.bytes_max).await?;
        let (is_whole, bytes) = (held.is_whole(), held.beginning(self.bytes_max));
        *answer.body_mut() = held.into_body();
        if is_whole {
            return Ok(bytes);
        }
        let told = format!("plugin `{}`: the answer has more than {} bytes", self.name, self.bytes_max);
        Err(Failure::upstream(Stage::Policy, Problem::BadUpstreamAnswer, told))
    }

    /// An answer that a component has made.
    fn answer(&self, call: &Call, answer: Answer) -> Result<Response<Body>, Failure> {
        let (status, headers, body) = answer.into_parts().map_err(|stopped| self.stopped(call, stopped))?;
        self.counted.note(ANSWERED);
        let mut response = Response::new(Body::Empty);
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        if !content::is_bodiless(status) {
            response.headers_mut().insert(header::CONTENT_LENGTH, body.len().into());
            if call.head.method != Method::HEAD && !body.is_empty() {
                *response.body_mut() = Body::Full(body);
            }
        }
        Ok(response)
    }

    /// What becomes of a call whose component did not come to its end.
    fn stopped(&self, call: &Call, stopped: Stopped) -> Failure {
        self.counted.note(outcome(&stopped));
        let reason = stopped.to_string();
        let problem = if stopped == Stopped::Full { Problem::Overloaded } else { Problem::Internal };
        // Where there is too much to do no lines are written of it.
        if stopped != Stopped::Full {
            tracing::warn!(
                plugin = &*self.name,
                place = &*self.place,
                request_id = call.record.request_id.to_str().unwrap_or_default(),
                reason,
                "the component of a plugin was stopped"
            );
        }
        Failure::gateway(Stage::Policy, problem).with_detail(format!("plugin `{}`: {reason}", self.name))
    }
}

fn twice() -> Stopped {
    Stopped::Wrong("it asked for the body that it has".to_owned())
}

fn log(plugin: &str, level: Level, line: &str) {
    match level {
        Level::Debug => tracing::debug!(plugin, "{line}"),
        Level::Info => tracing::info!(plugin, "{line}"),
        Level::Warn => tracing::warn!(plugin, "{line}"),
        Level::Error => tracing::error!(plugin, "{line}"),
    }
}
