//! Proxies whose word about clients' addresses is taken: `set_real_ip_from` and `real_ip_header`.

use super::{Import, Scope, order::locations, syntax::Directive};

/// Where nginx looks for an address unless it is told.
const CUSTOMARY: &str = "X-Real-IP";
/// Where both look for it; what the PROXY protocol says is a matter of the listener here.
const COMMON: [&str; 2] = ["x-forwarded-for", "proxy_protocol"];

impl<'a> Import<'a> {
    /// Networks of the proxies that a server believes, or one of its locations; those of all servers are not among them.
    pub(super) fn proxies(
        &mut self,
        scope: &Scope<'a>,
        server: &'a Directive,
        has_others: bool,
    ) -> Vec<String> {
        self.other_header(scope);
        let within = locations(server.inside()).into_iter().flat_map(Directive::inside);
        let all = server.inside().iter().chain(within).filter(|one| one.name == "set_real_ip_from");
        let all: Vec<&'a Directive> = all.collect();
        let mut networks = Vec::new();
        for one in all {
            one.seen.set(true);
            if one.arg(0).parse::<model::Cidr>().is_err() {
                self.note(one, format_args!("`{}` is no network here; it is not believed", one.arg(0)));
                continue;
            }
            if has_others {
                self.note(one, "it holds for all that its listener serves, as `trustedProxies`");
            }
            networks.push(one.arg(0).to_owned());
        }
        networks
    }

    /// The header from which nginx takes addresses, where that is another one than here.
    pub(super) fn other_header(&mut self, scope: &Scope<'a>) -> Option<&'a str> {
        let said = scope.one("real_ip_header");
        scope.one("real_ip_recursive");
        let believed = scope.one("set_real_ip_from")?;
        let header = said.map_or(CUSTOMARY, |one| one.arg(0));
        if COMMON.contains(&header.to_ascii_lowercase().as_str()) {
            return None;
        }
        self.note(
            said.unwrap_or(believed),
            format_args!(
                "nginx takes clients' addresses from `{header}`, and they are taken from `X-Forwarded-For` here: let the \
                 proxies write them there"
            ),
        );
        Some(header)
    }
}
