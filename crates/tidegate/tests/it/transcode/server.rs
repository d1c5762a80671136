//! The gRPC server behind the gateway, made with tonic: `demo.Greeter` and `demo.Library` of
//! crates/transcode/tests/protos/demo/greeter.proto.

use std::{
    convert::Infallible,
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
    time::Duration,
};

use futures_util::{Stream, StreamExt, stream};
use prost::{
    Message,
    bytes::{Buf, BufMut, Bytes},
};
use tonic::{
    Code, Request, Response, Status, Streaming,
    body::Body,
    codec::{Codec, CompressionEncoding, DecodeBuf, Decoder, EncodeBuf, Encoder},
    metadata::MetadataMap,
    server::{Grpc, NamedService, StreamingService},
};

pub const SET: &[u8] = include_bytes!("../../../../transcode/tests/greeter.binpb");

/// What happened in the server, in order.
pub type Log = Arc<Mutex<Vec<String>>>;

/// How a server is to be.
#[derive(Clone, Copy, Default)]
pub struct How {
    pub v1: bool,
    pub v1alpha: bool,
    /// Answers are packed.
    pub gzip: bool,
}

/// A running server; it ends with its runtime.
pub struct Server {
    pub address: SocketAddr,
    pub log: Log,
    runtime: Option<tokio::runtime::Runtime>,
}

impl Server {
    pub fn start(how: How) -> Self {
        Self::on(super::super::harness::free_port(), how)
    }

    pub fn on(port: u16, how: How) -> Self {
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let log = Log::default();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let reflection =
            || tonic_reflection::server::Builder::configure().register_encoded_file_descriptor_set(SET);
        let one = |name| Serve { name, log: log.clone(), gzip: how.gzip };
        let v1 = how.v1.then(|| reflection().build_v1().expect("reflection"));
        let v1alpha = how.v1alpha.then(|| reflection().build_v1alpha().expect("reflection"));
        let serving = tonic::transport::Server::builder()
            .add_service(Greeter(one("demo.Greeter")))
            .add_service(Library(one("demo.Library")))
            .add_optional_service(v1)
            .add_optional_service(v1alpha)
            .serve(address);
        runtime.spawn(async move { serving.await.expect("it serves") });
        super::super::harness::eventually("the server is up", || {
            std::net::TcpStream::connect(address).is_ok()
        });
        Self { address, log, runtime: Some(runtime) }
    }

    /// What the log holds now.
    pub fn log(&self) -> Vec<String> {
        self.log.lock().expect("a log").clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

#[derive(Clone)]
struct Serve {
    #[expect(dead_code, reason = "it tells them apart when one is printed")]
    name: &'static str,
    log: Log,
    gzip: bool,
}

macro_rules! service {
    ($name:ident, $full:literal) => {
        #[derive(Clone)]
        struct $name(Serve);

        impl NamedService for $name {
            const NAME: &'static str = $full;
        }

        impl tonic::codegen::Service<tonic::codegen::http::Request<Body>> for $name {
            type Response = tonic::codegen::http::Response<Body>;
            type Error = Infallible;
            type Future = tonic::codegen::BoxFuture<Self::Response, Infallible>;

            fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
                Poll::Ready(Ok(()))
            }

            fn call(&mut self, request: tonic::codegen::http::Request<Body>) -> Self::Future {
                let serve = self.0.clone();
                Box::pin(async move { Ok(serve.answer(request).await) })
            }
        }
    };
}
service!(Greeter, "demo.Greeter");
service!(Library, "demo.Library");

impl Serve {
    async fn answer(
        self,
        request: tonic::codegen::http::Request<Body>,
    ) -> tonic::codegen::http::Response<Body> {
        let mut grpc = Grpc::new(Raw).accept_compressed(CompressionEncoding::Gzip);
        if self.gzip {
            grpc = grpc.send_compressed(CompressionEncoding::Gzip);
        }
        let path = request.uri().path().to_owned();
        self.log.lock().expect("a log").push(path.clone());
        grpc.streaming(Play { path, serve: self }, request).await
    }
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

type Messages = Pin<Box<dyn Stream<Item = Result<Bytes, Status>> + Send>>;

struct Play {
    path: String,
    serve: Serve,
}

impl StreamingService<Bytes> for Play {
    type Response = Bytes;
    type ResponseStream = Messages;
    type Future = tonic::codegen::BoxFuture<Response<Messages>, Status>;

