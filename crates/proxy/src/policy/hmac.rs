//! `hmac`: lets in who has signed the request.
//!
//! Everything that is signed is looked at before anybody else gets the request; of a body that means all of it. What a
//! signature does not cover is not vouched for, so that what has to be covered is the policy's to say.

mod seen;
mod shown;

use std::{
    rc::Rc,
    sync::{Arc, LazyLock},
    time::Duration,
};

use ::redis::{Script, Value as Answered};
use aws_lc_rs::{digest, hmac};
use bytes::Bytes;
use http::{HeaderName, HeaderValue};
use identity::{
    fields::{self, Input, Item},
    message::Message,
};
use model::{policy::hmac::SignatureStyle, resource::redis::WhenAway};
use serde_json::{Map, Value};

use self::{
    seen::Seen,
    shown::{Shown, Told, headers_of, style_name},
};
use super::{
    Flow, Needs, NeedsOf, Policy, Verdict,
    counted::{Counted, Metric},
    credentials,
    held::Held,
    jwt::keys::{Algorithm, Keys, Verdict as Verified},
};
use crate::{
    body::Body,
    call::Call,
    compiled::Building,
    consumer::{Consumer, Consumers},
    failure::{Failure, Problem},
    handler::ai::shared::Sharing,
    hex::hex,
};

static METRIC: Metric = Metric {
    name: "tidegate_hmac_total",
    help: "Requests whose signature was looked at, by what came of it; `replayed` were let in before, and for `away` ones the \
           shared store was: they were refused or judged as `whenAway` says.",
    outcomes: &["good", "refused", "replayed", "away"],
    gauges: &[],
};

const GOOD: usize = 0;
const REFUSED: usize = 1;
const REPLAYED: usize = 2;
const AWAY: usize = 3;

/// Notes that a signature is used, for so many milliseconds: 1 when that is for the first time.
static ONCE: LazyLock<Script> =
    LazyLock::new(|| Script::new("return redis.call('SET', KEYS[1], '1', 'NX', 'PX', ARGV[1]) and 1 or 0"));
/// When a request may be tried again whose store is away.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// The algorithms of RFC 9421 §3.3 with public keys, by the names that the registry has for them.
const ALGORITHMS: [(&str, Algorithm); 5] = [
    ("rsa-pss-sha512", Algorithm::Ps512),
    ("rsa-v1_5-sha256", Algorithm::Rs256),
    ("ecdsa-p256-sha256", Algorithm::Es256),
    ("ecdsa-p384-sha384", Algorithm::Es384),
    ("ed25519", Algorithm::EdDsa),
];

/// The compiled policy.
pub(crate) struct Hmac {
    style: SignatureStyle,
    secrets: Vec<hmac::Key>,
    keys: Vec<(String, hmac::Key)>,
    public: Option<Keys>,
    components: Vec<String>,
    unsigned_body: bool,
    tag: Option<String>,
    max_age: f64,
    leeway: f64,
    seen: Option<Arc<Seen>>,
    sharing: Option<Sharing>,
    owner: String,
    remembered: Duration,
    body_bytes_max: usize,
    consumers: Arc<Consumers>,
    consumer: Option<Arc<Consumer>>,
    counted: Arc<Counted>,
}

/// A good signature.
struct Good {
    keyid: Option<String>,
    /// What it is remembered by, and any other good one of the same message.
    marks: Vec<Vec<u8>>,
}

