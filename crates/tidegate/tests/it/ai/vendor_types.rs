//! What is written in each dialect, requests to providers and answers to callers, is what the types of the vendors' own
//! SDKs know: all golden files, judged by `vendor_types.py`.

use std::{collections::BTreeSet, process::Command};

use crate::{otlp::receiver::peers, tidy::root};

/// What the types do not know, and why it is written all the same: the dialect, the end of the line, the reason.
const KNOWN: [(&str, &str, &str); 22] = [
    ("openai-responses", "store: Response has no such field", "the API tells it, its types do not"),
    (
        "openai-responses",
        "status: ResponseCustomToolCall has no such field",
        "the API tells it, its types do not",
    ),
    (
        "openai-responses",
        "'input_audio' is none of ('input_text',)",
        "told in an input message by compatible servers",
    ),
    ("openai-responses", "input_audio: ResponseInputTextParam has no such field", "the same"),
    (
        "openai-chat",
        "top_k: CompletionCreateParamsNonStreaming has no such field",
        "of compatible providers; rules take it from OpenAI's models",
    ),
    (
        "openai-chat",
        "video_url: ChatCompletionContentPartTextParam has no such field",
        "of compatible providers (Qwen, vLLM)",
    ),
    ("openai-chat", "'video_url' is none of ('text',)", "the same"),
    ("openai-chat", "modalities[1]: 'image' is none of ('text', 'audio')", "of OpenRouter"),
    ("openai-chat", "reasoning_content: ChoiceDelta has no such field", "of DeepSeek, vLLM and others"),
    ("openai-chat", "reasoning_content: ChatCompletionMessage has no such field", "the same"),
    ("openai-chat", "reasoning_details: ChoiceDelta has no such field", "of OpenRouter"),
    ("openai-chat", "reasoning_details: ChatCompletionMessage has no such field", "the same"),
    ("openai-chat", "images: ChatCompletionMessage has no such field", "of OpenRouter"),
    ("openai-chat", "images: ChoiceDelta has no such field", "the same"),
    ("openai-chat", "annotations: ChoiceDelta has no such field", "of OpenRouter"),
    (
        "openai-chat",
        "custom: ChoiceDeltaToolCall has no such field",
        "the API streams such calls, its types do not say so",
    ),
    ("openai-chat", "type: 'custom' is none of ('function',)", "the same"),
    (
        "anthropic",
        "top_p: MessageCreateParamsNonStreaming has no such field",
        "models before the newest take it, rules take it from those",
    ),
    ("anthropic", "temperature: MessageCreateParamsNonStreaming has no such field", "the same"),
    ("anthropic", "top_k: MessageCreateParamsNonStreaming has no such field", "the same"),
    ("anthropic", "type: 'ping' is none of ('message_stop',)", "SDKs pass it over before they look at types"),
    (
        "cohere",
        "ChatMessageStartEventDeltaMessage has no such field",
        "the API tells empty lists at the start",
    ),
];

/// Errors within streams, which SDKs read before they look at types: the dialect, and how the line ends.
const ERRORS: [(&str, &str); 10] = [
    ("openai-chat", "error: ChatCompletionChunk has no such field"),
    ("openai-chat", "`object` is missing in ChatCompletionChunk"),
    ("openai-chat", "`model` is missing in ChatCompletionChunk"),
    ("openai-chat", "`id` is missing in ChatCompletionChunk"),
    ("openai-chat", "`created` is missing in ChatCompletionChunk"),
    ("openai-chat", "`choices` is missing in ChatCompletionChunk"),
    ("gemini", "error: GenerateContentResponse has no such field"),
    ("cohere", "delta.details: ChatMessageEndEventDelta has no such field"),
    ("anthropic", "type: 'error' is none of ('message_stop',)"),
    ("anthropic", "error: BetaRawMessageStopEvent has no such field"),
];

#[test]
fn the_types_of_every_vendors_sdk_know_what_is_written() {
    let script = root().join("crates/tidegate/tests/it/ai/vendor_types.py");
    let mut python = Command::new(peers().join("python/bin/python"));
    let output = python.arg("-B").arg(script).arg(root().join("crates/ai/tests/golden")).output();
    let output = output.expect("Python runs");
    let (told, counted) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{counted}");
    let count: usize =
        counted.trim().rsplit(' ').next().and_then(|count| count.parse().ok()).expect("a count");
    assert!(count > 3000, "{counted}");
    let is_of =
        |line: &str, dialect: &str, end: &str| line.contains(&format!("-> {dialect}")) && line.ends_with(end);
    let known = |line: &&str| KNOWN.iter().any(|(dialect, end, _)| is_of(line, dialect, end));
    // The piece of a stream that a line is of, and those that tell an error.
    let piece = |line: &str| line.split(": ").next().unwrap_or_default().to_owned();
    let errors: BTreeSet<String> = told
        .lines()
        .filter(|line| line.contains(": error: ") || line.contains(": type: 'error'"))
        .map(piece)
        .collect();
    let is_error = |line: &&str| {
        let is_one =
            errors.contains(&piece(line)) || line.ends_with("ChatMessageEndEventDelta has no such field");
        is_one && ERRORS.iter().any(|(dialect, end)| is_of(line, dialect, end))
    };
    let wrong: Vec<&str> = told.lines().filter(|line| !known(line) && !is_error(line)).collect();
    assert!(
        wrong.is_empty(),
        "{} parts are not as their vendor has them:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    for (dialect, end, reason) in KNOWN {
        assert!(
            told.lines().any(|line| is_of(line, dialect, end)),
            "no longer so: {dialect}, {end} ({reason})"
        );
    }
}
