//! What nginx refuses is refused here, whatever is open beside it.

use std::net::SocketAddr;

use super::{MAIN, Nginx, asked, echo, written};
use crate::harness::{Gateway, free_port, run};

/// What guards in ways that are easily lost: each beside a wider or another place that is open.
const GUARDED: &str = r#"
server {
    listen 127.0.0.1:PORT;
    server_name a.test;
    location /read { limit_except GET { deny all; } proxy_pass http://shop; }
    location /admin { deny all; proxy_pass http://shop; }
    location /administration { proxy_pass http://shop; }
    location /broken/ { rewrite ^/broken/(.*)$ /x/$1 break; proxy_pass http://shop; }
    location / { proxy_pass http://shop; }
}
server {
    listen 127.0.0.1:PORT;
    server_name twice.test;
    location / { deny all; }
}
server {
    listen 127.0.0.1:PORT;
    server_name other.test A.test .twice.test;
    location / { return 200 "the second"; }
}
server {
    listen 127.0.0.1:PORT;
    server_name *.test;
    location / { return 200 "any other"; }
}
"#;

/// Where what is imported refuses more than nginx does.
const AWAY: &str = r#"
server {
    listen 127.0.0.1:PORT;
    server_name away.test;
    location /last { rewrite ^/last/(.*)$ /admin/$1 last; proxy_pass http://shop; }
    location /bare { rewrite ^/bare/(.*)$ /admin/$1; proxy_pass http://shop; }
    location /office { limit_except GET { allow 10.0.0.0/8; deny all; } proxy_pass http://shop; }
    location /admin { deny all; proxy_pass http://shop; }
    location / { proxy_pass http://shop; }
}
"#;

#[test]
fn what_nginx_refuses_beside_what_is_open_is_refused_here() {
    let folder = tempfile::tempdir().expect("a folder");
    let (upstream, port) = (echo(), free_port());
    let files = [("nginx.conf", MAIN), ("sites/a.conf", GUARDED), ("sites/b.conf", AWAY)];
    written(folder.path(), &upstream, port, &files);
    let theirs: SocketAddr = format!("127.0.0.1:{port}").parse().expect("an address");
    let _nginx = Nginx::start(folder.path(), theirs);
    let (code, ours, report) =
        run(&["import", "nginx", &folder.path().join("nginx.conf").display().to_string()]);
    assert_eq!(code, 0, "{report}");
    let own: SocketAddr = format!("127.0.0.1:{}", free_port()).parse().expect("an address");
    let ours = ours.replace(&theirs.to_string(), &own.to_string());
    let _gateway = Gateway::from_text(&ours, own, |_| {});
    // What nginx says, and what is said here: the same, or a refusal in the place of one.
    for (line, host, wanted, here) in [
        ("GET /read/x", "a.test", 200, 200),
        ("POST /read/x", "a.test", 403, 403),
        ("DELETE /read", "a.test", 403, 403),
        ("POST /x", "a.test", 200, 200),
        ("GET /admin/x", "a.test", 403, 403),
        ("GET /adminx", "a.test", 403, 403),
        ("GET /admin.old/x", "a.test", 403, 403),
        ("GET /administration/x", "a.test", 200, 200),
        ("GET /adm", "a.test", 200, 200),
        ("GET /readx", "a.test", 200, 403),
        ("GET /broken/x", "a.test", 200, 200),
        ("GET /x", "twice.test", 403, 403),
        ("GET /x", "other.test", 200, 200),
        ("GET /admin", "new.test", 200, 200),
        ("GET /last/secret", "away.test", 403, 501),
        ("GET /bare/secret", "away.test", 403, 501),
        ("GET /office/x", "away.test", 200, 200),
        ("POST /office/x", "away.test", 403, 403),
        ("POST /x", "away.test", 200, 200),
    ] {
        let head = format!("{line} HTTP/1.1\nhost: {host}\ncontent-length: 0");
        let got = [theirs, own].map(|address| asked(address, &head, b"").status);
        assert_eq!(got, [wanted, here], "{line} of {host}\n{ours}\n{report}");
    }
    let head = "GET /x HTTP/1.1\nhost: a.test";
    let [wanted, got] = [theirs, own].map(|address| asked(address, head, b"").text());
    assert_eq!(got, wanted, "the first server of the name answers\n{ours}");
    for (file, line, told) in [
        (
            "a",
            6,
            "`location`: it takes `/admin` and what is below it; `/adminx`, which it takes in nginx, is CLOSED",
        ),
        ("a", 18, "`server_name`: `A.test` is an earlier server's on"),
        ("a", 18, "`server_name`: `.twice.test` is an earlier server's on"),
        ("b", 5, "`rewrite`: no counterpart: nginx looks for another location then"),
        ("b", 6, "`rewrite`: no counterpart: nginx looks for another location then"),
        ("b", 7, "`limit_except`: CLOSED for the other methods"),
    ] {
        assert!(report.contains(&format!("sites/{file}.conf:{line}: {told}")), "{line}: {told}\n{report}");
    }
    assert!(!report.contains("`other.test`"), "{report}");
}
