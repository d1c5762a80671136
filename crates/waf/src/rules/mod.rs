//! Compiled rules: immutable, shared by every call.

mod actions;
mod compile;
mod directives;
mod operators;
mod scan;
mod targets;

use std::{collections::HashMap, sync::Arc};

use foldhash::fast::RandomState;

pub use self::compile::{Exclusion, Files, Options, Source, Target};
pub(crate) use self::{
    scan::{Bits, Scan, has_bit},
    targets::{Looked, Selector},
};
use crate::{
    operator::Operator,
    pattern::{Pattern, Required},
    template::Template,
    transform::Transform,
    variable::Variable,
};

/// Phases of a call, as rules number them from 1 on.
pub(crate) const PHASES: usize = 5;

/// What is done about a call that the rules refuse.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// It is refused.
    On,
    /// It is recorded, and goes on.
    DetectionOnly,
    /// Nothing is looked at.
    Off,
}

/// How a request's body is taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Processor {
    Form,
    Multipart,
    Json,
    Xml,
}

/// Compiled rules.
#[derive(Debug)]
pub struct Rules {
    pub(crate) chains: Vec<Chain>,
    /// Places in `chains`, in order, of each phase.
    pub(crate) phases: [Vec<u32>; PHASES],
    /// Steps of transformations: each follows another, so that rules share what they begin with.
    pub(crate) steps: Vec<(u16, Transform)>,
    pub(crate) scan: Scan,
    /// How many different groups of targets and transformations there are.
    pub(crate) groups: usize,
    pub(crate) mode: Mode,
    /// Exclusions by path.
    pub(crate) exclusions: Vec<PathExclusion>,
    /// Variables that every call begins with.
    pub(crate) given: Vec<(Box<str>, Box<[u8]>)>,
    /// Seconds that a collection outlives its last use.
    pub(crate) collection_timeout: u64,
    pub(crate) backtracks: usize,
    /// Arguments that a request may have.
    pub(crate) arguments_max: usize,
    by_id: HashMap<u32, u32, RandomState>,
}

/// No step: the text as it is.
pub(crate) const NO_STEP: u16 = 0;

/// A rule with those that are chained to it.
#[derive(Debug)]
pub(crate) struct Chain {
    pub(crate) id: u32,
    pub(crate) links: Vec<Link>,
    pub(crate) disruption: Disruption,
    pub(crate) status: u16,
    /// Where its phase goes on when it matches.
    pub(crate) skip_to: Option<u32>,
    /// Its match is told.
    pub(crate) is_logged: bool,
    /// From 0, an emergency, on.
    pub(crate) severity: Option<u8>,
    pub(crate) message: Box<str>,
    pub(crate) tags: Vec<Box<str>>,
    pub(crate) phase: usize,
    pub(crate) file: Arc<str>,
    pub(crate) line: u32,
}

/// What a match of a rule does with the call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Disruption {
    Pass,
    Deny,
    Drop,
    Redirect(Template),
    /// The rest of the rules is not asked: of all phases, of this one, of those of the request.
    Allow(Allowed),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Allowed {
    All,
    Phase,
    Request,
}

/// One rule of a chain.
#[derive(Debug)]
pub(crate) struct Link {
    /// Nothing for `SecAction`.
    pub(crate) targets: Vec<Looked>,
    pub(crate) without: Vec<(Variable, Selector)>,
    pub(crate) operator: Operator,
    pub(crate) is_negated: bool,
    /// The last of its transformations in `steps`.
    pub(crate) step: u16,
    /// All of them, for what is looked at while it changes.
    pub(crate) transforms: Vec<Transform>,
    pub(crate) is_multi: bool,
    pub(crate) captures: bool,
    pub(crate) effects: Vec<Effect>,
    /// The literals that a yes requires, until they have their bit.
    pub(crate) required: Option<Required>,
    /// The bit that a text's scan has when the operator may say yes.
    pub(crate) bit: Option<u16>,
    /// Targets and transformations that several rules share.
    pub(crate) group: Option<u16>,
    /// The name of a text that is looked for by its own pattern is not known beforehand.
    pub(crate) is_action: bool,
}

/// What a match changes.
#[derive(Debug)]
pub(crate) enum Effect {
    Set { collection: Variable, name: Template, how: Setting },
    Expire { collection: Variable, name: Template, seconds: Template },
    Begin { collection: Variable, key: Template },
    Control(Control),
}

#[derive(Debug)]
pub(crate) enum Setting {
    To(Template),
    Plus(Template),
    Minus(Template),
    Gone,
}

/// `ctl`: how the rest of the call is judged.
#[derive(Debug, Clone)]
pub(crate) enum Control {
    Mode(Mode),
    ForceBody(bool),
    BodyAccess(bool),
    AnswerBodyAccess(bool),
    Processor(Option<Processor>),
    Without(Arc<[u32]>),
    WithoutTarget(Arc<[u32]>, Variable, Selector),
}

/// Rules that are left out on some paths.
#[derive(Debug)]
pub(crate) struct PathExclusion {
    pub(crate) path: Option<Pattern>,
    pub(crate) controls: Vec<Control>,
}

impl Rules {
    /// How many rules there are, each chain counted once.
    pub fn len(&self) -> usize {
        self.chains.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.chains.is_empty()
    }

    /// What a rule says when it matches, as it is written: macros are not replaced.
    pub fn message(&self, id: u32) -> Option<&str> {
        let chain = self.by_id.get(&id).and_then(|at| self.chains.get(*at as usize))?;
        Some(&chain.message)
    }

    /// The tags of a rule.
    pub fn tags(&self, id: u32) -> impl Iterator<Item = &str> {
        let chain = self.by_id.get(&id).and_then(|at| self.chains.get(*at as usize));
        chain.into_iter().flat_map(|chain| chain.tags.iter().map(|tag| &**tag))
    }

    /// Ids of the rules whose patterns need backtracking.
    pub fn backtracking(&self) -> Vec<u32> {
        let needs = |chain: &&Chain| {
            chain.links.iter().any(|link| matches!(&link.operator, Operator::Rx(rx) if rx.is_backtracking()))
        };
        self.chains.iter().filter(needs).map(|chain| chain.id).collect()
    }

    /// Where a rule stands: file and line.
    pub fn place(&self, id: u32) -> Option<(&str, u32)> {
        let chain = self.by_id.get(&id).and_then(|at| self.chains.get(*at as usize))?;
        Some((&chain.file, chain.line))
    }
}
