//! What is paid beside tokens: letters that are spoken, seconds that are listened to, searches, pictures. It is held,
//! settled to what was asked for or told, and seen in receipts, records and metrics.

use serde_json::{Value, json};

use super::{
    KEY,
    budgets::settles,
    limits::{base, metered},
    post,
};
use crate::harness::{Answer, Gateway, Upstream};

const BUDGET: &str = ", {budget: {amount: 1000, key: consumer, name: b}}";
/// Beside the models under test one that the budget's tests ask for what is left.
const MODELS: &str = "    - {name: say, targets: [{provider: p0, model: tts-1}]}
    - {name: say-by-seconds, targets: [{provider: p0, model: gpt-4o-mini-tts}]}
    - {name: hear, targets: [{provider: p0, model: whisper-1}]}
    - {name: hear-by-tokens, targets: [{provider: p0, model: gpt-4o-transcribe}]}
    - {name: paint, targets: [{provider: p0, model: painter}]}
    - {name: nobody-knows, targets: [{provider: p0, model: never-heard-of}]}
  prices:
    - {provider: p0, model: gpt-4o, input: 2.5, output: 10}
    - {provider: p0, model: painter, image: 0.04}
";
/// Picodollars of a letter of `tts-1`, and of a second of `whisper-1`, as the catalogue says.
const LETTER: u128 = 15_000_000;
const SECOND: u128 = 100_000_000;

fn answered(kind: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

fn provider() -> Upstream {
    Upstream::scripted(|seen| {
        let text = String::from_utf8_lossy(&seen.body).into_owned();
        let body = match seen.target() {
            "/v1/audio/speech" => {
                // Two seconds of raw sound.
                return Some(answered(
                    if text.contains("pcm") { "audio/pcm" } else { "audio/mpeg" },
                    &[0; 96_000],
                ));
            }
            "/v1/audio/transcriptions" if text.contains("gpt-4o-transcribe") => json!({"text": "the tide",
                "usage": {"type": "tokens", "input_tokens": 40, "output_tokens": 4, "total_tokens": 44}}),
            "/v1/audio/transcriptions" if text.contains("told") => {
                json!({"text": "the tide", "usage": {"type": "duration", "seconds": 9}})
            }
            "/v1/audio/transcriptions" => json!({"text": "the tide"}),
            "/v1/images/generations" => json!({"created": 1, "data": [{"b64_json": "AA=="}]}),
            "/v2/rerank" if text.contains("told") => json!({"meta": {"billed_units": {"search_units": 7}},
                "results": [{"index": 0, "relevance_score": 0.5}]}),
            "/v2/rerank" => json!({"results": [{"index": 0, "relevance_score": 0.5}]}),
            other => panic!("nobody asks for {other}"),
        };
        Some(answered("application/json", body.to_string().as_bytes()))
    })
}

/// So many seconds of sound in a form.
fn listen(gateway: &Gateway, model: &str, seconds: usize, prompt: &str) -> Answer {
    let mut sound = b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0\x01\0\x01\0".to_vec();
    sound.extend(1_000_u32.to_le_bytes());
    sound.extend(2_000_u32.to_le_bytes());
    sound.extend(b"\x02\0\x10\0data\0\0\0\0");
    sound.extend(vec![0; 2_000 * seconds]);
    listen_to(gateway, model, &sound, prompt)
}

fn listen_to(gateway: &Gateway, model: &str, sound: &[u8], prompt: &str) -> Answer {
    let mut body = Vec::new();
    for (name, value) in [("model", model.as_bytes()), ("prompt", prompt.as_bytes()), ("file", sound)] {
        let head = format!("--b\r\ncontent-disposition: form-data; name=\"{name}\"\r\n\r\n");
        body.extend([head.as_bytes(), value, b"\r\n"].concat());
    }
    body.extend(b"--b--\r\n");
    let head = format!(
        "POST /ai/v1/audio/transcriptions HTTP/1.1\nhost: gw\nx-api-key: {KEY}\n\
         content-type: multipart/form-data; boundary=b\ncontent-length: {}",
        body.len()
    );
    gateway.send(&head, &body)
}

fn say(gateway: &Gateway, model: &str, text: &str, format: &str) -> Answer {
    let body = json!({"model": model, "input": text, "voice": "alloy", "response_format": format});
    post(gateway, "/ai/v1/audio/speech", "", &body.to_string())
}

fn record(gateway: &Gateway, count: usize) -> Value {
    gateway.records(count).pop().expect("a record")["ai"].clone()
}

/// What is taken is told by calls that are refused, and have records of their own.
fn started(upstream: &Upstream) -> Gateway {
    metered("", BUDGET, &[&base(upstream)], MODELS)
}

#[test]
fn letters_that_are_spoken_are_paid_and_told_on_the_head() {
    let upstream = provider();
    let gateway = started(&upstream);
    let answer = say(&gateway, "say", "Würde und Gezeiten", "mp3");
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.header("x-tidegate-characters"), Some("18"));
    assert_eq!(answer.header("x-tidegate-cost"), Some("0.00027"));
    let told = record(&gateway, 1);
    assert_eq!(
        (told["characters"].as_u64(), told["is_estimate"].as_bool()),
        (Some(18), Some(false)),
        "{told}"
    );
    assert_eq!(told["cost_usd"].to_string(), "0.00027");
    settles(&gateway, "18 letters", |taken| taken == 18 * LETTER);
    let series =
        |name: &str, more: &str| format!("{name}{{route=\"models\",provider=\"p0\",model=\"say\"{more}}}");
    assert_eq!(gateway.metric(&series("tidegate_ai_units_total", ",unit=\"characters\"")), Some(18.0));
    let cost = gateway.metric(&series("tidegate_ai_cost_usd_total", "")).expect("a cost");
    assert!((cost - 0.00027).abs() < 1e-12, "{cost}");
}

