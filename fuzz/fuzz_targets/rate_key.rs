//! See `tidegate_fuzz::rate_key`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tidegate_fuzz::rate_key(bytes));
