//! What a store answers over the wire. Part of [`crate::fuzzing`].

use ::redis::parse_redis_value;

use super::claim::{Answer, looked, read, settled};
use crate::policy::fuzzing::limits_said;

/// Claims of a call; more are never asked for at once in what is tested here.
const CLAIMS: usize = 3;

/// The first byte says of how many claims, the rest is an answer in Redis' protocol (RESP): whatever a server says, it
/// is what these claims were answered, or nothing.
pub fn resp(bytes: &[u8]) {
    let Some((count, bytes)) = bytes.split_first() else { return };
    let claims = usize::from(*count) % (CLAIMS + 1);
    let Ok(value) = parse_redis_value(bytes) else { return };
    match read(&value, claims) {
        Some(Answer::Granted(all)) => assert_eq!(all.len(), claims, "{value:?}"),
        Some(Answer::Refused(which, _)) => assert!(which < claims, "{value:?}"),
        None => {}
    }
    for (at, (place, ..)) in settled(&value).into_iter().enumerate() {
        assert_eq!(place, at, "{value:?}");
    }
    let _ = looked(&value);
    limits_said(&value, claims);
}
