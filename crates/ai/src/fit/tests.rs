//! What the rules of a target leave of a request, and what they name.

use serde_json::json;

use super::*;
use crate::canon::{CacheMark, Loss, Message, Role, Sampling, Tool, ToolChoice, ToolKind};

fn fitted(request: &Request, dialect: Dialect, rules: &Rules) -> (Request, Vec<Feature>) {
    let mut losses = Losses::default();
    let request = fit(request, dialect, rules, &mut losses).into_owned();
    let feature = |loss: &Loss| match loss {
        Loss::Feature(feature, _) => Some(*feature),
        Loss::Field(_) => None,
    };
    (request, losses.iter().filter_map(feature).collect())
}

fn refusing(refused: &[Feature]) -> Rules {
    Rules { refused: refused.to_vec(), ..Rules::default() }
}

fn tool(name: &str, kind: ToolKind) -> Tool {
    Tool { kind, name: name.to_owned(), description: None, strict: None, cache: None }
}

fn function(name: &str) -> Tool {
    tool(name, ToolKind::Function { parameters: None })
}

#[test]
fn what_fits_is_not_copied() {
    let request = Request { tools: vec![function("f")], ..Request::default() };
    let rules = Rules { max_output_tokens: Some(9), stop_sequences: Some(1), ..refusing(&[Feature::Seed]) };
    let mut losses = Losses::default();
    for dialect in Dialect::ALL {
        assert!(
            matches!(fit(&request, dialect, &rules, &mut losses), Cow::Borrowed(_)),
            "{}",
            dialect.name()
        );
    }
    assert!(losses.is_empty());
}

#[test]
fn every_parameter_that_can_be_refused_goes_and_is_named() {
    let mut request = Request {
        sampling: Sampling {
            temperature: Some(0.5),
            top_p: Some(0.5),
            top_k: Some(5),
            frequency_penalty: Some(0.5),
            presence_penalty: Some(0.5),
            seed: Some(7),
            stop: vec!["x".to_owned()],
            ..Sampling::default()
        },
        choices: Some(2),
        format: Format::Schema {
            name: String::new(),
            description: None,
            schema: json!({}),
            strict: Some(true),
        },
        log_probabilities: Some(1),
        modalities: vec![Modality::Audio],
        verbosity: Some(crate::canon::Verbosity::Low),
        tier: Some("flex".to_owned()),
        user: Some("u".to_owned()),
        cache_key: Some("k".to_owned()),
        store: Some(true),
        parallel_tool_calls: Some(false),
        tool_choice: Some(ToolChoice::Required),
        tools: vec![Tool { strict: Some(true), cache: Some(CacheMark::default()), ..function("f") }],
        messages: vec![Message { name: Some("n".to_owned()), ..Message::text(Role::User, "a") }],
        ..Request::default()
    };
    request.sampling.logit_bias.insert("1".to_owned(), 1.into());
    request.metadata.insert("a".to_owned(), "b".into());
    use Feature as F;
    let all = [
        F::Temperature,
        F::TopP,
        F::TopK,
        F::FrequencyPenalty,
        F::PresencePenalty,
        F::Seed,
        F::Stop,
        F::LogitBias,
        F::Choices,
        F::Strict,
        F::JsonSchema,
        F::JsonMode,
        F::LogProbabilities,
        F::Modalities,
        F::Verbosity,
        F::Tier,
        F::User,
        F::Metadata,
        F::CacheKey,
        F::CacheMark,
        F::Store,
        F::ParallelToolCalls,
        F::ToolChoice,
        F::SpeakerName,
    ];
    let (left, mut named) = fitted(&request, Dialect::OpenAiChat, &refusing(&all));
    named.dedup();
    // Of the two forms of JSON only one was asked for.
    assert_eq!(named, all.into_iter().filter(|feature| *feature != F::JsonMode).collect::<Vec<_>>());
    let plain = Request {
        tools: vec![function("f")],
        messages: vec![Message::text(Role::User, "a")],
        ..Request::default()
    };
    assert_eq!(left, plain);
}

