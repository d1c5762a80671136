//! Responses of any bytes: no panic, the split law, and what is accepted httparse reads alike.
#![no_main]

use http::Method;
use libfuzzer_sys::fuzz_target;
use tidegate_fuzz::{assert_split_law, compare::compare_response_with_httparse, read::responses};

fuzz_target!(|bytes: &[u8]| {
    for method in [Method::GET, Method::HEAD, Method::CONNECT] {
        assert_split_law(|| responses(method.clone()), bytes, bytes.len() / 3);
    }
    if let Err(difference) = compare_response_with_httparse(bytes) {
        panic!("{difference}");
    }
});
