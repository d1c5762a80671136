//! A member of a consumer group: shares the partitions of a topic with the others, and confirms what is done with.
//!
//! Records are handed over one by one, and each is done with in its own time. What is confirmed to the broker is the
//! place before the first that is not done with, so that none is lost however this ends; those behind it may come again.
//! Partitions that a new division leaves here go on as if nothing had been.

mod fetch;
mod held;
mod range;

use std::{collections::HashMap, sync::Arc, time::Duration};

use tokio::{
    sync::mpsc,
    task::JoinSet,
    time::{MissedTickBehavior, interval},
};

pub use self::held::{Claim, Taken};
use self::{
    fetch::{Ended, LOOK, read_of},
    held::Partition,
    range::divided,
};
use crate::{
    api,
    cluster::{Cluster, WAIT},
    connection::Connection,
    error::{Code, Error},
    read::{self, Edge, Position, Unreadable},
};

/// After how long without a sign of life a member is none.
const SESSION: Duration = Duration::from_secs(10);
/// How long the others may take to come, too.
const REBALANCE: Duration = Duration::from_secs(60);
/// How often a sign of life is given.
const HEARTBEAT: Duration = Duration::from_secs(3);
/// How often it is confirmed what is done with.
const CONFIRM: Duration = Duration::from_millis(500);
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

/// A member, from its first joining to its leaving. What it holds outlasts connections.
pub struct Group {
    wish: Wish,
    member: String,
    partitions: HashMap<i32, Arc<Partition>>,
}

impl Drop for Group {
    fn drop(&mut self) {
        self.partitions.values().for_each(|one| one.lose());
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
            if !stays {
                one.lose();
            }
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
                if own.confirmed() == known {
                    continue;
                }
                own.lose();
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
                    if is_stopping && !self.partitions.values().any(|one| one.is_held()) {
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
        let place = |one: &Arc<Partition>| one.unconfirmed().map(|next| (one.number, next));
        let places: Vec<(i32, i64)> = self.partitions.values().filter_map(place).collect();
        if places.is_empty() {
            return Ok(());
        }
        let Wish { group, topic, .. } = &self.wish;
        let wish = api::offset_commit(group, generation.number, &self.member, topic, &places);
        let mut answer = generation.coordinator.call(api::OFFSET_COMMIT, wish, WAIT).await?;
        api::read_offset_commit(&mut answer)?.ok()?;
        for (number, next) in places {
            if let Some(one) = self.partitions.get(&number) {
                one.confirm(next);
            }
        }
        Ok(())
    }
}