#[test]
fn what_is_spoken_by_the_second_is_settled_to_its_length() {
    let upstream = provider();
    let gateway = started(&upstream);
    // Held for is much more: at a quarter of the speed these letters would take minutes.
    assert_eq!(say(&gateway, "say-by-seconds", &"tide ".repeat(200), "pcm").status, 200);
    let told = record(&gateway, 1);
    assert_eq!(
        (told["seconds_out"].as_u64(), told["is_estimate"].as_bool()),
        (Some(2), Some(false)),
        "{told}"
    );
    settles(&gateway, "two seconds", |taken| taken == 2 * 250_000_000);
}

#[test]
fn seconds_that_are_listened_to_are_those_that_the_provider_tells_or_the_sound_has() {
    let upstream = provider();
    let gateway = started(&upstream);
    let answer = listen(&gateway, "hear", 3, "");
    assert_eq!(
        (answer.status, answer.header("x-tidegate-seconds-in")),
        (200, Some("3")),
        "{}",
        answer.text()
    );
    assert_eq!(answer.header("x-tidegate-cost"), Some("0.0003"));
    settles(&gateway, "three seconds", |taken| taken == 3 * SECOND);
    assert_eq!(listen(&gateway, "hear", 1, "told").header("x-tidegate-seconds-in"), Some("9"));
    settles(&gateway, "nine more", |taken| taken == 12 * SECOND);
    // Where tokens are told, their prices say best what it was.
    let answer = listen(&gateway, "hear-by-tokens", 2, "");
    assert_eq!(answer.header("x-tidegate-cost"), Some("0.00014"), "{}", answer.text());
    settles(&gateway, "tokens", |taken| taken == 12 * SECOND + 140_000_000);
}

#[test]
fn pictures_are_paid_one_by_one_as_they_come() {
    let upstream = provider();
    let gateway = started(&upstream);
    let body = json!({"model": "paint", "prompt": "a pier", "n": 3}).to_string();
    let answer = post(&gateway, "/ai/v1/images/generations", "", &body);
    assert_eq!((answer.status, answer.header("x-tidegate-images")), (200, Some("1")), "{}", answer.text());
    settles(&gateway, "the one that was made", |taken| taken == 40_000_000_000);
}

