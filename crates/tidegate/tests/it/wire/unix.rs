//! Listeners at Unix sockets: the file's rights, files that are in the way, and who their clients are.

use std::{
    fs,
    io::{Read, Write},
    net::SocketAddr,
    os::unix::{
        fs::{MetadataExt, PermissionsExt},
        net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
};

use super::super::harness::{Answer, Gateway, Upstream, free_port, run_with};

/// A gateway at `folder/site.sock`, and at a port of TCP so that its start can be waited for.
fn gateway(folder: tempfile::TempDir, settings: &str, rest: &str) -> (Gateway, PathBuf) {
    let path = folder.path().join("site.sock");
    let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let text = text(&path, address, settings, rest);
    (Gateway::in_folder(folder, &text, address, |_| {}), path)
}

fn text(path: &Path, address: SocketAddr, settings: &str, rest: &str) -> String {
    format!(
        "runtime: {{workers: 1}}
accessLog: [{{kind: stdout, format: json}}]
listeners:
  - {{name: tcp, address: \"{address}\"}}
  - {{name: unix, address: \"unix:{}\"{settings}}}
{rest}\n",
        path.display()
    )
}

fn ask(path: &Path, head: &str) -> Answer {
    let mut stream = UnixStream::connect(path).expect("a connection");
    let head = format!("{}\r\nconnection: close\r\n\r\n", head.replace('\n', "\r\n"));
    stream.write_all(head.as_bytes()).expect("sent");
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).expect("an answer");
    Answer::parse(&bytes).expect("an answer")
}

const GET: &str = "GET / HTTP/1.1\nhost: a";
const FIXED: &str = "routes: [{name: r, match: [{path: {prefix: /}}], respond: {body: inside}}]";

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("a file").permissions().mode() & 0o777
}

#[test]
fn the_file_has_the_rights_that_it_was_given_and_a_reload_changes_them() {
    let folder = tempfile::tempdir().expect("a folder");
    let own = fs::metadata(folder.path()).expect("a folder");
    let settings =
        format!(", socketFile: {{mode: \"0600\", owner: \"{}\", group: \"{}\"}}", own.uid(), own.gid());
    let (gateway, path) = gateway(folder, &settings, FIXED);
    assert_eq!(ask(&path, GET).text(), "inside");
    assert_eq!(mode(&path), 0o600);
    assert_eq!(fs::metadata(&path).expect("a file").uid(), own.uid());
    assert_eq!(
        fs::read_dir(gateway.folder.path())
            .expect("files")
            .filter(|one| {
                one.as_ref().expect("a file").file_name().to_string_lossy().starts_with("site.sock")
            })
            .count(),
        1,
        "nothing is left beside it"
    );
    let changed = text(&path, gateway.address, ", socketFile: {mode: \"0660\"}", FIXED);
    assert_eq!(gateway.reload(&changed)["reloadsRefused"], 0);
    assert_eq!(mode(&path), 0o660);
    assert_eq!(ask(&path, GET).text(), "inside");
    let unknown = text(&path, gateway.address, ", socketFile: {owner: nobody-by-this-name}", FIXED);
    assert_eq!(gateway.reload(&unknown)["reloadsRefused"], 1);
    assert!(
        gateway.stderr().contains("there is no `nobody-by-this-name` in /etc/passwd"),
        "{}",
        gateway.stderr()
    );
}

#[test]
fn a_file_that_a_dead_process_left_is_replaced() {
    let folder = tempfile::tempdir().expect("a folder");
    drop(UnixListener::bind(folder.path().join("site.sock")).expect("a socket"));
    let (_gateway, path) = gateway(folder, "", FIXED);
    assert_eq!(ask(&path, GET).text(), "inside");
}

#[test]
fn what_is_alive_or_no_socket_is_left_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("site.sock");
    let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
    for settings in ["", ", socketFile: {mode: \"0660\"}"] {
        let config = folder.path().join("tidegate.yaml");
        fs::write(&config, text(&path, address, settings, FIXED)).expect("a file");
        let start = || {
            let data = folder.path().join("data");
            let arguments = [
                "run",
                "--config",
                config.to_str().expect("text"),
                "--data-dir",
                data.to_str().expect("text"),
            ];
            run_with(&arguments, &[])
        };
        fs::write(&path, "somebody's letters").expect("a file");
        let (code, _, said) = start();
        assert!(code != 0 && said.contains("a file that is no socket"), "{said}");
        assert_eq!(fs::read_to_string(&path).expect("it is there"), "somebody's letters");
        fs::remove_file(&path).expect("a file");
        let alive = UnixListener::bind(&path).expect("a socket");
        let (code, _, said) = start();
        assert!(code != 0 && said.contains("in use"), "{said}");
        drop(alive);
        fs::remove_file(&path).expect("a file");
    }
}

#[test]
fn its_clients_are_at_the_loopback_address() {
    let upstream = Upstream::echo();
    let rest = |policies: &str, trusted: &str| {
        format!(
            "trustedProxies: [{trusted}]
upstreams: [{{name: u, endpoints: [{{address: \"{}\"}}]}}]
routes: [{{name: r, match: [{{path: {{prefix: /}}}}], policies: [{policies}], backends: [{{upstream: u}}]}}]",
            upstream.address
        )
    };
    let folder = || tempfile::tempdir().expect("a folder");
    // To rules about addresses it is this machine.
    let (_first, path) = gateway(folder(), "", &rest("ipRestriction: {allow: [127.0.0.1/32]}", ""));
    assert_eq!(ask(&path, GET).status, 200);
    let (_second, path) = gateway(folder(), "", &rest("ipRestriction: {deny: [127.0.0.0/8]}", ""));
    assert_eq!(ask(&path, GET).status, 403);
    // Its word about the true client counts when that address is trusted, and only then.
    let said = format!("{GET}\nx-forwarded-for: 203.0.113.7");
    for (trusted, client) in [("", "127.0.0.1"), ("127.0.0.1/32", "203.0.113.7")] {
        let (gateway, path) = gateway(folder(), "", &rest("", trusted));
        assert_eq!(ask(&path, &said).status, 200);
        assert_eq!(gateway.records(1)[0]["client_ip"], client, "{trusted}");
    }
}

#[test]
fn a_balancer_at_the_socket_says_who_the_client_is() {
    let (gateway, path) = gateway(tempfile::tempdir().expect("a folder"), ", proxyProtocol: require", FIXED);
    let answer = ask(&path, &format!("PROXY TCP4 203.0.113.7 192.0.2.1 4711 443\n{GET}"));
    assert_eq!(answer.text(), "inside");
    assert_eq!(gateway.records(1)[0]["client_ip"], "203.0.113.7");
}
