//! See `tidegate_fuzz::certificate`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tidegate_fuzz::certificate(bytes));
