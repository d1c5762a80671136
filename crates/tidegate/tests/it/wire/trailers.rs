//! Trailers: both ways, between all pairs of versions, and never with what only a head may say.

use http::HeaderMap;

use super::super::harness::{Client, Gateway, Upstream, h2};

/// Fields that a head would have been judged by.
const FORBIDDEN: [(&str, &str); 7] = [
    ("authorization", "Bearer stolen"),
    ("x-forwarded-for", "127.0.0.1"),
    ("x-api-key", "stolen"),
    ("x-user", "admin"),
    ("cookie", "a=b"),
    ("x-request-id", "forged"),
    ("x-real-ip", "127.0.0.1"),
];

/// An upstream of either version that sends back the body and trailers that it got.
enum Echo {
    H1(Upstream),
    H2(h2::Upstream),
}

impl Echo {
    fn start(version: u8) -> Self {
        if version == 2 {
            return Self::H2(h2::Upstream::echo());
        }
        Self::H1(Upstream::scripted(|seen| {
            let mut answer = format!(
                "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\n{}\r\n0\r\n",
                seen.body.len(),
                String::from_utf8_lossy(&seen.body)
            );
            for (name, value) in &seen.trailers {
                answer.push_str(&format!("{name}: {value}\r\n"));
            }
            answer.push_str("x-check: good\r\n\r\n");
            Some(answer.into_bytes())
        }))
    }

    fn front(&self) -> Gateway {
        // Policies read and set two of the forbidden names.
        let route = "policies: [{keyAuth: {header: x-api-key, anonymous: nobody}}, {headers: {request: {set: {x-user: nobody}}}}]";
        let (address, protocol) = match self {
            Self::H1(upstream) => (upstream.address, "protocol: http1"),
            Self::H2(upstream) => (upstream.address, "protocol: http2"),
        };
        Gateway::start(&format!(
            "consumers: [{{name: nobody, keys: [key-of-nobody-in-particular]}}]
upstreams: [{{name: u, endpoints: [{{address: \"{address}\"}}], {protocol}}}]
routes: [{{name: r, match: [{{path: {{prefix: /}}}}], {route}, backends: [{{upstream: u}}]}}]
"
        ))
    }

    /// The trailers of the one request that it saw, in lower case.
    fn seen(&self) -> Vec<(String, String)> {
        match self {
            Self::H1(upstream) => {
                let seen = upstream.seen().pop().expect("a request");
                assert_eq!(seen.body, b"hello");
                seen.trailers.into_iter().map(|(name, value)| (name.to_ascii_lowercase(), value)).collect()
            }
            Self::H2(upstream) => {
                let seen = upstream.seen().pop().expect("a request");
                assert_eq!(seen.body, b"hello");
                let text = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
                    (name.to_string(), value.to_str().expect("text").to_owned())
                };
                seen.trailers.iter().map(text).collect()
            }
        }
    }
}

/// Sends a body with trailers and gives back the answer's trailers.
fn exchange(gateway: &Gateway, version: u8, trailers: &[(&str, &str)]) -> Vec<(String, String)> {
    if version == 1 {
        let mut client = Client::connect(gateway.address);
        client.write("POST / HTTP/1.1\r\nhost: a.test\r\nte: trailers\r\ntransfer-encoding: chunked\r\n\r\n");
        client.write("5\r\nhello\r\n0\r\n");
        for (name, value) in trailers {
            client.write(format!("{name}: {value}\r\n"));
        }
        client.write("\r\n");
        let answer = client.read().expect("an answer");
        assert_eq!((answer.status, answer.text().as_str()), (200, "hello"));
        return answer.trailers;
    }
    h2::run(async {
        let mut map = HeaderMap::new();
        for (name, value) in trailers {
            map.append(
                http::HeaderName::from_bytes(name.as_bytes()).expect("a name"),
                value.parse().expect("a value"),
            );
        }
        let client = h2::Client::connect(gateway.address).await;
        let answer = client.fetch(h2::request("POST", "/"), b"hello", Some(map)).await.expect("an answer");
        assert_eq!((answer.status, answer.text().as_str()), (200, "hello"));
        let text = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
            (name.to_string(), value.to_str().expect("text").to_owned())
        };
        answer.trailers.iter().map(text).collect()
    })
}

#[test]
fn trailers_pass_both_ways_between_all_versions() {
    for (client, upstream) in [(1, 1), (1, 2), (2, 1), (2, 2)] {
        let echo = Echo::start(upstream);
        let gateway = echo.front();
        let back = exchange(&gateway, client, &[("x-sum", "abc123")]);
        let sent = ("x-sum".to_owned(), "abc123".to_owned());
        assert!(echo.seen().contains(&sent), "HTTP/{client} to HTTP/{upstream}: {:?}", echo.seen());
        assert!(back.contains(&sent), "HTTP/{client} from HTTP/{upstream}: {back:?}");
    }
}

#[test]
fn trailers_cannot_carry_what_heads_may_not() {
    for (client, upstream) in [(1, 1), (1, 2), (2, 1), (2, 2)] {
        let echo = Echo::start(upstream);
        let gateway = echo.front();
        let trailers: Vec<_> = FORBIDDEN.into_iter().chain([("x-sum", "abc123")]).collect();
        exchange(&gateway, client, &trailers);
        assert_eq!(
            echo.seen(),
            [("x-sum".to_owned(), "abc123".to_owned())],
            "HTTP/{client} to HTTP/{upstream}"
        );
    }
}
