//! What is not taken over is told with its place, and so is what cannot be read.

use std::{fs, net::SocketAddr};

use super::{MAIN, echo, written};
use crate::harness::{Gateway, free_port, run};

/// Each with what is said of it.
const LIMITS: &str = r#"
server {
    listen 127.0.0.1:PORT;
    location /closed/ { auth_basic "who"; auth_basic_user_file users; proxy_pass http://shop; }
    location /blocked/ { if ($http_user_agent ~ "bad") { return 403; } proxy_pass http://shop; }
    location ~ \.php$ { fastcgi_pass 127.0.0.1:9000; }
    location /dynamic/ { proxy_pass http://$backend; }
    location /filtered/ { proxy_pass http://shop; sub_filter a b; }
    location /read/ { limit_except GET { deny all; } proxy_pass http://shop; }
    location / { root FOLDER/www; }
}
stream { server { listen 5; } }
"#;

#[test]
fn what_is_not_taken_over_is_told_and_opens_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let upstream = echo();
    written(folder.path(), &upstream, 20_001, &[("nginx.conf", MAIN), ("sites/a.conf", LIMITS)]);
    let (code, ours, report) =
        run(&["import", "nginx", &folder.path().join("nginx.conf").display().to_string()]);
    assert_eq!(code, 0, "{report}");
    let own: SocketAddr = format!("127.0.0.1:{}", free_port()).parse().expect("an address");
    let gateway = Gateway::from_text(&ours.replace("127.0.0.1:20001", &own.to_string()), own, |_| {});
    fs::write(folder.path().join("www/x.php"), "<?php secret").expect("a file");
    for (path, status) in [
        ("/closed/x", 403),
        ("/blocked/x", 403),
        ("/x.php", 501),
        ("/dynamic/x", 501),
        ("/filtered/x", 200),
        ("/read/x", 200),
    ] {
        assert_eq!(gateway.get(path).status, status, "{path}\n{ours}");
    }
    assert_eq!(gateway.send("POST /read/x HTTP/1.1\nhost: a.test\ncontent-length: 0", b"").status, 403);
    for (line, told) in [
        (4, "`location`: CLOSED, for `auth_basic` is not taken over"),
        (5, "`location`: CLOSED, for `if ($http_user_agent ~ bad)` is not taken over"),
        (6, "`fastcgi_pass`: no counterpart: the location answers 501"),
        (7, "`proxy_pass`: no counterpart: `http://$backend` has variables; the location answers 501"),
        (8, "no counterpart: `sub_filter a b`"),
        (12, "no counterpart: `stream`"),
    ] {
        assert!(report.contains(&format!("sites/a.conf:{line}: {told}")), "{line}: {told}\n{report}");
    }
    assert!(!report.contains("keepalive") && !report.contains("worker_connections"), "{report}");
}

#[test]
fn what_cannot_be_read_is_told_with_its_place() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("nginx.conf");
    let shown = file.display().to_string();
    for (text, told) in [
        ("http {\n server { listen 80;", format!("error: {shown}:2: a block is not closed by `}}`")),
        ("http {\n listen 80\n}", format!("error: {shown}:2: `listen 80` has no `;`")),
        ("include nginx.conf;", "files include each other too deep".to_owned()),
        ("events { }", "nothing of it could be taken over: no server has a location or an answer".to_owned()),
    ] {
        fs::write(&file, text).expect("a file");
        let (code, ours, report) = run(&["import", "nginx", &shown]);
        assert_ne!(code, 0, "{text}");
        assert!(ours.is_empty() && report.contains(&told), "{told}\n{report}");
    }
    let (code, _, report) = run(&["import", "nginx", "/nowhere/nginx.conf"]);
    assert!(code != 0 && report.contains("/nowhere/nginx.conf: No such file"), "{report}");
}
