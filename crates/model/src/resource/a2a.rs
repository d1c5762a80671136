//! `a2a`: agents of the Agent2Agent protocol behind the gateway.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    health::OutlierDetection,
    route::Route,
    tls::UpstreamTls,
    tries::{Bulkhead, CircuitBreaker, TimeoutOverrides},
    upstream::Pool,
};
use crate::{
    Duration, HeaderName, Secret, Size,
    policy::{Place, PolicyUse, RateLimit},
};

/// Agents of the Agent2Agent protocol (A2A, 0.3 and 1.0 over JSON-RPC, clients also of 1.0 over HTTP and JSON), each at
/// the route's path and its name; a single one also at the route's path itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct A2aRoute {
    /// The agents.
    pub agents: Vec<A2aAgent>,
    /// Rules of methods. The first rule that fits counts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<A2aRule>,
    /// The address below which clients know the agents, as `https://api.example.com/a2a`, for their cards. Without it the
    /// `Host` and the path that a client asked with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_url: Option<String>,
    /// Serve cards to callers that have not shown who they are.
    #[serde(default)]
    pub public_cards: bool,
    /// Hosts that agents may send push notifications to, exact or `*.host`. Without it such configurations are refused.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub push_hosts: Vec<String>,
    /// Encrypts the ids of tasks and contexts, so that every gateway with this secret takes them; 16 characters at least.
    /// Without it a key that is kept in the data directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id_key: Option<Secret>,
    /// Messages of clients up to this size are taken.
    #[serde(default = "max_body_size")]
    pub max_body_size: Size,
    /// Events and answers of agents up to this size are passed.
    #[serde(default = "max_event_size")]
    pub max_event_size: Size,
    /// An agent's card is asked for again after this time.
    #[serde(default = "card_ttl")]
    pub card_ttl: Duration,
}

fn max_body_size() -> Size {
    Size::kib(8 * 1024)
}

fn max_event_size() -> Size {
    Size::kib(8 * 1024)
}

fn card_ttl() -> Duration {
    Duration::from_secs(5 * 60)
}

/// An agent. Its state shows as the upstream `a2a:ROUTE:NAME`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct A2aAgent {
    /// Unique name; the last segment of its path at the gateway.
    #[schemars(extend("format" = "name"))]
    pub name: String,
    /// Its endpoint of JSON-RPC, as `http://127.0.0.1:9999/`.
    pub url: String,
    /// The path of its card. Without it `/.well-known/agent-card.json`, or `/.well-known/agent.json` where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub card_path: Option<String>,
    /// Header fields of every request to it, such as the credentials that it wants. Nothing of a caller's own
    /// credentials goes on.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<HeaderName, Secret>,
    /// How long each part of a call may take. Agents work before they answer: `request` is 1h without it, and `idle` 10m.
    #[serde(default)]
    pub timeouts: TimeoutOverrides,
    /// Circuit breaker of the agent; off without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub circuit_breaker: Option<CircuitBreaker>,
    /// Bound of calls at a time; off without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bulkhead: Option<Bulkhead>,
    /// Ejection of addresses that fail live traffic; without it one that refuses a connection alone is set
    /// aside, for 30s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outlier_detection: Option<OutlierDetection>,
    /// TLS towards an agent with `https`.
    #[serde(default)]
    pub tls: UpstreamTls,
    /// Connections that are kept.
    #[serde(default)]
    pub pool: Pool,
}

impl A2aAgent {
    /// Its name as an upstream.
    pub fn upstream(&self, route: &str) -> String {
        format!("a2a:{route}:{}", self.name)
    }
}

/// A rule of methods.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct A2aRule {
    /// The agents that it is for, by name; all without it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub agents: Vec<String>,
    /// The methods that it is for, by their names in 1.0, which stand for those of 0.3, too; all without it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub methods: Vec<A2aMethod>,
    /// Who may call, in CEL over `consumer`, `jwt`, `request`, `client`, `tool` (`AGENT/METHOD`) and `arguments` (the
    /// parameters, with ids as the client wrote them).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "cel"))]
    pub allow: Option<String>,
    /// Bounds calls.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_limit: Option<RateLimit>,
}

