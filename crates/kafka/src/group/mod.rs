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
    time::{MissedTickBehavior, interval, timeout},
};

pub use self::held::{Claim, Taken};
use self::{
    fetch::{Back, LOOK, count, find, read_of},
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
/// How often whoever has divided a topic looks whether it has got more partitions.
const GROWS: Duration = Duration::from_secs(60);
/// How often it looks whether there is such a topic by now.
const MADE: Duration = Duration::from_secs(5);
/// How long leaving in the middle of a division may take.
const LEAVE: Duration = Duration::from_secs(2);
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
    /// The least partitions that the topic had since this is a member: all that those behind them have came after that.
    least: usize,
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

impl Over {
    /// What is over when the coordinator says that it does not know the member, or knows it in a later generation: there it
    /// comes back by its name, and nobody waits for one who is gone.
    fn by(code: Code, is_stopping: bool) -> Self {
        match code {
            _ if is_stopping => Self::Stopped,
            Code::ILLEGAL_GENERATION => Self::Divided,
            _ => Self::Unknown,
        }
    }
}

/// What a member knows of one generation.
struct Generation {
    coordinator: Connection,
    number: i32,
    mine: Vec<i32>,
    /// How many partitions of the topic this member has divided; nothing where another did.
    divided: Option<usize>,
}

impl Generation {
    /// There is no such topic yet.
    fn is_idle(&self) -> bool {
        self.divided == Some(0)
    }
}

/// Whether a member stays one when something that it reads has ended: one broker that is away is not the cluster, and a topic
/// comes back. The group is not to be divided anew for it, again and again; that its coordinator is away the heartbeat tells.
fn may_pass(error: &Error) -> bool {
    match error {
        Error::Away(_) | Error::Broken | Error::Late => true,
        Error::Said(code) => code.may_pass(),
        Error::Malformed(_) => false,
    }
}

/// A connection to whoever coordinates a group.
async fn coordinator_of(cluster: &Arc<Cluster>, group: &str) -> Result<Connection, Error> {
    let any = cluster.any().await?;
    let mut answer = any.call(api::FIND_COORDINATOR, api::find_coordinator(group), WAIT).await?;
    let (said, host, port) = api::read_find_coordinator(&mut answer)?;
    said.ok()?;
    let port = u16::try_from(port).map_err(|_| Error::Said(Code::COORDINATOR_NOT_AVAILABLE))?;
    cluster.opened(&host, port).await
}

impl Group {
    /// A member that is none yet.
    pub fn new(wish: Wish) -> Self {
        Self { wish, member: String::new(), partitions: HashMap::new(), least: usize::MAX }
    }

    /// Reads as a member, and hands records over while there is room for them; says when it reads, and when none of its
    /// partitions can be read. Good when it was stopped: then what is held was let go, or done with, and the group knows it.
    pub async fn read(
        &mut self,
        cluster: &Arc<Cluster>,
        out: &mpsc::Sender<Taken>,
        mut stopped: impl Future<Output = ()> + Unpin,
        mut reads: impl FnMut(bool),
    ) -> Result<(), Error> {
        let mut joins = 0;
        loop {
            let generation = tokio::select! {
                generation = self.begin(cluster) => generation,
                () = &mut stopped => {
                    self.lose(|_| false);
                    self.leave(cluster).await;
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
            joins = 0;
            reads(!generation.is_idle());
            match self.live(cluster, &generation, out, &mut stopped, &mut reads).await? {
                Over::Stopped => {
                    self.member.clear();
                    return Ok(());
                }
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

    /// Leaves in the middle of a division, so that the others do not give to it what nobody reads until its session is over.
    async fn leave(&mut self, cluster: &Arc<Cluster>) {
        let member = std::mem::take(&mut self.member);
        if member.is_empty() {
            return;
        }
        let group = self.wish.group.as_str();
        let leaves = async {
            let coordinator = coordinator_of(cluster, group).await?;
            coordinator.call(api::LEAVE_GROUP, api::leave_group(group, &member), LEAVE).await
        };
        let _ = timeout(LEAVE, leaves).await;
    }

    /// Gets into the group, and to the places of what is its own.
    async fn begin(&mut self, cluster: &Arc<Cluster>) -> Result<Generation, Error> {
        let generation = self.join(cluster).await?;
        self.take(cluster, &generation).await?;
        Ok(generation)
    }

    /// Gets into the group, and hears what is its own.
    async fn join(&mut self, cluster: &Arc<Cluster>) -> Result<Generation, Error> {
        let Wish { group, topic, .. } = &self.wish;
        // Whoever may not read it would be a member who is given nothing, and nobody would know why.
        match cluster.partitions(topic).await {
            Err(Error::Said(code)) if !code.may_pass() => return Err(Error::Said(code)),
            Err(Error::Said(Code::UNKNOWN_TOPIC_OR_PARTITION)) => self.least = 0,
            Err(_) => {}
            Ok(count) => self.least = self.least.min(count),
        }
        let coordinator = coordinator_of(cluster, group).await?;
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
        let is_leader = joined.leader == joined.member;
        let shares = match is_leader {
            true => divided(cluster, &joined.members).await?,
            false => Vec::new(),
        };
        let given = shares.iter().flat_map(|(_, share)| share).filter(|(known, _)| known == topic);
        let count: usize = given.map(|(_, some)| some.len()).sum();
        if is_leader && count == 0 {
            tracing::warn!(
                topic = topic.as_str(),
                "there is no topic `{topic}` at the broker: it is looked for every {} seconds, and read once it is made",
                MADE.as_secs()
            );
        }
        let wish = api::sync_group(group, joined.generation, &self.member, &shares);
        let mut answer = coordinator.call(api::SYNC_GROUP, wish, REBALANCE + WAIT).await?;
        let (said, share) = api::read_sync_group(&mut answer)?;
        said.ok()?;
        let mine = share.into_iter().filter(|(known, _)| known == topic).flat_map(|(_, some)| some).collect();
        let divided = is_leader.then_some(count);
        Ok(Generation { coordinator, number: joined.generation, mine, divided })
    }

    /// Begins where the group was; what it had before goes on.
    async fn take(&mut self, cluster: &Arc<Cluster>, generation: &Generation) -> Result<(), Error> {
        let Generation { coordinator, mine, number, .. } = generation;
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
        // What was put into those that were made meanwhile is new, too.
        let was_there = |number: &i32| usize::try_from(*number).is_ok_and(|number| number < self.least);
        let (there, made): (Vec<i32>, Vec<i32>) = fresh.into_iter().partition(was_there);
        let mut places = Vec::new();
        for (some, edge) in [(there, edge), (made, Edge::First)] {
            if !some.is_empty() {
                places.extend(read::edges(cluster, &topic, &some, edge).await?);
            }
        }
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
        &self,
        cluster: &Arc<Cluster>,
        generation: &Generation,
        out: &mpsc::Sender<Taken>,
        stopped: &mut (impl Future<Output = ()> + Unpin),
        reads: &mut impl FnMut(bool),
    ) -> Result<Over, Error> {
        let topic = &self.wish.topic;
        // Nothing that a broker can have wait is waited for here: signs of life would stay out.
        let mut readers = JoinSet::new();
        if !self.partitions.is_empty() {
            readers.spawn(find(cluster.clone(), topic.clone(), self.partitions.values().cloned().collect()));
        }
        let mut beats = interval(HEARTBEAT);
        let mut confirms = interval(CONFIRM);
        let mut grows = interval(if generation.is_idle() { MADE } else { GROWS });
        for one in [&mut beats, &mut confirms, &mut grows] {
            one.set_missed_tick_behavior(MissedTickBehavior::Delay);
        }
        let (mut is_stopping, mut was_apart) = (false, generation.is_idle());
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
                        code @ (Code::UNKNOWN_MEMBER_ID | Code::ILLEGAL_GENERATION) => {
                            return Ok(Over::by(code, is_stopping));
                        }
                        code => return Err(Error::Said(code)),
                    }
                }
                _ = grows.tick(), if generation.divided.is_some() && !is_stopping => {
                    readers.spawn(count(cluster.clone(), topic.clone()));
                }
                _ = confirms.tick() => {
                    let has_some = !self.partitions.is_empty();
                    let is_apart = has_some && self.partitions.values().all(|one| one.is_apart())
                        || generation.is_idle();
                    if std::mem::replace(&mut was_apart, is_apart) != is_apart && !is_stopping {
                        reads(!is_apart);
                    }
                    match self.confirm(generation).await {
                        Err(Error::Said(Code::REBALANCE_IN_PROGRESS)) | Ok(()) => {}
                        Err(Error::Said(code @ (Code::UNKNOWN_MEMBER_ID | Code::ILLEGAL_GENERATION))) => {
                            return Ok(Over::by(code, is_stopping));
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
                        return Ok(Over::Stopped);
                    }
                }
                Some(back) = readers.join_next(), if !is_stopping => match back.map_err(|_| Error::Broken)? {
                    Back::Led(led) => {
                        for (leader, own) in led {
                            readers.spawn(read_of(cluster.clone(), leader, self.wish.clone(), own, out.clone()));
                        }
                    }
                    Back::Ended { error, own } if may_pass(&error) => {
                        cluster.forget(topic);
                        readers.spawn(find(cluster.clone(), topic.clone(), own));
                    }
                    Back::Ended { error, .. } => return Err(error),
                    // The others hear of it when this one joins anew.
                    Back::Counted(count) if count.is_some() && count != generation.divided => {
                        readers.shutdown().await;
                        let _ = self.confirm(generation).await;
                        return Ok(Over::Divided);
                    }
                    Back::Counted(_) => {}
                },
            }
        }
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
