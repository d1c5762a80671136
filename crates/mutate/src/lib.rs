//! Short fuzzing inside ordinary tests: plays a target's corpus, then mutates it for a bounded time.
//!
//! It is for tests only. The same targets and corpora serve `cargo fuzz`, which is guided by coverage; what it finds
//! is put into the corpus and is played here for ever.
//!
//! | variable | meaning |
//! |---|---|
//! | `TIDEGATE_FUZZ_MILLIS` | how long a target is mutated after its corpus is played; 100 when not set |
//! | `TIDEGATE_FUZZ_SEED` | plays the run again that a failure tells of; a new one when not set |

mod change;
mod corpus;
mod random;

use std::{
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    path::Path,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use self::{change::Changer, corpus::Corpus, random::Random};

const DEFAULT_MILLIS: u64 = 100;
/// An input that takes longer is a finding: work must not grow out of proportion to the input. Generous, because
/// tests run unoptimised and beside others.
const INPUT_TIME_MAX: Duration = Duration::from_secs(8);

/// Plays the corpus `fuzz/corpus/<name>` of this repository, then mutates it until the time is over.
///
/// # Panics
/// With the target, naming the input, the seed and a file that holds the input. When the corpus is empty.
pub fn fuzz(name: &str, target: impl Fn(&[u8])) {
    let corpus = Corpus::load(name);
    for (file, bytes) in &corpus.entries {
        play(&target, bytes, || format!("`{name}` on {}", file.display()));
    }
    let number = |variable: &str| std::env::var(variable).ok().and_then(|text| text.parse::<u64>().ok());
    let budget = Duration::from_millis(number("TIDEGATE_FUZZ_MILLIS").unwrap_or(DEFAULT_MILLIS));
    let seed = number("TIDEGATE_FUZZ_SEED").unwrap_or_else(fresh_seed);
    let changer = Changer::new(&corpus);
    let start = Instant::now();
    let mut round = 0_u64;
    while start.elapsed() < budget {
        // Each round stands alone, so that a failure is played again by its number.
        let input = changer.input(&mut Random::new(seed, round));
        play(&target, &input, || {
            let file = keep(name, &input);
            format!("`{name}` in round {round} of TIDEGATE_FUZZ_SEED={seed}; the input is in {file}")
        });
        round += 1;
    }
}

fn fresh_seed() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_nanos() as u64 ^ u64::from(std::process::id()) << 32
}

/// Runs the target; says which input it was when it panics or takes too long.
fn play(target: &impl Fn(&[u8]), input: &[u8], which: impl Fn() -> String) {
    let start = Instant::now();
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| target(input))) {
        eprintln!("{} fails: {}", which(), input.escape_ascii());
        resume_unwind(panic);
    }
    let took = start.elapsed();
    assert!(took < INPUT_TIME_MAX, "{} takes {took:?}", which());
}

/// Writes an input that failed where it can be found again.
fn keep(name: &str, input: &[u8]) -> String {
    let folder = corpus::root().join("target/fuzz-failures");
    let file = folder.join(format!("{name}-{}", std::process::id()));
    match std::fs::create_dir_all(&folder).and_then(|()| std::fs::write(&file, input)) {
        Ok(()) => file.display().to_string(),
        Err(error) => format!("no file ({}: {error})", Path::display(&file)),
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, collections::HashSet};

    use super::*;

    #[test]
    fn a_round_is_the_same_whenever_it_is_played() {
        let corpus = Corpus::of(&[b"GET / HTTP/1.1\r\n\r\n", b"0\r\n\r\n"], &[b"chunked"]);
        let changer = Changer::new(&corpus);
        for round in 0..200 {
            let input = || changer.input(&mut Random::new(7, round));
            assert_eq!(input(), input());
        }
    }

    #[test]
    fn mutations_reach_bytes_and_words_that_the_corpus_lacks() {
        let corpus = Corpus::of(&[b"aaaa", b"bbbb"], &[b"token"]);
        let changer = Changer::new(&corpus);
        let inputs: HashSet<Vec<u8>> =
            (0..20_000).map(|round| changer.input(&mut Random::new(1, round))).collect();
        assert!(inputs.len() > 5_000, "{}", inputs.len());
        let bytes: HashSet<u8> = inputs.iter().flatten().copied().collect();
        assert_eq!(bytes.len(), 256);
        assert!(inputs.iter().any(|input| input.windows(5).any(|word| word == b"token")));
        assert!(
            inputs.iter().any(|input| input.contains(&b'a') && input.contains(&b'b')),
            "entries are joined"
        );
        assert!(inputs.iter().any(Vec::is_empty));
    }

    #[test]
    fn a_target_that_fails_is_told_with_its_input() {
        let hits = Cell::new(0);
        let target = |input: &[u8]| {
            hits.set(hits.get() + 1);
            assert!(input.len() < 3, "too long");
        };
        let told = catch_unwind(AssertUnwindSafe(|| play(&target, b"abc", || "it".to_owned())));
        assert!(told.is_err());
        play(&target, b"ab", || unreachable!("it does not fail"));
        assert_eq!(hits.get(), 2);
    }
}
