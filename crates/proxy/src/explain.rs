//! A request explained without sending it: its path, its route, its policies, its upstreams.

use std::{net::IpAddr, sync::Arc};

use http::{HeaderMap, Method};
use model::{Snapshot, resource::listener::ListenerProtocol};
use tokio::runtime::Handle;

use crate::{
    Error,
    compiled::Compiled,
    guard::path,
    handler::Handler,
    listener::Listener,
    policy::chain,
    router::{Explanation, Found, RequestView, TableRow, is_preflight},
    upstream::cluster::{ClusterStatus, Clusters},
};

/// A request to explain.
pub struct Request {
    /// Name of the listener; without it, the one at the port, or the first that fits.
    pub listener: Option<String>,
    /// Port of the URL, when it names one.
    pub port: Option<u16>,
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
    /// What policies would do with it, where that is worth a line.
    pub notes: Vec<String>,
    /// What answers: `respond`, `redirect`, or weighted upstreams.
    pub handler: Option<String>,
    /// The upstreams and their endpoints, as far as they are known without a running gateway.
    pub upstreams: Vec<ClusterStatus>,
}

impl Compiled {
    /// Compiles a snapshot to look at it: nothing is resolved, checked or listened on.
    pub fn offline(snapshot: Arc<Snapshot>, background: &Handle) -> Result<Self, Error> {
        let clusters = Clusters::offline(background.clone());
        Self::build(snapshot, &clusters, background, &Default::default(), None).map_err(Error::Configuration)
    }

    /// All routes in the order in which they match.
    pub fn table(&self) -> Vec<TableRow> {
        self.router.table()
    }

    /// The listener that a request comes to: the one that is named, else one at its port, else one of its scheme.
    fn listener_of(&self, request: &Request) -> Result<&Arc<Listener>, String> {
        let fits = |listener: &&Arc<Listener>| listener.tls.is_some() == request.tls;
        if let Some(name) = &request.listener {
            let named = self.listeners.iter().find(|listener| *listener.name == **name);
            return named
                .ok_or_else(|| format!("there is no listener `{name}`; {}", self.listeners_in_words()));
        }
        let Some(port) = request.port else {
            let found = self.listeners.iter().find(fits).or_else(|| self.listeners.first());
            return found.ok_or_else(|| "there is no listener".to_owned());
        };
        let here = |listener: &&Arc<Listener>| {
            let address =
                self.snapshot.config.listeners.get(listener.index).map(|listener| &*listener.address);
            address.and_then(|address| address.rsplit_once(':')).is_some_and(|(_, at)| at.parse() == Ok(port))
        };
        let mut at_port = self.listeners.iter().filter(here);
        let found = at_port.clone().find(fits).or_else(|| at_port.next());
        found.ok_or_else(|| {
            format!(
                "no listener is at port {port}; {}; --listener NAME says which one a request to that port reaches",
                self.listeners_in_words()
            )
        })
    }

    fn listeners_in_words(&self) -> String {
        let all = self.snapshot.config.listeners.iter();
        let all: Vec<_> = all.map(|listener| format!("`{}` ({})", listener.name, listener.address)).collect();
        if all.is_empty() { "there is none".to_owned() } else { format!("there are {}", all.join(", ")) }
    }

    /// What takes the whole connection before anybody reads a request in it.
    fn as_a_stream(&self, listener: &Listener, request: &Request, report: &mut Report) -> Option<String> {
        let server_name = request.host.as_deref().filter(|_| request.tls);
        let streams = listener.streams.as_ref();
        if let Some((name, upstreams)) = streams.and_then(|streams| streams.lead_to(server_name)) {
            let now = std::time::Instant::now();
            report.upstreams = upstreams.iter().map(|upstream| upstream.cluster.status(now)).collect();
            return Some(format!(
                "streamRoutes `{name}`: the connection goes on as it comes, and no HTTP route sees it"
            ));
        }
        let is_http = listener.protocol == ListenerProtocol::Http;
        (!is_http).then(|| "none: no stream route takes the connection, which is closed".to_owned())
    }

    /// What is to be said of `OPTIONS` where preflights are answered.
    fn of_preflights(&self, request: &Request, listener: usize, explanation: &Explanation) -> Option<String> {
        if request.method != Method::OPTIONS {
            return None;
        }
        if is_preflight(&request.method, &request.headers) {
            let Found::Route { id, .. } = explanation.found else { return None };
            let is_answered = self.answers_preflights(listener, id.0 as usize);
            return is_answered
                .then(|| "`cors` answers this preflight, and nothing after it sees it".to_owned());
        }
        let any = (0..self.routes.len()).any(|route| self.answers_preflights(listener, route));
        any.then(|| {
            "this is no preflight of a browser's: one has -H 'Origin: https://…' and -H 'Access-Control-Request-Method: POST', \
             and may be for another route"
                .to_owned()
        })
    }

    /// Explains a request.
    pub fn explain(&self, request: &Request) -> Result<Report, String> {
        let listener = self.listener_of(request)?;
        let mut report = Report {
            listener: listener.name.to_string(),
            path: Ok(String::new()),
            route: None,
            policies: Vec::new(),
            notes: Vec::new(),
            handler: None,
            upstreams: Vec::new(),
        };
        if let Some(handler) = self.as_a_stream(listener, request, &mut report) {
            report.path = Ok(request.path.clone());
            report.handler = Some(handler);
            return Ok(report);
        }
        // As a call would be: what no rule can allow first, and forms by the rules of what answers.
        let canonical = match path::canonical(&request.path, listener.path.merge_slashes.unwrap_or(true)) {
            Ok(canonical) => canonical,
            Err(refusal) => {
                report.path = Err(refusal.to_string());
                return Ok(report);
            }
        };
        let path = &*canonical.path;
        let view = RequestView {
            listener: listener.index,
            host: request.host.as_deref(),
            path,
            method: &request.method,
            headers: &request.headers,
            query: request.query.as_deref(),
            client: request.client,
            sni: request.host.as_deref().filter(|_| request.tls),
            tls: request.tls,
        };
        let asked = self.stands_for(&view);
        let view = RequestView { method: asked.as_ref().unwrap_or(view.method), ..view };
        let mut explanation = self.router.explain(&view);
        if let Some(asked) = &asked {
            explanation.why.insert(0, format!("the request after this preflight comes with {asked}"));
        }
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
        report.notes.extend(self.of_preflights(request, listener.index, &explanation));
        report.route = Some(explanation);
        let Some(route) = route else { return Ok(report) };
        report.policies = chain::order(&listener.chain, &route.chain);
        report.notes.extend(route.chain.explain(&request.method, path));
        report.handler = Some(route.handler.explain());
        let others = match &route.handler {
            Handler::Backends(_) => route.chain.leads_to(),
            _ => Vec::new(),
        };
        let mut upstreams = route.handler.upstreams();
        upstreams.extend(&others);
        for upstream in &upstreams {
            report.policies.extend(chain::order(&Default::default(), &upstream.chain));
        }
        let now = std::time::Instant::now();
        report.upstreams = upstreams.iter().map(|upstream| upstream.cluster.status(now)).collect();
        Ok(report)
    }
}
