//! `extAuth`: a service of one's own says who is let in, over HTTP and by Envoy's `ext_authz`.

use std::io::Write;

use super::{
    super::harness::{Answer, Client, Gateway, Upstream, eventually, free_port, pause, read_request},
    envoy::Authorizer,
    telling,
};

/// A service that lets in `Bearer good`, sends `Bearer away` elsewhere, breaks for `Bearer broken`, and else refuses.
fn service() -> Upstream {
    Upstream::scripted(|seen| {
        let shown = seen.header("authorization").or(seen.header("x-token")).unwrap_or_default().to_owned();
        Some(match shown.as_str() {
            "Bearer good" => "HTTP/1.1 200 OK\r\nx-user: ann\r\nx-secret: no\r\nset-cookie: a=b\r\n\
                              connection: x-user2\r\ncontent-length: 2\r\n\r\nok"
                .to_owned(),
            "Bearer nobody" => "HTTP/1.1 204 No\r\n\r\n".to_owned(),
            "Bearer gold" => "HTTP/1.1 200 OK\r\nx-user: gold\r\ncontent-length: 0\r\n\r\n".to_owned(),
            "Bearer away" => "HTTP/1.1 302 Found\r\nlocation: https://id.test/\r\nx-secret: no\r\ncontent-length: 0\r\n\r\n".to_owned(),
            "Bearer broken" => "HTTP/1.1 500 Broken\r\ncontent-length: 0\r\n\r\n".to_owned(),
            _ => "HTTP/1.1 403 No\r\ncontent-type: text/plain\r\nwww-authenticate: Bearer\r\nx-secret: no\r\n\
                  content-length: 9\r\n\r\nnot today"
                .to_owned(),
        }
        .into_bytes())
    })
}

