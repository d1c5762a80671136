//! A client of other hands: aioquic.

use super::{Front, ONE_WORKER};
use crate::harness::{Peer, Upstream, eventually, python};

/// What a client says. Where it `waits`, it hears nothing of what the gateway says to its early requests before that has judged
/// them: they are early then, whatever the pace of either side.
fn visit(front: &Front, waits: bool) -> String {
    let go = front.gateway.folder.path().join("go");
    if !waits {
        std::fs::write(&go, "").expect("a file");
    }
    let ca = front.gateway.folder.path().join("ca.crt");
    std::fs::write(&ca, front.authority.pem()).expect("a file");
    let port = front.gateway.address.port().to_string();
    let ca = ca.display().to_string();
    let path = go.display().to_string();
    let client = Peer::start(python(include_str!("aioquic_client.py"), &["127.0.0.1", &port, &ca, &path]));
    if waits {
        let judged = |record: &serde_json::Value| record["path"] == "/early";
        eventually("both are judged", || front.gateway.records(0).into_iter().filter(judged).count() == 2);
        std::fs::write(&go, "").expect("a file");
    }
    let (is_good, said) = client.finish();
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
    assert_eq!(visit(&front, false), format!("{MOVED}early get 200 6\nearly post 200 6\naccepted False"));
    let posted = upstream.seen().into_iter().find(|seen| seen.target() == "/post").expect("it was there");
    assert_eq!(posted.body.len(), 1_000_000);
}

#[test]
fn its_early_data_is_taken_where_that_is_wanted() {
    let upstream = Upstream::echo();
    let front = Front::before(upstream.address, "{earlyData: true}", "", ONE_WORKER);
    let said = visit(&front, true);
    let early = said.strip_prefix(MOVED).expect(&said);
    let posted = early.strip_prefix("early get 200 6\nearly post 425 ").expect(early);
    assert!(posted.ends_with("accepted True"), "{early}");
    let marked: Vec<_> = upstream.seen().into_iter().filter(|seen| seen.target() == "/early").collect();
    assert_eq!(marked.len(), 1);
    assert_eq!(marked[0].header("early-data"), Some("1"));
}
