//! A plugin in Rust: what its `config` asks for becomes of requests and answers; as a handler it tells what it was sent.
//!
//! `cargo build --release --target wasm32-wasip2` makes `target/wasm32-wasip2/release/example_plugin.wasm`.

wit_bindgen::generate!({
    path: "../../../crates/wasm/wit",
    world: "plugin",
});

use serde_json::{Value, json};
use tidegate::plugin::{
    host::{self, Level},
    request, response,
    types::Outgoing,
    upstreams,
};

struct Plugin;

fn config() -> Value {
    serde_json::from_str(&host::config()).unwrap_or(Value::Null)
}

fn answer(status: u16, told: Value) -> Answer {
    Answer {
        status,
        headers: vec![("content-type".to_owned(), "application/json".to_owned())],
        body: told.to_string().into_bytes(),
    }
}

impl Guest for Plugin {
    fn on_request() -> Verdict {
        let config = config();
        // `refuse: /admin` answers itself.
        if let Some(prefix) = config["refuse"].as_str()
            && request::path().starts_with(prefix)
        {
            let count = host::count("refused", 1).unwrap_or_default();
            host::log(Level::Warn, &format!("refused {} of {}", request::path(), request::client_address()));
            return Verdict::Answer(answer(403, json!({"refused": count})));
        }
        // `tag: blue` marks requests for the upstream.
        if let Some(tag) = config["tag"].as_str() {
            let caller = request::consumer().unwrap_or_else(|| "nobody".to_owned());
            let set = request::set_header("x-tag", &format!("{tag} {caller}"));
            set.expect("a header that may be set");
        }
        // `ask: accounts` has an upstream say whether the request is fine.
        if let Some(upstream) = config["ask"].as_str() {
            let outgoing = Outgoing {
                method: "GET".to_owned(),
                target: format!("/check?path={}", request::path()),
                headers: vec![("x-request-id".to_owned(), request::id())],
                body: Vec::new(),
            };
            match upstreams::fetch(upstream, &outgoing) {
                Ok(said) if said.status == 200 => {}
                Ok(said) => return Verdict::Answer(answer(403, json!({"said": said.status}))),
                Err(wrong) => return Verdict::Answer(answer(503, json!({"wrong": wrong}))),
            }
        }
        // `shout: true` rewrites bodies.
        if config["shout"] == true {
            let Some(body) = request::body() else { return Verdict::ReadBody };
            let loud = String::from_utf8_lossy(&body).to_uppercase();
            request::set_body(loud.as_bytes()).expect("a request that has not gone on");
        }
        Verdict::Next
    }

    fn on_response() -> Verdict {
        let config = config();
        if let Some(via) = config["via"].as_str() {
            response::set_header("x-via", via).expect("a header that may be set");
        }
        // `hide: secret` takes a member out of JSON.
        if let Some(member) = config["hide"].as_str() {
            let Some(body) = response::body() else { return Verdict::ReadBody };
            if let Ok(Value::Object(mut object)) = serde_json::from_slice(&body) {
                object.remove(member);
                response::set_body(Value::Object(object).to_string().as_bytes()).expect("an answer");
            }
        }
        Verdict::Next
    }

    fn handle() -> Answer {
        println!("{} {}", request::method(), request::path());
        let body = request::body().unwrap_or_default();
        answer(
            200,
            json!({
                "method": request::method(),
                "path": request::path(),
                "query": request::query(),
                "accept": request::header("accept"),
                "route": request::route(),
                "body": String::from_utf8_lossy(&body),
                "config": config(),
                "random": host::random(4).len(),
            }),
        )
    }
}

export!(Plugin);
