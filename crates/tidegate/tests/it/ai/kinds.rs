//! The kinds of the catalogue, each over sockets in its first dialect: where it is asked, by what it knows who pays, and in which words.
//!
//! The tables pin the catalogue: what a kind is not sent (the last column of [`CHAT`]), and where it speaks further dialects
//! ([`ALSO`]), is a transcript of the catalogue's files. It finds what the gateway does otherwise, and changes that nobody
//! meant; what a file says wrongly of a vendor is said wrongly here. Of the further dialects, those of three kinds are
//! asked over sockets. A kind without a line fails.

use std::collections::{BTreeMap, BTreeSet};

use ai::{
    canon::{Assembler, Part},
    catalogue,
    dialect::Dialect,
    stream::{FrameReader, Framing},
};
use serde_json::{Value, json};

use super::{
    KEY, post, provider,
    signing::{Tokens, service_account},
};
use crate::harness::{
    Gateway, Seen, Upstream,
    dns::{Data, NameServer, Say},
    eventually, free_port,
};

/// The model that everyone is asked for. No rule of a single model fits it.
const MODEL: &str = "acme-1";

/// Kinds that speak like OpenAI. Columns: the kind; its own address; how it is shown the key; stop sequences it takes of
/// the six that are asked for; the name of the most tokens; how it is told to think; where earlier thoughts go; and what
/// it is not sent.
const CHAT: &str = "
openai             | https://api.openai.com/v1                              | bearer  | 4 | max_completion_tokens | reasoning_effort   | - | top_k
azure-openai       | https://tide.openai.azure.com                          | api-key | 4 | max_tokens | reasoning_effort              | - | top_k
azure-foundry      | https://tide.services.ai.azure.com/openai/v1           | api-key | 6 | max_tokens | reasoning_effort              | reasoning_content |
bedrock-mantle     | https://bedrock-mantle.eu-central-1.api.aws/v1         | bearer  | 6 | max_tokens | reasoning_effort              | - |
mistral            | https://api.mistral.ai/v1                              | bearer  | 6 | max_tokens | -                             | - | top_k logit_bias logprobs top_logprobs user store service_tier verbosity prompt_cache_key
cloudflare         | https://api.cloudflare.com/client/v4/accounts/tide/ai/v1 | bearer | 6 | max_tokens | reasoning_effort             | - | logit_bias logprobs top_logprobs n user store metadata service_tier
databricks         | https://adb-1.test/serving-endpoints                   | bearer  | 6 | max_tokens | reasoning_effort              | - |
watsonx            | https://us-south.ml.cloud.ibm.com                      | bearer  | 4 | max_tokens | reasoning_effort              | reasoning_content | top_k user metadata store service_tier parallel_tool_calls
ai21               | https://api.ai21.com/studio/v1                         | bearer  | 6 | max_tokens | -                             | - | top_k seed frequency_penalty presence_penalty logit_bias logprobs top_logprobs user metadata store service_tier parallel_tool_calls
baseten            | https://inference.baseten.co/v1                        | bearer  | 6 | max_tokens | chat_template_kwargs          | reasoning_content |
cerebras           | https://api.cerebras.ai/v1                             | bearer  | 4 | max_completion_tokens | -                  | reasoning | frequency_penalty presence_penalty logit_bias parallel_tool_calls service_tier n top_k metadata store
deepinfra          | https://api.deepinfra.com/v1/openai                    | bearer  | 6 | max_tokens | reasoning_effort              | reasoning_content |
deepseek           | https://api.deepseek.com                               | bearer  | 6 | max_tokens | thinking reasoning_effort     | reasoning_content | top_k seed logit_bias n
fireworks          | https://api.fireworks.ai/inference/v1                  | bearer  | 4 | max_tokens | reasoning_effort              | reasoning_content |
github-models      | https://models.github.ai/inference                     | bearer  | 6 | max_tokens | reasoning_effort              | - |
groq               | https://api.groq.com/openai/v1                         | bearer  | 4 | max_completion_tokens | -                  | - | logprobs top_logprobs logit_bias n top_k
huggingface        | https://router.huggingface.co/v1                       | bearer  | 4 | max_tokens | reasoning_effort              | - |
hunyuan            | https://tokenhub-intl.tencentcloudmaas.com/v1          | bearer  | 6 | max_tokens | thinking                      | reasoning_content |
hyperbolic         | https://api.hyperbolic.xyz/v1                          | bearer  | 6 | max_tokens | reasoning_effort              | - |
llama-cpp          | http://localhost:8080/v1                               | none    | 6 | max_tokens | chat_template_kwargs          | reasoning_content |
lm-studio          | http://localhost:1234/v1                               | none    | 6 | max_tokens | reasoning_effort              | reasoning_content |
minimax            | https://api.minimax.io/v1                              | bearer  | 0 | max_completion_tokens | reasoning_effort   | reasoning_details | n presence_penalty frequency_penalty logit_bias top_k stop
moonshot           | https://api.moonshot.ai/v1                             | bearer  | 5 | max_completion_tokens | -                  | reasoning_content | top_k logit_bias logprobs top_logprobs seed
nebius             | https://api.tokenfactory.nebius.com/v1                 | bearer  | 6 | max_tokens | chat_template_kwargs          | reasoning_content |
novita             | https://api.novita.ai/openai/v1                        | bearer  | 4 | max_tokens | enable_thinking thinking_budget | reasoning_content |
nscale             | https://inference.api.nscale.com/v1                    | bearer  | 6 | max_tokens | reasoning_effort              | - |
nvidia-nim         | https://integrate.api.nvidia.com/v1                    | bearer  | 6 | max_tokens | chat_template_kwargs          | reasoning_content |
ollama             | http://localhost:11434/v1                              | none    | 6 | max_tokens | reasoning_effort              | reasoning | logit_bias user n parallel_tool_calls top_k
openai-compatible  | https://models.test/v1                                 | bearer  | 6 | max_tokens | reasoning_effort              | - |
openrouter         | https://openrouter.ai/api/v1                           | bearer  | 4 | max_tokens | reasoning                     | reasoning_details |
ovhcloud           | https://oai.endpoints.kepler.ai.cloud.ovh.net/v1       | bearer  | 6 | max_tokens | reasoning_effort              | - |
perplexity         | https://api.perplexity.ai                              | bearer  | 0 | max_tokens | -                             | - | stop seed logit_bias logprobs top_logprobs n user metadata store service_tier parallel_tool_calls
qianfan            | https://qianfan.baidubce.com/v2                        | bearer  | 4 | max_tokens | enable_thinking thinking_budget | reasoning_content | top_k logit_bias logprobs top_logprobs n
qwen               | https://dashscope-intl.aliyuncs.com/compatible-mode/v1 | bearer  | 6 | max_tokens | enable_thinking thinking_budget | reasoning_content | logit_bias user store metadata service_tier verbosity
sambanova          | https://api.sambanova.ai/v1                            | bearer  | 6 | max_tokens | chat_template_kwargs          | reasoning | logit_bias logprobs top_logprobs n presence_penalty frequency_penalty seed
scaleway           | https://api.scaleway.ai/v1                             | bearer  | 6 | max_tokens | reasoning_effort              | reasoning_content | frequency_penalty n logprobs top_logprobs logit_bias user
sglang             | http://localhost:30000/v1                              | none    | 6 | max_tokens | chat_template_kwargs          | reasoning_content |
siliconflow        | https://api.siliconflow.com/v1                         | bearer  | 4 | max_tokens | enable_thinking thinking_budget | reasoning_content |
stepfun            | https://api.stepfun.ai/v1                              | bearer  | 6 | max_tokens | reasoning_effort              | reasoning | logit_bias logprobs top_logprobs seed parallel_tool_calls
tgi                | http://localhost:8080/v1                               | none    | 4 | max_tokens | -                             | - | n top_k parallel_tool_calls
together           | https://api.together.ai/v1                             | bearer  | 6 | max_tokens | reasoning                     | reasoning |
vercel             | https://ai-gateway.vercel.sh/v1                        | bearer  | 6 | max_tokens | reasoning                     | reasoning_details |
vllm               | http://localhost:8000/v1                               | none    | 6 | max_tokens | chat_template_kwargs          | reasoning |
volcengine         | https://ark.cn-beijing.volces.com/api/v3               | bearer  | 4 | max_tokens | thinking                      | reasoning_content |
wandb              | https://api.inference.wandb.ai/v1                      | bearer  | 6 | max_tokens | reasoning_effort              | reasoning_content |
xai                | https://api.x.ai/v1                                    | bearer  | 6 | max_completion_tokens | reasoning_effort   | reasoning_content | top_k logit_bias
zhipu              | https://api.z.ai/api/paas/v4                           | bearer  | 1 | max_tokens | thinking                      | reasoning_content | top_k seed frequency_penalty presence_penalty logit_bias logprobs top_logprobs n parallel_tool_calls
";

