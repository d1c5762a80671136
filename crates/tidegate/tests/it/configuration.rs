//! Configurations as they are written: mistakes are told all at once and where they are, several files are one, and
//! nothing is accepted that has no effect.

use std::{fs, path::Path};

use super::harness::run;

fn validate(path: &Path) -> (i32, String, String) {
    run(&["validate", "-c", &path.display().to_string()])
}

fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, text) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(path, text).expect("a file");
    }
    folder
}

#[test]
fn what_only_compiling_finds_is_told_all_at_once_and_where_it_is_too() {
    let text = "listeners:
  - {name: public, address: \"127.0.0.1:8080\", tls: {certificates: [{certFile: a.pem, keyFile: a.pem}]}}
consumers:
  - name: c
    keys: [a-literal-secret-of-the-test, 'with a space']
globalPolicies: [{headers: {request: {set: {x-a: '{{ nothing.here }}'}}}}]
upstreams: [{name: u, endpoints: [{address: \"127.0.0.1:1\"}]}]
policies: [{name: shared, policy: {rewrite: {host: 'a b'}}}]
routes:
  - name: one
    match:
      - {path: {prefix: /a}}
      - when: request.pth == '/'
        path: {prefix: /b}
    policies:
      - {use: shared}
      - jwt: {issuer: i, jwks: {file: a.pem}}
    backends: [{upstream: u}]
  - name: two
    match: [{path: {regex: '/x'}, when: '1 +'}]
    policies: [{rateLimit: {limit: 1, window: 1s, key: {cel: 'request'}}}]
    sticky: {cookie: {secret: {file: short}}}
    backends: [{upstream: u}]
";
    let folder = folder(&[("tidegate.yaml", text), ("a.pem", "no key\n"), ("short", "short\n")]);
    let (code, _, problems) = validate(&folder.path().join("tidegate.yaml"));
    assert_eq!(code, 3, "{problems}");
    for (path, line) in [
        ("listeners[0].tls", 2),
        ("consumers[0].keys[1]", 5),
        ("globalPolicies[0].headers", 6),
        ("policies[0].policy.rewrite", 8),
        ("routes[0].match[1].when", 13),
        ("routes[0].policies[1].jwt", 17),
        ("routes[1].match[0].when", 20),
        ("routes[1].policies[0].rateLimit", 21),
        ("routes[1].sticky", 22),
    ] {
        let told = problems
            .split("  × ")
            .any(|one| one.starts_with(path) && one.contains(&format!("tidegate.yaml:{line}:")));
        assert!(told, "lacks {path} at line {line}:\n{problems}");
    }
    assert!(!problems.contains("literal-secret"), "{problems}");
}

#[test]
fn what_is_missing_outside_is_told_with_the_mistakes_inside() {
    let text = "consumers: [{name: c, keys: [{env: NO_SUCH_VARIABLE}, {file: nowhere}]}]\nroutes: [{name: r, respnd: {}}]\n";
    let folder = folder(&[("tidegate.yaml", text)]);
    let (code, _, problems) = validate(&folder.path().join("tidegate.yaml"));
    assert_eq!(code, 3);
    for part in
        ["NO_SUCH_VARIABLE", "nowhere", "did you mean `respond`?", "tidegate.yaml:1:30", "tidegate.yaml:2:"]
    {
        assert!(problems.contains(part), "lacks {part:?}:\n{problems}");
    }
}

#[test]
fn validate_finds_what_run_would_refuse() {
    for (text, words) in [
        ("accessLog: [{kind: stdout, format: '{{ nothing }}'}]\n", "accessLog[0].format"),
        (
            "admin: {address: \"127.0.0.1:9080\", tls: {certificates: [{certFile: a.pem, keyFile: a.pem}]}}\n",
            "admin.tls",
        ),
        (
            "admin: {address: 'unix:/tmp/a', tls: {certificates: [{certFile: a.pem, keyFile: a.pem}]}}\n",
            "TLS has no use there",
        ),
        (
            "runtime: {dnsServers: [nine]}\nupstreams: [{name: u, endpoints: [{address: 'a.test:1'}]}]\n",
            "dnsServers",
        ),
    ] {
        let folder = folder(&[("tidegate.yaml", text), ("a.pem", "no key\n")]);
        let path = folder.path().join("tidegate.yaml");
        let (code, _, problems) = validate(&path);
        assert_eq!(code, 3, "{text}\n{problems}");
        assert!(problems.contains(words) && problems.contains("tidegate.yaml:1:"), "{problems}");
        let data = folder.path().join("data").display().to_string();
        assert_eq!(run(&["run", "-c", &path.display().to_string(), "--data-dir", &data]).0, 3, "{text}");
    }
}

#[test]
fn a_client_ca_that_cannot_be_read_refuses_the_configuration() {
    let own = rcgen::generate_simple_self_signed(vec!["a.test".to_owned()]).expect("a certificate");
    let text = "listeners:
  - name: public
    address: \"127.0.0.1:8443\"
    tls: {certificates: [{certFile: a.crt, keyFile: a.key}], clientAuth: {mode: optional, caFile: ca.pem}}
";
    let folder = folder(&[
        ("tidegate.yaml", text),
        ("a.crt", &own.cert.pem()),
        ("a.key", &own.signing_key.serialize_pem()),
    ]);
    let path = folder.path().join("tidegate.yaml");
    for content in [None, Some(""), Some("no certificate\n")] {
        if let Some(content) = content {
            fs::write(folder.path().join("ca.pem"), content).expect("a file");
        }
        let (code, _, problems) = validate(&path);
        assert_eq!(code, 3, "{content:?}");
        assert!(
            problems.contains("ca.pem") && problems.contains("tidegate.yaml:4:"),
            "{content:?}: {problems}"
        );
    }
    fs::write(folder.path().join("ca.pem"), own.cert.pem()).expect("a file");
    assert_eq!(validate(&path).0, 0);
}

#[test]
fn a_pattern_may_have_stars_anywhere_and_hidden_files_are_nobodys() {
    let listener = "listeners: [{name: public, address: \"127.0.0.1:8080\"}]\n";
    let route = |name: &str| {
        format!("routes: [{{name: {name}, match: [{{path: {{exact: /{name}}}}}], respond: {{}}}}]\n")
    };
    let folder = folder(&[
        ("base.yaml", listener),
        ("teams/one/routes.yaml", &route("one")),
        ("teams/two/routes.yaml", &route("two")),
        ("teams/two/.routes.yaml", "nonsense"),
        ("teams/two/routes.yaml.swp", "nonsense"),
        (".hidden.yaml", "nonsense"),
    ]);
    let root = folder.path();
    assert_eq!(validate(root).1, "ok: 1 listener, 0 routes, 0 upstreams, 0 consumers\n");
    assert_eq!(
        validate(&root.join("teams/*/*.yaml")).1,
        "ok: 0 listeners, 2 routes, 0 upstreams, 0 consumers\n"
    );
    let (code, _, problems) = validate(&root.join("teams/*/none.yaml"));
    assert!(code == 3 && problems.contains("no file matches"), "{code} {problems}");
    fs::write(root.join("teams/two/more.yaml"), route("one")).expect("a file");
    let (code, _, problems) = validate(&root.join("teams/*/*.yaml"));
    assert_eq!(code, 3);
    for part in ["the name `one` is that of another route", "one/routes.yaml:1:17", "two/more.yaml:1:17"] {
        assert!(problems.contains(part), "lacks {part:?}:\n{problems}");
    }
}

#[test]
fn a_single_setting_in_two_files_is_refused_with_both_places() {
    let admin = |port: u16| format!("admin: {{address: \"127.0.0.1:{port}\"}}\n");
    let folder = folder(&[("a.yaml", &admin(1)), ("b.yaml", &admin(2))]);
    let (code, _, problems) = validate(folder.path());
    assert_eq!(code, 3);
    for part in ["`admin` is there twice, in two files", "a.yaml:1:", "b.yaml:1:"] {
        assert!(problems.contains(part), "lacks {part:?}:\n{problems}");
    }
}

#[test]
fn what_later_builds_have_is_refused_by_name_wherever_it_stands() {
    let policies = ["extProc", "soap"];
    let (_, schema, _) = run(&["schema"]);
    let schema: serde_json::Value = serde_json::from_str(&schema).expect("JSON");
    assert!(schema.pointer("/$defs/Policy").is_some() && schema.pointer("/$defs/Route/properties").is_some());
    for name in &policies {
        let text = format!(
            "{name}: {{}}
globalPolicies: [{{{name}: {{}}}}]
policies: [{{name: p, policy: {{{name}: {{}}}}}}]
routes:
  - {{name: one, match: [{{path: {{prefix: /one}}}}], policies: [{{{name}: {{}}}}], respond: {{}}}}
  - {{name: two, match: [{{path: {{prefix: /two}}}}], {name}: {{}}, respond: {{}}}}
"
        );
        let folder = folder(&[("tidegate.yaml", &text)]);
        let (code, _, problems) = validate(&folder.path().join("tidegate.yaml"));
        assert_eq!(code, 3, "{text}");
        let mut told: Vec<&str> =
            problems.lines().filter_map(|line| line.trim_start().strip_prefix("× ")).collect();
        told.sort_unstable();
        let mut want =
            ["", "globalPolicies[0].", "policies[0].policy.", "routes[0].policies[0].", "routes[1]."]
                .map(|place| format!("{place}{name}: `{name}` is not in this build"));
        want.sort_unstable();
        assert_eq!(told, want, "{text}\n{problems}");
        // A key of an `mcp` server may have the name of a later policy.
        let stands = |place: &str| schema.pointer(place).is_some_and(|keys| keys.get(name).is_some());
        for place in ["/properties", "/$defs/Route/properties", "/$defs/Policy/properties"] {
            assert!(!stands(place), "{name} is in the schema at {place}");
        }
    }
}

#[test]
fn the_schema_is_valid_and_says_of_documents_what_validate_says() {
    let (_, schema, _) = run(&["schema"]);
    let schema: serde_json::Value = serde_json::from_str(&schema).expect("JSON");
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    jsonschema::meta::validate(&schema).expect("a valid schema");
    let validator = jsonschema::draft202012::new(&schema).expect("a schema that can be used");
    let fits = |text: &str| {
        let folder = folder(&[("tidegate.yaml", text)]);
        let shown = folder.path().join("tidegate.yaml").display().to_string();
        let value: serde_json::Value = serde_json::from_str(text).expect("JSON");
        let errors: Vec<String> = validator.iter_errors(&value).map(|error| error.to_string()).collect();
        let (code, _, problems) = run(&["validate", "-c", &shown]);
        assert_eq!(errors.is_empty(), code == 0, "{text}\n{errors:#?}\n{problems}");
        code == 0
    };
    for good in [
        r#"{}"#,
        r#"{"listeners": [{"name": "a", "address": "127.0.0.1:1", "redirectToHttps": true}, {"name": "b", "address": "127.0.0.1:2", "redirectToHttps": {"port": 8443}}]}"#,
        r#"{"routes": [{"name": "r", "match": [{"path": {"prefix": "/"}, "methods": ["GET"]}], "policies": [{"rateLimit": {"limit": 5, "window": "1s", "key": "global"}}, {"rateLimit": {"limit": 5, "window": "1s", "key": {"header": "x"}}}], "respond": {}}]}"#,
        r#"{"policies": [{"name": "p", "policy": {"acl": {"allow": ["c"]}}}], "consumers": [{"name": "c"}], "globalPolicies": [{"use": "p"}]}"#,
        r#"{"upstreams": [{"name": "u", "endpoints": [{"address": "127.0.0.1:1"}], "retry": {"on": ["503", 502, "reset", "5xx"]}, "circuitBreaker": {}}], "routes": [{"name": "r", "sticky": {"header": "x"}, "backends": [{"upstream": "u", "weight": 3}]}]}"#,
    ] {
        assert!(fits(good), "{good}");
    }
    for bad in [
        r#"{"listners": []}"#,
        r#"{"listeners": [{"name": "a"}]}"#,
        r#"{"listeners": [{"name": "a", "address": 1}]}"#,
        r#"{"routes": [{"name": "r"}]}"#,
        r#"{"routes": [{"name": "r", "respond": {}, "redirect": {"path": "/"}}]}"#,
        r#"{"routes": [{"name": "r", "respond": {"status": 99}}]}"#,
        r#"{"routes": [{"name": "r", "respond": {}, "policies": [{"keyAuth": {}, "cors": {"allowOrigins": ["*"]}}]}]}"#,
        r#"{"routes": [{"name": "r", "respond": {}, "policies": [{"waf": {}}]}]}"#,
        r#"{"compose": {}}"#,
        r#"{"telemetry": {"nothing": 1}}"#,
    ] {
        assert!(!fits(bad), "{bad}");
    }
}
