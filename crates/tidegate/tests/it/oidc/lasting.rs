//! How long sessions last: renewal, times, stores, and what gateways have in common.

use std::net::SocketAddr;

use super::super::harness::{Gateway, Redis, eventually, free_port, pause};
use super::{
    World,
    browser::{Browser, between},
    configuration,
};

const TOKEN: &str = ", accessTokenHeader: x-token";

fn token(browser: &mut Browser, url: &str) -> String {
    let answer = browser.fetch(url);
    assert_eq!(answer.status, 200, "{}", answer.text());
    between(&answer.text(), "x-token: ", "\n").expect("a token").to_owned()
}

#[test]
fn tokens_are_renewed_once_however_many_ask_and_late_comers_get_the_new_ones() {
    let world =
        World::start(r#"{"refresh": true, "accessTtl": 2}"#, &format!("{TOKEN}, refreshBefore: 0s"), "");
    let mut browser = world.signed_in("ann");
    let first = token(&mut browser, &world.url("/x"));
    let before = world.asked("/token");
    let old = browser.clone();
    pause(2_100);
    // Eight tabs with the same cookie at once.
    let url = world.url("/x");
    let tabs: Vec<String> = std::thread::scope(|scope| {
        let tabs: Vec<_> = (0..8).map(|_| scope.spawn(|| token(&mut old.clone(), &url))).collect();
        tabs.into_iter().map(|tab| tab.join().expect("a tab")).collect()
    });
    assert!(tabs.iter().all(|one| *one == tabs[0] && *one != first), "{tabs:?}");
    assert_eq!(world.asked("/token"), before + 1);
    // One that comes later with the old cookie, whose refresh token the provider would not take again.
    assert_eq!(token(&mut old.clone(), &url), tabs[0]);
    assert_eq!(world.asked("/token"), before + 1);
    // The browser goes on with the new cookie, and the next renewal works.
    assert_eq!(token(&mut browser, &url), tabs[0]);
    pause(2_100);
    assert_ne!(token(&mut browser, &url), tabs[0]);
    assert_eq!(world.asked("/token"), before + 2);
    world.gateway.record("a renewal", |r| r["sign_in"] == "renewed");
}

#[test]
fn a_provider_that_is_away_costs_nobody_the_session_until_the_token_has_ended() {
    let world =
        World::start(r#"{"refresh": true, "accessTtl": 6}"#, &format!("{TOKEN}, refreshBefore: 5s"), "");
    let mut browser = world.signed_in("ann");
    let first = token(&mut browser, &world.url("/x"));
    world.down(true);
    pause(1_200);
    assert_eq!(token(&mut browser, &world.url("/x")), first, "the token at hand goes on");
    eventually("the token has ended", || browser.fetch(&world.url("/x")).status == 503);
    world.down(false);
    eventually("it is renewed", || {
        let answer = browser.fetch(&world.url("/x"));
        answer.status == 200 && between(&answer.text(), "x-token: ", "\n") != Some(&first)
    });
}

#[test]
fn a_session_ends_when_the_provider_gives_no_more_tokens() {
    // This one does not tell when somebody has signed out there.
    let options = r#"{"refresh": true, "accessTtl": 2, "silent": true}"#;
    let world = World::start(options, &format!("{TOKEN}, refreshBefore: 0s"), "");
    let mut browser = world.signed_in("ann");
    token(&mut browser, &world.url("/x"));
    browser.walk(&format!("http://{}/session/end", world.provider), "ann");
    eventually("the session has ended", || browser.fetch(&world.url("/x")).status == 401);
    assert!(browser.names(&world.host()).is_empty(), "its cookie is taken back");
    world.gateway.record("the end", |r| r["sign_in"] == "lapsed" && r["status"] == 401);
}

#[test]
fn sessions_end_at_their_age_and_when_nobody_uses_them() {
    let world = World::start("{}", ", maxAge: 3s", "");
    let mut browser = world.signed_in("ann");
    assert_eq!(browser.fetch(&world.url("/x")).status, 200);
    pause(3_100);
    assert_eq!(browser.fetch(&world.url("/x")).status, 401);
    let world = World::start("{}", ", idleTimeout: 2s", "");
    let mut browser = world.signed_in("ann");
    for _ in 0..4 {
        pause(900);
        assert_eq!(browser.fetch(&world.url("/x")).status, 200, "it is used");
    }
    pause(2_300);
    assert_eq!(browser.fetch(&world.url("/x")).status, 401);
}

#[test]
fn large_sessions_are_in_several_cookies_and_still_nobody_elses() {
    let world = World::start(r#"{"big": 7000}"#, ", claimsToHeaders: {x-user: sub}", "");
    let mut browser = world.signed_in("ann");
    let names: Vec<String> = browser.names(&world.host()).into_iter().map(str::to_owned).collect();
    assert!(
        names.len() >= 3 && names.iter().all(|name| name.starts_with("__Host-tidegate-session")),
        "{names:?}"
    );
    assert!(browser.jar.iter().all(|(.., name, value)| name.len() + value.len() < 4_096));
    let answer = browser.fetch(&world.url("/x"));
    assert!(answer.text().contains("x-user: ann\n") && !answer.text().contains("tidegate-session"));
    // A piece of another's session makes neither of the two.
    let other = world.signed_in("bob");
    let mut mixed = browser.clone();
    for (host, _, name, value) in &mut mixed.jar {
        if *host == world.host() && name.ends_with(".1") {
            *value = other.jar.iter().find(|(.., known, _)| known == name).expect("the same piece").3.clone();
        }
    }
    assert_eq!(mixed.fetch(&world.url("/x")).status, 401);
    let world = World::start(r#"{"big": 11000}"#, ", userInfo: true", "");
    let (_, answer) = Browser::default().walk(&world.url("/start"), "ann");
    assert_eq!(answer.status, 500, "{}", answer.text());
    let record = world.gateway.record("the failure", |r| r["status"] == 500);
    assert!(
        record["failure"]["detail"].as_str().is_some_and(|told| told.contains("store: redis")),
        "{record}"
    );
}

#[test]
fn a_new_secret_takes_over_and_what_an_unknown_one_made_is_nothing() {
    let world = World::start("{}", "", "");
    let mut browser = world.signed_in("ann");
    let text = std::fs::read_to_string(world.gateway.config()).expect("the configuration");
    let text = text.split_once('\n').expect("lines").1.to_owned();
    let old = format!("secret: '{}'", super::SECRET);
    let new = "secret: 'another secret of the tests, long enough'";
    world.gateway.reload(&text.replace(&old, &format!("{new}, previousSecrets: ['{}']", super::SECRET)));
    let count = browser.set.len();
    assert_eq!(browser.fetch(&world.url("/x")).status, 200);
    assert_eq!(browser.set.len(), count + 1, "it is encrypted anew");
    world.gateway.reload(&text.replace(&old, new));
    assert_eq!(browser.fetch(&world.url("/x")).status, 200);
    let mut strange = world.signed_in("bob");
    world.gateway.reload(&text);
    assert_eq!(strange.fetch(&world.url("/x")).status, 401);
}

#[test]
fn one_persons_answer_is_never_given_to_another() {
    let world = World::start(
        "{}",
        ", claimsToHeaders: {x-user: sub}, idleTimeout: 1h",
        "globalPolicies: [{cache: {}}]\n",
    );
    let (mut ann, mut bob) = (world.signed_in("ann"), world.signed_in("bob"));
    for _ in 0..2 {
        assert!(ann.fetch(&world.url("/page")).text().contains("x-user: ann\n"));
        assert!(bob.fetch(&world.url("/page")).text().contains("x-user: bob\n"));
    }
    assert_eq!(Browser::default().fetch(&world.url("/page")).status, 401);
}

#[test]
fn anonymous_callers_pass_and_become_somebody_when_they_sign_in() {
    let world = World::start(
        "{}",
        ", anonymous: guest, claimsToHeaders: {x-user: sub}",
        "consumers: [{name: guest}]\n",
    );
    let mut browser = Browser::default();
    let answer = browser.get(&world.url("/x"));
    assert!(answer.status == 200 && !answer.text().contains("x-user"));
    assert_eq!(world.gateway.record("the guest's", |r| r["path"] == "/x")["consumer"], "guest");
    let (_, answer) = browser.walk(&world.url("/oidc/login?returnTo=/y"), "ann");
    assert!(answer.text().contains("x-user: ann\n"));
}

/// Two gateways and a Redis, in front of one provider that knows the first.
fn shared(options: &str, settings: &str) -> (World, Gateway, Redis) {
    let redis = Redis::start();
    let settings = format!("{settings}, store: redis");
    let rest = format!("redis: {{addresses: ['127.0.0.1:{}']}}\n", redis.port);
    let world = World::start(options, &settings, &rest);
    let second = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let text = configuration(second, world.provider, &world.upstream, &settings, &rest);
    let second = Gateway::from_text(&text, second, |_| {});
    (world, second, redis)
}

/// The browser with its cookies for the first gateway, for the second.
fn moved(browser: &Browser, from: &Gateway, to: &Gateway) -> Browser {
    let mut moved = browser.clone();
    for (host, ..) in &mut moved.jar {
        if *host == from.address.to_string() {
            *host = to.address.to_string();
        }
    }
    moved
}

#[test]
fn gateways_share_sessions_in_redis_which_holds_nothing_that_can_be_read() {
    let (world, second, redis) = shared(r#"{"big": 11000}"#, ", claimsToHeaders: {x-user: sub}");
    let browser = world.signed_in("ann");
    let cookie =
        browser.jar.iter().find(|(.., name, _)| name == "__Host-tidegate-session").expect("a cookie");
    assert_eq!(cookie.3.len(), 43, "an id alone");
    let mut elsewhere = moved(&browser, &world.gateway, &second);
    let answer = elsewhere.fetch(&format!("http://{}/x", second.address));
    assert!(answer.text().contains("x-user: ann\n"), "{}", answer.text());
    let keys = redis.ask("KEYS *");
    assert!(!keys.contains(&cookie.3) && !keys.contains("ann"), "{keys}");
    for key in keys.lines().filter(|line| line.contains("session")) {
        let kept = redis.ask(&format!("GET {key}"));
        // How a token begins; a shorter beginning may be there by chance.
        assert!(!kept.contains("\"ann\"") && !kept.contains("eyJhbGci"), "{kept}");
    }
    // An id that nobody was given, and what is no id at all.
    for id in ["A".repeat(43), "x".to_owned(), format!("{}}}:x", "A".repeat(41))] {
        let mut guess = browser.clone();
        guess
            .jar
            .iter_mut()
            .filter(|(.., name, _)| name.contains("session"))
            .for_each(|one| one.3.clone_from(&id));
        assert_eq!(guess.fetch(&world.url("/x")).status, 401, "{id}");
    }
    redis.signal("STOP");
    let mut stalled = browser.clone();
    assert_eq!(stalled.fetch(&world.url("/x")).status, 503, "nobody passes unseen");
    redis.signal("CONT");
}

#[test]
fn gateways_that_share_sessions_renew_tokens_once() {
    let (world, second, _redis) =
        shared(r#"{"refresh": true, "accessTtl": 2}"#, &format!("{TOKEN}, refreshBefore: 0s"));
    let browser = world.signed_in("ann");
    let elsewhere = moved(&browser, &world.gateway, &second);
    let before = world.asked("/token");
    pause(2_100);
    let urls = [world.url("/x"), format!("http://{}/x", second.address)];
    let tokens: Vec<String> = std::thread::scope(|scope| {
        let all: Vec<_> = (0..8)
            .map(|n| {
                let (mut browser, url) =
                    if n % 2 == 0 { (browser.clone(), &urls[0]) } else { (elsewhere.clone(), &urls[1]) };
                scope.spawn(move || token(&mut browser, url))
            })
            .collect();
        all.into_iter().map(|one| one.join().expect("a token")).collect()
    });
    assert!(tokens.iter().all(|one| *one == tokens[0]), "{tokens:?}");
    assert_eq!(world.asked("/token"), before + 1);
}
