//! Finding providers and models, and filling in addresses.

use crate::{
    catalogue::{
        Auth, Capabilities, Capability, CatalogueError, Day, Model, Models, Price, Provider, Query, Surface,
        find, models, provider, query,
    },
    dialect::Dialect,
};

fn name(provider: &str, model: &str) -> Option<&'static str> {
    find(provider, model).map(|model| model.name.as_str())
}

#[test]
fn a_model_is_found_by_its_name_or_its_dated_versions() {
    for (provider, asked, want) in [
        ("openai", "gpt-4o", Some("gpt-4o")),
        ("openai", "gpt-4o-2024-08-06", Some("gpt-4o-2024-08-06")),
        ("openai", "gpt-4o-2031-01-01", Some("gpt-4o")),
        ("anthropic", "claude-sonnet-4-5-20991231", Some("claude-sonnet-4-5")),
        ("anthropic", "claude-haiku-4-5-latest", Some("claude-haiku-4-5")),
        ("openai", "gpt-4o-experimental", None),
        ("openai", "", None),
        ("nobody", "gpt-4o", None),
    ] {
        assert_eq!(name(provider, asked), want, "{provider}/{asked}");
    }
    let text = "[models]\n\"m-20250101\" = {mode = \"chat\"}\n\"m-20260101\" = {mode = \"chat\"}\n";
    let models = Models::parse("test", text).expect("sound");
    assert_eq!(models.find("m").map(|model| model.name.as_str()), Some("m-20260101"), "the latest");
}

#[test]
fn configuration_adds_models_and_overrules_what_ships() {
    let text = "[models]\n\"gpt-4o\" = {mode = \"chat\", context = 1}\n\"ours\" = {mode = \"chat\"}\n";
    let shipped = models("openai").expect("known");
    let all = shipped.overlaid(Models::parse("configuration", text).expect("sound"));
    assert_eq!(all.all().len(), shipped.all().len() + 1);
    assert_eq!(all.exact("gpt-4o").and_then(|model| model.context), Some(1));
    assert!(all.exact("ours").is_some());
    assert_eq!(all.exact("gpt-5"), shipped.exact("gpt-5"));
}

#[test]
fn known_facts_are_known() {
    let model = find("anthropic", "claude-sonnet-4-5").expect("a known model");
    assert_eq!(model.context, Some(200_000));
    assert_eq!(model.max_output, Some(64_000));
    assert_eq!(model.prices.tokens.input, Some(Price(3_000_000)));
    assert_eq!(model.prices.tokens.cache_write, Some(Price(3_750_000)));
    assert_eq!(model.prices.tokens.cache_write_long, Some(Price(6_000_000)));
    assert_eq!(model.retires.map(|day| day.to_string()).as_deref(), Some("2026-11-30"));
    assert!(model.can.has(Capability::Tools) && model.can.has(Capability::Vision));
    assert!(!model.can.has(Capability::AudioIn));
}

#[test]
fn an_unknown_provider_is_told_with_the_nearest_name() {
    let message = |name| provider(name).err().map(|error| error.to_string()).unwrap_or_default();
    assert_eq!(message("antropic"), "no provider is named `antropic`; did you mean `anthropic`?");
    assert_eq!(message("OpenAI"), "no provider is named `OpenAI`; did you mean `openai`?");
    assert_eq!(message("claude"), "no provider is named `claude`; did you mean `anthropic`?");
    let unlike = message("something-else");
    assert!(unlike.starts_with("no provider is named `something-else`; there are ai21, "), "{unlike}");
}

#[test]
fn a_broken_text_says_where() {
    let told =
        |text: &str| Provider::parse("x.toml", text).err().map(|error| error.to_string()).unwrap_or_default();
    let base = "name = \"x\"\ntitle = \"X\"\ndocs = \"\"\nbase-url = \"\"\nauth = []\n";
    assert!(
        told(&format!("{base}dialect = \"french\""))
            .contains("`french` is no dialect: expected one of openai-chat")
    );
    let message = told(&format!("{base}dialect = \"gemini\"\n[quirks]\nrefuses = [\"thoughts\"]"));
    assert!(message.contains("`thoughts` cannot be refused") && message.contains("line 8"), "{message}");
    assert!(told(&format!("{base}dialect = \"gemini\"\ncolour = 1")).contains("unknown field `colour`"));
    let models = Models::parse("m.toml", "[models]\nx = {mode = \"chat\", price = {in = \"1,5\"}}");
    let message = models.err().map(|error| error.to_string()).unwrap_or_default();
    assert!(message.starts_with("m.toml: ") && message.contains("`1,5` is not a price"), "{message}");
}

#[test]
fn authentication_says_what_is_missing_or_too_much() {
    let told = |auth: &str| {
        let text = format!(
            "name = \"x\"\ntitle = \"X\"\ndocs = \"\"\nbase-url = \"\"\ndialect = \"cohere\"\nauth = [{auth}]"
        );
        Provider::parse("x.toml", &text)
            .map(|provider| provider.auth[0].auth.clone())
            .map_err(|error| error.to_string())
    };
    assert_eq!(told("{ kind = \"bearer\" }"), Ok(Auth::Bearer));
    assert!(told("{ kind = \"header\" }").is_err_and(|message| message.contains("Header needs `name`")));
    assert!(
        told("{ kind = \"none\", name = \"x\" }")
            .is_err_and(|message| message.contains("fields of another kind"))
    );
}

