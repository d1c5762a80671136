//! A vault as far as the documentation of its HTTP API goes: logins, tokens and their renewal, both versions of the
//! key/value engine, mounts, namespaces, leases, and what it answers when something is wrong.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard},
};

use serde_json::{Value, json};

use crate::harness::{Seen, Upstream, free_port};

/// What it knows, and how it is.
pub struct State {
    /// Good tokens, each with how long it is good in seconds; 0 is for ever.
    pub tokens: BTreeMap<String, u64>,
    /// How long tokens of logins are good.
    pub login_seconds: u64,
    /// What lies at API paths, and what is answered there.
    pub secrets: BTreeMap<String, Value>,
    /// Mounts that may be asked about, with type and version.
    pub mounts: BTreeMap<&'static str, (&'static str, &'static str)>,
    pub namespace: Option<&'static str>,
    /// A status and an error text for each of so many requests to come.
    pub faults: (usize, u16, &'static str),
    /// Credentials that were made, and how long each lease lasts.
    pub made: u64,
    pub lease_seconds: u64,
    pub renews_leases: bool,
    /// What service accounts show.
    pub jwt: String,
    pub logins: u64,
    pub renewals: u64,
    /// Where requests are sent instead, once each.
    pub redirect: Option<String>,
}

pub struct Mock {
    upstream: Upstream,
    state: Arc<Mutex<State>>,
}

impl Mock {
    pub fn start() -> Self {
        Self::on(SocketAddr::from(([127, 0, 0, 1], free_port())))
    }

    pub fn on(address: SocketAddr) -> Self {
        let state = State {
            tokens: BTreeMap::from([("token-of-the-test".to_owned(), 0)]),
            login_seconds: 3600,
            secrets: BTreeMap::new(),
            mounts: BTreeMap::from([
                ("secret", ("kv", "2")),
                ("legacy", ("kv", "1")),
                ("database", ("database", "")),
            ]),
            namespace: None,
            faults: (0, 0, ""),
            made: 0,
            lease_seconds: 60,
            renews_leases: true,
            jwt: String::new(),
            logins: 0,
            renewals: 0,
            redirect: None,
        };
        let state = Arc::new(Mutex::new(state));
        let shared = state.clone();
        let upstream = Upstream::on(address, move |seen| {
            let (status, headers, body) = answer(&mut shared.lock().expect("not poisoned"), seen);
            let body = if body.is_null() { String::new() } else { body.to_string() };
            let head = format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n{headers}\r\n", body.len());
            Some(format!("{head}{body}").into_bytes())
        });
        Self { upstream, state }
    }

    pub fn address(&self) -> SocketAddr {
        self.upstream.address
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("not poisoned")
    }

    /// Puts a secret into the second version of the engine, as `vault kv put` does.
    pub fn put(&self, path: &str, fields: Value) {
        let (mount, rest) = path.split_once('/').expect("a mount");
        let data =
            json!({"data": fields, "metadata": {"version": 1, "deletion_time": "", "destroyed": false}});
        self.state().secrets.insert(format!("{mount}/data/{rest}"), envelope(data, 0));
    }

    /// Puts one into the first version.
    pub fn put_old(&self, path: &str, fields: Value) {
        self.state().secrets.insert(path.to_owned(), envelope(fields, 2_764_800));
    }

