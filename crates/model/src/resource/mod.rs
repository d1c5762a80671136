//! Resources: what a configuration is made of, one file each.

pub mod a2a;
pub mod access_log;
pub mod admin;
pub mod ai;
pub mod balancing;
pub mod catalogue;
pub mod config;
pub mod consumer;
pub mod health;
pub mod listener;
pub mod mcp;
pub mod mcp_local;
pub mod named_policy;
pub mod path_rules;
pub mod path_template;
pub mod prompt;
pub mod route;
pub mod route_document;
pub mod route_match;
pub mod runtime;
pub mod telemetry;
pub mod tls;
pub mod tries;
pub mod upstream;
