//! What a request shows of its signature, by style: in which headers, and how it is written there. Nothing is judged here.

use aws_lc_rs::digest;
use http::{HeaderMap, HeaderName};
use identity::{message::combined, webhook};
use model::policy::hmac::SignatureStyle;

use super::{Hmac, credentials};

/// What a request shows.
pub(super) enum Shown {
    /// `Signature-Input` and `Signature`.
    Signatures(String, String),
    Webhook(Told),
}

/// A webhook's signature.
pub(super) struct Told {
    pub(super) time: Option<f64>,
    /// What is signed before the body.
    pub(super) signed: String,
    pub(super) signatures: Vec<Vec<u8>>,
}

impl Hmac {
    /// What is shown, before the body is read for it.
    pub(super) fn shown(&self, headers: &HeaderMap) -> Result<Shown, &'static str> {
        let one = |name: &'static str| {
            let name = HeaderName::from_static(name);
            let value = credentials::in_header(headers, &name).map_err(|_| "the signature is there twice")?;
            let value = value.ok_or("there is no signature")?;
            std::str::from_utf8(value).map(str::to_owned).map_err(|_| "the signature is no text")
        };
        Ok(match self.style {
            SignatureStyle::HttpSignatures => {
                // A field may be in several lines, which are one dictionary.
                let joined = |name: &str| combined(headers, &HeaderName::try_from(name).ok()?);
                let input = joined("signature-input").ok_or("there is no signature")?;
                Shown::Signatures(input, joined("signature").ok_or("there is no signature")?)
            }
            SignatureStyle::Github => {
                let told = one("x-hub-signature-256")?;
                let hex = told.strip_prefix("sha256=").ok_or("the signature is of another kind")?;
                Shown::Webhook(Told { time: None, signed: String::new(), signatures: vec![unhex(hex)?] })
            }
            SignatureStyle::Slack => {
                let (time, told) = (one("x-slack-request-timestamp")?, one("x-slack-signature")?);
                let hex = told.strip_prefix("v0=").ok_or("the signature is of another kind")?;
                let signed = webhook::slack_begin(&time);
                Shown::Webhook(Told { time: Some(seconds(&time)?), signed, signatures: vec![unhex(hex)?] })
            }
            SignatureStyle::Stripe => stripe(&one("stripe-signature")?)?,
        })
    }
}

/// The headers in which a style shows its signature.
pub(super) fn headers_of(style: SignatureStyle) -> &'static [HeaderName] {
    static SIGNATURES: [HeaderName; 2] =
        [HeaderName::from_static("signature-input"), HeaderName::from_static("signature")];
    static GITHUB: [HeaderName; 1] = [HeaderName::from_static("x-hub-signature-256")];
    static STRIPE: [HeaderName; 1] = [HeaderName::from_static("stripe-signature")];
    static SLACK: [HeaderName; 2] =
        [HeaderName::from_static("x-slack-signature"), HeaderName::from_static("x-slack-request-timestamp")];
    match style {
        SignatureStyle::HttpSignatures => &SIGNATURES,
        SignatureStyle::Github => &GITHUB,
        SignatureStyle::Stripe => &STRIPE,
        SignatureStyle::Slack => &SLACK,
    }
}

pub(super) fn style_name(style: SignatureStyle) -> &'static str {
    match style {
        SignatureStyle::HttpSignatures => "httpSignatures",
        SignatureStyle::Github => "github",
        SignatureStyle::Stripe => "stripe",
        SignatureStyle::Slack => "slack",
    }
}

