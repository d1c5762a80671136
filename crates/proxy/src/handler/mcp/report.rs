//! Which servers of tools can be reached, as metrics, read at the time of a scrape.

use std::sync::{Weak, atomic::Ordering};

use telemetry::{Collect, Exposition};

use super::McpGateway;
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
            asked(gateway, &route.name, out);
            for server in &gateway.inner.servers {
                let labels = [("route", &*route.name), ("server", &*server.name)];
                let is_up = !server.known.is_away();
                out.gauge("tidegate_mcp_server_up", help, &labels, f64::from(u8::from(is_up)));
            }
        }
    }
}

/// What became of calls whose servers ask clients without sessions.
fn asked(gateway: &McpGateway, route: &str, out: &mut Exposition) {
    let parked = &gateway.inner.sessions.parked;
    let help = "Calls that wait for a client's answer to what their server asked.";
    out.gauge("tidegate_mcp_parked_calls", help, &[("route", route)], parked.len() as f64);
    let counts = &parked.counts;
    let all = [
        ("asked", &counts.asked),
        ("answered", &counts.answered),
        ("expired", &counts.expired),
        ("evicted", &counts.evicted),
        ("refused", &counts.refused),
        ("lost", &counts.lost),
    ];
    let help = "Questions of servers with sessions to clients without, by what became of them.";
    for (result, count) in all {
        let labels = [("route", route), ("result", result)];
        out.counter("tidegate_mcp_questions_total", help, &labels, count.load(Ordering::Relaxed) as f64);
    }
}
