//! What files look like on the wire: types, validators, parts, encoded forms, pages in place of what is not there.

use std::{fs, process::Command};

use super::{Site, large, write};
use crate::harness::{Gateway, run};

#[test]
fn a_file_has_a_type_a_tag_and_a_date_and_is_not_sent_twice() {
    let site = Site::with("types: {tide: application/x-tide}", |site| {
        write(
            &site,
            &[("a.html", "<p>a"), ("b.js", "b()"), ("c.unheard", "c"), ("d.tide", "d"), ("e.svg", "<svg/>")],
        );
    });
    let kind = |name: &str| site.get(name, "").header("content-type").expect("a type").to_owned();
    assert_eq!(kind("/a.html"), "text/html; charset=utf-8");
    assert_eq!(kind("/b.js"), "text/javascript; charset=utf-8");
    assert_eq!(kind("/c.unheard"), "application/octet-stream");
    assert_eq!(kind("/d.tide"), "application/x-tide");
    assert_eq!(kind("/e.svg"), "image/svg+xml");

    let answer = site.get("/a.html?v=1", "");
    assert_eq!((answer.status, answer.text().as_str()), (200, "<p>a"));
    assert_eq!((answer.header("content-length"), answer.header("accept-ranges")), (Some("4"), Some("bytes")));
    assert_eq!(answer.header("vary"), None);
    let tag = answer.header("etag").expect("a tag").to_owned();
    let date = answer.header("last-modified").expect("a date").to_owned();
    let head = site.ask("HEAD", "/a.html", "");
    assert_eq!((head.status, head.body.len(), head.header("content-length")), (200, 0, Some("4")));
    assert_eq!(head.header("etag"), Some(tag.as_str()));

    for (headers, status) in [
        (format!("if-none-match: \"x\", {tag}"), 304),
        (format!("if-none-match: W/{tag}"), 304),
        ("if-none-match: *".to_owned(), 304),
        ("if-none-match: \"x\"".to_owned(), 200),
        (format!("if-modified-since: {date}"), 304),
        ("if-modified-since: Thu, 01 Jan 2015 00:00:00 GMT".to_owned(), 200),
        // The tag says more than the date.
        (format!("if-none-match: \"x\"\nif-modified-since: {date}"), 200),
        (format!("if-match: {tag}"), 200),
        ("if-match: \"x\"".to_owned(), 412),
        (format!("if-match: W/{tag}"), 412),
        ("if-unmodified-since: Thu, 01 Jan 2015 00:00:00 GMT".to_owned(), 412),
        ("if-unmodified-since: nonsense".to_owned(), 200),
    ] {
        let answer = site.get("/a.html", &headers);
        assert_eq!(answer.status, status, "{headers}");
        assert_eq!(answer.header("etag"), Some(tag.as_str()), "{headers}");
        assert_eq!(answer.body.is_empty(), status != 200, "{headers}");
    }
    fs::write(site.path("a.html"), "<p>b").expect("a file");
    let newer = site.get("/a.html", &format!("if-none-match: {tag}"));
    assert_eq!((newer.status, newer.text().as_str()), (200, "<p>b"));

    let posted = site.ask("POST", "/a.html", "content-length: 0");
    assert_eq!((posted.status, posted.header("allow")), (405, Some("GET, HEAD")));
}

