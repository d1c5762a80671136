//! Rules of the vault: nobody on the way reads along, and nothing is waited for without an end.

use crate::{Duration, load::Context, policy::jwt::is_private_enough, resource::vault::Vault};

pub(super) fn check(vault: &Vault, at: &mut Context<'_, '_>) {
    if !is_private_enough(&vault.address) {
        at.field("address", |at| at.error("secrets come over https, or over http from a loopback address"));
    }
    let authority = vault.address.parse::<http::Uri>().ok().and_then(|uri| uri.authority().cloned());
    if authority.is_some_and(|authority| authority.as_str().contains('@')) {
        at.field("address", |at| {
            at.error("the address has no user and no password: those belong under `auth`")
        });
    }
    if vault
        .namespace
        .as_deref()
        .is_some_and(|name| name.is_empty() || !name.bytes().all(|b| b.is_ascii_graphic()))
    {
        at.field("namespace", |at| at.error("expected the name of a namespace, such as `team/a`"));
    }
    at.field("mounts", |at| {
        for (mount, version) in &vault.mounts {
            if !matches!(version, 1 | 2) || mount.is_empty() || mount.starts_with('/') || mount.ends_with('/')
            {
                at.field(mount, |at| at.error("expected a mount without slashes at its ends, and 1 or 2"));
            }
        }
    });
    for (key, time, most) in [
        ("timeout", vault.timeout, Duration::from_secs(60)),
        ("refresh", vault.refresh, Duration::from_secs(24 * 3600)),
        ("startTimeout", vault.start_timeout, Duration::from_secs(3600)),
    ] {
        let least = if key == "refresh" { Duration::from_secs(1) } else { Duration::from_millis(1) };
        if time < least || time > most {
            at.field(key, |at| at.error(format!("expected {least} to {most}")));
        }
    }
}
