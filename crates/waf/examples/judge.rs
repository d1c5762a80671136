//! Judges requests by the rules of a folder, and tells how much time that takes.
//!
//! `judge RULES_FOLDER METHOD TARGET [BODY [CONTENT_TYPE]]` judges one and lists what fired. `judge RULES_FOLDER
//! --file REQUESTS ROUNDS` judges those of a file, each as its length in decimal, a line end and the request as it is
//! in HTTP/1.1, and prints the verdict of each and the processor's time for one; `bench/waf.py` asks it that way.

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

/// A request, taken apart as a server does.
struct Asked {
    method: Vec<u8>,
    target: Vec<u8>,
    headers: Vec<(Vec<u8>, Vec<u8>)>,
    body: Vec<u8>,
}

impl Asked {
    fn read(bytes: &[u8]) -> Self {
        let end = bytes.windows(4).position(|window| window == b"\r\n\r\n").expect("a head");
        let mut lines = bytes[..end].split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii_end);
        let mut words = lines.next().expect("a line").splitn(3, |byte| *byte == b' ').map(<[u8]>::to_vec);
        let (method, target) = (words.next().expect("a method"), words.next().expect("a target"));
        let header = |line: &[u8]| {
            let colon = line.iter().position(|byte| *byte == b':').expect("a header");
            (line[..colon].to_vec(), line[colon + 1..].trim_ascii().to_vec())
        };
        Self { method, target, headers: lines.map(header).collect(), body: bytes[end + 4..].to_vec() }
    }

    fn judge(&self, rules: &Arc<Rules>, collections: &Arc<Collections>) -> Transaction {
        let head = Head {
            method: &self.method,
            target: &self.target,
            protocol: b"HTTP/1.1",
            client: [127, 0, 0, 1].into(),
            server: b"api.example.test",
            unique: b"0192f0c1-2b7e-7cc0-8000-1f2e3d4c5b6a",
            now: 1_000,
        };
        let headers = self.headers.iter().map(|(name, value)| (&name[..], &value[..]));
        let mut call = Transaction::new(rules.clone(), collections.clone(), &head, headers, 400_000_000);
        call.run(Phase::Head);
        call.body(&self.body, true);
        call.run(Phase::Body);
        call.run(Phase::Logging);
        call
    }
}

fn rules(folder: &str) -> Rules {
    let mut names: Vec<_> =
        fs::read_dir(folder).expect("a folder").flatten().map(|entry| entry.path()).collect();
    names.retain(|name| name.extension().is_some_and(|ending| ending == "conf"));
    names.sort();
    let source = |path: &std::path::PathBuf| Source {
        name: path.to_string_lossy().into(),
        text: fs::read_to_string(path).expect("a file of rules"),
    };
    let sources: Vec<Source> = names.iter().map(source).collect();
    let mut variables = vec![("crs_setup_version".to_owned(), "1".to_owned())];
    if let Ok(level) = env::var("PARANOIA") {
        variables.push(("paranoia_level".into(), level.clone()));
        variables.push(("blocking_paranoia_level".into(), level));
    }
    let options = Options { variables, ..Options::default() };
    let began = Instant::now();
    let (rules, warnings) = Rules::compile(&sources, &Disk, &options).unwrap_or_else(|errors| {
        errors.iter().for_each(|error| eprintln!("{error}"));
        std::process::exit(1)
    });
    warnings.iter().for_each(|warning| eprintln!("{warning}"));
    eprintln!("{} rules in {:?}; with backtracking {:?}", rules.len(), began.elapsed(), rules.backtracking());
    rules
}

/// The processor's time of this process, in seconds.
fn cpu() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").expect("Linux");
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks: f64 = [11, 12].iter().map(|at| fields[*at].parse::<f64>().expect("a number")).sum();
    ticks / 100.0
}

fn many(rules: &Arc<Rules>, collections: &Arc<Collections>, file: &str, rounds: u32) {
    let bytes = fs::read(file).expect("a file of requests");
    let (mut rest, mut all) = (&bytes[..], Vec::new());
    while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
        let length: usize = String::from_utf8_lossy(&rest[..end]).parse().expect("a length");
        all.push(Asked::read(&rest[end + 1..end + 1 + length]));
        rest = &rest[end + 1 + length..];
    }
    for asked in &all {
        let call = asked.judge(rules, collections);
        let fired: Vec<String> = call.fired().iter().map(|fired| fired.rule.to_string()).collect();
        println!("{} {}", if call.verdict().is_some() { "refused" } else { "passed" }, fired.join(","));
    }
    let began = cpu();
    for _ in 0..rounds {
        for asked in &all {
            asked.judge(rules, collections);
        }
    }
    println!("{:.2}", (cpu() - began) * 1e6 / f64::from(rounds) / all.len() as f64);
}

fn main() {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [folder, method, target, rest @ ..] = arguments.as_slice() else {
        eprintln!("expected a folder, a method and a target");
        std::process::exit(2);
    };
    let (rules, collections) = (Arc::new(rules(folder)), Arc::new(Collections::new(1_000)));
    if method == "--file" {
        let rounds = rest.first().and_then(|rounds| rounds.parse().ok()).unwrap_or(10);
        return many(&rules, &collections, target, rounds);
    }
    let body = rest.first().cloned().unwrap_or_default();
    let kind = rest.get(1).map_or("application/x-www-form-urlencoded", String::as_str);
    let of_body = format!("Content-Type: {kind}\r\nContent-Length: {}\r\n", body.len());
    let of_body = if body.is_empty() { "" } else { &of_body };
    let head = format!(
        "{method} {target} HTTP/1.1\r\nHost: api.example.test\r\nUser-Agent: Mozilla/5.0\r\nAccept: */*"
    );
    let asked = Asked::read(format!("{head}\r\n{of_body}\r\n{body}").as_bytes());
    let call = asked.judge(&rules, &collections);
    println!(
        "{:?} by {:?}, scores {:?}, {} steps",
        call.verdict(),
        call.refused_by(),
        call.scores(),
        call.steps()
    );
    for fired in call.fired() {
        let at = String::from_utf8_lossy(&fired.at).into_owned();
        println!("  {} at {at}: {}", fired.rule, rules.message(fired.rule).unwrap_or_default());
    }
}
