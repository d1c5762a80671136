//! See `tidegate_fuzz::jwks`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tidegate_fuzz::jwks(bytes));
