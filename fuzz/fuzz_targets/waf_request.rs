//! See `tidegate_fuzz::waf_request`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tidegate_fuzz::waf_request(bytes));
