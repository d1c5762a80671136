//! A snapshot made ready to carry traffic: everything that can be compiled is, once, when it is published.
//!
//! State that outlives a configuration (limiters, key sets) is kept by owner, policy and settings: what did not
//! change goes on where it was.

use std::{
    any::Any,
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use http::HeaderName;
use model::{PolicyUse, Snapshot};
use serde::Serialize;

use crate::{
    consumer::Consumers,
    handler::Handler,
    listener::Listener,
    policy::Chain,
    router::Router,
    upstream::{
        Upstream,
        cluster::{ClusterStatus, Clusters},
    },
};

type Kept = HashMap<String, (String, Arc<dyn Any + Send + Sync>)>;

/// A snapshot made ready to carry traffic. Immutable; shared by all workers.
pub struct Compiled {
    /// What it was made of.
    pub snapshot: Arc<Snapshot>,
    pub(crate) router: Router,
    pub(crate) routes: Vec<Route>,
    pub(crate) listeners: Vec<Arc<Listener>>,
    pub(crate) upstreams: HashMap<Arc<str>, Arc<Upstream>>,
    /// Header names that policies read or set, which a client's `Connection` cannot remove.
    pub(crate) protected_headers: Vec<HeaderName>,
    /// What is worth telling the operator.
    pub warnings: Vec<String>,
    kept: Mutex<Kept>,
}

/// A compiled route.
pub(crate) struct Route {
    pub(crate) name: Arc<str>,
    pub(crate) chain: Chain,
    pub(crate) handler: Handler,
    pub(crate) path: model::resource::path_rules::PathRules,
}

/// What policies and handlers are built with.
pub(crate) struct Building<'a> {
    pub(crate) snapshot: &'a Snapshot,
    /// Whose policy is being built, such as `routes/catalog/rateLimit`.
    pub(crate) owner: String,
    /// Where background work such as fetching key sets runs.
    pub(crate) background: &'a tokio::runtime::Handle,
    pub(crate) consumers: Option<&'a Arc<Consumers>>,
    pub(crate) upstreams: &'a HashMap<Arc<str>, Arc<Upstream>>,
    previous: Option<&'a Compiled>,
    kept: &'a Mutex<Kept>,
}

#[cfg(any(test, feature = "fuzzing"))]
impl Building<'_> {
    /// Runs a function with what a policy of this owner is built with.
    pub(crate) fn in_test<T>(
        snapshot: &Snapshot,
        owner: &str,
        background: &tokio::runtime::Handle,
        run: impl FnOnce(&Building<'_>) -> T,
    ) -> T {
        let (kept, none) = (Mutex::new(Kept::new()), HashMap::new());
        let cx = |owner: &str, consumers| Building {
            snapshot,
            owner: owner.to_owned(),
            background,
            consumers,
            upstreams: &none,
            previous: None,
            kept: &kept,
        };
        let consumers = Arc::new(Consumers::compile(&cx("", None)).expect("good consumers"));
        run(&cx(owner, Some(&consumers)))
    }
}

impl<'a> Building<'a> {
    /// The same for another owner.
    pub(crate) fn of(&self, owner: &str) -> Building<'a> {
        Building { owner: owner.to_owned(), ..*self }
    }

    /// State that goes on over a reload while its owner and its settings stay as they are.
    pub(crate) fn keep<T: Any + Send + Sync>(
        &self,
        key: &str,
        settings: &impl Serialize,
        init: impl FnOnce() -> T,
    ) -> Arc<T> {
        let place = format!("{}/{key}", self.owner);
        let written = serde_json::to_string(settings).unwrap_or_default();
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        // A second policy of one kind at one place has the next number.
        let known = |kept: &Kept, place: &str| {
            kept.get(place).filter(|(settings, _)| *settings == written).map(|(_, state)| state.clone())
        };
        let shared = self.owner.starts_with("policies/");
        if shared && let Some(state) = known(&kept, &place).and_then(|state| state.downcast().ok()) {
            return state;
        }
        let mut numbered = place.clone();
        let mut number = 1;
        while !shared && kept.contains_key(&numbered) {
            number += 1;
            numbered = format!("{place}#{number}");
        }
        let before = self.previous.and_then(|previous| {
            known(&previous.kept.lock().unwrap_or_else(PoisonError::into_inner), &numbered)
        });
        let state = before.and_then(|state| state.downcast().ok()).unwrap_or_else(|| Arc::new(init()));
        kept.insert(numbered, (written, state.clone()));
        state
    }
}

