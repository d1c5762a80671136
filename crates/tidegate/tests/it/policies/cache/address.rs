//! What tells answers apart that came by different ways: ports, schemes, listeners, parameters, configurations.

use super::*;
use crate::harness::free_port;

/// Two listeners, and their addresses.
fn with_listeners(upstream: &Upstream, first: &str, second: &str) -> (Gateway, std::net::SocketAddr) {
    let [one, other] = [free_port(), free_port()];
    let text = format!(
        "listeners:
  - {{name: one, address: \"127.0.0.1:{one}\"{first}}}
  - {{name: other, address: \"127.0.0.1:{other}\"{second}}}
upstreams: [{{name: u, endpoints: [{{address: \"{}\"}}]}}]
routes: [{{name: r, match: [{{path: {{prefix: /}}}}], policies: [{{cache: {{}}}}], backends: [{{upstream: u}}]}}]\n",
        upstream.address
    );
    (Gateway::from_text(&text, ([127, 0, 0, 1], one).into(), |_| {}), ([127, 0, 0, 1], other).into())
}

/// An upstream that sends clients to where it was asked for.
fn redirecting() -> Upstream {
    Upstream::scripted(|seen| {
        let scheme = seen.header("x-forwarded-proto").unwrap_or("none");
        let host = seen.header("x-forwarded-host").unwrap_or("none");
        answer(&format!("cache-control: max-age=60\nlocation: {scheme}://{host}/login"), "there")
    })
}

#[test]
fn a_port_or_a_scheme_that_an_upstream_sees_is_not_given_to_those_who_came_otherwise() {
    let upstream = redirecting();
    let gateway = cached(&upstream, "{}");
    let location = |gateway: &Gateway, host: &str, fields: &str| {
        let got = gateway.send(&format!("GET /old HTTP/1.1\nhost: {host}{fields}"), b"");
        got.header("location").unwrap_or_default().to_owned()
    };
    for (host, want) in [
        ("a.test:1337", "http://a.test:1337/login"),
        ("a.test", "http://a.test/login"),
        ("a.test:80", "http://a.test/login"),
        ("A.TEST", "http://a.test/login"),
        ("a.test.", "http://a.test./login"),
    ] {
        assert_eq!(location(&gateway, host, ""), want, "{host}");
    }
    // Nobody but a trusted peer may say how its client came.
    assert_eq!(location(&gateway, "a.test", "\nx-forwarded-proto: https"), "http://a.test/login");
    // All of them are one address to whoever changes it.
    gateway.send("POST /old HTTP/1.1\nhost: a.test\ncontent-length: 0", b"");
    let before = upstream.seen().len();
    location(&gateway, "a.test:1337", "");
    assert_eq!(upstream.seen().len(), before + 1);
    let trusted = ", trustedProxies: [\"127.0.0.1/32\"]";
    let (gateway, _) = with_listeners(&upstream, trusted, "");
    for (fields, want) in [
        ("", "http://a.test/login"),
        ("\nx-forwarded-proto: https", "https://a.test/login"),
        ("\nx-forwarded-proto: https\nx-forwarded-host: shop.test", "https://shop.test/login"),
        ("\nx-forwarded-proto: http", "http://a.test/login"),
    ] {
        assert_eq!(location(&gateway, "a.test", fields), want, "{fields}");
    }
    let wish = r#"{"url": "https://shop.test/old"}"#;
    assert_eq!(operators::purge(&gateway, wish).json()["purged"], 1, "by what the clients asked for");
}

#[test]
fn what_a_field_makes_of_a_request_is_not_given_to_those_who_ask_without_it() {
    let fields = [
        ("x-http-method-override", "HEAD"),
        ("x-method-override", "DELETE"),
        ("x-original-url", "/admin"),
        ("x-rewrite-url", "/admin"),
        ("x-forwarded-scheme", "https"),
        ("x-host", "evil.test"),
    ];
    let upstream = Upstream::scripted(move |seen| {
        let said = fields.iter().find_map(|(name, _)| seen.header(name));
        answer("cache-control: max-age=60", said.unwrap_or("plain"))
    });
    let gateway = cached(&upstream, "{}");
    for (name, value) in fields {
        let path = format!("/{name}");
        for _ in 0..2 {
            assert_eq!(ask(&gateway, &path, &format!("\n{name}: {value}")).text(), value);
            assert_eq!(ask(&gateway, &path, "").text(), "plain", "{name}");
        }
        gateway.send(&format!("POST {path} HTTP/1.1\nhost: a.test\ncontent-length: 0"), b"");
        let asked = upstream.seen().len();
        ask(&gateway, &path, &format!("\n{name}: {value}"));
        assert_eq!(upstream.seen().len(), asked + 1, "{name}: it is void as the other is");
    }
}

#[test]
fn what_a_listener_makes_of_answers_stays_on_it() {
    let upstream = Upstream::scripted(|seen| {
        let place = seen.header("x-place").unwrap_or("nowhere");
        answer("cache-control: max-age=60\nx-debug: inner-7", place)
    });
    let (inside, public) = with_listeners(
        &upstream,
        ", policies: [{headers: {request: {set: {x-place: inside}}}}]",
        ", policies: [{headers: {response: {remove: [x-debug]}}}]",
    );
    for _ in 0..2 {
        let got = ask(&inside, "/a", "");
        assert_eq!((got.text().as_str(), got.header("x-debug")), ("inside", Some("inner-7")));
        let mut client = Client::connect(public);
        client.write("GET /a HTTP/1.1\r\nhost: a.test\r\n\r\n");
        let got = client.read().expect("an answer");
        assert_eq!((got.text().as_str(), got.header("x-debug")), ("nowhere", None));
    }
    assert_eq!(upstream.seen().len(), 2);
}

#[test]
fn what_a_consumers_policies_make_of_answers_stays_with_it() {
    let upstream = counting("cache-control: public, max-age=60");
    let consumers = "consumers:
  - {name: gold, keys: [gold-key-of-the-test], policies: [{headers: {response: {set: {x-plan: gold}}}}]}
  - {name: web, keys: [web-key-of-the-test]}
";
    let gateway = behind(&upstream, "[{keyAuth: {}}, {cache: {}}]", consumers);
    for _ in 0..2 {
        for (key, plan) in [("gold", Some("gold")), ("web", None)] {
            let got = ask(&gateway, "/a", &format!("\nx-api-key: {key}-key-of-the-test"));
            assert_eq!(got.header("x-plan"), plan);
        }
    }
    assert_eq!(upstream.seen().len(), 2);
}

#[test]
fn answers_that_were_made_otherwise_are_not_given_after_a_reload() {
    let upstream = counting("cache-control: max-age=60\nx-secret: s");
    let other = Upstream::scripted(|_| answer("cache-control: max-age=60", "of another"));
    let gateway = behind(&upstream, "[{cache: {}}]", "");
    let text = |policies: &str, backend: &str| {
        format!(
            "listeners: [{{name: public, address: \"{}\"}}]
accessLog: [{{kind: stdout}}]
upstreams:
  - {{name: u, endpoints: [{{address: \"{}\"}}], retry: {{maxAttempts: 1}}}}
  - {{name: v, endpoints: [{{address: \"{}\"}}], retry: {{maxAttempts: 1}}}}
routes: [{{name: r, match: [{{path: {{prefix: /}}}}], policies: {policies}, backends: [{{upstream: {backend}}}]}}]\n",
            gateway.address, upstream.address, other.address
        )
    };
    ask(&gateway, "/a", "");
    gateway.reload(&text("[{rateLimit: {limit: 1000, window: 1m}}, {cache: {}}]", "u"));
    let same = ask(&gateway, "/a", "");
    assert!(status(&same).contains("; hit"), "nothing of the answer is another: {}", status(&same));
    gateway.reload(&text("[{cache: {}}, {headers: {response: {remove: [x-secret]}}}]", "u"));
    let bare = ask(&gateway, "/a", "");
    assert_eq!((bare.header("x-secret"), bare.text().as_str()), (None, "answer 2"));
    gateway.reload(&text("[{cache: {}}]", "v"));
    assert_eq!(ask(&gateway, "/a", "").text(), "of another");
}

#[test]
fn what_hides_behind_an_ignored_parameter_is_not_ignored() {
    let upstream = Upstream::scripted(|seen| answer("cache-control: max-age=60", seen.target()));
    let gateway = cached(&upstream, "{key: {ignoreQuery: [\"utm_*\"]}}");
    ask(&gateway, "/j?cb=1&utm_x=1;cb=evil", "");
    assert_eq!(ask(&gateway, "/j?cb=1", "").text(), "/j?cb=1");
    assert_eq!(ask(&gateway, "/j?cb=1&utm_x=1", "").text(), "/j?cb=1", "it is ignored otherwise");
}

#[test]
fn a_304_may_say_that_an_answer_varies() {
    let count = std::sync::atomic::AtomicUsize::new(0);
    let upstream = Upstream::scripted(move |seen| {
        let is_first = count.fetch_add(1, std::sync::atomic::Ordering::Relaxed) == 0;
        let fields = if is_first { "max-age=1" } else { "max-age=60\r\nvary: x-tenant" };
        match seen.header("if-none-match") {
            Some(_) => Some(
                format!("HTTP/1.1 304 X\r\netag: \"1\"\r\ncache-control: {fields}\r\n\r\n").into_bytes(),
            ),
            None => Some(
                format!(
                    "HTTP/1.1 200 OK\r\netag: \"1\"\r\ncache-control: {fields}\r\ncontent-length: 1\r\n\r\n{}",
                    seen.header("x-tenant").unwrap_or("-")
                )
                .into_bytes(),
            ),
        }
    });
    let gateway = cached(&upstream, "{}");
    ask(&gateway, "/a", "\nx-tenant: a");
    pause(1_200);
    assert!(status(&ask(&gateway, "/a", "\nx-tenant: a")).contains("fwd-status=304"));
    assert_eq!(ask(&gateway, "/a", "\nx-tenant: b").text(), "b");
    let own = ask(&gateway, "/a", "\nx-tenant: a");
    assert_eq!((own.text().as_str(), status(&own).contains("; hit")), ("a", true));
    assert_eq!(gateway.metric("tidegate_cache_entries{cache=\"routes/r\"}"), Some(2.0));
}

#[test]
fn what_an_answer_names_is_found_by_the_path_that_clients_ask_for() {
    let upstream = Upstream::scripted(|seen| match seen.line.starts_with("POST") {
        true => answer("location: item", "made"),
        false => answer("cache-control: max-age=60", seen.target()),
    });
    let gateway = behind(&upstream, "[{cache: {}}, {rewrite: {path: {stripPrefix: /shop}}}]", "");
    ask(&gateway, "/shop/item", "");
    assert!(status(&ask(&gateway, "/shop/item", "")).contains("; hit"));
    gateway.send("POST /shop/new HTTP/1.1\nhost: a.test\ncontent-length: 0", b"");
    assert!(!status(&ask(&gateway, "/shop/item", "")).contains("; hit"));
}
