//! The service `catalog` as a process.

use std::process::ExitCode;

use clap::Parser;
use shop::{Options, Store, catalog, serve};

#[tokio::main]
async fn main() -> ExitCode {
    let options = Options::parse();
    let outcome = match Store::open(&options.store, catalog::SCHEMA) {
        Ok(store) => serve(options, store.clone(), catalog::routes(store)).await,
        Err(error) => Err(format!("cannot open {}: {error}", options.store.display())),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("catalog: {error}");
            ExitCode::FAILURE
        }
    }
}
