//! An endpoint that can be killed, hung, slowed and started again at the same address.

use std::{
    collections::HashMap,
    io::{BufReader, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use super::{
    super::harness::{pause, read_request},
    load::body_of,
};

/// How often each request that is not idempotent was executed, over all endpoints.
#[derive(Default)]
pub(super) struct Executed(Mutex<HashMap<u64, u32>>);

impl Executed {
    fn note(&self, id: u64) {
        *self.0.lock().expect("not poisoned").entry(id).or_default() += 1;
    }

    pub(super) fn count(&self, id: u64) -> u32 {
        self.0.lock().expect("not poisoned").get(&id).copied().unwrap_or(0)
    }

    /// Those that were executed more than once.
    pub(super) fn twice(&self) -> Vec<u64> {
        let all = self.0.lock().expect("not poisoned");
        all.iter().filter(|(_, count)| **count > 1).map(|(id, _)| *id).collect()
    }
}

/// What an endpoint does at the moment.
#[derive(Default)]
struct Mood {
    is_dead: AtomicBool,
    is_hung: AtomicBool,
    slow_millis: AtomicU64,
    open: Mutex<Vec<TcpStream>>,
}

/// An endpoint.
pub(super) struct Endpoint {
    pub(super) address: SocketAddr,
    executed: Arc<Executed>,
    mood: Arc<Mood>,
    acceptor: Option<std::thread::JoinHandle<()>>,
}

impl Endpoint {
    /// An endpoint that answers.
    pub(super) fn new(address: SocketAddr, executed: Arc<Executed>) -> Self {
        let mut endpoint = Self { address, executed, mood: Arc::default(), acceptor: None };
        endpoint.start();
        endpoint
    }

    /// Listens and answers, as a new process would.
    pub(super) fn start(&mut self) {
        let listener = TcpListener::bind(self.address).expect("the address is free again");
        let mood = Arc::new(Mood::default());
        self.mood = mood.clone();
        let executed = self.executed.clone();
        self.acceptor = Some(std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if mood.is_dead.load(Ordering::SeqCst) {
                    return;
                }
                let _ = stream.set_nodelay(true);
                let mut open = mood.open.lock().expect("not poisoned");
                open.push(stream.try_clone().expect("a handle"));
                drop(open);
                let (mood, executed) = (mood.clone(), executed.clone());
                std::thread::spawn(move || serve(stream, &mood, &executed));
            }
        }));
    }

    /// Ends at once: the listener and every connection close, whatever is in flight.
    pub(super) fn kill(&mut self) {
        self.mood.is_dead.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
        self.acceptor.take().expect("it runs").join().expect("an acceptor");
        for stream in self.mood.open.lock().expect("not poisoned").drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Takes connections and requests, and answers none.
    pub(super) fn hang(&self) {
        self.mood.is_hung.store(true, Ordering::SeqCst);
    }

    /// Takes so long for each answer.
    pub(super) fn slow(&self, by: Duration) {
        self.mood.slow_millis.store(by.as_millis() as u64, Ordering::SeqCst);
    }
}

fn serve(stream: TcpStream, mood: &Mood, executed: &Executed) {
    let mut reader = BufReader::new(stream);
    while let Some(request) = read_request(&mut reader) {
        let (path, id) = request.target().rsplit_once('/').unwrap_or_default();
        if request.line.starts_with("POST") {
            executed.note(id.parse().expect("an id"));
        }
        let slow = mood.slow_millis.load(Ordering::SeqCst);
        if slow > 0 {
            pause(slow);
        }
        while mood.is_hung.load(Ordering::SeqCst) {
            if mood.is_dead.load(Ordering::SeqCst) {
                return;
            }
            pause(20);
        }
        let body = match request.line.strip_prefix("PUT") {
            // A further try has the same body, all of it.
            Some(_) if request.body != body_of("PUT", id.parse().expect("an id")) => {
                "another body".to_owned()
            }
            _ => format!("{path}/{id}"),
        };
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        if mood.is_dead.load(Ordering::SeqCst) || reader.get_mut().write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
    let gone = reader.get_ref().peer_addr();
    mood.open
        .lock()
        .expect("not poisoned")
        .retain(|open| open.peer_addr().ok() != gone.as_ref().ok().copied());
}
