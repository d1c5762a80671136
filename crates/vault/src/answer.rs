//! What Vault's answers mean: statuses and error documents as faults, and which of them may pass by themselves.

use std::{collections::BTreeMap, time::Duration};

use serde_json::Value;

use crate::Fields;

/// Characters of an error's text that are told.
const TEXT_CHARS_MAX: usize = 200;

/// Why something was not answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) kind: Kind,
    /// For the operator; it has nothing of any secret.
    pub(crate) text: String,
    /// When the server wants to be asked again.
    pub(crate) retry_after: Option<Duration>,
}

/// What kind of fault it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The server cannot be reached, is sealed or busy: that may pass.
    Away,
    /// This server does not know yet what another of its cluster does (412): that passes soon.
    Behind,
    /// The token is no good, or may not do this.
    Denied,
    /// Nothing lies there.
    Missing,
    /// The question was wrong.
    Refused,
}

impl Fault {
    pub(crate) fn new(kind: Kind, text: impl Into<String>) -> Self {
        Self { kind, text: text.into(), retry_after: None }
    }

    /// Whether it is worth asking again without anybody mending something.
    pub(crate) fn may_pass(&self) -> bool {
        matches!(self.kind, Kind::Away | Kind::Behind)
    }
}

/// The document of a good answer; none where there is no content.
pub(crate) fn judge(status: u16, body: &[u8], retry_after: Option<Duration>) -> Result<Value, Fault> {
    let document: Option<Value> = serde_json::from_slice(body).ok();
    match status {
        200 => document
            .ok_or_else(|| Fault::new(Kind::Away, "its answer is no JSON: is this a vault's address?")),
        204 => Ok(Value::Null),
        _ => {
            let told = errors(document.as_ref());
            let (kind, what) = match status {
                403 => (Kind::Denied, "permission denied"),
                404 => (Kind::Missing, "nothing lies there"),
                412 => (Kind::Behind, "this server of the cluster is behind the others"),
                429 => (Kind::Away, "it allows no more requests now"),
                503 if told.to_ascii_lowercase().contains("sealed") => {
                    (Kind::Away, "it is sealed: unseal it")
                }
                503 => (Kind::Away, "it is sealed or under maintenance"),
                500..=599 => (Kind::Away, "it has failed"),
                _ => (Kind::Refused, "it does not take the request"),
            };
            let text = match told.is_empty() {
                true => format!("{what} ({status})"),
                false => format!("{what} ({status}: {told})"),
            };
            Err(Fault { kind, text, retry_after })
        }
    }
}

/// The texts of an error document in one line. They come wrapped: "1 error occurred:\n\t* permission denied\n\n".
fn errors(document: Option<&Value>) -> String {
    let list = document.and_then(|document| document.get("errors")).and_then(Value::as_array);
    let all = list.into_iter().flatten().filter_map(Value::as_str);
    let mut text = String::new();
    for word in all.flat_map(str::split_whitespace) {
        if !text.is_empty() {
            text.push(' ');
        }
        text.extend(word.chars().filter(|c| !c.is_control()));
        if text.chars().count() > TEXT_CHARS_MAX {
            text = text.chars().take(TEXT_CHARS_MAX).collect();
            text.push('…');
            break;
        }
    }
    text
}

/// What was read, and for how long it holds.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Read {
    pub(crate) fields: Fields,
    /// A secret that was made for whoever asked: its lease.
    pub(crate) lease: Option<Lease>,
    /// How long the server says that it holds; nothing where it does not say.
    pub(crate) lasts: Option<Duration>,
}

/// A lease of a secret that was made for whoever asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Lease {
    pub(crate) id: String,
    pub(crate) renewable: bool,
}

