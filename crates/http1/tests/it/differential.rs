//! What we accept, httparse and hyper accept too and read the same way.

use http::Method;
use proptest::prelude::*;

use crate::{
    hyper_peer::{Heard, final_response, first_request},
    near_valid::{nearly, valid_request, valid_response},
    read::{Seen, read, request_verdict, requests, response_verdict, responses},
};

/// The first whole message of those that were seen: head, body and trailers.
struct Message {
    head: Seen,
    body: Vec<u8>,
    trailers: Vec<(String, Vec<u8>)>,
}

fn first_message(seen: Vec<Seen>, ends_with_connection: bool) -> Option<Message> {
    let mut seen = seen.into_iter();
    let mut message = Message { head: seen.next()?, body: Vec::new(), trailers: Vec::new() };
    for next in seen {
        match next {
            Seen::Data(data) => message.body = data,
            Seen::Trailers(trailers) => message.trailers = trailers,
            Seen::End => return Some(message),
            _ => return None,
        }
    }
    ends_with_connection.then_some(message)
}

type Listed = Vec<(String, Vec<u8>)>;

fn same_message(message: &Message, headers: &Listed, heard: &Heard) -> Result<(), String> {
    if *headers != heard.headers {
        return Err(format!("fields: ours {headers:?}, hyper's {:?}", heard.headers));
    }
    if heard.body.as_ref() != Some(&message.body) {
        return Err(format!("body: ours {:?}, hyper's {:?}", message.body, heard.body));
    }
    // We leave out trailers that hyper lets through; what we let through, it has.
    if !message.trailers.iter().all(|trailer| heard.trailers.contains(trailer)) {
        return Err(format!("trailers: ours {:?}, hyper's {:?}", message.trailers, heard.trailers));
    }
    Ok(())
}

/// Whether we accepted a whole message; an error tells where hyper differs.
pub fn compare_request_with_hyper(bytes: &[u8]) -> Result<bool, String> {
    let Some(message) = first_message(read(requests(), &[bytes]), false) else { return Ok(false) };
    let Seen::Request { line, headers, .. } = &message.head else { return Ok(false) };
    if line.starts_with("CONNECT") {
        // What follows a CONNECT is a matter of its answer.
        return Ok(false);
    }
    let heard = first_request(bytes).ok_or("hyper accepts no request")?;
    if *line != heard.start {
        return Err(format!("ours {line}, hyper's {}", heard.start));
    }
    same_message(&message, headers, &heard).map(|()| true)
}

/// The same for the first answer to a GET.
pub fn compare_response_with_hyper(bytes: &[u8]) -> Result<bool, String> {
    use http1::Framing;
    let seen = read(responses(Method::GET), &[bytes]);
    let until_close = matches!(seen.first(), Some(Seen::Response { framing: Framing::UntilClose, .. }));
    let Some(message) = first_message(seen, until_close) else { return Ok(false) };
    let Seen::Response { status, headers, .. } = &message.head else { return Ok(false) };
    if status.is_informational() {
        return Ok(false);
    }
    let heard = final_response(bytes, &Method::GET).ok_or("hyper accepts no response")?;
    if *status != heard.status {
        return Err(format!("ours {status}, hyper's {}", heard.status));
    }
    same_message(&message, headers, &heard).map(|()| true)
}

/// The same for a request's head and httparse.
pub fn compare_request_with_httparse(bytes: &[u8]) -> Result<bool, String> {
    let seen = read(requests(), &[bytes]);
    let Some(Seen::Request { line, headers, wire_len, .. }) = seen.first() else { return Ok(false) };
    let mut room = [httparse::EMPTY_HEADER; 128];
    let mut theirs = httparse::Request::new(&mut room);
    match theirs.parse(bytes) {
        Ok(httparse::Status::Complete(len)) if len == *wire_len => {}
        other => return Err(format!("ours {wire_len} bytes, httparse's {other:?}")),
    }
    let start = [theirs.method, theirs.path].map(Option::unwrap_or_default);
    let ours: Vec<&str> = line.split(' ').collect();
    // A URI in absolute-form is shown with the path it implies.
    if ours[0] != start[0] || (start[1].starts_with('/') && ours[1] != start[1]) {
        return Err(format!("ours {line}, httparse's {start:?}"));
    }
    same_fields(headers, theirs.headers).map(|()| true)
}

