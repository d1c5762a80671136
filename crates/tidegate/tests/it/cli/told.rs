//! What `validate` says of configurations that compile badly, and of what is not there on this machine.

use std::fs;

use super::super::harness::{free_port, run};

/// Validates a text in a folder; what was said, in one line however it was wrapped.
fn validated(text: &str) -> (i32, String) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("tidegate.yaml");
    fs::write(&path, text).expect("a file");
    let path = path.display().to_string();
    let (code, out, told) = run(&["validate", "--config", &path]);
    let words = out + &told;
    let words: Vec<&str> = words.split_whitespace().filter(|word| *word != "│").collect();
    (code, words.join(" "))
}

const HEAD: &str = "listeners: [{name: web, address: '127.0.0.1:8080'}]
upstreams: [{name: a, endpoints: [{address: '127.0.0.1:1'}]}, {name: b, endpoints: [{address: '127.0.0.1:2'}]}]
brokers: [{name: events, nats: {servers: ['127.0.0.1:4222']}}]
ai:
  providers: [{name: p, kind: openai, keys: [{env: PATH}]}]
  models: [{name: m, targets: [{provider: p, model: gpt-4o}]}]
routes:
  - name: r
";

/// Each with the path that is told, the line of the route that it stands in, and what is told.
#[test]
fn what_does_not_compile_is_told_at_its_own_line() {
    for (rest, path, line, message) in [
        (
            "    policies:\n      - strangler:\n          rules: [{name: n, to: b, percent: 5}]\n          override: {header: x-side, when: 'nobody'}\n    backends: [{upstream: a}]\n",
            "policies[0].strangler.override.when",
            4,
            "there is no variable `nobody`",
        ),
        (
            "    policies:\n      - graphql:\n          fields:\n            - {of: [A.b], when: 'nobody'}\n    backends: [{upstream: a}]\n",
            "policies[0].graphql.fields[0].when",
            4,
            "there is no variable",
        ),
        (
            "    mcp:\n      servers: [{name: s, url: 'http://127.0.0.1:1/mcp'}]\n      tools:\n        - {name: s_good, allow: 'true'}\n        - {name: s_bad, allow: 'nobody'}\n",
            "mcp.tools[1].allow",
            5,
            "there is no variable",
        ),
        (
            "    prompt:\n      model: m\n      messages:\n        - {role: system, content: good}\n        - {role: user, content: '{{ nobody }}'}\n",
            "prompt.messages[1].content",
            5,
            "`nobody` is no property of `input`",
        ),
        (
            "    publish:\n      broker: events\n      subject: a\n      schema:\n        properties:\n          n: {type: objekt}\n",
            "publish.schema.properties.n.type",
            6,
            "there is no type `objekt`: there are `object`, `array`, `string`, `number`, `integer`, `boolean`, `null`; did you mean `object`?",
        ),
        (
            "    policies:\n      - guardrails:\n          rules:\n            - name: secret\n              patterns: [a, 'x*']\n    ai: {}\n",
            "policies[0].guardrails.rules[0].patterns[1]",
            5,
            "it matches where nothing stands",
        ),
        (
            "    policies:\n      - budget:\n          name: b\n          amount: 5\n          per: day\n          timeZone: Europe/Berin\n    ai: {}\n",
            "policies[0].budget.timeZone",
            6,
            "there is no `Europe/Berin`",
        ),
        (
            "    policies:\n      - validate:\n          schemas:\n            body: {schema: {type: object}}\n            answer: {schema: {items: {type: [string, nul]}}}\n          answers: report\n    backends: [{upstream: a}]\n",
            "policies[0].validate.schemas.answer.schema.items.type",
            5,
            "there is no type `nul`",
        ),
        (
            "    policies:\n      - rateLimit:\n          limits:\n            - {limit: 1, window: 1s}\n            - {limit: 1, window: 1s, key: {cel: 'nobody'}}\n    backends: [{upstream: a}]\n",
            "policies[0].rateLimit.limits[1].key.cel",
            5,
            "there is no variable",
        ),
    ] {
        let (code, told) = validated(&format!("{HEAD}{rest}"));
        let before = HEAD.lines().count();
        assert_eq!(code, 3, "{path}: {told}");
        let (path, place) = (format!("routes[0].{path}: "), format!("tidegate.yaml:{}:", before + line));
        for part in [path.as_str(), message, place.as_str()] {
            assert!(told.contains(part), "lacks {part}: {told}");
        }
    }
}

