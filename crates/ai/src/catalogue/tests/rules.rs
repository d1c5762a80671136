//! The rules of known models: a table, each row what a maker's documentation says.

use crate::{
    canon::{Effort, Feature},
    catalogue::rules,
    rules::{MaxTokensField, ReasoningRule, ReasoningStyle, Rules, SeedField, ThoughtsField},
};

fn reasoning(provider: &str, model: &str) -> String {
    match rules(provider, model).reasoning {
        ReasoningRule::AsAsked => "as asked".to_owned(),
        ReasoningRule::None => "none".to_owned(),
        ReasoningRule::Effort(words) => words.into_iter().map(Effort::word).collect::<Vec<_>>().join(" "),
        ReasoningRule::Budget { least, most, can_be_off } => {
            format!("{least}–{most}{}", if can_be_off { " or off" } else { "" })
        }
    }
}

#[test]
fn models_think_as_their_makers_say() {
    for (provider, model, want) in [
        ("openai", "gpt-4o", "none"),
        ("openai", "gpt-4.1-mini", "none"),
        ("openai", "o1", "low medium high"),
        ("openai", "o3", "low medium high"),
        ("openai", "o4-mini-2025-04-16", "low medium high"),
        ("openai", "gpt-5", "minimal low medium high"),
        ("openai", "gpt-5-2025-08-07", "minimal low medium high"),
        ("openai", "gpt-5-pro", "high"),
        ("openai", "gpt-5-codex", "low medium high"),
        ("openai", "gpt-5-chat-latest", "none"),
        ("openai", "gpt-5.1", "none low medium high"),
        ("openai", "gpt-5.1-codex-max", "low medium high xhigh"),
        ("openai", "gpt-5.2", "none low medium high xhigh"),
        ("openai", "gpt-5.5-pro", "medium high xhigh"),
        ("openai", "gpt-6-sol", "none low medium high xhigh max"),
        ("openai", "gpt-6.1-sol", "low medium high xhigh max"),
        ("azure-openai", "gpt-5-mini", "minimal low medium high"),
        ("azure-openai", "our-deployment", "as asked"),
        ("anthropic", "claude-3-haiku-20240307", "none"),
        ("anthropic", "claude-3-7-sonnet-20250219", "1024–63999 or off"),
        ("anthropic", "claude-opus-4-20250514", "1024–31999 or off"),
        ("anthropic", "claude-opus-4-1-20250805", "1024–31999 or off"),
        ("anthropic", "claude-sonnet-4-5", "1024–63999 or off"),
        ("anthropic", "claude-opus-4-5-20251101", "1024–63999 or off"),
        ("anthropic", "claude-opus-4-6", "none low medium high max"),
        ("anthropic", "claude-opus-4-7", "none low medium high xhigh max"),
        ("anthropic", "claude-opus-5-5", "low medium high xhigh max"),
        ("anthropic", "claude-haiku-5-5", "none low medium high xhigh max"),
        ("bedrock", "eu.anthropic.claude-opus-4-7", "none low medium high xhigh max"),
        ("bedrock", "amazon.nova-pro-v1:0", "none"),
        ("vertex-anthropic", "claude-sonnet-4-5@20250929", "1024–63999 or off"),
        ("gemini", "gemini-2.0-flash", "none"),
        ("gemini", "gemini-2.5-pro", "128–32768"),
        ("gemini", "gemini-2.5-flash", "1–24576 or off"),
        ("gemini", "gemini-2.5-flash-lite", "512–24576 or off"),
        ("gemini", "gemini-3-pro-preview", "low high"),
        ("gemini", "gemini-3-flash-preview", "minimal low medium high"),
        ("vertex", "gemini-3.8-flash", "low medium high"),
        ("deepseek", "deepseek-reasoner", "low high max"),
        ("deepseek", "deepseek-chat", "none"),
        ("deepseek", "deepseek-v4-pro", "none low high max"),
        ("mistral", "mistral-medium-latest", "none high"),
        ("mistral", "codestral-latest", "none"),
        ("xai", "grok-3-mini", "low high"),
        ("xai", "grok-4-0709", "none"),
        ("xai", "grok-4.3", "none low medium high"),
        ("xai", "grok-4.7", "low medium high"),
        ("groq", "openai/gpt-oss-120b", "low medium high"),
        ("moonshot", "kimi-k3", "low high max"),
        ("moonshot", "kimi-k2.5", "none high"),
        ("moonshot", "moonshot-v1-8k", "none"),
        ("qwen", "qwen-plus", "1–81920 or off"),
        ("qwen", "qwen3-vl-32b-thinking", "1–81920"),
        ("qwen", "qwen3-coder-plus", "none"),
        ("cohere", "command-r-08-2024", "none"),
        ("nobody", "nothing", "as asked"),
    ] {
        assert_eq!(reasoning(provider, model), want, "{provider}/{model}");
    }
}

