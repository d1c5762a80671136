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
fn the_page_at_the_top_says_where_things_are() {
    let gateway = Gateway::start(ROUTE);
    let page = get(gateway.admin, "/").expect("an answer");
    assert!(page.header("content-type").is_some_and(|kind| kind.starts_with("text/html")), "{page:?}");
    let text = page.text();
    let links: Vec<&str> = text.split("href=\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
    assert_eq!(links, ["/console.css", "/livez", "/readyz?verbose", "/metrics"]);
    for link in links {
        assert_eq!(get(gateway.admin, link).expect("an answer").status, 200, "{link}");
    }
    // What needs the token is named and no link, for whoever has no script.
    assert!(text.contains("/api/v1/status has the same as JSON, with the admin token"), "{text}");
    for path in ["/api/v1/status", "/api/v1/config", "/api/v1/log-level"] {
        assert_eq!(ask(&gateway, &format!("GET {path}"), TOKEN, "").status, 200, "{path}");
    }
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
fn a_token_file_that_others_could_read_is_taken_from_them() {
    let port = free_port();
    let text = format!("listeners: [{{name: public, address: 127.0.0.1:{port}}}]\n{ROUTE}");
    for (before, is_kept) in [("", false), ("a-token-that-others-have-read\n", true)] {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("data/admin-token");
        std::fs::create_dir(folder.path().join("data")).expect("a folder");
        std::fs::write(&path, before).expect("a file");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).expect("a mode");
        // Whoever has opened it before must not see what is written.
        let mut open = std::fs::File::open(&path).expect("a file");
        let gateway = Gateway::in_folder(folder, &text, ([127, 0, 0, 1], port).into(), |command| {
            command.env_remove("TIDEGATE_ADMIN_TOKEN");
        });
        let token = std::fs::read_to_string(&path).expect("a token");
        assert_eq!(std::fs::metadata(&path).expect("a file").permissions().mode() & 0o777, 0o600);
        assert_eq!(token == before, is_kept, "{token}");
        assert_eq!(gateway.stderr().contains("others could read"), is_kept, "{}", gateway.stderr());
        let mut seen = String::new();
        std::io::Read::read_to_string(&mut open, &mut seen).expect("text");
        assert_eq!(seen, before);
        let left = std::fs::read_dir(gateway.folder.path().join("data")).expect("a folder").flatten();
        assert_eq!(
            left.filter(|entry| entry.file_name().to_string_lossy().starts_with("admin-token")).count(),
            1
        );
    }
}

#[test]
fn the_token_may_be_a_reference_and_an_empty_one_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("token"), "token-of-a-file\n").expect("a file");
    let port = free_port();
    let text = format!("listeners: [{{name: public, address: \"127.0.0.1:{port}\"}}]\n{ROUTE}");
    let status = |gateway: &Gateway, token: &str| {
        ask(gateway, "GET /api/v1/status", &format!("authorization: Bearer {token}\r\n"), "").status
    };
    let start = |folder, settings: &str| {
        let admin = std::net::SocketAddr::from(([127, 0, 0, 1], free_port()));
        let text = format!("admin: {{address: \"{admin}\"{settings}}}\n{text}");
        Gateway::with_admin(folder, &text, ([127, 0, 0, 1], port).into(), admin, |command| {
            command.env_remove("TIDEGATE_ADMIN_TOKEN").env("TOKEN_OF_THE_TEST", "token-of-a-variable");
        })
    };
    let gateway = start(folder, ", token: {file: token}");
    assert_eq!((status(&gateway, "token-of-a-file"), status(&gateway, "token-of-a-variable")), (200, 401));
    drop(gateway);
    let gateway = start(tempfile::tempdir().expect("a folder"), ", token: {env: TOKEN_OF_THE_TEST}");
    assert_eq!((status(&gateway, "token-of-a-file"), status(&gateway, "token-of-a-variable")), (401, 200));

    let path = gateway.folder.path().join("other.yaml");
    let validate = |token: &str| {
        let text = format!("admin: {{address: \"127.0.0.1:9000\", token: {token}}}\n{text}");
        std::fs::write(&path, text).expect("a file");
        run(&["validate", "-c", &path.display().to_string()])
    };
    let (code, _, problems) = validate("{env: NOBODY_SETS_THIS}");
    assert!(
        code == 3 && problems.contains("admin.token") && problems.contains("NOBODY_SETS_THIS"),
        "{problems}"
    );
    let (code, _, problems) = validate("a-literal-token-of-the-test");
    assert!(
        code == 0 && problems.contains("admin.token") && problems.contains("literal secret"),
        "{problems}"
    );
    assert!(!problems.contains("a-literal-token"), "{problems}");
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
fn a_configuration_that_is_refused_shows_no_secret_either() {
    let gateway = Gateway::start(ROUTE);
    let listener = format!("listeners: [{{name: public, address: \"{}\"}}]\n{ROUTE}", gateway.address);
    for text in [
        // Not YAML: a bracket is missing, or a quote.
        "consumers: [{name: c, keys: [a-very-secret-key, b-very-secret-key]}\n",
        "consumers:\n  - name: c\n    keys: ['a-very-secret-key\n    basic: [{username: u, password: x very-secret: y}]\n",
        "consumers: [{name: c, keys: [a-very-secret-key]}]\n---\ntoken: b: very-secret\n",
        // Keys that nobody knows, keys that are there twice, and values of another kind.
        "consumers: [{name: c, codes: [a-very-secret-key, b-very-secret-key]}]\n",
        "callers: [{name: c, codes: [a-very-secret-key, b-very-secret-key]}]\n",
        "consumers: [{name: c, keys: [a-very-secret-key], keys: [b-very-secret-key, c-very-secret-key]}]\n",
        "consumers: {c: {codes: [a-very-secret-key, b-very-secret-key]}}\n",
        "consumers: [{name: c, basic: [{username: u, password: {a-very-secret-key}}]}]\n",
        "consumers: [{name: c, basic: {username: u, code: a-very-secret-key}}]\n",
    ] {
        let state = gateway.reload(&format!("{listener}{text}"));
        assert_eq!(state["lastReload"], "refused", "{text}");
        let error = state["reloadError"].as_str().expect("a reason");
        assert!(
            error.contains("tidegate.yaml:") && !error.contains("──"),
            "a place, and no drawing: {error}"
        );
        for shown in [error, &gateway.stderr()] {
            assert!(!shown.contains("very-secret"), "{text}\n{shown}");
        }
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
    let _ = std::process::Command::new("kill").arg("-TERM").arg(child.id().to_string()).status();
    assert!(child.wait().expect("an end").success());
    assert!(!socket.exists(), "it goes with its process");
}

#[test]
fn the_token_in_a_file_is_read_again_when_the_file_changes() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("token"), "the-first-token\n").expect("a file");
    let (port, admin) = (free_port(), std::net::SocketAddr::from(([127, 0, 0, 1], free_port())));
    let text = format!(
        "admin: {{address: \"{admin}\", token: {{file: token}}}}\nlisteners: [{{name: public, address: \"127.0.0.1:{port}\"}}]\n{ROUTE}"
    );
    let gateway = Gateway::with_admin(folder, &text, ([127, 0, 0, 1], port).into(), admin, |command| {
        command.env_remove("TIDEGATE_ADMIN_TOKEN");
    });
    let status = |token: &str| {
        ask(&gateway, "GET /api/v1/status", &format!("authorization: Bearer {token}\r\n"), "").status
    };
    assert_eq!((status("the-first-token"), status("the-second-token")), (200, 401));
    std::fs::write(gateway.folder.path().join("token"), "the-second-token\n").expect("a file");
    super::harness::eventually("the second token", || status("the-second-token") == 200);
    assert_eq!(status("the-first-token"), 401);
}

