//! `import nginx`: a configuration of nginx's serves here as it does in a real nginx, and what does not is told.

mod addresses;
mod closed;
mod guarded;
mod names;
mod opened;
mod same;
mod told;
mod values;
mod words;

use std::{
    fs,
    net::{SocketAddr, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
};

use crate::harness::{Answer, Gateway, Upstream, eventually, free_port, peers_folder, raw, run};

/// The main file; the servers are in files that it includes.
const MAIN: &str = r#"
daemon off; master_process off; pid FOLDER/nginx.pid; error_log stderr;
worker_processes 1;
events { worker_connections 256; }
http {
    client_body_temp_path FOLDER/tmp1; proxy_temp_path FOLDER/tmp2; fastcgi_temp_path FOLDER/tmp3;
    uwsgi_temp_path FOLDER/tmp4; scgi_temp_path FOLDER/tmp5;
    access_log off;
    default_type text/plain;
    client_max_body_size 64;
    limit_req_zone $binary_remote_addr zone=few:1m rate=1r/m;
    upstream shop {
        least_conn;
        server UPSTREAM weight=2 max_fails=2 fail_timeout=5s;   # the only one
        keepalive 16;
    }
    include sites/*.conf;
}
"#;

/// A running nginx; ends with the test.
struct Nginx(Child);

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Nginx {
    fn start(folder: &Path, address: SocketAddr) -> Self {
        let program = peers_folder().join("nginx/usr/sbin/nginx");
        assert!(program.exists(), "{} is missing: run scripts/peers.sh", program.display());
        let log = fs::File::create(folder.join("nginx.log")).expect("a log");
        let child = Command::new(program)
            .args(["-e", "stderr", "-p", &folder.display().to_string()])
            .args(["-c", &folder.join("nginx.conf").display().to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("nginx starts");
        let nginx = Self(child);
        eventually("nginx serves", || TcpStream::connect(address).is_ok());
        nginx
    }
}

/// Says what came: method, target, and the fields that matter.
fn echo() -> Upstream {
    Upstream::scripted(|seen| {
        let (line, field) = (seen.line.rsplit_once(' ').unwrap_or_default().0, |name| {
            seen.header(name).unwrap_or("-").to_owned()
        });
        if line.ends_with("/verify") {
            let is_known = seen.header("x-token") == Some("good");
            let head = if is_known { "204 No Content\r\nx-user: ann" } else { "401 Unauthorized" };
            return Some(format!("HTTP/1.1 {head}\r\ncontent-length: 0\r\n\r\n").into_bytes());
        }
        let body = format!(
            "{line} host={} ip={} client={} user={}",
            field("host"),
            field("x-real-ip"),
            field("x-client"),
            // As CGI and its heirs read it.
            seen.header("x-user").or_else(|| seen.header("x_user")).unwrap_or("-")
        );
        Some(
            format!("HTTP/1.1 200 OK\r\nx-inside: yes\r\ncontent-length: {}\r\n\r\n{body}", body.len())
                .into_bytes(),
        )
    })
}

fn written(folder: &Path, upstream: &Upstream, port: u16, files: &[(&str, &str)]) {
    fs::create_dir_all(folder.join("www/assets")).expect("a folder");
    fs::create_dir_all(folder.join("www/app")).expect("a folder");
    fs::create_dir_all(folder.join("sites")).expect("a folder");
    for (name, text) in [
        ("assets/app.js", "js"),
        ("assets/x.php", "source"),
        ("assets/index.html", "index"),
        ("app/index.html", "app"),
    ] {
        fs::write(folder.join("www").join(name), text).expect("a file");
    }
    for (name, text) in files {
        let text = text
            .replace("FOLDER", &folder.display().to_string())
            .replace("UPSTREAM", &upstream.address.to_string())
            .replace("PORT", &port.to_string());
        fs::write(folder.join(name), text).expect("a file");
    }
}

fn asked(address: SocketAddr, head: &str, body: &[u8]) -> Answer {
    let mut bytes = format!("{head}\nconnection: close\n\n").replace('\n', "\r\n").into_bytes();
    bytes.extend_from_slice(body);
    Answer::parse(&raw(address, &bytes)).expect("an answer")
}

/// What becomes of servers in `sites/a.conf`, which nothing listens for: the configuration and what is said.
fn imported(servers: &str) -> (String, String) {
    let folder = tempfile::tempdir().expect("a folder");
    let upstream = echo();
    written(folder.path(), &upstream, 20_001, &[("nginx.conf", MAIN), ("sites/a.conf", servers)]);
    let (code, ours, report) =
        run(&["import", "nginx", &folder.path().join("nginx.conf").display().to_string()]);
    assert_eq!(code, 0, "{report}");
    let file = folder.path().join("tidegate.yaml");
    fs::write(&file, &ours).expect("a file");
    let (code, _, problems) = run(&["validate", "-c", &file.display().to_string()]);
    assert_eq!(code, 0, "{problems}\n{ours}");
    (ours, report)
}

/// A real nginx, and a gateway with what was made of its configuration.
struct Both {
    theirs: SocketAddr,
    own: SocketAddr,
    ours: String,
    report: String,
    folder: tempfile::TempDir,
    _nginx: Nginx,
    _gateway: Gateway,
    /// Both ask it for as long as they run.
    _upstream: Upstream,
}

impl Both {
    fn start(servers: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let (upstream, port) = (echo(), free_port());
        written(folder.path(), &upstream, port, &[("nginx.conf", MAIN), ("sites/a.conf", servers)]);
        let theirs: SocketAddr = format!("127.0.0.1:{port}").parse().expect("an address");
        let nginx = Nginx::start(folder.path(), theirs);
        let (code, ours, report) =
            run(&["import", "nginx", &folder.path().join("nginx.conf").display().to_string()]);
        assert_eq!(code, 0, "{report}");
        let own: SocketAddr = format!("127.0.0.1:{}", free_port()).parse().expect("an address");
        let ours = ours.replace(&theirs.to_string(), &own.to_string());
        let gateway = Gateway::from_text(&ours, own, |_| {});
        Self { theirs, own, ours, report, folder, _nginx: nginx, _gateway: gateway, _upstream: upstream }
    }

    /// Each answers with this status, and with the same text where it is 200.
    fn check(&self, host: &str, line: &str, status: u16) {
        let head = format!("{line} HTTP/1.1\nhost: {host}");
        let [wanted, got] = [self.theirs, self.own].map(|address| {
            let answer = asked(address, &head, b"");
            (answer.status, if answer.status == 200 { answer.text() } else { String::new() })
        });
        assert_eq!(wanted.0, status, "nginx: {line} of {host}");
        assert_eq!(got, wanted, "{line} of {host}\n{}\n{}", self.ours, self.report);
    }
}
