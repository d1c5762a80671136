//! What cannot be is refused with its place and the remedy, and what becomes reachable is told.

use crate::harness::run;

fn check(listener: &str, route: &str, rest: &str) -> (i32, String) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("tidegate.yaml");
    let text = format!(
        "listeners: [{{name: l, address: \"127.0.0.1:5000\"{listener}}}]
upstreams: [{{name: u, endpoints: [{{address: \"127.0.0.1:5001\"}}]}}, {{name: s, tls: {{}}, endpoints: [{{address: \"127.0.0.1:5001\"}}]}}]
streamRoutes: [{{name: r, listeners: [l], backends: [{{upstream: u}}]{route}}}{rest}]
"
    );
    std::fs::write(&path, text).expect("a file");
    let (code, _, said) = run(&["validate", "--config", &path.display().to_string()]);
    // A message may stand on two lines.
    (code, said.replace("\n  │ ", " "))
}

#[test]
fn what_cannot_be_is_refused_with_its_place() {
    for (listener, route) in [(", protocol: tcp", ""), (", protocol: udp", ", maxDatagramSize: 1KiB")] {
        let (code, said) = check(listener, route, "");
        assert_eq!(code, 0, "{said}");
    }
    let twice = ", {name: other, listeners: [l], backends: [{upstream: u}]}";
    let names = ", serverNames: [a.test]";
    for (listener, route, rest, wanted) in [
        ("", "", "", "speaks HTTP without TLS"),
        (", protocol: tcp", ", tls: terminate", "", "has no certificates"),
        (", protocol: udp", names, "", "not told apart by server names"),
        (", protocol: udp", ", tls: terminate", "", "TLS over datagrams does not end here"),
        (", protocol: tcp", ", maxDatagramSize: 1KiB", "", "a connection has no datagrams"),
        (", protocol: tcp", ", serverNames: [10.0.0.1]", "", "clients name hosts"),
        (", protocol: tcp", ", idleTimeout: 1ms", "", "expected 10ms or more"),
        (", protocol: tcp", "", twice, "route `r` takes all else of listener `l` already"),
        (", protocol: tcp, redirectToHttps: true", "", "", "this is a matter of HTTP"),
        (", protocol: udp, proxyProtocol: accept, trustedProxies: [10.0.0.0/8]", "", "", "no PROXY header"),
        (", protocol: tcp", ", backends: [{upstream: none}]", "", "there is no upstream `none`"),
    ] {
        let route = route.to_owned();
        let (code, said) = match route.contains("backends") {
            true => {
                let (code, said) =
                    check(listener, "", ", {name: x, listeners: [m], backends: [{upstream: none}]}");
                (code, said)
            }
            false => check(listener, &route, rest),
        };
        assert_eq!(code, 3, "{listener} {route}\n{said}");
        assert!(said.contains(wanted), "{wanted} in\n{said}");
    }
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("tidegate.yaml");
    std::fs::write(&path, "listeners: [{name: l, address: \"127.0.0.1:5000\", protocol: tcp}]\n")
        .expect("a file");
    let (code, _, said) = run(&["validate", "--config", &path.display().to_string()]);
    assert_eq!(code, 3);
    assert!(said.contains("no route of `streamRoutes` is for this listener"), "{said}");
}

#[test]
fn a_stream_that_becomes_reachable_or_asks_for_less_is_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, streams: &str| {
        let path = folder.path().join(name);
        let text = format!(
            "listeners: [{{name: h, address: \"127.0.0.1:5000\"}}{}]
upstreams: [{{name: u, endpoints: [{{address: \"127.0.0.1:5001\"}}]}}]
routes: [{{name: r, match: [{{path: {{prefix: /}}}}], respond: {{}}}}]
{streams}",
            if streams.is_empty() { "" } else { ", {name: l, address: \"0.0.0.0:5002\", protocol: tcp}" }
        );
        std::fs::write(&path, text).expect("a file");
        path.display().to_string()
    };
    let route = |more: &str| {
        format!("streamRoutes: [{{name: db, listeners: [l], backends: [{{upstream: u}}]{more}}}]\n")
    };
    let none = write("none.yaml", "");
    let narrow = write("narrow.yaml", &route(", allow: [10.0.0.0/8]"));
    let wide = write("wide.yaml", &route(""));
    let told = |old: &str, new: &str| {
        let (_, said, wrong) = run(&["diff", old, new]);
        format!("{said}{wrong}")
    };
    let first = told(&none, &narrow);
    assert!(first.contains("l (0.0.0.0:5002)") && first.contains("becomes reachable"), "{first}");
    let second = told(&narrow, &wide);
    assert!(second.contains("asked for an address of 10.0.0.0/8 and now asks for nothing"), "{second}");
    let back = told(&wide, &narrow);
    assert!(!back.contains("now asks for"), "{back}");
}
