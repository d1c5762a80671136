//! Rules over the texts of one call: what each finds, what is done about it, and what is told of it afterwards.
//!
//! A [`Screen`] goes with a call: over its request first, then, with the same vault, over its answer, whole or in
//! pieces. Placeholders that the request was given turn back into what they stand for on the way out, texts and
//! arguments of calls alike. What the answer itself reveals is masked for good: `<EMAIL>`.

use std::sync::Arc;

use regex_automata::hybrid::dfa::Cache;

use super::{
    detect::Begins,
    hold::{Hold, Piece, is_clear},
    injection, language,
    leaves::{self, Leaf, Leaves, Part as Of, Voice},
    rule::{Action, Check, Fired, Rule, Rules, Side},
    scan::{At, Found, Looks},
    vault::{Vault, word},
};
use crate::canon::{Answer, Part, Source};

/// Bytes of an answer's beginning by which its language is told.
const SAMPLE_BYTES_MAX: usize = 2048;
/// Bytes that are looked at from one place of a whole text.
const WINDOW_BYTES: usize = 16 * 1024;

/// Stands between texts that are looked at as one: no letter, digit or separator of numbers.
const BETWEEN: char = '"';

/// Texts that are kept of one rule's finds.
const TEXTS_MAX: usize = 8;
/// Letters that are kept of each.
const TEXT_CHARS_MAX: usize = 256;

/// What walks over texts need, for what acts and for what notes.
#[derive(Debug, Default)]
struct Caches {
    acts: Option<Cache>,
    notes: Option<Cache>,
}

impl Caches {
    fn of(side: &Side) -> Self {
        Self { acts: side.acts.cache(), notes: side.notes.cache() }
    }
}

/// The rules at work on one call.
#[derive(Debug)]
pub struct Screen {
    rules: Arc<Rules>,
    cache: Caches,
    vault: Vault,
    in_answer: bool,
    keeps_texts: bool,
    fired: Vec<Fired>,
    blocked: Option<usize>,
    /// Characters of the answer's text until now.
    spoken: usize,
    /// The beginning of the answer's text, until its language is judged.
    sample: Option<String>,
}

impl Screen {
    /// For a request. `keeps_texts`: what is found is told with its text.
    pub fn new(rules: Arc<Rules>, keeps_texts: bool) -> Self {
        let cache = Caches::of(&rules.request);
        Self {
            rules,
            cache,
            vault: Vault::default(),
            in_answer: false,
            keeps_texts,
            fired: Vec::new(),
            blocked: None,
            spoken: 0,
            sample: None,
        }
    }

    /// Goes on to the answer.
    pub fn turn(&mut self) {
        self.give_back();
        self.in_answer = true;
        self.cache = Caches::of(&self.rules.answer);
        self.sample = Some(String::new());
    }

    fn give_back(&mut self) {
        let side = if self.in_answer { &self.rules.answer } else { &self.rules.request };
        let Caches { acts, notes } = std::mem::take(&mut self.cache);
        side.acts.keep(acts);
        side.notes.keep(notes);
    }

    /// What was found until now.
    pub fn fired(&self) -> &[Fired] {
        &self.fired
    }

    /// The rule because of which the call is refused.
    pub fn blocked(&self) -> Option<&Rule> {
        self.blocked.and_then(|rule| self.rules.rule(rule))
    }

    /// Goes on to the next request of a conversation: what an earlier one was refused for is over.
    pub fn again(&mut self) {
        self.blocked = None;
        self.vault.reserve_anew();
    }

    /// Whether the answer must be looked at: for rules, or for placeholders.
    pub fn reads_answers(&self) -> bool {
        self.rules.read_answers() || !self.vault.is_empty()
    }

