//! Speech written down: a form with a sound becomes what a vendor wants of it, and what was heard is told in the form
//! that the caller asked for: JSON, text, or with its times.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use super::{
    Came, To, Told, Words, Written, broken, google, lack, lose, lose_all,
    multipart::Form,
    queried,
    timing::{Segment, Transcript, Word},
    unspoken,
};
use crate::{
    canon::{Error, Losses},
    form,
};

/// Speech to be written down.
#[derive(Debug, Clone, PartialEq)]
pub struct Hearing<'a> {
    sound: &'a [u8],
    kind: &'static str,
    format: Format,
    language: Option<String>,
    prompt: Option<String>,
    temperature: Option<f64>,
    wants_words: bool,
    wants_segments: bool,
    /// Into English.
    translates: bool,
    /// Fields that nobody else has.
    extra: Vec<String>,
}

/// How it is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Json,
    Text,
    Verbose,
    Srt,
    Vtt,
}

impl Format {
    const NAMES: [(Self, &'static str); 5] = [
        (Self::Json, "json"),
        (Self::Text, "text"),
        (Self::Verbose, "verbose_json"),
        (Self::Srt, "srt"),
        (Self::Vtt, "vtt"),
    ];

    /// Whether it tells when something was said.
    fn is_timed(self) -> bool {
        matches!(self, Self::Verbose | Self::Srt | Self::Vtt)
    }
}

/// What Gemini is told to do with a sound.
const TRANSCRIBE: &str = "Write down what is said in this recording, word for word and in the language in which it is \
                          said. Answer with that text alone.";
const TRANSLATE: &str = "Write down in English what is said in this recording. Answer with that text alone.";

pub(super) fn read<'a>(kind: &str, body: &'a [u8], translates: bool) -> Result<Hearing<'a>, Error> {
    let mut sound = None;
    let mut hearing = Hearing {
        sound: &[],
        kind: "application/octet-stream",
        format: Format::Json,
        language: None,
        prompt: None,
        temperature: None,
        wants_words: false,
        wants_segments: false,
        translates,
        extra: Vec::new(),
    };
    for field in form::fields(kind, body)? {
        let bytes = body.get(field.value.clone()).unwrap_or_default();
        let name = field.name.as_str();
        if name == "file" {
            sound = Some((bytes, field.kind));
            continue;
        }
        let text =
            std::str::from_utf8(bytes).map_err(|_| Error::invalid(name, format!("`{name}` must be text")))?;
        if text.is_empty() {
            continue;
        }
        match name {
            "model" => {}
            "language" => hearing.language = Some(text.to_owned()),
            "prompt" => hearing.prompt = Some(text.to_owned()),
            "temperature" => {
                let number = text.parse::<f64>().ok().filter(|number| number.is_finite());
                hearing.temperature =
                    Some(number.ok_or_else(|| Error::invalid(name, "`temperature` must be a number"))?);
            }
            "response_format" => {
                let known = Format::NAMES.iter().find(|(_, known)| *known == text);
                hearing.format = known.map(|(format, _)| *format).ok_or_else(|| {
                    let message = format!("`response_format`: `{text}` cannot be had here; expected json, text, verbose_json, srt or vtt");
                    Error::invalid(name, message)
                })?;
            }
            "timestamp_granularities[]" | "timestamp_granularities" => match text {
                "word" => hearing.wants_words = true,
                _ => hearing.wants_segments = true,
            },
            "stream" if text == "true" => {
                return Err(lack(
                    "what was heard is told whole by this model's provider: ask without `stream`",
                ));
            }
            "stream" => {}
            other if !hearing.extra.iter().any(|known| known == other) => {
                hearing.extra.push(other.to_owned())
            }
            _ => {}
        }
    }
    let (sound, told) = sound.ok_or_else(|| Error::invalid("file", "`file` is required"))?;
    if sound.is_empty() {
        return Err(Error::invalid("file", "`file` is empty"));
    }
    hearing.sound = sound;
    hearing.kind = media_type(sound, told.as_deref());
    Ok(hearing)
}

