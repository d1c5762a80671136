//! Values of directives: headers that nobody may forge, answers that are kept apart, upstreams of similar names, odd input.

use serde_json::Value;

use super::{Both, asked, imported};
use crate::harness::run;

fn parsed(ours: &str) -> Value {
    model::document(&model::Source::new("ours", ours)).expect("YAML")
}

#[test]
fn a_header_that_nginx_replaces_is_never_the_clients_own() {
    let both = Both::start(
        r#"
server {
    listen 127.0.0.1:PORT;
    location /unknown/ { proxy_set_header X-User $remote_user; proxy_pass http://shop; }
    location /judged/ {
        auth_request /judge;
        auth_request_set $user $upstream_http_x_user;
        proxy_set_header X-Client $user;
        proxy_pass http://shop;
    }
    location = /judge { internal; proxy_pass http://shop/verify; proxy_set_header X-Token $http_x_token; }
}"#,
    );
    for (path, want) in [("/unknown/x", "user=-"), ("/judged/x", "client=ann")] {
        let own = "x-user: me\nx_user: me\nx-client: me";
        let head = format!("GET {path} HTTP/1.1\nhost: a.test\nx-token: good\n{own}");
        for address in [both.theirs, both.own] {
            let answer = asked(address, &head, b"");
            assert_eq!(answer.status, 200, "{path}\n{}", both.ours);
            assert!(answer.text().contains(want), "{path}: {}\n{}", answer.text(), both.ours);
        }
    }
    let told =
        "sites/a.conf:4: `proxy_set_header`: no counterpart: `$remote_user`; the client's own is taken out";
    assert!(both.report.contains(told), "{}", both.report);
}

#[test]
fn what_tells_kept_answers_apart_tells_them_apart_here() {
    let (ours, report) = imported(
        r#"
server {
    listen 127.0.0.1:PORT;
    location /key/ { proxy_cache a; proxy_cache_key $host$request_uri$cookie_session$http_x_team; proxy_pass http://shop; }
    location /not/ { proxy_cache a; proxy_no_cache $skip; proxy_pass http://shop; }
    location /plain/ { proxy_cache a; proxy_cache_bypass $http_pragma $arg_new; proxy_pass http://shop; }
}"#,
    );
    let config = parsed(&ours);
    let caches: Vec<Option<Value>> = config["routes"]
        .as_array()
        .expect("routes")
        .iter()
        .map(|route| {
            let policies = route["policies"].as_array().expect("policies");
            policies.iter().find_map(|policy| policy.get("cache").cloned())
        })
        .collect();
    let key = serde_json::json!({"key": {"headers": ["x-team"], "cookies": ["session"]}});
    assert_eq!(caches, [Some(key), None, Some(serde_json::json!({}))], "{ours}");
    let told =
        "sites/a.conf:5: `proxy_cache`: no answers are kept: no counterpart of `$skip` in `proxy_no_cache`";
    assert!(report.contains(told), "{report}");
}

#[test]
fn upstreams_of_similar_names_and_of_two_schemes_stay_two() {
    let (ours, _) = imported(
        r#"
upstream my_app { server 127.0.0.1:7001; }
upstream my-app { server 127.0.0.1:7002; }
server {
    listen 127.0.0.1:PORT;
    location /one/ { proxy_pass http://my_app; }
    location /two/ { proxy_pass http://MY-APP; }
    location /plain/ { proxy_pass http://h.test; }
    location /tls/ { proxy_pass https://h.test; }
    location /again/ { proxy_pass http://h.test; }
}"#,
    );
    let config = parsed(&ours);
    let address = |route: usize| {
        let name = &config["routes"][route]["backends"][0]["upstream"];
        let all = config["upstreams"].as_array().expect("upstreams");
        let one = all.iter().find(|one| one["name"] == *name).expect("the upstream");
        (one["endpoints"][0]["address"].as_str().unwrap_or_default(), one["tls"].is_object())
    };
    assert_eq!((address(0), address(1)), (("127.0.0.1:7001", false), ("127.0.0.1:7002", false)), "{ours}");
    let of_host = [2, 3, 4].map(address);
    assert_eq!(of_host, [("h.test:80", false), ("h.test:443", true), ("h.test:80", false)], "{ours}");
}

#[test]
fn what_nginx_takes_loads_here() {
    let (ours, report) = imported(
        r#"
server {
    listen 127.0.0.1:PORT;
    allow unix:; allow 10.0.0.0/8; deny all;
    http2 on;
    large_client_header_buffers 99999999999999999999 8k;
    proxy_hide_header Upgrade;
    proxy_set_header Keep-Alive "";
    add_header Link "<a>; rel=x"; add_header Link "<b>; rel=y";
    add_header Content-Security-Policy "default-src 'self';
        img-src *";
    location "" { proxy_pass http://shop; }
    location odd { proxy_pass http://shop; }
    location "/two words" { proxy_pass http://shop; }
    location = /robots.txt { alias FOLDER/www/robots.txt; }
    location /query { proxy_pass http://shop/x?y=1; }
    location /pattern/ { rewrite ^/pattern/(.*)$ /x?y=$1 break; proxy_pass http://shop; }
    location /limit { limit_except get { deny all; } proxy_pass http://shop; }
}"#,
    );
    for part in ["<a>; rel=x, <b>; rel=y", "default-src 'self'; img-src *", "/two%20words"] {
        assert!(ours.contains(part), "{part}\n{ours}");
    }
    assert!(ours.contains("methods: [GET, HEAD]"), "{ours}");
    assert!(!ours.contains("y=1") && !ours.contains("x?y"), "{ours}");
    for told in ["`unix:` is no network here", "`odd` is no path", "no counterpart: `?y=1`"] {
        assert!(report.contains(told), "{told}\n{report}");
    }
    assert!(!report.contains("`http2 on`"), "{report}");
}

#[test]
fn odd_numbers_and_names_that_lead_in_a_circle_end() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("nginx.conf");
    let text = "
limit_req_zone $binary_remote_addr zone=z:1m rate=1r/s;
upstream u { server a:1 max_conns=18446744073709551615; server b:1 max_conns=18446744073709551615; }
server {
    listen 127.0.0.1:80;
    large_client_header_buffers 18446744073709551615 18446744073709551615g;
    location / { try_files $uri @a; }
    location @a { try_files $uri @b; }
    location @b { try_files $uri @a; }
    location /limit { limit_req zone=z burst=18446744073709551615; proxy_pass http://u; }
}";
    std::fs::write(&file, text).expect("a file");
    let (code, ours, report) = run(&["import", "nginx", &file.display().to_string()]);
    assert_eq!(code, 0, "{report}");
    assert!(ours.contains("status: 501"), "{ours}");
}
