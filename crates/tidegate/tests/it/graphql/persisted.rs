//! Documents by their hashes and ids, and answers to them that are kept.

use super::*;

/// The SHA-256 of `{ me { name } }`.
const TEXT: &str = "{ me { name } }";
const HASH: &str = "b8d9506e34c83b0e53c2aa463624fcea354713bc38f95276e6f0bd893ffb5b88";

fn by_hash(hash: &str) -> String {
    format!(r#"{{"extensions":{{"persistedQuery":{{"version":1,"sha256Hash":"{hash}"}}}}}}"#)
}

fn with_text(hash: &str, text: &str) -> String {
    let extensions = serde_json::json!({"persistedQuery": {"version": 1, "sha256Hash": hash}});
    serde_json::json!({"query": text, "extensions": extensions}).to_string()
}

#[test]
fn hashes_are_verified_and_then_known() {
    let shop = Shop::start();
    let gateway = shop.guarded("limits: {depth: 3, batch: 2}, persisted: {automatic: 1MiB}");
    let answer = post(&gateway, &by_hash(HASH));
    assert_eq!((answer.status, code(&answer).as_str()), (200, "PERSISTED_QUERY_NOT_FOUND"));
    assert_eq!(answer.json()["errors"][0]["message"], "PersistedQueryNotFound");
    let both = post(&gateway, &format!("[{},{}]", by_hash(HASH), with_text(HASH, TEXT)));
    assert_eq!(both.json().as_array().map(Vec::len), Some(2), "an error for each: {}", both.text());

    let answer = post(&gateway, &with_text(HASH, "{ me { email } }"));
    assert_eq!((answer.status, code(&answer).as_str()), (400, "PERSISTED_QUERY_HASH_MISMATCH"));
    assert_eq!(code(&post(&gateway, &by_hash(HASH))), "PERSISTED_QUERY_NOT_FOUND", "it was not kept");
    assert!(shop.asked().is_empty());

    assert_eq!(post(&gateway, &with_text(HASH, TEXT)).json()["data"]["me"]["name"], "Ada");
    assert_eq!(post(&gateway, &by_hash(HASH)).json()["data"]["me"]["name"], "Ada");
    let by_id = format!(r#"{{"documentId":"sha256:{HASH}"}}"#);
    assert_eq!(post(&gateway, &by_id).json()["data"]["me"]["name"], "Ada");

    // What is refused is not kept.
    let deep = "{ me { books { author { name } } } }";
    let sum = "681d527a75938f5c273fb3048130f2d0119400b0ef4948266c88adaddc2d0dad";
    assert_eq!(code(&post(&gateway, &with_text(sum, deep))), "DEPTH_LIMIT_EXCEEDED");
    assert_eq!(code(&post(&gateway, &by_hash(sum))), "PERSISTED_QUERY_NOT_FOUND");
    let plain = shop.guarded("");
    let answer = post(&plain, &by_hash(HASH));
    assert_eq!((answer.status, code(&answer).as_str()), (200, "PERSISTED_QUERY_NOT_SUPPORTED"));
    assert_eq!(answer.json()["errors"][0]["message"], "PersistedQueryNotSupported");
}

#[test]
fn answers_to_get_are_kept_by_what_is_asked_for() {
    let shop = Shop::start();
    let policy = format!(
        "{{graphql: {{schema: \"{}\", persisted: {{automatic: 1MiB}}}}}}, {{cache: {{}}}}",
        shop.schema()
    );
    let gateway = shop.behind(&policy);
    assert_eq!(post(&gateway, &with_text(HASH, TEXT)).status, 200);
    let asked = shop.asked().len();
    let extensions = format!(
        "extensions=%7B%22persistedQuery%22%3A%7B%22version%22%3A1%2C%22sha256Hash%22%3A%22{HASH}%22%7D%7D"
    );
    for _ in 0..3 {
        assert_eq!(get(&gateway, &extensions, "").json()["data"]["me"]["name"], "Ada");
    }
    let again = get(&gateway, &extensions, "");
    assert!(
        again.header("cache-status").is_some_and(|said| said.contains("hit")),
        "{:?}",
        again.header("cache-status")
    );
    assert_eq!(shop.asked().len(), asked + 1, "{:?}", shop.asked());
}

#[test]
fn a_list_says_what_may_be_asked() {
    let shop = Shop::start();
    let list = shop.file("list.json", &serde_json::json!({"me-1": TEXT}).to_string());
    let other = "{ me { id } }";
    let id = r#"{"documentId":"me-1"}"#;
    let unknown = r#"{"documentId":"me-2"}"#;

    let gateway = shop.guarded(&format!("persisted: {{list: \"{list}\"}}"));
    assert_eq!(post(&gateway, id).json()["data"]["me"]["name"], "Ada");
    assert_eq!(ask(&gateway, TEXT).json()["data"]["me"]["name"], "Ada");
    assert_eq!(code(&ask(&gateway, other)), "QUERY_NOT_IN_SAFELIST");
    assert_eq!(code(&post(&gateway, unknown)), "PERSISTED_QUERY_NOT_IN_LIST");
    let renamed = format!(r#"{{"documentId":"me-1","query":"{other}"}}"#);
    assert_eq!(code(&post(&gateway, &renamed)), "PERSISTED_QUERY_HASH_MISMATCH");

    let gateway = shop.guarded(&format!("persisted: {{list: \"{list}\", unlisted: requireId}}"));
    assert_eq!(post(&gateway, id).json()["data"]["me"]["name"], "Ada");
    assert_eq!(code(&ask(&gateway, TEXT)), "PERSISTED_QUERY_ID_REQUIRED");

    // Clients that would register what is not listed cannot.
    let gateway = shop.guarded(&format!("persisted: {{list: \"{list}\", automatic: 1MiB}}"));
    assert_eq!(
        code(&post(
            &gateway,
            &with_text("c53d78fa4c9c65a93967d42316fcd207fd611c7cac40a103820a866c3e5dd8f5", other)
        )),
        "QUERY_NOT_IN_SAFELIST"
    );
    assert_eq!(
        code(&post(&gateway, &by_hash("c53d78fa4c9c65a93967d42316fcd207fd611c7cac40a103820a866c3e5dd8f5"))),
        "PERSISTED_QUERY_NOT_FOUND"
    );

    let gateway = shop.guarded(&format!("persisted: {{list: \"{list}\", unlisted: report}}"));
    assert_eq!(ask(&gateway, other).json()["data"]["me"]["id"], "u1");
    let record = gateway.record("one", |record| record["graphql"]["persisted"] == "unlisted");
    assert_eq!(record["graphql"]["type"], "query", "{record}");
    let series = "tidegate_graphql_persisted_total{policy=\"routes/shop/graphql\",outcome=\"unlisted\"}";
    assert_eq!(gateway.metric(series), Some(1.0), "{}", gateway.metrics());
}