/// Kinds with a dialect of their own. Columns: the kind; its own address; its dialect; how it is shown who pays; the
/// path of a whole answer, and that of a stream; and the fields that a conversation of OpenAI's becomes.
const OWN: &str = "
anthropic        | https://api.anthropic.com | anthropic | x-api-key | /v1/messages | /v1/messages | model max_tokens messages system temperature stop_sequences tools tool_choice metadata
vertex-anthropic | https://aiplatform.googleapis.com/v1/projects/tide/locations/global/publishers/anthropic | anthropic | token | /models/acme-1:rawPredict | /models/acme-1:streamRawPredict | anthropic_version max_tokens messages system temperature stop_sequences tools tool_choice metadata
gemini           | https://generativelanguage.googleapis.com/v1beta | gemini | x-goog-api-key | /models/acme-1:generateContent | /models/acme-1:streamGenerateContent?alt=sse | contents systemInstruction generationConfig tools toolConfig
vertex           | https://aiplatform.googleapis.com/v1/projects/tide/locations/global/publishers/google | gemini | token | /models/acme-1:generateContent | /models/acme-1:streamGenerateContent?alt=sse | contents systemInstruction generationConfig tools toolConfig
bedrock          | https://bedrock-runtime.eu-central-1.amazonaws.com | bedrock | sigv4 | /model/acme-1/converse | /model/acme-1/converse-stream | messages system inferenceConfig toolConfig
cohere           | https://api.cohere.com | cohere | bearer | /v2/chat | /v2/chat | model messages temperature max_tokens stop_sequences tools tool_choice seed
";

