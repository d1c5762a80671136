//! Speech as each vendor is asked for it, and as it is told.

use std::collections::BTreeMap;

use super::*;
use crate::canon::Loss;

const ELEVEN: &str = "JBFqnCBsd6RMkjVDRZzb";

fn speech(more: &str) -> Result<Speech, Error> {
    read(format!(r#"{{"model":"alias","input":"high water"{more}}}"#).as_bytes())
}

fn written(words: Words, model: &str, more: &str) -> Result<(String, Value, Vec<String>), Error> {
    let mut losses = Losses::default();
    let voices = BTreeMap::from([("alloy".to_owned(), ELEVEN.to_owned())]);
    let voices = if words == Words::ElevenLabs { voices } else { BTreeMap::new() };
    let written = speech(more)?.write(&To { words, model, voices: &voices }, &mut losses)?;
    let lost = losses.iter().map(|loss| match loss {
        Loss::Field(field) => field.clone(),
        other => format!("{other:?}"),
    });
    Ok((written.path, serde_json::from_slice(&written.body).expect("JSON"), lost.collect()))
}

#[test]
fn each_vendor_is_asked_in_its_words() {
    let (path, body, lost) = written(
        Words::ElevenLabs,
        "eleven_v3",
        r#","voice":"alloy","response_format":"opus","speed":2,"instructions":"whisper""#,
    )
    .expect("written");
    assert_eq!(path, format!("/text-to-speech/{ELEVEN}/stream?output_format=opus_48000_64"));
    assert_eq!(
        body,
        json!({"text": "high water", "model_id": "eleven_v3", "voice_settings": {"speed": 1.2}})
    );
    assert_eq!(lost, ["instructions", "speed"]);

    let (path, body, lost) =
        written(Words::Deepgram, "aura-2", r#","voice":"thalia","response_format":"pcm","speed":1.25"#)
            .expect("written");
    assert_eq!(
        path,
        "/speak?model=aura-2-thalia-en&encoding=linear16&container=none&sample_rate=24000&speed=1.25"
    );
    assert_eq!((body, lost.len()), (json!({"text": "high water"}), 0));
    let (path, _, lost) = written(Words::Deepgram, "aura-2-zeus-en", r#","voice":"alloy""#).expect("written");
    assert_eq!((path.as_str(), lost), ("/speak?model=aura-2-zeus-en&encoding=mp3", vec!["voice".to_owned()]));

    let (path, body, lost) =
        written(Words::Google, "gemini-3.8-flash-tts", r#","voice":{"id":"kore"}"#).expect("written");
    assert_eq!(path, "/models/gemini-3.8-flash-tts:generateContent");
    assert_eq!(body.pointer("/generationConfig/responseModalities"), Some(&json!(["AUDIO"])));
    let voice = "/generationConfig/speechConfig/voiceConfig/prebuiltVoiceConfig/voiceName";
    assert_eq!((body.pointer(voice), lost), (Some(&json!("Kore")), vec!["response_format".to_owned()]));

    let (path, body, _) =
        written(Words::MiniMax, "speech-2.6-hd", r#","voice":"Wise_Woman","response_format":"wav""#)
            .expect("written");
    assert_eq!((path.as_str(), &body["voice_setting"]["voice_id"]), ("/t2a_v2", &json!("Wise_Woman")));
    assert_eq!(body["audio_setting"], json!({"format": "wav", "sample_rate": 24000, "channel": 1}));
}

#[test]
fn formats_that_a_vendor_has_not_are_refused_with_those_that_it_has() {
    for (words, model, format, known) in [
        (Words::ElevenLabs, "m", "flac", "mp3, opus, wav or pcm"),
        (Words::Google, "m", "mp3", "wav or pcm"),
        (Words::MiniMax, "m", "opus", "mp3, flac, wav or pcm"),
    ] {
        let more = format!(r#","voice":"kore","response_format":"{format}""#);
        let error = written(words, model, &more).expect_err(format);
        assert!(error.status == 400 && error.message.contains(known), "{}", error.message);
    }
    for (more, status) in [
        (r#","voice":"alloy","response_format":"au""#, 400),
        (r#","voice":"alloy","stream_format":"sse""#, 501),
        (r#","voice":{"name":"x"}"#, 400),
        ("", 400),
    ] {
        assert_eq!(speech(more).expect_err(more).status, status, "{more}");
    }
}

#[test]
fn sound_that_is_packed_is_unpacked_and_counted() {
    let samples: Vec<u8> = (0..200_u8).collect();
    let answer = |kind: &str, bytes: &[u8]| {
        json!({
            "candidates": [{"finishReason": "STOP", "content": {"parts": [
                {"inlineData": {"mimeType": kind, "data": STANDARD.encode(bytes)}}]}}],
            "usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": 50,
                "candidatesTokensDetails": [{"modality": "AUDIO", "tokenCount": 50}]},
        })
        .to_string()
    };
    let tell = |format: &str, answer: &str| {
        let speech = speech(&format!(r#","voice":"kore"{format}"#)).expect("read");
        speech.tell(Words::Google, &Came { kind: "application/json", finish: None, body: answer.as_bytes() })
    };
    let raw = answer("audio/L16;codec=pcm;rate=24000", &samples);
    let told = tell(r#","response_format":"pcm""#, &raw).expect("told");
    assert_eq!((told.kind, &told.body), ("audio/pcm", &samples));
    assert_eq!(told.usage.map(|usage| (usage.input, usage.output_audio)), Some((3, 50)));
    let told = tell("", &raw).expect("told");
    assert_eq!((told.kind, told.body.len()), ("audio/wav", 244));
    assert_eq!(super::samples(&told.body), Some((24_000, &samples[..])));
    assert_eq!(crate::sound::rate(&told.body), Some(48_000), "its length is counted");
    // A WAV that comes stays one, and is opened for who wants samples.
    let packed = answer("audio/wav", &told.body);
    assert_eq!(tell(r#","response_format":"pcm""#, &packed).expect("told").body, samples);
    let slow = answer("audio/L16;rate=16000", &samples);
    assert_eq!(tell(r#","response_format":"pcm""#, &slow).expect_err("another rate").status, 502);
    assert_eq!(crate::sound::rate(&tell("", &slow).expect("told").body), Some(32_000));
    let filtered = r#"{"candidates":[{"finishReason":"SAFETY"}]}"#;
    assert_eq!(tell("", filtered).expect_err("filtered").kind, crate::canon::ErrorKind::ContentFilter);
    assert_eq!(tell("", r#"{"candidates":[]}"#).expect_err("nothing").status, 502);

    let speech = speech(r#","voice":"x","response_format":"pcm""#).expect("read");
    let tell = |body: &str| {
        speech.tell(Words::MiniMax, &Came { kind: "application/json", finish: None, body: body.as_bytes() })
    };
    let told = tell(r#"{"data":{"audio":"00ffA0"},"base_resp":{"status_code":0}}"#).expect("told");
    assert_eq!((told.kind, told.body), ("audio/pcm", vec![0, 0xff, 0xa0]));
    for broken in
        [r#"{"data":{"audio":"0"}}"#, r#"{"data":{"audio":"zz"}}"#, r#"{"data":{"audio":""}}"#, "{}"]
    {
        assert_eq!(tell(broken).expect_err(broken).status, 502, "{broken}");
    }
}

#[test]
fn sound_that_passes_has_the_head_that_its_caller_asked_for() {
    let way = |format: &str, words| {
        speech(&format!(r#","voice":"v","response_format":"{format}""#)).expect("read").way(words)
    };
    assert_eq!(way("mp3", Words::ElevenLabs), Way::Passing { kind: "audio/mpeg", head: Vec::new() });
    assert_eq!(way("wav", Words::Deepgram), Way::Passing { kind: "audio/wav", head: Vec::new() });
    assert_eq!(way("wav", Words::Google), Way::Whole);
    let Way::Passing { kind, head } = way("wav", Words::ElevenLabs) else { panic!("it passes") };
    assert_eq!((kind, head.len(), crate::sound::rate(&head)), ("audio/wav", 44, Some(48_000)));
}