/// The status of `/readyz` over TLS by whoever proves to be `localhost` with this very certificate.
fn readyz_over_tls(
    address: std::net::SocketAddr,
    cert: &rustls::pki_types::CertificateDer<'static>,
) -> Option<u16> {
    use std::io::{Read, Write};
    let mut roots = rustls::RootCertStore::empty();
    roots.add(cert.clone()).expect("a certificate");
    let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = rustls::pki_types::ServerName::try_from("localhost").expect("a name");
    let client = rustls::ClientConnection::new(std::sync::Arc::new(config), name).expect("a client");
    let mut stream = rustls::StreamOwned::new(client, std::net::TcpStream::connect(address).ok()?);
    write!(stream, "GET /readyz?verbose HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").ok()?;
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes);
    Answer::parse(&bytes).map(|answer| answer.status)
}

#[test]
fn a_renewed_certificate_of_the_admin_endpoint_is_used_and_its_address_is_told_as_it_is() {
    let folder = tempfile::tempdir().expect("a folder");
    let issue = || {
        let issued = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("a certificate");
        std::fs::write(folder.path().join("a.key"), issued.signing_key.serialize_pem()).expect("a file");
        std::fs::write(folder.path().join("a.crt"), issued.cert.pem()).expect("a file");
        issued.cert.der().clone()
    };
    let first = issue();
    let (port, admin) = (free_port(), std::net::SocketAddr::from(([127, 0, 0, 1], free_port())));
    let (path, log) = (folder.path().join("tidegate.yaml"), folder.path().join("stderr"));
    let text = format!(
        "admin: {{address: \"{admin}\", tls: {{certificates: [{{certFile: a.crt, keyFile: a.key}}]}}}}\nlisteners: [{{name: public, address: \"127.0.0.1:{port}\"}}]\n{ROUTE}"
    );
    std::fs::write(&path, text).expect("a file");
    let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_tidegate"))
        .args(["run", "--data-dir", &folder.path().join("data").display().to_string(), "-c"])
        .arg(&path)
        .env("TIDEGATE_ADMIN_TOKEN", "test-admin-token")
        .stderr(std::fs::File::create(&log).expect("a file"))
        .spawn()
        .expect("the binary starts");
    super::harness::eventually("the first certificate", || readyz_over_tls(admin, &first) == Some(200));
    let second = issue();
    super::harness::eventually("the second certificate", || readyz_over_tls(admin, &second) == Some(200));
    assert_eq!(readyz_over_tls(admin, &first), None);
    let told = std::fs::read_to_string(&log).expect("a log");
    child.kill().expect("an end");
    child.wait().expect("an end");
    assert!(told.contains(&format!("https://{admin}")), "{told}");
}

