//! Names of tools that a target refuses, mapped to ones that it takes, and back in what it answers.
//!
//! The map follows from the request alone, so nobody has to keep it: whoever tells the answer makes it again.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
};

use super::{free, tools};
use crate::{
    canon::{
        Answer, Delta, Error, Event, Message, Opening, Part, Request, Tool, ToolChoice, ToolKind, flat,
        is_broken, unscoped,
    },
    dialect::Dialect,
};

/// What a dialect's providers take as the name of a tool.
struct Grammar {
    letters_max: usize,
    /// Beside letters of ASCII, digits and `_`.
    besides: &'static [char],
    /// It may begin with a digit, or with one of those besides.
    begins_with_any: bool,
    /// It may stand in a namespace, whose name is like it.
    has_scopes: bool,
}

/// By each vendor's reference. Cohere's says it of its first version: letters, digits and `_`, no digit first.
fn grammar(dialect: Dialect) -> Grammar {
    let plain = Grammar { letters_max: 64, besides: &['-'], begins_with_any: true, has_scopes: false };
    match dialect {
        Dialect::OpenAiChat | Dialect::Bedrock => plain,
        Dialect::OpenAiResponses => Grammar { has_scopes: true, ..plain },
        Dialect::Anthropic => Grammar { letters_max: 128, ..plain },
        Dialect::Gemini => Grammar { besides: &['-', '.'], begins_with_any: false, ..plain },
        Dialect::Cohere => Grammar { besides: &[], begins_with_any: false, ..plain },
    }
}

impl Grammar {
    fn takes(&self, name: &str) -> bool {
        match unscoped(name) {
            (Some(namespace), name) => {
                self.has_scopes && self.takes_plain(namespace) && self.takes_plain(name)
            }
            (None, name) => self.takes_plain(name),
        }
    }

    fn takes_plain(&self, name: &str) -> bool {
        let begins = |first: char| self.begins_with_any || first.is_ascii_alphabetic() || first == '_';
        name.chars().next().is_some_and(begins)
            && name.len() <= self.letters_max
            && name.chars().all(|letter| self.knows(letter))
    }

    fn knows(&self, letter: char) -> bool {
        letter.is_ascii_alphanumeric() || letter == '_' || self.besides.contains(&letter)
    }

    /// A name that is taken: one of a namespace with it before; else the letters that can stay, and a checksum of the
    /// whole. `turn` counts what was in the way.
    fn fitting(&self, name: &str, turn: u32) -> String {
        let joined = flat(name);
        if turn == 0 && joined != name && self.takes_plain(&joined) {
            return joined;
        }
        self.numbered(name, crc32fast::hash(name.as_bytes()).wrapping_add(turn))
    }

    /// The letters that can stay, and a number.
    fn numbered(&self, name: &str, number: u32) -> String {
        const NUMBER_LETTERS: usize = 9;
        let joined = flat(name);
        let begin = if self.begins_with_any { "" } else { "_" };
        let kept = joined.chars().map(|letter| if self.knows(letter) { letter } else { '_' });
        let kept: String = kept.take(self.letters_max - NUMBER_LETTERS - begin.len()).collect();
        let begin = if self.takes_plain(&kept) { "" } else { begin };
        format!("{begin}{kept}_{number:08x}")
    }
}

/// How often a checksum is gone around.
const TURNS_MAX: u32 = 8;

/// Which names are said otherwise: by the name that the target is told; and which tools take a free text.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Names {
    said: BTreeMap<String, String>,
    /// By the caller's names. A call of theirs that comes as a function's has its text in an object.
    free: BTreeSet<String>,
}

