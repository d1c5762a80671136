//! `import litellm`: what becomes of a configuration of LiteLLM's proxy, that it loads, and what is said of the rest.

use std::fs;

use crate::harness::{run, run_with};

/// A configuration with what LiteLLM's documentation shows.
const THEIRS: &str = r#"
model_list:
  - model_name: gpt-4o
    litellm_params:
      model: openai/gpt-4o
      api_key: os.environ/OPENAI_API_KEY
      rpm: 600
    model_info: {id: one, version: 2}
  - model_name: gpt-4o
    litellm_params:
      model: azure/my-deployment
      api_base: https://ours.openai.azure.com/
      api_key: os.environ/AZURE_API_KEY
      api_version: "2025-01-01-preview"
      rpm: 200
  - model_name: claude
    litellm_params: {model: claude-sonnet-4-5, api_key: sk-ant-literal, timeout: 30, max_retries: 2}
  - model_name: local
    litellm_params: {model: ollama/llama3.2, api_base: "http://127.0.0.1:11434"}
  - model_name: own
    litellm_params: {model: openai/our-model, api_base: "http://127.0.0.1:8001/v1", order: 2}
  - model_name: "groq/*"
    litellm_params: {model: "groq/*"}
  - model_name: strange
    litellm_params: {model: nobody/knows}
  - model_name: google
    litellm_params: {model: vertex_ai/gemini-2.5-pro, vertex_project: p, vertex_location: europe-west1}
router_settings:
  routing_strategy: usage-based-routing-v2
  model_group_alias: {gpt-4: gpt-4o}
  num_retries: 2
  fallbacks: [{gpt-4o: [claude]}, {claude: [nowhere]}]
  redis_host: localhost
litellm_settings:
  drop_params: true
  request_timeout: 600
  callbacks: [langfuse]
  default_fallbacks: [local]
general_settings:
  master_key: os.environ/LITELLM_MASTER_KEY
  database_url: os.environ/DATABASE_URL
"#;

fn imported(theirs: &str) -> (i32, String, String, tempfile::TempDir) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("config.yaml");
    fs::write(&path, theirs).expect("a file");
    let (code, ours, report) = run(&["import", "litellm", &path.display().to_string()]);
    (code, ours, report, folder)
}

#[test]
fn it_becomes_a_configuration_that_loads() {
    let (code, ours, report, folder) = imported(THEIRS);
    assert_eq!(code, 0, "{report}");
    let path = folder.path().join("tidegate.yaml");
    fs::write(&path, &ours).expect("a file");
    let keys = ["OPENAI_API_KEY", "AZURE_API_KEY", "ANTHROPIC_API_KEY", "GROQ_API_KEY", "LITELLM_MASTER_KEY"];
    let environment: Vec<(&str, &str)> = keys.iter().map(|key| (*key, "x-of-the-test")).collect();
    let path = path.display().to_string();
    let (code, out, problems) = run_with(&["validate", "-c", &path], &environment);
    assert_eq!(
        (code, out.as_str()),
        (0, "ok: 1 listener, 1 route, 0 upstreams, 1 consumer, 7 AI providers, 7 models\n"),
        "{ours}\n{problems}"
    );
    let config = model::document(&model::Source::new("ours", ours.as_str())).expect("YAML");
    let models: Vec<String> = config["ai"]["models"]
        .as_array()
        .expect("models")
        .iter()
        .map(|model| {
            let targets = model["targets"].as_array().expect("targets").iter();
            let text = |value: &serde_json::Value| value.as_str().expect("a text").to_owned();
            let target = |target: &serde_json::Value| {
                format!(" {} {}:{}", text(&target["provider"]), text(&target["model"]), target["weight"])
            };
            format!("{} ={}", text(&model["name"]), targets.map(target).collect::<String>())
        })
        .collect();
    let want = [
        "gpt-4o = openai gpt-4o:600 azure-openai my-deployment:200 anthropic claude-sonnet-4-5:0 ollama llama3.2:0",
        "claude = anthropic claude-sonnet-4-5:1 ollama llama3.2:0",
        "local = ollama llama3.2:1",
        "own = openai-compatible our-model:1 ollama llama3.2:0",
        "groq/* = groq *:1",
        "google = vertex gemini-2.5-pro:1 ollama llama3.2:0",
        "gpt-4 = openai gpt-4o:600 azure-openai my-deployment:200 anthropic claude-sonnet-4-5:0 ollama llama3.2:0",
    ];
    assert_eq!(models, want, "{ours}");
    let providers = config["ai"]["providers"].as_array().expect("providers");
    let of = |name: &str| providers.iter().find(|one| one["name"] == name).expect("a provider");
    assert_eq!(of("azure-openai")["values"]["api-version"], "2025-01-01-preview");
    assert_eq!(of("azure-openai")["baseUrl"], "https://ours.openai.azure.com");
    assert_eq!(of("ollama")["baseUrl"], "http://127.0.0.1:11434/v1");
    assert_eq!(of("anthropic")["timeouts"]["request"], "30000ms");
    assert_eq!(of("openai")["timeouts"]["request"], "600000ms");
    assert_eq!(config["consumers"][0]["keys"][0]["env"], "LITELLM_MASTER_KEY");
    let models = config["ai"]["models"].as_array().expect("models");
    assert!(models.iter().all(|model| model["retry"]["maxAttempts"] == 3), "{models:?}");
}

