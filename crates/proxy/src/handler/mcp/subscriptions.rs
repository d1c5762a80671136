//! `subscriptions/listen` of the revision without sessions: what a client wants to hear, and nothing else.

use std::{sync::Arc, time::Duration};

use http::Response;

use super::{
    Inner, answer, begin,
    lane::Lane,
    message::{self, Members, Message, quoted},
    relay,
    server::Server,
    session::{Can, Leg, Session},
    sse::Event,
    streams::Merged,
    wire::Sender,
};
use crate::{body::Body, failure::Failure};

/// Resources that one client may want to hear of on one stream.
const URIS_MAX: usize = 64;
/// How long the servers may take to note all of them.
const NOTING_MAX: Duration = Duration::from_secs(10);

/// What a client of the revision without sessions wants to hear.
pub(super) struct Wish {
    /// The id of its request, which stands in every notification.
    id: String,
    /// What it wants, as it wrote it.
    filter: String,
    tools: bool,
    prompts: bool,
    resources: bool,
    /// Resources that it wants to hear of.
    uris: Vec<String>,
}

/// The request that a notification belongs to.
pub(super) const META_SUBSCRIPTION: &str = "io.modelcontextprotocol/subscriptionId";

impl Wish {
    /// Of who wants to hear nothing, and be asked nothing.
    pub(super) fn nothing() -> Self {
        Self {
            id: "null".to_owned(),
            filter: "{}".to_owned(),
            tools: false,
            prompts: false,
            resources: false,
            uris: Vec::new(),
        }
    }

    fn of(message: &Message<'_>) -> Option<Self> {
        let params = message.params();
        let filter = params.object("notifications")?;
        let is = |name: &str| filter.get(name) == Some("true");
        let uris = filter.get("resourceSubscriptions").and_then(|text| serde_json::from_str(text).ok());
        let mut uris: Vec<String> = uris.unwrap_or_default();
        uris.sort();
        uris.dedup();
        Some(Self {
            id: message.id()?.to_owned(),
            filter: filter.json(),
            tools: is("toolsListChanged"),
            prompts: is("promptsListChanged"),
            resources: is("resourcesListChanged"),
            uris,
        })
    }

    /// A notification with the number of the subscription.
    pub(super) fn numbered(&self, message: &Message<'_>) -> String {
        let mut params = message.params();
        let mut meta = params.object("_meta").map(Members::into_owned).unwrap_or_default();
        meta.set(META_SUBSCRIPTION, self.id.clone());
        params.set("_meta", meta.json());
        message.with_params(&params)
    }

    pub(super) fn wants(&self, message: &Message<'_>) -> bool {
        match message.method.as_str() {
            "notifications/tools/list_changed" => self.tools,
            "notifications/prompts/list_changed" => self.prompts,
            "notifications/resources/list_changed" => self.resources,
            "notifications/resources/updated" => {
                message.params().text("uri").is_some_and(|uri| self.uris.contains(&uri))
            }
            _ => false,
        }
    }
}

/// Answers `subscriptions/listen`.
pub(super) async fn subscribe(
    inner: &Arc<Inner>,
    sender: &Sender,
    session: &Session,
    message: &Message<'_>,
) -> Result<Response<Body>, Failure> {
    let id = message.id().unwrap_or("null");
    let Some(wish) = Wish::of(message) else {
        return Ok(answer::error(id, answer::INVALID_PARAMS, "`notifications` is required"));
    };
    if wish.uris.len() > URIS_MAX {
        let text = format!("`resourceSubscriptions` names more than {URIS_MAX} resources");
        return Ok(answer::error(id, answer::INVALID_PARAMS, &text));
    }
    let lines = inner.servers.iter().map(|server| begin::line(sender, session, server, false));
    let lines = futures_util::future::join_all(lines).await;
    let legs: Vec<(&Arc<Server>, Leg)> =
        inner.servers.iter().zip(lines).filter_map(|(server, leg)| Some((server, leg.ok()?))).collect();
    note_wishes(sender, session, &legs, &wish.uris).await;
    let lanes = legs
        .into_iter()
        .map(|(server, leg)| Lane::new(sender, session, server, leg, None, &wish.filter))
        .collect();
    let mut out = Vec::new();
    let params = format!("{{\"notifications\":{}}}", wish.filter);
    let told = message::notification("notifications/subscriptions/acknowledged", &params);
    if let Ok(told) = Message::parse(&told) {
        Event::message(wish.numbered(&told)).write(&mut out);
    }
    let mut merged = Merged::new(sender, lanes, false);
    merged.out = out;
    merged.wish = Some(wish);
    merged.settle().await;
    Ok(answer::stream(Body::boxed(merged)))
}

/// Tells servers with sessions which resources a client wants to hear of: one after another, each only to the servers
/// that can have it.
async fn note_wishes(sender: &Sender, session: &Session, legs: &[(&Arc<Server>, Leg)], uris: &[String]) {
    let able = |leg: &Leg| leg.revision.has_sessions() && leg.can.do_(Can::RESOURCES);
    let noted = async {
        for uri in uris {
            let surely = |server: &Server| server.known.catalog.knows_resource(uri) == usize::MAX;
            let owner = legs.iter().find(|(server, leg)| able(leg) && surely(server));
            let asked = legs.iter().filter(|(server, leg)| match owner {
                Some((owner, _)) => server.name == owner.name,
                None => able(leg),
            });
            for (server, _) in asked {
                let own = relay::own_id("subscribe");
                let text =
                    message::request(&own, "resources/subscribe", &format!("{{\"uri\":{}}}", quoted(uri)));
                // Whose it is not refuses.
                drop(relay::ask(sender, session, server, &own, &text).await);
            }
        }
    };
    if tokio::time::timeout(NOTING_MAX, noted).await.is_err() {
        tracing::warn!(
            "servers did not note within {NOTING_MAX:?} which resources a client wants to hear of"
        );
    }
}
