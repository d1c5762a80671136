//! See `tidegate_fuzz::grpc_timeout`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tidegate_fuzz::grpc_timeout(bytes));
