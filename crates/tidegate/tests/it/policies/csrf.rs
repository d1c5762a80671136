//! `csrf`, and what a browser says of where its requests come from.

use std::process::Command;

use serde_json::json;

use super::{
    super::harness::{Answer, Gateway, Upstream, eventually},
    guarded, refused, routed, with_policies,
};

fn post(gateway: &Gateway, headers: &str) -> Answer {
    gateway.send(&format!("POST /a HTTP/1.1\nhost: shop.test\ncontent-length: 0{headers}"), b"")
}

#[test]
fn what_other_sites_send_is_refused_and_ones_own_passes() {
    let (gateway, upstream) =
        guarded("[{csrf: {allowOrigins: ['https://app.test', 'https://*.partner.test']}}]", "");
    for headers in [
        "",
        "\nsec-fetch-site: same-origin",
        "\nsec-fetch-site: same-origin\norigin: null",
        "\nsec-fetch-site: none",
        "\nsec-fetch-site: cross-site\norigin: https://app.test",
        "\norigin: http://shop.test",
        "\norigin: https://shop.test",
        "\norigin: https://eu.partner.test",
        "\nreferer: https://shop.test/form",
    ] {
        assert_eq!(post(&gateway, headers).status, 200, "{headers}");
    }
    let passed = upstream.seen().len();
    for headers in [
        "\nsec-fetch-site: cross-site",
        "\nsec-fetch-site: cross-site\norigin: http://shop.test",
        "\nsec-fetch-site: same-site\norigin: http://other.shop.test",
        "\nsec-fetch-site: same-origin\nsec-fetch-site: same-origin",
        "\norigin: https://evil.test",
        "\norigin: https://shop.test:8443",
        "\norigin: https://shop.test.evil.test",
        "\norigin: https://evilpartner.test",
        "\norigin: null",
        "\norigin: http://shop.test\norigin: http://shop.test",
        "\nreferer: https://evil.test/https://shop.test/",
        // A name cannot be taken out of the way of the policy.
        "\norigin: https://evil.test\nconnection: origin",
        "\nsec-fetch-site: cross-site\nconnection: sec-fetch-site",
    ] {
        let answer = post(&gateway, headers);
        assert_eq!((answer.status, answer.problem().as_deref()), (403, Some("forbidden")), "{headers}");
        assert!(!answer.text().contains("evil"), "{}", answer.text());
    }
    assert_eq!(upstream.seen().len(), passed, "nothing of them came to the upstream");
    let evil = "GET /a HTTP/1.1\nhost: shop.test\nsec-fetch-site: cross-site\norigin: https://evil.test";
    assert_eq!(gateway.send(evil, b"").status, 200, "what changes nothing may come from anywhere");
    let record = gateway.record("of another site", |record| {
        record["judged"][0]["reason"] == "`Sec-Fetch-Site` is cross-site"
    });
    let want = json!([{"policy": "csrf", "outcome": "refused", "reason": "`Sec-Fetch-Site` is cross-site"}]);
    assert_eq!((&record["judged"], &record["stopped_by"]), (&want, &json!("csrf")), "{record}");
    eventually("the metrics", || {
        let count = |outcome| {
            gateway.metric(&format!("tidegate_csrf_total{{policy=\"routes/r/csrf\",outcome=\"{outcome}\"}}"))
        };
        (count("passed"), count("refused"), count("detected")) == (Some(9.0), Some(13.0), Some(0.0))
    });
}

#[test]
fn a_handshake_of_another_origin_opens_no_websocket() {
    let ask = |gateway: &Gateway, origin: &str| {
        let head = "GET /ws HTTP/1.1\nhost: shop.test\nupgrade: websocket\nsec-websocket-version: 13\n\
                    sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==";
        gateway.send(&format!("{head}{origin}\nconnection: upgrade"), b"")
    };
    let (gateway, upstream) =
        routed("match: [{path: {prefix: /}}], policies: [{csrf: {}}], websocket: true", "");
    assert_eq!(ask(&gateway, "\norigin: https://evil.test").status, 403);
    assert_eq!(ask(&gateway, "\norigin: null").status, 403);
    assert!(upstream.seen().is_empty());
    for origin in ["\norigin: https://shop.test", ""] {
        assert_ne!(ask(&gateway, origin).status, 403, "{origin}");
    }
    assert_eq!(upstream.seen().len(), 2, "they came to the upstream");
    let (gateway, _upstream) =
        routed("match: [{path: {prefix: /}}], policies: [{csrf: {webSockets: false}}], websocket: true", "");
    assert_ne!(ask(&gateway, "\norigin: https://evil.test").status, 403);
}

