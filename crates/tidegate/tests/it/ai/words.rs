//! Speech, transcriptions, pictures and ranks of vendors that have them in words of their own: asked for through
//! OpenAI's and Cohere's SDKs, at a mock of the vendors that their own SDKs understand.

use std::collections::{BTreeMap, BTreeSet};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use super::{KEY, post, sdk::tell_table};
use crate::harness::{Answer, Gateway, Peer, Seen, Upstream, node, python};

/// The key of the gateway's at every vendor.
const OURS: &str = "provider-key-of-the-test";
const VOICE: &str = "JBFqnCBsd6RMkjVDRZzb";

fn answered(status: u16, kind: &str, more: &str, body: &[u8]) -> Option<Vec<u8>> {
    let length = body.len();
    let head =
        format!("HTTP/1.1 {status} X\r\ncontent-type: {kind}\r\n{more}content-length: {length}\r\n\r\n");
    Some([head.as_bytes(), body].concat())
}

fn told(body: &Value) -> Option<Vec<u8>> {
    answered(200, "application/json", "", body.to_string().as_bytes())
}

/// The path of a request, and its query.
fn target(seen: &Seen) -> (String, BTreeMap<String, String>) {
    let (path, query) = seen.target().split_once('?').unwrap_or((seen.target(), ""));
    let pair = |pair: &str| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (name.to_owned(), value.to_owned())
    };
    (path.to_owned(), query.split('&').filter(|pair| !pair.is_empty()).map(pair).collect())
}

/// The fields of a form. Of a file that has none its name and type are not looked at.
fn fields(seen: &Seen) -> BTreeMap<String, Vec<u8>> {
    let kind = seen.header("content-type").expect("a media type");
    let boundary = kind.split("boundary=").nth(1).expect("a boundary").trim_matches('"');
    let find =
        |text: &[u8], wanted: &str| text.windows(wanted.len()).position(|window| window == wanted.as_bytes());
    let mut fields = BTreeMap::new();
    let mut rest = seen.body.as_slice();
    while let Some(at) = find(rest, "name=\"") {
        rest = &rest[at + 6..];
        let name = String::from_utf8_lossy(&rest[..find(rest, "\"").expect("a quote")]).into_owned();
        rest = &rest[find(rest, "\r\n\r\n").expect("a head") + 4..];
        let end = find(rest, &format!("\r\n--{boundary}")).expect("an end");
        fields.insert(name, rest[..end].to_vec());
        rest = &rest[end..];
    }
    fields
}

fn body(seen: &Seen) -> Value {
    serde_json::from_slice(&seen.body).unwrap_or_default()
}

/// Whether a text is somewhere in a request.
fn says(seen: &Seen, text: &str) -> bool {
    String::from_utf8_lossy(&seen.body).contains(text)
}

fn gemini(part: &Value, usage: &Value) -> Option<Vec<u8>> {
    let content = json!({"role": "model", "parts": [{"text": "Here."}, part]});
    let content =
        if part.is_null() { json!({"role": "model", "parts": [{"text": "High water."}]}) } else { content };
    told(&json!({"candidates": [{"finishReason": "STOP", "content": content}], "usageMetadata": usage}))
}

