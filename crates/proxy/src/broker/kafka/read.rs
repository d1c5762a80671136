//! A topic, for a subscription: the gateway is a member of a consumer group, which keeps the places.

use std::{sync::Arc, time::Duration};

use ::kafka::{Claim, Cluster, Group, Start, Taken, Unreadable, Wish};
use futures_util::future::BoxFuture;
use model::resource::subscription::{SubscriptionStart, WhenUnreadable};
use tokio::sync::mpsc;

use super::headers;
use crate::broker::{
    link::{Message, Receipt, Settled},
    subscription::Reader,
};

/// Bytes of a partition that are asked for at a time, at least: one message may be that large.
const BYTES_MIN: usize = 1024 * 1024;
/// How long it takes at most until what is held is let go, once it is to end.
const ENDS: Duration = Duration::from_secs(600);

/// Reads while there is a connection; good when it is stopped.
pub(super) async fn read(cluster: &Arc<Cluster>, reader: &Reader) -> Result<(), String> {
    let settings = reader.settings();
    let mut kept = reader.kept.lock().await;
    let mut group = match kept.take().and_then(|kept| kept.downcast::<Group>().ok()) {
        Some(group) => group,
        None => Box::new(Group::new(Wish {
            group: settings.durable(),
            topic: settings.stream.clone(),
            start: match settings.from {
                SubscriptionStart::New => Start::End,
                SubscriptionStart::All => Start::First,
            },
            bytes: settings.max_message_size.get().max(BYTES_MIN),
            passes: settings.when_unreadable == WhenUnreadable::Skip,
            tell: Arc::new(telling(reader)),
        })),
    };
    // What was handed over and found no room yet is no more than this, and what one answer has.
    let (out, mut taken) = mpsc::channel(1);
    let reads = {
        let reads = group.read(cluster, &out, Box::pin(reader.stopped()), |reads| match reads {
            true => reader.has_begun(),
            false => reader.has_stalled("no partition of the topic can be read here"),
        });
        let mut reads = Box::pin(reads);
        let takes = async {
            // Room comes first, so that nothing is held that cannot be delivered.
            while let Some(room) = reader.room().await {
                let Some(one) = taken.recv().await else { return };
                reader.take(made(settings.stream.clone(), one), room);
            }
            // It is stopped: what was handed over meanwhile is let go.
            taken.close();
            while taken.recv().await.is_some() {}
        };
        tokio::select! {
            result = &mut reads => result,
            () = takes => {
                // The group still has to hear of what is on its way.
                let ended = tokio::time::timeout(ENDS, &mut reads).await;
                ended.unwrap_or(Ok(()))
            }
        }
    };
    if !reader.is_stopping() {
        *kept = Some(group);
    }
    reads.map_err(|error| error.to_string())
}

/// Says where a batch stands that nobody can read, and what is done about it.
fn telling(reader: &Reader) -> impl Fn(&Unreadable) + Send + Sync + use<> {
    let (topic, wanted) = (reader.settings().stream.clone(), reader.settings().when_unreadable);
    let counted = reader.unreadable();
    move |bad| {
        let Unreadable { partition, offset, next, why } = bad;
        let what = format!("what `{topic}` has at {offset} of partition {partition} cannot be read: {why}");
        counted(match wanted {
            WhenUnreadable::Stop => {
                format!("{what}; the partition stands still, until `whenUnreadable: skip` passes it over")
            }
            WhenUnreadable::Skip => format!("{what}; it is passed over, and {next} is next"),
        });
    }
}

fn made(topic: String, taken: Taken) -> Message {
    let Taken { record, partition, claim } = taken;
    let offset = u64::try_from(record.offset).unwrap_or_default();
    Message {
        place: (partition, offset),
        // No partition has so many that two of them meet.
        counted: (u64::from(partition.unsigned_abs()) << 44) ^ offset,
        id: format!("{topic}-{partition}-{offset}"),
        subject: topic,
        partition: Some(partition),
        sequence: Some(offset),
        headers: headers(&record),
        key: record.key,
        payload: record.value.unwrap_or_default(),
        // It is not counted there.
        given: 1,
        receipt: Arc::new(Claimed(claim)),
    }
}

/// A record that is held.
struct Claimed(Claim);

impl Receipt for Claimed {
    fn can_wait(&self) -> bool {
        false
    }

    fn is_lost(&self) -> bool {
        self.0.is_lost()
    }

    fn settle(&self, what: Settled) -> BoxFuture<'_, Result<(), String>> {
        if matches!(what, Settled::Delivered | Settled::GivenUp) {
            self.0.done();
        }
        Box::pin(std::future::ready(Ok(())))
    }
}
