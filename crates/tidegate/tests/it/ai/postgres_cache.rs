//! Answers that are kept in PostgreSQL: found by the index where there are many, let go when they are old or too many,
//! and never waited for when the database accepts and does not answer.

use std::{
    io::{Read, Write},
    net::TcpListener,
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use ai::dialect::Dialect;
use serde_json::{Value, json};

use super::{
    KEY,
    parrot::{self, ask_with, heard, question, says, text},
};
use crate::harness::{Gateway, Peer, Upstream, eventually, pause, python};

const CHAT: Dialect = Dialect::OpenAiChat;

/// A server, and how it is asked.
struct Database {
    _peer: Peer,
    folder: tempfile::TempDir,
    url: String,
}

impl Database {
    fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mut peer =
            Peer::start(python(include_str!("postgres.py"), &[&folder.path().display().to_string()]));
        let url = peer.line().expect("its address");
        Self { _peer: peer, folder, url }
    }

    fn ask(&self, sql: &str) -> String {
        let (ended_well, told) = Peer::start(python(include_str!("psql.py"), &[&self.url, sql])).finish();
        assert!(ended_well, "{sql}: {told}");
        told.trim().to_owned()
    }

    fn count(&self, condition: &str) -> u64 {
        let told = self.ask(&format!("SELECT count(*) FROM tidegate_ai_cache WHERE {condition}"));
        told.parse().expect("a number")
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join(".s.PGSQL.5432")
    }
}

/// Embeddings of eight numbers: what is about the tide is one direction, and all else another.
fn vectors() -> Upstream {
    Upstream::scripted(|seen| {
        let body: Value = serde_json::from_slice(&seen.body).expect("JSON");
        let is_tide = body["input"].as_str().is_some_and(|text| text.contains("tide"));
        let numbers = if is_tide { [1, 0, 0, 0, 0, 0, 0, 0] } else { [0, 1, 0, 0, 0, 0, 0, 0] };
        let told = json!({"object": "list", "model": "m", "data": [{"index": 0, "embedding": numbers}]});
        let told = told.to_string();
        let length = told.len();
        Some(
            format!(
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{told}"
            )
            .into_bytes(),
        )
    })
}

/// A model that numbers its answers.
fn model() -> Upstream {
    let count = AtomicUsize::new(0);
    parrot::provider(CHAT, move |_| says(&format!("answer {}", count.fetch_add(1, Ordering::Relaxed) + 1)))
}

