//! Speech: a text becomes sound. Sound of ElevenLabs and Deepgram passes as it comes; that of Gemini and MiniMax is
//! packed into JSON and is told when it is whole.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use super::{
    Came, To, Told, Way, Words, Written, broken, google, lack, lose, lose_all, queried, unspoken, voices,
    within,
};
use crate::{
    canon::{Error, Losses, Usage},
    fields::Fields,
    name,
};

/// A text to be spoken.
#[derive(Debug, Clone, PartialEq)]
pub struct Speech {
    text: String,
    voice: String,
    format: Option<Format>,
    speed: Option<f64>,
    /// Fields that nobody else has.
    extra: Vec<String>,
}

/// How sound is packed, in OpenAI's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Mp3,
    Opus,
    Aac,
    Flac,
    Wav,
    /// 24,000 samples a second of 16 bits, one channel, without a head.
    Pcm,
}

impl Format {
    const NAMES: [(Self, &'static str); 6] = [
        (Self::Mp3, "mp3"),
        (Self::Opus, "opus"),
        (Self::Aac, "aac"),
        (Self::Flac, "flac"),
        (Self::Wav, "wav"),
        (Self::Pcm, "pcm"),
    ];

    fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(format, _)| *format == self).map_or("mp3", |(_, name)| name)
    }

    fn media_type(self) -> &'static str {
        match self {
            Self::Mp3 => "audio/mpeg",
            Self::Opus => "audio/opus",
            Self::Aac => "audio/aac",
            Self::Flac => "audio/flac",
            Self::Wav => "audio/wav",
            Self::Pcm => "audio/pcm",
        }
    }
}

/// Samples a second of OpenAI's `pcm` (OpenAI: Text to speech, Supported output formats).
const PCM_RATE: u32 = 24_000;
/// How fast ElevenLabs, Deepgram and MiniMax speak (ElevenLabs: Voice settings; Deepgram: Voice controls; MiniMax: T2A
/// HTTP, `voice_setting.speed`).
const ELEVENLABS_SPEED: (f64, f64) = (0.7, 1.2);
const DEEPGRAM_SPEED: (f64, f64) = (0.7, 1.5);
const MINIMAX_SPEED: (f64, f64) = (0.5, 2.0);

pub(super) fn read(body: &[u8]) -> Result<Speech, Error> {
    let mut fields = Fields::document(body)?;
    fields.take("model");
    let text = fields.required_text("input")?;
    // A voice of one's own is an object with its id.
    let voice = match fields.take("voice") {
        Some(Value::String(voice)) => voice,
        Some(Value::Object(own)) => match own.get("id").and_then(Value::as_str) {
            Some(id) => id.to_owned(),
            None => {
                return Err(Error::invalid("voice", "`voice` must be a string, or an object with its `id`"));
            }
        },
        Some(_) => return Err(Error::invalid("voice", "`voice` must be a string")),
        None => return Err(fields.missing("voice")),
    };
    let format = match fields.text("response_format")? {
        None => None,
        Some(word) => match Format::NAMES.iter().find(|(_, name)| *name == word) {
            Some((format, _)) => Some(*format),
            None => return Err(fields.unknown("response_format", &word, "mp3, opus, aac, flac, wav or pcm")),
        },
    };
    if fields.text("stream_format")?.is_some_and(|format| format != "audio") {
        return Err(lack(
            "`stream_format`: sound is told as bytes alone by this model's provider: ask with `audio`, or without it",
        ));
    }
    let speed = fields.number("speed")?;
    if fields.peek_text("instructions") == Some("") {
        fields.take("instructions");
    }
    let mut extra = Vec::new();
    fields.rest(&mut extra);
    let extra = extra.into_iter().map(|(path, _)| path).collect();
    Ok(Speech { text, voice, format, speed, extra })
}

impl Speech {
    pub(super) fn write(&self, to: &To<'_>, losses: &mut Losses) -> Result<Written, Error> {
        lose_all(losses, &self.extra);
        match to.words {
            Words::ElevenLabs => self.elevenlabs(to, losses),
            Words::Deepgram => self.deepgram(to, losses),
            Words::Google => self.google(to, losses),
            Words::MiniMax => self.minimax(to, losses),
            _ => Err(unspoken("speech")),
        }
    }

    fn refused(&self, to: &To<'_>, known: &str) -> Error {
        let wanted = self.format.map_or("mp3", Format::name);
        let message =
            format!("`response_format`: `{wanted}` cannot be had of `{}`; expected {known}", to.model);
        Error::invalid("response_format", message)
    }