/// Reads a secret out of a document; those of the second version of the key/value engine lie one level deeper.
pub(crate) fn secret(document: &Value, is_v2: bool) -> Result<Read, Fault> {
    let data = document.get("data");
    let data = if is_v2 { data.and_then(|data| data.get("data")) } else { data };
    let Some(Value::Object(data)) = data else {
        return Err(Fault::new(Kind::Missing, "what lies there was deleted, or is no secret with keys"));
    };
    let fields: BTreeMap<String, String> =
        data.iter().filter_map(|(key, value)| Some((key.clone(), text(value)?))).collect();
    let lease =
        document.get("lease_id").and_then(Value::as_str).filter(|id| !id.is_empty()).map(|id| Lease {
            id: id.to_owned(),
            renewable: document.get("renewable").and_then(Value::as_bool).unwrap_or(false),
        });
    Ok(Read { fields, lease, lasts: seconds(document.get("lease_duration")) })
}

/// A value as text; of objects and lists their JSON.
fn text(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}

/// A time in seconds; 0 is none.
pub(crate) fn seconds(value: Option<&Value>) -> Option<Duration> {
    value.and_then(Value::as_u64).filter(|seconds| *seconds > 0).map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn statuses_tell_what_may_pass_and_what_somebody_has_to_mend() {
        for (status, body, kind, part) in [
            (
                403,
                r#"{"errors":["1 error occurred:\n\t* permission denied\n\n"]}"#,
                Kind::Denied,
                "1 error occurred: * permission denied",
            ),
            (403, "", Kind::Denied, "(403)"),
            (404, r#"{"errors":[]}"#, Kind::Missing, "(404)"),
            (412, r#"{"errors":["required index state not present"]}"#, Kind::Behind, "behind"),
            (
                429,
                r#"{"errors":["request path \"secret\": rate limit quota exceeded"]}"#,
                Kind::Away,
                "no more requests",
            ),
            (503, r#"{"errors":["Vault is sealed"]}"#, Kind::Away, "unseal it"),
            (503, "<html>", Kind::Away, "maintenance"),
            (502, r#"{"errors":["third party"]}"#, Kind::Away, "third party"),
            (400, r#"{"errors":["invalid role or secret ID"]}"#, Kind::Refused, "invalid role"),
            (405, "", Kind::Refused, "(405)"),
            (200, "<html>hello", Kind::Away, "no JSON"),
        ] {
            let fault = judge(status, body.as_bytes(), None).expect_err("a fault");
            assert_eq!(fault.kind, kind, "{status} {body}");
            assert!(fault.text.contains(part) && !fault.text.contains('\n'), "{status}: {}", fault.text);
        }
        assert_eq!(judge(204, b"", None), Ok(Value::Null));
        let long = json!({"errors": ["x".repeat(10_000)]}).to_string();
        assert!(judge(500, long.as_bytes(), None).expect_err("a fault").text.chars().count() < 300);
    }

    #[test]
    fn both_versions_of_the_engine_are_read_and_a_deleted_secret_is_none() {
        let v1 = json!({"lease_id": "", "lease_duration": 2764800, "renewable": false, "data": {"a": "x", "n": 1, "b": true, "o": {"k": []}, "z": null}});
        let read = secret(&v1, false).expect("a secret");
        let want = [("a", "x"), ("b", "true"), ("n", "1"), ("o", r#"{"k":[]}"#)];
        assert_eq!(read.fields, want.map(|(key, value)| (key.to_owned(), value.to_owned())).into());
        assert_eq!((read.lease, read.lasts), (None, Some(Duration::from_secs(2_764_800))));
        let v2 = json!({"lease_id": "", "lease_duration": 0, "data": {"data": {"a": "x"}, "metadata": {"version": 3}}});
        let read = secret(&v2, true).expect("a secret");
        assert_eq!((read.fields.len(), read.lasts), (1, None));
        let deleted = json!({"data": {"data": null, "metadata": {"deletion_time": "2026-01-01T00:00:00Z", "version": 3}}});
        assert_eq!(secret(&deleted, true).expect_err("nothing").kind, Kind::Missing);
        let made = json!({"lease_id": "database/creds/app/7", "lease_duration": 60, "renewable": true, "data": {"username": "v-1"}});
        let lease = secret(&made, false).expect("a secret").lease.expect("a lease");
        assert_eq!((lease.id.as_str(), lease.renewable), ("database/creds/app/7", true));
    }
}
