//! Secrets of a vault: a mock that does what the documentation of Vault's HTTP API says, for there is no package of Vault.

mod mock;
mod starting;
mod staying;

use std::net::SocketAddr;

use self::mock::Mock;
use super::harness::{Answer, Gateway, free_port};

/// A gateway whose consumers' keys lie in the vault.
fn gateway(vault: &Mock, auth: &str, more: &str, keys: &str) -> Gateway {
    let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
    Gateway::from_text(&text(address, vault, auth, more, keys), address, |command| {
        command.env("TEST_VAULT_TOKEN", "token-of-the-test").env("TEST_SECRET_ID", "secret-id-of-the-test");
    })
}

fn text(address: SocketAddr, vault: &Mock, auth: &str, more: &str, keys: &str) -> String {
    format!(
        "listeners: [{{name: public, address: \"{address}\"}}]
accessLog: [{{kind: stdout}}]
vault: {{address: 'http://{}', auth: {auth}, timeout: 1s, refresh: 1s{more}}}
consumers: [{{name: gold, keys: [{keys}]}}]
routes: [{{name: r, match: [{{path: {{prefix: /}}}}], policies: [{{keyAuth: {{}}}}], respond: {{body: welcome}}}}]
",
        vault.address()
    )
}

const TOKEN: &str = "{token: {env: TEST_VAULT_TOKEN}}";
const APP_ROLE: &str = "{appRole: {roleId: role-of-the-test, secretId: {env: TEST_SECRET_ID}}}";

fn with_key(gateway: &Gateway, key: &str) -> Answer {
    gateway.send(&format!("GET / HTTP/1.1\nhost: a\nx-api-key: {key}"), b"")
}
