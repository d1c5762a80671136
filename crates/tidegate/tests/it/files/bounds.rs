//! What no path reaches, and files that are no good.

use std::{
    fs,
    io::Write as _,
    os::unix::fs::symlink,
    process::Command,
    time::{Duration, Instant},
};

use super::{Site, large, write};
use crate::harness::Client;

#[test]
fn nothing_outside_the_directory_is_read_whatever_leads_there() {
    let site = Site::with("", |site| {
        write(
            &site,
            &[
                ("in.txt", "in"),
                (".env", "secret"),
                (".git/config", "secret"),
                ("a/.htpasswd", "secret"),
                (".well-known/security.txt", "contact"),
                ("../out.txt", "secret"),
                ("../out/x.txt", "secret"),
            ],
        );
        let out = site.parent().expect("a folder").join("out.txt");
        symlink("../out.txt", site.join("relative")).expect("a link");
        symlink(out, site.join("absolute")).expect("a link");
        symlink("../out", site.join("folder")).expect("a link");
        symlink("/proc/self/root", site.join("magic")).expect("a link");
        symlink("/proc/self/environ", site.join("environ")).expect("a link");
        symlink("in.txt", site.join("good")).expect("a link");
        symlink("loop", site.join("loop")).expect("a link");
    });
    assert_eq!(site.get("/in.txt", "").text(), "in");
    assert_eq!(site.get("/good", "").text(), "in");
    assert_eq!(site.get("/.well-known/security.txt", "").text(), "contact");
    for target in [
        "/relative",
        "/absolute",
        "/folder/x.txt",
        "/magic/etc/passwd",
        "/environ",
        "/loop",
        "/.env",
        "/%2eenv",
        "/.git/config",
        "/a/.htpasswd",
        "/../out.txt",
        "/a/../../out.txt",
        "/%2e%2e/out.txt",
        "/..%2fout.txt",
        "/a/%2e%2e/%2e%2e/out.txt",
        "/%2e%2e%2fout.txt",
        "//etc/passwd",
        "/in.txt%00.html",
        "/in.txt/",
        "/in.txt/..",
    ] {
        let answer = site.get(target, "");
        assert!(matches!(answer.status, 400 | 404), "{target}: {}", answer.status);
        assert!(!answer.text().contains("secret"), "{target}");
    }
    let long = format!("/{}", "a".repeat(300));
    assert_eq!(site.get(&long, "").status, 404);
    let shown = Site::with("hidden: true", |site| write(&site, &[(".env", "shown")]));
    assert_eq!(shown.get("/.env", "").text(), "shown");
}

#[test]
fn what_is_no_file_is_not_waited_for() {
    let site = Site::with("", |site| {
        let made = Command::new("mkfifo").arg(site.join("pipe")).status().expect("mkfifo");
        assert!(made.success());
        symlink("/dev/zero", site.join("zero")).expect("a link");
        write(&site, &[("a.txt", "a")]);
    });
    let began = Instant::now();
    assert_eq!(site.get("/pipe", "").status, 404);
    assert_eq!(site.get("/zero", "").status, 404);
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    assert_eq!(site.get("/a.txt", "").text(), "a");
}

#[test]
fn a_file_that_shrinks_while_it_is_sent_ends_the_answer_where_everybody_sees_it() {
    const LENGTH: usize = 64 * 1024 * 1024;
    let site = Site::with("", |site| {
        let file = fs::File::create(site.join("large.bin")).expect("a file");
        file.set_len(LENGTH as u64).expect("room");
    });
    let mut client = Client::connect(site.gateway.address);
    client.write("GET /large.bin HTTP/1.1\r\nhost: a\r\n\r\n");
    // The kernel's buffers hold some megabytes; the rest waits to be taken.
    assert!(!client.read_bytes(1000).is_empty());
    fs::OpenOptions::new()
        .write(true)
        .open(site.path("large.bin"))
        .expect("a file")
        .set_len(10)
        .expect("cut");
    let (mut got, mut buffer) = (1000, vec![0; 64 * 1024]);
    loop {
        match client.read_some(&mut buffer) {
            0 => break,
            more => got += more,
        }
    }
    assert!(got < LENGTH, "{got} bytes");
    let record = site.gateway.record("the file", |record| record["failure"].is_object());
    assert_eq!(record["failure"]["stage"], "body", "{record}");
    // Others are served on.
    let mut file = fs::File::create(site.path("small.bin")).expect("a file");
    file.write_all(&large(10)).expect("bytes");
    drop(file);
    assert_eq!(site.get("/small.bin", "").body, large(10));
}

#[test]
fn slow_takers_of_large_files_cost_little_memory() {
    const LENGTH: u64 = 256 * 1024 * 1024;
    let site = Site::with("", |site| {
        fs::File::create(site.join("large.bin")).expect("a file").set_len(LENGTH).expect("room");
    });
    let before = site.gateway.rss();
    let mut clients: Vec<Client> = (0..50).map(|_| Client::connect(site.gateway.address)).collect();
    for client in &mut clients {
        client.write("GET /large.bin HTTP/1.1\r\nhost: a\r\n\r\n");
        assert!(!client.read_bytes(1000).is_empty());
    }
    crate::harness::pause(500);
    let more = site.gateway.rss().saturating_sub(before);
    // A chunk under way, one ahead, and what a connection writes from.
    assert!(more < 50 * 1024 * 1024 * 3 / 2, "{more} bytes for 50 clients");
    assert_eq!(site.get("/large.bin", "range: bytes=-3").body, [0, 0, 0]);
}

