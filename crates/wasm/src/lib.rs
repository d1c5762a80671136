//! WebAssembly components that judge and answer calls, within bounds of memory, time and number.
//!
//! The world they live in is `wit/plugin.wit`. A component is compiled once ([`Component`]); where it is used, with its
//! own configuration and bounds, it is a [`Plugin`], which keeps instances warm. What leads outside of the process is
//! done by whoever runs a plugin ([`Outside`]).

mod component;
mod counters;
mod engine;
mod host;
mod meter;
mod plugin;
mod state;
mod stopped;
mod warm;

pub use self::host::types::{Answer, Verdict};
pub use self::{
    component::Component,
    counters::Counters,
    engine::Engine,
    plugin::{Limits, Outside, Plugin, Uses},
    state::{Fetch, Level, Request, Response, Subject},
    stopped::Stopped,
};

/// The world of components, for documents and tools.
pub const WIT: &str = include_str!("../wit/plugin.wit");
