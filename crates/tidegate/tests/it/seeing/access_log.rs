//! Access logs: forms, places, rotation, sampling, redaction, and what happens when they cannot be written.

use std::{fs, process::Stdio};

use crate::{
    harness::{Client, Gateway, Upstream, eventually, free_port, run},
    otlp::receiver::lost,
};

const ROUTES: &str = "routes:
  - {name: r, match: [{path: {prefix: /ok}}], respond: {body: hello}}
  - {name: bad, match: [{path: {prefix: /bad}}], respond: {status: 500}}
";

fn in_folder(logs: &str) -> Gateway {
    let folder = tempfile::tempdir().expect("a folder");
    let port = free_port();
    let text =
        format!("listeners: [{{name: public, address: 127.0.0.1:{port}}}]\naccessLog: {logs}\n{ROUTES}");
    Gateway::in_folder(folder, &text, ([127, 0, 0, 1], port).into(), |_| {})
}

fn read(gateway: &Gateway, name: &str) -> String {
    fs::read_to_string(gateway.folder.path().join(name)).unwrap_or_default()
}

#[test]
fn several_logs_each_have_their_own_form_and_place() {
    let gateway = in_folder(
        "[{kind: stdout}, {kind: stderr, format: \"ERR {{ status }}\"}, {kind: file, path: access.log, format: \"{{ method }} {{ path }} {{ status }} {{ route }} {{ consumer }}\"}]",
    );
    assert_eq!(gateway.get("/ok/1").status, 200);
    eventually("a line in the file", || read(&gateway, "access.log") == "GET /ok/1 200 r -\n");
    eventually("a line on standard error", || gateway.stderr().contains("\nERR 200\n"));
    let line = &gateway.records(1)[0];
    for field in ["timestamp", "level", "message", "trace_id", "span_id", "request_id"] {
        assert!(line[field].as_str().is_some_and(|text| !text.is_empty()), "{field} of {line}");
    }
    for (field, value) in [
        ("method", "GET"),
        ("path", "/ok/1"),
        ("route", "r"),
        ("listener", "public"),
        ("protocol", "HTTP/1.1"),
        ("client_ip", "127.0.0.1"),
    ] {
        assert_eq!(line[field], value, "{field} of {line}");
    }
    assert_eq!((line["status"].as_u64(), line["response_bytes"].as_u64()), (Some(200), Some(5)));
}

#[test]
fn a_file_that_was_moved_away_is_opened_anew_on_the_signal() {
    let gateway = in_folder("[{kind: file, path: access.log, format: \"{{ path }}\"}]");
    gateway.get("/ok/1");
    eventually("the first line", || read(&gateway, "access.log") == "/ok/1\n");
    fs::rename(gateway.folder.path().join("access.log"), gateway.folder.path().join("access.log.1"))
        .expect("moved");
    gateway.get("/ok/2");
    eventually("the second line goes where the file went", || {
        read(&gateway, "access.log.1") == "/ok/1\n/ok/2\n"
    });
    gateway.signal("USR1");
    eventually("a new file", || gateway.folder.path().join("access.log").exists());
    gateway.get("/ok/3");
    eventually("the third line", || read(&gateway, "access.log") == "/ok/3\n");
    assert_eq!(read(&gateway, "access.log.1"), "/ok/1\n/ok/2\n");
}

#[test]
fn a_sample_leaves_out_what_went_well_and_never_a_failure() {
    let gateway = in_folder(
        "[{kind: file, path: none.log, format: \"{{ status }}\", sample: 0}, {kind: file, path: some.log, format: \"{{ status }}\", sample: 50}]",
    );
    let mut client = Client::connect(gateway.address);
    for _ in 0..400 {
        assert_eq!(client.get("/ok").expect("an answer").status, 200);
    }
    for _ in 0..5 {
        assert_eq!(client.get("/bad").expect("an answer").status, 500);
    }
    let count =
        |name: &str, status: &str| read(&gateway, name).lines().filter(|line| *line == status).count();
    eventually("the failures", || count("none.log", "500") == 5 && count("some.log", "500") == 5);
    assert_eq!(count("none.log", "200"), 0);
    assert!((120..280).contains(&count("some.log", "200")), "{} of 400", count("some.log", "200"));
}

