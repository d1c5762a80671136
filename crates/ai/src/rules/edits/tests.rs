//! What becomes of bodies that pass in their own dialect, each under the rules of a model that the catalogue knows.

use serde_json::Value;

use crate::{
    canon::{Feature, Losses},
    catalogue,
    dialect::Dialect::{self, Anthropic, Bedrock, Cohere, Gemini, OpenAiChat, OpenAiResponses},
    peek::Peek,
    rules::{ReasoningRule, Rules},
};

fn check(dialect: Dialect, (provider, model): (&str, &str), body: &str, want: &str, lost: &[Feature]) {
    let rules = catalogue::rules(provider, model);
    under(dialect, &rules, false, (body, Some(model)), want, lost);
}

fn under(
    dialect: Dialect,
    rules: &Rules,
    is_interleaved: bool,
    (body, model): (&str, Option<&str>),
    want: &str,
    lost: &[Feature],
) {
    let peek = Peek::of(body.as_bytes()).expect("JSON");
    let mut losses = Losses::default();
    let cuts = peek.edits(body.as_bytes(), dialect, rules, is_interleaved, &mut losses);
    let model = model.filter(|_| !matches!(dialect, Gemini | Bedrock));
    let out = peek.edited(body.as_bytes(), model, dialect == OpenAiChat, cuts);
    assert_eq!(String::from_utf8(out).expect("text"), want, "{model:?} {body}");
    let mut named = Losses::default();
    lost.iter().for_each(|feature| named.feature(*feature));
    assert_eq!(losses, named, "{model:?} {body}");
    serde_json::from_str::<Value>(want).expect("JSON");
}

/// The same where nothing is to change.
fn stays(dialect: Dialect, of: (&str, &str), body: &str) {
    check(dialect, of, body, body, &[]);
}