/// Kinds that nobody converses with. Columns: the kind; its own address; what it is asked for in OpenAI's words or
/// Cohere's; and what in words of its own, which [`super::words`] is about. All else it has not.
const SILENT: &str = "
deepgram   | https://api.deepgram.com/v1   | | /audio/speech
elevenlabs | https://api.elevenlabs.io/v1  | | /audio/speech
stability  | https://api.stability.ai/v2beta | | /images/generations
jina       | https://api.jina.ai/v1        | /embeddings | /rerank
voyage     | https://api.voyageai.com/v1   | /embeddings | /rerank
vertex-ranking | https://discoveryengine.googleapis.com/v1/projects/tide/locations/global | | /rerank
";

/// Where kinds speak further dialects: the kind, the dialect, the address.
const ALSO: &str = "
openai       | openai-responses | https://api.openai.com/v1
azure-openai | openai-responses | https://tide.openai.azure.com/openai/v1
azure-foundry | anthropic | https://tide.services.ai.azure.com/anthropic
azure-foundry | openai-responses | https://tide.services.ai.azure.com/openai/v1
bedrock-mantle | anthropic | https://bedrock-mantle.eu-central-1.api.aws/anthropic
bedrock-mantle | openai-responses | https://bedrock-mantle.eu-central-1.api.aws/v1
cloudflare   | openai-responses | https://api.cloudflare.com/client/v4/accounts/tide/ai/v1
cohere       | openai-chat | https://api.cohere.com/compatibility/v1
databricks   | anthropic | https://adb-1.test/serving-endpoints/anthropic
databricks   | openai-responses | https://adb-1.test/serving-endpoints
deepseek     | anthropic | https://api.deepseek.com/anthropic
deepseek     | openai-responses | https://api.deepseek.com
fireworks    | openai-responses | https://api.fireworks.ai/inference/v1
fireworks    | anthropic | https://api.fireworks.ai/inference
gemini       | openai-chat | https://generativelanguage.googleapis.com/v1beta/openai
groq         | openai-responses | https://api.groq.com/openai/v1
huggingface  | openai-responses | https://router.huggingface.co/v1
hunyuan      | anthropic | https://tokenhub-intl.tencentcloudmaas.com
llama-cpp    | openai-responses | http://localhost:8080/v1
llama-cpp    | anthropic | http://localhost:8080
lm-studio    | openai-responses | http://localhost:1234/v1
lm-studio    | anthropic | http://localhost:1234
minimax      | anthropic | https://api.minimax.io/anthropic
minimax      | openai-responses | https://api.minimax.io/v1
moonshot     | anthropic | https://api.moonshot.ai/anthropic
novita       | anthropic | https://api.novita.ai/anthropic
ollama       | openai-responses | http://localhost:11434/v1
ollama       | anthropic | http://localhost:11434
openrouter   | openai-responses | https://openrouter.ai/api/v1
openrouter   | anthropic | https://openrouter.ai/api
perplexity   | openai-responses | https://api.perplexity.ai/v1
qwen         | anthropic | https://dashscope-intl.aliyuncs.com/apps/anthropic
qwen         | openai-responses | https://dashscope-intl.aliyuncs.com/compatible-mode/v1
scaleway     | openai-responses | https://api.scaleway.ai/v1
sglang       | openai-responses | http://localhost:30000/v1
siliconflow  | anthropic | https://api.siliconflow.com
stepfun      | openai-responses | https://api.stepfun.ai/v1
together     | openai-responses | https://api.together.ai/v1
vercel       | openai-responses | https://ai-gateway.vercel.sh/v1
vercel       | anthropic | https://ai-gateway.vercel.sh
vertex       | openai-chat | https://aiplatform.googleapis.com/v1/projects/tide/locations/global/endpoints/openapi
vllm         | openai-responses | http://localhost:8000/v1
vllm         | anthropic | http://localhost:8000
volcengine   | openai-responses | https://ark.cn-beijing.volces.com/api/v3
xai          | openai-responses | https://api.x.ai/v1
zhipu        | anthropic | https://api.z.ai/api/anthropic
";

/// What the addresses leave open.
fn values(kind: &str) -> &'static [(&'static str, &'static str)] {
    match kind {
        "azure-openai" | "azure-foundry" => &[("resource", "tide")],
        "bedrock" | "bedrock-mantle" => &[("region", "eu-central-1")],
        "cloudflare" => &[("account", "tide")],
        "databricks" => &[("workspace", "adb-1.test")],
        "vertex" | "vertex-anthropic" | "vertex-ranking" | "watsonx" => &[("project", "tide")],
        "openai-compatible" => &[("base-url", "https://models.test/v1")],
        _ => &[],
    }
}

