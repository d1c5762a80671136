//! What we accept, httparse and hyper accept too and read the same way.

use http::Method;
use proptest::prelude::*;

use crate::{
    compare::{
        compare_request_with_httparse, compare_request_with_hyper, compare_response_with_httparse,
        compare_response_with_hyper,
    },
    hyper_peer::{final_response, first_request},
    near_valid::{nearly, valid_request, valid_response},
    read::{Seen, read, request_verdict, requests, response_verdict},
};

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

/// Documented in docs/decisions/http1-codec.md: when hyper becomes as strict, this tells.
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
