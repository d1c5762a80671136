//! Client connections: reading requests and writing answers, per protocol version.

pub(crate) mod answer;
pub(crate) mod h1;
pub(crate) mod h2;
#[cfg(feature = "http3")]
pub(crate) mod h3;
pub(crate) mod overseen;
pub(crate) mod peer;
pub(crate) mod socket_frames;
pub(crate) mod tunnel;
pub(crate) mod watched;
pub(crate) mod wire;