/// The lines of a table, each as its columns.
fn rows(table: &'static str) -> Vec<Vec<&'static str>> {
    table.trim().lines().map(|line| line.split('|').map(str::trim).collect()).collect()
}

/// The kinds and their own addresses.
pub(super) fn addresses() -> BTreeMap<&'static str, &'static str> {
    [CHAT, OWN, SILENT].into_iter().flat_map(rows).map(|row| (row[0], row[1])).collect()
}

/// The path of an address, without a slash at its end.
fn path_of(address: &str) -> &str {
    let rest = address.split_once("://").map_or(address, |(_, rest)| rest);
    rest.find('/').map_or("", |at| &rest[at..])
}

/// A provider of a kind in the configuration: its name is the kind's, and its key tells of it.
fn settings(kind: &str, base: &str, shown: &str, account: &str) -> String {
    let values: Vec<String> =
        values(kind).iter().map(|(name, value)| format!("{name}: \"{value}\"")).collect();
    let proof = match shown {
        "none" => String::new(),
        "token" => format!(", google: {{serviceAccount: '{account}'}}"),
        "sigv4" => ", aws: {accessKeyId: AKIDTIDE, secretAccessKey: a-secret}".to_owned(),
        _ => format!(", keys: [the-key-of-{kind}]"),
    };
    format!("    - {{name: {kind}, kind: {kind}{base}, values: {{{}}}{proof}}}\n", values.join(", "))
}

/// A gateway with every kind, each at a path of its own at the mock, or at its own address with `None`.
pub(super) fn everyone(mock: Option<&Upstream>, account: &str, more: &str) -> Gateway {
    let mut shown: BTreeMap<&str, &str> = rows(CHAT).iter().map(|row| (row[0], row[2])).collect();
    shown.extend(rows(OWN).iter().map(|row| (row[0], row[3])));
    shown.insert("vertex-ranking", "token");
    let (mut providers, mut models) = (String::new(), String::new());
    for (kind, address) in addresses() {
        let base = mock.map_or(String::new(), |mock| {
            format!(", baseUrl: \"http://{}/{kind}{}\"", mock.address, path_of(address))
        });
        providers += &settings(kind, &base, shown.get(kind).copied().unwrap_or("bearer"), account);
        models += &format!("    - {{name: {kind}, targets: [{{provider: {kind}, model: {MODEL}}}]}}\n");
    }
    Gateway::start(&format!(
        "consumers: [{{name: app, keys: [{KEY}]}}]\n{more}routes:\n  - name: models\n    match: [{{path: {{prefix: /ai}}}}]\n    policies: [{{keyAuth: {{}}}}]\n    ai: {{stripPrefix: /ai}}\nai:\n  providers:\n{providers}  models:\n{models}"
    ))
}

/// Answers each kind in its dialect; the kind is the first part of the path.
pub(super) fn mock() -> Upstream {
    let own: BTreeMap<&str, &str> = rows(OWN).iter().map(|row| (row[0], row[2])).collect();
    Upstream::scripted(move |seen| {
        let kind = seen.target().split('/').nth(1).unwrap_or_default().to_owned();
        if seen.target().ends_with("/embeddings") || seen.target().ends_with("/rerank") {
            let text = r#"{"object":"list","model":"m","data":[{"object":"embedding","index":0,"embedding":[0.5]}],"results":[{"index":0,"relevance_score":0.5}],"usage":{"prompt_tokens":1,"total_tokens":1}}"#;
            let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: ";
            return Some(format!("{head}{}\r\n\r\n{text}", text.len()).into_bytes());
        }
        Some(provider::answer(dialect(own.get(&*kind).copied().unwrap_or("openai-chat")), seen))
    })
}

fn dialect(name: &str) -> Dialect {
    Dialect::ALL.into_iter().find(|dialect| dialect.name() == name).expect("a dialect")
}

/// All that OpenAI's own callers may say.
const OF_CHAT: &str = "max_tokens temperature top_p frequency_penalty presence_penalty seed stop logit_bias n logprobs top_logprobs verbosity service_tier user metadata prompt_cache_key store parallel_tool_calls reasoning_effort top_k";

fn of_chat(kind: &str) -> Value {
    json!({
        "model": kind, "messages": [{"role": "user", "content": "case: text"}],
        "max_tokens": 100, "temperature": 0.5, "top_p": 0.9, "frequency_penalty": 0.1, "presence_penalty": 0.1,
        "seed": 7, "stop": ["a", "b", "c"], "logit_bias": {"1": 2}, "n": 2, "logprobs": true, "top_logprobs": 2,
        "verbosity": "high", "service_tier": "flex", "user": "u", "metadata": {"a": "b"},
        "prompt_cache_key": "k", "store": true, "parallel_tool_calls": false, "reasoning_effort": "high", "top_k": 5,
    })
}

/// What a caller of Gemini says becomes these.
const OF_GEMINI: &str = "temperature top_p top_k frequency_penalty presence_penalty seed stop n logprobs top_logprobs response_format";

fn of_gemini() -> Value {
    json!({
        "contents": [{"role": "user", "parts": [{"text": "case: text"}]}],
        "generationConfig": {
            "maxOutputTokens": 8000, "temperature": 0.5, "topP": 0.9, "topK": 5, "frequencyPenalty": 0.1,
            "presencePenalty": 0.1, "seed": 7, "stopSequences": ["a", "b", "c", "d", "e", "f"], "candidateCount": 2,
            "responseLogprobs": true, "logprobs": 2, "thinkingConfig": {"thinkingBudget": 4096},
            "responseMimeType": "application/json",
            "responseJsonSchema": {"type": "object", "properties": {"a": {"type": "string"}}},
        },
    })
}

/// A caller of Anthropic's in the middle of a round of tools, with thoughts of an earlier turn.
fn of_anthropic(kind: &str) -> Value {
    json!({
        "model": kind, "max_tokens": 100, "stream": true,
        "tools": [{"name": "get_tide", "input_schema": {"type": "object"}}],
        "messages": [
            {"role": "user", "content": "hello"},
            {"role": "assistant", "content": [
                {"type": "thinking", "thinking": "The moon is full.", "signature": "c2lnbmVk"},
                {"type": "tool_use", "id": "toolu_1", "name": "get_tide", "input": {}},
            ]},
            {"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "toolu_1", "content": "high"},
                {"type": "text", "text": "case: text"},
            ]},
        ],
    })
}

