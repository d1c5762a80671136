//! `keyAuth`.

use super::{CONSUMERS, ask, guarded, last, refused, with_policies};

#[test]
fn a_key_is_found_in_every_place_that_is_named_and_in_no_other() {
    let (gateway, upstream) =
        guarded("[{keyAuth: {headers: [x-api-key, authorization], query: key}}]", CONSUMERS);
    for (target, headers, status) in [
        ("/", "\nx-api-key: gold-key-of-the-test", 200),
        ("/", "\nauthorization: gold-key-of-the-test", 200),
        ("/", "\nauthorization: Bearer gold-key-of-the-test", 200),
        ("/?key=web-key-of-the-test", "", 200),
        ("/?a=1&%6bey=web%2dkey-of-the-test", "", 200),
        ("/", "", 401),
        ("/", "\nx-key: gold-key-of-the-test", 401),
        ("/", "\ncookie: key=gold-key-of-the-test", 401),
        ("/", "\nx-api-key: gold-key-of-the-test\nx-api-key: gold-key-of-the-test", 401),
        ("/?key=web-key-of-the-test&key=web-key-of-the-test", "", 401),
        ("/", "\nx-api-key: GOLD-KEY-OF-THE-TEST", 401),
        ("/", "\nx-api-key:", 401),
    ] {
        let before = upstream.seen().len();
        let answer = ask(&gateway, target, headers);
        assert_eq!(answer.status, status, "{target} {headers}");
        if status == 401 {
            assert_eq!(answer.problem().as_deref(), Some("unauthenticated"));
            assert_eq!(answer.header("www-authenticate"), Some("Bearer realm=\"tidegate\""));
            assert_eq!(upstream.seen().len(), before, "{target} {headers} reached the upstream");
        } else {
            assert!(!format!("{:?}", last(&upstream)).contains("key-of-the-test"), "{:?}", last(&upstream));
        }
    }
    super::logged(&gateway, "gold");
}

#[test]
fn a_key_in_the_query_is_not_in_the_access_log() {
    let (gateway, _upstream) = guarded(
        "[{use: keys}]",
        &format!("{CONSUMERS}policies: [{{name: keys, policy: {{keyAuth: {{query: k}}}}}}]\n"),
    );
    for target in
        ["/?k=gold-key-of-the-test&a=1", "/?a=1&%6b=gold-key-of-the-test", "/?K=gold-key-of-the-test"]
    {
        ask(&gateway, target, "");
    }
    let records = gateway.records(3);
    assert!(records.iter().any(|record| record["query"] == "a=1&%6b=[redacted]"), "{records:?}");
    assert!(!gateway.stdout().contains("gold-key"), "{}", gateway.stdout());
    // The log is the same one after a reload that gives the key another name.
    let text =
        std::fs::read_to_string(gateway.config()).expect("a file").replace("query: k}", "query: other}");
    let text = text.split_once('\n').expect("the admin line").1.to_owned();
    assert_eq!(gateway.reload(&text)["lastReload"], "ok");
    ask(&gateway, "/?other=gold-key-of-the-test", "");
    gateway.records(4);
    assert!(!gateway.stdout().contains("gold-key"), "{}", gateway.stdout());
}

#[test]
fn the_key_goes_on_where_it_is_not_to_be_hidden() {
    let (gateway, upstream) = guarded("[{keyAuth: {hideCredentials: false}}]", CONSUMERS);
    assert_eq!(ask(&gateway, "/", "\nx-api-key: web-key-of-the-test").status, 200);
    assert_eq!(last(&upstream).header("x-api-key"), Some("web-key-of-the-test"));
}

#[test]
fn who_shows_nothing_is_anonymous_and_who_shows_a_wrong_key_is_nobody() {
    let (gateway, upstream) = guarded(
        "[{keyAuth: {anonymous: web}}, {headers: {request: {set: {x-who: '{{ consumer.name }}'}}}}]",
        CONSUMERS,
    );
    assert_eq!(ask(&gateway, "/", "").status, 200);
    assert_eq!(last(&upstream).header("x-who"), Some("web"));
    assert_eq!(ask(&gateway, "/", "\nx-api-key: gold-key-of-the-test").status, 200);
    assert_eq!(last(&upstream).header("x-who"), Some("gold"));
    assert_eq!(ask(&gateway, "/", "\nx-api-key: wrong").status, 401);
}

#[test]
fn one_bad_key_names_its_entry() {
    let text = with_policies("[{keyAuth: {}}]")
        .replace("[web-key-of-the-test]", "[good-key-of-the-test, 'a b c d e']");
    refused(&text, &["consumers[1].keys[1]", "a space", "tidegate.yaml:4:"]);
    let text = with_policies("[{keyAuth: {}}]").replace("web-key", "gold-key");
    refused(&text, &["consumers[1]", "`gold`", "the same API key"]);
}
