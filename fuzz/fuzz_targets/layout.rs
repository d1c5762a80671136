//! See `tidegate_fuzz::layout`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tidegate_fuzz::layout(bytes));
