//! `subscribe`: what a broker keeps flows to clients, as server-sent [events] or over a [WebSocket](socket).

mod events;
mod socket;

use std::{pin::Pin, rc::Rc, sync::Arc, time::Duration};

use base64::{Engine, engine::general_purpose::STANDARD};
use http::{HeaderValue, Method, Response, StatusCode, header};
use model::{
    FeedRecord, Route,
    resource::subscribe::{Subscribe as Settings, SubscribeStart},
};
use resilience::{Bulkhead, BulkheadPermit};
use tokio::runtime::Handle;

use super::{Answering, Answers};
use crate::{
    body::Body,
    broker::{
        Broker,
        feed::{self, Feed, From, Wish},
    },
    call::{Call, Upgrade},
    compiled::Building,
    failure::{Failure, Problem, Stage},
    template::{Template, query_parameter},
    worker::Worker,
};

/// When a client may come again while the broker is away.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// How long the broker may take to begin.
const PATIENCE: Duration = Duration::from_secs(5);

/// The compiled handler.
pub(crate) struct Subscribe {
    broker: Arc<Broker>,
    background: Handle,
    subject: Option<Template>,
    key: Option<Template>,
    settings: Settings,
    places: Arc<Bulkhead>,
}

/// What a client is served with.
struct Served {
    feed: Feed,
    record: Arc<FeedRecord>,
    heartbeat: Duration,
    /// Ready when the client has to go: it was served for long enough, or the gateway ends.
    end: Pin<Box<dyn Future<Output = ()>>>,
    _place: BulkheadPermit,
}

impl Subscribe {
    /// Compiles the handler; an error begins with the place in it.
    pub(crate) fn compile(settings: &Settings, route: &Route, cx: &Building<'_>) -> Result<Self, String> {
        let broker = cx.brokers.and_then(|brokers| brokers.get(settings.broker.as_str()));
        let broker = broker.ok_or_else(|| format!("broker: no broker `{}`", settings.broker))?;
        let most = settings.max_clients;
        let places = cx.of(&format!("routes/{}/subscribe", route.name));
        let places = places.keep("places", &most, || Bulkhead::new(most, Duration::ZERO));
        Ok(Self {
            broker: broker.clone(),
            background: cx.background.clone(),
            subject: compiled("subject", settings.subject.as_deref())?,
            key: compiled("key", settings.key.as_deref())?,
            settings: settings.clone(),
            places: (*places).clone(),
        })
    }

    async fn handle(&self, worker: &Rc<Worker>, call: &mut Call) -> Result<Response<Body>, Failure> {
        let accept = match call.upgrade {
            None => None,
            Some(Upgrade::Connection | Upgrade::Stream) => Some(accepted(call)?),
            Some(Upgrade::Connect) => {
                return Err(Failure::client(Stage::Guard, Problem::NotImplemented)
                    .with_hint("this route is no tunnel"));
            }
        };
        if accept.is_none() && call.head.method != Method::GET {
            return Err(Failure::client(Stage::Router, Problem::MethodNotAllowed)
                .with_header(header::ALLOW, HeaderValue::from_static("GET")));
        }
        let (filter, key) = (self.filter(call)?, self.wanted_key(call)?);
        let from = self.from(call)?;
        let place = self.places.try_acquire().ok_or_else(|| {
            Failure::gateway(Stage::Pick, Problem::Overloaded).never_sent().with_retry_after(RETRY_AFTER)
        })?;
        let settings = &self.settings;
        let listened = filter.as_ref().or(settings.stream.as_ref()).cloned().unwrap_or_default();
        let record = Arc::new(FeedRecord::new(self.broker.name().clone(), listened));
        call.record.fed = Some(record.clone());
        let wish = Wish {
            stream: settings.stream.clone(),
            exchange: settings.exchange.clone(),
            filter,
            key,
            from,
            bytes_max: settings.max_message_size.get(),
            queue: settings.queue.clamp(1, 4096),
            when_slow: settings.when_slow,
        };
        let begun = tokio::time::timeout(PATIENCE, feed::begin(&self.broker, &self.background, wish)).await;
        let feed = begun.unwrap_or_else(|_| Err("it did not answer in time".to_owned())).map_err(|why| {
            Failure::upstream(Stage::Connect, Problem::BrokerAway, why).with_retry_after(RETRY_AFTER)
        })?;
        let (worker, lifetime) = (worker.clone(), settings.max_duration.get());
        let end = Box::pin(async move {
            tokio::select! {
                () = tokio::time::sleep(lifetime) => {}
                () = worker.left() => {}
            }
        });
        let heartbeat = settings.heartbeat.get();
        let served = Served { feed, record, heartbeat, end, _place: place };
        match accept {
            Some(accept) => socket::open(served, accept),
            None => Ok(events::answer(served)),
        }
    }

