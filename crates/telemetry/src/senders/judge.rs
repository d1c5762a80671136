//! What an answer over HTTP means for the records that were sent.

use bytes::Bytes;
use http::response::Parts;
use sinks::Outcome;

use crate::receiver::{retry_after, said};

/// Judges an exchange.
///
/// What is wrong with the settings (a token, a path) may be mended on the other side, so records wait for that as they
/// do for a receiver that is away.
pub(super) fn judge(exchange: Result<(Parts, Bytes), String>) -> Outcome {
    let (parts, body) = match exchange {
        Ok(answered) => answered,
        Err(why) => return Outcome::Again { after: None, why },
    };
    if parts.status.is_success() {
        return Outcome::Taken;
    }
    let why = said(parts.status, &body);
    match parts.status.as_u16() {
        400 | 413 | 422 => Outcome::Poison(why),
        401 | 403 | 404 | 407 | 408 | 425 | 429 | 500..=599 => {
            Outcome::Again { after: retry_after(&parts.headers), why }
        }
        _ => Outcome::Refused(why),
    }
}

#[cfg(test)]
mod tests {
    use http::Response;

    use super::*;

    #[test]
    fn a_status_says_whether_records_are_sent_again_halved_or_given_up() {
        let judged = |status: u16| {
            let (parts, ()) = Response::builder().status(status).body(()).expect("an answer").into_parts();
            match judge(Ok((parts, Bytes::new()))) {
                Outcome::Taken => "taken",
                Outcome::Again { .. } => "again",
                Outcome::Poison(_) => "poison",
                Outcome::Refused(_) | Outcome::Partly { .. } => "refused",
            }
        };
        for (status, want) in [
            (200, "taken"),
            (204, "taken"),
            (301, "refused"),
            (400, "poison"),
            (401, "again"),
            (404, "again"),
            (405, "refused"),
            (413, "poison"),
            (429, "again"),
            (500, "again"),
            (503, "again"),
        ] {
            assert_eq!(judged(status), want, "{status}");
        }
        assert!(matches!(judge(Err("away".into())), Outcome::Again { after: None, .. }));
    }
}