impl Names {
    /// The names of a request that a dialect refuses.
    pub(crate) fn of(request: &Request, dialect: Dialect) -> Self {
        let grammar = grammar(dialect);
        // What is a function to the target has a name there: on the way back as on the way out.
        let tools = tools::described(&request.tools, dialect);
        let all = || all(&tools, &request.messages);
        let is_free = |tool: &&Tool| matches!(tool.kind, ToolKind::Custom { .. });
        let free = tools.iter().filter(is_free).map(|tool| tool.name.clone()).collect();
        let strange: BTreeSet<&str> = all().filter(|name| !grammar.takes(name)).collect();
        if strange.is_empty() {
            return Self { said: BTreeMap::new(), free };
        }
        let taken: BTreeSet<&str> = all().filter(|name| grammar.takes(name)).collect();
        let mut names = BTreeMap::new();
        // Checksums are the caller's choice, in the end: whoever meets too many of them has the next number that nobody
        // has tried, so that no list of names takes more tries than a few for each.
        let mut numbers = 0..=u32::MAX;
        for name in strange {
            let by_checksum = (0..TURNS_MAX).map(|turn| grammar.fitting(name, turn));
            let by_number = numbers.by_ref().map(|number| grammar.numbered(name, number));
            let free = by_checksum
                .chain(by_number)
                .find(|told| !taken.contains(told.as_str()) && !names.contains_key(told));
            names.extend(free.map(|told| (told, name.to_owned())));
        }
        Self { said: names, free }
    }

    /// Every call is said as it is.
    pub fn is_empty(&self) -> bool {
        self.said.is_empty() && self.free.is_empty()
    }

    /// The caller's name for one that the target says.
    pub fn said(&self, told: String) -> String {
        self.said.get(&told).cloned().unwrap_or(told)
    }

    /// An answer with the caller's names, and free texts as such.
    pub fn answer(&self, mut answer: Answer) -> Answer {
        for part in answer.choices.iter_mut().flat_map(|choice| &mut choice.parts) {
            if let Part::ToolCall { name, custom, arguments, .. } = part {
                *name = self.said(std::mem::take(name));
                if !*custom && self.free.contains(name) {
                    *custom = true;
                    *arguments = free::text_of(arguments);
                }
            }
        }
        answer
    }
}

/// An answer as a caller can be told it whose dialect has no namespaces.
pub(crate) fn without_scopes(mut answer: Answer, caller: Dialect) -> Answer {
    if !grammar(caller).has_scopes {
        for part in answer.choices.iter_mut().flat_map(|choice| &mut choice.parts) {
            if let Part::ToolCall { name, .. } = part
                && unscoped(name).0.is_some()
            {
                *name = flat(name);
            }
        }
    }
    answer
}

/// A stream with the caller's names, and free texts as such.
#[derive(Debug, Default)]
pub(crate) struct Renaming {
    names: Names,
    /// The caller's dialect has namespaces.
    has_scopes: bool,
    /// Calls whose text is taken out of its object, by choice and part.
    open: BTreeMap<(u32, u32), free::Unwrapping>,
}

impl Renaming {
    pub(crate) fn new(names: Names, caller: Dialect) -> Self {
        Self { names, has_scopes: grammar(caller).has_scopes, open: BTreeMap::new() }
    }

    /// What an event is for the caller.
    pub(crate) fn event(&mut self, event: Event, mut tell: impl FnMut(Event)) {
        match event {
            Event::Open { choice, part, opening: Opening::ToolCall { id, name, custom } } => {
                let name = self.names.said(name);
                let is_wrapped = !custom && self.names.free.contains(&name);
                if is_wrapped {
                    self.open.insert((choice, part), free::Unwrapping::default());
                }
                let name = if self.has_scopes { name } else { flat(&name) };
                let opening = Opening::ToolCall { id, name, custom: custom || is_wrapped };
                tell(Event::Open { choice, part, opening });
            }
            Event::Delta { choice, part, delta: Delta::Text(more) } => {
                let more = match self.open.get_mut(&(choice, part)) {
                    Some(unwrapping) => unwrapping.push(&more),
                    None => return tell(Event::Delta { choice, part, delta: Delta::Text(more) }),
                };
                if !more.is_empty() {
                    tell(Event::Delta { choice, part, delta: Delta::Text(more) });
                }
            }
            Event::Close { choice, part } => {
                let rest = self.open.remove(&(choice, part)).map(free::Unwrapping::finish);
                if let Some(rest) = rest.filter(|rest| !rest.is_empty()) {
                    tell(Event::Delta { choice, part, delta: Delta::Text(rest) });
                }
                tell(Event::Close { choice, part });
            }
            other => tell(other),
        }
    }
}

