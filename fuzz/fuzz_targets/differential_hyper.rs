//! See `tidegate_fuzz::differential_hyper`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tidegate_fuzz::differential_hyper(bytes));
