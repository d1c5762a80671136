//! A door for the fuzz targets: thin functions that feed any bytes to what reads the bytes of strangers, and panic
//! when a law does not hold.
//!
//! It exists in tests and with the feature `fuzzing`, never in a build that serves. Each target is a function of
//! bytes here, a short run in these tests over the corpus in `fuzz/corpus`, and a binary in `fuzz/fuzz_targets`.

mod connection;
mod requests;
mod texts;

pub(crate) use self::requests::header_lines;
pub use self::{
    connection::{certificate, frames, proxy_protocol, websocket_frames},
    requests::{authority, forwarded, grpc_timeout, path, request_headers},
    texts::{expression, pattern, template},
};
pub use crate::{
    handler::{a2a::fuzzing::a2a, mcp::fuzzing::mcp},
    ledger::shared::fuzzing::resp,
    openapi::fuzzing::openapi,
    policy::fuzzing::{accept_encoding, cache_fields, codings, credentials, jwks, jwt_token, rate_key},
};

#[cfg(test)]
mod short {
    macro_rules! short {
        ($($name:ident),+ $(,)?) => { $(
            #[test]
            fn $name() {
                mutate::fuzz(stringify!($name), super::$name);
            }
        )+ };
    }
    short!(
        a2a,
        accept_encoding,
        authority,
        cache_fields,
        certificate,
        codings,
        credentials,
        expression,
        forwarded,
        frames,
        grpc_timeout,
        jwks,
        jwt_token,
        mcp,
        openapi,
        path,
        pattern,
        proxy_protocol,
        rate_key,
        request_headers,
        resp,
        template,
        websocket_frames,
    );
}
