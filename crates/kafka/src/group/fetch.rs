//! Finds who leads partitions, reads those of one leader together, and hands over what they have.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

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

/// What a task of a member comes back with.
pub(super) enum Back {
    /// Partitions by who leads them, which may be nobody.
    Led(HashMap<Option<i32>, Vec<Arc<Partition>>>),
    /// Nobody knows who leads these partitions, or reading them has ended.
    Ended {
        /// What was wrong.
        error: Error,
        /// The partitions.
        own: Vec<Arc<Partition>>,
    },
    /// How many partitions the topic has, where that is known.
    Counted(Option<usize>),
}

/// Finds who leads partitions.
pub(super) async fn find(cluster: Arc<Cluster>, topic: String, own: Vec<Arc<Partition>>) -> Back {
    let known = match cluster.topic(&topic).await {
        Ok(known) => known,
        Err(error) => {
            for one in &own {
                one.part(&topic, &error);
            }
            tokio::time::sleep(APART).await;
            return Back::Ended { error, own };
        }
    };
    let mut led: HashMap<Option<i32>, Vec<Arc<Partition>>> = HashMap::new();
    for one in own {
        let place = usize::try_from(one.number).ok();
        let leader = place.and_then(|place| known.leaders.get(place)).copied();
        led.entry(leader.filter(|leader| *leader >= 0)).or_default().push(one);
    }
    Back::Led(led)
}

/// Counts the partitions of a topic.
pub(super) async fn count(cluster: Arc<Cluster>, topic: String) -> Back {
    Back::Counted(cluster.partitions(&topic).await.ok())
}

/// Reads the partitions that one broker leads, until something is wrong. Where nobody leads them, or the leader cannot be reached,
/// that is told after a while.
pub(super) async fn read_of(
    cluster: Arc<Cluster>,
    leader: Option<i32>,
    wish: Wish,
    own: Vec<Arc<Partition>>,
    out: mpsc::Sender<Taken>,
) -> Back {
    let connected = match leader {
        Some(leader) => cluster.own_connection(leader).await,
        None => Err(Error::Said(Code::LEADER_NOT_AVAILABLE)),
    };
    // A connection that broke is made again in a moment; what cannot be reached, or hangs, is told of.
    let (error, is_away) = match connected {
        Ok(connection) => {
            let error = fetch(&cluster, &connection, &wish, &own, &out).await;
            let is_away = error == Error::Late;
            (error, is_away)
        }
        Err(error) => (error, true),
    };
    let mut pause = LOOK;
    if is_away {
        for one in &own {
            one.part(&wish.topic, &error);
        }
        pause = APART;
    }
    tokio::time::sleep(pause).await;
    Back::Ended { error, own }
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
    let mut rested = HashSet::new();
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
        let mut failed: Option<Code> = None;
        let is_empty = all.iter().all(|got| got.records.is_empty());
        for got in all {
            let Some(one) = own.iter().find(|one| one.number == got.partition) else { continue };
            match got.code {
                Code::NONE => one.join(&wish.topic),
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
                // Another may lead it by now, which is looked up. Where none does it is left alone for a while, and what else is
                // led here goes on.
                code => {
                    let is_new = one.part(&wish.topic, &Error::Said(code));
                    if code.may_pass() && !is_new && rested.insert(one.number) {
                        one.rest(APART);
                    } else if failed.is_none_or(Code::may_pass) {
                        failed = Some(code);
                    }
                    continue;
                }
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
        if let Some(code) = failed {
            return Error::Said(code);
        }
        // A broker that answers at once with nothing is not asked without end.
        if is_empty && began.elapsed() < LOOK {
            tokio::time::sleep(LOOK).await;
        }
    }
}
