//! See `tidegate_fuzz::embed`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tidegate_fuzz::embed(bytes));
