//! The policy's own addresses, and the end of a sign-in: the browser comes back with a code, which is exchanged for tokens.

use std::{collections::HashMap, sync::Arc, time::SystemTime};

use http::{HeaderValue, Method, header};
use serde_json::Value;

use super::{
    Became, Inner, Own, cookies,
    ended::Of,
    judge,
    provider::{Known, NoTokens, Tokens},
    provider_away, seal, sent_to,
    session::{Login, Session, millis, now},
    store::{self, Store},
    store_away,
};
use crate::{
    body::Body,
    call::Call,
    failure::{Failure, Problem, Stage},
    policy::{Verdict, credentials},
};

impl Inner {
    /// Answers at one of the policy's own addresses.
    pub(super) async fn answer(
        self: &Arc<Self>,
        own: Own,
        call: &mut Call,
        body: &mut Body,
        now: u64,
    ) -> Verdict {
        let allowed: &[Method] = match own {
            Own::Callback | Own::Login | Own::FrontChannel => &[Method::GET],
            Own::Logout => &[Method::GET, Method::POST],
            Own::BackChannel => &[Method::POST],
        };
        // Codes and the like stay out of logs, whatever comes of them.
        if let Ok(uri) = call.record.uri.path().parse() {
            call.record.uri = uri;
        }
        if !allowed.contains(&call.head.method) {
            let allow = allowed.iter().map(Method::as_str).collect::<Vec<_>>().join(", ");
            let failure = Failure::client(Stage::Policy, Problem::MethodNotAllowed);
            let allow = HeaderValue::from_str(&allow).unwrap_or(HeaderValue::from_static("GET"));
            return Verdict::Fail(failure.with_header(header::ALLOW, allow));
        }
        let query = match query(call) {
            Ok(query) => query,
            Err(failure) => return Verdict::Fail(failure),
        };
        let verdict = match own {
            Own::Login => {
                let target = query.get("returnTo").map_or("/", String::as_str).to_owned();
                return self.begin(call, &target).await;
            }
            Own::Callback => self.finish(call, &query, now).await,
            Own::Logout => self.sign_out(call, now).await,
            Own::BackChannel => self.told_by_provider(call, body, now).await,
            Own::FrontChannel => self.told_by_browser(call, &query, now).await,
        };
        verdict.unwrap_or_else(Verdict::Fail)
    }

    /// Ends a sign-in.
    async fn finish(
        self: &Arc<Self>,
        call: &mut Call,
        query: &HashMap<String, String>,
        at: u64,
    ) -> Result<Verdict, Failure> {
        let login = match self.login_of(call, query, at) {
            Ok(login) => login,
            Err(detail) => {
                self.note(call, Became::Refused);
                // Whoever sends a browser here with a code of their own would sign it in as themselves.
                return Err(Failure::refused(Problem::Invalid)
                    .with_hint("this sign-in was not begun in this browser, or took too long: begin it again")
                    .with_detail(detail));
            }
        };
        if let Some(taken) = self.cookies.forget_login(&login.state) {
            self.write(call, vec![taken]);
        }
        match self.exchanged(query, &login).await {
            Ok(session) => self.signed_in(call, session, &login).await,
            Err(failure) => {
                let became = if failure.status().is_server_error() { Became::Away } else { Became::Refused };
                self.note(call, became);
                Err(failure)
            }
        }
    }

