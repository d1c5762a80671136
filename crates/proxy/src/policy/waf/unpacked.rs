//! Bodies that clients compress, as whoever unpacks them behind this reads them: rules judge what is in them.
//!
//! What goes on are the bytes as they came. Codings that nobody here knows, and several on top of each other, are
//! nothing that the gateway unpacks anywhere; what is in such bodies is hidden from rules, and they are told so.

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body_util::BodyExt;

use crate::{
    body::Body,
    failure::{Failure, Problem, Stage},
    policy::coding::{Caps, Coding, Decoded, content_codings},
};

/// To how many times its size a body may unfold.
const RATIO_MAX: u64 = 400;

/// What is in a body.
pub(super) enum Unpacked {
    /// What came: it is not compressed.
    AsItCame,
    /// Its first bytes unpacked, and whether that is all.
    Plain(Bytes, bool),
    /// Its first bytes unpacked; it would unfold to more than is right for its size.
    Bomb(Bytes),
    /// It is not what its coding says.
    Broken(String),
    /// It has a coding that is not known here, or several.
    Unread,
}

/// The first `limit` bytes of what a body unfolds to.
pub(super) async fn unpacked(
    headers: &HeaderMap,
    (coded, is_whole): (Bytes, bool),
    limit: usize,
) -> Result<Unpacked, Failure> {
    let name = match *content_codings(headers) {
        [] => return Ok(Unpacked::AsItCame),
        [name] => name,
        _ => return Ok(Unpacked::Unread),
    };
    let Some(coding) = Coding::named(name) else { return Ok(Unpacked::Unread) };
    let caps = Caps { size: u64::MAX, ratio: RATIO_MAX };
    let decoded = Decoded::new(Body::Full(coded), coding, caps)
        .map_err(|error| Failure::gateway(Stage::Policy, Problem::Internal).with_detail(error.to_string()))?;
    let (mut plain, mut decoded) = (BytesMut::new(), Body::boxed(decoded));
    while let Some(frame) = decoded.frame().await {
        match frame {
            Ok(frame) => plain.extend(frame.into_data()),
            Err(failure) if failure.problem() == Problem::BodyTooLarge => {
                plain.truncate(limit);
                return Ok(Unpacked::Bomb(plain.freeze()));
            }
            // Of a body that is not all there the end cannot be read.
            Err(_) if !is_whole => break,
            Err(failure) => {
                let why = failure.hint().unwrap_or("the body cannot be unpacked");
                return Ok(Unpacked::Broken(why.to_owned()));
            }
        }
        if plain.len() > limit {
            plain.truncate(limit);
            return Ok(Unpacked::Plain(plain.freeze(), false));
        }
        // All of it is there, so that nothing else lets others have their turn.
        tokio::task::yield_now().await;
    }
    Ok(Unpacked::Plain(plain.freeze(), is_whole))
}
