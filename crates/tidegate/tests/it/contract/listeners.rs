//! Its listeners, its admin endpoint and its access log.

use std::sync::Arc;

use rustls::pki_types::ServerName;

use super::{
    super::{
        harness::{Client, eventually, get, h2, node_binary},
        wire::tls::{ask, client, dial, shown},
    },
    *,
};

#[test]
fn one_port_speaks_http1_and_cleartext_http2() {
    let behind = Behind::echoes();
    let served = Served::new(&behind);
    let address = served.gateway.address;
    assert_eq!(Client::connect(address).get("/ping").expect("an answer").text(), "{\"pong\":true}");
    h2::run(async {
        let client = h2::Client::connect(address).await;
        let answer = client.get("/ping").await.expect("an answer");
        assert_eq!((answer.status, answer.text().as_str()), (200, "{\"pong\":true}"));
    });
    let records = served.gateway.records(2);
    let mut versions: Vec<_> = records.iter().filter_map(|record| record["protocol"].as_str()).collect();
    versions.sort_unstable();
    assert_eq!(versions, ["HTTP/1.1", "HTTP/2"], "{records:?}");
}

#[test]
fn tls_agrees_on_h2_or_http1() {
    let behind = Behind::echoes();
    let served = Served::new(&behind);
    for (offered, chosen) in
        [(&["h2", "http/1.1"][..], Some("h2")), (&["http/1.1"], Some("http/1.1")), (&[], None)]
    {
        let config = client(served.authority.roots(), None, offered);
        let mut stream = dial(served.tls, &config, "api.example.test").expect("a connection");
        assert_eq!(stream.conn.alpn_protocol(), chosen.map(str::as_bytes), "{offered:?}");
        if chosen != Some("h2") {
            let answer = ask(&mut stream, "api.example.test", "/ping").expect("an answer");
            assert_eq!(answer.text(), "{\"pong\":true}");
        }
    }
    h2::run(async {
        let config = client(served.authority.roots(), None, &["h2"]);
        let io = tokio::net::TcpStream::connect(served.tls).await.expect("a connection");
        let name = ServerName::try_from("api.example.test").expect("a name");
        let io = tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, io).await.expect("TLS");
        let client = h2::Client::over(io).await;
        let request = http::Request::get("https://api.example.test/ping").body(()).expect("a request");
        let answer = client.fetch(request, b"", None).await.expect("an answer");
        assert_eq!((answer.status, answer.text().as_str()), (200, "{\"pong\":true}"));
    });
}

#[test]
fn the_certificate_is_chosen_by_sni() {
    // The reference has one certificate, between which nothing can be chosen: a second one stands beside it.
    let one = "- {certFile: certs/api.crt, keyFile: certs/api.key}";
    let two = one.replace("/api.", "/shop.");
    let behind = Behind::echoes();
    let served = Served::changed(&behind, "", |text| replaced(&text, one, &format!("{one}\n        {two}")));
    let config = client(served.authority.roots(), None, &[]);
    let certificate = |name: &str| shown(&dial(served.tls, &config, name).expect(name));
    assert!(certificate("api.example.test") != certificate("a.shop.example.test"));
    // Each handshake above ended well, so each name was shown a certificate that is for it.
    assert!(dial(served.tls, &config, "other.test").is_err(), "a name that no certificate is for");
}

#[test]
fn new_certificate_files_are_shown_without_a_restart() {
    let behind = Behind::echoes();
    let served = Served::new(&behind);
    let config = client(served.authority.roots(), None, &["http/1.1"]);
    let certificate = || shown(&dial(served.tls, &config, "api.example.test").expect("a connection"));
    let mut kept = dial(served.tls, &config, "api.example.test").expect("a connection");
    let before = certificate();
    let fresh = served.authority.issue(&["api.example.test"]);
    fresh.write(&served.gateway.folder.path().join("conf/certs"), "api");
    eventually("the new certificate", || certificate() == fresh.cert);
    assert!(before != fresh.cert);
    assert_eq!(ask(&mut kept, "api.example.test", "/ping").expect("an answer").status, 200, "nothing is cut");
}