    /// The sign-in that this browser has begun with this state.
    fn login_of(&self, call: &Call, query: &HashMap<String, String>, at: u64) -> Result<Login, &'static str> {
        let state = query.get("state").ok_or("there is no state")?;
        let sealed =
            self.cookies.login(&call.head.headers, state).ok_or("no such sign-in in this browser")?;
        let (text, _) = self.seal.open("login", sealed).ok_or("the cookie of the sign-in is none of ours")?;
        let login: Login =
            serde_json::from_slice(&text).map_err(|_| "the cookie of the sign-in is broken")?;
        if !seal::same(&login.state, state) {
            return Err("the state is that of another sign-in");
        }
        if at.saturating_sub(login.begun) > millis(self.login_timeout) {
            return Err("the sign-in took too long");
        }
        Ok(login)
    }

    /// Exchanges a code for a session.
    async fn exchanged(&self, query: &HashMap<String, String>, login: &Login) -> Result<Session, Failure> {
        let refused = |detail: String| {
            Failure::refused(Problem::Forbidden).with_hint("the sign-in was refused").with_detail(detail)
        };
        let known = self.provider.known().await.ok_or_else(provider_away)?;
        // RFC 9207: a code of another provider is not shown to this one.
        match query.get("iss") {
            Some(told) if *told != self.provider.issuer => {
                return Err(refused("the answer is of another provider".to_owned()));
            }
            None if known.names_itself => {
                return Err(refused("the answer does not say whose it is".to_owned()));
            }
            _ => {}
        }
        if let Some(error) = query.get("error") {
            let error: String = error.chars().take(64).collect();
            return Err(refused(format!("the provider says {}", error.escape_debug())));
        }
        let code = query.get("code").ok_or_else(|| refused("there is no code".to_owned()))?;
        let form = vec![
            ("grant_type", "authorization_code".to_owned()),
            ("code", code.clone()),
            ("redirect_uri", login.callback.clone()),
            ("code_verifier", login.verifier.clone()),
        ];
        let tokens = self.provider.tokens(&known, &self.client, form).await.map_err(|none| match none {
            NoTokens::Refused(detail) => refused(detail),
            NoTokens::Away(detail) => provider_away().with_detail(detail),
        })?;
        self.session_of(&known, tokens, login).await.map_err(refused)
    }

    /// A new session of these tokens, once they are judged. The error is for the log.
    async fn session_of(&self, known: &Known, tokens: Tokens, login: &Login) -> Result<Session, String> {
        if tokens.token_type.as_deref().is_some_and(|kind| !kind.eq_ignore_ascii_case("bearer")) {
            return Err("the tokens are of a type that is not supported".to_owned());
        }
        let id_token = tokens.id_token.ok_or("there is no ID token")?;
        let claims = judge::verified(&self.provider, known, &id_token).await?;
        self.wanted(Some(&login.nonce)).judge(&claims, SystemTime::now())?;
        let told = match (&tokens.access_token, self.user_info) {
            (Some(access), true) => {
                let told = self.provider.userinfo(known, access).await;
                let told = told.map_err(|error| format!("userinfo: {error}"))?;
                // What it tells of somebody else is nothing (OpenID Connect Core §5.3.2).
                if told.get("sub").and_then(Value::as_str) != claims.get("sub").and_then(Value::as_str) {
                    return Err("userinfo tells of somebody else".to_owned());
                }
                Some(told)
            }
            _ => None,
        };
        let now = now();
        let lasts = tokens.expires_in.as_ref().and_then(super::provider::Seconds::get);
        Ok(Session {
            id: seal::token().ok_or("no randomness")?,
            id_token,
            told,
            access: tokens.access_token.filter(|_| self.access_header.is_some()),
            access_ends: lasts.map(|seconds| now.saturating_add(seconds.saturating_mul(1000))),
            refresh: tokens.refresh_token.filter(|_| self.renews),
            begun: now,
            seen: now,
            renewals: 0,
        })
    }

    pub(super) fn wanted<'a>(&'a self, nonce: Option<&'a str>) -> judge::Wanted<'a> {
        judge::Wanted {
            issuer: &self.provider.issuer,
            client: &self.client.id,
            leeway: self.leeway,
            nonce,
            auth_max_age: self.auth_max_age.filter(|_| nonce.is_some()),
        }
    }

    /// Gives the browser its session, and sends it to where it wanted to go.
    async fn signed_in(&self, call: &mut Call, session: Session, login: &Login) -> Result<Verdict, Failure> {
        let (now, headers) = (session.begun, &call.head.headers);
        let cookies = match &self.store {
            Store::Cookie => self.session_cookies(headers, &session, now)?,
            Store::Redis(shared) => {
                let id = store::fresh_id().ok_or_else(store_away)?;
                // One that the browser had before is of no use any more.
                if let Some(old) = self.cookies.session(headers).filter(|old| store::is_id(old)) {
                    let _ = shared.end(&shared.name(&String::from_utf8_lossy(&old))).await;
                }
                let (name, ends) = (shared.name(&id), session.ends(self.max_age, None));
                let claims = session.claims().unwrap_or_default();
                for (of, claim) in [(Of::Sid, "sid"), (Of::Subject, "sub")] {
                    if let Some(value) = claims.get(claim).and_then(Value::as_str) {
                        shared.list(of, value, &name, ends, now).await.map_err(|store::Away| store_away())?;
                    }
                }
                let left = session.ends(self.max_age, self.idle).saturating_sub(now);
                let kept = shared.put(&self.seal, &name, &session, left, true).await;
                kept.map_err(|store::Away| store_away())?;
                let written = self.cookies.keep(headers, &id, self.age(&session, now));
                written.map_err(|cookies::TooLarge| store_away())?
            }
        };
        self.write(call, cookies);
        self.note(call, Became::SignedIn);
        Ok(sent_to(&login.return_to))
    }
}

/// The parameters of a request, each of which is there once.
fn query(call: &Call) -> Result<HashMap<String, String>, Failure> {
    let mut all = HashMap::new();
    for name in ["code", "state", "iss", "error", "sid", "returnTo"] {
        let found = credentials::in_query(&call.head.uri, name);
        let found = found.map_err(|credentials::Repeated| {
            Failure::refused(Problem::Invalid).with_hint(format!("`{name}` is given more than once"))
        })?;
        if let Some(value) = found {
            all.insert(name.to_owned(), value.into_owned());
        }
    }
    Ok(all)
}