/// What kind of sound it is, by its first bytes, else as the caller tells.
fn media_type(sound: &[u8], told: Option<&str>) -> &'static str {
    const TOLD: [&str; 11] = [
        "audio/wav",
        "audio/mpeg",
        "audio/mp3",
        "audio/mp4",
        "audio/aac",
        "audio/ogg",
        "audio/flac",
        "audio/webm",
        "audio/aiff",
        "video/mp4",
        "video/webm",
    ];
    match sound {
        [b'R', b'I', b'F', b'F', ..] => "audio/wav",
        [b'I', b'D', b'3', ..] => "audio/mpeg",
        [0xff, second, ..] if second & 0xf6 == 0xf0 => "audio/aac",
        [0xff, second, ..] if second & 0xe0 == 0xe0 => "audio/mpeg",
        [b'O', b'g', b'g', b'S', ..] => "audio/ogg",
        [b'f', b'L', b'a', b'C', ..] => "audio/flac",
        [0x1a, 0x45, 0xdf, 0xa3, ..] => "audio/webm",
        _ if sound.get(4..8) == Some(b"ftyp") => "audio/mp4",
        _ => TOLD.into_iter().find(|known| Some(*known) == told).unwrap_or("application/octet-stream"),
    }
}

impl Hearing<'_> {
    pub(super) fn write(&self, to: &To<'_>, losses: &mut Losses) -> Result<Written, Error> {
        lose_all(losses, &self.extra);
        match to.words {
            Words::Deepgram => Ok(self.deepgram(to, losses)),
            Words::ElevenLabs => Ok(self.elevenlabs(to, losses)),
            Words::Google => self.google(to, losses),
            _ => Err(unspoken("what is said")),
        }
    }

    /// Whether the caller is told when each piece was said.
    fn tells_segments(&self) -> bool {
        self.format.is_timed() && (self.format != Format::Verbose || self.wants_segments || !self.wants_words)
    }

    /// `POST /v1/listen` with the sound as the body (Deepgram: API reference, Transcribe and analyze pre-recorded audio).
    fn deepgram(&self, to: &To<'_>, losses: &mut Losses) -> Written {
        if self.prompt.is_some() {
            lose(losses, "prompt");
        }
        if self.temperature.is_some() {
            lose(losses, "temperature");
        }
        // Texts have points and capitals, as those of others do.
        let mut path = format!("/listen?model={}&smart_format=true", queried(to.model));
        match &self.language {
            Some(language) => path.push_str(&format!("&language={}", queried(language))),
            None => path.push_str("&detect_language=true"),
        }
        if self.tells_segments() {
            path.push_str("&utterances=true");
        }
        Written { path, kind: self.kind.to_owned(), headers: Vec::new(), body: self.sound.to_vec() }
    }

    /// `POST /v1/speech-to-text`, a form (ElevenLabs: API reference, Create transcript).
    fn elevenlabs(&self, to: &To<'_>, losses: &mut Losses) -> Written {
        if self.prompt.is_some() {
            lose(losses, "prompt");
        }
        let mut form = Form::default();
        form.text("model_id", to.model);
        if let Some(language) = &self.language {
            form.text("language_code", language.as_str());
        }
        if let Some(temperature) = self.temperature {
            form.text("temperature", temperature.to_string());
        }
        form.text("timestamps_granularity", if self.format.is_timed() { "word" } else { "none" });
        // Else laughter stands among the words.
        form.text("tag_audio_events", "false");
        form.file("file", self.kind, self.sound);
        let (kind, body) = form.finish();
        Written { path: "/speech-to-text".to_owned(), kind, headers: Vec::new(), body }
    }

    /// `generateContent` with the sound as a part (Gemini API: Audio understanding; Audio transcription).
    fn google(&self, to: &To<'_>, losses: &mut Losses) -> Result<Written, Error> {
        let does_that_alone = to.model.contains("transcribe");
        if self.translates && does_that_alone {
            return Err(lack(format!("`{}` writes down what is said in its own language alone", to.model)));
        }
        if self.format.is_timed() && !does_that_alone {
            let message = format!(
                "`response_format`: `{}` does not tell when something is said; expected json or text",
                to.model
            );
            return Err(Error::invalid("response_format", message));
        }
        let kind = if self.kind == "audio/mpeg" { "audio/mp3" } else { self.kind };
        let mut parts = vec![json!({"inlineData": {"mimeType": kind, "data": STANDARD.encode(self.sound)}})];
        let mut config = json!({});
        if does_that_alone {
            if self.prompt.is_some() {
                lose(losses, "prompt");
            }
            let mut own = json!({});
            if let Some(language) = &self.language {
                own["languageCodes"] = json!([language]);
            }
            if self.format.is_timed() {
                own["wordTimestamp"] = true.into();
            }
            config["audioTranscriptionConfig"] = own;
        } else {
            let mut wish = if self.translates { TRANSLATE } else { TRANSCRIBE }.to_owned();
            if let Some(language) = &self.language {
                wish.push_str(&format!(" The language is {language:?}."));
            }
            if let Some(prompt) = &self.prompt {
                wish.push_str(&format!(" These words may help to understand it: {prompt}"));
            }
            parts.push(json!({"text": wish}));
        }
        if let Some(temperature) = self.temperature {
            config["temperature"] = temperature.into();
        }
        let body = json!({"contents": [{"role": "user", "parts": parts}], "generationConfig": config});
        Ok(Written::json(google::path(to.model, "generateContent")?, &body))
    }

    pub(super) fn tell(&self, words: Words, came: &Came<'_>) -> Result<Told, Error> {
        let answer: Value =
            serde_json::from_slice(came.body).map_err(|_| broken("the provider's answer is no JSON"))?;
        let heard = match words {
            Words::Deepgram => of_deepgram(&answer),
            Words::ElevenLabs => of_elevenlabs(&answer),
            Words::Google => Some(of_google(&answer)?),
            _ => return Err(unspoken("what is said")),
        };
        let mut heard = heard.ok_or_else(|| broken("the provider's answer has no text"))?;
        if heard.segments.is_empty() && self.tells_segments() {
            heard.segments = heard.pieces();
        }
        if heard.seconds.is_none() {
            heard.seconds =
                crate::sound::length(self.sound).map(|length| length.seconds as f64).or(heard.last());
        }
        Ok(self.told(&heard))
    }

    fn told(&self, heard: &Transcript) -> Told {
        let (kind, body) = match self.format {
            Format::Json => {
                let mut told = json!({"text": heard.text});
                if let Some(usage) = heard.usage_value() {
                    told["usage"] = usage;
                }
                ("application/json", told.to_string())
            }
            Format::Verbose => {
                let task = if self.translates { "translate" } else { "transcribe" };
                let words = self.wants_words;
                let told = heard.verbose(task, self.language.as_deref(), words, self.tells_segments());
                ("application/json", told.to_string())
            }
            Format::Text => ("text/plain; charset=utf-8", format!("{}\n", heard.text)),
            Format::Srt => ("text/plain; charset=utf-8", heard.srt()),
            Format::Vtt => ("text/vtt; charset=utf-8", heard.vtt()),
        };
        let seconds_in = heard.seconds.map(|seconds| seconds.ceil() as u64).filter(|_| heard.usage.is_none());
        Told {
            kind,
            body: body.into_bytes(),
            usage: heard.usage,
            seconds_in,
            seconds_out: None,
            images: None,
        }
    }
}

