//! Rules of ACME: whom to ask, how names are shown to be ours, and which names can be.

use std::{net::IpAddr, path::Path};

use crate::{
    Config, Duration,
    load::{Context, scope::Named},
    policy::jwt::is_private_enough,
    resource::{
        acme::{AcmeAuthority, AcmeCertificate, Challenge, DnsHook},
        tls::ListenerTls,
    },
};

/// Names of a certificate; Let's Encrypt takes as many.
const NAMES_MAX: usize = 100;

pub(super) fn check(authority: &AcmeAuthority, config: &Config, at: &mut Context<'_, '_>) {
    if !is_private_enough(&authority.directory) {
        at.field("directory", |at| {
            at.error("expected an https address, or http on a loopback address");
        });
    }
    at.each("contacts", &authority.contacts, |at, contact| {
        let is_mail = contact.split_once('@').is_some_and(|(local, host)| {
            !local.is_empty() && host.contains('.') && contact.bytes().all(|byte| byte.is_ascii_graphic())
        });
        if !is_mail || contact.starts_with("mailto:") {
            at.error(format!("expected a mail address such as `ops@example.com`, found `{contact}`"));
        }
    });
    if !authority.terms_agreed {
        at.field("termsAgreed", |at| {
            at.error_with(
                "the authority gives nobody an account who has not agreed to its terms of service",
                "read them, and write `termsAgreed: true`",
            );
        });
    }
    let answers = |challenge: Challenge| match challenge {
        Challenge::Http01 => config.listeners.iter().any(|listener| listener.answers_http01()),
        Challenge::TlsAlpn01 => config.listeners.iter().any(|listener| listener.answers_tls_alpn01()),
        Challenge::Dns01 => authority.dns.is_some(),
    };
    at.each("challenges", &authority.challenges, |at, challenge| {
        if answers(*challenge) {
            return;
        }
        match challenge {
            Challenge::Http01 => at.error_with(
                "there is no listener without `tls`, at which it is answered",
                "add one at port 80, or take `tlsAlpn01`",
            ),
            Challenge::TlsAlpn01 => at.error_with(
                "no listener has `tls.acme`: one that has answers it",
                "add one at port 443, or take `http01` or `dns01`",
            ),
            Challenge::Dns01 => at.error_with(
                "nobody is there to set records",
                "say under `dns` which program or service does it",
            ),
        }
    });
    if let Some(dns) = &authority.dns {
        at.field("dns", |at| self::dns(dns, config, at));
    }
    for (key, time, least, most) in [
        ("timeout", authority.timeout, Duration::from_millis(100), Duration::from_secs(300)),
        ("orderTimeout", authority.order_timeout, Duration::from_secs(1), Duration::from_secs(3600)),
    ] {
        if time < least || time > most {
            at.field(key, |at| at.error(format!("expected {least} to {most}")));
        }
    }
    at.field("backoff", |at| {
        if authority.backoff.initial < Duration::from_millis(100) {
            at.field("initial", |at| at.error("expected 100ms or more"));
        }
        if authority.backoff.max < authority.backoff.initial {
            at.field("max", |at| at.error("expected as much as `initial`, or more"));
        }
    });
    if authority.renew_at_left.is_some_and(|left| !(1.0..=90.0).contains(&left.get())) {
        at.field("renewAtLeft", |at| at.error("expected 1 to 90"));
    }
    if authority.profile.as_deref().is_some_and(str::is_empty) {
        at.field("profile", |at| at.error("expected the name of a profile"));
    }
}

/// What may be run is said in one place, so that who may write the rest starts nothing else.
fn program(path: &str, config: &Config, at: &mut Context<'_, '_>) {
    if !Path::new(path).is_absolute() {
        at.error_with(
            format!("expected the whole path of a program first, found `{path}`"),
            "such as `/usr/local/bin/set-record`: `PATH` is not looked through",
        );
    } else if !config.runtime.allowed_commands.iter().any(|allowed| allowed == path) {
        at.error_with(
            format!("`{path}` may not be run here: `runtime.allowedCommands` lists what may"),
            format!("add it there: `runtime: {{allowedCommands: [{path}]}}`"),
        );
    }
}

