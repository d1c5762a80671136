//! What operators have set by hand, kept in the data directory until they take it back.
//!
//! Somebody forces a breaker open or a move back because something is broken: neither a restart nor an upgrade may forget that.
//! What is set for something that the configuration does not have any more waits for its return.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    compiled::Compiled,
    policy::strangler::report::{self as strangler, StranglerWish},
    upstream::cluster::BreakerWish,
};

/// The file in the data directory.
const FILE: &str = "by-hand.json";
/// Things that can be set at a time.
const SETS_MAX: usize = 1000;

/// Something that an operator can set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "camelCase")]
enum What {
    /// An upstream's circuit breaker.
    Breaker {
        /// The upstream.
        upstream: String,
    },
    /// A rule of a `strangler`.
    Strangler {
        /// The route.
        route: String,
        /// The rule.
        rule: String,
    },
}

/// What is set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Set {
    #[serde(flatten)]
    what: What,
    /// As operators say it.
    state: String,
    since: String,
}

/// What is set, for people.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ByHandStatus {
    #[serde(flatten)]
    set: Set,
    /// Whether the live configuration has it.
    is_live: bool,
}

#[derive(Default, Serialize, Deserialize)]
struct Kept {
    sets: Vec<Set>,
}

/// What operators have set, and where it is kept.
#[derive(Default)]
pub struct ByHand {
    folder: Option<PathBuf>,
    sets: Mutex<Vec<Set>>,
    /// The last change could not be written: the file says something else. Changed with `sets` alone.
    is_unsaved: AtomicBool,
    /// Held while something is done and kept.
    doing: Mutex<()>,
}

impl BreakerWish {
    /// As operators say it; none for what is as configured.
    fn forced(self) -> Option<&'static str> {
        match self {
            Self::ForcedOpen => Some("FORCED_OPEN"),
            Self::Disabled => Some("DISABLED"),
            Self::Closed => None,
        }
    }
}

impl StranglerWish {
    /// As operators say it; none for what is as configured.
    fn forced(self) -> Option<&'static str> {
        match self {
            Self::ForcedOld => Some("FORCED_OLD"),
            Self::ForcedNew => Some("FORCED_NEW"),
            Self::Auto => None,
        }
    }
}

impl ByHand {
    /// What is kept in a data directory.
    ///
    /// # Errors
    /// There is something that cannot be read: whoever starts without it might send calls where an operator wants none.
    pub fn of(folder: PathBuf) -> Result<Self, String> {
        let sets = Mutex::new(read(&folder)?);
        Ok(Self { folder: Some(folder), sets, ..Self::default() })
    }

    fn sets(&self) -> MutexGuard<'_, Vec<Set>> {
        self.sets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whoever does something and keeps it is alone with both: what is kept is what was done last.
    pub(crate) fn alone(&self) -> MutexGuard<'_, ()> {
        self.doing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps how a breaker was set.
    pub(crate) fn keep_breaker(&self, upstream: &str, wish: BreakerWish) -> Result<bool, String> {
        self.keep(What::Breaker { upstream: upstream.to_owned() }, wish.forced())
    }

    /// Keeps how a rule was set.
    pub(crate) fn keep_strangler(
        &self,
        route: &str,
        rule: &str,
        wish: StranglerWish,
    ) -> Result<bool, String> {
        self.keep(What::Strangler { route: route.to_owned(), rule: rule.to_owned() }, wish.forced())
    }

    /// Keeps a state, or forgets it; whether that changed anything. It writes a file.
    fn keep(&self, what: What, state: Option<&str>) -> Result<bool, String> {
        let mut sets = self.sets();
        let before = sets.clone();
        // Whoever says it once more after an error wants it written.
        let is_unsaved = self.is_unsaved.load(Ordering::Relaxed);
        let is_same = |one: &Set| one.what == what && state == Some(one.state.as_str());
        if !is_unsaved && sets.iter().any(is_same) {
            return Ok(false);
        }
        sets.retain(|one| one.what != what);
        if let Some(state) = state {
            if sets.len() >= SETS_MAX {
                return Err(format!("{SETS_MAX} things are set by hand, and no more can be kept"));
            }
            sets.push(Set { what, state: state.to_owned(), since: Timestamp::now().to_string() });
        }
        let is_changed = *sets != before;
        if !is_changed && !is_unsaved {
            return Ok(false);
        }
        // What is set holds in this process all the same.
        let Some(folder) = &self.folder else { return Ok(is_changed) };
        let written = write(folder, &sets);
        self.is_unsaved.store(written.is_err(), Ordering::Relaxed);
        let becomes = match state {
            Some(_) => "it is set, and a restart will forget it",
            None => "it is taken back, and a restart will set it again",
        };
        written.map(|()| is_changed).map_err(|error| format!("{becomes}: {error}"))
    }

