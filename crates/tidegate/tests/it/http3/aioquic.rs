//! A client of other hands: aioquic.

use super::{Front, ONE_WORKER};
use crate::harness::{Peer, Upstream, python};

fn visit(front: &Front) -> String {
    let ca = front.gateway.folder.path().join("ca.crt");
    std::fs::write(&ca, front.authority.pem()).expect("a file");
    let port = front.gateway.address.port().to_string();
    let ca = ca.display().to_string();
    let command = python(include_str!("aioquic_client.py"), &["127.0.0.1", &port, &ca]);
    let (is_good, said) = Peer::start(command).finish();
    assert!(is_good, "{said}\n{}", front.gateway.stderr());
    said
}

const MOVED: &str = "get 200 4
post 200 5
many 1 50
moved 0 200 6
moved 1 200 6
moved 2 200 6
moved 3 200 6
moved 4 200 6
moved 5 200 6
moved 6 200 6
moved 7 200 6
";

#[test]
fn it_asks_moves_and_comes_again() {
    let upstream = Upstream::echo();
    let front = Front::before(upstream.address, "true", "", "runtime: {workers: 4}");
    assert_eq!(visit(&front), format!("{MOVED}early get 200 6\nearly post 200 6\naccepted False"));
    let posted = upstream.seen().into_iter().find(|seen| seen.target() == "/post").expect("it was there");
    assert_eq!(posted.body.len(), 1_000_000);
}

#[test]
fn its_early_data_is_taken_where_that_is_wanted() {
    let upstream = Upstream::echo();
    let front = Front::before(upstream.address, "{earlyData: true}", "", ONE_WORKER);
    let said = visit(&front);
    let early = said.strip_prefix(MOVED).expect(&said);
    // One that reaches the gateway before the handshake is over is to come again; this client may be too slow for that.
    let posted = early.strip_prefix("early get 200 6\nearly post ").expect(early);
    assert!(posted.starts_with("425 ") || posted.starts_with("200 6"), "{early}");
    assert!(early.ends_with("accepted True"), "{early}");
}