#[test]
fn parts_are_the_bytes_that_were_asked_for() {
    let bytes = large(700_001);
    let site = Site::with("", |site| {
        fs::write(site.join("large.bin"), large(700_001)).expect("a file");
        write(&site, &[("ten.txt", "0123456789"), ("none.txt", "")]);
    });
    assert_eq!(site.get("/large.bin", "").body, bytes, "over several chunks");
    for (range, from, to) in [
        ("bytes=0-0", 0, 1),
        ("bytes=262140-262150", 262_140, 262_151),
        ("bytes=100000-600000", 100_000, 600_001),
        ("bytes=-7", 699_994, 700_001),
        ("bytes=699999-9999999", 699_999, 700_001),
    ] {
        let answer = site.get("/large.bin", &format!("range: {range}"));
        assert_eq!(answer.status, 206, "{range}");
        let told = format!("bytes {from}-{}/700001", to - 1);
        assert_eq!(answer.header("content-range"), Some(told.as_str()));
        assert_eq!(answer.body, bytes[from..to], "{range}");
    }
    let beyond = site.get("/ten.txt", "range: bytes=10-");
    assert_eq!((beyond.status, beyond.header("content-range")), (416, Some("bytes */10")));
    let tag = site.get("/ten.txt", "").header("etag").expect("a tag").to_owned();
    for (headers, status, text) in [
        (format!("range: bytes=2-3\nif-range: {tag}"), 206, "23"),
        ("range: bytes=2-3\nif-range: \"old\"".to_owned(), 200, "0123456789"),
        ("range: lines=2-3".to_owned(), 200, "0123456789"),
        // As much as the whole or more, in however many parts, is the whole.
        ("range: bytes=0-9,0-9,0-9".to_owned(), 200, "0123456789"),
    ] {
        let answer = site.get("/ten.txt", &headers);
        assert_eq!((answer.status, answer.text().as_str()), (status, text), "{headers}");
    }
    let head = site.ask("HEAD", "/ten.txt", "range: bytes=2-3");
    assert_eq!((head.status, head.header("content-length")), (200, Some("10")));
    assert_eq!(site.get("/none.txt", "").status, 200);
    assert_eq!(site.get("/none.txt", "range: bytes=0-").status, 416);

    let several = site.get("/ten.txt", "range: bytes=0-1, -2,5-5");
    assert_eq!(several.status, 206);
    let kind = several.header("content-type").expect("a type");
    let bound = kind.strip_prefix("multipart/byteranges; boundary=").expect("a boundary");
    let part = |range: &str, text: &str| {
        format!(
            "--{bound}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Range: bytes {range}/10\r\n\r\n{text}\r\n"
        )
    };
    let want = [part("0-1", "01"), part("8-9", "89"), part("5-5", "5"), format!("--{bound}--\r\n")].concat();
    assert_eq!(several.text(), want);
}

#[test]
fn a_download_that_broke_off_is_gone_on_with_by_curl() {
    let bytes = large(300_000);
    let site = Site::with("", |site| fs::write(site.join("large.bin"), large(300_000)).expect("a file"));
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().join("out");
    fs::write(&out, &bytes[..123_456]).expect("a file");
    let url = format!("http://{}/large.bin", site.gateway.address);
    let status =
        Command::new("curl").args(["-sS", "-f", "-C", "-", "-o"]).arg(&out).arg(url).status().expect("curl");
    assert!(status.success());
    assert!(fs::read(&out).expect("a file") == bytes);
    let record = site.gateway.record("the rest", |record| record["status"] == 206);
    assert_eq!(record["response_bytes"], 300_000 - 123_456, "{record}");
}

#[test]
fn an_encoded_form_that_lies_beside_a_file_is_sent_to_whoever_takes_it() {
    let site = Site::with("precompressed: [br, zstd, gzip]", |site| {
        write(
            &site,
            &[
                ("a.js", "plain"),
                ("a.js.br", "as br"),
                ("a.js.gz", "as gzip"),
                ("b.js", "b"),
                ("c.js.gz", "c"),
            ],
        );
    });
    let mut tags = Vec::new();
    for (accept, coding, text) in [
        ("gzip, deflate, br, zstd", Some("br"), "as br"),
        ("gzip", Some("gzip"), "as gzip"),
        ("br;q=0.1, gzip;q=0.9", Some("gzip"), "as gzip"),
        ("zstd", None, "plain"),
        ("br;q=0", None, "plain"),
        ("identity", None, "plain"),
    ] {
        let answer = site.get("/a.js", &format!("accept-encoding: {accept}"));
        assert_eq!((answer.header("content-encoding"), answer.text().as_str()), (coding, text), "{accept}");
        assert_eq!(answer.header("vary"), Some("accept-encoding"), "{accept}");
        assert_eq!(answer.header("content-type"), Some("text/javascript; charset=utf-8"), "{accept}");
        tags.push(answer.header("etag").expect("a tag").to_owned());
    }
    assert!(tags[0] != tags[1] && tags[1] != tags[3] && tags[0] != tags[3], "{tags:?}");
    let part = site.get("/a.js", "accept-encoding: br\nrange: bytes=3-4");
    assert_eq!((part.status, part.text().as_str(), part.header("content-encoding")), (206, "br", Some("br")));
    assert_eq!(site.get("/b.js", "accept-encoding: br").text(), "b");
    // What cannot be had as it is, is not there.
    assert_eq!(site.get("/c.js", "accept-encoding: gzip").status, 404);
}

