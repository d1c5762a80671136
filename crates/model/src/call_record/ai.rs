//! Of a call to a model: what was asked of whom, what came of it, and what it spent.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use super::heard::{CountsTokens, Heard};

/// A call to a model.
#[derive(Debug)]
pub struct AiRecord {
    /// What was asked for: `chat`, `embeddings`, …
    pub operation: &'static str,
    /// The dialect of the caller.
    pub dialect: &'static str,
    /// Name of the provider that was asked last.
    pub provider: Arc<str>,
    /// Its kind.
    pub kind: &'static str,
    /// The model as the caller named it.
    pub model: Arc<str>,
    /// The model as the provider names it.
    pub served: String,
    /// Whether a stream was asked for.
    pub is_stream: bool,
    /// The name of the target among others of its model: a test's variant, a canary.
    pub variant: Option<Arc<str>>,
    /// What could not be carried to the provider, in the caller's words.
    pub dropped: Vec<String>,
    /// The name in `ai.models` by which the model was found, `*` included: one of few, whatever callers write.
    pub alias: Arc<str>,
    /// When the provider was asked, and after how long it began to speak.
    asked: Instant,
    first: OnceLock<Duration>,
    broke: OnceLock<&'static str>,
    /// Which of several keys was used last, by its place in the provider's settings.
    key: Mutex<Option<Arc<str>>>,
    /// Counts tokens, for when nobody tells.
    pub counter: Option<Arc<dyn CountsTokens>>,
    /// What its tokens cost; `None` when nobody knows.
    pub prices: Option<Arc<dyn TokenPrices>>,
    /// What was spent, as far as is known; all of it when the answer has ended.
    charge: Mutex<Charge>,
    /// What guardrails found.
    guarded: Mutex<Vec<GuardFired>>,
    /// How long the call waited for a key of this target, in microseconds.
    queued: AtomicU64,
    /// Of the whole call: how long targets were waited for, and how long of this keys were.
    waited: Mutex<Option<(Duration, Duration)>>,
    /// Who went on with the answer after it broke off.
    continued: Mutex<Vec<Continued>>,
    /// What the caller could not be shown of the answer, in its words.
    unshown: Mutex<Vec<String>>,
    /// What was asked and what was answered, where the operator wants that.
    texts: Mutex<(Option<String>, Option<String>)>,
    /// What the cache of answers said: `hit`, `miss`, `bypass`.
    pub cache: Option<&'static str>,
    /// How its answer compares with the one that it shadows.
    pub comparison: Option<Box<Comparison>>,
    /// Answers of a conversation that are counted one by one.
    pub turns: AtomicU64,
}

/// How an answer that nobody was given compares with the one that the caller was.
#[derive(Debug)]
pub struct Comparison {
    /// The one that the caller was given.
    pub of: Arc<AiRecord>,
    /// How long each took to its end: the caller's, this one.
    pub took: (Duration, Duration),
    /// Why each ended.
    pub finish: (Option<String>, Option<String>),
    /// Why they could not be compared, if so.
    pub error: Option<String>,
    /// The texts are the same but for blanks and case.
    pub same_text: Option<bool>,
    /// Words that they share, of all: 0 to 1.
    pub words: Option<f64>,
    /// The texts are the same JSON, where one of them is JSON.
    pub same_json: Option<bool>,
    /// This text's length against the caller's.
    pub length_ratio: Option<f64>,
    /// The same tools are called, where one of them calls any.
    pub same_tools: Option<bool>,
    /// Both texts, where the operator wants them.
    pub texts: Option<(String, String)>,
}

/// A model that was asked for the rest of an answer.
#[derive(Debug, Clone)]
pub struct Continued {
    /// What it was asked, and spent.
    pub record: Arc<AiRecord>,
    /// Why the answer before it broke off.
    pub reason: &'static str,
    /// It went on; else it had the request and then failed.
    pub has_answered: bool,
}

/// What one rule of `guardrails` found in one call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuardFired {
    /// Name of the rule.
    pub rule: Arc<str>,
    /// What it found: a kind of data, or the kind of the rule.
    pub kind: &'static str,
    /// What was done: `block`, `mask`, `flag`.
    pub mode: &'static str,
    /// Where: `request`, `answer`.
    pub side: &'static str,
    /// How often.
    pub count: u32,
    /// The first few texts, where the operator wants them.
    pub texts: Vec<String>,
}

