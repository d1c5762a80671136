//! Rules of listeners and of the admin endpoint.

use std::net::SocketAddr;

use crate::{
    Admin, Config, Listener,
    load::Context,
    resource::{
        listener::{ListenerProtocol, ProxyProtocol},
        tls::{Alpn, ListenerTls},
    },
};

pub(super) fn check(listener: &Listener, config: &Config, at: &mut Context<'_, '_>) {
    if let Some(tls) = &listener.tls {
        at.field("tls", |at| self::tls(tls, config, at));
        if listener.https_target().is_some() {
            at.field("redirectToHttps", |at| at.error("this listener speaks https already"));
        }
        if listener.http2().is_none() && tls.alpn.contains(&Alpn::H2) {
            at.field("http2", |at| at.error("`alpn` offers h2 while HTTP/2 is off"));
        }
    }
    if let Some(http2) = listener.http2() {
        at.field("http2", |at| http2.check(at));
    }
    http3(listener, at);
    super::stream_route::listener(listener, config, at);
    if let Some(file) = &listener.socket_file {
        at.field("socketFile", |at| {
            if !listener.address.starts_with("unix:") {
                at.error("this listener has no file: its address is not `unix:/path`");
            }
            if file.mode.is_some() && file.mode_bits().is_none_or(|bits| bits > 0o777) {
                at.field("mode", |at| at.error("expected octal digits such as `\"0660\"`"));
            }
        });
    }
    let trusted = !listener.trusted_proxies.is_empty() || !config.trusted_proxies.is_empty();
    if listener.proxy_protocol != ProxyProtocol::Off && !trusted && !listener.address.starts_with("unix:") {
        at.field("proxyProtocol", |at| {
            at.error_with(
                "nobody is trusted to send it",
                "name the balancer's addresses in `trustedProxies`",
            );
        });
    }
    at.field("limits", |at| {
        let limits = &listener.limits;
        let times = [
            ("headerTimeout", limits.header_timeout),
            ("bodyTimeout", limits.body_timeout),
            ("idleTimeout", limits.idle_timeout),
            ("tlsTimeout", limits.tls_timeout),
        ];
        for (key, time) in times {
            if time.is_zero() {
                at.field(key, |at| at.error("expected more than nothing"));
            }
        }
        if limits.max_connection_age.is_some_and(|age| age.is_zero()) {
            at.field("maxConnectionAge", |at| at.error("expected more than nothing"));
        }
        for (key, size) in [("maxHeaderSize", limits.max_header_size), ("maxUriSize", limits.max_uri_size)] {
            if !(256..=16 << 20).contains(&size.bytes()) {
                at.field(key, |at| at.error("expected a size from 256 to 16MiB"));
            }
        }
    });
    super::policies::check("policies", &listener.policies, at);
}

fn http3(listener: &Listener, at: &mut Context<'_, '_>) {
    let Some(http3) = listener.http3() else { return };
    at.field("http3", |at| {
        http3.check(at);
        let is_any_port = listener.address.parse::<SocketAddr>().is_ok_and(|address| address.port() == 0);
        if listener.address.starts_with("unix:") {
            at.error("QUIC needs a UDP port: a Unix socket has none");
        } else if is_any_port {
            at.error_with(
                "any free port is not the same one on TCP and on UDP",
                "give the address a port of its own",
            );
        }
        match &listener.tls {
            None => at.error_with("QUIC is always encrypted", "give the listener `tls` with a certificate"),
            Some(tls) if http3.early_data && tls.client_auth.is_some() => {
                at.field("earlyData", |at| {
                    at.error("0-RTT comes before the client has shown its certificate")
                });
            }
            Some(_) => {}
        }
        if listener.proxy_protocol != ProxyProtocol::Off {
            at.error_with(
                "no balancer sends a PROXY header over QUIC",
                "give HTTP/3 a listener of its own, at which clients arrive themselves",
            );
        }
    });
}