impl Hmac {
    pub(crate) fn compile(settings: &model::policy::Hmac, cx: &Building<'_>) -> Result<Self, String> {
        let key = |secret: &model::Secret| match cx.snapshot.secret(secret) {
            "" => Err("a secret is empty".to_owned()),
            text => Ok(hmac::Key::new(hmac::HMAC_SHA256, text.as_bytes())),
        };
        let keys = settings.keys.iter().map(|one| Ok((one.id.clone(), key(&one.secret)?)));
        let algorithms: Vec<Algorithm> = ALGORITHMS.iter().map(|(_, algorithm)| *algorithm).collect();
        let public = settings.jwks.as_ref().map(|file| {
            Keys::parse(&cx.snapshot.file(file), &algorithms)
                .map_err(|error| format!("`jwks` {file}: {error}"))
        });
        let consumers = credentials::consumers(cx)?;
        let max_age = settings.max_age.get();
        let remembered = max_age + settings.leeway.get() * 2;
        Ok(Self {
            style: settings.style,
            secrets: settings.secrets.iter().map(key).collect::<Result<_, _>>()?,
            keys: keys.collect::<Result<_, String>>()?,
            public: public.transpose()?,
            components: settings.components.clone(),
            unsigned_body: settings.unsigned_body,
            tag: settings.tag.clone(),
            max_age: max_age.as_secs_f64(),
            leeway: settings.leeway.get().as_secs_f64(),
            seen: (!settings.allow_replays).then(|| cx.keep("seen", &remembered, || Seen::new(remembered))),
            sharing: Sharing::of(settings.store, settings.when_away, cx)?,
            owner: cx.owner.clone(),
            remembered,
            body_bytes_max: settings.max_body_size.get(),
            consumer: credentials::anonymous(settings.consumer.as_deref(), &consumers)
                .map_err(|error| error.replace("anonymous", "consumer"))?,
            consumers,
            counted: Counted::of(&METRIC, cx),
        })
    }

    async fn judge(&self, call: &mut Call, body: &mut Body) -> Verdict {
        let shown = match self.shown(&call.head.headers) {
            Ok(shown) => shown,
            Err(detail) => return Verdict::Fail(self.refused(detail)),
        };
        let bytes = match self.whole(call, body).await {
            Ok(bytes) => bytes,
            Err(failure) => return Verdict::Fail(failure),
        };
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let now = now.map_or(0.0, |since| since.as_secs_f64());
        let judged = match &shown {
            Shown::Signatures(input, signature) => self.signatures(call, input, signature, &bytes, now),
            Shown::Webhook(told) => self.webhook(told, &bytes, now),
        };
        let good = match judged {
            Ok(good) => good,
            Err(detail) => return Verdict::Fail(self.refused(detail)),
        };
        if let Some(seen) = &self.seen {
            match self.is_first(seen, &good.marks).await {
                Some(true) => {}
                Some(false) => {
                    self.counted.note(REPLAYED);
                    return Verdict::Fail(self.unsigned().with_detail("the signature was used before"));
                }
                None => {
                    let failure = Failure::refused(Problem::Unavailable).with_retry_after(RETRY_AFTER);
                    return Verdict::Fail(failure.with_detail("the store of used signatures is away"));
                }
            }
        }
        match self.enter(call, good) {
            Ok(()) => {
                self.counted.note(GOOD);
                Verdict::Continue
            }
            Err(failure) => Verdict::Fail(failure),
        }
    }

    /// Whether a message is used for the first time, at all gateways where they share a store; none where nobody can say so.
    async fn is_first(&self, seen: &Seen, marks: &[Vec<u8>]) -> Option<bool> {
        // Also beside a store, which may go away or forget.
        let here = |seen: &Seen| marks.iter().filter(|mark| !seen.is_new(mark)).count() == 0;
        let Some(sharing) = &self.sharing else { return Some(here(seen)) };
        let lasts = self.remembered.as_millis().max(1).to_string();
        for mark in marks {
            let mark = hex(digest::digest(&digest::SHA256, mark).as_ref());
            // What was signed for one place is not used at another by that.
            let key = sharing.accounts.key(&mark, &format!("signature:{}", self.owner));
            match sharing.accounts.client().eval(&ONCE, &[key], std::slice::from_ref(&lasts)).await {
                Ok(Answered::Int(1)) => {}
                Ok(Answered::Int(_)) => return Some(false),
                Ok(_) | Err(_) => {
                    self.counted.note(AWAY);
                    return match sharing.when_away {
                        WhenAway::Local => Some(here(seen)),
                        WhenAway::Open => {
                            here(seen);
                            Some(true)
                        }
                        WhenAway::Closed => None,
                    };
                }
            }
        }
        Some(here(seen))
    }

