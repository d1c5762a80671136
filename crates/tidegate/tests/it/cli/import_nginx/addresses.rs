//! Addresses: where servers listen, and where those of clients come from.

use super::{Both, asked, imported};
use crate::harness::{Gateway, free_port};

#[test]
fn proxies_that_one_server_believes_are_believed_here() {
    let both = Both::start(
        r#"
server {
    listen 127.0.0.1:PORT;
    set_real_ip_from 127.0.0.1;
    real_ip_header X-Forwarded-For;
    location / { allow 127.0.0.1; deny all; proxy_pass http://shop; }
}"#,
    );
    for (forwarded, status) in [("9.9.9.9", 403), ("127.0.0.1", 200)] {
        let head = format!("GET /x HTTP/1.1\nhost: a.test\nx-forwarded-for: {forwarded}");
        for address in [both.theirs, both.own] {
            assert_eq!(asked(address, &head, b"").status, status, "{forwarded}\n{}", both.ours);
        }
    }
    assert!(!both.report.contains("real_ip"), "{}", both.report);
}

#[test]
fn addresses_of_another_header_close_what_goes_by_them() {
    let (ours, report) = imported(
        r#"
server {
    listen 127.0.0.1:PORT;
    set_real_ip_from 10.0.0.0/8;
    real_ip_header CF-Connecting-IP;
    location /office/ { allow 10.0.0.0/8; deny all; proxy_pass http://shop; }
    location / { proxy_pass http://shop; }
}"#,
    );
    assert_eq!(ours.matches("0.0.0.0/0").count(), 1, "{ours}");
    for told in [
        "sites/a.conf:5: `real_ip_header`: nginx takes clients' addresses from `CF-Connecting-IP`",
        "sites/a.conf:6: `location`: CLOSED, for `real_ip_header CF-Connecting-IP` is not taken over",
    ] {
        assert!(report.contains(told), "{told}\n{report}");
    }
}

#[test]
fn all_addresses_of_a_port_are_one_listener() {
    let (ours, report) = imported(
        r#"
server { listen PORT default_server; listen [::]:PORT default_server; location / { return 200 first; } }
server { listen PORT; listen [::]:PORT; server_name b.test; location / { return 200 second; } }
server { listen PORT; server_name c.test; location / { return 200 third; } }"#,
    );
    assert_eq!(ours.matches("[::]:20001").count(), 1, "{ours}");
    let told = "sites/a.conf:4: `listen`: it answers at `[::]:20001` here, over IPv4 and IPv6";
    assert!(report.contains(told), "{report}");
    assert_eq!(report.matches("over IPv4 and IPv6").count(), 1, "{report}");

    let port = free_port();
    let own = format!("127.0.0.1:{port}").parse().expect("an address");
    let ours = ours.replace(":20001", &format!(":{port}"));
    let _gateway = Gateway::from_text(&ours, own, |_| {});
    for (host, want) in [("a.test", "first"), ("b.test", "second"), ("c.test", "third")] {
        let answer = asked(own, &format!("GET / HTTP/1.1\nhost: {host}"), b"");
        assert_eq!((answer.status, answer.text().as_str()), (200, want), "{host}\n{ours}");
    }
}
