//! Cards that anybody may ask for: however many do, the agent is asked by one, and now and then.

use std::thread;

use serde_json::{Value, json};

use super::config;
use crate::harness::{Gateway, Upstream, get, pause};

const PATH: &str = "/a2a/echo/.well-known/agent-card.json";

fn gateway(agent: &Upstream, more: &str) -> Gateway {
    let more = format!("      publicCards: true\n{more}");
    Gateway::start(&config(&[("echo", format!("http://{}/", agent.address))], &more))
}

fn answer(status: u16, body: &Value) -> Vec<u8> {
    let body = body.to_string();
    let head = format!(
        "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    format!("{head}{body}").into_bytes()
}

/// What many who ask at once are answered: status and text.
fn asked_at_once(gateway: &Gateway, path: &'static str) -> Vec<(u16, String)> {
    let address = gateway.address;
    let ask = move || {
        let answer = get(address, path).expect("an answer");
        (answer.status, answer.text())
    };
    let all: Vec<_> = (0..24).map(|_| thread::spawn(ask)).collect();
    all.into_iter().map(|one| one.join().expect("an answer")).collect()
}

#[test]
fn many_who_ask_for_a_card_make_one_request_to_the_agent() {
    let agent = Upstream::scripted(|_| {
        pause(300);
        Some(answer(200, &json!({"name": "echo", "url": "http://10.0.0.7:9/"})))
    });
    let gateway = gateway(&agent, "");
    for (status, text) in asked_at_once(&gateway, PATH) {
        assert_eq!(status, 200, "{text}");
        let card: Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(card["url"], "http://test.example/a2a/echo");
    }
    assert_eq!(agent.seen().len(), 1, "{:?}", agent.seen());
}

#[test]
fn a_card_that_cannot_be_read_is_not_asked_for_by_every_request() {
    let agent = Upstream::scripted(|_| Some(answer(500, &json!({}))));
    let gateway = gateway(&agent, "");
    for (status, text) in asked_at_once(&gateway, PATH) {
        assert_eq!(status, 502, "{text}");
        assert!(text.contains("card cannot be read"), "{text}");
    }
    let later = get(gateway.address, PATH).expect("an answer");
    assert!(later.status == 502 && later.header("retry-after").is_some(), "{}", later.text());
    // At both of its places, once.
    assert_eq!(agent.seen().len(), 2, "{:?}", agent.seen());
}

#[test]
fn an_old_card_does_while_the_agent_is_away() {
    let is_away = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let told = is_away.clone();
    let agent = Upstream::scripted(move |_| {
        let status = if told.load(std::sync::atomic::Ordering::Relaxed) { 503 } else { 200 };
        Some(answer(status, &json!({"name": "echo", "url": "http://10.0.0.7:9/"})))
    });
    let gateway = gateway(&agent, "      cardTtl: 100ms\n");
    assert_eq!(get(gateway.address, PATH).expect("an answer").status, 200);
    is_away.store(true, std::sync::atomic::Ordering::Relaxed);
    pause(200);
    for (status, text) in asked_at_once(&gateway, PATH) {
        assert_eq!(status, 200, "{text}");
    }
    assert!(agent.seen().len() <= 3, "{:?}", agent.seen());
}
