//! Reads a topic without a group: from places that the reader itself keeps.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    api,
    cluster::{Cluster, WAIT},
    connection::Connection,
    error::{Code, Error},
    records::{self, Damage, Record},
};

/// Where one end of a partition is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Edge {
    /// Its first record.
    First,
    /// Behind its last record.
    End,
}

/// The next place of a partition that is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// The partition.
    pub partition: i32,
    /// The place.
    pub next: i64,
}

/// A batch that cannot be read: it is damaged, unfolds to too much, has a format of another time, or does not come whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unreadable {
    /// Its partition.
    pub partition: i32,
    /// The place that was to be read.
    pub offset: i64,
    /// Where whoever passes it over goes on.
    pub next: i64,
    /// What is wrong with it.
    pub why: &'static str,
}

/// What a partition had.
#[derive(Debug)]
pub(crate) struct Got {
    pub(crate) partition: i32,
    pub(crate) code: Code,
    pub(crate) records: Vec<Record>,
    /// Where to go on.
    pub(crate) next: i64,
    /// What stands there looks damaged, and is to be fetched once more.
    pub(crate) is_doubtful: bool,
    /// What stands there cannot be read.
    pub(crate) bad: Option<Unreadable>,
}

/// Bytes of one partition, and of all, that are asked for at a time, and what all may unfold to, but for one batch.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    pub(crate) each: i32,
    pub(crate) all: i32,
    pub(crate) large: usize,
}

/// Bytes behind a damaged batch that are asked for with it: what stands there says where it ends.
const BEHIND: i32 = 64 * 1024;

/// Batches that looked damaged, by their partitions. Each is fetched a second time before anything is done about it: bytes that
/// were changed on the way are not so the next time.
#[derive(Debug, Default)]
pub(crate) struct Doubts(HashMap<i32, (i64, Damage)>);

impl Doubts {
    /// Whether the same stood there the last time, too.
    fn confirm(&mut self, place: Position, damage: Damage) -> bool {
        let seen = (place.next, damage);
        self.0.insert(place.partition, seen) == Some(seen)
    }

    /// How many bytes are asked for at a place.
    fn bytes(&self, place: Position, each: i32) -> i32 {
        match self.0.get(&place.partition).filter(|(at, _)| *at == place.next) {
            Some((_, damage)) => {
                each.max(i32::try_from(damage.bytes).unwrap_or(i32::MAX)).saturating_add(BEHIND)
            }
            None => each,
        }
    }
}

/// Asks once. What comes is as compressed as it was sent.
pub(crate) async fn ask(
    connection: &Connection,
    topic: &str,
    from: &[Position],
    wait: Duration,
    bounds: Bounds,
    doubts: &Doubts,
) -> Result<Vec<api::Fetched>, Error> {
    let place = |one: &Position| api::From {
        partition: one.partition,
        offset: one.next,
        bytes: doubts.bytes(*one, bounds.each),
    };
    let places: Vec<api::From> = from.iter().map(place).collect();
    let more = places.iter().fold(0_i32, |sum, one| sum.saturating_add(one.bytes - bounds.each));
    let millis = i32::try_from(wait.as_millis()).unwrap_or(i32::MAX);
    let wish = api::fetch(topic, &places, millis, bounds.all.saturating_add(more));
    let mut answer = connection.call(api::FETCH, wish, wait + WAIT).await?;
    let (said, all) = api::read_fetch(&mut answer)?;
    said.ok()?;
    Ok(all)
}

/// Unfolds what came from these places. It waits for nothing.
pub(crate) fn open(
    mut all: Vec<api::Fetched>,
    from: &[Position],
    bounds: Bounds,
    doubts: &mut Doubts,
) -> Vec<Got> {
    let mut found = Vec::new();
    let mut left = bounds.large;
    for place in from {
        let Some(at) = all.iter().position(|one| one.partition == place.partition) else { continue };
        let one = all.swap_remove(at);
        let mut got = Got {
            partition: one.partition,
            code: one.code,
            records: Vec::new(),
            next: place.next,
            is_doubtful: false,
            bad: None,
        };
        // What there is no room for any more is asked for again.
        if one.code == Code::NONE && left > 0 {
            let read = records::read(one.batches, place.next, one.aborted, left);
            left = left.saturating_sub(read.unfolded);
            match read.damage {
                Some(damage) => got.is_doubtful = !doubts.confirm(*place, damage),
                None => _ = doubts.0.remove(&place.partition),
            }
            got.bad = unreadable(&read, *place, one.end).filter(|_| !got.is_doubtful);
            got.next = read.next.unwrap_or_default().max(place.next);
            got.records = read.records;
        }
        found.push(got);
    }
    found
}

