//! `ldapAuth`, at a real `slapd`.

use std::{net::SocketAddr, time::Instant};

use super::{ask, basic, directory::Directory};
use crate::harness::{Gateway, Upstream, eventually, free_port};

const SEARCH: &str = "search: {bindDn: 'cn=gateway,dc=example,dc=test', bindPassword: searcher-of-the-test, base: 'ou=people,dc=example,dc=test'}";
const DIRECT: &str = "userDn: 'uid={user},ou=people,dc=example,dc=test'";
const ANN: &str = "ann:pass:word of ann";

/// A gateway that asks these servers, to an upstream that remembers what it saw.
fn gateway(servers: &str, settings: &str, more: &str) -> (Gateway, Upstream) {
    let upstream = Upstream::echo();
    let gateway = Gateway::start(&format!(
        "accessLog: [{{kind: stdout}}]
consumers:
  - {{name: internal, groups: [partners]}}
  - {{name: bob, jwt: [{{claim: sub, value: bob}}]}}
  - {{name: keyed, keys: [key-of-the-test-itself]}}
upstreams: [{{name: u, endpoints: [{{address: \"{}\"}}]}}]
routes:
  - name: r
    match: [{{path: {{prefix: /}}}}]
    policies: [{{ldapAuth: {{servers: [{servers}], {settings}}}}}{more}]
    backends: [{{upstream: u}}]
",
        upstream.address
    ));
    (gateway, upstream)
}

fn plain(directory: &Directory) -> String {
    format!("'ldap://{}'", directory.plain)
}

fn signed(gateway: &Gateway, pair: &str) -> u16 {
    ask(gateway, "/", &basic(pair)).status
}

fn count(gateway: &Gateway, outcome: &str) -> f64 {
    gateway
        .metric(&format!("tidegate_ldap_auth_total{{policy=\"routes/r/ldapAuth\",outcome=\"{outcome}\"}}"))
        .unwrap_or(0.0)
}

#[test]
fn a_password_that_the_directory_takes_lets_in_and_nothing_else_does() {
    let directory = Directory::start();
    for way in [SEARCH, DIRECT] {
        let (gateway, upstream) = gateway(&plain(&directory), &format!("{way}, ttl: 0s, realm: people"), "");
        for (pair, status) in [
            (ANN, 200),
            ("bob:password-of-bob", 200),
            ("j\u{f6}rg, (a*b):password-of-joerg", 200),
            ("ann:wrong", 401),
            // A bind with a name and no password is one of nobody's, which succeeds.
            ("ann:", 401),
            (":", 401),
            (":pass:word of ann", 401),
            ("nopass:", 401),
            ("nopass:anything", 401),
            ("nobody:pass", 401),
            // Nothing that is typed is more than a name.
            ("*:pass:word of ann", 401),
            ("a*:pass:word of ann", 401),
            ("ann)(uid=*:pass:word of ann", 401),
            ("ann)(|(uid=bob:password-of-bob", 401),
            ("*)(uid=ann:pass:word of ann", 401),
            ("bob,ou=people,dc=example,dc=test:password-of-bob", 401),
            ("bob+cn=Bob Example:password-of-bob", 401),
            ("ann\0:pass:word of ann", 401),
            ("elsewhere:anything", 401),
        ] {
            assert_eq!(signed(&gateway, pair), status, "{way}: {pair:?}\n{}", gateway.stdout());
        }
        let answer = ask(&gateway, "/", &basic("ann:wrong"));
        assert_eq!(answer.header("www-authenticate"), Some("Basic realm=\"people\""));
        assert_eq!(ask(&gateway, "/", "").status, 401);
        assert!(upstream.seen().iter().all(|seen| seen.header("authorization").is_none()));
        assert!(!gateway.stdout().contains("pass:word") && !gateway.stderr().contains("pass:word"));
    }
}

#[test]
fn a_name_that_two_entries_have_is_nobodys() {
    let directory = Directory::start();
    let by_mail = SEARCH.replace("base:", "filter: '(mail={user})', base:");
    let (gateway, _upstream) = gateway(&plain(&directory), &by_mail, "");
    assert_eq!(signed(&gateway, "twin@example.test:password-of-twin"), 401);
    assert_eq!(signed(&gateway, "ann@example.test:pass:word of ann"), 200);
}

#[test]
fn groups_and_attributes_are_claims_for_acl_conditions_and_headers() {
    let directory = Directory::start();
    let groups = "groups: {attribute: memberOf, base: 'ou=groups,dc=example,dc=test'}";
    let searched = "groups: {filter: '(member={dn})', base: 'ou=groups,dc=example,dc=test'}";
    for (way, groups) in [(SEARCH, groups), (SEARCH, searched), (DIRECT, groups), (DIRECT, searched)] {
        let settings = format!(
            "{way}, {groups}, attributes: [mail], claimsToHeaders: {{x-user: sub, x-mail: mail, x-groups: groups}}"
        );
        let policies = ", {acl: {allowClaims: {groups: [admins]}}}, {authorize: {rules: [{require: \"'staff' in jwt.groups && jwt.mail.endsWith('example.test')\"}]}}";
        let (gateway, upstream) = gateway(&plain(&directory), &settings, policies);
        let answer = ask(
            &gateway,
            "/",
            &format!("{}\nx-user: root\nx-groups: gods", basic(&ANN.replace("ann:", "ANN:"))),
        );
        assert_eq!(answer.status, 200, "{settings}\n{}", gateway.stdout());
        let seen = upstream.seen().pop().expect("a request");
        // However the name was typed.
        assert_eq!((seen.header("x-user"), seen.header("x-mail")), (Some("ann"), Some("ann@example.test")));
        assert!(!format!("{seen:?}").contains("gods"), "{seen:?}");
        // Bob is in a club that calls itself admins, which is no group.
        assert_eq!(signed(&gateway, "bob:password-of-bob"), 403, "{settings}");
    }
}

#[test]
fn a_group_may_be_a_consumer_and_a_name_too() {
    let directory = Directory::start();
    let settings = format!(
        "{SEARCH}, groups: {{attribute: memberOf}}, groupConsumers: [{{group: 'CN=staff, ou=groups,dc=example,dc=test', consumer: internal}}]"
    );
    let (gateway, _upstream) = gateway(&plain(&directory), &settings, ", {acl: {allow: [partners]}}");
    assert_eq!(signed(&gateway, ANN), 200);
    assert_eq!(signed(&gateway, "bob:password-of-bob"), 403);
    let record = gateway.record("ann's", |record| record["status"] == 200);
    assert_eq!(record["consumer"], "internal");
    let record = gateway.record("bob's", |record| record["status"] == 403);
    assert_eq!(record["consumer"], "bob");
}

#[test]
fn good_passwords_are_known_for_a_while_and_bad_ones_are_not() {
    let mut directory = Directory::start();
    let (gateway, _upstream) = gateway(&plain(&directory), &format!("{SEARCH}, ttl: 3s, timeout: 500ms"), "");
    for _ in 0..5 {
        assert_eq!(signed(&gateway, ANN), 200);
        assert_eq!(signed(&gateway, "ann:wrong"), 401);
    }
    assert_eq!((count(&gateway, "good"), count(&gateway, "kept"), count(&gateway, "bad")), (1.0, 4.0, 5.0));
    directory.down();
    assert_eq!(signed(&gateway, ANN), 200, "known without the directory");
    let answer = ask(&gateway, "/", &basic("ann:wrong"));
    assert_eq!(answer.status, 503, "nobody knows: {}", answer.text());
    assert!(
        !answer.text().contains(&directory.plain.to_string()),
        "nothing of the inside: {}",
        answer.text()
    );
    eventually("it is known no more", || signed(&gateway, ANN) == 503);
    assert!(count(&gateway, "away") >= 2.0);
    directory.up();
    // Connections that were open before are of no use, and that is nobody's business.
    eventually("it is there again", || signed(&gateway, ANN) == 200);
}

#[test]
fn passwords_go_within_tls_to_who_proves_to_be_the_directory() {
    let directory = Directory::start();
    let ca = format!("caFile: {}", directory.ca.display());
    let start_tls = format!("'ldap://localhost:{}'", directory.plain.port());
    let tls = format!("'ldaps://localhost:{}'", directory.tls.port());
    for (server, settings) in
        [(&tls, format!("{SEARCH}, {ca}")), (&start_tls, format!("{DIRECT}, {ca}, startTls: true"))]
    {
        let (gateway, _upstream) = gateway(server, &settings, "");
        assert_eq!(signed(&gateway, ANN), 200, "{settings}\n{}", gateway.stdout());
        assert_eq!(signed(&gateway, "ann:wrong"), 401);
    }
    // Another authority than the one that is named.
    let other = Directory::start();
    let settings = format!("{SEARCH}, caFile: {}", other.ca.display());
    for (server, settings) in [(&tls, settings.clone()), (&start_tls, format!("{settings}, startTls: true"))]
    {
        let (gateway, _upstream) = gateway(server, &settings, "");
        assert_eq!(signed(&gateway, ANN), 503, "{settings}");
    }
}

#[test]
fn servers_are_asked_in_order_and_one_that_is_silent_costs_no_more_than_its_time() {
    let directory = Directory::start();
    // Nobody there, and somebody who says nothing.
    let gone = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let silent = Upstream::raw(|mut reader, _| {
        let _ = std::io::Read::read_to_end(&mut reader, &mut Vec::new());
    });
    let servers = format!("'ldap://{gone}', 'ldap://{}', {}", silent.address, plain(&directory));
    let (gateway, _upstream) =
        gateway(&servers, &format!("{SEARCH}, ttl: 0s, timeout: 500ms, connectTimeout: 500ms"), "");
    assert_eq!(signed(&gateway, ANN), 200);
    // From then on they come last.
    let began = Instant::now();
    for _ in 0..5 {
        assert_eq!(signed(&gateway, ANN), 200);
    }
    assert!(began.elapsed().as_millis() < 500, "{:?}", began.elapsed());
    assert_eq!(signed(&gateway, "ann:wrong"), 401);
}

#[test]
fn it_is_one_of_several_ways_and_who_fails_is_locked_out() {
    let directory = Directory::start();
    let upstream = Upstream::echo();
    let gateway = Gateway::start(&format!(
        "accessLog: [{{kind: stdout}}]
consumers: [{{name: keyed, keys: [key-of-the-test-itself]}}]
upstreams: [{{name: u, endpoints: [{{address: \"{}\"}}]}}]
routes:
  - name: r
    match: [{{path: {{prefix: /}}}}]
    policies:
      - anyOf: {{policies: [{{keyAuth: {{}}}}, {{ldapAuth: {{servers: [{}], {SEARCH}}}}}]}}
      - lockout: {{by: [user], maxFailures: 2}}
    backends: [{{upstream: u}}]
",
        upstream.address,
        plain(&directory)
    ));
    assert_eq!(ask(&gateway, "/", "\nx-api-key: key-of-the-test-itself").status, 200);
    assert_eq!(signed(&gateway, ANN), 200);
    let answer = ask(&gateway, "/", "");
    let challenges: Vec<_> = answer.headers.iter().filter(|(name, _)| name == "www-authenticate").collect();
    assert_eq!((answer.status, challenges.len()), (401, 2), "{challenges:?}");
    assert_eq!([0; 3].map(|_| signed(&gateway, "bob:wrong")), [401, 401, 429]);
    assert_eq!(signed(&gateway, "bob:password-of-bob"), 429);
    assert_eq!(signed(&gateway, ANN), 200);
}
