//! The fuzz targets in one place: each is a function of bytes that panics when a law does not hold.
//!
//! They live beside what they test, where ordinary tests give each a short run over the same corpora:
//! `crates/ai/tests/it/fuzz.rs`, `crates/http1/tests/it/fuzz.rs`, `crates/model/tests/load/fuzz.rs`,
//! `crates/graphql/tests/it/fuzz.rs`, `crates/http3/tests/it/fuzz.rs`, `crates/identity/tests/it/fuzz.rs`,
//! `crates/layer4/tests/it/fuzz.rs`,
//! `crates/transcode/tests/it/fuzz.rs`, `crates/waf/tests/it/fuzz.rs`, `crates/telemetry/src/fuzzing.rs` and
//! `crates/proxy/src/fuzzing.rs`. CONTRIBUTING.md says how to run them for long.
#![forbid(unsafe_code)]

#[path = "../../crates/http1/tests/it/compare.rs"]
mod compare;
#[path = "../../crates/http1/tests/it/hyper_peer.rs"]
mod hyper_peer;
#[expect(dead_code, reason = "the tests use the rest")]
#[path = "../../crates/http1/tests/it/read.rs"]
mod read;

#[path = "../../crates/ai/tests/it/fuzz.rs"]
mod ai_targets;
#[path = "../../crates/graphql/tests/it/fuzz.rs"]
mod graphql_targets;
#[path = "../../crates/http1/tests/it/fuzz.rs"]
mod http1_targets;
#[path = "../../crates/http3/tests/it/fuzz.rs"]
mod http3_targets;
#[path = "../../crates/identity/tests/it/fuzz.rs"]
mod identity_targets;
#[path = "../../crates/layer4/tests/it/fuzz.rs"]
mod layer4_targets;
#[path = "../../crates/model/tests/load/fuzz.rs"]
mod model_targets;
#[path = "../../crates/model/tests/load/support.rs"]
mod support;
#[path = "../../crates/transcode/tests/it/fuzz.rs"]
mod transcode_targets;
#[path = "../../crates/waf/tests/it/fuzz.rs"]
mod waf_targets;

pub use ai_targets::{
    anthropic, batch, bedrock, cohere, embed, form, gemini, guard, openai_chat, openai_responses, realtime,
    sound, words,
};
pub use graphql_targets::{graphql_request, graphql_schema};
pub use http1_targets::{body, differential_hyper, request_head, response_head};
pub use http3_targets::{http3_control, http3_request};
pub use identity_targets::certificate_headers;
pub use layer4_targets::client_hello;
pub use model_targets::{config, layout, values};
pub use proxy::fuzzing::*;
pub use telemetry::fuzzing::{access_line, traceparent};
pub use transcode_targets::transcode;
pub use waf_targets::{request as waf_request, rules as waf_rules};