pub(super) fn admin(admin: &Admin, config: &Config, at: &mut Context<'_, '_>) {
    if let Some(tls) = &admin.tls {
        at.field("tls", |at| {
            if admin.address.starts_with("unix:") {
                at.error("a Unix socket is this machine's alone: TLS has no use there");
            }
            self::tls(tls, config, at);
        });
    }
    let open =
        admin.address.parse::<SocketAddr>().is_ok_and(|address| !address.ip().to_canonical().is_loopback());
    if open && admin.tls.is_none() && !admin.allow_non_loopback {
        at.field("address", |at| {
            at.error_with(
                "the admin endpoint would be open to the network in cleartext",
                "use a loopback address, `tls`, or `allowNonLoopback: true`",
            );
        });
    }
}

fn tls(tls: &ListenerTls, config: &Config, at: &mut Context<'_, '_>) {
    let given = tls.certificates.iter().filter(|certificate| certificate.default).count();
    let gotten = tls.acme.iter().filter(|certificate| certificate.default).count();
    if given + gotten > 1 {
        let key = if given > 1 { "certificates" } else { "acme" };
        at.field(key, |at| at.error("expected at most one default certificate"));
    }
    if tls.certificates.is_empty() && tls.acme.is_empty() {
        at.error_with(
            "there is no certificate",
            "name files under `certificates`, or names under `acme` for which the gateway gets one",
        );
    }
    super::acme::certificates(tls, config, at);
}

/// No two listeners, the admin endpoint included, want the same socket.
pub(super) fn addresses(config: &Config, at: &mut Context<'_, '_>) {
    let mut taken: Vec<Taken<'_>> = Vec::new();
    // UDP ports are others; HTTP/3 has the one of the same number.
    let (mut datagrams, mut quic) = (Vec::new(), Vec::new());
    at.each("listeners", &config.listeners, |at, listener| {
        at.field("address", |at| {
            let owner = format!("listener `{}`", listener.name);
            match listener.protocol {
                ListenerProtocol::Udp => {
                    free(&listener.address, &quic, at);
                    address(&listener.address, owner, &mut datagrams, at);
                }
                ListenerProtocol::Http | ListenerProtocol::Tcp => {
                    if listener.http3().is_some() {
                        free(&listener.address, &datagrams, at);
                        quic.push((listener.address.as_str(), owner.clone(), at.place()));
                    }
                    address(&listener.address, owner, &mut taken, at);
                }
            }
        });
    });
    if let Some(admin) = &config.admin {
        at.field("admin", |at| {
            at.field("address", |at| {
                address(&admin.address, "the admin endpoint".to_owned(), &mut taken, at)
            });
        });
    }
}

type Taken<'c> = (&'c str, String, crate::diagnostic::Place);

/// Reports an address that another wants.
fn free(wanted: &str, taken: &[Taken<'_>], at: &mut Context<'_, '_>) {
    if let Some((_, other, place)) = taken.iter().find(|(there, ..)| overlap(there, wanted)) {
        at.error_beside(format!("`{wanted}` overlaps the address of {other}"), *place, "this one");
    }
}

fn address<'c>(wanted: &'c str, owner: String, taken: &mut Vec<Taken<'c>>, at: &mut Context<'_, '_>) {
    free(wanted, taken, at);
    taken.push((wanted, owner, at.place()));
}

/// Whether both cannot be bound at a time. Port 0 is a new port each time.
fn overlap(a: &str, b: &str) -> bool {
    let (Ok(a), Ok(b)) = (a.parse::<SocketAddr>(), b.parse::<SocketAddr>()) else { return a == b };
    let everywhere = a.ip().is_unspecified() || b.ip().is_unspecified();
    let covers = a.ip() == b.ip() || (everywhere && a.is_ipv4() == b.is_ipv4());
    a.port() != 0 && a.port() == b.port() && covers
}
