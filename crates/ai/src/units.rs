//! What a request asks for beside tokens: pictures, letters to be spoken, seconds to be written down, searches.
//!
//! Providers price some models by these, some by tokens, and some tell both for the same work. What is asked for at
//! most is held; what was asked for, or what the answer tells of it, is settled.

use std::ops::Range;

use serde::Deserialize;
use serde_json::Value;

use crate::{
    ask::Pictures,
    catalogue::{Prices, Rates},
    cost::{Cost, Units, cost_of_units},
    endpoint::Operation,
    estimate, sound,
};

/// Letters that are spoken in a second, of an alphabet and of a script whose signs are syllables or words: an
/// approximation, on the side of long sounds where it bounds.
const LETTERS_A_SECOND: (u64, u64) = (15, 5);
const LETTERS_A_SECOND_LEAST: (u64, u64) = (10, 3);
/// How much slower than usual speech may be asked for (OpenAI: `speed` is 0.25 to 4).
const SPEED_LEAST: f64 = 0.25;
/// Tokens of a second of sound that is listened to (OpenAI: one for 100 ms), of what is written down of it, and of a
/// second of sound that is made: approximations where nobody tells, the latter two on the high side.
const TOKENS_HEARD: u64 = 10;
const TOKENS_WRITTEN: u64 = 8;
const TOKENS_SPOKEN: u64 = 50;
/// Documents of one search, and tokens of one of them, query included; a longer one counts as several (Cohere's
/// pricing: "a single search unit is a query with up to 100 documents").
const DOCUMENTS_OF_A_SEARCH: u64 = 100;
const TOKENS_OF_A_DOCUMENT: u64 = 500;

/// What is asked for beside tokens.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Asked {
    /// At most.
    pub most: Units,
    /// Where the answer does not tell.
    pub likely: Units,
    /// The latter was counted, not guessed.
    pub is_exact: bool,
    /// Tokens of the prompt, where the body's bytes are no text.
    pub input: Option<u64>,
    /// Most tokens of the answer, where it is paid by tokens.
    pub output: u64,
}

impl Asked {
    /// Reads a request over. `file` is where a form's file stands.
    pub fn of(operation: Operation, body: &[u8], is_form: bool, file: Option<Range<usize>>) -> Option<Self> {
        match operation {
            Operation::Images | Operation::ImageEdits => Some(Self::pictures(Pictures::of(body, is_form))),
            Operation::Speech => Some(Self::speech(body)),
            Operation::Transcriptions | Operation::Translations => Some(Self::listening(body, file)),
            Operation::Rerank => Some(Self::search(body)),
            _ => None,
        }
    }

    fn pictures(pictures: Pictures) -> Self {
        let units = Units { images: pictures.count, ..Units::default() };
        Self { most: units, likely: units, is_exact: true, input: None, output: pictures.tokens() }
    }

    fn speech(body: &[u8]) -> Self {
        #[derive(Deserialize)]
        struct Words {
            input: String,
            #[serde(default)]
            speed: Value,
        }
        let read = serde_json::from_slice::<Words>(body);
        let is_exact = read.is_ok();
        // What two readers could read differently is all of it.
        let (text, speed) = match read {
            Ok(words) => (words.input, words.speed.as_f64().unwrap_or(1.0).clamp(SPEED_LEAST, 4.0)),
            Err(_) => (String::from_utf8_lossy(body).into_owned(), SPEED_LEAST),
        };
        let characters = text.chars().count() as u64;
        // Alphabets are below U+0900, but for a few.
        let plain = text.chars().filter(|letter| u32::from(*letter) < 0x900).count() as u64;
        let wide = characters - plain;
        let seconds = |(of_plain, of_wide): (u64, u64), speed: f64| {
            let usual = plain.div_ceil(of_plain) + wide.div_ceil(of_wide);
            (usual as f64 / speed).ceil().max(1.0) as u64
        };
        let most = seconds(LETTERS_A_SECOND_LEAST, speed.min(1.0));
        let of = |seconds_out| Units { characters, seconds_out, ..Units::default() };
        Self {
            most: of(most),
            likely: of(seconds(LETTERS_A_SECOND, speed)),
            is_exact,
            input: None,
            output: most.saturating_mul(TOKENS_SPOKEN),
        }
    }

