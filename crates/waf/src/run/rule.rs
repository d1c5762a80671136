//! A rule asked: which texts it looks at, what it makes of them, and what follows from a match.

use std::rc::Rc;

use super::{
    FIRED_MAX, Fired, Progress, SHOWN_BYTES_MAX, TEXT_STEPS, Transaction, Verdict, effects::one_digit,
};
use crate::{
    injection,
    operator::{Answer, Operator, ask_pattern},
    pattern::Pattern,
    rules::{Bits, Chain, Disruption, Link, Looked, Rules, Selector},
    transform::Transform,
    variable::Variable,
};

/// The rule that is asked.
pub(super) struct Current<'c> {
    pub(super) chain: &'c Chain,
    at: u32,
}

/// Steps of finding an entry, and of looking at a text that is ruled out without being searched.
const ENTRY_STEPS: usize = 4;
const CANDIDATE_STEPS: usize = 8;

/// A rule that is asked of many texts.
pub(super) struct Paused {
    /// Its place in its chain.
    link: usize,
    /// The target that comes next, and what is left of the one before.
    target: usize,
    found: std::vec::IntoIter<Candidate>,
    /// What its macros made.
    argument: Option<Vec<u8>>,
    dynamic: Option<Pattern>,
    is_match: bool,
}

enum Asked {
    Answered(bool),
    Paused(Box<Paused>),
}

/// A text that is looked at.
pub(super) struct Candidate {
    variable: Variable,
    name: Rc<[u8]>,
    held: Held,
}

enum Held {
    /// A text of the call, by number.
    Text(u32),
    /// One that is made for this rule.
    Own(Rc<[u8]>),
}

impl Transaction {
    /// Asks a chain, rule after rule; goes on where it paused.
    pub(super) fn chain(&mut self, rules: &Rules, at: u32, chain: &Chain) -> Progress {
        let current = Current { chain, at };
        let mut paused = self.paused.take();
        let first = paused.as_ref().map_or(0, |paused| paused.link);
        for (index, link) in chain.links.iter().enumerate().skip(first) {
            let asked = match paused.take() {
                Some(paused) => self.ask_all(rules, link, &current, *paused),
                None => self.link(rules, link, &current, index),
            };
            match asked {
                Asked::Answered(true) => {}
                Asked::Answered(false) => return Progress::Done,
                Asked::Paused(paused) => {
                    self.paused = Some(paused);
                    return Progress::More;
                }
            }
        }
        if chain.is_logged
            && !self.fired.iter().any(|fired| fired.rule == chain.id)
            && self.fired.len() < FIRED_MAX
        {
            let shown = |text: &[u8]| text.get(..SHOWN_BYTES_MAX).unwrap_or(text).into();
            self.fired.push(Fired {
                rule: chain.id,
                severity: chain.severity,
                at: self.matched.as_ref().map(|(name, _)| shown(name)).unwrap_or_default(),
                matched: self.matched.as_ref().filter(|_| self.keeps_matched).map(|(_, value)| shown(value)),
            });
        }
        match &chain.disruption {
            Disruption::Pass => {}
            Disruption::Deny => self.refuse(Verdict::Deny(chain.status), chain.id),
            Disruption::Drop => self.refuse(Verdict::Drop, chain.id),
            Disruption::Redirect(to) => {
                let to = String::from_utf8_lossy(&self.text(to, &current)).into_owned();
                let status = if (300..400).contains(&chain.status) { chain.status } else { 302 };
                self.refuse(Verdict::Redirect(status, to), chain.id);
            }
            Disruption::Allow(allowed) => self.allowed = Some(*allowed),
        }
        if let Some(to) = chain.skip_to {
            self.next = self.next.max(to);
        }
        Progress::Done
    }

    /// Asks one rule of all that it looks at.
    fn link(&mut self, rules: &Rules, link: &Link, current: &Current<'_>, index: usize) -> Asked {
        if link.is_action {
            self.effects(link, current);
            return Asked::Answered(true);
        }
        if let (Some(group), Some(_)) = (link.group, link.bit)
            && self.group(rules, group, link).is_some_and(|bits| link.is_ruled_out(&bits))
        {
            return Asked::Answered(false);
        }
        let argument = link.operator.argument().filter(|_| !matches!(link.operator, Operator::RxOf(_)));
        let argument = argument.filter(|text| text.fixed().is_none());
        let argument = argument.map(|text| self.text(text, current).into_owned());
        let dynamic = self.dynamic(rules, link, current);
        self.all_matched_begin(link);
        let found = Vec::new().into_iter();
        self.ask_all(
            rules,
            link,
            current,
            Paused { link: index, target: 0, found, argument, dynamic, is_match: false },
        )
    }