/// `t=1,v1=ab,v1=cd`: of a secret that is being changed there are two.
fn stripe(told: &str) -> Result<Shown, &'static str> {
    const SIGNATURES_MAX: usize = 8;
    let (mut time, mut signatures) = (None, Vec::new());
    for pair in told.split(',') {
        match pair.trim().split_once('=') {
            Some(("t", value)) if time.is_none() => time = Some(value.to_owned()),
            Some(("t", _)) => return Err("the time is there twice"),
            Some(("v1", value)) if signatures.len() < SIGNATURES_MAX => signatures.push(unhex(value)?),
            _ => {}
        }
    }
    let time = time.ok_or("there is no time")?;
    Ok(Shown::Webhook(Told { time: Some(seconds(&time)?), signed: webhook::stripe_begin(&time), signatures }))
}

fn seconds(text: &str) -> Result<f64, &'static str> {
    let is_number = !text.is_empty() && text.len() <= 12 && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().ok()).flatten().ok_or("the time is no number")
}

/// The bytes of a digest of SHA-256 in hexadecimal.
fn unhex(text: &str) -> Result<Vec<u8>, &'static str> {
    let wrong = "the signature is not in hexadecimal";
    if text.len() != 2 * digest::SHA256_OUTPUT_LEN {
        return Err(wrong);
    }
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let pairs = text.as_bytes().chunks_exact(2);
    pairs
        .map(|pair| Some(digit(*pair.first()?)? << 4 | digit(*pair.get(1)?)?))
        .collect::<Option<_>>()
        .ok_or(wrong)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A header of Stripe's as somebody may write it.
    fn parts() -> impl Strategy<Value = Vec<(String, String)>> {
        let name =
            prop_oneof![Just("t"), Just("v1"), Just("v0"), Just(""), Just("T")].prop_map(str::to_owned);
        let value = prop_oneof!["[0-9a-f]{64}", "[0-9A-F]{64}", "[0-9]{1,12}", "[ -~]{0,70}"];
        prop::collection::vec((name, value), 0..12)
    }

    proptest! {
        #[test]
        fn of_stripes_header_no_more_is_believed_than_stands_there(parts in parts()) {
            let text: Vec<String> = parts.iter().map(|(name, value)| format!("{name}={value}")).collect();
            let Ok(Shown::Webhook(told)) = stripe(&text.join(",")) else { return Ok(()) };
            let all = text.iter().flat_map(|part| part.split(','));
            let pairs: Vec<(&str, &str)> = all.filter_map(|part| part.trim().split_once('=')).collect();
            let of = |wanted: &str| -> Vec<String> {
                let those = pairs.iter().filter(|(name, _)| *name == wanted);
                those.map(|(_, value)| value.to_lowercase()).collect()
            };
            prop_assert_eq!(vec![told.signed], of("t").iter().map(|time| format!("{time}.")).collect::<Vec<_>>());
            let hex = |bytes: &Vec<u8>| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
            let signatures: Vec<String> = told.signatures.iter().map(hex).collect();
            prop_assert_eq!(signatures, of("v1").into_iter().take(8).collect::<Vec<_>>());
        }
    }

    #[test]
    fn webhooks_headers_are_read_strictly() {
        let good = "a".repeat(64);
        assert_eq!(unhex(&good).map(|bytes| bytes.len()), Ok(32));
        for bad in ["", "a", &"g".repeat(64), &"a".repeat(66), &format!("{}é", "a".repeat(62))] {
            assert!(unhex(bad).is_err(), "{bad}");
        }
        for bad in ["", "-1", "1.5", " 1", "1e3", "9999999999999"] {
            assert!(seconds(bad).is_err(), "{bad}");
        }
        let read = |text: &str| match stripe(text) {
            Ok(Shown::Webhook(told)) => Some((told.signed, told.signatures.len())),
            _ => None,
        };
        assert_eq!(read(&format!("t=12,v1={good},v0=ff,v1={good}")), Some(("12.".to_owned(), 2)));
        assert_eq!(read(&format!("t=12,t=13,v1={good}")), None);
        assert_eq!(read(&format!("v1={good}")), None);
        assert_eq!(read("t=12"), Some(("12.".to_owned(), 0)), "nothing that any secret fits");
    }
}
