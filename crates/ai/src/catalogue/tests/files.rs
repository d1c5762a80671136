//! Every file parses, is listed, and says what can be true.

use std::{collections::BTreeSet, fs, path::Path};

use crate::{
    catalogue::{
        Auth, Model, Price, Provider, Rates, Surface,
        families::Family,
        files::ENTRIES,
        models, names,
        provider::{Piece, pieces},
        providers,
    },
    dialect::Dialect,
};

/// What the issue asks for, under our names.
const WANTED: [&str; 51] = [
    "openai",
    "azure-openai",
    "anthropic",
    "gemini",
    "vertex",
    "vertex-anthropic",
    "bedrock",
    "cohere",
    "mistral",
    "groq",
    "together",
    "fireworks",
    "deepseek",
    "xai",
    "perplexity",
    "openrouter",
    "cerebras",
    "sambanova",
    "nvidia-nim",
    "huggingface",
    "databricks",
    "cloudflare",
    "watsonx",
    "github-models",
    "ai21",
    "deepinfra",
    "nebius",
    "novita",
    "hyperbolic",
    "moonshot",
    "zhipu",
    "qwen",
    "minimax",
    "volcengine",
    "qianfan",
    "hunyuan",
    "siliconflow",
    "stepfun",
    "voyage",
    "jina",
    "elevenlabs",
    "deepgram",
    "stability",
    "ollama",
    "vllm",
    "sglang",
    "tgi",
    "llama-cpp",
    "lm-studio",
    "openai-compatible",
    "azure-foundry",
];

fn all() -> Vec<&'static Provider> {
    providers().map(|provider| provider.unwrap_or_else(|error| panic!("{error}"))).collect()
}

fn all_models() -> impl Iterator<Item = (&'static str, &'static Model)> {
    names().flat_map(|name| {
        let found = models(name).unwrap_or_else(|error| panic!("{error}"));
        found.all().iter().map(move |model| (name, model))
    })
}

#[test]
fn every_provider_of_the_issue_is_there() {
    let known: BTreeSet<&str> = names().collect();
    for name in WANTED {
        assert!(known.contains(name), "{name}");
    }
}

#[test]
fn every_file_is_listed_and_in_order() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("catalogue");
    let mut files: Vec<String> = fs::read_dir(folder)
        .expect("the folder is part of the crate")
        .filter_map(|file| {
            file.ok()?.file_name().into_string().ok()?.strip_suffix(".toml").map(str::to_owned)
        })
        .collect();
    files.sort();
    let listed = ENTRIES.iter().flat_map(|entry| {
        let models = entry.models_text.map(|_| format!("{}.models", entry.name));
        std::iter::once(entry.name.to_owned()).chain(models)
    });
    let mut listed: Vec<String> = listed.collect();
    listed.sort();
    assert_eq!(files, listed);
    assert!(names().is_sorted());
}

#[test]
fn every_provider_says_what_it_must() {
    for (provider, name) in all().into_iter().zip(names()) {
        assert_eq!(provider.name, name);
        assert!(!provider.title.is_empty() && provider.docs.starts_with("https://"), "{name}");
        assert!(!provider.auth.is_empty(), "{name} has no way to authenticate");
        for credential in &provider.auth {
            let needs_none = credential.auth == Auth::None;
            assert_eq!(credential.env.is_empty(), needs_none, "{name}: a key has a customary variable");
            for variable in &credential.env {
                let plain = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
                assert!(variable.bytes().all(plain), "{name}: {variable}");
            }
        }
        for also in &provider.also {
            assert_ne!(also.dialect, provider.dialect, "{name} says its own dialect again");
        }
        let own = provider.own_words.iter().all(|surface| provider.operations.contains(surface));
        assert!(own, "{name} has something in its own words that it does not have");
        for surface in provider.words.keys() {
            assert!(
                provider.operations.contains(surface),
                "{name} has words for {surface:?}, which it has not"
            );
            assert!(!provider.own_words.contains(surface), "{name}: {surface:?} is translated, or it is not");
        }
        let chat = provider.operations.contains(&Surface::Chat);
        assert!(!chat, "{name}: conversations are not beside conversations");
    }
}

#[test]
fn every_dialect_is_spoken_natively_by_somebody() {
    for dialect in Dialect::ALL {
        assert!(all().iter().any(|provider| provider.speaks(dialect).is_some()), "{}", dialect.name());
    }
}

#[test]
fn every_placeholder_is_explained_and_every_explanation_used() {
    for provider in all() {
        let bases = provider.also.iter().filter_map(|also| also.base_url.as_ref());
        let tokens = provider.auth.iter().filter_map(|credential| match &credential.auth {
            Auth::OAuth { token_url, .. } => Some(token_url),
            _ => None,
        });
        let texts = std::iter::once(&provider.base_url)
            .chain(bases)
            .chain(tokens)
            .chain(provider.paths.values())
            .chain(provider.stream_paths.values())
            .chain(provider.headers.values())
            .chain(provider.body.values());
        let used: BTreeSet<&str> = texts
            .flat_map(|text| pieces(text))
            .filter_map(|piece| match piece {
                Piece::Placeholder("model") | Piece::Text(_) => None,
                Piece::Placeholder(name) => Some(name),
            })
            .collect();
        let explained: BTreeSet<&str> = provider.placeholders.keys().map(String::as_str).collect();
        assert_eq!(used, explained, "{}", provider.name);
        let about = provider.placeholders.values().all(|placeholder| !placeholder.about.is_empty());
        assert!(about, "{}", provider.name);
    }
}