    /// Asks of one text after the other, until the slice is over.
    fn ask_all(&mut self, rules: &Rules, link: &Link, current: &Current<'_>, mut asking: Paused) -> Asked {
        let fixed = link.operator.argument().and_then(|text| text.fixed()).unwrap_or_default();
        let argument = asking.argument.take();
        loop {
            while let Some(candidate) = asking.found.next() {
                let own = argument.as_deref().unwrap_or(fixed.as_bytes());
                asking.is_match |= self.judge(rules, link, &candidate, own, asking.dynamic.as_ref(), current);
                if self.is_out_of_steps() {
                    return Asked::Answered(asking.is_match);
                }
                if self.steps >= self.until {
                    asking.argument = argument;
                    return Asked::Paused(Box::new(asking));
                }
            }
            let Some(target) = link.targets.get(asking.target) else {
                return Asked::Answered(asking.is_match);
            };
            asking.target += 1;
            asking.found = self.look(target, link, current.at).into_iter();
        }
    }

    /// MATCHED_VARS are those of the rule before, as long as a rule looks at them.
    fn all_matched_begin(&mut self, link: &Link) {
        let looks =
            |target: &Looked| matches!(target.variable, Variable::MatchedVars | Variable::MatchedVarsNames);
        if !link.targets.iter().any(looks) {
            self.all_matched.clear();
        }
    }

    /// A pattern with macros, compiled; that it is none is told by `TX:MSC_PCRE_ERROR`.
    fn dynamic(&mut self, rules: &Rules, link: &Link, current: &Current<'_>) -> Option<Pattern> {
        let Operator::RxOf(template) = &link.operator else { return None };
        let text = String::from_utf8_lossy(&self.text(template, current)).into_owned();
        // Compiling takes longer than looking.
        self.steps += 1_000 + 100 * text.len();
        let built = Pattern::new(&text, false, rules.backtracks).ok();
        if built.is_none() {
            self.tx.set("msc_pcre_error", b"1".to_vec());
        }
        built
    }

    /// The scans of all texts that a group of rules looks at, as one; nothing when that takes more than the slice has:
    /// the rule then asks of each text, and pauses between them.
    fn group(&mut self, rules: &Rules, group: u16, link: &Link) -> Option<Rc<Bits>> {
        if let Some(known) = self.groups.get(usize::from(group)).and_then(Option::as_ref) {
            return Some(known.clone());
        }
        let mut sum = rules.scan.none();
        for target in &link.targets {
            for candidate in self.look(target, link, u32::MAX) {
                self.steps += CANDIDATE_STEPS;
                if self.steps >= self.until {
                    return None;
                }
                if let Held::Text(text) = candidate.held {
                    let text = self.texts.after(text, link.step, rules, &mut self.steps);
                    let bits = self.texts.bits(text, rules, &mut self.steps);
                    sum.iter_mut().zip(bits.iter()).for_each(|(sum, bits)| *sum |= bits);
                }
            }
        }
        let sum = Rc::new(sum);
        if let Some(known) = self.groups.get_mut(usize::from(group)) {
            *known = Some(sum.clone());
        }
        Some(sum)
    }

    /// Asks about one text; a rule that looks at each step asks about each.
    fn judge(
        &mut self,
        rules: &Rules,
        link: &Link,
        candidate: &Candidate,
        argument: &[u8],
        dynamic: Option<&Pattern>,
        current: &Current<'_>,
    ) -> bool {
        self.steps += CANDIDATE_STEPS;
        if link.is_multi && !link.transforms.is_empty() {
            let mut text: Rc<[u8]> = match &candidate.held {
                Held::Text(text) => self.texts.bytes(*text),
                Held::Own(text) => text.clone(),
            };
            let mut is_match = self.ask(link, candidate, &text, argument, dynamic, current);
            for transform in &link.transforms {
                self.steps += text.len();
                let changed = transform.apply(&text);
                // ModSecurity takes what `cmdLine` gives for changed, always, and rules add up scores by how often it asks.
                let is_asked = changed.is_some() || *transform == Transform::CmdLine;
                text = changed.map_or(text, Rc::from);
                if is_asked {
                    is_match |= self.ask(link, candidate, &text, argument, dynamic, current);
                }
            }
            return is_match;
        }
        let text: Rc<[u8]> = match &candidate.held {
            Held::Text(text) => {
                let text = self.texts.after(*text, link.step, rules, &mut self.steps);
                if link.bit.is_some() && link.is_ruled_out(&self.texts.bits(text, rules, &mut self.steps)) {
                    // Found nowhere, without asking.
                    if !link.is_negated {
                        return false;
                    }
                    let bytes = self.texts.bytes(text);
                    return self.matches(link, candidate, &bytes, &Answer::Yes, current);
                }
                self.texts.bytes(text)
            }
            Held::Own(own) => {
                let mut text = own.clone();
                for transform in &link.transforms {
                    self.steps += text.len();
                    if let Some(changed) = transform.apply(&text) {
                        text = changed.into();
                    }
                }
                text
            }
        };
        self.ask(link, candidate, &text, argument, dynamic, current)
    }

