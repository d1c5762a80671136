//! Bytes of strangers: whatever they are, they are read or refused, and what was read is written so that it reads the same.

use std::sync::{Arc, LazyLock};

use http::HeaderMap;
use transcode::{
    answer::{Answer, Form, Lines, Upload},
    binding::{Binding, Bindings, Body, Found, Said},
    connect,
    frame::Reader,
    json::{Choices, Json},
    schema::Schema,
    status::Status,
    template::Template,
    web::{self, TextReader},
};

static SCHEMA: LazyLock<Arc<Schema>> =
    LazyLock::new(|| Arc::new(Schema::decode(include_bytes!("../greeter.binpb")).expect("descriptors")));
static BINDINGS: LazyLock<Bindings> =
    LazyLock::new(|| Bindings::of(&SCHEMA, &SCHEMA.services()).expect("bindings"));

const BYTES_MAX: usize = 4096;

/// What the first byte chooses, of the others.
#[allow(unreachable_pub, reason = "it is reached from the crate of the fuzz targets")]
pub fn transcode(bytes: &[u8]) {
    let Some((choice, rest)) = bytes.split_first() else { return };
    let text = std::str::from_utf8(rest).unwrap_or_default();
    match choice % 9 {
        0 => request(text),
        1 => json(rest),
        2 => frames(rest),
        3 => drop(connect::Get::read(text, BYTES_MAX)),
        4 => drop(Schema::decode(rest)),
        5 => upload(rest),
        6 => answer(rest),
        7 => {
            let (template, path) = text.split_once('\n').unwrap_or((text, "/"));
            if let Ok(template) = Template::parse(template) {
                let _ = template.captures(path);
            }
        }
        _ => message(rest),
    }
}

fn request(text: &str) {
    let (target, body) = text.split_once('\n').unwrap_or((text, ""));
    let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
    for method in ["GET", "POST", "PATCH"] {
        let Found::Binding(index) = BINDINGS.find(method, path) else { continue };
        let Some((binding, captures)) = BINDINGS.bound(index, path) else { continue };
        let body =
            (!body.is_empty()).then_some(Body { bytes: body.as_bytes(), content_type: "application/json" });
        let _ = binding.message(&captures, query, body, &Json::default());
    }
}

fn json(bytes: &[u8]) {
    let (kind, json) = (SCHEMA.message("demo.Everything").expect("a message"), Json::default());
    let Ok(message) = json.read(&kind, bytes) else { return };
    let mut once = Vec::new();
    if json.write(&message, &mut once).is_ok() {
        let again = json.read(&kind, &once).expect("what was written reads");
        let mut twice = Vec::new();
        json.write(&again, &mut twice).expect("what was read is written");
        let value = |text: &[u8]| serde_json::from_slice::<serde_json::Value>(text).expect("JSON");
        assert_eq!(value(&once), value(&twice));
    }
}

/// A message of a service's, which is written or refused.
fn message(bytes: &[u8]) {
    let kind = SCHEMA.message("demo.Everything").expect("a message");
    let Ok(message) = transcode::DynamicMessage::decode(kind, bytes) else { return };
    for emit_defaults in [false, true] {
        let mut out = Vec::new();
        let json = Json::new(Choices { emit_defaults, ..Choices::default() });
        match json.write(&message, &mut out) {
            Ok(()) => assert!(serde_json::from_slice::<serde_json::Value>(&out).is_ok()),
            Err(_) => assert!(out.is_empty()),
        }
    }
}

fn frames(bytes: &[u8]) {
    let (mut text, mut out) = (TextReader::default(), Vec::new());
    let _ = text.read(bytes, &mut out);
    let mut reader = Reader::new(BYTES_MAX);
    reader.push(bytes);
    while let Ok(Some(frame)) = reader.next_frame() {
        let _ = frame.message(BYTES_MAX);
    }
}

fn binding(name: &str) -> Arc<Binding> {
    let method = Arc::new(SCHEMA.method(name).expect("a method"));
    Arc::new(Binding::fixed(method, &[], "*", None).expect("a binding"))
}

fn upload(bytes: &[u8]) {
    let binding = binding("demo.Greeter/Collect");
    let input = binding.method.input.clone();
    let json = Arc::new(Json::default());
    let lines = Lines::new(binding, Said::default(), json.clone(), BYTES_MAX);
    let envelopes = || Upload::Envelopes {
        reader: Reader::new(BYTES_MAX),
        input: input.clone(),
        json: json.clone(),
        bytes_max: BYTES_MAX,
    };
    let all = [
        Upload::Lines(Box::new(lines)),
        envelopes(),
        Upload::Text(TextReader::default()),
        Upload::TextEnvelopes(TextReader::default(), Box::new(envelopes())),
    ];
    for mut upload in all {
        let mut out = Vec::new();
        let mut take = |chunk: &[u8], out: &mut Vec<u8>| {
            upload.data(chunk, out)?;
            while upload.next(out)? > 0 {}
            Ok::<(), transcode::Wrong>(())
        };
        if bytes.chunks(7).all(|chunk| take(chunk, &mut out).is_ok()) {
            let _ = upload.end(&mut out);
        }
    }
}

fn answer(bytes: &[u8]) {
    let binding = binding("demo.Greeter/Watch");
    let mut trailers = HeaderMap::new();
    if let Ok(value) = http::HeaderValue::from_bytes(bytes) {
        trailers.insert("grpc-message", value.clone());
        trailers.insert("grpc-status-details-bin", value);
    }
    trailers.insert("grpc-status", http::HeaderValue::from_static("3"));
    assert!(Status::read(&trailers).is_some());
    let forms = [
        Form::Events(binding.clone()),
        Form::Lines(binding.clone()),
        Form::Connect { is_json: true },
        Form::Web(web::Form { is_text: true, is_json: true }),
        Form::Web(web::Form { is_text: true, is_json: false }),
    ];
    for form in forms {
        let (output, json) = (binding.method.output.clone(), Arc::new(Json::default()));
        let mut answer =
            Answer::new(form, Some(SCHEMA.clone()), Some(output), json, BYTES_MAX, String::new());
        let mut out = Vec::new();
        match bytes.chunks(5).try_for_each(|chunk| {
            answer.data(chunk, &mut out);
            while answer.next(&mut out)? > 0 {}
            Ok(())
        }) {
            Ok(()) => drop(answer.end(&trailers, &mut out)),
            Err(status) => answer.close(&status, &trailers, &mut out),
        }
    }
}

#[cfg(test)]
mod short {
    #[test]
    fn transcode() {
        mutate::fuzz("transcode", super::transcode);
    }
}
