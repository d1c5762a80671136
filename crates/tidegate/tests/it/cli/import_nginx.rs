//! `import nginx`: a configuration of nginx's serves here as it does in a real nginx, and what does not is told.

use std::{
    fs,
    net::{SocketAddr, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
};

use crate::harness::{Answer, Gateway, Upstream, eventually, free_port, peers_folder, raw, run};

/// The main file; the servers are in files that it includes.
const MAIN: &str = r#"
daemon off; master_process off; pid FOLDER/nginx.pid; error_log stderr;
worker_processes 1;
events { worker_connections 256; }
http {
    client_body_temp_path FOLDER/tmp1; proxy_temp_path FOLDER/tmp2; fastcgi_temp_path FOLDER/tmp3;
    uwsgi_temp_path FOLDER/tmp4; scgi_temp_path FOLDER/tmp5;
    access_log off;
    default_type text/plain;
    client_max_body_size 64;
    limit_req_zone $binary_remote_addr zone=few:1m rate=1r/m;
    upstream shop {
        least_conn;
        server UPSTREAM weight=2 max_fails=2 fail_timeout=5s;   # the only one
        keepalive 16;
    }
    include sites/*.conf;
}
"#;

const FIRST: &str = r#"
server {
    listen 127.0.0.1:PORT;
    server_name a.test;
    root FOLDER/www;
    location / {
        proxy_pass http://shop;
        proxy_set_header Host $host;
        proxy_set_header X-Real-IP $remote_addr;
        proxy_set_header X-Client "${scheme}-$host";
        proxy_set_header X-User $http_x_from;
        add_header X-Served 'by "us"' always;
        proxy_hide_header x-inside;
        proxy_read_timeout 5s;
    }
    location = /exact { return 200 "exact; really"; }
    location /api/ { proxy_pass http://shop/; }
    location /v1 { proxy_pass http://shop/v2; }
    location /slash/ { proxy_pass http://shop/a; }
    location ^~ /assets/ { }
    location ~* \.(php|cgi)$ { return 403; }
    location ~ ^/items/(\d+)$ { proxy_pass http://shop; proxy_set_header Host "items"; }
    location /files/ { alias FOLDER/www/assets/; }
    location /app/ { try_files $uri $uri/ /app/index.html; }
    location /old { return 301 /new; }
    location /there { return 302 https://b.test$request_uri; }
    location /gone { return 410; }
    location /few/ { limit_req zone=few burst=1 nodelay; limit_req_status 429; proxy_pass http://shop; }
    location /inside/ { internal; proxy_pass http://shop; }
    location /office/ { allow 10.0.0.0/8; deny all; proxy_pass http://shop; }
    location /outside/ { deny 10.0.0.0/8; allow all; proxy_pass http://shop; }
    location /rewritten/ { rewrite ^/rewritten/(.*)$ /x/$1 break; proxy_pass http://shop; }
    location /guarded/ {
        auth_request /judge;
        auth_request_set $user $upstream_http_x_user;
        proxy_set_header X-User $user;
        proxy_pass http://shop;
    }
    location = /judge { internal; proxy_pass http://shop/verify; proxy_set_header X-Token $http_x_token; }
    location /outer/ { proxy_pass http://shop; location /outer/inner/ { return 200 inner; } }
}
"#;

const OTHERS: &str = r#"
server {
    listen 127.0.0.1:PORT;
    server_name .b.test www.c.*;
    location / { return 200 "b of $host"; }
    location ~ ^/exact { return 200 "not the first server's"; }
}
server {
    listen 127.0.0.1:PORT;
    server_name special.b.test;
    location / { return 200 special; }
}
server {
    listen 127.0.0.1:PORT;
    server_name ~^shop\d+\.test$;
    location / { return 200 "by regex"; }
}
server {
    listen 127.0.0.1:PORT;
    server_name old.test;
    rewrite ^/moved/ /elsewhere permanent;
    return 301 https://$host$request_uri;
}
"#;

/// A running nginx; ends with the test.
struct Nginx(Child);

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Nginx {
    fn start(folder: &Path, address: SocketAddr) -> Self {
        let program = peers_folder().join("nginx/usr/sbin/nginx");
        assert!(program.exists(), "{} is missing: run scripts/peers.sh", program.display());
        let log = fs::File::create(folder.join("nginx.log")).expect("a log");
        let child = Command::new(program)
            .args(["-e", "stderr", "-p", &folder.display().to_string()])
            .args(["-c", &folder.join("nginx.conf").display().to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("nginx starts");
        let nginx = Self(child);
        eventually("nginx serves", || TcpStream::connect(address).is_ok());
        nginx
    }
}

/// Says what came: method, target, and the fields that matter.
fn echo() -> Upstream {
    Upstream::scripted(|seen| {
        let (line, field) = (seen.line.rsplit_once(' ').unwrap_or_default().0, |name| {
            seen.header(name).unwrap_or("-").to_owned()
        });
        if line.ends_with("/verify") {
            let is_known = seen.header("x-token") == Some("good");
            let head = if is_known { "204 No Content\r\nx-user: ann" } else { "401 Unauthorized" };
            return Some(format!("HTTP/1.1 {head}\r\ncontent-length: 0\r\n\r\n").into_bytes());
        }
        let body = format!(
            "{line} host={} ip={} client={} user={}",
            field("host"),
            field("x-real-ip"),
            field("x-client"),
            field("x-user")
        );
        Some(
            format!("HTTP/1.1 200 OK\r\nx-inside: yes\r\ncontent-length: {}\r\n\r\n{body}", body.len())
                .into_bytes(),
        )
    })
}

fn written(folder: &Path, upstream: &Upstream, port: u16, files: &[(&str, &str)]) {
    fs::create_dir_all(folder.join("www/assets")).expect("a folder");
    fs::create_dir_all(folder.join("www/app")).expect("a folder");
    fs::create_dir_all(folder.join("sites")).expect("a folder");
    for (name, text) in [
        ("assets/app.js", "js"),
        ("assets/x.php", "source"),
        ("assets/index.html", "index"),
        ("app/index.html", "app"),
    ] {
        fs::write(folder.join("www").join(name), text).expect("a file");
    }
    for (name, text) in files {
        let text = text
            .replace("FOLDER", &folder.display().to_string())
            .replace("UPSTREAM", &upstream.address.to_string())
            .replace("PORT", &port.to_string());
        fs::write(folder.join(name), text).expect("a file");
    }
}

fn asked(address: SocketAddr, head: &str, body: &[u8]) -> Answer {
    let mut bytes = format!("{head}\nconnection: close\n\n").replace('\n', "\r\n").into_bytes();
    bytes.extend_from_slice(body);
    Answer::parse(&raw(address, &bytes)).expect("an answer")
}

/// What is compared of an answer.
fn gist(answer: &Answer, own: SocketAddr) -> String {
    let location = answer.header("location").unwrap_or("-");
    // nginx writes whole addresses, with the port where it listens.
    let location = location.replace(&format!(":{}", own.port()), "").replace("http://a.test/", "/");
    let is_page = answer.status >= 300;
    let seen = ["x-served", "x-inside"].map(|name| answer.header(name).filter(|_| !is_page).unwrap_or("-"));
    format!("{} {location} {seen:?} {}", answer.status, if is_page { String::new() } else { answer.text() })
}

#[test]
fn what_nginx_did_is_done_here() {
    let folder = tempfile::tempdir().expect("a folder");
    let (upstream, port) = (echo(), free_port());
    let files = [("nginx.conf", MAIN), ("sites/a.conf", FIRST), ("sites/b.conf", OTHERS)];
    written(folder.path(), &upstream, port, &files);
    let theirs: SocketAddr = format!("127.0.0.1:{port}").parse().expect("an address");
    let _nginx = Nginx::start(folder.path(), theirs);
    let main = folder.path().join("nginx.conf").display().to_string();
    let (code, ours, report) = run(&["import", "nginx", &main]);
    assert_eq!(code, 0, "{report}");
    let own: SocketAddr = format!("127.0.0.1:{}", free_port()).parse().expect("an address");
    let ours = ours.replace(&theirs.to_string(), &own.to_string());
    let _gateway = Gateway::from_text(&ours, own, |_| {});
    let long = "x".repeat(65);
    let requests: Vec<(&str, &str)> = vec![
        ("GET / HTTP/1.1\nhost: a.test", ""),
        ("GET /any/where?x=1&y=%20 HTTP/1.1\nhost: a.test\nx-from: me", ""),
        ("POST /any HTTP/1.1\nhost: a.test", "short"),
        ("POST /any HTTP/1.1\nhost: a.test", &long),
        ("GET /any HTTP/1.1\nhost: unknown.test", ""),
        ("GET /exact HTTP/1.1\nhost: a.test", ""),
        ("GET /exact/not HTTP/1.1\nhost: a.test", ""),
        ("GET /api/orders/7 HTTP/1.1\nhost: a.test", ""),
        ("GET /api/ HTTP/1.1\nhost: a.test", ""),
        ("GET /v1/x HTTP/1.1\nhost: a.test", ""),
        ("GET /v1 HTTP/1.1\nhost: a.test", ""),
        ("GET /slash/b HTTP/1.1\nhost: a.test", ""),
        ("GET /assets/app.js HTTP/1.1\nhost: a.test", ""),
        ("GET /assets/x.php HTTP/1.1\nhost: a.test", ""),
        ("GET /assets/none HTTP/1.1\nhost: a.test", ""),
        ("GET /a/b.PHP HTTP/1.1\nhost: a.test", ""),
        ("GET /api/b.cgi HTTP/1.1\nhost: a.test", ""),
        ("GET /items/12 HTTP/1.1\nhost: a.test", ""),
        ("GET /items/x HTTP/1.1\nhost: a.test", ""),
        ("GET /files/app.js HTTP/1.1\nhost: a.test", ""),
        ("GET /files/ HTTP/1.1\nhost: a.test", ""),
        ("GET /files/x.php HTTP/1.1\nhost: a.test", ""),
        ("GET /app/ HTTP/1.1\nhost: a.test", ""),
        ("GET /app/some/page HTTP/1.1\nhost: a.test\naccept: text/html", ""),
        ("GET /old HTTP/1.1\nhost: a.test", ""),
        ("GET /there/x?y=1 HTTP/1.1\nhost: a.test", ""),
        ("GET /gone HTTP/1.1\nhost: a.test", ""),
        ("GET /few/1 HTTP/1.1\nhost: a.test", ""),
        ("GET /few/2 HTTP/1.1\nhost: a.test", ""),
        ("GET /few/3 HTTP/1.1\nhost: a.test", ""),
        ("GET /inside/x HTTP/1.1\nhost: a.test", ""),
        ("GET /office/x HTTP/1.1\nhost: a.test", ""),
        ("GET /outside/x HTTP/1.1\nhost: a.test", ""),
        ("GET /rewritten/a/b?c=d HTTP/1.1\nhost: a.test", ""),
        ("GET /guarded/x HTTP/1.1\nhost: a.test\nx-token: good\nx-user: forged", ""),
        ("GET /guarded/x HTTP/1.1\nhost: a.test\nx-token: bad", ""),
        ("GET /judge HTTP/1.1\nhost: a.test\nx-token: good", ""),
        ("GET /outer/x HTTP/1.1\nhost: a.test", ""),
        ("GET /outer/inner/x HTTP/1.1\nhost: a.test", ""),
        ("GET /exact HTTP/1.1\nhost: b.test", ""),
        ("GET /exact HTTP/1.1\nhost: deep.b.test", ""),
        ("GET /exact HTTP/1.1\nhost: special.b.test", ""),
        ("GET /exact HTTP/1.1\nhost: www.c.org", ""),
        ("GET /exact HTTP/1.1\nhost: shop12.test", ""),
        ("GET /exact HTTP/1.1\nhost: shopx.test", ""),
        ("GET /x?y=1 HTTP/1.1\nhost: old.test", ""),
    ];
    let mut wrong = Vec::new();
    for (head, body) in &requests {
        let head = if body.is_empty() {
            (*head).to_owned()
        } else {
            format!("{head}\ncontent-length: {}", body.len())
        };
        let wanted = gist(&asked(theirs, &head, body.as_bytes()), theirs);
        let got = gist(&asked(own, &head, body.as_bytes()), own);
        if wanted != got {
            wrong.push(format!("{head}\n  nginx: {wanted}\n  here:  {got}"));
        }
    }
    assert!(wrong.is_empty(), "{}\n\n{ours}\n\n{report}", wrong.join("\n"));
}

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

/// A word as it may be written: in quotes or not, with what means something elsewhere, behind backslashes and not.
fn odd_word(number: u64) -> String {
    const PARTS: [&str; 15] = ["a", "b", ";", "{", "}", "#", " ", "'", "\"", "t", "n", "\\", "d", ".", "\t"];
    let mut dice = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut roll = |sides: usize| {
        dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(dice >> 33).unwrap_or_default() % sides
    };
    let quote = ["", "'", "\""][roll(3)];
    let mut word = format!("{quote}w");
    for _ in 0..roll(8) {
        let part = PARTS[roll(PARTS.len())];
        let ends = if quote.is_empty() { [";", "{", " ", "\t"].contains(&part) } else { part == quote };
        if part == "\\" || ends || roll(4) == 0 {
            // Never alone at the end.
            word.push('\\');
        }
        word.push_str(part);
    }
    word + quote
}

#[test]
fn words_are_what_they_are_to_nginx() {
    const COUNT: u64 = 200;
    let folder = tempfile::tempdir().expect("a folder");
    let port = free_port();
    let locations =
        (0..COUNT).map(|number| format!("location = /{number} {{ return 200 {}; }}\n", odd_word(number)));
    let text = format!(
        "daemon off; master_process off; pid FOLDER/pid; events {{}}
http {{
access_log off; default_type text/plain;
client_body_temp_path FOLDER/a; proxy_temp_path FOLDER/b; fastcgi_temp_path FOLDER/c; uwsgi_temp_path FOLDER/d; scgi_temp_path FOLDER/e;
server {{ listen 127.0.0.1:{port};
{}}} }}",
        locations.collect::<String>()
    );
    let file = folder.path().join("nginx.conf");
    fs::write(&file, text.replace("FOLDER", &folder.path().display().to_string())).expect("a file");
    let theirs: SocketAddr = format!("127.0.0.1:{port}").parse().expect("an address");
    let _nginx = Nginx::start(folder.path(), theirs);
    let (code, ours, report) = run(&["import", "nginx", &file.display().to_string()]);
    assert_eq!(code, 0, "{report}");
    let own: SocketAddr = format!("127.0.0.1:{}", free_port()).parse().expect("an address");
    let _gateway = Gateway::from_text(&ours.replace(&theirs.to_string(), &own.to_string()), own, |_| {});
    for number in 0..COUNT {
        let [wanted, got] = [theirs, own]
            .map(|address| asked(address, &format!("GET /{number} HTTP/1.1\nhost: a.test"), b"").text());
        assert_eq!(got, wanted, "{}", odd_word(number));
    }
}

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
