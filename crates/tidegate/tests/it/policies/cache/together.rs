//! Many requests at once, and answers that are given while something goes on behind.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use super::*;

/// Asks for a path this many times at once.
fn at_once(gateway: &Gateway, count: usize, path: &str) -> Vec<Answer> {
    let address = gateway.address;
    std::thread::scope(|scope| {
        let one = || {
            let mut client = Client::connect(address);
            client.get(path).expect("an answer")
        };
        let all: Vec<_> = (0..count).map(|_| scope.spawn(one)).collect();
        all.into_iter().map(|one| one.join().expect("no panic")).collect()
    })
}

/// An upstream that takes a second.
fn slow(fields: &'static str) -> Upstream {
    Upstream::scripted(move |_| {
        pause(1_000);
        answer(fields, "slowly")
    })
}

#[test]
fn requests_for_the_same_wait_for_one_answer() {
    let upstream = slow("cache-control: max-age=60");
    let gateway = cached(&upstream, "{}");
    let answers = at_once(&gateway, 20, "/a");
    assert!(answers.iter().all(|answer| answer.text() == "slowly"));
    assert_eq!(upstream.seen().len(), 1);
    let waited = answers.iter().filter(|answer| status(answer).ends_with("; collapsed")).count();
    assert!(waited >= 10, "{waited} of 19 came while the first was on its way");
    let apart = slow("cache-control: max-age=60");
    let gateway = cached(&apart, "{collapse: 0s}");
    at_once(&gateway, 5, "/a");
    assert_eq!(apart.seen().len(), 5);
}

#[test]
fn nobody_waits_in_line_for_what_is_not_kept() {
    let upstream = slow("cache-control: no-store");
    let gateway = cached(&upstream, "{}");
    let start = std::time::Instant::now();
    at_once(&gateway, 10, "/a");
    // One for the first, one for all others at once.
    assert!(start.elapsed().as_millis() < 2_900, "{:?}", start.elapsed());
    assert_eq!(upstream.seen().len(), 10);
    let start = std::time::Instant::now();
    at_once(&gateway, 10, "/a");
    assert!(start.elapsed().as_millis() < 1_900, "it is known by now: {:?}", start.elapsed());
}

#[test]
fn when_the_first_leaves_one_of_the_others_asks_for_all_of_them() {
    let upstream = slow("cache-control: max-age=60");
    let gateway = cached(&upstream, "{}");
    let mut first = Client::connect(gateway.address);
    first.write("GET /a HTTP/1.1\r\nhost: test.example\r\n\r\n");
    eventually("it is asked for", || upstream.seen().len() == 1);
    let start = std::time::Instant::now();
    let answers = std::thread::scope(|scope| {
        let others = scope.spawn(|| at_once(&gateway, 20, "/a"));
        pause(300);
        drop(first);
        others.join().expect("no panic")
    });
    assert!(answers.iter().all(|answer| answer.text() == "slowly"));
    assert!(start.elapsed().as_millis() < 3_000, "{:?}", start.elapsed());
    assert_eq!(upstream.seen().len(), 2);
}

/// An upstream that takes half a second and says which language it was asked for.
fn in_languages() -> Upstream {
    Upstream::scripted(|seen| {
        pause(500);
        answer(
            "cache-control: max-age=60\nvary: accept-language",
            seen.header("accept-language").unwrap_or("none"),
        )
    })
}

#[test]
fn when_the_answer_is_for_another_language_one_asks_for_all_of_this() {
    let upstream = in_languages();
    let gateway = cached(&upstream, "{}");
    let answers = std::thread::scope(|scope| {
        let first = scope.spawn(|| ask(&gateway, "/a", "\naccept-language: de"));
        eventually("it is asked for", || upstream.seen().len() == 1);
        let others: Vec<_> =
            (0..20).map(|_| scope.spawn(|| ask(&gateway, "/a", "\naccept-language: en"))).collect();
        assert_eq!(first.join().expect("no panic").text(), "de");
        others.into_iter().map(|one| one.join().expect("no panic").text()).collect::<Vec<_>>()
    });
    assert!(answers.iter().all(|text| text == "en"), "{answers:?}");
    assert_eq!(upstream.seen().len(), 2);
}

