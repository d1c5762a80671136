//! A client of Kafka's (2.3 or later): publishes with confirmation, reads, and is a member of consumer groups.
//!
//! It keeps nothing for later: what is sent has a time, and whoever sends is told whether it was kept, was not, or whether
//! nobody knows. Every wait has a bound, and so has everything that is held.

mod api;
mod check;
mod cluster;
mod compress;
mod connection;
mod error;
mod group;
mod murmur;
mod producer;
mod read;
mod records;
mod scram;
mod wire;

pub use self::{
    cluster::{Cluster, Mechanism, Sasl, Settings},
    compress::Compression,
    error::{Code, Error},
    group::{Claim, Group, Start, Taken, Tell, Wish},
    murmur::{murmur2, partition_of},
    producer::{Placed, Producer, Unplaced},
    read::{Came, Edge, Position, Reading, Unreadable},
    records::Record,
};