/// No caller may write what stands between a namespace and the names in it: another name would come back than was given.
pub(crate) fn refuse_broken(request: &Request, caller: Dialect) -> Result<(), Error> {
    let has_scopes = grammar(caller).has_scopes;
    match all(&request.tools, &request.messages).find(|name| is_broken(name, has_scopes)) {
        Some(name) => {
            let message = format!("{name:?} is no name of a tool: U+001F may not stand in one");
            Err(Error::invalid("tools", message))
        }
        None => Ok(()),
    }
}

/// The names of a request's functions, wherever they stand.
fn all<'r>(tools: &'r [Tool], messages: &'r [Message]) -> impl Iterator<Item = &'r str> {
    let tools = tools.iter().filter(|tool| !tool.is_vendors()).map(|tool| tool.name.as_str());
    let parts = messages.iter().flat_map(|message| &message.parts);
    tools.chain(parts.filter_map(|part| match part {
        Part::ToolCall { name, .. } => Some(name.as_str()),
        Part::ToolResult { name, .. } => name.as_deref(),
        _ => None,
    }))
}

/// Says the names as the dialect takes them.
pub(super) fn fit(request: &mut Cow<'_, Request>, dialect: Dialect) {
    let names = Names::of(request, dialect);
    if names.said.is_empty() {
        return;
    }
    let told: BTreeMap<&str, &str> =
        names.said.iter().map(|(told, name)| (name.as_str(), told.as_str())).collect();
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
    use crate::canon::{Message, Role, Tool, scoped};

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
        let told = first.said.keys().next().cloned().unwrap_or_default();
        let names = Names::of(&asked(&["a b", &told]), Dialect::OpenAiChat);
        assert_eq!(names.said(told.clone()), told);
        assert_eq!(names.said.len(), 1);
    }

    #[test]
    fn who_meets_too_many_of_one_checksum_has_a_number_that_nobody_tried() {
        let plain = grammar(Dialect::OpenAiChat);
        let strange = format!("{} ", "x".repeat(100));
        let mut taken: Vec<String> = (0..TURNS_MAX).map(|turn| plain.fitting(&strange, turn)).collect();
        taken.extend((0..3).map(|number| plain.numbered(&strange, number)));
        let mut all: Vec<&str> = taken.iter().map(String::as_str).collect();
        all.push(&strange);
        let names = Names::of(&asked(&all), Dialect::OpenAiChat);
        assert_eq!(names.said, BTreeMap::from([(plain.numbered(&strange, 3), strange)]));
    }

    #[test]
    fn what_stands_between_a_namespace_and_a_name_is_nobodys_to_write() {
        for dialect in Dialect::ALL {
            let is_good = |names: &[&str]| refuse_broken(&asked(names), dialect).is_ok();
            assert!(is_good(&["a", "", "größe"]));
            assert!(!is_good(&["a", &scoped(Some("a"), &scoped(Some("b"), "c"))]), "{}", dialect.name());
            assert!(!is_good(&[&scoped(None, &scoped(Some("a"), "b"))]), "{}", dialect.name());
            assert_eq!(is_good(&[&scoped(Some("a"), "b")]), dialect == Dialect::OpenAiResponses);
        }
    }

    #[test]
    fn tools_of_namespaces_are_told_apart_and_come_back() {
        let (one, other) = (scoped(Some("mcp__a"), "read"), scoped(Some("mcp__b"), "read"));
        let names = [one.as_str(), &other, "read", "mcp__a__read"];
        for dialect in Dialect::ALL {
            let request = asked(&names);
            let mut fitted = Cow::Borrowed(&request);
            fit(&mut fitted, dialect);
            let told: Vec<&str> = fitted.tools.iter().map(|tool| tool.name.as_str()).collect();
            if dialect == Dialect::OpenAiResponses {
                assert_eq!(told, names);
                continue;
            }
            // The name that another tool has already is gone around.
            assert!(told[0].starts_with("mcp__a__read_"), "{}: {told:?}", dialect.name());
            assert_eq!(told[1..], ["mcp__b__read", "read", "mcp__a__read"], "{}", dialect.name());
            let map = Names::of(&request, dialect);
            for (told, name) in told.iter().zip(names) {
                assert_eq!(map.said((*told).to_owned()), name, "{}", dialect.name());
            }
        }
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
