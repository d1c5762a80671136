//! What a request asks for at most, whatever its dialect: what is held for it before it is sent.

use std::sync::LazyLock;

use memchr::memmem::Finder;
use serde::Deserialize;
use serde_json::Value;

use crate::{
    catalogue::Prices,
    cost::{Class, Cost, Units, cost_of_units},
    dialect::Dialect,
    estimate,
    peek::{Bounds, Peek},
};

/// What a request asks for at most.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ask {
    /// Most tokens of the prompt, as counted here.
    pub input: u64,
    /// Most tokens of one answer, where the request says so.
    pub output: Option<u64>,
    /// Answers side by side.
    pub answers: u64,
    /// The class of service.
    pub class: Class,
    /// It goes on from something that the provider keeps, and that nobody can count here.
    pub is_continued: bool,
    /// It may hold or ask for sound.
    pub has_audio: bool,
    /// It may hold or ask for pictures.
    pub has_images: bool,
    /// Its prompt may be kept for an hour.
    pub caches_long: bool,
}

/// What stands in a body that holds or asks for sound, for pictures, and for being kept for an hour.
static FINDERS: LazyLock<[Finder<'static>; 3]> =
    LazyLock::new(|| ["audio", "image", "\"1h\""].map(Finder::new));

impl Ask {
    /// Reads a body over. What is not as its dialect has it says nothing: then the most that the model can counts.
    pub fn of(dialect: Dialect, body: &[u8]) -> Self {
        Self::peeked(dialect, &Peek::of(body).unwrap_or_default(), body)
    }

    /// The same of a body that was peeked into already.
    pub fn peeked(dialect: Dialect, peek: &Peek, body: &[u8]) -> Self {
        let words = &peek.bounds;
        let output = match dialect {
            // A provider reads one of the two, and nobody knows which.
            Dialect::OpenAiChat => count(&words.max_tokens).max(count(&words.max_completion_tokens)),
            Dialect::OpenAiResponses => count(&words.max_output_tokens),
            Dialect::Anthropic | Dialect::Cohere => count(&words.max_tokens),
            Dialect::Gemini => either(&words.generation, ["maxOutputTokens", "max_output_tokens"]),
            Dialect::Bedrock => either(&words.inference, ["maxTokens", "max_tokens"]),
        };
        let [audio, image, hour] = &*FINDERS;
        // A word whose letters are written as escapes is in no text, and is read all the same.
        let hides = estimate::hidden_letters(body) > 0;
        let holds = |text: &Finder<'_>| hides || text.find(body).is_some();
        Self {
            input: estimate::most(body),
            output,
            answers: answers(dialect, words),
            class: words.service_tier.as_str().map(Class::from_word).unwrap_or_default(),
            is_continued: words.is_continued,
            has_audio: holds(audio),
            has_images: holds(image),
            caches_long: holds(hour),
        }
    }
}

/// Pictures that a request asks for: at most so many, of at most so many tokens each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pictures {
    /// How many.
    pub count: u64,
    /// Tokens of one, where pictures are paid by tokens.
    pub tokens_each: u64,
}

/// Most pictures that one request may ask for, where it is not read.
const PICTURES_MAX: u64 = 10;
/// Tokens of a picture of 1024×1536, by quality: an approximation. The first two and 6,240 for the third are in the table
/// of OpenAI's image generation guide for `gpt-image-1` and its next ones; for `gpt-image-2`, which has none, callers
/// report 7,024 (OpenAI's forum, at its release).
const PICTURE_TOKENS: [(&str, u64); 3] = [("low", 408), ("medium", 1_584), ("high", 7_024)];
/// Dots of such a picture. Those of a larger one are reported to be fewer tokens each, never more.
const PICTURE_DOTS: u64 = 1024 * 1536;

impl Pictures {
    /// Reads a body of OpenAI's form over, JSON or `multipart/form-data`.
    pub fn of(body: &[u8], is_form: bool) -> Self {
        #[derive(Deserialize, Default)]
        struct Asked {
            #[serde(default)]
            n: Value,
            #[serde(default)]
            quality: Value,
            #[serde(default)]
            size: Value,
        }
        let asked: Asked = if is_form {
            let text = |name: &str| Value::from(field(body, name).unwrap_or_default());
            let n = field(body, "n")
                .map_or(Value::from(1), |text| Value::from(text.parse::<u64>().unwrap_or(PICTURES_MAX)));
            Asked { n, quality: text("quality"), size: text("size") }
        } else {
            serde_json::from_slice(body).unwrap_or_default()
        };
        let quality = asked.quality.as_str().unwrap_or_default();
        let known = PICTURE_TOKENS.iter().find(|(name, _)| *name == quality);
        // What the provider chooses itself may be the best.
        let tokens = known.or(PICTURE_TOKENS.last()).map_or(0, |(_, tokens)| *tokens);
        let sides = asked.size.as_str().and_then(|size| size.split_once('x'));
        let dots = sides.and_then(|(wide, high)| wide.parse::<u64>().ok()?.checked_mul(high.parse().ok()?));
        let tokens_each = tokens.saturating_mul(dots.unwrap_or(0).div_ceil(PICTURE_DOTS).max(1));
        Self { count: count(&asked.n).unwrap_or(1), tokens_each }
    }

    /// Tokens of all of them.
    pub fn tokens(&self) -> u64 {
        self.count.saturating_mul(self.tokens_each)
    }

    /// What they cost where they are paid one by one.
    pub fn cost(&self, prices: &Prices) -> Cost {
        cost_of_units(prices, &Units { images: self.count, ..Units::default() })
    }
}

