//! See `tidegate_fuzz::access_line`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tidegate_fuzz::access_line(bytes));
