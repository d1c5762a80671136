//! `/metrics`: well formed, bounded, documented; dashboards and alerts name what exists.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    net::SocketAddr,
    process::{Command, Stdio},
};

use crate::{
    harness::{Client, Gateway, Upstream, eventually, free_port},
    otlp::receiver::peers,
    tidy::root,
};

/// A gateway on which every metric has a series, after some traffic.
fn busy() -> (Gateway, [Upstream; 2]) {
    let upstream = Upstream::echo();
    let streams = crate::ai::provider::of(ai::dialect::Dialect::OpenAiChat);
    let gateway = Gateway::start(&format!(
        "accessLog: [{{kind: stdout}}]
upstreams:
  - {{name: good, endpoints: [{{address: \"{0}\"}}], circuitBreaker: {{}}, bulkhead: {{maxConcurrentCalls: 8}}, healthCheck: {{path: /, interval: 200ms}}}}
  - {{name: dead, endpoints: [{{address: \"127.0.0.1:{1}\"}}], retry: {{maxAttempts: 2}}}}
consumers: [{{name: someone, keys: [a-key-of-the-test]}}]
redis: {{addresses: [\"127.0.0.1:{1}\"]}}
postgres: {{url: \"postgresql://a@127.0.0.1:{1}/a\"}}
routes:
  - {{name: closed, match: [{{path: {{prefix: /closed}}}}], policies: [keyAuth: {{}}], backends: [{{upstream: good}}]}}
  - {{name: dead, match: [{{path: {{prefix: /dead}}}}], policies: [cache: {{disk: {{}}}}], backends: [{{upstream: dead}}]}}
  - {{name: models, match: [{{path: {{prefix: /ai}}}}], policies: [budget: {{tokens: 1000000, metricKeys: 5}}, budget: {{amount: 1000, name: money, metricKeys: 5, unknownPrice: free}}, guardrails: {{rules: [{{name: w, mode: flag, on: request, words: [hello]}}]}}, aiCache: {{scope: shared}}], ai: {{stripPrefix: /ai}}}}
  - {{name: good, match: [{{path: {{prefix: /}}}}], backends: [{{upstream: good}}]}}
ai:
  providers:
    - {{name: keyed, kind: openai, baseUrl: \"http://{0}/v1\", keys: [a-providers-key], keyQueue: {{maxConcurrent: 100}}}}
    - {{name: tokens, kind: openai, baseUrl: \"http://{0}/v1\", oauth: {{tokenUrl: \"http://127.0.0.1:{1}/\", clientId: a, clientSecret: b}}}}
    - {{name: away, kind: openai, baseUrl: \"http://127.0.0.1:{1}/v1\", keys: [a-providers-key]}}
    - {{name: streams, kind: openai, baseUrl: \"http://{2}/v1\", keys: [a-providers-key]}}
  models: [{{name: m, targets: [{{provider: keyed, model: gpt-4o}}]}}, {{name: gone, targets: [{{provider: away, model: gpt-4o}}]}}, {{name: voice, targets: [{{provider: keyed, model: tts-1}}]}}, {{name: flow, targets: [{{provider: streams, model: gpt-4o}}]}}]
",
        upstream.address,
        free_port(),
        streams.address
    ));
    for path in ["/a", "/closed", "/dead", "/%00"] {
        gateway.get(path);
    }
    for (model, path, status) in [
        ("m", "chat/completions", 200),
        ("gone", "chat/completions", 502),
        ("flow", "chat/completions", 200),
        ("voice", "audio/speech", 200),
    ] {
        let asked = match model {
            "voice" => r#""input":"hello","voice":"alloy""#,
            "flow" => r#""stream":true,"messages":[{"role":"user","content":"hello case: text"}]"#,
            _ => r#""messages":[{"role":"user","content":"hello"}]"#,
        };
        let body = format!(r#"{{"model":"{model}",{asked}}}"#);
        let head = format!(
            "POST /ai/v1/{path} HTTP/1.1\nhost: a\ncache-control: no-store\ncontent-length: {}",
            body.len()
        );
        assert_eq!(gateway.send(&head, body.as_bytes()).status, status, "{model}");
    }
    eventually("lines are written", || {
        gateway.metric("tidegate_records_exported_total{sink=\"access_log\"}") == Some(8.0)
    });
    (gateway, [upstream, streams])
}

/// A gateway with nearly every policy and handler: most of their metrics are there from the start, and the others after
/// some traffic.
fn guarded() -> (Gateway, Upstream) {
    let upstream = Upstream::echo();
    let folder = tempfile::tempdir().expect("a folder");
    for name in ["rules", "www"] {
        fs::create_dir(folder.path().join(name)).expect("a folder");
    }
    fs::write(folder.path().join("list.txt"), "192.0.2.0/24\n").expect("a list");
    let rule = "SecRuleEngine On\nSecRule ARGS:x \"@streq y\" \"id:1,phase:2,deny,status:403\"\n";
    fs::write(folder.path().join("rules/test.conf"), rule).expect("rules");
    let [public, bytes, nobody] = [(); 3].map(|()| SocketAddr::from(([127, 0, 0, 1], free_port())));
    let text = include_str!("every_policy.yaml")
        .replace("PUBLIC", &public.to_string())
        .replace("BYTES", &bytes.to_string())
        .replace("UPSTREAM", &upstream.address.to_string())
        .replace("NOBODY", &nobody.to_string())
        .replace("FOLDER", &folder.path().display().to_string());
    let gateway = Gateway::in_folder(folder, &text, public, |_| {});
    // Without a name it would be taken for a robot, and come to no rule.
    let named = "GET /open?x=y HTTP/1.1\nhost: a\nuser-agent: curl/8.5.0\naccept: */*";
    assert_eq!(gateway.send(named, b"").status, 403, "the rule fires");
    gateway.get("/page");
    let unknown = "0".repeat(64);
    for body in [
        r#"{"query":"{ a }"}"#.to_owned(),
        r#"{"query":"{ a "}"#.to_owned(),
        format!(r#"{{"extensions":{{"persistedQuery":{{"version":1,"sha256Hash":"{unknown}"}}}}}}"#),
    ] {
        let head = "POST /graph HTTP/1.1\nhost: a\ncontent-type: application/json\ncontent-length: ";
        gateway.send(&format!("{head}{}", body.len()), body.as_bytes());
    }
    for name in
        ["compose_calls_total{", "waf_fired_total{", "graphql_cost_total{", "graphql_persisted_total{"]
    {
        let name = format!("tidegate_{name}");
        eventually(&name, || gateway.metrics().lines().any(|line| line.starts_with(&name)));
    }
    (gateway, upstream)
}

/// The names on a page, each with its type and its labels.
fn families(page: &str) -> BTreeMap<String, (String, BTreeSet<String>)> {
    let mut found: BTreeMap<String, (String, BTreeSet<String>)> = BTreeMap::new();
    for line in page.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').expect("a type");
            found.insert(name.to_owned(), (kind.to_owned(), BTreeSet::new()));
        } else if !line.starts_with('#') {
            let (name, labels) =
                line.split_once('{').unwrap_or((line.split(' ').next().unwrap_or_default(), ""));
            let plain = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
            let family = plain.filter(|plain| found.contains_key(*plain)).unwrap_or(name);
            let entry = found.get_mut(family).unwrap_or_else(|| panic!("{name} without a type"));
            let names = labels.split("\",").filter_map(|pair| pair.split_once("=\"")).map(|(name, _)| name);
            entry.1.extend(names.filter(|name| *name != "le").map(str::to_owned));
        }
    }
    found
}

/// Every word of a text that looks like a metric of ours.
fn mentioned(text: &str) -> BTreeSet<String> {
    text.split(|character: char| !character.is_ascii_alphanumeric() && character != '_')
        .filter(|word| {
            ["tidegate_", "process_", "gen_ai_client_", "gen_ai_server_"]
                .iter()
                .any(|begin| word.starts_with(begin))
        })
        .map(str::to_owned)
        .collect()
}

/// Names as queries use them: histograms by their series.
fn queryable(page: &str) -> BTreeSet<String> {
    let lines = page.lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| line.split(['{', ' ']).next()).map(str::to_owned).collect()
}

fn promtool(arguments: &[&str], input: &str) -> String {
    let (is_good, said) = promtool_says(arguments, input);
    assert!(is_good, "promtool {arguments:?}: {said}");
    said
}

/// What promtool makes of an input, which is also the file `INPUT` of its arguments.
fn promtool_says(arguments: &[&str], input: &str) -> (bool, String) {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("input");
    fs::write(&file, input).expect("a file");
    let shown = file.display().to_string();
    let arguments = arguments.iter().map(|argument| if *argument == "INPUT" { &shown } else { *argument });
    let output = Command::new(peers().join("promtool"))
        .args(arguments)
        .current_dir(root().join("deploy/prometheus"))
        .stdin(Stdio::from(fs::File::open(file).expect("a file")))
        .output()
        .expect("promtool runs");
    let said =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    (output.status.success(), said)
}

/// The dashboard's queries, each with its panel's title and its letter.
fn queries() -> Vec<(String, String)> {
    let dashboard = fs::read_to_string(root().join("deploy/grafana/tidegate.json")).expect("a dashboard");
    let dashboard: serde_json::Value = serde_json::from_str(&dashboard).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels");
    let targets = panels.iter().flat_map(|panel| {
        let targets = panel["targets"].as_array().into_iter().flatten();
        targets.map(|target| (format!("{} {}", panel["title"], target["refId"]), &target["expr"]))
    });
    targets.map(|(place, query)| (place, query.as_str().expect("a query").to_owned())).collect()
}

/// A file of rules with a rule per query, whose variables have values as Grafana would give them.
fn as_rules(queries: &[(String, String)]) -> String {
    let rules: Vec<_> = queries
        .iter()
        .enumerate()
        .map(|(number, (_, query))| {
            let query = query.replace("$__rate_interval", "1m0s").replace("$route", "catalog|orders");
            let query = query.replace("$upstream", ".*").replace("$model", ".*").replace("$job", "tidegate");
            assert!(!query.contains('$'), "a variable that this test does not know: {query}");
            serde_json::json!({"record": format!("dashboard:query_{number}"), "expr": query})
        })
        .collect();
    // JSON is YAML.
    serde_json::json!({"groups": [{"name": "dashboard", "rules": rules}]}).to_string()
}

#[test]
fn promtool_finds_nothing_to_object_to_on_the_page() {
    for page in [busy().0.metrics(), guarded().0.metrics()] {
        let said = promtool(&["check", "metrics"], &page);
        assert_eq!(said.trim(), "", "promtool objects");
    }
}

#[test]
fn alert_rules_hold_and_each_has_a_case_of_its_own() {
    promtool(&["check", "rules", "rules.yaml"], "");
    promtool(&["test", "rules", "rules.test.yaml"], "");
    let read = |name: &str| fs::read_to_string(root().join("deploy/prometheus").join(name)).expect("a file");
    let cases = read("rules.test.yaml");
    let rules = read("rules.yaml");
    let alerts: Vec<_> = rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert!(alerts.len() >= 9);
    for alert in alerts {
        let fires = cases.split("alertname: ").any(|case| {
            case.starts_with(alert)
                && case.split("alertname").next().unwrap_or_default().contains("exp_labels")
        });
        assert!(fires, "{alert} has no case in which it fires");
    }
}

#[test]
fn promtool_can_read_every_query_of_the_dashboard() {
    let mut queries = queries();
    assert!(queries.len() > 30, "{} queries", queries.len());
    for query in &queries {
        let (is_good, said) =
            promtool_says(&["check", "rules", "INPUT"], &as_rules(std::slice::from_ref(query)));
        assert!(is_good && said.contains("1 rules found"), "{} {}: {said}", query.0, query.1);
    }
    // A query that cannot be read would be told.
    for broken in
        ["sum by (route) (rate(tidegate_requests_total[$__rate_interval])", "rate(tidegate_requests_total)"]
    {
        queries.push(("broken".to_owned(), broken.to_owned()));
        assert!(!promtool_says(&["check", "rules", "INPUT"], &as_rules(&queries)).0, "{broken}");
        queries.pop();
    }
}

#[test]
fn every_metric_of_the_dashboard_and_of_the_alerts_exists() {
    let page = busy().0.metrics();
    let known = queryable(&page);
    let rules = fs::read_to_string(root().join("deploy/prometheus/rules.yaml")).expect("rules");
    let dashboard = fs::read_to_string(root().join("deploy/grafana/tidegate.json")).expect("a dashboard");
    let dashboard: serde_json::Value = serde_json::from_str(&dashboard).expect("JSON");
    let documents = fs::read_to_string(root().join("docs/observability.md")).expect("docs/observability.md");
    let queries = queries();
    for (place, query) in &queries {
        assert!(!mentioned(query).is_empty(), "{place}: a query about nothing of ours: {query}");
    }
    let variables = dashboard["templating"]["list"].to_string();
    let from_rules =
        rules.lines().filter(|line| !line.contains("description:")).collect::<Vec<_>>().join("\n");
    let queries = queries.iter().map(|(_, query)| query.as_str());
    for text in queries.chain([variables.as_str(), from_rules.as_str()]) {
        for name in mentioned(text) {
            // What this page has not is documented by a test of its own; others of its kind look at the documents.
            let family = name.strip_suffix("_bucket").unwrap_or(&name);
            let is_documented = documents.contains(&format!("| `{family}` |"));
            assert!(
                known.contains(&name) || is_documented,
                "{name} is neither on the page nor in the documents"
            );
        }
    }
}

#[test]
fn the_list_of_metrics_in_the_documents_is_complete_and_right() {
    let text = fs::read_to_string(root().join("docs/observability.md")).expect("docs/observability.md");
    let mut documented = BTreeMap::new();
    for line in text.lines().filter(|line| {
        ["| `tidegate_", "| `process_", "| `gen_ai_"].iter().any(|begin| line.starts_with(begin))
    }) {
        let cells: Vec<_> = line.split('|').map(str::trim).collect();
        let labels = cells[3].split(", ").map(|label| label.trim_matches('`').to_owned());
        let labels: BTreeSet<_> = labels.filter(|label| label != "–").collect();
        // These have no series without another server, file or certificate: `mcp::federation`, `mcp::asked`, `transcode::rest`,
        // `secrets::staying`, `acme::orders`, `policies::geo` and `plugins` look at theirs.
        let elsewhere = [
            "tidegate_mcp_",
            "tidegate_transcode_",
            "tidegate_vault_",
            "tidegate_acme_",
            "tidegate_geo_",
            "tidegate_wasm_",
        ];
        if elsewhere.iter().any(|begin| cells[1].contains(begin)) {
            continue;
        }
        for name in cells[1].split(", ") {
            documented.insert(name.trim_matches('`').to_owned(), (cells[2].to_owned(), labels.clone()));
        }
    }
    let mut told = families(&busy().0.metrics());
    for (name, (kind, labels)) in families(&guarded().0.metrics()) {
        let known = told.entry(name.clone()).or_insert_with(|| (kind.clone(), BTreeSet::new()));
        assert_eq!(known.0, kind, "{name} is of two types");
        known.1.extend(labels);
    }
    assert_eq!(documented, told, "docs/observability.md (left) and /metrics (right) differ");
}

#[test]
fn clients_cannot_make_series() {
    let (gateway, _upstream) = busy();
    let names = |page: &str| -> BTreeSet<String> {
        let lines = page.lines().filter(|line| !line.starts_with('#'));
        lines.filter_map(|line| line.rsplit_once(' ')).map(|(series, _)| series.to_owned()).collect()
    };
    let warm = |method: &str| gateway.send(&format!("{method} /a HTTP/1.1\nhost: a"), b"");
    warm("BREW");
    let before = names(&gateway.metrics());
    for number in 0..200 {
        let request = format!(
            "BREW{number} /path/{number}?q={number} HTTP/1.1\nhost: host-{number}.test\nuser-agent: agent-{number}\nx-api-key: key-{number}\nx-request-id: id-{number}"
        );
        gateway.send(&request, b"");
    }
    let after = names(&gateway.metrics());
    let new: Vec<_> = after.difference(&before).collect();
    assert!(new.is_empty(), "new series: {new:?}");
}

#[test]
fn durations_are_fit_for_a_p99_from_under_a_millisecond_to_half_a_minute() {
    let page = busy().0.metrics();
    let bounds: Vec<f64> = page
        .lines()
        .filter(|line| {
            line.starts_with("tidegate_request_duration_seconds_bucket") && line.contains("route=\"good\"")
        })
        .filter_map(|line| line.split("le=\"").nth(1)?.split('"').next()?.parse().ok())
        .filter(|bound: &f64| bound.is_finite())
        .collect();
    assert!(bounds[0] <= 0.0005 && bounds.last() >= Some(&30.0), "{bounds:?}");
    // A quantile is at most this factor beside the truth.
    assert!(bounds.windows(2).all(|pair| pair[1] / pair[0] <= 3.0), "{bounds:?}");
    assert!(bounds.windows(2).all(|pair| pair[0] < pair[1]), "{bounds:?}");
}

#[test]
fn build_and_configuration_are_told() {
    let (gateway, _upstream) = busy();
    let page = gateway.metrics();
    let revision = gateway.readiness()["revision"].as_str().expect("a revision").to_owned();
    assert!(page.contains(&format!("tidegate_config_info{{revision=\"{revision}\"}} 1")));
    assert!(page.contains(&format!("tidegate_build_info{{version=\"{}\"}} 1", env!("CARGO_PKG_VERSION"))));
    assert!(page.contains("tidegate_config_routes 4\n"));
    let mut client = Client::connect(gateway.address);
    assert_eq!(client.get("/a").expect("an answer").status, 200);
    assert!(gateway.metric("tidegate_connections{listener=\"public\"}") >= Some(1.0));
}
