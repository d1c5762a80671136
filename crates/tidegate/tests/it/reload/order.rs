//! Reloads run one after the other: what was read last is what is live in the end.

use std::{
    fs,
    io::Write,
    path::Path,
    process::Command,
    sync::mpsc,
    time::{Duration, Instant},
};

use super::{
    super::harness::{Gateway, eventually, pause, raw},
    config, fixed,
};

/// How long a reload may take that waits for nothing.
const PATIENCE: Duration = Duration::from_secs(20);

/// The writing side of a named pipe, once somebody reads from it.
fn once_read(pipe: &Path) -> fs::File {
    let (pipe, (opened, is_open)) = (pipe.to_owned(), mpsc::channel());
    std::thread::spawn(move || {
        // Waits for a reader (fifo(7)).
        let _ = opened.send(fs::OpenOptions::new().write(true).open(pipe).expect("a pipe"));
    });
    is_open.recv_timeout(PATIENCE).expect("the pipe is read from")
}

/// The revisions that became live by a reload, in order.
fn live(gateway: &Gateway) -> Vec<String> {
    let logged = gateway.stderr();
    let lines = logged.lines().filter(|line| line.contains("the new configuration is live"));
    lines
        .map(|line| {
            let line: serde_json::Value = serde_json::from_str(line).expect("JSON");
            line["revision"].as_str().expect("a revision").to_owned()
        })
        .collect()
}

#[test]
fn a_reload_that_takes_long_does_not_put_what_is_older_over_what_is_newer() {
    let gateway = Gateway::start(&fixed("zero"));
    let pipe = gateway.folder.path().join("key");
    assert!(Command::new("mkfifo").arg(&pipe).status().expect("mkfifo runs").success());
    let write = |text: &str| {
        let fresh = gateway.folder.path().join("fresh.tmp");
        let whole = format!("admin: {{address: \"{}\"}}\n{}", gateway.admin, config(&gateway, text));
        fs::write(&fresh, whole).expect("a file");
        fs::rename(&fresh, gateway.config()).expect("a swap");
    };
    // The older one has been read, and waits for a key that it refers to.
    write(&format!("consumers: [{{name: c, keys: [{{file: '{}'}}]}}]\n{}", pipe.display(), fixed("older")));
    gateway.signal("HUP");
    let mut key = once_read(&pipe);
    write(&fixed("newer"));
    std::thread::scope(|scope| {
        let newer = scope.spawn(|| {
            let request = format!(
                "POST /api/v1/config/reload HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer test-admin-token\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
                gateway.admin
            );
            raw(gateway.admin, &request.into_bytes())
        });
        // If it does not wait for its turn it is soon done, and the older one comes after it.
        let asked = Instant::now();
        while !newer.is_finished() && asked.elapsed() < Duration::from_secs(1) {
            pause(10);
        }
        key.write_all(b"the-key-of-the-test").expect("a key");
        drop(key);
        let answer = newer.join().expect("an answer");
        assert!(answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
    });
    eventually("the newer one", || gateway.get("/").text() == "newer");
    // What had changed meanwhile may be looked at once more, and is known by then.
    pause(1_000);
    let (order, now) = (live(&gateway), gateway.readiness()["revision"].as_str().expect("one").to_owned());
    assert_eq!(order.len(), 2, "each is live once: {order:?}");
    assert_eq!((order.last(), gateway.get("/").text().as_str()), (Some(&now), "newer"));
}
