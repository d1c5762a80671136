//! A second model beside the one that answers: asked the same, compared, and in nobody's way.

use ai::{
    canon::{Answer, Part},
    dialect::Dialect,
};
use serde_json::{Value, json};

use super::{
    KEY,
    parrot::{self, ask_with, heard, question, says, text},
};
use crate::harness::{Gateway, Upstream, eventually, pause};

/// A gateway whose model is OpenAI's, with Claude as its shadow.
fn gateway(first: &Upstream, second: &Upstream, shadow: &str, policies: &str) -> Gateway {
    Gateway::start(&format!(
        "consumers: [{{name: app, keys: [{KEY}]}}]\naccessLog: [{{kind: stdout, format: json}}]\nroutes:\n  - name: models\n    match: [{{path: {{prefix: /ai}}}}]\n    policies: [{{keyAuth: {{headers: [x-api-key, authorization, x-goog-api-key]}}}}{policies}]\n    ai: {{stripPrefix: /ai}}\nai:\n  providers:\n    - {{name: first, kind: openai, baseUrl: \"http://{}/v1\", keys: [k1]}}\n    - {{name: second, kind: anthropic, baseUrl: \"http://{}\", keys: [k2]}}\n  models:\n    - name: smart\n      targets: [{{provider: first, model: gpt-4o}}]\n      shadow: [{{provider: second, model: claude-sonnet-4-5{shadow}}}]\n",
        first.address, second.address
    ))
}

fn shadows(gateway: &Gateway, count: usize) -> Vec<Value> {
    let is_one = |record: &Value| record["ai"]["operation"] == "shadow";
    let all = gateway.records(2 * count);
    all.into_iter().filter(is_one).collect()
}

#[test]
fn the_same_is_asked_of_a_second_model_and_both_answers_are_compared() {
    for caller in Dialect::ALL {
        for stream in [false, true] {
            // OpenAI speaks both of its dialects itself.
            let spoken = if caller == Dialect::OpenAiResponses { caller } else { Dialect::OpenAiChat };
            let first = parrot::provider(spoken, |_| says("The tide is high."));
            let second = parrot::provider(Dialect::Anthropic, |_| says("the tide is  HIGH."));
            let gateway = gateway(&first, &second, "", "");
            let answer =
                ask_with(&gateway, caller, "smart", &question("how high?", stream), KEY, "\nx-own: 1");
            assert_eq!(text(&heard(caller, &answer)), "The tide is high.", "{caller:?} {stream}");
            let records = shadows(&gateway, 1);
            let [record] = records.as_slice() else { panic!("{caller:?} {stream}: {records:#?}") };
            let ai = &record["ai"];
            assert_eq!(
                (&ai["provider"], &ai["served_model"]),
                (&json!("second"), &json!("claude-sonnet-4-5"))
            );
            assert_eq!((&ai["input_tokens"], &ai["output_tokens"]), (&json!(3), &json!(2)), "{record}");
            assert!(ai["cost_usd"].as_f64().expect("a price") > 0.0, "{record}");
            let of = &ai["shadow_of"];
            assert_eq!(
                (&of["provider"], &of["finish"], &of["output_tokens"]),
                (&json!("first"), &json!("stop"), &json!(2)),
                "{record}"
            );
            assert!(of["duration_ms"].as_f64().is_some() && of["cost_usd"].as_f64().is_some(), "{record}");
            let told = &ai["comparison"];
            assert_eq!(
                (&told["same_text"], &told["shared_words"]),
                (&json!(true), &json!(1.0)),
                "{caller:?} {stream} {record}"
            );
            assert_eq!(
                (&told["text"], &record["consumer"]),
                (&Value::Null, &json!("app")),
                "texts are not told unasked"
            );
            let seen = second.seen().pop().expect("it was asked");
            assert!(String::from_utf8_lossy(&seen.body).contains("how high?"));
            assert_eq!((seen.header("x-api-key"), seen.header("x-own")), (Some("k2"), None));
        }
    }
}

fn calls(name: &str) -> Answer {
    let mut answer = says("");
    let (id, name, arguments) = ("c1".to_owned(), name.to_owned(), "{}".to_owned());
    answer.choices[0].parts =
        vec![Part::ToolCall { id, name, arguments, custom: false, proof: None, cache: None }];
    answer
}

#[test]
fn json_tools_lengths_and_texts_are_compared_where_that_is_wanted() {
    let first = parrot::provider(Dialect::OpenAiChat, |request| {
        match format!("{:?}", request.messages).contains("call") {
            true => calls("f"),
            false => says("{\"depth\": 3, \"unit\": \"m\"}"),
        }
    });
    let second = parrot::provider(Dialect::Anthropic, |request| {
        match format!("{:?}", request.messages).contains("call") {
            true => calls("g"),
            false => says("{\"unit\":\"m\",\"depth\":3}"),
        }
    });
    let gateway = gateway(&first, &second, ", recordText: true", "");
    for said in ["json", "call"] {
        ask_with(&gateway, Dialect::OpenAiChat, "smart", &question(said, false), KEY, "");
    }
    let records = shadows(&gateway, 2);
    let find = |key: &str| {
        let found = records.iter().map(|record| &record["ai"]["comparison"]).find(|one| !one[key].is_null());
        found.unwrap_or_else(|| panic!("{key}: {records:#?}")).clone()
    };
    let of_json = find("same_json");
    assert_eq!((&of_json["same_json"], &of_json["same_text"]), (&json!(true), &json!(false)), "{of_json}");
    assert_eq!(of_json["shadow_text"], "{\"unit\":\"m\",\"depth\":3}");
    assert_eq!(find("same_tools")["same_tools"], false);
}

#[test]
fn a_shadow_is_in_nobodys_way_and_in_no_budget() {
    let first = parrot::provider(Dialect::OpenAiChat, |_| says("ok"));
    let second = Upstream::scripted(|_| {
        pause(1500);
        Some(b"HTTP/1.1 500 X\r\ncontent-length: 2\r\n\r\n{}".to_vec())
    });
    let budget = ", {budget: {tokens: 100000, per: day}}";
    let gateway = gateway(&first, &second, ", maxConcurrent: 1", budget);
    let began = std::time::Instant::now();
    for _ in 0..3 {
        let answer = ask_with(&gateway, Dialect::OpenAiChat, "smart", &question("x", false), KEY, "");
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    assert!(began.elapsed().as_millis() < 1200, "nobody waits for it: {:?}", began.elapsed());
    eventually("it was asked", || second.seen().len() == 1);
    let metric =
        |name: &str| gateway.metric(&format!("tidegate_ai_shadow_{name}_total{{provider=\"second\"}}"));
    assert_eq!(metric("left_out"), Some(2.0), "one at a time");
    eventually("it failed", || metric("failed") == Some(1.0));
    let shadow = gateway.record("the shadow", |record| record["ai"]["operation"] == "shadow");
    assert_eq!(shadow["ai"]["comparison"]["error"], "it answered 500 Internal Server Error", "{shadow}");
}

#[test]
fn a_share_of_calls_is_repeated() {
    let first = parrot::provider(Dialect::OpenAiChat, |_| says("ok"));
    let second = parrot::provider(Dialect::Anthropic, |_| says("ok"));
    let gateway = gateway(&first, &second, ", percent: 25, maxConcurrent: 100", "");
    for _ in 0..120 {
        ask_with(&gateway, Dialect::OpenAiChat, "smart", &question("x", false), KEY, "");
    }
    pause(300);
    let asked = second.seen().len();
    assert!((12..=50).contains(&asked), "{asked} of 120, 30 are due");
}
