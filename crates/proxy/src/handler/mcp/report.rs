//! Which servers of tools can be reached, as metrics, read at the time of a scrape.

use std::sync::Weak;

use telemetry::{Collect, Exposition};

use crate::{handler::Handler, worker::Shared};

/// Writes how the servers of the live configuration are.
pub(crate) struct Report(pub(crate) Weak<Shared>);

impl Collect for Report {
    fn collect(&self, out: &mut Exposition) {
        let Some(shared) = self.0.upgrade() else { return };
        let compiled = shared.compiled.load();
        let help = "Whether a server of tools could be reached when it was last asked.";
        for route in &compiled.routes {
            let Handler::Mcp(gateway) = &route.handler else { continue };
            for server in &gateway.inner.servers {
                let labels = [("route", &*route.name), ("server", &*server.name)];
                let is_up = !server.known.is_away();
                out.gauge("tidegate_mcp_server_up", help, &labels, f64::from(u8::from(is_up)));
            }
        }
    }
}
