//! One request on its way: what is known about it, for policies, handlers and the record.

use std::{
    net::IpAddr,
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, StatusCode, Version, request::Parts};
use model::{CallRecord, Side, Stage, TraceContext};

use crate::{
    conn::peer::Peer,
    consumer::Consumer,
    failure::{Failure, Problem},
    listener::Listener,
    policy::Progress,
    router::Captures,
    upstream::span::Trail,
    worker::Plan,
};

/// The place of a listener that its snapshot does not know.
pub(crate) const NO_LISTENER: usize = usize::MAX;

/// Carries the outcome of a gRPC call.
pub(crate) const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");

/// One request on its way. Policies read and change `head`; everything else is what the gateway found out.
pub(crate) struct Call {
    /// The head as it will be sent upstream: `uri` is origin-form with the one canonical path.
    pub head: Parts,
    /// The snapshot that this call began with, and keeps to its end.
    pub plan: Plan,
    /// The connection that it came on.
    pub peer: Rc<Peer>,
    /// The place of its listener in `plan`; [`NO_LISTENER`] when that is gone, and then the call is refused.
    pub(crate) listener: usize,
    /// The true client address, found through trusted proxies.
    pub client: IpAddr,
    /// The host that the client asked for: lower-case, without a port.
    pub host: Option<Host>,
    /// When the head was complete.
    pub started: Instant,
    /// Since when the time counts that an upstream is given, when that is not the call's begin: one that is asked after
    /// another has all of its own.
    pub(crate) asked: Option<Instant>,
    /// Index of the matched route in the snapshot.
    pub route: Option<usize>,
    /// What the route's path template captured.
    pub captures: Captures,
    /// Who was authenticated.
    pub consumer: Option<Arc<Consumer>>,
    /// `consumer` stands in for nobody (`anonymous`), and gives way to somebody until it has been counted with.
    pub(crate) stands_in: bool,
    /// `consumer` stood in for somebody who showed nothing: strangers share it.
    pub(crate) is_stranger: bool,
    /// Its `Authorization` is what an authentication policy found the caller by.
    pub(crate) authorization_is_judged: bool,
    /// Which of the consumer's API keys was shown, by its place among them.
    pub(crate) shown_key: Option<usize>,
    /// The token that a policy has found good, with or without `Bearer ` before it.
    pub(crate) token: Option<HeaderValue>,
    /// Claims of a verified token.
    pub claims: Option<Rc<serde_json::Map<String, serde_json::Value>>>,
    /// Headers that policies want on whatever answer the call gets, the gateway's own included.
    pub answer_headers: http::HeaderMap,
    /// What a policy keeps between the request and the response phase, by the policy's address.
    pub(crate) notes: Vec<(usize, Box<dyn std::any::Any>)>,
    /// The switch of protocols that the client asks for.
    pub(crate) upgrade: Option<Upgrade>,
    /// The client waits for `100 Continue` before it sends its body.
    pub(crate) expects_continue: bool,
    /// The upstream is asked for by the address of its endpoint, not by the client's host.
    pub(crate) host_from_endpoint: bool,
    /// Ambiguous forms in its path, to be judged by the rules of the route.
    pub(crate) forms: crate::guard::path::Forms,
    /// How far the call has come in its policies.
    pub(crate) chain: Progress,
    /// A number drawn once for the call: every share and every sample of it is decided by this.
    pub random: u64,
    /// What the client's head held when it came, before anything was taken off or added.
    pub(crate) received: Received,
    /// The dialect in which a caller of models is told what went wrong.
    pub(crate) dialect: Option<ai::dialect::Dialect>,
    /// The id, as JSON, of the JSON-RPC request that is told what went wrong.
    pub(crate) rpc: Option<Box<str>>,
    /// What policies leave to the handler of models.
    pub(crate) ai: crate::handler::ai::duties::Duties,
    /// What will be recorded.
    pub record: CallRecord,
    /// What its tries leave for the record.
    pub(crate) trail: Trail,
    /// Where 1xx answers of the upstream go.
    pub(crate) interim: Option<Rc<dyn Interim>>,
}

/// A switch of protocols, after which bytes flow: to WebSocket, or by CONNECT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Upgrade {
    /// By `Upgrade` on an HTTP/1.1 connection.
    Connection,
    /// By extended CONNECT on an HTTP/2 stream (RFC 8441).
    Stream,
    /// By CONNECT: to whatever the upstream connects to.
    Connect,
}

/// What is known of a head as it came, where somebody wants to know.
#[derive(Debug, Clone, Default)]
pub(crate) struct Received {
    /// All of its fields: what is about the connection alone is taken out of a call's own, and the gateway's is put in.
    pub(crate) head: Option<Box<http::HeaderMap>>,
    /// Header fields.
    pub(crate) fields: usize,
    /// Bytes of all header fields, each as the line that it is in HTTP/1.1.
    pub(crate) field_bytes: u64,
}

