//! The admin endpoint: who may, what it shows, and what it refuses.

use std::os::unix::fs::PermissionsExt;

use super::harness::{Answer, Gateway, Upstream, free_port, get, raw, run};

const ROUTE: &str = "routes: [{name: r, match: [{path: {prefix: /}}], respond: {}}]\n";

fn ask(gateway: &Gateway, line: &str, headers: &str, body: &str) -> Answer {
    let request = format!(
        "{line} HTTP/1.1\r\nhost: {}\r\ncontent-length: {}\r\n{headers}connection: close\r\n\r\n{body}",
        gateway.admin,
        body.len()
    );
    Answer::parse(&raw(gateway.admin, request.as_bytes())).expect("an answer")
}

const TOKEN: &str = "authorization: Bearer test-admin-token\r\n";

#[test]
fn health_and_metrics_are_open_and_the_api_is_not() {
    let gateway = Gateway::start(ROUTE);
    for path in ["/livez", "/readyz", "/readyz?verbose", "/metrics", "/"] {
        assert_eq!(get(gateway.admin, path).expect("an answer").status, 200, "{path}");
    }
    for path in ["/api/v1/status", "/api/v1/config", "/api/v1/nothing"] {
        for headers in [
            "",
            "authorization: Bearer wrong\r\n",
            "authorization: Basic dGVzdA==\r\n",
            "authorization: Bearer test-admin-token\r\nauthorization: Bearer test-admin-token\r\n",
        ] {
            let answer = ask(&gateway, &format!("GET {path}"), headers, "");
            assert_eq!(
                (answer.status, answer.problem().as_deref()),
                (401, Some("unauthenticated")),
                "{path} {headers}"
            );
        }
    }
    assert_eq!(ask(&gateway, "GET /api/v1/status", TOKEN, "").status, 200);
    assert_eq!(ask(&gateway, "GET /api/v1/nothing", TOKEN, "").status, 404);
}

