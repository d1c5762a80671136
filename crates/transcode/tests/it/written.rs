//! What is written of messages: whatever a service sends, and as protobuf's mapping has it.

use prost::Message as _;
use transcode::DynamicMessage;

use super::*;

fn everything(text: &str) -> DynamicMessage {
    let kind = schema().message("demo.Everything").expect("a message");
    Json::default().read(&kind, text.as_bytes()).expect("a message")
}

fn written(message: &DynamicMessage, choices: Choices) -> Result<Value, String> {
    let mut out = Vec::new();
    Json::new(choices).write(message, &mut out)?;
    Ok(serde_json::from_slice(&out).expect("JSON"))
}

/// `Any` within `Any`, so many of them, as bytes of `demo.Everything`.
fn nested(depth: usize) -> Vec<u8> {
    fn field(tag: u8, within: &[u8], out: &mut Vec<u8>) {
        prost::encoding::encode_varint(u64::from(tag) << 3 | 2, out);
        prost::encoding::encode_varint(within.len() as u64, out);
        out.extend_from_slice(within);
    }
    let mut any = Vec::new();
    for _ in 0..depth {
        let mut outer = Vec::new();
        field(1, b"type.googleapis.com/google.protobuf.Any", &mut outer);
        field(2, &any, &mut outer);
        any = outer;
    }
    let mut all = Vec::new();
    field(30, &any, &mut all);
    all
}

#[test]
fn any_within_any_ends_somewhere() {
    let kind = schema().message("demo.Everything").expect("a message");
    for (depth, is_written) in [(1, true), (16, true), (17, false), (4_000, false)] {
        let message = DynamicMessage::decode(kind.clone(), nested(depth).as_slice()).expect("a message");
        let written = written(&message, Choices::default());
        assert_eq!(written.is_ok(), is_written, "{depth}: {written:?}");
    }
}

#[test]
fn messages_within_any_count_with_those_around_it() {
    let kind = schema().message("demo.Everything").expect("a message");
    let mut message = DynamicMessage::new(kind.clone());
    let field = |name: &str| kind.get_field_by_name(name).expect("a field");
    for _ in 0..3 {
        for _ in 0..40 {
            let mut outer = DynamicMessage::new(kind.clone());
            outer.set_field(&field("within"), prost_reflect::Value::Message(message));
            message = outer;
        }
        let any = schema().message("google.protobuf.Any").expect("a message");
        let mut packed = DynamicMessage::new(any);
        packed.set_field_by_name("type_url", prost_reflect::Value::String("x/demo.Everything".to_owned()));
        packed.set_field_by_name("value", prost_reflect::Value::Bytes(message.encode_to_vec().into()));
        message = DynamicMessage::new(kind.clone());
        message.set_field(&field("any"), prost_reflect::Value::Message(packed));
    }
    let error = written(&message, Choices::default()).expect_err("too deep");
    assert!(error.contains("nested too deep"), "{error}");
}

#[test]
fn what_is_small_on_the_wire_is_not_written_without_end() {
    let kind = schema().message("demo.ListBooksReply").expect("a message");
    let message = DynamicMessage::decode(kind, [0x0a, 0].repeat(400_000).as_slice()).expect("a message");
    assert!(written(&message, Choices::default()).is_ok());
    let error = written(&message, Choices { emit_defaults: true, ..Choices::default() }).expect_err("large");
    assert!(error.contains("larger in JSON"), "{error}");
}

#[test]
fn numbers_that_are_not_finite_are_texts_also_in_wrappers() {
    for number in ["NaN", "Infinity", "-Infinity"] {
        let text = format!(
            r#"{{"doubleValue":"{number}","floatValue":"{number}","wrappedDouble":"{number}",
            "any":{{"@type":"type.googleapis.com/google.protobuf.FloatValue","value":"{number}"}}}}"#
        );
        let want: Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(written(&everything(&text), Choices::default()), Ok(want));
    }
}

