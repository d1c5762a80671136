//! The end of a connection: what is on its way when a drain begins is answered, and a client that does not heed a goodbye is not
//! borne for long.

use std::time::{Duration, Instant};

use quinn::Connection;

use super::{
    FIXED, Front,
    client::{How, PATIENCE, dial, end},
    hostile::{Outcome, get},
};
use crate::harness::h2::run;

/// Reads the gateway's control stream until it says GOAWAY; the stream's number in it.
async fn goodbye(connection: &Connection) -> u64 {
    let told = async {
        loop {
            let mut stream = connection.accept_uni().await.expect("a stream");
            let mut all = Vec::new();
            while let Ok(Some(chunk)) = stream.read_chunk(4096, true).await {
                all.extend_from_slice(&chunk.bytes);
                // Its kind, SETTINGS with their length, and then GOAWAY with one number.
                let settings = 3 + usize::from(all[2]);
                let Some(number) = all.get(settings + 2..).filter(|rest| !rest.is_empty()) else { continue };
                assert_eq!((all[0], all[1], all[settings]), (0, 4, 7));
                let mut bytes = [0; 8];
                bytes[8 - number.len()..].copy_from_slice(number);
                bytes[8 - number.len()] &= 0x3f;
                return u64::from_be_bytes(bytes);
            }
        }
    };
    tokio::time::timeout(PATIENCE, told).await.expect("it is told")
}

#[test]
fn a_request_that_is_on_its_way_when_a_drain_begins_is_answered() {
    let mut front = Front::start("true", "", &format!("{FIXED}shutdown: {{deadline: 15s, idleGrace: 2s}}\n"));
    run(async {
        let how = How::plain(&front.authority);
        let (_endpoint, connection) = dial(front.gateway.address, &how).await.expect("a connection");
        assert_eq!(get(&connection).await, Outcome::Status(200));
        front.gateway.signal("TERM");
        // Nothing is refused yet: the last number that there is.
        assert_eq!(goodbye(&connection).await, (1 << 62) - 4);
        assert_eq!(get(&connection).await, Outcome::Status(200), "it was on its way, as far as anyone knows");
        assert_eq!(end(&connection).await, 0x100);
    });
    assert_eq!(front.gateway.wait().code(), Some(0));
}

#[test]
fn who_does_not_heed_a_goodbye_is_cut_off() {
    let front = Front::start(
        "true",
        "limits: {maxRequestsPerConnection: 1}",
        &format!("{FIXED}shutdown: {{idleGrace: 500ms}}\n"),
    );
    run(async {
        let how = How::plain(&front.authority);
        let (_endpoint, connection) = dial(front.gateway.address, &how).await.expect("a connection");
        assert_eq!(get(&connection).await, Outcome::Status(200));
        let (began, mut refused) = (Instant::now(), 0);
        // A request that is refused puts nothing off.
        while connection.close_reason().is_none() && began.elapsed() < PATIENCE {
            let Ok((mut send, _recv)) = connection.open_bi().await else { break };
            let _ = send.write_all(b"\x01").await;
            refused += 1;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert_eq!(end(&connection).await, 0x100);
        assert!((2..100).contains(&refused), "{refused} refused in {:?}", began.elapsed());
    });
}
