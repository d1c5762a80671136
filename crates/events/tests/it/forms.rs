//! What each form is read as and written like, and what is refused.

use bytes::Bytes;
use events::cloud::{Attribute, BATCH, Data, Event, Form, STRUCTURED};

const WHOLE: &str = r#"{"specversion":"1.0","id":"7","source":"/shop","type":"order.placed","subject":"größe %",
    "time":"2026-05-01T12:00:00Z","sampled":true,"level":-3,"gone":null,"data":{"total":12345678901234567890.10}}"#;

#[test]
fn forms_are_told_apart_by_content_type_and_version() {
    for (kind, has_version, want) in [
        (Some(STRUCTURED), false, Some(Form::Structured)),
        (Some("Application/CloudEvents+JSON; charset=utf-8"), true, Some(Form::Structured)),
        (Some(BATCH), false, Some(Form::Batch)),
        (Some("application/json"), true, Some(Form::Binary)),
        (None, true, Some(Form::Binary)),
        (Some("application/json"), false, None),
    ] {
        assert_eq!(Form::of(kind, has_version), Ok(want), "{kind:?}");
    }
    assert!(Form::of(Some("application/cloudevents+avro"), false).is_err());
}

#[test]
fn data_goes_from_form_to_form_as_it_was_written() {
    let event = Event::structured(WHOLE.as_bytes()).expect("an event");
    assert_eq!(event.identity(), ("/shop", "7"));
    let (fields, payload) = event.to_binary();
    // A number that no float holds.
    assert_eq!(payload, r#"{"total":12345678901234567890.10}"#);
    let field = |name: &str| fields.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
    assert_eq!(field("ce-subject"), Some("gr%C3%B6%C3%9Fe%20%25"));
    assert_eq!(field("ce-sampled"), Some("true"));
    assert_eq!(field("ce-level"), Some("-3"));
    assert_eq!(field("content-type"), Some("application/json"));
    assert_eq!(field("ce-gone"), None);
    let again = fields.iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
    let again = Event::binary(again, field("content-type"), payload).expect("an event");
    assert_eq!(again.text("subject"), Some("größe %"));
    let text = again.to_structured();
    assert!(text.ends_with(br#","data":{"total":12345678901234567890.10}}"#), "{text:?}");
}

#[test]
fn bytes_that_are_no_text_are_base64_in_json() {
    let head = [("ce-specversion", "1.0"), ("ce-id", "1"), ("ce-source", "s"), ("ce-type", "t")];
    let read = |kind: &str, body: &'static [u8]| {
        let fields = head.iter().map(|(name, value)| (*name, value.as_bytes()));
        Event::binary(fields, Some(kind), Bytes::from_static(body)).expect("an event")
    };
    for (kind, body, want) in [
        ("image/png", &b"\x89\xff"[..], r#""data_base64":"if8=""#),
        ("text/plain", b"a\"b", r#""data":"a\"b""#),
        ("application/json", b" [1] ", r#""data":[1]"#),
        ("application/json", b"{broken", r#""data_base64":"e2Jyb2tlbg==""#),
    ] {
        let event = read(kind, body);
        let text = event.to_structured();
        assert!(String::from_utf8_lossy(&text).contains(want), "{text:?}");
        let back = Event::structured(&text).expect("an event").to_binary().1;
        assert_eq!(back, body.trim_ascii(), "{kind}");
    }
}

#[test]
fn what_is_no_event_is_told_with_its_place() {
    for (text, want) in [
        (r#"{"id":"1","source":"s","type":"t"}"#, "`specversion` is required"),
        (r#"{"specversion":"0.3","id":"1","source":"s","type":"t"}"#, "`specversion`: expected `1.0`"),
        (r#"{"specversion":"1.0","id":"","source":"s","type":"t"}"#, "`id`: it is empty"),
        (r#"{"specversion":"1.0","id":"1","source":"s","type":"t","time":"now"}"#, "`time`: expected a time"),
        (r#"{"specversion":"1.0","id":"1","id":"2","source":"s","type":"t"}"#, "`id` is there twice"),
        (r#"{"specversion":"1.0","id":"1","source":"s","type":"t","x":[1]}"#, "`x`: an attribute is no list"),
        (r#"{"specversion":"1.0","id":"1","source":"s","type":"t","x":1.5}"#, "`x`: expected 32 bits"),
        (
            r#"{"specversion":"1.0","id":"1","source":"s","type":"t","data":1,"data_base64":"AA=="}"#,
            "at most one",
        ),
        (r#"{"specversion":"1.0","id":"1","source":"s","type":"t","data_base64":"?"}"#, "no base64"),
        (r#"{"specversion":"1.0""#, "it is not JSON"),
        ("[]", "an event, which is a JSON object"),
    ] {
        let wrong = Event::structured(text.as_bytes()).expect_err(text);
        assert!(wrong.0.contains(want), "{text}: {wrong}");
    }
    let twice = [("ce-id", &b"1"[..]), ("ce-id", b"2")];
    assert!(Event::binary(twice.into_iter(), None, Bytes::new()).is_err());
    let elsewhere = [("ce-datacontenttype", &b"text/plain"[..])];
    assert!(Event::binary(elsewhere.into_iter(), None, Bytes::new()).is_err());
}

#[test]
fn a_batch_has_a_bound_and_names_the_event_that_is_wrong() {
    let one = r#"{"specversion":"1.0","id":"1","source":"s","type":"t"}"#;
    let batch = |texts: &[&str]| format!("[{}]", texts.join(","));
    assert_eq!(Event::batch(batch(&[one, one]).as_bytes(), 2).map(|events| events.len()), Ok(2));
    assert_eq!(Event::batch(b"[]", 2), Ok(Vec::new()));
    for (text, want) in [
        (batch(&[one, one, one]), "at most 2 events"),
        (batch(&[one, r#"{"id":"1"}"#]), "event 1: `specversion` is required"),
        (one.to_string(), "a JSON array of events"),
        (format!("{} x", batch(&[one])), "it is not JSON"),
    ] {
        let wrong = Event::batch(text.as_bytes(), 2).expect_err(&text);
        assert!(wrong.0.contains(want), "{text}: {wrong}");
    }
}

#[test]
fn attributes_are_bounded_in_every_form() {
    let many: Vec<(String, String)> = (0..70).map(|at| (format!("ce-x{at}"), "1".to_owned())).collect();
    let fields = many.iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
    assert!(Event::binary(fields, None, Bytes::new()).expect_err("too many").0.contains("at most 64"));
    let text: Vec<String> = (0..70).map(|at| format!("\"x{at}\":1")).collect();
    let text = format!("{{{}}}", text.join(","));
    assert!(Event::structured(text.as_bytes()).expect_err("too many").0.contains("at most 64"));
}

#[test]
fn an_attribute_is_set_once_and_judged() {
    let mut event = Event::new("1", "/s", "t");
    event.set("partitionkey", "a").expect("good");
    event.set("partitionkey", "b").expect("good");
    assert_eq!(event.attributes().iter().filter(|(name, _)| name == "partitionkey").count(), 1);
    assert_eq!(event.text("partitionkey"), Some("b"));
    assert!(event.set("partitionkey", "a\nb").is_err());
    assert_eq!(event.data, Data::None);
    assert_eq!(event.attributes()[0], ("specversion".to_owned(), Attribute::Text("1.0".to_owned())));
}
