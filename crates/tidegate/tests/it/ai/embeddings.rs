//! Vectors: of Gemini's own form, and across dialects; and what only a vendor's own words can ask for.

use serde_json::{Value, json};

use super::{KEY, gateway, post};
use crate::harness::{Gateway, Peer, Seen, Upstream, python};

/// A provider of vectors in the form of its path: as many as there are texts.
fn provider() -> Upstream {
    Upstream::scripted(|seen| {
        let body: Value = serde_json::from_slice(&seen.body).expect("JSON");
        let count = |list: &Value| list.as_array().map_or(1, Vec::len);
        let vectors = |count: usize| (0..count).map(|at| json!([at, 0.5])).collect::<Vec<_>>();
        let told = match seen.target() {
            "/v1/embeddings" => {
                let data: Vec<Value> = vectors(count(&body["input"]))
                    .into_iter()
                    .enumerate()
                    .map(
                        |(index, vector)| json!({"object": "embedding", "index": index, "embedding": vector}),
                    )
                    .collect();
                json!({"object": "list", "model": "m", "data": data, "usage": {"prompt_tokens": 5, "total_tokens": 5}})
            }
            "/v1beta/models/gemini-embedding-001:batchEmbedContents" => {
                let requests = body["requests"].as_array().expect("requests");
                let own = |request: &Value| request["model"] == "models/gemini-embedding-001";
                assert!(requests.iter().all(own), "{body}");
                let values = |values: Value| json!({"values": values});
                json!({"embeddings": vectors(requests.len()).into_iter().map(values).collect::<Vec<_>>()})
            }
            "/v2/embed" => {
                assert!(body["input_type"].is_string(), "{body}");
                json!({"id": "e", "texts": body["texts"], "embeddings": {"float": vectors(count(&body["texts"]))},
                       "response_type": "embeddings_by_type",
                       "meta": {"api_version": {"version": "2"}, "billed_units": {"input_tokens": 5}}})
            }
            "/model/amazon.titan-embed-text-v2%3A0/invoke" => {
                assert!(body["inputText"].is_string(), "{body}");
                json!({"embedding": [0, 0.5], "inputTextTokenCount": 5})
            }
            other => panic!("nobody asks for {other}: {body}"),
        };
        let told = told.to_string();
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            told.len()
        );
        Some([head.as_bytes(), told.as_bytes()].concat())
    })
}

fn everyone(upstream: &Upstream) -> Gateway {
    let base = |path: &str| format!("http://{}{path}", upstream.address);
    gateway(
        &[
            ("o", "openai", base("/v1")),
            ("g", "gemini", base("/v1beta")),
            ("c", "cohere", base("")),
            ("b", "bedrock", base("")),
            ("d", "deepgram", base("/v1")),
            ("n", "nvidia-nim", base("/v1")),
        ],
        &[
            ("openai", &[("o", "text-embedding-3-small", 1)]),
            ("google", &[("g", "gemini-embedding-001", 1)]),
            ("cohere", &[("c", "embed-v4.0", 1)]),
            ("titan", &[("b", "amazon.titan-embed-text-v2:0", 1)]),
            ("nova", &[("d", "nova-3", 1)]),
            ("nim", &[("n", "nvidia/nv-rerankqa", 1)]),
            ("live", &[("g", "gemini-2.5-flash", 1)]),
        ],
        "",
    )
}

#[test]
fn every_sdk_gets_vectors_of_every_provider() {
    let upstream = provider();
    let gateway = everyone(&upstream);
    let base = format!("http://{}/ai", gateway.address);
    let (well, output) = Peer::start(python(
        r#"
import sys
base, key = sys.argv[1:]
import cohere
from google import genai
from google.genai import types
from openai import OpenAI

openai = OpenAI(base_url=base + "/v1", api_key=key, max_retries=0)
google = genai.Client(api_key=key, http_options=types.HttpOptions(base_url=base))
ranker = cohere.ClientV2(api_key=key, base_url=base)
for model in ["openai", "google", "cohere"]:
    told = openai.embeddings.create(model=model, input=["a", "b"])
    print("openai", model, [one.embedding for one in told.data])
    told = google.models.embed_content(model=model, contents=["a", "b"])
    print("google", model, [one.values for one in told.embeddings])
    told = ranker.embed(model=model, texts=["a", "b"], input_type="search_query", embedding_types=["float"])
    print("cohere", model, [[float(number) for number in one] for one in told.embeddings.float_])
print("titan", openai.embeddings.create(model="titan", input="a").data[0].embedding)
"#,
        &[&base, KEY],
    ))
    .finish();
    assert!(well, "{output}");
    for sdk in ["openai", "google", "cohere"] {
        for model in ["openai", "google", "cohere"] {
            let line = format!("{sdk} {model} [[0.0, 0.5], [1.0, 0.5]]");
            assert!(output.contains(&line), "no {line:?} in {output}");
        }
    }
    assert!(output.contains("titan [0.0, 0.5]"), "{output}");
    // What it is for is said where that can be said, and named where it cannot.
    let body = r#"{"model":"openai","texts":["a"],"input_type":"search_query","embedding_types":["float"]}"#;
    let answer = post(&gateway, "/ai/v2/embed", "", body);
    assert_eq!((answer.status, answer.header("x-tidegate-dropped")), (200, Some("input_type")));
    let seen: Vec<Seen> = upstream.seen();
    let query = |seen: &&Seen| String::from_utf8_lossy(&seen.body).contains("RETRIEVAL_QUERY");
    assert_eq!(seen.iter().filter(query).count(), 1, "Cohere's caller to Gemini");
    let record = gateway
        .record("tokens", |record| record["ai"]["model"] == "openai" && record["ai"]["dialect"] == "cohere");
    assert_eq!(record["ai"]["input_tokens"], 5, "{record}");
    let two = post(&gateway, "/ai/v1/embeddings", "", r#"{"model":"titan","input":["a","b"]}"#);
    assert_eq!(two.status, 501, "{}", two.text());
    assert!(two.text().contains("one text at a time"), "{}", two.text());
}

#[test]
fn what_a_vendor_has_in_its_own_words_is_not_sent_in_others() {
    let upstream = provider();
    let gateway = everyone(&upstream);
    let answer = post(&gateway, "/ai/v1/rerank", "", r#"{"model":"nim","query":"q","documents":["a"]}"#);
    let text = answer.text();
    assert_eq!(answer.status, 501, "{text}");
    assert!(text.contains("NVIDIA") && text.contains("words of its own") && text.contains("route"), "{text}");
    for model in ["nova", "live"] {
        let head = format!(
            "GET /ai/v1/realtime?model={model} HTTP/1.1\nhost: gw\nx-api-key: {KEY}\nconnection: upgrade\nupgrade: websocket\nsec-websocket-version: 13\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ=="
        );
        let answer = gateway.send(&head, b"");
        assert_eq!(answer.status, 501, "{model}: {}", answer.text());
        let text = answer.text();
        assert!(text.contains("openai") && text.contains("xai") && !text.contains("deepgram"), "{text}");
    }
    assert!(upstream.seen().is_empty());
}
