//! Who asks: login, the token and its renewal, where a path is mounted, and reads.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use http::Method;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

use crate::{
    Auth, Settings,
    answer::{Fault, Kind, Lease, Read, judge, seconds, secret},
    wire::{Question, Wire},
};

/// What a path's part may have in a URL as it is.
const PART: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~').remove(b'@');

/// How often a server that is behind its cluster is asked again at once, and after which pause.
const BEHIND_TRIES: u32 = 4;
const BEHIND_PAUSE: Duration = Duration::from_millis(150);

/// No login is made more often than that: a role with a token that ends at once is no reason to ask without a pause.
const TOKEN_TIME_MIN: Duration = Duration::from_secs(1);

/// A token with what is known of its time.
struct Token {
    text: String,
    renewable: bool,
    /// How long it was good for at first.
    granted: Option<Duration>,
    /// When it has to be seen to, and when it ends; never where it has no end.
    tend: Option<Instant>,
    ends: Option<Instant>,
}

/// Where paths are mounted.
#[derive(Debug, Clone)]
struct Mount {
    prefix: String,
    is_v2: bool,
}

/// What is counted.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Counts {
    pub(crate) logins: u64,
    pub(crate) renewals: u64,
}

pub(crate) struct Client {
    settings: Settings,
    wire: Wire,
    token: Option<Token>,
    mounts: HashMap<String, Mount>,
    pub(crate) counts: Counts,
}

impl Client {
    pub(crate) fn new(settings: Settings) -> Result<Self, String> {
        let wire = Wire::new(&settings.address, settings.ca.as_deref(), settings.timeout)?;
        Ok(Self { settings, wire, token: None, mounts: HashMap::new(), counts: Counts::default() })
    }

    /// When the token has to be seen to.
    pub(crate) fn token_due(&self) -> Option<Instant> {
        self.token.as_ref().and_then(|token| token.tend)
    }

    /// Has a token that ends seen to now.
    pub(crate) fn wake(&mut self, now: Instant) {
        if let Some(token) = self.token.as_mut().filter(|token| token.tend.is_some()) {
            token.tend = Some(now);
        }
    }

    /// When the token ends.
    pub(crate) fn token_ends(&self) -> Option<Instant> {
        self.token.as_ref().and_then(|token| token.ends)
    }

    /// Renews the token when it is time for that, or signs in anew.
    pub(crate) async fn tend_token(&mut self) -> Result<(), Fault> {
        let now = Instant::now();
        let Some(token) = self.token.as_ref().filter(|token| token.tend.is_some_and(|tend| tend <= now))
        else {
            return Ok(());
        };
        let can_sign_in = !matches!(self.settings.auth, Auth::Token(_));
        if token.renewable {
            let granted = token.granted;
            let renewed = self.ask(Method::POST, "auth/token/renew-self", Some(json!({}))).await;
            match renewed {
                Ok(answer) => {
                    self.counts.renewals += 1;
                    let lasts = seconds(answer.pointer("/auth/lease_duration"));
                    // Near the end of all renewals they get shorter and shorter: time for another token.
                    let is_short = lasts.zip(granted).is_some_and(|(lasts, granted)| lasts * 3 < granted);
                    if !(is_short && can_sign_in) {
                        let renewable =
                            answer.pointer("/auth/renewable").and_then(Value::as_bool).unwrap_or(true);
                        if let Some(token) = &mut self.token {
                            token.renewable = renewable;
                            token.last(lasts);
                            if is_short {
                                token.warn_of_end();
                            }
                        }
                        return Ok(());
                    }
                }
                Err(fault) if fault.may_pass() => {
                    if let Some(token) = &mut self.token {
                        token.try_again(now);
                    }
                    return Err(fault);
                }
                Err(fault) if !can_sign_in => {
                    if let Some(token) = &mut self.token {
                        (token.renewable, token.tend) = (false, None);
                        token.warn_of_end();
                    }
                    return Err(fault);
                }
                Err(_) => {}
            }
        }
        if !can_sign_in {
            if let Some(token) = &mut self.token {
                token.tend = None;
                token.warn_of_end();
            }
            return Ok(());
        }
        // The old token stays until there is a new one.
        match self.sign_in().await {
            Ok(token) => {
                self.token = Some(token);
                Ok(())
            }
            Err(fault) => {
                if let Some(token) = &mut self.token {
                    token.try_again(now);
                }
                Err(fault)
            }
        }
    }

