//! See `tidegate_fuzz::sound`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tidegate_fuzz::sound(bytes));
