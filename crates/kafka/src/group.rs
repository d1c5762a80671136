//! A member of a consumer group: shares the partitions of a topic with the others, and confirms what is done with.
//!
//! Records are handed over one by one, and each is done with in its own time. What is confirmed to the broker is the
//! place before the first that is not done with, so that none is lost however this ends; those behind it may come again.
//! Partitions that a new division leaves here go on as if nothing had been.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::mpsc,
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval},
};

use crate::{
    api::{self, Share},
    cluster::{Cluster, WAIT},
    connection::Connection,
    error::{Code, Error},
    read::{self, Bounds, Doubts, Edge, Position, Unreadable},
    records::Record,
};

/// After how long without a sign of life a member is none.
const SESSION: Duration = Duration::from_secs(10);
/// How long the others may take to come, too.
const REBALANCE: Duration = Duration::from_secs(60);
/// How often a sign of life is given.
const HEARTBEAT: Duration = Duration::from_secs(3);
/// How often it is confirmed what is done with.
const CONFIRM: Duration = Duration::from_millis(500);
/// How long a request for records waits.
const FETCH_WAIT: Duration = Duration::from_millis(500);
/// Bytes of what one fetch unfolds to; one batch may be more.
const LARGE_MAX: usize = 8 * 1024 * 1024;
/// How far it is read ahead of the first that is not done with.
const AHEAD_MAX: i64 = 10_000;
/// How long it is looked away from a partition that is too far ahead.
const LOOK: Duration = Duration::from_millis(100);
/// How long it is looked away from one where a batch stands that cannot be read.
const STUCK: Duration = Duration::from_secs(5);
/// How long it is looked away from one that nobody leads, or whose leader cannot be reached.
const APART: Duration = Duration::from_secs(2);
/// Tries to get into a group before somebody is told.
const JOINS_MAX: usize = 10;

/// Whoever is told of a batch that cannot be read, once for each.
pub type Tell = Arc<dyn Fn(&Unreadable) + Send + Sync>;

/// What is wanted.
#[derive(Clone)]
pub struct Wish {
    /// The group.
    pub group: String,
    /// The topic.
    pub topic: String,
    /// Where it begins where the group has confirmed nothing.
    pub start: Start,
    /// Bytes of a partition that are asked for at a time.
    pub bytes: usize,
    /// Whether a batch that cannot be read is passed over. Else its partition stands still, and the others go on.
    pub passes: bool,
    /// Who is told of such a batch.
    pub tell: Tell,
}

/// Where a group begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// With what there is.
    First,
    /// With what comes from now on.
    End,
}

/// A record that was handed over.
pub struct Taken {
    /// The record.
    pub record: Record,
    /// Its partition.
    pub partition: i32,
    /// What it is done with by.
    pub claim: Claim,
}

/// A record that is held. One that is let go without a word holds up what is confirmed, and so comes again to whoever has
/// its partition after this.
pub struct Claim {
    partition: Arc<Partition>,
    offset: i64,
}

impl Claim {
    /// It is done with.
    pub fn done(&self) {
        locked(&self.partition.progress).undone.remove(&self.offset);
    }

    /// Whether it is another's by now.
    pub fn is_lost(&self) -> bool {
        self.partition.is_lost.load(Ordering::Relaxed)
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut progress = locked(&self.partition.progress);
        progress.held = progress.held.saturating_sub(1);
        // The last one that was taken is simply read again.
        if progress.next == self.offset + 1 && progress.undone.remove(&self.offset) {
            progress.next = self.offset;
        }
    }
}

/// A partition that this member has.
struct Partition {
    number: i32,
    is_lost: AtomicBool,
    /// Whoever leads it cannot be asked, and that was told.
    is_apart: AtomicBool,
    progress: Mutex<Progress>,
}

/// How far it is.
#[derive(Default)]
struct Progress {
    /// The next that is read.
    next: i64,
    /// What was handed over and is not done with.
    undone: BTreeSet<i64>,
    /// Of that, what somebody holds.
    held: usize,
    confirmed: i64,
    /// The place of a batch that cannot be read, of which was told.
    bad: Option<i64>,
    /// Until when it is looked away.
    rests: Option<Instant>,
}

