//! See `tidegate_fuzz::accept_encoding`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tidegate_fuzz::accept_encoding(bytes));
