//! What is heard, as each vendor is asked for it, and as it is told.

use std::collections::BTreeMap;

use super::*;
use crate::canon::Loss;

const KIND: &str = "multipart/form-data; boundary=b";
const SOUND: &[u8] = b"RIFF\r\n--c\r\n\0\xff";

fn form(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut body = Vec::new();
    for (name, value) in fields {
        body.extend(
            format!("--b\r\ncontent-disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n").bytes(),
        );
    }
    body.extend(b"--b\r\ncontent-disposition: form-data; name=\"file\"; filename=\"a\"\r\ncontent-type: audio/x\r\n\r\n");
    body.extend(SOUND);
    body.extend(b"\r\n--b--\r\n");
    body
}

fn written(words: Words, model: &str, fields: &[(&str, &str)]) -> Result<(Written, Vec<String>), Error> {
    let (body, mut losses) = (form(fields), Losses::default());
    let hearing = read(KIND, &body, false)?;
    let written = hearing.write(&To { words, model, voices: &BTreeMap::new() }, &mut losses)?;
    let lost = losses.iter().map(|loss| match loss {
        Loss::Field(field) => field.clone(),
        other => format!("{other:?}"),
    });
    Ok((written, lost.collect()))
}

fn told(words: Words, fields: &[(&str, &str)], answer: &Value) -> Result<(String, Told), Error> {
    let (body, answer) = (form(fields), answer.to_string());
    let hearing = read(KIND, &body, false)?;
    let came = Came { kind: "application/json", finish: None, body: answer.as_bytes() };
    let told = hearing.tell(words, &came)?;
    Ok((String::from_utf8(told.body.clone()).expect("text"), told))
}

fn deepgram() -> Value {
    let words = json!([
        {"word": "high", "punctuated_word": "High", "start": 0.1, "end": 0.4, "confidence": 0.9},
        {"word": "water", "punctuated_word": "water.", "start": 0.5, "end": 0.9, "confidence": 0.8},
    ]);
    json!({
        "metadata": {"duration": 1.25},
        "results": {
            "channels": [{"detected_language": "en", "alternatives": [{"transcript": "High water.", "words": words}]}],
            "utterances": [{"start": 0.1, "end": 0.9, "transcript": "High water.", "confidence": 0.85}],
        },
    })
}

fn elevenlabs() -> Value {
    let word = |kind: &str, text: &str, start: f64, end: f64| json!({"type": kind, "text": text, "start": start, "end": end, "logprob": -0.25});
    json!({
        "language_code": "eng", "language_probability": 0.98, "text": "High water.", "audio_duration_secs": 1.25,
        "words": [word("word", "High", 0.1, 0.4), word("spacing", " ", 0.4, 0.5), word("word", "water.", 0.5, 0.9)],
    })
}

#[test]
fn each_vendor_is_asked_in_its_words() {
    let fields = [
        ("model", "alias"),
        ("language", "en"),
        ("prompt", "tides"),
        ("response_format", "srt"),
        ("include[]", "logprobs"),
    ];
    let (asked, lost) = written(Words::Deepgram, "nova-3", &fields).expect("written");
    assert_eq!(asked.path, "/listen?model=nova-3&smart_format=true&language=en&utterances=true");
    assert_eq!((asked.kind.as_str(), asked.body.as_slice()), ("audio/wav", SOUND));
    assert_eq!(lost, ["include[]", "prompt"]);

    let (asked, lost) = written(Words::ElevenLabs, "scribe_v2", &fields).expect("written");
    assert_eq!(
        (asked.path.as_str(), lost.as_slice()),
        ("/speech-to-text", ["include[]", "prompt"].map(str::to_owned).as_slice())
    );
    let parts = crate::form::fields(&asked.kind, &asked.body).expect("a form");
    let part = |name: &str| {
        let part = parts.iter().find(|part| part.name == name).expect("there");
        asked.body[part.value.clone()].to_vec()
    };
    assert_eq!((part("model_id"), part("language_code")), (b"scribe_v2".to_vec(), b"en".to_vec()));
    assert_eq!((part("timestamps_granularity"), part("file")), (b"word".to_vec(), SOUND.to_vec()));

    let (asked, _) = written(Words::Google, "gemini-3.8-flash", &fields[1..3]).expect("written");
    assert_eq!(asked.path, "/models/gemini-3.8-flash:generateContent");
    let body: Value = serde_json::from_slice(&asked.body).expect("JSON");
    let sound = json!({"mimeType": "audio/wav", "data": STANDARD.encode(SOUND)});
    assert_eq!(body.pointer("/contents/0/parts/0/inlineData"), Some(&sound));
    let wish = body.pointer("/contents/0/parts/1/text").and_then(Value::as_str).expect("a text");
    assert!(wish.contains("\"en\"") && wish.contains("tides"), "{wish}");
    let error = written(Words::Google, "gemini-3.8-flash", &fields).expect_err("no times");
    assert!(error.status == 400 && error.message.contains("json or text"), "{}", error.message);

    let (asked, lost) = written(Words::Google, "gemini-3.5-transcribe", &fields).expect("written");
    let body: Value = serde_json::from_slice(&asked.body).expect("JSON");
    let config = json!({"languageCodes": ["en"], "wordTimestamp": true});
    assert_eq!(body.pointer("/generationConfig/audioTranscriptionConfig"), Some(&config));
    assert_eq!((body.pointer("/contents/0/parts/1"), lost.len()), (None, 2));
}

