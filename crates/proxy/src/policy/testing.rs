//! Builds calls for the tests of policies.

use std::{net::IpAddr, rc::Rc, sync::Arc, time::Instant};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request};

use crate::{
    call::{Call, Host, new_record},
    compiled::Compiled,
    conn::peer::Peer,
};

/// The address that test calls come from.
pub(crate) const CLIENT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 7));

/// A call from [`CLIENT`] to `api.example.test`.
pub(crate) fn call(method: &str, target: &str) -> Call {
    let request = Request::builder().method(method).uri(target).header("host", "api.example.test").body(());
    let head = request.expect("a good request").into_parts().0;
    let peer = Peer { listener: crate::conn::peer::L { name: "test".into() }, tls: None };
    let record = new_record(&peer, &head, CLIENT, HeaderValue::from_static("test-1"), None);
    let routed_path = Bytes::from(head.uri.path().to_owned());
    Call {
        compiled: Rc::new(Compiled {}),
        peer: Rc::new(peer),
        client: CLIENT,
        host: Host::from_authority(Bytes::from_static(b"api.example.test")),
        started: Instant::now(),
        route: None,
        captures: Default::default(),
        routed_path,
        consumer: None,
        claims: None,
        answer_headers: Default::default(),
        notes: Vec::new(),
        record,
        interim: None,
        head,
    }
}

/// The call with one more value of a header.
pub(crate) fn with_header(mut call: Call, name: &'static str, value: &str) -> Call {
    let value = HeaderValue::from_str(value).expect("a good value");
    call.head.headers.append(HeaderName::from_static(name), value);
    call
}

/// The call with the claims of a verified token.
pub(crate) fn with_claims(mut call: Call, claims: &str) -> Call {
    call.claims = Some(Rc::new(serde_json::from_str(claims).expect("an object")));
    call
}