#[test]
fn writes_of_other_origins_are_refused() {
    let gateway = Gateway::start(ROUTE);
    let put = |headers: &str| {
        let headers = format!("{TOKEN}content-type: application/json\r\n{headers}");
        ask(&gateway, "PUT /api/v1/log-level", &headers, r#"{"level":"debug"}"#).status
    };
    assert_eq!(put(""), 200);
    assert_eq!(put(&format!("origin: http://{}\r\n", gateway.admin)), 200);
    assert_eq!(put("origin: http://evil.test\r\n"), 403);
    assert_eq!(put("origin: null\r\n"), 403);
    assert_eq!(put("sec-fetch-site: cross-site\r\n"), 403);
    assert_eq!(put("sec-fetch-site: same-site\r\n"), 403);
}

#[test]
fn the_log_level_changes_while_running() {
    let gateway = Gateway::start(ROUTE);
    let put = |body: &str| {
        ask(&gateway, "PUT /api/v1/log-level", &format!("{TOKEN}content-type: application/json\r\n"), body)
            .status
    };
    assert_eq!(put(r#"{"level":"error"}"#), 200);
    let before = gateway.stderr().len();
    gateway.reload(&format!(
        "listeners: [{{name: public, address: \"{}\"}}]\n{}",
        gateway.address,
        ROUTE.replace("{}", "{body: x}")
    ));
    assert_eq!(gateway.stderr().len(), before, "nothing is said at level error");
    assert_eq!(put(r#"{"level":"info"}"#), 200);
    gateway.reload(&format!("listeners: [{{name: public, address: \"{}\"}}]\n{ROUTE}", gateway.address));
    assert!(gateway.stderr().len() > before);
    assert_eq!(put(r#"{"level":"loud"}"#), 400);
}

#[test]
fn a_token_is_minted_for_its_owner_alone_and_kept() {
    let folder = tempfile::tempdir().expect("a folder");
    let port = free_port();
    let text = format!("listeners: [{{name: public, address: 127.0.0.1:{port}}}]\n{ROUTE}");
    let gateway = Gateway::in_folder(folder, &text, ([127, 0, 0, 1], port).into(), |command| {
        command.env_remove("TIDEGATE_ADMIN_TOKEN");
    });
    let path = gateway.folder.path().join("data/admin-token");
    let token = std::fs::read_to_string(&path).expect("a token");
    assert_eq!(std::fs::metadata(&path).expect("a file").permissions().mode() & 0o777, 0o600);
    assert!(token.trim().len() >= 32);
    let status =
        ask(&gateway, "GET /api/v1/status", &format!("authorization: Bearer {}\r\n", token.trim()), "")
            .status;
    assert_eq!(status, 200);
    assert!(!gateway.stderr().contains(token.trim()), "the token is never logged");
}

#[test]
fn an_open_admin_port_must_be_wanted() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("tidegate.yaml");
    let data = folder.path().join("data").display().to_string();
    let text = format!(
        "listeners: [{{name: public, address: \"127.0.0.1:{}\"}}]\nadmin: {{address: \"0.0.0.0:{}\"}}\n{ROUTE}",
        free_port(),
        free_port()
    );
    std::fs::write(&path, text).expect("a file");
    let (code, _, problems) = run(&["run", "--config", &path.display().to_string(), "--data-dir", &data]);
    assert!(
        code != 0 && problems.contains("loopback") && problems.contains("allowNonLoopback"),
        "{code} {problems}"
    );
}

#[test]
fn secrets_are_never_shown() {
    let gateway =
        Gateway::start(&format!("consumers: [{{name: c, keys: [very-secret-key-of-the-test]}}]\n{ROUTE}"));
    let config = ask(&gateway, "GET /api/v1/config", TOKEN, "");
    assert_eq!(config.json()["config"]["routes"][0]["name"], "r");
    for text in [config.text(), gateway.stderr(), gateway.metrics()] {
        assert!(!text.contains("very-secret"), "{text}");
    }
}

#[test]
fn the_state_of_every_endpoint_is_shown() {
    let upstream = Upstream::fixed(200, "ok");
    let gateway = Gateway::start(&format!(
        "upstreams: [{{name: u, endpoints: [{{address: \"{}\"}}], circuitBreaker: {{}}, bulkhead: {{maxConcurrentCalls: 5}}, healthCheck: {{interval: 100ms}}}}]
routes: [{{name: r, match: [{{path: {{prefix: /}}}}], backends: [{{upstream: u}}]}}]\n",
        upstream.address
    ));
    assert_eq!(gateway.get("/").status, 200);
    let status = gateway.admin_get("/api/v1/status").json();
    let shown = &status["upstreams"][0];
    assert_eq!(shown["name"], "u");
    assert_eq!(shown["breaker"]["state"], "CLOSED", "{shown}");
    let endpoint = &shown["endpoints"][0];
    assert_eq!(endpoint["address"], upstream.address.to_string());
    assert_eq!((endpoint["healthy"].as_bool(), endpoint["inFlight"].as_u64()), (Some(true), Some(0)));
    assert!(endpoint["ewmaMs"].is_number(), "{endpoint}");
    let text = gateway.metrics();
    for series in [
        "tidegate_upstream_endpoint_healthy{",
        "tidegate_upstream_breaker_state{",
        "tidegate_upstream_in_flight{",
    ] {
        assert!(text.contains(series), "metrics lack {series}");
    }
}

#[test]
fn an_admin_endpoint_on_a_unix_socket_is_its_owners_alone() {
    use std::io::{Read, Write};
    let (folder, port) = (tempfile::tempdir().expect("a folder"), free_port());
    let (socket, path) = (folder.path().join("admin.sock"), folder.path().join("tidegate.yaml"));
    // A socket that a process which is gone has left behind.
    drop(std::os::unix::net::UnixListener::bind(&socket).expect("a socket"));
    let text = format!(
        "listeners: [{{name: public, address: \"127.0.0.1:{port}\"}}]\nadmin: {{address: 'unix:{}'}}\n{ROUTE}",
        socket.display()
    );
    std::fs::write(&path, text).expect("a file");
    let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_tidegate"))
        .args(["run", "--data-dir", &folder.path().join("data").display().to_string(), "-c"])
        .arg(&path)
        .env("TIDEGATE_ADMIN_TOKEN", "test-admin-token")
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("the binary starts");
    let ask = |line: &str, headers: &str| {
        let mut stream = std::os::unix::net::UnixStream::connect(&socket).ok()?;
        write!(stream, "{line} HTTP/1.1\r\nhost: localhost\r\n{headers}connection: close\r\n\r\n").ok()?;
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).ok()?;
        Answer::parse(&bytes)
    };
    super::harness::eventually("readiness", || {
        ask("GET /readyz", "").is_some_and(|answer| answer.status == 200)
    });
    assert_eq!(std::fs::metadata(&socket).expect("a socket").permissions().mode() & 0o777, 0o600);
    assert_eq!(ask("GET /api/v1/status", "").expect("an answer").status, 401);
    assert_eq!(ask("GET /api/v1/status", TOKEN).expect("an answer").status, 200);
    let (config, admin) = (path.display().to_string(), format!("unix:{}", socket.display()));
    let arguments = ["routes", "explain", "GET", "/", "-c", &config, "--admin", &admin];
    let (code, _, problems) =
        super::harness::run_with(&arguments, &[("TIDEGATE_ADMIN_TOKEN", "test-admin-token")]);
    assert_eq!(code, 0, "{problems}");
    child.kill().expect("an end");
    child.wait().expect("an end");
}