#[test]
fn fast_takers_of_files_cost_few_threads_and_little_memory() {
    let site = Site::with("", |site| fs::write(site.join("app.js"), large(270_000)).expect("a file"));
    let address = site.gateway.address;
    let takers: Vec<_> = (0..100)
        .map(|_| {
            std::thread::spawn(move || {
                let mut client = Client::connect(address);
                for _ in 0..40 {
                    client.write("GET /app.js HTTP/1.1\r\nhost: a\r\n\r\n");
                    assert_eq!(client.read().expect("an answer").body.len(), 270_000);
                }
            })
        })
        .collect();
    let mut most = (0, 0);
    while !takers.iter().all(std::thread::JoinHandle::is_finished) {
        most = (most.0.max(site.gateway.threads()), most.1.max(site.gateway.rss()));
        crate::harness::pause(20);
    }
    takers.into_iter().for_each(|taker| taker.join().expect("all were answered"));
    assert!(most.0 <= 64 + 16, "{} threads", most.0);
    assert!(most.1 < 300 * 1024 * 1024, "{} bytes", most.1);
}

#[test]
fn the_gateways_own_data_is_no_directory_of_files() {
    let folder = tempfile::tempdir().expect("a folder");
    let site = folder.path().join("site");
    fs::create_dir_all(site.join("own/deeper")).expect("directories");
    let config = folder.path().join("gateway.yaml");
    for (root, data) in [
        ("site", "site/own"),
        ("site/own", "site/own"),
        ("site/own/deeper", "site/own"),
        ("site", "site/new"),
    ] {
        let text = format!(
            "listeners: [{{name: a, address: \"127.0.0.1:{}\"}}]\nroutes: [{{name: files, static: {{root: {root}}}}}]\n",
            crate::harness::free_port()
        );
        fs::write(&config, text).expect("a file");
        let data = folder.path().join(data);
        let (config, data) = (config.to_str().expect("a path"), data.to_str().expect("a path"));
        let (code, out, error) = crate::harness::run(&["run", "--config", config, "--data-dir", data]);
        let told = format!("{out}{error}");
        assert!(code != 0 && told.contains("own data is in"), "{root}, {data}: {code} {told}");
    }
}

#[test]
fn what_became_of_calls_and_files_on_their_way_are_told() {
    let site = Site::with("maxOpen: 2, index: [index.html], notFound: lost.html", |site| {
        let large = "x".repeat(24 * 1024 * 1024);
        write(
            &site,
            &[
                ("index.html", "home"),
                ("sub/index.html", "sub"),
                ("lost.html", "lost"),
                ("large.bin", large.as_str()),
            ],
        );
    });
    let told = |outcome: &str| {
        let series = format!("tidegate_static_answers_total{{route=\"files\",outcome=\"{outcome}\"}}");
        site.gateway.metric(&series).expect("a series")
    };
    let open = || site.gateway.metric("tidegate_static_open_files{route=\"files\"}").expect("a series");
    assert_eq!(
        (site.get("/", "").status, site.get("/sub", "").status, site.get("/nothing", "").status),
        (200, 301, 404)
    );
    assert_eq!(site.get("/also-nothing", "").status, 404);
    assert_eq!((told("file"), told("directory"), told("missing")), (1.0, 1.0, 2.0));
    assert_eq!(open(), 0.0);
    // Two clients that read nothing have both places.
    let slow = || {
        let mut client = Client::connect(site.gateway.address);
        client.write("GET /large.bin HTTP/1.1\r\nhost: a\r\n\r\n");
        client
    };
    let slow = [slow(), slow()];
    crate::harness::eventually("both are on their way", || open() == 2.0);
    let refused = site.get("/", "");
    assert_eq!((refused.status, refused.header("retry-after")), (503, Some("1")), "{}", refused.text());
    assert_eq!((told("busy"), told("file")), (1.0, 3.0));
    drop(slow);
    crate::harness::eventually("the places are free again", || open() == 0.0);
    assert_eq!(site.get("/", "").status, 200);
    // Without the directory itself nothing can be looked for.
    fs::rename(site.path(""), site.path("../moved")).expect("it moves");
    assert_eq!((site.get("/", "").status, told("failed")), (500, 1.0));
}

#[test]
fn what_is_in_memory_is_read_without_a_thread() {
    let site = Site::with("", |site| {
        fs::write(site.join("small.txt"), "small").expect("a file");
        fs::write(site.join("large.bin"), large(1_000_000)).expect("a file");
    });
    let read = |how: &str| {
        let series = format!("tidegate_static_reads_total{{route=\"files\",how=\"{how}\"}}");
        site.gateway.metric(&series).expect("a series")
    };
    assert_eq!(site.get("/nothing", "").status, 404);
    assert_eq!(site.get("/small.txt", "").text(), "small");
    assert_eq!(site.get("/large.bin", "").body, large(1_000_000));
    // Three were looked for; the large one is eight pieces. Kernels and file systems that know no reads without waiting
    // leave those to threads, and a small one with its bytes; the large one's name is found at once all the same.
    assert_eq!(read("memory") + read("disk"), 11.0);
    assert!(read("memory") >= 1.0, "{} of 11 at once", read("memory"));
}
