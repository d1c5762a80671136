//! Any bytes as streams of HTTP/3: what the fuzz targets run, and a short run of each.
#![allow(unreachable_pub, reason = "`fuzz/` exports them")]

use bytes::Bytes;
use http3::{ControlDecoder, Error, Event, Limits, QpackDecoder, RequestDecoder, StreamKind, steer};

/// What one stream tells, in words that do not depend on how its bytes were split.
fn told(bytes: &[u8], piece: usize) -> (Vec<String>, usize, Result<(), Error>) {
    let limits = Limits { section_bytes: 2048, useless_frames: 20 };
    let mut decoder = RequestDecoder::new(limits);
    let (mut told, mut data) = (Vec::new(), 0);
    for part in bytes.chunks(piece.max(1)) {
        let mut part = Bytes::copy_from_slice(part);
        loop {
            match decoder.decode(&mut part) {
                Ok(Some(Event::Head(head))) => {
                    assert!(told.is_empty() && data == 0, "a head comes once and first");
                    assert!(head.headers.keys().all(|name| !name.as_str().starts_with(':')));
                    let size: usize =
                        head.headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
                    assert!(size <= limits.section_bytes);
                    told.push(format!("{head:?}"));
                }
                Ok(Some(Event::Data(piece))) => {
                    assert!(!piece.is_empty());
                    data += piece.len();
                }
                Ok(Some(Event::Trailers(trailers))) => told.push(format!("{trailers:?}")),
                Ok(None) => break,
                Err(error) => return (told, data, Err(error)),
            }
        }
        assert!(part.is_empty(), "all of it is taken");
    }
    (told, data, decoder.end())
}

/// A request's stream: it is told alike however it is split, nothing comes out that was not let in.
pub fn http3_request(bytes: &[u8]) {
    let whole = told(bytes, bytes.len());
    for piece in [1, 3, 17] {
        assert_eq!(told(bytes, piece), whole, "in pieces of {piece}");
    }
    let _ = steer::home(bytes);
}

/// A stream of one direction, from its kind on: judged alike however it is split.
pub fn http3_control(bytes: &[u8]) {
    let Ok(Some((kind, used))) = StreamKind::read(bytes) else { return };
    let run = |piece: usize| {
        let (mut control, mut qpack) = (ControlDecoder::default(), QpackDecoder::new(kind));
        bytes[used..].chunks(piece.max(1)).try_for_each(|part| {
            let mut part = Bytes::copy_from_slice(part);
            match kind {
                StreamKind::Control => control.decode(&mut part),
                _ => qpack.decode(&mut part),
            }
        })
    };
    let whole = run(bytes.len());
    for piece in [1, 3] {
        assert_eq!(run(piece), whole, "in pieces of {piece}");
    }
}

#[cfg(test)]
mod short {
    #[test]
    fn http3_request() {
        mutate::fuzz("http3_request", super::http3_request);
    }

    #[test]
    fn http3_control() {
        mutate::fuzz("http3_control", super::http3_control);
    }
}
