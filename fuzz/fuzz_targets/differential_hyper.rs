//! A whole message that we accept, hyper accepts and reads the same: start line, fields, body and trailers.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tidegate_fuzz::compare::{compare_request_with_hyper, compare_response_with_hyper};

fuzz_target!(|bytes: &[u8]| {
    for compare in [compare_request_with_hyper, compare_response_with_hyper] {
        if let Err(difference) = compare(bytes) {
            panic!("{difference}");
        }
    }
});