/// A conversation of OpenAI's that every dialect can carry.
fn plain(kind: &str, stream: bool) -> Value {
    json!({
        "model": kind, "stream": stream, "max_tokens": 100, "temperature": 0.5, "stop": ["a"], "seed": 7, "user": "u",
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "case: text"}],
        "tools": [{"type": "function", "function": {"name": "get_tide", "parameters": {"type": "object"}}}],
        "tool_choice": "required",
    })
}

/// The text of a whole answer in a dialect.
fn text_of(dialect: Dialect, body: &[u8]) -> String {
    texts(dialect.read_answer(body).expect("an answer in the dialect").choices.swap_remove(0).parts)
}

/// The text of a stream of events in a dialect.
fn streamed(dialect: Dialect, body: &[u8]) -> String {
    let (mut frames, mut events) = (Vec::new(), Vec::new());
    FrameReader::new(Framing::Sse).push(body, &mut frames).expect("framed");
    let mut reader = dialect.stream_reader();
    frames.into_iter().for_each(|frame| reader.read(frame, &mut events));
    reader.end(&mut events);
    let mut assembler = Assembler::default();
    events.into_iter().for_each(|event| assembler.push(event));
    texts(assembler.finish().expect("a whole stream").choices.swap_remove(0).parts)
}

fn texts(parts: Vec<Part>) -> String {
    parts
        .into_iter()
        .filter_map(|part| if let Part::Text { text, .. } = part { Some(text) } else { None })
        .collect()
}

/// What the mock's fixture says in a dialect: whole, and as a stream.
fn said(dialect: Dialect) -> (String, String) {
    let whole = text_of(dialect, provider::fixture(dialect, "answers", "text").as_bytes());
    let stream = provider::told(dialect, "text");
    (whole, texts(stream.choices.into_iter().next().expect("a choice").parts))
}

/// The last request that the mock saw, which shows the provider's proof and nothing of the caller's.
fn last(mock: &Upstream, kind: &str, shown: &str) -> (Seen, serde_json::Map<String, Value>) {
    let seen = mock.seen().pop().expect("a request");
    let whole = format!("{seen:?}");
    assert!(!whole.contains(KEY), "{kind}: the caller's key goes no further: {whole}");
    let key = format!("the-key-of-{kind}");
    let bearer = format!("Bearer {key}");
    let proofs: Vec<(&str, &str)> = ["authorization", "api-key", "x-api-key", "x-goog-api-key"]
        .into_iter()
        .filter_map(|name| seen.header(name).map(|value| (name, value)))
        .collect();
    let is_right = match shown {
        "none" => proofs.is_empty(),
        "bearer" => proofs == [("authorization", &*bearer)],
        "token" => proofs == [("authorization", "Bearer ya29.x")],
        "sigv4" => {
            let signed = "AWS4-HMAC-SHA256 Credential=AKIDTIDE/";
            proofs.len() == 1
                && proofs[0].1.starts_with(signed)
                && proofs[0].1.contains("/eu-central-1/bedrock/aws4_request")
        }
        name => proofs == [(name, &*key)],
    };
    assert!(is_right, "{kind} is shown {shown}: {proofs:?}");
    assert!(seen.line.starts_with("POST /"), "{kind}: {}", seen.line);
    let body = serde_json::from_slice(&seen.body).expect("an object");
    (seen, body)
}

/// Names, in their order.
fn set<'n>(names: impl IntoIterator<Item = &'n str>) -> BTreeSet<String> {
    names.into_iter().map(str::to_owned).collect()
}

/// The fields of a body that are no part of every conversation.
fn fields(body: &serde_json::Map<String, Value>, common: &[&str]) -> BTreeSet<String> {
    set(body.keys().map(String::as_str).filter(|name| !common.contains(name)))
}

