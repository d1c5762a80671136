//! Every example of the reference runs: the gateway comes up on it, and answers at its first door.

use std::{net::SocketAddr, path::Path};

use model::Source;

use super::written;
use crate::{
    harness::{Gateway, free_port, get},
    tidy::documents::{blocks, make_files, variables, whole},
};

/// Pages whose example comes up only beside what it names.
const WAITS: &[&str] = &["vault.md"];

/// An example at ports of this machine that are free.
struct Moved {
    text: String,
    admin: SocketAddr,
    /// Its first listener.
    door: SocketAddr,
    /// Whether HTTP is spoken there, in the clear.
    is_plain: bool,
}

impl Moved {
    fn new(text: &str, folder: &Path) -> Self {
        let Ok(document) = model::document(&Source::new("an example", text.to_owned())) else {
            panic!("it cannot be read:\n{text}")
        };
        let free = || SocketAddr::from(([127, 0, 0, 1], free_port()));
        let listeners = document["listeners"].as_array().cloned().unwrap_or_default();
        let address = |at: usize| listeners[at]["address"].as_str().unwrap_or_default();
        let mut places: Vec<_> = (0..listeners.len()).map(|at| (address(at), free())).collect();
        let door = places.first().expect("a listener").1;
        let is_plain = ["tls", "protocol", "proxyProtocol"].iter().all(|key| listeners[0][*key].is_null())
            && !address(0).starts_with("unix:");
        // A socket's file stands beside the configuration; its group may be one that this machine lacks.
        let mut text = text.replace("/run/tidegate", &folder.display().to_string());
        text = text.replace(", group: www-data", "");
        // The longest first: port 80 is the beginning of 8080.
        places.sort_by_key(|(address, _)| std::cmp::Reverse(address.len()));
        for (address, place) in places.iter().filter(|(address, _)| !address.starts_with("unix:")) {
            text = text.replace(address, &place.to_string());
        }
        let admin = free();
        text = match document["admin"]["address"].as_str() {
            Some(address) => text.replace(address, &admin.to_string()),
            None => format!("admin: {{address: \"{admin}\"}}\n{text}"),
        };
        Self { text, admin, door, is_plain }
    }
}

#[test]
fn every_example_of_the_reference_runs() {
    let mut count = 0;
    for (name, page) in written().into_iter().filter(|(name, _)| !WAITS.contains(&name.as_str())) {
        for block in &blocks(&page) {
            // For whoever reads why it failed.
            eprintln!("{name}");
            let folder = tempfile::tempdir().expect("a folder");
            let text = whole(block);
            make_files(&text, folder.path());
            let moved = Moved::new(&text, folder.path());
            let gateway = Gateway::with_admin(folder, &moved.text, moved.door, moved.admin, |command| {
                command.envs(variables(&text));
            });
            if moved.is_plain {
                assert!(get(gateway.address, "/").is_some(), "{name}: no answer:\n{}", gateway.stderr());
            }
            count += 1;
        }
    }
    assert!(count > 70, "{count} examples");
}