    /// Sets all of it in a configuration that is about to be live.
    pub(crate) fn apply(&self, compiled: &Compiled) {
        for set in self.sets().iter() {
            if apply(compiled, &set.what, &set.state) {
                tracing::warn!(
                    state = set.state,
                    since = set.since,
                    "{} is {}, as an operator has set it: what was set by hand holds until it is taken back",
                    set.what.in_words(),
                    set.state
                );
            }
        }
    }

    /// Reads once more what another process may have kept meanwhile, and sets it.
    pub(crate) fn again(&self, compiled: &Compiled) -> Result<(), String> {
        let Some(folder) = &self.folder else { return Ok(()) };
        let _alone = self.alone();
        let now = read(folder)?;
        let before = std::mem::replace(&mut *self.sets(), now.clone());
        for gone in before.iter().filter(|set| !now.iter().any(|one| one.what == set.what)) {
            let neutral = match gone.what {
                What::Breaker { .. } => "CLOSED",
                What::Strangler { .. } => "AUTO",
            };
            apply(compiled, &gone.what, neutral);
        }
        self.apply(compiled);
        Ok(())
    }

    /// All that is set.
    pub(crate) fn status(&self, compiled: &Compiled) -> Vec<ByHandStatus> {
        let told =
            |set: &Set| ByHandStatus { is_live: state(compiled, &set.what).is_some(), set: set.clone() };
        self.sets().iter().map(told).collect()
    }
}

impl What {
    /// Whether an operator can set it to this.
    fn has_state(&self, state: &str) -> bool {
        match self {
            Self::Breaker { .. } => matches!(state, "FORCED_OPEN" | "DISABLED"),
            Self::Strangler { .. } => matches!(state, "FORCED_OLD" | "FORCED_NEW"),
        }
    }

    fn in_words(&self) -> String {
        match self {
            Self::Breaker { upstream } => format!("the circuit breaker of `{upstream}`"),
            Self::Strangler { route, rule } => format!("the rule `{rule}` of `{route}`"),
        }
    }
}

/// The state that it is in now; none where the configuration has none.
fn state(compiled: &Compiled, what: &What) -> Option<&'static str> {
    match what {
        What::Breaker { upstream } => {
            let status = compiled.upstreams.get(upstream.as_str())?.cluster.status(Instant::now());
            status.breaker.map(|breaker| breaker.state)
        }
        What::Strangler { route, rule } => {
            let all = strangler::status(compiled);
            all.into_iter().find(|one| one.route == *route && *one.rule == **rule).map(|one| one.state)
        }
    }
}

/// Sets a state where it is another; whether it was.
fn apply(compiled: &Compiled, what: &What, wanted: &str) -> bool {
    if state(compiled, what).is_none_or(|now| now == wanted) {
        return false;
    }
    match what {
        What::Breaker { upstream } => {
            let wish = match wanted {
                "FORCED_OPEN" => BreakerWish::ForcedOpen,
                "DISABLED" => BreakerWish::Disabled,
                _ => BreakerWish::Closed,
            };
            let upstream = compiled.upstreams.get(upstream.as_str());
            upstream.and_then(|upstream| upstream.cluster.operate_breaker(wish, Instant::now())).is_some()
        }
        What::Strangler { route, rule } => {
            let wish = match wanted {
                "FORCED_OLD" => StranglerWish::ForcedOld,
                "FORCED_NEW" => StranglerWish::ForcedNew,
                _ => StranglerWish::Auto,
            };
            strangler::operate(compiled, route, rule, wish).is_some()
        }
    }
}

fn read(folder: &Path) -> Result<Vec<Set>, String> {
    let path = folder.join(FILE);
    let wrong = |error: &dyn std::fmt::Display| {
        format!(
            "what operators have set by hand cannot be read: {}: {error}; mend the file, or remove it to begin with nothing set",
            path.display()
        )
    };
    let text = match fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(wrong(&error)),
    };
    let kept: Kept = serde_json::from_slice(&text).map_err(|error| wrong(&error))?;
    if let Some(set) = kept.sets.iter().find(|set| !set.what.has_state(&set.state)) {
        return Err(wrong(&format!("`{}` is no state of {}", set.state, set.what.in_words())));
    }
    Ok(kept.sets)
}

