//! See `tidegate_fuzz::bedrock`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tidegate_fuzz::bedrock(bytes));
