//! The tier on disk: what outlives the process, and what must not.

use std::path::Path;

use super::{operators::purge, *};

/// How many answers have been written, and how many lie there.
fn written(gateway: &Gateway) -> f64 {
    let name = "tidegate_cache_disk_writes_total{cache=\"routes/r\",result=\"written\"}";
    gateway.metric(name).unwrap_or_default()
}

fn on_disk(gateway: &Gateway) -> f64 {
    gateway.metric("tidegate_cache_disk_entries{cache=\"routes/r\"}").unwrap_or_default()
}

fn is_known(gateway: &Gateway) -> bool {
    gateway.admin_get("/api/v1/caches").json()["caches"][0]["disk"]["complete"] == true
}

/// Another process on the same folder, once it knows what is there.
fn restarted(gateway: &mut Gateway) {
    gateway.restart("KILL");
    eventually("all files have been looked at", || is_known(gateway));
}

/// The files of answers of the cache of the only route.
fn files(gateway: &Gateway) -> Vec<std::path::PathBuf> {
    files_in(&root(gateway))
}

fn root(gateway: &Gateway) -> std::path::PathBuf {
    gateway.folder.path().join("data/cache/routes.r")
}

fn files_in(root: &Path) -> Vec<std::path::PathBuf> {
    let folders = std::fs::read_dir(root).expect("the cache's folder").flatten();
    let folders = folders.filter(|entry| entry.file_name().len() == 2);
    folders
        .flat_map(|folder| std::fs::read_dir(folder.path()).expect("a folder").flatten())
        .map(|file| file.path())
        .collect()
}

#[test]
fn answers_outlive_the_process_and_their_age_counts_on() {
    let upstream = counting("cache-control: max-age=600\nvary: x-lang");
    let mut gateway = cached(&upstream, "{disk: {}, key: {headers: [x-tenant]}}");
    let get = |gateway: &Gateway, fields: &str| ask(gateway, "/a", fields);
    assert_eq!(get(&gateway, "\nx-lang: de").text(), "answer 1");
    assert_eq!(get(&gateway, "\nx-lang: en").text(), "answer 2");
    assert_eq!(get(&gateway, "\nx-lang: de\nx-tenant: t").text(), "answer 3");
    assert!(!status(&get(&gateway, "\nx-lang: de")).contains("detail"), "memory has it");
    eventually("they are on disk", || written(&gateway) == 3.0);
    pause(1_100);
    restarted(&mut gateway);
    let again = get(&gateway, "\nx-lang: de");
    assert_eq!(again.text(), "answer 1");
    assert!(
        status(&again).starts_with("tidegate; hit; ttl=") && status(&again).ends_with("; detail=disk"),
        "{}",
        status(&again)
    );
    let age: u64 = again.header("age").and_then(|age| age.parse().ok()).expect("an age");
    assert!((1..60).contains(&age), "{age}");
    assert!(!status(&get(&gateway, "\nx-lang: de")).contains("detail"), "it is in memory again");
    assert_eq!(get(&gateway, "\nx-lang: en\nrange: bytes=0-2").text(), "ans");
    assert_eq!(get(&gateway, "\nx-lang: de\nx-tenant: t").text(), "answer 3");
    assert_eq!(get(&gateway, "\nx-lang: fr\ncache-control: only-if-cached").status, 504);
    assert_eq!(upstream.seen().len(), 3);
    let hits = gateway.metric("tidegate_cache_disk_reads_total{cache=\"routes/r\",result=\"hit\"}");
    assert_eq!(hits, Some(3.0));
}

