//! Sticky sessions tie a client to an endpoint.

use crate::harness::{Gateway, Upstream};

#[test]
fn a_sticky_client_stays_and_a_forged_cookie_is_ignored() {
    let all: Vec<_> = (0..3).map(|at| Upstream::fixed(200, &at.to_string())).collect();
    let endpoints: Vec<_> = all.iter().map(|one| format!("{{address: \"{}\"}}", one.address)).collect();
    let gateway = Gateway::start(&format!(
        "upstreams: [{{name: u, endpoints: [{}]}}]
routes: [{{name: r, match: [{{path: {{prefix: /}}}}], backends: [{{upstream: u}}], sticky: {{cookie: {{name: stick, secret: a-long-enough-secret-of-the-test}}}}}}]\n",
        endpoints.join(", ")
    ));
    let first = gateway.get("/");
    let cookie = first.header("set-cookie").expect("a cookie").split(';').next().expect("a pair").to_owned();
    assert!(
        first
            .header("set-cookie")
            .is_some_and(|cookie| cookie.contains("HttpOnly") && cookie.contains("SameSite"))
    );
    let ask = |cookie: &str| gateway.send(&format!("GET / HTTP/1.1\nhost: a\ncookie: x=1; {cookie}"), b"");
    for _ in 0..30 {
        assert_eq!(ask(&cookie).text(), first.text());
    }
    let forged: Vec<_> = (0..30).map(|_| ask("stick=AAAAAAAAAAAAAAAAAAAAAAAA").text()).collect();
    assert!(forged.iter().any(|text| *text != first.text()), "a forged cookie decides nothing");
}
