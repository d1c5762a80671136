//! Subjects as NATS has them: tokens with dots between them. Routing keys of RabbitMQ are nearly the same, topics of Kafka
//! have fewer letters. What comes from a caller is one token and nothing more, so that nobody reaches a subject that the
//! configuration does not mean.

/// Bytes of a subject.
pub const SUBJECT_BYTES_MAX: usize = 255;
/// Bytes of what a caller brings into one.
pub const TOKEN_BYTES_MAX: usize = 128;

/// Bytes of a topic of Kafka's.
pub const TOPIC_BYTES_MAX: usize = 249;

/// Whose subjects they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rules {
    /// Subjects of NATS.
    Nats,
    /// Routing keys of RabbitMQ, and names of queues.
    Rabbitmq,
    /// Topics of Kafka.
    Kafka,
}

impl Rules {
    /// Whether a value may stand in one: one token, or a part of one.
    pub fn check_value(self, value: &str) -> Result<(), &'static str> {
        check_value(value)?;
        match self {
            Self::Nats => Ok(()),
            Self::Rabbitmq if value.contains('#') => Err("it has a wildcard"),
            Self::Rabbitmq => Ok(()),
            Self::Kafka if value.bytes().all(|byte| byte != b'.' && is_of_topic(byte)) => Ok(()),
            Self::Kafka => Err("it has something else than letters, digits, `_` and `-`"),
        }
    }

    /// Whether something can be published to it.
    pub fn check(self, subject: &str) -> Result<(), &'static str> {
        match self {
            Self::Nats => check(subject),
            Self::Rabbitmq if subject.is_empty() => Err("it is empty"),
            Self::Rabbitmq if subject.len() > SUBJECT_BYTES_MAX => Err("it is longer than 255 bytes"),
            Self::Rabbitmq if subject.chars().any(char::is_control) => Err("it has a control character"),
            Self::Rabbitmq => Ok(()),
            Self::Kafka if subject.len() > TOPIC_BYTES_MAX => Err("it is longer than 249 bytes"),
            Self::Kafka if matches!(subject, "" | "." | "..") || !subject.bytes().all(is_of_topic) => {
                Err("it is no name of a topic")
            }
            Self::Kafka if subject.starts_with("__") => Err("it is one of the broker's own"),
            Self::Kafka => Ok(()),
        }
    }

    /// Whether it can be listened to, with its wildcards.
    pub fn check_filter(self, subject: &str) -> Result<(), &'static str> {
        let is_word = |word: &str| matches!(word, "*" | "#") || !word.contains(['*', '#']);
        match self {
            Self::Nats => check_filter(subject),
            Self::Rabbitmq if !subject.split('.').all(is_word) => Err("a wildcard is a whole part"),
            Self::Rabbitmq | Self::Kafka => self.check(subject),
        }
    }
}

fn is_of_topic(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-')
}

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

    #[test]
    fn each_broker_has_rules_of_its_own() {
        for (rules, value, is_good) in [
            (Rules::Nats, "a#", true),
            (Rules::Rabbitmq, "a#", false),
            (Rules::Rabbitmq, "größe", true),
            (Rules::Kafka, "größe", false),
            (Rules::Kafka, "a-b_C7", true),
            (Rules::Kafka, "a.b", false),
            (Rules::Rabbitmq, "a.b", false),
        ] {
            assert_eq!(rules.check_value(value).is_ok(), is_good, "{rules:?} {value}");
        }
        for (rules, subject, is_good) in [
            (Rules::Nats, "a..b", false),
            (Rules::Rabbitmq, "a..b", true),
            (Rules::Rabbitmq, "", false),
            (Rules::Rabbitmq, "a queue", true),
            (Rules::Kafka, "orders.placed", true),
            (Rules::Kafka, "a queue", false),
            (Rules::Kafka, "__consumer_offsets", false),
            (Rules::Kafka, "..", false),
        ] {
            assert_eq!(rules.check(subject).is_ok(), is_good, "{rules:?} {subject}");
        }
        for (rules, filter, is_good) in [
            (Rules::Nats, "a.>", true),
            (Rules::Rabbitmq, "a.#", true),
            (Rules::Rabbitmq, "a.*.#.b", true),
            (Rules::Rabbitmq, "a#", false),
        ] {
            assert_eq!(rules.check_filter(filter).is_ok(), is_good, "{rules:?} {filter}");
        }
    }
}