#[test]
fn each_setting_has_its_effect() {
    let status = |settings: &str, headers: &str| {
        let (gateway, _upstream) = guarded(&format!("[{{csrf: {{{settings}}}}}]"), "");
        post(&gateway, headers).status
    };
    assert_eq!(status("withoutHeaders: refuse", ""), 403);
    assert_eq!(status("allowSameSite: true", "\nsec-fetch-site: same-site"), 200);
    assert_eq!(status("referer: false", "\nreferer: https://evil.test/"), 200);
    assert_eq!(status("safeMethods: [GET]", "\norigin: https://evil.test"), 403);
    let (gateway, upstream) = guarded("[{csrf: {mode: detect}}]", "");
    assert_eq!(post(&gateway, "\norigin: https://evil.test").status, 200);
    assert_eq!(upstream.seen().len(), 1);
    let record = gateway.record("the call", |record| record["status"] == 200);
    assert_eq!(record["judged"][0]["outcome"], "detected", "{record}");
    for (settings, words) in [
        ("allowOrigins: ['*']", "then nothing is refused"),
        ("allowOrigins: ['null']", "any site"),
        ("allowOrigins: [app.test]", "expected an origin"),
        ("safeMethods: [GET, POST]", "is not safe"),
        ("mode: off", "enforce"),
    ] {
        refused(&with_policies(&format!("[{{csrf: {{{settings}}}}}]")), &[words]);
    }
}

#[test]
fn behind_a_trusted_proxy_the_origin_is_the_one_that_it_was_asked_for() {
    let gateway = Gateway::with(
        "trustedProxies: [127.0.0.1/32]",
        "routes: [{name: r, match: [{path: {prefix: /}}], policies: [{csrf: {}}], respond: {}}]\n",
    );
    let by = |origin: &str| {
        let proxied = "\nx-forwarded-for: 192.0.2.1\nx-forwarded-host: www.test\nx-forwarded-proto: https";
        post(&gateway, &format!("{proxied}\norigin: {origin}")).status
    };
    assert_eq!((by("https://www.test"), by("https://shop.test"), by("http://www.test")), (200, 403, 403));
}

/// Posts to the address in its query, and says what it may know of the answer.
const PAGE: &str = "<!doctype html><title>t</title><body><script>
fetch(location.search.slice(1), {method: 'POST', mode: 'no-cors', body: 'x'}).then(
  (answer) => { document.body.textContent = `said ${answer.type} ${answer.status}`; },
  (error) => { document.body.textContent = `failed: ${error}`; });
</script>";

/// What Chromium shows of a page.
fn visit(address: &str) -> String {
    let profile = tempfile::tempdir().expect("a folder");
    let output = Command::new("chromium")
        .args(["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .arg("--host-resolver-rules=MAP *.test 127.0.0.1")
        .args(["--virtual-time-budget=20000", "--timeout=30000", "--dump-dom"])
        .arg(address)
        .output()
        .expect("chromium is missing: run scripts/peers.sh");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn chromium_is_told_apart_by_what_it_says_of_the_page() {
    let site = Upstream::scripted(|seen| {
        let is_page = seen.line.starts_with("GET");
        let (kind, body) = if is_page { ("text/html", PAGE) } else { ("text/plain", "ok") };
        let head =
            format!("HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n\r\n", body.len());
        Some((head + body).into_bytes())
    });
    let gateway = Gateway::start(&format!(
        "accessLog: [{{kind: stdout}}]
upstreams: [{{name: u, endpoints: [{{address: \"{}\"}}]}}]
routes: [{{name: r, match: [{{path: {{prefix: /}}}}], policies: [{{csrf: {{}}}}], backends: [{{upstream: u}}]}}]\n",
        site.address
    ));
    let (own, theirs) = (gateway.address.port(), site.address.port());
    for (page, to, reason) in [
        (format!("http://127.0.0.1:{own}"), "/one".to_owned(), None),
        (
            format!("http://localhost:{theirs}"),
            format!("http://127.0.0.1:{own}/two"),
            Some("`Sec-Fetch-Site` is cross-site".to_owned()),
        ),
        // Without TLS and off this machine a browser says the origin alone.
        (format!("http://shop.test:{own}"), "/three".to_owned(), None),
        (
            format!("http://evil.test:{theirs}"),
            format!("http://shop.test:{own}/four"),
            Some(format!("`Origin` is http://evil.test:{theirs}")),
        ),
    ] {
        let shown = visit(&format!("{page}/page?{to}"));
        let said = if reason.is_none() { "said basic 200" } else { "said opaque 0" };
        assert!(shown.contains(said), "{page}: {shown}");
        let path = &to[to.rfind('/').expect("a path")..];
        let record = gateway.record(path, |record| record["path"] == path);
        assert_eq!(record["status"], if reason.is_none() { 200 } else { 403 }, "{record}");
        assert_eq!(record["judged"][0]["reason"].as_str(), reason.as_deref(), "{record}");
    }
}