impl Progress {
    /// The place that can be confirmed.
    fn done(&self) -> i64 {
        self.undone.first().copied().unwrap_or(self.next)
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Partition {
    fn new(place: Position, confirmed: i64) -> Arc<Self> {
        let progress = Progress { next: place.next, confirmed, ..Progress::default() };
        Arc::new(Self {
            number: place.partition,
            is_lost: AtomicBool::new(false),
            is_apart: AtomicBool::new(false),
            progress: Mutex::new(progress),
        })
    }

    /// Claims what was read from a place; nothing when it is read from another by now: then what came is not what is next.
    fn claim(self: &Arc<Self>, from: i64, offset: i64) -> Option<Claim> {
        let mut progress = locked(&self.progress);
        if progress.next != from {
            return None;
        }
        progress.undone.insert(offset);
        progress.held += 1;
        progress.next = offset + 1;
        Some(Claim { partition: self.clone(), offset })
    }

    /// Goes on behind what has no records, or none that are read; not where it is read from another place by now.
    fn pass(&self, from: i64, next: i64) {
        let mut progress = locked(&self.progress);
        if progress.next == from {
            progress.next = progress.next.max(next);
        }
    }

    /// Whether it has to wait: it has read too far ahead, or stands before what cannot be read.
    fn waits(&self) -> bool {
        let progress = locked(&self.progress);
        progress.next - progress.done() > AHEAD_MAX
            || progress.rests.is_some_and(|until| until > Instant::now())
    }

    /// Meets a batch that cannot be read: passes it over, or stands still before it. Whether that is new.
    fn meet(&self, bad: &Unreadable, passes: bool) -> bool {
        let mut progress = locked(&self.progress);
        if progress.next != bad.offset {
            return false;
        }
        if passes {
            progress.next = bad.next;
        } else {
            progress.rests = Some(Instant::now() + STUCK);
        }
        progress.bad.replace(bad.offset) != Some(bad.offset)
    }

    fn next(&self) -> i64 {
        locked(&self.progress).next
    }

    /// Whoever leads it cannot be asked; that is told once.
    fn part(&self, topic: &str, why: &Error) {
        if !self.is_apart.swap(true, Ordering::Relaxed) {
            let partition = self.number;
            tracing::warn!(
                topic,
                partition,
                "partition {partition} of `{topic}` cannot be read, and it is tried again: {why}"
            );
        }
    }

    /// Whoever leads it answers.
    fn join(&self, topic: &str) {
        if self.is_apart.swap(false, Ordering::Relaxed) {
            let partition = self.number;
            tracing::info!(topic, partition, "partition {partition} of `{topic}` is read again");
        }
    }
}

/// A member, from its first joining to its leaving. What it holds outlasts connections.
pub struct Group {
    wish: Wish,
    member: String,
    partitions: HashMap<i32, Arc<Partition>>,
}

impl Drop for Group {
    fn drop(&mut self) {
        self.partitions.values().for_each(|one| one.is_lost.store(true, Ordering::Relaxed));
    }
}

/// Why a generation of the group ended.
enum Over {
    /// The others divide the partitions anew.
    Divided,
    /// This one is no member any more.
    Unknown,
    /// It is stopped, and everything is done with.
    Stopped,
}

/// How one who reads has ended.
struct Ended {
    error: Error,
    /// What was read.
    own: Vec<Arc<Partition>>,
}

/// What a member knows of one generation.
struct Generation {
    coordinator: Connection,
    number: i32,
    mine: Vec<i32>,
}

impl Group {
    /// A member that is none yet.
    pub fn new(wish: Wish) -> Self {
        Self { wish, member: String::new(), partitions: HashMap::new() }
    }

    /// Reads as a member, and hands records over while there is room for them. Good when it was stopped: then what is
    /// held was let go, or done with, and the group knows it.
    pub async fn read(
        &mut self,
        cluster: &Arc<Cluster>,
        out: &mpsc::Sender<Taken>,
        mut stopped: impl Future<Output = ()> + Unpin,
        mut joined: impl FnMut(),
    ) -> Result<(), Error> {
        let mut joins = 0;
        loop {
            let generation = tokio::select! {
                generation = self.join(cluster) => generation,
                () = &mut stopped => {
                    self.lose(|_| false);
                    return Ok(());
                }
            };
            let generation = match generation {
                Ok(generation) => generation,
                // The others came meanwhile, or this one was forgotten.
                Err(Error::Said(
                    code @ (Code::REBALANCE_IN_PROGRESS | Code::UNKNOWN_MEMBER_ID | Code::ILLEGAL_GENERATION),
                )) if joins < JOINS_MAX => {
                    if code == Code::UNKNOWN_MEMBER_ID {
                        self.member.clear();
                    }
                    joins += 1;
                    tokio::time::sleep(LOOK).await;
                    continue;
                }
                Err(error) => return Err(error),
            };
            self.take(cluster, &generation).await?;
            joins = 0;
            joined();
            match self.live(cluster, &generation, out, &mut stopped).await? {
                Over::Stopped => return Ok(()),
                Over::Divided => {}
                Over::Unknown => self.member.clear(),
            }
        }
    }

    /// Gives up all partitions but some.
    fn lose(&mut self, keeps: impl Fn(i32) -> bool) {
        self.partitions.retain(|number, one| {
            let stays = keeps(*number);
            one.is_lost.store(!stays, Ordering::Relaxed);
            stays
        });
    }

    /// Gets into the group, and hears what is its own.
    async fn join(&mut self, cluster: &Arc<Cluster>) -> Result<Generation, Error> {
        let Wish { group, topic, .. } = &self.wish;
        let any = cluster.any().await?;
        let mut answer = any.call(api::FIND_COORDINATOR, api::find_coordinator(group), WAIT).await?;
        let (said, host, port) = api::read_find_coordinator(&mut answer)?;
        said.ok()?;
        let port = u16::try_from(port).map_err(|_| Error::Said(Code::COORDINATOR_NOT_AVAILABLE))?;
        let coordinator = cluster.opened(&host, port).await?;
        let millis = |time: Duration| i32::try_from(time.as_millis()).unwrap_or(i32::MAX);
        let mut first = true;
        let joined = loop {
            let wish = api::join_group(group, millis(SESSION), millis(REBALANCE), &self.member, topic);
            let mut answer = coordinator.call(api::JOIN_GROUP, wish, REBALANCE + WAIT).await?;
            let joined = api::read_join_group(&mut answer)?;
            // It is given a name, and comes again with it.
            if joined.code == Code::MEMBER_ID_REQUIRED && std::mem::take(&mut first) {
                self.member = joined.member;
                continue;
            }
            break joined;
        };
        joined.code.ok()?;
        self.member = joined.member.clone();
        let shares = match joined.leader == joined.member {
            true => divided(cluster, &joined.members).await?,
            false => Vec::new(),
        };
        let wish = api::sync_group(group, joined.generation, &self.member, &shares);
        let mut answer = coordinator.call(api::SYNC_GROUP, wish, REBALANCE + WAIT).await?;
        let (said, share) = api::read_sync_group(&mut answer)?;
        said.ok()?;
        let mine = share.into_iter().filter(|(known, _)| known == topic).flat_map(|(_, some)| some).collect();
        Ok(Generation { coordinator, number: joined.generation, mine })
    }

    /// Begins where the group was; what it had before goes on.
    async fn take(&mut self, cluster: &Arc<Cluster>, generation: &Generation) -> Result<(), Error> {
        let Generation { coordinator, mine, number } = generation;
        self.lose(|number| mine.contains(&number));
        if mine.is_empty() {
            return Ok(());
        }
        let Wish { group, topic, start, .. } = self.wish.clone();
        let wish = api::offset_fetch(&group, &topic, mine);
        let mut answer = coordinator.call(api::OFFSET_FETCH, wish, WAIT).await?;
        let (said, confirmed) = api::read_offset_fetch(&mut answer)?;
        said.ok()?;
        let mut fresh = Vec::new();
        for partition in mine {
            let known =
                confirmed.iter().find(|(number, _)| number == partition).map_or(-1, |(_, next)| *next);
            if let Some(own) = self.partitions.get(partition) {
                // Somebody else may have had it in between.
                if locked(&own.progress).confirmed == known {
                    continue;
                }
                own.is_lost.store(true, Ordering::Relaxed);
                self.partitions.remove(partition);
            }
            match known {
                ..0 => fresh.push(*partition),
                next => {
                    let place = Position { partition: *partition, next };
                    self.partitions.insert(*partition, Partition::new(place, next));
                }
            }
        }
        if fresh.is_empty() {
            return Ok(());
        }
        let edge = match start {
            Start::First => Edge::First,
            Start::End => Edge::End,
        };
        let places = read::edges(cluster, &topic, &fresh, edge).await?;
        // From here on it is known, so that what comes while nobody reads is read.
        let begun: Vec<(i32, i64)> = places.iter().map(|one| (one.partition, one.next)).collect();
        let wish = api::offset_commit(&group, *number, &self.member, &topic, &begun);
        let mut answer = coordinator.call(api::OFFSET_COMMIT, wish, WAIT).await?;
        api::read_offset_commit(&mut answer)?.ok()?;
        for place in places {
            self.partitions.insert(place.partition, Partition::new(place, place.next));
        }
        Ok(())
    }

    /// Reads until the generation is over.
    async fn live(
        &mut self,
        cluster: &Arc<Cluster>,
        generation: &Generation,
        out: &mpsc::Sender<Taken>,
        stopped: &mut (impl Future<Output = ()> + Unpin),
    ) -> Result<Over, Error> {
        let mut readers = JoinSet::new();
        self.spread(cluster, out, self.partitions.values().cloned().collect(), &mut readers).await?;
        let mut beats = interval(HEARTBEAT);
        let mut confirms = interval(CONFIRM);
        beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        confirms.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut is_stopping = false;
        loop {
            tokio::select! {
                () = &mut *stopped, if !is_stopping => {
                    is_stopping = true;
                    readers.abort_all();
                }
                _ = beats.tick() => {
                    let wish = api::heartbeat(&self.wish.group, generation.number, &self.member);
                    let mut answer = generation.coordinator.call(api::HEARTBEAT, wish, WAIT).await?;
                    match api::read_code(&mut answer)? {
                        Code::NONE => {}
                        Code::REBALANCE_IN_PROGRESS if is_stopping => {}
                        Code::REBALANCE_IN_PROGRESS => {
                            readers.shutdown().await;
                            let _ = self.confirm(generation).await;
                            return Ok(Over::Divided);
                        }
                        Code::UNKNOWN_MEMBER_ID | Code::ILLEGAL_GENERATION => {
                            return Ok(if is_stopping { Over::Stopped } else { Over::Unknown });
                        }
                        code => return Err(Error::Said(code)),
                    }
                }
                _ = confirms.tick() => {
                    match self.confirm(generation).await {
                        Err(Error::Said(Code::REBALANCE_IN_PROGRESS)) | Ok(()) => {}
                        Err(Error::Said(Code::UNKNOWN_MEMBER_ID | Code::ILLEGAL_GENERATION)) => {
                            return Ok(if is_stopping { Over::Stopped } else { Over::Unknown });
                        }
                        Err(error) => return Err(error),
                    }
                    if is_stopping && self.partitions.values().all(|one| locked(&one.progress).held == 0) {
                        match self.confirm(generation).await {
                            // The others divide the partitions anew just now: it is said a little later.
                            Err(Error::Said(Code::REBALANCE_IN_PROGRESS)) => continue,
                            told => told?,
                        }
                        let wish = api::leave_group(&self.wish.group, &self.member);
                        let _ = generation.coordinator.call(api::LEAVE_GROUP, wish, WAIT).await;
                        self.member.clear();
                        return Ok(Over::Stopped);
                    }
                }
                Some(ended) = readers.join_next(), if !is_stopping => {
                    let Ok(Ended { error, own }) = ended else { return Err(Error::Broken) };
                    let goes_on = match &error {
                        // One broker that is away is not the cluster, and the others lead theirs as before.
                        Error::Said(Code::LEADER_NOT_AVAILABLE) | Error::Away(_) | Error::Broken | Error::Late => {
                            !readers.is_empty()
                        }
                        Error::Said(code) => code.may_pass(),
                        Error::Malformed(_) => false,
                    };
                    if !goes_on {
                        return Err(error);
                    }
                    cluster.forget(&self.wish.topic);
                    self.spread(cluster, out, own, &mut readers).await?;
                }
            }
        }
    }

    /// Has partitions read, those of one leader together.
    async fn spread(
        &self,
        cluster: &Arc<Cluster>,
        out: &mpsc::Sender<Taken>,
        own: Vec<Arc<Partition>>,
        readers: &mut JoinSet<Ended>,
    ) -> Result<(), Error> {
        if own.is_empty() {
            return Ok(());
        }
        let known = cluster.topic(&self.wish.topic).await?;
        let mut led: HashMap<Option<i32>, Vec<Arc<Partition>>> = HashMap::new();
        for one in own {
            let place = usize::try_from(one.number).ok();
            let leader = place.and_then(|place| known.leaders.get(place)).copied();
            led.entry(leader.filter(|leader| *leader >= 0)).or_default().push(one);
        }
        for (leader, own) in led {
            readers.spawn(read_of(cluster.clone(), leader, self.wish.clone(), own, out.clone()));
        }
        Ok(())
    }

    /// Tells the group what is done with, where that has changed.
    async fn confirm(&self, generation: &Generation) -> Result<(), Error> {
        let mut places = Vec::new();
        for one in self.partitions.values() {
            let progress = locked(&one.progress);
            if progress.done() != progress.confirmed {
                places.push((one.number, progress.done()));
            }
        }
        if places.is_empty() {
            return Ok(());
        }
        let Wish { group, topic, .. } = &self.wish;
        let wish = api::offset_commit(group, generation.number, &self.member, topic, &places);
        let mut answer = generation.coordinator.call(api::OFFSET_COMMIT, wish, WAIT).await?;
        api::read_offset_commit(&mut answer)?.ok()?;
        for (number, next) in places {
            if let Some(one) = self.partitions.get(&number) {
                locked(&one.progress).confirmed = next;
            }
        }
        Ok(())
    }
}

/// Reads the partitions that one broker leads, until something is wrong. Where nobody leads them, or the leader cannot be reached,
/// that is told after a while.
async fn read_of(
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
                    locked(&one.progress).next = next;
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

/// Divides the partitions of all topics among those who want them, in ranges, as every client does.
async fn divided(
    cluster: &Arc<Cluster>,
    members: &[(String, Vec<String>)],
) -> Result<Vec<(String, Share)>, Error> {
    let mut topics: Vec<&String> = members.iter().flat_map(|(_, topics)| topics).collect();
    topics.sort_unstable();
    topics.dedup();
    let mut counts = Vec::new();
    for topic in topics {
        let count = match cluster.partitions(topic).await {
            Ok(count) => count,
            // Others may want what is not there.
            Err(Error::Said(_)) => 0,
            Err(error) => return Err(error),
        };
        counts.push((topic.as_str(), count));
    }
    Ok(ranges(members, &counts))
}

fn ranges(members: &[(String, Vec<String>)], counts: &[(&str, usize)]) -> Vec<(String, Share)> {
    let mut shares: Vec<(String, Share)> =
        members.iter().map(|(name, _)| (name.clone(), Vec::new())).collect();
    shares.sort_unstable();
    for (topic, count) in counts {
        let wants = |name: &str| {
            members.iter().any(|(known, topics)| known == name && topics.iter().any(|one| one == topic))
        };
        let takers: Vec<usize> =
            shares.iter().enumerate().filter(|(_, (name, _))| wants(name)).map(|(place, _)| place).collect();
        if takers.is_empty() {
            continue;
        }
        let (each, more) = (count / takers.len(), count % takers.len());
        let mut next = 0;
        for (turn, taker) in takers.into_iter().enumerate() {
            let many = each + usize::from(turn < more);
            let some: Vec<i32> =
                (next..next + many).filter_map(|number| i32::try_from(number).ok()).collect();
            next += many;
            if let Some((_, share)) = shares.get_mut(taker).filter(|_| !some.is_empty()) {
                share.push(((*topic).to_owned(), some));
            }
        }
    }
    shares
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(partition: &Arc<Partition>, offset: i64) -> Claim {
        partition.claim(partition.next(), offset).expect("a claim")
    }

    #[test]
    fn what_is_confirmed_is_what_is_done_with_without_a_gap() {
        let partition = Partition::new(Position { partition: 0, next: 5 }, 5);
        let done = || locked(&partition.progress).done();
        let claims: Vec<Claim> = [5, 6, 9].into_iter().map(|offset| claim(&partition, offset)).collect();
        assert_eq!(done(), 5);
        claims[1].done();
        claims[2].done();
        assert_eq!((done(), locked(&partition.progress).held), (5, 3));
        claims[0].done();
        assert_eq!(done(), 10);
        drop(claims);
        assert_eq!(locked(&partition.progress).held, 0);
        // One that is let go without a word is read again, or stays undone.
        drop(claim(&partition, 10));
        assert_eq!((done(), partition.next(), locked(&partition.progress).held), (10, 10, 0));
        let first = claim(&partition, 10);
        claim(&partition, 11).done();
        drop(first);
        assert_eq!((done(), partition.next()), (10, 12));
    }

    #[test]
    fn what_is_let_go_while_more_is_asked_for_is_not_passed_over() {
        let partition = Partition::new(Position { partition: 0, next: 10 }, 10);
        let held = claim(&partition, 10);
        let asked_from = partition.next();
        drop(held);
        // The answer comes now, empty or not: it is from behind what was let go.
        partition.pass(asked_from, 11);
        assert!(partition.claim(asked_from, 11).is_none());
        let done = locked(&partition.progress).done();
        assert_eq!((done, partition.next()), (10, 10));
        claim(&partition, 10).done();
        partition.pass(11, 14);
        assert_eq!(locked(&partition.progress).done(), 14);
    }

    #[test]
    fn nobody_reads_further_and_further_ahead_of_one_that_is_stuck() {
        let partition = Partition::new(Position { partition: 0, next: 0 }, 0);
        let _stuck = claim(&partition, 0);
        claim(&partition, AHEAD_MAX - 1).done();
        assert!(!partition.waits());
        claim(&partition, AHEAD_MAX).done();
        assert!(partition.waits());
    }

    #[test]
    fn a_batch_that_cannot_be_read_is_told_once_and_passed_over_or_stood_before() {
        let partition = Partition::new(Position { partition: 0, next: 5 }, 5);
        let bad = Unreadable { partition: 0, offset: 5, next: 8, why: "" };
        assert!(partition.meet(&bad, false), "it is new");
        assert!(!partition.meet(&bad, false), "and then it is not");
        assert_eq!((partition.next(), partition.waits()), (5, true));
        let partition = Partition::new(Position { partition: 0, next: 4 }, 4);
        assert!(!partition.meet(&bad, true), "it is read from another place by now");
        let before = claim(&partition, 4);
        assert!(partition.meet(&bad, true));
        assert_eq!((partition.next(), partition.waits(), locked(&partition.progress).done()), (8, false, 4));
        before.done();
        assert_eq!(locked(&partition.progress).done(), 8);
    }

    #[test]
    fn partitions_are_divided_as_other_clients_divide_them() {
        let member = |name: &str, topics: &[&str]| {
            (name.to_owned(), topics.iter().map(|topic| (*topic).to_owned()).collect())
        };
        let members = [member("b", &["t"]), member("a", &["t", "u"]), member("c", &["t"])];
        let share = |topic: &str, some: &[i32]| (topic.to_owned(), some.to_vec());
        assert_eq!(
            ranges(&members, &[("t", 4), ("u", 2), ("w", 3)]),
            [
                ("a".to_owned(), vec![share("t", &[0, 1]), share("u", &[0, 1])]),
                ("b".to_owned(), vec![share("t", &[2])]),
                ("c".to_owned(), vec![share("t", &[3])]),
            ]
        );
        assert_eq!(ranges(&members[..1], &[("t", 0)]), [("b".to_owned(), vec![])]);
    }
}