#[test]
fn after_a_failure_others_wait_for_one_another_again() {
    let count = AtomicUsize::new(0);
    let upstream = Upstream::scripted(move |_| match count.fetch_add(1, Ordering::Relaxed) {
        0 => Some(b"HTTP/1.1 503 X\r\ncontent-length: 3\r\n\r\nill".to_vec()),
        _ => {
            pause(500);
            answer("cache-control: max-age=60", "well")
        }
    });
    let gateway = cached(&upstream, "{}");
    assert_eq!(at_once(&gateway, 1, "/a")[0].status, 503);
    assert!(at_once(&gateway, 10, "/a").iter().all(|answer| answer.text() == "well"));
    assert_eq!(upstream.seen().len(), 2);
}

#[test]
fn who_must_ask_each_time_does_not_stand_in_line() {
    let upstream = Upstream::scripted(|seen| {
        pause(500);
        match seen.header("if-none-match") {
            Some(_) => Some(b"HTTP/1.1 304 X\r\ncache-control: no-cache\r\netag: \"1\"\r\n\r\n".to_vec()),
            None => answer("cache-control: no-cache\netag: \"1\"", "page"),
        }
    });
    let gateway = cached(&upstream, "{}");
    at_once(&gateway, 1, "/a");
    let start = std::time::Instant::now();
    assert!(at_once(&gateway, 6, "/a").iter().all(|answer| answer.text() == "page"));
    assert!(start.elapsed().as_millis() < 950, "{:?}", start.elapsed());
}

#[test]
fn a_stale_answer_is_given_at_once_while_a_new_one_is_fetched() {
    let upstream = Arc::new(AtomicUsize::new(0));
    let count = upstream.clone();
    let origin = Upstream::scripted(move |seen| {
        let count = count.fetch_add(1, Ordering::Relaxed) + 1;
        if count > 1 {
            pause(400);
        }
        let asked = seen.header("if-none-match").unwrap_or("nothing");
        answer(
            &format!(
                "cache-control: max-age=1, stale-while-revalidate=60\netag: \"{count}\"\nx-asked: {asked}"
            ),
            &format!("answer {count}"),
        )
    });
    let gateway = cached(&origin, "{}");
    ask(&gateway, "/a", "");
    pause(1_200);
    let start = std::time::Instant::now();
    for _ in 0..3 {
        let stale = ask(&gateway, "/a", "");
        assert_eq!(stale.text(), "answer 1");
        assert!(status(&stale).starts_with("tidegate; hit; ttl="), "{}", status(&stale));
    }
    assert!(start.elapsed().as_millis() < 400, "{:?}", start.elapsed());
    eventually("the new one is there", || ask(&gateway, "/a", "").text() != "answer 1");
    let fresh = origin.seen().into_iter().nth(1).expect("a request beside the calls");
    assert_eq!((fresh.header("if-none-match"), fresh.header("host")), (Some("\"1\""), Some("a.test")));
    assert_eq!(origin.seen().len(), 2, "one for all three");
    let refreshes = gateway.metric("tidegate_cache_refreshes_total{cache=\"routes/r\",result=\"renewed\"}");
    assert!(refreshes.is_some_and(|count| count >= 1.0), "{refreshes:?}");
}

