//! See `tidegate_fuzz::certificate_headers`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tidegate_fuzz::certificate_headers(bytes));
