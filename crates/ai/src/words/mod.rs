//! What vendors have beside conversations in words of their own: speech, transcriptions, pictures and ranks. Callers
//! ask in OpenAI's words (for ranks in Cohere's); the request is read into a middle, written as the vendor has it, and
//! its answer told in the caller's words. What cannot be carried is named; what would change the meaning is refused.
//!
//! Which vendor is asked for what in which words is in the catalogue (`words`).

mod faults;
mod google;
mod hearing;
mod multipart;
mod pictures;
mod ranks;
mod speech;
mod timing;
mod voices;

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use crate::{
    canon::{Error, ErrorKind, Loss, Losses, Usage},
    endpoint::Operation,
};

/// Words of a vendor's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Words {
    /// Bodies of Bedrock's `InvokeModel`, which are those of the models' vendors.
    Bedrock,
    /// Deepgram: what is asked for is in the query.
    Deepgram,
    /// ElevenLabs.
    #[serde(rename = "elevenlabs")]
    ElevenLabs,
    /// Gemini's `generateContent` with other modalities, and `predict` of Imagen.
    Google,
    /// Jina's reranker.
    Jina,
    /// MiniMax: sound in hexadecimal, errors with status 200.
    #[serde(rename = "minimax")]
    MiniMax,
    /// The ranking API of Google's Discovery Engine.
    Ranking,
    /// Stability AI: forms in, bytes of a picture out.
    Stability,
    /// Voyage's reranker.
    Voyage,
    /// IBM watsonx.ai.
    Watsonx,
}

impl Words {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Bedrock,
        Self::Deepgram,
        Self::ElevenLabs,
        Self::Google,
        Self::Jina,
        Self::MiniMax,
        Self::Ranking,
        Self::Stability,
        Self::Voyage,
        Self::Watsonx,
    ];

    /// Whether errors may come with a good status.
    pub fn hides_errors(self) -> bool {
        self == Self::MiniMax
    }

    /// The error that an answer with a good status tells, with the status that it stands for.
    pub fn hidden_error(self, body: &[u8]) -> Option<Error> {
        let value: Value = serde_json::from_slice(body).ok().filter(|_| self.hides_errors())?;
        faults::refused_by_minimax(&value)
    }

    /// What a vendor's error says, in terms that every dialect can say.
    pub fn read_error(self, status: u16, body: &[u8]) -> Error {
        faults::read(self, status, body)
    }
}

/// What is asked for.
#[derive(Debug, Clone, PartialEq)]
pub enum Asked<'a> {
    /// A text to be spoken.
    Speech(speech::Speech),
    /// Speech to be written down.
    Hearing(hearing::Hearing<'a>),
    /// Pictures to be made or changed.
    Pictures(pictures::Pictures<'a>),
    /// Documents to be put in order.
    Ranks(ranks::Ranks),
}

/// Whom it is written for.
#[derive(Debug, Clone, Copy)]
pub struct To<'a> {
    /// In whose words.
    pub words: Words,
    /// The model, as the provider names it.
    pub model: &'a str,
    /// What voices are called there that callers name, `*` for all others.
    pub voices: &'a BTreeMap<String, String>,
}

/// What a provider is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// Below the provider's base address, with its query.
    pub path: String,
    /// The media type of the body.
    pub kind: String,
    /// Header fields that belong to it.
    pub headers: Vec<(&'static str, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Written {
    fn json(path: String, body: &Value) -> Self {
        let body = serde_json::to_vec(body).unwrap_or_default();
        Self { path, kind: "application/json".to_owned(), headers: Vec::new(), body }
    }
}

/// How an answer comes back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Way {
    /// It is read whole, and told by [`Asked::tell`].
    Whole,
    /// Its bytes pass as they come, behind some of our own.
    Passing {
        /// The media type.
        kind: &'static str,
        /// What stands before them.
        head: Vec<u8>,
    },
}

/// A whole answer of a provider's.
#[derive(Debug, Clone, Copy)]
pub struct Came<'a> {
    /// Its media type.
    pub kind: &'a str,
    /// Why it ended, where the head tells.
    pub finish: Option<&'a str>,
    /// Its bytes.
    pub body: &'a [u8],
}

