//! The service `orders` as a process.

use std::process::ExitCode;

use clap::Parser;
use shop::{Options, Store, orders, serve};

#[tokio::main]
async fn main() -> ExitCode {
    let options = Options::parse();
    let outcome = match Store::open(&options.store, orders::SCHEMA) {
        Ok(store) => serve(options, store.clone(), orders::routes(store)).await,
        Err(error) => Err(format!("cannot open {}: {error}", options.store.display())),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("orders: {error}");
            ExitCode::FAILURE
        }
    }
}
