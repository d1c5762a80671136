//! The route `orders`: hosts, tokens, headers and shares.

use serde_json::json;

use super::{
    super::{harness::Client, policies::tokens::claims},
    *,
};

fn bearer(token: &str) -> String {
    format!("\nauthorization: Bearer {token}")
}

/// A GET of one order at a host of the route.
fn order(served: &Served, headers: &str) -> Answer {
    served.gateway.send(&format!("GET /v1/orders/7 HTTP/1.1\nhost: api.example.test{headers}"), b"")
}

#[test]
fn an_exact_host_beats_a_wildcard_and_a_wildcard_none() {
    // Routes for the same path at other hosts: those of the reference's route ask for a token.
    let route = |name: &str, hosts: &str| {
        format!(
            "  - {{name: {name}, {hosts}match: [{{path: {{exact: /v1/orders}}, methods: [POST]}}], respond: {{body: {name}}}}}\n"
        )
    };
    let beside = format!(
        "routes:\n{}{}{}",
        route("any", ""),
        route("wildcard", "hosts: [\"*.example.test\"], "),
        route("exact", "hosts: [\"a.shop.example.test\"], ")
    );
    let behind = Behind::echoes();
    let served = Served::changed(&behind, &beside, |text| text);
    let ask = |host: &str| {
        let answer =
            served.gateway.send(&format!("POST /v1/orders HTTP/1.1\nhost: {host}\ncontent-length: 0"), b"");
        if answer.status == 401 { "orders".to_owned() } else { answer.text() }
    };
    for (host, want) in [
        ("api.example.test", "orders"),
        ("API.example.test:8080", "orders"),
        ("b.shop.example.test", "orders"),
        ("b.a.shop.example.test", "orders"),
        ("a.shop.example.test", "exact"),
        ("shop.example.test", "wildcard"),
        ("other.example.test", "wildcard"),
        ("example.test", "any"),
        ("other.test", "any"),
    ] {
        assert_eq!(ask(host), want, "{host}");
    }
}

#[test]
fn a_token_of_either_algorithm_with_the_scope_is_let_in_and_no_other() {
    let behind = Behind::echoes();
    let served = Served::new(&behind);
    let good = claims(|_| {});
    for signer in [&served.rs256, &served.es256] {
        let answer = order(&served, &bearer(&signer.sign(&good)));
        assert_eq!((answer.status, answer.text().as_str()), (200, "/v1/orders/7"));
    }
    let stranger = Signer::new("ES256", "es");
    let other = Signer::new("RS512", "rs");
    let changed =
        |name: &str, value: serde_json::Value| served.es256.sign(&claims(|claims| claims[name] = value));
    for (token, status) in [
        (stranger.sign(&good), 401),
        (other.sign(&good), 401),
        (changed("iss", json!("https://other.test")), 401),
        (changed("aud", json!("bank")), 401),
        (changed("exp", json!(1)), 401),
        (changed("scope", json!("profile")), 403),
        (changed("scope", json!(null)), 403),
    ] {
        let answer = order(&served, &bearer(&token));
        let problem = if status == 401 { "unauthenticated" } else { "forbidden" };
        assert_eq!((answer.status, answer.problem().as_deref()), (status, Some(problem)), "{token}");
    }
    assert_eq!(order(&served, "").status, 401);
    assert_eq!(behind.orders.seen().len() + behind.canary.seen().len(), 2);
    // The template takes one segment, and another method or host is another matter.
    let post = "POST /v1/orders/7 HTTP/1.1\nhost: api.example.test\ncontent-length: 0";
    assert_eq!(served.gateway.send(post, b"").header("allow"), Some("GET"));
    assert_eq!(served.gateway.get("/v1/orders/7").status, 404, "a host of nobody's");
}

#[test]
fn the_user_of_the_token_goes_on_and_cookies_do_not() {
    let behind = Behind::echoes();
    let served = Served::new(&behind);
    let token = bearer(&served.rs256.sign(&claims(|_| {})));
    let answer =
        order(&served, &format!("{token}\ncookie: session=1\ncookie: b=2\nx-user: root\nx-other: kept"));
    assert_eq!((answer.status, answer.header("x-served-by")), (200, Some("tidegate")));
    let seen = behind.orders.seen().into_iter().chain(behind.canary.seen()).next().expect("a request");
    let users: Vec<_> = seen.headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case("x-user")).collect();
    assert_eq!((users.len(), seen.header("x-user")), (1, Some("ann")), "{seen:?}");
    assert_eq!((seen.header("cookie"), seen.header("x-other")), (None, Some("kept")), "{seen:?}");
}

#[test]
fn ninety_to_ten_holds_over_ten_thousand_requests() {
    let behind = Behind::echoes();
    let served = Served::new(&behind);
    let token = served.es256.sign(&claims(|_| {}));
    let request = format!(
        "GET /v1/orders/7 HTTP/1.1\r\nhost: api.example.test\r\nauthorization: Bearer {token}\r\n\r\n"
    );
    let clients: Vec<_> = (0..4)
        .map(|_| {
            let (address, request) = (served.gateway.address, request.clone());
            std::thread::spawn(move || {
                let mut client = Client::connect(address);
                for _ in 0..2_500 {
                    client.write(&request);
                    assert_eq!(client.read().expect("an answer").status, 200);
                }
            })
        })
        .collect();
    clients.into_iter().for_each(|client| client.join().expect("requests"));
    let (orders, canary) = (behind.orders.seen().len(), behind.canary.seen().len());
    assert_eq!(orders + canary, 10_000);
    assert!((980..=1_020).contains(&canary), "{canary} of 10,000 went to the canary");
}