    /// `POST /v1/text-to-speech/{voice_id}/stream` (ElevenLabs: API reference, Stream speech).
    fn elevenlabs(&self, to: &To<'_>, losses: &mut Losses) -> Result<Written, Error> {
        let format = match self.format.unwrap_or(Format::Mp3) {
            Format::Mp3 => "mp3_44100_128",
            Format::Opus => "opus_48000_64",
            // A head is put before it here.
            Format::Pcm | Format::Wav => "pcm_24000",
            Format::Aac | Format::Flac => return Err(self.refused(to, "mp3, opus, wav or pcm")),
        };
        let voice = name::segment(&voices::resolve(to, &self.voice)?)?;
        let mut body = json!({"text": self.text, "model_id": to.model});
        if let Some(speed) = self.speed {
            body["voice_settings"] = json!({"speed": within(speed, ELEVENLABS_SPEED, "speed", losses)});
        }
        Ok(Written::json(format!("/text-to-speech/{voice}/stream?output_format={format}"), &body))
    }

    /// `POST /v1/speak` (Deepgram: API reference, Single Text Request). Which encodings stand in which containers is in
    /// "Media Output Settings".
    fn deepgram(&self, to: &To<'_>, losses: &mut Losses) -> Result<Written, Error> {
        let format = match self.format.unwrap_or(Format::Mp3) {
            Format::Mp3 => "encoding=mp3",
            Format::Opus => "encoding=opus&container=ogg",
            Format::Aac => "encoding=aac",
            Format::Flac => "encoding=flac",
            Format::Wav => "encoding=linear16&container=wav&sample_rate=24000",
            Format::Pcm => "encoding=linear16&container=none&sample_rate=24000",
        };
        // The voice is the model; a model that is one already speaks with its own.
        let model = match voices::resolve(to, &self.voice) {
            Ok(voice) => voice,
            Err(_) if voices::is_whole(to.model) => {
                lose(losses, "voice");
                to.model.to_owned()
            }
            Err(error) => return Err(error),
        };
        let mut path = format!("/speak?model={}&{format}", queried(&model));
        if let Some(speed) = self.speed.filter(|speed| *speed != 1.0) {
            path.push_str(&format!("&speed={}", within(speed, DEEPGRAM_SPEED, "speed", losses)));
        }
        Ok(Written::json(path, &json!({"text": self.text})))
    }

    /// `generateContent` with the modality AUDIO (Gemini API: Speech generation). Its samples are raw.
    fn google(&self, to: &To<'_>, losses: &mut Losses) -> Result<Written, Error> {
        match self.format {
            Some(Format::Wav | Format::Pcm) => {}
            // Who says nothing gets what plays everywhere.
            None => lose(losses, "response_format"),
            Some(_) => return Err(self.refused(to, "wav or pcm")),
        }
        if self.speed.is_some_and(|speed| speed != 1.0) {
            lose(losses, "speed");
        }
        let voice = voices::resolve(to, &self.voice)?;
        let body = json!({
            "contents": [{"role": "user", "parts": [{"text": self.text}]}],
            "generationConfig": {
                "responseModalities": ["AUDIO"],
                "speechConfig": {"voiceConfig": {"prebuiltVoiceConfig": {"voiceName": voice}}},
            },
        });
        Ok(Written::json(google::path(to.model, "generateContent")?, &body))
    }

    /// `POST /v1/t2a_v2` (MiniMax: Text to Speech (T2A) HTTP).
    fn minimax(&self, to: &To<'_>, losses: &mut Losses) -> Result<Written, Error> {
        let (format, rate) = match self.format.unwrap_or(Format::Mp3) {
            Format::Mp3 => ("mp3", 32_000),
            Format::Flac => ("flac", 32_000),
            Format::Wav => ("wav", PCM_RATE),
            Format::Pcm => ("pcm", PCM_RATE),
            Format::Opus | Format::Aac => return Err(self.refused(to, "mp3, flac, wav or pcm")),
        };
        let speed = within(self.speed.unwrap_or(1.0), MINIMAX_SPEED, "speed", losses);
        let body = json!({
            "model": to.model,
            "text": self.text,
            "stream": false,
            "output_format": "hex",
            "voice_setting": {"voice_id": voices::resolve(to, &self.voice)?, "speed": speed, "vol": 1, "pitch": 0},
            "audio_setting": {"format": format, "sample_rate": rate, "channel": 1},
        });
        Ok(Written::json("/t2a_v2".to_owned(), &body))
    }

    pub(super) fn way(&self, words: Words) -> Way {
        let format = self.format.unwrap_or(Format::Mp3);
        match words {
            Words::ElevenLabs => {
                let head = if format == Format::Wav { wav_head(None, PCM_RATE) } else { Vec::new() };
                Way::Passing { kind: format.media_type(), head }
            }
            Words::Deepgram => Way::Passing { kind: format.media_type(), head: Vec::new() },
            _ => Way::Whole,
        }
    }

