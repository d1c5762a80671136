//! One connection to one broker: what is asked goes out in order, and so do the answers come.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use rustls_pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    sync::{mpsc, oneshot},
    task::AbortHandle,
    time::timeout,
};
use tokio_rustls::TlsConnector;

use crate::{
    api::{self, Api},
    cluster::{Mechanism, Sasl, Settings},
    error::{Code, Error},
    scram::{Hash, Scram},
    wire::{Malformed, Reader, Writer},
};

/// Bytes of an answer.
const ANSWER_BYTES_MAX: usize = 128 * 1024 * 1024;
/// Requests that wait to be written.
const UNWRITTEN_MAX: usize = 64;

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// What is asked.
struct Job {
    api: Api,
    body: BytesMut,
    was_written: Arc<AtomicBool>,
    tell: oneshot::Sender<Bytes>,
}

/// Those who wait for an answer, in order.
type Waiting = Mutex<VecDeque<(i32, oneshot::Sender<Bytes>)>>;

/// A connection. It ends with this.
pub(crate) struct Connection {
    jobs: mpsc::Sender<Job>,
    is_alive: Arc<AtomicBool>,
    running: AbortHandle,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.running.abort();
    }
}

impl Connection {
    /// Connects, and shows who it is. It lives on the runtime that this is called on.
    pub(crate) async fn open(host: &str, port: u16, settings: &Settings) -> Result<Self, Error> {
        let opened = timeout(settings.connect_timeout, Self::opened(host, port, settings)).await;
        let why = match opened {
            Ok(Ok(connection)) => return Ok(connection),
            Ok(Err(why)) => why.to_string(),
            Err(_) => format!("no connection within {:?}", settings.connect_timeout),
        };
        Err(Error::Away(format!("{host}:{port}: {why}")))
    }

    async fn opened(host: &str, port: u16, settings: &Settings) -> Result<Self, Error> {
        let away = |error: std::io::Error| Error::Away(error.to_string());
        let stream = TcpStream::connect((host, port)).await.map_err(away)?;
        stream.set_nodelay(true).map_err(away)?;
        let stream: Box<dyn Stream> = match &settings.tls {
            None => Box::new(stream),
            Some(config) => {
                let name = ServerName::try_from(host.to_owned())
                    .map_err(|_| Error::Away("its name is none that a certificate can have".to_owned()))?;
                let connector = TlsConnector::from(config.clone());
                Box::new(connector.connect(name, stream).await.map_err(away)?)
            }
        };
        let (jobs, wanted) = mpsc::channel(UNWRITTEN_MAX);
        let is_alive = Arc::new(AtomicBool::new(true));
        let running = tokio::spawn(run(stream, wanted, is_alive.clone())).abort_handle();
        let connection = Self { jobs, is_alive, running };
        let wait = settings.connect_timeout;
        let mut answer = connection.call(api::API_VERSIONS, Writer::default(), wait).await?;
        api::missing(&mut answer)?.map_err(Error::Away)?;
        if let Some(sasl) = &settings.sasl {
            connection.sign_in(sasl, wait).await?;
        }
        Ok(connection)
    }

    pub(crate) fn is_alive(&self) -> bool {
        self.is_alive.load(Ordering::Relaxed)
    }

    /// Asks, and waits for the answer. One that does not come in time ends the connection: those behind it would not
    /// come either.
    pub(crate) async fn call(&self, api: Api, body: Writer, wait: Duration) -> Result<Reader, Error> {
        self.ask(api, body, wait).await.map_err(|(_, error)| error)
    }

    /// The same, and of what failed whether the broker may have got it.
    pub(crate) async fn ask(&self, api: Api, body: Writer, wait: Duration) -> Result<Reader, (bool, Error)> {
        let was_written = Arc::new(AtomicBool::new(false));
        let (tell, told) = oneshot::channel();
        let job = Job { api, body: body.0, was_written: was_written.clone(), tell };
        let asked = async {
            self.jobs.send(job).await.map_err(|_| Error::Broken)?;
            told.await.map_err(|_| Error::Broken)
        };
        let result = match timeout(wait, asked).await {
            Ok(result) => result,
            Err(_) => {
                self.is_alive.store(false, Ordering::Relaxed);
                self.running.abort();
                Err(Error::Late)
            }
        };
        result.map(Reader::new).map_err(|error| (was_written.load(Ordering::Relaxed), error))
    }

