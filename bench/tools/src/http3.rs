//! Load over HTTP/3: a closed loop of so many streams on each of so many connections.

use std::{
    error::Error,
    future::poll_fn,
    net::SocketAddr,
    rc::Rc,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use bytes::{Buf, Bytes};
use h3::client::SendRequest;
use h3_quinn::OpenStreams;
use http::Request;
use quinn::{Endpoint, crypto::rustls::QuicClientConfig};
use rustls::{
    DigitallySignedStruct, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::CryptoProvider,
    pki_types::{CertificateDer, ServerName, UnixTime},
};

/// Threads that share the connections: one would be slower than what it asks.
const THREADS: u32 = 2;
/// A stream that fails so often stops asking.
const FAILURES_MAX: u32 = 20;
/// An answer that takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(5);

/// What was seen.
#[derive(Default)]
struct Seen {
    /// Microseconds from asked to answered.
    latencies: Vec<u32>,
    failed: u64,
    /// Why the first failure was one.
    reason: Option<String>,
}

impl Seen {
    fn add(&mut self, other: Self) {
        self.latencies.extend(other.latencies);
        self.failed += other.failed;
        self.reason = self.reason.take().or(other.reason);
    }

    fn fail(&mut self, why: impl ToString) {
        self.failed += 1;
        self.reason.get_or_insert(why.to_string());
    }
}

/// Asks and prints one line of JSON: what was answered, what failed, and the latencies in microseconds.
pub(crate) fn run(
    address: &str,
    path: &str,
    connections: &str,
    streams: &str,
    seconds: &str,
    headers: &[&str],
) -> Result<(), Box<dyn Error>> {
    let address: SocketAddr = address.parse()?;
    let (connections, streams): (u32, u32) = (connections.parse()?, streams.parse()?);
    let duration = Duration::from_secs_f64(seconds.parse()?);
    let mut request = Request::get(format!("https://bench.test{path}"));
    for header in headers {
        let (name, value) = header.split_once(": ").ok_or("a header is `Name: value`")?;
        request = request.header(name, value);
    }
    let request = request.body(())?;
    let config = config()?;
    let threads: Vec<_> = (0..THREADS)
        .map(|thread| {
            let (config, request) = (config.clone(), request.clone());
            let own = connections / THREADS + u32::from(thread < connections % THREADS);
            thread::spawn(move || ask(address, config, request, own, streams, duration))
        })
        .collect();
    let mut all = Seen::default();
    for thread in threads {
        all.add(thread.join().map_err(|_| "a thread panicked")?.map_err(|error| error.to_string())?);
    }
    report(&mut all);
    Ok(())
}

fn report(all: &mut Seen) {
    all.latencies.sort_unstable();
    let at = |share: f64| {
        let last = all.latencies.len().saturating_sub(1);
        all.latencies.get((last as f64 * share).round() as usize).copied().unwrap_or(0)
    };
    println!(
        "{{\"answered\": {}, \"failed\": {}, \"reason\": {:?}, \"p50\": {}, \"p99\": {}, \"max\": {}}}",
        all.latencies.len(),
        all.failed,
        all.reason.as_deref().unwrap_or(""),
        at(0.5),
        at(0.99),
        at(1.0),
    );
}

/// One thread's share of the connections.
fn ask(
    address: SocketAddr,
    config: quinn::ClientConfig,
    request: Request<()>,
    connections: u32,
    streams: u32,
    duration: Duration,
) -> std::io::Result<Seen> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    tokio::task::LocalSet::new().block_on(&runtime, async move {
        let request = Rc::new(request);
        let mut all = Seen::default();
        let mut running = Vec::new();
        for _ in 0..connections {
            match connect(address, &config).await {
                Ok((endpoint, send)) => {
                    let end = Instant::now() + duration;
                    running.extend((0..streams).map(|_| {
                        let (send, request, endpoint) = (send.clone(), request.clone(), endpoint.clone());
                        tokio::task::spawn_local(async move {
                            let _endpoint = endpoint;
                            stream(send, &request, end).await
                        })
                    }));
                }
                Err(error) => all.fail(error),
            }
        }
        for stream in running {
            match stream.await {
                Ok(seen) => all.add(seen),
                Err(error) => all.fail(error),
            }
        }
        Ok(all)
    })
}

async fn connect(
    address: SocketAddr,
    config: &quinn::ClientConfig,
) -> Result<(Endpoint, SendRequest<OpenStreams, Bytes>), Box<dyn Error>> {
    let endpoint = Endpoint::client(SocketAddr::from(([127, 0, 0, 1], 0)))?;
    let connection = endpoint.connect_with(config.clone(), address, "bench.test")?.await?;
    let (mut driver, send) = h3::client::new(h3_quinn::Connection::new(connection)).await?;
    tokio::task::spawn_local(async move { poll_fn(|cx| driver.poll_close(cx)).await });
    Ok((endpoint, send))
}

/// Asks again and again until it is time to end.
async fn stream(mut send: SendRequest<OpenStreams, Bytes>, request: &Request<()>, end: Instant) -> Seen {
    let (mut seen, mut failures) = (Seen::default(), 0);
    while Instant::now() < end && failures < FAILURES_MAX {
        let began = Instant::now();
        match tokio::time::timeout(PATIENCE, exchange(&mut send, request.clone())).await {
            Ok(Ok(())) => {
                seen.latencies.push(began.elapsed().as_micros().try_into().unwrap_or(u32::MAX));
            }
            Ok(Err(error)) => {
                failures += 1;
                seen.fail(error);
            }
            Err(_) => {
                failures += 1;
                seen.fail("no answer in time");
            }
        }
    }
    seen
}

async fn exchange(
    send: &mut SendRequest<OpenStreams, Bytes>,
    request: Request<()>,
) -> Result<(), Box<dyn Error>> {
    let mut stream = send.send_request(request).await?;
    stream.finish().await?;
    let head = stream.recv_response().await?;
    if head.status() != 200 {
        return Err(format!("answered {}", head.status()).into());
    }
    while let Some(mut data) = stream.recv_data().await? {
        data.advance(data.remaining());
    }
    Ok(())
}

fn config() -> Result<quinn::ClientConfig, Box<dyn Error>> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody(provider)))
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h3".to_vec()];
    Ok(quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(config)?)))
}

/// Takes whatever certificate is shown: what is measured is made a moment before.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let known = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signed, known)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let known = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signed, known)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