/// All vendors, each as strict as its documents.
fn vendors() -> Upstream {
    Upstream::scripted(|seen| {
        let (path, query) = target(seen);
        let asked = |name: &str| query.get(name).map(String::as_str);
        match path.as_str() {
            _ if path.starts_with("/v1/text-to-speech/") => {
                assert_eq!(path, format!("/v1/text-to-speech/{VOICE}/stream"));
                if says(seen, "refuse me") {
                    let why = r#"{"detail":{"status":"invalid_text","message":"the text cannot be spoken"}}"#;
                    return answered(400, "application/json", "", why.as_bytes());
                }
                if says(seen, "wrong key") || seen.header("xi-api-key") != Some(OURS) {
                    let why =
                        r#"{"detail":{"status":"invalid_api_key","message":"Invalid API key of tide@x"}}"#;
                    return answered(401, "application/json", "", why.as_bytes());
                }
                let known = BTreeSet::from(["text", "model_id", "voice_settings"]);
                let body = body(seen);
                assert!(
                    body.as_object().expect("JSON").keys().all(|key| known.contains(key.as_str())),
                    "{body}"
                );
                let more = "request-id: r-1\r\ncharacter-cost: 10\r\n";
                match asked("output_format") {
                    Some("mp3_44100_128") => answered(200, "audio/mpeg", more, &[0xff; 5000]),
                    Some("pcm_24000") => answered(200, "audio/pcm", more, &[0; 96_000]),
                    other => panic!("no format is {other:?}"),
                }
            }
            "/v1/speech-to-text" => {
                let fields = fields(seen);
                assert!(fields["file"].starts_with(b"RIFF") && fields["model_id"] == b"scribe_v2");
                let word = |kind: &str, text: &str, start: f64, end: f64| json!({"type": kind, "text": text, "start": start, "end": end, "logprob": -0.25});
                let words = [
                    word("word", "High", 0.1, 0.4),
                    word("spacing", " ", 0.4, 0.5),
                    word("word", "water.", 0.5, 0.9),
                ];
                told(&json!({"language_code": "eng", "language_probability": 0.98, "text": "High water.",
                    "audio_duration_secs": 1.25, "words": words}))
            }
            "/v1/speak" => {
                assert_eq!(seen.header("authorization"), Some(&*format!("Token {OURS}")));
                assert!(
                    body(seen).as_object().is_some_and(|body| body.len() == 1 && body.contains_key("text"))
                );
                assert_eq!((asked("model"), asked("encoding")), (Some("aura-2-thalia-en"), Some("opus")));
                answered(200, "audio/ogg", "dg-request-id: r\r\n", b"OggS and so on")
            }
            "/v1/listen" => {
                assert!(seen.body.starts_with(b"RIFF"), "the sound is the body");
                let word = |word: &str, written: &str, start: f64, end: f64| json!({"word": word, "punctuated_word": written, "start": start, "end": end, "confidence": 0.9});
                let words = [word("high", "High", 0.1, 0.4), word("water", "water.", 0.5, 0.9)];
                let mut results = json!({"channels": [{"alternatives": [
                    {"transcript": "High water.", "confidence": 0.9, "words": words}]}]});
                if asked("utterances") == Some("true") {
                    results["utterances"] = json!([{"start": 0.1, "end": 0.9, "confidence": 0.85, "channel": 0,
                        "transcript": "High water.", "words": words, "speaker": 0, "id": "u"}]);
                }
                told(
                    &json!({"metadata": {"request_id": "r", "sha256": "s", "created": "2026-11-29T00:00:00Z",
                    "duration": 1.25, "channels": 1, "models": ["m"], "model_info": {}}, "results": results}),
                )
            }
            "/v1beta/models/gemini-3.8-flash-tts:generateContent" => {
                let sound = STANDARD.encode([0; 96_000]);
                let content = json!({"role": "model", "parts": [
                    {"inlineData": {"mimeType": "audio/L16;codec=pcm;rate=24000", "data": sound}}]});
                told(&json!({"candidates": [{"finishReason": "STOP", "content": content}],
                    "usageMetadata": {"promptTokenCount": 4, "candidatesTokenCount": 50,
                        "candidatesTokensDetails": [{"modality": "AUDIO", "tokenCount": 50}]}}))
            }
            path => pictures_and_ranks(seen, path),
        }
    })
}

