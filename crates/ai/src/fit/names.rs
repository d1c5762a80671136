//! Names of tools that a target refuses, mapped to ones that it takes, and back in what it answers.
//!
//! The map follows from the request alone, so nobody has to keep it: whoever tells the answer makes it again.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
};

use crate::{
    canon::{Answer, Event, Opening, Part, Request, ToolChoice},
    dialect::Dialect,
};

/// What a dialect's providers take as the name of a tool.
struct Grammar {
    letters_max: usize,
    /// Beside letters of ASCII, digits and `_`.
    besides: &'static [char],
    /// It may begin with a digit, or with one of those besides.
    begins_with_any: bool,
}

/// By each vendor's reference. Cohere's says it of its first version: letters, digits and `_`, no digit first.
fn grammar(dialect: Dialect) -> Grammar {
    match dialect {
        Dialect::OpenAiChat | Dialect::OpenAiResponses | Dialect::Bedrock => {
            Grammar { letters_max: 64, besides: &['-'], begins_with_any: true }
        }
        Dialect::Anthropic => Grammar { letters_max: 128, besides: &['-'], begins_with_any: true },
        Dialect::Gemini => Grammar { letters_max: 64, besides: &['-', '.'], begins_with_any: false },
        Dialect::Cohere => Grammar { letters_max: 64, besides: &[], begins_with_any: false },
    }
}

impl Grammar {
    fn takes(&self, name: &str) -> bool {
        let begins = |first: char| self.begins_with_any || first.is_ascii_alphabetic() || first == '_';
        name.chars().next().is_some_and(begins)
            && name.len() <= self.letters_max
            && name.chars().all(|letter| self.knows(letter))
    }

    fn knows(&self, letter: char) -> bool {
        letter.is_ascii_alphanumeric() || letter == '_' || self.besides.contains(&letter)
    }

    /// A name that is taken: the letters that can stay, and a checksum of the whole. `turn` counts what was in the way.
    fn fitting(&self, name: &str, turn: u32) -> String {
        const CHECKSUM_LETTERS: usize = 9;
        let begin = if self.begins_with_any { "" } else { "_" };
        let kept = name.chars().map(|letter| if self.knows(letter) { letter } else { '_' });
        let kept: String = kept.take(self.letters_max - CHECKSUM_LETTERS - begin.len()).collect();
        let begin = if self.takes(&kept) { "" } else { begin };
        let checksum = crc32fast::hash(name.as_bytes()).wrapping_add(turn);
        format!("{begin}{kept}_{checksum:08x}")
    }
}

/// Which names are said otherwise: by the name that the target is told.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Names(BTreeMap<String, String>);

impl Names {
    /// The names of a request that a dialect refuses.
    pub(crate) fn of(request: &Request, dialect: Dialect) -> Self {
        let grammar = grammar(dialect);
        let strange: BTreeSet<&str> = all(request).filter(|name| !grammar.takes(name)).collect();
        if strange.is_empty() {
            return Self::default();
        }
        let taken: BTreeSet<&str> = all(request).filter(|name| grammar.takes(name)).collect();
        let mut names = BTreeMap::new();
        for name in strange {
            // There are more turns than names, so one is free.
            let free = (0..)
                .map(|turn| grammar.fitting(name, turn))
                .find(|told| !taken.contains(told.as_str()) && !names.contains_key(told));
            names.extend(free.map(|told| (told, name.to_owned())));
        }
        Self(names)
    }

    /// Every name is said as it is.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The caller's name for one that the target says.
    pub fn said(&self, told: String) -> String {
        self.0.get(&told).cloned().unwrap_or(told)
    }

    /// An answer with the caller's names.
    pub fn answer(&self, mut answer: Answer) -> Answer {
        for part in answer.choices.iter_mut().flat_map(|choice| &mut choice.parts) {
            if let Part::ToolCall { name, .. } = part {
                *name = self.said(std::mem::take(name));
            }
        }
        answer
    }

    /// An event with the caller's names.
    pub fn event(&self, event: Event) -> Event {
        match event {
            Event::Open { choice, part, opening: Opening::ToolCall { id, name, custom } } => {
                let name = self.said(name);
                Event::Open { choice, part, opening: Opening::ToolCall { id, name, custom } }
            }
            other => other,
        }
    }
}