/// A method of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum A2aMethod {
    /// `message/send`.
    SendMessage,
    /// `message/stream`.
    SendStreamingMessage,
    /// `tasks/get`.
    GetTask,
    /// `tasks/list`.
    ListTasks,
    /// `tasks/cancel`.
    CancelTask,
    /// `tasks/resubscribe`.
    SubscribeToTask,
    /// `tasks/pushNotificationConfig/set`.
    CreateTaskPushNotificationConfig,
    /// `tasks/pushNotificationConfig/get`.
    GetTaskPushNotificationConfig,
    /// `tasks/pushNotificationConfig/list`.
    ListTaskPushNotificationConfigs,
    /// `tasks/pushNotificationConfig/delete`.
    DeleteTaskPushNotificationConfig,
    /// `agent/getAuthenticatedExtendedCard`.
    GetExtendedAgentCard,
}

impl A2aMethod {
    /// All of them with their names in 1.0 and in 0.3.
    pub const ALL: [(Self, &'static str, &'static str); 11] = [
        (Self::SendMessage, "SendMessage", "message/send"),
        (Self::SendStreamingMessage, "SendStreamingMessage", "message/stream"),
        (Self::GetTask, "GetTask", "tasks/get"),
        (Self::ListTasks, "ListTasks", "tasks/list"),
        (Self::CancelTask, "CancelTask", "tasks/cancel"),
        (Self::SubscribeToTask, "SubscribeToTask", "tasks/resubscribe"),
        (
            Self::CreateTaskPushNotificationConfig,
            "CreateTaskPushNotificationConfig",
            "tasks/pushNotificationConfig/set",
        ),
        (
            Self::GetTaskPushNotificationConfig,
            "GetTaskPushNotificationConfig",
            "tasks/pushNotificationConfig/get",
        ),
        (
            Self::ListTaskPushNotificationConfigs,
            "ListTaskPushNotificationConfigs",
            "tasks/pushNotificationConfig/list",
        ),
        (
            Self::DeleteTaskPushNotificationConfig,
            "DeleteTaskPushNotificationConfig",
            "tasks/pushNotificationConfig/delete",
        ),
        (Self::GetExtendedAgentCard, "GetExtendedAgentCard", "agent/getAuthenticatedExtendedCard"),
    ];

    /// The method of a name, of either version.
    pub fn of(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, new, old)| *new == name || *old == name).map(|(method, ..)| *method)
    }

    /// Its name in 1.0.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(method, ..)| *method == self).map_or("", |(_, name, _)| name)
    }
}

impl Route {
    /// What callers can show at this route, as far as its own policies say: schemes by name, as OpenAPI writes them.
    pub fn credentials(&self) -> Vec<(String, Value)> {
        let mut all = Vec::new();
        for used in &self.policies {
            let PolicyUse::Inline(policy) = used else { continue };
            let Place::Authentication(shown) = policy.place() else { continue };
            for header in shown.headers {
                let scheme = match (policy.name().starts_with("basic"), header.to_string().as_str()) {
                    (true, "authorization") => ("basic", json!({"type": "http", "scheme": "basic"})),
                    (_, "authorization") => ("bearer", json!({"type": "http", "scheme": "bearer"})),
                    (_, name) => ("", json!({"type": "apiKey", "in": "header", "name": name})),
                };
                let name = if scheme.0.is_empty() { format!("key-{header}") } else { scheme.0.to_owned() };
                all.push((name, scheme.1));
            }
            if let Some(name) = shown.parameter {
                let scheme = json!({"type": "apiKey", "in": "query", "name": name});
                all.push((format!("key-in-query-{name}"), scheme));
            }
        }
        all
    }
}
