//! `geo`: with files that another program writes in MaxMind's format.

use std::fs;

use serde_json::json;

use super::{
    super::harness::{Gateway, Peer, Seen, Upstream, eventually, free_port, python},
    refused, with_policies,
};

fn write(folder: &std::path::Path, variant: &str) {
    let folder = folder.display().to_string();
    let (is_good, told) = Peer::start(python(include_str!("geo.py"), &[&folder, variant])).finish();
    assert!(is_good, "the writer fails: {told}");
}

/// A gateway behind a trusted proxy on this machine, so that a test may come from anywhere.
fn gateway(settings: &str) -> (Gateway, Upstream) {
    let folder = tempfile::tempdir().expect("a folder");
    write(folder.path(), "first");
    let (upstream, port) = (Upstream::echo(), free_port());
    let text = format!(
        "accessLog: [{{kind: stdout}}]
listeners: [{{name: public, address: \"127.0.0.1:{port}\", trustedProxies: [127.0.0.1/32]}}]
upstreams: [{{name: u, endpoints: [{{address: \"{}\"}}]}}]
routes:
  - {{name: r, match: [{{path: {{prefix: /}}}}], policies: [{{geo: {{{settings}}}}}], backends: [{{upstream: u}}]}}
",
        upstream.address
    );
    let address = ([127, 0, 0, 1], port).into();
    (Gateway::in_folder(folder, &text, address, |_| {}), upstream)
}

fn from(gateway: &Gateway, client: &str) -> u16 {
    gateway.send(&format!("GET / HTTP/1.1\nhost: a\nx-forwarded-for: {client}"), b"").status
}

const PLACES: &str = "database: places.mmdb";
const BOTH: &str = "database: places.mmdb, asnDatabase: systems.mmdb";

#[test]
fn countries_continents_and_systems_let_in_and_deny_wins() {
    let check = |settings: &str, cases: &[(&str, u16)]| {
        let (gateway, _upstream) = gateway(settings);
        for (client, status) in cases {
            assert_eq!(from(&gateway, client), *status, "{settings}: {client}");
        }
        gateway
    };
    let (german, american, unknown) = ("192.0.2.1", "198.51.100.1", "8.8.8.8");
    check(
        &format!("{PLACES}, deny: {{countries: [US, BR]}}"),
        &[
            (german, 200),
            (american, 403),
            ("::ffff:198.51.100.1", 403),
            (unknown, 200),
            ("2001:db8:1::1", 200),
            ("2001:db8:2::1", 403),
            ("2001:db8:3::1", 200),
        ],
    );
    check(
        &format!("{PLACES}, allow: {{continents: [EU], countries: [AU]}}, deny: {{countries: [FR]}}"),
        &[
            (german, 200),
            (american, 403),
            ("203.0.113.1", 200),
            ("2001:db8:1::1", 403),
            (unknown, 403),
            ("127.0.0.1", 403),
        ],
    );
    check(
        &format!("{BOTH}, allow: {{countries: [US], asns: [64500]}}, exempt: [10.0.0.0/8], unknown: allow"),
        &[(german, 200), ("192.0.2.200", 403), (american, 200), (unknown, 200), ("10.1.2.3", 200)],
    );
    check(&format!("{PLACES}, unknown: deny"), &[(german, 200), (unknown, 403), ("2001:db8:3::1", 403)]);
    check("database: v4.mmdb, deny: {countries: [DE]}", &[(german, 403), ("2001:db8:1::1", 200)]);
    let gateway = check(
        "asnDatabase: systems.mmdb, deny: {asns: [64501]}",
        &[(german, 200), ("192.0.2.200", 403), ("2001:db8:1::1", 200)],
    );
    let answer = gateway.send("GET / HTTP/1.1\nhost: a\nx-forwarded-for: 192.0.2.200", b"");
    assert_eq!(answer.problem().as_deref(), Some("forbidden"));
    assert!(!answer.text().contains("64501"), "{}", answer.text());
    let record = gateway.record("a refusal", |record| record["status"] == 403);
    let want = json!([{"policy": "geo", "outcome": "refused", "reason": "AS64501 is refused"}]);
    assert_eq!((&record["judged"], &record["geo"]), (&want, &json!({"asn": 64501})), "{record}");
    eventually("the metrics", || {
        let count = |outcome| {
            gateway.metric(&format!("tidegate_geo_total{{policy=\"routes/r/geo\",outcome=\"{outcome}\"}}"))
        };
        (count("passed"), count("refused")) == (Some(2.0), Some(2.0))
    });
}

#[test]
fn the_upstream_is_told_and_clients_cannot_tell_it() {
    let headers = "headers: {country: x-country, continent: x-continent, region: x-region, city: x-city, asn: x-asn, \
                   organization: x-org}";
    let (gateway, upstream) = gateway(&format!("{BOTH}, {headers}"));
    let names = ["x-country", "x-continent", "x-region", "x-city", "x-asn", "x-org"];
    let told = |seen: &Seen| -> Vec<String> {
        let all = names.iter().map(|name| {
            let values = seen.headers.iter().filter(|(known, _)| known.eq_ignore_ascii_case(name));
            values.map(|(_, value)| value.as_str()).collect::<Vec<_>>().join("|")
        });
        all.collect()
    };
    let forged: String = names.iter().map(|name| format!("\n{name}: forged")).collect();
    for (client, want) in [
        ("192.0.2.1", ["DE", "EU", "BY", "M%C3%BCnchen", "64500", "Gute Netze"]),
        ("198.51.100.1", ["US", "NA", "CA", "San Jos%C3%A9", "", ""]),
        ("203.0.113.1", ["AU", "OC", "", "", "", ""]),
        ("2001:db8:1::1", ["FR", "EU", "", "", "64502", "R%C3%A9seau"]),
        ("8.8.8.8", ["", "", "", "", "", ""]),
    ] {
        for more in ["", &forged, "\nconnection: x-country, x-asn", &format!("{forged}{forged}")] {
            let head = format!("GET / HTTP/1.1\nhost: a\nx-forwarded-for: {client}{more}");
            assert_eq!(gateway.send(&head, b"").status, 200);
            assert_eq!(told(&upstream.seen().pop().expect("a request")), want, "{client} {more}");
        }
    }
    let record = gateway.record("of Germany", |record| record["client_ip"] == "192.0.2.1");
    assert_eq!(record["geo"], json!({"country": "DE", "continent": "EU", "asn": 64500}), "{record}");
    let other = gateway.record("of nowhere", |record| record["client_ip"] == "8.8.8.8");
    assert!(other.get("geo").is_none(), "{other}");
}

#[test]
fn a_changed_file_is_read_again_and_a_broken_one_changes_nothing() {
    let (gateway, _upstream) = gateway(&format!("{PLACES}, deny: {{countries: [CH]}}"));
    assert_eq!(from(&gateway, "192.0.2.1"), 200);
    let fresh = tempfile::tempdir_in(gateway.folder.path()).expect("a folder");
    write(fresh.path(), "second");
    let place = gateway.folder.path().join("places.mmdb");
    let good = fs::read(fresh.path().join("places.mmdb")).expect("the file");
    fs::rename(fresh.path().join("places.mmdb"), &place).expect("a swap");
    eventually("the new file", || from(&gateway, "192.0.2.1") == 403);
    for broken in [&good[..good.len() / 2], &good[good.len() / 2..], b"no file of places"] {
        fs::write(fresh.path().join("broken"), broken).expect("a file");
        let before = gateway.readiness()["reloadsRefused"].as_u64();
        fs::rename(fresh.path().join("broken"), &place).expect("a swap");
        eventually("a refusal", || gateway.readiness()["reloadsRefused"].as_u64() > before);
        assert_eq!((from(&gateway, "192.0.2.1"), from(&gateway, "198.51.100.1")), (403, 200));
    }
    assert!(gateway.stderr().contains("MaxMind's format"), "{}", gateway.stderr());
}

#[test]
fn a_damaged_file_that_opens_opens_nothing() {
    let (gateway, _upstream) = gateway(&format!("{PLACES}, deny: {{countries: [DE]}}"));
    assert_eq!((from(&gateway, "192.0.2.1"), from(&gateway, "198.51.100.1")), (403, 200));
    let place = gateway.folder.path().join("places.mmdb");
    let mut bytes = fs::read(&place).expect("the file");
    // The tree and the records, without what tells of them at the end.
    let end = bytes.windows(4).rposition(|four| four == b"\xab\xcd\xefM").expect("the mark");
    for (at, byte) in bytes[..end].iter_mut().enumerate() {
        *byte = byte.wrapping_add((at % 251) as u8);
    }
    let before = gateway.readiness()["reloadsRefused"].as_u64();
    fs::write(gateway.folder.path().join("damaged"), &bytes).expect("a file");
    fs::rename(gateway.folder.path().join("damaged"), &place).expect("a swap");
    eventually("a refusal", || gateway.readiness()["reloadsRefused"].as_u64() > before);
    assert!(gateway.stderr().contains("none tells of"), "{}", gateway.stderr());
    assert_eq!((from(&gateway, "192.0.2.1"), from(&gateway, "198.51.100.1")), (403, 200));
}

#[test]
fn files_of_another_kind_are_refused_and_records_of_another_form_are_not_unknown() {
    let check = |settings: &str, words: &[&str]| {
        let folder = tempfile::tempdir().expect("a folder");
        write(folder.path(), "first");
        let settings = settings.replace("FOLDER", &folder.path().display().to_string());
        refused(&with_policies(&format!("[{{geo: {{{settings}}}}}]")), words);
    };
    check(
        "database: FOLDER/systems.mmdb, deny: {countries: [KP]}",
        &["`database` is a file of `GeoLite2-ASN`"],
    );
    check(
        "asnDatabase: FOLDER/places.mmdb, deny: {asns: [1]}",
        &["`asnDatabase` is a file of `GeoLite2-City`"],
    );
    check(
        "database: FOLDER/other.mmdb, deny: {countries: [KP]}",
        &["`database` is a file of `GeoIP2-Connection-Type`"],
    );
    check("database: FOLDER/flat.mmdb, deny: {countries: [KP]}", &["`database` is a file of"]);
    check("asnDatabase: FOLDER/flat.mmdb, deny: {asns: [64500]}", &["`asnDatabase` is a file of"]);
    let (gateway, _upstream) =
        gateway("database: odd.mmdb, deny: {countries: [DE]}, headers: {city: x-city, region: x-region}");
    for (client, reason) in [
        ("192.0.2.1", "DE is refused"),
        ("198.51.100.1", "DE is refused"),
        ("203.0.113.1", "the file cannot be read at the address"),
    ] {
        assert_eq!(from(&gateway, client), 403, "{client}");
        let record = gateway.record(client, |record| record["client_ip"] == client);
        assert_eq!(record["judged"][0]["reason"], reason, "{record}");
        assert!(!record["detail"].to_string().contains(client), "{record}");
    }
    assert_eq!(from(&gateway, "8.8.8.8"), 200);
    eventually("the metric", || {
        let name = "tidegate_geo_total{policy=\"routes/r/geo\",outcome=\"unreadable\"}";
        gateway.metric(name) == Some(1.0)
    });
}

#[test]
fn another_file_changes_nothing_of_who_is_let_in() {
    // An address with a system and no place, and one of a place and no system.
    let (system, place) = ("2001:db8:9::1", "198.51.100.1");
    for settings in [PLACES, BOTH] {
        let (gateway, _upstream) = gateway(&format!("{settings}, unknown: deny, deny: {{countries: [KP]}}"));
        assert_eq!((from(&gateway, system), from(&gateway, place)), (403, 200), "{settings}");
        let (gateway, _upstream) =
            self::gateway(&format!("{settings}, unknown: allow, allow: {{countries: [US]}}"));
        assert_eq!((from(&gateway, system), from(&gateway, place)), (200, 200), "{settings}");
        assert_eq!(from(&gateway, "192.0.2.1"), 403);
    }
}

#[test]
fn settings_that_cannot_be_are_refused() {
    for (settings, words) in [
        ("deny: {countries: [DE]}", "`database` or `asnDatabase`"),
        ("database: missing.mmdb", "missing.mmdb"),
        ("database: /dev/null, deny: {countries: [de]}", "capital letters"),
        ("database: /dev/null, deny: {continents: [Europe]}", "is no continent"),
        ("database: /dev/null, allow: {asns: [1]}", "`asnDatabase` tells"),
        ("asnDatabase: /dev/null, allow: {countries: [DE]}", "`database` tells"),
        ("database: /dev/null, headers: {asn: x-asn}", "`asnDatabase` tells"),
        ("database: /dev/null, headers: {country: x-a, city: x-a}", "already"),
        ("database: /dev/null, headers: {country: transfer-encoding}", "gateway's own"),
        ("database: /dev/null", "MaxMind's format"),
    ] {
        refused(&with_policies(&format!("[{{geo: {{{settings}}}}}]")), &[words]);
    }
}