impl Compiled {
    /// Compiles a snapshot. Everything that is wrong is told at once; nothing of it goes live then.
    pub(crate) fn build(
        snapshot: Arc<Snapshot>,
        clusters: &Clusters,
        background: &tokio::runtime::Handle,
        previous: Option<&Compiled>,
    ) -> Result<Self, Vec<String>> {
        let mut errors = Vec::new();
        let config = snapshot.config.clone();
        let kept = Mutex::new(Kept::new());
        let mut upstreams = HashMap::new();
        let none = HashMap::new();
        let building = |upstreams, consumers| Building {
            snapshot: &snapshot,
            owner: String::new(),
            background,
            consumers,
            upstreams,
            previous,
            kept: &kept,
        };
        let consumers =
            Consumers::compile(&building(&none, None)).map(Arc::new).map_err(|error| vec![error])?;
        let cx = building(&none, Some(&consumers));
        let built = clusters.build(&snapshot)?;
        for settings in &config.upstreams {
            let Some(cluster) = built.get(settings.name.as_str()) else { continue };
            match Upstream::compile(settings, cluster.clone(), &cx) {
                Ok(upstream) => {
                    upstreams.insert(upstream.name.clone(), Arc::new(upstream));
                }
                Err(error) => errors.push(error),
            }
        }
        let cx = building(&upstreams, Some(&consumers));
        let mut listeners = Vec::new();
        for (index, settings) in config.listeners.iter().enumerate() {
            match Listener::compile(settings, index, &cx) {
                Ok(listener) => listeners.push(Arc::new(listener)),
                Err(error) => errors.push(format!("listeners/{}: {error}", settings.name)),
            }
        }
        let global = match Chain::compile(&config.global_policies, "global", &cx) {
            Ok(chain) => chain,
            Err(error) => {
                errors.push(error);
                Chain::default()
            }
        };
        let mut routes = Vec::with_capacity(config.routes.len());
        for settings in &config.routes {
            match Route::compile(settings, &global, &cx) {
                Ok(route) => routes.push(route),
                Err(error) => errors.push(error),
            }
        }
        let (router, warnings) = match Router::compile(&config.routes, &config.listeners) {
            Ok((router, warnings)) => {
                (router, warnings.into_iter().map(|warning| warning.to_string()).collect())
            }
            Err(problems) => {
                errors.extend(problems.into_iter().map(|problem| problem.to_string()));
                return Err(errors);
            }
        };
        if !errors.is_empty() {
            return Err(errors);
        }
        let protected_headers = protected_headers(&snapshot);
        Ok(Self { snapshot, router, routes, listeners, upstreams, protected_headers, warnings, kept })
    }

    /// The state of every upstream, by name.
    pub(crate) fn status(&self) -> Vec<ClusterStatus> {
        let now = Instant::now();
        let mut all: Vec<_> = self.upstreams.values().map(|upstream| upstream.cluster.status(now)).collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all
    }

    /// The listener as it is in this snapshot.
    pub(crate) fn listener<'a>(&'a self, known: &'a Arc<Listener>) -> &'a Arc<Listener> {
        match self.listeners.get(known.index) {
            Some(same) if same.name == known.name => same,
            _ => self.listeners.iter().find(|listener| listener.name == known.name).unwrap_or(known),
        }
    }
}

impl Route {
    fn compile(settings: &model::Route, global: &Chain, cx: &Building<'_>) -> Result<Self, String> {
        let owner = format!("routes/{}", settings.name);
        let chain = Chain::compile(&settings.policies, &owner, cx)?.under(global);
        let handler =
            crate::handler::compile(settings, &cx.of(&owner)).map_err(|error| format!("{owner}: {error}"))?;
        Ok(Self { name: settings.name.as_str().into(), chain, handler, path: settings.path.clone() })
    }
}

/// The names of all headers that any policy of the snapshot reads or sets.
fn protected_headers(snapshot: &Snapshot) -> Vec<HeaderName> {
    let config = &snapshot.config;
    let uses = config
        .global_policies
        .iter()
        .chain(config.listeners.iter().flat_map(|listener| &listener.policies))
        .chain(config.upstreams.iter().flat_map(|upstream| &upstream.policies))
        .chain(config.routes.iter().flat_map(|route| &route.policies))
        .chain(config.consumers.iter().flat_map(|consumer| &consumer.policies));
    let mut names: Vec<HeaderName> = uses
        .filter_map(|used: &PolicyUse| snapshot.policy(used))
        .flat_map(crate::policy::headers_of)
        .collect();
    names.sort_by(|a, b| a.as_str().cmp(b.as_str()));
    names.dedup();
    names
}