/// What a caller is told.
#[derive(Debug, Clone, PartialEq)]
pub struct Told {
    /// The media type.
    pub kind: &'static str,
    /// The body.
    pub body: Vec<u8>,
    /// The tokens that the answer tells.
    pub usage: Option<Usage>,
    /// Seconds of sound that were listened to, as the answer tells.
    pub seconds_in: Option<u64>,
    /// Seconds of sound that were made, as they are counted here.
    pub seconds_out: Option<u64>,
    /// Pictures that came.
    pub images: Option<u64>,
}

impl Told {
    fn json(body: &Value, usage: Option<Usage>) -> Self {
        let body = serde_json::to_vec(body).unwrap_or_default();
        Self { kind: "application/json", body, usage, seconds_in: None, seconds_out: None, images: None }
    }
}

/// Reads a caller's request. `form` is the media type of one that is a form.
pub fn read<'a>(operation: Operation, form: Option<&str>, body: &'a [u8]) -> Result<Asked<'a>, Error> {
    match operation {
        Operation::Speech => Ok(Asked::Speech(speech::read(body)?)),
        Operation::Transcriptions | Operation::Translations => {
            let form = form.ok_or_else(|| Error::new(ErrorKind::Invalid, "the body must be a form"))?;
            let translates = operation == Operation::Translations;
            Ok(Asked::Hearing(hearing::read(form, body, translates)?))
        }
        Operation::Images => Ok(Asked::Pictures(pictures::read(body)?)),
        Operation::ImageEdits => match form {
            Some(form) => Ok(Asked::Pictures(pictures::read_form(form, body)?)),
            None => Err(lack("pictures are changed here where they come in a form: send `image` as a file")),
        },
        Operation::Rerank => Ok(Asked::Ranks(ranks::read(body)?)),
        other => Err(lack(format!("{} is not translated", other.name()))),
    }
}

impl Asked<'_> {
    /// Writes it for a provider.
    pub fn write(&self, to: &To<'_>, losses: &mut Losses) -> Result<Written, Error> {
        match self {
            Self::Speech(speech) => speech.write(to, losses),
            Self::Hearing(hearing) => hearing.write(to, losses),
            Self::Pictures(pictures) => pictures.write(to, losses),
            Self::Ranks(ranks) => ranks.write(to, losses),
        }
    }

    /// How the answer comes back.
    pub fn way(&self, words: Words) -> Way {
        match self {
            Self::Speech(speech) => speech.way(words),
            _ => Way::Whole,
        }
    }

    /// Tells a whole answer in the caller's words; `created` is the time now, in seconds since 1970.
    pub fn tell(&self, words: Words, came: &Came<'_>, created: u64) -> Result<Told, Error> {
        match self {
            Self::Speech(speech) => speech.tell(words, came),
            Self::Hearing(hearing) => hearing.tell(words, came),
            Self::Pictures(pictures) => pictures.tell(words, came, created),
            Self::Ranks(ranks) => ranks.tell(words, came),
        }
    }
}

/// A provider has no words for what is asked.
fn lack(message: impl Into<String>) -> Error {
    Error { status: 501, ..Error::new(ErrorKind::Invalid, message) }
}

/// A provider's answer is not as its documents have it.
fn broken(message: impl Into<String>) -> Error {
    Error { status: 502, ..Error::new(ErrorKind::Server, message) }
}

/// What has no words there at all, by the mistake of a catalogue.
fn unspoken(what: &str) -> Error {
    lack(format!("{what} cannot be asked for in the words of this provider"))
}

fn lose(losses: &mut Losses, field: &str) {
    losses.add(Loss::Field(field.to_owned()));
}

fn lose_all<'f>(losses: &mut Losses, fields: impl IntoIterator<Item = &'f String>) {
    fields.into_iter().for_each(|field| lose(losses, field));
}

/// A number of a caller's between those that a vendor takes; what it is lowered or raised to is a loss.
fn within(value: f64, (least, most): (f64, f64), field: &str, losses: &mut Losses) -> f64 {
    let bounded = value.clamp(least, most);
    if bounded != value {
        lose(losses, field);
    }
    bounded
}

/// A value in a query.
fn queried(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    for byte in value.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            other => out.push_str(&format!("%{other:02X}")),
        }
    }
    out
}
