//! `bench-tools`: the two processes of a benchmark that are neither a proxy nor a known load generator.
//!
//! `upstream` answers as fast as it can; `paced` sends at a fixed rate whatever comes back; `http3` asks over HTTP/3 as fast
//! as it is answered.

mod http3;
mod paced;
mod upstream;

use std::process::ExitCode;

const USAGE: &str = "usage: bench-tools upstream HTTP1_ADDRESS H2C_ADDRESS THREADS
       bench-tools paced ADDRESS PATH RATE CONNECTIONS SECONDS [HEADER | @BODY_FILE]...
       bench-tools http3 ADDRESS PATH CONNECTIONS STREAMS SECONDS [HEADER]...";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match arguments.as_slice() {
        ["upstream", http1, h2c, threads] => upstream::run(http1, h2c, threads),
        ["paced", address, path, rate, connections, seconds, headers @ ..] => {
            paced::run(address, path, rate, connections, seconds, headers)
        }
        ["http3", address, path, connections, streams, seconds, headers @ ..] => {
            http3::run(address, path, connections, streams, seconds, headers)
        }
        _ => Err(USAGE.into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