    /// Reads what lies at a path, as `vault kv get` names it.
    pub(crate) async fn read(&mut self, path: &str) -> Result<Read, Fault> {
        let mount = self.mount(path).await?;
        let api = match mount.is_v2 {
            true => {
                let rest =
                    path.strip_prefix(mount.prefix.as_str()).unwrap_or_default().trim_start_matches('/');
                format!("{}/data/{rest}", mount.prefix)
            }
            false => path.to_owned(),
        };
        let answer = self.ask(Method::GET, &encoded(&api), None).await.map_err(|mut fault| {
            let has_data = mount.is_v2 && api.starts_with(&format!("{}/data/data/", mount.prefix));
            match fault.kind {
                Kind::Denied => {
                    fault.text.push_str(&format!(": the token's policies have to allow `read` on `{api}`"));
                }
                Kind::Missing if has_data => {
                    fault.text.push_str(": write it as `vault kv get` does, without `data/`");
                }
                _ => {}
            }
            fault
        })?;
        secret(&answer, mount.is_v2)
    }

    /// Renews a lease: how long it lasts from now on.
    pub(crate) async fn renew(&mut self, lease: &Lease) -> Result<Option<Duration>, Fault> {
        let answer = self.ask(Method::POST, "sys/leases/renew", Some(json!({"lease_id": lease.id}))).await?;
        self.counts.renewals += 1;
        Ok(seconds(answer.get("lease_duration")))
    }

    /// Where a path is mounted: as the settings say, or as the server does when it is asked like `vault kv` asks it.
    async fn mount(&mut self, path: &str) -> Result<Mount, Fault> {
        let holds = |prefix: &str| path.strip_prefix(prefix).is_some_and(|rest| rest.starts_with('/'));
        let told = self.settings.mounts.iter().filter(|(prefix, _)| holds(prefix));
        if let Some((prefix, version)) = told.max_by_key(|(prefix, _)| prefix.len()) {
            return Ok(Mount { prefix: prefix.clone(), is_v2: *version == 2 });
        }
        if let Some(known) =
            self.mounts.values().filter(|mount| holds(&mount.prefix)).max_by_key(|mount| mount.prefix.len())
        {
            return Ok(known.clone());
        }
        let question = format!("sys/internal/ui/mounts/{}", encoded(path));
        let found = match self.ask(Method::GET, &question, None).await {
            Ok(answer) => {
                let data = answer.get("data");
                let text = |key: &str| data.and_then(|data| data.get(key)).and_then(Value::as_str);
                let version = data.and_then(|data| data.pointer("/options/version")).and_then(Value::as_str);
                text("path").map(|prefix| Mount {
                    prefix: prefix.trim_matches('/').to_owned(),
                    is_v2: text("type") == Some("kv") && version == Some("2"),
                })
            }
            Err(fault) if fault.may_pass() => return Err(fault),
            Err(_) => None,
        };
        // Who may not ask has most likely what most have.
        let first = path.split('/').next().unwrap_or_default().to_owned();
        let mount =
            found.filter(|mount| holds(&mount.prefix)).unwrap_or(Mount { prefix: first, is_v2: true });
        self.mounts.insert(mount.prefix.clone(), mount.clone());
        Ok(mount)
    }

    /// Asks as whoever the settings say. A token that is no good any more is replaced, once.
    async fn ask(&mut self, method: Method, path: &str, body: Option<Value>) -> Result<Value, Fault> {
        if self.token.as_ref().is_none_or(|token| token.ends.is_some_and(|ends| ends <= Instant::now())) {
            self.token = Some(self.sign_in().await?);
        }
        let answer = self.send(method.clone(), path, body.clone(), true).await;
        match answer {
            Err(fault) if fault.kind == Kind::Denied && !matches!(self.settings.auth, Auth::Token(_)) => {
                // Is it the token, or what it may? A token that is good may ask about itself.
                if self.send(Method::GET, "auth/token/lookup-self", None, true).await.is_ok() {
                    return Err(fault);
                }
                self.token = Some(self.sign_in().await?);
                self.send(method, path, body, true).await
            }
            answer => answer,
        }
    }