    fn listening(body: &[u8], file: Option<Range<usize>>) -> Self {
        let sound = file.and_then(|file| body.get(file)).unwrap_or(body);
        let of_bytes = |each: u64| (sound.len() as u64).div_ceil(each).max(1);
        let length = sound::length(sound).unwrap_or_else(|| sound::Length {
            seconds: of_bytes(sound::BYTES_A_SECOND),
            most: of_bytes(sound::BYTES_A_SECOND_LEAST),
            is_exact: false,
        });
        let (most, likely) = (length.most, length.seconds);
        let of = |seconds_in| Units { seconds_in, ..Units::default() };
        // Beside the file there is little: a prompt, a language.
        let beside = body.len().saturating_sub(sound.len()) as u64;
        Self {
            most: of(most),
            likely: of(likely),
            is_exact: length.is_exact,
            input: Some(most.saturating_mul(TOKENS_HEARD).saturating_add(beside / 2)),
            output: most.saturating_mul(TOKENS_WRITTEN),
        }
    }

    fn search(body: &[u8]) -> Self {
        #[derive(Deserialize)]
        struct Words {
            #[serde(default)]
            query: Value,
            documents: Vec<Value>,
        }
        let tokens = |value: &Value| match value {
            Value::String(text) => estimate::tokens(text.as_bytes()),
            other => estimate::tokens(other.to_string().as_bytes()),
        };
        let read = serde_json::from_slice::<Words>(body);
        let is_exact = read.is_ok();
        let documents = match read {
            Ok(words) => {
                let query = tokens(&words.query);
                let pieces = |document| (tokens(document) + query).div_ceil(TOKENS_OF_A_DOCUMENT).max(1);
                words.documents.iter().map(pieces).sum()
            }
            Err(_) => body.len() as u64,
        };
        let units = Units { queries: documents.div_ceil(DOCUMENTS_OF_A_SEARCH).max(1), ..Units::default() };
        Self { most: units, likely: units, is_exact, input: None, output: 0 }
    }

    /// The most that it can cost by its units; `None` where the model has no price of such.
    pub fn cost(&self, prices: &Prices) -> Option<Cost> {
        paid(prices, &self.most).map(|paid| cost_of_units(prices, &paid))
    }
}

/// Those units that a model's prices are of; `None` where it has no price of any. What is spoken is paid by letters or
/// by seconds, and what is listened to by seconds, whichever side the price stands at.
pub fn paid(prices: &Prices, units: &Units) -> Option<Units> {
    let price = &prices.units;
    let of = |count: u64, is_priced: bool| if is_priced { count } else { 0 };
    let mut paid = Units {
        images: of(units.images, price.image.is_some()),
        seconds_in: of(units.seconds_in, price.second_in.is_some()),
        characters: of(units.characters, price.character.is_some()),
        queries: of(units.queries, price.query.is_some()),
        pages: of(units.pages, price.page.is_some()),
        seconds_out: 0,
    };
    if price.second_out.is_some() {
        let made = of(units.seconds_out, paid.characters == 0);
        paid.seconds_out = made + of(units.seconds_in, price.second_in.is_none());
    }
    (paid != Units::default()).then_some(paid)
}

/// Whether nobody knows what a request costs: the model has a price of neither its units nor of tokens.
pub fn is_unpriced(prices: &Prices, units: &Units) -> bool {
    paid(prices, units).is_none() && prices.tokens == Rates::default()
}