#[test]
fn directories_have_pages_and_applications_have_one_for_everything() {
    let settings = "spaFallback: index.html, notFound: errors/404.html, \
                    cacheControl: [{under: assets, value: \"public, max-age=31536000, immutable\"}, {value: no-cache}]";
    let site = Site::with(settings, |site| {
        write(
            &site,
            &[
                ("index.html", "the app"),
                ("docs/index.html", "docs"),
                ("assets/a.js", "a"),
                ("assets-not/b.js", "b"),
                ("errors/404.html", "no such page"),
                ("empty/x.txt", "x"),
            ],
        );
    });
    let page = "accept: text/html,application/xhtml+xml;q=0.9,*/*;q=0.8";
    assert_eq!(site.get("/", "").text(), "the app");
    assert_eq!(site.get("/docs/", "").text(), "docs");
    let moved = site.get("/docs?x=1", "");
    assert_eq!((moved.status, moved.header("location")), (301, Some("./docs/?x=1")));
    let deep = site.get("/orders/7", page);
    assert_eq!((deep.status, deep.text().as_str()), (200, "the app"));
    assert_eq!(deep.header("cache-control"), Some("no-cache"));
    // A script that is gone is no page: a browser would run HTML as a script.
    let script = site.get("/assets/gone.js", "accept: */*");
    assert_eq!((script.status, script.text().as_str()), (404, "no such page"));
    assert_eq!(
        (script.header("cache-control"), script.header("content-type")),
        (None, Some("text/html; charset=utf-8"))
    );
    // No directory is listed, whatever lies in it.
    assert_eq!(site.get("/empty/", "").status, 404);
    assert_eq!(site.get("/docs/index.html/", "").status, 404);
    let immutable = Some("public, max-age=31536000, immutable");
    assert_eq!(site.get("/assets/a.js", "").header("cache-control"), immutable);
    assert_eq!(site.get("/assets-not/b.js", "").header("cache-control"), Some("no-cache"));

    let bare = Site::with("index: [], stripPrefix: /app", |site| write(&site, &[("a.txt", "a")]));
    for target in ["/app/", "/app", "/app/none", "/a.txt", "/application/a.txt"] {
        let answer = bare.get(target, page);
        assert_eq!((answer.status, answer.problem().as_deref()), (404, Some("no-file")), "{target}");
    }
    assert_eq!(bare.get("/app/a.txt", "").text(), "a");

    let below = Site::with("stripPrefix: /app", |site| write(&site, &[("index.html", "the app")]));
    let moved = below.get("/app?x=1", "");
    assert_eq!((moved.status, moved.header("location")), (301, Some("./app/?x=1")));
    assert_eq!(below.get("/app/", "").text(), "the app");
}

#[test]
fn policies_of_the_route_hold_for_files_too() {
    let rest = "routes:\n  - {name: files, static: {root: site}, policies: [{compress: {minSize: 10B}}, {keyAuth: {}}]}\n\
                consumers: [{name: web, keys: [a-key-for-the-files]}]";
    let site = Site::in_config(rest, |site| write(&site, &[("a.txt", &"tide ".repeat(400))]));
    assert_eq!(site.get("/a.txt", "").status, 401);
    let answer = site.get("/a.txt", "x-api-key: a-key-for-the-files\naccept-encoding: gzip");
    assert_eq!((answer.status, answer.header("content-encoding")), (200, Some("gzip")));
    assert!(answer.body.len() < 200, "{} bytes", answer.body.len());
    let record = site.gateway.record("the file", |record| record["status"] == 200);
    assert_eq!((&record["consumer"], &record["route"]), (&"web".into(), &"files".into()), "{record}");
}

