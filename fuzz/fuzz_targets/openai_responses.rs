//! See `tidegate_fuzz::openai_responses`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tidegate_fuzz::openai_responses(bytes));
