//! What the gateway must know of a body that it passes on untouched: the model and whether a stream is wanted. The body
//! is read over once, without building it; the model is replaced where it stands.

use std::{borrow::Cow, fmt, ops::Range, sync::LazyLock};

use memchr::memmem::FinderRev;
use serde::{
    Deserialize, Deserializer,
    de::{Error as _, IgnoredAny, MapAccess, Visitor},
};
use serde_json::{Value, value::RawValue};

use crate::{
    canon::{Error, ErrorKind, Losses},
    dialect::Dialect,
    form,
    rules::{Cut, Rules, edits},
};

/// The top of a request's body.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Peek {
    /// The model, where the body names one.
    pub model: Option<String>,
    /// A stream is wanted.
    pub stream: bool,
    /// In a stream, the caller wants the usage told (OpenAI's chat dialect).
    pub include_usage: bool,
    /// Where the model's JSON string stands, quotes included.
    model_at: Option<Range<usize>>,
    /// Where the `stream_options` stand.
    options_at: Option<Range<usize>>,
    /// The body is a form: values stand there as they are.
    is_form: bool,
    /// What the provider is to go on from (OpenAI's Responses): `previous_response_id` and `conversation`.
    pub goes_on_from: [Option<String>; 2],
    /// It is to be answered later.
    pub background: bool,
    /// Where the one `file` of a form stands.
    file_at: Option<Range<usize>>,
    /// Where the one `prompt` of a form stands.
    prompt_at: Option<Range<usize>>,
    /// What limits are reckoned by.
    pub(crate) bounds: Bounds,
    /// Where the values of fields stand that some model refuses, or that hold such.
    ruled: Vec<(&'static str, Range<usize>)>,
}

/// How much a request asks for, in the words of all dialects, as they stand there.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Bounds {
    pub(crate) max_tokens: Value,
    pub(crate) max_completion_tokens: Value,
    pub(crate) max_output_tokens: Value,
    pub(crate) n: Value,
    pub(crate) best_of: Value,
    pub(crate) service_tier: Value,
    /// Gemini's `generationConfig`.
    pub(crate) generation: Value,
    /// Bedrock's `inferenceConfig`.
    pub(crate) inference: Value,
    /// It goes on from something that the provider keeps.
    pub(crate) is_continued: bool,
}

/// What is read of a body's top.
#[derive(Default)]
struct Top<'a> {
    model: Option<&'a RawValue>,
    stream: Option<bool>,
    stream_options: Option<&'a RawValue>,
    previous_response_id: Option<&'a RawValue>,
    conversation: Option<&'a RawValue>,
    background: Option<&'a RawValue>,
    // What limits are reckoned by.
    max_tokens: Option<&'a RawValue>,
    max_completion_tokens: Option<&'a RawValue>,
    max_output_tokens: Option<&'a RawValue>,
    n: Option<&'a RawValue>,
    best_of: Option<&'a RawValue>,
    service_tier: Option<&'a RawValue>,
    cached_content: Option<&'a RawValue>,
    generation: Option<&'a RawValue>,
    inference: Option<&'a RawValue>,
    // What some model refuses.
    ruled: Vec<(&'static str, &'a RawValue)>,
}

/// Names that mean something to the gateway. Some providers' servers read names in any case, and take the last of two:
/// in another case than its own none of these goes on.
const NAMES: [&str; 43] = [
    "model",
    "stream",
    "stream_options",
    "previous_response_id",
    "conversation",
    "background",
    "max_tokens",
    "max_completion_tokens",
    "max_output_tokens",
    "n",
    "best_of",
    "service_tier",
    "cachedContent",
    "cached_content",
    "generationConfig",
    "generation_config",
    "inferenceConfig",
    "messages",
    "contents",
    "input",
    "inputs",
    "system",
    "instructions",
    "systemInstruction",
    "system_instruction",
    "prompt",
    "prediction",
    "documents",
    "texts",
    "content",
    "query",
    "message",
    "suffix",
    "response",
    "tools",
    "functions",
    "toolConfig",
    "tool_config",
    "response_format",
    "text",
    "item",
    "session",
    "file_id",
];