#[test]
fn what_is_wrong_is_told_with_its_place() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("tidegate.yaml");
    fs::create_dir(folder.path().join("site")).expect("a directory");
    let check = |settings: &str| {
        let text = format!(
            "routes:\n  - name: files\n    match: [{{path: {{prefix: /app}}}}]\n    static: {settings}\n"
        );
        fs::write(&path, text).expect("a file");
        let (code, out, error) = run(&["validate", "--config", path.to_str().expect("a path")]);
        (code, out + &error)
    };
    for (settings, words) in [
        ("{}", "root"),
        ("{root: site, index: [a/b]}", "expected the name of a file"),
        ("{root: site, spaFallback: ../x}", "is no path below `root`"),
        ("{root: site, notFound: /x}", "is no path below `root`"),
        ("{root: site, stripPrefix: /other}", "no path that the route matches"),
        ("{root: site, precompressed: [br, br]}", "twice"),
        ("{root: site, types: {.js: text/javascript}}", "without its dot"),
        ("{root: site, types: {js: javascript}}", "expected a media type"),
        ("{root: site, cacheControl: [{value: \"a\\nb\"}]}", "control characters"),
        ("{root: nowhere}", "nowhere"),
        ("{root: .}", "holds the configuration itself"),
        ("{root: site/..}", "holds the configuration itself"),
        ("{root: /}", "holds the configuration itself"),
    ] {
        let (code, told) = check(settings);
        assert_ne!(code, 0, "{settings}");
        assert!(told.contains(words), "{settings}: {told}");
    }
    assert_eq!(check("{root: site, stripPrefix: /app}").0, 0);
    // What the route matches is looked for in the directory, too: where that is not there, all would be 404.
    for (settings, warned) in [
        ("{root: site}", true),
        ("{root: site, stripPrefix: /app}", false),
        ("{root: site, spaFallback: index.html}", false),
    ] {
        let (code, told) = check(settings);
        assert_eq!((code, told.contains("stripPrefix: /app` files")), (0, warned), "{settings}: {told}");
    }
    for key in ["spaFallback", "notFound"] {
        let settings = format!("{{root: site, stripPrefix: /app, {key}: {key}.html}}");
        let is_told = |told: String| {
            let words: Vec<&str> = told.split_whitespace().filter(|word| *word != "│").collect();
            words.join(" ").contains(&format!("{key}.html is not there"))
                && told.contains(&format!("static.{key}"))
        };
        let (code, told) = check(&settings);
        assert_eq!((code, is_told(told)), (0, true), "{key}");
        fs::write(path.with_file_name("site").join(format!("{key}.html")), "a page").expect("a file");
        assert!(!is_told(check(&settings).1), "{key}");
    }
    fs::create_dir(path.with_file_name("site").join("app")).expect("a directory");
    assert!(!check("{root: site}").1.contains("404"));
}

#[test]
fn another_release_is_served_as_soon_as_the_link_leads_to_it() {
    let text = "routes: [{name: files, static: {root: site/current}}]";
    let site = Site::in_config(text, |site| {
        write(&site, &[("one/a.txt", "one"), ("two/a.txt", "two")]);
        std::os::unix::fs::symlink("one", site.join("current")).expect("a link");
    });
    assert_eq!(site.get("/a.txt", "").text(), "one");
    std::os::unix::fs::symlink("two", site.path("next")).expect("a link");
    fs::rename(site.path("next"), site.path("current")).expect("a swap");
    assert_eq!(site.get("/a.txt", "").text(), "two");
    assert_eq!(served(&site.gateway), 2);
}

fn served(gateway: &Gateway) -> usize {
    gateway.records(2).iter().filter(|record| record["status"] == 200).count()
}
