//! Health while the gateway comes and goes, the log level, and where the admin token comes from.

use crate::harness::{Answer, Gateway, eventually, free_port, get, raw};

const ROUTE: &str = "routes: [{name: r, match: [{path: {prefix: /}}], respond: {}}]\n";

fn ask(gateway: &Gateway, line: &str, token: &str, body: &str) -> Answer {
    let request = format!(
        "{line} HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {token}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        gateway.admin,
        body.len()
    );
    Answer::parse(&raw(gateway.admin, request.as_bytes())).expect("an answer")
}

#[test]
fn readiness_fails_first_and_the_process_stays_alive_while_it_drains() {
    let mut gateway = Gateway::start(&format!("shutdown: {{drainDelay: 2s}}\n{ROUTE}"));
    assert_eq!(gateway.readiness()["ready"], true);
    gateway.signal("TERM");
    eventually("readiness fails", || {
        get(gateway.admin, "/readyz").is_some_and(|answer| answer.status == 503)
    });
    assert_eq!(get(gateway.admin, "/livez").expect("an answer").status, 200);
    let verbose = get(gateway.admin, "/readyz?verbose").expect("an answer");
    assert_eq!((verbose.status, &verbose.json()["ready"]), (503, &false.into()));
    assert_eq!(gateway.get("/").status, 200, "traffic is still served");
    assert!(gateway.wait().success());
}

#[test]
fn readiness_tells_of_a_refused_configuration_and_stays_good() {
    let gateway = Gateway::start(ROUTE);
    let after = gateway.reload("listeners: [{name: public, adress: x}]\n");
    assert_eq!((&after["ready"], &after["lastReload"]), (&true.into(), &"refused".into()));
    assert!(after["reloadError"].as_str().is_some_and(|error| error.contains("adress")), "{after}");
    assert_eq!(gateway.metric("tidegate_config_last_reload_successful"), Some(0.0));
    assert_eq!(gateway.metric("tidegate_config_reloads_total{result=\"refused\"}"), Some(1.0));
    assert_eq!(get(gateway.admin, "/readyz").expect("an answer").status, 200);
}

#[test]
fn the_log_level_can_be_read_and_changed() {
    let gateway = Gateway::start(ROUTE);
    let level = || ask(&gateway, "GET /api/v1/log-level", "test-admin-token", "").json()["level"].clone();
    assert_eq!(level(), "info");
    let answer = ask(&gateway, "PUT /api/v1/log-level", "test-admin-token", r#"{"level":"debug"}"#);
    assert_eq!(answer.status, 200);
    assert_eq!(level(), "debug");
}

#[test]
fn the_admin_token_may_come_from_a_file_or_the_environment() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("token"), "token-of-the-file\n").expect("a file");
    let status = |gateway: &Gateway, token: &str| ask(gateway, "GET /api/v1/status", token, "").status;
    let start = |folder: tempfile::TempDir, variable: Option<&str>| {
        let (port, admin) = (free_port(), free_port());
        let text = format!(
            "listeners: [{{name: public, address: 127.0.0.1:{port}}}]\n{ROUTE}admin: {{address: \"127.0.0.1:{admin}\", token: {{file: token}}}}\n"
        );
        Gateway::with_admin(
            folder,
            &text,
            ([127, 0, 0, 1], port).into(),
            ([127, 0, 0, 1], admin).into(),
            |command| {
                match variable {
                    Some(token) => command.env("TIDEGATE_ADMIN_TOKEN", token),
                    None => command.env_remove("TIDEGATE_ADMIN_TOKEN"),
                };
            },
        )
    };
    let gateway = start(folder, None);
    assert_eq!((status(&gateway, "token-of-the-file"), status(&gateway, "other")), (200, 401));
    assert!(!gateway.folder.path().join("data/admin-token").exists(), "none is minted beside it");
    assert!(!gateway.stderr().contains("token-of-the-file"));

    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("token"), "token-of-the-file\n").expect("a file");
    let gateway = start(folder, Some("token-of-the-environment"));
    assert_eq!(
        (status(&gateway, "token-of-the-environment"), status(&gateway, "token-of-the-file")),
        (200, 401)
    );
}
