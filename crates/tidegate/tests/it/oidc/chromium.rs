//! Signing in as a person does it, in Chromium: cookies with `__Host-` and `SameSite` as a browser keeps them, pages of
//! other sites, two tabs at once, and out again.

use std::net::SocketAddr;

use serde_json::{Value, json};

use super::{
    super::harness::{Gateway, Peer, Upstream, free_port, identity_provider, standards_in_javascript},
    SECRET, telling,
};
use crate::wire::tls::Authority;

/// A page of another site.
fn elsewhere() -> Upstream {
    Upstream::scripted(|_| {
        let page = "<!doctype html><title>elsewhere</title><body>elsewhere</body>";
        let head =
            format!("HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: {}\r\n\r\n", page.len());
        Some((head + page).into_bytes())
    })
}

/// What an upstream saw of a path: who asked.
fn who(upstream: &Upstream, path: &str) -> Vec<Option<String>> {
    let seen = upstream.seen();
    let of_it = seen.iter().filter(|one| one.target() == path);
    of_it.map(|one| one.header("x-user").map(str::to_owned)).collect()
}

#[test]
fn a_person_signs_in_and_out_in_chromium_and_other_sites_bring_nobody_along() {
    let [address, issuer] = [(); 2].map(|()| SocketAddr::from(([127, 0, 0, 1], free_port())));
    let shop = format!("https://shop.test:{}", address.port());
    // So large that the session takes two cookies.
    let arguments = [&issuer.port().to_string(), &shop, r#"{"silent": true, "big": 4000}"#];
    let mut provider = Peer::start(identity_provider(include_str!("provider.mjs"), &arguments));
    assert_eq!(provider.line().as_deref(), Some("ready"));
    let (upstream, evil) = (telling(), elsewhere());
    let folder = tempfile::tempdir().expect("a folder");
    Authority::new("ca").issue(&["shop.test"]).write(folder.path(), "one");
    let text = format!(
        "accessLog: [{{kind: stdout}}]
listeners: [{{name: public, address: \"{address}\", tls: {{certificates: [{{certFile: one.crt, keyFile: one.key}}]}}}}]
upstreams: [{{name: u, endpoints: [{{address: \"{}\"}}]}}]
routes:
  - {{name: bye, match: [{{path: {{exact: /bye}}}}], respond: {{body: bye}}}}
  - name: r
    match: [{{path: {{prefix: /}}}}]
    policies:
      - oidc: {{issuer: 'http://{issuer}', clientId: shop, clientSecret: 'a secret: of 100% & more', secret: '{SECRET}', claimsToHeaders: {{x-user: sub}}, afterLogout: /bye}}
    backends: [{{upstream: u}}]
",
        upstream.address
    );
    let gateway = Gateway::in_folder(folder, &text, address, |_| {});
    let profile = tempfile::tempdir().expect("a folder");
    let (evil_url, profile_path) =
        (format!("http://evil.test:{}", evil.address.port()), profile.path().display().to_string());
    let person =
        standards_in_javascript("chromium", include_str!("chromium.mjs"), &[&shop, &evil_url, &profile_path]);
    let (_, told) = Peer::start(person).finish();
    let seen: Value = serde_json::from_str(&told).unwrap_or_else(|_| panic!("{told}"));
    assert!(seen["error"].is_null(), "{seen:#}\n{}\n{}", gateway.stderr(), gateway.stdout());
    let text = |name: &str| seen[name].as_str().unwrap_or_else(|| panic!("{name}: {seen:#}")).to_owned();
    let is_anns = |page: &str| page.contains("x-user: ann");

    // There and back: the browser has taken every cookie as it was meant, and no script of the page's reads it.
    assert!(text("asksAt").starts_with(&format!("http://{issuer}/interaction/")), "{seen:#}");
    assert_eq!(text("back"), format!("{shop}/start?a=b"), "{seen:#}");
    assert!(is_anns(&text("page")) && is_anns(&text("again")) && is_anns(&text("own")), "{seen:#}");
    let cookies = |name: &str| seen[name].as_array().unwrap_or_else(|| panic!("{seen:#}")).clone();
    let (during, after) = (cookies("during"), cookies("after"));
    assert!(!during.is_empty() && !after.is_empty(), "{seen:#}");
    for cookie in during.iter().chain(&after) {
        assert!(cookie["name"].as_str().is_some_and(|name| name.starts_with("__Host-")), "{cookie}");
        for (name, want) in [
            ("domain", json!("shop.test")),
            ("path", json!("/")),
            ("secure", json!(true)),
            ("httpOnly", json!(true)),
            ("sameSite", json!("Lax")),
        ] {
            assert_eq!(cookie[name], want, "{name}: {cookie}");
        }
    }
    // Of the way to the provider nothing is left.
    assert!(during.iter().all(|begun| after.iter().all(|kept| kept["name"] != begun["name"])), "{seen:#}");
    assert_eq!(text("script"), "");

    for path in ["/by-script", "/by-script-post", "/by-picture", "/by-form"] {
        assert_eq!(who(&upstream, path), [None; 0], "{path} came to the upstream");
    }
    assert!(!is_anns(seen["form"]["text"].as_str().unwrap_or_default()), "{seen:#}");
    assert!(is_anns(&text("link")), "{seen:#}");
    // A link of another site's signs nobody out.
    assert!(text("logoutByLink").contains("403"), "{seen:#}");

    assert_eq!(
        (&seen["tabs"][0], &seen["tabs"][2]),
        (&json!(format!("{shop}/one")), &json!(format!("{shop}/two")))
    );
    for at in [1, 3] {
        assert!(seen["tabs"][at].as_str().is_some_and(|page| page.contains("x-user: bob")), "{seen:#}");
    }

    assert_eq!((&seen["out"]["url"], &seen["out"]["text"]), (&json!(format!("{shop}/bye")), &json!("bye")));
    assert!(cookies("left").is_empty(), "{seen:#}");
    assert!(text("asksAgain").starts_with(&format!("http://{issuer}/")), "{seen:#}");
}