    fn ask(
        &mut self,
        link: &Link,
        candidate: &Candidate,
        text: &[u8],
        argument: &[u8],
        dynamic: Option<&Pattern>,
        current: &Current<'_>,
    ) -> bool {
        self.steps += TEXT_STEPS + text.len();
        let wants_groups = link.captures && !link.is_negated;
        let answer = match dynamic {
            Some(pattern) => ask_pattern(pattern, text, wants_groups),
            None => {
                self.steps += match &link.operator {
                    Operator::Rx(pattern) if pattern.is_backtracking() => 16 * text.len(),
                    Operator::Sqli | Operator::Xss => injection::steps(text),
                    _ => 0,
                };
                link.operator.ask(text, argument, wants_groups)
            }
        };
        match (&answer, link.is_negated) {
            (Answer::OutOfSteps, _) => {
                self.tx.set("msc_pcre_limits_exceeded", b"1".to_vec());
                false
            }
            (Answer::No, false) => false,
            (Answer::No, true) => self.matches(link, candidate, text, &Answer::Yes, current),
            (_, true) => false,
            (_, false) => self.matches(link, candidate, text, &answer, current),
        }
    }

    /// What follows from a match.
    fn matches(
        &mut self,
        link: &Link,
        candidate: &Candidate,
        text: &[u8],
        answer: &Answer,
        current: &Current<'_>,
    ) -> bool {
        self.steps += TEXT_STEPS + text.len() / 4;
        if link.captures && !link.is_negated {
            self.caught = Default::default();
            match answer {
                Answer::Caught(groups) => {
                    for (caught, group) in self.caught.iter_mut().zip(groups) {
                        *caught = group.and_then(|(start, end)| text.get(start..end)).map(Rc::from);
                    }
                }
                Answer::Named(name) => self.caught[0] = Some(name.as_slice().into()),
                Answer::Yes | Answer::No | Answer::OutOfSteps => self.caught[0] = Some(text.into()),
            }
        }
        let name: Rc<[u8]> = match candidate.name.is_empty() {
            true => candidate.variable.name().as_bytes().into(),
            false => [candidate.variable.name().as_bytes(), &candidate.name].join(&b':').into(),
        };
        let value: Rc<[u8]> = text.into();
        self.all_matched.push((name.clone(), value.clone()));
        self.matched = Some((name, value));
        if let Some(severity) = current.chain.severity {
            self.highest = Some(self.highest.map_or(severity, |highest| highest.min(severity)));
        }
        self.effects(link, current);
        true
    }

    fn effects(&mut self, link: &Link, current: &Current<'_>) {
        for effect in &link.effects {
            self.effect(effect, current);
        }
    }

    /// The texts of a target that are looked at, what it takes to find them counted.
    fn look(&mut self, target: &Looked, link: &Link, at: u32) -> Vec<Candidate> {
        let of_it = |variable: Variable| variable == target.variable;
        let by_pattern = |selector: &Selector| usize::from(matches!(selector, Selector::Like(_)));
        let patterns: usize = by_pattern(&target.selector)
            + link.without.iter().filter(|(v, _)| of_it(*v)).map(|(_, s)| by_pattern(s)).sum::<usize>()
            + self
                .removed_targets
                .iter()
                .filter(|(_, v, _)| of_it(*v))
                .map(|(.., s)| by_pattern(s))
                .sum::<usize>();
        let names: usize = match patterns {
            0 => 0,
            _ => self.list(target.variable).iter().map(|entry| entry.name.len() + TEXT_STEPS).sum(),
        };
        self.steps += ENTRY_STEPS * self.list(target.variable).len() + patterns * names;
        self.candidates(target, link, at)
    }

