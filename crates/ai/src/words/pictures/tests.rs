//! Pictures as each vendor is asked for them, and as they are told.

use std::collections::BTreeMap;

use super::*;
use crate::canon::{ErrorKind, Loss};

fn pictures(more: &str) -> Result<Pictures<'static>, Error> {
    read(format!(r#"{{"model":"alias","prompt":"a pier"{more}}}"#).as_bytes())
}

fn write(pictures: &Pictures<'_>, words: Words, model: &str) -> Result<(Written, Vec<String>), Error> {
    let mut losses = Losses::default();
    let written = pictures.write(&To { words, model, voices: &BTreeMap::new() }, &mut losses)?;
    let lost = losses.iter().map(|loss| match loss {
        Loss::Field(field) => field.clone(),
        other => format!("{other:?}"),
    });
    Ok((written, lost.collect()))
}

fn written(words: Words, model: &str, more: &str) -> Result<(String, Value, Vec<String>), Error> {
    let (written, lost) = write(&pictures(more)?, words, model)?;
    Ok((written.path, serde_json::from_slice(&written.body).unwrap_or_default(), lost))
}

/// The fields of a form that was written.
fn parts(written: &Written) -> BTreeMap<String, Vec<u8>> {
    let fields = form::fields(&written.kind, &written.body).expect("a form");
    fields.into_iter().map(|field| (field.name, written.body[field.value].to_vec())).collect()
}

#[test]
fn sizes_become_ratios_and_what_is_another_size_is_named() {
    for (size, words, model, want, is_lost) in [
        ("1024x1024", Words::Google, "gemini-2.5-flash-image", "1:1", false),
        ("1536x1024", Words::Google, "gemini-2.5-flash-image", "3:2", false),
        ("1792x1024", Words::Google, "gemini-2.5-flash-image", "16:9", true),
        ("1024x1536", Words::MiniMax, "image-01", "2:3", false),
        ("1024x1536", Words::Google, "imagen-4.0-generate-001", "3:4", true),
        ("1024x1792", Words::Bedrock, "stability.stable-image-core-v1:1", "9:16", true),
    ] {
        let (_, body, lost) = written(words, model, &format!(r#","size":"{size}""#)).expect("written");
        let places =
            ["/generationConfig/imageConfig/aspectRatio", "/parameters/aspectRatio", "/aspect_ratio"];
        let found = places.iter().find_map(|place| body.pointer(place));
        assert_eq!((found, lost == ["size"]), (Some(&json!(want)), is_lost), "{size} {model}: {lost:?}");
    }
    let (_, body, _) =
        written(Words::Google, "gemini-3-pro-image", r#","size":"2048x2048""#).expect("written");
    assert_eq!(body.pointer("/generationConfig/imageConfig/imageSize"), Some(&json!("2K")));
    let (_, _, lost) =
        written(Words::Google, "gemini-2.5-flash-image", r#","size":"4096x4096""#).expect("written");
    assert_eq!(lost, ["size"]);
    for size in ["0x5", "big", "99999999x1"] {
        assert_eq!(pictures(&format!(r#","size":"{size}""#)).expect_err(size).status, 400);
    }
}

#[test]
fn each_vendor_is_asked_in_its_words() {
    let more = r#","n":2,"quality":"high","background":"auto","output_format":"jpeg","output_compression":80,"user":"u""#;
    let (path, body, lost) = written(Words::Google, "imagen-4.0-generate-001", more).expect("written");
    assert_eq!(path, "/models/imagen-4.0-generate-001:predict");
    let output = json!({"mimeType": "image/jpeg", "compressionQuality": 80});
    assert_eq!(
        body,
        json!({"instances": [{"prompt": "a pier"}], "parameters": {"sampleCount": 2, "outputOptions": output}})
    );
    assert_eq!(lost, ["quality", "user"], "what is automatic asks for nothing");

    let (path, body, lost) =
        written(Words::MiniMax, "image-01", r#","n":3,"response_format":"url""#).expect("written");
    assert_eq!((path.as_str(), lost.len()), ("/image_generation", 0));
    assert_eq!(body, json!({"model": "image-01", "prompt": "a pier", "n": 3, "response_format": "url"}));

    let (path, body, _) = written(Words::Bedrock, "stability.sd3-5-large-v1:0", "").expect("written");
    assert_eq!(
        (path.as_str(), body),
        ("/model/stability.sd3-5-large-v1%3A0/invoke", json!({"prompt": "a pier"}))
    );

    for (model, end, own) in [
        ("core", "core", None),
        ("stable-image-ultra", "ultra", None),
        ("sd3.5-large", "sd3", Some("sd3.5-large")),
    ] {
        let asked = pictures(r#","size":"1024x1536","output_format":"jpeg""#).expect("read");
        let (asked, _) = write(&asked, Words::Stability, model).expect("written");
        assert_eq!(asked.path, format!("/stable-image/generate/{end}"));
        assert_eq!(asked.headers, [("accept", "image/*".to_owned())]);
        let parts = parts(&asked);
        assert_eq!(
            (parts["prompt"].as_slice(), parts["aspect_ratio"].as_slice()),
            (&b"a pier"[..], &b"2:3"[..])
        );
        assert_eq!(
            (parts["output_format"].as_slice(), parts.get("model").map(Vec::as_slice)),
            (&b"jpeg"[..], own.map(str::as_bytes))
        );
    }
}

#[test]
fn what_would_come_out_otherwise_is_refused() {
    for (words, model, more) in [
        (Words::Google, "gemini-2.5-flash-image", r#","n":2"#),
        (Words::Stability, "core", r#","n":2"#),
        (Words::Stability, "outpaint", ""),
        (Words::Bedrock, "amazon.nova-canvas-v1:0", ""),
        (Words::Google, "gemini-2.5-flash-image", r#","stream":true"#),
    ] {
        assert_eq!(written(words, model, more).expect_err(model).status, 501, "{model} {more}");
    }
    for more in [r#","response_format":"svg""#, r#","n":"many""#, r#","prompt":7"#] {
        assert_eq!(pictures(more).expect_err(more).status, 400, "{more}");
    }
}

const KIND: &str = "multipart/form-data; boundary=b";

fn edit(fields: &[(&str, &[u8])]) -> Vec<u8> {
    let mut body = Vec::new();
    for (name, value) in fields {
        body.extend(format!("--b\r\ncontent-disposition: form-data; name=\"{name}\"\r\n\r\n").bytes());
        body.extend([value, &b"\r\n"[..]].concat());
    }
    body.extend(b"--b--\r\n");
    body
}

#[test]
fn pictures_are_changed_where_a_vendor_has_that() {
    let png = b"\x89PNG\r\n\x1a\n\0".as_slice();
    let jpeg = b"\xff\xd8\xff\xe0".as_slice();
    let body = edit(&[
        ("image[]", png),
        ("image[]", jpeg),
        ("prompt", b"at night"),
        ("n", b"1"),
        ("quality", b"auto"),
        ("user", b"u"),
    ]);
    let asked = read_form(KIND, &body).expect("read");
    let (asked, lost) = write(&asked, Words::Google, "gemini-3-pro-image").expect("written");
    let body: Value = serde_json::from_slice(&asked.body).expect("JSON");
    let part = |at: usize| body.pointer(&format!("/contents/0/parts/{at}")).cloned();
    assert_eq!(part(0), Some(json!({"inlineData": {"mimeType": "image/png", "data": STANDARD.encode(png)}})));
    assert_eq!(
        part(1).and_then(|part| part.pointer("/inlineData/mimeType").cloned()),
        Some(json!("image/jpeg"))
    );
    assert_eq!((part(2), lost), (Some(json!({"text": "at night"})), vec!["user".to_owned()]));

    let body = edit(&[("image", png), ("prompt", b"at night")]);
    let asked = read_form(KIND, &body).expect("read");
    let (inpaint, _) = write(&asked, Words::Stability, "inpaint").expect("written");
    assert_eq!(
        (inpaint.path.as_str(), parts(&inpaint)["image"].as_slice()),
        ("/stable-image/edit/inpaint", png)
    );
    for (words, model) in [
        (Words::Stability, "erase"),
        (Words::Google, "imagen-4.0-generate-001"),
        (Words::MiniMax, "image-01"),
    ] {
        assert_eq!(write(&asked, words, model).expect_err(model).status, 501, "{model}");
    }
    let masked = edit(&[("image", png), ("mask", png), ("prompt", b"at night")]);
    let error = write(&read_form(KIND, &masked).expect("read"), Words::Google, "gemini-3-pro-image")
        .expect_err("a mask");
    assert!(error.status == 501 && error.message.contains("mask"), "{}", error.message);
    for (fields, word) in [
        (&[("prompt", &b"x"[..])][..], "`image` is required"),
        (&[("image", b"text")], "PNG"),
        (&[("image", png)], "`prompt` is required"),
    ] {
        let body = edit(fields);
        let error = read_form(KIND, &body).expect_err(word);
        assert!(error.message.contains(word), "{}", error.message);
    }
}

#[test]
fn pictures_are_told_as_data_or_as_addresses() {
    let tell = |words, more: &str, came: Came<'_>| {
        let told = pictures(more).expect("read").tell(words, &came, 9)?;
        Ok::<_, Error>((serde_json::from_slice::<Value>(&told.body).expect("JSON"), told.usage))
    };
    let json_of = |words, more: &str, answer: &Value| {
        let body = answer.to_string();
        tell(words, more, Came { kind: "application/json", finish: None, body: body.as_bytes() })
    };
    let gemini = json!({
        "candidates": [{"finishReason": "STOP", "content": {"parts": [{"text": "Here."},
            {"inlineData": {"mimeType": "image/png", "data": "cGllcg=="}}]}}],
        "usageMetadata": {"promptTokenCount": 5, "candidatesTokenCount": 1290, "candidatesTokensDetails": [{"modality": "IMAGE", "tokenCount": 1290}]},
    });
    let (told, usage) = json_of(Words::Google, "", &gemini).expect("told");
    assert_eq!(
        (&told["data"], &told["created"], &told["output_format"]),
        (&json!([{"b64_json": "cGllcg=="}]), &json!(9), &json!("png"))
    );
    assert_eq!(usage.map(|usage| (usage.input, usage.output_image)), Some((5, 1290)));
    assert_eq!(told.pointer("/usage/output_tokens_details/image_tokens"), Some(&json!(1290)));
    // What is read of it again has the same parts.
    let again = crate::dialect::Dialect::OpenAiChat.peek_usage(told.to_string().as_bytes());
    assert_eq!(again.map(|usage| usage.output_image), Some(1290));
    let (told, _) = json_of(Words::Google, r#","response_format":"url""#, &gemini).expect("told");
    assert_eq!(told["data"], json!([{"url": "data:image/png;base64,cGllcg=="}]));

    let imagen = json!({"predictions": [{"mimeType": "image/png", "bytesBase64Encoded": "YQ=="}, {"raiFilteredReason": "no"}]});
    assert_eq!(json_of(Words::Google, "", &imagen).expect("told").0["data"], json!([{"b64_json": "YQ=="}]));
    let urls =
        json!({"data": {"image_urls": ["https://x/1", "https://x/2"]}, "base_resp": {"status_code": 0}});
    let (told, _) = json_of(Words::MiniMax, r#","n":2,"response_format":"url""#, &urls).expect("told");
    assert_eq!(told["data"], json!([{"url": "https://x/1"}, {"url": "https://x/2"}]));
    let bedrock = json!({"seeds": [1], "finish_reasons": [null], "images": ["YQ=="]});
    assert_eq!(json_of(Words::Bedrock, "", &bedrock).expect("told").0["data"], json!([{"b64_json": "YQ=="}]));
    let bytes = Came { kind: "image/webp", finish: Some("SUCCESS"), body: b"a" };
    let (told, _) = tell(Words::Stability, "", bytes).expect("told");
    assert_eq!((&told["data"], &told["output_format"]), (&json!([{"b64_json": "YQ=="}]), &json!("webp")));

    for (words, answer) in [
        (Words::Google, json!({"candidates": [{"finishReason": "IMAGE_SAFETY"}]})),
        (Words::Google, json!({"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}})),
        (Words::Google, json!({"predictions": [{"raiFilteredReason": "no"}]})),
        (Words::Bedrock, json!({"finish_reasons": ["Filter reason: prompt"], "images": []})),
        (Words::MiniMax, json!({"base_resp": {"status_code": 1026, "status_msg": "sensitive"}})),
    ] {
        let error = json_of(words, "", &answer).expect_err("filtered");
        assert_eq!((error.kind, error.status), (ErrorKind::ContentFilter, 400), "{answer}");
    }
    let blurred = Came { kind: "image/png", finish: Some("CONTENT_FILTERED"), body: b"a" };
    assert_eq!(tell(Words::Stability, "", blurred).expect_err("blurred").kind, ErrorKind::ContentFilter);
    for words in [Words::Bedrock, Words::MiniMax, Words::Stability] {
        assert_eq!(json_of(words, "", &json!({})).expect_err("nothing").status, 502, "{words:?}");
    }
}