#[test]
fn addresses_are_addresses() {
    for provider in all() {
        let bases = provider.also.iter().filter_map(|also| also.base_url.as_ref());
        for base in std::iter::once(&provider.base_url).chain(bases) {
            let local = base.starts_with("http://localhost:");
            let given = base == "{base-url}";
            assert!(base.starts_with("https://") || local || given, "{}: {base}", provider.name);
            assert!(!base.ends_with('/') && !base.contains('?'), "{}: {base}", provider.name);
        }
        for path in provider.paths.values().chain(provider.stream_paths.values()) {
            assert!(path.starts_with('/'), "{}: {path}", provider.name);
        }
    }
}

#[test]
fn a_dialect_at_another_host_is_refused() {
    let text = |also: &str| {
        format!(
            "name = \"x\"\ntitle = \"X\"\ndocs = \"d\"\nbase-url = \"https://a.{{region}}.example/v1\"\n\
             dialect = \"openai-chat\"\nauth = []\n[[also]]\ndialect = \"anthropic\"\nbase-url = \"{also}\"\n"
        )
    };
    for (also, is_good) in [
        ("https://a.{region}.example/anthropic", true),
        ("https://a.{region}.example", true),
        ("https://b.{region}.example/anthropic", false),
        ("http://a.{region}.example/anthropic", false),
        ("https://a.{region}.example:8443/anthropic", false),
    ] {
        let parsed = crate::catalogue::Provider::parse("x.toml", &text(also));
        assert_eq!(parsed.is_ok(), is_good, "{also}");
        if let Err(error) = parsed {
            assert!(error.to_string().contains("another host"), "{error}");
        }
    }
}

#[test]
fn there_are_more_than_a_thousand_models() {
    let count = all_models().count();
    assert!(count > 3_000, "{count}");
    let empty = ENTRIES.iter().filter(|entry| entry.models_text.is_some());
    for entry in empty {
        let models = entry.models().unwrap_or_else(|error| panic!("{error}"));
        assert!(!models.all().is_empty(), "{}", entry.name);
        assert!(models.taken.is_some() && !models.source.is_empty(), "{}", entry.name);
    }
}

#[test]
fn every_price_is_sane() {
    let most = Price::per_million_tokens("1000").expect("a price");
    for (provider, model) in all_models() {
        let prices = &model.prices;
        let classes =
            [Some(&prices.tokens), prices.batch.as_ref(), prices.flex.as_ref(), prices.priority.as_ref()];
        for rates in
            classes.into_iter().flatten().flat_map(|rates| std::iter::once(rates).chain(&rates.above))
        {
            for price in every(rates).into_iter().flatten() {
                assert!(price <= most, "{provider}/{}: {price:?}", model.name);
            }
            if let (Some(input), Some(read)) = (rates.input, rates.cache_read) {
                assert!(
                    read <= input,
                    "{provider}/{}: reading from the cache costs more than not",
                    model.name
                );
            }
            if let (Some(short), Some(long)) = (rates.cache_write, rates.cache_write_long) {
                assert!(short <= long, "{provider}/{}: an hour costs less than minutes", model.name);
            }
        }
        for rates in classes.into_iter().flatten() {
            assert!(rates.above.is_sorted_by_key(|tier| tier.over), "{provider}/{}", model.name);
            assert!(
                rates.above.iter().all(|tier| tier.over > 0 && tier.above.is_empty()),
                "{provider}/{}",
                model.name
            );
        }
    }
}

fn every(rates: &Rates) -> [Option<Price>; 10] {
    [
        rates.input,
        rates.output,
        rates.cache_read,
        rates.cache_write,
        rates.cache_write_long,
        rates.input_audio,
        rates.output_audio,
        rates.input_image,
        rates.output_image,
        rates.thought,
    ]
}

#[test]
fn every_limit_is_sane() {
    for (provider, model) in all_models() {
        for tokens in [model.context, model.max_output].into_iter().flatten() {
            assert!((1..=100_000_000).contains(&tokens), "{provider}/{}: {tokens}", model.name);
        }
        if let Some(day) = model.retires {
            assert!((2023..2035).contains(&day.year), "{provider}/{}: {day}", model.name);
        }
    }
}

#[test]
fn every_family_parses() {
    for family in Family::ALL {
        let rules = family.rules().unwrap_or_else(|error| panic!("{error}"));
        assert!(!rules.is_empty() && rules.iter().all(|rule| !rule.models.is_empty()), "{family:?}");
    }
}
