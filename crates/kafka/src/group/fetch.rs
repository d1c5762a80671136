//! Reads the partitions of one leader, and hands over what they have.

use std::{sync::Arc, time::Duration};

use tokio::{sync::mpsc, time::Instant};

use super::{
    Wish,
    held::{Partition, Taken},
};
use crate::{
    cluster::Cluster,
    connection::Connection,
    error::{Code, Error},
    read::{self, Bounds, Doubts, Edge, Position},
};

/// How long a request for records waits.
const FETCH_WAIT: Duration = Duration::from_millis(500);
/// Bytes of what one fetch unfolds to; one batch may be more.
const LARGE_MAX: usize = 8 * 1024 * 1024;
/// How long it is looked away from a partition that is too far ahead.
pub(super) const LOOK: Duration = Duration::from_millis(100);
/// How long it is looked away from one that nobody leads, or whose leader cannot be reached.
const APART: Duration = Duration::from_secs(2);

/// How one who reads has ended.
pub(super) struct Ended {
    pub(super) error: Error,
    /// What was read.
    pub(super) own: Vec<Arc<Partition>>,
}

/// Reads the partitions that one broker leads, until something is wrong. Where nobody leads them, or the leader cannot be reached,
/// that is told after a while.
pub(super) async fn read_of(
    cluster: Arc<Cluster>,
    leader: Option<i32>,
    wish: Wish,
    own: Vec<Arc<Partition>>,
    out: mpsc::Sender<Taken>,
) -> Ended {
    let connected = match leader {
        Some(leader) => cluster.own_connection(leader).await,
        None => Err(Error::Said(Code::LEADER_NOT_AVAILABLE)),
    };
    let (error, pause) = match connected {
        Ok(connection) => (fetch(&cluster, &connection, &wish, &own, &out).await, LOOK),
        Err(error) => {
            own.iter().for_each(|one| one.part(&wish.topic, &error));
            (error, APART)
        }
    };
    tokio::time::sleep(pause).await;
    Ended { error, own }
}

async fn fetch(
    cluster: &Arc<Cluster>,
    connection: &Connection,
    wish: &Wish,
    own: &[Arc<Partition>],
    out: &mpsc::Sender<Taken>,
) -> Error {
    let each = i32::try_from(wish.bytes).unwrap_or(i32::MAX);
    let bounds = Bounds { each, all: each.saturating_mul(4), large: LARGE_MAX.max(wish.bytes) };
    let mut turn: usize = 0;
    let mut doubts = Doubts::default();
    loop {
        let began = Instant::now();
        let mut from: Vec<Position> = own
            .iter()
            .filter(|one| !one.waits())
            .map(|one| Position { partition: one.number, next: one.next() })
            .collect();
        if from.is_empty() {
            tokio::time::sleep(LOOK).await;
            continue;
        }
        // Each is the first in turn: what all unfold to has a bound, and the last may find no room.
        turn = (turn + 1) % from.len();
        from.rotate_left(turn);
        let all = match read::ask(connection, &wish.topic, &from, FETCH_WAIT, bounds, &doubts).await {
            Ok(all) => read::open(all, &from, bounds, &mut doubts),
            Err(error) => return error,
        };
        own.iter().for_each(|one| one.join(&wish.topic));
        let is_empty = all.iter().all(|got| got.records.is_empty());
        for got in all {
            let Some(one) = own.iter().find(|one| one.number == got.partition) else { continue };
            match got.code {
                Code::NONE => {}
                Code::OFFSET_OUT_OF_RANGE => {
                    let first = read::edges(cluster, &wish.topic, &[one.number], Edge::First).await;
                    let next = match first.map(|places| places.first().map(|place| place.next)) {
                        Ok(next) => next.unwrap_or_default(),
                        Err(error) => return error,
                    };
                    tracing::warn!(
                        topic = %wish.topic, partition = one.number,
                        "what `{}` was to read next is gone: it goes on with {next}", wish.group
                    );
                    one.go_to(next);
                    continue;
                }
                code => return Error::Said(code),
            }
            if let Some(bad) = &got.bad {
                if one.meet(bad, wish.passes) {
                    (wish.tell)(bad);
                }
                continue;
            }
            // What is let go meanwhile is next again: an answer from behind it is thrown away.
            let mut at =
                from.iter().find(|place| place.partition == one.number).map_or(-1, |place| place.next);
            for record in got.records {
                let Ok(room) = out.reserve().await else { return Error::Broken };
                let Some(claim) = one.claim(at, record.offset) else { break };
                at = record.offset + 1;
                room.send(Taken { record, partition: one.number, claim });
            }
            one.pass(at, got.next);
        }
        // A broker that answers at once with nothing is not asked without end.
        if is_empty && began.elapsed() < LOOK {
            tokio::time::sleep(LOOK).await;
        }
    }
}
