//! `static`: files of a directory, and nothing else, to real clients.

mod bounds;
mod forms;

use std::{fs, net::SocketAddr, path::PathBuf};

use super::harness::{Answer, Client, Gateway, free_port};

/// A gateway with one route that serves the directory `site` beside its configuration.
struct Site {
    gateway: Gateway,
}

impl Site {
    /// `fill` puts files into the directory; `more` are further settings, such as `precompressed: [br]`.
    fn with(more: &str, fill: impl FnOnce(PathBuf)) -> Self {
        Self::in_config(
            &format!("routes: [{{name: files, static: {{root: site{}{more}}}}}]", comma(more)),
            fill,
        )
    }

    fn in_config(rest: &str, fill: impl FnOnce(PathBuf)) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let site = folder.path().join("site");
        fs::create_dir(&site).expect("a directory");
        fill(site);
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let text = format!(
            "listeners: [{{name: public, address: \"{address}\"}}]\naccessLog: [{{kind: stdout}}]\n{rest}\n"
        );
        Self { gateway: Gateway::in_folder(folder, &text, address, |_| {}) }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.gateway.config().parent().expect("a folder").join("site").join(name)
    }

    fn get(&self, target: &str, headers: &str) -> Answer {
        self.ask("GET", target, headers)
    }

    fn ask(&self, method: &str, target: &str, headers: &str) -> Answer {
        let mut client = Client::connect(self.gateway.address);
        let head = format!("{method} {target} HTTP/1.1\nhost: a.test\n{headers}\n").replace("\n\n", "\n");
        client.write(format!("{}\r\n", head.replace('\n', "\r\n")));
        let answer = if method == "HEAD" { client.read_head() } else { client.read() };
        answer.expect("an answer")
    }
}

fn comma(more: &str) -> &'static str {
    if more.is_empty() { "" } else { ", " }
}

/// Writes files, and the directories that they need.
fn write(site: &std::path::Path, files: &[(&str, &str)]) {
    for (name, text) in files {
        let path = site.join(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
        fs::write(path, text).expect("a file");
    }
}

/// Bytes of which each says where it stands.
fn large(length: usize) -> Vec<u8> {
    (0..length).map(|at| u8::try_from((at * 31 + at / 251) % 251).expect("a byte")).collect()
}
