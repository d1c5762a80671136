//! What comes beside requests: PROXY headers, frames of HTTP/2 and of WebSockets, certificates.

use model::resource::upstream::ProxyProtocolVersion;

use crate::{
    conn::h2::frames_allowed, handler::ai::realtime::frames_law, listener::proxy_protocol as proxy,
    tls::names,
};

/// A PROXY header takes no more than there is, is the same however its bytes come in, and is written so that it reads
/// the same again.
pub fn proxy_protocol(bytes: &[u8]) {
    let whole = proxy::parse(bytes);
    for cut in 0..bytes.len() {
        match (proxy::parse(&bytes[..cut]), whole) {
            // Asking for more is always fair, as long as the whole is no header that was there already.
            (Ok(None), Ok(Some((_, used)))) => assert!(used > cut, "asks for more than it then takes"),
            (Ok(None), _) => {}
            (early, late) => assert_eq!(early, late, "cut at {cut}"),
        }
    }
    let Ok(Some((header, used))) = whole else { return };
    assert!(used <= bytes.len());
    let (Some(source), Some(destination)) = (header.source, header.destination) else { return };
    for version in [ProxyProtocolVersion::V1, ProxyProtocolVersion::V2] {
        let written = proxy::write(version, Some(source), Some(destination));
        let read = proxy::parse(&written).expect("we read what we write").expect("whole");
        assert_eq!(read, (header, written.len()));
    }
}

/// HTTP/2 frames are judged the same however their bytes come in.
pub fn frames(bytes: &[u8]) {
    let (size, bytes) =
        bytes.split_first().map_or((1, bytes), |(size, rest)| (usize::from(*size).max(1), rest));
    assert_eq!(frames_allowed(bytes.chunks(size)), frames_allowed(std::iter::once(bytes)));
}

/// Frames of a WebSocket that the gateway reads are the same however their bytes come in, and when written anew.
pub fn websocket_frames(bytes: &[u8]) {
    frames_law(bytes);
    crate::conn::socket_frames::law(bytes);
}

/// The names in a certificate; none of them matches what is not a name.
pub fn certificate(bytes: &[u8]) {
    let Ok(names) = names::of(bytes) else { return };
    assert!(!names.matches("*.") || names.alternatives().any(|name| name.ends_with('.') || name == "*."));
    for name in names.alternatives() {
        assert!(names.matches(&name) || name.starts_with("*."), "{name}");
    }
}
