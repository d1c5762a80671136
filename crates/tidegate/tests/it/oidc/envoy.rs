//! A server of Envoy's `ext_authz`, made with tonic. Its messages are written here for themselves, by Envoy's numbers.

use std::{
    collections::HashMap,
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, Mutex},
    task::{Context, Poll},
};

use prost::{
    Message,
    bytes::{Buf, BufMut, Bytes},
};
use tonic::{
    Request, Response, Status,
    body::Body,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    server::{Grpc, NamedService, UnaryService},
};

use super::super::harness::{eventually, free_port};

/// A question, taken apart.
#[derive(Debug, Clone, Default)]
pub struct Question {
    pub method: String,
    pub path: String,
    pub host: String,
    pub scheme: String,
    pub protocol: String,
    pub body: String,
    pub size: i64,
    pub client: String,
    pub headers: HashMap<String, String>,
}

/// A running server.
pub struct Authorizer {
    pub address: SocketAddr,
    asked: Arc<Mutex<Vec<Question>>>,
    runtime: Option<tokio::runtime::Runtime>,
}

impl Authorizer {
    pub fn start() -> Self {
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let asked = Arc::<Mutex<Vec<Question>>>::default();
        let serving =
            tonic::transport::Server::builder().add_service(Authorization(asked.clone())).serve(address);
        runtime.spawn(async move { serving.await.expect("it serves") });
        eventually("the server is up", || std::net::TcpStream::connect(address).is_ok());
        Self { address, asked, runtime: Some(runtime) }
    }

    pub fn asked(&self) -> Vec<Question> {
        self.asked.lock().expect("not poisoned").clone()
    }
}

impl Drop for Authorizer {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

#[derive(Clone)]
struct Authorization(Arc<Mutex<Vec<Question>>>);

impl NamedService for Authorization {
    const NAME: &'static str = "envoy.service.auth.v3.Authorization";
}

impl tonic::codegen::Service<tonic::codegen::http::Request<Body>> for Authorization {
    type Response = tonic::codegen::http::Response<Body>;
    type Error = Infallible;
    type Future = tonic::codegen::BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: tonic::codegen::http::Request<Body>) -> Self::Future {
        let asked = self.0.clone();
        Box::pin(async move {
            assert_eq!(request.uri().path(), "/envoy.service.auth.v3.Authorization/Check");
            Ok(Grpc::new(Raw).unary(Check(asked), request).await)
        })
    }
}

struct Check(Arc<Mutex<Vec<Question>>>);

impl UnaryService<Bytes> for Check {
    type Response = Bytes;
    type Future = tonic::codegen::BoxFuture<Response<Bytes>, Status>;

    fn call(&mut self, request: Request<Bytes>) -> Self::Future {
        let asked = self.0.clone();
        Box::pin(async move {
            let told = CheckRequest::decode(request.into_inner())
                .map_err(|error| Status::invalid_argument(error.to_string()))?;
            let attributes = told.attributes.unwrap_or_default();
            let http = attributes.request.and_then(|request| request.http).unwrap_or_default();
            let source = attributes.source.and_then(|peer| peer.address).and_then(|address| address.socket);
            let shown = http.headers.get("authorization").cloned().unwrap_or_default();
            asked.lock().expect("not poisoned").push(Question {
                method: http.method,
                path: http.path,
                host: http.host,
                scheme: http.scheme,
                protocol: http.protocol,
                body: http.body,
                size: http.size,
                client: source.unwrap_or_default().address,
                headers: http.headers,
            });
            let answer = match shown.as_str() {
                "Bearer good" => CheckResponse {
                    status: Some(RpcStatus { code: 0 }),
                    ok: Some(Allowed {
                        headers: vec![field("x-user", "ann"), field("x-secret", "no")],
                        headers_to_remove: vec!["x-drop".to_owned(), "host".to_owned()],
                        response_headers_to_add: vec![field("x-told", "yes"), field("x-secret", "no")],
                    }),
                    denied: None,
                },
                "Bearer teapot" => CheckResponse {
                    status: Some(RpcStatus { code: 7 }),
                    denied: Some(Denied {
                        status: Some(HttpStatus { code: 418 }),
                        headers: vec![field("www-authenticate", "Tea"), field("x-secret", "no")],
                        body: "short and stout".to_owned(),
                    }),
                    ok: None,
                },
                "Bearer bare" => {
                    CheckResponse { status: Some(RpcStatus { code: 16 }), denied: None, ok: None }
                }
                "Bearer empty" => CheckResponse::default(),
                _ => return Err(Status::internal("broken")),
            };
            Ok(Response::new(answer.encode_to_vec().into()))
        })
    }
}

