//! Who calls, told onward: keys that sign tokens ([`key`]), how a set of them rotates ([`ring`]), what a certificate
//! says of its holder ([`names`]), and the headers that tell of certificates ([`xfcc`], [`client_cert`]).
//!
//! Nothing here knows sockets, clocks or configurations: the time is passed in.

#![forbid(unsafe_code)]

pub mod client_cert;
pub mod key;
pub mod names;
pub mod ring;
pub mod xfcc;
