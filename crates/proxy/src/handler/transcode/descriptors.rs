//! What is known of a server's services: from a file, or from the server itself.
//!
//! A server is asked when the first call needs it, by whichever worker has that call, through the upstream as any call;
//! calls that come meanwhile wait for the one answer. What it said holds until it has said something new, also while it
//! is away; before it has said anything, calls are 503 and it is asked at most once a second.

use std::{
    collections::HashMap,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use arc_swap::ArcSwapOption;
use http::{HeaderMap, HeaderValue, Method, Request, header};
use http_body_util::BodyExt;
use model::resource::{route_match::PathMatch, transcode::Transcode as Settings};
use transcode::{
    binding::{Binding, Bindings},
    reflect::{self, Asking, Files},
    schema::{self, Schema},
    status::{Code, Status},
};

use crate::{
    body::Body,
    call::Call,
    compiled::Building,
    failure::{Failure, Problem, Stage},
    handler::backends::Target,
    policy::{Passed, chain},
    upstream::tries,
    worker::Worker,
};

/// Between two questions to a server that has not answered.
const PAUSE: Duration = Duration::from_secs(1);
/// The same, when it has not answered many times and what it told before holds.
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// Services of which the log says that they are left out.
const SKIPPED_MAX: usize = 10;

/// Descriptors, and what requests mean by them.
pub(super) struct Known {
    pub(super) schema: Arc<Schema>,
    /// The binding of every request.
    pub(super) fixed: Option<Arc<Binding>>,
    /// Those of all paths.
    pub(super) paths: Bindings,
    /// The methods of the services that are reached, by the paths of gRPC.
    methods: HashMap<String, Arc<schema::Method>>,
    /// What the server told, if it did.
    files: Files,
}

/// What of the settings decides on it.
#[derive(Clone, serde::Serialize)]
struct Wanted {
    method: Option<String>,
    captures: Vec<String>,
    body: String,
    response_body: Option<String>,
    services: Vec<String>,
    refresh: model::Duration,
    timeout: model::Duration,
    upstream: String,
}

/// Where it comes from.
pub(super) enum Source {
    Nowhere,
    File(Arc<Known>),
    Server(Arc<Server>),
}

/// A server that is asked.
pub(super) struct Server {
    wanted: Wanted,
    known: ArcSwapOption<Known>,
    /// Held by whoever asks; when it was last asked in vain, and what came of it.
    turn: tokio::sync::Mutex<Option<(Instant, String)>>,
    is_renewing: AtomicBool,
    begun: Instant,
    /// When it is asked anew, in milliseconds since it was begun.
    due: AtomicU64,
    /// How often it has not answered since it last did.
    failed: AtomicU32,
}

/// One asks anew, and lets the next when it ends, however it does.
struct Renewing(Arc<Server>);

impl Drop for Renewing {
    fn drop(&mut self) {
        self.0.is_renewing.store(false, Ordering::Release);
    }
}

impl Source {
    pub(super) fn compile(
        route: &model::Route,
        settings: &Settings,
        cx: &Building<'_>,
    ) -> Result<Self, String> {
        let reflection = settings.reflection.clone().unwrap_or_default();
        let wanted = Wanted {
            method: settings.method.clone(),
            captures: captures(route),
            body: settings.body.clone().unwrap_or_else(|| "*".to_owned()),
            response_body: settings.response_body.clone(),
            services: settings.services.clone(),
            refresh: reflection.refresh,
            timeout: reflection.timeout,
            upstream: settings.upstream.clone(),
        };
        if let Some(file) = &settings.descriptor_set {
            let schema =
                Schema::decode(&cx.snapshot.file(file)).map_err(|error| format!("descriptorSet: {error}"))?;
            return Known::new(schema, &wanted).map(|known| Self::File(Arc::new(known)));
        }
        if settings.reflection.is_none() {
            return Ok(Self::Nowhere);
        }
        let server = cx.keep("reflection", &wanted, || Server {
            wanted: wanted.clone(),
            known: ArcSwapOption::empty(),
            turn: tokio::sync::Mutex::new(None),
            is_renewing: AtomicBool::new(false),
            begun: Instant::now(),
            due: AtomicU64::new(0),
            failed: AtomicU32::new(0),
        });
        Ok(Self::Server(server))
    }

    /// What is known; none where nothing is to be.
    pub(super) async fn known(
        &self,
        worker: &Rc<Worker>,
        call: &Call,
        target: &Arc<Target>,
    ) -> Result<Option<Arc<Known>>, Failure> {
        match self {
            Self::Nowhere => Ok(None),
            Self::File(known) => Ok(Some(known.clone())),
            Self::Server(server) => match server.known.load_full() {
                Some(known) => {
                    if server.is_due() {
                        server.renew(worker, call, target);
                    }
                    Ok(Some(known))
                }
                None => Box::pin(server.first(worker, call, target)).await.map(Some),
            },
        }
    }
}

/// Names that all matches of a route capture.
fn captures(route: &model::Route) -> Vec<String> {
    let of = |one: &model::resource::route_match::Match| match &one.path {
        Some(PathMatch::Template(template)) => template
            .parse::<model::resource::path_template::PathTemplate>()
            .map_or_else(|_| Vec::new(), |template| template.captures().map(str::to_owned).collect()),
        _ => Vec::new(),
    };
    let mut all: Vec<String> = Vec::new();
    for name in route.matches.iter().flat_map(of) {
        if !all.contains(&name) {
            all.push(name);
        }
    }
    all
}

impl Known {
    fn new(schema: Schema, wanted: &Wanted) -> Result<Self, String> {
        let services = match wanted.services.as_slice() {
            [] => schema.services(),
            named => named.to_vec(),
        };
        let fixed = match &wanted.method {
            Some(name) => {
                let method = schema.method(name).map_err(|error| format!("method: {error}"))?;
                let binding = Binding::fixed(
                    Arc::new(method),
                    &wanted.captures,
                    &wanted.body,
                    wanted.response_body.as_deref(),
                );
                Some(Arc::new(binding.map_err(|error| format!("method: {error}"))?))
            }
            None => None,
        };
        let paths = match fixed {
            Some(_) => Bindings::default(),
            None => Bindings::of(&schema, &services)
                .map_err(|errors| format!("services: {}", errors.join("; ")))?,
        };
        let mut methods = HashMap::new();
        match &fixed {
            Some(fixed) => drop(methods.insert(fixed.method.path.clone(), fixed.method.clone())),
            None => {
                for service in &services {
                    let of = schema.methods(service).map_err(|error| format!("services: {error}"))?;
                    methods.extend(of.into_iter().map(|method| (method.path.clone(), Arc::new(method))));
                }
            }
        }
        Ok(Self { schema: Arc::new(schema), fixed, paths, methods, files: Files::new() })
    }

    /// The method that a path of gRPC means, if it is one that is reached.
    pub(super) fn method_of(&self, path: &str) -> Option<Arc<schema::Method>> {
        self.methods.get(path).cloned()
    }
}

impl Server {
    fn is_due(&self) -> bool {
        self.begun.elapsed().as_millis() >= u128::from(self.due.load(Ordering::Relaxed))
    }

    fn wait(&self, time: Duration) {
        let due = self.begun.elapsed().saturating_add(time).as_millis();
        self.due.store(u64::try_from(due).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Asks for the first time; calls at the same time wait for one answer.
    async fn first(&self, worker: &Rc<Worker>, call: &Call, target: &Target) -> Result<Arc<Known>, Failure> {
        let mut turn = self.turn.lock().await;
        if let Some(known) = self.known.load_full() {
            return Ok(known);
        }
        if let Some((asked, why)) = &*turn
            && asked.elapsed() < PAUSE
        {
            return Err(unknown(why));
        }
        match self.ask(worker, call, target, None).await {
            Ok(known) => {
                self.known.store(Some(known.clone()));
                self.wait(self.wanted.refresh.get());
                tracing::info!(upstream = %self.wanted.upstream, "the server told of its services");
                *turn = None;
                Ok(known)
            }
            Err(why) => {
                tracing::warn!(upstream = %self.wanted.upstream, %why, "the server does not tell of its services");
                let failure = unknown(&why);
                *turn = Some((Instant::now(), why));
                Err(failure)
            }
        }
    }

    /// Asks again, beside the call.
    fn renew(self: &Arc<Self>, worker: &Rc<Worker>, call: &Call, target: &Arc<Target>) {
        if self.is_renewing.swap(true, Ordering::Acquire) {
            return;
        }
        let renewing = Renewing(self.clone());
        let (worker, target) = (worker.clone(), target.clone());
        let own = errand(call, reflect::PATHS[0], &self.wanted);
        tokio::task::spawn_local(async move {
            let server = &renewing.0;
            match server.ask(&worker, &own, &target, server.known.load_full()).await {
                Ok(known) => {
                    server.known.store(Some(known));
                    server.failed.store(0, Ordering::Relaxed);
                    server.wait(server.wanted.refresh.get());
                }
                Err(why) => {
                    // It is left alone for a while, not for a whole `refresh`.
                    let failed = server.failed.fetch_add(1, Ordering::Relaxed);
                    let pause = PAUSE.saturating_mul(1 << failed.min(5)).min(PAUSE_MAX);
                    server.wait(pause.min(server.wanted.refresh.get().max(PAUSE)));
                    let upstream = &server.wanted.upstream;
                    const WHAT: &str = "the server does not tell of its services; what it told before holds";
                    match failed {
                        0 => tracing::warn!(%upstream, %why, "{WHAT}"),
                        _ => tracing::debug!(%upstream, %why, "{WHAT}"),
                    }
                }
            }
        });
    }

    /// Asks; what it told before is kept when it tells the same.
    async fn ask(
        &self,
        worker: &Rc<Worker>,
        call: &Call,
        target: &Target,
        before: Option<Arc<Known>>,
    ) -> Result<Arc<Known>, String> {
        let asking = self.asked(worker, call, target);
        let asking = tokio::time::timeout(self.wanted.timeout.get(), asking)
            .await
            .map_err(|_| "it did not answer in time".to_owned())??;
        // Whatever it takes, other calls go on.
        let wanted = self.wanted.clone();
        let built = tokio::task::spawn_blocking(move || {
            let (files, skipped) = asking.end()?;
            if let Some(before) = before.filter(|before| before.files == files) {
                return Ok(before);
            }
            for why in skipped.iter().take(SKIPPED_MAX) {
                tracing::warn!(upstream = %wanted.upstream, %why, "a service is not told of, and is left out");
            }
            let schema = Schema::of_files(files.values().cloned().collect())?;
            Known::new(schema, &wanted).map(|known| Arc::new(Known { files, ..known }))
        });
        built.await.map_err(|error| format!("what it tells of cannot be taken: {error}"))?
    }

    async fn asked(&self, worker: &Rc<Worker>, call: &Call, target: &Target) -> Result<Asking, String> {
        let services: Vec<String> = match &self.wanted.method {
            Some(method) => {
                vec![method.rsplit_once(['/', '.']).map_or(&**method, |(service, _)| service).to_owned()]
            }
            None => self.wanted.services.clone(),
        };
        let mut why = String::new();
        for path in reflect::PATHS {
            let mut asking = Asking::new(&services);
            let mut is_known = true;
            while let Some(body) = asking.body() {
                let mut own = errand(call, path, &self.wanted);
                match exchange(worker, &mut own, target, body, asking.left()).await? {
                    Ok(answer) => asking.take(&answer)?,
                    Err(status) if status.code == Code::Unimplemented => {
                        why = "it has no server reflection".to_owned();
                        is_known = false;
                        break;
                    }
                    Err(status) => return Err(format!("{}: {}", status.code.name(), status.message)),
                }
            }
            if is_known {
                return Ok(asking);
            }
        }
        Err(why)
    }
}

fn unknown(why: &str) -> Failure {
    Failure::new(model::Side::Upstream, Stage::Pick, Problem::Unavailable)
        .with_hint("the service has not told yet what it takes")
        .with_detail(format!("server reflection: {why}"))
        .with_retry_after(PAUSE)
}

/// A call of the gateway's own that asks.
fn errand(call: &Call, path: &'static str, wanted: &Wanted) -> Box<Call> {
    let (mut head, ()) = Request::new(()).into_parts();
    head.method = Method::POST;
    head.uri = http::Uri::from_static(path);
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert(header::TE, HeaderValue::from_static("trailers"));
    headers.insert("grpc-timeout", transcode::metadata::timeout(wanted.timeout.get()));
    headers.insert("grpc-accept-encoding", HeaderValue::from_static("identity,gzip"));
    head.headers = headers;
    let mut own = call.errand(head);
    own.route = None;
    own.listener = crate::call::NO_LISTENER;
    own
}

/// One question with its whole answer; a status when it ended otherwise than well.
async fn exchange(
    worker: &Rc<Worker>,
    own: &mut Call,
    target: &Target,
    body: Vec<u8>,
    bytes_max: usize,
) -> Result<Result<Vec<u8>, Status>, String> {
    let mut body = Body::Full(body.into());
    let told = |failure: Failure| failure.to_string();
    let passed = chain::upstream_request(&target.upstream.chain, own, &mut body).await.map_err(told)?;
    let response = match passed {
        Passed::Answered(response) => *response,
        Passed::Through | Passed::Around => {
            let wish = tries::Wish { endpoint: None, hash: tries::hash_of(own, &target.upstream) };
            tries::forward(worker, own, target, &wish, body).await.map_err(told)?
        }
    };
    let (head, mut body) = response.into_parts();
    if let Some(status) = super::send::not_grpc(&head) {
        return Ok(Err(status));
    }
    let mut all = Vec::new();
    let mut status = Status::read(&head.headers);
    while let Some(frame) = body.frame().await {
        match frame.map_err(told)?.into_data() {
            Ok(data) if all.len() + data.len() > bytes_max => {
                return Err("it tells of more than is taken".to_owned());
            }
            Ok(data) => all.extend_from_slice(&data),
            Err(frame) => status = frame.trailers_ref().and_then(Status::read),
        }
    }
    match status {
        Some(status) if status.code == Code::Ok => Ok(Ok(all)),
        Some(status) => Ok(Err(status)),
        None => Err("its answer broke off".to_owned()),
    }
}
