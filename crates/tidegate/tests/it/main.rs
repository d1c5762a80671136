//! Black-box tests: the real binary, over sockets, with real peers.

mod harness;
mod tidy;
