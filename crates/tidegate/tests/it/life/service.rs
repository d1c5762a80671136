//! What a service manager hands in and is told: `LISTEN_FDS` and `NOTIFY_SOCKET`, played by the test.

use std::{
    fs,
    net::{SocketAddr, TcpListener},
    os::{fd::OwnedFd, unix::net::UnixDatagram},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use super::super::harness::{Gateway, eventually, free_port, get};

const ROUTE: &str = "routes: [{name: r, match: [{path: {prefix: /}}], respond: {body: ok}}]\n";

/// Ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts the binary with two sockets as file descriptors 3 and 4, as a service manager would.
fn activated(folder: &Path, sockets: [OwnedFd; 2], names: &str, pid: &str) -> Running {
    let [three, four] = sockets;
    let script = format!("exec 3<&0 4>&1 0</dev/null 1>/dev/null; LISTEN_PID={pid} exec \"$0\" \"$@\"");
    let child = Command::new("sh")
        .args(["-c", &script, env!("CARGO_BIN_EXE_tidegate"), "run", "--config"])
        .arg(folder.join("tidegate.yaml"))
        .arg("--data-dir")
        .arg(folder.join("data"))
        .env("TIDEGATE_ADMIN_TOKEN", "test-admin-token")
        .env("LISTEN_FDS", "2")
        .env("LISTEN_FDNAMES", names)
        .stdin(Stdio::from(three))
        .stdout(Stdio::from(four))
        .stderr(fs::File::create(folder.join("stderr")).expect("a file"))
        .spawn();
    Running(child.expect("the binary starts"))
}

fn socket() -> (OwnedFd, SocketAddr) {
    let socket = TcpListener::bind("127.0.0.1:0").expect("a socket");
    let address = socket.local_addr().expect("an address");
    (socket.into(), address)
}

#[test]
fn sockets_are_matched_by_name_and_else_by_address() {
    let folder = tempfile::tempdir().expect("a folder");
    let ((named, by_name), (found, by_address)) = (socket(), socket());
    let text = format!(
        "listeners: [{{name: public, address: 127.0.0.1:{}}}, {{name: inner, address: \"{by_address}\"}}]\n{ROUTE}",
        free_port()
    );
    fs::write(folder.path().join("tidegate.yaml"), text).expect("a file");
    let _running = activated(folder.path(), [named, found], "public:tidegate.socket", "$$");
    for address in [by_name, by_address] {
        let answer = get(address, "/").expect("a connection made before the start waits, and is answered");
        assert_eq!(answer.text(), "ok");
    }
}

#[test]
fn the_admin_endpoint_takes_the_socket_of_its_name() {
    let folder = tempfile::tempdir().expect("a folder");
    let ((public, address), (admin, at)) = (socket(), socket());
    let text = format!(
        "admin: {{address: 127.0.0.1:{}}}\nlisteners: [{{name: public, address: \"{address}\"}}]\n{ROUTE}",
        free_port()
    );
    fs::write(folder.path().join("tidegate.yaml"), text).expect("a file");
    let _running = activated(folder.path(), [public, admin], "public:admin", "$$");
    assert_eq!(get(at, "/readyz").expect("an answer").status, 200);
    assert_eq!(get(address, "/").expect("an answer").text(), "ok");
}

#[test]
fn sockets_meant_for_another_process_are_left_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let ((one, _), (other, _)) = (socket(), socket());
    let port = free_port();
    let text = format!("listeners: [{{name: public, address: 127.0.0.1:{port}}}]\n{ROUTE}");
    fs::write(folder.path().join("tidegate.yaml"), text).expect("a file");
    let _running = activated(folder.path(), [one, other], "public:b", "1");
    let bound = SocketAddr::from(([127, 0, 0, 1], port));
    eventually("it binds its own", || get(bound, "/").is_some_and(|answer| answer.text() == "ok"));
}

#[test]
fn what_is_no_listening_socket_is_refused_by_name() {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("tidegate.yaml"), ROUTE).expect("a file");
    let (good, _) = socket();
    let file = fs::File::create(folder.path().join("file")).expect("a file");
    let mut running = activated(folder.path(), [good, file.into()], "public:wrong", "$$");
    let status = running.0.wait().expect("it ends");
    let problems = fs::read_to_string(folder.path().join("stderr")).expect("a log");
    assert!(status.code() == Some(1) && problems.contains("LISTEN_FDS: `wrong`"), "{status}: {problems}");
}

/// A service manager that is told things.
struct Manager(UnixDatagram);

