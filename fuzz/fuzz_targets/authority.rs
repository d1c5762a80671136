//! See `tidegate_fuzz::authority`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tidegate_fuzz::authority(bytes));
