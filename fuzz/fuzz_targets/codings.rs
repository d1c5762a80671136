//! See `tidegate_fuzz::codings`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tidegate_fuzz::codings(bytes));
