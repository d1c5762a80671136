//! Byte streams told apart before anybody answers them.
//!
//! [`Peek`] reads the beginning of TLS without speaking it, and says which server a client asks for. [`Names`] says whose
//! such a name is. No sockets, and no byte is changed.

mod names;
mod peek;

pub use self::{
    names::{Names, Twice},
    peek::{HELLO_BYTES_MAX, Peek, Seen},
};