#[test]
fn admin_answers_where_the_comment_says() {
    let behind = Behind::echoes();
    let served = Served::new(&behind);
    let admin = served.gateway.admin;
    for path in ["/livez", "/readyz", "/metrics", "/"] {
        assert_eq!(get(admin, path).expect("an answer").status, 200, "{path}");
    }
    assert_eq!(get(admin, "/api/v1/status").expect("an answer").status, 401, "not without the token");
    let status = served.gateway.admin_get("/api/v1/status").json();
    let upstreams = status["upstreams"].as_array().expect("upstreams");
    let names: Vec<_> = upstreams.iter().filter_map(|upstream| upstream["name"].as_str()).collect();
    // Providers of models and servers of tools are upstreams, too.
    for name in ["catalog", "greeter", "orders", "orders-canary", "ai:openai", "ai:claude", "ai:local"] {
        assert!(names.contains(&name), "{name}: {status}");
    }
    assert_eq!(names.iter().filter(|name| name.starts_with("mcp:")).count(), 2, "{status}");
    assert_eq!(names.len(), 9, "{status}");
}

#[test]
fn the_console_stands_at_the_root_and_shows_what_runs() {
    let behind = Behind::echoes();
    let served = Served::new(&behind);
    let admin = served.gateway.admin;
    let page = get(admin, "/").expect("an answer");
    assert_eq!((page.status, page.header("content-type")), (200, Some("text/html; charset=utf-8")));
    let policy = page.header("content-security-policy").expect("a policy");
    assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
    assert_eq!(page.header("x-frame-options"), Some("DENY"));
    let text = page.text();
    // All that it loads is its own, and is there.
    let of = |begin: &str| -> Vec<String> {
        text.split(begin).skip(1).filter_map(|rest| rest.split('"').next().map(str::to_owned)).collect()
    };
    let loaded = [of("src=\""), of("<link rel=\"stylesheet\" href=\"")].concat();
    assert_eq!(loaded, ["/console.js", "/console.css"]);
    for (path, kind) in loaded.iter().zip(["text/javascript; charset=utf-8", "text/css; charset=utf-8"]) {
        let answer = get(admin, path).expect("an answer");
        assert_eq!((answer.status, answer.header("content-type")), (200, Some(kind)), "{path}");
    }
    // It says nothing of the gateway before it is shown the token, and what it asks for is there.
    assert!(!text.contains("catalog"));
    let script = get(admin, "/console.js").expect("an answer").text();
    let asked: Vec<&str> =
        script.split("\"/api/v1/").skip(1).filter_map(|rest| rest.split('"').next()).collect();
    // Those with a name behind them change something.
    let asked: Vec<&str> = asked.into_iter().filter(|path| !path.ends_with('/')).collect();
    for part in ["status", "stranglers", "mirrors", "budgets"] {
        assert!(asked.contains(&part), "{part}: {asked:?}");
    }
    for path in asked {
        let answer = served.gateway.admin_get(&format!("/api/v1/{path}"));
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
    }
    // What no browser could read would be a page without anything.
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("console.js");
    std::fs::write(&file, &script).expect("a file");
    let checked = node_binary().arg("--check").arg(&file).output().expect("Node runs");
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
    // Nothing of what it shows becomes a part of the page as markup.
    assert!(!script.contains("innerHTML") && !script.contains("eval("), "{script}");
}

#[test]
fn the_access_log_is_json_on_standard_output() {
    let behind = Behind::echoes();
    let served = Served::new(&behind);
    assert_eq!(served.ask("GET /v1/products?page=2", &format!("\nx-api-key: {GOLD}")).status, 200);
    let record = served.gateway.records(1).remove(0);
    for (field, value) in [
        ("listener", "public"),
        ("route", "catalog"),
        ("upstream", "catalog"),
        ("consumer", "gold"),
        ("method", "GET"),
    ] {
        assert_eq!(record[field], value, "{record}");
    }
    assert_eq!((&record["status"], &record["attempts"]), (&200.into(), &1.into()), "{record}");
    assert!(!served.gateway.stdout().contains(GOLD), "{record}");
}