/// The name that another is in some other case, as servers fold it that do.
fn folded(name: &str) -> Option<&'static str> {
    let fold = |letter: char| match letter {
        '\u{17f}' => 's',
        '\u{212a}' => 'k',
        other => other.to_ascii_lowercase(),
    };
    let is_it = |known: &str| match name.is_ascii() {
        true => known.eq_ignore_ascii_case(name),
        false => name.chars().map(fold).eq(known.chars().map(fold)),
    };
    NAMES.into_iter().find(|known| is_it(known)).filter(|known| *known != name)
}

/// A name, which is mostly there as it is written.
struct Name<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Name<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Name<'de>;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("a name")
            }

            fn visit_borrowed_str<E>(self, name: &'de str) -> Result<Self::Value, E> {
                Ok(Name(Cow::Borrowed(name)))
            }

            fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
                Ok(Name(Cow::Owned(name.to_owned())))
            }
        }
        from.deserialize_str(Reader)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Top<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Top<'de>;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut top = Top::default();
                let (mut seen, mut twice) = (0_u32, Vec::new());
                while let Some(Name(name)) = map.next_key::<Name<'de>>()? {
                    if &*name == "stream" {
                        once(&mut seen, 0, &name)?;
                        top.stream = map.next_value()?;
                        continue;
                    }
                    let (bit, place) = match &*name {
                        "model" => (1, &mut top.model),
                        "stream_options" => (2, &mut top.stream_options),
                        "previous_response_id" => (3, &mut top.previous_response_id),
                        "conversation" => (4, &mut top.conversation),
                        "background" => (5, &mut top.background),
                        "max_tokens" => (6, &mut top.max_tokens),
                        "max_completion_tokens" => (7, &mut top.max_completion_tokens),
                        "max_output_tokens" => (8, &mut top.max_output_tokens),
                        "n" => (9, &mut top.n),
                        "service_tier" => (10, &mut top.service_tier),
                        "cachedContent" | "cached_content" => (11, &mut top.cached_content),
                        "generationConfig" | "generation_config" => (12, &mut top.generation),
                        "inferenceConfig" => (13, &mut top.inference),
                        "best_of" => (14, &mut top.best_of),
                        other => {
                            if let Some(known) = folded(other) {
                                let message =
                                    format!("`{other}` is `{known}` in another case: write it as it is");
                                return Err(A::Error::custom(message));
                            }
                            if let Some(ruled) = edits::ruled(other) {
                                // One that is there more than once is left alone: nobody knows which of the two is read.
                                let there = top.ruled.iter().position(|(known, _)| *known == ruled);
                                let raw = map.next_value()?;
                                match there {
                                    Some(at) => twice.push(top.ruled.remove(at).0),
                                    None if twice.contains(&ruled) => {}
                                    None => top.ruled.push((ruled, raw)),
                                }
                                continue;
                            }
                            map.next_value::<IgnoredAny>()?;
                            continue;
                        }
                    };
                    once(&mut seen, bit, &name)?;
                    *place = map.next_value()?;
                    if let (Some(ruled), Some(raw)) = (edits::ruled(&name), *place) {
                        top.ruled.push((ruled, raw));
                    }
                }
                Ok(top)
            }
        }
        from.deserialize_map(Reader)
    }
}

/// Refuses a name that stands there twice, for a provider might read the other one.
fn once<E: serde::de::Error>(seen: &mut u32, bit: u32, name: &str) -> Result<(), E> {
    if *seen & (1 << bit) != 0 {
        return Err(E::custom(format!("duplicate field `{name}`")));
    }
    *seen |= 1 << bit;
    Ok(())
}

