//! See `tidegate_fuzz::websocket_frames`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tidegate_fuzz::websocket_frames(bytes));
