//! Brokers: what is published, what is delivered, what is listened to, with real servers of NATS and RabbitMQ, and
//! librdkafka's mock cluster.

mod cloud;
mod deliveries;
mod judged;
mod kafka;
mod listeners;
pub(super) mod mock;
mod publish;
mod rabbitmq;
pub(super) mod server;
mod settings;
mod troubles;

use crate::harness::{Answer, Gateway};

/// What a POST of a body is answered with.
fn post(gateway: &Gateway, path: &str, headers: &str, body: &str) -> Answer {
    let head = format!("POST {path} HTTP/1.1\nhost: x\ncontent-length: {}{headers}", body.len());
    gateway.send(&head, body.as_bytes())
}

fn json(answer: &Answer) -> serde_json::Value {
    serde_json::from_slice(&answer.body).unwrap_or_else(|_| panic!("{answer:?}"))
}
