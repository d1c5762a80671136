//! `authorize`.

use super::{ask, basic};
use crate::harness::Gateway;

const REST: &str = "accessLog: [{kind: stdout}]
consumers:
  - {name: gold, groups: [partners], basic: [{username: ann, password: 'pass:word'}]}
  - {name: web, basic: [{username: bob, password: 'pass:word'}]}
routes:
  - name: orders
    match: [{path: {template: '/orders/{owner}'}}]
    policies:
      - basicAuth: {}
      - authorize:
          rules:
            - {require: \"consumer.name == captures.owner\", message: these are not your orders, status: 404}
            - {require: \"'partners' in consumer.groups\", message: for partners}
    respond: {body: welcome}
  - name: trial
    match: [{path: {prefix: /trial}}]
    policies: [{authorize: {mode: detect, rules: [{require: \"request.headers['x-plan'] == 'gold'\"}]}}]
    respond: {body: welcome}
";

#[test]
fn the_condition_that_is_not_met_says_what_the_client_is_told() {
    let gateway = Gateway::start(REST);
    for (path, pair, status, part) in [
        ("/orders/gold", "ann:pass:word", 200, "welcome"),
        ("/orders/web", "ann:pass:word", 404, "these are not your orders"),
        ("/orders/web", "bob:pass:word", 403, "for partners"),
        ("/orders/gold", "ann:wrong", 401, "unauthenticated"),
    ] {
        let answer = ask(&gateway, path, &basic(pair));
        assert_eq!(answer.status, status, "{path} {pair}");
        assert!(answer.text().contains(part), "{}", answer.text());
        if status != 200 {
            assert_eq!(answer.header("content-type"), Some("application/problem+json"));
        }
    }
    // What is hidden by 404 is not told beside it: it reads as what is not there at all.
    let problem = |path: &str| {
        let told: serde_json::Value =
            serde_json::from_str(&ask(&gateway, path, &basic("ann:pass:word")).text()).expect("JSON");
        (told["type"].clone(), told["title"].clone())
    };
    assert_eq!(problem("/orders/web"), problem("/no/such/path"));
    let record =
        gateway.record("a hidden one", |record| record["status"] == 404 && record["route"] == "orders");
    assert_eq!(
        (&record["stopped_by"], &record["failure"]["reason"]),
        (&"authorize".into(), &"forbidden".into())
    );
    let record = gateway.record("a refusal", |record| record["status"] == 403);
    assert_eq!(record["stopped_by"], "authorize");
    assert_eq!(
        gateway.metric("tidegate_authorize_total{policy=\"routes/orders/authorize\",outcome=\"refused\"}"),
        Some(3.0)
    );
    assert_eq!(ask(&gateway, "/trial", "\nx-plan: gold").status, 200);
    assert_eq!(ask(&gateway, "/trial", "").status, 200);
    assert_eq!(
        gateway.metric("tidegate_authorize_total{policy=\"routes/trial/authorize\",outcome=\"detected\"}"),
        Some(1.0)
    );
}

#[test]
fn a_condition_that_is_none_refuses_the_configuration_and_names_its_place() {
    for (rule, part) in [
        ("{require: 'request.metod == 1'}", "rules[0].require"),
        ("{require: 'request.path'}", "but a condition is true or"),
        ("{require: 'true', status: 401}", "which are judged before"),
        ("{require: 'true', status: 200}", "a number from 400 to 499"),
    ] {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("tidegate.yaml");
        let text = format!(
            "routes: [{{name: r, match: [{{path: {{prefix: /}}}}], policies: [{{authorize: {{rules: [{rule}]}}}}], respond: {{}}}}]\n"
        );
        std::fs::write(&path, text).expect("a file");
        let (code, _, told) = crate::harness::run(&["validate", "--config", &path.display().to_string()]);
        assert!(code == 3 && told.contains(part), "{rule}: {told}");
    }
}