#[test]
fn stale_answers_from_disk_are_good_for_what_memorys_are() {
    let count = std::sync::atomic::AtomicUsize::new(0);
    let upstream = Upstream::scripted(move |seen| {
        let count = count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        match (seen.target(), seen.header("if-none-match")) {
            ("/confirmed", Some(_)) => {
                Some(b"HTTP/1.1 304 X\r\ncache-control: max-age=60\r\nx-new: yes\r\n\r\n".to_vec())
            }
            ("/broken", _) if count >= 3 => Some(b"HTTP/1.1 503 X\r\ncontent-length: 3\r\n\r\nill".to_vec()),
            ("/behind", _) if count >= 3 => answer("cache-control: max-age=60", "newer"),
            ("/behind", _) => answer("cache-control: max-age=1, stale-while-revalidate=60", "old"),
            _ => answer("cache-control: max-age=1, stale-if-error=60\netag: \"1\"", "old"),
        }
    });
    let mut gateway = cached(&upstream, "{disk: {}}");
    for path in ["/confirmed", "/broken", "/behind"] {
        ask(&gateway, path, "");
    }
    eventually("they are on disk", || written(&gateway) == 3.0);
    pause(1_100);
    restarted(&mut gateway);
    assert!(status(&ask(&gateway, "/confirmed", "")).contains("fwd-status=304"));
    assert_eq!(ask(&gateway, "/broken", "").text(), "old");
    assert_eq!(ask(&gateway, "/behind", "").text(), "old", "a newer one is fetched beside the call");
    eventually("the new heads are on disk", || written(&gateway) == 2.0);
    restarted(&mut gateway);
    let renewed = ask(&gateway, "/confirmed", "\ncache-control: only-if-cached");
    assert_eq!((renewed.status, renewed.text().as_str(), renewed.header("x-new")), (200, "old", Some("yes")));
    assert_eq!(ask(&gateway, "/behind", "\ncache-control: only-if-cached").text(), "newer");
    assert_eq!(files(&gateway).len(), 3, "nothing is left of what was replaced");
}

