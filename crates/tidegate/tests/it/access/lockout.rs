//! `lockout`, before each policy that finds out who calls.

use super::{ask, basic};
use crate::harness::{Client, Gateway, Upstream, eventually, pause};

const CONSUMERS: &str = "consumers:
  - {name: gold, keys: [gold-key-of-the-test], basic: [{username: ann, password: 'pass:word'}]}
  - {name: web, keys: [web-key-of-the-test], basic: [{username: bob, password: 'pass:word'}]}";

fn gateway(settings: &str, policy: &str) -> Gateway {
    Gateway::start(&format!(
        "accessLog: [{{kind: stdout}}]
trustedProxies: [127.0.0.0/8]
{CONSUMERS}
routes:
  - name: r
    match: [{{path: {{prefix: /}}}}]
    policies: [{policy}, {{lockout: {{{settings}}}}}]
    respond: {{body: welcome}}
"
    ))
}

/// A call from an address, as a trusted proxy tells.
fn from(gateway: &Gateway, address: &str, headers: &str) -> u16 {
    ask(gateway, "/", &format!("{headers}\nx-forwarded-for: {address}")).status
}

#[test]
fn who_fails_too_often_is_locked_out_even_with_the_right_password_and_for_a_time() {
    let gateway = gateway("maxFailures: 3, duration: 2s, by: [user]", "{basicAuth: {}}");
    let good = basic("ann:pass:word");
    let statuses: Vec<u16> = (0..5).map(|_| from(&gateway, "192.0.2.1", &basic("ann:wrong"))).collect();
    assert_eq!(statuses, [401, 401, 401, 429, 429]);
    let answer = ask(&gateway, "/", &format!("{good}\nx-forwarded-for: 192.0.2.1"));
    assert_eq!(answer.status, 429, "the right password is locked out, too");
    let wait: u64 = answer.header("retry-after").and_then(|text| text.parse().ok()).expect("seconds");
    assert!((1..=2).contains(&wait), "{wait}");
    assert_eq!(answer.header("content-type"), Some("application/problem+json"));
    // The same user from elsewhere, and however it is written; not another user.
    assert_eq!(from(&gateway, "192.0.2.2", &basic("ANN:pass:word")), 429);
    assert_eq!(from(&gateway, "192.0.2.1", &basic("bob:pass:word")), 200);
    eventually("the lock ends", || from(&gateway, "192.0.2.1", &good) == 200);
    let count = |outcome: &str| {
        gateway
            .metric(&format!("tidegate_lockout_total{{policy=\"routes/r/lockout\",outcome=\"{outcome}\"}}"))
    };
    assert_eq!((count("failed"), count("locked")), (Some(3.0), Some(1.0)));
    let record = gateway.record("a refusal", |record| record["status"] == 429);
    assert_eq!(record["stopped_by"], "lockout");
    assert!(gateway.stderr().contains("too many failed sign-ins"), "{}", gateway.stderr());
}

#[test]
fn a_sign_in_that_succeeds_begins_anew_for_the_user_and_not_for_the_address() {
    let gateway = gateway("maxFailures: 3, maxFailuresPerAddress: 6, by: [address, user]", "{basicAuth: {}}");
    for _ in 0..2 {
        for _ in 0..2 {
            assert_eq!(from(&gateway, "192.0.2.1", &basic("ann:wrong")), 401);
        }
        assert_eq!(from(&gateway, "192.0.2.1", &basic("ann:pass:word")), 200);
    }
    // One's own password between two of others: the address has failed six times.
    assert_eq!(from(&gateway, "192.0.2.1", &basic("bob:wrong")), 401);
    assert_eq!(from(&gateway, "192.0.2.1", &basic("bob:wrong")), 401);
    assert_eq!(from(&gateway, "192.0.2.1", &basic("ann:pass:word")), 429);
    assert_eq!(from(&gateway, "192.0.2.9", &basic("ann:pass:word")), 200);
}