/// What a call has spent until now.
#[derive(Debug, Clone, Default)]
struct Charge {
    told: Option<TokenUsage>,
    /// What of the answer came by, for when nobody tells.
    heard: Heard,
    /// The provider's word for the class in which it was served.
    tier: Option<String>,
    /// What was asked for and answered beside tokens, and whether it was guessed.
    units: UnitUsage,
    units_are_guessed: bool,
    /// A provider has, or may have, the request, and has not refused it.
    is_due: bool,
    has_ended: bool,
    /// Some of what was told was counted here.
    is_guess: bool,
}

/// What the tokens of a model cost.
pub trait TokenPrices: Send + Sync + std::fmt::Debug {
    /// What a usage costs in picodollars, served in the class of this word.
    fn picodollars(&self, usage: &TokenUsage, tier: Option<&str>) -> u128;

    /// What units cost in picodollars; `None` where the model has no price of such.
    fn of_units(&self, _units: &UnitUsage) -> Option<u128> {
        None
    }

    /// Which table of prices says so.
    fn table(&self) -> &str;
}

/// What is counted beside tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct UnitUsage {
    /// Pictures made.
    pub images: u64,
    /// Letters spoken.
    pub characters: u64,
    /// Seconds of sound listened to, begun ones whole.
    pub seconds_in: u64,
    /// Seconds of sound made, begun ones whole.
    pub seconds_out: u64,
    /// Searches: of up to a hundred documents each.
    pub queries: u64,
}

impl UnitUsage {
    /// Each with its name in logs and metrics.
    pub fn named(&self) -> [(&'static str, u64); 5] {
        [
            ("images", self.images),
            ("characters", self.characters),
            ("seconds_in", self.seconds_in),
            ("seconds_out", self.seconds_out),
            ("queries", self.queries),
        ]
    }

    /// Both together.
    pub fn and(self, other: Self) -> Self {
        Self {
            images: self.images.saturating_add(other.images),
            characters: self.characters.saturating_add(other.characters),
            seconds_in: self.seconds_in.saturating_add(other.seconds_in),
            seconds_out: self.seconds_out.saturating_add(other.seconds_out),
            queries: self.queries.saturating_add(other.queries),
        }
    }
}

/// What a call to a model has spent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Spending {
    /// Its tokens.
    pub usage: TokenUsage,
    /// What it counts beside tokens.
    pub units: UnitUsage,
    /// What they cost in picodollars; `None` when nobody knows the price.
    pub picodollars: Option<u128>,
    /// They were counted here, for the provider did not tell, or not to the end.
    pub is_estimate: bool,
}

impl Spending {
    /// Both together.
    fn and(self, other: Self) -> Self {
        let (a, b) = (self.usage, other.usage);
        Self {
            usage: TokenUsage {
                input: a.input.saturating_add(b.input),
                cache_read: a.cache_read.saturating_add(b.cache_read),
                cache_write: a.cache_write.saturating_add(b.cache_write),
                cache_write_long: a.cache_write_long.saturating_add(b.cache_write_long),
                input_audio: a.input_audio.saturating_add(b.input_audio),
                input_image: a.input_image.saturating_add(b.input_image),
                output: a.output.saturating_add(b.output),
                reasoning: a.reasoning.saturating_add(b.reasoning),
                output_audio: a.output_audio.saturating_add(b.output_audio),
                output_image: a.output_image.saturating_add(b.output_image),
            },
            units: self.units.and(other.units),
            picodollars: self.picodollars.zip(other.picodollars).map(|(a, b)| a.saturating_add(b)),
            is_estimate: self.is_estimate || other.is_estimate,
        }
    }
}

/// How many times as much must be heard as was told before what was told is taken for a beginning only.
const HEARD_OVER_TOLD: u64 = 4;
/// Tokens of an answer below which no such doubt arises.
const DOUBT_TOKENS: u64 = 64;

impl AiRecord {
    /// A call that has spent nothing yet.
    pub fn new(operation: &'static str, dialect: &'static str, model: Arc<str>) -> Self {
        Self {
            operation,
            dialect,
            provider: "".into(),
            kind: "",
            model,
            served: String::new(),
            is_stream: false,
            variant: None,
            dropped: Vec::new(),
            alias: "".into(),
            asked: Instant::now(),
            first: OnceLock::new(),
            broke: OnceLock::new(),
            key: Mutex::new(None),
            counter: None,
            prices: None,
            charge: Mutex::default(),
            guarded: Mutex::default(),
            queued: AtomicU64::new(0),
            waited: Mutex::default(),
            continued: Mutex::default(),
            unshown: Mutex::default(),
            texts: Mutex::default(),
            cache: None,
            comparison: None,
            turns: AtomicU64::new(0),
        }
    }

