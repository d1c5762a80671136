//! See `tidegate_fuzz::cohere`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tidegate_fuzz::cohere(bytes));
