//! Requests as bytes of HTTP/1.1, and files of rules on a disk: what `bench/waf.py` and the tests ask the engine with.

use std::{fs, path::Path, sync::Arc};

use waf::{Collections, Files, Head, Phase, Rules, Source, Transaction};

/// Files beside the one that names them.
pub(crate) struct Disk;

impl Files for Disk {
    fn read(&self, from: &str, name: &str) -> Result<Vec<u8>, String> {
        let folder = Path::new(from).parent().unwrap_or(Path::new("."));
        fs::read(folder.join(name)).map_err(|error| error.to_string())
    }

    fn list(&self, _: &str, _: &str) -> Result<Vec<String>, String> {
        Err("not here".into())
    }
}

/// The files of rules of a folder, in the order of their names.
pub(crate) fn sources(folder: &Path) -> Vec<Source> {
    let mut names: Vec<_> =
        fs::read_dir(folder).expect("a folder").flatten().map(|entry| entry.path()).collect();
    names.retain(|name| name.extension().is_some_and(|ending| ending == "conf"));
    names.sort();
    names.iter().map(|name| source(name)).collect()
}

/// A file of rules.
pub(crate) fn source(path: &Path) -> Source {
    let text = fs::read_to_string(path).expect("a file of rules");
    Source { name: path.to_string_lossy().into(), text }
}

/// A request, taken apart as a server does.
pub(crate) struct Asked {
    method: Vec<u8>,
    target: Vec<u8>,
    headers: Vec<(Vec<u8>, Vec<u8>)>,
    body: Vec<u8>,
}

impl Asked {
    pub(crate) fn read(bytes: &[u8]) -> Self {
        let end = bytes.windows(4).position(|window| window == b"\r\n\r\n").expect("a head");
        let mut lines = bytes[..end].split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii_end);
        let mut words = lines.next().expect("a line").splitn(3, |byte| *byte == b' ').map(<[u8]>::to_vec);
        let (method, target) = (words.next().expect("a method"), words.next().expect("a target"));
        let header = |line: &[u8]| {
            let colon = line.iter().position(|byte| *byte == b':').expect("a header");
            (line[..colon].to_vec(), line[colon + 1..].trim_ascii().to_vec())
        };
        Self { method, target, headers: lines.map(header).collect(), body: bytes[end + 4..].to_vec() }
    }

    pub(crate) fn judge(&self, rules: &Arc<Rules>, collections: &Arc<Collections>) -> Transaction {
        let head = Head {
            method: &self.method,
            target: &self.target,
            protocol: b"HTTP/1.1",
            client: [127, 0, 0, 1].into(),
            server: b"api.example.test",
            unique: b"0192f0c1-2b7e-7cc0-8000-1f2e3d4c5b6a",
            now: 1_000,
        };
        let headers = self.headers.iter().map(|(name, value)| (&name[..], &value[..]));
        let mut call = Transaction::new(rules.clone(), collections.clone(), &head, headers, 400_000_000);
        call.run(Phase::Head);
        call.body(&self.body, true);
        call.run(Phase::Body);
        call.run(Phase::Logging);
        call
    }
}

/// Requests one after the other, each as its length in decimal, a line end and the request.
pub(crate) fn unpacked(bytes: &[u8]) -> Vec<&[u8]> {
    let (mut rest, mut all) = (bytes, Vec::new());
    while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
        let length: usize = String::from_utf8_lossy(&rest[..end]).parse().expect("a length");
        let (one, after) = rest[end + 1..].split_at(length);
        all.push(one);
        rest = after;
    }
    all
}