#[test]
fn what_a_model_refuses_goes_and_all_else_stays() {
    let o3 = ("openai", "o3");
    for (body, want, lost) in [
        (
            r#"{ "model":"o3", "max_tokens" : 5,"temperature":0.5, "x":1.50}"#,
            r#"{ "model":"o3", "max_completion_tokens" : 5, "x":1.50}"#,
            &[Feature::Temperature][..],
        ),
        // At the beginning, at the end, and one behind the other.
        (
            r#"{"temperature":0.5,"top_p":0.1,"model":"o3"}"#,
            r#"{"model":"o3"}"#,
            &[Feature::Temperature, Feature::TopP],
        ),
        (
            r#"{"model":"o3","temperature":0.5,"top_p":0.1 }"#,
            r#"{"model":"o3" }"#,
            &[Feature::Temperature, Feature::TopP],
        ),
        (
            r#"{"temperature":0,"model":"o3","logit_bias":{"5":1},"stream":false,"presence_penalty":2}"#,
            r#"{"model":"o3","stream":false}"#,
            &[Feature::Temperature, Feature::LogitBias, Feature::PresencePenalty],
        ),
        // What says nothing goes unnamed, and nothing is not looked at.
        (r#"{"model":"o3","temperature":1}"#, r#"{"model":"o3"}"#, &[]),
        (r#"{"model":"o3","temperature":null}"#, r#"{"model":"o3","temperature":null}"#, &[]),
        (
            r#"{"model":"o3","max_completion_tokens":7,"seed":3}"#,
            r#"{"model":"o3","max_completion_tokens":7,"seed":3}"#,
            &[],
        ),
    ] {
        check(OpenAiChat, o3, body, want, lost);
    }
    // Of other models nothing is known that would be refused.
    let streamed = r#"{"model":"command-a-03-2025","stream":true,"stream_options":{"include_usage":true}}"#;
    let rules = catalogue::rules("cohere", "command-a-03-2025");
    let mut losses = Losses::default();
    let peek = Peek::of(streamed.as_bytes()).expect("JSON");
    let cuts = peek.edits(streamed.as_bytes(), OpenAiChat, &rules, false, &mut losses);
    let out = peek.edited(streamed.as_bytes(), None, false, cuts);
    assert_eq!(String::from_utf8_lossy(&out), r#"{"model":"command-a-03-2025","stream":true}"#);
    assert!(losses.is_empty());
    let plain = r#"{"model":"gpt-4o","max_tokens":5,"temperature":0.5,"user":"u","stop":["a"],"tool_choice":"required"}"#;
    stays(OpenAiChat, ("openai", "gpt-4o"), plain);
    stays(OpenAiChat, ("openai-compatible", "ours"), &plain.replace("gpt-4o", "ours"));
    check(
        OpenAiChat,
        ("openai", "gpt-4o"),
        r#"{"model":"gpt-4o","reasoning_effort":"low","max_tokens":999999,"stop":["a","b","c","d","e"]}"#,
        r#"{"model":"gpt-4o","max_tokens":16384,"stop":["a","b","c","d"]}"#,
        &[Feature::Reasoning, Feature::MaxOutputTokens, Feature::Stop],
    );
    check(
        OpenAiChat,
        ("groq", "llama-3.3-70b-versatile"),
        r#"{"model":"llama-3.3-70b-versatile","logit_bias":{"1":1},"temperature":0.1}"#,
        r#"{"model":"llama-3.3-70b-versatile","temperature":0.1}"#,
        &[Feature::LogitBias],
    );
    stays(
        Anthropic,
        ("anthropic", "claude-sonnet-4-5"),
        r#"{"model":"claude-sonnet-4-5","temperature":0.5,"max_tokens":9}"#,
    );
}

#[test]
fn the_nearest_effort_is_asked_for_in_the_providers_own_words() {
    let lost = &[Feature::Reasoning][..];
    let of = |provider, model: &'static str| (provider, model);
    for (of, said, want, lost) in [
        (of("openai", "gpt-5"), r#""reasoning_effort":"xhigh""#, r#""reasoning_effort":"high""#, lost),
        (of("openai", "gpt-5"), r#""reasoning_effort":"none""#, r#""reasoning_effort":"minimal""#, lost),
        (of("openai", "gpt-5"), r#""reasoning_effort":"low""#, r#""reasoning_effort":"low""#, &[]),
        // A word of tomorrow's.
        (of("openai", "gpt-5"), r#""reasoning_effort":"ultra""#, r#""reasoning_effort":"ultra""#, &[]),
        (of("openai-compatible", "x"), r#""reasoning_effort":"none""#, r#""reasoning_effort":"none""#, &[]),
        (
            of("deepseek", "deepseek-v4-pro"),
            r#""reasoning_effort":"high""#,
            r#""reasoning_effort":"high""#,
            &[],
        ),
        (
            of("deepseek", "deepseek-v4-pro"),
            r#""reasoning_effort":"none""#,
            r#""thinking":{"type":"disabled"}"#,
            &[],
        ),
        (
            of("deepseek", "deepseek-v4-pro"),
            r#""thinking":{"type":"enabled"},"reasoning_effort":"minimal""#,
            r#""thinking":{"type":"enabled"},"reasoning_effort":"low""#,
            lost,
        ),
        (of("deepseek", "deepseek-reasoner"), r#""thinking":{"type":"disabled"},"x":1"#, r#""x":1"#, lost),
        (of("zhipu", "glm-4.7"), r#""reasoning_effort":"low""#, r#""thinking":{"type":"enabled"}"#, lost),
        (
            of("qwen", "qwen-plus"),
            r#""reasoning_effort":"low""#,
            r#""enable_thinking":true,"thinking_budget":2048"#,
            &[],
        ),
        (of("qwen", "qwen-plus"), r#""thinking_budget":999999"#, r#""thinking_budget":81920"#, lost),
        (of("qwen", "qwen3-coder-plus"), r#""enable_thinking":true,"x":1"#, r#""x":1"#, lost),
        (of("qwen", "qwq-plus"), r#""enable_thinking":false,"x":1"#, r#""x":1"#, lost),
        (of("openrouter", "x/y"), r#""reasoning_effort":"low""#, r#""reasoning_effort":"low""#, &[]),
    ] {
        let body = |said: &str| format!(r#"{{"model":"{}",{said}}}"#, of.1);
        check(OpenAiChat, of, &body(said), &body(want), lost);
    }
    // Where nothing is thought there is nothing to say.
    for model in ["deepseek-chat", "deepseek-coder"] {
        for (said, lost) in [
            (r#""reasoning_effort":"low""#, lost),
            (r#""thinking":{"type":"enabled"}"#, lost),
            (r#""reasoning_effort":"none""#, &[]),
        ] {
            let body = format!(r#"{{"model":"{model}",{said},"messages":[]}}"#);
            check(
                OpenAiChat,
                ("deepseek", model),
                &body,
                &format!(r#"{{"model":"{model}","messages":[]}}"#),
                lost,
            );
        }
        stays(
            OpenAiChat,
            ("deepseek", model),
            &format!(r#"{{"model":"{model}","thinking":{{"type":"disabled"}}}}"#),
        );
    }
}

#[test]
fn responses_are_fitted_inside_of_their_objects() {
    let of = ("openai", "gpt-5");
    check(
        OpenAiResponses,
        ("openai", "o3"),
        r#"{"model":"o3","temperature":0.5,"input":"x"}"#,
        r#"{"model":"o3","input":"x"}"#,
        &[Feature::Temperature],
    );
    check(
        OpenAiResponses,
        of,
        r#"{"model":"gpt-5","reasoning":{ "summary":"auto", "effort" : "max" },"input":"x"}"#,
        r#"{"model":"gpt-5","reasoning":{ "summary":"auto", "effort" : "high" },"input":"x"}"#,
        &[Feature::Reasoning],
    );
    stays(
        OpenAiResponses,
        of,
        r#"{"model":"gpt-5","reasoning":{"effort":"low","summary":null},"store":false}"#,
    );
    check(
        OpenAiResponses,
        ("openai", "gpt-4o"),
        r#"{"model":"gpt-4o","reasoning":{"effort":"low"},"input":"x"}"#,
        r#"{"model":"gpt-4o","input":"x"}"#,
        &[Feature::Reasoning],
    );
    let rules = Rules {
        refused: vec![Feature::Verbosity, Feature::JsonSchema],
        no_forced_tools: true,
        ..Rules::default()
    };
    under(
        OpenAiResponses,
        &rules,
        false,
        (
            r#"{"text":{"verbosity":"low","format":{"type":"json_schema","name":"a","schema":{}}},"tool_choice":"required"}"#,
            None,
        ),
        r#"{"text":{"format":{"type":"json_object"}},"tool_choice":"auto"}"#,
        &[Feature::Verbosity, Feature::JsonSchema, Feature::ToolChoice],
    );
}

#[test]
fn claude_thinks_below_the_limit_of_its_answer() {
    let lost = &[Feature::Reasoning][..];
    let body = |model: &str, most: u64, thinking: &str| {
        format!(r#"{{"model":"{model}","max_tokens":{most},"thinking":{thinking},"messages":[]}}"#)
    };
    let budget = |tokens: u64| format!(r#"{{"type":"enabled","budget_tokens":{tokens}}}"#);
    let sonnet = "claude-sonnet-4-5";
    let of = ("anthropic", sonnet);
    for (most, asked, want, lost) in [
        (4_000, 2_000, 2_000, &[][..]),
        (4_000, 4_000, 3_000, lost),
        (1_100, 8_000, 1_024, lost),
        (4_000, 10, 1_024, lost),
    ] {
        check(Anthropic, of, &body(sonnet, most, &budget(asked)), &body(sonnet, most, &budget(want)), lost);
    }
    check(
        Anthropic,
        of,
        &body(sonnet, 1_000, &budget(2_000)),
        r#"{"model":"claude-sonnet-4-5","max_tokens":1000,"messages":[]}"#,
        lost,
    );
    // Between calls a budget is that of several answers.
    let wide = body(sonnet, 4_000, &budget(16_000));
    under(Anthropic, &catalogue::rules(of.0, of.1), true, (&wide, Some(sonnet)), &wide, &[]);
    // Who does not know the one way is asked in the other.
    check(
        Anthropic,
        of,
        &body(sonnet, 20_000, r#"{"type":"adaptive"}"#),
        &body(sonnet, 20_000, r#"{"type":"enabled","budget_tokens":8192}"#),
        lost,
    );
    let opus = "claude-opus-4-7";
    check(
        Anthropic,
        ("anthropic", opus),
        &body(opus, 20_000, &budget(16_000)),
        &body(opus, 20_000, r#"{"type":"adaptive"},"output_config":{"effort":"high"}"#),
        lost,
    );
    stays(Anthropic, ("anthropic", "claude-opus-4-6"), &body("claude-opus-4-6", 20_000, &budget(16_000)));
    check(
        Anthropic,
        ("anthropic", "claude-opus-5-5"),
        r#"{"model":"claude-opus-5-5","max_tokens":9,"thinking":{"type":"disabled"},"output_config":{"effort":"low","x":1},"tool_choice":{"type":"tool","name":"f","disable_parallel_tool_use":true}}"#,
        r#"{"model":"claude-opus-5-5","max_tokens":9,"output_config":{"effort":"low","x":1},"tool_choice":{"type":"auto","disable_parallel_tool_use":true}}"#,
        &[Feature::Reasoning, Feature::ToolChoice],
    );
    check(
        Anthropic,
        of,
        r#"{"model":"claude-sonnet-4-5","max_tokens":9,"output_config":{"effort":"low"},"temperature":0.5,"top_p":0.5}"#,
        r#"{"model":"claude-sonnet-4-5","max_tokens":9,"output_config":{},"temperature":0.5}"#,
        &[Feature::Reasoning, Feature::TopP],
    );
}

#[test]
fn geminis_configuration_is_fitted() {
    let lost = &[Feature::Reasoning][..];
    let body = |config: &str| format!(r#"{{"contents":[],"generationConfig":{{{config}}}}}"#);
    for (model, said, want, lost) in [
        (
            "gemini-3.8-flash",
            r#""temperature":0.5,"topK":3,"maxOutputTokens":5"#,
            r#""maxOutputTokens":5"#,
            &[Feature::Temperature, Feature::TopK][..],
        ),
        (
            "gemini-2.5-pro",
            r#""stopSequences":["a","b","c","d","e","f"],"x":1"#,
            r#""stopSequences":["a","b","c","d","e"],"x":1"#,
            &[Feature::Stop],
        ),
        (
            "gemini-2.5-pro",
            r#""maxOutputTokens":9999999"#,
            r#""maxOutputTokens":65536"#,
            &[Feature::MaxOutputTokens],
        ),
        (
            "gemini-2.5-pro",
            r#""thinkingConfig":{"thinkingBudget":0,"includeThoughts":true}"#,
            r#""thinkingConfig":{"thinkingBudget":128,"includeThoughts":true}"#,
            lost,
        ),
        (
            "gemini-2.5-flash",
            r#""thinkingConfig":{"thinkingBudget":0}"#,
            r#""thinkingConfig":{"thinkingBudget":0}"#,
            &[],
        ),
        (
            "gemini-2.5-flash",
            r#""thinkingConfig":{"thinkingBudget":-1}"#,
            r#""thinkingConfig":{"thinkingBudget":-1}"#,
            &[],
        ),
        (
            "gemini-2.5-flash",
            r#""thinkingConfig":{"thinkingLevel":"LOW"}"#,
            r#""thinkingConfig":{"thinkingBudget":2048}"#,
            lost,
        ),
        ("gemini-2.0-flash", r#""thinkingConfig":{"thinkingBudget":9},"x":1"#, r#""x":1"#, lost),
        (
            "gemini-3-pro-preview",
            r#""thinkingConfig":{"thinkingLevel":"minimal"}"#,
            r#""thinkingConfig":{"thinkingLevel":"LOW"}"#,
            lost,
        ),
        (
            "gemini-3-pro-preview",
            r#""thinkingConfig":{"thinkingBudget":5,"thinkingLevel":"high"}"#,
            r#""thinkingConfig":{"thinkingLevel":"HIGH"}"#,
            lost,
        ),
        (
            "gemini-3-pro-preview",
            r#""thinkingConfig":{"thinkingBudget":5}"#,
            r#""thinkingConfig":{"thinkingBudget":5}"#,
            &[],
        ),
    ] {
        check(Gemini, ("gemini", model), &body(said), &body(want), lost);
    }
    check(
        Gemini,
        ("gemini", "gemini-3.8-flash"),
        r#"{"generation_config":{"top_p":0.5,"max_output_tokens":5},"contents":[]}"#,
        r#"{"generation_config":{"max_output_tokens":5},"contents":[]}"#,
        &[Feature::TopP],
    );
}

#[test]
fn bedrocks_and_coheres_parameters_are_fitted() {
    let opus = ("bedrock", "eu.anthropic.claude-opus-4-7");
    check(
        Bedrock,
        opus,
        r#"{"messages":[],"inferenceConfig":{"maxTokens":9000,"temperature":0.5,"topP":0.4},"additionalModelRequestFields":{"top_k":3,"thinking":{"type":"enabled","budget_tokens":5000}}}"#,
        r#"{"messages":[],"inferenceConfig":{"maxTokens":9000},"additionalModelRequestFields":{"thinking":{"type":"adaptive"}}}"#,
        &[Feature::Temperature, Feature::TopP, Feature::TopK, Feature::Reasoning],
    );
    let sonnet = ("bedrock", "anthropic.claude-sonnet-4-5-20250929-v1:0");
    check(
        Bedrock,
        sonnet,
        r#"{"inferenceConfig":{"maxTokens":4000},"additionalModelRequestFields":{"thinking":{"type":"enabled","budget_tokens":5000}}}"#,
        r#"{"inferenceConfig":{"maxTokens":4000},"additionalModelRequestFields":{"thinking":{"type":"enabled","budget_tokens":3000}}}"#,
        &[Feature::Reasoning],
    );
    check(
        Bedrock,
        ("bedrock", "amazon.nova-pro-v1:0"),
        r#"{"inferenceConfig":{"stopSequences":["a","b","c","d","e"]},"outputConfig":{"effort":"low"},"x":1}"#,
        r#"{"inferenceConfig":{"stopSequences":["a","b","c","d"]},"outputConfig":{},"x":1}"#,
        &[Feature::Stop, Feature::Reasoning],
    );
    let rules = Rules { no_forced_tools: true, refused: vec![Feature::TopP], ..Rules::default() };
    under(
        Bedrock,
        &rules,
        false,
        (r#"{"toolConfig":{"tools":[],"toolChoice":{"tool":{"name":"f"}}}}"#, None),
        r#"{"toolConfig":{"tools":[],"toolChoice":{"auto":{}}}}"#,
        &[Feature::ToolChoice],
    );
    let rules = Rules {
        reasoning: ReasoningRule::AsAsked,
        stop_sequences: Some(1),
        refused: vec![Feature::TopP, Feature::JsonSchema],
        ..Rules::default()
    };
    under(
        Cohere,
        &rules,
        false,
        (
            r#"{"p":0.4,"k":3,"max_tokens":100,"stop_sequences":["a","b"],"thinking":{"type":"enabled","token_budget":200},"response_format":{"type":"json_object","json_schema":{}}}"#,
            None,
        ),
        r#"{"k":3,"max_tokens":100,"stop_sequences":["a"],"thinking":{"type":"enabled","token_budget":99},"response_format":{"type":"json_object"}}"#,
        &[Feature::TopP, Feature::Stop, Feature::Reasoning, Feature::JsonSchema],
    );
}

#[test]
fn a_schema_that_nobody_keeps_to_is_a_wish_for_json() {
    let schema = r#"{"type":"json_schema","json_schema":{"name":"a","schema":{"type":"object"}}}"#;
    let body = |format: &str| format!(r#"{{"model":"glm-4.7","response_format":{format}}}"#);
    check(
        OpenAiChat,
        ("zhipu", "glm-4.7"),
        &body(schema),
        &body(r#"{"type":"json_object"}"#),
        &[Feature::JsonSchema],
    );
    stays(OpenAiChat, ("zhipu", "glm-4.7"), &body(r#"{"type":"json_object"}"#));
    let rules = Rules { refused: vec![Feature::JsonMode, Feature::JsonSchema], ..Rules::default() };
    under(
        OpenAiChat,
        &rules,
        false,
        (&body(schema), Some("glm-4.7")),
        r#"{"model":"glm-4.7"}"#,
        &[Feature::JsonSchema],
    );
    under(
        Gemini,
        &rules,
        false,
        (r#"{"generationConfig":{"responseMimeType":"application/json","responseSchema":{}}}"#, None),
        r#"{"generationConfig":{}}"#,
        &[Feature::JsonMode, Feature::JsonSchema],
    );
    let rules = Rules { refused: vec![Feature::JsonSchema], ..Rules::default() };
    under(
        Gemini,
        &rules,
        false,
        (r#"{"generationConfig":{"responseMimeType":"application/json","responseSchema":{}}}"#, None),
        r#"{"generationConfig":{"responseMimeType":"application/json"}}"#,
        &[Feature::JsonSchema],
    );
    under(
        Anthropic,
        &rules,
        false,
        (r#"{"output_config":{"format":{"type":"json_schema","schema":{}},"effort":"low"}}"#, None),
        r#"{"output_config":{"effort":"low"}}"#,
        &[Feature::JsonSchema],
    );
}

#[test]
fn what_is_there_twice_or_is_no_object_stays() {
    let rules = Rules { refused: vec![Feature::TopP, Feature::Temperature], ..Rules::default() };
    for body in [
        r#"{"generationConfig":{"topP":0.1,"top_p":0.2}}"#,
        r#"{"generationConfig":[1]}"#,
        r#"{"generationConfig":null}"#,
        r#"{"generationConfig":{"temper\u0061ture":0.5}}"#,
    ] {
        under(Gemini, &rules, false, (body, None), body, &[]);
    }
    let many = format!(r#"{{"generationConfig":{{{}"x":1}}}}"#, r#""topP":0.1,"#.repeat(100_000));
    let began = std::time::Instant::now();
    under(Gemini, &rules, false, (&many, None), &many, &[]);
    assert!(began.elapsed().as_secs() < 5, "it is read over once: {:?}", began.elapsed());
}

#[test]
fn a_model_that_tells_no_log_probabilities_is_not_asked_for_them_among_other_wishes() {
    let codex = ("openai", "gpt-5-codex");
    let lost = &[Feature::LogProbabilities][..];
    for (body, want) in [
        (
            r#"{"model":"gpt-5-codex","include":["message.output_text.logprobs"],"top_logprobs":2}"#,
            r#"{"model":"gpt-5-codex"}"#,
        ),
        (
            r#"{"model":"gpt-5-codex","include":["reasoning.encrypted_content","message.output_text.logprobs"]}"#,
            r#"{"model":"gpt-5-codex","include":["reasoning.encrypted_content"]}"#,
        ),
    ] {
        check(OpenAiResponses, codex, body, want, lost);
    }
    stays(OpenAiResponses, codex, r#"{"model":"gpt-5-codex","include":["reasoning.encrypted_content"]}"#);
    stays(
        OpenAiResponses,
        ("openai", "gpt-4o"),
        r#"{"model":"gpt-4o","include":["message.output_text.logprobs"]}"#,
    );
}