#[test]
fn what_has_no_counterpart_is_told_by_its_path_and_no_key_is_copied() {
    let (_, ours, report, _folder) = imported(THEIRS);
    assert!(!ours.contains("sk-ant-literal") && !report.contains("sk-ant-literal"), "{ours}\n{report}");
    for line in [
        "model_list[2].litellm_params.api_key: a key in the file is not copied: put it into the variable `ANTHROPIC_API_KEY`",
        "model_list[2].litellm_params.max_retries: no counterpart: a call that fails goes to the model's next target at once; `retry` of the model asks all of them again",
        "model_list[6].litellm_params.model: no kind of provider for `nobody/knows`; left out",
        "router_settings.fallbacks[1].claude: there is no model `nowhere`",
        "litellm_settings.callbacks: `langfuse` takes OTLP: write its address and key into `telemetry.otlp` (`endpoint`, `headers`)",
        "general_settings.database_url: no counterpart: what budgets have spent is kept in `--data-dir` or in `redis`; keys are `consumers`",
    ] {
        assert!(report.lines().any(|told| told == line), "lacks {line}\n{report}");
    }
    assert!(report.contains("router_settings.routing_strategy:"), "{report}");
    assert!(!report.contains("drop_params"), "{report}");
}

#[test]
fn without_a_master_key_it_is_said_that_all_may_call() {
    let (code, ours, report, _folder) =
        imported("model_list: [{model_name: m, litellm_params: {model: openai/gpt-4o}}]\n");
    assert_eq!(code, 0, "{report}");
    assert!(report.contains("general_settings.master_key: there is none"), "{report}");
    assert!(!ours.contains("consumers"), "{ours}");
    assert!(ours.contains("OPENAI_API_KEY"), "{ours}");
}

#[test]
fn what_is_no_such_file_is_refused() {
    for (theirs, says) in [
        ("a: 1\n", "model_list: expected a list"),
        ("[1]\n", "expected a mapping"),
        ("model_list: [\n", "config.yaml:"),
        (
            "model_list: [{model_name: m, litellm_params: {model: nobody/knows}}]\n",
            "nothing of it could be taken over",
        ),
    ] {
        let (code, ours, report, _folder) = imported(theirs);
        assert_eq!((code, ours.as_str()), (3, ""), "{theirs}");
        assert!(report.contains(says), "{theirs}: {report}");
    }
}

#[test]
fn each_key_in_the_file_gets_a_variable_of_its_own_and_goes_to_its_own_host() {
    let theirs = r#"
model_list:
  - {model_name: gpt-4o, litellm_params: {model: openai/gpt-4o, api_key: os.environ/OPENAI_API_KEY}}
  - {model_name: local, litellm_params: {model: openai/llama-3, api_base: "http://127.0.0.1:1/v1", api_key: sk-first}}
  - {model_name: other, litellm_params: {model: openai/llama-3, api_base: "http://127.0.0.1:2/v1", api_key: sk-second}}
  - {model_name: again, litellm_params: {model: openai/llama-4, api_base: "http://127.0.0.1:2/v1", api_key: sk-second}}
  - {model_name: gpt-5, litellm_params: {model: openai/gpt-5, api_key: sk-third}}
"#;
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("config.yaml");
    std::fs::write(&path, theirs).expect("a file");
    let (code, ours, report) = run(&["import", "litellm", &path.display().to_string()]);
    assert_eq!(code, 0, "{report}");
    let source = model::Source::new("ours", ours.clone());
    let ours = model::document(&source).expect("YAML");
    let keys: Vec<(&str, &str)> = ours["ai"]["providers"]
        .as_array()
        .expect("providers")
        .iter()
        .map(|one| {
            (one["baseUrl"].as_str().unwrap_or("openai"), one["keys"][0]["env"].as_str().expect("a variable"))
        })
        .collect();
    let want = [
        ("openai", "OPENAI_API_KEY"),
        ("http://127.0.0.1:1/v1", "OPENAI_COMPATIBLE_API_KEY"),
        ("http://127.0.0.1:2/v1", "OPENAI_COMPATIBLE_API_KEY_2"),
        ("openai", "OPENAI_API_KEY_2"),
    ];
    assert_eq!(keys, want, "{report}");
}

