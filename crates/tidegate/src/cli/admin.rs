//! Asks a running gateway about its state, over its admin endpoint.

use std::{
    io::{Read, Write},
    net::{TcpStream, ToSocketAddrs},
    time::Duration,
};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// The answer of `/api/v1/status`; the token comes from `TIDEGATE_ADMIN_TOKEN` or the data directory.
pub(crate) fn status(address: &str) -> Result<serde_json::Value, String> {
    let token =
        token().ok_or("the admin API needs TIDEGATE_ADMIN_TOKEN, or TIDEGATE_DATA_DIR with its token")?;
    let wrong = |error: std::io::Error| format!("{address}: {error}");
    let target =
        address.to_socket_addrs().map_err(wrong)?.next().ok_or_else(|| format!("{address}: no address"))?;
    let mut stream = TcpStream::connect_timeout(&target, PATIENCE).map_err(wrong)?;
    stream.set_read_timeout(Some(PATIENCE)).map_err(wrong)?;
    write!(stream, "GET /api/v1/status HTTP/1.0\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\n\r\n")
        .map_err(wrong)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).map_err(wrong)?;
    let (head, body) =
        answer.split_once("\r\n\r\n").ok_or_else(|| format!("{address} does not speak HTTP"))?;
    if !head.contains(" 200 ") {
        return Err(format!("{address} answered `{}`", head.lines().next().unwrap_or_default()));
    }
    serde_json::from_str(body).map_err(|error| format!("{address}: {error}"))
}

fn token() -> Option<String> {
    std::env::var("TIDEGATE_ADMIN_TOKEN").ok().or_else(|| {
        let folder = std::env::var("TIDEGATE_DATA_DIR").unwrap_or_else(|_| "tidegate-data".into());
        let text = std::fs::read_to_string(std::path::Path::new(&folder).join("admin-token")).ok()?;
        Some(text.trim().to_owned())
    })
}
