//! Turns as Claude takes them, here and on Bedrock: user and assistant by turns, results of calls first in theirs, no
//! empty texts, the system's instructions apart.

use std::{borrow::Cow, collections::HashSet};

use serde_json::Value;

use crate::{
    canon::{Feature, Losses, Message, Part, ProofKind, Role},
    rules::Rules,
};

/// A part, and the place of its message among the request's.
pub(in crate::dialect) type Piece<'a> = (usize, &'a Part);

/// Who speaks in a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::dialect) enum Speaker {
    /// Whoever asks, and the results of calls.
    User,
    /// The model.
    Assistant,
    /// Instructions between the turns, for models that take them there.
    System,
}

impl Speaker {
    /// The `role`.
    pub(in crate::dialect) fn role(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Assistant => "assistant",
            Self::System => "system",
        }
    }
}

/// One turn.
#[derive(Debug, PartialEq)]
pub(in crate::dialect) struct Turn<'a> {
    pub(in crate::dialect) speaker: Speaker,
    pub(in crate::dialect) pieces: Vec<Piece<'a>>,
}

/// A whole conversation.
#[derive(Debug, PartialEq)]
pub(in crate::dialect) struct Turns<'a> {
    pub(in crate::dialect) system: Vec<Piece<'a>>,
    pub(in crate::dialect) turns: Vec<Turn<'a>>,
}

/// Orders messages into turns.
pub(in crate::dialect) fn turns<'a>(
    messages: &'a [Message],
    rules: &Rules,
    losses: &mut Losses,
) -> Turns<'a> {
    let mut ordered = Turns { system: Vec::new(), turns: Vec::<Turn<'a>>::new() };
    for (index, message) in messages.iter().enumerate() {
        if message.name.is_some() {
            losses.feature_at(Feature::SpeakerName, format_args!("messages[{index}]"));
        }
        let mut pieces: Vec<Piece<'a>> =
            message.parts.iter().filter(|part| !is_blank(part)).map(|part| (index, part)).collect();
        if pieces.is_empty() {
            continue;
        }
        let speaker = match message.role {
            Role::User | Role::Tool => Speaker::User,
            Role::Assistant => Speaker::Assistant,
            Role::System | Role::Developer if ordered.turns.is_empty() || !rules.system_anywhere => {
                ordered.system.append(&mut pieces);
                continue;
            }
            Role::System | Role::Developer => Speaker::System,
        };
        match ordered.turns.last_mut() {
            Some(turn) if turn.speaker == speaker => turn.pieces.append(&mut pieces),
            _ => ordered.turns.push(Turn { speaker, pieces }),
        }
    }
    if ordered.turns.is_empty() {
        // Instructions alone are what the user says: there must be a turn.
        let pieces = std::mem::take(&mut ordered.system);
        ordered.turns.push(Turn { speaker: Speaker::User, pieces });
    }
    for turn in &mut ordered.turns {
        turn.pieces.sort_by_key(|(_, part)| !matches!(part, Part::ToolResult { .. }));
    }
    ordered
}

/// Makes turns alternate once they are written, for some held nothing that could be carried: those are left out, and
/// `nothing` is what a user says who must say something, at the beginning and at the end.
pub(in crate::dialect) fn settled(
    written: Vec<(Speaker, Vec<Value>)>,
    nothing: &Value,
) -> Vec<(Speaker, Vec<Value>)> {
    let last = written.len().saturating_sub(1);
    let mut settled: Vec<(Speaker, Vec<Value>)> = Vec::with_capacity(written.len());
    for (at, (speaker, mut content)) in written.into_iter().enumerate() {
        if content.is_empty() {
            if at < last || speaker != Speaker::User {
                continue;
            }
            content.push(nothing.clone());
        }
        match settled.last_mut() {
            Some((before, said)) if *before == speaker => said.append(&mut content),
            _ => settled.push((speaker, content)),
        }
    }
    if settled.first().is_none_or(|(speaker, _)| *speaker != Speaker::User) {
        settled.insert(0, (Speaker::User, vec![nothing.clone()]));
    }
    settled
}

/// Texts of nothing but white space are refused.
fn is_blank(part: &Part) -> bool {
    matches!(part, Part::Text { text, .. } | Part::Refusal { text } if text.trim().is_empty())
}

/// Names of functions that were called, once each: a conversation with calls must define tools.
pub(in crate::dialect) fn called(messages: &[Message]) -> Vec<&str> {
    let (mut names, mut seen) = (Vec::new(), HashSet::new());
    for part in messages.iter().flat_map(|message| &message.parts) {
        if let Part::ToolCall { name, .. } = part
            && seen.insert(name.as_str())
        {
            names.push(name.as_str());
        }
    }
    names
}

/// Most letters of a call's id.
const ID_LETTERS_MAX: usize = 64;
/// Letters of an id that are kept when it must be mapped; a checksum of the whole follows.
const ID_LETTERS_KEPT: usize = 48;

/// An id of a call of the letters, digits, `_` and `-` that are taken. The same id gives the same.
pub(in crate::dialect) fn call_id(id: &str) -> Cow<'_, str> {
    let taken = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '_' | '-');
    if !id.is_empty() && id.len() <= ID_LETTERS_MAX && id.chars().all(taken) {
        return Cow::Borrowed(id);
    }
    let kept: String =
        id.chars().take(ID_LETTERS_KEPT).map(|letter| if taken(letter) { letter } else { '_' }).collect();
    Cow::Owned(format!("{kept}_{:08x}", crc32fast::hash(id.as_bytes())))
}

