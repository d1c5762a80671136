//! The codec's four steps: a request and an answer of usual size, read and written.
#![allow(missing_docs, clippy::unwrap_used)]

mod messages;

use std::hint::black_box;

use bytes::BytesMut;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use http::{Method, Version};
use http1::{
    BodyDecoder, BodyEncoder, BodyEvent, Framing, Limits, RequestDecoder, ResponseDecoder,
    encode_request_head, encode_response_head,
};
use messages::{BODY, REQUEST, RESPONSE_HEAD};

fn decode(c: &mut Criterion) {
    let mut group = c.benchmark_group("decode");
    group.throughput(Throughput::Bytes(REQUEST.len() as u64));
    group.bench_function("request", |b| {
        let mut decoder = RequestDecoder::new(Limits::default());
        b.iter_batched(
            || BytesMut::from(REQUEST),
            |mut input| black_box(decoder.decode(&mut input).unwrap()),
            BatchSize::SmallInput,
        );
    });
    let response = [RESPONSE_HEAD, &BODY].concat();
    group.throughput(Throughput::Bytes(response.len() as u64));
    group.bench_function("response", |b| {
        let mut decoder = ResponseDecoder::new(Limits::default());
        b.iter_batched(
            || BytesMut::from(&response[..]),
            |mut input| {
                let head = decoder.decode(&mut input, &Method::GET).unwrap().unwrap();
                let mut body = BodyDecoder::new(head.framing, &Limits::default());
                let BodyEvent::Data(data) = body.decode(&mut input).unwrap() else { unreachable!() };
                black_box((head, data))
            },
            BatchSize::SmallInput,
        );
    });
    group.finish();
}

fn encode(c: &mut Criterion) {
    let request =
        RequestDecoder::new(Limits::default()).decode(&mut BytesMut::from(REQUEST)).unwrap().unwrap();
    let response = ResponseDecoder::new(Limits::default())
        .decode(&mut BytesMut::from(RESPONSE_HEAD), &Method::GET)
        .unwrap()
        .unwrap();
    let body = bytes::Bytes::from_static(&BODY);
    let mut out = BytesMut::with_capacity(16 * 1024);
    let mut group = c.benchmark_group("encode");
    group.bench_function("request", |b| {
        b.iter(|| {
            out.clear();
            encode_request_head(&request.parts, Framing::None, &mut out).unwrap();
        });
    });
    group.bench_function("response", |b| {
        b.iter(|| {
            out.clear();
            let framing = response.framing;
            encode_response_head(&response.parts, framing, &Method::GET, true, Version::HTTP_11, &mut out)
                .unwrap();
            let mut encoder = BodyEncoder::new(framing);
            encoder.data(&body, &mut out).unwrap();
            encoder.end(None, &mut out).unwrap();
        });
    });
    group.finish();
}

criterion_group!(benches, decode, encode);
criterion_main!(benches);
