//! Flags of Anthropic's header `anthropic-beta`, which Bedrock takes in a field of the body.

use serde_json::{Value, json};

/// A body with these flags beside those that it has. A body that is none is left as it is.
pub(in crate::dialect) fn with_betas(body: &[u8], flags: &[&str]) -> Option<Vec<u8>> {
    let mut value: Value = serde_json::from_slice(body).ok()?;
    let fields = value.as_object_mut()?;
    let model_fields = fields.entry("additionalModelRequestFields").or_insert_with(|| json!({}));
    let list = model_fields.as_object_mut()?.entry("anthropic_beta").or_insert_with(|| json!([]));
    let list = list.as_array_mut()?;
    for flag in flags {
        if !list.iter().any(|there| there == flag) {
            list.push((*flag).into());
        }
    }
    serde_json::to_vec(&value).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_stand_beside_those_that_are_there() {
        let check = |body: Value, want: Value| {
            let out = with_betas(body.to_string().as_bytes(), &["a", "b"]).expect("an object");
            assert_eq!(serde_json::from_slice::<Value>(&out).expect("JSON"), want);
        };
        check(
            json!({"messages": []}),
            json!({"messages": [], "additionalModelRequestFields": {"anthropic_beta": ["a", "b"]}}),
        );
        check(
            json!({"additionalModelRequestFields": {"thinking": {}, "anthropic_beta": ["b", "c"]}}),
            json!({"additionalModelRequestFields": {"thinking": {}, "anthropic_beta": ["b", "c", "a"]}}),
        );
        assert_eq!(with_betas(b"[]", &["a"]), None);
    }
}