/// What stands at a place and cannot be read, in a partition that ends somewhere.
fn unreadable(read: &records::Batches, place: Position, end: i64) -> Option<Unreadable> {
    let least = place.next.saturating_add(1);
    let (next, why) = match read.bad {
        Some(bad) => (bad.next.unwrap_or(least), bad.why),
        // Brokers of today give at least one batch whole, however large it is.
        None if read.is_cut && end > place.next => (least, "it does not fit into an answer"),
        None => return None,
    };
    // What a damaged batch says of itself may be anything.
    let next = next.clamp(least, end.max(least));
    Some(Unreadable { partition: place.partition, offset: place.next, next, why })
}

/// Where an edge of partitions is.
pub(crate) async fn edges(
    cluster: &Cluster,
    topic: &str,
    partitions: &[i32],
    edge: Edge,
) -> Result<Vec<Position>, Error> {
    let time = match edge {
        Edge::First => -2,
        Edge::End => -1,
    };
    let mut found = Vec::with_capacity(partitions.len());
    for (leader, some) in by_leader(cluster, topic, partitions).await? {
        let connection = cluster.connection(leader).await?;
        let mut answer =
            connection.call(api::LIST_OFFSETS, api::list_offsets(topic, &some, time), WAIT).await?;
        for (partition, said, next) in api::read_list_offsets(&mut answer)? {
            if said != Code::NONE {
                cluster.forget(topic);
                return Err(Error::Said(said));
            }
            found.push(Position { partition, next });
        }
    }
    Ok(found)
}

/// Partitions by who leads them.
pub(crate) async fn by_leader(
    cluster: &Cluster,
    topic: &str,
    partitions: &[i32],
) -> Result<Vec<(i32, Vec<i32>)>, Error> {
    let mut all: Vec<(i32, Vec<i32>)> = Vec::new();
    for partition in partitions {
        let leader = cluster.leader(topic, *partition).await?;
        match all.iter_mut().find(|(known, _)| *known == leader) {
            Some((_, some)) => some.push(*partition),
            None => all.push((leader, vec![*partition])),
        }
    }
    Ok(all)
}

/// Reads a whole topic, every partition from a place of its own.
pub struct Reading {
    cluster: Arc<Cluster>,
    topic: String,
    positions: Vec<Position>,
    bytes: i32,
    /// Whether it has connections of its own, on which it may wait.
    may_wait: bool,
    /// Connections to the leaders, with the partitions that they lead.
    leaders: Vec<(Arc<Connection>, Vec<i32>)>,
    /// Since when some partitions have none that can be asked.
    apart: Option<Instant>,
    /// Which partition is read first: what all unfold to has a bound.
    turn: usize,
    /// What was passed over, since nobody could read it.
    passed: Vec<Unreadable>,
    doubts: Doubts,
    /// Partitions whose next place is gone.
    lost: Vec<i32>,
    is_unsure: bool,
}

/// What leaders have answered, as it came.
pub struct Came {
    answers: Vec<(Vec<Position>, Vec<api::Fetched>)>,
    bounds: Bounds,
}

/// How long it is looked away from partitions whose leader cannot be asked.
const APART: Duration = Duration::from_secs(2);
/// How long is waited for records where several brokers are waited for together.
const WAIT_OF_MANY: Duration = Duration::from_millis(100);

impl Reading {
    /// Begins at an edge of each partition, or where it is said; partitions of which nothing is said begin at their first
    /// record. `bytes` of a partition are asked for at a time.
    pub async fn begin(
        cluster: &Arc<Cluster>,
        topic: &str,
        edge: Edge,
        known: &[Position],
        bytes: usize,
    ) -> Result<Self, Error> {
        // One place for each partition, and none that nobody could have been told.
        if known.iter().any(|one| one.next < 0) {
            return Err(Error::Said(Code::OFFSET_OUT_OF_RANGE));
        }
        let count = cluster.partitions(topic).await?;
        let all: Vec<i32> = (0..i32::try_from(count).unwrap_or(i32::MAX)).collect();
        let is_known = |partition: &i32| known.iter().any(|one| one.partition == *partition);
        let rest: Vec<i32> = all.iter().copied().filter(|partition| !is_known(partition)).collect();
        let mut positions = known.to_vec();
        positions.retain(|one| all.contains(&one.partition));
        if !rest.is_empty() {
            let edge = if known.is_empty() { edge } else { Edge::First };
            positions.extend(edges(cluster, topic, &rest, edge).await?);
        }
        positions.sort_by_key(|one| one.partition);
        Ok(Self {
            cluster: cluster.clone(),
            topic: topic.to_owned(),
            positions,
            bytes: i32::try_from(bytes).unwrap_or(i32::MAX),
            may_wait: false,
            leaders: Vec::new(),
            apart: None,
            turn: 0,
            passed: Vec::new(),
            doubts: Doubts::default(),
            lost: Vec::new(),
            is_unsure: false,
        })
    }