fn gateway(database: &str, policy: &str, upstream: &Upstream, vectors: &Upstream) -> Gateway {
    Gateway::start(&format!(
        "consumers: [{{name: app, keys: [{KEY}]}}]
postgres: {{url: \"{database}\", timeout: 300ms}}
routes:
  - name: models
    match: [{{path: {{prefix: /ai}}}}]
    policies: [{{keyAuth: {{headers: [x-api-key]}}}}, {{aiCache: {{store: postgres{policy}}}}}]
    ai: {{stripPrefix: /ai, models: [openai-chat]}}
ai:
  providers:
    - {{name: chat, kind: openai-compatible, baseUrl: \"http://{}/v1\"}}
    - {{name: vectors, kind: openai-compatible, baseUrl: \"http://{}/v1\"}}
  models:
    - {{name: openai-chat, targets: [{{provider: chat, model: m}}]}}
    - {{name: meaning, targets: [{{provider: vectors, model: v}}]}}
",
        upstream.address, vectors.address
    ))
}

fn is_up(gateway: &Gateway) -> bool {
    gateway.metric("tidegate_postgres_up ") == Some(1.0)
}

/// What the cache says of a question, and the answer.
fn ask(gateway: &Gateway, words: &str) -> (String, String) {
    let answer = ask_with(gateway, CHAT, "openai-chat", &question(words, false), KEY, "");
    assert_eq!(answer.status, 200, "{}", answer.text());
    (answer.header("x-tidegate-cache").unwrap_or("none").to_owned(), text(&heard(CHAT, &answer)))
}

fn said(result: &str, number: usize) -> (String, String) {
    (result.to_owned(), format!("answer {number}"))
}

#[test]
fn among_many_the_nearest_is_found_by_the_index() {
    let (database, upstream, vectors) = (Database::start(), model(), vectors());
    let policy = ", semantic: {model: meaning, threshold: 0.9, timeout: 30s}";
    let gateway = gateway(&database.url, policy, &upstream, &vectors);
    eventually("it connects", || is_up(&gateway));
    assert_eq!(ask(&gateway, "Why is there a tide?"), said("miss", 1));
    eventually("the index is made", || {
        database.ask("SELECT count(*) FROM pg_indexes WHERE indexname = 'tidegate_ai_cache_near_8'") == "1"
    });
    // Questions of the same kind, those that are not near enough newer, and more than are compared one by one.
    database.ask(
        "INSERT INTO tidegate_ai_cache (store, scope, key, answer, bytes, alike, numbers, meaning, made, expires)
         SELECT store, scope, decode(md5(n::text) || md5('b' || n), 'hex'), answer, bytes, alike, numbers,
             ('[' || (3 + n % 2 * 3) * random() || ',' || random() || ',' || random() || ',' || random() || ','
                 || random() || ',' || random() || ',' || random() || ',' || random() || ']')::vector,
             made, expires
         FROM tidegate_ai_cache, generate_series(1, 4000) AS n",
    );
    database.ask(
        "UPDATE tidegate_ai_cache SET made = now() + interval '1 hour'
         WHERE (meaning <=> '[1,0,0,0,0,0,0,0]') > 0.11",
    );
    assert!(database.count("made > now()") > 2000);
    database.ask("ANALYZE tidegate_ai_cache");
    assert_eq!(ask(&gateway, "What makes the tide?"), said("hit", 1));
    eventually("the index was looked at", || {
        let scans =
            "SELECT idx_scan FROM pg_stat_user_indexes WHERE indexrelname = 'tidegate_ai_cache_near_8'";
        database.ask(scans).parse::<u64>().is_ok_and(|scans| scans > 0)
    });
}

#[test]
fn what_is_old_or_too_much_is_not_given_again_and_goes() {
    let (database, upstream, vectors) = (Database::start(), model(), vectors());
    let gateway = gateway(&database.url, ", ttl: 2s, maxEntries: 20", &upstream, &vectors);
    eventually("it connects", || is_up(&gateway));
    assert_eq!(ask(&gateway, "question 0"), said("miss", 1));
    eventually("it is kept", || database.count("true") == 1);
    assert_eq!(ask(&gateway, "question 0"), said("hit", 1));
    pause(2100);
    assert_eq!(ask(&gateway, "question 0"), said("miss", 2), "it is older than its time");
    pause(2100);
    // The 33rd answer that is kept has the others looked through: old ones go, and of the rest the newest 20 stay.
    for number in 1..=31 {
        assert_eq!(ask(&gateway, &format!("question {number}")).0, "miss");
    }
    // On a busy machine one may not have been kept in time: then another is the 33rd.
    let mut more = 31;
    eventually("they are looked through", || {
        let is_done = || database.count("true") <= 20;
        if is_done() {
            return true;
        }
        pause(300);
        if is_done() {
            return true;
        }
        more += 1;
        assert_eq!(ask(&gateway, &format!("question {more}")).0, "miss");
        false
    });
    assert!(database.count("true") >= 19, "those that are young and few enough stay");
    assert_eq!(database.count("expires <= now() - interval '2 seconds'"), 0);
}

/// Passes bytes between a port and the database's socket, but for while it hangs: then it takes connections and what comes,
/// and answers nothing.
fn hanging(socket: &Path) -> (u16, Arc<AtomicBool>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let (hangs, socket) = (Arc::new(AtomicBool::new(false)), socket.to_owned());
    let told = hangs.clone();
    std::thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            let Ok(server) = UnixStream::connect(&socket) else { continue };
            let (hangs, hangs_too) = (told.clone(), told.clone());
            let (from, to) = (client.try_clone().expect("a clone"), server.try_clone().expect("a clone"));
            std::thread::spawn(move || copy(from, to, &hangs));
            std::thread::spawn(move || copy(server, client, &hangs_too));
        }
    });
    (port, hangs)
}

fn copy(mut from: impl Read, mut to: impl Write, hangs: &AtomicBool) {
    let mut buffer = [0; 8192];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        while hangs.load(Ordering::Relaxed) {
            pause(10);
        }
        if to.write_all(&buffer[..length]).is_err() {
            return;
        }
    }
}

#[test]
fn a_database_that_accepts_and_never_answers_holds_no_request() {
    let (database, upstream, vectors) = (Database::start(), model(), vectors());
    let (port, hangs) = hanging(&database.socket());
    let url = format!("postgresql://postgres@127.0.0.1:{port}/postgres?sslmode=disable");
    let policy = ", semantic: {model: meaning, threshold: 0.9, timeout: 30s}";
    let known = gateway(&url, policy, &upstream, &vectors);
    eventually("it connects", || is_up(&known));
    assert_eq!(ask(&known, "Why is there a tide?"), said("miss", 1));
    eventually("it is kept", || database.count("true") == 1);
    assert_eq!(ask(&known, "Why is there a tide?"), said("hit", 1));
    hangs.store(true, Ordering::Relaxed);
    let timed = |gateway: &Gateway| {
        let began = Instant::now();
        let told = ask(gateway, "Why is there a tide?");
        // It is asked for the answer, and for the nearest; 300 ms each.
        assert!(began.elapsed() < Duration::from_millis(2000), "{:?}", began.elapsed());
        told.0
    };
    for _ in 0..5 {
        assert_eq!(timed(&known), "miss");
    }
    // Nor does one that hangs from the beginning, whether it hangs in the handshake or is silent from the first byte.
    let begun = gateway(&url, policy, &upstream, &vectors);
    assert_eq!(timed(&begun), "miss");
    assert!(!is_up(&begun));
    hangs.store(false, Ordering::Relaxed);
    eventually("what answers again is asked again", || ask(&known, "Why is there a tide?").0 == "hit");
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = silent.local_addr().expect("an address");
    let mute = gateway(&format!("postgresql://u@{address}/d?sslmode=disable"), policy, &upstream, &vectors);
    assert_eq!(timed(&mute), "miss");
}
