//! Black-box tests: the real binary, over sockets, with real peers.

#![expect(unreachable_pub, reason = "the harness is a library for the tests beside it")]

mod attacks;
mod cli;
mod harness;
mod reference;
mod tidy;
