//! A request explained without sending it: its path, its route, its policies, its upstreams.

use std::{net::IpAddr, sync::Arc};

use http::{HeaderMap, Method};
use model::Snapshot;
use tokio::runtime::Handle;

use crate::{
    Error,
    compiled::Compiled,
    guard::path,
    handler::Handler,
    policy::chain,
    router::{Explanation, RequestView, TableRow},
    upstream::cluster::{ClusterStatus, Clusters},
};

/// A request to explain.
pub struct Request {
    /// Name of the listener; the first one without it.
    pub listener: Option<String>,
    /// The host, in lower case and without a port.
    pub host: Option<String>,
    /// The path as a client writes it.
    pub path: String,
    /// What follows `?`.
    pub query: Option<String>,
    /// The method.
    pub method: Method,
    /// The headers.
    pub headers: HeaderMap,
    /// The client's address.
    pub client: IpAddr,
    /// Whether the connection is TLS.
    pub tls: bool,
}

/// What becomes of a request.
pub struct Report {
    /// The listener.
    pub listener: String,
    /// The path in its normal form, or why it is refused.
    pub path: Result<String, String>,
    /// The route, and why.
    pub route: Option<Explanation>,
    /// The policies in the order in which they run: name and owner.
    pub policies: Vec<(String, String)>,
    /// What answers: `respond`, `redirect`, or weighted upstreams.
    pub handler: Option<String>,
    /// The upstreams and their endpoints, as far as they are known without a running gateway.
    pub upstreams: Vec<ClusterStatus>,
}

impl Compiled {
    /// Compiles a snapshot to look at it: nothing is resolved, checked or listened on.
    pub fn offline(snapshot: Arc<Snapshot>, background: &Handle) -> Result<Self, Error> {
        let clusters = Clusters::offline(background.clone());
        Self::build(snapshot, &clusters, background, None).map_err(Error::Configuration)
    }

    /// All routes in the order in which they match.
    pub fn table(&self) -> Vec<TableRow> {
        self.router.table()
    }

    /// Explains a request.
    pub fn explain(&self, request: &Request) -> Result<Report, String> {
        let listener = match &request.listener {
            Some(name) => self.listeners.iter().find(|listener| *listener.name == **name),
            None => self.listeners.iter().find(|listener| listener.tls.is_some() == request.tls),
        };
        let listener = listener.or_else(|| self.listeners.first().filter(|_| request.listener.is_none()));
        let listener = listener.ok_or_else(|| match &request.listener {
            Some(name) => format!("there is no listener `{name}`"),
            None => "there is no listener".to_owned(),
        })?;
        let mut report = Report {
            listener: listener.name.to_string(),
            path: Ok(String::new()),
            route: None,
            policies: Vec::new(),
            handler: None,
            upstreams: Vec::new(),
        };
        // As a call would be: what no rule can allow first, and forms by the rules of what answers.
        let canonical = match path::canonical(&request.path, listener.path.merge_slashes.unwrap_or(true)) {
            Ok(canonical) => canonical,
            Err(refusal) => {
                report.path = Err(refusal.to_string());
                return Ok(report);
            }
        };
        let path = &*canonical.path;
        let explanation = self.router.explain(&RequestView {
            listener: listener.index,
            host: request.host.as_deref(),
            path,
            method: &request.method,
            headers: &request.headers,
            query: request.query.as_deref(),
            client: request.client,
            sni: request.host.as_deref().filter(|_| request.tls),
            tls: request.tls,
        });
        let route = self.routes.iter().find(|route| explanation.route.as_deref() == Some(&*route.name));
        let route = route.filter(|_| listener.redirect_to_https.is_none());
        let rules = route.map_or_else(|| listener.path.clone(), |route| route.path.over(&listener.path));
        report.path = match canonical.forms.judge(&rules) {
            Ok(()) => Ok(path.to_owned()),
            Err(refusal) => Err(refusal.to_string()),
        };
        if report.path.is_err() {
            return Ok(report);
        }
        if listener.redirect_to_https.is_some() {
            report.handler = Some("redirectToHttps of the listener, whatever the route".into());
            return Ok(report);
        }
        report.route = Some(explanation);
        let Some(route) = route else { return Ok(report) };
        report.policies = chain::order(&listener.chain, &route.chain);
        match &route.handler {
            Handler::Respond(_) => report.handler = Some("respond".into()),
            Handler::Redirect(_) => report.handler = Some("redirect".into()),
            Handler::Backends(backends) => {
                let names = backends.targets().iter().map(|target| format!("`{}`", target.upstream.name));
                report.handler = Some(format!("backends {}", names.collect::<Vec<_>>().join(", ")));
                for target in backends.targets() {
                    report.policies.extend(chain::order(&Default::default(), &target.upstream.chain));
                }
                let now = std::time::Instant::now();
                report.upstreams =
                    backends.targets().iter().map(|target| target.upstream.cluster.status(now)).collect();
            }
        }
        Ok(report)
    }
}
