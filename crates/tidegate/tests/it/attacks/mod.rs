//! Hostile bytes, row by row: what is answered, that the upstream saw nothing, and that memory stayed bounded.

mod forms;
mod headers;
mod http2;
mod jwt;
mod slow;
