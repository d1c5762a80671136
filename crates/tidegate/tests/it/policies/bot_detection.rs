//! `botDetection`: with a name server that says what a test tells it to, or nothing at all.

use std::time::Instant;

use serde_json::json;

use super::{
    super::harness::{
        Answer, Gateway, Upstream,
        dns::{Data, NameServer, PTR, Say},
        eventually,
    },
    refused, with_policies,
};

const CHROME: &str = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36";
const GOOGLE: &str = "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)";
const BROWSER: &str = "\naccept: */*\naccept-language: en\naccept-encoding: gzip";

/// A gateway behind a trusted proxy on this machine, so that a test may come from anywhere.
fn gateway(settings: &str, server: Option<&NameServer>) -> (Gateway, Upstream) {
    let upstream = Upstream::echo();
    // Without a name server of the test's own nobody is asked.
    let (servers, verify) = match server {
        Some(server) => (format!("runtime: {{dnsServers: [\"{}\"]}}\n", server.address), ""),
        None => (String::new(), ", verify: {enabled: false}"),
    };
    let gateway = Gateway::with(
        "trustedProxies: [127.0.0.1/32]",
        &format!(
            "accessLog: [{{kind: stdout}}]
upstreams: [{{name: u, endpoints: [{{address: \"{}\"}}]}}]
routes:
  - {{name: r, match: [{{path: {{prefix: /}}}}], policies: [{{botDetection: {{header: x-bot{verify}{settings}}}}}], backends: [{{upstream: u}}]}}
{servers}",
            upstream.address
        ),
    );
    (gateway, upstream)
}

fn from(gateway: &Gateway, client: &str, agent: &str, more: &str) -> Answer {
    let agent = if agent.is_empty() { String::new() } else { format!("\nuser-agent: {agent}") };
    gateway.send(&format!("GET / HTTP/1.1\nhost: a\nx-forwarded-for: {client}{agent}{more}"), b"")
}

fn status(gateway: &Gateway, agent: &str, more: &str) -> u16 {
    from(gateway, "192.0.2.1", agent, more).status
}

fn told(upstream: &Upstream) -> String {
    let seen = upstream.seen().pop().expect("a request");
    let all = seen.headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case("x-bot"));
    all.map(|(_, value)| value.as_str()).collect::<Vec<_>>().join("|")
}

fn count(gateway: &Gateway, outcome: &str) -> Option<f64> {
    let policy = "policy=\"routes/r/botDetection\"";
    gateway.metric(&format!("tidegate_bot_detection_total{{{policy},outcome=\"{outcome}\"}}"))
}

#[test]
fn declared_bots_are_let_in_denied_or_limited_by_what_they_are_for() {
    let (gateway, upstream) = gateway(
        ", categories: {ai: deny, seo: limit, tool: allow}, bots: {ClaudeBot: allow}, limit: {calls: 2, window: 1h}, \
         declared: [{name: our-checker, agent: our-checker/, category: monitoring}]",
        None,
    );
    for (agent, want) in [
        (
            "Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko; compatible; GPTBot/1.2; +https://openai.com/gptbot)",
            403,
        ),
        ("mozilla/5.0 (compatible; gptBOT)", 403),
        ("Mozilla/5.0 (compatible; ClaudeBot/1.0; +claudebot@anthropic.com)", 200),
        ("sqlmap/1.7#stable (https://sqlmap.org)", 403),
        ("curl/8.5.0", 200),
        ("our-checker/1.0", 200),
        ("ShopApp/3.1 (iOS)", 200),
        ("Mozilla/5.0 (compatible; AhrefsBot/7.0; +http://ahrefs.com/robot/)", 200),
        ("Mozilla/5.0 (compatible; AhrefsBot/7.0; +http://ahrefs.com/robot/)", 200),
        ("Mozilla/5.0 (compatible; AhrefsBot/7.0; +http://ahrefs.com/robot/)", 429),
        ("Mozilla/5.0 (compatible; SemrushBot/7~bl; +http://www.semrush.com/bot.html)", 200),
    ] {
        let answer = from(&gateway, "192.0.2.1", agent, "");
        assert_eq!(answer.status, want, "{agent}");
        assert!(!answer.text().contains("GPTBot"), "{}", answer.text());
        assert_eq!(answer.header("retry-after").is_some(), want == 429, "{agent}");
    }
    assert_eq!(told(&upstream), "score=0; bot=SemrushBot; category=seo; identity=declared");
    let record = gateway.record("a denied one", |record| record["status"] == 403);
    assert_eq!(record["stopped_by"], "botDetection", "{record}");
    assert!(
        record["judged"][0]["reason"].as_str().is_some_and(|reason| reason.contains("is denied")),
        "{record}"
    );
    eventually("the metrics", || {
        (count(&gateway, "denied"), count(&gateway, "limited"), count(&gateway, "passed"))
            == (Some(3.0), Some(1.0), Some(1.0))
    });
}

#[test]
fn who_hides_it_is_found_by_signs_that_add_up() {
    let (gateway, upstream) = gateway("", None);
    let headless = CHROME.replace("Chrome/", "HeadlessChrome/");
    let old = CHROME.replace("Chrome/131", "Chrome/49");
    let lying = format!("{BROWSER}\nsec-ch-ua: \"Chromium\";v=\"120\"");
    for (what, agent, more, want, score) in [
        ("a browser", CHROME, BROWSER, 200, "score=0"),
        ("without an agent", "", BROWSER, 403, ""),
        ("two agents", CHROME, &format!("{BROWSER}\nuser-agent: {CHROME}"), 403, ""),
        ("headless", &headless, BROWSER, 403, ""),
        ("old", &old, BROWSER, 200, "score=40; signs=ancient-agent"),
        ("old and bare", &old, "", 403, ""),
        ("bare", CHROME, "", 200, "score=30; signs=missing-headers"),
        ("contradicting", CHROME, &lying, 200, "score=40; signs=inconsistent"),
        ("forged", CHROME, &format!("{BROWSER}\nx-bot: score=0; identity=verified"), 200, "score=0"),
        ("made to forget", &headless, &format!("{BROWSER}\nconnection: user-agent"), 403, ""),
    ] {
        assert_eq!(status(&gateway, agent, more), want, "{what}");
        if want == 200 {
            assert_eq!(told(&upstream), score, "{what}");
        }
    }
    let record = gateway
        .record("old and bare", |record| record["judged"][0]["reason"] == "ancient-agent+missing-headers");
    assert_eq!((&record["judged"][0]["score"], &record["status"]), (&json!(70), &json!(403)), "{record}");
    let (flagging, upstream) = self::gateway(", mode: flag, categories: {ai: deny}", None);
    assert_eq!(status(&flagging, &headless, BROWSER), 200);
    assert_eq!(told(&upstream), "score=80; signs=headless");
    assert_eq!(status(&flagging, "GPTBot/1.2", ""), 200);
    assert_eq!(told(&upstream), "score=0; bot=GPTBot; category=ai; identity=declared");
    let record = flagging.record("a flagged one", |record| record["judged"][0]["score"] == 80);
    assert_eq!(record["judged"][0]["outcome"], "flagged", "{record}");
    let (other, _upstream) = self::gateway(
        ", threshold: 90, oldest: {chrome: 200}, scores: {emptyAgent: 0, ancientAgent: 100}",
        None,
    );
    assert_eq!((status(&other, "", ""), status(&other, CHROME, BROWSER)), (200, 403));
}

/// A name server that knows the names of these addresses, and which addresses they have.
fn names(server: &NameServer, reverse: &str, name: &str, addresses: &[&str]) {
    server.say(reverse, PTR, Say::Records(60, vec![Data::Name(name.to_owned())]));
    server.addresses(name, 60, addresses);
}

#[test]
fn good_bots_are_verified_by_names_that_lead_back_and_impostors_are_refused() {
    let server = NameServer::start();
    names(&server, "1.2.0.192.in-addr.arpa", "crawl-1.googlebot.com", &["192.0.2.1", "192.0.2.99"]);
    // A name that anybody could give his own address, and one that does not lead back.
    names(&server, "2.2.0.192.in-addr.arpa", "googlebot.com.evil.test", &["192.0.2.2"]);
    names(&server, "3.2.0.192.in-addr.arpa", "crawl-3.googlebot.com", &["192.0.2.1"]);
    names(&server, "4.2.0.192.in-addr.arpa", "msnbot-4.search.msn.com", &["192.0.2.4"]);
    let nibbles = "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa";
    names(&server, nibbles, "crawl-6.googlebot.com", &["2001:db8::1"]);
    let (gateway, upstream) = gateway("", Some(&server));
    for (client, want) in [
        ("192.0.2.1", 200),
        ("::ffff:192.0.2.1", 200),
        ("192.0.2.2", 403),
        ("192.0.2.3", 403),
        ("192.0.2.4", 403),
        ("192.0.2.5", 403),
        ("2001:db8::1", 200),
    ] {
        let answer = from(&gateway, client, GOOGLE, "");
        assert_eq!(answer.status, want, "{client} {}", gateway.stdout());
        if want == 200 {
            assert_eq!(told(&upstream), "score=0; bot=Googlebot; category=searchEngine; identity=verified");
        }
    }
    assert_eq!(from(&gateway, "192.0.2.4", "Mozilla/5.0 (compatible; bingbot/2.0)", "").status, 200);
    for _ in 0..20 {
        assert_eq!(from(&gateway, "192.0.2.1", GOOGLE, "").status, 200);
    }
    assert_eq!(server.asked("1.2.0.192.in-addr.arpa", PTR), 1, "what was found out is kept");
    assert_eq!(
        server.asked("googlebot.com.evil.test", super::super::harness::dns::A),
        0,
        "nobody's own zone is asked"
    );
    assert_eq!(from(&gateway, "192.0.2.1", CHROME, BROWSER).status, 200);
    let record = gateway.record("an impostor", |record| record["client_ip"] == "192.0.2.3");
    assert_eq!(
        record["judged"],
        json!([{"policy": "botDetection", "outcome": "refused", "reason": "it is not Googlebot, which it says it is", "score": 100}])
    );
    eventually("the metrics", || {
        (count(&gateway, "verified"), count(&gateway, "impostor")) == (Some(24.0), Some(4.0))
    });
}

#[test]
fn name_servers_that_hang_or_fail_hold_up_nobody_for_long() {
    let server = NameServer::start();
    server.say("1.2.0.192.in-addr.arpa", PTR, Say::Silence);
    server.say("2.2.0.192.in-addr.arpa", PTR, Say::Failure);
    names(&server, "3.2.0.192.in-addr.arpa", "crawl-3.googlebot.com", &[]);
    server.say("crawl-3.googlebot.com", super::super::harness::dns::A, Say::Silence);
    let (gateway, upstream) = gateway(
        ", verify: {timeout: 300ms, failureTtl: 60s, maxAddresses: 50, unverified: allow}",
        Some(&server),
    );
    for client in ["192.0.2.1", "192.0.2.2", "192.0.2.3"] {
        let start = Instant::now();
        assert_eq!(from(&gateway, client, GOOGLE, "").status, 200, "{client}");
        let took = start.elapsed().as_millis();
        assert!(took < 2_000, "{client}: {took} ms");
        assert_eq!(told(&upstream), "score=0; bot=Googlebot; category=searchEngine; identity=unverified");
    }
    // A flood from addresses without number: so many are asked about at a time, and others pass at once.
    let start = Instant::now();
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let (gateway, server) = (&gateway, &server);
            scope.spawn(move || {
                for number in 0..50 {
                    let (high, low) = (thread, number);
                    server.say(&format!("{low}.{high}.51.198.in-addr.arpa"), PTR, Say::Silence);
                    assert_eq!(from(gateway, &format!("198.51.{high}.{low}"), GOOGLE, "").status, 200);
                }
            });
        }
    });
    let took = start.elapsed().as_secs();
    assert!(took < 15, "{took} s");
    assert!(count(&gateway, "unverified") >= Some(400.0));
    assert_eq!(from(&gateway, "192.0.2.9", CHROME, BROWSER).status, 200, "browsers wait for nothing");
}

#[test]
fn silence_is_no_way_in_and_takes_nothing_of_those_who_are_verified() {
    let server = NameServer::start();
    names(&server, "1.2.0.192.in-addr.arpa", "crawl-1.googlebot.com", &["192.0.2.1"]);
    for number in 2..=9 {
        server.say(&format!("{number}.2.0.192.in-addr.arpa"), PTR, Say::Failure);
    }
    let limit = "limit: {calls: 3, window: 1h}";
    let (limiting, _upstream) =
        gateway(&format!(", {limit}, categories: {{searchEngine: limit}}"), Some(&server));
    let ask = |client: &str| from(&limiting, client, GOOGLE, "").status;
    let impostors: Vec<u16> = (2..=6).map(|number| ask(&format!("192.0.2.{number}"))).collect();
    assert_eq!(impostors, [200, 200, 200, 429, 429], "together, by the name that they claim");
    let own: Vec<u16> = (0..4).map(|_| ask("192.0.2.1")).collect();
    assert_eq!(own, [200, 200, 200, 429], "who is verified has the limit for itself");
    let (denying, _upstream) = gateway(", verify: {unverified: deny}", Some(&server));
    assert_eq!(from(&denying, "192.0.2.2", GOOGLE, "").status, 403);
    assert_eq!(from(&denying, "192.0.2.1", GOOGLE, "").status, 200);
    // A name is no way around the signs.
    let (signs, upstream) = gateway("", Some(&server));
    let headless = format!("{} Googlebot/2.1", CHROME.replace("Chrome/", "HeadlessChrome/"));
    assert_eq!(from(&signs, "192.0.2.2", &headless, BROWSER).status, 403);
    assert_eq!(from(&signs, "192.0.2.1", &headless, BROWSER).status, 200);
    assert_eq!(told(&upstream), "score=0; bot=Googlebot; category=searchEngine; identity=verified");
}

#[test]
fn where_nothing_is_refused_nobody_waits_for_name_servers() {
    let server = NameServer::start();
    server.say("2.2.0.192.in-addr.arpa", PTR, Say::Silence);
    names(&server, "1.2.0.192.in-addr.arpa", "crawl-1.googlebot.com", &["192.0.2.1"]);
    let (gateway, upstream) = gateway(", mode: flag, verify: {timeout: 5s}", Some(&server));
    let start = Instant::now();
    assert_eq!(from(&gateway, "192.0.2.2", GOOGLE, "").status, 200);
    assert!(start.elapsed().as_millis() < 1_500, "{:?}", start.elapsed());
    eventually("a later call is told", || {
        from(&gateway, "192.0.2.1", GOOGLE, "").status == 200
            && told(&upstream).ends_with("identity=verified")
    });
}

#[test]
fn settings_that_cannot_be_are_refused() {
    for (settings, words) in [
        ("bots: {Gptbot: deny}", "no bot is called `Gptbot`"),
        ("categories: {robots: deny}", "is no category"),
        ("declared: [{name: x, agent: a}]", "three characters"),
        ("declared: [{name: 'a;b', agent: abc}]", "visible characters"),
        ("declared: [{name: x, agent: abc, domains: [com]}]", "expected a domain"),
        ("verify: {timeout: 60s}", "10s or less"),
        ("verify: {ttl: 0s}", "more than nothing"),
        ("header: upgrade", "gateway's own"),
        ("limit: {window: 0s}", "more than nothing"),
        ("mode: detect", "flag"),
        ("threshold: 0", "1"),
    ] {
        refused(&with_policies(&format!("[{{botDetection: {{{settings}}}}}]")), &[words]);
    }
}
