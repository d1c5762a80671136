//! The model: all that the planes of Tidegate exchange, typed and documented.
//!
//! Resources and policy settings are read from YAML, checked as a whole and frozen in a [`Snapshot`]; what
//! happened to a call is a [`CallRecord`]. Nothing here opens a socket, reads a file or knows a runtime: the
//! caller hands in texts and a [`Resolver`].

mod call_record;
pub mod diagnostic;
pub mod diff;
mod digest;
mod finding;
mod layout;
mod load;
pub mod policy;
pub mod resource;
mod rules;
mod schema;
mod snapshot;
pub mod types;

pub use call_record::{
    A2aRecord, AiRecord, CallRecord, Classed, Comparison, ComposeRecord, ComposedCall, ContentRecord,
    Continued, CountsTokens, DeliveryRecord, Difference, FailureRecord, FeedRecord, GeoRecord, GraphqlRecord,
    GuardFired, Judged, McpRecord, MirrorRecord, Moved, Onward, Paced, PublishRecord, Side, Spending, Stage,
    StreamRecord, Timings, TokenPrices, TokenUsage, TraceContext, TrafficRecord, TranscodeRecord, TryEnd,
    TryRecord, TrySpan, UnitUsage, WafFired, WafRecord,
};
pub use diagnostic::{Diagnostic, Diagnostics, Severity, Source};
pub use finding::Finding;
pub use layout::fmt;
pub use load::{document, load, nearest::nearest};
pub use policy::{
    Phase, Policy, PolicyUse,
    cache::{CacheDisk, CacheKey},
};
pub use resource::{
    access_log::AccessLog, admin::Admin, config::Config, consumer::Consumer, listener::Listener,
    named_policy::NamedPolicy, route::Route, upstream::Upstream,
};
pub use schema::schema;
pub use snapshot::{Resolver, Snapshot};
pub use types::{
    Cidr, Duration, EndpointAddress, Enforcement, FilePath, HeaderName, Percent, Secret, Size, Usd, VaultName,
};
