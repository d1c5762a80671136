//! Zero-loss upgrades: a new process takes the listening sockets, and nobody notices.

use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpListener},
    os::unix::{fs::PermissionsExt, net::UnixStream},
    process::Output,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::JoinHandle,
};

use super::super::harness::{
    Answer, Client, Gateway, Upstream, eventually, free_port, get, pause, read_request,
};

fn fixed(body: &str, extra: &str) -> String {
    format!("routes: [{{name: r, match: [{{path: {{prefix: /}}}}], respond: {{body: {body}}}}}]\n{extra}\n")
}

/// Replaces the configuration without telling the running process, which may or may not see it.
fn write(gateway: &Gateway, listeners: &str, rest: &str) {
    let fresh = gateway.folder.path().join("fresh.tmp");
    let text = format!("admin: {{address: \"{}\"}}\nlisteners: [{listeners}]\n{rest}", gateway.admin);
    fs::write(&fresh, text).expect("a file");
    fs::rename(&fresh, gateway.config()).expect("a swap");
}

fn public(gateway: &Gateway) -> String {
    format!("{{name: public, address: \"{}\"}}", gateway.address)
}

/// Runs the binary to its end.
fn output(command: &mut std::process::Command) -> (Option<i32>, String) {
    let piped = std::process::Stdio::piped();
    let Output { status, stderr, .. } = command.stderr(piped).output().expect("the binary runs");
    (status.code(), String::from_utf8_lossy(&stderr).into_owned())
}

/// Clients that ask without pause, each on a connection per request or on a kept one.
struct Load {
    stop: Arc<AtomicBool>,
    answers: Arc<AtomicUsize>,
    wrong: Arc<Mutex<Vec<String>>>,
    threads: Vec<JoinHandle<()>>,
}

impl Load {
    fn start(address: SocketAddr, kept: usize, fresh: usize) -> Self {
        let (stop, answers, wrong) = (Arc::default(), Arc::default(), Arc::default());
        let mut load = Self { stop, answers, wrong, threads: Vec::new() };
        for at in 0..kept + fresh {
            let (stop, answers, wrong) = (load.stop.clone(), load.answers.clone(), load.wrong.clone());
            load.threads.push(std::thread::spawn(move || {
                let mut client = None;
                while !stop.load(Ordering::Relaxed) {
                    let mut open = client.take().unwrap_or_else(|| Client::connect(address));
                    let answer = open.get("/");
                    match &answer {
                        Some(answer) if answer.status == 200 => {}
                        other => wrong.lock().expect("not poisoned").push(format!("{other:?}")),
                    }
                    answers.fetch_add(1, Ordering::Relaxed);
                    let goes_on = answer.is_some_and(|answer| answer.header("connection") != Some("close"));
                    client = (at < kept && goes_on).then_some(open);
                }
            }));
        }
        load
    }

    fn answers(&self) -> usize {
        self.answers.load(Ordering::Relaxed)
    }

    fn end(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.threads.into_iter().for_each(|thread| thread.join().expect("load"));
        let wrong = self.wrong.lock().expect("not poisoned");
        assert!(
            wrong.is_empty(),
            "{} of {}: {:?}",
            wrong.len(),
            self.answers.load(Ordering::Relaxed),
            wrong[0]
        );
    }
}

#[test]
fn no_connection_is_lost_whatever_the_number_of_workers() {
    let mut gateway = Gateway::start(&fixed("ok", "runtime: {workers: 3}"));
    let load = Load::start(gateway.address, 3, 3);
    for workers in [1, 4, 2, 3] {
        write(&gateway, &public(&gateway), &fixed("ok", &format!("runtime: {{workers: {workers}}}")));
        let before = gateway.upgrade();
        assert_ne!(before, gateway.pid());
        let at = load.answers();
        eventually("the load goes on", || load.answers() > at + 200);
        let threads = fs::read_dir(format!("/proc/{}/task", gateway.pid())).expect("tasks").flatten();
        let names = threads.filter_map(|task| fs::read_to_string(task.path().join("comm")).ok());
        assert_eq!(names.filter(|name| name.starts_with("worker-")).count(), workers);
    }
    load.end();
}

