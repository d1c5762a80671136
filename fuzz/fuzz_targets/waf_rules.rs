//! See `tidegate_fuzz::waf_rules`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tidegate_fuzz::waf_rules(bytes));
