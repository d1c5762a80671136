//! ClickHouse: its HTTP interface, `INSERT … FORMAT JSONEachRow`.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};
use model::resource::access_log::clickhouse::{AsyncInsert, Clickhouse as Settings};
use sinks::{Courier, Outcome, Sending};

use super::{
    Building, Built,
    judge::judge,
    post::{Exchange, Post},
};
use crate::receiver::said;

const USER: HeaderName = HeaderName::from_static("x-clickhouse-user");
const KEY: HeaderName = HeaderName::from_static("x-clickhouse-key");
/// Says what went wrong, by the server's own numbers.
const CODE: &str = "x-clickhouse-exception-code";

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
    let is_of_rows = |headers: &HeaderMap| {
        let code = headers.get(CODE).and_then(|code| code.to_str().ok()).and_then(|code| code.parse().ok());
        code.is_some_and(|code: u16| OF_ROWS.contains(&code))
    };
    match exchange {
        Ok((parts, body)) if !parts.status.is_success() && is_of_rows(&parts.headers) => {
            Outcome::Poison(said(parts.status, &body))
        }
        other => judge(other),
    }
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
        let judged = |status: u16, code: Option<&str>| {
            let answer = http::Response::builder().status(status);
            let answer = code.into_iter().fold(answer, |answer, code| answer.header(CODE, code));
            let (parts, ()) = answer.body(()).expect("an answer").into_parts();
            match super::judged(Ok((parts, Bytes::from("Code: 469. DB::Exception")))) {
                Outcome::Poison(_) => "poison",
                Outcome::Again { .. } => "again",
                Outcome::Taken => "taken",
                Outcome::Refused(_) | Outcome::Partly { .. } => "refused",
            }
        };
        for (status, code, want) in [
            (500, Some("469"), "poison"),
            (500, Some("117"), "poison"),
            // Too many parts; memory; no code at all.
            (500, Some("252"), "again"),
            (500, Some("241"), "again"),
            (500, Some("nonsense"), "again"),
            (500, None, "again"),
            (400, Some("27"), "poison"),
            (404, Some("60"), "again"),
            (200, None, "taken"),
        ] {
            assert_eq!(judged(status, code), want, "{status} {code:?}");
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