#[test]
fn what_was_heard_is_told_in_every_form() {
    for (words, answer, logprob) in
        [(Words::Deepgram, deepgram(), 0.85_f64.ln()), (Words::ElevenLabs, elevenlabs(), -0.25)]
    {
        let say = |format: &str| told(words, &[("response_format", format)], &answer).expect(format);
        let (json, told_of) = say("json");
        assert_eq!(json, r#"{"text":"High water.","usage":{"type":"duration","seconds":2}}"#, "{words:?}");
        assert_eq!((told_of.kind, told_of.seconds_in), ("application/json", Some(2)));
        assert_eq!(say("text").0, "High water.\n");
        assert_eq!(say("srt").0, "1\n00:00:00,100 --> 00:00:00,900\nHigh water.\n\n", "{words:?}");
        assert_eq!(say("vtt").0, "WEBVTT\n\n00:00:00.100 --> 00:00:00.900\nHigh water.\n\n", "{words:?}");
        let verbose: Value = serde_json::from_str(&say("verbose_json").0).expect("JSON");
        let segment = &verbose["segments"][0];
        assert_eq!(
            (&verbose["duration"], &segment["text"]),
            (&json!(1.25), &json!("High water.")),
            "{verbose}"
        );
        assert!((segment["avg_logprob"].as_f64().expect("a number") - logprob).abs() < 1e-9, "{segment}");
        assert!(verbose.get("words").is_none(), "nobody asked for them");
        let fields = [("response_format", "verbose_json"), ("timestamp_granularities[]", "word")];
        let (text, _) = told(words, &fields, &answer).expect("told");
        let verbose: Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(verbose["words"][1], json!({"word": "water.", "start": 0.5, "end": 0.9}), "{words:?}");
        assert!(verbose.get("segments").is_none(), "words alone were asked for");
    }
    let gemini = json!({
        "candidates": [{"finishReason": "STOP", "content": {"parts": [{"text": "drafts", "thought": true}, {"text": "High water.\n"}]}}],
        "usageMetadata": {"promptTokenCount": 40, "candidatesTokenCount": 4, "promptTokensDetails": [{"modality": "AUDIO", "tokenCount": 32}]},
    });
    let (text, told_of) = told(Words::Google, &[], &gemini).expect("told");
    let value: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(
        (&value["text"], &value["usage"]["input_token_details"]["audio_tokens"]),
        (&json!("High water."), &json!(32))
    );
    assert_eq!((told_of.usage.map(|usage| usage.input_audio), told_of.seconds_in), (Some(32), None));
    let timed = json!({"candidates": [{"finishReason": "STOP", "content": {"parts": [{"text": "High water.", "audioTranscription": {
        "languageCode": "en-GB", "words": [{"word": "High", "endOffset": "0.400s"}, {"word": "water.", "startOffset": "0.500s", "endOffset": "0.900s"}]}}]}}]});
    let (text, _) = told(Words::Google, &[("response_format", "srt")], &timed).expect("told");
    assert_eq!(text, "1\n00:00:00,000 --> 00:00:00,900\nHigh water.\n\n");
}

#[test]
fn silence_is_an_empty_text_and_a_filter_is_none() {
    let stop = |reason: &str| json!({"candidates": [{"finishReason": reason, "content": {"parts": []}}]});
    assert_eq!(told(Words::Google, &[("response_format", "text")], &stop("STOP")).expect("told").0, "\n");
    let error = told(Words::Google, &[], &stop("SAFETY")).expect_err("filtered");
    assert_eq!(error.kind, crate::canon::ErrorKind::ContentFilter);
    for words in [Words::Deepgram, Words::ElevenLabs] {
        assert_eq!(told(words, &[], &json!({})).expect_err("nothing").status, 502, "{words:?}");
    }
}

#[test]
fn what_cannot_be_told_is_refused_before_anything_is_sent() {
    for (fields, status) in [
        (&[("stream", "true")][..], 501),
        (&[("response_format", "diarized_json")], 400),
        (&[("temperature", "warm")], 400),
    ] {
        assert_eq!(read(KIND, &form(fields), false).expect_err("refused").status, status, "{fields:?}");
    }
    let none = b"--b\r\ncontent-disposition: form-data; name=\"model\"\r\n\r\nm\r\n--b--\r\n";
    assert!(read(KIND, none, false).expect_err("no file").message.contains("`file` is required"));
}
