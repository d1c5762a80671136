//! The laws and tables of the codec, in one binary.
#![allow(missing_docs, unreachable_pub, clippy::unwrap_used)]

mod body_rows;
mod compare;
mod differential;
mod encoding;
mod fuzz;
mod hyper_peer;
mod limits;
mod near_valid;
mod read;
mod request_facts;
mod request_rows;
mod response_rows;
mod round_trip;
mod splits;