    /// Looks at a request's body. What is masked is changed where it stands; `None` when nothing is.
    pub fn request(&mut self, body: &[u8]) -> Result<Option<Vec<u8>>, crate::canon::Error> {
        if !self.rules.read_requests() {
            return Ok(None);
        }
        let leaves = Leaves::of(body)?;
        let mut length = 0_usize;
        let mut words = String::new();
        let samples = self.rules.judge_languages_of_requests();
        let limits = self.rules.rules.iter().any(|rule| matches!(rule.check, Check::Length(_)));
        let masks = self.rules.mask_requests();
        let mut all = self.rules.request.takes_texts_as_one().then(|| String::with_capacity(body.len()));
        leaves.edit(|leaf| {
            if let Some(all) = &mut all {
                all.push_str(&leaf.text);
                all.push(BETWEEN);
            }
            if masks && leaf.part != Of::Piece {
                self.vault.reserve(&leaf.text);
            }
            if limits && leaf.part != Of::Piece {
                length = length.saturating_add(leaf.text.chars().count());
            }
            let is_said = leaf.voice == Voice::Caller && leaf.part != Of::Frame;
            if samples && is_said && words.len() < SAMPLE_BYTES_MAX {
                words.extend(leaf.text.chars().take(SAMPLE_BYTES_MAX));
                words.push(' ');
            }
            self.suspect(leaf);
            None
        });
        self.judge_length(length);
        self.judge_language(&words);
        if all.is_some_and(|all| self.look(&all).into_iter().all(Looks::is_clear)) {
            return Ok(None);
        }
        Ok(leaves.edit(|leaf| self.leaf(leaf)))
    }

    /// Looks at a text. What it is to be, when that is something else.
    fn leaf(&mut self, leaf: &Leaf<'_>) -> Option<String> {
        if leaf.part == Of::Frame {
            self.frame(&leaf.text);
            return None;
        }
        self.whole(&leaf.text)
    }

    /// Looks at a text whose pieces were looked at, for what is made of several. It stays as it is: what would be masked
    /// is told of nowhere, and what was found in a piece is not told again.
    fn frame(&mut self, text: &str) {
        let rules = self.rules.clone();
        let side = self.side(&rules);
        let mut found: Vec<(String, Found)> = Vec::new();
        for (scanner, cache) in [(&side.acts, &mut self.cache.acts), (&side.notes, &mut self.cache.notes)] {
            let looks = scanner.look(cache, text);
            if looks.is_clear() {
                continue;
            }
            let at =
                |before: Option<char>, text: &str, more: bool| scanner.at(cache, looks, before, text, more);
            Hold::new(WINDOW_BYTES, false).push(text, true, scanner.firsts(), at, |piece| {
                if let Piece::Found { text, found: what, .. } = piece {
                    found.push((text.to_owned(), what));
                }
            });
        }
        let told = self.fired.len();
        for (text, what) in found {
            let Some((rule, kind)) = rule_of(what) else { continue };
            let Some(of) = rules.rule(rule).filter(|of| of.action != Action::Mask) else { continue };
            let in_answer = self.in_answer;
            let is_same =
                |fired: &Fired| fired.rule == of.name && fired.kind == kind && fired.in_answer == in_answer;
            if !self.fired.iter().take(told).any(is_same) {
                self.fire(rule, kind, &text);
            }
        }
    }

