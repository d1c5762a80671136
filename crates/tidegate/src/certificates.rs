//! Certificates that the gateway gets itself: which ones a configuration wants, where they are used, and what is told of
//! them.

use std::{
    path::Path,
    sync::{Arc, Weak},
    time::{SystemTime, UNIX_EPOCH},
};

use acme::{
    Authority, Bundle, Challenge, ChallengeCertificate, Dns, DnsBy, Front, KeyType, Manager, Status, Wanted,
};
use model::{Snapshot, resource::acme as settings};
use serde_json::{Value, json};
use telemetry::{Collect, Exposition};

/// A share of its life that a certificate has left when it is renewed.
const RENEW_AT_LEFT: f64 = 1.0 / 3.0;

/// The certificates of the process.
pub(crate) struct Certificates {
    manager: Manager,
}

impl Certificates {
    /// None yet; they are kept in the data directory.
    pub(crate) fn new(data_dir: &Path) -> Self {
        Self { manager: Manager::new(data_dir, Arc::new(Listeners)) }
    }

    /// Uses what is kept of the certificates of a configuration.
    pub(crate) fn load(&self, snapshot: &Snapshot) {
        self.manager.load(&wanted(snapshot));
    }

    /// Follows a configuration that is live.
    pub(crate) fn follow(&self, live: &Snapshot) {
        let wanted = wanted(live);
        if let Err(error) = self.manager.follow(&wanted) {
            tracing::error!("{error}");
        }
        let ids: Vec<String> = wanted.into_iter().map(|one| one.id).collect();
        proxy::certificates::keep(&ids);
    }

    /// Orders one now. False when there is none of this id.
    pub(crate) fn renew(&self, id: &str) -> bool {
        self.manager.renew(id)
    }

    /// Orders nothing more. It blocks its thread for a moment.
    pub(crate) fn stop(&self) {
        self.manager.stop();
    }

    /// How each of them is.
    pub(crate) fn status(&self) -> Vec<Value> {
        self.manager.status().into_iter().map(told).collect()
    }
}

/// How a certificate is, for the admin API.
fn told(status: Status) -> Value {
    let time = |time: SystemTime| {
        let seconds = time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        jiff::Timestamp::from_second(i64::try_from(seconds).unwrap_or(i64::MAX))
            .ok()
            .map(|time| time.to_string())
    };
    json!({
        "id": status.id,
        "authority": status.authority,
        "names": status.names,
        "state": status.state.as_str(),
        "notBefore": status.valid.map(|(from, _)| time(from)),
        "notAfter": status.valid.map(|(_, to)| time(to)),
        "nextOrder": status.due.map(time),
        "suggestedByAuthority": status.is_suggested,
        "failures": status.failures,
        "error": status.error,
    })
}

/// The certificates that a configuration wants.
fn wanted(snapshot: &Snapshot) -> Vec<Wanted> {
    let all = snapshot.config.acme_certificates();
    let wanted =
        |(id, authority, certificate): (String, &settings::AcmeAuthority, &settings::AcmeCertificate)| {
            Wanted {
                id,
                names: certificate.covered(),
                authority: Arc::new(self::authority(authority, snapshot)),
            }
        };
    all.into_iter().map(wanted).collect()
}

