//! The `tidegate` binary: command line, configuration files, admin endpoint, and the wiring between the planes.

mod admin;
mod certificates;
mod cli;
mod config;
mod exit;
mod handover;
mod reload;
mod run;
mod service;
mod signals;
mod store;

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    cli::main()
}