#[test]
fn every_kind_has_its_line_and_is_where_the_table_says() {
    let known: BTreeSet<&str> = catalogue::names().collect();
    let lines: Vec<&str> = [CHAT, OWN, SILENT].into_iter().flat_map(rows).map(|row| row[0]).collect();
    assert_eq!(lines.iter().copied().collect::<BTreeSet<_>>(), known, "each kind has one line");
    assert_eq!(lines.len(), known.len(), "each kind has one line");
    let mut also = BTreeSet::new();
    for (kind, address) in addresses() {
        let of = catalogue::provider(kind).expect("a kind");
        let value = |name: &str| {
            values(kind).iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        };
        assert_eq!(of.fill(&of.base_url, value).expect("filled"), address, "{kind}");
        for other in &of.also {
            let at = of.fill(of.speaks(other.dialect).expect("spoken"), value).expect("filled");
            also.insert(format!("{kind} {} {at}", other.dialect.name()));
        }
    }
    let told: BTreeSet<String> = rows(ALSO).iter().map(|row| row.join(" ")).collect();
    assert_eq!(
        also.symmetric_difference(&told).collect::<Vec<_>>(),
        Vec::<&String>::new(),
        "in one and not the other"
    );
    // The binary connects there: each name is given an address of its own, which the admin API shows with its port.
    let dns = NameServer::start();
    let mut hosts: Vec<&str> = addresses().values().map(|address| host_of(address).0).collect();
    hosts.sort_unstable();
    hosts.dedup();
    let ip = |host: &str| {
        let at = hosts.iter().position(|known| *known == host).expect("a host");
        if host == "localhost" { "127.0.0.1".to_owned() } else { format!("127.9.0.{}", at + 1) }
    };
    for host in &hosts {
        dns.say(
            host,
            crate::harness::dns::A,
            Say::Records(60, vec![Data::Address(ip(host).parse().expect("an address"))]),
        );
        dns.say(host, crate::harness::dns::AAAA, Say::NoSuchRecords);
    }
    let (account, _) = service_account(&format!("http://127.0.0.1:{}/token", free_port()));
    let gateway = everyone(None, &account, &format!("runtime: {{dnsServers: [\"{}\"]}}\n", dns.address));
    let mut wrong = Vec::new();
    eventually("all names are resolved", || {
        let status = gateway.admin_get("/api/v1/status").json();
        let upstreams = status["upstreams"].as_array().expect("upstreams").clone();
        wrong = addresses()
            .into_iter()
            .filter_map(|(kind, address)| {
                let (host, port) = host_of(address);
                let want = format!("{}:{port}", ip(host));
                let one = upstreams.iter().find(|one| one["name"] == format!("ai:{kind}"));
                let is = one.map(|one| one["endpoints"][0]["address"].clone()).unwrap_or_default();
                (is != want).then(|| format!("{kind}: {is}, not {host} ({want})"))
            })
            .collect();
        wrong.is_empty()
    });
}

/// The host and the port of an address.
fn host_of(address: &str) -> (&str, &str) {
    let (scheme, rest) = address.split_once("://").expect("a scheme");
    let authority = rest.split('/').next().unwrap_or_default();
    authority.split_once(':').unwrap_or((authority, if scheme == "https" { "443" } else { "80" }))
}

