//! Judges a request by the rules of a folder, and tells how long that takes.
//!
//! `cargo run --release -p tidegate-waf --example judge -- RULES_FOLDER METHOD TARGET [BODY [CONTENT_TYPE]]`

use std::{env, fs, path::Path, sync::Arc, time::Instant};

use waf::{Collections, Files, Head, Options, Phase, Rules, Source, Transaction};

/// Files beside the one that names them.
struct Disk;

impl Files for Disk {
    fn read(&self, from: &str, name: &str) -> Result<Vec<u8>, String> {
        let folder = Path::new(from).parent().unwrap_or(Path::new("."));
        fs::read(folder.join(name)).map_err(|error| error.to_string())
    }

    fn list(&self, _: &str, _: &str) -> Result<Vec<String>, String> {
        Err("not here".into())
    }
}

fn main() {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [folder, method, target, rest @ ..] = arguments.as_slice() else {
        eprintln!("expected a folder, a method and a target");
        std::process::exit(2);
    };
    let mut names: Vec<_> = fs::read_dir(folder).expect("a folder").flatten().map(|entry| entry.path()).collect();
    names.retain(|name| name.extension().is_some_and(|ending| ending == "conf"));
    names.sort();
    let source = |path: &std::path::PathBuf| Source {
        name: path.to_string_lossy().into(),
        text: fs::read_to_string(path).expect("a file of rules"),
    };
    let sources: Vec<Source> = names.iter().map(source).collect();
    let options =
        Options { variables: vec![("crs_setup_version".into(), "1".into())], ..Options::default() };
    let began = Instant::now();
    let (rules, warnings) = Rules::compile(&sources, &Disk, &options).unwrap_or_else(|errors| {
        errors.iter().for_each(|error| eprintln!("{error}"));
        std::process::exit(1)
    });
    warnings.iter().for_each(|warning| eprintln!("{warning}"));
    println!("{} rules in {:?}; with backtracking {:?}", rules.len(), began.elapsed(), rules.backtracking());
    let (rules, collections) = (Arc::new(rules), Arc::new(Collections::new(1_000)));
    let body = rest.first().map_or(&[][..], |body| body.as_bytes());
    let length = body.len().to_string();
    let mut headers: Vec<(&[u8], &[u8])> =
        vec![(b"host", b"api.example.test"), (b"user-agent", b"Mozilla/5.0"), (b"accept", b"*/*")];
    if !body.is_empty() {
        let kind = rest.get(1).map_or(&b"application/x-www-form-urlencoded"[..], |kind| kind.as_bytes());
        headers.extend([(&b"content-type"[..], kind), (b"content-length", length.as_bytes())]);
    }
    let judge = || {
        let head = Head {
            method: method.as_bytes(),
            target: target.as_bytes(),
            protocol: b"HTTP/1.1",
            client: [192, 0, 2, 1].into(),
            server: b"api.example.test",
            unique: b"1",
            now: 1,
        };
        let headers = headers.iter().copied();
        let mut call = Transaction::new(rules.clone(), collections.clone(), &head, headers, 100_000_000);
        call.run(Phase::Head);
        call.body(body, true);
        call.run(Phase::Body);
        call.run(Phase::Logging);
        call
    };
    let call = judge();
    println!("{:?} by {:?}, scores {:?}, {} steps", call.verdict(), call.refused_by(), call.scores(), call.steps());
    for fired in call.fired() {
        let at = String::from_utf8_lossy(&fired.at).into_owned();
        println!("  {} at {at}: {}", fired.rule, rules.message(fired.rule).unwrap_or_default());
    }
    let (began, rounds) = (Instant::now(), 1_000);
    for _ in 0..rounds {
        judge();
    }
    println!("{:?} each", began.elapsed() / rounds);
}
