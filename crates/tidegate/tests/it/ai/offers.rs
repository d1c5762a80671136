//! Operations and kinds of providers: which of them is asked, and which is refused with 501 in the caller's words, before
//! anybody is asked. The table is what callers may rely on; a kind without a line fails.

use std::collections::BTreeMap;

use serde_json::json;

use super::{
    KEY,
    kinds::{addresses, everyone, mock},
    post,
    signing::{Tokens, service_account},
};
use crate::harness::Gateway;

/// The operations of OpenAI's dialect (and Cohere's ranks), each with its letter.
const LETTERS: &str = "e embeddings, c completions, i images, x image edits, s speech, t transcriptions, l translations, m moderations, r ranks, n tokens counted, k conversations kept short";

/// Which operations each kind is asked for. All others are 501.
const OFFERS: &str = "
ai21               e
anthropic
azure-foundry      eir
azure-openai       ecixstl
baseten            e
bedrock
bedrock-mantle     e
cerebras           ec
cloudflare         e
cohere             er
databricks         ec
deepgram           est
deepinfra          ecist
deepseek           ec
elevenlabs         est
fireworks          ecr
gemini             eixstl
github-models      e
groq               estl
huggingface        e
hunyuan            e
hyperbolic         ec
jina               er
llama-cpp          ecr
lm-studio          ec
minimax            eis
mistral            ectm
moonshot           e
nebius             eci
novita             ecr
nscale             ei
nvidia-nim         ec
ollama             ecst
openai             ecixstlmnk
openai-compatible  ecixstlmr
openrouter         ec
ovhcloud           eit
perplexity         e
qianfan            eir
qwen               eci
sambanova          etl
scaleway           etr
sglang             ecr
siliconflow        eistr
stability          e
stepfun            eixst
tgi                ec
together           ecistlr
vercel             ei
vertex             ixstl
vertex-anthropic
vertex-ranking     er
vllm               ectlr
volcengine         ei
voyage             er
wandb              e
watsonx            r
xai                ecix
zhipu              eit
";

/// Forms, whose parts `b` bounds.
fn form(kind: &str, more: &str) -> String {
    let field = |name: &str, rest: &str, value: &str| {
        format!("--b\r\ncontent-disposition: form-data; name=\"{name}\"{rest}\r\n\r\n{value}\r\n")
    };
    format!("{}{more}--b--\r\n", field("model", "", kind))
        .replace("FILE", "content-disposition: form-data; name=\"file\"; filename=\"a.wav\"\r\n\r\nRIFF\r\n")
        .replace("IMAGE", "content-disposition: form-data; name=\"image\"; filename=\"a.png\"\r\ncontent-type: image/png\r\n\r\nPNG\r\n--b\r\ncontent-disposition: form-data; name=\"prompt\"\r\n\r\ntide\r\n")
}

/// A voice that a kind knows.
fn voice(kind: &str) -> &'static str {
    match kind {
        "deepgram" => "aura-2-thalia-en",
        "elevenlabs" => "21m00Tcm4TlvDq8ikWAM",
        "gemini" | "vertex" => "Kore",
        "minimax" => "English_expressive_narrator",
        _ => "alloy",
    }
}

/// Whether a kind was asked, or its lack was told; anything else is a fault.
fn is_asked(
    gateway: &Gateway,
    mock: &crate::harness::Upstream,
    kind: &str,
    letter: char,
) -> Result<bool, String> {
    let json = |path: &'static str, body: serde_json::Value| (path, body.to_string());
    let (path, body) = match letter {
        'e' => json("/embeddings", json!({"model": kind, "input": ["hi"]})),
        'c' => json("/completions", json!({"model": kind, "prompt": "hi", "max_tokens": 5})),
        'i' => json("/images/generations", json!({"model": kind, "prompt": "hi"})),
        'x' => ("/images/edits", form(kind, "--b\r\nIMAGE")),
        's' => json("/audio/speech", json!({"model": kind, "input": "hi", "voice": voice(kind)})),
        't' => ("/audio/transcriptions", form(kind, "--b\r\nFILE")),
        'l' => ("/audio/translations", form(kind, "--b\r\nFILE")),
        'm' => json("/moderations", json!({"model": kind, "input": "hi"})),
        'r' => json("/rerank", json!({"model": kind, "query": "hi", "documents": ["a"]})),
        'n' => json("/responses/input_tokens", json!({"model": kind, "input": "hi"})),
        _ => json("/responses/compact", json!({"model": kind, "input": "hi"})),
    };
    let before = mock.seen().len();
    let answer = match body.starts_with("--b") {
        false => post(gateway, &format!("/ai/v1{path}"), "", &body),
        true => {
            let head = format!(
                "POST /ai/v1{path} HTTP/1.1\nhost: gw\nx-api-key: {KEY}\ncontent-type: multipart/form-data; boundary=b\ncontent-length: {}",
                body.len()
            );
            gateway.send(&head, body.as_bytes())
        }
    };
    let asked = mock.seen().len() > before;
    let is_told = answer.status == 501 && answer.json()["error"]["message"].is_string();
    match (asked, is_told) {
        (true, false) => Ok(true),
        (false, true) => Ok(false),
        // Where a provider counts no tokens they are counted here.
        (false, false) if letter == 'n' && answer.status == 200 => Ok(false),
        _ => Err(format!("{kind} {letter}: asked {asked}, {}: {}", answer.status, answer.text())),
    }
}

#[test]
fn each_kind_is_asked_for_what_it_offers_and_all_else_is_501() {
    let tokens = Tokens::start(r#"{"access_token":"ya29.x","token_type":"Bearer","expires_in":3599}"#);
    let (account, _) = service_account(&tokens.url());
    let mock = mock();
    let gateway = everyone(Some(&mock), &account, "");
    let letters: Vec<char> = LETTERS.split(", ").filter_map(|one| one.chars().next()).collect();
    let mut found = BTreeMap::new();
    let mut wrong = Vec::new();
    for (kind, _) in addresses() {
        let mut offers = String::new();
        for letter in &letters {
            match is_asked(&gateway, &mock, kind, *letter) {
                Ok(true) => offers.push(*letter),
                Ok(false) => {}
                Err(error) => wrong.push(error),
            }
        }
        found.insert(kind, offers);
    }
    let told: String = found.iter().map(|(kind, offers)| format!("{kind:<18} {offers}\n")).collect();
    let told: Vec<&str> = told.lines().map(str::trim_end).collect();
    let want: Vec<&str> = OFFERS.trim().lines().collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(told.join("\n"), want.join("\n"));
}