    fn refused(&self, detail: &str) -> Failure {
        self.counted.note(REFUSED);
        self.unsigned().with_detail(detail)
    }

    /// 401; the client does not learn what was wrong.
    fn unsigned(&self) -> Failure {
        credentials::unauthenticated(&HeaderValue::from_static("Signature"), "a valid signature is needed")
    }

    /// All of the body, which goes on as it came.
    async fn whole(&self, call: &mut Call, body: &mut Body) -> Result<Bytes, Failure> {
        if body.is_empty() || call.body_is_tunnel() {
            return Ok(Bytes::new());
        }
        let held = Held::read(body, self.body_bytes_max).await?;
        let (is_whole, bytes) = (held.is_whole(), held.beginning(self.body_bytes_max));
        // Another way in may want it as it came.
        *body = held.into_body();
        call.has_been_sent();
        if !is_whole {
            let hint = format!("a signed body has {} bytes at most", self.body_bytes_max);
            return Err(Failure::refused(Problem::BodyTooLarge).with_hint(hint));
        }
        Ok(bytes)
    }

    fn webhook(&self, told: &Told, body: &[u8], now: f64) -> Result<Good, &'static str> {
        if let Some(time) = told.time {
            self.is_fresh(time, now)?;
        }
        let signed = [told.signed.as_bytes(), body].concat();
        let found = told.signatures.iter().find(|signature| {
            self.secrets.iter().any(|secret| hmac::verify(secret, &signed, signature).is_ok())
        });
        // What was signed is remembered, for its signature may be among others another time.
        found.ok_or("the signature is wrong")?;
        Ok(Good { keyid: None, marks: vec![signed] })
    }

    fn is_fresh(&self, made: f64, now: f64) -> Result<(), &'static str> {
        if made > now + self.leeway {
            return Err("it was made in the future");
        }
        if now > made + self.max_age + self.leeway {
            return Err("it is too old");
        }
        Ok(())
    }

    /// Judges HTTP Message Signatures: one of them has to be good.
    fn signatures(
        &self,
        call: &Call,
        input: &str,
        signature: &str,
        body: &[u8],
        now: f64,
    ) -> Result<Good, &'static str> {
        let inputs = fields::inputs(input).ok_or("`Signature-Input` is not well-formed")?;
        let signatures = fields::bytes(signature).ok_or("`Signature` is not well-formed")?;
        let message = self::message(call);
        let mut reason = "no signature is meant for this";
        // With one of them taken out the message would be another, and as good.
        let mut all: Option<Good> = None;
        for input in &inputs {
            let Some((_, signature)) = signatures.iter().find(|(label, _)| *label == input.label) else {
                continue;
            };
            if self.tag.as_deref().is_some_and(|tag| input.text("tag") != Some(tag)) {
                continue;
            }
            match self.signature(&message, input, signature, body, now) {
                Ok(mut good) => match &mut all {
                    Some(first) => first.marks.append(&mut good.marks),
                    None => all = Some(good),
                },
                Err(error) => reason = error,
            }
        }
        all.ok_or(reason)
    }

    fn signature(
        &self,
        message: &Message<'_>,
        input: &Input<'_>,
        signature: &[u8],
        body: &[u8],
        now: f64,
    ) -> Result<Good, &'static str> {
        let covers =
            |name: &str| input.components.iter().any(|one| one.name == name && one.parameters.is_empty());
        if !self.components.iter().all(|name| covers(name)) {
            return Err("it does not cover what has to be");
        }
        let created = input.number("created").ok_or("it does not say when it was made")?;
        self.is_fresh(created as f64, now)?;
        if let Some(expires) = input.parameter("expires") {
            let Item::Number(expires) = expires else { return Err("it does not end at a time") };
            if now > *expires as f64 + self.leeway {
                return Err("it has expired");
            }
        }
        let covers_body = covers("content-digest");
        if covers_body && !message.digest_fits(body) {
            return Err("the body is not what `Content-Digest` says");
        }
        if !body.is_empty() && !covers_body && !self.unsigned_body {
            return Err("it does not cover the body");
        }
        let keyid = input.text("keyid").ok_or("it does not say by which key it was made")?;
        let base = message.base(input)?;
        self.verify(keyid, input, base.as_bytes(), signature)?;
        Ok(Good { keyid: Some(keyid.to_owned()), marks: vec![base.into_bytes()] })
    }

    /// The key decides the algorithm; a signature may name it, and only as it is.
    fn verify(
        &self,
        keyid: &str,
        input: &Input<'_>,
        base: &[u8],
        signature: &[u8],
    ) -> Result<(), &'static str> {
        let named = match input.parameter("alg") {
            None => None,
            Some(Item::Text(name)) => Some(name.as_str()),
            Some(_) => return Err("its algorithm has no name"),
        };
        let wrong = "the signature is wrong";
        if let Some((_, key)) = self.keys.iter().find(|(id, _)| id == keyid) {
            if named.is_some_and(|name| name != "hmac-sha256") {
                return Err("it was made by another algorithm than its key's");
            }
            return hmac::verify(key, base, signature).map_err(|_| wrong);
        }
        let public = self.public.as_ref().ok_or("its key is not known")?;
        let mut verdict = Verified::UnknownKey;
        for (name, algorithm) in ALGORITHMS {
            if named.is_none_or(|named| named == name) {
                match public.verify_named(keyid, algorithm, base, signature) {
                    Verified::Good => return Ok(()),
                    Verified::Bad => verdict = Verified::Bad,
                    Verified::UnknownKey => {}
                }
            }
        }
        Err(if verdict == Verified::Bad { wrong } else { "its key is not known" })
    }

    fn enter(&self, call: &mut Call, good: Good) -> Result<(), Failure> {
        let mut claims = Map::new();
        claims.insert("signature".to_owned(), Value::from(style_name(self.style)));
        if let Some(keyid) = good.keyid {
            claims.insert("keyid".to_owned(), Value::from(keyid));
        }
        let found = self.consumers.with_claims("", &claims).or(self.consumer.as_ref());
        match found {
            Some(consumer) => credentials::enter(call, consumer, &HeaderValue::from_static("Signature"))?,
            None => Consumer::step_aside(call),
        }
        // What a token has said stays as it was said.
        for (name, value) in call.claims.iter().flat_map(|claims| claims.iter()) {
            claims.insert(name.clone(), value.clone());
        }
        call.claims = Some(Rc::new(claims));
        Ok(())
    }
}

/// A call as signatures see it: over what the client, or a proxy that is trusted, says that it came by.
fn message(call: &Call) -> Message<'_> {
    Message::new(&call.head.method, call.is_https(), &call.head.uri, &call.head.headers)
}

impl NeedsOf for model::policy::Hmac {
    fn needs(&self) -> Needs {
        let covered = self.components.iter().filter(|name| !name.starts_with('@'));
        Needs::headers(covered.filter_map(|name| HeaderName::try_from(name.as_str()).ok()))
    }
}

impl Policy for Hmac {
    fn is_shown(&self, call: &Call) -> bool {
        // One that is malformed is shown, and wrong.
        headers_of(self.style).iter().any(|name| call.head.headers.contains_key(name))
    }

    fn conceal(&self, call: &mut Call, stays: &dyn Fn(&HeaderName) -> bool, _: &dyn Fn(&str) -> bool) {
        for name in headers_of(self.style).iter().filter(|name| !stays(name)) {
            call.head.headers.remove(name);
        }
    }

    fn request<'a>(&'a self, call: &'a mut Call, body: &'a mut Body) -> Flow<'a> {
        Flow::Wait(Box::pin(self.judge(call, body)))
    }
}