/// Joins marks with the parts that they belong to. A caller of these dialects has no place for a mark on a call or a
/// text, so it was told as hidden thoughts: those of a call before it, those of a text after it, and marked so.
pub(in crate::dialect) fn fold_marks(parts: Vec<Part>) -> Vec<Part> {
    let mut folded: Vec<Part> = Vec::with_capacity(parts.len());
    let mut rest = parts.into_iter().peekable();
    while let Some(part) = rest.next() {
        let mut mark = match part {
            Part::Thinking { text, proof: Some(mark) } if text.is_empty() && mark.kind == ProofKind::Mark => {
                mark
            }
            other => {
                folded.push(other);
                continue;
            }
        };
        let after = mark.take_after();
        let place = match (rest.peek_mut(), folded.last_mut()) {
            (Some(Part::ToolCall { proof: place @ None, .. }), _) if !after => Some(place),
            (_, Some(Part::Text { proof: place @ None, .. })) => Some(place),
            (Some(Part::Text { proof: place @ None, .. }), _) => Some(place),
            _ => None,
        };
        match place {
            Some(place) => *place = Some(mark),
            None => folded.push(Part::Thinking { text: String::new(), proof: Some(mark) }),
        }
    }
    folded
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::canon::Proof;

    fn shape(messages: &[Message], rules: &Rules) -> String {
        let ordered = turns(messages, rules, &mut Losses::default());
        let texts = |pieces: &[Piece<'_>]| {
            let text = |(_, part): &Piece<'_>| match part {
                Part::Text { text, .. } => text.clone(),
                Part::ToolResult { id, .. } => format!("={id}"),
                _ => "?".to_owned(),
            };
            pieces.iter().map(text).collect::<Vec<_>>().join(",")
        };
        let mut out = vec![format!("[{}]", texts(&ordered.system))];
        out.extend(
            ordered.turns.iter().map(|turn| format!("{}:{}", turn.speaker.role(), texts(&turn.pieces))),
        );
        out.join(" ")
    }

    fn result(id: &str) -> Message {
        let part = Part::ToolResult {
            id: id.into(),
            name: None,
            content: Vec::new(),
            is_error: false,
            custom: false,
            cache: None,
        };
        Message { role: Role::Tool, name: None, parts: vec![part] }
    }

    #[test]
    fn turns_alternate_and_results_come_first() {
        let say = Message::text;
        let front = Rules::default();
        let between = Rules { system_anywhere: true, ..Rules::default() };
        let late =
            [say(Role::System, "s"), say(Role::User, "a"), say(Role::Developer, "d"), say(Role::User, "b")];
        assert_eq!(shape(&late, &front), "[s,d] user:a,b");
        assert_eq!(shape(&late, &between), "[s] user:a system:d user:b");
        let round =
            [say(Role::User, "a"), say(Role::Assistant, "x"), say(Role::User, "y"), result("1"), result("2")];
        assert_eq!(shape(&round, &front), "[] user:a assistant:x user:=1,=2,y");
        assert_eq!(shape(&[say(Role::System, "s")], &front), "[] user:s");
        assert_eq!(shape(&[say(Role::Assistant, "x"), say(Role::User, " ")], &front), "[] assistant:x");
    }

    #[test]
    fn turns_that_hold_nothing_leave_no_gap() {
        let said = |speaker, text: &str| (speaker, vec![Value::from(text)]);
        let (user, model) = (Speaker::User, Speaker::Assistant);
        let settle = |written| {
            let show = |(speaker, content): &(Speaker, Vec<Value>)| {
                format!("{}{}", speaker.role(), Value::from(content.clone()))
            };
            settled(written, &".".into()).iter().map(show).collect::<Vec<_>>().join(" ")
        };
        let gap = vec![said(user, "a"), (model, vec![]), said(user, "b")];
        assert_eq!(settle(gap), r#"user["a","b"]"#);
        let ends = vec![(user, vec![]), said(model, "x"), (user, vec![])];
        assert_eq!(settle(ends), r#"user["."] assistant["x"] user["."]"#);
        assert_eq!(settle(Vec::new()), r#"user["."]"#);
    }

    #[test]
    fn ids_are_mapped_alike_every_time_and_kept_when_they_can_be() {
        assert_eq!(call_id("toolu_01-A"), "toolu_01-A");
        assert_eq!(call_id("functions.f:0"), call_id("functions.f:0"));
        assert_ne!(call_id("functions.f:0"), call_id("functions_f.0"));
        assert!(call_id(&"x".repeat(500)).len() <= ID_LETTERS_MAX);
        assert!(!call_id("").is_empty());
    }

    #[test]
    fn marks_come_back_to_their_call_or_text() {
        let mark = Proof { issuer: "gemini".into(), kind: ProofKind::Mark, value: "m".into(), id: None };
        let hidden = || Part::Thinking { text: String::new(), proof: Some(mark.clone()) };
        let call = |proof| Part::ToolCall {
            id: "1".into(),
            name: "f".into(),
            arguments: "{}".into(),
            custom: false,
            proof,
            cache: None,
        };
        let text = |proof| Part::Text { text: "t".into(), citations: Vec::new(), cache: None, proof };
        let folded = fold_marks(vec![text(None), hidden(), hidden(), call(None)]);
        assert_eq!(folded, vec![text(Some(mark.clone())), call(Some(mark.clone()))]);
        assert_eq!(fold_marks(vec![hidden()]), vec![hidden()]);
        let after = Part::Thinking { text: String::new(), proof: Some(mark.after()) };
        let folded = fold_marks(vec![text(None), after, call(None)]);
        assert_eq!(
            folded,
            vec![text(Some(mark.clone())), call(None)],
            "a text's mark is not its next call's"
        );
    }
}