fn dns(dns: &DnsHook, config: &Config, at: &mut Context<'_, '_>) {
    match (dns.command.is_empty(), &dns.url) {
        (true, None) => {
            at.error_with("expected `command` or `url`", "such as `command: [/usr/local/bin/set-record]`")
        }
        (false, Some(_)) => at.field("url", |at| {
            at.error_with("expected either `command` or `url`, found both", "take one of them out");
        }),
        (_, Some(url)) if !is_private_enough(url) => at.field("url", |at| {
            at.error("expected an https address, or http on a loopback address");
        }),
        _ => {}
    }
    if let Some(program) = dns.command.first() {
        at.field("command", |at| self::program(program, config, at));
    }
    if dns.url.is_none() && !dns.headers.is_empty() {
        at.field("headers", |at| at.error("a program has no headers"));
    }
    if dns.command.is_empty() && !dns.env.is_empty() {
        at.field("env", |at| at.error("a service has no environment: tell it with `headers`"));
    }
    at.field("env", |at| {
        for name in dns.env.keys() {
            if name.is_empty() || name.contains(['=', '\0']) {
                at.field(name, |at| at.error(format!("`{name}` is not the name of a variable")));
            }
        }
    });
    at.field("headers", |at| {
        for name in dns.headers.keys() {
            if name.parse::<http::HeaderName>().is_err() {
                at.field(name, |at| at.error(format!("`{name}` is not the name of a header")));
            }
        }
    });
    if dns.timeout.is_zero() || dns.timeout > Duration::from_secs(3600) {
        at.field("timeout", |at| at.error("expected more than nothing, and 1h at most"));
    }
    if dns.propagation > Duration::from_secs(3600) {
        at.field("propagation", |at| at.error("expected 1h at most"));
    }
}

/// Rules of what a listener wants of authorities.
pub(super) fn certificates(tls: &ListenerTls, config: &Config, at: &mut Context<'_, '_>) {
    at.each("acme", &tls.acme, |at, certificate| {
        at.field("authority", |at| at.refer(Named::AcmeAuthority, &certificate.authority));
        let authority = config.acme_authority(&certificate.authority);
        names(certificate, authority.map(|authority| config.acme_challenges(authority)), at);
    });
}

fn names(certificate: &AcmeCertificate, challenges: Option<Vec<Challenge>>, at: &mut Context<'_, '_>) {
    let has_dns = challenges.as_ref().is_none_or(|all| all.contains(&Challenge::Dns01));
    let has_some = challenges.as_ref().is_none_or(|all| !all.is_empty());
    let has_direct = challenges.is_none_or(|all| all.iter().any(|one| *one != Challenge::Dns01));
    if certificate.names.len() > NAMES_MAX {
        at.field("names", |at| at.error(format!("expected {NAMES_MAX} names at most")));
    }
    at.each("names", &certificate.names, |at, name| {
        let plain = name.strip_prefix("*.");
        if plain.is_none() && name.trim_matches(['[', ']']).parse::<IpAddr>().is_ok() {
            at.error("expected a name: certificates for addresses are not ordered");
        } else if name.ends_with('.') || name.contains('_') {
            at.error(
                "no certificate covers such a name: expected letters, digits, `-` and dots between labels",
            );
        } else if plain.is_some() && !has_dns {
            at.error_with(
                "a name with a wildcard is shown to be ours by `dns01` alone",
                "say under `dns` of the authority which program or service sets records",
            );
        } else if plain.is_none() && has_some && !has_direct && !has_dns {
            at.error("there is no way to show that the name is ours");
        }
    });
    if !has_some {
        at.error_with(
            "there is no way to show the authority that names are ours",
            "have a plain listener for `http01`, or `dns` of the authority",
        );
    }
}