#[test]
fn a_database_that_is_none_has_a_line_and_an_example_and_a_file_that_is_not_there_a_folder() {
    let (code, told) = validated("listeners: []\npostgres:\n  url: x\n");
    assert_eq!(code, 3, "{told}");
    for part in ["postgres.url: ", "such as `postgres://", "tidegate.yaml:3:"] {
        assert!(told.contains(part), "lacks {part}: {told}");
    }
    // As it is run most: from elsewhere, with a relative name.
    let folder = tempfile::tempdir().expect("a folder");
    fs::create_dir(folder.path().join("conf")).expect("a folder");
    let text = "listeners: [{name: web, address: '127.0.0.1:8443', tls: {certificates: [{certFile: site.pem, keyFile: site.key}]}}]\n";
    fs::write(folder.path().join("conf/x.yaml"), text).expect("a file");
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_tidegate"))
        .args(["validate", "--config", "conf/x.yaml"])
        .current_dir(folder.path())
        .output()
        .expect("runs");
    let told = String::from_utf8_lossy(&output.stderr);
    let words: Vec<&str> = told.split_whitespace().filter(|word| *word != "│").collect();
    let told = words.join(" ");
    let folder = fs::canonicalize(folder.path()).expect("a path");
    let whole = folder.join("conf/site.pem");
    assert!(told.contains(&format!("it was looked for at `{}`", whole.display())), "{told}");
}

#[test]
fn what_is_not_on_this_machine_is_a_warning_with_its_place() {
    let port = free_port();
    let text = format!(
        "listeners:
  - {{name: web, address: 'unix:/no/such/folder/x.sock', socketFile: {{owner: nobody-at-all, group: nogrp-at-all}}}}
  - {{name: tls, address: '127.0.0.1:{port}', tls: {{acme: [{{authority: le, names: [a.test, '*.a.test']}}]}}}}
runtime: {{allowedCommands: [/no/such/program]}}
acme: [{{name: le, termsAgreed: true, dns: {{command: [/no/such/program]}}}}]
accessLog: [{{kind: file, path: /no/such/logs/access.log}}]
"
    );
    let (code, told) = validated(&text);
    assert_eq!(code, 0, "{told}");
    for part in [
        "listeners[0].address: there is no folder `/no/such/folder` here",
        "listeners[0].socketFile.owner: there is no `nobody-at-all` in /etc/passwd",
        "listeners[0].socketFile.group: there is no `nogrp-at-all` in /etc/group",
        "acme[0].dns.command: there is no program `/no/such/program` here",
        "accessLog[0].path: there is no folder `/no/such/logs` here",
        "ok: 2 listeners",
    ] {
        assert!(told.contains(part), "lacks {part}: {told}");
    }
    let good = text
        .replace("/no/such/folder", "/tmp")
        .replace("/no/such/logs", "/tmp")
        .replace("/no/such/program", "/bin/sh")
        .replace("owner: nobody-at-all, group: nogrp-at-all", "owner: root, group: root");
    let (code, told) = validated(&good);
    assert!(code == 0 && !told.contains("there is no"), "{told}");
}

#[test]
fn errors_stand_before_warnings_and_both_are_counted() {
    let text = "admin: {address: '127.0.0.1:9080', token: literal}\nlisteners: [{name: web, adress: '127.0.0.1:1'}]\n";
    let (code, told) = validated(text);
    assert_eq!(code, 3);
    let (error, warning) = (told.find("unknown key `adress`"), told.find("a literal secret"));
    assert!(error < warning && error.is_some(), "{told}");
    assert!(told.contains("2 errors, 1 warning"), "{told}");
}

