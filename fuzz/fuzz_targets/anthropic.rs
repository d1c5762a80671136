//! See `tidegate_fuzz::anthropic`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tidegate_fuzz::anthropic(bytes));
