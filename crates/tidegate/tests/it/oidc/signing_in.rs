//! The way of a sign-in, and who tries to bend it.

use super::super::harness::Answer;
use super::{
    World,
    browser::{Browser, between},
};

fn parameter(url: &str, name: &str) -> Option<String> {
    let query = url.split_once('?')?.1;
    query.split('&').find_map(|pair| pair.strip_prefix(&format!("{name}="))).map(str::to_owned)
}

fn is_refused(answer: &Answer, status: u16) {
    assert_eq!(answer.status, status, "{}", answer.text());
    assert!(answer.header("location").is_none());
    let session = answer.headers.iter().find(|(name, value)| {
        name == "set-cookie" && value.starts_with("__Host-tidegate-session=") && !value.contains("Max-Age=0")
    });
    assert!(session.is_none(), "{session:?}");
}

#[test]
fn a_browser_signs_in_and_the_upstream_learns_who_it_is_and_sees_no_cookie_of_ours() {
    let world = World::start(
        "{}",
        ", scopes: [profile], claimsToHeaders: {x-user: sub, x-groups: groups}, accessTokenHeader: authorization, \
         idTokenHeader: x-id-token, userInfo: true",
        "",
    );
    let mut browser = Browser::default();
    browser.jar.push((world.host(), "/".into(), "theme".into(), "dark".into()));
    let (url, answer) = browser.walk(&world.url("/start?a=1&b=%20c"), "ann");
    assert_eq!((answer.status, url), (200, world.url("/start?a=1&b=%20c")));
    let told = answer.text();
    for line in
        ["GET /start?a=1&b=%20c HTTP/1.1", "x-user: ann\n", "x-groups: anns,people\n", "cookie: theme=dark\n"]
    {
        assert!(told.contains(line), "lacks {line}:\n{told}");
    }
    let token = between(&told, "authorization: Bearer ", "\n").expect("an access token");
    assert!(token.len() > 20 && !told.contains("tidegate-session"), "{told}");
    assert_eq!(between(&told, "x-id-token: ", "\n").map(|token| token.split('.').count()), Some(3));
    // What is asked of the provider.
    let begun = browser.asked.iter().find(|url| url.contains("/auth?")).expect("the provider was asked");
    for (name, value) in [
        ("response_type", "code"),
        ("client_id", "shop"),
        ("code_challenge_method", "S256"),
        ("scope", "openid+profile"),
    ] {
        assert_eq!(parameter(begun, name).as_deref(), Some(value), "{begun}");
    }
    for name in ["state", "nonce", "code_challenge"] {
        assert_eq!(parameter(begun, name).map(|value| value.len()), Some(43), "{name}");
    }
    // The cookies: of this host alone, for no script, over TLS alone; that of the sign-in is taken back.
    assert_eq!(browser.names(&world.host()), ["__Host-tidegate-session", "theme"]);
    let own = browser.set.iter().filter(|(host, _)| *host == world.host());
    for (_, line) in own.clone() {
        for attribute in ["Path=/", "HttpOnly", "SameSite=Lax", "Secure"] {
            assert!(line.contains(&format!("; {attribute}")), "lacks {attribute}: {line}");
        }
        assert!(line.starts_with("__Host-") && !line.contains("Domain"), "{line}");
    }
    assert!(own.count() >= 3);
    // Nobody is asked again, and a later visit is not kept by anybody because of the session.
    let before = world.asked("/token");
    let again = browser.fetch(&world.url("/again"));
    assert_eq!((again.status, world.asked("/token")), (200, before));
    assert!(again.text().contains("x-user: ann\n"));
    let record = world.gateway.record("the sign-in", |r| r["sign_in"] == "signed-in");
    assert_eq!((&record["path"], &record["stopped_by"]), (&"/oidc/callback".into(), &"oidc".into()));
    assert!(record["query"].is_null(), "the code stands in the log: {record}");
    assert_eq!(
        world.gateway.metric("tidegate_oidc_total{policy=\"routes/r/oidc\",outcome=\"signed-in\"}"),
        Some(1.0)
    );
}

#[test]
fn scripts_get_401_and_only_navigations_are_sent_away() {
    let world = World::start("{}", "", "");
    let mut browser = Browser::default();
    let answer = browser.fetch(&world.url("/data"));
    is_refused(&answer, 401);
    assert_eq!(answer.problem().as_deref(), Some("unauthenticated"));
    assert!(answer.header("www-authenticate").is_some_and(|told| told.contains("login=\"/oidc/login\"")));
    let posted =
        browser.send("POST", &world.url("/data"), "\nsec-fetch-mode: navigate\naccept: text/html", "a=b");
    is_refused(&posted, 401);
    let sent = browser.get(&world.url("/data"));
    assert_eq!(sent.status, 303);
    assert_eq!(sent.header("cache-control"), Some("no-store"));
    assert!(
        sent.header("location")
            .is_some_and(|url| url.starts_with(&format!("http://{}/auth?", world.provider)))
    );
}

