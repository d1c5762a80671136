//! A hundred thousand routes in one gateway, and a difference of ten thousand: within stated bounds.
//!
//! Time is that of the processor, which a busy machine does not make longer.

use std::{fmt::Write as _, fs, time::Duration};

use super::super::harness::{Client, Gateway, run};

const ROUTES: usize = 100_000;
/// What the start may take of the processor. It takes a third of that on the machine that this was written on.
const START_CPU_MAX: Duration = Duration::from_secs(15);
/// How long it may be until it is ready when others want the processor, too.
const START_PATIENCE: Duration = Duration::from_secs(90);
/// What the process may hold in memory. A route takes three to eight KiB: what reading the file took is partly kept by
/// the allocator.
const RSS_BYTES_MAX: u64 = (ROUTES as u64) * 10 * 1024;
/// What an answer may take, on the average of all that are asked for, nothing but the processor's time of the gateway.
const ANSWER_CPU_MAX: Duration = Duration::from_millis(1);
/// A difference of ten thousand routes.
const DIFF_ROUTES: usize = 10_000;
const DIFF_CPU_MAX: Duration = Duration::from_secs(15);

/// Routes of every kind, each answering with its own number: `/exact/N`, `/prefix/N/…`, `/N/template/…` and a host of
/// its own.
fn routes(count: usize) -> String {
    let mut text = String::from("routes:\n");
    for at in 0..count {
        let (host, path) = match at % 4 {
            0 => (String::new(), format!("exact: /exact/{at}")),
            1 => (String::new(), format!("prefix: /prefix/{at}")),
            2 => (String::new(), format!("template: '/{at}/template/{{id}}'")),
            _ => (format!("hosts: [h{at}.test], "), "prefix: /own".to_owned()),
        };
        let _ = writeln!(
            text,
            "  - {{name: r{at}, {host}match: [{{path: {{{path}}}, methods: [GET]}}], respond: {{body: \"{at}\"}}}}"
        );
    }
    text
}

/// The time that a process has had of the processor, in user and kernel space (proc(5), fields 14 and 15).
fn cpu(pid: u32) -> Duration {
    ticks(&pid.to_string(), 11)
}

/// The same of all children that this process has waited for (fields 16 and 17).
fn cpu_of_children() -> Duration {
    ticks("self", 13)
}

fn ticks(process: &str, skip: usize) -> Duration {
    let text = fs::read_to_string(format!("/proc/{process}/stat")).expect("stat");
    let fields = text.rsplit_once(')').expect("a name in brackets").1.split_ascii_whitespace();
    let ticks: u64 = fields.skip(skip).take(2).map(|field| field.parse::<u64>().expect("ticks")).sum();
    Duration::from_millis(ticks * 10)
}

/// A number that looks random, and is the same with each run.
fn draw(seed: &mut u64, below: usize) -> usize {
    *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    ((*seed >> 33) as usize) % below
}

#[test]
fn a_hundred_thousand_routes_load_in_time_answer_right_and_stay_within_bounds() {
    let gateway = Gateway::patiently(&routes(ROUTES), START_PATIENCE);
    let (started, loaded) = (cpu(gateway.pid()), gateway.rss());
    assert!(started <= START_CPU_MAX, "the start took {started:?} of the processor");
    assert!(loaded <= RSS_BYTES_MAX, "{loaded} bytes in memory");
    let mut client = Client::connect(gateway.address);
    let mut ask = |method: &str, host: &str, path: &str| {
        client.write(format!("{method} {path} HTTP/1.1\r\nhost: {host}\r\n\r\n"));
        client.read().expect("an answer")
    };
    let mut seed = 7;
    const SAMPLE: usize = 1_000;
    for _ in 0..SAMPLE {
        let at = draw(&mut seed, ROUTES);
        let (host, path) = match at % 4 {
            0 => ("a.test".to_owned(), format!("/exact/{at}")),
            1 => ("a.test".to_owned(), format!("/prefix/{at}/more/of/it?q")),
            2 => ("a.test".to_owned(), format!("/{at}/template/anything")),
            _ => (format!("h{at}.test"), "/own/path".to_owned()),
        };
        let answer = ask("GET", &host, &path);
        assert_eq!((answer.status, answer.text()), (200, at.to_string()), "{host}{path}");
        let answer = ask("DELETE", &host, &path);
        assert_eq!((answer.status, answer.header("allow")), (405, Some("GET")), "{host}{path}");
        // Of none: a number beyond all, another kind of path, another host.
        let beyond = ROUTES + at;
        let none = match at % 4 {
            0 => ask("GET", &host, &format!("{path}/more")),
            1 => ask("GET", &host, &format!("/prefix/{at}x")),
            2 => ask("GET", &host, &format!("/{at}/template/two/parts")),
            _ => ask("GET", &format!("h{beyond}.test"), "/own/path"),
        };
        assert_eq!((none.status, none.problem().as_deref()), (404, Some("no-route")), "{host}{path}");
    }
    let asked = cpu(gateway.pid()) - started;
    assert!(asked <= ANSWER_CPU_MAX * 3 * SAMPLE as u32, "{asked:?} for {} answers", 3 * SAMPLE);
    assert!(gateway.rss() <= RSS_BYTES_MAX, "{} bytes in memory", gateway.rss());
    eprintln!("start {started:?}, {} KiB, {:?} an answer", loaded >> 10, asked / (3 * SAMPLE as u32));
}

#[test]
fn a_difference_of_ten_thousand_routes_is_found_in_time() {
    let folder = tempfile::tempdir().expect("a folder");
    let listeners = "listeners: [{name: public, address: 127.0.0.1:8080}]\n";
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, format!("{listeners}{text}")).expect("a file");
        path.display().to_string()
    };
    let guarded =
        |text: &str| text.replace("respond:", "policies: [{ipRestriction: {allow: [10.0.0.0/8]}}], respond:");
    let before = routes(DIFF_ROUTES);
    let old = write("old.yaml", &guarded(&before));
    // One in a hundred loses its guard, and one is new.
    let mut lines: Vec<String> = guarded(&before).lines().map(str::to_owned).collect();
    for (at, line) in before.lines().enumerate().filter(|(at, _)| at % 100 == 1) {
        lines[at] = line.to_owned();
    }
    lines.push("  - {name: more, match: [{path: {exact: /more}}], respond: {}}".to_owned());
    let new = write("new.yaml", &(lines.join("\n") + "\n"));
    let before = cpu_of_children();
    let (code, out, problems) = run(&["diff", &old, &new]);
    let took = cpu_of_children() - before;
    let exposed = out.lines().filter(|line| line.starts_with("EXPOSED")).count();
    assert_eq!(exposed, DIFF_ROUTES / 100 + 1, "{code} {problems} {out}");
    assert!(out.contains("added routes/more"), "{out}");
    assert!(took <= DIFF_CPU_MAX, "{took:?}");
    eprintln!("a difference of {DIFF_ROUTES} routes in {took:?}");
}
