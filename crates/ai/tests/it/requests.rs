//! Requests of every dialect, written in every other.

use ai::{
    canon::ToolChoice,
    dialect::Dialect,
    rules::{Rules, Target},
};
use serde_json::{Value, json};

use crate::fixtures::{fixtures, golden, losses, pretty, section, spoken};

#[test]
fn every_request_is_written_in_every_dialect() {
    let rules = Rules::default();
    for from in Dialect::ALL {
        for fixture in fixtures(from, "requests") {
            let (path, body) = spoken(&fixture.text);
            let request = from
                .read_request(&path, &body)
                .unwrap_or_else(|error| panic!("{} {}: {error}", from.name(), fixture.name));
            let mut all = String::new();
            for to in Dialect::ALL {
                let written = to.write_request(&request, Target { model: "target-model", rules: &rules });
                let value = match written {
                    Ok(written) => json!({
                        "path": written.path,
                        "headers": written.headers.iter().map(|(name, value)| json!([name, value])).collect::<Value>(),
                        "body": serde_json::from_slice::<Value>(&written.body).expect("JSON"),
                        "dropped": losses(&written.losses, from),
                    }),
                    Err(error) => json!({"refused": error.message, "status": error.status}),
                };
                section(&mut all, to, &pretty(&value));
            }
            golden(&format!("requests/{}/{}.txt", from.name(), fixture.name), &all);
        }
    }
}

#[test]
fn a_request_written_in_its_own_dialect_means_the_same() {
    for dialect in Dialect::ALL {
        // Claude's dialect has system turns between the others.
        let system_anywhere = dialect == Dialect::Anthropic;
        let rules = Rules { developer_role: true, system_anywhere, ..Rules::default() };
        for fixture in fixtures(dialect, "requests") {
            let (path, body) = spoken(&fixture.text);
            let first = dialect.read_request(&path, &body).expect("read above");
            let written = dialect
                .write_request(&first, Target { model: &first.model, rules: &rules })
                .unwrap_or_else(|error| panic!("{} {}: {error}", dialect.name(), fixture.name));
            let mut second = dialect.read_request(&path, &written.body).expect("what is written is read");
            // Usage is always asked for; fields of one dialect alone are named as dropped by every writer, and pass
            // untouched where nothing is translated.
            second.include_usage = first.include_usage;
            let mut first = first;
            first.extra.clear();
            second.extra.clear();
            first.places.clear();
            second.places.clear();
            // A tool that the choice excludes need not be told.
            if let Some(ToolChoice::Among { names, .. }) = &first.tool_choice {
                let names = names.clone();
                first.tools.retain(|tool| names.contains(&tool.name));
                second.tools.retain(|tool| names.contains(&tool.name));
            }
            if written.losses.iter().all(|loss| matches!(loss, ai::canon::Loss::Field(_))) {
                assert_eq!(second, first, "{} {}", dialect.name(), fixture.name);
            }
        }
    }
}
