//! What callers are not shown of an answer is told: on its head, in the record, or by no answer at all.

use ai::{
    canon::{Answer, Citation, Part},
    dialect::Dialect,
};
use serde_json::json;

use super::{
    KEY,
    parrot::{self, ask_with, question, says},
};
use crate::harness::Gateway;

/// An answer that quotes a document, which a caller of OpenAI's chat has no place for.
fn quoting() -> Answer {
    let mut answer = says("The tide is high.");
    answer.choices[0].parts = vec![Part::Text {
        text: "The tide is high.".into(),
        citations: vec![Citation {
            title: Some("tides".into()),
            quote: Some("high".into()),
            document: Some(0),
            ..Citation::default()
        }],
        cache: None,
        proof: None,
    }];
    answer
}

fn gateway(strict: bool, upstream: &crate::harness::Upstream) -> Gateway {
    let text = format!(
        "consumers: [{{name: app, keys: [{KEY}]}}]\naccessLog: [{{kind: stdout, format: json}}]\nroutes:\n  - name: models\n    match: [{{path: {{prefix: /ai}}}}]\n    policies: [{{keyAuth: {{}}}}]\n    ai: {{stripPrefix: /ai, strict: {strict}}}\nai:\n  providers: [{{name: p, kind: anthropic, baseUrl: \"http://{}\", keys: [k]}}]\n  models: [{{name: m, targets: [{{provider: p, model: claude-sonnet-4-5}}]}}]\n",
        upstream.address
    );
    Gateway::start(&text)
}

#[test]
fn what_a_caller_is_not_shown_is_named_on_the_head_and_in_the_record() {
    let upstream = parrot::provider(Dialect::Anthropic, |_| quoting());
    let gateway = gateway(false, &upstream);
    let chat = Dialect::OpenAiChat;
    let name = "annotations";
    let whole = ask_with(&gateway, chat, "m", &question("high?", false), KEY, "");
    assert_eq!((whole.status, whole.header("x-tidegate-dropped")), (200, Some(name)), "{}", whole.text());
    let stream = ask_with(&gateway, chat, "m", &question("high?", true), KEY, "");
    assert_eq!((stream.status, stream.header("x-tidegate-dropped")), (200, None));
    let own = ask_with(&gateway, Dialect::Anthropic, "m", &question("high?", false), KEY, "");
    assert_eq!((own.status, own.header("x-tidegate-dropped")), (200, None), "its own dialect shows it");
    let records = gateway.records(3);
    for record in records {
        let is_own = record["ai"]["dialect"] == "anthropic";
        let want = if is_own { serde_json::Value::Null } else { json!([name]) };
        assert_eq!(record["ai"]["dropped"], want, "{record}");
    }
}

#[test]
fn where_nothing_may_be_lost_such_an_answer_is_not_given() {
    let upstream = parrot::provider(Dialect::Anthropic, |_| quoting());
    let gateway = gateway(true, &upstream);
    let answer = ask_with(&gateway, Dialect::OpenAiChat, "m", &question("high?", false), KEY, "");
    assert_eq!(answer.status, 422, "{}", answer.text());
    assert!(answer.text().contains("annotations"), "{}", answer.text());
    let record = gateway.records(1).pop().expect("a record");
    assert_eq!(record["ai"]["output_tokens"], 2, "it was paid for");
}