#[test]
fn an_answer_that_is_fetched_beside_a_call_is_masked_and_tagged_like_any_other() {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    let origin = Upstream::scripted(move |_| {
        let count = count.fetch_add(1, Ordering::Relaxed) + 1;
        answer(
            "cache-control: max-age=1, stale-while-revalidate=60\ncontent-type: application/json",
            &format!("{{\"email\":\"ann@example.com\",\"n\":{count}}}"),
        )
    });
    let gateway = Gateway::start(&format!(
        "upstreams: [{{name: u, endpoints: [{{address: \"{}\"}}]}}]
routes: [{{name: r, match: [{{path: {{prefix: /}}}}], policies: [{{cache: {{}}}}, {{etag: {{}}}}, {{mask: {{fields: [email]}}}}], backends: [{{upstream: u}}]}}]\n",
        origin.address
    ));
    let seen = |answer: &Answer| (answer.json()["email"].clone(), answer.json()["n"].as_u64());
    let first = ask(&gateway, "/a", "");
    assert_eq!(seen(&first), ("[masked]".into(), Some(1)));
    pause(1_200);
    assert_eq!(seen(&ask(&gateway, "/a", "")).1, Some(1), "the stale one, while another is fetched");
    let mut renewed = first.clone();
    eventually("the new one is there", || {
        renewed = ask(&gateway, "/a", "");
        seen(&renewed).1 != Some(1)
    });
    assert_eq!(seen(&renewed).0, "[masked]");
    assert!(renewed.header("etag").is_some() && renewed.header("etag") != first.header("etag"));
    let refreshes = gateway.metric("tidegate_cache_refreshes_total{cache=\"routes/r\",result=\"renewed\"}");
    assert!(refreshes.is_some_and(|count| count >= 1.0), "{refreshes:?}");
}

#[test]
fn an_answer_that_is_fetched_beside_a_call_and_cannot_be_masked_is_not_kept() {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    let origin = Upstream::scripted(move |_| {
        let body = match count.fetch_add(1, Ordering::Relaxed) {
            0 => "{\"email\":\"ann@example.com\"}",
            _ => "{\"email\":\"ann@example.com\"",
        };
        answer("cache-control: max-age=1, stale-while-revalidate=60\ncontent-type: application/json", body)
    });
    let gateway = Gateway::start(&format!(
        "upstreams: [{{name: u, endpoints: [{{address: \"{}\"}}]}}]
routes: [{{name: r, match: [{{path: {{prefix: /}}}}], policies: [{{cache: {{}}}}, {{mask: {{fields: [email]}}}}], backends: [{{upstream: u}}]}}]\n",
        origin.address
    ));
    ask(&gateway, "/a", "");
    pause(1_200);
    for _ in 0..3 {
        let stale = ask(&gateway, "/a", "");
        assert_eq!((stale.status, stale.json()["email"].as_str()), (200, Some("[masked]")));
        pause(200);
    }
    let failed = || gateway.metric("tidegate_cache_refreshes_total{cache=\"routes/r\",result=\"failed\"}");
    eventually("it is told", || failed().is_some_and(|count| count >= 1.0));
}

#[test]
fn a_stale_answer_stands_in_for_an_error_where_it_may() {
    for (settings, control, want) in [
        ("{}", "max-age=1, stale-if-error=60", 200),
        ("{}", "max-age=1", 503),
        ("{staleIfError: 1m}", "max-age=1", 200),
        ("{staleIfError: 1m}", "max-age=1, must-revalidate", 503),
        ("{staleIfError: 1m}", "s-maxage=1", 503),
        ("{staleIfError: 1m}", "max-age=1, no-cache", 503),
    ] {
        let is_ill = Arc::new(AtomicBool::new(false));
        let ill = is_ill.clone();
        let upstream = Upstream::scripted(move |_| match ill.load(Ordering::Relaxed) {
            true => Some(b"HTTP/1.1 503 X\r\ncontent-length: 3\r\n\r\nill".to_vec()),
            false => answer(&format!("cache-control: {control}\netag: \"1\""), "well"),
        });
        let gateway = cached(&upstream, settings);
        ask(&gateway, "/a", "");
        is_ill.store(true, Ordering::Relaxed);
        pause(1_200);
        let got = ask(&gateway, "/a", "");
        assert_eq!(got.status, want, "{settings} {control}");
        if want == 200 {
            assert_eq!(got.text(), "well");
            assert!(
                status(&got).starts_with("tidegate; fwd=stale; fwd-status=503; ttl="),
                "{}",
                status(&got)
            );
            let address = upstream.address;
            drop(upstream);
            eventually("nobody listens", || std::net::TcpStream::connect(address).is_err());
            assert_eq!(ask(&gateway, "/a", "").status, 200, "also when nobody is there at all");
        }
    }
}