#[test]
fn a_star_leads_to_the_vendor_of_that_name_and_to_no_server_that_speaks_like_it() {
    let theirs = r#"
model_list:
  - {model_name: own, litellm_params: {model: openai/llama-3, api_base: "http://127.0.0.1:1/v1"}}
  - {model_name: small, litellm_params: {model: openai/gpt-4o-mini, api_key: os.environ/OPENAI_API_KEY}}
  - {model_name: ranks, litellm_params: {model: cohere/rerank-v3.5, api_key: os.environ/COHERE_API_KEY}}
  - {model_name: "*", litellm_params: {model: "*"}}
"#;
    let (code, ours, report, _folder) = imported(theirs);
    assert_eq!(code, 0, "{report}");
    let ours = model::document(&model::Source::new("ours", ours)).expect("YAML");
    let stars: Vec<(&str, &str)> = ours["ai"]["models"]
        .as_array()
        .expect("models")
        .iter()
        .filter_map(|one| Some((one["name"].as_str()?, one["targets"][0]["provider"].as_str()?)))
        .filter(|(name, _)| name.ends_with('*'))
        .collect();
    assert_eq!(stars, [("openai/*", "openai"), ("cohere/*", "cohere")], "{report}");
}

#[test]
fn whom_litellm_keeps_out_is_kept_out() {
    let list = "model_list: [{model_name: a, litellm_params: {model: openai/gpt-4o}}]\n";
    let general = |settings: &str| imported(&format!("{list}general_settings: {{{settings}}}\n"));
    let everybody = "0.0.0.0/0";

    let (code, ours, report, _) = general("custom_auth: my.auth");
    assert_eq!(code, 0, "{report}");
    assert!(ours.contains(everybody), "{ours}");
    assert!(report.contains("general_settings.custom_auth: the route is CLOSED"), "{report}");
    assert!(!report.contains("whoever reaches the listener"), "{report}");

    for settings in ["enable_jwt_auth: false", "custom_auth: my.auth, master_key: os.environ/KEY"] {
        let (_, ours, report, _) = general(settings);
        assert!(!ours.contains(everybody) && !report.contains("CLOSED"), "{settings}\n{ours}\n{report}");
    }

    let (_, ours, report, _) = general("allowed_ips: [192.0.2.7, somewhere], master_key: os.environ/KEY");
    assert!(ours.contains("ipRestriction: {allow: [\"192.0.2.7\"]}"), "{ours}");
    assert!(report.contains("general_settings.allowed_ips: \"somewhere\" is no address here"), "{report}");
    let (_, ours, ..) = general("allowed_ips: [somewhere], master_key: os.environ/KEY");
    assert!(ours.contains(everybody), "{ours}");
}

#[test]
fn a_time_to_the_first_word_is_taken_over_where_another_target_can_be_asked() {
    let theirs = r#"
model_list:
  - {model_name: one, litellm_params: {model: openai/gpt-4o, api_key: os.environ/OPENAI_API_KEY}}
  - {model_name: two, litellm_params: {model: groq/llama-3.3-70b-versatile, api_key: os.environ/GROQ_API_KEY}}
  - {model_name: two, litellm_params: {model: mistral/mistral-large-latest, api_key: os.environ/MISTRAL_API_KEY}}
router_settings: {stream_timeout: 5}
general_settings: {master_key: os.environ/LITELLM_MASTER_KEY}
"#;
    let (code, ours, report, folder) = imported(theirs);
    assert_eq!(code, 0, "{report}");
    let path = folder.path().join("tidegate.yaml");
    fs::write(&path, &ours).expect("a file");
    let keys = ["OPENAI_API_KEY", "GROQ_API_KEY", "MISTRAL_API_KEY", "LITELLM_MASTER_KEY"];
    let environment: Vec<(&str, &str)> = keys.iter().map(|key| (*key, "x-of-the-test")).collect();
    let (code, _, problems) = run_with(&["validate", "-c", &path.display().to_string()], &environment);
    assert!(code == 0 && !problems.contains("firstToken"), "{ours}\n{problems}");
    let config = model::document(&model::Source::new("ours", ours)).expect("YAML");
    let providers = config["ai"]["providers"].as_array().expect("providers").iter();
    let told: Vec<_> = providers.map(|one| (one["name"].as_str(), one["firstToken"].as_str())).collect();
    let want = [(Some("openai"), None), (Some("groq"), Some("5000ms")), (Some("mistral"), Some("5000ms"))];
    assert_eq!(told, want);
    assert!(report.contains("stream_timeout: left out for `openai`, the only target"), "{report}");
}
