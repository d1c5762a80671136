//! Every example of the documents runs: the gateway comes up on it, and answers at its first door.

use std::{fs, net::SocketAddr, path::Path};

use model::Source;

use super::written;
use crate::{
    harness::{Gateway, free_port, get},
    tidy::{
        documents::{blocks, make_files, variables, whole},
        files, root,
    },
};

/// Whether a block is a gateway's, and comes up by itself: one with a vault waits for that.
fn stands_alone(block: &str) -> bool {
    let first = block.lines().next().unwrap_or_default();
    let is_anothers = ["# prometheus.yml", "# cases.yaml"].contains(&first);
    !is_anothers && !block.lines().any(|line| line.starts_with("vault:"))
}

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

/// Runs each example of a page; how many there are.
fn run(name: &str, page: &str) -> usize {
    let examples: Vec<String> = blocks(page).into_iter().filter(|block| stands_alone(block)).collect();
    for (number, block) in examples.iter().enumerate() {
        // For whoever reads why it failed.
        eprintln!("{name}, {}", number + 1);
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
    }
    examples.len()
}

#[test]
fn every_example_of_the_reference_runs() {
    let count: usize = written().iter().map(|(name, page)| run(name, page)).sum();
    assert!(count > 70, "{count} examples");
}

#[test]
fn every_example_of_the_other_documents_runs() {
    let reference = root().join(super::FOLDER);
    let pages = files(&root().join("docs"), ".md").into_iter().filter(|path| !path.starts_with(&reference));
    let run = |path: &Path| run(&path.display().to_string(), &fs::read_to_string(path).expect("a page"));
    let count: usize = pages.map(|path| run(&path)).sum();
    assert!(count > 90, "{count} examples");
}
