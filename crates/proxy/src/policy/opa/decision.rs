//! What an agent's answer says: a truth value, or an object in one of the forms that policies have for gateways.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde_json::{Map, Value};

/// Bytes of a refusal that the client gets.
const BODY_BYTES_MAX: usize = 64 * 1024;

/// What was decided.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Decision {
    Allowed {
        headers: HeaderMap,
    },
    Refused {
        status: Option<StatusCode>,
        headers: HeaderMap,
        body: Option<Bytes>,
        message: Option<String>,
    },
    /// The agent has no policy there, or none that fits.
    Undefined,
}

/// Reads an answer of the Data API. The error is for the log: such an answer is none.
pub(super) fn read(answer: &[u8]) -> Result<Decision, String> {
    let answer: Map<String, Value> =
        serde_json::from_slice(answer).map_err(|_| "what it says is no JSON object".to_owned())?;
    match answer.get("result") {
        None => Ok(Decision::Undefined),
        Some(Value::Bool(true)) => Ok(Decision::Allowed { headers: HeaderMap::new() }),
        Some(Value::Bool(false)) => Ok(refused(&Map::new())),
        Some(Value::Object(result)) => match first(result, &["allow", "allowed"]) {
            Some(Value::Bool(true)) => Ok(Decision::Allowed { headers: headers(result) }),
            Some(Value::Bool(false)) => Ok(refused(result)),
            // A package in which `allow` is undefined.
            None => Ok(Decision::Undefined),
            Some(_) => Err("`allow` is neither true nor false".to_owned()),
        },
        Some(_) => Err("the result is neither a truth value nor an object".to_owned()),
    }
}

fn first<'v>(result: &'v Map<String, Value>, names: &[&str]) -> Option<&'v Value> {
    names.iter().find_map(|name| result.get(*name))
}

fn refused(result: &Map<String, Value>) -> Decision {
    let status = first(result, &["status", "status_code", "http_status"]).and_then(Value::as_u64);
    let status = status.and_then(|code| StatusCode::from_u16(u16::try_from(code).ok()?).ok());
    let body = result.get("body").and_then(|body| match body {
        Value::Null => None,
        Value::String(text) => Some(Bytes::from(text.clone())),
        other => Some(Bytes::from(other.to_string())),
    });
    let message = first(result, &["message", "reason"]).and_then(Value::as_str);
    Decision::Refused {
        // Nothing that is refused looks as if it were not.
        status: status.filter(|status| status.as_u16() >= 300 && status.as_u16() < 600),
        headers: headers(result),
        body: body.filter(|body| body.len() <= BODY_BYTES_MAX),
        message: message.map(str::to_owned),
    }
}

/// Fields of a head as an object of texts or of lists of texts; what no head can hold is left out.
fn headers(result: &Map<String, Value>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let mut add = |name: &str, value: &Value| {
        let text = match value {
            Value::String(text) => text.clone(),
            Value::Number(_) | Value::Bool(_) => value.to_string(),
            _ => return,
        };
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(text)) {
            headers.append(name, value);
        }
    };
    for (name, value) in result.get("headers").and_then(Value::as_object).into_iter().flatten() {
        match value {
            Value::Array(all) => all.iter().for_each(|one| add(name, one)),
            one => add(name, one),
        }
    }
    headers
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn decided(result: Value) -> Decision {
        read(json!({"result": result, "decision_id": "x"}).to_string().as_bytes()).expect("a decision")
    }

    #[test]
    fn nothing_lets_in_but_what_says_so() {
        for result in [json!(true), json!({"allow": true}), json!({"allowed": true, "http_status": 403})] {
            assert!(matches!(decided(result.clone()), Decision::Allowed { .. }), "{result}");
        }
        for result in [json!(false), json!({"allow": false}), json!({"allowed": false})] {
            assert!(matches!(decided(result.clone()), Decision::Refused { .. }), "{result}");
        }
        assert_eq!(read(b"{}"), Ok(Decision::Undefined));
        assert_eq!(decided(json!({"other": true})), Decision::Undefined);
        for answer in [
            r#"{"result": "true"}"#,
            r#"{"result": 1}"#,
            r#"{"result": null}"#,
            r#"{"result": {"allow": "yes"}}"#,
            r#"{"result": {"allow": 1}}"#,
            r#"[true]"#,
            "true",
            "",
        ] {
            assert!(read(answer.as_bytes()).is_err(), "{answer}");
        }
    }

    #[test]
    fn a_refusal_has_a_status_that_is_one_and_headers_that_heads_can_hold() {
        let result = json!({"allow": false, "http_status": 451, "body": {"why": "law"}, "reason": "no",
            "headers": {"x-a": "1", "x-b": ["2", "3"], "bad name": "4", "x-c": "a\nb", "x-d": {}}});
        let Decision::Refused { status, headers, body, message } = decided(result) else { panic!("allowed") };
        assert_eq!(status.map(|status| status.as_u16()), Some(451));
        assert_eq!((body.as_deref(), message.as_deref()), (Some(&b"{\"why\":\"law\"}"[..]), Some("no")));
        assert_eq!((headers.len(), headers.get_all("x-b").iter().count()), (3, 2));
        for status in [json!(200), json!(0), json!(99999), json!("403"), json!(101)] {
            let Decision::Refused { status, .. } = decided(json!({"allow": false, "status": status})) else {
                panic!("allowed")
            };
            assert_eq!(status, None);
        }
    }

    /// Members of a result, as they may stand in JSON.
    fn members() -> impl Strategy<Value = Vec<(&'static str, &'static str)>> {
        let names = vec!["allow", "allowed", "status", "http_status", "headers", "body", "reason", "x"];
        let values = vec![
            "true",
            "false",
            "null",
            "1",
            "200",
            "403",
            "99999",
            "\"true\"",
            "\"\"",
            "[]",
            "[true]",
            "{}",
            "{\"x-a\": [\"b\", 1, {}], \"bad name\": \"a\\nb\"}",
        ];
        let one = (prop::sample::select(names), prop::sample::select(values));
        prop::collection::vec(one, 0..6)
    }

    proptest! {
        #[test]
        fn a_result_lets_in_when_it_says_so_and_never_else(members in members()) {
            let inside: Vec<String> = members.iter().map(|(name, value)| format!("\"{name}\": {value}")).collect();
            let answer = format!("{{\"result\": {{{}}}}}", inside.join(", "));
            let Ok(decision) = read(answer.as_bytes()) else { return Ok(()) };
            // Of what is there twice the last counts.
            let last = |wanted: &str| {
                members.iter().rev().find(|(name, _)| *name == wanted).map(|(_, value)| *value)
            };
            let says = last("allow").or(last("allowed"));
            match decision {
                Decision::Allowed { .. } => prop_assert_eq!(says, Some("true")),
                Decision::Undefined => prop_assert_eq!(says, None),
                Decision::Refused { status, .. } => {
                    prop_assert_eq!(says, Some("false"));
                    prop_assert!(status.is_none_or(|status| (300..600).contains(&status.as_u16())));
                }
            }
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = read(&bytes);
        }
    }
}
