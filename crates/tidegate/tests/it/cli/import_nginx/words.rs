//! Words, quotes and backslashes mean what they mean to nginx.

use std::{fs, net::SocketAddr};

use super::{Nginx, asked};
use crate::harness::{Gateway, free_port, run};

/// A word as it may be written: in quotes or not, with what means something elsewhere, behind backslashes and not.
fn odd_word(number: u64) -> String {
    const PARTS: [&str; 15] = ["a", "b", ";", "{", "}", "#", " ", "'", "\"", "t", "n", "\\", "d", ".", "\t"];
    let mut dice = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut roll = |sides: usize| {
        dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(dice >> 33).unwrap_or_default() % sides
    };
    let quote = ["", "'", "\""][roll(3)];
    let mut word = format!("{quote}w");
    for _ in 0..roll(8) {
        let part = PARTS[roll(PARTS.len())];
        let ends = if quote.is_empty() { [";", "{", " ", "\t"].contains(&part) } else { part == quote };
        if part == "\\" || ends || roll(4) == 0 {
            // Never alone at the end.
            word.push('\\');
        }
        word.push_str(part);
    }
    word + quote
}

#[test]
fn words_are_what_they_are_to_nginx() {
    const COUNT: u64 = 200;
    let folder = tempfile::tempdir().expect("a folder");
    let port = free_port();
    let locations =
        (0..COUNT).map(|number| format!("location = /{number} {{ return 200 {}; }}\n", odd_word(number)));
    let text = format!(
        "daemon off; master_process off; pid FOLDER/pid; events {{}}
http {{
access_log off; default_type text/plain;
client_body_temp_path FOLDER/a; proxy_temp_path FOLDER/b; fastcgi_temp_path FOLDER/c; uwsgi_temp_path FOLDER/d; scgi_temp_path FOLDER/e;
server {{ listen 127.0.0.1:{port};
{}}} }}",
        locations.collect::<String>()
    );
    let file = folder.path().join("nginx.conf");
    fs::write(&file, text.replace("FOLDER", &folder.path().display().to_string())).expect("a file");
    let theirs: SocketAddr = format!("127.0.0.1:{port}").parse().expect("an address");
    let _nginx = Nginx::start(folder.path(), theirs);
    let (code, ours, report) = run(&["import", "nginx", &file.display().to_string()]);
    assert_eq!(code, 0, "{report}");
    let own: SocketAddr = format!("127.0.0.1:{}", free_port()).parse().expect("an address");
    let _gateway = Gateway::from_text(&ours.replace(&theirs.to_string(), &own.to_string()), own, |_| {});
    for number in 0..COUNT {
        let [wanted, got] = [theirs, own]
            .map(|address| asked(address, &format!("GET /{number} HTTP/1.1\nhost: a.test"), b"").text());
        assert_eq!(got, wanted, "{}", odd_word(number));
    }
}
