//! See `tidegate_fuzz::resp`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tidegate_fuzz::resp(bytes));
