//! One call judged: what it holds, phase after phase, in slices of steps.
//!
//! A step is a byte that a rule looks at, more or less. [`Transaction::advance`] takes as many as it is given and says
//! whether there is more to do, so that whoever runs it can let others run between; a bound over the whole call ends it.

mod effects;
mod read;
mod rule;
mod tx;
mod values;

use std::{net::IpAddr, rc::Rc, sync::Arc};

pub use self::read::{Apart, Cut};
use self::{
    tx::Named,
    values::{Entry, Texts},
};
use crate::{
    collections::{Collections, Key},
    rules::{Allowed, Bits, Control, Mode, PHASES, Processor, Rules, Selector},
    variable::Variable,
};

/// Rules that are told of one call.
const FIRED_MAX: usize = 64;
/// Bytes that are told of what matched.
const SHOWN_BYTES_MAX: usize = 120;
/// The built-in rule that refuses a body in a content coding that it is not unpacked from.
pub const UNREAD_CODING: u32 = 190_006;
/// Steps of looking at one text, beside its length.
const TEXT_STEPS: usize = 24;

/// A phase of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// The head of the request is there.
    Head,
    /// Its body, too.
    Body,
    /// The head of the answer.
    AnswerHead,
    /// Its body.
    AnswerBody,
    /// It is over.
    Logging,
}

/// Whether there is more to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// The steps are used up.
    More,
    /// The phase is over.
    Done,
}

/// What the rules say about a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Refused with this status.
    Deny(u16),
    /// The connection is to be cut.
    Drop,
    /// Sent elsewhere, with this status.
    Redirect(u16, String),
    /// It took more steps than it may.
    OutOfSteps,
}

/// A rule that fired.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fired {
    /// Its id.
    pub rule: u32,
    /// From 0, an emergency, on.
    pub severity: Option<u8>,
    /// Where it was found: `ARGS:name`.
    pub at: Box<[u8]>,
    /// What was found, when that is kept.
    pub matched: Option<Box<[u8]>>,
}

/// The head of a request.
#[derive(Debug, Clone, Copy)]
pub struct Head<'h> {
    /// Its method.
    pub method: &'h [u8],
    /// Its target: path and query.
    pub target: &'h [u8],
    /// `HTTP/1.1`.
    pub protocol: &'h [u8],
    /// Who sent it.
    pub client: IpAddr,
    /// The host that was asked for.
    pub server: &'h [u8],
    /// A text that no other call has.
    pub unique: &'h [u8],
    /// Milliseconds since the epoch.
    pub now: u64,
}

/// Where something was found, and what.
type Match = (Rc<[u8]>, Rc<[u8]>);

/// One call.
pub struct Transaction {
    rules: Arc<Rules>,
    collections: Arc<Collections>,
    texts: Texts,
    lists: Vec<Vec<Entry>>,
    tx: Named,
    /// What a pattern caught last.
    caught: [Option<Rc<[u8]>>; 10],
    matched: Option<Match>,
    all_matched: Vec<Match>,
    begun: Vec<(Variable, Key)>,
    removed: Vec<u64>,
    removed_targets: Vec<(Arc<[u32]>, Variable, Selector)>,
    /// Of each group of rules, whether any of its texts may be found.
    groups: Vec<Option<Rc<Bits>>>,
    mode: Mode,
    processor: Option<Processor>,
    forces_body: bool,
    reads_body: bool,
    reads_answer: bool,
    highest: Option<u8>,
    now: u64,
    unique: Rc<[u8]>,
    fired: Vec<Fired>,
    keeps_matched: bool,
    verdict: Option<Verdict>,
    by: Option<u32>,
    /// What would have been, where nothing is refused.
    would: Option<(Verdict, u32)>,
    phase: Phase,
    next: u32,
    allowed: Option<Allowed>,
    /// The rule that is being asked.
    paused: Option<Box<rule::Paused>>,
    /// Where the slice ends.
    until: usize,
    /// Where the phase of logging began: it may take as much as the rest.
    logging_from: usize,
    steps: usize,
    steps_max: usize,
}

