//! Subjects as NATS has them: tokens with dots between them. What comes from a caller is one token and nothing more, so
//! that nobody reaches a subject that the configuration does not mean.

/// Bytes of a subject.
pub const SUBJECT_BYTES_MAX: usize = 255;
/// Bytes of what a caller brings into one.
pub const TOKEN_BYTES_MAX: usize = 128;

/// Whether a value may stand in a subject: one token, or a part of one.
pub fn check_value(value: &str) -> Result<(), &'static str> {
    if value.is_empty() {
        return Err("it is empty");
    }
    if value.len() > TOKEN_BYTES_MAX {
        return Err("it is longer than 128 bytes");
    }
    if value.bytes().any(|byte| matches!(byte, b'.' | b'*' | b'>')) {
        return Err("it has a dot or a wildcard");
    }
    if value.chars().any(|one| one.is_whitespace() || one.is_control()) {
        return Err("it has a space or a control character");
    }
    Ok(())
}

/// Whether something can be published to a subject: no empty token, no wildcard, and none of the broker's own.
pub fn check(subject: &str) -> Result<(), &'static str> {
    if subject.len() > SUBJECT_BYTES_MAX {
        return Err("it is longer than 255 bytes");
    }
    if is_of_the_broker(subject) {
        return Err("it is one of the broker's own");
    }
    for token in subject.split('.') {
        if token.is_empty() {
            return Err("it has an empty part");
        }
        if token.bytes().any(|byte| matches!(byte, b'*' | b'>'))
            || token.chars().any(|one| one.is_whitespace() || one.is_control())
        {
            return Err("it has a wildcard, a space or a control character");
        }
    }
    Ok(())
}

/// Whether a subject can be listened to: as [`check`], with wildcards that are whole tokens.
pub fn check_filter(subject: &str) -> Result<(), &'static str> {
    let mut tokens = subject.split('.').peekable();
    let mut plain = Vec::new();
    while let Some(token) = tokens.next() {
        match token {
            "*" => plain.push("x"),
            ">" if tokens.peek().is_none() => plain.push("x"),
            ">" => return Err("`>` stands at the end alone"),
            token => plain.push(token),
        }
    }
    check(&plain.join("."))
}

/// Subjects with which a client asks the server itself, or is answered.
fn is_of_the_broker(subject: &str) -> bool {
    let first = subject.split('.').next().unwrap_or_default();
    first.starts_with('$') || matches!(first, "_INBOX" | "_R_" | "_GR_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_one_token_and_nothing_more() {
        for good in ["7", "a-b_c", "größe", "$x"] {
            assert_eq!(check_value(good), Ok(()), "{good}");
        }
        for bad in ["", "a.b", "*", "a>", "a b", "a\r\nb", "a\u{a0}b", "\0", &"x".repeat(129)] {
            assert!(check_value(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn nothing_is_published_to_wildcards_and_to_the_broker_itself() {
        for good in ["orders", "orders.7.placed", "a$.b"] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for bad in ["", ".a", "a.", "a..b", "a.*", ">", "a b", "$JS.API.STREAM.DELETE.x", "_INBOX.x", "$SYS"]
        {
            assert!(check(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn wildcards_of_filters_are_whole_tokens_and_the_last_is_last() {
        for good in ["orders.>", "orders.*.placed", "*"] {
            assert_eq!(check_filter(good), Ok(()), "{good}");
        }
        for bad in ["orders.>.x", "a*.b", "a>", "$JS.>", ""] {
            assert!(check_filter(bad).is_err(), "{bad:?}");
        }
    }
}