    /// Tells what guardrails have found until now, all of it.
    pub fn guard(&self, fired: Vec<GuardFired>) {
        *self.guarded.lock().unwrap_or_else(PoisonError::into_inner) = fired;
    }

    /// What guardrails found.
    pub fn guarded(&self) -> Vec<GuardFired> {
        self.guarded.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How long ago the target was asked.
    pub fn age(&self) -> Duration {
        self.asked.elapsed()
    }

    /// Notes that a key of this target was waited for.
    pub fn queue(&self, time: Duration) {
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        self.queued.fetch_add(micros, Ordering::Relaxed);
    }

    /// How long a key of this target was waited for.
    pub fn queued(&self) -> Duration {
        Duration::from_micros(self.queued.load(Ordering::Relaxed))
    }

    /// Notes how long targets were waited for until now, this and those before it, and how long of this keys were.
    pub fn wait_for(&self, targets: Duration, keys: Duration) {
        *self.waited.lock().unwrap_or_else(PoisonError::into_inner) = Some((targets, keys));
    }

    /// How long targets were waited for, and how long of this keys were.
    pub fn waited(&self) -> Option<(Duration, Duration)> {
        *self.waited.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes who was asked to go on with the answer.
    pub fn go_on(&self, continued: Continued) {
        self.continued.lock().unwrap_or_else(PoisonError::into_inner).push(continued);
    }

    /// Who was asked to go on with the answer, in order.
    pub fn continued(&self) -> Vec<Continued> {
        self.continued.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Notes what the caller could not be shown of the answer.
    pub fn hide(&self, names: Vec<String>) {
        let mut unshown = self.unshown.lock().unwrap_or_else(PoisonError::into_inner);
        for name in names {
            if !unshown.contains(&name) {
                unshown.push(name);
            }
        }
    }

    /// Keeps the text of what was asked.
    pub fn tell_prompt(&self, text: String) {
        self.texts.lock().unwrap_or_else(PoisonError::into_inner).0 = Some(text);
    }

    /// Keeps the text of what was answered.
    pub fn tell_answer(&self, text: String) {
        self.texts.lock().unwrap_or_else(PoisonError::into_inner).1 = Some(text);
    }

    /// What was asked and what was answered, where the operator wants that.
    pub fn texts(&self) -> (Option<String>, Option<String>) {
        self.texts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What could not be carried, there and back.
    pub fn all_dropped(&self) -> Vec<String> {
        let unshown = self.unshown.lock().unwrap_or_else(PoisonError::into_inner);
        self.dropped.iter().chain(unshown.iter()).cloned().collect()
    }

    /// Notes that the provider has begun to speak; only the first time counts.
    pub fn speak(&self) {
        let _ = self.first.get_or_init(|| self.asked.elapsed());
    }

    /// From the request to the provider to the first token of a stream.
    pub fn first_token(&self) -> Option<Duration> {
        self.first.get().copied()
    }

    /// Notes why the answer broke off after it had begun.
    pub fn break_off(&self, reason: &'static str) {
        let _ = self.broke.set(reason);
    }

    /// Why the answer broke off after it had begun, if it did.
    pub fn broke(&self) -> Option<&'static str> {
        self.broke.get().copied()
    }

    /// Notes which key is used.
    pub fn use_key(&self, key: Arc<str>) {
        *self.key.lock().unwrap_or_else(PoisonError::into_inner) = Some(key);
    }

    /// Which of several keys was used last; `None` where there is but one.
    pub fn key(&self) -> Option<Arc<str>> {
        self.key.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Notes what has been spent until now.
    pub fn spend(&self, usage: TokenUsage) {
        self.charge().told = Some(usage);
    }

    /// Notes text of the answer that came by.
    pub fn hear(&self, text: &str) {
        if !text.is_empty() {
            self.charge().heard.push(text, self.counter.as_deref());
        }
    }

    /// Forgets what text came by: all of it is heard once more.
    pub fn hear_anew(&self) {
        self.charge().heard = Heard::default();
    }

    /// Notes the class in which it is served.
    pub fn serve_in(&self, tier: &str) {
        self.charge().tier = Some(tier.to_owned());
    }

    /// Notes what was asked for and answered beside tokens, and whether that is a guess.
    pub fn measure(&self, units: UnitUsage, is_guess: bool) {
        let mut charge = self.charge();
        charge.units = units;
        charge.units_are_guessed = is_guess;
    }

    /// What was asked for and answered beside tokens.
    pub fn units(&self) -> UnitUsage {
        self.charge().units
    }

    /// Whether what it costs is known before the answer has ended.
    pub fn is_known_ahead(&self) -> bool {
        let charge = self.charge();
        let is_paid = |prices: &Arc<dyn TokenPrices>| prices.of_units(&charge.units).is_some();
        !charge.units_are_guessed && self.prices.as_ref().is_some_and(is_paid)
    }

    /// Notes whether a provider has the request, as far as is known, and has not refused it.
    pub fn owe(&self, is_due: bool) {
        self.charge().is_due = is_due;
    }

    /// Whether a provider has the request, as far as is known.
    pub fn is_due(&self) -> bool {
        self.charge().is_due
    }

    /// Notes that the answer came to its end.
    pub fn end(&self) {
        self.charge().has_ended = true;
    }

    /// Notes that some of what is told as spent was counted here.
    pub fn guess(&self) {
        self.charge().is_guess = true;
    }

    /// What has been spent: as the provider told, else as counted here; `None` when no provider did anything. What those
    /// spent who went on is part of it.
    pub fn spending(&self) -> Option<Spending> {
        let own = self.own_spending();
        let others = self.continued.lock().unwrap_or_else(PoisonError::into_inner);
        others
            .iter()
            .filter_map(|one| one.record.spending())
            .fold(own, |sum, one| Some(sum.map_or(one, |sum| sum.and(one))))
    }

    fn own_spending(&self) -> Option<Spending> {
        let charge = self.charge();
        let (usage, is_estimate) = match charge.told {
            None if !charge.is_due && charge.units == UnitUsage::default() => return None,
            None if !charge.is_due => (TokenUsage::default(), charge.units_are_guessed),
            None => {
                let input = self.counter.as_deref().map_or(0, CountsTokens::prompt);
                let output = charge.heard.tokens(self.counter.as_deref());
                (TokenUsage { input, output, ..TokenUsage::default() }, true)
            }
            Some(told) => {
                // Some tell at the beginning, and again at the end: a stream that broke off told too little.
                let most = match charge.has_ended {
                    true => told.output.saturating_mul(HEARD_OVER_TOLD).max(DOUBT_TOKENS),
                    false => told.output,
                };
                // A token is one byte at least, so that what is short needs no counting.
                let may_be_more = charge.heard.bytes() > most;
                let doubt = may_be_more && charge.heard.about(self.counter.as_deref()) > most;
                let output = if doubt { charge.heard.tokens(self.counter.as_deref()) } else { told.output };
                (TokenUsage { output, ..told }, doubt)
            }
        };
        let picodollars =
            self.prices.as_ref().map(|prices| prices.picodollars(&usage, charge.tier.as_deref()));
        let is_estimate = is_estimate || charge.is_guess;
        let units = charge.units;
        let beside = self.prices.as_ref().and_then(|prices| prices.of_units(&units));
        // Where a model has a price of both, they are of the same work: told tokens say best what it was.
        let (picodollars, is_estimate) = match (picodollars, beside) {
            (Some(0), Some(beside)) => (Some(beside), charge.units_are_guessed),
            (tokens, _) => (tokens, is_estimate),
        };
        Some(Spending { usage, units, picodollars, is_estimate })
    }

    fn charge(&self) -> MutexGuard<'_, Charge> {
        self.charge.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tokens of a call to a model. Parts are contained in their totals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TokenUsage {
    /// Of the prompt.
    pub input: u64,
    /// Of these, read from a prompt cache.
    pub cache_read: u64,
    /// Of these, written to a prompt cache.
    pub cache_write: u64,
    /// Of those written, kept for an hour.
    pub cache_write_long: u64,
    /// Of the prompt, sound.
    pub input_audio: u64,
    /// Of the prompt, images, where the provider tells.
    pub input_image: u64,
    /// Of the answer.
    pub output: u64,
    /// Of these, thoughts.
    pub reasoning: u64,
    /// Of these, sound.
    pub output_audio: u64,
    /// Of these, images, where the provider tells.
    pub output_image: u64,
}
