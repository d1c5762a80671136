//! What operators see of operations, and what they are told of settings.

use super::*;
use crate::harness::{Upstream, run};

#[test]
fn each_operation_is_a_name_in_metrics_and_records() {
    let shop = Shop::start();
    let gateway = shop.guarded("limits: {depth: 3, batch: 3}");
    let books = r#"{"query":"query Books { books(first: 4) { id } } query Me { me { id } }","operationName":"Books"}"#;
    for _ in 0..3 {
        assert_eq!(post(&gateway, books).status, 200);
    }
    ask(&gateway, "{ me { id } }");
    ask(&gateway, "query Deep { me { books { author { id } } } }");
    let one = r#"{"query":"mutation Change { rename(id: 1, title: \"a\") { id } }"}"#;
    post(&gateway, &format!("[{one},{one}]"));

    let record = gateway.record("books", |record| record["graphql"]["operation"] == "Books");
    let asked = &record["graphql"];
    assert_eq!(
        (asked["type"].as_str(), asked["cost"].as_f64(), asked["depth"].as_u64()),
        (Some("query"), Some(4.0), Some(2))
    );
    let refused = gateway.record("deep", |record| record["graphql"]["operation"] == "Deep");
    assert_eq!(refused["graphql"]["refused"], "DEPTH_LIMIT_EXCEEDED", "{refused}");
    assert_eq!(refused["stopped_by"], "graphql", "{refused}");
    let batch = gateway.record("batch", |record| record["graphql"]["operations"] == 2);
    assert_eq!(batch["graphql"]["type"], "mutation", "{batch}");

    let of = |name: &str, labels: &str| {
        gateway.metric(&format!("tidegate_graphql_{name}{{policy=\"routes/shop/graphql\",{labels}}}"))
    };
    assert_eq!(
        of("operations_total", "operation=\"Books\",type=\"query\",outcome=\"answered\""),
        Some(3.0),
        "{}",
        gateway.metrics()
    );
    assert_eq!(
        of("operations_total", "operation=\"anonymous\",type=\"query\",outcome=\"answered\""),
        Some(1.0)
    );
    assert_eq!(
        of("operations_total", "operation=\"Change\",type=\"mutation\",outcome=\"answered\""),
        Some(2.0)
    );
    assert_eq!(of("cost_total", "operation=\"Books\",type=\"query\""), Some(12.0));
    assert_eq!(of("operation_duration_seconds_count", "operation=\"Books\",type=\"query\""), Some(3.0));
    assert_eq!(of("refused_total", "code=\"DEPTH_LIMIT_EXCEEDED\""), Some(1.0));
    assert_eq!(of("operations_total", "operation=\"Deep\",type=\"query\",outcome=\"answered\""), None);
}

#[test]
fn names_that_clients_make_up_are_counted_together() {
    let upstream = Upstream::fixed(200, "{}");
    let gateway = Gateway::start(&format!(
        "upstreams: [{{name: u, endpoints: [{{address: \"{}\"}}]}}]
routes: [{{name: r, match: [{{path: {{prefix: /}}}}], policies: [{{graphql: {{}}}}], backends: [{{upstream: u}}]}}]\n",
        upstream.address
    ));
    for at in 0..230 {
        assert_eq!(ask(&gateway, &format!("query Q{at} {{ a }}")).status, 200);
    }
    let page = gateway.metrics();
    let series = page.lines().filter(|line| line.starts_with("tidegate_graphql_cost_total{")).count();
    assert_eq!(series, 201, "200 names and one for all others");
    let other = "tidegate_graphql_operations_total{policy=\"routes/r/graphql\",operation=\"other\",type=\"query\",outcome=\"answered\"}";
    assert_eq!(gateway.metric(other), Some(30.0));
}

#[test]
fn a_service_that_is_away_is_told_as_graphql_tells_it() {
    let gateway = Gateway::start(&format!(
        "upstreams: [{{name: u, endpoints: [{{address: \"127.0.0.1:{}\"}}]}}]
routes: [{{name: r, match: [{{path: {{prefix: /}}}}], policies: [{{graphql: {{}}}}], backends: [{{upstream: u}}]}}]\n",
        crate::harness::free_port()
    ));
    let answer = ask(&gateway, "query A { a }");
    assert!(answer.status >= 502, "{}", answer.text());
    assert_eq!(answer.header("content-type"), Some("application/json"));
    let told = answer.json();
    assert!(told["errors"][0]["extensions"]["requestId"].is_string(), "{told}");
    assert!(code(&answer).chars().all(|c| c.is_ascii_uppercase() || c == '_'), "{told}");
}