    async fn sign_in(&self, sasl: &Sasl, wait: Duration) -> Result<(), Error> {
        let mechanism = match sasl.mechanism {
            Mechanism::Plain => "PLAIN",
            Mechanism::ScramSha256 => "SCRAM-SHA-256",
            Mechanism::ScramSha512 => "SCRAM-SHA-512",
        };
        let mut wish = Writer::default();
        wish.text(mechanism);
        let mut answer = self.call(api::SASL_HANDSHAKE, wish, wait).await?;
        let said = Code(answer.i16()?);
        if said != Code::NONE {
            let known = answer.list(Reader::text)?.join(", ");
            return Err(Error::Away(format!("the broker does not take {mechanism}, but: {known}")));
        }
        let Sasl { username, password, .. } = sasl;
        let hash = match sasl.mechanism {
            Mechanism::Plain => {
                let shown = format!("\0{username}\0{password}");
                return self.show(shown.as_bytes(), wait).await.map(drop);
            }
            Mechanism::ScramSha256 => Hash::Sha256,
            Mechanism::ScramSha512 => Hash::Sha512,
        };
        let scram = Scram::new(hash, username);
        let answer = self.show(scram.first().as_bytes(), wait).await?;
        let wrong = |why: &str| Error::Away(format!("signing in failed: {why}"));
        let (last, expected) = scram.last(&answer, password).map_err(wrong)?;
        let answer = self.show(last.as_bytes(), wait).await?;
        match expected.is(&answer) {
            true => Ok(()),
            false => Err(wrong("the broker does not know the password either")),
        }
    }

    /// Shows one thing, and says what the broker shows.
    async fn show(&self, what: &[u8], wait: Duration) -> Result<String, Error> {
        let mut wish = Writer::default();
        wish.bytes(what);
        let mut answer = self.call(api::SASL_AUTHENTICATE, wish, wait).await?;
        let (said, why) = (Code(answer.i16()?), answer.nullable_text()?);
        if said != Code::NONE {
            let why = why.unwrap_or_default();
            return Err(Error::Away(format!("signing in failed: {said} {why}")));
        }
        String::from_utf8(answer.bytes()?.to_vec()).map_err(|_| Malformed.into())
    }
}

/// Says no more when it ends.
struct Ended(Arc<AtomicBool>, Arc<Waiting>);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
        self.1.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

async fn run(stream: Box<dyn Stream>, mut wanted: mpsc::Receiver<Job>, is_alive: Arc<AtomicBool>) {
    let waiting: Arc<Waiting> = Arc::default();
    let _ended = Ended(is_alive, waiting.clone());
    let (mut input, mut output) = tokio::io::split(stream);
    let lock = |waiting: &Arc<Waiting>, tell: (i32, oneshot::Sender<Bytes>)| {
        waiting.lock().unwrap_or_else(PoisonError::into_inner).push_back(tell);
    };
    let writes = async {
        let mut number = 0_i32;
        while let Some(job) = wanted.recv().await {
            // Nobody waits for it any more.
            if job.tell.is_closed() {
                continue;
            }
            number = number.wrapping_add(1);
            let frame = api::framed(job.api, number, &job.body);
            job.was_written.store(true, Ordering::Relaxed);
            lock(&waiting, (number, job.tell));
            if output.write_all(&frame).await.is_err() || output.flush().await.is_err() {
                return;
            }
        }
    };
    let reads = async {
        loop {
            let Ok(length) = input.read_i32().await else { return };
            let Ok(length @ 4..=ANSWER_BYTES_MAX) = usize::try_from(length) else { return };
            // Memory is taken as bytes come, not as they are announced.
            let mut answer = BytesMut::with_capacity(length.min(64 * 1024));
            let mut rest = (&mut input).take(length as u64);
            while answer.len() < length {
                match rest.read_buf(&mut answer).await {
                    Ok(1..) => {}
                    _ => return,
                }
            }
            let mut answer = answer.freeze();
            let number = answer.split_to(4);
            let next = waiting.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
            match next {
                Some((known, tell)) if known.to_be_bytes() == *number => drop(tell.send(answer)),
                _ => return,
            }
        }
    };
    tokio::select! {
        () = writes => {}
        () = reads => {}
    }
}
