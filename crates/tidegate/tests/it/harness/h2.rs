//! HTTP/2 peers by the `h2` crate: a client, and an upstream that does what a test tells it.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use h2::{RecvStream, client::SendRequest, server::SendResponse};
use http::{HeaderMap, Request, Response};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
};

use super::PATIENCE;

/// Runs a test's asynchronous part to its end, bounded in time.
pub fn run<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async {
        tokio::time::timeout(PATIENCE, work).await.expect("the test ends in time")
    })
}

/// A message as it came: an answer, or a request that an upstream saw.
#[derive(Debug, Clone, Default)]
pub struct Message {
    /// Status of an answer.
    pub status: u16,
    /// Method and path of a request.
    pub line: String,
    /// Headers.
    pub headers: HeaderMap,
    /// Body.
    pub body: Vec<u8>,
    /// Trailers.
    pub trailers: HeaderMap,
}

impl Message {
    /// The first value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// The first value of a trailer.
    pub fn trailer(&self, name: &str) -> Option<&str> {
        self.trailers.get(name).and_then(|value| value.to_str().ok())
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// Reads a body to its end.
pub async fn collect(body: &mut RecvStream) -> Result<(Vec<u8>, HeaderMap), h2::Error> {
    let mut bytes = Vec::new();
    while let Some(data) = body.data().await {
        let data = data?;
        body.flow_control().release_capacity(data.len())?;
        bytes.extend_from_slice(&data);
    }
    Ok((bytes, body.trailers().await?.unwrap_or_default()))
}

/// A client connection.
#[derive(Clone)]
pub struct Client {
    /// For what the helpers do not do.
    pub send: SendRequest<Bytes>,
}

impl Client {
    /// Connects with prior knowledge.
    pub async fn connect(address: SocketAddr) -> Self {
        Self::over(TcpStream::connect(address).await.expect("a connection")).await
    }

    /// Speaks HTTP/2 on a transport.
    pub async fn over(io: impl AsyncRead + AsyncWrite + Unpin + 'static) -> Self {
        Self::with(&h2::client::Builder::new(), io).await
    }

    /// The same with settings.
    pub async fn with(
        builder: &h2::client::Builder,
        io: impl AsyncRead + AsyncWrite + Unpin + 'static,
    ) -> Self {
        let (send, connection) = builder.handshake(io).await.expect("HTTP/2");
        tokio::task::spawn_local(async move {
            let _ = connection.await;
        });
        Self { send }
    }

    /// Sends a request with a body and trailers, and reads the answer to its end.
    pub async fn fetch(
        &self,
        request: Request<()>,
        body: &[u8],
        trailers: Option<HeaderMap>,
    ) -> Result<Message, h2::Error> {
        let mut send = self.send.clone().ready().await?;
        let ended = body.is_empty() && trailers.is_none();
        let (response, mut stream) = send.send_request(request, ended)?;
        if !body.is_empty() {
            stream.send_data(Bytes::copy_from_slice(body), trailers.is_none())?;
        }
        if let Some(trailers) = trailers {
            stream.send_trailers(trailers)?;
        }
        read_answer(response.await?).await
    }

    /// A GET for a path.
    pub async fn get(&self, path: &str) -> Result<Message, h2::Error> {
        self.fetch(request("GET", path), b"", None).await
    }
}

/// Waits until a connection takes no further request: the other side has said goodbye, or is gone.
pub async fn gone(client: &Client) {
    let goodbye = async {
        while client.get("/").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, goodbye).await.is_ok(), "the connection goes on");
}

/// A request to `test.example`.
pub fn request(method: &str, path: &str) -> Request<()> {
    let uri = format!("http://test.example{path}");
    Request::builder().method(method).uri(uri).body(()).expect("a request")
}

/// Reads an answer to its end.
pub async fn read_answer(response: Response<RecvStream>) -> Result<Message, h2::Error> {
    let (head, mut body) = response.into_parts();
    let (body, trailers) = collect(&mut body).await?;
    Ok(Message { status: head.status.as_u16(), headers: head.headers, body, trailers, ..Message::default() })
}

/// A running upstream with prior knowledge.
pub struct Upstream {
    /// Where it listens.
    pub address: SocketAddr,
    seen: Arc<Mutex<Vec<Message>>>,
    connections: Arc<AtomicUsize>,
}

impl Upstream {
    /// Hands each request to a function.
    pub fn start<F, Fut>(serve: F) -> Self
    where
        F: Fn(Request<RecvStream>, SendResponse<Bytes>) -> Fut + Send + 'static,
        Fut: Future<Output = ()> + 'static,
    {
        Self::with(h2::server::Builder::new(), serve)
    }

    /// The same with settings.
    pub fn with<F, Fut>(builder: h2::server::Builder, serve: F) -> Self
    where
        F: Fn(Request<RecvStream>, SendResponse<Bytes>) -> Fut + Send + 'static,
        Fut: Future<Output = ()> + 'static,
    {
        let listener = std::net::TcpListener::bind(("127.0.0.1", super::free_port())).expect("a free port");
        let address = listener.local_addr().expect("an address");
        listener.set_nonblocking(true).expect("non-blocking");
        let connections = Arc::new(AtomicUsize::new(0));
        let counted = connections.clone();
        std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            let local = tokio::task::LocalSet::new();
            local.block_on(&runtime, async move {
                let listener = TcpListener::from_std(listener).expect("a listener");
                let serve = std::rc::Rc::new(serve);
                while let Ok((io, _)) = listener.accept().await {
                    counted.fetch_add(1, Ordering::Relaxed);
                    let (builder, serve) = (builder.clone(), serve.clone());
                    tokio::task::spawn_local(async move {
                        let _ = io.set_nodelay(true);
                        let Ok(mut connection) = builder.handshake(io).await else { return };
                        while let Some(Ok((request, respond))) = connection.accept().await {
                            tokio::task::spawn_local(serve(request, respond));
                        }
                    });
                }
            });
        });
        Self { address, seen: Arc::default(), connections }
    }

    /// Answers each request with its own body and trailers, once it has all of them.
    pub fn echo() -> Self {
        let seen: Arc<Mutex<Vec<Message>>> = Arc::default();
        let told = seen.clone();
        let upstream = Self::start(move |request, mut respond| {
            let seen = told.clone();
            async move {
                let (head, mut body) = request.into_parts();
                let Ok((body, trailers)) = collect(&mut body).await else { return };
                let message = Message {
                    line: format!("{} {}", head.method, head.uri.path()),
                    headers: head.headers,
                    body: body.clone(),
                    trailers: trailers.clone(),
                    ..Message::default()
                };
                seen.lock().expect("not poisoned").push(message);
                let response = Response::builder().header("x-upstream", "h2").body(()).expect("an answer");
                let Ok(mut stream) = respond.send_response(response, false) else { return };
                let _ = stream.send_data(body.into(), trailers.is_empty());
                if !trailers.is_empty() {
                    let _ = stream.send_trailers(trailers);
                }
            }
        });
        Self { seen, ..upstream }
    }

    /// What `echo` saw so far.
    pub fn seen(&self) -> Vec<Message> {
        self.seen.lock().expect("not poisoned").clone()
    }

    /// How many connections it took.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}

/// Waits until something holds, without blocking the peers of this thread.
pub async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let wait = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, wait).await.is_ok(), "never came: {what}");
}
