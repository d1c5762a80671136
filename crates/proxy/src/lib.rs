//! The data plane: carries traffic from a compiled, immutable snapshot.
//!
//! The way of a request, module by module: `listener` → `conn` → `guard` → `router` → `policy` → `handler` →
//! `upstream` → `policy` → `conn`. Data goes forward through them and never back. Nothing here waits for a database,
//! a log sink or the control plane.

mod body;
#[cfg_attr(
    not(any(feature = "kafka", feature = "nats", feature = "rabbitmq")),
    allow(dead_code, reason = "there is no broker in this build")
)]
mod broker;
mod by_hand;
mod call;
pub mod catalogue;
pub mod compiled;
mod conn;
mod consumer;
mod content;
mod date;
mod discovery;
pub mod explain;
mod expression;
mod failure;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
mod guard;
mod handler;
mod hex;
mod issuers;
mod jq;
pub mod ledger;
mod listener;
#[doc(hidden)]
pub mod measured;
mod oauth;
mod openapi;
mod partial;
mod pipeline;
#[cfg_attr(not(feature = "wasm"), path = "plugins_off.rs")]
mod plugins;
mod policy;
mod postgres;
mod protected;
#[cfg_attr(not(feature = "http3"), path = "quic_off.rs")]
mod quic;
mod redis;
pub mod router;
mod schema;
mod server;
mod stream;
mod template;
mod timer;
mod tls;
mod upstream;
mod worker;

pub use broker::{BrokerStatus, subscription::SubscriptionStatus};
pub use by_hand::{ByHand, ByHandStatus};
pub use consumer::hash_password;
pub use failure::Problem;
pub use handler::{ai::provider::ProviderStatus, mcp::session::keep_keys_in};
pub use issuers::IssuerStatus;
pub use listener::sockets::{Inherited, take_inherited, unknown_names};
pub use policy::cache::report::{CacheStatus, PurgeWish, Purged, SharedStatus};
pub use policy::mirror::report::{Field as MirroredField, MirrorStatus};
pub use policy::strangler::report::{StranglerStatus, StranglerWish};
pub use server::{Error, Gateway, Operated};
pub use tls::{client::receiver as receiver_tls, managed as certificates, server::admin as server_tls};
pub use upstream::cluster::{
    BreakerStatus, BreakerWish, BulkheadStatus, ClusterStatus, EndpointStatus, NoSuchBreaker, QueueStatus,
};
