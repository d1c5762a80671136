//! Plugins: components of Rust's and JavaScript's toolchains and small ones by hand, as policies and as handlers.

mod bounds;
mod heads;
mod languages;
mod loading;

use std::{
    fs,
    net::SocketAddr,
    path::PathBuf,
    sync::atomic::{AtomicBool, Ordering},
};

use super::harness::{Gateway, free_port, peers_folder};

const SMALL: &str = include_str!("small.wat");
const CHANGING: &str = include_str!("changing.wat");

/// A component that does this before it lets a call go on or answers it.
pub(crate) fn small(code: &str) -> Vec<u8> {
    wat::parse_str(SMALL.replace("CODE", code)).expect("a component")
}

/// A policy that does this to a request before it lets it go on.
fn changing(code: &str) -> Vec<u8> {
    wat::parse_str(CHANGING.replace("CODE", code)).expect("a component")
}

/// What the bench's gateway runs.
#[test]
fn the_component_of_the_bench_is_the_small_one() {
    let path = crate::tidy::root().join("bench/no-op.wasm");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&path, small("")).expect("a file");
    }
    let kept = fs::read(&path).unwrap_or_default();
    assert!(kept == small(""), "bench/no-op.wasm is of another text: run this test with UPDATE_GOLDEN=1");
}

/// A component that `scripts/peers.sh` has built of `examples/plugins`.
fn built(name: &str) -> PathBuf {
    let path = peers_folder().join("plugins").join(name);
    assert!(path.exists(), "{} is missing: run scripts/peers.sh", path.display());
    path
}

/// Ends those who go on until it is over, also when the test fails.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A gateway with files beside its configuration, and that configuration for changes of it.
struct Plugged {
    gateway: Gateway,
    listeners: String,
}

impl Plugged {
    fn start(files: &[(&str, &[u8])], rest: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        for (name, content) in files {
            fs::write(folder.path().join(name), content).expect("a file");
        }
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let listeners = format!("listeners: [{{name: public, address: \"{address}\"}}]\n");
        let gateway = Gateway::in_folder(folder, &format!("{listeners}{rest}"), address, |_| {});
        Self { gateway, listeners }
    }

    /// Puts another file in the place of one, at once.
    fn replace(&self, name: &str, content: &[u8]) {
        let fresh = self.gateway.folder.path().join("fresh.file");
        fs::write(&fresh, content).expect("a file");
        fs::rename(&fresh, self.gateway.folder.path().join(name)).expect("a swap");
    }

    fn reload(&self, rest: &str) -> serde_json::Value {
        self.gateway.reload(&format!("{}{rest}", self.listeners))
    }
}