/// Writes it whole or not at all.
fn write(folder: &Path, sets: &[Set]) -> Result<(), String> {
    let path = folder.join(FILE);
    let written = || -> io::Result<()> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let text = serde_json::to_vec_pretty(&Kept { sets: sets.to_vec() })?;
        let fresh = path.with_extension(format!("{}.tmp", std::process::id()));
        let _ = fs::remove_file(&fresh);
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh)?;
        file.write_all(&text)?;
        file.sync_all()?;
        fs::rename(&fresh, &path)?;
        File::open(folder)?.sync_all()
    };
    written().map_err(|error| format!("{} cannot be written: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_set_is_kept_until_it_is_taken_back_and_a_file_that_is_none_is_told() {
        let folder = tempfile::tempdir().expect("a folder");
        let of = || ByHand::of(folder.path().to_owned());
        let by_hand = of().expect("nothing is there");
        assert_eq!(by_hand.keep_breaker("orders", BreakerWish::ForcedOpen), Ok(true));
        assert_eq!(by_hand.keep_breaker("orders", BreakerWish::ForcedOpen), Ok(false), "as it is already");
        assert_eq!(by_hand.keep_strangler("shop", "orders", StranglerWish::ForcedOld), Ok(true));
        let again = of().expect("a file");
        assert_eq!(*again.sets(), *by_hand.sets());
        assert_eq!(again.sets().len(), 2);
        assert_eq!(again.keep_breaker("orders", BreakerWish::Disabled), Ok(true), "one state at a time");
        assert_eq!(again.keep_strangler("shop", "orders", StranglerWish::Auto), Ok(true));
        assert_eq!(again.keep_strangler("shop", "other", StranglerWish::Auto), Ok(false));
        let states: Vec<String> = of().expect("a file").sets().iter().map(|set| set.state.clone()).collect();
        assert_eq!(states, ["DISABLED"]);
        assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 1, "nothing lies beside it");
        let text = fs::read_to_string(folder.path().join(FILE)).expect("a file");
        fs::write(folder.path().join(FILE), text.replace("DISABLED", "CLOSE")).expect("written");
        let wrong = of().err().expect("an error");
        assert!(wrong.contains("`CLOSE` is no state of the circuit breaker of `orders`"), "{wrong}");
        fs::write(folder.path().join(FILE), "{\"sets\": [{\"kind\"").expect("written");
        let wrong = of().err().expect("an error");
        assert!(wrong.contains(FILE) && wrong.contains("remove it"), "{wrong}");
    }

    #[test]
    fn a_folder_that_takes_nothing_is_told_and_the_state_holds() {
        let folder = tempfile::tempdir().expect("a folder");
        let in_the_way = folder.path().join("data");
        let by_hand = ByHand { folder: Some(in_the_way.clone()), ..ByHand::default() };
        fs::write(&in_the_way, "a file").expect("written");
        let wrong = by_hand.keep_breaker("orders", BreakerWish::ForcedOpen).expect_err("no folder");
        assert!(wrong.contains("a restart will forget it"), "{wrong}");
        assert_eq!(by_hand.sets().len(), 1);
        let again = || by_hand.keep_breaker("orders", BreakerWish::ForcedOpen);
        assert!(again().is_err(), "the same once more is not kept, either");
        fs::remove_file(&in_the_way).expect("it goes");
        assert_eq!(again(), Ok(true));
        assert_eq!(again(), Ok(false), "now it is");
        assert_eq!(ByHand::of(in_the_way.clone()).expect("a file").sets().len(), 1);
        // Nor is it forgotten before the file says so.
        fs::remove_dir_all(&in_the_way).expect("it goes");
        fs::write(&in_the_way, "a file").expect("written");
        let forget = || by_hand.keep_breaker("orders", BreakerWish::Closed);
        let wrong = forget().expect_err("no folder");
        assert!(wrong.contains("taken back, and a restart will set it again"), "{wrong}");
        assert!(forget().is_err());
        fs::remove_file(&in_the_way).expect("it goes");
        assert_eq!(forget(), Ok(false), "nothing changes here, and the file is written");
        assert!(in_the_way.join(FILE).exists());
    }
}
