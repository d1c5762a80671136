//! `graphql` in front of a service made with Yoga, asked by Apollo's and urql's clients.

mod allowed;
mod clients;
mod judged;
mod persisted;
mod seen;

use std::{fs, net::SocketAddr};

use super::harness::{Answer, Gateway, Peer, graphql_peer, raw};

const SHOP: &str = include_str!("shop.graphql");

/// The service, for as long as this is kept.
struct Shop {
    _peer: Peer,
    address: SocketAddr,
    folder: tempfile::TempDir,
}

impl Shop {
    fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("shop.graphql"), SHOP).expect("a file");
        let schema = folder.path().join("shop.graphql").display().to_string();
        let mut peer = Peer::start(graphql_peer("server", include_str!("server.mjs"), &[&schema]));
        let port: u16 = peer.line().expect("a line").trim().parse().expect("a port");
        Self { _peer: peer, address: ([127, 0, 0, 1], port).into(), folder }
    }

    /// A file beside the schema.
    fn file(&self, name: &str, text: &str) -> String {
        let path = self.folder.path().join(name);
        fs::write(&path, text).expect("a file");
        path.display().to_string()
    }

    fn schema(&self) -> String {
        self.folder.path().join("shop.graphql").display().to_string()
    }

    /// A gateway in front of it, whose `graphql` has this and the schema.
    fn guarded(&self, settings: &str) -> Gateway {
        self.behind(&format!("{{graphql: {{schema: \"{}\", {settings}}}}}", self.schema()))
    }

    fn behind(&self, policies: &str) -> Gateway {
        Gateway::start(&format!(
            "consumers: [{{name: gold, groups: [staff], keys: [the-key-of-gold]}}, {{name: web, keys: [the-key-of-web]}}]
accessLog: [{{kind: stdout, format: json}}]
upstreams: [{{name: shop, endpoints: [{{address: \"{}\"}}]}}]
routes:
  - name: shop
    match: [{{path: {{prefix: /}}}}]
    policies: [{policies}]
    backends: [{{upstream: shop}}]
",
            self.address
        ))
    }

    /// Its answer to a body that no gateway has seen.
    fn told(&self, headers: &str, body: &str) -> Answer {
        let head = format!(
            "POST /graphql HTTP/1.1\nhost: a\nconnection: close\n{headers}\ncontent-length: {}\n\n",
            body.len()
        );
        Answer::parse(&raw(self.address, (head.replace('\n', "\r\n") + body).as_bytes())).expect("an answer")
    }

    /// The requests that it had.
    fn asked(&self) -> Vec<String> {
        let answer = super::harness::get(self.address, "/asked").expect("an answer");
        serde_json::from_str(&answer.text()).expect("a list")
    }
}

/// Posts JSON.
fn post(gateway: &Gateway, body: &str) -> Answer {
    post_with(gateway, "content-type: application/json", body)
}

fn post_with(gateway: &Gateway, headers: &str, body: &str) -> Answer {
    let head = format!("POST /graphql HTTP/1.1\nhost: a\n{headers}\ncontent-length: {}", body.len());
    gateway.send(&head, body.as_bytes())
}

fn get(gateway: &Gateway, query: &str, headers: &str) -> Answer {
    gateway.send(&format!("GET /graphql?{query} HTTP/1.1\nhost: a{headers}"), b"")
}

/// Asks for this text.
fn ask(gateway: &Gateway, text: &str) -> Answer {
    post(gateway, &serde_json::json!({ "query": text }).to_string())
}

/// The code of the first error.
fn code(answer: &Answer) -> String {
    let json = answer.json();
    json["errors"][0]["extensions"]["code"].as_str().unwrap_or_else(|| panic!("no code: {json}")).to_owned()
}
