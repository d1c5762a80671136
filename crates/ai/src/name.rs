//! Names of models where they stand in a path. A name may be the caller's own word, so it must not lead anywhere else.

use crate::canon::{Error, ErrorKind};

/// A name as one segment of a path, percent-encoded (RFC 3986 §2.3).
pub fn segment(model: &str) -> Result<String, Error> {
    if matches!(model, "" | "." | "..") {
        return Err(strange(model));
    }
    let mut out = String::with_capacity(model.len());
    for byte in model.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    Ok(out)
}

/// A name that may have folders, each a segment that is as it is.
pub(crate) fn segments(model: &str) -> Result<&str, Error> {
    let is_plain = |segment: &str| {
        let taken = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~@:".contains(&byte);
        !matches!(segment, "" | "." | "..") && segment.bytes().all(taken)
    };
    if model.split('/').all(is_plain) { Ok(model) } else { Err(strange(model)) }
}

fn strange(model: &str) -> Error {
    Error {
        param: Some("model".to_owned()),
        ..Error::new(ErrorKind::NotFound, format!("`{model}` is no name of a model"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_leads_out_of_its_segment() {
        assert_eq!(segment("anthropic.claude-v2:0/x").expect("a segment"), "anthropic.claude-v2%3A0%2Fx");
        assert_eq!(segment("a?b#c%2e").expect("a segment"), "a%3Fb%23c%252e");
        for name in ["", ".", ".."] {
            assert!(segment(name).is_err(), "{name}");
        }
    }

    #[test]
    fn folders_are_plain() {
        for name in ["gemini-2.5-pro", "tunedModels/mine", "claude@20250101", "a..b"] {
            assert_eq!(segments(name).expect("plain"), name);
        }
        for name in ["", "/x", "x/", "x//y", "../files", "x/../y", "x?y", "x#y", "x%2fy", "x y", "é"] {
            assert!(segments(name).is_err(), "{name}");
        }
    }
}