    fn side<'r>(&self, rules: &'r Rules) -> &'r Side {
        if self.in_answer { &rules.answer } else { &rules.request }
    }

    fn suspect(&mut self, leaf: &Leaf<'_>) {
        if leaf.voice != Voice::Caller {
            return;
        }
        let rules = self.rules.clone();
        for (index, rule) in self.active(&rules) {
            if let Check::Injection(threshold) = rule.check
                && !(leaf.part == Of::Frame && self.has_fired(rule))
                && injection::score(&leaf.text) >= threshold
            {
                self.fire(index, "injection", &leaf.text);
            }
        }
    }

    fn active<'r>(&self, rules: &'r Rules) -> impl Iterator<Item = (usize, &'r Rule)> + use<'r> {
        let in_answer = self.in_answer;
        let on = move |rule: &Rule| if in_answer { rule.on_answer } else { rule.on_request };
        rules.rules.iter().enumerate().filter(move |(_, rule)| on(rule))
    }

    fn judge_length(&mut self, length: usize) {
        let rules = self.rules.clone();
        for (index, rule) in self.active(&rules) {
            if matches!(rule.check, Check::Length(most) if length > most) && !self.has_fired(rule) {
                self.fire(index, "length", "");
            }
        }
    }

    fn has_fired(&self, rule: &Rule) -> bool {
        self.fired.iter().any(|fired| fired.rule == rule.name && fired.in_answer == self.in_answer)
    }

    fn judge_language(&mut self, text: &str) {
        let rules = self.rules.clone();
        for (index, rule) in self.active(&rules) {
            if let Check::Languages(allowed) = &rule.check
                && let Some(language) = language::of(text)
                && !allowed.iter().any(|allowed| allowed == language)
            {
                self.fire(index, "language", "");
            }
        }
    }

    fn fire(&mut self, rule: usize, kind: &'static str, text: &str) {
        let rules = self.rules.clone();
        let Some(of) = rules.rule(rule) else { return };
        let in_answer = self.in_answer;
        let same =
            |fired: &Fired| fired.rule == of.name && fired.kind == kind && fired.in_answer == in_answer;
        let at = match self.fired.iter().position(same) {
            Some(at) => at,
            None => {
                let (rule, action) = (of.name.clone(), of.action);
                self.fired.push(Fired { rule, kind, action, in_answer, count: 0, texts: Vec::new() });
                self.fired.len() - 1
            }
        };
        let Some(fired) = self.fired.get_mut(at) else { return };
        fired.count = fired.count.saturating_add(1);
        if self.keeps_texts && !text.is_empty() && fired.texts.len() < TEXTS_MAX {
            fired.texts.push(text.chars().take(TEXT_CHARS_MAX).collect());
        }
        let enough = if let Check::Patterns(_, least) = &of.check { fired.count >= *least } else { true };
        if of.action == Action::Block && enough {
            self.blocked.get_or_insert(rule);
        }
    }

    /// Looks at a whole text. What it is to be, when that is something else.
    pub fn whole(&mut self, text: &str) -> Option<String> {
        let looks = self.look(text);
        if self.is_clear(text, looks) {
            return None;
        }
        let mut hold = Hold::new(WINDOW_BYTES, false);
        let written = self.piece_of(&mut hold, text, true, looks);
        (written != text).then_some(written)
    }

    /// What a whole text may hold, of what acts and of what notes.
    fn look(&mut self, text: &str) -> [Looks; 2] {
        let side = if self.in_answer { &self.rules.answer } else { &self.rules.request };
        [side.acts.look(&mut self.cache.acts, text), side.notes.look(&mut self.cache.notes, text)]
    }

    /// Whether nothing is in a whole text, of which it is known what it may hold.
    fn is_clear(&mut self, text: &str, looks: [Looks; 2]) -> bool {
        // Placeholders are rare, and then the long way is good enough.
        if self.in_answer && !self.vault.is_empty() && text.contains('<') {
            return false;
        }
        let side = if self.in_answer { &self.rules.answer } else { &self.rules.request };
        let each = [(&side.acts, &mut self.cache.acts), (&side.notes, &mut self.cache.notes)];
        each.into_iter().zip(looks).all(|((scanner, cache), looks)| {
            let at = |before, text: &str, more| scanner.at(cache, looks, before, text, more);
            looks.is_clear() || is_clear(text, WINDOW_BYTES, scanner.firsts(), at)
        })
    }

    /// Whether a whole answer, as a provider wrote it, is sure to hold nothing for these rules. It looks at every string,
    /// be it text or not, and is sure of less than [`Screen::answer`], which must be asked where this is not.
    pub fn clears(&mut self, body: &[u8]) -> bool {
        if !self.rules.look_at_places_of_answers_alone() {
            return false;
        }
        let mut all = String::with_capacity(body.len());
        let mut are_plain = true;
        let mut numbers = true;
        let walked = leaves::strings(body, |text| match text.filter(|text| is_plain(text)) {
            // Most answers tell when they were made: among texts its digits would look like those of a phone.
            Some(number) if number.bytes().all(|byte| byte.is_ascii_digit()) => {
                numbers = numbers && self.clears_text(number);
            }
            Some(text) => {
                all.push_str(text);
                all.push(BETWEEN);
            }
            None => are_plain = false,
        });
        if !walked || !are_plain || !numbers {
            return false;
        }
        let has_placeholders = self.in_answer && !self.vault.is_empty();
        let is_clear = !has_placeholders
            && self.side(&self.rules.clone()).takes_texts_as_one()
            && self.look(&all).into_iter().all(Looks::is_clear);
        is_clear || self.clears_each(body)
    }

    fn clears_text(&mut self, text: &str) -> bool {
        let looks = self.look(text);
        self.is_clear(text, looks)
    }

    /// The same, text by text.
    fn clears_each(&mut self, body: &[u8]) -> bool {
        let mut is_clear = true;
        let walked = leaves::strings(body, |text| {
            is_clear = is_clear && text.is_some_and(|text| self.clears_text(text));
        });
        walked && is_clear
    }

    /// Looks at a piece of a text that `hold` keeps; what of it may go on, and all at the last piece.
    pub fn piece(&mut self, hold: &mut Hold, text: &str, is_last: bool) -> String {
        self.piece_of(hold, text, is_last, [Looks::ALL; 2])
    }

    fn piece_of(&mut self, hold: &mut Hold, text: &str, is_last: bool, looks: [Looks; 2]) -> String {
        let rules = self.rules.clone();
        let in_answer = self.in_answer;
        let side = self.side(&rules);
        let [acts, notes] = looks;
        if !side.notes.is_empty() && !notes.is_clear() {
            self.note(side, hold, text, is_last, notes);
        }
        let scanner = &side.acts;
        let mut cache = self.cache.acts.take();
        // Where among the clear text, what text, what it is, whether inside of a string.
        let mut found: Vec<(usize, String, Found, bool)> = Vec::new();
        let vault = &self.vault;
        let at = |before: Option<char>, text: &str, more: bool| {
            if in_answer {
                match vault.begins(text, more) {
                    Begins::No => {}
                    Begins::More => return At::Undecided,
                    Begins::Yes(length) => return At::Something(length, Found::Placeholder),
                }
            }
            scanner.at(&mut cache, acts, before, text, more)
        };
        let with_placeholders;
        let firsts = if in_answer && !vault.is_empty() {
            with_placeholders = scanner.firsts().clone().and(b'<');
            &with_placeholders
        } else {
            scanner.firsts()
        };
        let mut clear = String::with_capacity(text.len());
        hold.push(text, is_last, firsts, at, |piece| match piece {
            Piece::Clear(text) => clear.push_str(text),
            Piece::Found { text, found: what, in_string } => {
                found.push((clear.len(), text.to_owned(), what, in_string));
            }
        });
        self.cache.acts = cache;
        if found.is_empty() {
            return clear;
        }
        let mut out = String::with_capacity(clear.len() + 64);
        let mut from = 0;
        for (at, text, what, in_string) in found {
            out.push_str(clear.get(from..at).unwrap_or_default());
            from = at;
            let written = self.found(&text, what);
            match (hold.is_json(), in_string) {
                // Untouched text is JSON already.
                _ if written == text => out.push_str(&text),
                (false, _) => out.push_str(&written),
                (true, true) => {
                    let quoted = leaves::quoted(&written);
                    out.push_str(quoted.get(1..quoted.len().saturating_sub(1)).unwrap_or_default());
                }
                (true, false) => out.push_str(&leaves::quoted(&written)),
            }
        }
        out.push_str(clear.get(from..).unwrap_or_default());
        out
    }

    /// Tells what is told alone in a piece of a text.
    fn note(&mut self, side: &Side, hold: &mut Hold, text: &str, is_last: bool, looks: Looks) {
        let mut cache = self.cache.notes.take();
        let scanner = &side.notes;
        let mut found: Vec<(String, Found)> = Vec::new();
        let at =
            |before: Option<char>, text: &str, more: bool| scanner.at(&mut cache, looks, before, text, more);
        hold.beside().push(text, is_last, scanner.firsts(), at, |piece| {
            if let Piece::Found { text, found: what, .. } = piece {
                found.push((text.to_owned(), what));
            }
        });
        self.cache.notes = cache;
        for (text, what) in found {
            if let Some((rule, kind)) = rule_of(what) {
                self.fire(rule, kind, &text);
            }
        }
    }

    /// What stands in the place of what was found.
    fn found(&mut self, text: &str, what: Found) -> String {
        let Some((rule, kind)) = rule_of(what) else {
            return self.vault.meaning(text).unwrap_or(text).to_owned();
        };
        let label = match what {
            Found::Kind(kind, _) => kind.word().to_owned(),
            Found::Pattern(_) | Found::Placeholder => {
                word(self.rules.rule(rule).map_or("", |rule| &*rule.name))
            }
        };
        self.fire(rule, kind, text);
        match self.rules.rule(rule).map(|rule| rule.action) {
            Some(Action::Mask) if self.in_answer => format!("<{label}>"),
            Some(Action::Mask) => self.vault.mask(&label, text),
            Some(Action::Block | Action::Flag) | None => text.to_owned(),
        }
    }

    /// Counts what an answer says.
    pub fn hears(&mut self, text: &str) {
        self.spoken = self.spoken.saturating_add(text.chars().count());
        self.judge_length(self.spoken);
        let Some(mut sample) = self.sample.take() else { return };
        sample.push_str(text);
        if sample.len() >= SAMPLE_BYTES_MAX {
            self.judge_language(&sample)
        } else {
            self.sample = Some(sample)
        }
    }

    /// The answer's text has ended.
    pub fn heard(&mut self) {
        if let Some(sample) = self.sample.take() {
            self.judge_language(&sample);
        }
    }

    /// Looks at a whole answer, and changes it.
    pub fn answer(&mut self, answer: &mut Answer) {
        for choice in &mut answer.choices {
            let before = self.fired.len();
            for part in &mut choice.parts {
                self.part(part);
            }
            // Tokens would tell what the text no longer says.
            if self.fired.len() > before || !self.vault.is_empty() {
                choice.log_probabilities.clear();
            }
        }
        self.heard();
    }

    /// Looks at a text that was answered, JSON or not, and changes it.
    pub fn written(&mut self, text: &mut String) {
        self.hears(text);
        self.heard();
        self.replace_json(text);
    }

    /// Looks at a whole part of an answer, and changes it.
    pub fn part(&mut self, part: &mut Part) {
        match part {
            Part::Text { text, citations, .. } => {
                self.hears(text);
                self.replace(text);
                for quote in citations.iter_mut().filter_map(|citation| citation.quote.as_mut()) {
                    self.replace(quote);
                }
            }
            Part::Thinking { text, .. } | Part::Refusal { text } => self.replace(text),
            Part::Audio { transcript: Some(text), .. } => self.replace(text),
            Part::ToolCall { arguments, custom: false, .. } => self.replace_json(arguments),
            Part::ToolCall { arguments, .. } => self.replace(arguments),
            Part::ToolResult { content, .. } => content.iter_mut().for_each(|part| self.part(part)),
            Part::Vendor { value, .. } => {
                let text = value.to_string();
                let edited = leaves::edit_json(&text, Voice::Model, &mut |leaf| self.leaf(leaf));
                if let Some(Some(changed)) = edited
                    && let Ok(changed) = serde_json::from_str(&changed)
                {
                    *value = changed;
                }
            }
            Part::Document { source: Source::Text { text }, .. } => self.replace(text),
            Part::Image { .. } | Part::Document { .. } | Part::Audio { .. } | Part::Video { .. } => {}
        }
    }

    fn replace(&mut self, text: &mut String) {
        if let Some(changed) = self.whole(text) {
            *text = changed;
        }
    }

    fn replace_json(&mut self, text: &mut String) {
        match leaves::edit_json(text, Voice::Model, &mut |leaf| self.leaf(leaf)) {
            Some(Some(changed)) => *text = changed,
            Some(None) => {}
            None => self.replace(text),
        }
    }

    /// What is held of one text of a stream.
    pub fn hold(&self, is_json: bool) -> Hold {
        Hold::new(self.rules.hold_bytes_max, is_json)
    }

    /// A text in which placeholders are what they stand for.
    pub fn unmask(&self, text: &str) -> String {
        self.vault.unmask(text)
    }

    /// Whether the request was given placeholders.
    pub fn has_masked(&self) -> bool {
        !self.vault.is_empty()
    }
}