#[test]
fn a_schema_that_a_target_does_not_keep_to_is_a_wish_for_json() {
    let format =
        Format::Schema { name: "a".to_owned(), description: None, schema: json!({}), strict: Some(true) };
    let request = Request { format, ..Request::default() };
    let json = Request { format: Format::Json, ..Request::default() };
    for dialect in Dialect::ALL {
        let left = fitted(&request, dialect, &refusing(&[Feature::JsonSchema]));
        assert_eq!(left, (json.clone(), vec![Feature::JsonSchema]));
        let both = refusing(&[Feature::JsonMode, Feature::JsonSchema]);
        assert_eq!(fitted(&request, dialect, &both), (Request::default(), vec![Feature::JsonSchema]));
    }
    let zhipu = crate::catalogue::rules("zhipu", "glm-4.7");
    assert_eq!(fitted(&request, Dialect::OpenAiChat, &zhipu).0.format, Format::Json);
}

#[test]
fn what_is_meant_anyway_goes_unnamed() {
    let request = Request {
        sampling: Sampling { temperature: Some(1.0), top_p: Some(1.0), ..Sampling::default() },
        choices: Some(1),
        store: Some(false),
        tier: Some("auto".to_owned()),
        tool_choice: Some(ToolChoice::Auto),
        ..Request::default()
    };
    use Feature as F;
    let rules = refusing(&[F::Temperature, F::TopP, F::Choices, F::Store, F::Tier, F::ToolChoice]);
    assert_eq!(fitted(&request, Dialect::Gemini, &rules), (Request::default(), vec![]));
}

#[test]
fn of_temperature_and_top_p_the_first_stays() {
    let rules = Rules { temperature_or_top_p: true, ..Rules::default() };
    let with = |temperature| Request {
        sampling: Sampling { temperature, top_p: Some(0.5), ..Sampling::default() },
        ..Request::default()
    };
    let (left, named) = fitted(&with(Some(0.2)), Dialect::Anthropic, &rules);
    assert_eq!(
        (left.sampling.temperature, left.sampling.top_p, named),
        (Some(0.2), None, vec![Feature::TopP])
    );
    let (left, named) = fitted(&with(None), Dialect::Anthropic, &rules);
    assert_eq!((left.sampling.top_p, named), (Some(0.5), vec![]));
}

#[test]
fn nobody_is_forced_to_call_who_cannot_be() {
    let rules = Rules { no_forced_tools: true, ..Rules::default() };
    let with =
        |choice| Request { tools: vec![function("f")], tool_choice: Some(choice), ..Request::default() };
    for (asked, want) in [
        (ToolChoice::Required, ToolChoice::Auto),
        (
            ToolChoice::Named("f".to_owned()),
            ToolChoice::Among { names: vec!["f".to_owned()], required: false },
        ),
    ] {
        let (left, named) = fitted(&with(asked), Dialect::Anthropic, &rules);
        assert_eq!((left.tool_choice, named), (Some(want), vec![Feature::ToolChoice]));
    }
    let (left, named) = fitted(&with(ToolChoice::None), Dialect::Anthropic, &rules);
    assert_eq!((left.tool_choice, named), (Some(ToolChoice::None), vec![]));
}

#[test]
fn a_vendors_tool_goes_to_its_vendor_alone() {
    for (vendor, takers) in [
        ("openai", vec![Dialect::OpenAiResponses]),
        ("anthropic", vec![Dialect::Anthropic, Dialect::Bedrock]),
        ("gemini", vec![Dialect::Gemini]),
        ("bedrock", vec![Dialect::Bedrock]),
        ("openai-chat", vec![]),
    ] {
        let hosted = tool("search", ToolKind::Vendor { vendor, value: json!({}) });
        let request = Request {
            tools: vec![hosted, function("f")],
            tool_choice: Some(ToolChoice::Named("search".to_owned())),
            ..Request::default()
        };
        for dialect in Dialect::ALL {
            let (left, named) = fitted(&request, dialect, &Rules::default());
            if takers.contains(&dialect) {
                assert_eq!((left, named), (request.clone(), vec![]), "{vendor} {}", dialect.name());
            } else {
                assert_eq!(named, [Feature::VendorTool, Feature::ToolChoice], "{vendor} {}", dialect.name());
                assert_eq!((left.tools.len(), left.tool_choice), (1, None), "{vendor} {}", dialect.name());
            }
        }
    }
}
