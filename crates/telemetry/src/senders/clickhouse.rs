//! ClickHouse: its HTTP interface, `INSERT … FORMAT JSONEachRow`.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, response::Parts};
use model::resource::access_log::clickhouse::{AsyncInsert, Clickhouse as Settings};
use sinks::{Courier, Outcome, Sending};

use super::{
    Building, Built,
    judge::judge,
    post::{Exchange, Post},
};
use crate::receiver::{BrokenOff, said};

const USER: HeaderName = HeaderName::from_static("x-clickhouse-user");
const KEY: HeaderName = HeaderName::from_static("x-clickhouse-key");
/// Says what went wrong, by the server's own numbers.
const CODE: &str = "x-clickhouse-exception-code";
/// What every text of an exception has, and what its number stands behind.
const EXCEPTION: &str = "DB::Exception";
const NUMBER: &str = "Code: ";
/// Of an exception whose number nobody knows.
const UNKNOWN: u16 = 0;

/// What is wrong with rows, and with no others: texts and numbers that are none, types that do not fit, what is out of
/// bounds, null where there must be something, a constraint that is not met. Many of these come with status 500.
const OF_ROWS: [u16; 20] =
    [6, 26, 27, 38, 41, 53, 69, 70, 72, 117, 130, 321, 349, 376, 407, 441, 467, 469, 675, 676];

struct Clickhouse {
    post: Post,
    /// The target but for the token.
    target: String,
}

pub(super) fn build(settings: &Settings, cx: Building<'_>) -> Result<Built, String> {
    let mut headers = HeaderMap::new();
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
    let to = (settings.url.as_str(), settings.tls.as_ref());
    let post = Post::new(to, headers, "application/x-ndjson", settings.compression, &cx)?;
    let (target, line) = (target(settings), cx.line);
    Ok(Built {
        encode: Box::new(move |call, out| line.write(call, out)),
        courier: Box::new(Clickhouse { post, target }),
        timeout: settings.timeout.get(),
    })
}

/// Judges an exchange: one row that the table does not take is at fault for itself alone, whatever the status is.
fn judged(exchange: Exchange) -> Outcome {
    let (parts, body) = match exchange {
        Ok(answered) => answered,
        Err(why) => return judge(Err(why)),
    };
    match exception(&parts, &body) {
        Some(code) if OF_ROWS.contains(&code) => Outcome::Poison(said(parts.status, &body)),
        Some(_) if parts.status.is_success() => {
            let how =
                if parts.extensions.get::<BrokenOff>().is_some() { ", and the answer broke off" } else { "" };
            Outcome::Again { after: None, why: format!("{}{how}", said(parts.status, &body)) }
        }
        _ => judge(Ok((parts, body))),
    }
}

/// The number of what went wrong. The head of an answer may leave before all rows are read (`send_progress_in_http_headers`): what
/// goes wrong after that stands in its body, or the answer breaks off.
fn exception(parts: &Parts, body: &[u8]) -> Option<u16> {
    let header = parts.headers.get(CODE).and_then(|code| code.to_str().ok());
    let told = header.and_then(|code| code.parse::<u16>().ok()).filter(|code| *code != UNKNOWN);
    if told.is_some() || !parts.status.is_success() {
        return told;
    }
    if parts.extensions.get::<BrokenOff>().is_some() {
        return Some(UNKNOWN);
    }
    let text = String::from_utf8_lossy(body);
    let number = |(_, rest): (&str, &str)| {
        let end = rest.find(|one: char| !one.is_ascii_digit()).unwrap_or(rest.len());
        rest.get(..end)?.parse::<u16>().ok()
    };
    text.contains(EXCEPTION).then(|| text.split_once(NUMBER).and_then(number).unwrap_or(UNKNOWN))
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
            let target = format!("{}&insert_deduplication_token={}", self.target, token(batch));
            let target = match target.parse::<Uri>() {
                Ok(_) => self.post.below(&target),
                Err(error) => return Outcome::Refused(error.to_string()),
            };
            judged(self.post.send(Method::POST, target, body).await)
        })
    }

    fn reset(&mut self) {
        self.post.reset();
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
    fn a_row_that_is_at_fault_is_told_from_a_server_that_is() {
        let judged = |status: u16, code: Option<&str>, body: &'static str, is_whole: bool| {
            let answer = http::Response::builder().status(status);
            let answer = code.into_iter().fold(answer, |answer, code| answer.header(CODE, code));
            let (mut parts, ()) = answer.body(()).expect("an answer").into_parts();
            if !is_whole {
                parts.extensions.insert(BrokenOff);
            }
            match super::judged(Ok((parts, Bytes::from(body)))) {
                Outcome::Poison(_) => "poison",
                Outcome::Again { .. } => "again",
                Outcome::Taken => "taken",
                Outcome::Refused(_) | Outcome::Partly { .. } => "refused",
            }
        };
        let of_row = "Code: 469. DB::Exception";
        for (status, code, body, is_whole, want) in [
            (500, Some("469"), of_row, true, "poison"),
            (500, Some("117"), of_row, true, "poison"),
            // Too many parts; memory; no code at all.
            (500, Some("252"), of_row, true, "again"),
            (500, Some("241"), of_row, true, "again"),
            (500, Some("nonsense"), of_row, true, "again"),
            (500, None, of_row, true, "again"),
            (400, Some("27"), of_row, true, "poison"),
            (404, Some("60"), of_row, true, "again"),
            (200, None, "", true, "taken"),
            (200, Some("0"), "", true, "taken"),
            // The status was sent before it was known.
            (200, None, of_row, true, "poison"),
            (200, Some("469"), "", true, "poison"),
            (200, None, "__exception__\r\nCode: 241. DB::Exception: memory", true, "again"),
            (200, None, "DB::Exception without a number", true, "again"),
            (200, None, "", false, "again"),
        ] {
            assert_eq!(judged(status, code, body, is_whole), want, "{status} {code:?} {body}");
        }
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
