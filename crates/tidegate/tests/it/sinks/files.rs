//! Files: put aside when they are full, opened anew on the signals, and apart from others that are stuck.

use std::{fs, io::Read, path::Path, process::Command};

use super::{calls, in_folder, start};
use crate::harness::{Gateway, eventually};

fn names(gateway: &Gateway) -> Vec<String> {
    let all = fs::read_dir(gateway.folder.path()).expect("a folder").flatten();
    let mut names: Vec<_> = all.filter_map(|one| one.file_name().into_string().ok()).collect();
    names.retain(|name| name.starts_with("access.log"));
    names.sort();
    names
}

fn read(path: &Path) -> String {
    let mut text = String::new();
    let file = fs::File::open(path).expect("a file");
    match path.extension().is_some_and(|ending| ending == "gz") {
        true => flate2::read::GzDecoder::new(file).read_to_string(&mut text).expect("gzip"),
        false => fs::read_to_string(path).map(|read| text = read).map(|()| 0).expect("text"),
    };
    text
}

#[test]
fn a_full_file_is_put_aside_and_compressed_and_no_line_is_lost() {
    let gateway = start(
        "  - {kind: file, path: access.log, format: \"{{ path }}\", rotate: {size: 2000, keep: 100, compression: gzip}}",
    );
    for round in 0..10 {
        calls(&gateway, round * 100..(round + 1) * 100);
    }
    let all = || {
        let mut lines: Vec<usize> = Vec::new();
        for name in names(&gateway).iter().filter(|name| !name.ends_with(".tmp")) {
            let text = read(&gateway.folder.path().join(name));
            lines.extend(text.lines().filter_map(|line| line.strip_prefix("/ok/")?.parse::<usize>().ok()));
        }
        lines.sort_unstable();
        lines
    };
    let is_tidy = || names(&gateway).iter().all(|name| name == "access.log" || name.ends_with("Z.gz"));
    eventually("all is compressed", || names(&gateway).len() > 2 && is_tidy());
    eventually("every line is there", || all() == (0..1000).collect::<Vec<_>>());
    assert!(fs::metadata(gateway.folder.path().join("access.log")).expect("a file").len() <= 6000);
}

#[test]
fn a_hangup_opens_a_file_anew_that_was_moved_away() {
    let gateway = start("  - {kind: file, path: access.log, format: \"{{ path }}\"}");
    let path = gateway.folder.path().join("access.log");
    calls(&gateway, 0..1);
    eventually("a line", || fs::read_to_string(&path).is_ok_and(|text| text == "/ok/0\n"));
    fs::rename(&path, gateway.folder.path().join("access.log.1")).expect("moved");
    gateway.signal("HUP");
    eventually("a new file", || path.exists());
    calls(&gateway, 1..2);
    eventually("a line", || fs::read_to_string(&path).is_ok_and(|text| text == "/ok/1\n"));
}

#[test]
fn a_log_that_is_stuck_holds_up_no_other() {
    let folder = tempfile::tempdir().expect("a folder");
    let pipe = folder.path().join("stuck");
    assert!(Command::new("mkfifo").arg(&pipe).status().expect("mkfifo runs").success());
    // Both ends are open, and nobody reads.
    let _held = fs::OpenOptions::new().read(true).write(true).open(&pipe).expect("a pipe");
    let gateway = in_folder(
        folder,
        "  - {kind: file, name: stuck, path: stuck}\n  - {kind: file, name: well, path: access.log, format: \"{{ path }}\"}",
    );
    calls(&gateway, 0..1000);
    let path = gateway.folder.path().join("access.log");
    eventually("every line", || fs::read_to_string(&path).is_ok_and(|text| text.lines().count() == 1000));
}