    async fn send(
        &mut self,
        method: Method,
        path: &str,
        body: Option<Value>,
        signed: bool,
    ) -> Result<Value, Fault> {
        let body = body.map(|body| body.to_string());
        let mut tries = 0;
        loop {
            let token = self.token.as_ref().filter(|_| signed).map(|token| token.text.as_str());
            let namespace = self.settings.namespace.as_deref();
            let question = Question { method: method.clone(), path, token, namespace, body: body.clone() };
            let told = self.wire.ask(&question).await.map_err(|text| Fault::new(Kind::Away, text))?;
            let answer = judge(told.status, &told.body, told.retry_after);
            tries += 1;
            match answer {
                Err(fault) if fault.kind == Kind::Behind && tries < BEHIND_TRIES => {
                    tokio::time::sleep(BEHIND_PAUSE * tries).await;
                }
                answer => return answer,
            }
        }
    }

    async fn sign_in(&mut self) -> Result<Token, Fault> {
        let (mount, body) = match &self.settings.auth {
            Auth::Token(text) => {
                let text = text.clone();
                return self.look_up(text).await;
            }
            Auth::AppRole { mount, role_id, secret_id } => {
                let mut body = json!({"role_id": role_id});
                if let Some(secret_id) = secret_id {
                    body["secret_id"] = json!(secret_id);
                }
                (mount, body)
            }
            Auth::Jwt { mount, role, file } => {
                let jwt = std::fs::read_to_string(file).map_err(|error| {
                    Fault::new(
                        Kind::Away,
                        format!("cannot read the token to sign in with, {}: {error}", file.display()),
                    )
                })?;
                (mount, json!({"role": role, "jwt": jwt.trim()}))
            }
        };
        let path = format!("auth/{}/login", encoded(mount));
        let answer = self.send(Method::POST, &path, Some(body), false).await.map_err(|mut fault| {
            fault.text = format!("cannot sign in at `{path}`: {}", fault.text);
            fault
        })?;
        let wrong = || Fault::new(Kind::Refused, format!("the login at `{path}` gave no token"));
        let text = answer.pointer("/auth/client_token").and_then(Value::as_str).ok_or_else(wrong)?;
        let renewable = answer.pointer("/auth/renewable").and_then(Value::as_bool).unwrap_or(false);
        self.counts.logins += 1;
        Ok(Token::new(text.to_owned(), renewable, seconds(answer.pointer("/auth/lease_duration"))))
    }

    /// What is known of a token that somebody else has made. One that may not ask about itself is taken as it is.
    async fn look_up(&mut self, text: String) -> Result<Token, Fault> {
        self.token = Some(Token::new(text.clone(), false, None));
        let answer = self.send(Method::GET, "auth/token/lookup-self", None, true).await;
        self.token = None;
        let answer = match answer {
            Ok(answer) => answer,
            Err(fault) if fault.kind == Kind::Denied => return Ok(Token::new(text, false, None)),
            Err(fault) => return Err(fault),
        };
        let renewable = answer.pointer("/data/renewable").and_then(Value::as_bool).unwrap_or(false);
        let token = Token::new(text, renewable, seconds(answer.pointer("/data/ttl")));
        if !renewable {
            token.warn_of_end();
        }
        Ok(token)
    }
}

impl Token {
    fn new(text: String, renewable: bool, lasts: Option<Duration>) -> Self {
        let mut token = Self { text, renewable, granted: lasts, tend: None, ends: None };
        token.last(lasts);
        token
    }

    /// Begins to count its time.
    fn last(&mut self, lasts: Option<Duration>) {
        let now = Instant::now();
        self.ends = lasts.map(|lasts| now + lasts);
        self.tend = lasts.map(|lasts| now + (lasts * 2 / 3).max(TOKEN_TIME_MIN));
    }

    /// Nobody could be asked: soon again.
    fn try_again(&mut self, now: Instant) {
        let left = self.ends.map_or(Duration::from_secs(5), |ends| ends.saturating_duration_since(now) / 4);
        self.tend = Some(now + left.clamp(TOKEN_TIME_MIN, Duration::from_secs(30)));
    }

    fn warn_of_end(&self) {
        if let Some(ends) = self.ends {
            let left = ends.saturating_duration_since(Instant::now()).as_secs();
            tracing::warn!(
                "the vault's token ends in {left} seconds and cannot be renewed beyond: give another one before"
            );
        }
    }
}

/// A path with each part as a URL has it.
fn encoded(path: &str) -> String {
    let parts: Vec<String> =
        path.split('/').map(|part| utf8_percent_encode(part, PART).to_string()).collect();
    parts.join("/")
}
