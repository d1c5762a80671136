//! What callers have made: for lists, which providers could only tell with everybody's, and for batches whose spending
//! is not settled yet.
//!
//! It is in memory within bounds, and in `ai-made.jsonl` in the data directory, a line for each change, written off the
//! way of calls. What is lost of it is missed in lists alone: ids say for themselves whose they are.

use std::{
    collections::{HashMap, VecDeque},
    fs,
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, mpsc},
};

use ai::dialect::Dialect;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::super::{duties::Hold, meters::Spent};

/// Things of one kind that are remembered for one caller; the newest stay.
const OF_ONE_MAX: usize = 1000;
/// Things that are remembered at all.
const ALL_MAX: usize = 20_000;
/// Bytes of what is told of one thing.
const OBJECT_BYTES_MAX: usize = 8 * 1024;
/// Batches whose spending is held at a time.
const HELD_MAX: usize = 10_000;

/// What is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Kind {
    File,
    Batch,
}

/// A change, as it is written.
#[derive(Serialize, Deserialize)]
struct Change {
    who: String,
    kind: Kind,
    dialect: String,
    id: String,
    /// As it was told last; absent when it is gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    object: Option<Value>,
    /// Its spending is in a record already.
    #[serde(default)]
    is_counted: bool,
}

/// One thing.
#[derive(Debug, Clone)]
pub(super) struct Thing {
    pub(super) id: String,
    /// As its owner was told last.
    pub(super) object: Value,
    is_counted: bool,
}

type Shelf = (String, Kind, String);

#[derive(Default)]
struct Shelves {
    shelves: HashMap<Shelf, VecDeque<Thing>>,
    count: usize,
}

impl Shelves {
    fn apply(&mut self, change: &Change) {
        let shelf = (change.who.clone(), change.kind, change.dialect.clone());
        let things = self.shelves.entry(shelf).or_default();
        let at = things.iter().position(|thing| thing.id == change.id);
        match (&change.object, at.and_then(|at| things.get_mut(at))) {
            (Some(object), Some(thing)) => {
                thing.object = object.clone();
                thing.is_counted |= change.is_counted;
            }
            (Some(object), None) => {
                if self.count >= ALL_MAX && things.is_empty() {
                    return;
                }
                if things.len() >= OF_ONE_MAX || self.count >= ALL_MAX {
                    things.pop_back();
                } else {
                    self.count += 1;
                }
                let (id, object) = (change.id.clone(), object.clone());
                things.push_front(Thing { id, object, is_counted: change.is_counted });
            }
            (None, _) => {
                if at.and_then(|at| things.remove(at)).is_some() {
                    self.count -= 1;
                }
            }
        }
    }
}

/// What is held for a batch until its results tell what it spent.
#[derive(Default)]
pub(super) struct Held {
    pub(super) holds: Vec<Box<dyn Hold>>,
}

/// Everything that callers have made.
pub(super) struct Made {
    shelves: Mutex<Shelves>,
    held: Mutex<HashMap<(String, String), Held>>,
    writer: Option<mpsc::Sender<String>>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// That of this process.
pub(super) fn of_process() -> Arc<Made> {
    static MADE: OnceLock<Arc<Made>> = OnceLock::new();
    let folder = crate::handler::mcp::session::data_dir();
    MADE.get_or_init(|| Arc::new(Made::new(folder.map(|folder| folder.join("ai-made.jsonl")).as_deref())))
        .clone()
}

impl Made {
    fn new(path: Option<&Path>) -> Self {
        let mut shelves = Shelves::default();
        if let Some(text) = path.and_then(|path| fs::read_to_string(path).ok()) {
            // A line that was cut off when a process was killed is no line.
            text.lines()
                .filter_map(|line| serde_json::from_str(line).ok())
                .for_each(|one| shelves.apply(&one));
        }
        let writer = path.and_then(|path| match writer(path) {
            Ok(writer) => Some(writer),
            Err(error) => {
                tracing::warn!(%error, "lists of files and batches are not kept: {}: {error}", path.display());
                None
            }
        });
        Self { shelves: Mutex::new(shelves), held: Mutex::default(), writer }
    }

    /// Remembers a thing as it is told now.
    pub(super) fn remember(&self, who: &str, kind: Kind, dialect: Dialect, id: &str, object: &Value) {
        if object.to_string().len() <= OBJECT_BYTES_MAX {
            self.change(who, kind, dialect, id, Some(object.clone()), false);
        }
    }

    /// Forgets it.
    pub(super) fn forget(&self, who: &str, kind: Kind, dialect: Dialect, id: &str) {
        self.change(who, kind, dialect, id, None, false);
    }

