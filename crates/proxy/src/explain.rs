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
            path: path::normalise(&request.path, &listener.path)
                .map(std::borrow::Cow::into_owned)
                .map_err(|refusal| refusal.to_string()),
            route: None,
            policies: Vec::new(),
            handler: None,
            upstreams: Vec::new(),
        };
        let Ok(path) = &report.path else { return Ok(report) };
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
        let name = explanation.route.clone();
        report.route = Some(explanation);
        let Some(route) = self.routes.iter().find(|route| name.as_deref() == Some(&*route.name)) else {
            return Ok(report);
        };
        report.policies = chain::order(&listener.chain, &route.chain);
        match &route.handler {
            Handler::Respond(_) => report.handler = Some("respond".into()),
            Handler::Redirect(_) => report.handler = Some("redirect".into()),
            Handler::Backends(backends) => {
                let names = backends.targets().iter().map(|target| format!("`{}`", target.upstream.name));
                report.handler = Some(format!("backends {}", names.collect::<Vec<_>>().join(", ")));
                let now = std::time::Instant::now();
                report.upstreams =
                    backends.targets().iter().map(|target| target.upstream.cluster.status(now)).collect();
            }
        }
        Ok(report)
    }
}
