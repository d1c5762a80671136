//! Who may, beside who calls: conditions, the Open Policy Agent, directories, lockouts, and keys that are known by their hash.

mod authorize;
mod directory;
mod hashed;
mod ldap;
mod lockout;
mod opa;

use base64::{Engine, engine::general_purpose::STANDARD};

use super::harness::{Answer, Gateway};

fn basic(pair: &str) -> String {
    format!("\nauthorization: Basic {}", STANDARD.encode(pair))
}

fn ask(gateway: &Gateway, path: &str, headers: &str) -> Answer {
    gateway.send(&format!("GET {path} HTTP/1.1\nhost: a.example{headers}"), b"")
}