#[test]
fn a_sign_in_belongs_to_the_browser_that_began_it() {
    let world = World::start("{}", "", "");
    // Somebody signs in, and stops before the gateway gets the code: that address is sent to somebody else.
    let mut mallory = Browser::default();
    let first = mallory.get(&world.url("/start"));
    let callback = code_of(&mut mallory, first.header("location").expect("a place"), "mallory", &world);
    let mut victim = Browser::default();
    is_refused(&victim.get(&callback), 400);
    // With a sign-in of the victim's own under way neither.
    let begun = victim.get(&world.url("/start"));
    is_refused(&victim.get(&callback), 400);
    let state = parameter(begun.header("location").expect("a place"), "state").expect("a state");
    let code = parameter(&callback, "code").expect("a code");
    let issuer = format!("http%3A%2F%2F{}", world.provider.to_string().replace(':', "%3A"));
    // The victim's own state with the other's code: PKCE's verifier is another, and so is the nonce.
    is_refused(
        &victim.get(&world.url(&format!("/oidc/callback?state={state}&code={code}&iss={issuer}"))),
        403,
    );
    for bent in ["/oidc/callback", "/oidc/callback?state=&code=a", "/oidc/callback?code=a&state=a&state=b"] {
        is_refused(&victim.get(&world.url(bent)), 400);
    }
    assert_eq!(victim.fetch(&world.url("/data")).status, 401);
}

/// Walks to where the provider sends the browser back to, and not there.
fn code_of(browser: &mut Browser, url: &str, who: &str, world: &World) -> String {
    let mut url = url.to_owned();
    for _ in 0..20 {
        if url.starts_with(&world.url("/oidc/callback")) {
            return url;
        }
        let answer = browser.get(&url);
        url = match answer.header("location") {
            Some(next) => next.to_owned(),
            None => {
                let page = answer.text();
                let action = between(&page, "action=\"", "\"").expect("a form").to_owned();
                let body = match page.contains("value=\"login\"") {
                    true => format!("prompt=login&login={who}&password=any"),
                    false => "prompt=consent".to_owned(),
                };
                let headers = "\ncontent-type: application/x-www-form-urlencoded";
                let answer = browser.send("POST", &action, headers, &body);
                answer.header("location").expect("it goes on").to_owned()
            }
        };
        if url.starts_with('/') {
            url = format!("http://{}{url}", world.provider);
        }
    }
    panic!("it goes on and on: {:?}", browser.asked);
}

#[test]
fn a_code_works_once_and_another_providers_answer_not_at_all() {
    let world = World::start("{}", "", "");
    let mut browser = Browser::default();
    let first = browser.get(&world.url("/start"));
    let callback = code_of(&mut browser, first.header("location").expect("a place"), "ann", &world);
    let login = browser.clone();
    let evil = callback.replace("iss=http%3A%2F%2F127.0.0.1", "iss=http%3A%2F%2F127.0.0.2");
    assert_ne!(evil, callback);
    is_refused(&login.clone().get(&evil), 403);
    let nameless = callback.split("&iss=").next().expect("a beginning").to_owned();
    is_refused(&login.clone().get(&nameless), 403);
    assert_eq!(browser.get(&callback).status, 303);
    // With the cookie of the sign-in still there the provider refuses the code; without it nobody asks.
    is_refused(&login.clone().get(&callback), 403);
    let asked = world.asked("/token");
    is_refused(&browser.get(&callback), 400);
    assert_eq!(world.asked("/token"), asked);
}

#[test]
fn after_signing_in_a_browser_goes_to_paths_of_the_gateway_alone() {
    let world = World::start("{}", "", "");
    for (target, want) in [
        ("/shop?a=b", "/shop?a=b"),
        ("//evil.test/", "/"),
        ("https://evil.test/", "/"),
        ("/%5Cevil.test", "/"),
        ("%5C%5Cevil.test", "/"),
        ("/%09/evil.test", "/"),
        ("/oidc/logout", "/"),
        // Nor to the policy's own, however they are written.
        ("/%256Fidc/logout", "/"),
        ("/oidc%252Flogout", "/"),
        ("/oidc/./logout", "/"),
        ("/a/../oidc/logout", "/"),
        ("/a/%252E%252E/oidc/logout", "/"),
        ("/oidc//logout", "/"),
        ("/oidc/logout%23x", "/"),
        ("http:/oidc", "/"),
        ("javascript:alert(1)", "/"),
        ("/a%0d%0aset-cookie:x", "/"),
        ("///evil.test", "/"),
        ("/shop%2F%2Fa", "/shop//a"),
    ] {
        let mut browser = Browser::default();
        let target = target.replace('?', "%3F").replace('=', "%3D");
        let sessions = |browser: &Browser| browser.names(&world.host()).contains(&"__Host-tidegate-session");
        let (url, answer) = browser.walk(&world.url(&format!("/oidc/login?returnTo={target}")), "ann");
        assert_eq!((answer.status, url.as_str()), (200, world.url(want).as_str()), "{target}");
        assert!(sessions(&browser), "{target}: and is still signed in");
    }
}

