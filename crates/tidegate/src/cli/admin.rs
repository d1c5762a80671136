//! Asks a running gateway about its state, over its admin endpoint (in cleartext: loopback or a Unix socket).

use std::{
    io::{Read, Write},
    net::{TcpStream, ToSocketAddrs},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Args;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Where a gateway runs, for commands that need one.
#[derive(Args)]
pub(crate) struct Place {
    /// Admin address of the running gateway, `host:port` or `unix:/path`.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9080")]
    admin: String,
    /// Data directory of the running gateway, for the admin token in it.
    #[arg(long, value_name = "DIR", default_value = "tidegate-data", env = "TIDEGATE_DATA_DIR")]
    data_dir: PathBuf,
    /// Bearer token of the admin API, in place of the one in the data directory.
    #[arg(long, value_name = "TOKEN", env = "TIDEGATE_ADMIN_TOKEN", hide_env_values = true)]
    admin_token: Option<String>,
}

impl Place {
    /// The answer of a path of the admin API.
    pub(crate) fn get(&self, path: &str) -> Result<serde_json::Value, String> {
        get(&self.admin, self.admin_token.as_deref(), &self.data_dir, path)
    }
}

/// The answer of `/api/v1/status`, asked with this token or else the one in the data directory.
pub(crate) fn status(
    address: &str,
    token: Option<&str>,
    data_dir: &Path,
) -> Result<serde_json::Value, String> {
    get(address, token, data_dir, "/api/v1/status")
}

fn get(address: &str, token: Option<&str>, data_dir: &Path, path: &str) -> Result<serde_json::Value, String> {
    let token = match token.filter(|token| !token.is_empty()) {
        Some(token) => token.to_owned(),
        None => kept(data_dir)?,
    };
    let wrong = |error: std::io::Error| format!("{address}: {error}");
    let answer = match address.strip_prefix("unix:") {
        Some(socket) => {
            let stream = UnixStream::connect(socket).map_err(wrong)?;
            stream.set_read_timeout(Some(PATIENCE)).map_err(wrong)?;
            ask(stream, "localhost", &token, path)
        }
        None => {
            let target = address.to_socket_addrs().map_err(wrong)?.next();
            let target = target.ok_or_else(|| format!("{address}: no address"))?;
            let away = |error| {
                format!("{address}: {error}; `--admin ADDRESS` says where the gateway's admin endpoint is")
            };
            let stream = TcpStream::connect_timeout(&target, PATIENCE).map_err(away)?;
            stream.set_read_timeout(Some(PATIENCE)).map_err(wrong)?;
            ask(stream, address, &token, path)
        }
    };
    let answer = answer.map_err(wrong)?;
    let (head, body) =
        answer.split_once("\r\n\r\n").ok_or_else(|| format!("{address} does not speak HTTP"))?;
    if !head.contains(" 200 ") {
        let problem: serde_json::Value = serde_json::from_str(body).unwrap_or_default();
        let detail = problem["detail"].as_str().map(|detail| format!(": {detail}")).unwrap_or_default();
        return Err(format!("{address} answered `{}`{detail}", head.lines().next().unwrap_or_default()));
    }
    serde_json::from_str(body).map_err(|error| format!("{address}: {error}"))
}

fn ask(mut stream: impl Read + Write, host: &str, token: &str, path: &str) -> std::io::Result<String> {
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// The token that a gateway keeps in its data directory.
fn kept(data_dir: &Path) -> Result<String, String> {
    let path = data_dir.join("admin-token");
    let text = std::fs::read_to_string(&path).map_err(|error| {
        format!(
            "the admin API needs its token: give --admin-token or --data-dir; {}: {error}",
            path.display()
        )
    })?;
    Ok(text.trim().to_owned())
}
