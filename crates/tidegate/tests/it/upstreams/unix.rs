//! Upstreams behind Unix sockets.

use std::{
    io::{BufRead, BufReader, Write},
    os::unix::net::UnixListener,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use super::{endpoint_states, gateway_of_one_worker};
use crate::harness::eventually;

#[test]
fn a_unix_socket_is_an_endpoint_like_any_other() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("app.sock");
    let listener = UnixListener::bind(&path).expect("a socket");
    let connections = Arc::new(AtomicUsize::new(0));
    let counted = connections.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            counted.fetch_add(1, Ordering::Relaxed);
            std::thread::spawn(move || {
                let mut reader = BufReader::new(stream);
                let mut line = String::new();
                while reader.read_line(&mut line).is_ok_and(|count| count > 0) {
                    if line == "\r\n" {
                        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nunix";
                        let _ = reader.get_mut().write_all(answer);
                    }
                    line.clear();
                }
            });
        }
    });
    let gateway = gateway_of_one_worker(&format!(
        "endpoints: [{{address: \"unix:{}\"}}], healthCheck: {{path: /, interval: 100ms, unhealthyThreshold: 1}}, retry: {{maxAttempts: 1}}",
        path.display()
    ));
    for _ in 0..5 {
        assert_eq!(gateway.get("/").text(), "unix");
    }
    assert_eq!(endpoint_states(&gateway)[0]["address"], format!("unix:{}", path.display()));
    assert_eq!(endpoint_states(&gateway)[0]["requests"], 5);
    eventually("it is checked", || connections.load(Ordering::Relaxed) > 3);
    assert_eq!(endpoint_states(&gateway)[0]["healthy"], true);
    // Nobody listens there any more: as a refused connection.
    std::fs::remove_file(&path).expect("it is there");
    eventually("its end is seen", || endpoint_states(&gateway)[0]["healthy"] == false);
}