    /// Notes that the spending of a batch is in a record; whether it was not before.
    pub(super) fn count(&self, who: &str, dialect: Dialect, id: &str) -> bool {
        let found = self.find(who, Kind::Batch, dialect, id);
        let Some(thing) = found.filter(|thing| !thing.is_counted) else { return false };
        self.change(who, Kind::Batch, dialect, id, Some(thing.object), true);
        true
    }

    /// One of a caller's.
    pub(super) fn find(&self, who: &str, kind: Kind, dialect: Dialect, id: &str) -> Option<Thing> {
        let shelf = (who.to_owned(), kind, dialect.name().to_owned());
        locked(&self.shelves).shelves.get(&shelf)?.iter().find(|thing| thing.id == id).cloned()
    }

    fn change(
        &self,
        who: &str,
        kind: Kind,
        dialect: Dialect,
        id: &str,
        object: Option<Value>,
        is_counted: bool,
    ) {
        let (who, dialect, id) = (who.to_owned(), dialect.name().to_owned(), id.to_owned());
        let change = Change { who, kind, dialect, id, object, is_counted };
        locked(&self.shelves).apply(&change);
        if let (Some(writer), Ok(mut line)) = (&self.writer, serde_json::to_string(&change)) {
            line.push('\n');
            let _ = writer.send(line);
        }
    }

    /// All of a caller's, the newest first.
    pub(super) fn all(&self, who: &str, kind: Kind, dialect: Dialect) -> Vec<Thing> {
        let shelf = (who.to_owned(), kind, dialect.name().to_owned());
        locked(&self.shelves)
            .shelves
            .get(&shelf)
            .map(|things| things.iter().cloned().collect())
            .unwrap_or_default()
    }

    /// Whether there is room to hold something for one more batch.
    pub(super) fn has_room(&self) -> bool {
        locked(&self.held).len() < HELD_MAX
    }

    /// Holds something for a batch. Beyond the bound it is let go as it is.
    pub(super) fn hold(&self, provider: &str, batch: &str, held: Held) {
        let mut all = locked(&self.held);
        if all.len() < HELD_MAX {
            all.insert((provider.to_owned(), batch.to_owned()), held);
        }
    }

    /// Settles what is held for a batch.
    pub(super) fn settle(&self, provider: &str, batch: &str, spent: &Spent) {
        let held = locked(&self.held).remove(&(provider.to_owned(), batch.to_owned()));
        for mut hold in held.into_iter().flat_map(|held| held.holds) {
            hold.settle(spent);
        }
    }
}

/// Writes lines into a file, as long as somebody sends them.
fn writer(path: &Path) -> std::io::Result<mpsc::Sender<String>> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let mut file = fs::OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
    let (sender, lines) = mpsc::channel::<String>();
    std::thread::Builder::new().name("ai-made".to_owned()).spawn(move || {
        while let Ok(line) = lines.recv() {
            if let Err(error) = file.write_all(line.as_bytes()) {
                tracing::warn!(%error, "a change to lists of files and batches is not kept: {error}");
            }
        }
    })?;
    Ok(sender)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_was_made_outlives_the_process_and_is_bounded() {
        let folder = std::env::temp_dir().join(format!("tidegate-made-{}", std::process::id()));
        let path = folder.join("x/made.jsonl");
        let dialect = Dialect::OpenAiChat;
        let ids = |made: &Made, who: &str| -> Vec<String> {
            made.all(who, Kind::Batch, dialect).into_iter().map(|thing| thing.id).collect()
        };
        let made = Made::new(Some(&path));
        for id in ["b1", "b2", "b3"] {
            made.remember("a", Kind::Batch, dialect, id, &json!({"id": id}));
        }
        made.remember("b", Kind::Batch, dialect, "b4", &json!({}));
        made.forget("a", Kind::Batch, dialect, "b2");
        made.remember("a", Kind::Batch, dialect, "b1", &json!({"id": "b1", "status": "completed"}));
        assert!(made.count("a", dialect, "b1"));
        assert!(!made.count("a", dialect, "b1"), "once");
        assert_eq!(ids(&made, "a"), ["b3", "b1"]);
        drop(made);
        let again = std::iter::repeat_with(|| Made::new(Some(&path)))
            .take(200)
            .inspect(|_| std::thread::park_timeout(std::time::Duration::from_millis(10)))
            .find(|made| !made.count("a", dialect, "b1") && ids(made, "a") == ["b3", "b1"]);
        let again = again.expect("all of it is read again");
        assert_eq!(again.all("a", Kind::Batch, dialect)[1].object["status"], "completed");
        assert_eq!(ids(&again, "b"), ["b4"]);
        for number in 0..OF_ONE_MAX + 5 {
            again.remember("c", Kind::Batch, dialect, &format!("n{number}"), &json!({}));
        }
        let all = ids(&again, "c");
        assert_eq!((all.len(), all[0].as_str()), (OF_ONE_MAX, "n1004"));
        fs::remove_dir_all(&folder).expect("removed");
    }
}