#[test]
fn documents_of_other_paths_than_their_routes_are_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("api.yaml");
    let document = "openapi: 3.1.0\nservers: [{url: 'https://api.test/v1'}]\npaths:\n  \
                    /orders: {get: {responses: {'200': {description: all}}}}\n  \
                    /orders/{id}: {get: {responses: {'200': {description: one}}}}\n";
    fs::write(&file, document).expect("a file");
    let rewrite = "{rewrite: {path: {replacePrefix: /v1}}}";
    let global = "[{validate: {openapi: FILE}}]";
    for (prefix, policies, handler, told) in [
        ("/orders", "[]", "respond: {openapi: FILE}", Some(("respond.openapi", "write `basePath: /`"))),
        (
            "/api",
            "[]",
            "respond: {openapi: FILE}",
            Some(("respond.openapi", "write such as `basePath: /api`")),
        ),
        ("/v1", "[]", "respond: {openapi: FILE}", None),
        ("/v1/orders/7", "[]", "respond: {openapi: FILE}", None),
        ("/", "[]", "respond: {openapi: FILE}", None),
        // The document is asked after the path has changed.
        ("/api", &*format!("[{rewrite}]"), "respond: {openapi: FILE}", None),
        (
            "/orders",
            global,
            "backends: [{upstream: a}]",
            Some(("policies[0].validate.openapi", "write `basePath: /`")),
        ),
        // And here before it.
        (
            "/api",
            &format!("[{{validate: {{openapi: FILE}}}}, {rewrite}]"),
            "backends: [{upstream: a}]",
            Some(("policies[0].validate.openapi", "below `/v1`")),
        ),
        ("/v1", global, "backends: [{upstream: a}]", None),
        (
            "/orders",
            "[{use: shared}]",
            "backends: [{upstream: a}]",
            Some(("policies[0].use", "no request is known")),
        ),
        ("/orders", "[{use: lenient}]", "backends: [{upstream: a}]", None),
    ] {
        let text = format!(
            "listeners: [{{name: web, address: '127.0.0.1:8080'}}]\n\
             upstreams: [{{name: a, endpoints: [{{address: '127.0.0.1:1'}}]}}]\n\
             policies:\n  - {{name: shared, policy: {{validate: {{openapi: FILE}}}}}}\n  \
             - {{name: lenient, policy: {{validate: {{openapi: FILE, unknownOperations: pass}}}}}}\n\
             routes: [{{name: r, match: [{{path: {{prefix: {prefix}}}}}], policies: {policies}, {handler}}}]\n"
        );
        let (code, words) = validated(&text.replace("FILE", &format!("{{file: {}}}", file.display())));
        assert_eq!(code, 0, "{words}");
        match told {
            Some((place, message)) => {
                assert!(words.contains(&format!("routes[0].{place}")), "{place}: {words}");
                assert!(words.contains(message), "{message}: {words}");
            }
            None => assert!(!words.contains("no path of"), "{prefix} {policies}: {words}"),
        }
    }
    let with = "respond: {openapi: {file: FILE, basePath: /}}".replace("FILE", &file.display().to_string());
    let text = format!("routes: [{{name: r, match: [{{path: {{prefix: /orders}}}}], {with}}}]\n");
    let (code, words) = validated(&format!("listeners: [{{name: web, address: '127.0.0.1:8080'}}]\n{text}"));
    assert!(code == 0 && !words.contains("no path of"), "{words}");
}

#[test]
fn a_limit_that_all_calls_have_and_a_route_has_once_more_is_told() {
    for policy in ["rateLimit: {limit: 4, window: 1m}", "concurrencyLimit: {limit: 4}"] {
        let (code, told) = validated(&format!(
            "listeners: [{{name: web, address: '127.0.0.1:8080'}}]
policies: [{{name: calls, policy: {{{policy}}}}}]
globalPolicies: [{{use: calls}}]
routes: [{{name: r, policies: [{{use: calls}}], respond: {{}}}}]
"
        ));
        let want =
            "routes[0].policies[0].use: `calls` is in `globalPolicies`, too: it counts these calls twice";
        assert!(code == 0 && told.contains(want), "{policy}: {told}");
    }
}
