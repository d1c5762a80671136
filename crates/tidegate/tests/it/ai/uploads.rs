//! Uploads in parts, through OpenAI's SDK.

use std::sync::{Arc, Mutex};

use super::{
    KEY,
    files::{OTHER, Shop, config},
};
use crate::harness::{Gateway, Peer, Upstream, python};

#[test]
fn a_file_in_parts_belongs_to_the_caller_that_began_it() {
    let shop = Arc::new(Mutex::new(Shop::default()));
    let openai = Upstream::scripted(move |seen| shop.lock().expect("not poisoned").openai(seen));
    let anthropic = Upstream::scripted(|seen| panic!("nobody asks for {}", seen.line));
    let text = config(&openai, &anthropic).replace("providers: [o, a]", "providers: [o, a], maxSize: 200KiB");
    let gateway = Gateway::start(&text);
    let base = format!("http://{}/ai", gateway.address);
    let (well, text) = Peer::start(python(include_str!("uploads.py"), &[&base, KEY, OTHER])).finish();
    assert!(well, "{text}");
    let want = [
        "upload completed tides.bin True",
        "content True",
        "lists True 0",
        "not theirs 404 no file `ID` here",
        "chat read \"tides.bin\"",
        "part True True",
        "not theirs 404 no upload `ID` here",
        "not theirs 404 no upload `ID` here",
        "no part 400 `part_ids[1]` is no part of this upload",
        "too large 413 the body is larger than the 204800 bytes of `files.maxSize`",
        "cancelled cancelled",
        "batch 400 `purpose`: the requests of a batch are read when they come in, which parts cannot be: send them to `/v1/files`",
    ];
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines, want);
    for seen in openai.seen() {
        assert!(!format!("{seen:?}").contains("tg1"), "no sealed id goes to a provider: {}", seen.line);
    }
}