/// What a header costs beside its name and value: `: ` and the line's end.
const LINE_OVERHEAD_BYTES: u64 = 4;

impl Received {
    pub(crate) fn of(headers: &http::HeaderMap) -> Self {
        let bytes =
            |(name, value): (&http::HeaderName, &HeaderValue)| (name.as_str().len() + value.len()) as u64;
        Self {
            head: None,
            fields: headers.len(),
            field_bytes: headers.iter().map(|field| bytes(field) + LINE_OVERHEAD_BYTES).sum(),
        }
    }
}

/// Sends an informational (1xx) answer to the client while the call goes on.
pub(crate) trait Interim {
    /// Sends it as far as the connection takes it without waiting; the rest is dropped.
    fn send(&self, head: http::response::Parts);
}

/// A host name without its port, lower-case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Host(Bytes);

impl Host {
    /// From an authority such as `Example.test:8080`. An IPv6 address has many spellings and is brought into one.
    pub(crate) fn from_authority(authority: Bytes) -> Option<Self> {
        let text = std::str::from_utf8(&authority).ok()?;
        if let Some(rest) = text.strip_prefix('[') {
            let address: std::net::Ipv6Addr = rest.split(']').next()?.parse().ok()?;
            return Some(Self(Bytes::from(format!("[{address}]"))));
        }
        let end = text.find(':').unwrap_or(text.len());
        // A trailing dot names the same host (RFC 1034 §3.1).
        let end = if end > 1 && text.as_bytes()[end - 1] == b'.' { end - 1 } else { end };
        let name = authority.slice(..end);
        if name.iter().any(u8::is_ascii_uppercase) {
            return Some(Self(Bytes::from(name.to_ascii_lowercase())));
        }
        Some(Self(name))
    }

    /// The name.
    pub(crate) fn as_str(&self) -> &str {
        // Only `from_authority` makes one, from text.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl Call {
    /// Its listener as its snapshot has it; as the connection knew it, when it is gone.
    pub(crate) fn listener(&self) -> &Listener {
        self.plan.listeners.get(self.listener).unwrap_or(&self.peer.listener)
    }

    /// Whether the client came by TLS: as a trusted proxy says, or as it came here. Of any other peer the header is the
    /// gateway's own.
    pub(crate) fn is_https(&self) -> bool {
        crate::listener::forwarded::came_by_tls(&self.head.headers, self.record.tls)
    }

    /// The scheme by which the client asked.
    pub(crate) fn scheme(&self) -> &'static str {
        if self.is_https() { "https" } else { "http" }
    }