fn authority(authority: &settings::AcmeAuthority, snapshot: &Snapshot) -> Authority {
    let text = |secret: &model::Secret| snapshot.secret(secret).trim().to_owned();
    let external = authority.external_account.as_ref();
    let challenge = |challenge: settings::Challenge| match challenge {
        settings::Challenge::TlsAlpn01 => Challenge::TlsAlpn01,
        settings::Challenge::Http01 => Challenge::Http01,
        settings::Challenge::Dns01 => Challenge::Dns01,
    };
    Authority {
        name: authority.name.clone(),
        directory: authority.directory.clone(),
        contacts: authority.contacts.clone(),
        ca: authority.ca_file.as_ref().map(|file| snapshot.file(file)),
        external_account: external.map(|account| (account.key_id.clone(), text(&account.hmac_key))),
        challenges: snapshot.config.acme_challenges(authority).into_iter().map(challenge).collect(),
        dns: authority.dns.as_ref().map(|dns| Dns {
            by: match &dns.url {
                Some(url) => DnsBy::Http {
                    url: url.clone(),
                    headers: dns.headers.iter().map(|(name, value)| (name.clone(), text(value))).collect(),
                },
                None => DnsBy::Command {
                    command: dns.command.clone(),
                    environment: dns.env.iter().map(|(name, value)| (name.clone(), text(value))).collect(),
                },
            },
            timeout: dns.timeout.get(),
            propagation: dns.propagation.get(),
        }),
        key_type: match authority.key_type {
            settings::KeyType::EcdsaP256 => KeyType::EcdsaP256,
            settings::KeyType::EcdsaP384 => KeyType::EcdsaP384,
            settings::KeyType::Rsa2048 => KeyType::Rsa2048,
            settings::KeyType::Rsa4096 => KeyType::Rsa4096,
        },
        profile: authority.profile.clone(),
        renew_at_left: authority.renew_at_left.map_or(RENEW_AT_LEFT, model::Percent::fraction),
        renewal_info: authority.renewal_info,
        timeout: authority.timeout.get(),
        order_timeout: authority.order_timeout.get(),
        backoff: (authority.backoff.initial.get(), authority.backoff.max.get()),
    }
}

/// The gateway's own listeners: they use certificates, and answer authorities.
struct Listeners;

impl Front for Listeners {
    fn install(&self, id: &str, bundle: &Bundle) -> Result<(), String> {
        proxy::certificates::install(id, bundle.chain.clone(), bundle.key.clone_key())
    }

    fn answer_http(&self, token: &str, answer: Option<&str>) {
        proxy::certificates::answer_http(token, answer);
    }

    fn answer_tls(&self, name: &str, certificate: Option<&ChallengeCertificate>) -> Result<(), String> {
        let pair = certificate.map(|one| (one.certificate.clone(), one.key.clone_key()));
        proxy::certificates::answer_tls(name, pair)
    }
}

/// Tells of certificates at the time of a scrape.
pub(crate) struct Report(pub(crate) Weak<Certificates>);

impl Collect for Report {
    fn collect(&self, out: &mut Exposition) {
        let Some(certificates) = self.0.upgrade() else { return };
        let all = certificates.manager.status();
        if all.is_empty() {
            return;
        }
        let seconds = |time: SystemTime| time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        let help = "Until when a certificate that the gateway got itself is good, in seconds since 1970; 0 while there is none.";
        for one in &all {
            let labels = [("certificate", one.id.as_str()), ("authority", one.authority.as_str())];
            let end = one.valid.map_or(0.0, |(_, end)| seconds(end));
            out.gauge("tidegate_acme_certificate_not_after_timestamp_seconds", help, &labels, end);
        }
        let help = "When a certificate is ordered next, in seconds since 1970.";
        for (one, due) in all.iter().filter_map(|one| Some((one, one.due?))) {
            let labels = [("certificate", one.id.as_str()), ("authority", one.authority.as_str())];
            let name = "tidegate_acme_certificate_next_order_timestamp_seconds";
            out.gauge(name, help, &labels, seconds(due));
        }
        let help = "Orders of a certificate that failed since the last one that did not.";
        for one in &all {
            let labels = [("certificate", one.id.as_str()), ("authority", one.authority.as_str())];
            out.gauge("tidegate_acme_certificate_failures", help, &labels, f64::from(one.failures));
        }
        let totals = certificates.manager.totals();
        let help = "Orders of certificates, by whether one came of them.";
        for (outcome, count) in [("issued", totals.issued), ("failed", totals.failed)] {
            out.counter("tidegate_acme_orders_total", help, &[("outcome", outcome)], count as f64);
        }
        let help = "Names that authorities were told to look for, by how.";
        for (kind, count) in certificates.manager.shown() {
            out.counter(
                "tidegate_acme_challenges_total",
                help,
                &[("challenge", kind.as_str())],
                count as f64,
            );
        }
        let (http, tls) = proxy::certificates::answered();
        let help = "Times that somebody who looked for a challenge was answered, by how.";
        for (kind, count) in [("http-01", http), ("tls-alpn-01", tls)] {
            out.counter("tidegate_acme_answers_total", help, &[("challenge", kind)], count as f64);
        }
    }
}
