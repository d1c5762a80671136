//! What a question to a service is known by.

use aws_lc_rs::digest;
use http::{HeaderName, header};

use crate::{call::Call, policy::decided::Key};

/// What a question is known by: everything that the service is told of it, but for when it is asked. Where the client is
/// is part of it, for the service is told.
pub(super) fn key(call: &Call, shown: &[HeaderName], by_target: bool) -> Key {
    let mut context = digest::Context::new(&digest::SHA256);
    let mut part = |bytes: &[u8]| {
        context.update(&(bytes.len() as u64).to_be_bytes());
        context.update(bytes);
    };
    part(call.client.to_string().as_bytes());
    let certificate = call.peer.tls.as_ref().and_then(|tls| tls.client.as_ref());
    // Not its subject, which others may bear too: who is known by an alternative name often has none.
    part(certificate.map_or("", |client| &client.fingerprint).as_bytes());
    part(call.peer.listener.address.as_bytes());
    if by_target {
        part(call.head.method.as_str().as_bytes());
        part(call.head.headers.get(header::HOST).map_or(b"", |host| host.as_bytes()));
        part(call.head.uri.path_and_query().map_or("/", |target| target.as_str()).as_bytes());
        part(&[u8::from(call.is_https())]);
    }
    for name in shown {
        let values: Vec<&[u8]> =
            call.head.headers.get_all(name).iter().map(|value| value.as_bytes()).collect();
        part(&(values.len() as u64).to_be_bytes());
        values.into_iter().for_each(&mut part);
    }
    let mut key = Key::default();
    key.copy_from_slice(context.finish().as_ref());
    key
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::testing::{call, with_header};

    #[test]
    fn different_questions_are_told_apart_by_all_that_the_service_is_told() {
        let shown = [HeaderName::from_static("authorization"), HeaderName::from_static("x-a")];
        let bearer = |target: &str, token: &str| with_header(call("GET", target), "authorization", token);
        let key = |call: &Call| super::key(call, &shown, true);
        assert_eq!(key(&bearer("/a", "x")), key(&bearer("/a", "x")));
        let mut elsewhere = bearer("/a", "x");
        elsewhere.client = std::net::Ipv4Addr::new(192, 0, 2, 8).into();
        for other in [
            bearer("/b", "x"),
            bearer("/a?b", "x"),
            bearer("/a", "y"),
            with_header(bearer("/a", "x"), "authorization", ""),
            with_header(bearer("/a", "x"), "x-a", ""),
            elsewhere,
        ] {
            assert_ne!(key(&bearer("/a", "x")), key(&other));
        }
        let narrow = |call: &Call| super::key(call, &shown, false);
        assert_eq!(narrow(&bearer("/a", "x")), narrow(&bearer("/b", "x")));
        assert_ne!(narrow(&bearer("/a", "x")), narrow(&bearer("/a", "y")));
    }
}
