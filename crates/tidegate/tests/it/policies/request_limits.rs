//! `requestLimits`.

use super::{super::harness::raw, ask, guarded, last, refused, with_policies};

#[test]
fn every_part_of_a_head_has_its_bound_and_its_status() {
    for (settings, target, headers, status, problem) in [
        ("{maxUriSize: 20B}", "/12345678901234567890", "", 414, "uri-too-long"),
        ("{maxQueryParameters: 2}", "/?a&b&c", "", 414, "uri-too-long"),
        ("{maxHeaders: 6}", "/", "\na: 1\nb: 2\nc: 3\nd: 4\ne: 5\nf: 6\ng: 7", 431, "head-too-large"),
        ("{maxHeaderSize: 400B}", "/", &*format!("\na: {}", "x".repeat(400)), 431, "head-too-large"),
    ] {
        let (gateway, upstream) = guarded(&format!("[{{requestLimits: {settings}}}]"), "");
        assert_eq!(ask(&gateway, "/?a&b", "").status, 200, "{settings}");
        let answer = ask(&gateway, target, headers);
        assert_eq!((answer.status, answer.problem().as_deref()), (status, Some(problem)), "{settings}");
        assert_eq!(upstream.seen().len(), 1);
    }
}

#[test]
fn what_the_gateway_adds_to_a_head_does_not_count() {
    // `host`, `connection` and `a`: 3 lines of 12, 19 and 6 bytes with their ends.
    for (settings, status) in [
        ("{maxHeaders: 3}", 200),
        ("{maxHeaders: 2}", 431),
        ("{maxHeaderSize: 37B}", 200),
        ("{maxHeaderSize: 36B}", 431),
    ] {
        let (gateway, _upstream) = guarded(&format!("[{{requestLimits: {settings}}}]"), "");
        let answer = gateway.send("GET / HTTP/1.1\nhost: a.te\na: 1", b"");
        assert_eq!(answer.status, status, "{settings}");
    }
}

#[test]
fn a_body_is_bounded_whether_it_tells_its_length_or_not() {
    let (gateway, upstream) = guarded("[{requestLimits: {maxBodySize: 10B}}]", "");
    let post = |framing: &str, body: &str| {
        let head = format!("POST /x HTTP/1.1\nhost: a\n{framing}");
        gateway.send(&head, body.as_bytes())
    };
    assert_eq!(post("content-length: 10", "0123456789").status, 200);
    assert_eq!(last(&upstream).body, b"0123456789");
    assert_eq!(post("transfer-encoding: chunked", "5\r\n01234\r\n5\r\n56789\r\n0\r\n\r\n").status, 200);
    assert_eq!(last(&upstream).body, b"0123456789");
    let whole = upstream.seen().len();
    let announced = post("content-length: 11", "01234567890");
    assert_eq!((announced.status, announced.problem().as_deref()), (413, Some("body-too-large")));
    let streamed = post("transfer-encoding: chunked", "5\r\n01234\r\n6\r\n567890\r\n0\r\n\r\n");
    assert_eq!((streamed.status, streamed.problem().as_deref()), (413, Some("body-too-large")));
    assert_eq!(upstream.seen().len(), whole, "no upstream saw a whole request of these");
}

#[test]
fn a_body_over_the_bound_is_refused_before_it_comes_when_it_is_asked_for() {
    let (gateway, upstream) = guarded("[{requestLimits: {maxBodySize: 10B}}]", "");
    let bytes = raw(
        gateway.address,
        b"POST /x HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 11\r\nconnection: close\r\n\r\n",
    );
    let text = String::from_utf8_lossy(&bytes);
    assert!(text.starts_with("HTTP/1.1 413"), "{text}");
    assert!(upstream.seen().is_empty());
}

#[test]
fn a_policy_without_a_bound_is_refused() {
    refused(&with_policies("[{requestLimits: {}}]"), &["requestLimits", "nothing is limited"]);
}
