//! Every file of a configuration is watched, and everything that it refers to.

use std::{
    fs,
    io::Write,
    os::unix::fs::symlink,
    time::{Duration, Instant},
};

use super::{
    super::harness::{Gateway, eventually, free_port, pause},
    fixed,
};

#[test]
fn a_secret_in_a_file_is_read_again_when_the_file_changes() {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("key"), "first-key-of-the-test\n").expect("a file");
    let port = free_port();
    let text = format!(
        "listeners: [{{name: public, address: \"127.0.0.1:{port}\"}}]
consumers: [{{name: c, keys: [{{file: key}}]}}]
routes: [{{name: r, match: [{{path: {{prefix: /}}}}], policies: [{{keyAuth: {{}}}}], respond: {{}}}}]\n"
    );
    let gateway = Gateway::in_folder(folder, &text, ([127, 0, 0, 1], port).into(), |_| {});
    let ask = |key: &str| {
        gateway.send(&format!("GET / HTTP/1.1\nhost: a\nx-api-key: {key}-key-of-the-test"), b"").status
    };
    assert_eq!((ask("first"), ask("second")), (200, 401));
    fs::write(gateway.folder.path().join("key"), "second-key-of-the-test\n").expect("a file");
    eventually("the new key", || ask("second") == 200);
    assert_eq!(ask("first"), 401);
    fs::remove_file(gateway.folder.path().join("key")).expect("gone");
    eventually("a refusal", || gateway.readiness()["lastReload"] == "refused");
    assert_eq!(ask("second"), 200, "what runs goes on");
    fs::write(gateway.folder.path().join("key"), "third-key-of-the-test\n").expect("a file");
    eventually("the third key", || ask("third") == 200);
    assert_eq!(gateway.readiness()["lastReload"], "ok");
}

#[test]
fn a_file_that_comes_into_a_folder_or_goes_is_noticed() {
    let folder = tempfile::tempdir().expect("a folder");
    let conf = folder.path().join("conf");
    fs::create_dir(&conf).expect("a folder");
    let (port, admin) = (free_port(), free_port());
    let base = format!(
        "admin: {{address: \"127.0.0.1:{admin}\"}}\nlisteners: [{{name: public, address: \"127.0.0.1:{port}\"}}]\n"
    );
    fs::write(conf.join("base.yaml"), base).expect("a file");
    // The harness's own configuration is not read: the folder is given in its place.
    let shown = conf.display().to_string();
    let local = |port| std::net::SocketAddr::from(([127, 0, 0, 1], port));
    let gateway = Gateway::on_folder(folder, &shown, local(port), local(admin), |_| {});
    assert_eq!(gateway.get("/").status, 404);
    fs::write(conf.join("routes.yaml"), fixed("one")).expect("a file");
    eventually("the route", || gateway.get("/").text() == "one");
    fs::remove_file(conf.join("routes.yaml")).expect("gone");
    eventually("no route", || gateway.get("/").status == 404);
}

#[test]
fn a_swapped_symbolic_link_is_noticed() {
    let gateway = Gateway::start(&fixed("one"));
    let folder = gateway.folder.path();
    let two = fs::read_to_string(gateway.config()).expect("a file").replace("body: one", "body: two");
    fs::write(folder.join("two.txt"), two).expect("a file");
    symlink(folder.join("two.txt"), folder.join("fresh")).expect("a link");
    fs::rename(folder.join("fresh"), gateway.config()).expect("a swap");
    eventually("the new answer", || gateway.get("/").text() == "two");
}

#[test]
fn the_files_of_a_refused_configuration_are_watched_as_well() {
    let gateway = Gateway::start(&fixed("one"));
    let text = |rest: &str| {
        format!("listeners: [{{name: public, address: \"{}\"}}]\n{}{rest}", gateway.address, fixed("two"))
    };
    let state = gateway.reload(&text("consumers: [{name: c, keys: [{file: late}]}]\n"));
    assert_eq!(state["lastReload"], "refused");
    fs::write(gateway.folder.path().join("late"), "a-key-that-came-late\n").expect("a file");
    eventually("the configuration", || gateway.get("/").text() == "two");
    // What was refused by the compiler refers to files, too.
    let keys = gateway.folder.path().join("jwks.json");
    fs::write(&keys, "{}").expect("a file");
    let jwt = fixed("three").replace(
        "respond",
        "policies: [{jwt: {issuer: i, audiences: [a], algorithms: [ES256], jwks: {file: jwks.json}}}], respond",
    );
    let state = gateway.reload(&text("").replace(&fixed("two"), &jwt));
    assert_eq!((state["lastReload"].as_str(), gateway.get("/").text().as_str()), (Some("refused"), "two"));
    let key = r#"{"kty":"EC","crv":"P-256","kid":"a","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}"#;
    fs::write(&keys, format!("{{\"keys\":[{key}]}}")).expect("a file");
    eventually("the configuration with keys", || gateway.get("/").status == 401);
}

#[test]
fn a_file_that_is_still_being_written_is_not_loaded() {
    let routes: Vec<String> = (0..40)
        .map(|n| format!("  - {{name: r{n}, match: [{{path: {{exact: /{n}}}}}], respond: {{body: old}}}}\n"))
        .collect();
    let gateway = Gateway::start(&format!("routes:\n{}", routes.concat()));
    let whole = fs::read_to_string(gateway.config()).expect("a file").replace("body: old", "body: new");
    let (head, _) = whole.split_once("  - {name: r0,").expect("routes");
    let pieces: Vec<&str> = whole[head.len()..].split_inclusive('\n').collect();
    // Only a writer who is never away for long proves something; a machine may be too busy for that.
    let mut is_proof = false;
    for _ in 0..10 {
        let before = gateway.readiness()["reloadsApplied"].as_u64();
        let (mut file, mut last, mut longest) =
            (fs::File::create(gateway.config()).expect("a file"), Instant::now(), Duration::ZERO);
        for piece in std::iter::once(&head).chain(&pieces) {
            file.write_all(piece.as_bytes()).expect("a piece");
            longest = longest.max(last.elapsed());
            last = Instant::now();
            pause(30);
        }
        longest = longest.max(last.elapsed());
        is_proof = longest < Duration::from_millis(150);
        if is_proof {
            let state = gateway.readiness();
            // The last piece is not yet as old as it must be, or it is, and then the file is whole.
            let applied = state["reloadsApplied"].as_u64() != before;
            assert_eq!(gateway.get("/39").text(), if applied { "new" } else { "old" }, "{state}");
            assert_eq!(state["reloadsRefused"].as_u64(), Some(0), "{state}");
            assert!(!gateway.stderr().contains("is live") || applied);
            break;
        }
        eventually("the whole file", || gateway.get("/39").text() == "new");
    }
    assert!(is_proof, "this machine never wrote forty lines without a pause");
    eventually("the whole file", || gateway.get("/39").text() == "new");
    assert_eq!(gateway.readiness()["reloadsApplied"], 1, "{}", gateway.stderr());
}