/// What an answer tells of its units.
pub fn told(operation: &str, body: &[u8]) -> Option<Told> {
    let value: Value = serde_json::from_slice(body).ok()?;
    let whole = |pointer: &str| {
        let number = value.pointer(pointer)?.as_f64().filter(|number| (0.0..1e12).contains(number))?;
        Some(number.ceil() as u64)
    };
    let mut told = Told::default();
    match operation {
        "image_generation" | "image_edit" => {
            told.units.images = value.get("data")?.as_array()?.len() as u64;
        }
        "transcription" | "translation" => {
            told.units.seconds_in = whole("/usage/seconds").or_else(|| whole("/duration")).unwrap_or(0);
        }
        "rerank" => {
            told.units.queries = whole("/meta/billed_units/search_units").unwrap_or(0);
            told.tokens = whole("/usage/total_tokens").or_else(|| whole("/usage/prompt_tokens"));
        }
        _ => return None,
    }
    (told != Told::default()).then_some(told)
}

/// What an answer tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Told {
    /// Its units.
    pub units: Units,
    /// Tokens of the prompt, where they are told in words of their own.
    pub tokens: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::Price;

    fn asked(operation: Operation, body: &str) -> Asked {
        Asked::of(operation, body.as_bytes(), false, None).expect("units")
    }

    #[test]
    fn letters_are_counted_and_not_bytes() {
        let speech = asked(Operation::Speech, r#"{"input":"Würde は","voice":"a"}"#);
        assert_eq!((speech.likely.characters, speech.is_exact), (7, true));
        let slow = asked(Operation::Speech, r#"{"input":"thirty letters, spoken slowly.","speed":0.25}"#);
        assert_eq!((slow.likely.seconds_out, slow.most.seconds_out), (8, 12));
        let odd = r#"{"input":"a","input":"much more than that"}"#;
        assert!(asked(Operation::Speech, odd).most.characters > 40, "both readings are held for");
    }

    #[test]
    fn a_search_is_a_hundred_documents_and_long_ones_are_several() {
        let body = |count: usize, text: &str| {
            serde_json::json!({"query": "q", "documents": vec![text; count]}).to_string()
        };
        let long = "word ".repeat(600);
        for (count, text, want) in [(1, "a", 1), (100, "a", 1), (101, "a", 2), (60, &*long, 2)] {
            let found = asked(Operation::Rerank, &body(count, text)).most.queries;
            assert_eq!(found, want, "{count}");
        }
    }

    #[test]
    fn each_is_paid_once() {
        let mut prices = Prices::default();
        let speech = Units { characters: 10, seconds_out: 2, ..Units::default() };
        assert_eq!(paid(&prices, &speech), None);
        prices.units.second_out = Some(Price(5));
        assert_eq!(paid(&prices, &speech), Some(Units { seconds_out: 2, ..Units::default() }));
        prices.units.character = Some(Price(1));
        assert_eq!(paid(&prices, &speech), Some(Units { characters: 10, ..Units::default() }));
        // `whisper-1` has the same price on both sides.
        prices.units.second_in = Some(Price(5));
        let heard = Units { seconds_in: 3, ..Units::default() };
        assert_eq!(paid(&prices, &heard), Some(heard));
        prices.units.second_in = None;
        assert_eq!(paid(&prices, &heard), Some(Units { seconds_out: 3, ..Units::default() }));
    }

    #[test]
    fn answers_tell_their_units_in_several_ways() {
        for (operation, body, want) in [
            ("transcription", r#"{"usage":{"type":"duration","seconds":7}}"#, Some((7, 0, 0))),
            ("transcription", r#"{"duration":7.2,"text":""}"#, Some((8, 0, 0))),
            ("transcription", r#"{"usage":{"type":"tokens","input_tokens":7}}"#, None),
            ("rerank", r#"{"meta":{"billed_units":{"search_units":2}}}"#, Some((0, 2, 0))),
            ("image_generation", r#"{"data":[{},{}]}"#, Some((0, 0, 2))),
            ("chat", r#"{"data":[{},{}]}"#, None),
        ] {
            let found = told(operation, body.as_bytes()).map(|told| told.units);
            let found = found.map(|units| (units.seconds_in, units.queries, units.images));
            assert_eq!(found, want, "{body}");
        }
    }
}