#[test]
fn addresses_are_filled_in_and_what_is_missing_is_named() {
    let azure = provider("azure-openai").expect("known");
    let value = |name: &str| (name == "resource").then(|| "ours".to_owned());
    assert_eq!(azure.fill(&azure.base_url, value).as_deref(), Ok("https://ours.openai.azure.com"));
    let path = azure.paths.get(&Surface::Chat).expect("Azure has its own");
    let value = |name: &str| (name == "model").then(|| "gpt".to_owned());
    let want = "/openai/deployments/gpt/chat/completions?api-version=2024-10-21";
    assert_eq!(azure.fill(path, value).as_deref(), Ok(want));
    let error = azure.fill(&azure.base_url, |_| None).err();
    let want = "provider `azure-openai`: `https://{resource}.openai.azure.com` needs a value for `resource` (the name of the \
                Azure OpenAI resource)";
    assert_eq!(error.map(|error| error.to_string()).as_deref(), Some(want));
    assert_eq!(azure.fill("a{b", |_| None).as_deref(), Ok("a{b"), "an open brace is text");
}

#[test]
fn a_models_own_dialect_is_known() {
    for (name, model, want) in [
        ("openai", "gpt-4o", Dialect::OpenAiChat),
        ("openai", "gpt-5-codex", Dialect::OpenAiResponses),
        ("openai", "o3-pro-2025-06-10", Dialect::OpenAiResponses),
        ("vertex", "gemini-2.5-pro", Dialect::Gemini),
        ("vertex", "meta/llama-3.1-405b-instruct-maas", Dialect::OpenAiChat),
        ("azure-foundry", "claude-opus-4-5", Dialect::Anthropic),
        ("minimax", "MiniMax-M3", Dialect::Anthropic),
    ] {
        assert_eq!(provider(name).map(|provider| provider.dialect_of(model)), Ok(want), "{name}/{model}");
    }
}

#[test]
fn capabilities_are_read_and_compared() {
    let set = Capabilities::parse("tools,vision").expect("known");
    assert_eq!(Capabilities::parse("vision tools"), Ok(set));
    assert_eq!(set.names().collect::<Vec<_>>(), ["tools", "vision"]);
    assert!(set.covers(Capabilities::default()) && !Capabilities::default().covers(set));
    let audio = Capabilities::parse("tools,audio-in").expect("known");
    assert_eq!(set.missing(audio).names().collect::<Vec<_>>(), ["audio-in"]);
    assert!(
        Capabilities::parse("tools,flying")
            .is_err_and(|message| message.contains("`flying` is no capability"))
    );
}

#[test]
fn a_capability_that_is_written_otherwise_is_meant() {
    for (written, meant) in
        [("tool", "tools"), ("json_schema", "json-schema"), ("Vision", "vision"), ("audio", "audio-in")]
    {
        let told = Capabilities::parse(written).expect_err("none");
        assert!(told.contains(&format!("did you mean `{meant}`?")), "{told}");
    }
    assert!(
        Capabilities::parse("flying")
            .is_err_and(|told| !told.contains("did you mean") && told.contains("vision"))
    );
}

#[test]
fn imagen_is_turned_off_at_both_of_googles_addresses_and_has_the_price_that_it_had() {
    for (provider, off) in [("gemini", "2026-08-17"), ("vertex", "2026-06-30")] {
        for (model, price) in [
            ("imagen-4.0-generate-001", 40_000_000_000_u64),
            ("imagen-4.0-ultra-generate-001", 60_000_000_000),
        ] {
            let found = find(provider, model).unwrap_or_else(|| panic!("{provider} {model}"));
            assert_eq!(found.retires.map(|day| day.to_string()).as_deref(), Some(off), "{provider} {model}");
            assert_eq!(found.prices.units.image.map(|price| price.0), Some(price), "{provider} {model}");
        }
    }
}

#[test]
fn queries_find_what_fits_and_nothing_else() {
    let can = Capabilities::parse("tools,vision").expect("known");
    let asked = Query { provider: Some("openai"), can, surface: Some(Surface::Chat), ..Query::default() };
    let found = query(&asked).expect("known");
    assert!(found.len() > 20, "{}", found.len());
    let fits = |model: &Model| model.can.covers(can) && model.surface == Surface::Chat;
    assert!(found.iter().all(|found| found.provider == "openai" && fits(found.model)));
    let all = models("openai").expect("known").all().iter();
    assert_eq!(all.filter(|model| fits(model)).count(), found.len());

    let long = Query { context: 1_000_000, name: Some("gemini-*"), ..Query::default() };
    let found = query(&long).expect("known");
    assert!(
        found.iter().any(|found| found.provider == "gemini")
            && found.iter().any(|found| found.provider == "vertex")
    );
    assert!(found.iter().all(|found| found.model.context >= Some(1_000_000)));

    let alive = Query { provider: Some("anthropic"), name: Some("claude-sonnet-4-5"), ..Query::default() };
    let on = |day| query(&Query { alive_on: Day::parse(day), ..alive.clone() }).map(|found| found.len());
    assert_eq!((on("2026-11-29"), on("2026-11-30")), (Ok(1), Ok(0)));

    let nobody = query(&Query { provider: Some("nobody"), ..Query::default() });
    assert!(matches!(nobody, Err(CatalogueError::UnknownProvider { .. })));
}