#[test]
fn the_admin_endpoint_is_ready_all_the_while() {
    let mut gateway = Gateway::start(&fixed("ok", ""));
    let (stop, admin) = (Arc::new(AtomicBool::new(false)), gateway.admin);
    let stopped = stop.clone();
    let watch = std::thread::spawn(move || {
        let mut seen = Vec::new();
        while !stopped.load(Ordering::Relaxed) {
            seen.push(get(admin, "/readyz").map(|answer| answer.status));
        }
        seen
    });
    gateway.upgrade();
    gateway.upgrade();
    stop.store(true, Ordering::Relaxed);
    let seen = watch.join().expect("a watch");
    let wrong: Vec<_> = seen.iter().filter(|status| **status != Some(200)).collect();
    assert!(seen.len() > 10 && wrong.is_empty(), "{wrong:?} of {}", seen.len());
}

#[test]
fn what_is_in_flight_ends_in_the_process_where_it_began() {
    let upstream = Upstream::raw(|mut reader, seen| {
        while let Some(request) = read_request(&mut reader) {
            seen.lock().expect("not poisoned").push(request);
            let stream = reader.get_mut();
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n12345");
            pause(1_500);
            if stream.write_all(b"67890").is_err() {
                return;
            }
        }
    });
    let rest = format!(
        "upstreams: [{{name: u, endpoints: [{{address: \"{}\"}}]}}]
routes: [{{name: r, match: [{{path: {{prefix: /}}}}], backends: [{{upstream: u}}]}}]\n",
        upstream.address
    );
    let mut gateway = Gateway::start(&rest);
    let mut client = Client::connect(gateway.address);
    client.write("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    eventually("the request is on its way", || !upstream.seen().is_empty());
    let told = std::thread::spawn(move || client.read());
    gateway.upgrade();
    assert_eq!(told.join().expect("a reader").expect("the whole answer").text(), "1234567890");
}

#[test]
fn a_second_process_is_refused_and_told_of_the_flag() {
    let gateway = Gateway::start(&fixed("ok", ""));
    let (code, problems) = output(&mut gateway.again());
    assert_eq!(code, Some(7), "{problems}");
    assert!(problems.contains(&format!("process {} runs", gateway.pid())), "{problems}");
    assert!(problems.contains("run --upgrade"), "{problems}");
    assert_eq!(gateway.get("/").text(), "ok");
    let socket = gateway.folder.path().join("data/upgrade.sock");
    let mode = fs::metadata(socket).expect("the socket").permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "for its user alone");
}

#[test]
fn a_new_process_that_fails_leaves_the_old_one_as_it_was() {
    let mut gateway = Gateway::start(&fixed("one", ""));
    let load = Load::start(gateway.address, 1, 1);
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let other = format!(
        "{}, {{name: other, address: \"{}\"}}",
        public(&gateway),
        taken.local_addr().expect("an address")
    );
    let other_folder = tempfile::tempdir().expect("a folder");
    let path = other_folder.path().join("other.yaml");
    for (listeners, rest, code) in [
        (other.as_str(), fixed("two", ""), 4),
        ("{name: public, address: nonsense}", fixed("two", ""), 3),
        (&public(&gateway), fixed("two", "").replace("respond", "respnod"), 3),
    ] {
        let text = format!("admin: {{address: \"{}\"}}\nlisteners: [{listeners}]\n{rest}", gateway.admin);
        fs::write(&path, text).expect("a file");
        let (ended, problems) = output(gateway.again_with(&path).arg("--upgrade"));
        assert_eq!(ended, Some(code), "{problems}");
        assert_eq!(gateway.get("/").text(), "one");
        assert_eq!(get(gateway.admin, "/readyz").map(|answer| answer.status), Some(200));
    }
    gateway.upgrade();
    assert_eq!(gateway.get("/").text(), "one", "the next good one takes over");
    load.end();
}

