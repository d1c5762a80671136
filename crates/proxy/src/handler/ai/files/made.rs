//! What callers have made: for lists, which providers could only tell with everybody's, and for batches whose spending
//! is not settled yet.
//!
//! It is in memory within bounds, and in a [journal](super::journal) in the data directory, a line for each change. What is
//! lost of it is missed in lists alone: ids say for themselves whose they are.

use std::{
    collections::{HashMap, VecDeque},
    path::Path,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use ai::dialect::Dialect;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{journal::Journal, paid::Held};

/// Things of one kind that are remembered for one caller; the newest stay.
const OF_ONE_MAX: usize = 1000;
/// Things that are remembered at all.
const ALL_MAX: usize = 20_000;
/// Bytes of what is told of one thing, and of all: of what is larger a part is remembered.
const OBJECT_BYTES_MAX: usize = 64 * 1024;
const ALL_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Bytes of a field of such a part, and of all of them.
const FIELD_BYTES_MAX: usize = 256;
const PART_BYTES_MAX: usize = 4 * 1024;
/// Batches that are being made at a time without their callers.
const BEGINNING_MAX: usize = 64;
/// Fields that such a part has whatever their length.
const FIELDS: [&str; 4] = ["id", "input_file_id", "output_file_id", "error_file_id"];

/// What is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Kind {
    File,
    Batch,
    /// A file that comes in parts; nobody lists them.
    Upload,
}

/// A change, as it is written.
#[derive(Serialize, Deserialize)]
pub(super) struct Change {
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
    /// Not all of it is there.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    is_part: bool,
}

/// One thing.
#[derive(Debug, Clone)]
pub(super) struct Thing {
    pub(super) id: String,
    /// As its owner was told last.
    pub(super) object: Value,
    is_counted: bool,
    /// It was too large to be remembered whole.
    pub(super) is_part: bool,
    bytes: usize,
}

type Shelf = (String, Kind, String);

/// All that is remembered.
#[derive(Default)]
pub(super) struct Shelves {
    shelves: HashMap<Shelf, VecDeque<Thing>>,
    count: usize,
    bytes: usize,
}

impl Shelves {
    /// Makes a change; whether it was one. A thing that is counted stays so.
    pub(super) fn apply(&mut self, change: &mut Change) -> bool {
        let shelf = (change.who.clone(), change.kind, change.dialect.clone());
        let Some(object) = &change.object else {
            let Some(things) = self.shelves.get_mut(&shelf) else { return false };
            let Some(gone) = things.iter().position(|thing| thing.id == change.id) else { return false };
            if let Some(gone) = things.remove(gone) {
                self.bytes -= gone.bytes;
                self.count -= 1;
            }
            if things.is_empty() {
                self.shelves.remove(&shelf);
            }
            return true;
        };
        let bytes = object.to_string().len() + change.id.len() + change.who.len();
        let is_full = self.count >= ALL_MAX;
        if is_full && !self.shelves.contains_key(&shelf) {
            return false;
        }
        let things = self.shelves.entry(shelf).or_default();
        if let Some(thing) = things.iter_mut().find(|thing| thing.id == change.id) {
            change.is_counted |= thing.is_counted;
            if (&thing.object, thing.is_counted) == (object, change.is_counted) {
                return false;
            }
            self.bytes = self.bytes - thing.bytes + bytes;
            (thing.object, thing.is_counted) = (object.clone(), change.is_counted);
            (thing.is_part, thing.bytes) = (change.is_part, bytes);
            return true;
        }
        if things.len() >= OF_ONE_MAX || is_full {
            self.bytes -= things.pop_back().map_or(0, |gone| gone.bytes);
        } else {
            self.count += 1;
        }
        self.bytes += bytes;
        let (id, object) = (change.id.clone(), object.clone());
        let (is_counted, is_part) = (change.is_counted, change.is_part);
        things.push_front(Thing { id, object, is_counted, is_part, bytes });
        true
    }

    /// All of it as changes that lead to it.
    pub(super) fn changes(&self) -> impl Iterator<Item = Change> {
        self.shelves.iter().flat_map(|((who, kind, dialect), things)| {
            things.iter().rev().map(|thing| Change {
                who: who.clone(),
                kind: *kind,
                dialect: dialect.clone(),
                id: thing.id.clone(),
                object: Some(thing.object.clone()),
                is_counted: thing.is_counted,
                is_part: thing.is_part,
            })
        })
    }

    pub(super) fn count(&self) -> usize {
        self.count
    }
}

/// What is remembered of something that is too large: its short fields.
fn part(object: &Value) -> Value {
    let mut part = Map::new();
    let mut bytes = 0;
    for (name, value) in object.as_object().into_iter().flatten() {
        let length = name.len() + value.to_string().len();
        let is_short = length <= FIELD_BYTES_MAX && bytes + length <= PART_BYTES_MAX;
        if is_short || FIELDS.contains(&name.as_str()) {
            bytes += length;
            part.insert(name.clone(), value.clone());
        }
    }
    Value::Object(part)
}

/// Everything that callers have made.
pub(super) struct Made {
    shelves: Arc<Mutex<Shelves>>,
    held: Mutex<HashMap<(String, String), Held>>,
    /// Batches that are being made and need not wait for their callers.
    beginning: AtomicUsize,
    journal: Option<Journal>,
}

/// One of the batches that are being made.
pub(super) struct Beginning(Arc<Made>);

impl Drop for Beginning {
    fn drop(&mut self) {
        self.0.beginning.fetch_sub(1, Ordering::Relaxed);
    }
}