#[test]
fn documents_and_variables_are_recorded_nowhere() {
    let shop = Shop::start();
    let gateway = shop.guarded("");
    let query = "query=query%20A%7Bme%7Bid%7D%7D&variables=%7B%22secret%22:1%7D&extensions=%7B%7D&operationName=A&a=b";
    assert_eq!(get(&gateway, query, "").status, 200);
    let record = gateway.record("a", |record| record["graphql"]["operation"] == "A");
    assert_eq!(
        record["query"],
        "query=[redacted]&variables=[redacted]&extensions=[redacted]&operationName=A&a=b"
    );
    assert_eq!(get(&gateway, "query=%7Bsecret%7D", "").status, 400);
    let record = gateway.record("secret", |record| !record["graphql"]["refused"].is_null());
    assert_eq!(record["query"], "query=[redacted]");
}

#[test]
fn an_upstream_is_no_place_for_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("tidegate.yaml");
    for (named, used) in
        [("", "{graphql: {}}"), ("policies: [{name: g, policy: {graphql: {}}}]\n", "{use: g}")]
    {
        let text = format!(
            "{named}upstreams: [{{name: u, endpoints: [{{address: \"127.0.0.1:1\"}}], policies: [{used}]}}]
listeners: [{{name: l, address: \"127.0.0.1:1\"}}]
routes: [{{name: r, match: [{{path: {{prefix: /}}}}], backends: [{{upstream: u}}]}}]\n"
        );
        fs::write(&path, text).expect("a file");
        let (status, _, problems) = run(&["validate", "--config", &path.display().to_string()]);
        assert!(status != 0 && problems.contains("upstreams[0].policies[0]"), "{problems}");
    }
}

#[test]
fn settings_that_cannot_hold_are_refused_with_a_reason() {
    let folder = tempfile::tempdir().expect("a folder");
    let schema = folder.path().join("a.graphql");
    fs::write(&schema, "type Query { a: Int }").expect("a file");
    let broken = folder.path().join("b.graphql");
    fs::write(&broken, "type Query { a: Nothing }").expect("a file");
    let (schema, broken) = (schema.display(), broken.display());
    for (settings, wanted) in [
        (format!("schema: {broken}"), "which is not defined"),
        (format!("schema: {schema}, costs: {{weights: {{Query.b: 1}}}}"), "no field `Query.b`"),
        (format!("schema: {schema}, fields: [{{of: [Query.b], scopes: [a]}}]"), "no field `Query.b`"),
        ("fields: [{of: [\"User.*\"], scopes: [a]}]".into(), "needs a `schema`"),
        ("fields: [{of: [Query.a]}]".into(), "says nothing of who may ask"),
        ("fields: [{of: [], scopes: [a]}]".into(), "expected at least one field"),
        ("fields: [{of: [Query.a], allow: [nobody]}]".into(), "nobody"),
        ("fields: [{of: [Query.a], when: \"1 +\"}]".into(), "fields[0].when"),
        ("persisted: {}".into(), "expected `automatic` or `list`"),
        ("persisted: {automatic: 1MiB, unlisted: report}".into(), "there is no `list`"),
        ("limits: {depth: 0}".into(), "expected a number from 1 to 150"),
        ("limits: {tokens: 100001}".into(), "limits.tokens"),
        ("limits: {cost: -1}".into(), "limits.cost"),
        ("limits: {cost: .nan}".into(), "limits.cost"),
        ("fields: [{of: [Query.a], scopes: [a]}], webSocket: passUnjudged".into(), "where nothing is judged"),
        ("costs: {object: -1}".into(), "costs.object: expected a number"),
    ] {
        let path = folder.path().join("tidegate.yaml");
        let text = format!(
            "listeners: [{{name: l, address: \"127.0.0.1:1\"}}]
routes: [{{name: r, match: [{{path: {{prefix: /}}}}], policies: [{{graphql: {{{settings}}}}}], respond: {{}}}}]\n"
        );
        fs::write(&path, text).expect("a file");
        let (status, _, problems) = run(&["validate", "--config", &path.display().to_string()]);
        let problems = problems.split_whitespace().filter(|word| *word != "│").collect::<Vec<_>>().join(" ");
        assert!(status != 0 && problems.contains(wanted), "{settings}: {problems}");
    }
}