    /// The same on connections of its own, on which it may wait.
    pub fn waiting(mut self) -> Self {
        self.may_wait = true;
        self
    }

    /// What was passed over since this was last asked, because nobody could read it.
    pub fn passed(&mut self) -> Vec<Unreadable> {
        std::mem::take(&mut self.passed)
    }

    /// Where it is.
    pub fn positions(&self) -> &[Position] {
        &self.positions
    }

    /// Goes back by so many records in each partition, as far as there are any.
    pub async fn go_back(&mut self, records: i64) -> Result<(), Error> {
        let all: Vec<i32> = self.positions.iter().map(|one| one.partition).collect();
        let first = edges(&self.cluster, &self.topic, &all, Edge::First).await?;
        for place in &mut self.positions {
            let least = first.iter().find(|one| one.partition == place.partition).map_or(0, |one| one.next);
            place.next = (place.next - records).max(least).min(place.next);
        }
        Ok(())
    }

    /// The next records, each with its partition; waits for some for so long at most, where it may wait. Whoever takes
    /// one says so with [`Self::taken`].
    pub async fn next(&mut self, wait: Duration) -> Result<Vec<(i32, Record)>, Error> {
        let came = self.ask(wait).await?;
        self.open(came)
    }

    /// Whether the last answers left something open that the next ones tell: there may be more than they had.
    pub fn is_unsure(&self) -> bool {
        self.is_unsure
    }

    /// The first half of [`Self::next`]: asks the leaders, and holds what they answer, compressed as it is.
    pub async fn ask(&mut self, wait: Duration) -> Result<Came, Error> {
        // What was there is not there any more: it begins with what there still is.
        while let Some(partition) = self.lost.last().copied() {
            let first = edges(&self.cluster, &self.topic, &[partition], Edge::First).await?;
            self.set(partition, first.first().map_or(0, |one| one.next));
            self.lost.pop();
        }
        if self.apart.is_some_and(|since| since.elapsed() >= APART) {
            self.moved();
        }
        if self.leaders.is_empty() {
            self.lead().await?;
        }
        let wait = match (self.may_wait, self.leaders.len()) {
            (false, _) => Duration::ZERO,
            (true, ..=1) => wait,
            (true, _) => wait.min(WAIT_OF_MANY),
        };
        let (positions, topic) = (&self.positions, self.topic.as_str());
        let large = usize::try_from(self.bytes).unwrap_or_default().saturating_mul(4);
        let bounds = Bounds { each: self.bytes, all: self.bytes.saturating_mul(4), large };
        self.turn = self.turn.wrapping_add(1);
        let turn = self.turn;
        let asked = self.leaders.iter().map(|(connection, some)| {
            let mut from: Vec<Position> =
                positions.iter().filter(|one| some.contains(&one.partition)).copied().collect();
            let first = turn % from.len().max(1);
            from.rotate_left(first);
            let doubts = &self.doubts;
            async move {
                let all = ask(connection, topic, &from, wait, bounds, doubts).await;
                all.map(|all| (from, all))
            }
        });
        let told = futures_util::future::join_all(asked).await;
        let mut answers = Vec::with_capacity(told.len());
        let mut failed = Vec::new();
        for (number, one) in told.into_iter().enumerate() {
            match one {
                Ok(answer) => answers.push(answer),
                Err(error) => failed.push((number, error)),
            }
        }
        if answers.is_empty()
            && let Some((_, error)) = failed.pop()
        {
            self.moved();
            return Err(error);
        }
        // One broker that is away is not the cluster: the partitions of the others go on.
        for (number, _) in failed.into_iter().rev() {
            self.leaders.remove(number);
            self.apart = Some(Instant::now());
        }
        Ok(Came { answers, bounds })
    }

    /// Finds who leads the partitions, and connects to them. Those that cannot be asked are looked for again later, unless it is
    /// all of them.
    async fn lead(&mut self) -> Result<(), Error> {
        let known = self.cluster.topic(&self.topic).await?;
        let mut led: HashMap<i32, Vec<i32>> = HashMap::new();
        let mut failed = None;
        for one in &self.positions {
            let place = usize::try_from(one.partition).ok();
            let leader = place.and_then(|place| known.leaders.get(place)).copied();
            match leader.filter(|leader| *leader >= 0) {
                Some(leader) => led.entry(leader).or_default().push(one.partition),
                None => failed = Some(Error::Said(Code::LEADER_NOT_AVAILABLE)),
            }
        }
        for (leader, some) in led {
            let connected = match self.may_wait {
                true => self.cluster.own_connection(leader).await.map(Arc::new),
                false => self.cluster.connection(leader).await,
            };
            match connected {
                Ok(connection) => self.leaders.push((connection, some)),
                Err(error) => failed = Some(error),
            }
        }
        self.apart = failed.is_some().then(Instant::now);
        match failed {
            Some(error) if self.leaders.is_empty() => {
                self.moved();
                Err(error)
            }
            _ => Ok(()),
        }
    }

