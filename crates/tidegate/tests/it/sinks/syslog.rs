//! Syslog to a real rsyslog: UDP, TCP, TLS, and a Unix socket, each as the receiver took it apart.

use std::{
    fs,
    net::TcpStream,
    path::Path,
    process::{Child, Command, Stdio},
};

use serde_json::Value;

use super::{calls, in_folder, paths, sink};
use crate::harness::{eventually, free_port, pause, peers_folder};

/// A running rsyslog; ends with the test.
struct Rsyslog {
    child: Child,
    folder: tempfile::TempDir,
    udp: u16,
    tcp: u16,
    tls: u16,
}

impl Rsyslog {
    fn start(with_tls: Option<&Path>) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let (udp, tcp, tls) = (free_port(), free_port(), free_port());
        let root = peers_folder().join("rsyslog");
        let program = root.join("usr/sbin/rsyslogd");
        assert!(program.exists(), "{} is missing: run scripts/peers.sh", program.display());
        let place = folder.path().display();
        let tls_input = with_tls.map_or_else(String::new, |certificates| {
            let certificates = certificates.display();
            format!(
                "global(defaultNetstreamDriver=\"ossl\" defaultNetstreamDriverCAFile=\"{certificates}/receiver.crt\" defaultNetstreamDriverCertFile=\"{certificates}/receiver.crt\" defaultNetstreamDriverKeyFile=\"{certificates}/receiver.key\")\nmodule(load=\"imtcp\" streamDriver.name=\"ossl\" streamDriver.mode=\"1\" streamDriver.authMode=\"anon\")\ninput(type=\"imtcp\" address=\"127.0.0.1\" port=\"{tls}\")\n"
            )
        });
        let plain = match with_tls {
            None => format!(
                "module(load=\"imtcp\")\ninput(type=\"imtcp\" address=\"127.0.0.1\" port=\"{tcp}\")\n"
            ),
            Some(_) => String::new(),
        };
        let config = format!(
            "global(workDirectory=\"{place}\" maxMessageSize=\"16k\")
module(load=\"imudp\")
module(load=\"imuxsock\" sysSock.use=\"off\")
{tls_input}{plain}input(type=\"imudp\" address=\"127.0.0.1\" port=\"{udp}\")
input(type=\"imuxsock\" socket=\"{place}/log\" useSpecialParser=\"off\" parseHostname=\"on\" rateLimit.interval=\"0\" ignoreTimestamp=\"off\" useSysTimeStamp=\"off\")
template(name=\"parts\" type=\"list\" option.jsonf=\"on\") {{
  property(outname=\"input\" name=\"inputname\" format=\"jsonf\")
  property(outname=\"pri\" name=\"pri\" format=\"jsonf\")
  property(outname=\"facility\" name=\"syslogfacility-text\" format=\"jsonf\")
  property(outname=\"severity\" name=\"syslogseverity-text\" format=\"jsonf\")
  property(outname=\"version\" name=\"protocol-version\" format=\"jsonf\")
  property(outname=\"time\" name=\"timereported\" dateFormat=\"rfc3339\" format=\"jsonf\")
  property(outname=\"host\" name=\"hostname\" format=\"jsonf\")
  property(outname=\"app\" name=\"app-name\" format=\"jsonf\")
  property(outname=\"proc\" name=\"procid\" format=\"jsonf\")
  property(outname=\"msgid\" name=\"msgid\" format=\"jsonf\")
  property(outname=\"msg\" name=\"msg\" format=\"jsonf\")
}}
action(type=\"omfile\" file=\"{place}/received\" template=\"parts\")
"
        );
        fs::write(folder.path().join("rsyslog.conf"), config).expect("a file");
        let child = spawn(folder.path(), &root);
        let rsyslog = Self { child, folder, udp, tcp, tls };
        rsyslog.wait(with_tls.is_some());
        rsyslog
    }

    fn wait(&self, has_tls: bool) {
        let port = if has_tls { self.tls } else { self.tcp };
        eventually("rsyslog listens", || TcpStream::connect(("127.0.0.1", port)).is_ok());
    }

    /// Ends it.
    fn stop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// What arrived by an input.
    fn received(&self, input: &str) -> Vec<Value> {
        let text = fs::read_to_string(self.folder.path().join("received")).unwrap_or_default();
        let all = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        // What rsyslog says of itself is none of ours.
        all.filter(|one| one["input"] == input && one["app"] == "edge").collect()
    }

    /// The paths of what arrived by an input, when there are so many.
    fn paths(&self, input: &str, count: usize) -> Vec<String> {
        eventually(&format!("{count} messages of {input}"), || self.received(input).len() >= count);
        let path = |one: &Value| {
            let record: Value =
                serde_json::from_str(one["msg"].as_str().expect("a message").trim()).expect("JSON");
            record["path"].as_str().expect("a path").to_owned()
        };
        self.received(input).iter().map(path).collect()
    }
}

impl Drop for Rsyslog {
    fn drop(&mut self) {
        self.stop();
    }
}

fn spawn(folder: &Path, root: &Path) -> Child {
    let libraries = root.join("usr/lib/x86_64-linux-gnu");
    let log = fs::File::create(folder.join("said")).expect("a file");
    Command::new(root.join("usr/sbin/rsyslogd"))
        .arg("-n")
        .args(["-i", "NONE"])
        .arg("-f")
        .arg(folder.join("rsyslog.conf"))
        .arg("-M")
        .arg(libraries.join("rsyslog"))
        .env("LD_LIBRARY_PATH", &libraries)
        .stdin(Stdio::null())
        .stdout(log.try_clone().expect("a file"))
        .stderr(log)
        .spawn()
        .expect("rsyslog starts")
}

fn log(name: &str, address: &str, more: &str) -> String {
    format!(
        "  - {{kind: syslog, name: {name}, batch: {{time: 50ms}}, retry: {{first: 50ms, max: 200ms}}, syslog: {{address: \"{address}\", appName: edge, hostname: front-1, facility: local3{more}}}}}"
    )
}

#[test]
fn rsyslog_takes_messages_apart_whichever_way_they_come() {
    let rsyslog = Rsyslog::start(None);
    let logs = [
        log("udp", &format!("127.0.0.1:{}", rsyslog.udp), ""),
        log("tcp", &format!("localhost:{}", rsyslog.tcp), ", transport: tcp"),
        log("unix", &format!("unix:{}/log", rsyslog.folder.path().display()), ""),
    ];
    let gateway = in_folder(tempfile::tempdir().expect("a folder"), &logs.join("\n"));
    calls(&gateway, 0..20);
    for input in ["imudp", "imtcp", "imuxsock"] {
        let mut told = rsyslog.paths(input, 20);
        if input == "imudp" {
            // Datagrams have no order.
            told.sort_by_key(|path| path.trim_start_matches("/ok/").parse::<usize>().expect("a number"));
        }
        assert_eq!(told, paths(0..20), "{input}");
        let message = &rsyslog.received(input)[0];
        for (part, want) in [
            ("facility", "local3"),
            ("severity", "info"),
            ("version", "1"),
            ("host", "front-1"),
            ("msgid", "access"),
            ("proc", &*gateway.pid().to_string()),
        ] {
            assert_eq!(message[part], want, "{part} of {message}");
        }
        let record: Value =
            serde_json::from_str(message["msg"].as_str().expect("text").trim()).expect("JSON");
        let (told, own) =
            (message["time"].as_str().expect("a time"), record["timestamp"].as_str().expect("a time"));
        assert_eq!(told.get(..19), own.get(..19), "{message}");
    }
    gateway.get("/bad/1");
    eventually("a failure is an error", || {
        rsyslog.received("imtcp").last().is_some_and(|message| message["severity"] == "err")
    });
}

#[test]
fn what_rsyslog_does_not_take_over_tcp_waits_for_it() {
    let mut rsyslog = Rsyslog::start(None);
    let address = format!("127.0.0.1:{}", rsyslog.tcp);
    let gateway =
        in_folder(tempfile::tempdir().expect("a folder"), &log("tcp", &address, ", transport: tcp"));
    calls(&gateway, 0..5);
    assert_eq!(rsyslog.paths("imtcp", 5), paths(0..5));
    rsyslog.stop();
    pause(100);
    calls(&gateway, 5..10);
    eventually("it is noticed", || sink(&gateway, "up", "tcp") == 0.0);
    rsyslog.child = spawn(rsyslog.folder.path(), &peers_folder().join("rsyslog"));
    assert_eq!(rsyslog.paths("imtcp", 10), paths(0..10));
}

#[test]
fn messages_travel_in_tls_to_whom_the_authority_vouches_for() {
    let certificates = tempfile::tempdir().expect("a folder");
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    fs::write(certificates.path().join("receiver.crt"), made.cert.pem()).expect("a file");
    fs::write(certificates.path().join("receiver.key"), made.signing_key.serialize_pem()).expect("a file");
    let rsyslog = Rsyslog::start(Some(certificates.path()));
    let tls =
        format!(", transport: tls, tls: {{caFile: \"{}/receiver.crt\"}}", certificates.path().display());
    let gateway = in_folder(
        tempfile::tempdir().expect("a folder"),
        &log("tls", &format!("localhost:{}", rsyslog.tls), &tls),
    );
    calls(&gateway, 0..5);
    assert_eq!(rsyslog.paths("imtcp", 5), paths(0..5));
}
