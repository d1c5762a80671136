//! What guards in ways that are not taken over stays closed.

use std::{fs, net::SocketAddr};

use super::{MAIN, echo, imported, written};
use crate::harness::{Gateway, free_port, run};

/// Modules that nginx may not have here.
const UNKNOWN: &str = r#"
server {
    listen 127.0.0.1:PORT;
    auth_ldap_servers_size 2;
    location /pam { auth_pam "who"; auth_pam_service_name nginx; proxy_pass http://shop; }
    location /ldap { auth_ldap "who"; auth_ldap_servers ours; proxy_pass http://shop; }
    location /gss { auth_gss on; proxy_pass http://shop; }
    location /new { auth_that_nobody_knows yes; proxy_pass http://shop; }
    location /js { js_access main.allow; proxy_pass http://shop; }
    location /lua { rewrite_by_lua_block { ngx.exit(403) } proxy_pass http://shop; }
    location /waf { modsecurity on; proxy_pass http://shop; }
    location /naxsi { SecRulesEnabled; proxy_pass http://shop; }
    location /off { auth_ldap off; modsecurity off; proxy_pass http://shop; }
    location /script { js_content main.answer; }
    location / { proxy_pass http://shop; }
}
"#;

#[test]
fn what_modules_guard_that_are_not_known_stays_closed() {
    let folder = tempfile::tempdir().expect("a folder");
    let upstream = echo();
    written(folder.path(), &upstream, 20_001, &[("nginx.conf", MAIN), ("sites/a.conf", UNKNOWN)]);
    let (code, ours, report) =
        run(&["import", "nginx", &folder.path().join("nginx.conf").display().to_string()]);
    assert_eq!(code, 0, "{report}");
    let own: SocketAddr = format!("127.0.0.1:{}", free_port()).parse().expect("an address");
    let gateway = Gateway::from_text(&ours.replace("127.0.0.1:20001", &own.to_string()), own, |_| {});
    for (line, path, guard) in [
        (5, "/pam/x", "auth_pam"),
        (6, "/ldap/x", "auth_ldap"),
        (7, "/gss/x", "auth_gss"),
        (8, "/new/x", "auth_that_nobody_knows"),
        (9, "/js/x", "js_access"),
        (10, "/lua/x", "rewrite_by_lua_block"),
        (11, "/waf/x", "modsecurity"),
        (12, "/naxsi/x", "SecRulesEnabled"),
    ] {
        assert_eq!(gateway.get(path).status, 403, "{path}\n{ours}");
        let told = format!("sites/a.conf:{line}: `location`: CLOSED, for `{guard}` is not taken over");
        assert!(report.contains(&told), "{told}\n{report}");
    }
    for (path, status) in [("/off/x", 200), ("/script/x", 501), ("/x", 200)] {
        assert_eq!(gateway.get(path).status, status, "{path}\n{ours}");
    }
}

/// Servers that ask differently of their clients' certificates. On the second port all ask the same.
const CERTIFICATES: &str = r#"
ssl_certificate own.crt; ssl_certificate_key own.key; ssl_client_certificate ca.crt;
server {
    listen 127.0.0.1:8443 ssl;
    server_name closed.test;
    ssl_verify_client on;
    location / { return 200 closed; }
}
server {
    listen 127.0.0.1:8443 ssl;
    server_name optional.test;
    ssl_verify_client optional;
    location / { return 200 optional; }
}
server {
    listen 127.0.0.1:8443 ssl;
    server_name open.test;
    location / { return 200 open; }
}
server {
    listen 127.0.0.1:9443 ssl;
    server_name same.test;
    ssl_verify_client on;
    location / { return 200 same; }
}
"#;

#[test]
fn a_server_that_wants_certificates_is_closed_where_its_port_does_not_ask_for_them() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("nginx.conf");
    let nobody = "deny: [\"0.0.0.0/0\", \"::/0\"]";
    // As they are; and the one whose certificate is optional first.
    let (first, rest) = CERTIFICATES.split_once("server {").expect("a server");
    let (on, others) = rest.split_once("server {").expect("another server");
    let turned = format!("{first}server {{{others}server {{{on}");
    for text in [CERTIFICATES, &turned] {
        fs::write(&file, text).expect("a file");
        let (code, ours, report) = run(&["import", "nginx", &file.display().to_string()]);
        assert_eq!(code, 0, "{report}");
        assert_eq!(ours.matches("mode: optional").count(), 1, "{ours}");
        assert_eq!(ours.matches("mode: required").count(), 1, "{ours}");
        assert_eq!(ours.matches(nobody).count(), 1, "{ours}");
        let closed = "`location`: CLOSED, for `ssl_verify_client on` is not taken over";
        assert_eq!(report.matches(closed).count(), 1, "{report}");
        let line = text.lines().position(|line| line.contains("200 closed")).unwrap_or_default() + 1;
        assert!(report.contains(&format!("nginx.conf:{line}: {closed}")), "{report}");
    }
    // An authority that is not named is nobody's.
    let text = CERTIFICATES.replace(" ssl_client_certificate ca.crt;", "");
    fs::write(&file, text).expect("a file");
    let (_, ours, _) = run(&["import", "nginx", &file.display().to_string()]);
    assert_eq!((ours.matches(nobody).count(), ours.contains("clientAuth")), (2, false), "{ours}");
}

#[test]
fn a_condition_by_who_asks_closes_and_one_by_what_is_asked_for_does_not() {
    let (_, report) = imported(
        r#"
map $http_user_agent $is_mobile { default 0; ~Mobile 1; }
map $cookie_session $is_known { default 1; "" 0; }
server {
    listen 127.0.0.1:PORT;
    set $closed 0;
    if ($remote_addr = 10.0.0.1) { set $closed 1; }
    location /cookie/ { if ($cookie_auth = "") { return 302 /login; } proxy_pass http://shop; }
    location /key/ { if ($arg_key != secret) { rewrite ^ /login redirect; } proxy_pass http://shop; }
    location /map/ { if ($is_known = 0) { return 303 /login; } proxy_pass http://shop; }
    location /set/ { if ($closed) { return 503; } proxy_pass http://shop; }
    location /host/ { if ($host = www.a.test) { return 301 https://a.test$request_uri; } proxy_pass http://shop; }
    location /mobile/ { if ($is_mobile) { rewrite ^ /m redirect; } proxy_pass http://shop; }
    location /query/ { if ($args ~ "page=([0-9]+)") { return 301 /pages; } proxy_pass http://shop; }
    location /file/ { if (-f /maintenance) { return 503; } proxy_pass http://shop; }
    location /method/ { if ($request_method = OPTIONS) { return 204; } proxy_pass http://shop; }
}"#,
    );
    for (line, is_closed) in [
        (8, true),
        (9, true),
        (10, true),
        (11, true),
        (12, false),
        (13, false),
        (14, false),
        (15, false),
        (16, false),
    ] {
        let closed = report.contains(&format!("sites/a.conf:{line}: `location`: CLOSED"));
        assert_eq!(closed, is_closed, "{line}\n{report}");
        let told = report.contains(&format!("sites/a.conf:{line}: no counterpart: `if "));
        assert_eq!(told, !is_closed, "{line}\n{report}");
    }
}

#[test]
fn a_file_that_is_not_there_closes_unless_its_name_says_that_it_guards_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, text: &str| {
        let file = folder.path().join(name);
        fs::create_dir_all(file.parent().expect("a folder")).expect("a folder");
        fs::write(file, text).expect("a file");
    };
    write(
        "sites-enabled/a.conf",
        "server { listen 127.0.0.1:80; include snippets/ssl.conf; include parts/*/guard.conf;
location /closed/ { include snippets/team.conf; return 200; }
location /auth/ { include snippets/ssl-client.conf; return 200; }
location /open/ { include proxy_params; return 200; }
location / { return 200; } }",
    );
    write("snippets/ssl.conf", "ssl_protocols TLSv1.3;");
    write("sites-enabled/parts/b/guard.conf", "location /b/ { return 200 b; }");
    write("sites-enabled/parts/a/guard.conf", "location /a/ { return 200 a; }");
    let file = folder.path().join("sites-enabled/a.conf").display().to_string();
    let (code, ours, report) = run(&["import", "nginx", &file]);
    assert_eq!(code, 0, "{report}");
    assert_eq!(ours.matches("ipRestriction").count(), 2, "{ours}");
    for (line, name) in [(2, "team"), (3, "ssl-client")] {
        let closed = format!("a.conf:{line}: `location`: CLOSED, for `include snippets/{name}.conf`");
        assert!(report.contains(&closed), "{report}");
    }
    assert!(report.contains("proxy_params`; left out") && !report.contains("snippets/ssl.conf`"), "{report}");
    let (a, b) = (ours.find("body: a").expect("the first"), ours.find("body: b").expect("the other"));
    assert!(a < b, "{ours}");
}