#[test]
fn a_path_is_handed_over_as_well_and_listeners_may_come_and_go() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("gateway.sock");
    let unix = format!("{{name: local, address: \"unix:{}\"}}", path.display());
    let (first, second) = (free_port(), free_port());
    let at = |port: u16| SocketAddr::from(([127, 0, 0, 1], port));
    let tcp = |name: &str, port: u16| format!("{{name: {name}, address: \"{}\"}}", at(port));
    let text = format!("listeners: [{}, {unix}]\n{}", tcp("first", first), fixed("one", ""));
    let mut gateway = Gateway::from_text(&text, at(first), |_| {});
    let inode = || std::os::unix::fs::MetadataExt::ino(&fs::metadata(&path).expect("a socket"));
    let ask = || {
        let mut stream = UnixStream::connect(&path).expect("a connection");
        stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").expect("written");
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).expect("an answer");
        Answer::parse(&bytes).expect("an answer").text()
    };
    assert_eq!(ask(), "one");
    let before = inode();
    let other = gateway.folder.path().join("other.yaml");
    let text = format!(
        "admin: {{address: \"{}\"}}\nlisteners: [{}, {unix}]\n{}",
        gateway.admin,
        tcp("second", second),
        fixed("two", "")
    );
    fs::write(&other, text).expect("a file");
    fs::rename(&other, gateway.config()).expect("a swap");
    gateway.upgrade();
    assert_eq!((ask().as_str(), inode()), ("two", before), "the same socket");
    assert_eq!(get(at(second), "/").expect("the new listener").text(), "two");
    assert!(get(at(first), "/").is_none(), "the old listener is gone");
}

#[test]
fn with_nobody_to_take_over_from_it_starts_anew() {
    let folder = tempfile::tempdir().expect("a folder");
    let port = free_port();
    let text = format!("listeners: [{{name: public, address: 127.0.0.1:{port}}}]\n{}", fixed("ok", ""));
    let mut gateway = Gateway::in_folder(folder, &text, ([127, 0, 0, 1], port).into(), |command| {
        command.arg("--upgrade");
    });
    assert!(gateway.stderr().contains("starting anew"), "{}", gateway.stderr());
    gateway.signal("KILL");
    gateway.wait();
    let mut next = gateway.again().spawn().expect("the binary starts");
    eventually("a killed process leaves nothing that hinders the next", || {
        get(gateway.address, "/").is_some_and(|answer| answer.text() == "ok")
    });
    next.kill().expect("killed");
    next.wait().expect("ended");
}

#[test]
fn a_signal_has_the_program_start_its_own_successor() {
    let mut gateway = Gateway::start(&fixed("ok", ""));
    let load = Load::start(gateway.address, 1, 1);
    gateway.signal("USR2");
    let status = gateway.wait();
    assert!(status.success(), "{status}: {}", gateway.stderr());
    let at = load.answers();
    eventually("the load goes on", || load.answers() > at + 100);
    load.end();
    let log = gateway.stderr();
    let line = log.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let pid = line.filter_map(|line| line["pid"].as_u64()).next_back().expect("the successor's id");
    assert_ne!(pid, u64::from(gateway.pid()));
    let ended = std::process::Command::new("kill").arg(pid.to_string()).status().expect("kill runs");
    assert!(ended.success(), "{log}");
    eventually("the successor ends", || get(gateway.address, "/").is_none());
}

#[test]
fn the_admin_socket_goes_with_the_last_process_that_answers_at_it() {
    let (folder, port) = (tempfile::tempdir().expect("a folder"), free_port());
    let (socket, config) = (folder.path().join("admin.sock"), folder.path().join("tidegate.yaml"));
    let public = SocketAddr::from(([127, 0, 0, 1], port));
    let text = format!(
        "admin: {{address: 'unix:{}'}}\nlisteners: [{{name: public, address: \"{public}\"}}]\n{}",
        socket.display(),
        fixed("ok", "")
    );
    fs::write(&config, text).expect("a file");
    let start = |more: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_tidegate"));
        let data = folder.path().join("data");
        command.args(["run", "--data-dir", &data.display().to_string(), "-c"]).arg(&config).args(more);
        command.stderr(std::process::Stdio::null()).spawn().expect("the binary starts")
    };
    let is_there = || UnixStream::connect(&socket).is_ok();
    let mut first = start(&[]);
    eventually("the first answers", || get(public, "/").is_some());
    let mut second = start(&["--upgrade"]);
    assert!(first.wait().expect("an end").success());
    eventually("the second answers", is_there);
    let ended = std::process::Command::new("kill").arg(second.id().to_string()).status();
    assert!(ended.expect("kill runs").success());
    assert!(second.wait().expect("an end").success());
    assert!(!socket.exists(), "nothing is left behind");
}
