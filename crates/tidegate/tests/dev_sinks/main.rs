//! Development only.
#![allow(unreachable_pub, dead_code, unused_imports)]
#[path = "../it/harness/mod.rs"]
mod harness;
#[path = "../it/sinks/mod.rs"]
mod sinks;
mod events {
    #[path = "../../it/events/server.rs"]
    pub mod server;
}
mod otlp {
    #[path = "../../it/otlp/receiver.rs"]
    pub mod receiver;
}
mod tidy {
    pub(crate) fn root() -> std::path::PathBuf {
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("up").to_owned()
    }
}
