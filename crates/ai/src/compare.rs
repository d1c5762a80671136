//! How alike two answers are, for whoever tries a second model beside the first.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::canon::{Answer, Finish, Part};

/// How alike two answers are. What neither has is not compared.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Likeness {
    /// The texts are the same but for blanks and case.
    pub same_text: bool,
    /// How many words they share, of all that either has: 0 to 1.
    pub words: f64,
    /// The texts are the same JSON, where one of them is JSON.
    pub same_json: Option<bool>,
    /// The second text's length against the first's; `None` where the first has none.
    pub length_ratio: Option<f64>,
    /// The same tools are called, in the same order, where one of them calls any.
    pub same_tools: Option<bool>,
}

/// Compares the first answers of two.
pub fn compare(one: &Answer, other: &Answer) -> Likeness {
    let (a, b) = (text(one), text(other));
    let json =
        |text: &str| serde_json::from_str::<Value>(text.trim()).ok().filter(|value| !value.is_number());
    let (json_a, json_b) = (json(&a), json(&b));
    let (tools_a, tools_b) = (tools(one), tools(other));
    Likeness {
        same_text: plain(&a) == plain(&b),
        words: shared(&plain(&a), &plain(&b)),
        same_json: (json_a.is_some() || json_b.is_some()).then(|| json_a == json_b),
        length_ratio: (!a.is_empty()).then(|| b.chars().count() as f64 / a.chars().count() as f64),
        same_tools: (!tools_a.is_empty() || !tools_b.is_empty()).then(|| tools_a == tools_b),
    }
}

/// The text of an answer's first choice.
pub fn text(answer: &Answer) -> String {
    let parts = answer.choices.first().map(|choice| choice.parts.as_slice()).unwrap_or_default();
    parts
        .iter()
        .filter_map(|part| if let Part::Text { text, .. } = part { Some(text.as_str()) } else { None })
        .collect()
}

/// The word for why an answer's first choice ended.
pub fn finish(answer: &Answer) -> Option<String> {
    let finish = answer.choices.first()?.finish.as_ref()?;
    Some(match finish {
        Finish::Stop | Finish::StopSequence(_) => "stop".to_owned(),
        Finish::Length => "length".to_owned(),
        Finish::ToolCalls => "tool_calls".to_owned(),
        Finish::ContentFilter => "content_filter".to_owned(),
        Finish::Refusal => "refusal".to_owned(),
        Finish::Pause => "pause".to_owned(),
        Finish::ContextFull => "context_full".to_owned(),
        Finish::Other(word) => word.clone(),
    })
}

fn tools(answer: &Answer) -> Vec<&str> {
    let parts = answer.choices.first().map(|choice| choice.parts.as_slice()).unwrap_or_default();
    parts
        .iter()
        .filter_map(|part| if let Part::ToolCall { name, .. } = part { Some(name.as_str()) } else { None })
        .collect()
}

/// A text in small letters, with single blanks.
fn plain(text: &str) -> String {
    text.split_whitespace().map(str::to_lowercase).collect::<Vec<_>>().join(" ")
}

/// Words of both, as often as both have them, of all words.
fn shared(a: &str, b: &str) -> f64 {
    let mut counts: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    a.split(' ').filter(|word| !word.is_empty()).for_each(|word| counts.entry(word).or_default().0 += 1);
    b.split(' ').filter(|word| !word.is_empty()).for_each(|word| counts.entry(word).or_default().1 += 1);
    let (both, all) = counts.values().fold((0, 0), |(both, all), (a, b)| (both + a.min(b), all + a.max(b)));
    if all == 0 { 1.0 } else { both as f64 / all as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::canon::Choice;

    fn answer(parts: Vec<Part>) -> Answer {
        Answer { choices: vec![Choice { parts, ..Choice::default() }], ..Answer::default() }
    }

    fn call(name: &str) -> Part {
        let (id, name, arguments) = ("1".to_owned(), name.to_owned(), "{}".to_owned());
        Part::ToolCall { id, name, arguments, custom: false, proof: None, cache: None }
    }

    #[test]
    fn texts_json_lengths_and_tools_are_compared() {
        let like = |a: &str, b: &str| compare(&answer(vec![Part::text(a)]), &answer(vec![Part::text(b)]));
        let same = like("The tide  is high.", "the tide is\nhigh.");
        assert!(same.same_text && same.words == 1.0 && same.same_json.is_none());
        let half = like("a b", "a b c d");
        assert_eq!((half.same_text, half.words, half.length_ratio), (false, 0.5, Some(7.0 / 3.0)));
        assert_eq!(like("{\"a\": 1, \"b\": 2}", "{\"b\":2,\"a\":1}").same_json, Some(true));
        assert_eq!(like("{\"a\": 1}", "no").same_json, Some(false));
        assert_eq!(like("", "x").length_ratio, None);
        let tools = compare(&answer(vec![call("f"), call("g")]), &answer(vec![call("g"), call("f")]));
        assert_eq!(tools.same_tools, Some(false));
        assert_eq!(compare(&answer(vec![call("f")]), &answer(vec![call("f")])).same_tools, Some(true));
    }
}
