//! ClickHouse: its HTTP interface, `INSERT … FORMAT JSONEachRow`.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, header};
use http_body_util::Full;
use model::resource::{
    access_log::clickhouse::{AsyncInsert, Clickhouse as Settings},
    telemetry::Compression,
};
use sinks::{Courier, Sending};

use super::{Building, Built, judge::judge};
use crate::receiver::{Client, Endpoint, Speaks, gzip};

const USER: HeaderName = HeaderName::from_static("x-clickhouse-user");
const KEY: HeaderName = HeaderName::from_static("x-clickhouse-key");

struct Clickhouse {
    endpoint: Endpoint,
    /// The target but for the token.
    target: String,
    headers: HeaderMap,
    is_compressed: bool,
    client: Client,
}

pub(super) fn build(settings: &Settings, cx: Building<'_>) -> Result<Built, String> {
    let endpoint = Endpoint::of(&settings.url, settings.tls.as_ref(), Speaks::Http1, cx.snapshot, cx.tls)
        .map_err(|wrong| format!("url: {wrong}"))?;
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"));
    let is_compressed = settings.compression == Compression::Gzip;
    if is_compressed {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    if let Some(username) = &settings.username {
        let name = HeaderValue::from_str(username).map_err(|_| "username: it cannot stand in a header")?;
        headers.insert(USER, name);
    }
    if let Some(password) = &settings.password {
        let mut password = HeaderValue::from_str(cx.snapshot.secret(password))
            .map_err(|_| "password: the secret cannot stand in a header")?;
        password.set_sensitive(true);
        headers.insert(KEY, password);
    }
    let target = target(settings);
    let line = cx.line;
    Ok(Built {
        encode: Box::new(move |call, out| line.write(call, out)),
        courier: Box::new(Clickhouse { endpoint, target, headers, is_compressed, client: Client::default() }),
        timeout: settings.timeout.get(),
    })
}

/// The query with its settings. The names in it are letters, digits and `_`, as the model has checked.
fn target(settings: &Settings) -> String {
    let (database, table) = (&settings.database, &settings.table);
    let mut target = format!(
        "/?query=INSERT%20INTO%20{database}.{table}%20FORMAT%20JSONEachRow\
         &input_format_skip_unknown_fields=1&date_time_input_format=best_effort\
         &input_format_json_read_objects_as_strings=1&input_format_json_read_arrays_as_strings=1"
    );
    match settings.async_insert {
        AsyncInsert::Off => {}
        AsyncInsert::Wait => target.push_str("&async_insert=1&wait_for_async_insert=1"),
        AsyncInsert::NoWait => target.push_str("&async_insert=1&wait_for_async_insert=0"),
    }
    target
}

/// What a batch that is sent again is known by, so that a table that looks for it takes it once.
fn token(batch: &[Bytes]) -> String {
    let mut halves = [0xcbf2_9ce4_8422_2325_u64, 0x9ae1_6a3b_2f90_404f];
    for byte in batch.iter().flat_map(|record| record.iter()) {
        for (half, prime) in halves.iter_mut().zip([0x0100_0000_01b3, 0x9e37_79b9_7f4a_7c15]) {
            *half = (*half ^ u64::from(*byte)).wrapping_mul(prime);
        }
    }
    format!("{:016x}{:016x}", halves[0], halves[1])
}

impl Courier for Clickhouse {
    fn send<'a>(&'a mut self, batch: &'a [Bytes]) -> Sending<'a> {
        Box::pin(async move {
            let mut body = Vec::with_capacity(batch.iter().map(|record| record.len() + 1).sum());
            for record in batch {
                body.extend_from_slice(record);
                body.push(b'\n');
            }
            let body = if self.is_compressed { gzip(&body) } else { Bytes::from(body) };
            let mut request = Request::new(Full::new(body));
            *request.method_mut() = Method::POST;
            let target = format!("{}&insert_deduplication_token={}", self.target, token(batch));
            *request.uri_mut() = match target.parse::<Uri>() {
                Ok(_) => self.endpoint.below(&target),
                Err(error) => return sinks::Outcome::Refused(error.to_string()),
            };
            *request.headers_mut() = self.headers.clone();
            judge(self.client.ask(&self.endpoint, request).await)
        })
    }

    fn reset(&mut self) {
        self.client = Client::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_has_one_token_however_often_it_is_sent_and_another_one_has_another() {
        let batch = [Bytes::from("a"), Bytes::from("b")];
        assert_eq!(token(&batch), token(&batch.clone()));
        assert_ne!(token(&batch), token(&batch[..1]));
        assert_eq!(token(&batch).len(), 32);
    }

    #[test]
    fn the_target_says_what_is_inserted_where_and_whether_the_server_collects() {
        let settings = |more: &str| -> Settings {
            let text = format!(r#"{{"url":"http://a","database":"logs","table":"calls"{more}}}"#);
            serde_json::from_str(&text).expect("settings")
        };
        let plain = target(&settings(""));
        assert!(plain.starts_with("/?query=INSERT%20INTO%20logs.calls%20FORMAT%20JSONEachRow&"), "{plain}");
        assert!(!plain.contains("async"), "{plain}");
        assert!(plain.parse::<Uri>().is_ok(), "{plain}");
        let waits = target(&settings(r#","asyncInsert":"wait""#));
        assert!(waits.ends_with("&async_insert=1&wait_for_async_insert=1"), "{waits}");
    }
}
