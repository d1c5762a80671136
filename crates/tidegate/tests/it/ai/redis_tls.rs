//! A Redis that speaks TLS: the real server, an authority of the test's own, and clients with a certificate.

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

use super::{
    budgets::{self, PRICES, settles},
    limits::{ask, base, metered, told},
};
use crate::harness::{Gateway, Redis, Upstream, eventually};

const BUDGET: &str = ", {budget: {amount: 1000, key: consumer, name: b, store: redis}}";

/// An authority, and what it has signed, in a folder.
struct Papers(tempfile::TempDir);

impl Papers {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mut params = CertificateParams::new(Vec::new()).expect("params");
        params.distinguished_name.push(DnType::CommonName, "the tests' authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority =
            CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("an authority");
        let write =
            |name: &str, text: String| std::fs::write(folder.path().join(name), text).expect("a file");
        write("ca.crt", authority.pem());
        for (name, host) in [("server", "127.0.0.1"), ("client", "gateway")] {
            let key = KeyPair::generate().expect("a key");
            let mut params = CertificateParams::new(vec![host.to_owned()]).expect("params");
            params.distinguished_name.push(DnType::CommonName, name);
            let signed = params.signed_by(&key, &authority).expect("signed");
            write(&format!("{name}.crt"), signed.pem());
            write(&format!("{name}.key"), key.serialize_pem());
        }
        Self(folder)
    }

    fn file(&self, name: &str) -> String {
        self.0.path().join(name).display().to_string()
    }
}

fn sharing(redis: &Redis, tls: &str, upstream: &Upstream) -> Gateway {
    let settings = format!("{PRICES}redis: {{addresses: [\"127.0.0.1:{}\"], tls: {tls}}}\n", redis.port);
    metered("", BUDGET, &[&base(upstream)], &settings)
}

fn is_up(gateway: &Gateway) -> bool {
    gateway.metric("tidegate_redis_up ") == Some(1.0)
}

#[test]
fn what_is_spent_is_shared_over_tls_with_certificates_on_both_sides() {
    let (papers, upstream) = (Papers::new(), told(100, 10));
    let redis = Redis::tls(&papers.file("ca.crt"), &papers.file("server.crt"), &papers.file("server.key"));
    let own = format!(
        "{{caFile: \"{}\", certFile: \"{}\", keyFile: \"{}\"}}",
        papers.file("ca.crt"),
        papers.file("client.crt"),
        papers.file("client.key")
    );
    let (one, two) = (sharing(&redis, &own, &upstream), sharing(&redis, &own, &upstream));
    eventually("both are connected", || is_up(&one) && is_up(&two));
    assert_eq!(ask(&one, 60, "").status, 200);
    let spent = 100 * budgets::INPUT + 10 * budgets::OUTPUT;
    settles(&two, "what the other has spent", |taken| taken == spent);
    // Whoever shows no certificate, or trusts another authority, is not let in, or does not go in.
    let nobody = sharing(&redis, &format!("{{caFile: \"{}\"}}", papers.file("ca.crt")), &upstream);
    let others = Papers::new();
    let stranger = own.replace(&papers.file("ca.crt"), &others.file("ca.crt"));
    let stranger = sharing(&redis, &stranger, &upstream);
    for gateway in [&nobody, &stranger] {
        assert_eq!(ask(gateway, 60, "").status, 200, "each counts for itself while the store is away");
        assert!(!is_up(gateway));
        eventually("the log says why", || gateway.stderr().to_lowercase().contains("redis"));
    }
    settles(&one, "nothing of theirs", |taken| taken == spent);
}
