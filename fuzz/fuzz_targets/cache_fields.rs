//! See `tidegate_fuzz::cache_fields`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tidegate_fuzz::cache_fields(bytes));
