//! See `tidegate_fuzz::jwt_token`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tidegate_fuzz::jwt_token(bytes));
