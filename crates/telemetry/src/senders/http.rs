//! JSON over HTTP: a list of records, or a record per line.

use bytes::Bytes;
use http::Method;
use model::resource::access_log::http::{Http as Settings, HttpBody, HttpMethod};
use sinks::{Courier, Sending};

use super::{Building, Built, judge::judge, post::Post};
use crate::receiver;

struct Http {
    post: Post,
    method: Method,
    is_list: bool,
}

pub(super) fn build(settings: &Settings, cx: Building<'_>) -> Result<Built, String> {
    let is_list = settings.body == HttpBody::Array;
    let headers = receiver::headers(&settings.headers, cx.snapshot)?;
    let kind = match (is_list, cx.line.is_json()) {
        (true, _) => "application/json",
        (false, true) => "application/x-ndjson",
        (false, false) => "text/plain; charset=utf-8",
    };
    let to = (settings.url.as_str(), settings.tls.as_ref());
    let post = Post::new(to, headers, kind, settings.compression, &cx)?;
    let method = match settings.method {
        HttpMethod::Post => Method::POST,
        HttpMethod::Put => Method::PUT,
    };
    let line = cx.line;
    Ok(Built {
        encode: Box::new(move |call, out| line.write(call, out)),
        courier: Box::new(Http { post, method, is_list }),
        timeout: settings.timeout.get(),
    })
}

impl Courier for Http {
    fn send<'a>(&'a mut self, batch: &'a [Bytes]) -> Sending<'a> {
        Box::pin(async move {
            let target = self.post.itself();
            judge(self.post.send(self.method.clone(), target, body(batch, self.is_list)).await)
        })
    }

    fn reset(&mut self) {
        self.post.reset();
    }
}

fn body(batch: &[Bytes], is_list: bool) -> Vec<u8> {
    let mut body = Vec::with_capacity(batch.iter().map(|record| record.len() + 1).sum::<usize>() + 2);
    let [open, between, close]: [&[u8]; 3] = if is_list { [b"[", b",", b"]"] } else { [b"", b"\n", b"\n"] };
    body.extend_from_slice(open);
    for (place, record) in batch.iter().enumerate() {
        if place > 0 {
            body.extend_from_slice(between);
        }
        body.extend_from_slice(record);
    }
    body.extend_from_slice(close);
    body
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_a_list_or_a_record_per_line() {
        let batch = [Bytes::from("{\"a\":1}"), Bytes::from("{}")];
        assert_eq!(body(&batch, true), b"[{\"a\":1},{}]");
        assert_eq!(body(&batch, false), b"{\"a\":1}\n{}\n");
        assert_eq!(body(&batch[..1], true), b"[{\"a\":1}]");
    }
}
