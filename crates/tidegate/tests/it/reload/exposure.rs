//! Reloads open nothing by accident: what makes more reachable waits with `--guard-exposure`, and a connection reaches
//! no listener but its own.

use super::super::harness::{Answer, Client, Gateway, free_port, h2, raw};

const GUARDED: &str = "consumers: [{name: c, keys: [the-key-of-the-test]}]
routes:
  - {name: r, match: [{path: {prefix: /}}], policies: [{keyAuth: {}}], respond: {body: inside}}
  - {name: open, match: [{path: {exact: /open}}], respond: {body: open}}
";

fn guarded() -> (Gateway, impl Fn(&str) -> String) {
    let port = free_port();
    let text =
        move |rest: &str| format!("listeners: [{{name: public, address: \"127.0.0.1:{port}\"}}]\n{rest}");
    let folder = tempfile::tempdir().expect("a folder");
    let gateway = Gateway::in_folder(folder, &text(GUARDED), ([127, 0, 0, 1], port).into(), |command| {
        command.arg("--guard-exposure");
    });
    (gateway, text)
}

fn acknowledge(gateway: &Gateway) -> Answer {
    let request = format!(
        "POST /api/v1/config/acknowledge HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer test-admin-token\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
        gateway.admin
    );
    Answer::parse(&raw(gateway.admin, request.as_bytes())).expect("an answer")
}

#[test]
fn what_exposes_nothing_needs_nobody() {
    let (gateway, text) = guarded();
    let state = gateway.reload(&text(&GUARDED.replace("body: inside", "body: changed")));
    assert_eq!((state["lastReload"].as_str(), state["pendingExposure"].is_null()), (Some("ok"), true));
    let fewer =
        GUARDED.replace("  - {name: open, match: [{path: {exact: /open}}], respond: {body: open}}\n", "");
    assert_eq!(gateway.reload(&text(&fewer))["lastReload"], "ok");
    assert_eq!(gateway.get("/open").status, 401);
    assert_eq!(acknowledge(&gateway).status, 409, "nothing waits");
}

#[test]
fn only_the_configuration_that_was_shown_is_acknowledged() {
    let (gateway, text) = guarded();
    let one = GUARDED.replace("exact: /open", "prefix: /open");
    let shown = gateway.reload(&text(&one));
    assert_eq!(shown["lastReload"], "refused");
    let revision = shown["pendingExposure"]["revision"].as_str().expect("a revision").to_owned();
    // Between the look and the word, the files change once more, before the gateway has noticed.
    let all = GUARDED.replace(", policies: [{keyAuth: {}}]", "");
    let admin = format!("admin: {{address: \"{}\"}}\n", gateway.admin);
    std::fs::write(gateway.config(), format!("{admin}{}", text(&all))).expect("a file");
    let answer = acknowledge(&gateway);
    assert_eq!((answer.status, gateway.get("/").status), (422, 401), "{}", answer.text());
    let now = gateway.readiness()["pendingExposure"].clone();
    assert_ne!(now["revision"].as_str(), Some(revision.as_str()));
    assert!(now["exposure"][0].as_str().is_some_and(|exposure| exposure.contains("keyAuth")), "{now}");
    assert_eq!(acknowledge(&gateway).status, 200);
    assert_eq!(gateway.get("/").text(), "inside");
    assert!(gateway.readiness()["pendingExposure"].is_null());
}

#[test]
fn a_pending_exposure_is_withdrawn_with_its_configuration() {
    let (gateway, text) = guarded();
    let state = gateway.reload(&text(&GUARDED.replace("exact: /open", "prefix: /open")));
    assert!(!state["pendingExposure"].is_null());
    assert_eq!(gateway.metric("tidegate_config_last_reload_successful"), Some(0.0));
    let state = gateway.reload(&text(GUARDED));
    assert_eq!((state["lastReload"].as_str(), state["pendingExposure"].is_null()), (Some("ok"), true));
    assert_eq!(gateway.metric("tidegate_config_last_reload_successful"), Some(1.0));
    assert_eq!(gateway.get("/open/x").status, 401);
}