#[test]
fn a_field_that_is_the_answer_is_what_it_would_be_in_its_message() {
    let kind = schema().message("demo.Everything").expect("a message");
    let plain = Choices::default();
    let of = |name: &str, text: &str, choices| {
        let field = kind.get_field_by_name(name).expect("a field");
        let mut out = Vec::new();
        Json::new(choices).write_field(&everything(text), &field, &mut out).expect("JSON");
        String::from_utf8(out).expect("text")
    };
    for (name, text, choices, want) in [
        ("timestamp", "{}", plain, "null"),
        ("wrapped_int", "{}", plain, "null"),
        ("any", "{}", plain, "null"),
        ("message_value", "{}", plain, "null"),
        ("maybe", "{}", plain, "null"),
        ("maybe", r#"{"maybe":0}"#, plain, "0"),
        ("enum_value", "{}", plain, r#""GENRE_UNSPECIFIED""#),
        ("enum_value", "{}", Choices { enum_numbers: true, ..plain }, "0"),
        ("int64_value", "{}", plain, r#""0""#),
        ("int64_value", "{}", Choices { int64_numbers: true, ..plain }, "0"),
        ("string_value", "{}", plain, r#""""#),
        ("bool_value", "{}", plain, "false"),
        ("numbers", "{}", plain, "[]"),
        ("counts", "{}", plain, "{}"),
        ("wrapped_int", r#"{"wrappedInt":"5"}"#, plain, r#""5""#),
        ("timestamp", r#"{"timestamp":"2026-01-02T03:04:05Z"}"#, plain, r#""2026-01-02T03:04:05Z""#),
        ("message_value", r#"{"messageValue":{"givenName":"A"}}"#, plain, r#"{"givenName":"A"}"#),
        (
            "message_value",
            r#"{"messageValue":{}}"#,
            Choices { emit_defaults: true, ..plain },
            r#"{"givenName":"","familyName":""}"#,
        ),
    ] {
        assert_eq!(of(name, text, choices), want, "{name} of {text}");
    }
}

#[test]
fn any_within_any_is_read_as_deep_as_it_is_written() {
    let nested = |depth: usize, within: &str| {
        let name = r#""@type":"type.googleapis.com/google.protobuf.Any""#;
        let mut any = within.to_owned();
        for _ in 0..depth {
            any = format!(r#"{{"value":{any},{name}}}"#);
        }
        format!(r#"{{"any":{any}}}"#)
    };
    let kind = schema().message("demo.Everything").expect("a message");
    let read = |text: String| Json::default().read(&kind, text.as_bytes());
    let duration = r#"{"@type":"type.googleapis.com/google.protobuf.Duration","value":"1s"}"#;
    assert!(read(nested(15, duration)).is_ok());
    for depth in [16, 100, 1_000] {
        let error = read(nested(depth, duration)).expect_err("too deep").to_string();
        assert!(error.contains("too deep") || error.contains("recursion limit"), "{error}");
    }
    let long = r#"{"@type":"type.googleapis.com/google.protobuf.ListValue","value":["#.to_owned();
    let error =
        read(nested(15, &(long + &"1,".repeat(2_000_000) + "1]}"))).expect_err("too much").to_string();
    assert!(error.contains("too deep"), "{error}");
}

#[test]
fn a_number_or_a_moment_that_does_not_fit_is_refused_and_not_made_to_fit() {
    let kind = schema().message("demo.Everything").expect("a message");
    for (text, is_good) in [
        (r#"{"uint64Value":18446744073709551615}"#, true),
        (r#"{"uint64Value":18446744073709551616}"#, false),
        (r#"{"fixed64Value":1e20}"#, false),
        (r#"{"timestamp":"2026-01-01T00:00:00.123456789Z"}"#, true),
        (r#"{"timestamp":"2026-01-01T00:00:00.1234567890Z"}"#, false),
        (r#"{"timestamp":"2026-01-01T23:59:60Z"}"#, false),
        (r#"{"duration":"1.123456789s"}"#, true),
        (r#"{"duration":"1.1234567890s"}"#, false),
    ] {
        assert_eq!(Json::default().read(&kind, text.as_bytes()).is_ok(), is_good, "{text}");
    }
    // Field 24 is a time, 25 a span: its seconds are field 1, its nanoseconds field 2.
    let minus_one: [u8; 10] = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
    let of = |tag: [u8; 2], seconds: Option<u8>| {
        let seconds = seconds.map_or(Vec::new(), |seconds| vec![0x08, seconds]);
        let inner = [&seconds[..], &[0x10][..], &minus_one[..]].concat();
        let length = u8::try_from(inner.len()).expect("a small message");
        let bytes = [&tag[..], &[length][..], &inner[..]].concat();
        DynamicMessage::decode(kind.clone(), &bytes[..]).expect("a message")
    };
    let plain = Choices::default();
    assert_eq!(written(&of([0xca, 0x01], None), plain), Ok(serde_json::json!({"duration": "-0.000000001s"})));
    assert!(written(&of([0xca, 0x01], Some(1)), plain).is_err());
    assert!(written(&of([0xc2, 0x01], None), plain).is_err());
}
