//! Kept answers in the memory of the process: the least used go first, and old ones with whoever asks for them.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use ai::canon::{Answer, Part};

use super::{Key, Settings};

/// Questions of one kind that a new one is compared with, the newest first: some milliseconds' work.
const COMPARED_MAX: usize = 4_000;

/// The answers of one policy.
pub(crate) struct Store {
    entries_max: usize,
    bytes_max: usize,
    ttl: Duration,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    by_key: HashMap<Key, Entry>,
    /// By when they were last asked for: the first goes first.
    by_use: BTreeMap<u64, Key>,
    /// The keys of answers to questions of one kind, for those that mean about the same.
    alike: HashMap<Key, Vec<Key>>,
    uses: u64,
    bytes: usize,
}

struct Entry {
    answer: Arc<Answer>,
    since: Instant,
    bytes: usize,
    used: u64,
    meaning: Option<(Key, Arc<[f32]>)>,
}

impl Store {
    pub(crate) fn new(settings: &Settings) -> Self {
        Self {
            entries_max: settings.max_entries.max(1),
            bytes_max: settings.max_size.get(),
            ttl: settings.ttl.get(),
            kept: Mutex::default(),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The answer of a key, and how old it is.
    pub(super) fn get(&self, key: &Key, now: Instant) -> Option<(Arc<Answer>, Duration)> {
        let mut kept = self.lock();
        let age = now.saturating_duration_since(kept.by_key.get(key)?.since);
        if age >= self.ttl {
            kept.remove(key);
            return None;
        }
        kept.uses += 1;
        let uses = kept.uses;
        let entry = kept.by_key.get_mut(key)?;
        let (before, answer) = (std::mem::replace(&mut entry.used, uses), entry.answer.clone());
        kept.by_use.remove(&before);
        kept.by_use.insert(uses, *key);
        Some((answer, age))
    }

    /// The key of the answer whose question means most nearly the same.
    pub(super) fn nearest(&self, group: &Key, meaning: &[f32], threshold: f64, now: Instant) -> Option<Key> {
        // Others wait for as long as the references are taken, not for as long as vectors are compared.
        let known: Vec<(Key, Arc<[f32]>)> = {
            let kept = self.lock();
            let keys = kept.alike.get(group)?;
            let newest = keys.iter().rev().take(COMPARED_MAX);
            let young = newest.filter_map(|key| {
                let entry = kept.by_key.get(key)?;
                let is_young = now.saturating_duration_since(entry.since) < self.ttl;
                let (_, other) = entry.meaning.as_ref().filter(|_| is_young)?;
                Some((*key, other.clone()))
            });
            young.collect()
        };
        let near = known.into_iter().filter_map(|(key, other)| Some((cosine(meaning, &other)?, key)));
        let best = near.max_by(|(a, _), (b, _)| a.total_cmp(b));
        best.filter(|(likeness, _)| *likeness >= threshold).map(|(_, key)| key)
    }

    pub(super) fn put(&self, key: Key, meaning: Option<(Key, Vec<f32>)>, answer: Answer, now: Instant) {
        let numbers = meaning.as_ref().map_or(0, |(_, numbers)| numbers.len() * size_of::<f32>());
        let bytes = weight(&answer) + numbers + size_of::<Entry>() + 2 * size_of::<Key>();
        if bytes > self.bytes_max {
            return;
        }
        let mut kept = self.lock();
        kept.remove(&key);
        while kept.by_key.len() >= self.entries_max || kept.bytes + bytes > self.bytes_max {
            let Some((_, oldest)) = kept.by_use.first_key_value().map(|(used, key)| (*used, *key)) else {
                break;
            };
            kept.remove(&oldest);
        }
        kept.uses += 1;
        let used = kept.uses;
        kept.bytes += bytes;
        kept.by_use.insert(used, key);
        if let Some((group, _)) = &meaning {
            kept.alike.entry(*group).or_default().push(key);
        }
        let meaning = meaning.map(|(group, numbers)| (group, Arc::from(numbers)));
        kept.by_key.insert(key, Entry { answer: Arc::new(answer), since: now, bytes, used, meaning });
    }
}

impl Kept {
    fn remove(&mut self, key: &Key) {
        let Some(entry) = self.by_key.remove(key) else { return };
        self.bytes -= entry.bytes;
        self.by_use.remove(&entry.used);
        if let Some((group, _)) = &entry.meaning
            && let Some(keys) = self.alike.get_mut(group)
        {
            keys.retain(|other| other != key);
            if keys.is_empty() {
                self.alike.remove(group);
            }
        }
    }
}

/// About how much memory an answer takes.
pub(super) fn weight(answer: &Answer) -> usize {
    let texts: usize = answer.choices.iter().flat_map(|choice| &choice.parts).map(part_weight).sum();
    let tokens: usize = answer.choices.iter().map(|choice| choice.log_probabilities.len() * 256).sum();
    texts
        + tokens
        + answer.extra.iter().map(|(key, value)| key.len() + value.to_string().len()).sum::<usize>()
        + 256
}

fn part_weight(part: &Part) -> usize {
    // The written form is longer than what is kept, never much shorter.
    let inner = match part {
        Part::Text { text, citations, .. } if citations.is_empty() => text.len(),
        other => format!("{other:?}").len(),
    };
    inner + size_of::<Part>()
}

fn cosine(one: &[f32], two: &[f32]) -> Option<f64> {
    if one.len() != two.len() {
        return None;
    }
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
    let lengths = (dot(one, one) * dot(two, two)).sqrt();
    (lengths > 0.0).then(|| dot(one, two) / lengths)
}

#[cfg(test)]
mod tests {
    use ai::canon::Finish;

    use super::*;

    fn answer(text: &str) -> Answer {
        let parts = vec![Part::text(text)];
        let choice = ai::canon::Choice { parts, finish: Some(Finish::Stop), log_probabilities: Vec::new() };
        Answer { choices: vec![choice], ..Answer::default() }
    }

    fn store(entries: usize, bytes: u64) -> Store {
        let max_size = model::Size::kib(bytes);
        Store::new(&Settings { max_entries: entries, max_size, ..Settings::default() })
    }

    #[test]
    fn what_was_not_asked_for_the_longest_goes_first() {
        let (store, now) = (store(2, 64), Instant::now());
        for key in 0..2 {
            store.put([key; 32], None, answer("x"), now);
        }
        assert!(store.get(&[0; 32], now).is_some());
        store.put([2; 32], None, answer("x"), now);
        let there: Vec<bool> = (0..3).map(|key| store.get(&[key; 32], now).is_some()).collect();
        assert_eq!(there, [true, false, true]);
    }

    #[test]
    fn memory_and_time_are_bounded() {
        let (store, now) = (store(1000, 16), Instant::now());
        for key in 0..100 {
            store.put([key; 32], Some(([9; 32], vec![1.0; 64])), answer(&"x".repeat(1000)), now);
        }
        let kept = store.lock();
        assert!(kept.bytes <= 16 * 1024 && !kept.by_key.is_empty());
        assert_eq!(kept.by_key.len(), kept.by_use.len());
        assert_eq!(kept.alike.get(&[9; 32]).map(Vec::len), Some(kept.by_key.len()));
        drop(kept);
        store.put([200; 32], None, answer(&"x".repeat(20_000)), now);
        assert!(store.get(&[200; 32], now).is_none(), "larger than all of it");
        assert!(store.get(&[99; 32], now).is_some());
        assert!(store.get(&[99; 32], now + Duration::from_secs(3600)).is_none());
    }

    #[test]
    fn the_nearest_meaning_counts_from_the_threshold_on() {
        let (store, now) = (store(10, 64), Instant::now());
        store.put([1; 32], Some(([0; 32], vec![1.0, 0.0])), answer("a"), now);
        store.put([2; 32], Some(([0; 32], vec![1.0, 1.0])), answer("b"), now);
        store.put([3; 32], Some(([7; 32], vec![0.0, 1.0])), answer("c"), now);
        assert_eq!(store.nearest(&[0; 32], &[1.0, 0.9], 0.9, now), Some([2; 32]));
        assert_eq!(store.nearest(&[0; 32], &[0.0, 1.0], 0.9, now), None);
        assert_eq!(store.nearest(&[0; 32], &[0.0, 1.0, 0.0], 0.0, now), None);
    }
}
