//! Requests and answers: the endpoint tells the dialect, the dialect reads and writes, the conduct says how.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    time::{SystemTime, UNIX_EPOCH},
};

use ai::{
    canon::{Error, ErrorKind},
    dialect::{Dialect, Spoken, Telling},
    endpoint::{Endpoint, Operation},
    stream::Framing,
};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Either, Full, Limited};
use hyper::body::Incoming;
use serde_json::{Value, json};

use crate::{conduct::Conduct, reply, spoken::Spoken as Tokens, vectors};

/// Bytes of a request, at most.
const BODY_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Whole answers that are kept, so that the same request under load costs next to nothing.
const KEPT_MAX: usize = 256;

/// An answer: whole, or token by token.
pub(crate) type Answer = Response<Either<Full<Bytes>, Tokens>>;

/// The provider.
pub(crate) struct Server {
    conduct: Conduct,
    requests: Cell<u64>,
    kept: RefCell<HashMap<Vec<u8>, Bytes>>,
}

/// What is asked.
struct Asked<'r> {
    endpoint: Endpoint,
    conduct: Conduct,
    framing: Framing,
    path: &'r str,
    body: Bytes,
}

impl Server {
    pub(crate) fn new(conduct: Conduct) -> Self {
        Self { conduct, requests: Cell::new(0), kept: RefCell::default() }
    }

    pub(crate) async fn answer(&self, request: Request<Incoming>) -> Answer {
        let (head, body) = request.into_parts();
        let number = self.requests.replace(self.requests.get() + 1);
        let is_anthropic = head.headers.contains_key("anthropic-version");
        let path = head.uri.path();
        let Some(endpoint) = Endpoint::of(path, is_anthropic) else {
            return failed(
                Dialect::OpenAiChat,
                Error::new(ErrorKind::NotFound, format!("nothing is at {path}")),
            );
        };
        let dialect = endpoint.dialect;
        let conduct = match conduct(&head.headers, self.conduct) {
            Ok(conduct) => conduct,
            Err(error) => return failed(dialect, Error::invalid("x-mock", error)),
        };
        let Ok(body) = Limited::new(body, BODY_BYTES_MAX).collect().await else {
            return failed(dialect, Error::new(ErrorKind::TooLarge, "the body broke off, or is too large"));
        };
        if let Some(status) = conduct.error.or((number % 1000 < conduct.errors_per_mille).then_some(500)) {
            tokio::time::sleep(conduct.first).await;
            return failed(dialect, Error::of_status(status, "asked to fail, this provider fails"));
        }
        let framing = dialect.caller_framing(head.uri.query());
        let asked = Asked { endpoint, conduct, framing, path, body: body.to_bytes() };
        self.serve(asked, number).await.unwrap_or_else(|error| failed(dialect, error))
    }

    async fn serve(&self, asked: Asked<'_>, number: u64) -> Result<Answer, Error> {
        match asked.endpoint.operation {
            Operation::Chat => self.chat(asked, number).await,
            Operation::Models => Ok(json(&models(asked.endpoint.dialect))),
            Operation::Embeddings => {
                let body: Value = serde_json::from_slice(&asked.body)
                    .map_err(|error| Error::new(ErrorKind::Invalid, error.to_string()))?;
                Ok(json(&vectors::answer(&body)))
            }
            Operation::CountTokens => {
                let tokens = String::from_utf8_lossy(&asked.body).split_whitespace().count();
                // As Anthropic, Gemini and Bedrock tell it.
                Ok(json(&json!({"input_tokens": tokens, "totalTokens": tokens, "inputTokens": tokens})))
            }
            // What else vendors have is not here.
            _ => Err(Error {
                status: 501,
                ..Error::new(ErrorKind::NotFound, "this provider has no such endpoint")
            }),
        }
    }

    async fn chat(&self, asked: Asked<'_>, number: u64) -> Result<Answer, Error> {
        let dialect = asked.endpoint.dialect;
        let key = [asked.path.as_bytes(), b"\n", &asked.conduct.tokens.to_le_bytes(), &asked.body].concat();
        let known = self.kept.borrow().get(&key).cloned();
        if let Some(kept) = known {
            tokio::time::sleep(asked.conduct.first + asked.conduct.pause() * count(asked.conduct.tokens))
                .await;
            return Ok(whole(kept));
        }
        let spoken = Spoken { model: asked.endpoint.model.clone(), stream: asked.endpoint.stream };
        let request = dialect.read_request(&spoken, &asked.body)?;
        let said = reply::said(&request, asked.conduct.tokens);
        let id = format!("mock-{number}");
        let telling = Telling {
            model: request.model.clone(),
            id: id.clone(),
            created: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs(),
            include_usage: request.include_usage,
            echo: dialect.echo(&request),
            framing: Some(asked.framing),
            ..Telling::default()
        };
        if request.stream {
            let (framing, writer) = (asked.framing, dialect.stream_writer(telling));
            let tokens = Tokens::new(writer, reply::steps(&request, said, id), asked.conduct);
            let mut response = Response::new(Either::Right(tokens));
            let headers = response.headers_mut();
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(framing.media_type()));
            headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
            return Ok(response);
        }
        let text: Bytes = dialect.write_answer(reply::whole(&request, said, id), &telling).into();
        if self.kept.borrow().len() < KEPT_MAX {
            self.kept.borrow_mut().insert(key, text.clone());
        }
        tokio::time::sleep(asked.conduct.first + asked.conduct.pause() * count(asked.conduct.tokens)).await;
        if asked.conduct.cut.is_some() {
            return Ok(Response::new(Either::Right(Tokens::broken(text))));
        }
        Ok(whole(text))
    }
}

fn count(tokens: u64) -> u32 {
    u32::try_from(tokens).unwrap_or(u32::MAX)
}

fn conduct(headers: &HeaderMap, conduct: Conduct) -> Result<Conduct, String> {
    match headers.get("x-mock") {
        Some(text) => conduct.with(text.to_str().map_err(|error| error.to_string())?),
        None => Ok(conduct),
    }
}

fn whole(text: Bytes) -> Answer {
    let mut response = Response::new(Either::Left(Full::new(text)));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn json(value: &Value) -> Answer {
    whole(value.to_string().into())
}

fn failed(dialect: Dialect, error: Error) -> Answer {
    let mut response = whole(dialect.write_error(&error).into());
    *response.status_mut() = StatusCode::from_u16(error.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    if error.status == 429 {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}

/// The models, as each vendor lists them: there is one, and any name is it.
fn models(dialect: Dialect) -> Value {
    match dialect {
        Dialect::Gemini => json!({"models": [{"name": "models/mock", "displayName": "mock"}]}),
        Dialect::Anthropic => {
            json!({"data": [{"type": "model", "id": "mock", "display_name": "mock"}], "has_more": false})
        }
        _ => json!({"object": "list", "data": [{"id": "mock", "object": "model", "owned_by": "nobody"}]}),
    }
}
