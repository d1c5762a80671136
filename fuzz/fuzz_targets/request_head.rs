//! Requests of any bytes: no panic, the split law, and what is accepted httparse reads alike.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tidegate_fuzz::{assert_split_law, compare::compare_request_with_httparse, read::requests};

fuzz_target!(|bytes: &[u8]| {
    assert_split_law(requests, bytes, bytes.len() / 3);
    if let Err(difference) = compare_request_with_httparse(bytes) {
        panic!("{difference}");
    }
});