    fn call(&mut self, request: Request<Streaming<Bytes>>) -> Self::Future {
        let (path, log) = (self.path.clone(), self.serve.log.clone());
        Box::pin(async move {
            let (metadata, _, mut incoming) = request.into_parts();
            let messages: Messages = match path.as_str() {
                "/demo.Greeter/Collect" => {
                    let mut names = Vec::new();
                    while let Some(message) = incoming.message().await? {
                        names.push(HelloRequest::decode(message).map_err(internal)?.name);
                    }
                    let count = i32::try_from(names.len()).unwrap_or_default();
                    one(Summary { count, names })
                }
                "/demo.Greeter/Chat" => Box::pin(incoming.map(|message| {
                    let name = HelloRequest::decode(message?).map_err(internal)?.name;
                    Ok(encoded(HelloReply { message: format!("Hello, {name}"), seen: Vec::new() }))
                })),
                _ => {
                    let message = incoming.message().await?.unwrap_or_default();
                    if path == "/demo.Greeter/SayHello" {
                        let asked = HelloRequest::decode(message.clone()).map_err(internal)?;
                        tokio::time::sleep(millis(asked.interval_millis)).await;
                    }
                    unary(&path, message, &metadata, log)?
                }
            };
            let mut response = Response::new(messages);
            response.metadata_mut().insert("x-served-by", "tonic".parse().expect("a value"));
            let bytes = tonic::metadata::MetadataValue::from_bytes(&[0, 255]);
            response.metadata_mut().insert_bin("x-bytes-bin", bytes);
            Ok(response)
        })
    }
}

fn unary(path: &str, message: Bytes, metadata: &MetadataMap, log: Log) -> Result<Messages, Status> {
    Ok(match path {
        "/demo.Greeter/SayHello" => {
            let asked = HelloRequest::decode(message).map_err(internal)?;
            let word = if asked.language == "fr" { "Bonjour" } else { "Hello" };
            one(HelloReply { message: format!("{word}, {}", asked.name), seen: seen(metadata) })
        }
        "/demo.Greeter/Watch" => watch(HelloRequest::decode(message).map_err(internal)?, log),
        "/demo.Greeter/Fail" => return Err(failed(&FailRequest::decode(message).map_err(internal)?)),
        "/demo.Library/GetBook" | "/demo.Library/Archive" | "/demo.Library/Hidden" => {
            let name = GetBook::decode(message).map_err(internal)?.name;
            one(Book { name, title: "Sea chart".to_owned(), ..Book::default() })
        }
        "/demo.Library/CreateBook" => {
            let asked = CreateBook::decode(message).map_err(internal)?;
            let mut book = asked.book.unwrap_or_default();
            book.name = format!("{}/books/{}", asked.parent, asked.request_id);
            one(book)
        }
        "/demo.Library/UpdateBook" => {
            one(UpdateBook::decode(message).map_err(internal)?.book.unwrap_or_default())
        }
        "/demo.Library/ListBooks" => {
            let asked = ListBooks::decode(message).map_err(internal)?;
            let book = |tag: String| Book { name: asked.parent.clone(), title: tag, ..Book::default() };
            one(ListBooksReply { books: asked.tags.clone().into_iter().map(book).collect() })
        }
        "/demo.Library/Download" => {
            one(HttpBody { content_type: "text/plain".to_owned(), data: b"a\nb".to_vec() })
        }
        "/demo.Library/Echo" => Box::pin(stream::iter([Ok(message)])),
        _ => return Err(Status::unimplemented("no such method")),
    })
}

/// So many greetings, so far apart; then it fails, when it is asked to. It notes when nobody listens any more.
fn watch(asked: HelloRequest, log: Log) -> Messages {
    struct Left(Log, bool);
    impl Left {
        fn ended(mut self) {
            self.1 = true;
        }
    }
    impl Drop for Left {
        fn drop(&mut self) {
            if !self.1 {
                self.0.lock().expect("a log").push("left early".to_owned());
            }
        }
    }
    let left = Left(log, false);
    Box::pin(stream::unfold((0, left), move |(at, mut left)| {
        let asked = asked.clone();
        async move {
            if at > 0 || asked.count == 0 {
                tokio::time::sleep(millis(asked.interval_millis)).await;
            }
            if at == asked.count {
                left.1 = true;
                return (asked.fail != 0)
                    .then(|| (Err(Status::new(Code::from_i32(asked.fail), "as you wish")), (at + 1, left)));
            }
            if at > asked.count {
                left.ended();
                return None;
            }
            let reply = HelloReply { message: format!("Hello, {} {at}", asked.name), seen: Vec::new() };
            Some((Ok(encoded(reply)), (at + 1, left)))
        }
    }))
}

/// A status with `google.rpc.BadRequest` and `google.rpc.RetryInfo`, and metadata of its own.
fn failed(asked: &FailRequest) -> Status {
    let violation = FieldViolation { field: "code".to_owned(), description: "is what it is".to_owned() };
    let bad = BadRequest { field_violations: vec![violation] };
    let retry = RetryInfo { delay: Some(Delay { seconds: 7 }) };
    let any = |name: &str, value: Vec<u8>| Any { type_url: format!("type.googleapis.com/{name}"), value };
    let details = RpcStatus {
        code: asked.code,
        message: asked.message.clone(),
        details: vec![
            any("google.rpc.BadRequest", bad.encode_to_vec()),
            any("google.rpc.RetryInfo", retry.encode_to_vec()),
            any("unknown.Thing", vec![1, 2]),
        ],
    };
    let code = Code::from_i32(asked.code);
    let mut status = match asked.with_details {
        true => Status::with_details(code, &*asked.message, details.encode_to_vec().into()),
        false => Status::new(code, &*asked.message),
    };
    status.metadata_mut().insert("x-failed", "yes".parse().expect("a value"));
    status
}

/// The metadata of interest, sorted.
fn seen(metadata: &MetadataMap) -> Vec<String> {
    let headers = metadata.clone().into_headers();
    let mut seen: Vec<String> = headers
        .iter()
        .filter(|(name, _)| {
            let name = name.as_str();
            name.starts_with("x-test")
                || matches!(name, "authorization" | "grpc-timeout" | "content-type" | "cookie")
        })
        .map(|(name, value)| format!("{name}: {}", String::from_utf8_lossy(value.as_bytes())))
        .collect();
    seen.sort();
    seen
}

fn millis(count: i32) -> Duration {
    Duration::from_millis(u64::try_from(count).unwrap_or_default())
}

fn encoded(message: impl Message) -> Bytes {
    message.encode_to_vec().into()
}

fn one(message: impl Message) -> Messages {
    Box::pin(stream::iter([Ok(encoded(message))]))
}

fn internal(error: prost::DecodeError) -> Status {
    Status::internal(error.to_string())
}

macro_rules! messages {
    ($($name:ident { $($(#[$attribute:meta])* $field:ident: $kind:ty,)* })*) => {
        $(
            #[derive(Clone, PartialEq, Message)]
            struct $name { $($(#[$attribute])* $field: $kind,)* }
        )*
    };
}

messages! {
    HelloRequest {
        #[prost(string, tag = "1")] name: String,
        #[prost(int32, tag = "2")] count: i32,
        #[prost(int32, tag = "3")] interval_millis: i32,
        #[prost(string, tag = "4")] language: String,
        #[prost(int32, tag = "5")] fail: i32,
    }
    HelloReply {
        #[prost(string, tag = "1")] message: String,
        #[prost(string, repeated, tag = "2")] seen: Vec<String>,
    }
    Summary {
        #[prost(int32, tag = "1")] count: i32,
        #[prost(string, repeated, tag = "2")] names: Vec<String>,
    }
    FailRequest {
        #[prost(int32, tag = "1")] code: i32,
        #[prost(string, tag = "2")] message: String,
        #[prost(bool, tag = "3")] with_details: bool,
    }
    GetBook { #[prost(string, tag = "1")] name: String, }
    CreateBook {
        #[prost(string, tag = "1")] parent: String,
        #[prost(message, optional, tag = "2")] book: Option<Book>,
        #[prost(string, tag = "3")] request_id: String,
    }
    UpdateBook { #[prost(message, optional, tag = "1")] book: Option<Book>, }
    ListBooks {
        #[prost(string, tag = "1")] parent: String,
        #[prost(string, repeated, tag = "4")] tags: Vec<String>,
    }
    ListBooksReply { #[prost(message, repeated, tag = "1")] books: Vec<Book>, }
    Book {
        #[prost(string, tag = "1")] name: String,
        #[prost(string, tag = "2")] title: String,
        #[prost(int64, tag = "4")] pages: i64,
        #[prost(int32, tag = "5")] genre: i32,
    }
    HttpBody {
        #[prost(string, tag = "1")] content_type: String,
        #[prost(bytes = "vec", tag = "2")] data: Vec<u8>,
    }
    Any {
        #[prost(string, tag = "1")] type_url: String,
        #[prost(bytes = "vec", tag = "2")] value: Vec<u8>,
    }
    RpcStatus {
        #[prost(int32, tag = "1")] code: i32,
        #[prost(string, tag = "2")] message: String,
        #[prost(message, repeated, tag = "3")] details: Vec<Any>,
    }
    BadRequest { #[prost(message, repeated, tag = "1")] field_violations: Vec<FieldViolation>, }
    FieldViolation {
        #[prost(string, tag = "1")] field: String,
        #[prost(string, tag = "2")] description: String,
    }
    RetryInfo { #[prost(message, optional, tag = "1")] delay: Option<Delay>, }
    Delay { #[prost(int64, tag = "1")] seconds: i64, }
}