#[test]
fn searches_are_paid_by_hundreds_of_documents_or_as_the_provider_tells() {
    let upstream = provider();
    let gateway = |amount: &str| {
        Gateway::start(&format!(
            "consumers: [{{name: app, keys: [{KEY}]}}]
accessLog: [{{kind: stdout, format: json}}]
routes:
  - name: models
    match: [{{path: {{prefix: /ai}}}}]
    policies: [{{keyAuth: {{headers: [x-api-key]}}}}, {{budget: {{amount: \"{amount}\", name: b}}}}]
    ai: {{stripPrefix: /ai}}
ai:
  providers: [{{name: c, kind: cohere, baseUrl: \"http://{}\"}}]
  models: [{{name: rank, targets: [{{provider: c, model: ranker}}]}}]
  prices: [{{provider: c, model: ranker, query: 0.002}}]
",
            upstream.address
        ))
    };
    let ask = |gateway: &Gateway, query: &str| {
        let documents = vec!["a short document"; 101];
        let body = json!({"model": "rank", "query": query, "documents": documents}).to_string();
        post(gateway, "/ai/v1/rerank", "", &body)
    };
    let roomy = gateway("1");
    let answer = ask(&roomy, "tide");
    assert_eq!((answer.status, answer.header("x-tidegate-queries")), (200, Some("2")), "{}", answer.text());
    assert_eq!(answer.header("x-tidegate-cost"), Some("0.004"));
    assert_eq!(ask(&roomy, "told").header("x-tidegate-cost"), Some("0.014"), "seven are told");
    let tight = gateway("0.005");
    assert_eq!(ask(&tight, "tide").status, 200);
    assert_eq!(ask(&tight, "tide").status, 429, "a tenth of a cent is left, and two searches are four");
}

#[test]
fn a_budget_refuses_what_it_could_not_pay_and_what_has_no_price() {
    let upstream = provider();
    let little = ", {budget: {amount: 0.001, key: consumer, name: b}}";
    let gateway = metered("", little, &[&base(&upstream)], MODELS);
    assert_eq!(listen(&gateway, "hear", 1, "").status, 200);
    let text = "tide ".repeat(20);
    assert_eq!(say(&gateway, "say", &text, "mp3").status, 429, "100 letters are 0.0015 dollars");
    assert_eq!(say(&gateway, "say", "tide", "mp3").status, 200);
    let refused = say(&gateway, "nobody-knows", "tide", "mp3");
    assert!(!(200..300).contains(&refused.status), "{}", refused.text());
    assert!(refused.text().contains("never-heard-of"), "{}", refused.text());
    assert_eq!(upstream.seen().len(), 2);
}

#[test]
fn a_sound_is_not_as_short_as_it_says() {
    let upstream = provider();
    let little = ", {budget: {amount: 0.01, key: consumer, name: b}}";
    let start = |policy: &str| {
        let gateway = metered("", policy, &[&base(&upstream)], MODELS);
        let text = std::fs::read_to_string(gateway.config()).expect("a file");
        let rest = text.split_once('\n').expect("lines").1;
        gateway.reload(
            &rest.replace("maxBodySize: 64KiB", "maxBodySize: 8MiB").replace("request: 1s", "request: 20s"),
        );
        gateway
    };
    let (tight, roomy) = (start(little), start(BUDGET));
    let noise = vec![0; 3 << 20];
    let mut flac = b"fLaC\x80\0\0\x22".to_vec();
    flac.extend([0; 10]);
    flac.extend(((44_100_u64 << 44) | (15 << 36) | 1).to_be_bytes());
    flac.extend([0; 16]);
    let mut page = b"OggS\0\x04".to_vec();
    page.extend(1_u64.to_le_bytes());
    let mut head = vec![0; 12];
    head.extend([1000_u32.to_be_bytes(), 1000_u32.to_be_bytes()].concat());
    let free = [&b"\0\0\0\x24free\0\0\0\x1cmvhd"[..], &head].concat();
    let wav = [
        &b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0\x11\0\x01\0"[..],
        &16_000_u32.to_le_bytes(),
        &u32::MAX.to_le_bytes(),
        b"\x02\0\x04\0data\0\0\0\0",
    ]
    .concat();
    for (name, sound) in [
        ("plain bytes", noise.clone()),
        ("FLAC", [&flac, &noise[..]].concat()),
        ("Ogg", [&b"OggS\0\x02\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\x13OpusHead\x01\x01\0\0\0\0\0\0\0\0\0"[..], &noise, &page].concat()),
        ("MP4", [&b"\0\0\0\x10ftypM4A ...."[..], &free, &noise].concat()),
        ("WAV", [&wav, &noise[..]].concat()),
    ] {
        assert_eq!(listen_to(&tight, "hear", &sound, "").status, 429, "{name}");
        let answer = listen_to(&roomy, "hear", &sound, "");
        let seconds = answer.header("x-tidegate-seconds-in").and_then(|text| text.parse::<u64>().ok());
        assert!(seconds.is_some_and(|seconds| seconds > 1500), "{name}: {seconds:?} {}", answer.text());
        assert_eq!(answer.header("x-tidegate-estimate"), Some("true"), "{name}: {answer:?}");
    }
    assert_eq!(listen(&tight, "hear", 3, "").status, 200);
}
