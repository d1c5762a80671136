//! A browser: Chromium, which says itself by which protocol it was answered.

use std::process::Command;

use base64::Engine as _;

use super::{Front, ONE_WORKER};
use crate::harness::Upstream;

const PAGE: &str = "<!doctype html><title>t</title><body><script>
(async () => {
  const said = [];
  for (let at = 0; at < 20; at++) await (await fetch('/small?' + at)).text();
  const big = await (await fetch('/big')).arrayBuffer();
  const sent = await (await fetch('/sent', {method: 'POST', body: new Uint8Array(300000)})).text();
  const first = performance.getEntriesByType('navigation')[0].nextHopProtocol;
  const rest = new Set(performance.getEntriesByType('resource').map((one) => one.nextHopProtocol));
  document.body.textContent = `page ${first}, rest ${[...rest]}, big ${big.byteLength}, sent ${sent}`;
})().catch((error) => { document.body.textContent = 'failed: ' + error; });
</script>";

#[test]
fn chromium_is_served_over_http3() {
    let upstream = Upstream::scripted(|seen| {
        let (kind, body) = match seen.target() {
            "/page" => ("text/html", PAGE.to_owned()),
            "/big" => ("application/octet-stream", "x".repeat(3_000_000)),
            "/sent" => ("text/plain", seen.body.len().to_string()),
            other => ("text/plain", other.to_owned()),
        };
        let head =
            format!("HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n\r\n", body.len());
        Some((head + &body).into_bytes())
    });
    let front = Front::before(upstream.address, "true", "", ONE_WORKER);
    let key = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &front.certificate.public_key());
    let key = base64::engine::general_purpose::STANDARD.encode(key);
    let port = front.gateway.address.port();
    let profile = tempfile::tempdir().expect("a folder");
    let output = Command::new("chromium")
        .args(["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .arg(format!("--origin-to-force-quic-on=a.test:{port}"))
        .arg(format!("--ignore-certificate-errors-spki-list={key}"))
        .arg("--host-resolver-rules=MAP a.test 127.0.0.1")
        .args(["--virtual-time-budget=20000", "--timeout=30000", "--dump-dom"])
        .arg(format!("https://a.test:{port}/page"))
        .output()
        .expect("chromium is missing: run scripts/peers.sh");
    let (dom, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let said = "page h3, rest h3, big 3000000, sent 300000";
    assert!(dom.contains(said), "{dom}\n{errors}\n{}", front.gateway.stderr());
    let records = front.gateway.records(23);
    assert!(records.iter().all(|record| record["protocol"] == "HTTP/3"), "{records:?}");
}