#[test]
fn who_signs_in_all_the_time_unlocks_nobody_who_guesses_from_elsewhere_however_the_name_is_written() {
    let gateway = gateway("maxFailures: 5, by: [user]", "{basicAuth: {}}");
    let good = basic("ann:pass:word");
    for (at, name) in ["ann", "\u{ff21}nn", "a\u{ad}nn", "\u{e4}NN"].into_iter().enumerate() {
        assert_eq!(from(&gateway, "192.0.2.1", &good), 200, "{at}");
        // Its own slips are forgiven.
        assert_eq!(from(&gateway, "192.0.2.1", &basic("ann:slip")), 401, "{at}");
        assert_eq!(from(&gateway, "192.0.2.1", &good), 200, "{at}");
        assert_eq!(from(&gateway, "192.0.2.66", &basic(&format!("{name}:guess"))), 401, "{at} {name}");
    }
    assert_eq!(from(&gateway, "192.0.2.66", &basic("ann:guess")), 401);
    assert_eq!(from(&gateway, "192.0.2.66", &basic("ann:guess")), 429);
    assert_eq!(from(&gateway, "192.0.2.1", &basic("bob:pass:word")), 200);
}

#[test]
fn a_guess_beside_something_good_is_a_failure() {
    let gateway = gateway(
        "by: [address, key], maxFailuresPerAddress: 3, maxFailures: 100",
        "{anyOf: {policies: [{keyAuth: {headers: [x-api-key], query: key}}, {basicAuth: {}}]}}",
    );
    let good = basic("bob:pass:word");
    for n in 0..3 {
        assert_eq!(from(&gateway, "192.0.2.1", &format!("{good}\nx-api-key: guess-{n}")), 200, "{n}");
    }
    assert_eq!(from(&gateway, "192.0.2.1", &format!("{good}\nx-api-key: gold-key-of-the-test")), 429);
    // What is good by itself is no failure, whichever way it comes, and neither is a way that nothing was shown for.
    for _ in 0..8 {
        assert_eq!(from(&gateway, "192.0.2.2", &good), 200);
        assert_eq!(from(&gateway, "192.0.2.2", "\nx-api-key: gold-key-of-the-test"), 200);
    }
    let in_query = || ask(&gateway, "/?key=guess", &format!("{good}\nx-forwarded-for: 192.0.2.3")).status;
    assert_eq!([in_query(), in_query(), in_query(), in_query()], [200, 200, 200, 429]);
    // One header that two ways judge is no guess for the first.
    let gateway = self::gateway(
        "by: [address], maxFailuresPerAddress: 2",
        "{anyOf: {policies: [{keyAuth: {headers: [authorization]}}, {basicAuth: {}}]}}",
    );
    for _ in 0..5 {
        assert_eq!(from(&gateway, "192.0.2.1", &good), 200);
    }
}

#[test]
fn what_is_good_by_itself_forgives_no_guesses_of_what_it_is_shown_beside() {
    let key = "\nx-api-key: web-key-of-the-test";
    let wrong = basic("ann:wrong");
    for by in ["user", "userAtAddress"] {
        let gateway = gateway(
            &format!("by: [{by}], maxFailures: 3"),
            "{anyOf: {policies: [{keyAuth: {headers: [x-api-key]}}, {basicAuth: {}}]}}",
        );
        assert_eq!([0; 2].map(|_| from(&gateway, "192.0.2.1", &wrong)), [401, 401]);
        // The key lets in before the password is looked at, so that this says nothing of the user.
        assert_eq!(from(&gateway, "192.0.2.1", &format!("{key}{wrong}")), 200);
        assert_eq!(from(&gateway, "192.0.2.1", &wrong), 401);
        assert_eq!(from(&gateway, "192.0.2.1", &basic("ann:pass:word")), 429, "{by}");
    }
    let gateway = gateway(
        "by: [key], maxFailures: 3, keyPrefix: 8",
        "{anyOf: {policies: [{basicAuth: {}}, {keyAuth: {headers: [x-api-key]}}]}}",
    );
    let guess = "\nx-api-key: gold-keyX";
    assert_eq!([0; 2].map(|_| from(&gateway, "192.0.2.1", guess)), [401, 401]);
    assert_eq!(from(&gateway, "192.0.2.1", "\nx-api-key: gold-key-of-the-test"), 200, "it forgives itself");
    assert_eq!([0; 3].map(|_| from(&gateway, "192.0.2.1", guess)), [401, 401, 401]);
    assert_eq!(from(&gateway, "192.0.2.1", "\nx-api-key: gold-key-of-the-test"), 429);
    // Another route, where nobody looks at passwords, tells as little.
    let routes = Gateway::start(&format!(
        "trustedProxies: [127.0.0.0/8]
globalPolicies: [{{lockout: {{by: [userAtAddress], maxFailures: 3}}}}]
{CONSUMERS}
routes:
  - {{name: keys, match: [{{path: {{prefix: /keys}}}}], policies: [{{keyAuth: {{headers: [x-api-key]}}}}], respond: {{}}}}
  - {{name: people, match: [{{path: {{prefix: /}}}}], policies: [{{basicAuth: {{}}}}], respond: {{}}}}
"
    ));
    assert_eq!([0; 2].map(|_| from(&routes, "192.0.2.1", &wrong)), [401, 401]);
    assert_eq!(ask(&routes, "/keys", &format!("{key}{wrong}\nx-forwarded-for: 192.0.2.1")).status, 200);
    assert_eq!(from(&routes, "192.0.2.1", &wrong), 401);
    assert_eq!(from(&routes, "192.0.2.1", &basic("ann:pass:word")), 429);
}

