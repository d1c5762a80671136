//! HTTP/3's ground: UDP sockets, QUIC endpoints and their handshakes; what is spoken on it is in `conn/h3`.
//!
//! Each worker has an endpoint for each address, and a connection lives with one worker from its first datagram to its
//! last. The kernel spreads datagrams over the workers' sockets by the client's address; those of a client that has
//! moved say in their connection id where they belong, and are handed on (`http3::steer`).

mod door;
mod front;
mod gate;
mod lane;
mod report;
mod settings;
mod socket;

pub(crate) use self::{
    door::run,
    front::{Front, Fronts, Heir, Share, read_heir},
    report::Report,
    settings::Http3,
};
