//! Compares what we make of a message with what hyper and httparse make of it. The fuzz targets use this too.

use http::Method;
use http1::Framing;

use crate::{
    hyper_peer::{Heard, final_response, first_request},
    read::{Seen, read, requests, responses},
};

/// The first whole message of those that were seen: head, body and trailers.
struct Message {
    head: Seen,
    body: Vec<u8>,
    trailers: Vec<(String, Vec<u8>)>,
}

fn first_message(seen: Vec<Seen>, ends_with_connection: bool) -> Option<Message> {
    let mut seen = seen.into_iter();
    let mut message = Message { head: seen.next()?, body: Vec::new(), trailers: Vec::new() };
    for next in seen {
        match next {
            Seen::Data(data) => message.body = data,
            Seen::Trailers(trailers) => message.trailers = trailers,
            Seen::End => return Some(message),
            _ => return None,
        }
    }
    ends_with_connection.then_some(message)
}

type Listed = Vec<(String, Vec<u8>)>;

fn same_message(message: &Message, headers: &Listed, heard: &Heard) -> Result<(), String> {
    if *headers != heard.headers {
        return Err(format!("fields: ours {headers:?}, hyper's {:?}", heard.headers));
    }
    if heard.body.as_ref() != Some(&message.body) {
        return Err(format!("body: ours {:?}, hyper's {:?}", message.body, heard.body));
    }
    // We leave out trailers that hyper lets through; what we let through, it has.
    if !message.trailers.iter().all(|trailer| heard.trailers.contains(trailer)) {
        return Err(format!("trailers: ours {:?}, hyper's {:?}", message.trailers, heard.trailers));
    }
    Ok(())
}

/// Whether we accepted a whole message; an error tells where hyper differs.
pub fn compare_request_with_hyper(bytes: &[u8]) -> Result<bool, String> {
    let Some(message) = first_message(read(requests(), &[bytes]), false) else { return Ok(false) };
    let Seen::Request { line, headers, .. } = &message.head else { return Ok(false) };
    if line.starts_with("CONNECT") {
        // What follows a CONNECT is a matter of its answer.
        return Ok(false);
    }
    let heard = first_request(bytes).ok_or("hyper accepts no request")?;
    if *line != heard.start {
        return Err(format!("ours {line}, hyper's {}", heard.start));
    }
    same_message(&message, headers, &heard).map(|()| true)
}

/// The same for the first answer to a GET.
pub fn compare_response_with_hyper(bytes: &[u8]) -> Result<bool, String> {
    let seen = read(responses(Method::GET), &[bytes]);
    let until_close = matches!(seen.first(), Some(Seen::Response { framing: Framing::UntilClose, .. }));
    let Some(message) = first_message(seen, until_close) else { return Ok(false) };
    let Seen::Response { status, headers, .. } = &message.head else { return Ok(false) };
    if status.is_informational() {
        return Ok(false);
    }
    let heard = final_response(bytes, &Method::GET).ok_or("hyper accepts no response")?;
    if *status != heard.status {
        return Err(format!("ours {status}, hyper's {}", heard.status));
    }
    same_message(&message, headers, &heard).map(|()| true)
}

/// The same for a request's head and httparse.
pub fn compare_request_with_httparse(bytes: &[u8]) -> Result<bool, String> {
    let seen = read(requests(), &[bytes]);
    let Some(Seen::Request { line, headers, wire_len, .. }) = seen.first() else { return Ok(false) };
    let mut room = [httparse::EMPTY_HEADER; 128];
    let mut theirs = httparse::Request::new(&mut room);
    match theirs.parse(bytes) {
        Ok(httparse::Status::Complete(len)) if len == *wire_len => {}
        other => return Err(format!("ours {wire_len} bytes, httparse's {other:?}")),
    }
    let start = [theirs.method, theirs.path].map(Option::unwrap_or_default);
    let ours: Vec<&str> = line.split(' ').collect();
    // A URI in absolute-form is shown with the path it implies.
    if ours[0] != start[0] || (start[1].starts_with('/') && ours[1] != start[1]) {
        return Err(format!("ours {line}, httparse's {start:?}"));
    }
    same_fields(headers, theirs.headers).map(|()| true)
}

/// The same for a response's head.
pub fn compare_response_with_httparse(bytes: &[u8]) -> Result<bool, String> {
    let seen = read(responses(Method::GET), &[bytes]);
    let Some(Seen::Response { status, headers, .. }) = seen.first() else { return Ok(false) };
    let mut room = [httparse::EMPTY_HEADER; 128];
    let mut theirs = httparse::Response::new(&mut room);
    match theirs.parse(bytes) {
        Ok(httparse::Status::Complete(_)) if theirs.code == Some(status.as_u16()) => {}
        other => return Err(format!("ours {status}, httparse's {other:?} {:?}", theirs.code)),
    }
    same_fields(headers, theirs.headers).map(|()| true)
}

/// Fields of one name keep their order; those of different names may be told in another.
fn same_fields(ours: &Listed, theirs: &[httparse::Header<'_>]) -> Result<(), String> {
    let mut ours = ours.clone();
    let mut theirs: Listed =
        theirs.iter().map(|field| (field.name.to_ascii_lowercase(), field.value.to_vec())).collect();
    ours.sort_by(|a, b| a.0.cmp(&b.0));
    theirs.sort_by(|a, b| a.0.cmp(&b.0));
    if ours == theirs { Ok(()) } else { Err(format!("fields: ours {ours:?}, httparse's {theirs:?}")) }
}
