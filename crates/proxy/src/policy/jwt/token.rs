//! One signed token in compact form (RFC 7515 §7.1): its three parts, and what is claimed.

use base64::{
    Engine, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use serde::{
    Deserialize, Deserializer,
    de::{Error, IgnoredAny, MapAccess, Visitor},
};
use serde_json::{Map, Value};

use super::keys::Algorithm;

/// Bytes of a token at most.
pub(crate) const TOKEN_BYTES_MAX: usize = 16 * 1024;

/// Strict base64url: no padding and no stray bits, so that one token has one spelling.
const BASE64URL: GeneralPurpose = GeneralPurpose::new(
    &alphabet::URL_SAFE,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::RequireNone)
        .with_decode_allow_trailing_bits(false),
);

/// A token taken apart; nothing in it is trusted before its signature is verified.
pub(crate) struct Token<'a> {
    pub(crate) algorithm: Algorithm,
    pub(crate) kid: Option<String>,
    /// What is signed.
    pub(crate) message: &'a [u8],
    pub(crate) signature: Vec<u8>,
    payload: &'a str,
}

/// The part of the header that is read. Whatever else it says (`jku`, `x5u`, `jwk`) is not: nothing is fetched or
/// trusted because a token says so.
#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    /// Whatever it says, `null` too: an empty list is none that may be there.
    #[serde(default, deserialize_with = "is_there")]
    crit: bool,
}

fn is_there<'de, D: Deserializer<'de>>(from: D) -> Result<bool, D::Error> {
    IgnoredAny::deserialize(from).map(|_| true)
}

impl<'a> Token<'a> {
    /// Takes a token apart. The error is for the log.
    pub(crate) fn parse(text: &'a str) -> Result<Self, &'static str> {
        if text.len() > TOKEN_BYTES_MAX {
            return Err("the token is too long");
        }
        let (message, signature) = text.rsplit_once('.').ok_or("not a signed token")?;
        let (header, payload) = message.split_once('.').ok_or("not a signed token")?;
        if payload.contains('.') {
            return Err("not a signed token");
        }
        let header = BASE64URL.decode(header).map_err(|_| "the header is not base64url")?;
        let header: Header =
            serde_json::from_slice(&header).map_err(|_| "the header is not what it should be")?;
        if header.crit {
            // RFC 7515 §4.1.11: an extension that is critical and not understood refuses the token.
            return Err("the token needs an extension that is not supported");
        }
        let algorithm = Algorithm::named(&header.alg).ok_or("the algorithm is not one that is accepted")?;
        let signature = BASE64URL.decode(signature).map_err(|_| "the signature is not base64url")?;
        Ok(Self { algorithm, kid: header.kid, message: message.as_bytes(), signature, payload })
    }

    /// What the token claims. To be read only once the signature is verified.
    pub(crate) fn claims(&self) -> Result<Map<String, Value>, &'static str> {
        let payload = BASE64URL.decode(self.payload).map_err(|_| "the payload is not base64url")?;
        let Claims(claims) = serde_json::from_slice(&payload)
            .map_err(|_| "the payload is not a JSON object of unique claims")?;
        Ok(claims)
    }
}

/// Claims, each there once: of two of one name, the next reader might take the other (RFC 7519 §4).
struct Claims(Map<String, Value>);

impl<'de> Deserialize<'de> for Claims {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Unique;

        impl<'de> Visitor<'de> for Unique {
            type Value = Claims;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Claims, A::Error> {
                let mut claims = Map::new();
                while let Some((name, value)) = access.next_entry::<String, Value>()? {
                    if claims.insert(name, value).is_some() {
                        return Err(A::Error::custom("a claim is there twice"));
                    }
                }
                Ok(Claims(claims))
            }
        }

        from.deserialize_map(Unique)
    }
}
