//! `translate`: a prompt and a model as a REST API.

use ai::canon::{Request, Role};
use serde_json::json;

use super::{Behind, Served, WEB};
use crate::prompt::model::{last, read, turns};

/// What the model of these tests answers: the text that it was given, translated.
pub(super) fn translated(request: &Request) -> String {
    json!({"text": last(request).replace("tide", "Gezeit")}).to_string()
}

fn ask(served: &Served, headers: &str, body: &str) -> crate::harness::Answer {
    let head = format!(
        "POST /v1/translate HTTP/1.1\nhost: a\ncontent-type: application/json{headers}\ncontent-length: {}",
        body.len()
    );
    served.gateway.send(&head, body.as_bytes())
}

#[test]
fn a_text_and_a_language_become_a_typed_translation() {
    let behind = Behind::echoes();
    let served = Served::new(&behind);
    let key = format!("\nx-api-key: {WEB}");
    for _ in 0..10 {
        let answer = ask(&served, &key, r#"{"text": "the tide", "to": "German"}"#);
        assert_eq!((answer.status, answer.json()), (200, json!({"text": "the Gezeit"})), "{}", answer.text());
    }
    let seen = behind.models.seen();
    for one in &seen {
        let want = [
            (Role::System, "You translate into German. Answer with the translation alone.".to_owned()),
            (Role::User, "the tide".to_owned()),
        ];
        assert_eq!(turns(&read(one).1), want);
    }
    let at_claude = seen.iter().filter(|one| one.target() == "/v1/messages").count();
    assert_eq!(at_claude, 2, "by the weights of `smart`, 80 and 20");
    assert_eq!(ask(&served, "", r#"{"text": "the tide", "to": "German"}"#).status, 401);
}

#[test]
fn a_body_that_does_not_fit_is_400_naming_the_field() {
    let behind = Behind::echoes();
    let served = Served::new(&behind);
    let key = format!("\nx-api-key: {WEB}");
    for (body, field) in [
        (r#"{"text": "the tide"}"#, "`/to` is required"),
        (r#"{"to": "German"}"#, "`/text` is required"),
        (r#"{"text": 7, "to": "German"}"#, "`/text`: value is not of type"),
    ] {
        let answer = ask(&served, &key, body);
        assert_eq!((answer.status, answer.problem().as_deref()), (400, Some("invalid")), "{body}");
        assert!(
            answer.json()["detail"].as_str().is_some_and(|detail| detail.contains(field)),
            "{}",
            answer.text()
        );
    }
    assert!(behind.models.seen().is_empty());
}