impl Transaction {
    /// Begins a call. `headers` in their order.
    pub fn new<'h>(
        rules: Arc<Rules>,
        collections: Arc<Collections>,
        head: &Head<'h>,
        headers: impl Iterator<Item = (&'h [u8], &'h [u8])>,
        steps_max: usize,
    ) -> Self {
        let mut call = Self {
            texts: Texts::default(),
            lists: (0..Variable::COUNT).map(|_| Vec::new()).collect(),
            tx: Named::default(),
            caught: Default::default(),
            matched: None,
            all_matched: Vec::new(),
            begun: Vec::new(),
            removed: vec![0; rules.chains.len().div_ceil(64)],
            removed_targets: Vec::new(),
            groups: vec![None; rules.groups],
            mode: rules.mode,
            processor: None,
            forces_body: false,
            reads_body: true,
            reads_answer: true,
            highest: None,
            now: head.now,
            unique: head.unique.into(),
            fired: Vec::new(),
            keeps_matched: false,
            verdict: None,
            by: None,
            would: None,
            phase: Phase::Head,
            next: 0,
            allowed: None,
            paused: None,
            until: 0,
            logging_from: 0,
            steps: 0,
            steps_max,
            collections,
            rules,
        };
        call.read_head(head, headers);
        let rules = call.rules.clone();
        for (name, value) in &rules.given {
            call.tx.set(name, value.to_vec());
        }
        for exclusion in &rules.exclusions {
            let path = head.target.split(|byte| *byte == b'?').next().unwrap_or_default();
            if exclusion.path.as_ref().is_none_or(|pattern| pattern.is_match(path) == Some(true)) {
                exclusion.controls.iter().for_each(|control| call.control(control));
            }
        }
        call
    }

    /// Keeps the beginning of what matched, to be told.
    pub fn keep_matched(&mut self) {
        self.keeps_matched = true;
    }

    /// Whether no rule looks at the rest of the request.
    fn is_let_in(&self) -> bool {
        matches!(self.allowed, Some(Allowed::All | Allowed::Request))
    }

    /// Whether the rules want the request's body after its head.
    pub fn wants_body(&self) -> bool {
        self.mode != Mode::Off && self.reads_body && self.verdict.is_none() && !self.is_let_in()
    }

    /// Whether the rules want the answer's body.
    pub fn wants_answer(&self) -> bool {
        self.mode != Mode::Off
            && self.reads_answer
            && self.verdict.is_none()
            && self.allowed != Some(Allowed::All)
    }

    /// Begins a phase; [`Self::advance`] runs it.
    pub fn begin(&mut self, phase: Phase) {
        self.phase = phase;
        self.next = 0;
        self.paused = None;
        self.logging_from = self.steps;
        if phase >= Phase::AnswerHead {
            self.texts.forget();
        }
        self.groups.iter_mut().for_each(|group| *group = None);
        if self.allowed == Some(Allowed::Phase)
            || (self.allowed == Some(Allowed::Request) && phase > Phase::Body)
        {
            self.allowed = None;
        }
    }

    /// Runs the phase for about so many steps.
    pub fn advance(&mut self, steps: usize) -> Progress {
        let rules = self.rules.clone();
        let Some(phase) = rules.phases.get(self.phase as usize).filter(|_| (self.phase as usize) < PHASES)
        else {
            return Progress::Done;
        };
        self.until = self.steps.saturating_add(steps);
        loop {
            let is_logging = self.phase == Phase::Logging;
            let is_over = self.mode == Mode::Off || (self.verdict.is_some() && !is_logging);
            if is_over || (self.allowed.is_some() && !is_logging) {
                return Progress::Done;
            }
            if self.is_out_of_steps() {
                if !is_logging {
                    self.refuse(Verdict::OutOfSteps, 0);
                }
                return Progress::Done;
            }
            if self.steps >= self.until {
                return Progress::More;
            }
            let Some(at) = phase.get(self.next as usize).copied() else { return Progress::Done };
            self.next += 1;
            self.steps += 1;
            if self.removed.get(at as usize / 64).is_some_and(|word| word >> (at % 64) & 1 == 1) {
                continue;
            }
            let Some(chain) = rules.chains.get(at as usize) else { continue };
            if self.chain(&rules, at, chain) == Progress::More {
                self.next -= 1;
                return Progress::More;
            }
            self.texts.keep_within_bounds();
        }
    }

    fn is_out_of_steps(&self) -> bool {
        match self.phase {
            Phase::Logging => self.steps - self.logging_from > self.steps_max,
            _ => self.steps > self.steps_max,
        }
    }

    /// Forgets what can be found out again, while the call waits for its answer.
    pub fn rest(&mut self) {
        self.texts.forget();
        self.all_matched = Vec::new();
    }

    /// Says that the body is longer than is looked at, where that refuses a call.
    pub fn refuse_long_body(&mut self) {
        self.refuse(Verdict::Deny(413), 0);
    }

    /// Says that the body is not what its content coding says, so that rules see it as it came; to be said after
    /// [`Self::body`]. A built-in rule refuses such a call like any whose body cannot be taken apart.
    pub fn broken_coding(&mut self, error: &str) {
        self.unreadable(error);
    }

    /// Says that the body has a content coding that it is not unpacked from, so that rules see it as it came. The
    /// built-in rule [`UNREAD_CODING`] refuses such a call.
    pub fn unread_coding(&mut self) {
        self.tx.set("unread_coding", b"1".to_vec());
    }

    /// Runs a phase to its end.
    pub fn run(&mut self, phase: Phase) {
        self.begin(phase);
        while self.advance(usize::MAX / 2) == Progress::More {}
    }

    fn refuse(&mut self, verdict: Verdict, by: u32) {
        match self.mode {
            Mode::On => {
                self.verdict = Some(verdict);
                self.by = Some(by);
            }
            Mode::DetectionOnly if verdict == Verdict::OutOfSteps => {
                self.would.get_or_insert((verdict, by));
                self.mode = Mode::Off;
            }
            Mode::DetectionOnly => {
                self.would.get_or_insert((verdict, by));
            }
            Mode::Off => {}
        }
    }

    /// What is to be done with the call, when it is refused.
    pub fn verdict(&self) -> Option<&Verdict> {
        self.verdict.as_ref()
    }

    /// The rule that refused the call, or would have; 0 for none in particular.
    pub fn refused_by(&self) -> Option<u32> {
        self.by.or_else(|| self.would.as_ref().map(|(_, by)| *by))
    }

    /// What would have been done, where nothing is refused.
    pub fn would(&self) -> Option<&Verdict> {
        self.would.as_ref().map(|(verdict, _)| verdict)
    }

    /// The rules that fired, in order, each once.
    pub fn fired(&self) -> &[Fired] {
        &self.fired
    }

    /// Steps so far.
    pub fn steps(&self) -> usize {
        self.steps
    }

    /// A variable of TX, by its name in lower case.
    pub fn variable(&self, name: &str) -> Option<&[u8]> {
        self.tx.get(name)
    }

    /// The score of the request and that of the answer, by the Core Rule Set's variables of either version.
    pub fn scores(&self) -> (i64, i64) {
        let number = |name: &str| self.tx.get(name).map(crate::operator::number);
        let first = |names: [&str; 3]| names.into_iter().find_map(number).unwrap_or_default();
        (
            first(["blocking_inbound_anomaly_score", "anomaly_score", "inbound_anomaly_score"]),
            first(["blocking_outbound_anomaly_score", "outbound_anomaly_score", "outbound_score"]),
        )
    }

    fn control(&mut self, control: &Control) {
        match control {
            Control::Mode(mode) => {
                // A rule may look less closely than the operator says, never refuse where they said that none is.
                self.mode = match (self.rules.mode, *mode) {
                    (Mode::DetectionOnly, Mode::On) => Mode::DetectionOnly,
                    (_, mode) => mode,
                };
            }
            Control::ForceBody(force) => self.forces_body = *force,
            Control::BodyAccess(access) => self.reads_body = *access,
            Control::AnswerBodyAccess(access) => self.reads_answer = *access,
            Control::Processor(processor) => {
                self.processor = *processor;
                self.name_processor();
            }
            Control::Without(chains) => {
                for at in chains.iter() {
                    if let Some(word) = self.removed.get_mut(*at as usize / 64) {
                        *word |= 1 << (at % 64);
                    }
                }
            }
            Control::WithoutTarget(chains, variable, selector) => {
                self.removed_targets.push((chains.clone(), *variable, selector.clone()));
            }
        }
    }
}