fn pictures_and_ranks(seen: &Seen, path: &str) -> Option<Vec<u8>> {
    match path {
        "/v1beta/models/gemini-2.5-flash-image:generateContent" if says(seen, "refuse me") => {
            told(&json!({"candidates": [{"finishReason": "IMAGE_SAFETY", "content": {}}]}))
        }
        "/v1beta/models/gemini-2.5-flash-image:generateContent" => {
            let picture = json!({"inlineData": {"mimeType": "image/png", "data": "cGllcg=="}});
            gemini(
                &picture,
                &json!({"promptTokenCount": 5, "candidatesTokenCount": 1290,
                    "candidatesTokensDetails": [{"modality": "IMAGE", "tokenCount": 1290}]}),
            )
        }
        "/v1beta/models/gemini-3.8-flash:generateContent" => {
            assert!(says(seen, "inlineData") && says(seen, "audio/wav"));
            let usage = json!({"promptTokenCount": 40, "candidatesTokenCount": 4});
            if says(seen, "prompt_tokens") {
                let said =
                    json!({"parts": [{"text": r#"{"usage":{"prompt_tokens":0,"completion_tokens":0}}"#}]});
                return told(
                    &json!({"candidates": [{"finishReason": "STOP", "content": said}], "usageMetadata": usage}),
                );
            }
            gemini(
                &Value::Null,
                &json!({"promptTokenCount": 40, "candidatesTokenCount": 4,
                    "promptTokensDetails": [{"modality": "AUDIO", "tokenCount": 32}]}),
            )
        }
        _ if path.ends_with("/models/imagen-4.0-generate-001:predict") => {
            let count = body(seen)["parameters"]["sampleCount"].as_u64().expect("a number") as usize;
            if says(seen, "half of them") {
                // A filter took the other, and this one is too large to be read over twice.
                let large =
                    json!({"mimeType": "image/png", "bytesBase64Encoded": "cGllcg==".repeat(700_000)});
                return told(&json!({"predictions": [large, {"raiFilteredReason": "violence"}]}));
            }
            let one = json!({"mimeType": "image/png", "bytesBase64Encoded": "cGllcg=="});
            told(&json!({"predictions": vec![one; count]}))
        }
        "/v2beta/stable-image/generate/core" | "/v2beta/stable-image/edit/inpaint" => {
            assert_eq!(seen.header("accept"), Some("image/*"));
            assert!(seen.header("content-type").is_some_and(|kind| kind.starts_with("multipart/form-data;")));
            if fields(seen)["prompt"] == b"refuse me" {
                let why = r#"{"id":"i","name":"content_moderation","errors":["Your request was refused."]}"#;
                return answered(403, "application/json", "", why.as_bytes());
            }
            answered(200, "image/png", "finish-reason: SUCCESS\r\nseed: 7\r\n", b"pier")
        }
        "/v1/t2a_v2" if says(seen, "slow down") => {
            told(&json!({"base_resp": {"status_code": 1002, "status_msg": "rate limit"}}))
        }
        "/v1/t2a_v2" if says(seen, "no money") => {
            told(&json!({"base_resp": {"status_code": 1008, "status_msg": "insufficient balance of tide@x"}}))
        }
        "/v1/t2a_v2" if says(seen, "sensitive") => {
            told(&json!({"base_resp": {"status_code": 1026, "status_msg": "input new_sensitive"}}))
        }
        "/v1/t2a_v2" if says(seen, "refuse me") => {
            told(&json!({"base_resp": {"status_code": 2013, "status_msg": "invalid params"}}))
        }
        "/v1/t2a_v2" => {
            assert_eq!(seen.header("authorization"), Some(&*format!("Bearer {OURS}")));
            told(
                &json!({"data": {"audio": "00ff".repeat(100), "status": 2}, "extra_info": {"usage_characters": 10},
                    "base_resp": {"status_code": 0, "status_msg": "success"}}),
            )
        }
        "/v1/image_generation" => {
            told(&json!({"id": "i", "data": {"image_base64": ["cGllcg=="]}, "base_resp": {"status_code": 0}}))
        }
        "/model/stability.stable-image-core-v1%3A1/invoke" => {
            told(&json!({"seeds": [1], "finish_reasons": [null], "images": ["cGllcg=="]}))
        }
        "/model/cohere.rerank-v3-5%3A0/invoke" => {
            assert_eq!(body(seen)["api_version"], 2);
            told(&json!({"results": [{"index": 1, "relevance_score": 0.75}]}))
        }
        "/voyage/rerank" => {
            assert!(body(seen)["top_k"] == 1 && body(seen).get("top_n").is_none());
            told(
                &json!({"object": "list", "data": [{"index": 1, "relevance_score": 0.75}], "model": "m", "usage": {"total_tokens": 7}}),
            )
        }
        "/jina/rerank" => {
            assert_eq!(body(seen)["return_documents"], false);
            told(
                &json!({"model": "m", "results": [{"index": 1, "relevance_score": 0.75}], "usage": {"total_tokens": 7}}),
            )
        }
        "/v2/rerank" => {
            told(&json!({"id": "r", "results": [{"index": 1, "relevance_score": 0.75}], "meta": {}}))
        }
        other => panic!("nobody asks for {other}: {}", String::from_utf8_lossy(&seen.body)),
    }
}

/// Providers of every kind at the mock, and their models.
fn config(upstream: &Upstream, policies: &str, route: &str) -> String {
    let mut text = format!(
        "consumers: [{{name: app, keys: [{KEY}]}}]
accessLog: [{{kind: stdout, format: json}}]
routes:
  - name: models
    match: [{{path: {{prefix: /ai}}}}]
    policies: [{{keyAuth: {{headers: [x-api-key, authorization]}}}}{policies}]
    ai: {{stripPrefix: /ai{route}}}
ai:
  providers:
"
    );
    for (name, kind, path, more) in [
        ("e", "elevenlabs", "/v1", format!(", voices: {{anna: {VOICE}}}")),
        ("w", "elevenlabs", "/v1", format!(", voices: {{\"*\": {VOICE}}}")),
        ("d", "deepgram", "/v1", String::new()),
        ("g", "gemini", "/v1beta", String::new()),
        ("s", "stability", "/v2beta", String::new()),
        ("m", "minimax", "/v1", String::new()),
        ("b", "bedrock", "", String::new()),
        ("v", "voyage", "/voyage", String::new()),
        ("j", "jina", "/jina", String::new()),
        ("c", "cohere", "", String::new()),
    ] {
        let address = upstream.address;
        text += &format!(
            "    - {{name: {name}, kind: {kind}, baseUrl: \"http://{address}{path}\", keys: [{OURS}]{more}}}\n"
        );
    }
    text += "  models:\n";
    for (name, provider, model) in [
        ("eleven", "e", "eleven_v3"),
        ("wrong", "w", "eleven_v3"),
        ("scribe", "e", "scribe_v2"),
        ("aura", "d", "aura-2"),
        ("nova", "d", "nova-3"),
        ("gemini-tts", "g", "gemini-3.8-flash-tts"),
        ("gemini", "g", "gemini-3.8-flash"),
        ("gemini-image", "g", "gemini-2.5-flash-image"),
        ("imagen", "g", "imagen-4.0-generate-001"),
        ("core", "s", "core"),
        ("inpaint", "s", "inpaint"),
        ("minimax-tts", "m", "speech-2.6-hd"),
        ("minimax-image", "m", "image-01"),
        ("bedrock-image", "b", "stability.stable-image-core-v1:1"),
        ("bedrock-rank", "b", "cohere.rerank-v3-5:0"),
        ("voyage", "v", "rerank-2.5"),
        ("jina", "j", "jina-reranker-v2-base-multilingual"),
        ("cohere", "c", "rerank-v4"),
    ] {
        text += &format!("    - {{name: {name}, targets: [{{provider: {provider}, model: \"{model}\"}}]}}\n");
    }
    text
}

fn everyone(upstream: &Upstream) -> Gateway {
    Gateway::start(&config(upstream, "", ""))
}

const UNDERSTOOD: &str = r#"speech eleven audio/mpeg 5000 b'\xff\xff\xff\xff'
speech eleven audio/wav 96044 b'RIFF'
speech aura audio/opus 14 b'OggS'
speech gemini-tts audio/wav 96044 b'RIFF'
speech minimax-tts audio/pcm 200 b'\x00\xff\x00\xff'
heard nova High water. duration
heard scribe High water. duration
heard gemini High water. tokens
timed nova 1.25 water. 0.5 0.9 High water. 0.9 2.0
srt nova '1\n00:00:00,100 --> 00:00:00,900\nHigh water.\n\n'
timed scribe 1.25 water. 0.5 0.9 High water. 0.9 2.0
srt scribe '1\n00:00:00,100 --> 00:00:00,900\nHigh water.\n\n'
text 'High water.\n'
translated High water.
picture gemini-image cGllcg== 1290
picture imagen cGllcg== None
picture core cGllcg== None
picture minimax-image cGllcg== None
picture bedrock-image cGllcg== None
pictures ['cGllcg==', 'cGllcg==']
url data:image/png;base64,
edit gemini-image cGllcg==
edit inpaint cGllcg==
rank voyage 1 0.75
rank jina 1 0.75
rank bedrock-rank 1 0.75
rank cohere 1 0.75
"#;

/// By kind of provider, how the lines begin that tell of speech, a transcription, a picture, an edit and a rank.
const MADE: [(&str, [&str; 5]); 9] = [
    ("elevenlabs", ["speech eleven", "timed scribe", "", "", ""]),
    ("deepgram", ["speech aura", "timed nova", "", "", ""]),
    ("gemini", ["speech gemini-tts", "heard gemini", "picture gemini-image", "edit gemini-image", ""]),
    ("minimax", ["speech minimax-tts", "", "picture minimax-image", "", ""]),
    ("stability", ["", "", "picture core", "edit inpaint", ""]),
    ("bedrock", ["", "", "picture bedrock-image", "", "rank bedrock-rank"]),
    ("voyage", ["", "", "", "", "rank voyage"]),
    ("jina", ["", "", "", "", "rank jina"]),
    ("cohere", ["", "", "", "", "rank cohere"]),
];

#[test]
fn official_sdks_get_what_every_vendor_has_in_its_own_words() {
    let upstream = vendors();
    let gateway = everyone(&upstream);
    let base = format!("http://{}/ai", gateway.address);
    let (well, output) = Peer::start(python(include_str!("words.py"), &[&base, KEY])).finish();
    assert!(well, "{output}");
    let (understood, refused) = output.split_at(output.find("refused").expect("refusals"));
    assert_eq!(understood, UNDERSTOOD);
    let rows: String = MADE
        .iter()
        .map(|(kind, lines)| {
            let mark = |begin: &&str| {
                if understood.lines().any(|line| line.starts_with(begin)) { "✓" } else { "–" }
            };
            let cells: Vec<&str> =
                lines.iter().map(|begin| if begin.is_empty() { "" } else { mark(begin) }).collect();
            format!("| `{kind}` | {} |\n", cells.join(" | "))
        })
        .collect();
    let columns = ["speech", "transcription", "picture", "edit", "rank"];
    tell_table("`openai` and `cohere` for Python, beside conversations", &columns, &rows);
    let refused: Vec<&str> = refused.lines().collect();
    for (line, (what, begin, word)) in refused.iter().zip([
        ("voice", "BadRequestError 400", "or a voice of this gateway's: anna"),
        ("format", "BadRequestError 400", "expected wav or pcm"),
        ("by the vendor", "BadRequestError 400 invalid_text", "the text cannot be spoken"),
        ("with 200", "BadRequestError 400 2013", "invalid params"),
        ("key", "InternalServerError 502", "refuses the gateway's credentials"),
        ("filter", "BadRequestError 400", "Your request was refused."),
        ("filter of 200", "BadRequestError 400 moderation_blocked", "IMAGE_SAFETY"),
        ("two", "InternalServerError 501", "ask 2 times"),
        ("times", "BadRequestError 400", "expected json or text"),
        ("translation", "InternalServerError 501", "nova-3"),
    ]) {
        let begin = format!("refused {what} {begin}");
        assert!(line.starts_with(&begin) && line.contains(word), "{line}\nis not {begin:?} with {word:?}");
        assert!(!line.contains("tide@x"), "{line}");
    }
    assert_eq!(refused.len(), 10);
    // What a filter refuses says nothing of the key.
    let aside = |provider: &str| {
        let begin = format!("tidegate_ai_key_aside{{provider=\"{provider}\"");
        let metrics = gateway.metrics();
        let line = metrics.lines().find(|line| line.starts_with(&begin)).expect("a series");
        line.rsplit(' ').next().map(str::to_owned)
    };
    assert_eq!((aside("s").as_deref(), aside("w").as_deref()), (Some("0"), Some("1")));
    let (well, output) = Peer::start(node("words", include_str!("words.mjs"), &[&base, KEY])).finish();
    assert!(well, "{output}");
    let wanted = "speech audio/mpeg 5000\nheard High water. 1.25 High water.\npicture cGllcg== 1290";
    assert_eq!(output.trim_end(), wanted);
}

/// Names in the one spelling: Google's servers read both, and its SDK writes both.
fn in_snake_case(value: Value) -> Value {
    match value {
        Value::Object(own) => own
            .into_iter()
            .map(|(name, value)| {
                let letter = |letter: char| match letter.is_ascii_uppercase() {
                    true => format!("_{}", letter.to_ascii_lowercase()),
                    false => letter.to_string(),
                };
                (name.chars().map(letter).collect::<String>(), in_snake_case(value))
            })
            .collect(),
        Value::Array(list) => list.into_iter().map(in_snake_case).collect(),
        other => other,
    }
}

/// What a request says, however it is packed.
pub(super) fn said(seen: &Seen) -> (String, BTreeMap<String, String>, Value) {
    let (path, query) = target(seen);
    // Where a project's models are is the address of the provider.
    let path = path.find("/models/").map_or(path.clone(), |at| path[at..].to_owned());
    let kind = seen.header("content-type").unwrap_or_default();
    let body = if kind.starts_with("multipart/") {
        let text = |(name, value): (String, Vec<u8>)| (name, Value::from(String::from_utf8_lossy(&value)));
        // An SDK writes what is not there as `null`.
        let is_there = |(_, value): &(String, Vec<u8>)| value != b"null";
        Value::Object(fields(seen).into_iter().filter(is_there).map(text).collect())
    } else if kind.starts_with("application/json") {
        in_snake_case(body(seen))
    } else {
        String::from_utf8_lossy(&seen.body).into_owned().into()
    };
    (path, query, body)
}

#[test]
fn vendors_own_sdks_ask_the_mock_as_the_gateway_does_and_understand_it() {
    let upstream = vendors();
    let base = format!("http://{}", upstream.address);
    let (well, output) = Peer::start(python(include_str!("words_vendors.py"), &[&base, OURS])).finish();
    assert!(well, "{output}");
    let wanted = "speech 5000
heard High water. 1.25 [('High', 'word', 0.1), (' ', 'spacing', 0.4), ('water.', 'word', 0.5)]
speech 14
heard High water. 1.25 water. 0.9
speech 96000
picture b'pier'
pictures [b'pier', b'pier']";
    assert_eq!(output.trim_end(), wanted);
    let theirs: Vec<_> = upstream.seen().iter().map(said).collect();
    assert_eq!(theirs.len(), 7);
    let gateway = everyone(&upstream);
    let speech = |model: &str, voice: &str, more: &str| {
        let body = format!(r#"{{"model":"{model}","voice":"{voice}","input":"high water"{more}}}"#);
        assert_eq!(post(&gateway, "/ai/v1/audio/speech", "", &body).status, 200, "{model}");
    };
    let picture = |model: &str, more: &str| {
        let body = format!(r#"{{"model":"{model}","prompt":"a pier"{more}}}"#);
        assert_eq!(post(&gateway, "/ai/v1/images/generations", "", &body).status, 200, "{model}");
    };
    speech("eleven", "anna", r#","speed":1.1"#);
    let timed = [("language", "en"), ("response_format", "verbose_json")];
    assert_eq!(hear(&gateway, "scribe", &timed).status, 200);
    speech("aura", "thalia", r#","response_format":"opus""#);
    assert_eq!(hear(&gateway, "nova", &timed).status, 200);
    speech("gemini-tts", "Kore", "");
    picture("gemini-image", r#","size":"1024x1024""#);
    picture("imagen", r#","n":2"#);
    let ours: Vec<_> = upstream.seen()[7..].iter().map(said).collect();
    for (ours, theirs) in ours.iter().zip(&theirs) {
        assert_eq!(ours, theirs);
    }
    assert_eq!(ours.len(), theirs.len());
}

/// A form with a sound for the gateway.
fn hear(gateway: &Gateway, model: &str, fields: &[(&str, &str)]) -> Answer {
    let sound = b"RIFF\r\n--boundary\r\n\x00\xff".repeat(100);
    let mut body = Vec::new();
    let model = ("model", model);
    for (name, value) in std::iter::once(&model).chain(fields) {
        body.extend(
            format!("--tide\r\ncontent-disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n").bytes(),
        );
    }
    body.extend(b"--tide\r\ncontent-disposition: form-data; name=\"file\"; filename=\"a.wav\"\r\n\r\n");
    body.extend(sound);
    body.extend(b"\r\n--tide--\r\n");
    let head = format!(
        "POST /ai/v1/audio/transcriptions HTTP/1.1\nhost: gw\nx-api-key: {KEY}\n\
         content-type: multipart/form-data; boundary=tide\ncontent-length: {}",
        body.len()
    );
    gateway.send(&head, &body)
}

fn say(gateway: &Gateway, model: &str, more: &str) -> Answer {
    let body = format!(r#"{{"model":"{model}","input":"high water","voice":"anna"{more}}}"#);
    post(gateway, "/ai/v1/audio/speech", "", &body)
}

#[test]
fn what_is_lost_is_named_and_a_strict_route_refuses_it() {
    let upstream = vendors();
    let gateway = everyone(&upstream);
    let answer = say(&gateway, "eleven", r#","instructions":"whisper","speed":3"#);
    assert_eq!((answer.status, answer.header("x-tidegate-dropped")), (200, Some("instructions, speed")));
    assert_eq!((answer.header("character-cost"), answer.header("request-id")), (None, None), "{answer:?}");
    let body = r#"{"model":"gemini-image","prompt":"a pier","size":"1792x1024","quality":"high"}"#;
    let answer = post(&gateway, "/ai/v1/images/generations", "", body);
    assert_eq!((answer.status, answer.header("x-tidegate-dropped")), (200, Some("quality, size")));
    // Of two pictures one came.
    let picture = r#"{"model":"imagen","prompt":"half of them","n":2}"#;
    let answer = post(&gateway, "/ai/v1/images/generations", "", picture);
    assert_eq!((answer.status, answer.header("x-tidegate-images")), (200, Some("1")));
    let answer = hear(&gateway, "nova", &[("prompt", "tides"), ("temperature", "0.5")]);
    assert_eq!((answer.status, answer.header("x-tidegate-dropped")), (200, Some("prompt, temperature")));
    let body = r#"{"model":"voyage","query":"q","documents":["a","b"],"top_n":1,"max_tokens_per_doc":9}"#;
    let answer = post(&gateway, "/ai/v2/rerank", "", body);
    assert_eq!((answer.status, answer.header("x-tidegate-dropped")), (200, Some("max_tokens_per_doc")));
    let count = upstream.seen().len();
    let strict = Gateway::start(&config(&upstream, "", ", strict: true"));
    let answer = say(&strict, "eleven", r#","instructions":"whisper""#);
    assert_eq!(answer.status, 422, "{}", answer.text());
    assert!(answer.text().contains("instructions"), "{}", answer.text());
    assert_eq!(upstream.seen().len(), count, "nobody was asked");
    assert_eq!(say(&strict, "eleven", "").status, 200);
}

#[test]
fn who_still_reaches_imagen_pays_what_it_cost() {
    let upstream = vendors();
    let gateway =
        Gateway::start(&config(&upstream, ", {budget: {amount: 1000, key: consumer, name: b}}", ""));
    let body = r#"{"model":"imagen","prompt":"a pier","n":2}"#;
    let answer = post(&gateway, "/ai/v1/images/generations", "", body);
    assert_eq!((answer.status, answer.header("x-tidegate-cost")), (200, Some("0.08")), "{}", answer.text());
}

#[test]
fn letters_seconds_and_tokens_of_vendors_are_metered_and_paid() {
    let upstream = vendors();
    let budget = ", {budget: {amount: 1000, key: consumer, name: b}}";
    let gateway = Gateway::start(&config(&upstream, budget, ""));
    let answer = say(&gateway, "eleven", "");
    let cost = |answer: &Answer| answer.header("x-tidegate-cost").map(str::to_owned);
    // Ten letters at 0.00018.
    assert_eq!(
        (answer.header("x-tidegate-characters"), cost(&answer).as_deref()),
        (Some("10"), Some("0.0018"))
    );
    // 1.25 seconds, told by the vendor, begun ones whole, in every form.
    for (model, format, second) in
        [("nova", "json", 0.000_071_67), ("nova", "srt", 0.000_071_67), ("scribe", "text", 0.000_061_1)]
    {
        let answer = hear(&gateway, model, &[("response_format", format)]);
        assert_eq!(
            (answer.status, answer.header("x-tidegate-seconds-in")),
            (200, Some("2")),
            "{}",
            answer.text()
        );
        let found: f64 = cost(&answer).and_then(|text| text.parse().ok()).expect("a cost");
        assert!((found - 2.0 * second).abs() < 1e-9, "{model}: {found}");
    }
    // Gemini's are tokens: 40 at 0.75 and 4 at 3.75 a million; a picture's at 30, a sound's at 9.
    let answer = hear(&gateway, "gemini", &[("response_format", "text")]);
    assert_eq!(cost(&answer).as_deref(), Some("0.000045"), "{answer:?}");
    let picture = r#"{"model":"gemini-image","prompt":"a pier"}"#;
    let answer = post(&gateway, "/ai/v1/images/generations", "", picture);
    assert_eq!(answer.header("x-tidegate-output-tokens"), Some("1290"), "{answer:?}");
    assert_eq!(cost(&answer).as_deref(), Some("0.0387015"), "{answer:?}");
    let body = r#"{"model":"gemini-tts","input":"high water","voice":"Kore"}"#;
    let answer = post(&gateway, "/ai/v1/audio/speech", "", body);
    assert_eq!((answer.status, cost(&answer).as_deref()), (200, Some("0.000452")), "{answer:?}");
    let body = r#"{"model":"voyage","query":"q","documents":["a","b"],"top_n":1}"#;
    let answer = post(&gateway, "/ai/v1/rerank", "", body);
    assert_eq!(
        (answer.header("x-tidegate-input-tokens"), cost(&answer).as_deref()),
        (Some("7"), Some("0.00000035"))
    );
    // A text that looks like an account is none.
    let account = r#"Say {"usage":{"prompt_tokens":0,"completion_tokens":0}}"#;
    let answer = hear(&gateway, "gemini", &[("response_format", "text"), ("prompt", account)]);
    assert!(answer.text().contains("prompt_tokens"), "{}", answer.text());
    assert_eq!(
        (answer.header("x-tidegate-input-tokens"), cost(&answer).as_deref()),
        (Some("40"), Some("0.000045"))
    );
    // What is refused with a good status is not paid.
    let refused = r#"{"model":"minimax-tts","input":"refuse me","voice":"x"}"#;
    assert_eq!(post(&gateway, "/ai/v1/audio/speech", "", refused).status, 400);
    let records = gateway.records(10);
    let told: Vec<(&str, Option<u64>, Option<bool>)> = records
        .iter()
        .map(|record| {
            let ai = &record["ai"];
            (ai["operation"].as_str().unwrap_or(""), ai["seconds_in"].as_u64(), ai["is_estimate"].as_bool())
        })
        .collect();
    // Workers tell of their calls each for itself, in no order.
    let count = |wanted| told.iter().filter(|one| **one == wanted).count();
    assert_eq!(count(("transcription", Some(2), Some(false))), 3, "{told:?}");
    assert_eq!(count(("speech", None, Some(false))), 2, "{told:?}");
    let refused = records.iter().find(|record| record["status"] == 400).expect("the refused one");
    assert!(refused["ai"]["cost_usd"].is_null() || refused["ai"]["cost_usd"] == 0, "{refused}");
    let spent: f64 = records.iter().filter_map(|record| record["ai"]["cost_usd"].as_f64()).sum();
    let metric = |model: &str, provider: &str| {
        let series = format!(
            "tidegate_ai_cost_usd_total{{route=\"models\",provider=\"{provider}\",model=\"{model}\"}}"
        );
        gateway.metric(&series).unwrap_or(0.0)
    };
    let told: f64 = [
        ("eleven", "e"),
        ("nova", "d"),
        ("scribe", "e"),
        ("gemini", "g"),
        ("gemini-image", "g"),
        ("gemini-tts", "g"),
        ("voyage", "v"),
    ]
    .iter()
    .map(|(model, provider)| metric(model, provider))
    .sum();
    assert!((spent - told).abs() < 1e-9 && spent > 0.04, "{spent} {told}");
}

/// MiniMax tells its errors with status 200.
#[test]
fn an_error_with_a_good_status_is_an_error_that_the_next_target_may_do_better_than() {
    let upstream = vendors();
    let either = "    - {name: either, targets: [{provider: m, model: speech-2.6-hd}, {provider: e, model: eleven_v3, weight: 0}]}\n";
    let filtered = either.replace("either", "filtered").replace("]}\n", "], fallbackOn: [contentFilter]}\n");
    let budget = ", {budget: {amount: 1000, key: consumer, name: b}}";
    let gateway = Gateway::start(&(config(&upstream, budget, "") + either + &filtered));
    let say = |model: &str, text: &str| {
        let body = format!(r#"{{"model":"{model}","input":"{text}","voice":"anna"}}"#);
        post(&gateway, "/ai/v1/audio/speech", "", &body)
    };
    for (model, text, want) in [
        ("filtered", "sensitive", (200, Some("e"))),
        ("either", "sensitive", (400, Some("m"))),
        ("either", "refuse me", (400, Some("m"))),
        // The key is at its limit for this model.
        ("minimax-tts", "slow down", (429, Some("m"))),
        ("minimax-tts", "high water", (429, None)),
        ("either", "slow down", (200, Some("e"))),
    ] {
        let answer = say(model, text);
        assert_eq!(
            (answer.status, answer.header("x-tidegate-provider")),
            want,
            "{model} {text}: {}",
            answer.text()
        );
    }
    // Whose money is spent is nobody's business but the operator's, and nothing was made that could be charged.
    let fresh = Gateway::start(&(config(&upstream, budget, "") + either));
    let body = |model: &str| format!(r#"{{"model":"{model}","input":"no money","voice":"anna"}}"#);
    let answer = post(&fresh, "/ai/v1/audio/speech", "", &body("minimax-tts"));
    assert_eq!(answer.status, 502, "{}", answer.text());
    assert!(!answer.text().contains("tide@x"), "{}", answer.text());
    let record = fresh.records(1).remove(0);
    assert!(record["ai"]["cost_usd"].is_null() || record["ai"]["cost_usd"] == 0, "{record}");
    assert_eq!(fresh.metric("tidegate_ai_key_aside{provider=\"m\"}").unwrap_or(1.0), 1.0);
    let answer = post(&fresh, "/ai/v1/audio/speech", "", &body("either"));
    assert_eq!((answer.status, answer.header("x-tidegate-provider")), (200, Some("e")), "{}", answer.text());
}

#[test]
fn rules_read_what_is_spoken_and_what_was_heard() {
    let upstream = vendors();
    let rules = ", {guardrails: {rules: [{name: rivals, words: [high], mode: mask, on: request}, {name: tides, words: [water], on: answer}]}}";
    let gateway = Gateway::start(&config(&upstream, rules, ""));
    let answer = say(&gateway, "eleven", "");
    assert_eq!(answer.status, 200, "{}", answer.text());
    let seen = upstream.seen().pop().expect("a request");
    assert!(!says(&seen, "high") && says(&seen, "water"), "{:?}", body(&seen));
    // Of a form its prompt is read: at some vendors it says what is done.
    let answer = hear(&gateway, "gemini", &[("prompt", "high and low")]);
    let seen = upstream.seen().pop().expect("a request");
    assert!(says(&seen, "low") && !says(&seen, "high"), "{}", answer.text());
    for format in ["json", "srt", "verbose_json"] {
        let answer = hear(&gateway, "nova", &[("response_format", format)]);
        assert!(
            answer.text().contains("guardrail_blocked") && !answer.text().contains("water."),
            "{}",
            answer.text()
        );
    }
}

#[test]
fn sound_is_played_while_it_comes_and_breaks_off_with_its_vendor() {
    use std::{
        io::Write,
        sync::{
            Arc,
            atomic::{AtomicBool, Ordering},
        },
    };
    let heard = Arc::new(AtomicBool::new(false));
    let goes_on = heard.clone();
    let upstream = Upstream::raw(move |mut reader, _| {
        let Some(seen) = crate::harness::read_request(&mut reader) else { return };
        let breaks = says(&seen, "break off");
        let head =
            "HTTP/1.1 200 OK\r\ncontent-type: audio/pcm\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhigh\r\n";
        let socket = reader.get_mut();
        socket.write_all(head.as_bytes()).expect("written");
        if breaks {
            return;
        }
        while !goes_on.load(Ordering::Relaxed) {
            crate::harness::pause(5);
        }
        socket.write_all(b"5\r\nwater\r\n0\r\n\r\n").expect("written");
    });
    let gateway = everyone(&upstream);
    let body = r#"{"model":"eleven","input":"high water","voice":"anna","response_format":"wav"}"#;
    let head = format!(
        "POST /ai/v1/audio/speech HTTP/1.1\r\nhost: gw\r\nx-api-key: {KEY}\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let mut client = crate::harness::Client::connect(gateway.address);
    client.write(format!("{head}{body}"));
    let told = client.read_head().expect("a head");
    assert_eq!((told.status, told.header("content-type")), (200, Some("audio/wav")));
    assert_eq!(told.header("transfer-encoding"), Some("chunked"));
    // The head of the WAV, and what the vendor has said until now.
    let mut all = Vec::new();
    while !all.windows(4).any(|window| window == b"high") {
        all.extend(client.read_bytes(1));
    }
    assert!(all.windows(4).any(|window| window == b"WAVE"), "{all:?}");
    heard.store(true, Ordering::Relaxed);
    while !all.ends_with(b"0\r\n\r\n") {
        all.extend(client.read_bytes(1));
    }
    assert!(all.windows(5).any(|window| window == b"water"));
    let body = r#"{"model":"eleven","input":"break off","voice":"anna"}"#;
    let head = format!(
        "POST /ai/v1/audio/speech HTTP/1.1\r\nhost: gw\r\nx-api-key: {KEY}\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let bytes = crate::harness::raw(gateway.address, format!("{head}{body}").as_bytes());
    assert!(!bytes.ends_with(b"0\r\n\r\n"), "what broke off has no end: {}", String::from_utf8_lossy(&bytes));
}
