//! See `tidegate_fuzz::mcp`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tidegate_fuzz::mcp(bytes));
