//! The end of sessions: somebody signs out here, or the provider tells that they have signed out elsewhere.

use std::{collections::HashMap, sync::Arc, time::SystemTime};

use http::{HeaderValue, StatusCode, header};
use http_body_util::BodyExt;
use serde_json::Value;

use super::{
    Became, Found, Inner,
    begin::with_query,
    ended::Of,
    judge, plain, provider_away, sent_to,
    session::millis,
    store::{self, Store},
    store_away,
};
use crate::{
    body::Body,
    call::Call,
    failure::{Failure, Problem},
    policy::Verdict,
};

/// Bytes of a logout token's form at most.
const FORM_BYTES_MAX: usize = 64 * 1024;
/// How long a logout token is remembered: longer than it can be used.
const TOKEN_MEMORY_MILLIS: u64 = 15 * 60 * 1000;

impl Inner {
    /// Signs somebody out, here and at the provider.
    pub(super) async fn sign_out(self: &Arc<Self>, call: &mut Call, now: u64) -> Result<Verdict, Failure> {
        // No other site signs people out by a link or a picture.
        if call.head.headers.get("sec-fetch-site").is_some_and(|site| site == "cross-site") {
            return Err(Failure::refused(Problem::Forbidden).with_hint("signing out begins at this site"));
        }
        let found = self.shown(call, now).await?;
        let cookies = self.cookies.forget(&call.head.headers);
        self.write(call, cookies);
        let Some(found) = found else { return Ok(sent_to(&self.after_logout)) };
        self.end(&found, now).await?;
        self.note(call, Became::SignedOut);
        let known = self.provider.known().await;
        if let (Some(known), Some(token)) = (&known, &found.session.refresh) {
            self.take_back(known.clone(), token.clone());
        }
        let end_session =
            known.as_ref().and_then(|known| known.end_session.as_ref()).filter(|_| self.end_session);
        let (Some(url), Some(origin)) = (end_session, self.origin(call)) else {
            return Ok(sent_to(&self.after_logout));
        };
        let mut query = form_urlencoded::Serializer::new(String::new());
        query
            .append_pair("id_token_hint", &found.session.id_token)
            .append_pair("client_id", &self.client.id)
            .append_pair("post_logout_redirect_uri", &format!("{origin}{}", self.after_logout));
        Ok(sent_to(&with_query(url, &query.finish())))
    }

    /// Ends one session.
    async fn end(&self, found: &Found, now: u64) -> Result<(), Failure> {
        match (&self.store, &found.name) {
            (Store::Redis(shared), Some(name)) => {
                shared.end(name).await.map_err(|store::Away| store_away())?;
            }
            // Whoever kept a copy of the cookie has nothing of it.
            _ => drop(self.state.ended.note(Of::Id, &found.session.id, now, self.forgotten(now))),
        }
        Ok(())
    }

    /// When no session of now can be left.
    fn forgotten(&self, now: u64) -> u64 {
        now.saturating_add(millis(self.max_age))
    }

    /// Has the provider take back a refresh token (RFC 7009), in the background.
    fn take_back(self: &Arc<Self>, known: Arc<super::provider::Known>, token: String) {
        let inner = self.clone();
        self.background.spawn(async move {
            let Some(target) = &known.revocation else { return };
            let mut form = vec![("token", token), ("token_type_hint", "refresh_token".to_owned())];
            if let Err(error) = inner.provider.post(target, &inner.client, &mut form).await {
                tracing::debug!(error, "a refresh token is not taken back");
            }
        });
    }

