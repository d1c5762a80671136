//! What was heard, with its times: pieces of words, and the forms that tell them (OpenAI's `verbose_json`, SubRip, WebVTT).

use serde_json::{Value, json};

use crate::canon::Usage;

/// What was heard.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Transcript {
    pub(super) text: String,
    /// As the vendor names it.
    pub(super) language: Option<String>,
    pub(super) seconds: Option<f64>,
    pub(super) words: Vec<Word>,
    pub(super) segments: Vec<Segment>,
    pub(super) usage: Option<Usage>,
}

/// A word, in seconds.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Word {
    pub(super) text: String,
    pub(super) start: f64,
    pub(super) end: f64,
    pub(super) logprob: Option<f64>,
    /// Something stands between it and the one before.
    pub(super) is_apart: bool,
}

/// What is shown at once.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Segment {
    pub(super) text: String,
    pub(super) start: f64,
    pub(super) end: f64,
    pub(super) logprob: Option<f64>,
}

/// Where a piece ends: behind a pause, after so long, after so many letters.
const PAUSE_SECONDS: f64 = 0.8;
const PIECE_SECONDS_MAX: f64 = 8.0;
const PIECE_LETTERS_MAX: usize = 84;

impl Transcript {
    /// When the last word ends.
    pub(super) fn last(&self) -> Option<f64> {
        self.words.last().map(|word| word.end)
    }

    /// Pieces of words: sentences, and shorter ones where those are long.
    pub(super) fn pieces(&self) -> Vec<Segment> {
        let mut pieces: Vec<Segment> = Vec::new();
        let mut sum: Option<(f64, u32)> = None;
        let mut is_over = true;
        for word in &self.words {
            let goes_on = pieces.last().filter(|last| {
                !is_over
                    && word.start - last.end < PAUSE_SECONDS
                    && word.end - last.start <= PIECE_SECONDS_MAX
                    && last.text.chars().count() + word.text.chars().count() < PIECE_LETTERS_MAX
            });
            if goes_on.is_none() {
                sum = None;
                let (text, start, end) = (word.text.clone(), word.start, word.end);
                pieces.push(Segment { text, start, end, logprob: None });
            } else if let Some(last) = pieces.last_mut() {
                if word.is_apart {
                    last.text.push(' ');
                }
                last.text.push_str(&word.text);
                last.end = word.end.max(last.end);
            }
            if let Some(logprob) = word.logprob {
                let (total, count) = sum.unwrap_or((0.0, 0));
                sum = Some((total + logprob, count + 1));
            }
            if let (Some(last), Some((total, count))) = (pieces.last_mut(), sum) {
                last.logprob = Some(total / f64::from(count.max(1)));
            }
            is_over = word.text.ends_with(['.', '?', '!', '…', '。', '？', '！']);
        }
        pieces
    }

    /// What it is paid by, in OpenAI's words: tokens where they are told, else seconds.
    pub(super) fn usage_value(&self) -> Option<Value> {
        match (&self.usage, self.seconds) {
            (Some(usage), _) => Some(json!({
                "type": "tokens",
                "input_tokens": usage.input,
                "output_tokens": usage.output,
                "total_tokens": usage.total(),
                "input_token_details": {
                    "audio_tokens": usage.input_audio,
                    "text_tokens": usage.input.saturating_sub(usage.input_audio),
                },
            })),
            (None, Some(seconds)) => Some(json!({"type": "duration", "seconds": seconds.ceil() as u64})),
            (None, None) => None,
        }
    }