#[test]
fn nothing_that_passes_at_a_sign_in_is_in_logs() {
    let world = World::start("{}", "", "");
    let mut browser = Browser::default();
    let first = browser.get(&world.url("/start"));
    let callback = code_of(&mut browser, first.header("location").expect("a place"), "ann", &world);
    let query = callback.split_once('?').expect("a query").1.to_owned();
    let own = |path: &str| world.url(&format!("/oidc/{path}?{query}"));
    let mut stranger = Browser::default();
    // Whatever comes of them: another method, an address of another kind, one parameter twice, and a good one.
    for method in ["POST", "PUT", "DELETE"] {
        stranger.send(method, &own("callback"), "", "");
    }
    for path in ["login", "logout", "frontchannel-logout", "backchannel-logout"] {
        stranger.get(&own(path));
        stranger.send("PUT", &own(path), "", "");
    }
    stranger.get(&format!("{}&{query}", own("callback")));
    stranger.get(&own("callback"));
    assert_eq!(browser.get(&callback).status, 303);
    let (code, state) =
        (parameter(&callback, "code").expect("a code"), parameter(&callback, "state").expect("a state"));
    world.gateway.record("the sign-in", |record| record["sign_in"] == "signed-in");
    world.gateway.records(15);
    for (name, log) in [("access log", world.gateway.stdout()), ("log", world.gateway.stderr())] {
        for secret in [&code, &state] {
            assert!(!log.contains(secret.as_str()), "{secret} is in the {name}:\n{log}");
        }
    }
}

#[test]
fn a_client_says_nothing_of_who_it_is_whether_it_is_signed_in_or_not() {
    let settings = ", claimsToHeaders: {x-user: sub, x-none: nothing}, accessTokenHeader: x-access, idTokenHeader: x-id, anonymous: guest";
    let world = World::start("{}", settings, "consumers: [{name: guest}]\n");
    let forged =
        "\nx-user: root\nX-User: root\nx-none: root\nx-access: root\nx-id: root\nconnection: x-user, x-id";
    let nobody = Browser::default().send("GET", &world.url("/nobody"), forged, "");
    assert_eq!((nobody.status, nobody.text().contains("root")), (200, false), "{}", nobody.text());
    let mut browser = Browser::default();
    let (_, answer) = browser.walk(&world.url("/oidc/login?returnTo=/start"), "ann");
    assert_eq!(answer.status, 200, "{}", answer.text());
    let somebody = browser.send("GET", &world.url("/somebody"), forged, "").text();
    assert!(!somebody.contains("root") && somebody.matches("x-user").count() == 1, "{somebody}");
    for line in ["x-user: ann\n", "x-access: ", "x-id: ey"] {
        assert!(somebody.contains(line), "lacks {line}: {somebody}");
    }
}

#[test]
fn every_way_to_prove_who_the_gateway_is_works() {
    for settings in [
        "clientId: post, clientSecret: posted-secret, clientAuth: post, ",
        "clientId: public, ",
        "clientId: shop, clientSecret: 'a secret: of 100% & more', ",
    ] {
        // The client stands among the settings here.
        let world = World::start("{}", &format!(", {}claimsToHeaders: {{x-user: sub}}", settings), "");
        let mut browser = world.signed_in("ann");
        assert!(browser.fetch(&world.url("/x")).text().contains("x-user: ann\n"), "{settings}");
    }
    let world = World::start("{}", ", clientId: shop, clientSecret: wrong", "");
    let (url, answer) = Browser::default().walk(&world.url("/start"), "ann");
    assert_eq!(answer.status, 503, "{url} {}", answer.text());
    let record = world.gateway.record("the failure", |r| r["status"] == 503);
    assert!(
        record["failure"]["detail"].as_str().is_some_and(|told| told.contains("invalid_client")),
        "{record}"
    );
}

#[test]
fn consumers_and_roles_come_of_claims() {
    let world = World::start(
        "{}",
        "",
        "consumers:
  - {name: owner, groups: [staff], jwt: [{value: ann}]}
globalPolicies: [{acl: {allow: [staff], allowClaims: {groups: [bobs]}}}]\n",
    );
    assert_eq!(world.signed_in("ann").fetch(&world.url("/x")).status, 200);
    assert_eq!(world.gateway.record("ann's", |r| r["path"] == "/x")["consumer"], "owner");
    assert_eq!(world.signed_in("bob").fetch(&world.url("/y")).status, 200);
    let mut browser = Browser::default();
    let (_, answer) = browser.walk(&world.url("/start"), "carl");
    is_refused(&answer, 403);
}

#[test]
fn a_provider_that_names_itself_otherwise_is_not_believed() {
    let world = World::start("{}", "", "");
    // Everything is there, under another name of the same machine.
    let text = super::configuration(world.gateway.address, world.provider, &world.upstream, "", "");
    let text = text.replace("issuer: 'http://127.0.0.1", "issuer: 'http://localhost");
    world.gateway.reload(&text);
    super::super::harness::eventually("the other issuer is refused", || {
        world.gateway.stderr().contains("another issuer")
    });
    assert_eq!(Browser::default().get(&world.url("/start")).status, 503);
}