#[test]
fn each_of_two_lockouts_is_told_of_a_guess_beside_something_good() {
    let gateway = Gateway::with(
        "policies: [{lockout: {by: [address], maxFailuresPerAddress: 3}}]",
        &format!(
            "{CONSUMERS}
routes:
  - name: r
    match: [{{path: {{prefix: /}}}}]
    policies:
      - anyOf: {{policies: [{{keyAuth: {{headers: [x-api-key]}}}}, {{basicAuth: {{}}}}]}}
      - lockout: {{by: [key], maxFailures: 100}}
    respond: {{body: welcome}}
"
        ),
    );
    let good = basic("bob:pass:word");
    for n in 0..3 {
        assert_eq!(ask(&gateway, "/", &format!("{good}\nx-api-key: guess-{n}")).status, 200, "{n}");
    }
    assert_eq!(ask(&gateway, "/", &good).status, 429, "the listener's has counted, too");
}

#[test]
fn keys_are_counted_by_address_and_by_their_beginning() {
    let by_address = gateway(
        "by: [address], maxFailuresPerAddress: 3, exempt: [192.0.2.9/32]",
        "{keyAuth: {headers: [x-api-key], query: key}}",
    );
    for n in 0..3 {
        assert_eq!(from(&by_address, "192.0.2.1", &format!("\nx-api-key: guess-{n}")), 401);
    }
    assert_eq!(from(&by_address, "192.0.2.1", "\nx-api-key: gold-key-of-the-test"), 429);
    // Whoever shows nothing has guessed nothing.
    assert_eq!(from(&by_address, "192.0.2.1", ""), 401);
    for _ in 0..8 {
        assert_eq!(from(&by_address, "192.0.2.3", ""), 401);
        assert_eq!(from(&by_address, "192.0.2.9", "\nx-api-key: wrong"), 401, "an address that is exempt");
    }
    assert_eq!(from(&by_address, "192.0.2.3", "\nx-api-key: gold-key-of-the-test"), 200);
    // IPv6 clients are their network.
    for n in 1..=3 {
        assert_eq!(from(&by_address, &format!("2001:db8::{n}"), "\nx-api-key: wrong"), 401);
    }
    assert_eq!(from(&by_address, "2001:db8::99", "\nx-api-key: gold-key-of-the-test"), 429);
    assert_eq!(from(&by_address, "2001:db8:1::99", "\nx-api-key: gold-key-of-the-test"), 200);
    // The query counts as headers do.
    let in_query =
        |key: &str| ask(&by_address, &format!("/?key={key}"), "\nx-forwarded-for: 192.0.2.4").status;
    assert_eq!(
        [in_query("a"), in_query("b"), in_query("c"), in_query("gold-key-of-the-test")],
        [401, 401, 401, 429]
    );
    let by_key = gateway("by: [key], maxFailures: 3, keyPrefix: 8, status: 403", "{keyAuth: {}}");
    for n in 0..3 {
        assert_eq!(from(&by_key, &format!("192.0.2.{n}"), &format!("\nx-api-key: gold-keyX{n}")), 401);
    }
    assert_eq!(from(&by_key, "192.0.2.7", "\nx-api-key: gold-key-of-the-test"), 403);
    assert_eq!(from(&by_key, "192.0.2.7", "\nx-api-key: web-key-of-the-test"), 200);
}

