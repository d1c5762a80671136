//! Answers that are one large piece: a client that reads slowly and steadily gets all of it, and the log tells how much of it
//! one got that left. And requests whose end comes with their head.

use std::{sync::Arc, time::Duration};

use bytes::Buf;
use quinn::VarInt;

use super::{
    Front, ONE_WORKER,
    client::{Client, How, endpoint, request},
    hostile::{headers, status},
};
use crate::harness::{Upstream, h2::run};

/// Several times as much as a client of small windows takes while nobody may be waited for.
const LARGE: usize = 600_000;
const WINDOW: u32 = 32 * 1024;

fn front() -> Front {
    let body = "x".repeat(LARGE);
    Front::start(
        "true",
        "limits: {bodyTimeout: 700ms}",
        &format!(
            "{ONE_WORKER}\naccessLog: [{{kind: stdout, format: json}}]
routes: [{{name: r, match: [{{path: {{prefix: /}}}}], respond: {{body: {body}}}}}]\n"
        ),
    )
}

/// A client that takes little ahead of its reader.
async fn narrow(front: &Front) -> Client {
    let mut transport = quinn::TransportConfig::default();
    transport.stream_receive_window(VarInt::from_u32(WINDOW)).receive_window(VarInt::from_u32(WINDOW));
    let mut config = How::plain(&front.authority).config();
    config.transport_config(Arc::new(transport));
    let endpoint = endpoint();
    let connection = endpoint.connect_with(config, front.gateway.address, "a.test").expect("a way");
    let connection = connection.await.expect("a connection");
    Client::over(endpoint, connection).await
}

#[test]
fn who_reads_slowly_and_steadily_gets_all_of_it() {
    let front = front();
    run(async {
        let mut client = narrow(&front).await;
        let mut stream = client.begin(request("GET", "/")).await.expect("a stream");
        stream.finish().await.expect("sent");
        stream.recv_response().await.expect("a head");
        let (mut read, mut paused) = (0, 0);
        while let Some(data) = stream.recv_data().await.expect("it goes on") {
            read += data.remaining();
            if read / 30_000 > paused {
                paused = read / 30_000;
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
        assert_eq!(read, LARGE);
    });
}

#[test]
fn the_log_tells_how_much_of_it_went_out_to_one_who_left() {
    let front = front();
    run(async {
        let mut client = narrow(&front).await;
        let mut stream = client.begin(request("GET", "/")).await.expect("a stream");
        stream.finish().await.expect("sent");
        stream.recv_response().await.expect("a head");
        let mut read = 0;
        while read < 100_000 {
            read += stream.recv_data().await.expect("it goes on").expect("more").remaining();
        }
        stream.stop_sending(h3::error::Code::H3_REQUEST_CANCELLED);
        client.connection.close(0u32.into(), b"");
    });
    let sent = front.gateway.records(1)[0]["response_bytes"].as_u64().expect("a number");
    assert!((100_000..=200_000).contains(&sent), "{sent} bytes");
}

#[test]
fn a_request_whose_end_comes_with_its_head_has_no_body() {
    let upstream = Upstream::echo();
    let front = Front::before(upstream.address, "true", "", ONE_WORKER);
    run(async {
        let client = front.client().await;
        for method in ["POST", "PUT", "PATCH", "PROPFIND"] {
            let (mut send, mut recv) = client.connection.open_bi().await.expect("a stream");
            let head = [(":method", method), (":scheme", "https"), (":authority", "a.test"), (":path", "/")];
            send.write_all(&headers(&head)).await.expect("sent");
            send.finish().expect("sent");
            assert_eq!(status(&recv.read_to_end(65_536).await.expect("an answer")), 200, "{method}");
        }
    });
    for seen in upstream.seen() {
        assert_eq!(seen.header("transfer-encoding"), None, "{seen:?}");
    }
}
