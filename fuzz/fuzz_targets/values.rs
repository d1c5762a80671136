//! See `tidegate_fuzz::values`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tidegate_fuzz::values(bytes));
