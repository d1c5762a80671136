//! Secrets of vaults: how a configuration says that they are asked, how long that is waited for, and what is told of it.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant, UNIX_EPOCH},
};

use model::{Snapshot, VaultName, resource::vault::VaultAuth};
use telemetry::{Collect, Exposition};
use vault::{Auth, Keeper, Settings};

/// What the process has read of vaults.
#[derive(Default)]
pub(crate) struct Vaults {
    keeper: Keeper,
    /// A configuration is live: from now on nobody waits long.
    is_serving: AtomicBool,
    /// Somebody waits at a terminal for the answer.
    is_watched: bool,
}

impl Vaults {
    /// For whoever checks a configuration and waits: it is told what for.
    pub(crate) fn of_a_check() -> Self {
        Self { is_watched: true, ..Self::default() }
    }

    /// A value for each name, or what to do about it. What was read before is told as it was.
    pub(crate) fn read(&self, snapshot: &Snapshot, names: &[VaultName]) -> Vec<Result<String, String>> {
        let Some(settings) = settings(snapshot) else {
            return names.iter().map(|_| Err("there is no vault in this configuration".to_owned())).collect();
        };
        let start = snapshot.config.vault.as_ref().map_or(Duration::ZERO, |vault| vault.start_timeout.get());
        let patience = if self.is_serving.load(Ordering::Acquire) { settings.timeout } else { start };
        let paths = paths(names.iter());
        if self.is_watched {
            let patience = model::Duration(patience);
            eprintln!("asking the vault at {}, which may take up to {patience} …", settings.address);
        }
        let told = self.keeper.need(&settings, &paths, patience);
        let of = |path: &str| paths.iter().position(|one| one == path).and_then(|place| told.get(place));
        let value = |name: &VaultName| match of(name.path()) {
            Some(Ok(fields)) => fields.get(name.key()).cloned().ok_or_else(|| {
                let keys: Vec<&str> = fields.keys().take(10).map(String::as_str).collect();
                format!(
                    "`{}` has no key `{}` in the vault; it has {}",
                    name.path(),
                    name.key(),
                    keys.join(", ")
                )
            }),
            Some(Err(error)) => Err(error.clone()),
            None => Err(format!("`{}` was not asked for", name.path())),
        };
        names.iter().map(value).collect()
    }

    /// Follows a configuration that is live: nothing else is kept fresh.
    pub(crate) fn follow(&self, live: &Snapshot) {
        self.is_serving.store(true, Ordering::Release);
        self.keeper.keep(settings(live).map(|settings| (settings, paths(live.vault_names()))));
    }

    /// Reads all of it again. It blocks its thread.
    pub(crate) fn refresh(&self) {
        self.keeper.refresh();
    }

    /// How often something has become another.
    pub(crate) fn changes(&self) -> u64 {
        self.keeper.changes()
    }
}

/// Paths, each once.
fn paths<'n>(names: impl Iterator<Item = &'n VaultName>) -> Vec<String> {
    let mut paths: Vec<String> = names.map(|name| name.path().to_owned()).collect();
    paths.sort_unstable();
    paths.dedup();
    paths
}

/// How a configuration's vault is asked.
fn settings(snapshot: &Snapshot) -> Option<Settings> {
    let vault = snapshot.config.vault.as_ref()?;
    let text = |secret: &model::Secret| snapshot.secret(secret).trim().to_owned();
    let mount = |mount: &str| mount.trim_matches('/').to_owned();
    Some(Settings {
        address: vault.address.clone(),
        namespace: vault.namespace.clone(),
        ca: vault.ca_file.as_ref().map(|file| snapshot.file(file)),
        auth: match &vault.auth {
            VaultAuth::Token(token) => Auth::Token(text(token)),
            VaultAuth::AppRole(role) => Auth::AppRole {
                mount: mount(&role.mount),
                role_id: text(&role.role_id),
                secret_id: role.secret_id.as_ref().map(text),
            },
            VaultAuth::Kubernetes(role) => Auth::Jwt {
                mount: mount(&role.mount),
                role: role.role.clone(),
                file: role.token_file.clone().into(),
            },
        },
        mounts: vault.mounts.clone(),
        timeout: vault.timeout.get(),
        refresh: vault.refresh.get(),
    })
}

/// Tells of vaults at the time of a scrape.
pub(crate) struct Report(pub(crate) std::sync::Weak<Vaults>);

impl Collect for Report {
    fn collect(&self, out: &mut Exposition) {
        let Some(vaults) = self.0.upgrade() else { return };
        let status = vaults.keeper.status();
        let Some(up) = status.up else { return };
        let up = f64::from(u8::from(up));
        out.gauge("tidegate_vault_up", "Whether the vault has answered the last question.", &[], up);
        let help = "Reads from the vault, by whether a secret came of them.";
        for (outcome, count) in [("good", status.reads), ("failed", status.failures)] {
            out.counter("tidegate_vault_reads_total", help, &[("outcome", outcome)], count as f64);
        }
        for (name, help, value) in [
            ("tidegate_vault_paths", "Paths of the vault whose secrets are known.", status.paths as f64),
            (
                "tidegate_vault_stale_paths",
                "Paths of the vault that could not be read again: what was read last stays.",
                status.stale as f64,
            ),
        ] {
            out.gauge(name, help, &[], value);
        }
        let help = "Logins at the vault, and renewals of its tokens and leases.";
        for (kind, count) in [("login", status.logins), ("renewal", status.renewals)] {
            out.counter("tidegate_vault_token_events_total", help, &[("kind", kind)], count as f64);
        }
        if let Some(read_at) = status.read_at.and_then(|at| at.duration_since(UNIX_EPOCH).ok()) {
            let help = "When the vault was read last, in seconds since 1970.";
            out.gauge("tidegate_vault_last_read_timestamp_seconds", help, &[], read_at.as_secs_f64());
        }
        if let Some(ends) = status.token_ends {
            let left = ends.saturating_duration_since(Instant::now()).as_secs_f64();
            out.gauge("tidegate_vault_token_seconds", "How long the vault's token is still good.", &[], left);
        }
    }
}
