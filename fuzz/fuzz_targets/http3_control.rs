//! See `tidegate_fuzz::http3_control`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tidegate_fuzz::http3_control(bytes));
