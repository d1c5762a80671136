//! Hears what other gateways purge, and forgets it in memory: at the latest a second after.
//!
//! The log on the server is asked for each second, and at once when any other answer tells that there is more in it. Nothing
//! gets lost when a connection does: purges are numbered, and who misses some forgets all.

use std::{
    sync::{Weak, atomic::Ordering},
    time::Duration,
};

use super::{Own, scripts};
use crate::policy::cache::store::Purge;

/// How often the log is asked for.
const PAUSE: Duration = Duration::from_secs(1);
/// How soon again before the first answer.
const PAUSE_FIRST: Duration = Duration::from_millis(50);
/// And never more often than this.
const PAUSE_LEAST: Duration = Duration::from_millis(20);
/// How long book and log stay when no gateway asks any more: longer than any answer.
const STAYS: Duration = Duration::from_secs(40 * 24 * 3600);

pub(super) async fn hear(own: Weak<Own>) {
    let mut book = None;
    loop {
        let Some(own) = own.upgrade().filter(|own| !own.is_over.load(Ordering::Relaxed)) else { return };
        if own.client().is_up() {
            own.listen(&mut book).await;
        }
        tokio::time::sleep(PAUSE_LEAST).await;
        // As long as nothing is known nobody asks for answers.
        let pause = if own.heard.load(Ordering::Relaxed) < 0 { PAUSE_FIRST } else { PAUSE };
        let _ = tokio::time::timeout(pause, own.news.notified()).await;
    }
}

impl Own {
    /// Hears what is new; `book` is the one of which was heard last.
    async fn listen(&self, book: &mut Option<u64>) {
        let last = self.heard.load(Ordering::Relaxed);
        let keys = [self.key("book"), self.key("log")];
        let arguments = [last.to_string(), STAYS.as_millis().to_string()];
        let Ok(value) = self.client().eval(&scripts::LISTEN, &keys, &arguments).await else { return };
        let Some((told, news)) = scripts::heard(value) else { return };
        self.clock.learn(told.now);
        let known = book.replace(told.born);
        self.heard.store(told.seq, Ordering::Relaxed);
        if last < 0 || known.is_some_and(|known| known != told.born) {
            // What was purged before nobody can tell: what is kept is asked about before it is given.
            if self.memory.size().1 > 0 {
                self.memory.purge(Purge::All, true);
            }
        } else if told.seq > last {
            self.forget(last, told.seq, &news);
        }
    }

    /// Forgets what others have purged after one that is known.
    fn forget(&self, last: i64, seq: i64, news: &[Vec<u8>]) {
        let all: Option<Vec<News<'_>>> = news.iter().map(|line| News::read(line)).collect();
        let follows =
            |(at, one): (usize, &News<'_>)| i64::try_from(at).is_ok_and(|at| one.number == last + 1 + at);
        let all = all.filter(|all| {
            i64::try_from(all.len()).is_ok_and(|count| count == seq - last)
                && all.iter().enumerate().all(follows)
        });
        let Some(all) = all else {
            self.counts.purges_missed.fetch_add(1, Ordering::Relaxed);
            self.memory.purge(Purge::All, false);
            return;
        };
        for one in all.iter().filter(|one| one.origin != self.origin.as_bytes()) {
            self.memory.purge(one.what, one.is_soft);
            self.counts.purges_heard.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// A purge as the log tells it.
pub(super) struct News<'l> {
    pub(super) number: i64,
    pub(super) origin: &'l [u8],
    pub(super) what: Purge<'l>,
    pub(super) is_soft: bool,
}

impl<'l> News<'l> {
    /// Reads a line of the log; none when it is none.
    pub(super) fn read(line: &'l [u8]) -> Option<Self> {
        let mut parts = line.splitn(4, |byte| *byte == 0);
        let (number, origin, kind, told) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let what = match kind.first()? {
            b'u' => Purge::Address(told),
            b'b' => Purge::Beginning(told),
            b't' => Purge::Tag(std::str::from_utf8(told).ok()?),
            b'a' => Purge::All,
            _ => return None,
        };
        let is_soft = match kind.get(1..)? {
            b"s" => true,
            b"h" => false,
            _ => return None,
        };
        let number = std::str::from_utf8(number).ok()?.parse().ok()?;
        Some(Self { number, origin, what, is_soft })
    }
}
