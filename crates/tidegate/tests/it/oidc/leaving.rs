//! The end of sessions: by whoever is signed in, by the provider, and not by anybody else.

use std::net::SocketAddr;

use super::super::harness::{Gateway, Redis, eventually, free_port, get};
use super::{
    World,
    browser::{Browser, NAVIGATION, between},
    configuration,
};

#[test]
fn signing_out_ends_the_session_here_and_at_the_provider() {
    let world = World::start(r#"{"refresh": true}"#, ", afterLogout: /bye", "");
    let mut browser = world.signed_in("ann");
    let copy = browser.clone();
    let (url, answer) = browser.walk(&world.url("/oidc/logout"), "ann");
    assert_eq!((url.as_str(), answer.text().as_str()), (world.url("/bye").as_str(), "bye"));
    let at_provider =
        browser.asked.iter().find(|url| url.contains("/session/end?")).expect("the provider was asked");
    assert!(
        at_provider.contains("id_token_hint=eyJ") && at_provider.contains("client_id=shop"),
        "{at_provider}"
    );
    assert!(browser.names(&world.host()).is_empty(), "{:?}", browser.names(&world.host()));
    assert_eq!(browser.fetch(&world.url("/x")).status, 401);
    // Whoever kept the cookie has nothing of it.
    assert_eq!(copy.clone().fetch(&world.url("/x")).status, 401);
    eventually("the refresh token is taken back", || world.asked("/token/revocation") == 1);
    // The provider asks again who it is.
    let (_, answer) = browser.walk(&world.url("/start"), "bob");
    assert_eq!(answer.status, 200);
    assert!(browser.asked.iter().filter(|url| url.contains("/interaction/")).count() >= 2);
    world.gateway.record("the sign-out", |r| r["sign_in"] == "signed-out");
}

#[test]
fn another_site_signs_nobody_out() {
    let world = World::start("{}", "", "");
    let mut browser = world.signed_in("ann");
    let from_elsewhere = NAVIGATION.replace("sec-fetch-site: none", "sec-fetch-site: cross-site");
    assert_eq!(browser.send("GET", &world.url("/oidc/logout"), &from_elsewhere, "").status, 403);
    assert_eq!(browser.fetch(&world.url("/x")).status, 200);
    assert_eq!(browser.send("DELETE", &world.url("/oidc/logout"), "", "").status, 405);
}

/// Signs out at the provider itself, which tells the gateways.
fn sign_out_at_provider(world: &World, browser: &mut Browser) {
    let (_, answer) = browser.walk(&format!("http://{}/session/end", world.provider), "ann");
    assert_eq!(answer.status, 200, "{}", answer.text());
}

#[test]
fn the_provider_ends_sessions_behind_the_browsers_back() {
    for options in ["{}", r#"{"bySession": false}"#] {
        let world = World::start(options, "", "");
        let (mut ann, mut bob) = (world.signed_in("ann"), world.signed_in("bob"));
        sign_out_at_provider(&world, &mut ann);
        eventually("ann's session has ended", || ann.fetch(&world.url("/x")).status == 401);
        assert_eq!(bob.fetch(&world.url("/x")).status, 200, "nobody else's has");
        world.gateway.record("the provider's word", |r| r["sign_in"] == "ended");
        // She may come back.
        let (_, answer) = ann.walk(&world.url("/start"), "ann");
        assert_eq!(answer.status, 200);
        assert_eq!(ann.fetch(&world.url("/x")).status, 200);
    }
}

#[test]
fn the_provider_ends_sessions_on_all_gateways_that_share_them() {
    let redis = Redis::start();
    let rest = format!("redis: {{addresses: ['127.0.0.1:{}']}}\n", redis.port);
    let world = World::start("{}", ", store: redis", &rest);
    let second = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let text = configuration(second, world.provider, &world.upstream, ", store: redis", &rest);
    let second = Gateway::from_text(&text, second, |_| {});
    let (mut ann, mut bob) = (world.signed_in("ann"), world.signed_in("bob"));
    let mut elsewhere = ann.clone();
    elsewhere
        .jar
        .iter_mut()
        .filter(|one| one.0 == world.host())
        .for_each(|one| one.0 = second.address.to_string());
    let url = format!("http://{}/x", second.address);
    assert_eq!(elsewhere.fetch(&url).status, 200);
    sign_out_at_provider(&world, &mut ann);
    eventually("it has ended at the other gateway", || elsewhere.fetch(&url).status == 401);
    assert_eq!(bob.fetch(&world.url("/x")).status, 200);
    // A logout token counts once, at whichever of them.
    world.gateway.record("the logout", |record| record["sign_in"] == "ended");
    let told = get(world.provider, "/control?told").expect("the provider answers").json();
    let body = told[0].as_str().expect("a form").to_owned();
    let form = "\ncontent-type: application/x-www-form-urlencoded";
    let url = format!("http://{}/oidc/backchannel-logout", second.address);
    assert_eq!(Browser::default().send("POST", &url, form, &body).status, 400);
}

#[test]
fn nothing_but_a_fresh_logout_token_of_the_provider_ends_sessions() {
    let world = World::start("{}", ", idTokenHeader: x-id-token", "");
    let mut browser = world.signed_in("ann");
    let told = browser.fetch(&world.url("/x")).text();
    let id_token = between(&told, "x-id-token: ", "\n").expect("an ID token").to_owned();
    let mut stranger = Browser::default();
    let form = "\ncontent-type: application/x-www-form-urlencoded";
    let url = world.url("/oidc/backchannel-logout");
    let unsigned = "eyJhbGciOiJub25lIn0.eyJpc3MiOiJ4In0.";
    for (headers, body, status) in [
        (form, format!("logout_token={id_token}"), 400),
        (form, format!("logout_token={unsigned}"), 400),
        (form, "logout_token=".to_owned(), 400),
        (form, format!("logout_token={id_token}&logout_token={id_token}"), 400),
        (form, String::new(), 400),
        ("\ncontent-type: application/json", "{}".to_owned(), 415),
        (form, format!("logout_token={}", "x".repeat(70_000)), 413),
    ] {
        assert_eq!(stranger.send("POST", &url, headers, &body).status, status, "{:.80}", body);
    }
    assert_eq!(stranger.get(&url).status, 405);
    assert_eq!(browser.fetch(&world.url("/x")).status, 200);
}

#[test]
fn a_frame_of_the_providers_ends_the_session_that_it_names() {
    let world = World::start("{}", ", claimsToHeaders: {x-sid: sid}", "");
    let (mut ann, mut bob) = (world.signed_in("ann"), world.signed_in("bob"));
    let told = ann.fetch(&world.url("/x")).text();
    let sid = between(&told, "x-sid: ", "\n").expect("an id").to_owned();
    let issuer = format!("http://{}", world.provider);
    // Without cookies, as the frame of another site is asked for.
    let mut frame = Browser::default();
    assert_eq!(
        frame.get(&world.url(&format!("/oidc/frontchannel-logout?iss=http://evil.test&sid={sid}"))).status,
        400
    );
    assert_eq!(frame.get(&world.url(&format!("/oidc/frontchannel-logout?sid={sid}"))).status, 200);
    assert_eq!(
        frame.get(&world.url(&format!("/oidc/frontchannel-logout?iss={issuer}&sid=other"))).status,
        200
    );
    // Any site can have a browser ask for it: that alone ends nothing.
    assert_eq!(ann.get(&world.url("/oidc/frontchannel-logout")).status, 200);
    assert_eq!(ann.fetch(&world.url("/x")).status, 200, "nobody has named it");
    let answer = frame.get(&world.url(&format!("/oidc/frontchannel-logout?iss={issuer}&sid={sid}")));
    assert_eq!((answer.status, answer.header("cache-control")), (200, Some("no-store")));
    assert_eq!(ann.fetch(&world.url("/x")).status, 401);
    assert_eq!(bob.fetch(&world.url("/x")).status, 200);
}

#[test]
fn a_logout_that_could_not_be_done_may_be_told_again_and_one_that_is_not_valid_uses_nothing_up() {
    let mut redis = Redis::start();
    let rest = format!("redis: {{addresses: ['127.0.0.1:{}']}}\n", redis.port);
    let world = World::start("{}", ", store: redis", &rest);
    let (mut ann, mut bob) = (world.signed_in("ann"), world.signed_in("bob"));
    redis.kill();
    sign_out_at_provider(&world, &mut ann);
    let told = || get(world.provider, "/control?told").expect("the provider answers").json();
    eventually("the gateway was told", || told().as_array().is_some_and(|all| !all.is_empty()));
    let body = told()[0].as_str().expect("a form").to_owned();
    assert!(body.starts_with("logout_token=ey"), "{body}");
    let mut provider = Browser::default();
    let mut tell = |body: &str| {
        let form = "\ncontent-type: application/x-www-form-urlencoded";
        provider.send("POST", &world.url("/oidc/backchannel-logout"), form, body).status
    };
    assert_eq!(tell(&body), 503, "where the sessions are nobody knows now");
    redis.again();
    eventually("the sessions are there again", || ann.fetch(&world.url("/x")).status == 200);
    // The same token with another signature, and with what it says changed.
    let (signed, signature) = body.rsplit_once('.').expect("a signature");
    let (head, claims) = signed.split_once('.').expect("claims");
    let bent = |text: &str| text.chars().rev().collect::<String>();
    for wrong in [
        format!("{signed}.{}", bent(signature)),
        format!("{head}.{}.{signature}", bent(claims)),
        format!("{head}.."),
    ] {
        assert_eq!(tell(&wrong), 400);
    }
    assert_eq!(ann.fetch(&world.url("/x")).status, 200, "nothing has ended");
    assert_eq!(tell(&body), 200);
    assert_eq!(ann.fetch(&world.url("/x")).status, 401);
    assert_eq!(bob.fetch(&world.url("/x")).status, 200);
    assert_eq!(tell(&body), 400, "it was used");
}
