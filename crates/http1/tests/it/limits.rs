//! What is too large is refused, with the status that says which part was, and before it is all there.

use bytes::BytesMut;
use http1::{BodyDecoder, BodyEvent, Framing, Limits, ParseError, ParseErrorKind, RequestDecoder};

const LIMITS: Limits =
    Limits { head_bytes: 200, headers: 3, target_bytes: 20, chunk_line_bytes: 10, trailer_bytes: 40 };

fn request(bytes: &str) -> Result<bool, (ParseErrorKind, u16)> {
    RequestDecoder::new(LIMITS)
        .decode(&mut BytesMut::from(bytes))
        .map(|head| head.is_some())
        .map_err(|error| (error.kind, error.status().as_u16()))
}

#[test]
fn heads_are_bounded() {
    let target = |len: usize| format!("GET /{} HTTP/1.1\r\nhost: a\r\n\r\n", "x".repeat(len - 1));
    assert_eq!(request(&target(20)), Ok(true));
    assert_eq!(request(&target(21)), Err((ParseErrorKind::TargetTooLong, 414)));
    assert_eq!(request(&format!("GET /{}", "x".repeat(300))), Err((ParseErrorKind::TargetTooLong, 414)));

    let fields = |count: usize| format!("GET / HTTP/1.1\r\nhost: a\r\n{}\r\n", "a: b\r\n".repeat(count - 1));
    assert_eq!(request(&fields(3)), Ok(true));
    assert_eq!(request(&fields(4)), Err((ParseErrorKind::TooManyHeaders, 431)));

    let field = |len: usize| format!("GET / HTTP/1.1\r\nhost: a\r\na: {}\r\n\r\n", "b".repeat(len));
    let beside = field(0).len();
    assert_eq!(request(&field(200 - beside)), Ok(true));
    assert_eq!(request(&field(201 - beside)), Err((ParseErrorKind::HeadTooLarge, 431)));
    assert_eq!(request(&field(1000)[..250]), Err((ParseErrorKind::HeadTooLarge, 431)));
}

fn body(bytes: &str) -> Result<BodyEvent, ParseError> {
    let mut decoder = BodyDecoder::new(Framing::Chunked, &LIMITS);
    let mut input = BytesMut::from(bytes);
    loop {
        match decoder.decode(&mut input)? {
            BodyEvent::Data(_) | BodyEvent::Trailers(_) => {}
            other => return Ok(other),
        }
    }
}

#[test]
fn extensions_are_bounded_over_the_whole_body() {
    let chunks = |count: usize| format!("{}0\r\n\r\n", "1;abcd\r\nx\r\n".repeat(count));
    assert_eq!(body(&chunks(2)), Ok(BodyEvent::End));
    assert_eq!(body(&chunks(3)).unwrap_err().kind, ParseErrorKind::ChunkExtensionsTooLong);
    let endless = format!("1;{}", "a".repeat(40));
    assert_eq!(body(&endless).unwrap_err().kind, ParseErrorKind::ChunkExtensionsTooLong);
}

#[test]
fn trailers_are_bounded() {
    let trailer = |len: usize| format!("0\r\na: {}\r\n\r\n", "b".repeat(len));
    assert_eq!(body(&trailer(40 - 7)), Ok(BodyEvent::End));
    let error = body(&trailer(40 - 6)).unwrap_err();
    assert_eq!((error.kind, error.status().as_u16()), (ParseErrorKind::TrailersTooLarge, 431));
    assert_eq!(body("0\r\na:\r\na:\r\na:\r\na:\r\n\r\n").unwrap_err().kind, ParseErrorKind::TooManyHeaders);
}

#[test]
fn a_limit_on_fields_above_the_cap_is_the_cap() {
    let limits = Limits { head_bytes: 1 << 20, headers: usize::MAX, ..Limits::default() };
    let fields = |count: usize| format!("GET / HTTP/1.1\r\nhost: a\r\n{}\r\n", "a: b\r\n".repeat(count - 1));
    let decode = |text: String| RequestDecoder::new(limits).decode(&mut BytesMut::from(text.as_str()));
    let head = decode(fields(Limits::HEADERS_MAX)).unwrap().unwrap();
    assert_eq!(head.parts.headers.len(), Limits::HEADERS_MAX);
    assert_eq!(decode(fields(Limits::HEADERS_MAX + 1)).unwrap_err().kind, ParseErrorKind::TooManyHeaders);
}

#[test]
fn every_refusal_has_its_own_name_and_cites_its_rule() {
    let mut names = std::collections::HashSet::new();
    for kind in ParseErrorKind::ALL {
        let error = ParseError::from(*kind);
        assert!(names.insert(error.reason()), "{} is said twice", error.reason());
        assert!(
            error
                .reason()
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        );
        assert!(error.to_string().contains("(RFC "), "{error}");
    }
    assert_eq!(ParseError::from(ParseErrorKind::UnknownTransferCoding).status(), 501);
    assert_eq!(ParseError::from(ParseErrorKind::UnsupportedVersion).status(), 505);
    assert_eq!(ParseError::from(ParseErrorKind::BothLengthAndChunked).status(), 400);
}
