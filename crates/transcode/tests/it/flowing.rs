//! What flows: piece by piece, however much becomes of what has come.

use http::{HeaderMap, HeaderValue};
use transcode::{
    answer::{Answer, Form, Lines, Upload},
    frame::{self, Reader},
    status::{Code, Status},
};

use super::*;

/// What a piece has, if no single message is more.
const PIECE_BYTES: usize = 16 * 1024;

fn fixed(name: &str) -> Arc<Binding> {
    let method = Arc::new(schema().method(name).expect("a method"));
    Arc::new(Binding::fixed(method, &[], "*", None).expect("a binding"))
}

fn json() -> Arc<Json> {
    Arc::new(Json::default())
}

/// Takes all pieces; each is no larger than a piece and a message are.
fn pieces(upload: &mut Upload, message_bytes: usize) -> usize {
    let mut all = 0;
    loop {
        let mut out = Vec::new();
        if upload.next(&mut out).expect("a piece") == 0 {
            return all;
        }
        assert!(out.len() <= PIECE_BYTES + message_bytes, "{}", out.len());
        let mut reader = Reader::new(usize::MAX);
        reader.push(&out);
        while reader.next_frame().expect("a frame").is_some() {
            all += 1;
        }
        assert!(!reader.is_within());
    }
}

#[test]
fn a_query_that_is_far_longer_than_the_lines_comes_piece_by_piece() {
    let binding = fixed("demo.Greeter/Collect");
    let query = format!("name={}", "a".repeat(7_000));
    let said = binding.said(&[], Some(&query), &Json::default()).expect("a query");
    let mut upload = Upload::Lines(Box::new(Lines::new(binding, said, json(), 1000)));
    let mut out = Vec::new();
    upload.data("{}\n".repeat(20_000).as_bytes(), &mut out).expect("lines");
    assert!(out.is_empty());
    assert_eq!(pieces(&mut upload, 7_100), 20_000);
    upload.data(b"{}", &mut out).expect("a line");
    assert_eq!(pieces(&mut upload, 0), 0);
    upload.end(&mut out).expect("the last");
    assert!(out.len() > 7_000);
}

#[test]
fn packed_envelopes_come_piece_by_piece() {
    let input = fixed("demo.Greeter/Collect").method.input.clone();
    let text = format!("{{\"name\":\"{}\"}}", "a".repeat(100_000));
    let mut wire = Vec::new();
    for _ in 0..100 {
        frame::put(frame::COMPRESSED, &frame::gzip(text.as_bytes()), &mut wire);
    }
    assert!(wire.len() < 100_000);
    let mut upload =
        Upload::Envelopes { reader: Reader::new(200_000), input, json: json(), bytes_max: 200_000 };
    upload.data(&wire, &mut Vec::new()).expect("envelopes");
    assert_eq!(pieces(&mut upload, 100_100), 100);
}

#[test]
fn lines_are_bounded_and_told_by_their_number() {
    let upload =
        || Upload::Lines(Box::new(Lines::new(fixed("demo.Greeter/Collect"), <_>::default(), json(), 20)));
    for (text, want) in [
        ("{}\n\n{\"name\":1}\n", "line 2, `name`"),
        ("{}\n{\"name\":\"aaaaaaaaaaaaaaaaaaaa\"", "line 2 has more than 20 bytes"),
        ("{\"name\":\"aaaaaaaaaaaaaaaaaaaa\"}\n", "line 1 has more than 20 bytes"),
    ] {
        for cut in [1, 1000] {
            let mut upload = upload();
            let mut out = Vec::new();
            let error = text.as_bytes().chunks(cut).try_for_each(|chunk| {
                upload.data(chunk, &mut out)?;
                while upload.next(&mut out)? > 0 {}
                Ok::<(), transcode::Wrong>(())
            });
            let error = error.expect_err(text).to_string();
            assert!(error.contains(want), "{error}");
        }
    }
}

