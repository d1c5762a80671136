//! Sticky sessions tie a client to a backend and an endpoint.

use std::collections::BTreeMap;

use crate::harness::{Answer, Gateway, Upstream};

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
    // One of another's making, and one that names the very endpoint, with a signature that is not ours.
    let (named, signature) = cookie.split_once('.').expect("two parts");
    for forged in
        ["stick=AAAAAAAAAAAAAAAAAAAAAAAA".into(), format!("{named}.{}", "0".repeat(signature.len()))]
    {
        let texts: Vec<_> = (0..30).map(|_| ask(&forged).text()).collect();
        assert!(texts.iter().any(|text| *text != first.text()), "{forged} decides nothing");
    }
}

/// Backends of two endpoints each, which answer with the backend's name and a number.
struct Shop {
    servers: Vec<(&'static str, [Upstream; 2])>,
    sticky: &'static str,
}

impl Shop {
    fn new(sticky: &'static str) -> Self {
        let pair = |name: &str| [0, 1].map(|at| Upstream::fixed(200, &format!("{name}{at}")));
        Self { servers: ["a", "b", "c"].map(|name| (name, pair(name))).into(), sticky }
    }

    /// The configuration with these backends and weights; `endpoints` of each are there.
    fn config(&self, backends: &[(&str, u32)], endpoints: impl Fn(&str) -> std::ops::Range<usize>) -> String {
        let mut upstreams = Vec::new();
        for (name, servers) in
            self.servers.iter().filter(|(name, _)| backends.iter().any(|one| one.0 == *name))
        {
            let servers = super::endpoints(&servers[endpoints(name)]);
            upstreams.push(format!("{{name: {name}, {servers}}}"));
        }
        let backends: Vec<_> =
            backends.iter().map(|(name, weight)| format!("{{upstream: {name}, weight: {weight}}}")).collect();
        format!(
            "upstreams: [{}]
routes: [{{name: r, match: [{{path: {{prefix: /}}}}], backends: [{}], sticky: {}}}]\n",
            upstreams.join(", "),
            backends.join(", "),
            self.sticky
        )
    }
}

const ALL: [(&str, u32); 3] = [("a", 1), ("b", 2), ("c", 1)];
const COOKIE: &str = "{cookie: {name: stick, secret: a-long-enough-secret-of-the-test}}";

fn reload(gateway: &Gateway, text: &str) {
    let whole = format!("listeners: [{{name: public, address: \"{}\"}}]\n{text}", gateway.address);
    assert_eq!(gateway.reload(&whole)["lastReload"], "ok");
}

/// `name=value` of the cookie that an answer sets.
fn set(answer: &Answer) -> Option<String> {
    answer.header("set-cookie")?.split(';').next().map(str::to_owned)
}

fn ask(gateway: &Gateway, cookie: &str) -> Answer {
    gateway.send(&format!("GET / HTTP/1.1\nhost: a\ncookie: {cookie}"), b"")
}

/// Where a client is at home: asks until it has the same cookie for good.
fn settles(gateway: &Gateway, cookie: &str) -> (String, String) {
    let first = ask(gateway, cookie);
    let cookie = set(&first).unwrap_or_else(|| cookie.to_owned());
    for _ in 0..12 {
        let again = ask(gateway, &cookie);
        assert_eq!((again.text(), set(&again)), (first.text(), None), "it stays, and is told so once");
    }
    (first.text(), cookie)
}

#[test]
fn a_client_stays_at_its_backend_of_several_and_moves_when_that_is_gone_or_without_weight() {
    let shop = Shop::new(COOKIE);
    let gateway = Gateway::start(&shop.config(&ALL, |_| 0..2));
    let clients: Vec<_> = (0..8).map(|_| settles(&gateway, "none=1")).collect();
    let homes = |name: &str| clients.iter().filter(|(home, _)| home.starts_with(name)).count();
    assert_eq!((homes("a"), homes("b"), homes("c")), (2, 4, 2), "new clients come by weight");
    let other = |with: &str, what: &str| {
        for (home, cookie) in &clients {
            let (now, fresh) = settles(&gateway, cookie);
            if home.starts_with(with) {
                assert!(!now.starts_with(with) && fresh != *cookie, "{what}: {home} is at {now}");
            } else {
                assert_eq!((&now, &fresh), (home, cookie), "{what}");
            }
        }
    };
    reload(&gateway, &shop.config(&[("a", 7), ("b", 1), ("c", 1)], |_| 0..2));
    other("nobody", "other weights");
    reload(&gateway, &shop.config(&[("a", 1), ("b", 0), ("c", 1)], |_| 0..2));
    other("b", "without weight");
    reload(&gateway, &shop.config(&[("a", 1), ("b", 2)], |_| 0..2));
    other("c", "gone");
    // A backend that loses an endpoint keeps its clients.
    reload(&gateway, &shop.config(&ALL, |name| if name == "a" { 1..2 } else { 0..2 }));
    for (home, cookie) in &clients {
        let (now, _) = settles(&gateway, cookie);
        assert_eq!(now, if home == "a0" { "a1" } else { home.as_str() });
    }
}

#[test]
fn who_is_tied_by_a_header_stays_at_its_backend_and_moves_when_that_is_gone_or_without_weight() {
    let shop = Shop::new("{header: x-user}");
    let gateway = Gateway::start(&shop.config(&ALL, |_| 0..2));
    let homes = || -> Vec<String> {
        let ask = |user| gateway.send(&format!("GET / HTTP/1.1\nhost: a\nx-user: user-{user}"), b"").text();
        (0..80).map(ask).collect()
    };
    let before = homes();
    assert_eq!(homes(), before);
    let at = |name: &str| before.iter().filter(|home| home.starts_with(name)).count();
    assert!(at("a") >= 8 && at("b") >= 25 && at("c") >= 8, "by weight: {before:?}");
    for (backends, gone) in [(&[("a", 1), ("b", 0), ("c", 1)][..], "b"), (&[("a", 1), ("b", 2)], "c")] {
        reload(&gateway, &shop.config(backends, |_| 0..2));
        for (user, (before, now)) in before.iter().zip(homes()).enumerate() {
            let is_gone = before.starts_with(gone);
            assert!(!now.starts_with(gone), "user {user} is at {now}");
            assert!(is_gone || *before == now, "user {user} was at {before} and is at {now}");
        }
    }
    reload(&gateway, &shop.config(&ALL, |_| 0..2));
    assert_eq!(homes(), before);
}

#[test]
fn a_forged_cookie_ties_nobody_to_any_backend() {
    let shop = Shop::new(COOKIE);
    let gateway = Gateway::start(&shop.config(&ALL, |_| 0..2));
    let stranger = Shop::new("{cookie: {name: stick, secret: another-secret-of-a-stranger}}");
    let elsewhere = Gateway::start(&stranger.config(&[("b", 1)], |_| 0..1));
    let signed_elsewhere = set(&ask(&elsewhere, "none=1")).expect("a cookie");
    let own = set(&ask(&gateway, "none=1")).expect("a cookie");
    let (payload, signature) = own.trim_start_matches("stick=").split_once('.').expect("two parts");
    let hex = |text: &str| text.bytes().map(|byte| format!("{byte:02x}")).collect::<String>();
    let named = hex(&format!("b\n{}", shop.servers[1].1[0].address));
    let other = if payload == named { hex(&format!("c\n{}", shop.servers[2].1[0].address)) } else { named };
    for forged in [
        signed_elsewhere,
        format!("stick={other}.{signature}"),
        format!("stick={other}."),
        format!("stick={other}"),
        format!("stick={payload}.{}", "0".repeat(signature.len())),
    ] {
        let mut counts = BTreeMap::<char, usize>::new();
        for _ in 0..16 {
            let answer = ask(&gateway, &forged);
            assert!(set(&answer).is_some_and(|fresh| fresh != forged), "{forged} is as good as none");
            *counts.entry(answer.text().chars().next().expect("a name")).or_default() += 1;
        }
        assert_eq!(counts, [('a', 4), ('b', 8), ('c', 4)].into(), "{forged}: each time a new pick");
    }
}
