//! Signatures of webhooks as GitHub, Stripe and Slack make them: HMAC-SHA-256 over the body, with a time before it where there is
//! one. What is signed is said here once, for whoever signs and whoever judges.

use aws_lc_rs::hmac;

/// What Stripe signs before the body.
pub fn stripe_begin(time: &str) -> String {
    format!("{time}.")
}

/// What Slack signs before the body.
pub fn slack_begin(time: &str) -> String {
    format!("v0:{time}:")
}

/// `X-Hub-Signature-256`.
pub fn github(secret: &hmac::Key, body: &[u8]) -> String {
    format!("sha256={}", signature(secret, "", body))
}

/// `Stripe-Signature`: of a secret that is being changed there are two.
pub fn stripe(secrets: &[hmac::Key], seconds: u64, body: &[u8]) -> String {
    let begin = stripe_begin(&seconds.to_string());
    let all = secrets.iter().map(|secret| format!(",v1={}", signature(secret, &begin, body)));
    format!("t={seconds}{}", all.collect::<String>())
}

/// `X-Slack-Signature`, beside the time in `X-Slack-Request-Timestamp`.
pub fn slack(secret: &hmac::Key, seconds: u64, body: &[u8]) -> String {
    format!("v0={}", signature(secret, &slack_begin(&seconds.to_string()), body))
}

fn signature(secret: &hmac::Key, begin: &str, body: &[u8]) -> String {
    let mut context = hmac::Context::with_key(secret);
    context.update(begin.as_bytes());
    context.update(body);
    context.sign().as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_are_those_of_the_vendors_documents() {
        let key = |secret: &str| hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
        // GitHub, "Validating webhook deliveries", its test values.
        assert_eq!(
            github(&key("It's a Secret to Everybody"), b"Hello, World!"),
            "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
        );
        // Slack, "Verifying requests from Slack", its example.
        let body = "token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c";
        assert_eq!(
            slack(&key("8f742231b10e8888abcd99yyyzzz85a5"), 1_531_420_618, body.as_bytes()),
            "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503"
        );
        let two = stripe(&[key("a"), key("b")], 12, b"{}");
        assert!(two.starts_with("t=12,v1=") && two.matches(",v1=").count() == 2, "{two}");
    }
}