/// The names of a request's functions, wherever they stand.
fn all(request: &Request) -> impl Iterator<Item = &str> {
    let tools = request.tools.iter().filter(|tool| !tool.is_vendors()).map(|tool| tool.name.as_str());
    let parts = request.messages.iter().flat_map(|message| &message.parts);
    tools.chain(parts.filter_map(|part| match part {
        Part::ToolCall { name, .. } => Some(name.as_str()),
        Part::ToolResult { name, .. } => name.as_deref(),
        _ => None,
    }))
}

/// Says the names as the dialect takes them.
pub(super) fn fit(request: &mut Cow<'_, Request>, dialect: Dialect) {
    let names = Names::of(request, dialect);
    if names.is_empty() {
        return;
    }
    let told: BTreeMap<&str, &str> =
        names.0.iter().map(|(told, name)| (name.as_str(), told.as_str())).collect();
    let tell = |name: &mut String| {
        if let Some(told) = told.get(name.as_str()) {
            *name = (*told).to_owned();
        }
    };
    let request = request.to_mut();
    request.tools.iter_mut().filter(|tool| !tool.is_vendors()).for_each(|tool| tell(&mut tool.name));
    match &mut request.tool_choice {
        Some(ToolChoice::Named(name)) => tell(name),
        Some(ToolChoice::Among { names, .. }) => names.iter_mut().for_each(tell),
        Some(ToolChoice::Auto | ToolChoice::None | ToolChoice::Required) | None => {}
    }
    for part in request.messages.iter_mut().flat_map(|message| &mut message.parts) {
        match part {
            Part::ToolCall { name, .. } | Part::ToolResult { name: Some(name), .. } => tell(name),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::canon::{Message, Role, Tool, ToolKind};

    fn asked(names: &[&str]) -> Request {
        let tool = |name: &&str| Tool {
            kind: ToolKind::Function { parameters: None },
            name: (*name).to_owned(),
            description: None,
            strict: None,
            cache: None,
        };
        Request { tools: names.iter().map(tool).collect(), ..Request::default() }
    }

    #[test]
    fn every_name_is_taken_and_comes_back() {
        let long = "x".repeat(300);
        let names =
            ["plain", "with space", "weather.get", "weather/get", "1st", "größe", "", &long, "-dash", "."];
        for dialect in Dialect::ALL {
            let request = asked(&names);
            let mut fitted = Cow::Borrowed(&request);
            fit(&mut fitted, dialect);
            let map = Names::of(&request, dialect);
            let told: BTreeSet<&str> = fitted.tools.iter().map(|tool| tool.name.as_str()).collect();
            assert_eq!(told.len(), names.len(), "{}: {told:?}", dialect.name());
            for (tool, name) in fitted.tools.iter().zip(names) {
                assert!(grammar(dialect).takes(&tool.name), "{}: {}", dialect.name(), tool.name);
                assert_eq!(map.said(tool.name.clone()), name, "{}", dialect.name());
            }
            assert_eq!(fitted.tools[0].name, "plain");
        }
    }

    #[test]
    fn a_name_in_the_way_is_gone_around() {
        let first = Names::of(&asked(&["a b"]), Dialect::OpenAiChat);
        let told = first.0.keys().next().cloned().unwrap_or_default();
        let names = Names::of(&asked(&["a b", &told]), Dialect::OpenAiChat);
        assert_eq!(names.said(told.clone()), told);
        assert_eq!(names.0.len(), 1);
    }

    #[test]
    fn calls_and_results_and_the_choice_are_told_alike() {
        let mut request = asked(&["get weather"]);
        let (id, name) = ("1".to_owned(), "get weather".to_owned());
        let call = Part::ToolCall {
            id: id.clone(),
            name: name.clone(),
            arguments: "{}".to_owned(),
            custom: false,
            proof: None,
            cache: None,
        };
        request.messages.push(Message { role: Role::Assistant, name: None, parts: vec![call] });
        request.tool_choice = Some(ToolChoice::Named(name));
        let mut fitted = Cow::Borrowed(&request);
        fit(&mut fitted, Dialect::Anthropic);
        let told = &fitted.tools[0].name;
        assert_ne!(told, "get weather");
        assert_eq!(fitted.tool_choice, Some(ToolChoice::Named(told.clone())));
        assert!(matches!(&fitted.messages[0].parts[0], Part::ToolCall { name, .. } if name == told));
    }
}