fn answer(form: Form, binding: &Binding) -> Answer {
    let output = Some(binding.method.output.clone());
    Answer::new(form, Some(Arc::new(schema())), output, json(), 1 << 20, "id".to_owned())
}

/// What becomes of an answer with these messages, and its largest piece.
fn answered(answer: &mut Answer, messages: &[Vec<u8>]) -> (Vec<u8>, usize) {
    let mut wire = Vec::new();
    messages.iter().for_each(|message| frame::put(0, message, &mut wire));
    let (mut all, mut largest) = (Vec::new(), 0);
    answer.data(&wire, &mut all);
    loop {
        let mut out = Vec::new();
        if answer.next(&mut out).expect("a piece") == 0 {
            return (all, largest);
        }
        largest = largest.max(out.len());
        all.extend_from_slice(&out);
    }
}

#[test]
fn answers_come_piece_by_piece() {
    let binding = fixed("demo.Greeter/Watch");
    let message = Json::default().read(&binding.method.output, br#"{"message":"Hello"}"#).expect("a message");
    let messages = vec![message.encode_to_vec(); 10_000];
    for form in [Form::Lines(binding.clone()), Form::Events(binding.clone()), Form::Connect { is_json: true }]
    {
        let mut answer = answer(form, &binding);
        let (all, largest) = answered(&mut answer, &messages);
        assert_eq!(answer.messages, 10_000);
        assert!(all.len() >= 200_000 && largest < PIECE_BYTES + 100, "{largest}");
    }
}

#[test]
fn bodies_of_any_kind_keep_their_type_and_end_without_a_word() {
    let schema = bodies();
    let method = Arc::new(schema.method("t.S/Read").expect("a method"));
    let binding = Arc::new(Binding::fixed(method.clone(), &[], "*", None).expect("a binding"));
    assert!(binding.gives_any());
    let body = |kind: &str, data: &str| {
        let text = json!({"contentType": kind, "data": data}).to_string();
        Json::default().read(&method.output, text.as_bytes()).expect("a body").encode_to_vec()
    };
    let messages = [body("text/csv", "YQ1i"), body("", "Yw==")];
    let mut raw = answer(Form::Lines(binding.clone()), &binding);
    let (mut all, _) = answered(&mut raw, &messages);
    assert!(raw.is_raw());
    assert_eq!((raw.kind.as_deref(), &*all), (Some("text/csv"), b"a\rbc".as_slice()));
    raw.close(&Status::new(Code::Internal, "broken"), &HeaderMap::new(), &mut all);
    assert_eq!(all, b"a\rbc");
    // Where it must be an event after all, it is a text of base64.
    let (all, _) = answered(&mut answer(Form::Events(binding.clone()), &binding), &messages);
    assert_eq!(String::from_utf8(all).expect("text"), "data: \"YQ1i\"\n\ndata: \"Yw==\"\n\n");
    // Others end with what went wrong.
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("5"));
    let binding = fixed("demo.Greeter/Watch");
    let mut out = Vec::new();
    answer(Form::Lines(binding.clone()), &binding).end(&trailers, &mut out);
    assert!(out.starts_with(b"{\"error\":"));
}

/// A service that gives bodies of any kind.
fn bodies() -> Schema {
    let folder = std::env::temp_dir().join(format!("tidegate-transcode-bodies-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("a folder");
    let text = "syntax = \"proto3\"; package t; import \"google/api/httpbody.proto\"; message In {}
        service S { rpc Read(In) returns (stream google.api.HttpBody); }";
    fs::write(folder.join("b.proto"), text).expect("a file");
    let protos = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/protos");
    let set = protox::compile(["b.proto"], [&folder, &protos]).expect("a file that compiles");
    fs::remove_dir_all(&folder).expect("a folder");
    Schema::decode(&set.encode_to_vec()).expect("descriptors")
}