    /// What is listened to.
    fn filter(&self, call: &Call) -> Result<Option<String>, Failure> {
        let Some(subject) = &self.subject else { return Ok(None) };
        let rules = self.broker.rules();
        let told = |why: &str| invalid(format!("what the subject is made of cannot be a part of one: {why}"));
        let filter = subject.render_judged(call, |value| rules.check_value(value).map_err(told))?;
        let filter =
            filter.ok_or_else(|| invalid("the request lacks what the subject is made of".to_owned()))?;
        rules
            .check_filter(&filter)
            .map_err(|why| invalid(format!("no subject can be made of the request: {why}")))?;
        Ok(Some(filter))
    }

    /// The key whose messages are wanted.
    fn wanted_key(&self, call: &Call) -> Result<Option<String>, Failure> {
        let Some(key) = &self.key else { return Ok(None) };
        let key = key.render(call).filter(|key| !key.is_empty());
        let key = key.map(|key| key.into_owned());
        key.map(Some).ok_or_else(|| invalid("the request lacks what the key is made of".to_owned()))
    }

    /// Where the client begins.
    fn from(&self, call: &Call) -> Result<From, Failure> {
        let wrong = || {
            Failure::client(Stage::Guard, Problem::Invalid)
                .with_hint("`Last-Event-ID` is the id of an event that was sent before")
        };
        if self.settings.resume {
            let shown = match call.head.headers.get("last-event-id") {
                Some(value) => Some(value.to_str().map_err(|_| wrong())?.to_owned()),
                None => call
                    .head
                    .uri
                    .query()
                    .and_then(|query| query_parameter(query, "lastEventId"))
                    .map(|text| text.into_owned()),
            };
            if let Some(shown) = shown.filter(|shown| !shown.is_empty()) {
                return self.broker.place(shown).ok_or_else(wrong);
            }
        }
        Ok(match self.settings.from {
            SubscribeStart::New => From::New,
            SubscribeStart::All => From::All,
            SubscribeStart::Last => From::Last,
        })
    }
}

impl Answers for Subscribe {
    fn serve<'a>(&'a self, worker: &'a Rc<Worker>, call: &'a mut Call, _: Body) -> Answering<'a> {
        Answering::Later(Box::pin(self.handle(worker, call)))
    }

    fn explain(&self) -> String {
        format!("subscribe `{}`", self.broker.name())
    }
}

fn compiled(key: &str, written: Option<&str>) -> Result<Option<Template>, String> {
    written.map(Template::compile).transpose().map_err(|error| format!("{key}: {error}"))
}

fn invalid(hint: String) -> Failure {
    Failure::client(Stage::Guard, Problem::Invalid).with_hint(hint)
}

/// What a WebSocket is agreed on with (RFC 6455 §4.2.2); to a stream of HTTP/2 nothing is.
fn accepted(call: &Call) -> Result<Option<HeaderValue>, Failure> {
    let headers = &call.head.headers;
    let wrong = |hint: &str| {
        Failure::client(Stage::Guard, Problem::BadRequest)
            .with_status(StatusCode::UPGRADE_REQUIRED)
            .with_header(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"))
            .with_hint(hint)
    };
    if headers.get(header::SEC_WEBSOCKET_VERSION).is_none_or(|version| version != "13") {
        return Err(wrong("expected a WebSocket of version 13"));
    }
    if call.upgrade == Some(Upgrade::Stream) {
        return Ok(None);
    }
    let key = headers.get(header::SEC_WEBSOCKET_KEY).ok_or_else(|| wrong("expected `Sec-WebSocket-Key`"))?;
    let mut context = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY);
    context.update(key.as_bytes());
    context.update(b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    let text = STANDARD.encode(context.finish());
    Ok(HeaderValue::from_str(&text).ok())
}
