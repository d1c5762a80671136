//! `import litellm` of a whole proxy: clouds, prices, caches, budgets, guardrails, fallbacks; and that what it becomes
//! answers.

use std::fs;

use ai::dialect::Dialect;
use aws_lc_rs::{
    encoding::{AsDer, Pkcs8V1Der},
    rsa::{KeyPair, KeySize},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::Value;

use crate::harness::{Gateway, free_port, run, run_with};

/// What a LiteLLM proxy of a company has, with the provider of the test at `BASE`.
const THEIRS: &str = r#"
credential_list:
  - credential_name: shared
    credential_values: {api_key: os.environ/OPENAI_API_KEY, api_base: "BASE/v1"}
    credential_info: {description: ours}
model_list:
  - model_name: smart
    litellm_params: {model: openai/gpt-4o, litellm_credential_name: shared, input_cost_per_token: 0.0000025, output_cost_per_token: 1e-5, tpm: 3}
    model_info: {id: a, mode: chat, max_input_tokens: 64000, supports_function_calling: true, cache_read_input_token_cost: 0.00000125}
  - model_name: smart
    litellm_params: {model: openai/gpt-4o-mini, litellm_credential_name: shared, tpm: 1, stream_timeout: 7}
  - model_name: "openai/*"
    litellm_params: {model: "openai/*", litellm_credential_name: shared}
  - model_name: "*"
    litellm_params: {model: "*"}
  - model_name: nova
    litellm_params: {model: bedrock/converse/amazon.nova-pro-v1:0, aws_access_key_id: os.environ/AWS_KEY, aws_secret_access_key: literal-secret, aws_region_name: eu-central-1}
  - model_name: claude-aws
    litellm_params: {model: bedrock/anthropic.claude-sonnet-4-5-20250929-v1:0, aws_region_name: us-east-1, aws_role_name: "arn:aws:iam::123456789012:role/a", aws_session_name: s, aws_profile_name: work}
  - model_name: gemini
    litellm_params: {model: vertex_ai/gemini-2.5-pro, vertex_project: p, vertex_location: europe-west1, vertex_credentials: KEYFILE}
  - model_name: claude-google
    litellm_params: {model: vertex_ai/claude-sonnet-4-5, vertex_project: p, vertex_location: us-east5}
  - model_name: azure
    litellm_params: {model: azure/d, api_base: "https://ours.openai.azure.com", tenant_id: t, client_id: c, client_secret: os.environ/AZURE_SECRET}
  - model_name: embeddings
    litellm_params: {model: openai/text-embedding-3-small, litellm_credential_name: shared}
router_settings:
  routing_strategy: latency-based-routing
  allowed_fails: 3
  cooldown_time: 30
  redis_host: 127.0.0.1
  redis_port: 6399
  redis_password: os.environ/REDIS_PASSWORD
litellm_settings:
  context_window_fallbacks: [{smart: [gemini]}]
  content_policy_fallbacks: [{smart: [nova]}]
  cache: true
  cache_params: {type: redis-semantic, ttl: 600, similarity_threshold: 0.9, redis_semantic_cache_embedding_model: embeddings, host: a, port: 1, password: literal-secret}
  max_budget: 250.5
  budget_duration: 30d
  callbacks: [otel, prometheus]
  success_callback: [s3]
guardrails:
  - guardrail_name: "Presidio PII"
    litellm_params:
      guardrail: presidio
      mode: [pre_call, post_call]
      default_on: true
      pii_entities_config: {EMAIL_ADDRESS: MASK, CREDIT_CARD: BLOCK, PERSON: MASK}
  - guardrail_name: words
    litellm_params: {guardrail: litellm_content_filter, mode: pre_call, blocked_words: [{keyword: forbidden, action: BLOCK}]}
  - guardrail_name: bought
    litellm_params: {guardrail: aporia, mode: during_call}
general_settings:
  master_key: sk-literal-secret
  alerting: [slack]
"#;

const VARIABLES: [(&str, &str); 7] = [
    ("OPENAI_API_KEY", "provider-key-of-the-test"),
    ("AWS_KEY", "a"),
    ("AWS_ACCESS_KEY_ID", "a"),
    ("AWS_SECRET_ACCESS_KEY", "b"),
    ("AZURE_SECRET", "c"),
    ("REDIS_PASSWORD", "d"),
    ("LITELLM_MASTER_KEY", "sk-of-the-test"),
];

struct Imported {
    ours: String,
    report: String,
    folder: tempfile::TempDir,
}

fn imported(base: &str) -> Imported {
    let folder = tempfile::tempdir().expect("a folder");
    let key = KeyPair::generate(KeySize::Rsa2048).expect("a key");
    let der: Pkcs8V1Der<'_> = key.as_der().expect("a key");
    let key = format!(
        "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n",
        STANDARD.encode(der.as_ref())
    );
    let account = serde_json::json!({
        "type": "service_account", "client_email": "a@p.iam.gserviceaccount.com", "private_key_id": "1",
        "private_key": key, "token_uri": "http://127.0.0.1:1/token",
    });
    fs::write(folder.path().join("key.json"), account.to_string()).expect("a file");
    let keyfile = folder.path().join("key.json").display().to_string();
    let path = folder.path().join("config.yaml");
    fs::write(&path, THEIRS.replace("BASE", base).replace("KEYFILE", &keyfile)).expect("a file");
    let (code, ours, report) = run(&["import", "litellm", &path.display().to_string()]);
    assert_eq!(code, 0, "{report}");
    Imported { ours, report, folder }
}

fn parsed(text: &str) -> Value {
    model::document(&model::Source::new("ours", text)).expect("YAML")
}

#[test]
fn clouds_prices_routing_caches_budgets_and_guardrails_have_their_counterparts() {
    let Imported { ours, report, folder } = imported("http://127.0.0.1:9");
    let path = folder.path().join("tidegate.yaml");
    fs::write(&path, &ours).expect("a file");
    let (code, out, problems) = run_with(&["validate", "-c", &path.display().to_string()], &VARIABLES);
    assert_eq!(code, 0, "{ours}\n{out}\n{problems}");
    let config = parsed(&ours);
    let provider = |name: &str| {
        let all = config["ai"]["providers"].as_array().expect("providers");
        all.iter().find(|one| one["name"] == name).unwrap_or_else(|| panic!("{name}: {ours}")).clone()
    };
    let model = |name: &str| {
        let all = config["ai"]["models"].as_array().expect("models");
        all.iter().find(|one| one["name"] == name).unwrap_or_else(|| panic!("{name}: {ours}")).clone()
    };
    let aws = provider("bedrock");
    assert_eq!(
        (&aws["values"]["region"], &aws["aws"]["accessKeyId"]["env"]),
        (&"eu-central-1".into(), &"AWS_KEY".into())
    );
    assert_eq!(aws["aws"]["secretAccessKey"]["env"], "AWS_SECRET_ACCESS_KEY");
    let role = provider("bedrock-2")["aws"]["assumeRole"].clone();
    assert_eq!(
        (role["roleArn"].as_str(), role["sessionName"].as_str()),
        (Some("arn:aws:iam::123456789012:role/a"), Some("s"))
    );
    let google = provider("vertex");
    assert!(
        google["google"]["serviceAccount"]["file"].as_str().is_some_and(|path| path.ends_with("key.json"))
    );
    assert_eq!(google["values"]["host"], "europe-west1-aiplatform.googleapis.com");
    assert_eq!(provider("vertex-anthropic")["metadata"]["cloud"], "google");
    assert_eq!(provider("azure-openai")["azure"]["clientSecret"]["env"], "AZURE_SECRET");
    assert_eq!(provider("openai-compatible")["keyCooldown"]["first"], "30000ms");
    assert_eq!(provider("openai-compatible")["circuitBreaker"]["minimumNumberOfCalls"], 4);
    assert_eq!(provider("openai-compatible-2")["firstToken"], "7000ms");
    let smart = model("smart");
    assert_eq!(
        (&smart["strategy"], smart["fallbackOn"].to_string()),
        (&"leastLatency".into(), r#"["contextLength","contentFilter"]"#.to_owned())
    );
    let targets: Vec<_> = smart["targets"]
        .as_array()
        .expect("targets")
        .iter()
        .map(|target| format!("{} {}", target["model"].as_str().unwrap_or_default(), target["weight"]))
        .collect();
    assert_eq!(targets, ["gpt-4o 3", "gpt-4o-mini 1", "gemini-2.5-pro 0", "amazon.nova-pro-v1:0 0"]);
    for (name, provider) in
        [("openai/*", "openai-compatible"), ("bedrock/*", "bedrock"), ("vertex_ai/*", "vertex")]
    {
        assert_eq!(
            model(name)["targets"][0],
            serde_json::json!({"provider": provider, "model": "*", "weight": 1})
        );
    }
    let price = &config["ai"]["prices"][0];
    let prices = ["input", "output", "cacheRead"]
        .map(|key| price[key].as_str().map(str::to_owned).unwrap_or(price[key].to_string()));
    assert_eq!(prices, ["2.5", "10", "1.25"]);
    assert_eq!(config["ai"]["catalogue"][0]["context"], 64000);
    let policies = config["routes"][0]["policies"].as_array().expect("policies");
    let policy = |name: &str| {
        policies.iter().find_map(|one| one.get(name)).unwrap_or_else(|| panic!("{name}: {ours}"))
    };
    assert_eq!(policy("aiCache")["semantic"]["model"], "embeddings");
    assert_eq!((&policy("aiCache")["ttl"], &policy("budget")["per"]), (&"600000ms".into(), &"month".into()));
    assert_eq!((&policy("budget")["store"], &policy("budget")["key"]), (&"redis".into(), &"global".into()));
    let rules = policy("guardrails")["rules"].as_array().expect("rules");
    let rules: Vec<_> =
        rules.iter().map(|rule| format!("{} {} {}", rule["name"], rule["on"], rule["mode"])).collect();
    assert_eq!(
        rules,
        [
            r#""presidio-pii-mask" "both" "mask""#,
            r#""presidio-pii-block" "both" "block""#,
            r#""words-words-block" "request" "block""#,
        ]
    );
    assert_eq!(config["redis"]["addresses"][0], "127.0.0.1:6399");
    assert_eq!(config["telemetry"]["otlp"]["endpoint"], "http://127.0.0.1:4318");
    for secret in ["literal-secret", "sk-literal"] {
        assert!(!ours.contains(secret) && !report.contains(secret), "{ours}\n{report}");
    }
    for part in [
        "model_list[4].litellm_params.aws_secret_access_key: a secret in the file is not copied: put it into the variable `AWS_SECRET_ACCESS_KEY`",
        "model_list[5].litellm_params.aws_profile_name: no files of AWS's command line are read",
        "guardrails[0].litellm_params.pii_entities_config.PERSON: not among the personal data",
        "guardrails[1]: guardrails that callers ask for have no counterpart",
        "guardrails[2]: `aporia` has no counterpart: a service with an HTTP endpoint is `webhook",
        "litellm_settings.callbacks: `prometheus`: metrics are at `/metrics`",
        "litellm_settings.success_callback: `s3` has no counterpart",
        "general_settings.alerting: no counterpart: alerts are in deploy/prometheus/rules.yaml",
        "model_list[3].model_name: `*` for every provider",
    ] {
        assert!(report.contains(part), "lacks {part}\n{report}");
    }
}

#[test]
fn what_it_became_answers_with_its_key_its_guardrails_and_its_budget() {
    let upstream = crate::ai::provider::of(Dialect::OpenAiChat);
    let Imported { ours, folder, .. } = imported(&format!("http://{}", upstream.address));
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], free_port()));
    // The store and the receiver of the company are not in this test, and nobody embeds here.
    let text = ours.replace("127.0.0.1:4000", &address.to_string());
    let text = text.replace("store: redis", "store: memory");
    let mut config = parsed(&text);
    let fields = config.as_object_mut().expect("a mapping");
    fields.remove("redis");
    fields.remove("telemetry");
    for policy in config["routes"][0]["policies"].as_array_mut().expect("policies") {
        if let Some(cache) = policy.get_mut("aiCache").and_then(Value::as_object_mut) {
            cache.remove("semantic");
        }
    }
    let admin = std::net::SocketAddr::from(([127, 0, 0, 1], free_port()));
    config["admin"] = serde_json::json!({"address": admin.to_string()});
    let gateway = Gateway::with_admin(folder, &config.to_string(), address, admin, |command| {
        command.envs(VARIABLES);
    });
    let ask = |key: &str, said: &str| {
        let body = format!(
            r#"{{"model":"smart","max_tokens":20,"messages":[{{"role":"user","content":"{said}"}}]}}"#
        );
        let head = format!(
            "POST /v1/chat/completions HTTP/1.1\nhost: gw\nauthorization: Bearer {key}\ncontent-length: {}",
            body.len()
        );
        gateway.send(&head, body.as_bytes())
    };
    assert_eq!(ask("wrong", "case: text").status, 401);
    let answer = ask("sk-of-the-test", "case: text");
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert!(answer.json()["choices"][0]["message"]["content"].is_string(), "{}", answer.text());
    assert_eq!(ask("sk-of-the-test", "a forbidden case: text").status, 400);
    let again = ask("sk-of-the-test", "case: text");
    assert_eq!((again.status, again.header("x-tidegate-cache")), (200, Some("hit")));
    let budgets = gateway.admin_get("/api/v1/budgets?policy=proxy").json();
    let account = &budgets["budgets"][0]["accounts"][0];
    assert_eq!(
        (account["key"].as_str(), budgets["budgets"][0]["limit"].as_str()),
        (Some("global"), Some("250.50"))
    );
    assert!(account["spent"].as_str().is_some_and(|spent| spent != "0.00"), "{budgets}");
    let seen = upstream.seen();
    assert!(seen.iter().all(|one| one.header("authorization") == Some("Bearer provider-key-of-the-test")));
}
