//! Prices over gRPC (`prices.proto`), beside the REST API of the catalogue: messages are framed by hand, for two methods.

use std::time::Duration;

use axum::{
    Router,
    body::{Body, Bytes},
    extract::State,
    http::{HeaderMap, HeaderValue, header::CONTENT_TYPE},
    response::Response,
    routing::post,
};
use futures_util::{StreamExt, stream};
use http_body::Frame;
use http_body_util::StreamBody;
use prost::Message;

use crate::{problem::Problem, store::Store};

/// Bytes before a message: a flag, and its length.
const PREFIX_BYTES: usize = 5;
/// Between two prices of a stream.
const PAUSE: Duration = Duration::from_millis(200);
/// Prices of one stream.
const TIMES_MAX: i32 = 1000;

const INVALID_ARGUMENT: u16 = 3;
const NOT_FOUND: u16 = 5;
const INTERNAL: u16 = 13;

/// `GetPriceRequest` and `WatchPriceRequest`, which have the same beginning.
#[derive(Clone, PartialEq, Message)]
struct Asked {
    #[prost(int64, tag = "1")]
    product_id: i64,
    #[prost(int32, tag = "2")]
    times: i32,
}

#[derive(Clone, PartialEq, Message)]
struct Price {
    #[prost(int64, tag = "1")]
    product_id: i64,
    #[prost(string, tag = "2")]
    name: String,
    #[prost(int64, tag = "3")]
    cents: i64,
    #[prost(string, tag = "4")]
    currency: String,
}

/// How a call ends that does not end well.
struct Status(u16, String);

/// The routes of the service.
pub fn routes(store: Store) -> Router {
    Router::new()
        .route("/shop.Prices/GetPrice", post(get))
        .route("/shop.Prices/WatchPrice", post(watch))
        .with_state(store)
}

async fn get(State(store): State<Store>, body: Bytes) -> Response {
    match asked(&body) {
        Ok(asked) => answer(store, asked.product_id, 1).await,
        Err(status) => failed(&status),
    }
}

async fn watch(State(store): State<Store>, body: Bytes) -> Response {
    match asked(&body) {
        Ok(Asked { product_id, times }) => {
            answer(store, product_id, if times == 0 { 3 } else { times.clamp(1, TIMES_MAX) }).await
        }
        Err(status) => failed(&status),
    }
}

fn asked(body: &[u8]) -> Result<Asked, Status> {
    let message = body.get(PREFIX_BYTES..).unwrap_or_default();
    Asked::decode(message).map_err(|error| Status(INVALID_ARGUMENT, error.to_string()))
}

async fn price(store: &Store, id: i64) -> Result<Price, Status> {
    let found =
        store.product(id).await.map_err(|_: Problem| Status(INTERNAL, "the store is away".to_owned()))?;
    let product = found.ok_or_else(|| Status(NOT_FOUND, format!("no product {id}")))?;
    Ok(Price { product_id: product.id, name: product.name, cents: product.cents, currency: product.currency })
}

/// The price, so many times; then how it ended, in trailers.
async fn answer(store: Store, id: i64, times: i32) -> Response {
    let first = match price(&store, id).await {
        Ok(first) => first,
        Err(status) => return failed(&status),
    };
    let more = stream::iter(1..times).then(move |_| {
        let store = store.clone();
        async move {
            tokio::time::sleep(PAUSE).await;
            price(&store, id).await
        }
    });
    let prices = stream::iter([Ok(first)]).chain(more);
    let frames = prices.map(|price| match price {
        Ok(price) => Frame::data(framed(&price)),
        Err(status) => Frame::trailers(trailers(&status)),
    });
    let end = stream::iter([Frame::trailers(trailers(&Status(0, String::new())))]);
    respond(Body::new(StreamBody::new(frames.chain(end).map(Ok::<_, std::convert::Infallible>))))
}

fn framed(message: &impl Message) -> Bytes {
    let bytes = message.encode_to_vec();
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    [&[0], length.to_be_bytes().as_slice(), &bytes].concat().into()
}

fn trailers(status: &Status) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from(status.0));
    if let Ok(message) = HeaderValue::from_str(&status.1) {
        trailers.insert("grpc-message", message);
    }
    trailers
}

/// An error without any message before it stands in the head alone.
fn failed(status: &Status) -> Response {
    let mut response = respond(Body::empty());
    response.headers_mut().extend(trailers(status));
    response
}

fn respond(body: Body) -> Response {
    let mut response = Response::new(body);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    response
}
