//! See `tidegate_fuzz::a2a`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tidegate_fuzz::a2a(bytes));
