//! One exchange through the codec as a gateway has it, over and over, for an instruction counter.
//!
//! `codec_instructions [N]`: N (2000) times, a request is read and written and its answer with 1 KiB is read and
//! written. Nothing depends on time or chance, so that two runs of one build count the same.
#![allow(clippy::unwrap_used)]

#[path = "../benches/messages/mod.rs"]
mod messages;

use bytes::{Bytes, BytesMut};
use http1::{
    BodyDecoder, BodyEncoder, BodyEvent, Framing, Limits, RequestDecoder, ResponseDecoder,
    encode_request_head, encode_response_head,
};
use messages::{BODY, REQUEST, RESPONSE_HEAD};

/// What a socket's buffer keeps room for.
const READ_BYTES: usize = 8 * 1024;

fn main() {
    let rounds: usize = std::env::args().nth(1).map_or(2000, |rounds| rounds.parse().unwrap());
    let response: Bytes = [RESPONSE_HEAD, &BODY].concat().into();
    let mut requests = RequestDecoder::new(Limits::default());
    let (mut from_client, mut from_upstream) = (BytesMut::new(), BytesMut::new());
    let (mut to_client, mut to_upstream) = (BytesMut::new(), BytesMut::new());
    let mut written = 0;
    for _ in 0..rounds {
        from_client.reserve(READ_BYTES);
        from_client.extend_from_slice(REQUEST);
        let request = requests.decode(&mut from_client).unwrap().unwrap();
        to_upstream.clear();
        encode_request_head(&request.parts, request.framing, &mut to_upstream).unwrap();

        from_upstream.reserve(READ_BYTES);
        from_upstream.extend_from_slice(&response);
        let mut responses = ResponseDecoder::new(Limits::default());
        let head = responses.decode(&mut from_upstream, &request.parts.method).unwrap().unwrap();
        to_client.clear();
        encode_response_head(
            &head.parts,
            head.framing,
            &request.parts.method,
            request.keep_alive,
            request.parts.version,
            &mut to_client,
        )
        .unwrap();
        relay_body(head.framing, &mut from_upstream, &mut to_client);
        written += to_upstream.len() + to_client.len();
    }
    println!("{rounds} exchanges, {written} bytes written");
}

fn relay_body(framing: Framing, input: &mut BytesMut, out: &mut BytesMut) {
    let mut decoder = BodyDecoder::new(framing, &Limits::default());
    let mut encoder = BodyEncoder::new(framing);
    while let BodyEvent::Data(data) = decoder.decode(input).unwrap() {
        encoder.data(&data, out).unwrap();
    }
    encoder.end(None, out).unwrap();
}
