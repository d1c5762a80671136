//! Usage that a provider does not tell is counted with the model's own vocabulary.

use ai::vocabulary::Vocabulary;
use serde_json::json;

use super::{
    limits::{ask, base, metered},
    post,
};
use crate::{
    harness::{Gateway, Peer, Upstream, eventually, tokenizer},
    tidy::root,
};

const SENTENCE: &str = "The quick brown fox jumps over the lazy dog. ";

/// An answer, whole or in a stream, that tells no usage.
fn untold() -> Upstream {
    Upstream::scripted(|seen| {
        let is_stream = String::from_utf8_lossy(&seen.body).contains("\"stream\":true");
        let choice = |text: &str, field: &str, end: Option<&str>| {
            json!({"id": "c", "object": "chat.completion", "created": 1, "model": "gpt-4o",
                "choices": [{"index": 0, field: {"role": "assistant", "content": text}, "finish_reason": end}]})
        };
        let (kind, body) = if is_stream {
            // More than is kept as text, in pieces that cut words.
            let text = SENTENCE.repeat(200);
            let pieces = text.as_bytes().chunks(7).map(|piece| String::from_utf8_lossy(piece).into_owned());
            let events = pieces.map(|piece| format!("data: {}\n\n", choice(&piece, "delta", None)));
            let last = format!("data: {}\n\ndata: [DONE]\n\n", choice("", "delta", Some("stop")));
            ("text/event-stream", events.collect::<String>() + &last)
        } else {
            ("application/json", choice(SENTENCE.trim(), "message", Some("stop")).to_string())
        };
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
            body.len()
        );
        Some((head + &body).into_bytes())
    })
}

/// Asks until the vocabulary, which is unpacked when it is first wanted, is there.
fn counted(gateway: &Gateway) {
    eventually("it is counted and no more estimated", || {
        let answer = ask(gateway, 50, "");
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(answer.header("x-tidegate-estimate"), Some("true"));
        // `case: text` has three tokens; a message has four around it, and the answer begins with three.
        answer.header("x-tidegate-input-tokens") == Some("10")
            && answer.header("x-tidegate-output-tokens") == Some("10")
    });
}

#[test]
fn what_is_not_told_is_counted_as_the_model_cuts_it() {
    let upstream = untold();
    let gateway = metered("", "", &[&base(&upstream)], "");
    counted(&gateway);
    let body = r#"{"model":"smart","stream":true,"messages":[{"role":"user","content":"Hello, world!"}]}"#;
    assert_eq!(post(&gateway, "/ai/v1/chat/completions", "", body).status, 200);
    eventually("the record of the stream", || {
        gateway.stdout().lines().any(|line| {
            let record: serde_json::Value = serde_json::from_str(line).unwrap_or_default();
            let ai = &record["ai"];
            // 200 times nine words and a point, and the blank at the end.
            ai["stream"] == true && ai["input_tokens"] == 11 && ai["output_tokens"] == 2_001
        })
    });
}

/// Counts the texts of a file, a JSON list, and prints the counts by each vocabulary.
const JUDGE: &str = r#"
import { readFileSync } from "node:fs";
import { countTokens as o200k } from "gpt-tokenizer/encoding/o200k_base";
import { countTokens as cl100k } from "gpt-tokenizer/encoding/cl100k_base";
const texts = JSON.parse(readFileSync(process.argv[2], "utf8"));
console.log(JSON.stringify([o200k, cl100k].map((count) => texts.map((text) => count(text)))));
"#;

/// Texts of many kinds: prose, code, tables, letters of many scripts, blanks, and what nobody writes.
fn texts() -> Vec<String> {
    let files = [
        "docs/ai.md",
        "docs/ai-compatibility.md",
        "scripts/peers.sh",
        "crates/ai/src/vocabulary.rs",
        "crates/ai/catalogue/import.py",
    ];
    let whole: String =
        files.map(|file| std::fs::read_to_string(root().join(file)).expect("a file")).concat();
    let lines: Vec<&str> = whole.lines().collect();
    let mut seed = 7_u64;
    let mut next = move |below: usize| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(seed >> 33).expect("it fits") % below
    };
    let scripts = [
        (0x20, 95),
        (0xa0, 0x200),
        (0x400, 0x100),
        (0x600, 0x100),
        (0x900, 0x80),
        (0x3040, 0xc0),
        (0x4e00, 0x2000),
        (0xac00, 0x1000),
        (0x1f300, 0x300),
    ];
    (0..1000)
        .map(|number| match number % 4 {
            0 | 1 => {
                let from = next(lines.len() - 12);
                lines[from..from + 1 + next(12)].join("\n")
            }
            2 => {
                let (first, count) = scripts[next(scripts.len())];
                let letter = |place: usize| {
                    char::from_u32(u32::try_from(first + place).expect("a letter")).unwrap_or(' ')
                };
                (0..1 + next(80)).map(|_| letter(next(count))).collect()
            }
            _ => {
                let pieces = [
                    "  ",
                    "\n\n",
                    "\t",
                    "1234567",
                    "0.5",
                    "don't",
                    "I'LL",
                    "!!!",
                    "über",
                    "\r\n",
                    "🙂",
                    "中文",
                    "_a_b",
                    "https://x.y/z?q=1",
                ];
                (0..1 + next(60)).map(|_| pieces[next(pieces.len())]).collect()
            }
        })
        .collect()
}

#[test]
fn texts_are_cut_as_another_that_has_the_same_vocabularies_cuts_them() {
    let texts = texts();
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("texts.json");
    std::fs::write(&file, serde_json::to_vec(&texts).expect("JSON")).expect("a file");
    let (well, output) = Peer::start(tokenizer(JUDGE, &[file.to_str().expect("a path")])).finish();
    assert!(well, "{output}");
    let judged: Vec<Vec<u64>> = serde_json::from_str(&output).expect("JSON");
    for (vocabulary, judged) in [Vocabulary::O200k, Vocabulary::Cl100k].into_iter().zip(judged) {
        vocabulary.unpack();
        let wrong: Vec<String> = texts
            .iter()
            .zip(judged)
            .filter(|(text, judged)| vocabulary.count(text) != Some(*judged))
            .map(|(text, judged)| format!("{judged}, not {:?}: {text:?}", vocabulary.count(text)))
            .collect();
        assert!(
            wrong.is_empty(),
            "{vocabulary:?}, {} of {}:\n{}",
            wrong.len(),
            texts.len(),
            wrong.join("\n")
        );
    }
}