#[test]
fn what_must_not_be_seen_is_not_in_the_log() {
    let gateway = in_folder(
        "[{kind: stdout, redact: {query: [ticket], clientAddress: true}}, {kind: file, path: default.log}]",
    );
    let answer = gateway.send(
        "GET /ok?ticket=secret-1&q=2 HTTP/1.1\nhost: a\nauthorization: Bearer secret-2\ncookie: s=secret-3",
        b"",
    );
    assert_eq!(answer.status, 200);
    gateway.get("/ok?access_token=secret-4&API_KEY=secret-5&q=1");
    let lines = gateway.records(2);
    // Lines of two workers stand in any order.
    let line = lines.iter().find(|line| line["query"] == "ticket=[redacted]&q=2").expect("the first call");
    assert_eq!(line["client_ip"], "127.0.0.0");
    assert!(!line.to_string().contains("secret"), "{line}");
    eventually("the other log", || read(&gateway, "default.log").lines().count() == 2);
    let other = read(&gateway, "default.log");
    assert!(other.contains("access_token=[redacted]&API_KEY=[redacted]&q=1"), "{other}");
    for secret in ["secret-2", "secret-3", "secret-4", "secret-5"] {
        assert!(!other.contains(secret), "{other}");
    }
}

#[test]
fn what_clients_send_cannot_break_a_line() {
    let gateway =
        in_folder("[{kind: stdout}, {kind: file, path: text.log, format: \"{{ user_agent }}|{{ query }}\"}]");
    gateway.send("GET /ok?a=\"}%0a HTTP/1.1\nhost: a\nuser-agent: \"},{\\\"x\\\":\t\u{e9}", b"");
    gateway.get("/ok/second");
    assert_eq!(gateway.records(2).len(), 2);
    assert_eq!(gateway.stdout().lines().count(), 2);
    eventually("the template's lines", || read(&gateway, "text.log").lines().count() == 2);
}

#[test]
fn an_unknown_field_of_a_template_refuses_the_configuration() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("tidegate.yaml");
    let text = format!(
        "listeners: [{{name: a, address: 127.0.0.1:1}}]\naccessLog: [{{kind: stdout, format: \"{{{{ statos }}}}\"}}]\n{ROUTES}"
    );
    fs::write(&path, text).expect("a file");
    let (code, _, problems) = run(&["validate", "--config", &path.display().to_string()]);
    assert_eq!(code, 3, "{problems}");
    assert!(
        problems.contains("accessLog[0]") && problems.contains("statos") && problems.contains("status"),
        "{problems}"
    );
}

#[test]
fn a_log_that_cannot_be_opened_refuses_the_reload_and_the_old_one_goes_on() {
    let gateway = in_folder("[{kind: file, path: access.log, format: \"{{ path }}\"}]");
    let text = format!(
        "listeners: [{{name: public, address: \"{}\"}}]\naccessLog: [{{kind: file, path: no/such/folder/a.log}}]\nroutes: [{{name: new, match: [{{path: {{prefix: /}}}}], respond: {{status: 418}}}}]\n",
        gateway.address
    );
    let after = gateway.reload(&text);
    assert_eq!(after["lastReload"], "refused");
    assert!(after["reloadError"].as_str().is_some_and(|error| error.contains("accessLog[0]")), "{after}");
    assert_eq!(gateway.get("/ok").status, 200, "nothing of it is live");
    eventually("the old log", || read(&gateway, "access.log") == "/ok\n");
}

#[test]
fn a_disk_that_is_full_is_said_once_and_counted() {
    let gateway = in_folder("[{kind: file, path: /dev/full}]");
    for number in 1..=3 {
        assert_eq!(gateway.get("/ok").status, 200);
        eventually("the loss is counted", || {
            lost(&gateway, "access_log", "write-failed") == f64::from(number)
        });
    }
    assert_eq!(gateway.stderr().matches("cannot be written").count(), 1, "{}", gateway.stderr());
}

#[test]
fn a_reader_that_reads_nothing_stalls_neither_traffic_nor_signals() {
    let upstream = Upstream::echo();
    let port = free_port();
    let text = |status: u16| {
        format!(
            "listeners: [{{name: public, address: 127.0.0.1:{port}}}]\naccessLog: [{{kind: stdout}}]
upstreams: [{{name: u, endpoints: [{{address: \"{}\"}}]}}]
routes:
  - {{name: u, match: [{{path: {{prefix: /u}}}}], backends: [{{upstream: u}}]}}
  - {{name: r, match: [{{path: {{prefix: /}}}}], respond: {{status: {status}}}}}\n",
            upstream.address
        )
    };
    let mut gateway = Gateway::from_text(&text(200), ([127, 0, 0, 1], port).into(), |command| {
        // Nobody ever reads this pipe.
        command.stdout(Stdio::piped());
    });
    let mut client = Client::connect(gateway.address);
    eventually("the log falls behind", || {
        for _ in 0..50 {
            assert_eq!(client.get("/u").expect("an answer").status, 200);
        }
        lost(&gateway, "access_log", "behind") > 0.0
    });
    gateway.signal("USR1");
    assert_eq!(gateway.reload(&text(204))["lastReload"], "ok");
    assert_eq!(gateway.get("/").status, 204);
    gateway.signal("TERM");
    assert!(gateway.wait().success());
}
