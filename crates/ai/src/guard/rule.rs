//! The rules of one policy: what each looks for, where, and what is done about it.

use std::sync::Arc;

use super::{detect::Kind, patterns::Wanted, scan::Scanner};

/// What is done about what a rule finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// The call is refused.
    Block,
    /// A placeholder takes its place.
    Mask,
    /// It is told in the record alone.
    Flag,
}

/// What a rule looks for.
#[derive(Debug, Clone, PartialEq)]
pub enum Check {
    /// Personal data and secrets.
    Kinds(Vec<Kind>),
    /// Words and patterns: this many of them.
    Patterns(Vec<Wanted>, u32),
    /// Attempts to talk the model out of its instructions, from this score on.
    Injection(f64),
    /// Texts of more characters.
    Length(usize),
    /// Texts in other languages.
    Languages(Vec<String>),
}

/// A rule.
#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    /// Its name in records.
    pub name: Arc<str>,
    /// What it looks for.
    pub check: Check,
    /// What is done.
    pub action: Action,
    /// It looks at requests.
    pub on_request: bool,
    /// It looks at answers.
    pub on_answer: bool,
}

/// What is looked for on one side of a call.
#[derive(Debug)]
pub(super) struct Side {
    /// What is refused or replaced.
    pub(super) acts: Scanner,
    /// What is told alone. It is looked for apart, for it hides nothing of what it stands in or before.
    pub(super) notes: Scanner,
}

impl Side {
    /// Whether several texts can be looked at as one.
    pub(super) fn takes_texts_as_one(&self) -> bool {
        self.acts.takes_texts_as_one() && self.notes.takes_texts_as_one()
    }
}

/// The rules of one policy, ready for any number of calls.
#[derive(Debug)]
pub struct Rules {
    pub(super) rules: Vec<Rule>,
    pub(super) request: Side,
    pub(super) answer: Side,
    pub(super) hold_bytes_max: usize,
}

impl Rules {
    /// Compiles rules. The error names the rule that is wrong by its place.
    pub fn compile(rules: Vec<Rule>, hold_bytes_max: usize) -> Result<Self, (usize, String)> {
        let scanner = |on: fn(&Rule) -> bool, notes: bool| {
            let (mut kinds, mut patterns) = (Vec::new(), Vec::new());
            let is_one = |rule: &Rule| on(rule) && notes == (rule.action == Action::Flag);
            for (index, rule) in rules.iter().enumerate().filter(|(_, rule)| is_one(rule)) {
                match &rule.check {
                    Check::Kinds(some) => kinds.extend(some.iter().map(|kind| (*kind, index))),
                    Check::Patterns(some, _) => {
                        patterns.extend(some.iter().map(|wanted| (wanted.clone(), index)));
                    }
                    Check::Injection(_) | Check::Length(_) | Check::Languages(_) => {}
                }
            }
            Scanner::compile(&kinds, &patterns)
        };
        let side = |on| Ok(Side { acts: scanner(on, false)?, notes: scanner(on, true)? });
        let (request, answer) = (side(|rule| rule.on_request)?, side(|rule| rule.on_answer)?);
        Ok(Self { rules, request, answer, hold_bytes_max })
    }

    /// Whether anything is looked for in answers.
    pub fn read_answers(&self) -> bool {
        self.rules.iter().any(|rule| rule.on_answer)
    }

    /// Whether anything is looked for in requests.
    pub fn read_requests(&self) -> bool {
        self.rules.iter().any(|rule| rule.on_request)
    }

    /// Whether anything in requests gets a placeholder.
    pub(super) fn mask_requests(&self) -> bool {
        self.rules.iter().any(|rule| rule.on_request && rule.action == Action::Mask)
    }

    /// Whether what is looked for in answers stands at one place, and nothing judges the whole.
    pub(super) fn look_at_places_of_answers_alone(&self) -> bool {
        let is_of_a_place = |rule: &Rule| matches!(rule.check, Check::Kinds(_) | Check::Patterns(..));
        self.rules.iter().filter(|rule| rule.on_answer).all(is_of_a_place)
    }

    pub(super) fn judge_languages_of_requests(&self) -> bool {
        self.rules.iter().any(|rule| rule.on_request && matches!(rule.check, Check::Languages(_)))
    }

    /// A rule by its number.
    pub fn rule(&self, number: usize) -> Option<&Rule> {
        self.rules.get(number)
    }
}

/// What a rule found in one call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fired {
    /// The rule's name.
    pub rule: Arc<str>,
    /// What it found: a kind of data, or the kind of the rule.
    pub kind: &'static str,
    /// What was done.
    pub action: Action,
    /// In the answer; else in the request.
    pub in_answer: bool,
    /// How often.
    pub count: u32,
    /// The texts, where the operator wants them told: the first few.
    pub texts: Vec<String>,
}
