//! Official clients.

use super::*;

fn play(gateway: &Gateway, scenario: &str, more: &[&str]) {
    let address = gateway.address.to_string();
    let arguments = [&[&*address, scenario], more].concat();
    let name = format!("clients-{scenario}");
    let client = Peer::start(graphql_peer(&name, include_str!("clients.mjs"), &arguments));
    let (ended_well, text) = client.finish();
    assert!(ended_well && text.trim_end() == "ok", "{scenario}: {text}\n{}", gateway.stderr());
}

#[test]
fn apollos_client_asks_by_hashes() {
    let shop = Shop::start();
    let gateway = shop.guarded("persisted: {automatic: 1MiB}");
    play(&gateway, "apollo-apq", &[]);
    let targets = shop.asked();
    assert!(
        targets.iter().all(|target| !target.contains("persistedQuery")),
        "hashes do not go on: {targets:?}"
    );
    assert!(targets.iter().any(|target| target.starts_with("GET /graphql?") && target.contains("query=")));
}

#[test]
fn urqls_client_asks_by_hashes() {
    let shop = Shop::start();
    play(&shop.guarded("persisted: {automatic: 1MiB}"), "urql-apq", &[]);
}

#[test]
fn apollos_client_asks_by_the_ids_of_a_list() {
    let shop = Shop::start();
    let manifest = serde_json::json!({"format": "apollo-persisted-query-manifest", "version": 1, "operations": [
        {"id": "book-1", "name": "Book", "type": "query",
         "body": "query Book($id: ID!) {\n  book(id: $id) {\n    title\n    author {\n      name\n    }\n  }\n}"}]});
    let list = shop.file("list.json", &manifest.to_string());
    let gateway = shop.guarded(&format!("persisted: {{list: \"{list}\", unlisted: requireId}}"));
    play(&gateway, "apollo-list", &[&list]);
}

#[test]
fn apollos_client_asks_for_several_at_once() {
    let shop = Shop::start();
    play(&shop.guarded("limits: {batch: 5, cost: 60}"), "apollo-batch", &[]);
}

#[test]
fn urqls_client_is_told_why() {
    let shop = Shop::start();
    play(&shop.guarded("limits: {depth: 4}"), "urql-told", &[]);
}
