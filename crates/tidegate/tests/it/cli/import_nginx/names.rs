//! Names of servers: the one that nginx takes answers, and no other one in its place.

use super::Both;

const NAMES: &str = r#"
server {
    listen 127.0.0.1:PORT default_server;
    location /admin { return 200 default; }
    location / { return 200 "default, too"; }
}
server {
    listen 127.0.0.1:PORT;
    server_name ~^e;
    location / { return 200 first; }
}
server {
    listen 127.0.0.1:PORT;
    server_name ~^ee;
    location /admin { return 200 second; }
}
server {
    listen 127.0.0.1:PORT;
    server_name WWW.f.*;
    location / { return 200 f; }
}
server {
    listen 127.0.0.1:PORT;
    server_name ~^www;
    location /admin { return 200 third; }
}
server {
    listen 127.0.0.1:PORT;
    server_name g.test *.h.test;
    location /only/ { return 200 g; }
}
"#;

#[test]
fn a_request_is_for_the_server_that_nginx_takes_and_for_no_other() {
    let both = Both::start(NAMES);
    for (host, line, status) in [
        ("x.test", "GET /admin", 200),
        ("e.test", "GET /admin", 200),
        ("ee.test", "GET /admin", 200),
        ("www.f.test", "GET /admin", 200),
        ("www.f.co.test", "GET /admin", 200),
        ("www.x.test", "GET /admin", 200),
        ("www.x.test", "GET /x", 404),
        ("g.test", "GET /only/x", 200),
        ("g.test", "GET /admin", 404),
        ("a.h.test", "GET /admin", 404),
    ] {
        both.check(host, line, status);
    }
}
