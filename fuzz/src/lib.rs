//! What the fuzz targets share with the codec's tests: the reader, hyper in memory, and the comparison.
//!
//! ```text
//! RUSTC_BOOTSTRAP=1 cargo fuzz run request_head -- -max_total_time=30 -dict=fuzz/http1.dict
//! ```
#![forbid(unsafe_code)]

#[path = "../../crates/http1/tests/it/compare.rs"]
pub mod compare;
#[path = "../../crates/http1/tests/it/hyper_peer.rs"]
pub mod hyper_peer;
#[path = "../../crates/http1/tests/it/read.rs"]
pub mod read;

use read::{Reader, read as read_pieces};

/// Panics unless the bytes read the same whole, in two pieces and byte by byte.
pub fn assert_split_law(reader: impl Fn() -> Reader, bytes: &[u8], at: usize) {
    let whole = read_pieces(reader(), &[bytes]);
    let (left, right) = bytes.split_at(at.min(bytes.len()));
    assert_eq!(read_pieces(reader(), &[left, right]), whole, "split at {at}");
    let singles: Vec<&[u8]> = bytes.chunks(1).collect();
    assert_eq!(read_pieces(reader(), &singles), whole, "byte by byte");
}