/// Whether a string is no more than it seems: what is JSON in it may spell a letter in another way, and its values stand
/// for themselves.
fn is_plain(text: &str) -> bool {
    memchr::memchr(b'\\', text.as_bytes()).is_none() && !text.trim_start().starts_with(['{', '['])
}

/// Which rule found something, and what it is called.
fn rule_of(what: Found) -> Option<(usize, &'static str)> {
    match what {
        Found::Kind(kind, rule) => Some((rule, kind.name())),
        Found::Pattern(rule) => Some((rule, "pattern")),
        Found::Placeholder => None,
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.give_back();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guard::{detect::Kind, patterns::Wanted};

    fn rules(on_answer: bool) -> Arc<Rules> {
        let rule = |name: &str, check, action| Rule {
            name: name.into(),
            check,
            action,
            on_request: true,
            on_answer,
        };
        let all = vec![
            rule("pii", Check::Kinds(Kind::ALL.to_vec()), Action::Mask),
            rule("ticket", Check::Patterns(vec![Wanted::Pattern("T\"?[0-9]+".into())], 1), Action::Mask),
            rule("topic", Check::Patterns(vec![Wanted::Phrase("whale".into())], 2), Action::Block),
            rule("long", Check::Length(2000), Action::Flag),
        ];
        Arc::new(Rules::compile(all, 256).expect("good"))
    }

    fn asked(text: &str, on_answer: bool) -> (Screen, String) {
        let mut screen = Screen::new(rules(on_answer), false);
        let body = serde_json::json!({"messages": [{"role": "user", "content": text}]}).to_string();
        let edited = screen.request(body.as_bytes()).expect("JSON").unwrap_or_else(|| body.into_bytes());
        let body: serde_json::Value = serde_json::from_slice(&edited).expect("JSON");
        screen.turn();
        (screen, body["messages"][0]["content"].as_str().expect("text").to_owned())
    }

    #[test]
    fn arguments_get_back_what_was_masked_as_json() {
        let (mut screen, sent) = asked("ann@x.org has T\"12 and <EMAIL_1>", true);
        assert_eq!(sent, "<EMAIL_2> has <TICKET_1> and <EMAIL_1>");
        let mut hold = screen.hold(true);
        let pieces =
            [r#"{"to":"<EMA"#, r#"IL_2>","id":"<TICKET_1>","bob":"b@y"#, r#".org","n":4111111111111111}"#];
        let out: String = pieces
            .iter()
            .enumerate()
            .map(|(index, piece)| screen.piece(&mut hold, piece, index == 2))
            .collect();
        assert_eq!(out, r#"{"to":"ann@x.org","id":"T\"12","bob":"<EMAIL>","n":"<CARD>"}"#);
        let told: Vec<_> =
            screen.fired().iter().map(|fired| (fired.kind, fired.in_answer, fired.count)).collect();
        assert_eq!(told, [("email", false, 1), ("pattern", false, 1), ("email", true, 1), ("card", true, 1)]);
        assert!(screen.fired().iter().all(|fired| fired.texts.is_empty()));
    }

    #[test]
    fn an_answer_is_clear_only_when_reading_it_finds_nothing() {
        let say =
            |text: &str| serde_json::json!({"id": "chatcmpl-1", "choices": [{"message": {"content": text}}]});
        let clears = |body: String| asked("hi", true).0.clears(body.as_bytes());
        // `long` judges lengths: then every answer must be read.
        assert!(!clears(say("The water rises.").to_string()));
        let rules = |check| {
            let rule =
                Rule { name: "r".into(), check, action: Action::Mask, on_request: false, on_answer: true };
            Arc::new(Rules::compile(vec![rule], 256).expect("good"))
        };
        let mut screen = Screen::new(rules(Check::Kinds(Kind::ALL.to_vec())), false);
        screen.turn();
        for (body, want) in [
            (say("The water rises.").to_string(), true),
            (say("Ask ann@x.org").to_string(), false),
            (r#"{"choices":[{"message":{"content":"ann\u0040x.org"}}]}"#.to_owned(), false),
            (say(r#"{"to":"ann\u0040x.org"}"#).to_string(), false),
            (r#"{"n":4111111111111111}"#.to_owned(), false),
            (r#"{"arguments":"{\"n\":[1,44051401359]}"}"#.to_owned(), false),
            (r#"{"arguments":"[1]"}"#.to_owned(), false),
            ("{".to_owned(), false),
            ("\u{fffd}".to_owned(), false),
        ] {
            assert_eq!(screen.clears(body.as_bytes()), want, "{body}");
        }
        assert!(screen.fired().is_empty());
    }

    #[test]
    fn a_topic_needs_its_number_of_words() {
        assert!(asked("one whale", true).0.blocked().is_none());
        assert_eq!(asked("a whale is a whale", true).0.blocked().map(|rule| &*rule.name), Some("topic"));
    }

    proptest::proptest! {
        #[test]
        fn what_is_masked_comes_back(
            text in "([a-z<>\\\\\" é]| a@b\\.co | c@d\\.de |<EMAIL_[0-9]>|<TICKET_1>|T1+|T\"1|4111 1111 1111 1111|\\+49 30 1234567){0,20}",
            cuts in proptest::collection::vec(0_usize..100, 0..6),
        ) {
            let (mut screen, sent) = asked(&text, false);
            proptest::prop_assert!(!sent.contains("a@b.co"));
            proptest::prop_assert_eq!(&screen.unmask(&sent), &text);
            let mut cuts: Vec<usize> = cuts.into_iter().filter(|at| sent.is_char_boundary(*at)).collect();
            cuts.extend([0, sent.len()]);
            cuts.sort_unstable();
            let mut hold = screen.hold(false);
            let pieces: Vec<&str> = cuts.windows(2).filter_map(|pair| sent.get(pair[0]..pair[1])).collect();
            let out: String = pieces
                .iter()
                .enumerate()
                .map(|(index, piece)| screen.piece(&mut hold, piece, index + 1 == pieces.len()))
                .collect();
            proptest::prop_assert_eq!(out, text);
        }
    }
}
