//! Cards of agents: read, kept for a while, and told such that clients find the gateway.

use std::{
    collections::VecDeque,
    rc::Rc,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::StatusCode;
use model::{Route, resource::a2a::A2aRoute};
use serde_json::{Map, Value, json};

use super::agent::{Agent, bad};
use crate::{
    call::Call,
    failure::{Failure, Problem, Stage},
    handler::ai::gathered::{Ungathered, gather},
    worker::Worker,
};

/// Where cards are, the newer place first.
pub(super) const PLACES: [&str; 2] = ["/.well-known/agent-card.json", "/.well-known/agent.json"];
/// Bytes of a card.
const CARD_BYTES_MAX: usize = 1024 * 1024;
/// The binding that is passed on.
const BINDING: &str = "JSONRPC";
/// The binding that is understood beside it.
const REST: &str = "HTTP+JSON";

/// A card that could not be read is not asked for again for so long.
const AWAY: Duration = Duration::from_secs(5);
/// How long it may take to read one.
const PATIENCE: Duration = Duration::from_secs(10);
/// Cards that are kept as they are told, each for one address.
const TOLD_MAX: usize = 16;

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A card as it was last read.
#[derive(Default)]
pub(super) struct Kept {
    read: Mutex<Read>,
    /// Held by the one who reads it, while the others wait for what that one gets.
    reading: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Read {
    card: Option<(Instant, Arc<Value>)>,
    /// When it could not be read, and why.
    failed: Option<(Instant, Arc<str>)>,
}

impl Kept {
    /// What there is without asking the agent; `None` when it is to be asked.
    fn known(&self, ttl: Duration) -> Option<Result<Arc<Value>, Failure>> {
        let read = locked(&self.read);
        let card = read.card.as_ref();
        if let Some((_, card)) = card.filter(|(when, _)| when.elapsed() < ttl) {
            return Some(Ok(card.clone()));
        }
        let (when, why) = read.failed.as_ref()?;
        let wait = AWAY.checked_sub(when.elapsed())?;
        Some(match card {
            Some((_, old)) => Ok(old.clone()),
            None => {
                let failure = bad(format!("the agent's card could not be read a moment ago: {why}"));
                Err(failure.with_hint("the agent's card cannot be read").with_retry_after(wait))
            }
        })
    }

    fn old(&self) -> Option<Arc<Value>> {
        locked(&self.read).card.as_ref().map(|(_, card)| card.clone())
    }

    fn is(&self, card: &Arc<Value>) {
        *locked(&self.read) = Read { card: Some((Instant::now(), card.clone())), failed: None };
    }

    /// It could not be read; the old one, if there is one.
    fn is_not(&self, failure: &Failure) -> Option<Arc<Value>> {
        let mut read = locked(&self.read);
        read.failed = Some((Instant::now(), failure.to_string().into()));
        read.card.as_ref().map(|(_, card)| card.clone())
    }
}

/// A card as clients of an address are told it.
struct Told {
    agent: Arc<str>,
    address: String,
    /// Of which it was made.
    card: Arc<Value>,
    text: Bytes,
}

/// How cards are told.
pub(super) struct Cards {
    ttl: Duration,
    /// What callers show at the gateway: schemes by name in both forms of the protocol, and which of them will do.
    schemes: Map<String, Value>,
    pushes: bool,
    told: Mutex<VecDeque<Told>>,
}

impl Cards {
    /// Cards of a route that says nothing of them.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(super) fn plain() -> Self {
        Self { ttl: Duration::ZERO, schemes: Map::new(), pushes: false, told: Mutex::default() }
    }

    pub(super) fn compile(route: &Route, settings: &A2aRoute) -> Self {
        let mut schemes = Map::new();
        for (name, scheme) in route.credentials() {
            schemes.insert(name, scheme);
        }
        let pushes = !settings.push_hosts.is_empty();
        Self { ttl: settings.card_ttl.get(), schemes, pushes, told: Mutex::default() }
    }

    /// The card of an agent as clients of this address get it. However many ask, the agent is asked by one at a time.
    pub(super) async fn of(
        &self,
        agent: &Agent,
        worker: &Rc<Worker>,
        call: &mut Call,
        address: &str,
    ) -> Result<Bytes, Failure> {
        if let Some(known) = agent.card.known(self.ttl) {
            return Ok(self.as_told(agent, &known?, address));
        }
        let _turn = match (agent.card.reading.try_lock(), agent.card.old()) {
            (Ok(turn), _) => turn,
            // An old one does while another reads it anew.
            (Err(_), Some(old)) => return Ok(self.as_told(agent, &old, address)),
            (Err(_), None) => agent.card.reading.lock().await,
        };
        // Whoever had the turn before may have read it.
        if let Some(known) = agent.card.known(self.ttl) {
            return Ok(self.as_told(agent, &known?, address));
        }
        let read = tokio::time::timeout(PATIENCE, read(agent, worker, call)).await;
        let late = |_| {
            let why = format!("the agent's card did not come within {PATIENCE:?}");
            let failure = Failure::upstream(Stage::FirstByte, Problem::UpstreamTimeout, why);
            Err(failure.with_hint("the agent's card cannot be read"))
        };
        let card = match read.unwrap_or_else(late) {
            Ok(card) => {
                let card = Arc::new(card);
                agent.card.is(&card);
                card
            }
            Err(failure) => match agent.card.is_not(&failure) {
                Some(old) => {
                    tracing::warn!(agent = %agent.name, "the card of `{}` is an old one: {failure}", agent.name);
                    old
                }
                None => return Err(failure),
            },
        };
        Ok(self.as_told(agent, &card, address))
    }

    /// A card as it is told, made once for each address.
    fn as_told(&self, agent: &Agent, card: &Arc<Value>, address: &str) -> Bytes {
        let mut all = locked(&self.told);
        all.retain(|told| told.agent != agent.name || Arc::ptr_eq(&told.card, card));
        if let Some(told) = all.iter().find(|told| told.agent == agent.name && told.address == address) {
            return told.text.clone();
        }
        let text = Bytes::from(self.rewritten((**card).clone(), address).to_string());
        if all.len() >= TOLD_MAX {
            all.pop_front();
        }
        let told = Told { agent: agent.name.clone(), address: address.to_owned(), card: card.clone(), text };
        let text = told.text.clone();
        all.push_back(told);
        text
    }

    /// A card that leads to the gateway: its addresses, what is shown there, and no signature, for it has changed.
    pub(super) fn rewritten(&self, mut card: Value, address: &str) -> Value {
        let Some(members) = card.as_object_mut() else { return card };
        members.remove("signatures");
        let is_old = members.contains_key("url") || !members.contains_key("supportedInterfaces");
        if is_old {
            members.insert("url".to_owned(), address.into());
            members.insert("preferredTransport".to_owned(), BINDING.into());
            if members.contains_key("additionalInterfaces") {
                let only = json!([{"url": address, "transport": BINDING}]);
                members.insert("additionalInterfaces".to_owned(), only);
            }
        }
        if let Some(Value::Array(all)) = members.get_mut("supportedInterfaces") {
            all.retain(|one| one.get("protocolBinding").and_then(Value::as_str) == Some(BINDING));
            all.iter_mut().for_each(|one| one["url"] = address.into());
            let mut seen: Vec<Value> = Vec::new();
            all.retain(|one| {
                let is_new = !seen.contains(one);
                if is_new {
                    seen.push(one.clone());
                }
                is_new
            });
            if all.is_empty() {
                all.push(json!({"url": address, "protocolBinding": BINDING, "protocolVersion": "1.0"}));
            }
            // What is spoken in JSON-RPC is spoken in HTTP and JSON here; there is no place for a tenant in its paths.
            let is_told = |one: &&Value| {
                let text = |key: &str| one.get(key).and_then(Value::as_str).unwrap_or_default();
                text("protocolVersion").starts_with("1.") && text("tenant").is_empty()
            };
            if let Some(mut rest) = all.iter().find(is_told).cloned() {
                rest["protocolBinding"] = REST.into();
                all.push(rest);
            }
        }
        let is_new = members.contains_key("supportedInterfaces");
        for name in ["securitySchemes", "security", "securityRequirements"] {
            members.remove(name);
        }
        if !self.schemes.is_empty() {
            members.insert("securitySchemes".to_owned(), self.told(is_old, is_new));
            if is_old {
                let all: Vec<Value> = self.schemes.keys().map(|name| json!({name.as_str(): []})).collect();
                members.insert("security".to_owned(), all.into());
            }
            if is_new {
                let one = |name: &String| json!({"schemes": {name.as_str(): {"list": []}}});
                let all: Vec<Value> = self.schemes.keys().map(one).collect();
                members.insert("securityRequirements".to_owned(), all.into());
            }
        }
        for skill in members.get_mut("skills").and_then(Value::as_array_mut).into_iter().flatten() {
            if let Some(skill) = skill.as_object_mut() {
                skill.remove("security");
                skill.remove("securityRequirements");
            }
        }
        if let (false, Some(Value::Object(can))) = (self.pushes, members.get_mut("capabilities")) {
            can.insert("pushNotifications".to_owned(), false.into());
        }
        card
    }

    fn told(&self, is_old: bool, is_new: bool) -> Value {
        let mut all = Map::new();
        for (name, scheme) in &self.schemes {
            let mut told = if is_old { scheme.clone() } else { json!({}) };
            if is_new {
                let text = |key: &str| scheme.get(key).and_then(Value::as_str).unwrap_or_default();
                let (key, value) = match text("type") {
                    "http" => ("httpAuthSecurityScheme", json!({"scheme": text("scheme")})),
                    _ => ("apiKeySecurityScheme", json!({"location": text("in"), "name": text("name")})),
                };
                told[key] = value;
            }
            all.insert(name.clone(), told);
        }
        all.into()
    }
}

/// Reads the card of an agent, where it is.
async fn read(agent: &Agent, worker: &Rc<Worker>, call: &mut Call) -> Result<Value, Failure> {
    let places: Vec<&str> = match &agent.card_path {
        Some(path) => vec![path.as_str()],
        None => PLACES.to_vec(),
    };
    let mut last = bad("there is no card");
    for place in places {
        let (head, ()) = http::Request::new(()).into_parts();
        let mut errand = call.errand(head);
        let answer = agent.get(worker, &mut errand, place).await;
        call.record.upstream = errand.record.upstream.take();
        call.record.attempts = call.record.attempts.saturating_add(errand.record.attempts);
        let response = answer?;
        let status = response.status();
        if status != StatusCode::OK {
            last = bad(format!("the agent answered {status} at {place}"))
                .with_hint("the agent's card cannot be read");
            continue;
        }
        let bytes = gather(response.into_body(), CARD_BYTES_MAX).await.map_err(|why| match why {
            Ungathered::TooLarge => bad(format!("the agent's card is larger than {CARD_BYTES_MAX} bytes")),
            Ungathered::Failed(failure) => failure,
        })?;
        return match serde_json::from_slice::<Value>(&bytes) {
            Ok(card) if card.is_object() => Ok(card),
            _ => Err(bad("the agent's card is no JSON object").with_hint("the agent's card cannot be read")),
        };
    }
    Err(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cards(pushes: bool) -> Cards {
        let schemes = json!({
            "key-x-api-key": {"type": "apiKey", "in": "header", "name": "x-api-key"},
            "bearer": {"type": "http", "scheme": "bearer"},
        });
        let schemes = schemes.as_object().cloned().unwrap_or_default();
        Cards { ttl: Duration::ZERO, schemes, pushes, told: Mutex::default() }
    }

    #[test]
    fn a_card_of_0_3_leads_to_the_gateway() {
        let card = json!({"name": "a", "protocolVersion": "0.3.0", "url": "http://10.0.0.7:9/", "preferredTransport": "GRPC",
            "additionalInterfaces": [{"url": "http://10.0.0.7:9/rest", "transport": "HTTP+JSON"}],
            "security": [{"own": []}], "securitySchemes": {"own": {"type": "mutualTLS"}},
            "skills": [{"id": "s", "security": [{"own": []}]}], "signatures": [{}],
            "capabilities": {"streaming": true, "pushNotifications": true}, "unknown": {"url": "http://x/"}});
        let told = cards(false).rewritten(card, "https://gw/a2a/a");
        assert!(!told.to_string().contains("10.0.0.7"), "{told}");
        assert_eq!(
            told["additionalInterfaces"],
            json!([{"url": "https://gw/a2a/a", "transport": "JSONRPC"}])
        );
        assert_eq!(
            (&told["url"], &told["preferredTransport"]),
            (&json!("https://gw/a2a/a"), &json!("JSONRPC"))
        );
        assert_eq!(told["security"].as_array().map(Vec::len), Some(2));
        assert_eq!(told["securitySchemes"]["bearer"], json!({"type": "http", "scheme": "bearer"}));
        assert_eq!(told["skills"], json!([{"id": "s"}]));
        assert_eq!(told["capabilities"], json!({"streaming": true, "pushNotifications": false}));
        assert!(told.get("signatures").is_none() && told.get("supportedInterfaces").is_none());
        assert_eq!(told["unknown"], json!({"url": "http://x/"}));
    }

    #[test]
    fn a_card_of_1_0_has_one_binding_left() {
        let card = json!({"name": "a", "capabilities": {"pushNotifications": true}, "supportedInterfaces": [
            {"url": "http://10.0.0.7:9/grpc", "protocolBinding": "GRPC", "protocolVersion": "1.0"},
            {"url": "http://10.0.0.7:9/a", "protocolBinding": "JSONRPC", "protocolVersion": "1.0"},
            {"url": "http://10.0.0.7:9/b", "protocolBinding": "JSONRPC", "protocolVersion": "1.0"},
            {"url": "http://10.0.0.7:9/c", "protocolBinding": "JSONRPC", "protocolVersion": "0.3"}]});
        let told = cards(true).rewritten(card, "https://gw/a2a/a");
        let versions: Vec<&Value> = told["supportedInterfaces"]
            .as_array()
            .expect("a list")
            .iter()
            .map(|one| &one["protocolVersion"])
            .collect();
        assert_eq!(versions, ["1.0", "0.3", "1.0"]);
        assert_eq!(told["supportedInterfaces"][2]["protocolBinding"], "HTTP+JSON");
        assert!(!told.to_string().contains("10.0.0.7") && told.get("url").is_none(), "{told}");
        let key = json!({"apiKeySecurityScheme": {"location": "header", "name": "x-api-key"}});
        assert_eq!(told["securitySchemes"]["key-x-api-key"], key);
        assert_eq!(told["securityRequirements"][1], json!({"schemes": {"bearer": {"list": []}}}));
        assert_eq!(told["capabilities"]["pushNotifications"], true);
        let other =
            json!({"supportedInterfaces": [{"url": "http://10.0.0.7:9/grpc", "protocolBinding": "GRPC"}]});
        let told = cards(true).rewritten(other, "https://gw/a2a/a");
        assert_eq!(told["supportedInterfaces"].as_array().map(Vec::len), Some(2));
        assert_eq!(told["supportedInterfaces"][0]["url"], "https://gw/a2a/a");
    }
}