impl Top<'_> {
    fn bounds(&self) -> Bounds {
        let value = |raw: Option<&RawValue>| {
            raw.and_then(|raw| serde_json::from_str(raw.get()).ok()).unwrap_or_default()
        };
        let kept = [self.previous_response_id, self.conversation, self.cached_content];
        Bounds {
            max_tokens: value(self.max_tokens),
            max_completion_tokens: value(self.max_completion_tokens),
            max_output_tokens: value(self.max_output_tokens),
            n: value(self.n),
            best_of: value(self.best_of),
            service_tier: value(self.service_tier),
            generation: value(self.generation),
            inference: value(self.inference),
            is_continued: kept.iter().any(Option::is_some),
        }
    }
}

#[derive(Deserialize, Default)]
struct Options {
    #[serde(default)]
    include_usage: Option<bool>,
}

impl Peek {
    /// Reads a body over. A field that stands there twice is refused, for the provider might read the other one.
    pub fn of(body: &[u8]) -> Result<Self, Error> {
        let text = std::str::from_utf8(body)
            .map_err(|_| Error::new(ErrorKind::Invalid, "the body is not JSON: it is not UTF-8"))?;
        // Serde would take an array for the fields in their order.
        if !text.trim_start().starts_with('{') {
            return Err(Error::new(ErrorKind::Invalid, "the body must be a JSON object"));
        }
        let top: Top<'_> = serde_json::from_str(text).map_err(|error| {
            // What is refused of good JSON is no mistake in it.
            let message = match error.is_data() {
                true => error.to_string(),
                false => format!("the body is not JSON: {error}"),
            };
            Error::new(ErrorKind::Invalid, message)
        })?;
        let place = |raw: &RawValue| {
            let begin = raw.get().as_ptr() as usize - text.as_ptr() as usize;
            begin..begin + raw.get().len()
        };
        let model = match top.model {
            None => None,
            Some(raw) => Some(
                serde_json::from_str::<String>(raw.get())
                    .map_err(|_| Error::invalid("model", "`model` must be a string"))?,
            ),
        };
        let options: Options =
            top.stream_options.and_then(|raw| serde_json::from_str(raw.get()).ok()).unwrap_or_default();
        Ok(Self {
            model,
            stream: top.stream.unwrap_or(false),
            include_usage: options.include_usage.unwrap_or(false),
            model_at: top.model.map(place),
            options_at: top.stream_options.map(place),
            is_form: false,
            goes_on_from: [top.previous_response_id.map(id), top.conversation.map(id)],
            // A form of pictures has a `background` of another kind.
            background: top.background.is_some_and(|raw| raw.get() != "false"),
            file_at: None,
            prompt_at: None,
            bounds: top.bounds(),
            ruled: top.ruled.iter().map(|(name, raw)| (*name, place(raw))).collect(),
        })
    }

    /// Reads a form over (`multipart/form-data`, RFC 7578).
    pub fn of_form(content_type: &str, body: &[u8]) -> Result<Self, Error> {
        let fields = form::fields(content_type, body)?;
        let one = |name: &str| {
            let mut found = fields.iter().filter(|field| field.name == name);
            match (found.next(), found.next()) {
                (Some(_), Some(_)) => Err(Error::invalid(name, format!("`{name}` is there twice"))),
                (found, _) => Ok(found.map(|field| field.value.clone())),
            }
        };
        let text = |at: &Range<usize>| std::str::from_utf8(body.get(at.clone()).unwrap_or_default()).ok();
        let model_at = one("model")?;
        let model = match &model_at {
            None => None,
            Some(at) => {
                let model = text(at).ok_or_else(|| Error::invalid("model", "`model` must be text"))?;
                Some(model.to_owned())
            }
        };
        let stream = one("stream")?.as_ref().and_then(text) == Some("true");
        let (file_at, prompt_at) = (one("file")?, one("prompt")?);
        Ok(Self { model, stream, model_at, file_at, prompt_at, is_form: true, ..Self::default() })
    }

    /// Whether the body is a form, and no JSON.
    pub fn is_form(&self) -> bool {
        self.is_form
    }

    /// Where the one `file` of a form stands.
    pub fn file(&self) -> Option<Range<usize>> {
        self.file_at.clone()
    }

    /// Where the one `prompt` of a form stands.
    pub fn prompt(&self) -> Option<Range<usize>> {
        self.prompt_at.clone()
    }

    /// A form with another `prompt`, where it has one, and everything else as it is.
    pub fn with_prompt(&self, body: &[u8], prompt: &str) -> Vec<u8> {
        let cut = self.prompt_at.clone().filter(|at| !at.is_empty()).map(|at| (at, prompt.to_owned()));
        self.splice(body, None, None, cut.into_iter().collect())
    }

    /// The body with another model, and everything else as it is.
    pub fn with_model(&self, body: &[u8], model: &str) -> Vec<u8> {
        self.splice(body, Some(model), None, Vec::new())
    }

    /// How many answers are asked for side by side.
    pub fn answers(&self, dialect: Dialect) -> u64 {
        crate::ask::answers(dialect, &self.bounds)
    }

    /// Whether there is anything in the body that some model refuses.
    pub fn is_ruled(&self) -> bool {
        !self.ruled.is_empty()
    }

    /// What must change for a target that is spoken to in the dialect of the body; what is lost is named. `is_interleaved`
    /// is whether the caller asks Claude to think between calls.
    pub fn edits(
        &self,
        body: &[u8],
        dialect: Dialect,
        rules: &Rules,
        is_interleaved: bool,
        losses: &mut Losses,
    ) -> Vec<Cut> {
        edits::edits(body, &self.ruled, dialect, rules, is_interleaved, losses)
    }

    /// The body with another model where one is given, with the usage of a stream asked for where that is wanted, and
    /// with these changes.
    pub fn edited(&self, body: &[u8], model: Option<&str>, usage: bool, cuts: Vec<Cut>) -> Vec<u8> {
        self.splice(body, model, self.usage_wish().filter(|_| usage), cuts)
    }

    fn usage_wish(&self) -> Option<&'static str> {
        (self.stream && !self.include_usage).then_some(r#"{"include_usage":true}"#)
    }

    /// The same, and the usage asked for at the end of a stream, as OpenAI's chat dialect needs to be told.
    pub fn with_model_and_usage(&self, body: &[u8], model: &str) -> Vec<u8> {
        self.splice(body, Some(model), self.usage_wish(), Vec::new())
    }

    fn splice(&self, body: &[u8], model: Option<&str>, options: Option<&str>, mut cuts: Vec<Cut>) -> Vec<u8> {
        if let Some(model) = model
            && self.model.as_deref() != Some(model)
        {
            let written = || serde_json::Value::from(model).to_string();
            match &self.model_at {
                None if self.is_form => {}
                Some(at) if self.is_form => {
                    // An empty part may have no end of its own.
                    let ends = body.get(at.end..).is_some_and(|rest| rest.starts_with(b"\r\n"));
                    cuts.push((at.clone(), [model, if ends { "" } else { "\r\n" }].concat()));
                }
                Some(at) => cuts.push((at.clone(), written())),
                None => cuts.extend(first_field(body, "model", &written())),
            }
        }
        if let Some(options) = options {
            match &self.options_at {
                Some(at) => cuts.push((at.clone(), options.to_owned())),
                None => cuts.extend(first_field(body, "stream_options", options)),
            }
        }
        cuts.sort_by_key(|(at, _)| (at.start, at.end));
        let mut out = Vec::with_capacity(body.len() + 64);
        let mut from = 0;
        for (at, text) in cuts {
            out.extend_from_slice(&body[from..at.start]);
            out.extend_from_slice(text.as_bytes());
            from = at.end;
        }
        out.extend_from_slice(&body[from..]);
        out
    }
}

