//! See `tidegate_fuzz::gemini`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tidegate_fuzz::gemini(bytes));