/// The same for a response's head.
pub fn compare_response_with_httparse(bytes: &[u8]) -> Result<bool, String> {
    let seen = read(responses(Method::GET), &[bytes]);
    let Some(Seen::Response { status, headers, .. }) = seen.first() else { return Ok(false) };
    let mut room = [httparse::EMPTY_HEADER; 128];
    let mut theirs = httparse::Response::new(&mut room);
    match theirs.parse(bytes) {
        Ok(httparse::Status::Complete(_)) if theirs.code == Some(status.as_u16()) => {}
        other => return Err(format!("ours {status}, httparse's {other:?} {:?}", theirs.code)),
    }
    same_fields(headers, theirs.headers).map(|()| true)
}

/// Fields of one name keep their order; those of different names may be told in another.
fn same_fields(ours: &Listed, theirs: &[httparse::Header<'_>]) -> Result<(), String> {
    let mut ours = ours.clone();
    let mut theirs: Listed =
        theirs.iter().map(|field| (field.name.to_ascii_lowercase(), field.value.to_vec())).collect();
    ours.sort_by(|a, b| a.0.cmp(&b.0));
    theirs.sort_by(|a, b| a.0.cmp(&b.0));
    if ours == theirs { Ok(()) } else { Err(format!("fields: ours {ours:?}, httparse's {theirs:?}")) }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn valid_requests_are_accepted_by_all_three(bytes in valid_request()) {
        prop_assert_eq!(compare_request_with_hyper(&bytes), Ok(true));
        prop_assert_eq!(compare_request_with_httparse(&bytes), Ok(true));
    }

    #[test]
    fn valid_responses_are_accepted_by_all_three(bytes in valid_response()) {
        prop_assert_eq!(compare_response_with_hyper(&bytes), Ok(true));
        prop_assert_eq!(compare_response_with_httparse(&bytes), Ok(true));
    }

    #[test]
    fn a_request_that_we_accept_is_the_same_to_hyper_and_httparse(bytes in nearly(valid_request())) {
        prop_assert!(compare_request_with_hyper(&bytes).is_ok(), "{:?}", compare_request_with_hyper(&bytes));
        prop_assert!(compare_request_with_httparse(&bytes).is_ok(), "{:?}", compare_request_with_httparse(&bytes));
    }

    #[test]
    fn a_response_that_we_accept_is_the_same_to_hyper_and_httparse(bytes in nearly(valid_response())) {
        prop_assert!(compare_response_with_hyper(&bytes).is_ok(), "{:?}", compare_response_with_hyper(&bytes));
        prop_assert!(compare_response_with_httparse(&bytes).is_ok(), "{:?}", compare_response_with_httparse(&bytes));
    }
}

/// Documented in docs/decisions/0001-own-http1-codec.md: when hyper becomes as strict, this tells.
#[test]
fn what_hyper_accepts_and_we_refuse() {
    let rows: [(&[u8], &str); 9] = [
        (b"GET / HTTP/1.1\nHost: a\n\n", "bare-lf"),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "both-length-and-chunked"),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "repeated-transfer-encoding"),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nContent-Length: 0\r\n\r\n", "repeated-content-length"),
        (b"GET / HTTP/1.1\r\n\r\n", "missing-host"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", "repeated-host"),
        (b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", "malformed-host"),
        (b"GET /\xc3\xa9 HTTP/1.1\r\nHost: a\r\n\r\n", "malformed-target"),
        (b"GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n", "host-differs-from-target"),
    ];
    for (bytes, reason) in rows {
        assert_eq!(request_verdict(bytes), reason);
        assert!(first_request(bytes).is_some_and(|heard| heard.body.is_some()), "{}", bytes.escape_ascii());
    }
    let chunk = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1 \r\na\r\n0\r\n\r\n";
    assert_eq!(read(requests(), &[chunk]).last(), Some(&Seen::Refused("malformed-chunk-size")));
    assert!(first_request(chunk).is_some_and(|heard| heard.body.is_some()));
    let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\na";
    assert_eq!(response_verdict(answer), "repeated-content-length");
    assert!(final_response(answer, &Method::GET).is_some_and(|heard| heard.body.is_some()));
}