    /// Requests to API paths that begin so.
    pub fn asked(&self, path: &str) -> usize {
        let begin = format!("/v1/{path}");
        self.upstream.seen().iter().filter(|seen| seen.target().starts_with(&begin)).count()
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.upstream.seen()
    }
}

fn envelope(data: Value, lease_duration: u64) -> Value {
    json!({"request_id": "r", "lease_id": "", "renewable": false, "lease_duration": lease_duration, "data": data,
           "wrap_info": null, "warnings": null, "auth": null})
}

fn error(status: u16, text: &str) -> (u16, String, Value) {
    (status, String::new(), if text.is_empty() { json!({"errors": []}) } else { json!({"errors": [text]}) })
}

fn answer(state: &mut State, seen: &Seen) -> (u16, String, Value) {
    assert_eq!(seen.header("x-vault-request"), Some("true"), "what every client of Vault's sends");
    if let Some(location) = state.redirect.take() {
        return (307, format!("location: {location}{}\r\n", seen.target()), Value::Null);
    }
    if state.faults.0 > 0 {
        state.faults.0 -= 1;
        return error(state.faults.1, state.faults.2);
    }
    let method = seen.line.split(' ').next().unwrap_or_default();
    let path = seen.target().strip_prefix("/v1/").expect("an API path").to_owned();
    let body: Value = serde_json::from_slice(&seen.body).unwrap_or_default();
    if seen.header("x-vault-namespace") != state.namespace {
        return error(404, &format!("no handler for route \"{path}\". route entry not found."));
    }
    let enter = |state: &mut State| {
        state.logins += 1;
        let token = format!("hvs.login-{}", state.logins);
        state.tokens.insert(token.clone(), state.login_seconds);
        let auth = json!({"client_token": token, "accessor": "a", "policies": ["default"], "renewable": true,
                          "lease_duration": state.login_seconds});
        (200, String::new(), json!({"auth": auth, "data": null}))
    };
    match (method, path.as_str()) {
        ("POST", "auth/approle/login") => {
            let is_good =
                body["role_id"] == "role-of-the-test" && body["secret_id"] == "secret-id-of-the-test";
            return if is_good { enter(state) } else { error(400, "invalid role or secret ID") };
        }
        ("POST", "auth/cluster-7/login") => {
            let is_good = body["role"] == "gateway" && body["jwt"] == state.jwt.as_str();
            return if is_good { enter(state) } else { error(403, "permission denied") };
        }
        _ => {}
    }
    let token = seen.header("x-vault-token").unwrap_or_default();
    let Some(seconds) = state.tokens.get(token).copied() else {
        return error(403, "2 errors occurred:\n\t* permission denied\n\t* invalid token\n\n");
    };
    match (method, path.as_str()) {
        ("GET", "auth/token/lookup-self") => {
            (200, String::new(), envelope(json!({"ttl": seconds, "renewable": seconds > 0}), 0))
        }
        ("POST", "auth/token/renew-self") => {
            state.renewals += 1;
            let auth = json!({"client_token": token, "renewable": true, "lease_duration": seconds});
            (200, String::new(), json!({"auth": auth}))
        }
        ("POST", "sys/leases/renew") => {
            if !state.renews_leases || body["lease_id"] != format!("database/creds/app/{}", state.made) {
                return error(400, "lease not found");
            }
            state.renewals += 1;
            let lease = json!({"lease_id": body["lease_id"], "renewable": true, "lease_duration": state.lease_seconds});
            (200, String::new(), lease)
        }
        ("GET", "database/creds/app") => {
            state.made += 1;
            let made = state.made;
            let mut answer = envelope(
                json!({"username": format!("made-user-{made}"), "password": "p"}),
                state.lease_seconds,
            );
            answer["lease_id"] = json!(format!("database/creds/app/{made}"));
            answer["renewable"] = json!(true);
            (200, String::new(), answer)
        }
        ("GET", path) => match path.strip_prefix("sys/internal/ui/mounts/") {
            Some(rest) => {
                let mount = rest.split('/').next().unwrap_or_default();
                match state.mounts.get(mount) {
                    Some((kind, version)) => {
                        let options =
                            if version.is_empty() { Value::Null } else { json!({"version": version}) };
                        let data = json!({"path": format!("{mount}/"), "type": kind, "options": options});
                        (200, String::new(), envelope(data, 0))
                    }
                    None => error(
                        403,
                        "preflight capability check returned 403, please ensure client's policies grant access to path",
                    ),
                }
            }
            None => match state.secrets.get(path) {
                Some(secret) => (200, String::new(), secret.clone()),
                None => error(404, ""),
            },
        },
        _ => error(405, "unsupported operation"),
    }
}