    /// The provider tells that sessions have ended (Back-Channel Logout).
    pub(super) async fn told_by_provider(
        &self,
        call: &mut Call,
        body: &mut Body,
        now: u64,
    ) -> Result<Verdict, Failure> {
        let refused = |detail: &str| {
            Failure::refused(Problem::Invalid).with_hint("the logout token is not valid").with_detail(detail)
        };
        let form = form(call, body).await?;
        let mut tokens = form_urlencoded::parse(&form).filter(|(name, _)| name == "logout_token");
        let (Some((_, token)), None) = (tokens.next(), tokens.next()) else {
            return Err(refused("expected one `logout_token`"));
        };
        let known = self.provider.known().await.ok_or_else(provider_away)?;
        let claims = judge::verified(&self.provider, &known, &token).await.map_err(refused)?;
        let logout = self.wanted(None).judge_logout(&claims, SystemTime::now()).map_err(refused)?;
        let is_used = match &self.store {
            Store::Redis(shared) => shared.is_used(&logout.id).await.map_err(|store::Away| store_away())?,
            Store::Cookie => self.state.tokens.has(Of::Token, &logout.id, 0),
        };
        if is_used {
            return Err(refused("it was used before"));
        }
        let (of, value) = match (&logout.session, &logout.subject) {
            (Some(session), _) => (Of::Sid, session),
            (None, Some(subject)) => (Of::Subject, subject),
            (None, None) => return Err(refused("it names nobody")),
        };
        match &self.store {
            Store::Redis(shared) => {
                shared.end_listed(of, value).await.map_err(|store::Away| store_away())?;
            }
            Store::Cookie => drop(self.state.ended.note(of, value, now, self.forgotten(now))),
        }
        // Not before all has ended: whoever was told that it has not, sends the token again.
        match &self.store {
            Store::Redis(shared) => {
                let noted = shared.note_used(&logout.id, TOKEN_MEMORY_MILLIS).await;
                noted.map_err(|store::Away| store_away())?;
            }
            Store::Cookie => {
                let until = now.saturating_add(TOKEN_MEMORY_MILLIS);
                self.state.tokens.note(Of::Token, &logout.id, now, until);
            }
        }
        self.note(call, Became::Ended);
        Ok(Verdict::Answer(Box::new(plain(StatusCode::OK))))
    }

    /// A page of the provider's, in some browser, tells that a session has ended (Front-Channel Logout).
    pub(super) async fn told_by_browser(
        &self,
        call: &mut Call,
        query: &HashMap<String, String>,
        now: u64,
    ) -> Result<Verdict, Failure> {
        if query.get("iss").is_some_and(|told| *told != self.provider.issuer) {
            return Err(Failure::refused(Problem::Invalid).with_hint("that is another provider"));
        }
        let mut answer = plain(StatusCode::OK);
        answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html"));
        // Who names no session would end whichever the browser has, and so could any site.
        let sid = query.get("sid").filter(|sid| query.contains_key("iss") && sid.len() <= 1024);
        let Some(sid) = sid else { return Ok(Verdict::Answer(Box::new(answer))) };
        if let Some(found) = self.shown(call, now).await?
            && found.claims.get("sid").and_then(Value::as_str) == Some(sid)
        {
            self.end(&found, now).await?;
            let cookies = self.cookies.forget(&call.head.headers);
            self.write(call, cookies);
        }
        // The frame of another site mostly has no cookies: who knows the id of a session may end it.
        match &self.store {
            Store::Redis(shared) => {
                shared.end_listed(Of::Sid, sid).await.map_err(|store::Away| store_away())?;
            }
            Store::Cookie => drop(self.state.told.note(Of::Sid, sid, now, self.forgotten(now))),
        }
        self.note(call, Became::Ended);
        Ok(Verdict::Answer(Box::new(answer)))
    }
}

/// The form in a request's body.
async fn form(call: &Call, body: &mut Body) -> Result<Vec<u8>, Failure> {
    let kind = call.head.headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
    let kind = kind.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
    if !kind.eq_ignore_ascii_case(b"application/x-www-form-urlencoded") {
        return Err(Failure::refused(Problem::UnsupportedMedia).with_hint("expected a form"));
    }
    let mut form = Vec::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else { break };
        if form.len() + data.len() > FORM_BYTES_MAX {
            return Err(Failure::refused(Problem::BodyTooLarge));
        }
        form.extend_from_slice(&data);
    }
    Ok(form)
}
