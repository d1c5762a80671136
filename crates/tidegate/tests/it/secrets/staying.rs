//! While it runs: what changes is applied, what is away leaves everything as it is, and tokens and leases are kept up.

use std::{fs, net::SocketAddr};

use serde_json::json;

use super::{APP_ROLE, Mock, TOKEN, gateway, text, with_key};
use crate::harness::{Gateway, eventually, pause};

const KEY: &str = "{vault: 'secret/shop#key'}";

fn metric(gateway: &Gateway, series: &str) -> f64 {
    gateway.metric(series).unwrap_or(-1.0)
}

#[test]
fn a_secret_that_changes_is_applied_without_a_restart_or_a_reload() {
    let vault = Mock::start();
    vault.put("secret/shop", json!({"key": "first-key-of-the-test"}));
    let gateway = gateway(&vault, TOKEN, "", KEY);
    assert_eq!(with_key(&gateway, "first-key-of-the-test").status, 200);
    let before = gateway.readiness()["revision"].clone();
    vault.put("secret/shop", json!({"key": "second-key-of-the-test"}));
    eventually("the new key", || with_key(&gateway, "second-key-of-the-test").status == 200);
    assert_eq!(with_key(&gateway, "first-key-of-the-test").status, 401);
    assert_ne!(gateway.readiness()["revision"], before);
    assert_eq!(metric(&gateway, "tidegate_vault_up"), 1.0);
    assert!(metric(&gateway, "tidegate_vault_reads_total{outcome=\"good\"}") >= 2.0);
}

#[test]
fn while_the_vault_is_away_the_last_good_values_stay_and_reloads_work() {
    let vault = Mock::start();
    vault.put("secret/shop", json!({"key": "first-key-of-the-test"}));
    let gateway = gateway(&vault, TOKEN, "", KEY);
    vault.state().faults = (usize::MAX, 503, "Vault is sealed");
    eventually("it is noticed", || metric(&gateway, "tidegate_vault_up") == 0.0);
    assert_eq!(metric(&gateway, "tidegate_vault_stale_paths"), 1.0);
    eventually("it is told", || gateway.stderr().contains("what was read last stays"));
    assert_eq!(with_key(&gateway, "first-key-of-the-test").status, 200);
    // Something else changes: what is known of the vault is good enough.
    let own = fs::read_to_string(gateway.config()).expect("a file");
    let own = own.split_once('\n').expect("lines").1.to_owned();
    let live = gateway.reload(&own.replace("welcome", "hello"));
    assert_eq!(live["lastReload"], "ok", "{live}");
    let answer = with_key(&gateway, "first-key-of-the-test");
    assert_eq!((answer.status, answer.text().as_str()), (200, "hello"));
    // A secret that nobody knows refuses the configuration, and is applied when it can be read.
    vault.put("secret/more", json!({"key": "more-key-of-the-test"}));
    let live = gateway.reload(&own.replace(KEY, "{vault: 'secret/shop#key'}, {vault: 'secret/more#key'}"));
    assert_eq!(live["lastReload"], "refused", "{live}");
    assert!(live["reloadError"].as_str().unwrap_or_default().contains("secret/more"), "{live}");
    vault.state().faults = (0, 0, "");
    eventually("it is applied", || with_key(&gateway, "more-key-of-the-test").status == 200);
    assert_eq!(metric(&gateway, "tidegate_vault_up"), 1.0);
    assert_eq!(metric(&gateway, "tidegate_vault_stale_paths"), 0.0);
}

#[test]
fn a_secret_that_is_refused_later_stays_as_it_was_and_says_so() {
    let vault = Mock::start();
    vault.put("secret/shop", json!({"key": "first-key-of-the-test"}));
    let gateway = gateway(&vault, TOKEN, "", KEY);
    vault.state().secrets.clear();
    eventually("it is told", || gateway.stderr().contains("cannot read `secret/shop`"));
    assert_eq!(with_key(&gateway, "first-key-of-the-test").status, 200);
    assert_eq!(metric(&gateway, "tidegate_vault_up"), 1.0, "it is there, and has nothing");
}

#[test]
fn tokens_are_renewed_and_one_that_was_revoked_is_replaced() {
    let vault = Mock::start();
    vault.put("secret/shop", json!({"key": "first-key-of-the-test"}));
    vault.state().login_seconds = 3;
    let gateway = gateway(&vault, APP_ROLE, "", KEY);
    eventually("a renewal", || vault.state().renewals >= 1);
    assert_eq!(vault.state().logins, 1);
    let left = metric(&gateway, "tidegate_vault_token_seconds");
    assert!(left > 0.0 && left <= 3.0, "{left}");
    vault.state().tokens.clear();
    vault.put("secret/shop", json!({"key": "second-key-of-the-test"}));
    eventually("another login", || with_key(&gateway, "second-key-of-the-test").status == 200);
    assert_eq!(vault.state().logins, 2);
    assert_eq!(metric(&gateway, "tidegate_vault_token_events_total{kind=\"login\"}"), 2.0);
}

#[test]
fn a_lease_is_renewed_rather_than_read_again_and_replaced_when_it_cannot_be() {
    let vault = Mock::start();
    vault.state().lease_seconds = 3;
    let gateway = gateway(&vault, TOKEN, "", "{vault: 'database/creds/app#username'}");
    assert_eq!(with_key(&gateway, "made-user-1").status, 200);
    eventually("a renewal", || vault.state().renewals >= 1);
    assert_eq!(vault.state().made, 1, "it is not made anew each second");
    vault.state().renews_leases = false;
    eventually("another one", || vault.state().made >= 2);
    vault.state().renews_leases = true;
    eventually("it is live", || {
        with_key(&gateway, &format!("made-user-{}", vault.state().made)).status == 200
    });
}

#[test]
fn a_lease_whose_renewals_get_short_is_replaced_while_it_is_still_good() {
    let vault = Mock::start();
    vault.state().lease_seconds = 10;
    let gateway = gateway(&vault, TOKEN, "", "{vault: 'database/creds/app#username'}");
    assert_eq!(with_key(&gateway, "made-user-1").status, 200);
    // The end that nothing is renewed beyond is near: less than a third is given.
    vault.state().lease_seconds = 3;
    eventually("another one", || vault.state().made >= 2);
    assert_eq!(vault.state().renewals, 1, "it is not renewed until its last moment");
}

#[test]
fn a_reload_that_is_asked_for_reads_all_of_it_again() {
    let vault = Mock::start();
    vault.put("secret/shop", json!({"key": "first-key-of-the-test"}));
    let address = SocketAddr::from(([127, 0, 0, 1], crate::harness::free_port()));
    let text = text(address, &vault, TOKEN, "", KEY).replace("refresh: 1s", "refresh: 1h");
    let gateway = Gateway::from_text(&text, address, |command| {
        command.env("TEST_VAULT_TOKEN", "token-of-the-test");
    });
    vault.put("secret/shop", json!({"key": "second-key-of-the-test"}));
    pause(1500);
    assert_eq!(with_key(&gateway, "second-key-of-the-test").status, 401, "an hour has not passed");
    gateway.signal("HUP");
    eventually("the new key", || with_key(&gateway, "second-key-of-the-test").status == 200);
}
