//! `ipRestriction`.

use super::super::harness::Gateway;

/// A gateway behind a trusted proxy on this machine, so that a test may come from anywhere.
fn gateway(rule: &str) -> Gateway {
    Gateway::with(
        "trustedProxies: [127.0.0.1/32]",
        &format!(
            "routes: [{{name: r, match: [{{path: {{prefix: /}}}}], policies: [{{ipRestriction: {rule}}}], respond: {{}}}}]\n"
        ),
    )
}

fn from(gateway: &Gateway, client: &str) -> u16 {
    gateway.send(&format!("GET / HTTP/1.1\nhost: a\nx-forwarded-for: {client}"), b"").status
}

#[test]
fn networks_of_both_families_let_in_and_deny_wins() {
    let gateway = gateway("{allow: [10.0.0.0/8, '2001:db8::/32'], deny: [10.9.0.0/16, '2001:db8:9::/48']}");
    for (client, status) in [
        ("10.1.2.3", 200),
        ("10.9.2.3", 403),
        ("11.1.2.3", 403),
        ("2001:db8:1::1", 200),
        ("2001:db8:9::1", 403),
        ("2001:db9::1", 403),
        ("::ffff:10.1.2.3", 200),
    ] {
        assert_eq!(from(&gateway, client), status, "{client}");
    }
    assert_eq!(
        gateway.get("/").problem().as_deref(),
        Some("forbidden"),
        "the peer itself is not on the list"
    );
}

#[test]
fn a_mapped_network_is_the_ipv4_network_and_one_that_is_neither_is_refused() {
    let gateway = gateway(
        "{allow: [10.0.0.0/8, '2001:db8::/32', '::/0'], deny: ['::ffff:10.9.0.0/112', '::ffff:10.8.0.1']}",
    );
    for (client, status) in
        [("10.1.2.3", 200), ("10.9.2.3", 403), ("::ffff:10.9.2.3", 403), ("10.8.0.1", 403), ("11.1.2.3", 403)]
    {
        assert_eq!(from(&gateway, client), status, "{client}");
    }
    super::refused(
        &super::with_policies("[{ipRestriction: {deny: ['::ffff:10.0.0.0/90']}}]"),
        &["IPv4-mapped", "write an IPv4 network", "tidegate.yaml:6:"],
    );
}

#[test]
fn a_client_cannot_claim_an_address_from_the_left() {
    let gateway = gateway("{allow: [10.0.0.0/8]}");
    assert_eq!(from(&gateway, "10.1.2.3, 192.0.2.1"), 403, "what the trusted proxy saw counts");
    assert_eq!(from(&gateway, "192.0.2.1, 10.1.2.3"), 200);
    assert_eq!(from(&gateway, "10.1.2.3, 127.0.0.1"), 200, "trusted hops are passed over");
}