    /// The second half of [`Self::next`]: unfolds. It waits for nothing.
    pub fn open(&mut self, came: Came) -> Result<Vec<(i32, Record)>, Error> {
        let mut found = Vec::new();
        let mut failed = None;
        self.is_unsure = false;
        for (from, all) in came.answers {
            for got in open(all, &from, came.bounds, &mut self.doubts) {
                match got.code {
                    Code::NONE => {}
                    Code::OFFSET_OUT_OF_RANGE => {
                        self.lost.push(got.partition);
                        self.is_unsure = true;
                        continue;
                    }
                    code => {
                        failed = Some(Error::Said(code));
                        continue;
                    }
                }
                self.is_unsure |= got.is_doubtful;
                if let Some(bad) = got.bad {
                    self.set(bad.partition, bad.next);
                    self.passed.push(bad);
                    continue;
                }
                if got.records.is_empty() {
                    self.set(got.partition, got.next);
                }
                found.extend(got.records.into_iter().map(|record| (got.partition, record)));
            }
        }
        let Some(error) = failed else { return Ok(found) };
        // Others may lead it now. What the other partitions have is heard all the same.
        self.moved();
        if found.is_empty() && self.passed.is_empty() { Err(error) } else { Ok(found) }
    }

    /// A record was taken: it goes on behind it.
    pub fn taken(&mut self, partition: i32, offset: i64) {
        self.set(partition, offset + 1);
    }

    fn set(&mut self, partition: i32, next: i64) {
        if let Some(place) = self.positions.iter_mut().find(|one| one.partition == partition) {
            place.next = next;
        }
    }

    /// Others may lead now.
    fn moved(&mut self) {
        self.apart = None;
        self.leaders.clear();
        self.cluster.forget(&self.topic);
    }
}

#[cfg(test)]
mod tests {
    use bytes::{Bytes, BytesMut};

    use super::*;
    use crate::{compress::Compression, records::Sender};

    const BOUNDS: Bounds = Bounds { each: 1024, all: 4096, large: 4096 };

    /// A batch of two records.
    fn batch(base: i64) -> BytesMut {
        let record = Record { value: Some(Bytes::from_static(b"a")), ..Record::default() };
        let sender = Sender { id: 7, epoch: 0, sequence: 0 };
        let mut batch =
            BytesMut::from(&records::write([&record, &record].into_iter(), sender, Compression::None)[..]);
        batch[..8].copy_from_slice(&base.to_be_bytes());
        batch
    }

    fn came(batches: BytesMut) -> Vec<api::Fetched> {
        let batches = batches.freeze();
        vec![api::Fetched { partition: 3, code: Code::NONE, end: 1000, aborted: Vec::new(), batches }]
    }

    #[test]
    fn what_looks_damaged_is_fetched_again_and_passed_over_when_it_looks_the_same_twice() {
        let place = Position { partition: 3, next: 10 };
        let mut doubts = Doubts::default();
        let mut look = |batches: BytesMut| {
            let mut all = open(came(batches), &[place], BOUNDS, &mut doubts);
            let bytes = doubts.bytes(place, BOUNDS.each);
            (all.remove(0), bytes)
        };
        let damaged = |at: usize| {
            let mut damaged = batch(10);
            damaged[at] ^= 0x40;
            damaged
        };
        let last = batch(10).len() - 1;
        let (got, bytes) = look(damaged(last));
        assert!(got.is_doubtful && got.bad.is_none() && got.records.is_empty());
        assert_eq!(got.next, 10, "nothing is passed over");
        assert_eq!(bytes, BOUNDS.each + BEHIND, "what stands behind it is asked for, too");
        let (got, _) = look(damaged(last - 1));
        assert!(got.is_doubtful && got.bad.is_none(), "other damage, which the way has done");
        let (got, bytes) = look(batch(10));
        assert_eq!(
            (got.records.len(), got.next, got.is_doubtful),
            (2, 12, false),
            "it was whole all the time"
        );
        assert_eq!(bytes, BOUNDS.each);
        let _ = look(damaged(last));
        let (got, _) = look(damaged(last));
        assert_eq!(got.bad.map(|bad| (bad.offset, bad.next)), Some((10, 12)), "that is how it lies there");
        // Of a head that is damaged only the least is believed, and the rest looked at.
        let _ = look(damaged(23));
        let (got, _) = look(damaged(23));
        assert_eq!(got.bad.map(|bad| (bad.offset, bad.next)), Some((10, 11)));
    }
}