/// The id that something kept is named by: the text itself, or the `id` of an object. What is neither is no id.
fn id(raw: &RawValue) -> String {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Named {
        Text(String),
        Object { id: String },
    }
    match serde_json::from_str(raw.get()) {
        Ok(Named::Text(id) | Named::Object { id }) => id,
        Err(_) => String::new(),
    }
}

/// A field put before all others. An object without others gets none behind it.
fn first_field(body: &[u8], key: &str, value: &str) -> Option<(Range<usize>, String)> {
    let open = body.iter().position(|byte| *byte == b'{')? + 1;
    let empty = body[open..].iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'}');
    let comma = if empty { "" } else { "," };
    Some((open..open, format!("\"{key}\":{value}{comma}")))
}

/// Bytes behind the usage that are read over to see that nothing is around it.
const BEHIND_BYTES_MAX: usize = 512;

/// The object in which an answer tells its usage, whatever its dialect calls it.
pub(crate) fn usage(body: &[u8]) -> Option<Value> {
    #[derive(Deserialize)]
    struct Told {
        #[serde(default, alias = "usageMetadata")]
        usage: Option<Value>,
    }
    if let Some(told) = usage_at_end(body) {
        return Some(told);
    }
    // A stream of Gemini's may be an array, whose last piece tells the whole.
    if body.first() == Some(&b'[') {
        return serde_json::from_slice::<Vec<Told>>(body).ok()?.into_iter().rev().find_map(|told| told.usage);
    }
    serde_json::from_slice::<Told>(body).ok()?.usage
}