fn seconds(value: Option<&Value>) -> Option<f64> {
    value.and_then(Value::as_f64).filter(|seconds| (0.0..1e7).contains(seconds))
}

fn of_deepgram(answer: &Value) -> Option<Transcript> {
    let channel = answer.pointer("/results/channels/0")?;
    let heard = channel.pointer("/alternatives/0")?;
    let word = |value: &Value| {
        let text = value.get("punctuated_word").or_else(|| value.get("word"))?.as_str()?.to_owned();
        Some(Word {
            text,
            start: seconds(value.get("start"))?,
            end: seconds(value.get("end"))?,
            logprob: seconds(value.get("confidence")).filter(|sure| *sure > 0.0).map(f64::ln),
            is_apart: true,
        })
    };
    let segment = |value: &Value| {
        Some(Segment {
            text: value.get("transcript")?.as_str()?.to_owned(),
            start: seconds(value.get("start"))?,
            end: seconds(value.get("end"))?,
            logprob: seconds(value.get("confidence")).filter(|sure| *sure > 0.0).map(f64::ln),
        })
    };
    let list = |value: Option<&Value>| value.and_then(Value::as_array).cloned().unwrap_or_default();
    Some(Transcript {
        text: heard.get("transcript")?.as_str()?.to_owned(),
        language: channel.get("detected_language").and_then(Value::as_str).map(str::to_owned),
        seconds: seconds(answer.pointer("/metadata/duration")),
        words: list(heard.get("words")).iter().filter_map(word).collect(),
        segments: list(answer.pointer("/results/utterances")).iter().filter_map(segment).collect(),
        usage: None,
    })
}