fn field(key: &str, value: &str) -> HeaderOption {
    HeaderOption { header: Some(Field { key: key.to_owned(), value: value.to_owned() }) }
}

/// Messages as bytes.
struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        to.put(item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(from.copy_to_bytes(from.remaining())))
    }
}

#[derive(Clone, PartialEq, Message)]
struct CheckRequest {
    #[prost(message, optional, tag = "1")]
    attributes: Option<Attributes>,
}

#[derive(Clone, PartialEq, Message)]
struct Attributes {
    #[prost(message, optional, tag = "1")]
    source: Option<Peer>,
    #[prost(message, optional, tag = "4")]
    request: Option<Asked>,
}

#[derive(Clone, PartialEq, Message)]
struct Peer {
    #[prost(message, optional, tag = "1")]
    address: Option<Address>,
}

#[derive(Clone, PartialEq, Message)]
struct Address {
    #[prost(message, optional, tag = "1")]
    socket: Option<SocketAddress>,
}

#[derive(Clone, PartialEq, Message)]
struct SocketAddress {
    #[prost(string, tag = "2")]
    address: String,
}

#[derive(Clone, PartialEq, Message)]
struct Asked {
    #[prost(message, optional, tag = "2")]
    http: Option<HttpRequest>,
}

#[derive(Clone, PartialEq, Message)]
struct HttpRequest {
    #[prost(string, tag = "2")]
    method: String,
    #[prost(map = "string, string", tag = "3")]
    headers: HashMap<String, String>,
    #[prost(string, tag = "4")]
    path: String,
    #[prost(string, tag = "5")]
    host: String,
    #[prost(string, tag = "6")]
    scheme: String,
    #[prost(int64, tag = "9")]
    size: i64,
    #[prost(string, tag = "10")]
    protocol: String,
    #[prost(string, tag = "11")]
    body: String,
}

#[derive(Clone, PartialEq, Message)]
struct CheckResponse {
    #[prost(message, optional, tag = "1")]
    status: Option<RpcStatus>,
    #[prost(message, optional, tag = "2")]
    denied: Option<Denied>,
    #[prost(message, optional, tag = "3")]
    ok: Option<Allowed>,
}

#[derive(Clone, PartialEq, Message)]
struct RpcStatus {
    #[prost(int32, tag = "1")]
    code: i32,
}

#[derive(Clone, PartialEq, Message)]
struct Denied {
    #[prost(message, optional, tag = "1")]
    status: Option<HttpStatus>,
    #[prost(message, repeated, tag = "2")]
    headers: Vec<HeaderOption>,
    #[prost(string, tag = "3")]
    body: String,
}

#[derive(Clone, PartialEq, Message)]
struct HttpStatus {
    #[prost(int32, tag = "1")]
    code: i32,
}

#[derive(Clone, PartialEq, Message)]
struct Allowed {
    #[prost(message, repeated, tag = "2")]
    headers: Vec<HeaderOption>,
    #[prost(string, repeated, tag = "5")]
    headers_to_remove: Vec<String>,
    #[prost(message, repeated, tag = "6")]
    response_headers_to_add: Vec<HeaderOption>,
}

#[derive(Clone, PartialEq, Message)]
struct HeaderOption {
    #[prost(message, optional, tag = "1")]
    header: Option<Field>,
}

#[derive(Clone, PartialEq, Message)]
struct Field {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(string, tag = "2")]
    value: String,
}