#[test]
fn purges_and_changes_reach_the_disk() {
    let upstream = Upstream::scripted(|seen| {
        let tags = if seen.target().starts_with("/a") { "surrogate-key: a" } else { "cache-tag: b c" };
        answer(&format!("cache-control: max-age=600\netag: \"1\"\n{tags}"), seen.target())
    });
    let mut gateway = cached(&upstream, "{disk: {}}");
    let all = ["/a", "/a/1", "/a/2?x", "/b"];
    let is_kept =
        |gateway: &Gateway, path: &str| ask(gateway, path, "\ncache-control: only-if-cached").status == 200;
    for (wish, count, left) in [
        (r#"{"url": "http://a.test/a/2?x"}"#, 1, &["/a", "/a/1", "/b"][..]),
        (r#"{"prefix": "http://a.test/a/"}"#, 2, &["/a", "/b"]),
        (r#"{"tags": ["b c"]}"#, 1, &["/a", "/a/1", "/a/2?x"]),
    ] {
        all.iter().for_each(|path| drop(ask(&gateway, path, "")));
        eventually("all are on disk", || on_disk(&gateway) == 4.0);
        // Half of them are on disk alone, and one that is in both is one.
        restarted(&mut gateway);
        all.iter().skip(2).for_each(|path| drop(ask(&gateway, path, "")));
        assert_eq!(purge(&gateway, wish).json()["purged"].as_u64(), Some(count), "{wish}");
        assert_eq!(files(&gateway).len(), left.len(), "when it is told the files are gone: {wish}");
        restarted(&mut gateway);
        for path in all {
            assert_eq!(is_kept(&gateway, path), left.contains(&path), "{path} after {wish}");
        }
    }
    all.iter().for_each(|path| drop(ask(&gateway, path, "")));
    eventually("all are on disk", || on_disk(&gateway) == 4.0);
    gateway.send("POST /b HTTP/1.1\nhost: a.test\ncontent-length: 0", b"");
    assert_eq!(purge(&gateway, r#"{"url": "http://a.test/a", "soft": true}"#).json()["purged"], 1);
    eventually("the changed one is gone", || files(&gateway).len() == 3);
    restarted(&mut gateway);
    assert!(!is_kept(&gateway, "/b") && is_kept(&gateway, "/a/1"));
    ask(&gateway, "/a", "");
    assert_eq!(upstream.seen().pop().expect("a request").header("if-none-match"), Some("\"1\""), "soft");
}

#[test]
fn a_torn_file_is_asked_for_anew_and_size_is_bounded() {
    let upstream = Upstream::scripted(|_| answer("cache-control: max-age=600", &"x".repeat(20_000)));
    let mut gateway = cached(&upstream, "{maxSize: 200KiB, maxBodySize: 50KiB, disk: {maxSize: 500KiB}}");
    for at in 0..50 {
        ask(&gateway, &format!("/{at}"), "");
        eventually("it is written", || written(&gateway) > f64::from(at));
    }
    let bytes = gateway.metric("tidegate_cache_disk_size_bytes{cache=\"routes/r\"}").expect("a metric");
    assert!((300_000.0..=512_000.0).contains(&bytes), "{bytes}");
    assert!(gateway.metric("tidegate_cache_disk_evictions_total").is_some_and(|count| count >= 25.0));
    eventually("the files are gone", || files(&gateway).len() as f64 == on_disk(&gateway));
    restarted(&mut gateway);
    let left = files(&gateway);
    for file in &left {
        let mut bytes = std::fs::read(file).expect("a file");
        *bytes.last_mut().expect("a byte") = b'y';
        std::fs::write(file, bytes).expect("written");
    }
    // From the last on, before they have to go for others.
    for at in (0..50).rev() {
        assert_eq!(ask(&gateway, &format!("/{at}"), "").text(), "x".repeat(20_000));
    }
    let refused = gateway.metric("tidegate_cache_disk_reads_total{cache=\"routes/r\",result=\"refused\"}");
    assert!(refused.is_some_and(|count| count >= 10.0), "{refused:?}");
}

#[test]
fn a_directory_that_fails_is_told_once_and_memory_goes_on() {
    let upstream = counting("cache-control: max-age=600");
    let folder = tempfile::tempdir().expect("a folder");
    let taken = folder.path().join("taken");
    std::fs::write(&taken, "a file").expect("written");
    let gateway = cached(&upstream, &format!("{{disk: {{directory: \"{}\"}}}}", taken.join("in").display()));
    for _ in 0..3 {
        assert_eq!(ask(&gateway, "/a", "").text(), "answer 1");
    }
    let failures = "tidegate_cache_disk_failures_total{cache=\"routes/r\",operation=\"open\"}";
    eventually("it is tried again", || gateway.metric(failures).is_some_and(|count| count >= 2.0));
    let told = purge(&gateway, r#"{"everything": true}"#);
    assert_eq!((told.status, &told.json()), (202, &serde_json::json!({"purged": 1, "complete": false})));
    assert_eq!(gateway.stderr().matches("the cache's directory").count(), 1, "{}", gateway.stderr());
    let gateway = cached(&upstream, "{disk: {}}");
    eventually("it is open", || is_known(&gateway));
    let unfinished = root(&gateway).join("unfinished");
    std::fs::remove_dir(&unfinished).expect("it is empty");
    std::fs::write(&unfinished, "no folder").expect("written");
    for at in 0..3 {
        let path = format!("/{at}");
        assert_eq!(ask(&gateway, &path, "").text(), ask(&gateway, &path, "").text());
    }
    eventually("it is counted", || {
        gateway.metric("tidegate_cache_disk_failures_total{cache=\"routes/r\",operation=\"write\"}")
            == Some(1.0)
    });
    assert_eq!(gateway.stderr().matches("cannot write to").count(), 1, "{}", gateway.stderr());
}

#[test]
fn what_is_told_to_be_purged_is_gone_though_the_process_is_killed_while_it_looks_at_files() {
    let upstream =
        Upstream::scripted(|_| answer("cache-control: max-age=600\nsurrogate-key: all", "an answer"));
    let mut gateway = cached(&upstream, "{disk: {}}");
    let wishes = [
        r#"{"tags": ["all"]}"#,
        r#"{"prefix": "http://a.test/"}"#,
        r#"{"everything": true}"#,
        r#"{"tags": ["all"], "soft": true}"#,
    ];
    for wish in wishes {
        let mut client = Client::connect(gateway.address);
        for at in 0..300 {
            client.write(format!("GET /{at} HTTP/1.1\r\nhost: a.test\r\n\r\n"));
            assert_eq!(client.read().expect("an answer").status, 200);
        }
        eventually("all are on disk", || on_disk(&gateway) == 300.0);
        gateway.restart("KILL");
        let told = purge(&gateway, wish);
        assert_eq!((told.status, told.json()["complete"].as_bool()), (200, Some(true)), "{wish}");
        restarted(&mut gateway);
        let is_soft = wish.contains("soft");
        assert_eq!(files(&gateway).len(), if is_soft { 300 } else { 0 }, "{wish}");
        for at in [0, 17, 299] {
            let found = ask(&gateway, &format!("/{at}"), "\ncache-control: only-if-cached");
            assert_eq!(found.status, 504, "{at} after {wish}");
        }
    }
}

#[test]
fn a_bad_folder_is_told_of_and_looked_at_again() {
    let upstream = counting("cache-control: max-age=600");
    let mut gateway = cached(&upstream, "{disk: {}}");
    let paths: Vec<String> = (0..20).map(|at| format!("/{at}")).collect();
    for path in &paths {
        ask(&gateway, path, "");
    }
    eventually("all are on disk", || on_disk(&gateway) == 20.0);
    let kept = files(&gateway).remove(0);
    let folder = kept.parent().expect("a folder").to_owned();
    let aside = root(&gateway).join("aside");
    gateway.restart_after("KILL", |_| {
        std::fs::rename(&folder, &aside).expect("renamed");
        std::fs::write(&folder, "no folder").expect("written");
    });
    eventually("the others are known", || (1.0..20.0).contains(&on_disk(&gateway)));
    let told = purge(&gateway, r#"{"prefix": "http://a.test/1"}"#);
    assert_eq!((told.status, told.json()["complete"].as_bool()), (202, Some(false)));
    std::fs::remove_file(&folder).expect("removed");
    std::fs::rename(&aside, &folder).expect("renamed");
    eventually("all have been looked at", || is_known(&gateway));
    let told = purge(&gateway, r#"{"url": "http://a.test/none"}"#);
    assert_eq!((told.status, &told.json()), (200, &serde_json::json!({"purged": 0, "complete": true})));
    restarted(&mut gateway);
    let is_kept = |path: &str| ask(&gateway, path, "\ncache-control: only-if-cached").status == 200;
    for path in &paths {
        assert_eq!(is_kept(path), !path.starts_with("/1"), "{path}");
    }
}

#[test]
fn a_full_disk_makes_room_for_what_is_asked_for_now() {
    let upstream = Upstream::scripted(|seen| {
        answer("cache-control: max-age=600", &format!("{}{}", seen.target(), "x".repeat(20_000)))
    });
    let folder = tempfile::tempdir().expect("a folder");
    let mounted = Mounted::new(folder.path());
    // Who may not mount has the same of a bound.
    let bound = if mounted.is_some() { "1GiB" } else { "1MiB" };
    let root = folder.path().join("in");
    let settings = format!(
        "{{maxSize: 200KiB, maxBodySize: 100KiB, disk: {{maxSize: {bound}, directory: \"{}\"}}}}",
        root.display()
    );
    let gateway = cached(&upstream, &settings);
    eventually("it is open", || is_known(&gateway));
    for at in 0..150 {
        let path = format!("/{at}");
        assert!(ask(&gateway, &path, "").text().starts_with(&path));
        pause(2);
    }
    let failures = "tidegate_cache_disk_failures_total{cache=\"routes/r\",operation=\"write\"}";
    let failures = gateway.metric(failures).unwrap_or_default();
    assert_eq!(failures > 0.0, mounted.is_some(), "{failures}");
    assert!(failures < 75.0, "{failures}: room is made for several");
    assert!(gateway.metric("tidegate_cache_disk_evictions_total").is_some_and(|count| count > 50.0));
    eventually("most are written", || written(&gateway) > 75.0);
    let bytes: u64 = files_in(&root).iter().map(|file| file.metadata().map_or(0, |file| file.len())).sum();
    assert!((300_000..=1_048_576).contains(&bytes), "{bytes}");
    // Memory has ten of them, the disk more: whatever is given is whole.
    let given = (0..150).rev().filter(|at| {
        let path = format!("/{at}");
        let found = ask(&gateway, &path, "\ncache-control: only-if-cached");
        let is_kept = found.status == 200;
        assert!(!is_kept || found.text() == format!("{path}{}", "x".repeat(20_000)), "{path}");
        is_kept
    });
    assert!(given.count() > 15);
    // Where there is no room at all the next process still takes over what is there.
    drop(gateway);
    if mounted.is_some() {
        let full = std::fs::write(folder.path().join("rest"), vec![0; 1 << 20]);
        assert!(full.is_err(), "it is full");
    }
    let gateway = cached(&upstream, &settings);
    eventually("all files have been looked at", || is_known(&gateway));
    assert!(on_disk(&gateway) > 10.0);
    drop(gateway);
    drop(mounted);
}

/// A file system of one MiB, while it is there.
struct Mounted(std::path::PathBuf);

impl Mounted {
    fn new(path: &Path) -> Option<Self> {
        let mount = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"])
            .arg(path)
            .stderr(std::process::Stdio::null())
            .status();
        mount.is_ok_and(|status| status.success()).then(|| Self(path.to_owned()))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn two_gateways_on_one_directory_harm_nobody() {
    let upstream = counting("cache-control: max-age=600");
    let folder = tempfile::tempdir().expect("a folder");
    let settings = format!("{{disk: {{directory: \"{}\"}}}}", folder.path().display());
    let one = cached(&upstream, &settings);
    assert_eq!(ask(&one, "/a", "").text(), "answer 1");
    eventually("it is on disk", || written(&one) == 1.0);
    let two = cached(&upstream, &settings);
    eventually("all files have been looked at", || is_known(&two));
    assert_eq!(ask(&two, "/a", "").text(), "answer 1", "it has what was there");
    for at in 2..8 {
        let path = format!("/{at}");
        let (first, second) = (ask(&one, &path, "").text(), ask(&two, &path, "").text());
        for _ in 0..2 {
            assert_eq!(
                (ask(&one, &path, "").text(), ask(&two, &path, "").text()),
                (first.clone(), second.clone())
            );
        }
    }
    eventually("the second writes", || on_disk(&two) == 7.0);
    assert_eq!(written(&one), 1.0);
    assert!(one.stderr().contains("has taken over the cache's directory"), "{}", one.stderr());
    assert_eq!(files_in(folder.path()).len(), 7);
    // What one purges, the other does not give from disk.
    assert_eq!(purge(&one, r#"{"url": "http://a.test/a"}"#).json()["complete"], true);
    assert_eq!(files_in(folder.path()).len(), 6);
}

#[test]
fn many_caches_share_the_threads_that_wait_for_disks() {
    let upstream = counting("cache-control: max-age=600");
    let routes: String = (0..60)
        .map(|at| {
            format!(
                "  - {{name: r{at}, match: [{{path: {{prefix: /{at}}}}}], policies: [cache: {{disk: {{}}}}], backends: [{{upstream: u}}]}}\n"
            )
        })
        .collect();
    let gateway = Gateway::start(&format!(
        "upstreams: [{{name: u, endpoints: [{{address: \"{}\"}}]}}]\nroutes:\n{routes}",
        upstream.address
    ));
    let all = || gateway.admin_get("/api/v1/caches").json()["caches"].as_array().cloned().unwrap_or_default();
    eventually("all are open", || {
        all().iter().filter(|cache| cache["disk"]["complete"] == true).count() == 60
    });
    for at in 0..60 {
        assert_eq!(ask(&gateway, &format!("/{at}"), "").status, 200);
    }
    eventually("all are written", || all().iter().all(|cache| cache["disk"]["entries"] == 1));
    let tasks = std::fs::read_dir(format!("/proc/{}/task", gateway.pid())).expect("its threads").flatten();
    let names = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("comm")).ok());
    let own = names.filter(|name| name.starts_with("cache-")).count();
    assert!((1..=28).contains(&own), "{own} threads");
    let told = purge(&gateway, r#"{"everything": true}"#).json();
    assert_eq!((told["purged"].as_u64(), told["complete"].as_bool()), (Some(60), Some(true)));
}

#[test]
fn a_process_that_takes_over_takes_the_directory() {
    let upstream = counting("cache-control: max-age=600");
    let mut gateway = cached(&upstream, "{disk: {}}");
    ask(&gateway, "/a", "");
    eventually("it is on disk", || written(&gateway) == 1.0);
    // A call that the old process ends while the new one has the directory.
    let mut held = Client::connect(gateway.address);
    held.write("GET /a HTTP/1.1\r\nhost: a.test\r\n\r\n");
    held.read().expect("an answer");
    gateway.upgrade();
    eventually("all files have been looked at", || is_known(&gateway));
    let again = ask(&gateway, "/a", "");
    assert_eq!(again.text(), "answer 1");
    assert!(status(&again).ends_with("detail=disk"), "{}", status(&again));
    ask(&gateway, "/b", "");
    eventually("the new one writes", || on_disk(&gateway) == 2.0);
    assert_eq!(files(&gateway).len(), 2);
}

#[test]
fn other_settings_leave_what_was_kept_behind_and_a_larger_disk_does_not() {
    let upstream = counting("cache-control: max-age=600");
    let gateway = cached(&upstream, "{disk: {}}");
    ask(&gateway, "/a", "");
    eventually("it is on disk", || on_disk(&gateway) == 1.0);
    let text = std::fs::read_to_string(gateway.config()).expect("the configuration");
    let text = text.split_once('\n').expect("the admin endpoint's line").1;
    gateway.reload(&text.replace("{disk: {}}", "{disk: {maxSize: 1GiB}}"));
    eventually("all files have been looked at", || is_known(&gateway));
    assert!(status(&ask(&gateway, "/a", "")).ends_with("detail=disk"));
    gateway.reload(&text.replace("{disk: {}}", "{disk: {}, key: {headers: [x-tenant]}}"));
    eventually("all files have been looked at", || is_known(&gateway));
    assert_eq!(ask(&gateway, "/a", "").text(), "answer 2");
    eventually("only the new one is there", || files(&gateway).len() == 1);
}

#[test]
fn two_caches_have_two_directories() {
    let with = |policies: &str| {
        format!(
            "listeners: [{{name: public, address: \"127.0.0.1:8080\"}}]
upstreams: [{{name: u, endpoints: [{{address: \"127.0.0.1:9\"}}]}}]
routes:
  - {{name: r, match: [{{path: {{prefix: /}}}}], policies: {policies}, backends: [{{upstream: u}}]}}
  - {{name: s, match: [{{path: {{prefix: /s}}}}], policies: [{{cache: {{disk: {{directory: \"/var/x/../c\"}}}}}}], backends: [{{upstream: u}}]}}"
        )
    };
    let part = "keeps its answers in this directory";
    super::super::refused(&with("[{cache: {disk: {directory: /var/c}}}]"), &["routes/r", part]);
    super::super::refused(&with("[{cache: {disk: {directory: /var/c/below}}}]"), &["routes/r", part]);
    super::super::refused(&with("[{cache: {disk: {maxSize: 1MiB}}}]"), &["expected at least `maxBodySize`"]);
}
