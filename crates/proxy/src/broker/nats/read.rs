//! What a stream keeps, for a subscription: the broker keeps its place under a durable name.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use async_nats::jetstream::{
    self, AckKind, Context,
    consumer::{AckPolicy, Consumer, DeliverPolicy, pull},
};
use futures_util::{StreamExt, future::BoxFuture};
use model::resource::subscription::{Ordering, SubscriptionStart};

use super::{Nats, PARTITION_KEY};
use crate::broker::{
    link::{Message, Receipt, Settled},
    subscription::{GIVEN_BACK, Reader},
};

/// After how long the broker delivers again what it has not heard of.
const ACK_WAIT: Duration = Duration::from_secs(30);
/// How long one request for messages stands.
const EXPIRES: Duration = Duration::from_secs(1);
/// How much longer it stands when nobody answers: what the broker does not know any more it passes over in silence.
const SILENCE: Duration = Duration::from_secs(3);
/// How often it is looked, at the end, whether something is on its way still.
const LOOK: Duration = Duration::from_millis(20);
/// Messages of one request.
const BATCH_MAX: usize = 256;

/// Reads while there is a connection; good when it is stopped.
pub(super) async fn read(nats: &Nats, reader: &Reader) -> Result<(), String> {
    let consumer = known(reader, &nats.context()).await?;
    let _held = reader.holding(ACK_WAIT / 3);
    reader.has_begun();
    loop {
        let Some(first) = reader.room().await else {
            // The broker is told of what is on its way until that has ended: it would deliver it a second time meanwhile.
            while reader.holds() {
                tokio::time::sleep(LOOK).await;
            }
            return Ok(());
        };
        let mut first = Some(first);
        let wanted = (1 + reader.more_room()).min(BATCH_MAX);
        let batch = consumer.batch().max_messages(wanted).expires(EXPIRES).messages();
        let asked = Instant::now();
        let mut batch = batch.await.map_err(|error| error.to_string())?;
        while let Some(message) = batch.next().await {
            let message = message.map_err(|error| error.to_string())?;
            let Some(message) = made(reader, message) else { continue };
            match first.take().or_else(|| reader.room_now()).filter(|_| !reader.is_stopping()) {
                Some(room) => reader.take(message, room),
                // It is another's: the broker need not wait to find that out.
                None => reader.give_back(message).await?,
            }
        }
        if asked.elapsed() > EXPIRES + SILENCE {
            return Err("the broker does not answer".to_owned());
        }
    }
}

/// Makes it known to the broker, or finds that it is.
async fn known(reader: &Reader, context: &Context) -> Result<Consumer<pull::Config>, String> {
    let settings = reader.settings();
    let stream = context.get_stream_no_info(&settings.stream).await.map_err(|error| error.to_string())?;
    let wanted = pull::Config {
        durable_name: Some(settings.durable()),
        description: Some(format!("deliveries of Tidegate to {}", settings.upstream)),
        deliver_policy: match settings.from {
            SubscriptionStart::New => DeliverPolicy::New,
            SubscriptionStart::All => DeliverPolicy::All,
        },
        ack_policy: AckPolicy::Explicit,
        ack_wait: ACK_WAIT,
        // It is given up here, and never silently there.
        max_deliver: -1,
        filter_subject: settings.subject.clone().unwrap_or_default(),
        max_ack_pending: match settings.ordering {
            Ordering::All => 1,
            Ordering::None | Ordering::Key => 65_536,
        },
        ..Default::default()
    };
    stream.create_consumer(wanted).await.map_err(|error| error.to_string())
}

/// A message as all brokers have it; one that is not JetStream's is none.
fn made(reader: &Reader, message: jetstream::Message) -> Option<Message> {
    let info = message.info().ok()?;
    let sequence = info.stream_sequence;
    let given = u32::try_from(info.delivered).unwrap_or(1).max(1);
    message.reply.as_ref()?;
    let headers: Vec<(String, String)> = message
        .headers
        .iter()
        .flat_map(|headers| headers.iter())
        .flat_map(|(name, values)| {
            values.iter().map(|value| (AsRef::<str>::as_ref(name).to_owned(), value.as_str().to_owned()))
        })
        .collect();
    let key = headers.iter().find(|(name, _)| name.eq_ignore_ascii_case(PARTITION_KEY));
    Some(Message {
        place: (0, sequence),
        counted: sequence,
        id: format!("{}-{sequence}", reader.settings().stream),
        subject: message.subject.to_string(),
        partition: None,
        sequence: Some(sequence),
        key: key.map(|(_, key)| key.clone().into()),
        headers,
        payload: message.payload.clone(),
        given,
        receipt: Arc::new(Given(message)),
    })
}

/// What the broker has given out.
struct Given(jetstream::Message);

impl Receipt for Given {
    fn can_wait(&self) -> bool {
        true
    }

    fn is_lost(&self) -> bool {
        false
    }

    fn settle(&self, what: Settled) -> BoxFuture<'_, Result<(), String>> {
        let what = match what {
            Settled::Delivered => AckKind::Ack,
            Settled::GivenUp => AckKind::Term,
            Settled::Later(pause) => AckKind::Nak(Some(pause)),
            // Not into the request that still stands, which would have it go to and fro until that ends.
            Settled::Back => AckKind::Nak(Some(GIVEN_BACK)),
        };
        Box::pin(async move { self.0.ack_with(what).await.map_err(|error| error.to_string()) })
    }

    fn hold(&self) -> BoxFuture<'_, bool> {
        Box::pin(async { self.0.ack_with(AckKind::Progress).await.is_ok() })
    }
}