fn of_elevenlabs(answer: &Value) -> Option<Transcript> {
    let mut words: Vec<Word> = Vec::new();
    let mut is_apart = false;
    for value in answer.get("words").and_then(Value::as_array).into_iter().flatten() {
        match value.get("type").and_then(Value::as_str) {
            Some("spacing") => is_apart = true,
            Some("word") => {
                let (Some(text), Some(start), Some(end)) = (
                    value.get("text").and_then(Value::as_str),
                    seconds(value.get("start")),
                    seconds(value.get("end")),
                ) else {
                    continue;
                };
                let logprob = value.get("logprob").and_then(Value::as_f64).filter(|log| log.is_finite());
                words.push(Word { text: text.to_owned(), start, end, logprob, is_apart });
                is_apart = false;
            }
            _ => {}
        }
    }
    Some(Transcript {
        text: answer.get("text")?.as_str()?.to_owned(),
        language: answer.get("language_code").and_then(Value::as_str).map(str::to_owned),
        seconds: seconds(answer.get("audio_duration_secs")),
        words,
        segments: Vec::new(),
        usage: None,
    })
}

/// A time as protocol buffers write it in JSON: `1.500s`.
fn offset(value: Option<&Value>) -> Option<f64> {
    let text = value?.as_str()?.strip_suffix('s')?;
    text.parse::<f64>().ok().filter(|seconds| (0.0..1e7).contains(seconds))
}

fn of_google(answer: &Value) -> Result<Transcript, Error> {
    let mut heard =
        Transcript { text: google::text(answer), usage: google::usage(answer), ..Transcript::default() };
    for piece in google::heard(answer) {
        heard.language =
            heard.language.or_else(|| piece.get("languageCode").and_then(Value::as_str).map(str::to_owned));
        for word in piece.get("words").and_then(Value::as_array).into_iter().flatten() {
            let text = word.get("word").and_then(Value::as_str);
            // Nought is not written.
            let (start, end) =
                (offset(word.get("startOffset")).unwrap_or(0.0), offset(word.get("endOffset")));
            if let (Some(text), Some(end)) = (text, end) {
                let (text, logprob) = (text.trim().to_owned(), None);
                heard.words.push(Word { text, start, end, logprob, is_apart: true });
            }
        }
    }
    if heard.text.is_empty() {
        let texts = google::heard(answer).filter_map(|piece| piece.get("text")?.as_str());
        heard.text = texts.collect::<Vec<_>>().join(" ");
    }
    let is_over = answer.pointer("/candidates/0/finishReason").and_then(Value::as_str) == Some("STOP");
    if heard.text.is_empty() && !is_over {
        return Err(google::silent(answer, "a text"));
    }
    heard.text = heard.text.trim().to_owned();
    Ok(heard)
}

#[cfg(test)]
mod tests;
