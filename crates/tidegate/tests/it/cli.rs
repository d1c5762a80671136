//! The command line: what each command prints and ends with.

mod diff;
mod explain;
mod import;
mod import_kong;
mod import_kong_guards;
mod import_nginx;
mod import_whole;
mod models;
mod start;
mod told;

use std::fs;

use super::harness::{free_port, run};

const GOOD: &str = "listeners: [{name: public, address: 127.0.0.1:8080}]
upstreams: [{name: u, endpoints: [{address: 127.0.0.1:7001}]}]
routes:
  - name: orders
    match: [{path: {template: \"/v1/orders/{id:int}\"}, methods: [GET]}]
    policies: [{keyAuth: {}}, {rateLimit: {limit: 5, window: 1s}}]
    backends: [{upstream: u}]
  - name: other
    match: [{path: {prefix: /v1/orders}, methods: [GET], headers: [{name: x-canary}]}]
    backends: [{upstream: u}]
";

fn file(text: &str) -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("tidegate.yaml");
    fs::write(&path, text).expect("a file");
    let shown = path.display().to_string();
    (folder, shown)
}

#[test]
fn every_mistake_is_told_at_once_with_its_place() {
    let text = GOOD.replace("keyAuth: {}", "keyAuth: {heder: x}").replace("limit: 5", "limit: lots");
    let (_folder, path) = file(&text.replace("endpoints", "endpoint"));
    let (code, out, problems) = run(&["validate", "--config", &path]);
    assert_eq!((code, out.as_str()), (3, ""));
    for part in [
        "routes[0].policies[0].keyAuth.heder: unknown key `heder`",
        "did you mean `header`?",
        "routes[0].policies[1].rateLimit.limit: expected a whole number",
        "upstreams[0].endpoint: unknown key `endpoint`",
        "did you mean `endpoints`?",
        "tidegate.yaml:6:27",
    ] {
        assert!(problems.contains(part), "lacks {part:?}:\n{problems}");
    }
}

#[test]
fn what_is_not_there_is_told_together_with_what_is_misspelt() {
    let text = "listeners: [{name: public, address: '127.0.0.1:8080', nope: 1}]
consumers: [{name: c, keys: [{env: TIDEGATE_TEST_NO_SUCH_VARIABLE}, {file: nofile.txt}]}]
upstreams: [{name: u, endpoints: []}]
routes:
  - name: r
    policies: [{keyAuth: {heder: x}}, {jwt: {issuer: i, audiences: [a], algorithms: [ES256], jwks: {file: missing.json}}}]
    backends: [{upstream: u}]\n";
    let (_folder, path) = file(text);
    let (code, _, problems) = run(&["validate", "--config", &path]);
    assert_eq!(code, 3, "{problems}");
    for part in
        ["`nope`", "TIDEGATE_TEST_NO_SUCH_VARIABLE", "nofile.txt", "no endpoints", "`heder`", "missing.json"]
    {
        assert!(problems.contains(part), "lacks {part}:\n{problems}");
    }
}

#[test]
fn a_good_configuration_is_summed_up() {
    let (_folder, path) = file(GOOD);
    let (code, out, problems) = run(&["validate", "-c", &path]);
    assert_eq!(
        (code, out.as_str()),
        (0, "ok: 1 listener, 2 routes, 1 upstream, 0 consumers\n"),
        "{problems}"
    );
}

#[test]
fn the_table_is_in_match_order() {
    let (_folder, path) = file(GOOD);
    let (code, out, _) = run(&["routes", "-c", &path]);
    assert_eq!(code, 0);
    let lines: Vec<_> = out.lines().collect();
    assert!(lines[0].starts_with("HOST") && lines.len() == 3, "{out}");
    assert!(lines[1].contains("/v1/orders/{id:int}") && lines[1].contains("orders"), "{out}");
    assert!(lines[2].contains("header x-canary present"), "{out}");
}

#[test]
fn an_explanation_says_which_why_and_what_then() {
    let (_folder, path) = file(GOOD);
    let (code, out, problems) =
        run(&["routes", "explain", "GET", "http://a.test/v1/./orders/7", "-c", &path]);
    assert_eq!(code, 0, "{problems}");
    for part in ["route      orders", "id = 7", "other", "x-canary", "keyAuth", "rateLimit", "127.0.0.1:7001"]
    {
        assert!(out.contains(part), "lacks {part:?}:\n{out}");
    }
    assert!(out.find("keyAuth") < out.find("rateLimit"), "authentication comes first:\n{out}");
    let (code, out, _) = run(&["routes", "explain", "POST", "/v1/orders/7", "-c", &path]);
    assert_eq!(code, 5);
    assert!(out.contains("405 with Allow: GET"), "{out}");
    let (code, out, _) = run(&["routes", "explain", "GET", "/v1/orders/seven", "-c", &path]);
    assert_eq!(code, 5);
    assert!(out.contains("404"), "{out}");
    let (code, out, _) = run(&["routes", "explain", "GET", "/a/..%2fb", "-c", &path]);
    assert_ne!(code, 0);
    assert!(out.contains("refused with 400"), "{out}");
}

#[test]
fn a_difference_is_told_and_exposure_fails() {
    let (_one, old) = file(GOOD);
    let (_two, open) = file(&GOOD.replace("{keyAuth: {}}, ", ""));
    let (code, out, _) = run(&["diff", &old, &old]);
    assert_eq!((code, out.as_str()), (0, "nothing changes\n"));
    let (code, out, _) = run(&["diff", &old, &open]);
    assert_eq!(code, 6);
    assert!(out.contains("EXPOSED") && out.contains("keyAuth") && out.contains("orders"), "{out}");
    let (code, out, _) = run(&["diff", &open, &old]);
    assert_eq!(code, 0, "{out}");
    let (code, out, _) = run(&["diff", "--json", &old, &open]);
    assert_eq!(code, 6);
    let json: serde_json::Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!(json["exposure"].as_array().map(Vec::len), Some(1), "{out}");
    for (change, exposes) in [
        (GOOD.replace("methods: [GET]}", "methods: [GET, DELETE]}"), true),
        (GOOD.replace("address: 127.0.0.1:8080", "address: 0.0.0.0:8080"), true),
        (GOOD.replace("{id:int}", "{id}"), true),
        (GOOD.replace("limit: 5", "limit: 6"), false),
        (GOOD.replace("/v1/orders/{id:int}", "/v1/orders/fixed"), true),
    ] {
        let (_new, path) = file(&change);
        let (code, out, _) = run(&["diff", &old, &path]);
        assert_eq!(code == 6, exposes, "{out}\n{change}");
    }
}

#[test]
fn formatting_keeps_comments_and_meaning() {
    let (_folder, path) = file("#top\n\n\nlisteners:   \n- {name: a, address: 127.0.0.1:1} # here\n");
    assert_eq!(run(&["fmt", "--check", &path]).0, 1);
    assert_eq!(run(&["fmt", &path]).0, 0);
    assert_eq!(run(&["fmt", "--check", &path]).0, 0);
    let text = fs::read_to_string(&path).expect("a file");
    assert!(text.contains("# top") && text.contains("# here"), "{text}");
    assert_eq!(run(&["validate", "-c", &path]).0, 0);
}

#[test]
fn the_schema_is_one_and_completions_are_scripts() {
    let (code, out, _) = run(&["schema"]);
    let schema: serde_json::Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!(code, 0);
    assert!(schema["properties"]["routes"]["description"].is_string());
    assert!(
        schema["properties"]["soap"].is_null() && !out.contains("\"soap\""),
        "what is not in this build is not in the schema"
    );
    assert!(schema["properties"]["telemetry"].is_object(), "and what is in it is");
    for (shell, part) in [("bash", "complete"), ("zsh", "#compdef"), ("fish", "complete -c tidegate")] {
        let (code, out, _) = run(&["completions", shell]);
        assert!(code == 0 && out.contains(part), "{shell}: {out}");
    }
    assert!(run(&["version"]).1.starts_with("tidegate "));
}

#[test]
fn what_goes_wrong_has_its_exit_code() {
    assert_eq!(run(&["no-such-command"]).0, 2);
    let (code, _, problems) = run(&["run", "--config", "/no/such/file.yaml"]);
    assert!(code == 3 && problems.contains("/no/such/file.yaml"), "{code} {problems}");
    let holder = std::net::TcpListener::bind(("127.0.0.1", free_port())).expect("a port");
    let taken = holder.local_addr().expect("an address");
    let (folder, path) = file(&format!("listeners: [{{name: public, address: \"{taken}\"}}]\n"));
    let data = folder.path().join("data").display().to_string();
    let (code, _, problems) = run(&["run", "--config", &path, "--data-dir", &data]);
    assert!(code == 4 && problems.contains(&taken.to_string()), "{code} {problems}");
}

#[test]
fn several_files_are_one_configuration_and_a_name_twice_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).expect("a file");
    write("a.yaml", "listeners: [{name: public, address: 127.0.0.1:8080}]\n");
    write("b.yaml", "routes: [{name: r, match: [{path: {prefix: /}}], respond: {status: 200}}]\n");
    let shown = folder.path().display().to_string();
    assert_eq!(run(&["validate", "-c", &shown]).1, "ok: 1 listener, 1 route, 0 upstreams, 0 consumers\n");
    assert_eq!(run(&["validate", "-c", &format!("{shown}/*.yaml")]).0, 0);
    write("c.yaml", "routes: [{name: r, match: [{path: {prefix: /x}}], respond: {status: 200}}]\n");
    let (code, _, problems) = run(&["validate", "-c", &shown]);
    assert_eq!(code, 3);
    assert!(
        problems.contains("b.yaml") && problems.contains("c.yaml") && problems.contains("`r`"),
        "{problems}"
    );
}

#[test]
fn to_validate_nothing_is_told_as_such() {
    let (code, out, problems) = run(&["validate"]);
    assert_eq!(code, 0, "{problems}");
    assert!(out.starts_with("ok: "), "{out}");
    assert!(problems.contains("no file was named") && problems.contains("--config FILE"), "{problems}");
    let (_folder, path) = file(GOOD);
    assert_eq!(run(&["validate", "--config", &path]).2, "");
}