#[test]
fn a_reload_that_exposes_more_waits_for_an_acknowledgement() {
    let folder = tempfile::tempdir().expect("a folder");
    let port = free_port();
    let guarded = "consumers: [{name: c, keys: [the-key-of-the-test]}]
routes: [{name: r, match: [{path: {prefix: /}}], policies: [{keyAuth: {}}], respond: {body: inside}}]\n";
    let text = |rest: &str| format!("listeners: [{{name: public, address: 127.0.0.1:{port}}}]\n{rest}");
    let gateway = Gateway::in_folder(folder, &text(guarded), ([127, 0, 0, 1], port).into(), |command| {
        command.arg("--guard-exposure");
    });
    assert_eq!(gateway.get("/").status, 401);
    let state = gateway.reload(&text(&guarded.replace("policies: [{keyAuth: {}}], ", "")));
    assert_eq!(state["lastReload"], "refused");
    let exposure = state["pendingExposure"]["exposure"][0].as_str().expect("what is exposed");
    assert!(exposure.contains("keyAuth"), "{exposure}");
    assert_eq!(gateway.get("/").status, 401);
    let request = format!(
        "POST /api/v1/config/acknowledge HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer test-admin-token\r\nconnection: close\r\n\r\n",
        gateway.admin
    );
    let answer = raw(gateway.admin, request.as_bytes());
    assert!(answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
    assert_eq!(gateway.get("/").text(), "inside");
}

#[test]
fn a_connection_outlives_its_listener_but_reaches_no_other_ones_routes() {
    let (outside, inside) = (free_port(), free_port());
    let route = |name: &str| {
        format!(
            "  - {{name: {name}, listeners: [{name}], match: [{{path: {{prefix: /}}}}], respond: {{body: {name}}}}}\n"
        )
    };
    let listener = |name: &str, port| format!("  - {{name: {name}, address: 127.0.0.1:{port}}}\n");
    let both = format!(
        "listeners:\n{}{}routes:\n{}{}",
        listener("outside", outside),
        listener("inside", inside),
        route("outside"),
        route("inside")
    );
    let one = format!("listeners:\n{}routes:\n{}", listener("inside", inside), route("inside"));
    let gateway = Gateway::from_text(&both, ([127, 0, 0, 1], outside).into(), |_| {});
    let mut old = Client::connect(gateway.address);
    let mut insider = Client::connect(([127, 0, 0, 1], inside).into());
    assert_eq!(old.get("/").expect("an answer").text(), "outside");
    assert_eq!(insider.get("/").expect("an answer").text(), "inside");
    h2::run(async {
        let client = h2::Client::connect(gateway.address).await;
        assert_eq!(client.get("/").await.expect("an answer").text(), "outside");
        assert_eq!(gateway.reload(&one)["lastReload"], "ok");
        assert_eq!(client.get("/").await.expect("an answer").status, 404);
        h2::gone(&client).await;
    });
    let answer = old.get("/").expect("an answer");
    assert_eq!((answer.status, answer.header("connection")), (404, Some("close")), "{}", answer.text());
    assert!(old.is_closed());
    // One whose listener has only moved in the list is served on.
    assert_eq!(insider.get("/").expect("an answer").text(), "inside");
}

#[test]
fn what_was_accepted_once_comes_back_without_a_word() {
    let (gateway, text) = guarded();
    let without_routes = text("routes: []\n");
    assert_eq!(gateway.reload(&without_routes)["lastReload"], "ok");
    assert_eq!(gateway.get("/open").status, 404);
    let state = gateway.reload(&text(GUARDED));
    assert_eq!(state["lastReload"], "ok", "the start accepted it: {state}");
    assert_eq!(gateway.get("/open").text(), "open");
    assert_eq!(gateway.reload("listeners: []\n")["lastReload"], "ok");
    let state = gateway.reload(&text(GUARDED));
    assert_eq!((state["lastReload"].as_str(), gateway.get("/open").status), (Some("ok"), 200), "{state}");
    // What was acknowledged since is what counts, and more than that still waits.
    let more = GUARDED.replace("exact: /open", "prefix: /open");
    assert_eq!(gateway.reload(&text(&more))["lastReload"], "refused");
    assert_eq!(acknowledge(&gateway).status, 200);
    assert_eq!(gateway.reload(&without_routes)["lastReload"], "ok");
    assert_eq!(gateway.reload(&text(&more))["lastReload"], "ok");
    assert_eq!(gateway.get("/open/more").text(), "open");
    assert_eq!(gateway.reload(&without_routes)["lastReload"], "ok");
    let all = GUARDED.replace(", policies: [{keyAuth: {}}]", "");
    let state = gateway.reload(&text(&all));
    assert_eq!((state["lastReload"].as_str(), gateway.get("/").status), (Some("refused"), 404), "{state}");
}