    /// OpenAI's `verbose_json`. What nobody but Whisper measures is nought: the types of its SDKs want numbers.
    pub(super) fn verbose(&self, task: &str, asked: Option<&str>, words: bool, segments: bool) -> Value {
        let language = self.language.as_deref().or(asked).unwrap_or_default();
        let seconds = self.seconds.unwrap_or(0.0);
        let mut told = json!({"task": task, "language": language, "duration": seconds, "text": self.text});
        if words {
            let word = |word: &Word| json!({"word": word.text, "start": word.start, "end": word.end});
            told["words"] = self.words.iter().map(word).collect();
        }
        if segments {
            let segment = |(id, piece): (usize, &Segment)| {
                json!({
                    "id": id, "seek": 0, "start": piece.start, "end": piece.end, "text": piece.text, "tokens": [],
                    "temperature": 0.0, "avg_logprob": piece.logprob.unwrap_or(0.0), "compression_ratio": 0.0,
                    "no_speech_prob": 0.0,
                })
            };
            told["segments"] = self.segments.iter().enumerate().map(segment).collect();
        }
        if let Some(usage) = self.usage_value() {
            told["usage"] = usage;
        }
        told
    }

    /// SubRip.
    pub(super) fn srt(&self) -> String {
        let cue = |(at, piece): (usize, &Segment)| {
            let (start, end) = (clock(piece.start, ','), clock(piece.end, ','));
            format!("{}\n{start} --> {end}\n{}\n\n", at + 1, line(&piece.text))
        };
        self.segments.iter().enumerate().map(cue).collect()
    }

    /// WebVTT.
    pub(super) fn vtt(&self) -> String {
        let cue = |piece: &Segment| {
            // What would be markup or the end of the times (WebVTT §4.2.2).
            let text = line(&piece.text).replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
            format!("{} --> {}\n{text}\n\n", clock(piece.start, '.'), clock(piece.end, '.'))
        };
        format!("WEBVTT\n\n{}", self.segments.iter().map(cue).collect::<String>())
    }
}

/// A text in one line: an empty one would end its cue.
fn line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// `00:01:02,345`.
fn clock(seconds: f64, point: char) -> String {
    let millis = (seconds * 1000.0).round() as u64;
    let (hours, minutes, whole) = (millis / 3_600_000, millis / 60_000 % 60, millis / 1000 % 60);
    format!("{hours:02}:{minutes:02}:{whole:02}{point}{:03}", millis % 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(texts: &[(&str, f64, f64)]) -> Transcript {
        let word = |(text, start, end): &(&str, f64, f64)| Word {
            text: (*text).to_owned(),
            start: *start,
            end: *end,
            logprob: Some(-0.5),
            is_apart: true,
        };
        Transcript { words: texts.iter().map(word).collect(), ..Transcript::default() }
    }

    #[test]
    fn pieces_end_with_sentences_and_pauses_and_before_they_are_long() {
        let heard = words(&[
            ("High", 0.0, 0.4),
            ("water.", 0.5, 0.9),
            ("The", 1.0, 1.1),
            ("tide", 1.2, 1.5),
            ("turns", 3.0, 3.5),
        ]);
        let pieces = heard.pieces();
        let texts: Vec<(&str, f64, f64)> =
            pieces.iter().map(|piece| (piece.text.as_str(), piece.start, piece.end)).collect();
        assert_eq!(texts, [("High water.", 0.0, 0.9), ("The tide", 1.0, 1.5), ("turns", 3.0, 3.5)]);
        assert_eq!(pieces[0].logprob, Some(-0.5));
        let long: Vec<(&str, f64, f64)> =
            (0..100).map(|at| ("tide", f64::from(at), f64::from(at) + 0.9)).collect();
        let longest = words(&long).pieces().iter().map(|piece| piece.end - piece.start).fold(0.0, f64::max);
        assert!(longest <= PIECE_SECONDS_MAX, "{longest}");
        assert!(words(&[]).pieces().is_empty());
    }

    #[test]
    fn times_are_told_as_subtitles_have_them() {
        let mut heard = words(&[("a<b\n\nc.", 0.25, 3661.9995), ("d", 3700.0, 3701.0)]);
        heard.segments = heard.pieces();
        assert_eq!(
            heard.srt(),
            "1\n00:00:00,250 --> 01:01:02,000\na<b c.\n\n2\n01:01:40,000 --> 01:01:41,000\nd\n\n"
        );
        assert_eq!(
            heard.vtt(),
            "WEBVTT\n\n00:00:00.250 --> 01:01:02.000\na&lt;b c.\n\n01:01:40.000 --> 01:01:41.000\nd\n\n"
        );
    }
}
