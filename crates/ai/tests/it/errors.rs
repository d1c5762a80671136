//! Errors of every dialect, told in every other. A fixture's name begins with its status.

use ai::{canon::ErrorKind, dialect::Dialect};
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

/// What programs branch on: the code in OpenAI's two dialects, and where the others have its meaning.
#[test]
fn a_code_is_told_wherever_a_dialect_has_a_place_for_it() {
    let mut seen = std::collections::BTreeSet::new();
    for from in Dialect::ALL {
        for fixture in fixtures(from, "errors") {
            let status = fixture.name.split('-').next().and_then(|text| text.parse().ok()).expect("a status");
            let error = from.read_error(status, fixture.text.as_bytes());
            let meant = match error.kind {
                ErrorKind::ContextLength => Some("context_length_exceeded"),
                ErrorKind::Quota => Some("insufficient_quota"),
                ErrorKind::ContentFilter => Some("content_filter"),
                _ => None,
            };
            let Some(code) = error.code.as_deref().or(meant) else { continue };
            seen.extend(meant);
            for to in Dialect::ALL {
                let told: Value = serde_json::from_slice(&to.write_error(&error)).expect("JSON");
                let at = |pointer: &str| told.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
                let place = format!("{} {} told in {}: {told}", from.name(), fixture.name, to.name());
                let word = match to {
                    Dialect::OpenAiChat | Dialect::OpenAiResponses => at("/error/code"),
                    Dialect::Gemini => at("/error/details/0/reason"),
                    Dialect::Anthropic => match error.kind {
                        ErrorKind::Quota => at("/error/type"),
                        _ => at("/error/details/error_code"),
                    },
                    Dialect::Bedrock => match error.kind {
                        ErrorKind::Quota => at("/__type"),
                        _ => at("/reason"),
                    },
                    Dialect::Cohere => match meant {
                        Some(_) => at("/type"),
                        None => at("/code"),
                    },
                };
                let wanted = match (to, error.kind) {
                    (Dialect::OpenAiChat | Dialect::OpenAiResponses, _) => code.to_owned(),
                    (Dialect::Anthropic, ErrorKind::Quota) => "billing_error".to_owned(),
                    (Dialect::Bedrock, ErrorKind::Quota) => "ServiceQuotaExceededException".to_owned(),
                    (Dialect::Anthropic | Dialect::Bedrock, _) => meant.unwrap_or(code).to_owned(),
                    (Dialect::Gemini, ErrorKind::Quota) => "QUOTA_EXHAUSTED".to_owned(),
                    (Dialect::Gemini, ErrorKind::ContentFilter) => "CONTENT_FILTERED".to_owned(),
                    (Dialect::Gemini, _) => code.to_uppercase(),
                    (Dialect::Cohere, ErrorKind::ContextLength) => "context_length".to_owned(),
                    (Dialect::Cohere, ErrorKind::Quota) => "quota".to_owned(),
                    (Dialect::Cohere, ErrorKind::ContentFilter) => "content_filter".to_owned(),
                    (Dialect::Cohere, _) => code.to_owned(),
                };
                // Its own dialect has it in its own words.
                assert!(to == from || word == wanted, "{place}: {word} is not {wanted}");
                assert_eq!(to.read_error(error.status, &to.write_error(&error)).kind, error.kind, "{place}");
            }
        }
    }
    assert_eq!(seen.len(), 3, "{seen:?}");
}
