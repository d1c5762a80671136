//! See `tidegate_fuzz::transcode`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tidegate_fuzz::transcode(bytes));
