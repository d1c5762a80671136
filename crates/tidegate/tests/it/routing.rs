//! Routing over sockets: which route takes which request, and what redirects and answers look like.

mod balance;
mod matching;
mod paths;
mod redirects;
mod scale;
mod sni;

use super::{
    harness::{Answer, Gateway},
    policies::refused,
};

/// A gateway whose routes answer with their own names.
fn named(routes: &[(&str, &str)]) -> Gateway {
    Gateway::start(&answering(routes))
}

/// Routes that answer with their own names.
fn answering(routes: &[(&str, &str)]) -> String {
    let routes = routes
        .iter()
        .map(|(name, route)| format!("  - {{name: {name}, {route}, respond: {{body: {name}}}}}\n"));
    format!("routes:\n{}", routes.collect::<String>())
}

/// The name of the route that takes a request, or the status when none does.
fn taken(gateway: &Gateway, line: &str, headers: &str) -> String {
    let answer: Answer = gateway.send(&format!("{line} HTTP/1.1{headers}"), b"");
    if answer.status == 200 { answer.text() } else { answer.status.to_string() }
}