pub(super) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
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
        let shelves = Arc::new(Mutex::new(Shelves::default()));
        let journal = path.and_then(|path| match Journal::open(path, &shelves) {
            Ok(journal) => Some(journal),
            Err(error) => {
                tracing::warn!(%error, "lists of files and batches are not kept: {}: {error}", path.display());
                None
            }
        });
        Self { shelves, held: Mutex::default(), beginning: AtomicUsize::new(0), journal }
    }

    /// Remembers a thing as it is told now; of one that is too large, a part.
    pub(super) fn remember(&self, who: &str, kind: Kind, dialect: Dialect, id: &str, object: &Value) {
        let length = object.to_string().len();
        let is_part = length > OBJECT_BYTES_MAX || locked(&self.shelves).bytes + length > ALL_BYTES_MAX;
        let object = if is_part { part(object) } else { object.clone() };
        self.change(who, kind, dialect, id, Some((object, is_part)));
    }

    /// Forgets it.
    pub(super) fn forget(&self, who: &str, kind: Kind, dialect: Dialect, id: &str) {
        self.change(who, kind, dialect, id, None);
    }

    /// Notes that the spending of a batch is in a record; whether it was not before.
    pub(super) fn count(&self, who: &str, dialect: Dialect, id: &str) -> bool {
        let shelf = (who.to_owned(), Kind::Batch, dialect.name().to_owned());
        let change = {
            let mut shelves = locked(&self.shelves);
            let mut things = shelves.shelves.get_mut(&shelf).into_iter().flatten();
            let thing = things.find(|thing| thing.id == id && !thing.is_counted);
            let Some(thing) = thing else { return false };
            thing.is_counted = true;
            let (id, object, is_part) = (thing.id.clone(), Some(thing.object.clone()), thing.is_part);
            Change { who: shelf.0, kind: shelf.1, dialect: shelf.2, id, object, is_counted: true, is_part }
        };
        if let Some(journal) = &self.journal {
            journal.write(&change);
        }
        true
    }

    /// One of a caller's.
    pub(super) fn find(&self, who: &str, kind: Kind, dialect: Dialect, id: &str) -> Option<Thing> {
        let shelf = (who.to_owned(), kind, dialect.name().to_owned());
        locked(&self.shelves).shelves.get(&shelf)?.iter().find(|thing| thing.id == id).cloned()
    }

    fn change(&self, who: &str, kind: Kind, dialect: Dialect, id: &str, object: Option<(Value, bool)>) {
        let (who, dialect, id) = (who.to_owned(), dialect.name().to_owned(), id.to_owned());
        let (object, is_part) = object.map_or((None, false), |(object, is_part)| (Some(object), is_part));
        let mut change = Change { who, kind, dialect, id, object, is_counted: false, is_part };
        let has_changed = locked(&self.shelves).apply(&mut change);
        if let (true, Some(journal)) = (has_changed, &self.journal) {
            journal.write(&change);
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
    pub(super) fn has_room(&self, most: usize) -> bool {
        locked(&self.held).len() + self.beginning.load(Ordering::Relaxed) < most
    }

    /// A batch is being made, whether or not its caller waits for it. `None` when too many are.
    pub(super) fn begin(self: &Arc<Self>) -> Option<Beginning> {
        let more = |count: usize| (count < BEGINNING_MAX).then_some(count + 1);
        let begun = self.beginning.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        begun.is_ok().then(|| Beginning(self.clone()))
    }

    /// Holds something for a batch, for which there [was room](Self::has_room).
    pub(super) fn hold(&self, provider: &str, batch: &str, held: Held) {
        if !held.holds.is_empty() {
            locked(&self.held).insert((provider.to_owned(), batch.to_owned()), held);
        }
    }

    /// What is held for a batch, to be settled.
    pub(super) fn held(&self, provider: &str, batch: &str) -> Option<Held> {
        locked(&self.held).remove(&(provider.to_owned(), batch.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

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

    #[test]
    fn whoever_comes_at_once_one_is_the_first() {
        let made = Made::new(None);
        let dialect = Dialect::OpenAiChat;
        let rounds = 300;
        let barrier = std::sync::Barrier::new(4);
        for number in 0..rounds {
            made.remember("a", Kind::Batch, dialect, &number.to_string(), &json!({"of": "x".repeat(20_000)}));
        }
        let first = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for number in 0..rounds {
                        barrier.wait();
                        let is_first = made.count("a", dialect, &number.to_string());
                        first.fetch_add(usize::from(is_first), Ordering::Relaxed);
                    }
                });
            }
        });
        assert_eq!(first.into_inner(), rounds);
    }

    #[test]
    fn of_what_is_too_large_a_part_is_remembered_and_of_what_is_gone_nothing() {
        let made = Made::new(None);
        let dialect = Dialect::OpenAiChat;
        let large = json!({"id": "b1", "status": "completed", "errors": "x".repeat(OBJECT_BYTES_MAX), "input_file_id": "y".repeat(1500)});
        made.remember("a", Kind::Batch, dialect, "b1", &large);
        let thing = made.find("a", Kind::Batch, dialect, "b1").expect("it is there");
        assert!(thing.is_part && thing.object["errors"].is_null());
        assert_eq!(
            (&thing.object["status"], &thing.object["input_file_id"]),
            (&large["status"], &large["input_file_id"])
        );
        made.remember("a", Kind::Batch, dialect, "b1", &json!({"id": "b1"}));
        assert!(!made.find("a", Kind::Batch, dialect, "b1").expect("it is there").is_part);
        made.forget("a", Kind::Batch, dialect, "b1");
        made.forget("b", Kind::Batch, dialect, "b2");
        let shelves = locked(&made.shelves);
        assert_eq!((shelves.shelves.len(), shelves.count, shelves.bytes), (0, 0, 0));
    }
}
