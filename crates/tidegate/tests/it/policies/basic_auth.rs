//! `basicAuth`.

use base64::{Engine, engine::general_purpose::STANDARD};

use super::{CONSUMERS, ask, guarded, last, refused, with_policies};

fn basic(pair: &str) -> String {
    format!("\nauthorization: Basic {}", STANDARD.encode(pair))
}

#[test]
fn a_name_and_its_password_let_in_and_stay_here() {
    let (gateway, upstream) = guarded("[{basicAuth: {realm: the shop}}]", CONSUMERS);
    for (headers, status) in [
        (basic("ann:pass:word"), 200),
        (String::new(), 401),
        (basic("ann:pass"), 401),
        (basic("bob:pass:word"), 401),
        (basic("ann"), 401),
        ("\nauthorization: Basic !".to_owned(), 401),
        (format!("{}{}", basic("ann:pass:word"), basic("ann:pass:word")), 401),
    ] {
        let answer = ask(&gateway, "/", &headers);
        assert_eq!(answer.status, status, "{headers}");
        match status {
            401 => assert_eq!(answer.header("www-authenticate"), Some("Basic realm=\"the shop\"")),
            _ => assert_eq!(last(&upstream).header("authorization"), None),
        }
    }
    assert_eq!(upstream.seen().len(), 1);
    super::logged(&gateway, "gold");
}

#[test]
fn a_password_may_be_its_digest_and_may_go_on() {
    // printf 'secret' | sha256sum
    let digest = "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b";
    let consumers =
        format!("consumers: [{{name: c, basic: [{{username: cat, password: 'sha256:{digest}'}}]}}]\n");
    let (gateway, upstream) = guarded("[{basicAuth: {hideCredentials: false, anonymous: c}}]", &consumers);
    assert_eq!(ask(&gateway, "/", &basic("cat:secret")).status, 200);
    assert!(last(&upstream).header("authorization").is_some());
    assert_eq!(ask(&gateway, "/", &basic(&format!("cat:{digest}"))).status, 401, "the digest is no password");
    assert_eq!(ask(&gateway, "/", "").status, 200, "nobody is `c` here");
}

#[test]
fn a_digest_that_is_none_names_its_entry() {
    let text = with_policies("[{basicAuth: {}}]").replace("'pass:word'", "'sha256:zz'");
    refused(&text, &["consumers[0].basic[0]", "64 hexadecimal digits", "tidegate.yaml:3:"]);
}