#[test]
fn it_stands_before_several_ways_and_signatures_and_counts_what_services_refuse_by_choice() {
    let gateway = gateway(
        "by: [address], maxFailuresPerAddress: 2",
        "{anyOf: {policies: [{keyAuth: {}}, {basicAuth: {}}]}}",
    );
    assert_eq!(from(&gateway, "192.0.2.1", "\nx-api-key: wrong"), 401);
    assert_eq!(from(&gateway, "192.0.2.1", &basic("ann:wrong")), 401);
    assert_eq!(from(&gateway, "192.0.2.1", &basic("ann:pass:word")), 429);
    let signed = self::gateway(
        "by: [address], maxFailuresPerAddress: 2",
        "{hmac: {style: github, secrets: [s3cret-of-the-test]}}",
    );
    let wrong = format!("\nx-hub-signature-256: sha256={}", "0".repeat(64));
    assert_eq!([0; 3].map(|_| from(&signed, "192.0.2.1", &wrong)), [401, 401, 429]);
    // A service that judges passwords itself.
    let service = Upstream::scripted(|seen| {
        let is_good = seen.header("x-pass") == Some("good");
        let status = if is_good { "200 OK" } else { "401 Unauthorized" };
        Some(format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n").into_bytes())
    });
    let text = format!(
        "trustedProxies: [127.0.0.0/8]
upstreams: [{{name: u, endpoints: [{{address: \"{}\"}}]}}]
routes:
  - name: r
    match: [{{path: {{prefix: /}}}}]
    policies:
      - extAuth: {{upstream: u, requestHeaders: [x-pass]}}
      - lockout: {{by: [address], maxFailuresPerAddress: 2, upstreamStatuses: [401]}}
    backends: [{{upstream: u}}]
",
        service.address
    );
    let behind = Gateway::start(&text);
    assert_eq!([0; 3].map(|_| from(&behind, "192.0.2.1", "\nx-pass: bad")), [401, 401, 429]);
    assert_eq!(from(&behind, "192.0.2.2", "\nx-pass: good"), 200);
}

#[test]
fn services_that_judge_by_themselves_are_guarded_and_forgive_nothing() {
    let good = basic("ann:pass:word");
    let known = good.trim_start_matches("\nauthorization: ").to_owned();
    let service = Upstream::scripted(move |seen| {
        let is_good = seen.header("authorization") == Some(known.as_str()) || seen.target() == "/public";
        let status = if is_good { "200 OK" } else { "401 Unauthorized" };
        Some(format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n").into_bytes())
    });
    let gateway = Gateway::start(&format!(
        "trustedProxies: [127.0.0.0/8]
upstreams: [{{name: u, endpoints: [{{address: \"{}\"}}]}}]
routes:
  - name: r
    match: [{{path: {{prefix: /}}}}]
    policies: [{{lockout: {{by: [user, key], maxFailures: 3, upstreamStatuses: [401]}}}}]
    backends: [{{upstream: u}}]
",
        service.address
    ));
    let wrong = basic("ann:wrong");
    assert_eq!([0; 2].map(|_| from(&gateway, "192.0.2.1", &wrong)), [401, 401]);
    // A page for everybody tells nothing of a password that is shown there.
    assert_eq!(ask(&gateway, "/public", &format!("{wrong}\nx-forwarded-for: 192.0.2.1")).status, 200);
    assert_eq!([0; 2].map(|_| from(&gateway, "192.0.2.1", &wrong)), [401, 429]);
    assert_eq!(from(&gateway, "192.0.2.1", &good), 429, "the right password, too");
    let key = "\nx-api-key: sk-test-of-nobody";
    assert_eq!([0; 4].map(|_| from(&gateway, "192.0.2.2", key)), [401, 401, 401, 429]);
    assert_eq!([0; 5].map(|_| from(&gateway, "192.0.2.3", "")), [401; 5], "nothing is shown");
    // What is behind other schemes begins alike, whoever shows it.
    let digest = "\nauthorization: Digest username=\"ann\"";
    assert_eq!([0; 5].map(|_| from(&gateway, "192.0.2.4", digest)), [401; 5]);
}

#[test]
fn what_policies_of_upstreams_refuse_is_counted() {
    let upstream = Upstream::echo();
    let gateway = Gateway::start(&format!(
        "trustedProxies: [127.0.0.0/8]
{CONSUMERS}
upstreams: [{{name: u, endpoints: [{{address: \"{}\"}}], policies: [{{keyAuth: {{headers: [x-api-key]}}}}]}}]
routes:
  - name: r
    match: [{{path: {{prefix: /}}}}]
    policies: [{{lockout: {{by: [address], maxFailuresPerAddress: 2}}}}]
    backends: [{{upstream: u}}]
",
        upstream.address
    ));
    let key = "\nx-api-key: gold-key-of-the-test";
    assert_eq!([0; 3].map(|_| from(&gateway, "192.0.2.1", "\nx-api-key: wrong")), [401, 401, 429]);
    assert_eq!((from(&gateway, "192.0.2.1", key), from(&gateway, "192.0.2.2", key)), (429, 200));
}

#[test]
fn keys_among_the_subprotocols_of_a_web_socket_are_counted() {
    let gateway = gateway("by: [address], maxFailuresPerAddress: 2", "{keyAuth: {headers: [authorization]}}");
    let ask = |key: &str| {
        let mut client = Client::connect(gateway.address);
        client.write(format!(
            "GET / HTTP/1.1\r\nhost: a.test\r\nupgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-protocol: realtime, openai-insecure-api-key.{key}\r\n\r\n"
        ));
        client.read().map(|answer| answer.status)
    };
    assert_eq!(["one", "two", "three"].map(ask), [Some(401), Some(401), Some(429)]);
}

#[test]
fn a_parameter_of_another_routes_keys_is_no_guess() {
    let gateway = Gateway::start(&format!(
        "{CONSUMERS}
globalPolicies: [{{lockout: {{by: [address], maxFailuresPerAddress: 2}}}}]
routes:
  - {{name: keys, match: [{{path: {{prefix: /keys}}}}], policies: [{{keyAuth: {{query: key}}}}], respond: {{}}}}
  - {{name: search, match: [{{path: {{prefix: /}}}}], policies: [{{basicAuth: {{}}}}], respond: {{}}}}
"
    ));
    // A browser asks without a password first.
    let asked = [0; 5].map(|_| ask(&gateway, "/search?key=word", "").status);
    assert_eq!(asked, [401; 5]);
    assert_eq!(ask(&gateway, "/search?key=word", &basic("ann:pass:word")).status, 200);
    let guessed = [0; 3].map(|_| ask(&gateway, "/keys?key=guess", "").status);
    assert_eq!(guessed, [401, 401, 429]);
}

#[test]
fn locks_outlive_a_reload_and_last_longer_each_time() {
    let gateway = gateway("by: [user], maxFailures: 1, duration: 4s, maxDuration: 1m", "{basicAuth: {}}");
    assert_eq!(from(&gateway, "192.0.2.1", &basic("ann:wrong")), 401);
    let text = std::fs::read_to_string(gateway.config()).expect("a file");
    let text = text.split_once('\n').expect("lines").1.replace("welcome", "hello");
    assert_eq!(gateway.reload(&text)["lastReload"], "ok");
    assert_eq!(from(&gateway, "192.0.2.1", &basic("ann:pass:word")), 429);
    pause(4100);
    assert_eq!(from(&gateway, "192.0.2.1", &basic("ann:wrong")), 401);
    let answer = ask(&gateway, "/", &format!("{}\nx-forwarded-for: 192.0.2.1", basic("ann:pass:word")));
    assert_eq!((answer.status, answer.header("retry-after")), (429, Some("8")));
}