    /// The texts of a target that are looked at.
    fn candidates(&self, target: &Looked, link: &Link, at: u32) -> Vec<Candidate> {
        let variable = target.variable;
        let is_left_out = |name: &[u8]| {
            let of_rule = |(other, selector): &(Variable, Selector)| *other == variable && selector.has(name);
            let of_call = |(chains, other, selector): &(std::sync::Arc<[u32]>, Variable, Selector)| {
                *other == variable && selector.has(name) && chains.binary_search(&at).is_ok()
            };
            link.without.iter().any(of_rule) || self.removed_targets.iter().any(of_call)
        };
        let own = |name: &[u8], text: &[u8]| Candidate {
            variable,
            name: name.into(),
            held: Held::Own(text.into()),
        };
        let is_meant = |name: &[u8]| target.selector.has(name) && !is_left_out(name);
        let mut found: Vec<Candidate> = Vec::new();
        match variable {
            Variable::Tx => {
                if let Selector::Name(name) = &target.selector {
                    let value = self.tx_value(name).filter(|_| !is_left_out(name.as_bytes()));
                    found.extend(value.map(|value| own(name.as_bytes(), &value)));
                } else {
                    let named = self.tx.iter().filter(|(name, _)| is_meant(name.as_bytes()));
                    found.extend(named.map(|(name, value)| own(name.as_bytes(), value)));
                    for (digit, caught) in self.caught.iter().enumerate() {
                        let name = digit.to_string();
                        debug_assert!(one_digit(&name).is_some());
                        let caught = caught.as_ref().filter(|_| is_meant(name.as_bytes()));
                        found.extend(caught.map(|caught| own(name.as_bytes(), caught)));
                    }
                }
            }
            Variable::Ip | Variable::Global | Variable::Session | Variable::User | Variable::Resource => {
                if let Some((_, key)) = self.begun.iter().find(|(begun, _)| *begun == variable) {
                    let all = self.collections.all(key, self.now);
                    let meant = all.iter().filter(|(name, _)| is_meant(name.as_bytes()));
                    found.extend(meant.map(|(name, value)| own(name.as_bytes(), value)));
                }
            }
            Variable::MatchedVar => found.extend(self.matched.as_ref().map(|(_, value)| own(b"", value))),
            Variable::MatchedVarName => found.extend(self.matched.as_ref().map(|(name, _)| own(b"", name))),
            Variable::MatchedVars => {
                found.extend(self.all_matched.iter().filter(|(n, _)| is_meant(n)).map(|(n, v)| own(n, v)));
            }
            Variable::MatchedVarsNames => {
                found.extend(self.all_matched.iter().filter(|(n, _)| is_meant(n)).map(|(n, _)| own(n, n)));
            }
            Variable::Duration => found.push(own(b"", &self.duration())),
            Variable::HighestSeverity => {
                found.push(own(b"", self.highest.unwrap_or(255).to_string().as_bytes()));
            }
            Variable::Xml => {
                let is_of_it =
                    |name: &[u8]| matches!(target.selector, Selector::Attributes) == (name == b"@");
                let left_out = |(other, selector): &(Variable, Selector)| {
                    *other == Variable::Xml
                        && matches!(selector, Selector::Attributes)
                            == matches!(target.selector, Selector::Attributes)
                };
                let of_call = self.removed_targets.iter().any(|(chains, other, selector)| {
                    left_out(&(*other, selector.clone())) && chains.binary_search(&at).is_ok()
                });
                if !of_call && !link.without.iter().any(left_out) {
                    let entries = self.list(variable).iter().filter(|entry| is_of_it(&entry.name));
                    found.extend(entries.map(|entry| Candidate {
                        variable,
                        name: entry.name.clone(),
                        held: Held::Text(entry.text),
                    }));
                }
            }
            variable => {
                let meant = self.list(variable).iter().filter(|entry| is_meant(&entry.name));
                found.extend(meant.map(|entry| Candidate {
                    variable,
                    name: entry.name.clone(),
                    held: Held::Text(entry.text),
                }));
            }
        }
        if target.is_count {
            let count = found.len().to_string();
            let name: &[u8] = if let Selector::Name(name) = &target.selector { name.as_bytes() } else { b"" };
            return vec![own(name, count.as_bytes())];
        }
        found
    }
}
