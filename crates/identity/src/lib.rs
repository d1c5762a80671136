//! Who calls, told onward: keys that sign tokens ([`key`]), how a set of them rotates ([`ring`]), what a certificate
//! says of its holder ([`names`]), the headers that tell of certificates ([`xfcc`], [`client_cert`]), and signatures of
//! requests: HTTP Message Signatures ([`message`], [`fields`], [`sign`]), AWS's ([`sigv4`]) and those of webhooks
//! ([`webhook`]).
//!
//! Nothing here knows sockets, clocks or configurations: the time is passed in.

#![forbid(unsafe_code)]

pub mod client_cert;
pub mod fields;
pub mod key;
pub mod message;
pub mod names;
pub mod ring;
pub mod sign;
pub mod sigv4;
pub mod webhook;
pub mod xfcc;