/// The text of a field of a form.
fn field<'b>(body: &'b [u8], name: &str) -> Option<&'b str> {
    let begin = format!("name=\"{name}\"\r\n\r\n");
    let from = memchr::memmem::find(body, begin.as_bytes())? + begin.len();
    let rest = body.get(from..)?;
    let end = memchr::memmem::find(rest, b"\r\n")?;
    std::str::from_utf8(&rest[..end]).ok()
}

/// A number of tokens. None is no limit, to the dialects that take it.
/// The largest of two numbers of an object: a provider reads one of the two.
fn either(object: &Value, names: [&str; 2]) -> Option<u64> {
    names.iter().filter_map(|name| count(object.get(name).unwrap_or(&Value::Null))).max()
}

/// How many answers are asked for side by side. All are made and paid, also those that are not chosen.
pub(crate) fn answers(dialect: Dialect, words: &Bounds) -> u64 {
    let answers = match dialect {
        Dialect::OpenAiChat => count(&words.n).max(count(&words.best_of)),
        Dialect::Gemini => either(&words.generation, ["candidateCount", "candidate_count"]),
        Dialect::OpenAiResponses | Dialect::Anthropic | Dialect::Bedrock | Dialect::Cohere => None,
    };
    answers.unwrap_or(1).max(1)
}

fn count(value: &Value) -> Option<u64> {
    let number = value.as_u64().or_else(|| value.as_f64().map(|float| float.max(0.0).ceil() as u64));
    number.filter(|number| *number > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_dialect_limits_its_answers_in_its_own_words() {
        for (dialect, body, want) in [
            (Dialect::OpenAiChat, r#"{"max_tokens":5}"#, (Some(5), 1)),
            (Dialect::OpenAiChat, r#"{"max_tokens":5,"max_completion_tokens":7,"n":3}"#, (Some(7), 3)),
            (Dialect::OpenAiChat, r#"{"max_tokens":5,"n":2,"best_of":20}"#, (Some(5), 20)),
            (Dialect::OpenAiChat, r#"{"max_tokens":null,"n":0}"#, (None, 1)),
            (Dialect::OpenAiChat, r#"{"max_tokens":"5"}"#, (None, 1)),
            (Dialect::OpenAiChat, r#"{"max_tokens":1,"max_tokens":99}"#, (None, 1)),
            (Dialect::OpenAiResponses, r#"{"max_output_tokens":9.0}"#, (Some(9), 1)),
            (Dialect::Anthropic, r#"{"max_tokens":64}"#, (Some(64), 1)),
            (Dialect::Cohere, r#"{"max_tokens":64}"#, (Some(64), 1)),
            (
                Dialect::Gemini,
                r#"{"generationConfig":{"maxOutputTokens":8,"candidateCount":2}}"#,
                (Some(8), 2),
            ),
            (Dialect::Gemini, r#"{"generation_config":{"max_output_tokens":8}}"#, (Some(8), 1)),
            (Dialect::Bedrock, r#"{"inferenceConfig":{"maxTokens":4}}"#, (Some(4), 1)),
            (Dialect::Bedrock, "not JSON", (None, 1)),
        ] {
            let ask = Ask::of(dialect, body.as_bytes());
            assert_eq!((ask.output, ask.answers), want, "{body}");
        }
    }

    #[test]
    fn words_that_are_written_as_escapes_count_as_there() {
        let found = |body: &str| {
            let ask = Ask::of(Dialect::OpenAiChat, body.as_bytes());
            (ask.has_audio, ask.has_images, ask.caches_long)
        };
        for body in [
            r#"{"\u0061udio":{}}"#,
            r#"{"type":"im\u0061ge"}"#,
            r#"{"ttl":"1\u0068"}"#,
            r#"{"ttl":"\u0031h"}"#,
        ] {
            assert_eq!(found(body), (true, true, true), "{body}");
        }
        for body in [r#"{"text":"\u003cb\u003e W\u00fcrde \\u0061"}"#, r#"{"text":"a"}"#] {
            assert_eq!(found(body), (false, false, false), "{body}");
        }
    }

    #[test]
    fn pictures_are_counted_in_json_and_in_forms() {
        let form = |fields: &[(&str, &str)]| -> String {
            let part = |(name, text): &(&str, &str)| {
                format!("--b\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{text}\r\n")
            };
            fields.iter().map(part).collect()
        };
        for (body, is_form, want) in [
            (r#"{"n":3,"quality":"low"}"#.to_owned(), false, (3, 408)),
            (r#"{"quality":"auto"}"#.to_owned(), false, (1, 7_024)),
            (r#"{"quality":"low","size":"1536x1024"}"#.to_owned(), false, (1, 408)),
            (r#"{"quality":"high","size":"3584x2048"}"#.to_owned(), false, (1, 35_120)),
            (form(&[("n", "4"), ("quality", "medium")]), true, (4, 1_584)),
            (form(&[("n", "many")]), true, (10, 7_024)),
            (form(&[("prompt", "n")]), true, (1, 7_024)),
        ] {
            let found = Pictures::of(body.as_bytes(), is_form);
            assert_eq!((found.count, found.tokens_each), want, "{body}");
        }
    }

    #[test]
    fn what_the_provider_keeps_is_told_apart() {
        let ask = |body: &str| Ask::of(Dialect::OpenAiResponses, body.as_bytes());
        assert!(ask(r#"{"previous_response_id":"r1"}"#).is_continued);
        assert!(!ask(r#"{"previous_response_id":null,"input":"hi"}"#).is_continued);
        assert_eq!(ask(r#"{"service_tier":"priority"}"#).class, Class::Priority);
    }
}
