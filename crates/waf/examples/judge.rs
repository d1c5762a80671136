//! Judges requests by the rules of a folder, and tells how much time that takes.
//!
//! `judge RULES_FOLDER METHOD TARGET [BODY [CONTENT_TYPE]]` judges one and lists what fired. `judge RULES_FOLDER
//! --file REQUESTS ROUNDS` judges those of a file, each as its length in decimal, a line end and the request as it is
//! in HTTP/1.1, and prints the verdict of each and the processor's time for one; `bench/waf.py` asks it that way.

use std::{env, fs, path::Path, sync::Arc, time::Instant};

use waf::{Collections, Options, Rules};

use self::requests::{Asked, Disk, sources, unpacked};

#[path = "../tests/it/requests.rs"]
mod requests;

fn rules(folder: &str) -> Rules {
    let sources = sources(Path::new(folder));
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
    let all: Vec<Asked> = unpacked(&bytes).into_iter().map(Asked::read).collect();
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