impl Manager {
    fn start(prepare: impl Fn(&mut Command)) -> (Self, Gateway) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("notify.sock");
        let socket = UnixDatagram::bind(&path).expect("a socket");
        socket.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
        let port = free_port();
        let text = format!("listeners: [{{name: public, address: 127.0.0.1:{port}}}]\n{ROUTE}");
        let gateway = Gateway::in_folder(folder, &text, ([127, 0, 0, 1], port).into(), |command| {
            command.env("NOTIFY_SOCKET", &path);
            prepare(command);
        });
        (Self(socket), gateway)
    }

    /// The next message that is not about the watchdog.
    fn told(&self) -> String {
        loop {
            let mut bytes = [0; 1024];
            let count = self.0.recv(&mut bytes).expect("a message");
            let text = String::from_utf8_lossy(&bytes[..count]).into_owned();
            if !text.contains("WATCHDOG") {
                return text;
            }
        }
    }

    fn expect(&self, lines: &[&str]) -> String {
        let told = self.told();
        for line in lines {
            assert!(told.lines().any(|known| known.starts_with(line)), "{line} in {told:?}");
        }
        told
    }
}

#[test]
fn it_is_told_of_readiness_reloads_and_the_end() {
    let (manager, mut gateway) = Manager::start(|_| {});
    manager.expect(&["READY=1", "STATUS=serving"]);
    gateway.signal("HUP");
    let reloading = manager.expect(&["RELOADING=1", "MONOTONIC_USEC="]);
    let micros = reloading.lines().find_map(|line| line.strip_prefix("MONOTONIC_USEC=")).expect("a time");
    let uptime = fs::read_to_string("/proc/uptime").expect("uptime");
    let seconds: f64 = uptime.split(' ').next().and_then(|text| text.parse().ok()).expect("seconds");
    let micros: f64 = micros.parse().expect("a number");
    assert!((seconds - micros / 1e6).abs() < 60.0, "{micros} of {seconds}");
    manager.expect(&["READY=1", "STATUS=serving"]);
    fs::write(gateway.config(), "nonsense: 1\n").expect("a file");
    manager.expect(&["RELOADING=1"]);
    manager.expect(&["READY=1", "STATUS=serving; the last configuration was refused"]);
    gateway.signal("TERM");
    manager.expect(&["STOPPING=1", "EXTEND_TIMEOUT_USEC="]);
    assert_eq!(gateway.wait().code(), Some(0));
}

#[test]
fn it_is_told_which_process_is_the_service_after_an_upgrade() {
    let (manager, mut gateway) = Manager::start(|_| {});
    manager.expect(&["READY=1"]);
    let path = gateway.folder.path().join("notify.sock");
    let next = gateway.again().arg("--upgrade").env("NOTIFY_SOCKET", &path).spawn().expect("it starts");
    let next = Running(next);
    let told = [manager.told(), manager.told()].concat();
    assert!(told.contains(&format!("MAINPID={}", next.0.id())), "{told}");
    assert!(told.contains("READY=1") && !told.contains("STOPPING"), "{told}");
    assert_eq!(gateway.wait().code(), Some(0));
}

#[test]
fn the_watchdog_hears_from_it_until_it_hangs() {
    let (manager, gateway) = Manager::start(|command| {
        command.env("WATCHDOG_USEC", "900000");
    });
    let heard = |within: Duration| {
        let end = Instant::now() + within;
        manager.0.set_read_timeout(Some(Duration::from_millis(200))).expect("a timeout");
        let mut count = 0;
        while Instant::now() < end {
            let mut bytes = [0; 1024];
            let message = manager.0.recv(&mut bytes).map(|count| bytes[..count].to_vec());
            count += usize::from(message.is_ok_and(|bytes| bytes.starts_with(b"WATCHDOG=1")));
        }
        count
    };
    eventually("the watchdog hears from it", || heard(Duration::from_secs(1)) > 0);
    gateway.signal("STOP");
    heard(Duration::from_millis(500));
    assert_eq!(heard(Duration::from_secs(2)), 0);
    gateway.signal("CONT");
    eventually("the watchdog hears from it again", || heard(Duration::from_secs(1)) > 0);
}

#[test]
fn the_unit_that_we_ship_starts_what_the_binary_understands() {
    let folder = super::super::tidy::root().join("deploy/systemd");
    let read = |name: &str| fs::read_to_string(folder.join(name)).expect("a unit");
    let (service, socket) = (read("tidegate.service"), read("tidegate.socket"));
    let start = service.lines().find_map(|line| line.strip_prefix("ExecStart=")).expect("ExecStart");
    let mut words = start.split(' ').skip(1);
    assert_eq!(words.next(), Some("run"));
    let help = Command::new(env!("CARGO_BIN_EXE_tidegate")).args(["run", "--help"]).output().expect("help");
    let help = String::from_utf8(help.stdout).expect("text");
    for word in words.filter(|word| word.starts_with("--")) {
        assert!(help.contains(&format!("{word} ")), "{word} is no option of `run`");
    }
    for line in ["Type=notify-reload", "WatchdogSec=30s", "StateDirectory=tidegate"] {
        assert!(service.lines().any(|known| known == line), "{line}");
    }
    assert!(socket.contains("FileDescriptorName=public\n"));
}
