//! What nginx does is done here: the same requests to both.

use std::net::SocketAddr;

use super::{MAIN, Nginx, asked, echo, written};
use crate::harness::{Answer, Gateway, free_port, run};

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
