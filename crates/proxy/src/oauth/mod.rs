//! The gateway as a client of token servers: how it says who it is, and tokens in exchange for callers'. Tokens of its
//! own are fetched by [`TokenSource`](crate::handler::ai::tokens::TokenSource).

mod client;
pub(crate) mod exchange;

use aws_lc_rs::digest;

pub(crate) use self::client::{Client, algorithm};

/// Stands for secrets where their state is kept, so that they themselves need not be.
pub(crate) fn fingerprint<'p>(parts: impl IntoIterator<Item = &'p str>) -> String {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in parts {
        context.update(&(part.len() as u64).to_le_bytes());
        context.update(part.as_bytes());
    }
    context.finish().as_ref().iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}