#[test]
fn every_kind_that_speaks_like_openai_is_asked_as_its_vendor_wants_it() {
    let mock = mock();
    let (account, _) = service_account(&format!("http://127.0.0.1:{}/token", free_port()));
    let gateway = everyone(Some(&mock), &account, "");
    let (whole, stream) = said(Dialect::OpenAiChat);
    let mut wrong = Vec::new();
    for row in rows(CHAT) {
        let [kind, address, shown, stops, most, think, thoughts, refused] = row[..] else {
            panic!("{row:?}")
        };
        let refused: BTreeSet<String> = set(refused.split_whitespace());
        let place = format!("/{kind}{}", path_of(address));
        let (path, stream_path) = match kind {
            "azure-openai" => {
                let path =
                    format!("{place}/openai/deployments/{MODEL}/chat/completions?api-version=2024-10-21");
                (path.clone(), path)
            }
            "watsonx" => (
                format!("{place}/ml/v1/text/chat?version=2025-02-06"),
                format!("{place}/ml/v1/text/chat_stream?version=2025-02-06"),
            ),
            _ => (format!("{place}/chat/completions"), format!("{place}/chat/completions")),
        };
        let mut same = |what: &str, is: Value, want: Value| {
            if is != want {
                wrong.push(format!("{kind}: {what} is {is}, not {want}"));
            }
        };
        let named = |body: &serde_json::Map<String, Value>| match kind {
            "watsonx" => json!([body.get("model_id"), body.get("project_id"), body.get("model")]),
            _ => json!([body.get("model")]),
        };
        let name = if kind == "watsonx" { json!([MODEL, "tide", null]) } else { json!([MODEL]) };
        let common = ["model", "model_id", "project_id", "messages"];

        // In its own dialect: what it refuses is not sent.
        let answer = post(&gateway, "/ai/v1/chat/completions", "", &of_chat(kind).to_string());
        assert_eq!(answer.status, 200, "{kind}: {}", answer.text());
        let (seen, body) = last(&mock, kind, shown);
        same("the path", seen.target().into(), path.clone().into());
        same("the model", named(&body), name.clone());
        // Who has other words for thinking, and refuses OpenAI's, is told in them.
        let is_told = matches!(kind, "qwen" | "siliconflow" | "volcengine" | "zhipu");
        let is_gone = |name: &&str| {
            refused.contains(*name) || (*name == "reasoning_effort" && (think == "-" || is_told))
        };
        let mut want = set(OF_CHAT.split(' ').filter(|name| !is_gone(name)));
        if is_told {
            want.extend(set(think.split(' ')));
        }
        same("what is passed", json!(fields(&body, &common)), json!(want));
        same("the text", text_of(Dialect::OpenAiChat, &answer.body).into(), whole.clone().into());
        let version = if kind == "github-models" { json!("2022-11-28") } else { Value::Null };
        same("the version", json!(seen.header("x-github-api-version")), version);

        // For a caller of another dialect: in the names that it has.
        let target = format!("/ai/v1beta/models/{kind}:generateContent");
        let answer = post(&gateway, &target, "", &of_gemini().to_string());
        assert_eq!(answer.status, 200, "{kind}: {}", answer.text());
        let (seen, body) = last(&mock, kind, shown);
        same("the path for Gemini's", seen.target().into(), path.into());
        same("the model for Gemini's", named(&body), name.clone());
        let mut want = set(OF_GEMINI.split(' ').filter(|name| !refused.contains(*name)));
        want.insert(most.to_owned());
        want.extend(set(think.split(' ').filter(|name| *name != "-")));
        if kind == "mistral" {
            want.remove("seed");
            want.insert("random_seed".to_owned());
        }
        same("what is told", json!(fields(&body, &common)), json!(want));
        let count = body.get("stop").and_then(Value::as_array).map_or(0, Vec::len);
        same("the stop sequences", count.to_string().into(), stops.into());
        // Who keeps to no schema is asked for JSON.
        let form = if kind == "zhipu" { "json_object" } else { "json_schema" };
        let told = body.get("response_format").map(|format| format["type"].clone());
        same("the format", json!(told), form.into());
        same("the text for Gemini's", text_of(Dialect::Gemini, &answer.body).into(), whole.clone().into());

        // As a stream, with thoughts of an earlier turn.
        let answer = post(
            &gateway,
            "/ai/v1/messages",
            "\nanthropic-version: 2023-06-01",
            &of_anthropic(kind).to_string(),
        );
        assert_eq!(answer.status, 200, "{kind}: {}", answer.text());
        let (seen, body) = last(&mock, kind, shown);
        same("the path of a stream", seen.target().into(), stream_path.into());
        let as_ever = if kind == "watsonx" { json!([null, null]) } else { json!([true, true]) };
        same(
            "how a stream is asked for",
            json!([body.get("stream"), body.get("stream_options").map(|one| &one["include_usage"])]),
            as_ever,
        );
        let turn = body["messages"].as_array().into_iter().flatten().find(|one| one["role"] == "assistant");
        let held: Vec<&str> = turn
            .and_then(Value::as_object)
            .into_iter()
            .flat_map(|turn| turn.iter())
            .filter(|(name, _)| name.starts_with("reasoning"))
            .map(|(name, _)| name.as_str())
            .collect();
        let is_right = match thoughts {
            "-" => held.is_empty(),
            "reasoning_details" => held.contains(&"reasoning_details"),
            _ => held == [thoughts],
        };
        same("where thoughts go", json!(held), if is_right { json!(held) } else { thoughts.into() });
        same("the streamed text", streamed(Dialect::Anthropic, &answer.body).into(), stream.clone().into());
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_kind_with_a_dialect_of_its_own_is_asked_in_it() {
    let (mock, tokens) =
        (mock(), Tokens::start(r#"{"access_token":"ya29.x","token_type":"Bearer","expires_in":3599}"#));
    let (account, _) = service_account(&tokens.url());
    let gateway = everyone(Some(&mock), &account, "");
    for row in rows(OWN) {
        let [kind, address, name, shown, path, stream_path, names] = row[..] else { panic!("{row:?}") };
        let place = format!("/{kind}{}", path_of(address));
        let (whole, stream) = said(dialect(name));
        for (is_stream, path, text) in [(false, path, &whole), (true, stream_path, &stream)] {
            let asked = plain(kind, is_stream).to_string();
            let answer = post(&gateway, "/ai/v1/chat/completions", "", &asked);
            assert_eq!(answer.status, 200, "{kind}: {}", answer.text());
            let (seen, body) = last(&mock, kind, shown);
            assert_eq!(seen.target(), format!("{place}{path}"), "{kind}");
            let mut want = set(names.split(' '));
            // Whoever says by the path that a stream is wanted does not say it again.
            if is_stream && matches!(name, "anthropic" | "cohere") {
                want.insert("stream".to_owned());
            }
            assert_eq!(fields(&body, &[]), want, "{kind}: {body:?}");
            if body.contains_key("model") {
                assert_eq!(body["model"], MODEL, "{kind}");
            }
            let (header, field) = match kind {
                "anthropic" => (Some("2023-06-01"), Value::Null),
                "vertex-anthropic" => (seen.header("anthropic-version"), "vertex-2023-10-16".into()),
                _ => (None, Value::Null),
            };
            assert_eq!(seen.header("anthropic-version"), header, "{kind}");
            assert_eq!(body.get("anthropic_version").cloned().unwrap_or_default(), field, "{kind}");
            let told = match is_stream {
                false => text_of(Dialect::OpenAiChat, &answer.body),
                true => streamed(Dialect::OpenAiChat, &answer.body),
            };
            assert_eq!(&told, text, "{kind}");
        }
    }
}

#[test]
fn kinds_that_nobody_converses_with_are_asked_for_what_they_have() {
    let mock = mock();
    let (account, _) = service_account(&format!("http://127.0.0.1:{}/token", free_port()));
    let gateway = everyone(Some(&mock), &account, "");
    for row in rows(SILENT) {
        let [kind, address, paths, translated] = row[..] else { panic!("{row:?}") };
        for (path, body) in [
            ("/embeddings", json!({"model": kind, "input": "hi"})),
            ("/rerank", json!({"model": kind, "query": "hi", "documents": ["a"]})),
            ("/images/generations", json!({"model": kind, "prompt": "hi"})),
            ("/audio/speech", json!({"model": kind, "input": "hi", "voice": "alloy"})),
        ] {
            let count = mock.seen().len();
            let answer = post(&gateway, &format!("/ai/v1{path}"), "", &body.to_string());
            if paths.split(' ').any(|known| known == path) {
                assert_eq!(answer.status, 200, "{kind} {path}: {}", answer.text());
                let (seen, body) = last(&mock, kind, "bearer");
                assert_eq!(seen.target(), format!("/{kind}{}{path}", path_of(address)));
                assert_eq!(body["model"], MODEL, "{kind}");
            } else if path != "/embeddings" && translated != path {
                assert_eq!(answer.status, 501, "{kind} {path}: {}", answer.text());
                assert_eq!(mock.seen().len(), count, "{kind} {path}: nobody is asked");
            }
        }
    }
}

#[test]
fn dialects_beside_the_first_are_spoken_at_their_own_paths() {
    // Where the address has a host to fill in, the whole of it can lead to a server of the test's, over TLS.
    let mock = Upstream::scripted(|seen| {
        let dialect =
            if seen.target().contains("/messages") { Dialect::Anthropic } else { Dialect::OpenAiChat };
        let dialect = if seen.target().contains("/responses") { Dialect::OpenAiResponses } else { dialect };
        Some(provider::answer(dialect, seen))
    });
    let tls = tls_before(&mock);
    let host = format!("localhost:{}", tls.address.port());
    for (kind, value, chat, messages, responses) in [
        (
            "qwen",
            "host",
            "/compatible-mode/v1/chat/completions",
            "/apps/anthropic/v1/messages",
            "/compatible-mode/v1/responses",
        ),
        ("hunyuan", "host", "/v1/chat/completions", "/v1/messages", "/v1/chat/completions"),
        (
            "databricks",
            "workspace",
            "/serving-endpoints/chat/completions",
            "/serving-endpoints/anthropic/v1/messages",
            "/serving-endpoints/responses",
        ),
    ] {
        let gateway = super::signing::gateway(
            &format!("kind: {kind}, values: {{{value}: \"{host}\"}}, keys: [k], tls: {{verify: false}}"),
            MODEL,
        );
        let asked = |path: &str, body: Value| {
            let answer = post(&gateway, path, "", &body.to_string());
            assert_eq!(answer.status, 200, "{kind} {path}: {}", answer.text());
            mock.seen().pop().expect("a request").target().to_owned()
        };
        let turns = json!([{"role": "user", "content": "case: text"}]);
        assert_eq!(asked("/ai/v1/chat/completions", json!({"model": "smart", "messages": turns})), chat);
        assert_eq!(
            asked("/ai/v1/messages", json!({"model": "smart", "max_tokens": 50, "messages": turns})),
            messages
        );
        assert_eq!(asked("/ai/v1/responses", json!({"model": "smart", "input": "case: text"})), responses);
        // Who serves Claude in its vendor's name is told its flags; others speak the dialect alone.
        let body = json!({"model": "smart", "max_tokens": 50, "messages": turns}).to_string();
        let answer = post(&gateway, "/ai/v1/messages?beta=true", FLAGS, &body);
        let seen = mock.seen().pop().expect("a request");
        let is_claudes = kind == "databricks";
        assert_eq!(seen.header("anthropic-beta"), is_claudes.then_some("context-1m"), "{kind}");
        assert_eq!(seen.target().ends_with("?beta=true"), is_claudes, "{kind}: {}", seen.target());
        let dropped = (!is_claudes).then_some("?beta, anthropic-beta");
        assert_eq!((answer.status, answer.header("x-tidegate-dropped")), (200, dropped), "{kind}");
    }
}

/// What Anthropic's SDKs send beside the body.
const FLAGS: &str = "\nanthropic-version: 2023-06-01\nanthropic-beta: context-1m";

#[test]
fn claude_at_google_is_told_its_flags() {
    let (mock, tokens) =
        (mock(), Tokens::start(r#"{"access_token":"ya29.x","token_type":"Bearer","expires_in":3599}"#));
    let (account, _) = service_account(&tokens.url());
    let gateway = everyone(Some(&mock), &account, "");
    let body = json!({"model": "vertex-anthropic", "max_tokens": 50, "messages": [{"role": "user", "content": "case: text"}]});
    let answer = post(&gateway, "/ai/v1/messages?beta=true", FLAGS, &body.to_string());
    assert_eq!((answer.status, answer.header("x-tidegate-dropped")), (200, None), "{}", answer.text());
    let seen = mock.seen().pop().expect("a request");
    assert_eq!(seen.header("anthropic-beta"), Some("context-1m"));
    assert!(seen.target().ends_with(":rawPredict?beta=true"), "{}", seen.target());
}

/// A gateway that takes TLS off and hands on to the mock.
fn tls_before(mock: &Upstream) -> Gateway {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("a certificate");
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("gw.crt"), made.cert.pem()).expect("a file");
    std::fs::write(folder.path().join("gw.key"), made.signing_key.serialize_pem()).expect("a file");
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], free_port()));
    let tls = "tls: {certificates: [{certFile: gw.crt, keyFile: gw.key}]}";
    let text = format!(
        "listeners: [{{name: public, address: \"{address}\", {tls}}}]\nupstreams: [{{name: mock, endpoints: [{{address: \"{}\"}}]}}]\nroutes: [{{name: all, match: [{{path: {{prefix: /}}}}], backends: [{{upstream: mock}}]}}]\n",
        mock.address
    );
    Gateway::in_folder(folder, &text, address, |_| {})
}
