//! The service `catalog` as a process.

use std::process::ExitCode;

use clap::Parser;
use shop::{Options, Store, catalog, prices, serve};

#[tokio::main]
async fn main() -> ExitCode {
    let options = Options::parse();
    let outcome = match Store::open(&options.store, catalog::SCHEMA) {
        Ok(store) => {
            let routes = catalog::routes(store.clone()).merge(prices::routes(store.clone()));
            serve(options, store, routes).await
        }
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