#[test]
fn reasoning_models_of_openai_take_no_sampling() {
    let refused = [Feature::Temperature, Feature::TopP, Feature::FrequencyPenalty, Feature::LogProbabilities];
    for model in ["o1", "o3", "o4-mini", "gpt-5", "gpt-5.2-2025-12-11", "gpt-6-astra"] {
        let rules = rules("openai", model);
        assert!(refused.into_iter().all(|feature| rules.refuses(feature)), "{model}");
        assert_eq!(rules.max_tokens_field, MaxTokensField::MaxCompletionTokens, "{model}");
        assert!(rules.developer_role && rules.refuses(Feature::TopK), "{model}");
    }
    for model in ["gpt-4o", "gpt-4.1", "gpt-5-chat-latest"] {
        let rules = rules("openai", model);
        assert!(!refused.into_iter().any(|feature| rules.refuses(feature)), "{model}");
        assert!(rules.refuses(Feature::TopK), "{model}");
    }
    assert!(!rules("openai", "o1").refuses(Feature::Stop) && rules("openai", "o3").refuses(Feature::Stop));
}

#[test]
fn claude_takes_what_its_generation_takes() {
    let of = |model| rules("anthropic", model);
    let sonnet = of("claude-sonnet-4-5");
    assert!(sonnet.temperature_or_top_p && !sonnet.refuses(Feature::Temperature));
    assert_eq!((sonnet.max_output_tokens, sonnet.default_max_output_tokens), (Some(64_000), 16_384));
    assert_eq!(of("claude-opus-4-1").max_output_tokens, Some(32_000));
    let opus = of("claude-opus-4-7");
    assert!(!opus.temperature_or_top_p && opus.refuses(Feature::Temperature) && opus.refuses(Feature::TopK));
    assert!(of("claude-opus-5-5").no_forced_tools && !opus.no_forced_tools);
    assert_eq!(of("claude-3-haiku-20240307").default_max_output_tokens, 4_096);
    assert_eq!(of("claude-of-tomorrow").reasoning, ReasoningRule::None, "what nobody knows is not asked for");
}

#[test]
fn providers_have_their_own_ways() {
    let mistral = rules("mistral", "mistral-large-latest");
    assert_eq!(mistral.seed_field, SeedField::RandomSeed);
    assert!(mistral.refuses(Feature::User) && !mistral.refuses(Feature::Seed));
    assert_eq!(rules("vllm", "x").thoughts, Some(ThoughtsField::Reasoning));
    assert_eq!(rules("openrouter", "x").thoughts, Some(ThoughtsField::ReasoningDetails));
    assert_eq!(rules("deepseek", "deepseek-v4-pro").thoughts, Some(ThoughtsField::ReasoningContent));
    assert_eq!(rules("moonshot", "kimi-k3").reasoning_style, ReasoningStyle::Effort);
    assert_eq!(rules("moonshot", "kimi-k2.6").reasoning_style, ReasoningStyle::Thinking);
    assert_eq!(rules("qwen", "qwen-plus").reasoning_style, ReasoningStyle::EnableThinking);
    assert!(rules("watsonx", "x").no_stream_options);
    assert_eq!(rules("openai", "gpt-4o").stop_sequences, Some(4));
    assert_eq!(rules("gemini", "gemini-2.5-pro").stop_sequences, Some(5));
    assert!(rules("xai", "grok-4.6").refuses(Feature::PresencePenalty));
    assert!(!rules("xai", "grok-4.20-non-reasoning").refuses(Feature::Stop));
    assert!(rules("groq", "llama-3.3-70b-versatile").refuses(Feature::LogitBias));
}

#[test]
fn nothing_is_known_of_any_server_that_speaks_openais_dialect() {
    // But that tools with free texts are OpenAI's own.
    let nothing = Rules { no_custom_tools: true, ..Rules::default() };
    assert_eq!(rules("openai-compatible", "gpt-5"), nothing);
    assert!(!rules("openai", "gpt-4o").no_custom_tools);
}