#[test]
fn a_gateway_that_drains_has_refused_nothing() {
    let gateway = Gateway::start(&format!("shutdown: {{drainDelay: 5s}}\n{ROUTE}"));
    gateway.signal("TERM");
    super::harness::eventually("draining", || gateway.readiness()["ready"] == false);
    let state = gateway.readiness();
    assert_eq!((state["lastReload"].as_str(), state["reloadError"].is_null()), (Some("ok"), true), "{state}");
}

#[test]
fn every_error_of_the_admin_api_is_a_problem_document_and_json_needs_no_content_type() {
    let gateway = Gateway::start(ROUTE);
    let put = "PUT /api/v1/log-level";
    assert_eq!(ask(&gateway, put, TOKEN, r#"{"level":"debug"}"#).status, 200);
    let long = format!("{{\"level\":\"{}\"}}", "x".repeat(3 << 20));
    for (line, body, status, slug) in [
        (put, "{\"level\":", 400, "invalid"),
        (put, "{\"level\":\"info\",\"more\":1}", 400, "invalid"),
        (put, "", 400, "invalid"),
        (put, &*long, 413, "body-too-large"),
        ("DELETE /api/v1/log-level", "", 405, "method-not-allowed"),
        ("PUT /api/v1/upstreams/%ff/breaker", "{\"state\":\"CLOSED\"}", 400, "invalid"),
        ("PUT /api/v1/upstreams/none/breaker", "{\"state\":\"CLOSED\"}", 404, "no-route"),
        ("GET /api/v1/nothing", "", 404, "no-route"),
        ("GET /nothing", "", 404, "no-route"),
        ("DELETE /livez", "", 405, "method-not-allowed"),
    ] {
        let answer = ask(&gateway, line, TOKEN, body);
        assert_eq!(
            (answer.status, answer.problem().as_deref()),
            (status, Some(slug)),
            "{line}: {}",
            answer.text()
        );
        assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{line}");
        assert_eq!(answer.header("allow").is_some(), status == 405, "{line}");
    }
}

#[test]
fn an_admin_port_that_is_open_by_choice_still_asks_for_its_token() {
    let (port, admin) = (free_port(), free_port());
    let text = format!(
        "admin: {{address: \"0.0.0.0:{admin}\", allowNonLoopback: true}}
listeners: [{{name: public, address: \"127.0.0.1:{port}\"}}]\n{ROUTE}"
    );
    let folder = tempfile::tempdir().expect("a folder");
    let on = |last: u8| std::net::SocketAddr::from(([127, 0, 0, last], admin));
    let gateway = Gateway::with_admin(folder, &text, ([127, 0, 0, 1], port).into(), on(1), |_| {});
    // It is open: an address that nobody named answers, too.
    assert_eq!(get(on(2), "/livez").expect("an answer").status, 200);
    let status = |headers: &str| {
        let request =
            format!("GET /api/v1/status HTTP/1.1\r\nhost: {}\r\n{headers}connection: close\r\n\r\n", on(2));
        Answer::parse(&raw(on(2), request.as_bytes())).expect("an answer").status
    };
    assert_eq!((status(""), status(TOKEN)), (401, 200));
    drop(gateway);
}

#[test]
fn an_admin_port_with_tls_may_be_open() {
    let folder = tempfile::tempdir().expect("a folder");
    let issued = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("a certificate");
    std::fs::write(folder.path().join("a.key"), issued.signing_key.serialize_pem()).expect("a file");
    std::fs::write(folder.path().join("a.crt"), issued.cert.pem()).expect("a file");
    let (port, admin, path) = (free_port(), free_port(), folder.path().join("tidegate.yaml"));
    let text = format!(
        "admin: {{address: \"0.0.0.0:{admin}\", tls: {{certificates: [{{certFile: a.crt, keyFile: a.key}}]}}}}
listeners: [{{name: public, address: \"127.0.0.1:{port}\"}}]\n{ROUTE}"
    );
    std::fs::write(&path, text).expect("a file");
    let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_tidegate"))
        .args(["run", "--data-dir", &folder.path().join("data").display().to_string(), "-c"])
        .arg(&path)
        .stderr(std::fs::File::create(folder.path().join("stderr")).expect("a file"))
        .spawn()
        .expect("the binary starts");
    let on = std::net::SocketAddr::from(([127, 0, 0, 2], admin));
    super::harness::eventually("it answers over TLS", || readyz_over_tls(on, issued.cert.der()) == Some(200));
    assert!(get(on, "/livez").is_none(), "and not in cleartext");
    child.kill().expect("an end");
    child.wait().expect("an end");
}
