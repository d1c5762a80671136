//! 1xx answers: `100 Continue` comes from whoever wants the body, and early hints reach the client.

use std::{
    io::{BufRead, Write},
    sync::mpsc,
    time::{Duration, Instant},
};

use super::{
    super::harness::{Client, Gateway, Upstream, h2},
    front, front_with,
};

const ASK: &str = "POST /up HTTP/1.1\r\nhost: a.test\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\n";

/// Reads a head from a raw connection; none at its end.
fn head(reader: &mut impl BufRead) -> Option<String> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        reader.read_line(&mut head).ok().filter(|count| *count > 0)?;
    }
    Some(head)
}

#[test]
fn the_upstream_decides_whether_the_body_may_come() {
    let (told, decide) = (mpsc::channel::<String>(), mpsc::channel::<&'static [u8]>());
    let (tell, decide_end) = (std::sync::Mutex::new(told.0), std::sync::Mutex::new(decide.1));
    let upstream = Upstream::raw(move |mut reader, _| {
        while let Some(head) = head(&mut reader) {
            tell.lock().expect("not poisoned").send(head).expect("a test");
            let say = decide_end.lock().expect("not poisoned").recv().expect("a decision");
            reader.get_mut().write_all(say).expect("sent");
            if !say.starts_with(b"HTTP/1.1 100") {
                return;
            }
            let mut body = [0; 5];
            std::io::Read::read_exact(&mut reader, &mut body).expect("the body");
            assert_eq!(&body, b"hello");
            reader.get_mut().write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").expect("sent");
        }
    });
    let gateway = front(upstream.address);
    let mut client = Client::connect(gateway.address);
    client.write(ASK);
    let seen = told.1.recv().expect("the head comes without the body");
    assert!(seen.to_ascii_lowercase().contains("expect: 100-continue"), "{seen}");
    // Nothing is promised before the upstream has spoken.
    client.patience(Duration::from_millis(200));
    let mut byte = [0];
    assert!(std::io::Read::read(&mut client.stream(), &mut byte).is_err(), "a 100 of our own");
    client.patience(Duration::from_secs(20));
    decide.0.send(b"HTTP/1.1 100 Continue\r\n\r\n").expect("an upstream");
    assert!(client.read_line().starts_with("HTTP/1.1 100"));
    assert_eq!(client.read_line(), "\r\n");
    client.write("hello");
    assert_eq!(client.read().expect("an answer").text(), "ok");

    // A final answer instead: the body is not asked for, and the connection ends, for who knows what follows.
    client.write(ASK);
    told.1.recv().expect("the head comes");
    decide.0.send(b"HTTP/1.1 413 No\r\ncontent-length: 0\r\n\r\n").expect("an upstream");
    let answer = client.read().expect("an answer");
    assert_eq!((answer.status, answer.header("connection")), (413, Some("close")));
    assert!(client.is_closed());
}

#[test]
fn a_body_is_sent_after_a_while_to_an_upstream_that_says_nothing() {
    let upstream = Upstream::echo();
    let gateway = front(upstream.address);
    let mut client = Client::connect(gateway.address);
    let start = Instant::now();
    client.write(ASK);
    assert!(client.read_line().starts_with("HTTP/1.1 100"));
    assert_eq!(client.read_line(), "\r\n");
    client.write("hello");
    assert_eq!(client.read().expect("an answer").status, 200);
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    assert_eq!(upstream.seen()[0].body, b"hello");
}

#[test]
fn a_body_that_comes_unasked_is_not_held_up_for_long() {
    // Clients may send without waiting (RFC 9110 §10.1.1).
    let upstream = Upstream::echo();
    let gateway = front(upstream.address);
    let answer =
        gateway.send("POST /x HTTP/1.1\nhost: a.test\nexpect: 100-continue\ncontent-length: 5", b"hello");
    assert_eq!(answer.status, 200);
    assert_eq!(upstream.seen()[0].body, b"hello");
}

#[test]
fn a_body_that_a_policy_has_read_waits_for_no_leave_of_the_upstreams() {
    for policy in [
        "validate: {schemas: {body: {schema: {type: string}}}}",
        "transform: {request: {body: [{jq: .}]}}",
        "graphql: {}",
    ] {
        let upstream = Upstream::echo();
        let gateway = front_with("", upstream.address, "", &format!("policies: [{{{policy}}}]"));
        let body = if policy.starts_with("graphql") { "{\"query\": \"{a}\"}" } else { "\"abc\"" };
        let mut client = Client::connect(gateway.address);
        client.write(format!(
            "POST /up HTTP/1.1\r\nhost: a.test\r\ncontent-type: application/json\r\nexpect: 100-continue\r\ncontent-length: {}\r\n\r\n",
            body.len()
        ));
        assert!(client.read_line().starts_with("HTTP/1.1 100"), "{policy}");
        assert_eq!(client.read_line(), "\r\n");
        client.write(body);
        assert_eq!(client.read().expect("an answer").status, 200, "{policy}");
        // It would be waited for, for a second.
        assert_eq!(upstream.seen()[0].header("expect"), None, "{policy}");
    }
}

#[test]
fn what_a_model_is_asked_waits_for_no_leave_of_its_provider() {
    let provider = Upstream::fixed(200, "{}");
    let gateway = Gateway::start(&format!(
        "routes: [{{name: r, match: [{{path: {{prefix: /}}}}], ai: {{}}}}]
ai:
  providers: [{{name: p, kind: openai-compatible, baseUrl: \"http://{}/v1\"}}]
  models: [{{name: m, targets: [{{provider: p, model: m}}]}}]
",
        provider.address
    ));
    let body = r#"{"model":"m","messages":[{"role":"user","content":"hi"}]}"#;
    let mut client = Client::connect(gateway.address);
    client.write(format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: a.test\r\ncontent-type: application/json\r\nexpect: 100-continue\r\ncontent-length: {}\r\n\r\n",
        body.len()
    ));
    assert!(client.read_line().starts_with("HTTP/1.1 100"));
    assert_eq!(client.read_line(), "\r\n");
    client.write(body);
    client.read().expect("an answer");
    assert_eq!(provider.seen()[0].header("expect"), None);
}

#[test]
fn what_a_policy_refuses_gets_no_100() {
    let upstream = Upstream::echo();
    let gateway = front_with("", upstream.address, "", "policies: [{requestLimits: {maxBodySize: 3B}}]");
    let mut client = Client::connect(gateway.address);
    client.write(ASK);
    assert!(client.read_line().starts_with("HTTP/1.1 413"));
    assert!(upstream.seen().is_empty());
}

#[test]
fn http_2_clients_are_told_to_continue() {
    let upstream = h2::Upstream::echo();
    let gateway = front_with("", upstream.address, "protocol: http2", "");
    h2::run(async {
        let client = h2::Client::connect(gateway.address).await;
        let mut request = h2::request("POST", "/");
        request.headers_mut().insert("expect", "100-continue".parse().expect("a value"));
        let mut send = client.send.clone().ready().await.expect("ready");
        let (mut response, mut stream) = send.send_request(request, false).expect("sent");
        let told = std::future::poll_fn(|cx| response.poll_informational(cx)).await;
        assert_eq!(told.expect("a 1xx").expect("no error").status(), 100);
        stream.send_data("hello".into(), true).expect("sent");
        let answer = h2::read_answer(response.await.expect("an answer")).await.expect("a body");
        assert_eq!((answer.status, answer.text().as_str()), (200, "hello"));
    });
}

const HINTS: &str = "HTTP/1.1 103 Early Hints\r\nlink: </a.css>; rel=preload\r\n\r\n";

/// An HTTP/1 upstream that hints, and answers when it is told to.
fn hinting(answer: mpsc::Receiver<()>) -> Upstream {
    let answer = std::sync::Mutex::new(answer);
    Upstream::raw(move |mut reader, _| {
        while head(&mut reader).is_some() {
            reader.get_mut().write_all(HINTS.as_bytes()).expect("sent");
            answer.lock().expect("not poisoned").recv().expect("a test");
            reader.get_mut().write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").expect("sent");
        }
    })
}

#[test]
fn early_hints_reach_the_client_before_the_answer() {
    let (go, wait) = mpsc::channel();
    let upstream = hinting(wait);
    let gateway = front(upstream.address);
    let mut client = Client::connect(gateway.address);
    client.write("GET / HTTP/1.1\r\nhost: a.test\r\n\r\n");
    assert!(client.read_line().starts_with("HTTP/1.1 103"));
    assert_eq!(client.read_line(), "link: </a.css>; rel=preload\r\n");
    assert_eq!(client.read_line(), "\r\n");
    go.send(()).expect("an upstream");
    assert_eq!(client.read().expect("an answer").text(), "ok");
    h2::run(async {
        let client = h2::Client::connect(gateway.address).await;
        hinted(&client, || go.send(()).expect("an upstream")).await;
    });
    // HTTP/1.0 knows no 1xx.
    go.send(()).expect("an upstream");
    let bytes = super::super::harness::raw(gateway.address, b"GET / HTTP/1.0\r\nhost: a.test\r\n\r\n");
    assert!(bytes.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&bytes));
}

async fn hinted(client: &h2::Client, go: impl FnOnce()) {
    let mut send = client.send.clone().ready().await.expect("ready");
    let (mut response, _) = send.send_request(h2::request("GET", "/"), true).expect("sent");
    let told = std::future::poll_fn(|cx| response.poll_informational(cx)).await;
    let told = told.expect("a 1xx").expect("no error");
    assert_eq!(
        (told.status().as_u16(), &told.headers()["link"]),
        (103, &"</a.css>; rel=preload".parse::<http::HeaderValue>().expect("a value"))
    );
    go();
    assert_eq!(h2::read_answer(response.await.expect("an answer")).await.expect("a body").text(), "ok");
}

#[test]
fn early_hints_of_an_http_2_upstream_reach_the_client() {
    let go = std::sync::Arc::new(tokio::sync::Notify::new());
    let wait = go.clone();
    let upstream = h2::Upstream::start(move |_, mut respond| {
        let wait = wait.clone();
        async move {
            let hints = http::Response::builder().status(103).header("link", "</a.css>; rel=preload");
            respond.send_informational(hints.body(()).expect("hints")).expect("sent");
            wait.notified().await;
            let mut stream = respond.send_response(http::Response::new(()), false).expect("sent");
            stream.send_data("ok".into(), true).expect("sent");
        }
    });
    let gateway = front_with("", upstream.address, "protocol: http2", "");
    h2::run(async {
        let client = h2::Client::connect(gateway.address).await;
        hinted(&client, || go.notify_one()).await;
    });
    let mut client = Client::connect(gateway.address);
    client.write("GET / HTTP/1.1\r\nhost: a.test\r\n\r\n");
    assert!(client.read_line().starts_with("HTTP/1.1 103"));
    assert_eq!(
        (client.read_line().as_str(), client.read_line().as_str()),
        ("link: </a.css>; rel=preload\r\n", "\r\n")
    );
    go.notify_one();
    assert_eq!(client.read().expect("an answer").text(), "ok");
}

#[test]
fn hints_say_nothing_about_the_upstreams_own_hop() {
    let hints = "HTTP/1.1 103 Early Hints\r\nlink: </a.css>; rel=preload\r\nconnection: x-secret\r\nx-secret: inside\r\nkeep-alive: timeout=5\r\ntransfer-encoding: chunked\r\n\r\n";
    let upstream = Upstream::scripted(move |_| {
        Some(format!("{hints}HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").into_bytes())
    });
    let gateway = front(upstream.address);
    let mut client = Client::connect(gateway.address);
    client.write("GET / HTTP/1.1\r\nhost: a.test\r\n\r\n");
    let mut seen = String::new();
    while !seen.ends_with("\r\n\r\n") {
        seen.push_str(&client.read_line().to_ascii_lowercase());
    }
    assert!(seen.starts_with("http/1.1 103") && seen.contains("link: </a.css>"), "{seen}");
    for hidden in ["x-secret", "keep-alive: timeout", "transfer-encoding"] {
        assert!(!seen.contains(hidden), "{hidden}: {seen}");
    }
    assert_eq!(client.read().expect("an answer").text(), "ok");
}

#[test]
fn an_answer_that_comes_before_the_body_says_that_the_connection_ends() {
    // The answer has a body of its own, which flows, and nobody reads the request's.
    let upstream = Upstream::raw(|mut reader, _| {
        if head(&mut reader).is_some() {
            let _ = reader.get_mut().write_all(b"HTTP/1.1 413 No\r\ncontent-length: 5\r\n\r\nlarge");
            std::io::copy(&mut reader, &mut std::io::sink()).ok();
        }
    });
    let gateway = front_with("", upstream.address, "retry: {maxAttempts: 1}", "");
    let mut client = Client::connect(gateway.address);
    client.write("POST / HTTP/1.1\r\nhost: a.test\r\ncontent-length: 100\r\n\r\nbegin");
    let answer = client.read().expect("an answer");
    assert_eq!((answer.status, answer.text().as_str()), (413, "large"));
    assert_eq!(answer.header("connection"), Some("close"), "it does end");
    assert!(client.is_closed());
}