    pub(super) fn tell(&self, words: Words, came: &Came<'_>) -> Result<Told, Error> {
        match words {
            Words::Google => self.of_google(came.body),
            Words::MiniMax => {
                let answer = super::faults::minimax(came.body)?;
                let text = answer.pointer("/data/audio").and_then(Value::as_str);
                let body = text.and_then(unhex).filter(|sound| !sound.is_empty());
                let body = body.ok_or_else(|| broken("the provider's answer has no sound"))?;
                Ok(sounding(self.format.unwrap_or(Format::Mp3), body, None))
            }
            _ => Err(unspoken("speech")),
        }
    }

    fn of_google(&self, body: &[u8]) -> Result<Told, Error> {
        let answer = google::answer(body)?;
        let (mut sound, mut rate) = (Vec::new(), PCM_RATE);
        for (kind, data) in google::data(&answer, "audio/") {
            let bytes = STANDARD.decode(data).map_err(|_| broken("the provider's sound is no base64"))?;
            let piece = match samples(&bytes) {
                Some((own, samples)) => {
                    rate = own;
                    samples
                }
                None => {
                    rate = parameter(kind, "rate").unwrap_or(PCM_RATE);
                    &bytes[..]
                }
            };
            sound.extend_from_slice(piece);
        }
        if sound.is_empty() {
            return Err(google::silent(&answer, "sound"));
        }
        let (kind, body) = match self.format {
            Some(Format::Pcm) if rate == PCM_RATE => (Format::Pcm, sound),
            Some(Format::Pcm) => {
                return Err(broken(format!(
                    "the provider's sound has {rate} samples a second, and `pcm` has {PCM_RATE}"
                )));
            }
            _ => (Format::Wav, [wav_head(Some(sound.len()), rate), sound].concat()),
        };
        Ok(sounding(kind, body, google::usage(&answer)))
    }
}

/// A sound that is told whole, as long as it is.
fn sounding(format: Format, body: Vec<u8>, usage: Option<Usage>) -> Told {
    let seconds_out = match format {
        Format::Pcm => Some((body.len() as u64).div_ceil(u64::from(PCM_RATE) * 2)),
        _ => crate::sound::length(&body).map(|length| length.seconds),
    };
    Told { kind: format.media_type(), body, usage, seconds_in: None, seconds_out, images: None }
}

/// The head of a WAV of 16 bits and one channel. Where nobody knows how long it becomes, its lengths are the largest, as
/// those who stream have it.
fn wav_head(bytes: Option<usize>, rate: u32) -> Vec<u8> {
    let length = bytes.and_then(|bytes| u32::try_from(bytes).ok()).filter(|length| *length < u32::MAX - 36);
    let (riff, data) = length.map_or((u32::MAX, u32::MAX), |length| (length + 36, length));
    let mut head = Vec::with_capacity(44);
    head.extend_from_slice(b"RIFF");
    head.extend_from_slice(&riff.to_le_bytes());
    head.extend_from_slice(b"WAVEfmt \x10\0\0\0\x01\0\x01\0");
    head.extend_from_slice(&rate.to_le_bytes());
    head.extend_from_slice(&(rate.saturating_mul(2)).to_le_bytes());
    head.extend_from_slice(b"\x02\0\x10\0data");
    head.extend_from_slice(&data.to_le_bytes());
    head
}

/// The rate and the samples of a WAV, where a sound is one of 16 bits and one channel.
fn samples(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let word = |at: usize| Some(u32::from_le_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?));
    if !bytes.starts_with(b"RIFF") || bytes.get(8..12) != Some(b"WAVE") {
        return None;
    }
    let (mut at, mut rate) = (12_usize, None);
    loop {
        let (kind, size) = (bytes.get(at..at + 4)?, word(at + 4)? as usize);
        let from = at + 8;
        match kind {
            b"fmt " => rate = Some(word(from + 4)?),
            b"data" => {
                let rest = bytes.get(from..)?;
                return Some((rate?, rest.get(..size).unwrap_or(rest)));
            }
            _ => {}
        }
        at = from.checked_add(size)?.checked_add(size & 1)?;
    }
}

/// A number among the parameters of a media type: `audio/L16;codec=pcm;rate=24000`.
fn parameter(kind: &str, wanted: &str) -> Option<u32> {
    kind.split(';').skip(1).find_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        name.trim().eq_ignore_ascii_case(wanted).then(|| value.trim().parse().ok())?
    })
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let pairs = text.as_bytes().chunks(2);
    pairs
        .map(|pair| match pair {
            [high, low] => Some((digit(*high)? * 16 + digit(*low)?) as u8),
            _ => None,
        })
        .collect()
}

#[cfg(test)]
mod tests;
