//! What is easily opened: locations within others, prefixes below others, expressions that look ahead, locations with names.

use super::{Both, imported};

const WITHIN: &str = r#"
server {
    listen 127.0.0.1:PORT;
    server_name a.test;
    location / { deny all; proxy_pass http://shop; }
    location /open/ { proxy_pass http://shop; location ~ \.html$ { return 200 nested; } }
    location /open/deep/ { proxy_pass http://shop; }
    location ^~ /up/ { proxy_pass http://shop; location ~ \.php$ { deny all; } }
    location ~ ^/users/ { proxy_pass http://shop; location ~ \.key$ { deny all; } }
    location /hidden/ { internal; location /hidden/sub/ { proxy_pass http://shop; } }
    location /pair { proxy_pass http://shop; }
    location /pair/ { deny all; }
    location ~ /\.(?!well-known).* { deny all; }
    location /dots/ { proxy_pass http://shop; }
    location "/two words/" { proxy_pass http://shop; }
    location ~ "^/three words/" { return 200 three; }
}
server {
    listen 127.0.0.1:PORT;
    server_name b.test;
    location ^~ /static/ { proxy_pass http://shop; }
    location /static/private/ { proxy_pass http://shop; }
    location ~ \.php$ { deny all; }
    location / { proxy_pass http://shop; }
}
"#;

#[test]
fn locations_within_others_and_below_others_hold_where_they_do_in_nginx() {
    let both = Both::start(WITHIN);
    for (line, status) in [
        ("GET /secret.html", 403),
        ("GET /open/x.html", 200),
        ("GET /open/deep/x.html", 200),
        ("GET /open/a.key", 200),
        ("GET /up/x.php", 403),
        ("GET /up/x.txt", 200),
        ("GET /users/a.key", 403),
        ("GET /users/a", 200),
        ("GET /hidden/sub/x", 404),
        ("GET /pair", 200),
        ("GET /pair/", 403),
        ("GET /pair/x", 403),
        ("GET /dots/x", 200),
        ("GET /dots/.env", 403),
        ("GET /dots/.well-known/x", 200),
        ("GET /dots/.well-known/.git/config", 403),
        ("GET /two%20words/x", 200),
        ("GET /three%20words/x", 200),
    ] {
        both.check("a.test", line, status);
    }
    for (line, status) in [
        ("GET /static/x.php", 200),
        ("GET /static/private/x.php", 403),
        ("GET /static/private/x", 200),
        ("GET /x.php", 403),
        ("GET /x", 200),
    ] {
        both.check("b.test", line, status);
    }
}

const NAMED: &str = r#"
server {
    listen 127.0.0.1:PORT;
    server_name a.test;
    root FOLDER/www;
    location / { try_files $uri @app; }
    location @app { deny all; proxy_pass http://shop; }
    location /open/ { try_files $uri @open; }
    location @open { proxy_pass http://shop; proxy_set_header X-Client named; }
    location /office/ { deny all; try_files $uri @open; }
    location /private/ { rewrite ^ /login redirect; }
    location /assets/ { rewrite ^/old$ /new permanent; }
}
server {
    listen 127.0.0.1:PORT;
    server_name b.test;
    deny all;
    location / { proxy_pass http://shop; }
    location = /health { return 200 ok; }
}
server {
    listen 127.0.0.1:PORT;
    server_name c.test;
    rewrite ^ https://login.test/?from=$uri redirect;
    location / { proxy_pass http://shop; }
}
server {
    listen 127.0.0.1:PORT;
    server_name d.test;
    rewrite ^/raw/(.*)$ /office/$1 last;
    location /office/ { deny all; proxy_pass http://shop; }
    location / { proxy_pass http://shop; }
}
"#;

#[test]
fn what_names_and_rewrites_lead_to_is_as_guarded_as_in_nginx() {
    let both = Both::start(NAMED);
    for (host, line, status) in [
        ("a.test", "GET /x", 403),
        ("a.test", "GET /open/x", 200),
        ("a.test", "GET /office/x", 403),
        ("a.test", "GET /private/x", 302),
        ("a.test", "GET /assets/app.js", 200),
        ("b.test", "GET /x", 403),
        ("b.test", "GET /health", 200),
        ("d.test", "GET /office/x", 403),
        ("d.test", "GET /x", 200),
    ] {
        both.check(host, line, status);
    }
    // What nginx sends elsewhere, and what has no counterpart.
    for (host, line, wanted, here) in [("c.test", "GET /x", 302, 501), ("d.test", "GET /raw/x", 403, 501)] {
        let head = format!("{line} HTTP/1.1\nhost: {host}");
        let got = [both.theirs, both.own].map(|address| super::asked(address, &head, b"").status);
        assert_eq!(got, [wanted, here], "{line} of {host}\n{}", both.ours);
    }
}

#[test]
fn an_expression_that_is_none_here_closes_what_it_may_guard() {
    let (ours, report) = imported(
        r#"
server {
    listen 127.0.0.1:PORT;
    location ~ ^/a(?=b)/x { deny all; }
    location ~ ^/b(?=b)/x { proxy_pass http://shop; }
    location / { proxy_pass http://shop; }
}"#,
    );
    let closed = "sites/a.conf:4: `location`: CLOSED, for `^/a(?=b)/x` is no regular expression here";
    assert!(report.contains(closed), "{report}");
    assert!(ours.contains("/a/x.*"), "{ours}");
    assert!(report.contains("sites/a.conf:5: `location`: `^/b(?=b)/x` is no regular expression"), "{report}");
}

#[test]
fn scripts_are_never_files_whoever_asks_for_them() {
    let both = Both::start(
        r#"
server {
    listen 127.0.0.1:PORT;
    root FOLDER/www;
    index index.php index.html;
    error_page 404 /missing.php;
    location / { try_files $uri $uri/ /index.php?$args; }
    location ~ \.php$ { fastcgi_pass 127.0.0.1:9; }
}"#,
    );
    for name in ["index.php", "missing.php", "assets/index.php"] {
        std::fs::write(both.folder.path().join("www").join(name), "<?php secret").expect("a file");
    }
    for (path, status) in [("/", 404), ("/nothing", 404), ("/assets/app.js", 200), ("/index.php", 501)] {
        let head = format!("GET {path} HTTP/1.1\nhost: a.test\naccept: text/html, */*");
        let answer = super::asked(both.own, &head, b"");
        assert_eq!(answer.status, status, "{path}\n{}", both.ours);
        assert!(!answer.text().contains("secret"), "{path}\n{}", both.ours);
    }
    for told in [
        "sites/a.conf:5: `index`: `index.php` is left out: nginx asks `location ~ \\.php$` for it",
        "sites/a.conf:7: `try_files`: what is not there is 404 here: nginx asks `location ~ \\.php$`",
    ] {
        assert!(both.report.contains(told), "{told}\n{}", both.report);
    }
}
