//! See `tidegate_fuzz::pattern`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tidegate_fuzz::pattern(bytes));
