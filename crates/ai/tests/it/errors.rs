//! Errors of every dialect, told in every other. A fixture's name begins with its status.

use ai::dialect::Dialect;
use serde_json::Value;

use crate::fixtures::{fixtures, golden, pretty, section};

#[test]
fn every_error_is_told_in_every_dialect() {
    for from in Dialect::ALL {
        for fixture in fixtures(from, "errors") {
            let status =
                fixture.name.split('-').next().and_then(|status| status.parse().ok()).expect("a status");
            let error = from.read_error(status, fixture.text.as_bytes());
            let mut all = String::new();
            for to in Dialect::ALL {
                let told = to.write_error(&error);
                let value: Value = serde_json::from_slice(&told).expect("JSON");
                section(&mut all, to, &pretty(&value));
                let back = to.read_error(error.status, &told);
                assert_eq!(
                    back.message,
                    error.message,
                    "{} {} told in {}",
                    from.name(),
                    fixture.name,
                    to.name()
                );
                assert_eq!(back.kind, error.kind, "{} {} told in {}", from.name(), fixture.name, to.name());
            }
            golden(&format!("errors/{}/{}.txt", from.name(), fixture.name), &all);
        }
    }
}
