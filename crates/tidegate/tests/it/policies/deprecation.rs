//! `deprecation`.

use super::{
    super::harness::{Gateway, Upstream},
    ask, refused, with_policies,
};

fn setup(policy: &str) -> (Gateway, Upstream) {
    let upstream = Upstream::scripted(|_| {
        Some(
            b"HTTP/1.1 200 OK\r\nlink: </own>; rel=\"self\"\r\nsunset: never\r\ncontent-length: 0\r\n\r\n"
                .to_vec(),
        )
    });
    let gateway = Gateway::start(&format!(
        "upstreams: [{{name: u, endpoints: [{{address: \"{}\"}}]}}]
routes: [{{name: r, match: [{{path: {{prefix: /}}}}], policies: [{{deprecation: {policy}}}], backends: [{{upstream: u}}]}}]\n",
        upstream.address
    ));
    (gateway, upstream)
}

#[test]
fn answers_say_since_when_until_when_and_what_instead() {
    let (gateway, _upstream) = setup(
        "{deprecatedAt: 2026-06-01, sunsetAt: '2099-06-01T12:00:00Z', successor: /v1, documentation: 'https://docs.test/v0', refuseAfterSunset: true}",
    );
    let answer = ask(&gateway, "/", "");
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("deprecation"), Some("@1780272000"));
    assert_eq!(answer.header("sunset"), Some("Mon, 01 Jun 2099 12:00:00 GMT"), "over the upstream's");
    let links: Vec<_> =
        answer.headers.iter().filter(|(name, _)| name == "link").map(|(_, value)| value.as_str()).collect();
    assert_eq!(
        links,
        [
            "</own>; rel=\"self\"",
            "</v1>; rel=\"successor-version\"",
            "<https://docs.test/v0>; rel=\"deprecation\""
        ]
    );
}

#[test]
fn after_the_sunset_calls_are_gone_where_that_is_wanted() {
    let (gateway, upstream) = setup("{sunsetAt: 2020-01-01, successor: /v1, refuseAfterSunset: true}");
    let answer = ask(&gateway, "/", "");
    assert_eq!((answer.status, answer.problem().as_deref()), (410, Some("gone")));
    assert!(
        answer.header("link").is_some_and(|link| link.contains("successor-version")),
        "where to go instead"
    );
    assert!(upstream.seen().is_empty());
    let (gateway, _upstream) = setup("{sunsetAt: 2020-01-01}");
    assert_eq!(ask(&gateway, "/", "").status, 200);
}

#[test]
fn dates_that_make_no_sense_are_refused() {
    for (policy, words) in [
        ("{}", "expected `deprecatedAt` or `sunsetAt`"),
        ("{deprecatedAt: soon}", "deprecation.deprecatedAt"),
        ("{deprecatedAt: 2027-01-01, sunsetAt: 2026-01-01}", "the sunset comes before"),
        ("{deprecatedAt: 2027-01-01, refuseAfterSunset: true}", "there is no `sunsetAt`"),
        ("{deprecatedAt: 2027-01-01, successor: '<x>'}", "expected a path or an address"),
    ] {
        refused(&with_policies(&format!("[{{deprecation: {policy}}}]")), &[words, "tidegate.yaml:6:"]);
    }
}