static USAGE: LazyLock<FinderRev<'static>> = LazyLock::new(|| FinderRev::new("\"usage"));

/// The same where it stands near the end of an object, as it mostly does: what is before it need not be read then. A
/// quote without a backslash before it begins or ends a string, and no string ends in front of a word, so this is a name;
/// and when the object that it is in ends with the body, it is a name of the answer's own.
fn usage_at_end(body: &[u8]) -> Option<Value> {
    let body = body.trim_ascii();
    let at = USAGE.rfind(body).filter(|_| body.starts_with(b"{"))?;
    let (before, told) = body.split_at_checked(at)?;
    let told = told.strip_prefix(b"\"usageMetadata\"").or_else(|| told.strip_prefix(b"\"usage\""))?;
    let told = told.trim_ascii_start().strip_prefix(b":")?.trim_ascii_start();
    if before.ends_with(b"\\") || !told.starts_with(b"{") {
        return None;
    }
    let mut values = serde_json::Deserializer::from_slice(told).into_iter::<Value>();
    let usage = values.next()?.ok()?;
    let behind = told.get(values.byte_offset()..)?.trim_ascii_start();
    let is_own = match behind.strip_prefix(b",") {
        None => behind == b"}",
        Some(fields) if fields.len() > BEHIND_BYTES_MAX => false,
        Some(fields) => serde_json::from_slice::<IgnoredAny>(&[b"{", fields].concat()).is_ok(),
    };
    is_own.then_some(usage)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(body: &str, model: &str) -> String {
        let peek = Peek::of(body.as_bytes()).expect("JSON");
        String::from_utf8(peek.with_model_and_usage(body.as_bytes(), model)).expect("text")
    }

    #[test]
    fn the_model_alone_is_replaced() {
        let body = r#" { "x" : {"model":"no"}, "model" : "sm\u0061rt" ,"n":1.50 } "#;
        assert_eq!(with(body, "gpt-4o"), r#" { "x" : {"model":"no"}, "model" : "gpt-4o" ,"n":1.50 } "#);
        assert_eq!(with(r#"{"model":"a"}"#, "q\"uote"), r#"{"model":"q\"uote"}"#);
        // What is right already is not touched.
        assert_eq!(with(body, "smart"), body);
    }

    #[test]
    fn a_body_without_a_model_gets_one() {
        assert_eq!(with("{}", "m"), r#"{"model":"m"}"#);
        assert_eq!(with(r#"{"a":1}"#, "m"), r#"{"model":"m","a":1}"#);
    }

    #[test]
    fn usage_is_asked_for_in_streams() {
        assert_eq!(
            with(r#"{"model":"a","stream":true}"#, "b"),
            r#"{"stream_options":{"include_usage":true},"model":"b","stream":true}"#
        );
        assert_eq!(
            with(r#"{"stream_options":{"include_usage":false},"model":"a","stream":true}"#, "a"),
            r#"{"stream_options":{"include_usage":true},"model":"a","stream":true}"#
        );
        let asked = r#"{"stream_options":{"include_usage":true},"model":"a","stream":true}"#;
        assert_eq!(with(asked, "a"), asked);
        assert_eq!(with(r#"{"model":"a","stream":null}"#, "a"), r#"{"model":"a","stream":null}"#);
    }

    #[test]
    fn the_usage_is_the_answers_own() {
        let own = |body: &str| usage(body.as_bytes()).and_then(|usage| usage.get("n")?.as_u64());
        for (body, want) in [
            (r#"{"a":[{"b":"x"}],"usage":{"n":1}}"#, Some(1)),
            (r#" { "usage" : { "n" : 2 } , "tier" : "x}" } "#, Some(2)),
            (r#"{"usageMetadata":{"n":3},"v":{"a":[1]}}"#, Some(3)),
            (r#"[{"usageMetadata":{"n":4}},{"usageMetadata":{"n":5}}]"#, Some(5)),
            // Of something else, or said.
            (r#"{"usage":{"n":6},"of":{"usage":{"n":9}}}"#, Some(6)),
            (r#"{"of":{"usage":{"n":9}}}"#, None),
            (r#"{"of":[{"usage":{"n":9}}]}"#, None),
            (r#"{"of":{"usage":{"n":9},"a":{}}}"#, None),
            (r#"{"usage":{"n":7},"text":"\"usage\":{\"n\":9}}"}"#, Some(7)),
            (r#"{"text":"\"usage\":{\"n\":9}}"}"#, None),
            (r#"{"text":"\\","usage":{"n":8}}"#, Some(8)),
            (r#"{"text":"usage"}"#, None),
            (r#"{"usage":null}"#, None),
            (r#"{"usage":{"n":1}"#, None),
        ] {
            assert_eq!(own(body), want, "{body}");
        }
    }

    #[test]
    fn what_stands_there_more_than_once_is_left_alone() {
        let ruled = |times: usize| {
            let fields = r#""top_p":0.5,"#.repeat(times);
            Peek::of(format!(r#"{{{fields}"temperature":1}}"#).as_bytes()).expect("JSON").ruled.len()
        };
        assert_eq!([1, 2, 3, 4].map(ruled), [2, 1, 1, 1]);
    }

    #[test]
    fn what_two_readers_could_read_differently_is_refused() {
        for body in [
            r#"{"model":"a","model":"b"}"#,
            r#"{"model":"a","\u006dodel":"b"}"#,
            r#"{"model":"a","Model":"b"}"#,
            r#"{"model":"a","MAX_TOKENS":1}"#,
            "{\"model\":\"a\",\"me\u{17f}\u{17f}ages\":[]}",
            r#"{"model":"a","systeminstruction":{}}"#,
            r#"{"cachedContent":"a","cached_content":"b"}"#,
            r#"{"model":1}"#,
            "[]",
            "",
            "{",
            "\u{feff}{}",
        ] {
            assert!(Peek::of(body.as_bytes()).is_err(), "{body}");
        }
        assert!(Peek::of(b"{\"a\":\"\xff\"}").is_err());
    }
}
