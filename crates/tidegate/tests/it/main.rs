//! Black-box tests: the real binary, over sockets, with real peers.

#![expect(unreachable_pub, reason = "the harness is a library for the tests beside it")]

mod a2a;
mod access;
mod acme;
mod admin;
mod ai;
mod attacks;
mod cli;
mod compose;
mod configuration;
mod contract;
mod demo;
mod events;
mod fault;
mod files;
mod graphql;
mod harness;
mod http3;
mod layer4;
mod life;
mod mcp;
mod oidc;
mod onward;
mod otlp;
mod plugins;
mod policies;
mod prompt;
mod reference;
mod reload;
mod routing;
mod scripts;
mod secrets;
mod seeing;
mod sinks;
mod tidy;
mod transcode;
mod upstreams;
mod wire;