    /// The protocol that the client speaks, as Envoy and the access log name it.
    pub(crate) fn protocol(&self) -> &'static str {
        match self.record.version {
            Version::HTTP_3 => "HTTP/3",
            Version::HTTP_2 => "HTTP/2",
            Version::HTTP_10 => "HTTP/1.0",
            _ => "HTTP/1.1",
        }
    }

    /// The canonical path as it is now, rewrites included.
    pub(crate) fn path(&self) -> &str {
        self.head.uri.path()
    }

    /// The path that `captures` points into: the one that was routed, before any rewrite.
    pub(crate) fn routed_path(&self) -> &str {
        // The target of CONNECT has no path and is routed as if it were the root.
        match self.record.uri.path() {
            "" => "/",
            path => path,
        }
    }

    /// Value of a capture of the route's path template.
    pub(crate) fn capture(&self, name: &str) -> Option<&str> {
        self.captures.get(self.routed_path(), name)
    }

    /// Keeps something for this policy's response phase.
    pub(crate) fn keep<P: ?Sized, T: 'static>(&mut self, policy: &P, note: T) {
        self.notes.push(((&raw const *policy).cast::<()>() as usize, Box::new(note)));
    }

    /// Takes what this policy kept.
    pub(crate) fn take<P: ?Sized, T: 'static>(&mut self, policy: &P) -> Option<T> {
        let key = (&raw const *policy).cast::<()>() as usize;
        let at = self.notes.iter().position(|(owner, note)| *owner == key && note.is::<T>())?;
        self.notes.swap_remove(at).1.downcast().ok().map(|note| *note)
    }

    /// Its body has been read here: nobody waits for leave to send it any more.
    pub(crate) fn has_been_sent(&mut self) {
        self.expects_continue = false;
        self.head.headers.remove(http::header::EXPECT);
    }

    /// Whether its body is one half of a switched protocol: it has no end, and nobody may wait for it. A client that only
    /// says that it would switch has a body like any other.
    pub(crate) fn body_is_tunnel(&self) -> bool {
        matches!(self.upgrade, Some(upgrade) if upgrade != Upgrade::Connection)
    }

    /// Whether this answer opens the switched protocol that was asked for.
    pub(crate) fn is_switched_by(&self, answer: &http::Response<crate::body::Body>) -> bool {
        crate::upstream::switch::opens(&self.head.method, answer.status())
    }

    /// A call of the gateway's own for the sake of this one: to a server that its handler asks beside others. It has a
    /// record of its own, which nobody reads but whoever sent it out.
    pub(crate) fn errand(&self, head: Parts) -> Box<Self> {
        let record = &self.record;
        let record = new_record(&self.peer, &head, self.client, record.request_id.clone(), record.trace);
        Box::new(Self {
            ai: Default::default(),
            shown_key: None,
            head,
            plan: self.plan.clone(),
            peer: self.peer.clone(),
            listener: self.listener,
            client: self.client,
            host: None,
            started: Instant::now(),
            asked: None,
            route: self.route,
            captures: Captures::default(),
            consumer: self.consumer.clone(),
            stands_in: false,
            is_stranger: self.is_stranger,
            authorization_is_judged: self.authorization_is_judged,
            token: None,
            claims: None,
            answer_headers: http::HeaderMap::new(),
            notes: Vec::new(),
            upgrade: None,
            expects_continue: false,
            host_from_endpoint: true,
            forms: Default::default(),
            chain: Progress::default(),
            random: self.random.rotate_left(17) ^ u64::from(self.record.attempts),
            received: Received::default(),
            dialect: None,
            rpc: None,
            record,
            trail: Trail::default(),
            interim: None,
        })
    }

    /// A call that no client made: what the gateway sends for itself.
    pub(crate) fn of_the_gateway(
        plan: Plan,
        peer: Rc<Peer>,
        head: Parts,
        request_id: HeaderValue,
        random: u64,
    ) -> Box<Self> {
        let client = peer.ip();
        let record = new_record(&peer, &head, client, request_id, None);
        Box::new(Self {
            ai: Default::default(),
            shown_key: None,
            head,
            plan,
            listener: peer.listener.index,
            peer,
            client,
            host: None,
            started: Instant::now(),
            asked: None,
            route: None,
            captures: Captures::default(),
            consumer: None,
            stands_in: false,
            is_stranger: false,
            authorization_is_judged: false,
            token: None,
            claims: None,
            answer_headers: http::HeaderMap::new(),
            notes: Vec::new(),
            upgrade: None,
            expects_continue: false,
            host_from_endpoint: true,
            forms: Default::default(),
            chain: Progress::default(),
            random,
            received: Received::default(),
            dialect: None,
            rpc: None,
            record,
            trail: Trail::default(),
            interim: None,
        })
    }

    /// What its record says of how it is sent on its way.
    pub(crate) fn traffic(&mut self) -> &mut model::TrafficRecord {
        self.record.traffic.get_or_insert_default()
    }

    /// Marks the record as failed.
    pub(crate) fn record_failure(&mut self, failure: &Failure) {
        self.record.failure = Some(failure.to_record());
    }

    /// Notes the `grpc-status` of trailers.
    pub(crate) fn note_grpc_status(&mut self, trailers: &http::HeaderMap) {
        if let Some(status) = trailers.get(GRPC_STATUS) {
            self.record.grpc_status = status.to_str().ok().and_then(|text| text.parse().ok());
        }
    }

    /// Time since the call began.
    pub(crate) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }
}

/// The record of a call whose head is just complete.
pub(crate) fn new_record(
    peer: &Peer,
    head: &Parts,
    client: IpAddr,
    request_id: HeaderValue,
    trace: Option<TraceContext>,
) -> CallRecord {
    CallRecord {
        started: std::time::SystemTime::now(),
        timings: Default::default(),
        request_id,
        trace,
        listener: peer.listener.name.clone(),
        route: None,
        rule: None,
        upstream: None,
        endpoint: None,
        consumer: None,
        method: head.method.clone(),
        uri: head.uri.clone(),
        host: head.headers.get(http::header::HOST).cloned(),
        user_agent: head.headers.get(http::header::USER_AGENT).cloned(),
        version: head.version,
        tls: peer.tls.is_some(),
        client,
        status: StatusCode::OK,
        grpc_status: None,
        request_bytes: 0,
        response_bytes: 0,
        attempts: 0,
        hedges: 0,
        hedge_won: false,
        failed_tries: Vec::new(),
        tries: Vec::new(),
        failure: None,
        ai: None,
        mcp: None,
        prompt_version: None,
        a2a: None,
        cache: None,
        waf: None,
        graphql: None,
        judged: Vec::new(),
        onward: Vec::new(),
        geo: None,
        content: None,
        composed: None,
        transcoded: None,
        published: None,
        delivered: None,
        fed: None,
        traffic: None,
        mirrored: None,
        stream: None,
        sign_in: None,
        stopped_by: None,
    }
}

/// Whether the method is idempotent (RFC 9110 §9.2.2), so that a second try does no harm.
pub(crate) fn is_idempotent(method: &Method) -> bool {
    matches!(
        *method,
        Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE | Method::PUT | Method::DELETE
    )
}

/// The failure of a call whose client has gone.
pub(crate) fn client_left(stage: Stage) -> Failure {
    Failure::new(Side::Client, stage, Problem::ClientLeft)
}