#[test]
fn the_service_is_told_the_scheme_that_a_trusted_proxy_tells() {
    let (service, upstream) = (service(), telling());
    for (trusted, want) in [("127.0.0.1/32", "https"), ("10.0.0.0/8", "http")] {
        let gateway = Gateway::with(
            &format!("trustedProxies: [{trusted}]"),
            &format!(
                "upstreams:
  - {{name: u, endpoints: [{{address: \"{}\"}}]}}
  - {{name: judge, endpoints: [{{address: \"{}\"}}]}}
routes: [{{name: r, policies: [{{extAuth: {{upstream: judge}}}}], backends: [{{upstream: u}}]}}]\n",
                upstream.address, service.address
            ),
        );
        let answer = gateway.send(
            "GET / HTTP/1.1\nhost: shop.test\nauthorization: Bearer good\nx-forwarded-proto: https",
            b"",
        );
        assert_eq!(answer.status, 200, "{}", answer.text());
        let seen = service.seen();
        assert_eq!(seen.last().expect("a question").header("x-forwarded-proto"), Some(want), "{trusted}");
    }
}

struct Guarded {
    gateway: Gateway,
    upstream: Upstream,
}

fn guarded(address: impl std::fmt::Display, more: &str, settings: &str, rest: &str) -> Guarded {
    let upstream = telling();
    let gateway = Gateway::start(&format!(
        "accessLog: [{{kind: stdout}}]
upstreams:
  - {{name: u, endpoints: [{{address: \"{}\"}}]}}
  - {{name: judge, endpoints: [{{address: \"{address}\"}}]{more}}}
routes:
  - name: r
    match: [{{path: {{prefix: /}}}}]
    policies: [{{extAuth: {{upstream: judge{settings}}}}}]
    backends: [{{upstream: u}}]
{rest}",
        upstream.address
    ));
    Guarded { gateway, upstream }
}

impl Guarded {
    fn ask(&self, target: &str, headers: &str) -> Answer {
        self.gateway.send(&format!("GET {target} HTTP/1.1\nhost: shop.test{headers}"), b"")
    }

    fn post(&self, headers: &str, body: &[u8]) -> Answer {
        let length = body.len();
        self.gateway
            .send(&format!("POST /p HTTP/1.1\nhost: shop.test{headers}\ncontent-length: {length}"), body)
    }
}

#[test]
fn a_good_answer_lets_in_with_the_headers_that_are_named_and_no_others() {
    let service = service();
    let guarded = guarded(
        service.address,
        "",
        ", path: '/verify?x=1', upstreamHeaders: [x-user], answerHeaders: [set-cookie]",
        "",
    );
    let answer =
        guarded.ask("/shop?a=b", "\nauthorization: Bearer good\nx-user: root\ncookie: c=d\nx-other: e");
    assert_eq!(answer.status, 200, "{}", answer.text());
    let told = answer.text();
    assert!(told.contains("x-user: ann\n") && told.matches("x-user").count() == 1, "{told}");
    assert!(!told.contains("x-secret"), "{told}");
    assert_eq!(answer.header("set-cookie"), Some("a=b"));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let seen = service.seen();
    let asked = seen.last().expect("a question");
    assert_eq!(asked.line, "GET /verify?x=1 HTTP/1.1");
    for (name, value) in [
        ("x-forwarded-method", "GET"),
        ("x-forwarded-uri", "/shop?a=b"),
        ("x-forwarded-host", "shop.test"),
        ("x-forwarded-proto", "http"),
        ("x-forwarded-for", "127.0.0.1"),
        ("authorization", "Bearer good"),
        ("cookie", "c=d"),
    ] {
        assert_eq!(asked.header(name), Some(value), "{name}: {asked:?}");
    }
    assert!(asked.header("x-other").is_none() && asked.header("x-user").is_none(), "{asked:?}");
    let allowed =
        guarded.gateway.metric("tidegate_ext_auth_total{policy=\"routes/r/extAuth\",outcome=\"allowed\"}");
    assert_eq!(allowed, Some(1.0));
}

#[test]
fn a_refusal_is_the_clients_and_nothing_comes_to_the_upstream() {
    let service = service();
    let guarded = guarded(service.address, "", "", "");
    let answer = guarded.ask("/", "\nauthorization: Bearer bad");
    assert_eq!((answer.status, answer.text().as_str()), (403, "not today"));
    assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
    assert!(answer.header("x-secret").is_none());
    let answer = guarded.ask("/", "\nauthorization: Bearer away");
    assert_eq!((answer.status, answer.header("location")), (302, Some("https://id.test/")));
    assert_eq!(guarded.upstream.seen().len(), 0);
    assert_eq!(guarded.gateway.record("the refusal", |r| r["status"] == 403)["stopped_by"], "extAuth");
}

#[test]
fn without_an_answer_nobody_passes_unless_that_is_wanted() {
    let service = service();
    let nobody = format!("127.0.0.1:{}", free_port());
    for (address, headers) in [
        (nobody, "\nauthorization: Bearer good"),
        (service.address.to_string(), "\nauthorization: Bearer broken"),
    ] {
        let closed = guarded(&address, "", ", timeout: 500ms", "");
        let answer = closed.ask("/", headers);
        assert_eq!((answer.status, answer.problem().as_deref()), (503, Some("unavailable")), "{address}");
        assert_eq!(closed.upstream.seen().len(), 0);
        let open = guarded(&address, "", ", onError: allow, timeout: 500ms, upstreamHeaders: [x-user]", "");
        let answer = open.ask("/", &format!("{headers}\nx-user: root"));
        assert_eq!(answer.status, 200);
        assert!(!answer.text().contains("x-user"), "as nobody: {}", answer.text());
    }
    // One that takes too long.
    let slow = Upstream::scripted(|_| {
        pause(1_500);
        Some(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n".to_vec())
    });
    let closed = guarded(slow.address, "", ", timeout: 300ms", "");
    assert_eq!(closed.ask("/", "").status, 503);
}

#[test]
fn what_was_said_is_kept_for_the_same_question_alone() {
    let service = service();
    let guarded = guarded(
        service.address,
        "",
        ", upstreamHeaders: [x-user], cache: {ttl: 700ms, negativeTtl: 700ms}",
        "",
    );
    for _ in 0..4 {
        assert!(guarded.ask("/a", "\nauthorization: Bearer good").text().contains("x-user: ann\n"));
        assert_eq!(guarded.ask("/a", "\nauthorization: Bearer bad").status, 403);
    }
    assert_eq!(service.seen().len(), 2);
    assert_eq!(guarded.ask("/b", "\nauthorization: Bearer good").status, 200);
    assert_eq!(guarded.ask("/a", "\nauthorization: Bearer good\ncookie: x=y").status, 200);
    assert_eq!(guarded.ask("/a", "").status, 403);
    assert_eq!(service.seen().len(), 5);
    pause(800);
    assert_eq!(guarded.ask("/a", "\nauthorization: Bearer good").status, 200);
    assert_eq!(service.seen().len(), 6);
}

#[test]
fn the_service_is_shown_a_body_up_to_a_bound_and_the_upstream_gets_all_of_it() {
    let service = service();
    let more = ", path: /verify, body: {maxSize: 10B}";
    let bounded = guarded(service.address, "", more, "");
    let good = "\nauthorization: Bearer good\ncontent-type: text/plain";
    assert_eq!(bounded.post(good, b"0123456789").status, 200);
    let asked = service.seen().pop().expect("a question");
    assert_eq!((asked.line.as_str(), asked.body.as_slice()), ("POST /verify HTTP/1.1", &b"0123456789"[..]));
    assert_eq!(asked.header("content-type"), Some("text/plain"));
    assert_eq!(bounded.upstream.seen()[0].body, b"0123456789");
    assert_eq!(bounded.post(good, b"0123456789a").status, 413);
    assert_eq!(bounded.upstream.seen().len(), 1);
    let partly = guarded(service.address, "", ", body: {maxSize: 10B, partial: true}", "");
    let long = vec![b'x'; 200_000];
    assert_eq!(partly.post(good, &long).status, 200);
    assert_eq!(service.seen().pop().expect("a question").body, b"xxxxxxxxxx");
    assert_eq!(partly.upstream.seen()[0].body.len(), long.len());
}

#[test]
fn the_service_names_the_consumer_and_one_persons_answer_is_not_anothers() {
    let service = service();
    let rest = "consumers: [{name: gold, groups: [paying]}]\n";
    let named = guarded(service.address, "", ", consumerHeader: x-user", rest);
    assert_eq!(named.ask("/g", "\nauthorization: Bearer gold").status, 200);
    assert_eq!(named.gateway.record("gold's", |r| r["path"] == "/g")["consumer"], "gold");
    assert_eq!(named.ask("/", "\nauthorization: Bearer good").status, 403, "ann is no consumer");
    assert_eq!(named.ask("/", "\nauthorization: Bearer nobody").status, 403);
    // The upstream says that an answer is good for a minute; it has been told who asks.
    let cached = guarded(
        service.address,
        "",
        ", requestHeaders: [x-token], upstreamHeaders: [x-user]",
        "globalPolicies: [{cache: {}}]\n",
    );
    for _ in 0..2 {
        assert!(cached.ask("/page", "\nx-token: Bearer good").text().contains("x-user: ann\n"));
        assert!(cached.ask("/page", "\nx-token: Bearer gold").text().contains("x-user: gold\n"));
    }
}

#[test]
fn a_service_is_not_asked_about_itself() {
    let service = service();
    let guarded = guarded(service.address, ", policies: [{extAuth: {upstream: judge}}]", "", "");
    assert_eq!(guarded.ask("/", "\nauthorization: Bearer good").status, 503);
    assert_eq!(service.seen().len(), 0);
}

#[test]
fn envoys_question_and_answer_mean_what_they_mean_to_envoy() {
    let judge = Authorizer::start();
    let settings = ", protocol: grpc, upstreamHeaders: [x-user], answerHeaders: [x-told], requestHeaders: [authorization, x-drop], body: {maxSize: 100B}";
    let guarded = guarded(judge.address, ", protocol: grpc", settings, "");
    let answer = guarded.post("\nauthorization: Bearer good\nx-user: root\nx-drop: me", b"a body");
    assert_eq!(answer.status, 200, "{}", answer.text());
    let told = answer.text();
    assert!(
        told.contains("x-user: ann\n") && !told.contains("x-secret") && !told.contains("x-drop"),
        "{told}"
    );
    assert_eq!(answer.header("x-told"), Some("yes"));
    let asked = judge.asked().pop().expect("a question");
    assert_eq!(
        (asked.method.as_str(), asked.path.as_str(), asked.host.as_str(), asked.scheme.as_str()),
        ("POST", "/p", "shop.test", "http")
    );
    assert_eq!((asked.body.as_str(), asked.size, asked.protocol.as_str()), ("a body", 6, "HTTP/1.1"));
    assert_eq!(asked.client, "127.0.0.1");
    assert_eq!(asked.headers.get("authorization").map(String::as_str), Some("Bearer good"));
    assert!(!asked.headers.contains_key("x-user"), "{asked:?}");
    // A refusal with a status, headers and a body; one without; an answer that allows nothing; and none.
    let answer = guarded.post("\nauthorization: Bearer teapot", b"");
    assert_eq!((answer.status, answer.text().as_str()), (418, "short and stout"));
    assert!(answer.header("x-secret").is_none());
    assert_eq!(answer.header("www-authenticate"), Some("Tea"));
    assert_eq!(guarded.post("\nauthorization: Bearer bare", b"").status, 403);
    assert_eq!(guarded.post("\nauthorization: Bearer empty", b"").status, 503);
    assert_eq!(guarded.post("\nauthorization: Bearer broken", b"").status, 503);
    assert_eq!(guarded.upstream.seen().len(), 1);
    drop(judge);
    eventually("nobody is there any more", || {
        guarded.post("\nauthorization: Bearer good", b"").status == 503
    });
}

#[test]
fn an_answer_that_is_no_grpc_is_told_as_such() {
    let page = Gateway::start(
        "routes: [{name: page, respond: {headers: {content-type: text/html}, body: a page}}]\n",
    );
    let guarded = guarded(page.address, ", protocol: grpc", ", protocol: grpc", "");
    assert_eq!(guarded.ask("/", "\nauthorization: Bearer good").status, 503);
    let record = guarded.gateway.record("the failure", |record| record["status"] == 503);
    let told = record["failure"]["detail"].as_str().unwrap_or_default();
    assert!(told.contains("its answer is no gRPC, but `text/html`"), "{record}");
}

/// A service that lets in or refuses by the path, and gives each caller a cookie of their own.
fn giving_cookies() -> Upstream {
    let count = std::sync::atomic::AtomicUsize::new(0);
    Upstream::scripted(move |seen| {
        let number = count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        let status = if seen.header("x-forwarded-uri") == Some("/in") { "200 OK" } else { "403 No" };
        Some(format!("HTTP/1.1 {status}\r\nset-cookie: who={number}\r\nx-told: {number}\r\ncontent-length: 0\r\n\r\n").into_bytes())
    })
}

#[test]
fn an_answer_that_gives_a_cookie_is_given_to_one_caller_alone() {
    let service = giving_cookies();
    let settings = ", answerHeaders: [set-cookie, x-told], refusalHeaders: [set-cookie, x-told], cache: {ttl: 1m, negativeTtl: 1m}";
    let guarded = guarded(service.address, "", settings, "");
    for (target, status) in [("/in", 200), ("/out", 403)] {
        let cookies: Vec<String> = (0..3)
            .map(|_| {
                let answer = guarded.ask(target, "\nauthorization: Bearer x");
                assert_eq!(
                    (answer.status, answer.header("cache-control")),
                    (status, Some("no-store")),
                    "{target}"
                );
                answer.header("set-cookie").expect("a cookie").to_owned()
            })
            .collect();
        assert!(cookies.windows(2).all(|two| two[0] != two[1]), "{target}: {cookies:?}");
    }
    assert_eq!(service.seen().len(), 6, "nothing of it was kept");
    // Where the cookie is for nobody, what was said is kept.
    let plain = self::guarded(service.address, "", ", answerHeaders: [x-told], cache: {ttl: 1m}", "");
    let told: Vec<_> = (0..3).map(|_| plain.ask("/in", "").header("x-told").map(str::to_owned)).collect();
    assert!(told.windows(2).all(|two| two[0] == two[1] && two[0].is_some()), "{told:?}");
    assert_eq!(plain.ask("/in", "").header("set-cookie"), None);
}

#[test]
fn who_goes_on_unasked_goes_on_as_nobody() {
    let rest = "consumers: [{name: gold}]\n";
    // What the service is shown is what the client has sent; what goes on is none of that.
    let settings =
        ", requestHeaders: [authorization, x-user], upstreamHeaders: [x-user, x-group], timeout: 500ms";
    let forged = "\nauthorization: Bearer broken\nx-user: root\nx-group: admins\nx-other: stays";
    let service = service();
    let open = guarded(service.address, "", &format!("{settings}, onError: allow"), rest);
    let answer = open.ask("/open", forged);
    assert_eq!(answer.status, 200);
    let told = answer.text();
    for name in ["x-user", "x-group"] {
        assert!(!told.contains(name), "{name}: {told}");
    }
    assert!(told.contains("x-other: stays\n"), "{told}");
    let record = open.gateway.record("the call", |record| record["path"] == "/open");
    assert!(record["consumer"].is_null(), "{record}");
}

#[test]
fn a_client_says_nothing_of_who_it_is_by_any_way() {
    let settings = ", upstreamHeaders: [x-user, x-group], consumerHeader: x-consumer";
    let named = Upstream::scripted(|seen| {
        let consumer = seen.header("x-consumer").unwrap_or("gold").to_owned();
        Some(
            format!("HTTP/1.1 200 OK\r\nx-user: ann\r\nx-consumer: {consumer}\r\ncontent-length: 0\r\n\r\n")
                .into_bytes(),
        )
    });
    let rest = "consumers: [{name: gold}, {name: root}]\n";
    let guarded = self::guarded(named.address, "", settings, rest);
    let forged =
        "\nx-user: root\nX-User: root\nx-group: admins\nx-consumer: root\nconnection: x-user, x-group";
    let answer = guarded.ask("/a", forged);
    let told = answer.text();
    assert_eq!(answer.status, 200, "{told}");
    assert_eq!((told.matches("x-user: ann\n").count(), told.matches("x-user").count()), (1, 1), "{told}");
    assert!(!told.contains("root") && !told.contains("x-group") && !told.contains("x-consumer"), "{told}");
    let record = guarded.gateway.record("the call", |record| record["path"] == "/a");
    assert_eq!(record["consumer"], "gold", "{record}");
    // Nor behind the body.
    let head = "POST /b HTTP/1.1\nhost: a\ntransfer-encoding: chunked\ntrailer: x-user, x-group";
    guarded.gateway.send(head, b"1\r\na\r\n0\r\nx-user: root\r\nx-group: admins\r\nx-own: 1\r\n\r\n");
    let seen = guarded.upstream.seen().pop().expect("a request");
    assert_eq!(seen.body, b"a");
    for (name, value) in seen.headers.iter().chain(&seen.trailers) {
        assert!(!value.contains("root") && !value.contains("admins"), "{name}: {seen:?}");
    }
}

#[test]
fn a_body_beside_a_wish_to_switch_is_shown_like_any_other() {
    let service = service();
    let guarded = guarded(service.address, "", ", body: {maxSize: 10B}", "");
    let asks = "\nauthorization: Bearer good\nconnection: upgrade\nupgrade: websocket\nsec-websocket-version: 13\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==";
    let ask = |body: &str| {
        let head =
            format!("GET /x HTTP/1.1\nhost: a{asks}\ncontent-length: {}", body.len()).replace('\n', "\r\n");
        let mut client = Client::connect(guarded.gateway.address);
        client.write(format!("{head}\r\n\r\n{body}"));
        client.read().expect("an answer").status
    };
    // The route takes no WebSocket: it is the service that is looked at.
    ask("0123456789");
    assert_eq!(service.seen().pop().expect("a question").body, b"0123456789");
    assert_eq!(ask("0123456789a"), 413);
}

#[test]
fn a_connection_to_the_service_is_used_again_whatever_it_says_beside_its_head() {
    for pauses in [0, 30] {
        let service = Upstream::raw(move |mut reader, _| {
            while let Some(seen) = read_request(&mut reader) {
                let status = if seen.header("authorization") == Some("Bearer broken") { 500 } else { 200 };
                let head = format!("HTTP/1.1 {status} X\r\ncontent-length: 2000\r\n\r\n");
                let whole = reader.get_mut().write_all(head.as_bytes());
                pause(pauses);
                if whole.and_then(|()| reader.get_mut().write_all(&[b'x'; 2000])).is_err() {
                    return;
                }
            }
        });
        let guarded = guarded(service.address, "", "", "runtime: {workers: 1}\n");
        for _ in 0..6 {
            assert_eq!(guarded.ask("/", "\nauthorization: Bearer good").status, 200);
            pause(100);
            assert_eq!(guarded.ask("/", "\nauthorization: Bearer broken").status, 503);
            pause(100);
        }
        assert_eq!(service.connections(), 1, "for twelve questions");
    }
}
