//! `models`: the catalogue by provider, capability, context and name, and what the configuration says over it.

use std::fs;

use serde_json::Value;

use crate::harness::run;

fn listed(arguments: &[&str]) -> Vec<Value> {
    let (code, out, problems) = run(&[&["models", "--json"], arguments].concat());
    assert_eq!(code, 0, "{problems}");
    let list: Value = serde_json::from_str(&out).expect("JSON");
    list["models"].as_array().expect("models").clone()
}

#[test]
fn models_are_asked_for_by_what_they_can() {
    let all = listed(&["--provider", "openai"]);
    let some =
        listed(&["--provider", "openai", "--can", "tools,vision", "--context", "200000", "--name", "gpt-*"]);
    assert!(!some.is_empty() && some.len() < all.len(), "{} of {}", some.len(), all.len());
    for model in &some {
        let can = model["can"].as_array().expect("what it can");
        assert!(can.iter().any(|one| one == "tools") && can.iter().any(|one| one == "vision"), "{model}");
        assert!(model["context"].as_u64() >= Some(200_000), "{model}");
        assert!(model["model"].as_str().is_some_and(|name| name.starts_with("gpt-")), "{model}");
        assert!(model["taken"].as_str().is_some_and(|day| day.starts_with("20")), "{model}");
    }
    let gpt = all.iter().find(|model| model["model"] == "gpt-4o").expect("gpt-4o");
    assert_eq!((&gpt["price"]["input"], &gpt["price"]["cacheRead"]), (&"2.5".into(), &"1.25".into()));
    assert!(listed(&["--provider", "openai", "--retired"]).len() > all.len(), "some are turned off");
    let (code, out, _) = run(&["models", "--provider", "openai", "--name", "gpt-4o"]);
    assert_eq!(code, 0);
    let row: Vec<&str> = out.lines().nth(1).unwrap_or_default().split_whitespace().collect();
    assert_eq!(row[..7], ["openai", "gpt-4o", "128000", "16384", "2.5", "10", "1.25"], "{out}");
}

#[test]
fn the_configuration_adds_models_and_overrules_what_ships() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("tidegate.yaml");
    let text = "listeners: [{name: a, address: '127.0.0.1:8080'}]
routes: [{name: r, respond: {}}]
ai:
  providers: [{name: mine, kind: openai, keys: [k-of-the-test]}]
  catalogue:
    - {kind: openai, model: gpt-4o, price: {input: 0.25, output: 1}}
    - {kind: openai, model: gpt-99, context: 7, can: [tools]}
";
    fs::write(&path, text).expect("a file");
    let path = path.display().to_string();
    let list = listed(&["--provider", "mine", "-c", &path]);
    let of = |name: &str| list.iter().filter(|model| model["model"] == name).collect::<Vec<_>>();
    let [gpt] = of("gpt-4o")[..] else { panic!("gpt-4o is there once") };
    assert_eq!(
        (&gpt["price"]["input"], &gpt["source"], &gpt["context"]),
        (&"0.25".into(), &"configuration".into(), &128_000.into())
    );
    let [new] = of("gpt-99")[..] else { panic!("gpt-99 is there once") };
    assert_eq!((&new["context"], &new["price"]["input"]), (&7.into(), &Value::Null));
    fs::write(&path, text.replace("kind: openai, model: gpt-99", "kind: opnai, model: gpt-99"))
        .expect("a file");
    let (code, _, problems) = run(&["models", "-c", &path]);
    assert_eq!(code, 3);
    assert!(
        problems.contains("ai.catalogue[1]: kind: no provider is named `opnai`; did you mean `openai`?"),
        "{problems}"
    );
}

#[test]
fn the_configuration_is_read_without_its_secrets() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("tidegate.yaml");
    let keys = "keys: [{env: TIDEGATE_TEST_NO_SUCH_VARIABLE}, {file: no-such-file}]";
    let text = format!(
        "listeners: [{{name: a, address: '127.0.0.1:8080'}}]\nconsumers: [{{name: app, {keys}}}]\n\
         ai: {{providers: [{{name: mine, kind: openai, {keys}}}], models: [{{name: smart, targets: [{{provider: mine, model: gpt-4o}}]}}]}}\n"
    );
    fs::write(&path, text).expect("a file");
    let path = path.display().to_string();
    let (code, out, problems) = run(&["models", "--provider", "mine", "--name", "gpt-4o", "-c", &path]);
    assert_eq!(code, 0, "{problems}");
    assert!(out.contains("target   mine gpt-4o") && !out.contains("not-read"), "{out}");
    let (code, _, problems) = run(&["validate", "-c", &path]);
    assert!(code == 3 && problems.contains("TIDEGATE_TEST_NO_SUCH_VARIABLE"), "{problems}");
}

#[test]
fn a_context_is_written_as_people_write_it() {
    let of = |context: &str| listed(&["--provider", "openai", "--context", context]).len();
    for (short, long) in [("200k", "200000"), ("1M", "1000000"), ("0.5m", "500000"), ("1.05M", "1050000")] {
        assert_eq!(of(short), of(long), "{short}");
    }
    assert!(of("128k") > of("200k") && of("200k") > of("1M") && of("1M") > 0);
    for wrong in ["2MiB", "much", "-1", "1.2.3k", "k", "0.0001k", "99999999999999999999M"] {
        let (code, out, problems) = run(&["models", &format!("--context={wrong}")]);
        assert_eq!((code, out.as_str()), (2, ""), "{wrong}: {problems}");
        assert!(problems.contains("tokens, such as 200000, 200k or 1M"), "{wrong}: {problems}");
    }
}

#[test]
fn the_document_names_every_capability() {
    let document = fs::read_to_string(crate::tidy::root().join("docs/ai.md")).expect("docs/ai.md");
    let section =
        document.split("\n## ").find(|section| section.starts_with("The catalogue\n")).expect("a section");
    for (_, name) in ai::catalogue::Capability::NAMES {
        assert!(section.contains(&format!("`{name}`")), "{name}");
    }
}

#[test]
fn what_there_is_not_is_told() {
    for (arguments, says) in [
        (["--provider", "opnai"], "did you mean `openai`?"),
        (["--can", "fly"], "`fly` is no capability"),
        (["--can", "tool"], "`tool` is no capability: did you mean `tools`?"),
        (["--can", "json_schema"], "did you mean `json-schema`?"),
        (["--name", "no-such-model-*"], "no model is such"),
    ] {
        let (code, out, problems) = run(&[&["models"][..], &arguments[..]].concat());
        assert_eq!((code, out.as_str()), (5, ""), "{arguments:?}");
        assert!(problems.contains(says), "{arguments:?}: {problems}");
    }
}

#[test]
fn what_vendors_rarely_tell_of_their_models_is_said_to_be_so() {
    let of = |can: &str| run(&["models", "--provider", "anthropic", "--can", can]);
    let (code, out, problems) = of("streaming");
    assert_eq!((code, out.as_str()), (5, ""), "{problems}");
    assert!(problems.contains("`streaming`: a model that is not listed may well have it"), "{problems}");
    let (code, _, problems) = of("tools");
    assert_eq!((code, problems.as_str()), (0, ""));
    let (code, out, problems) = run(&["models", "--provider", "openai", "--can", "streaming,parallel-tools"]);
    assert!(code == 0 && out.contains("gpt-5"), "{out}");
    assert!(problems.contains("`streaming` and `parallel-tools`"), "{problems}");
}

#[test]
fn a_kind_of_which_no_models_are_known_says_where_it_is_and_how_one_is_named() {
    let mut without = Vec::new();
    for kind in ai::catalogue::names() {
        let (code, out, problems) = run(&["models", "--provider", kind]);
        if code == 0 {
            assert!(
                out.lines().count() > 1 && out.lines().nth(1).is_some_and(|row| row.starts_with(kind)),
                "{out}"
            );
            continue;
        }
        without.push(kind);
        let known = ai::catalogue::provider(kind).expect("a kind");
        assert_eq!((code, out.as_str()), (5, ""), "{kind}");
        for word in [kind, &known.title, &known.docs, "ai.catalogue"] {
            assert!(problems.contains(word), "{kind} does not tell {word}: {problems}");
        }
        // Who asks for more than the kind learns that the kind has none at all.
        let (code, _, again) = run(&["models", "--provider", kind, "--can", "tools"]);
        assert_eq!((code, again), (5, problems), "{kind}");
    }
    // Those whose models are whoever runs them's, and those that serve other makers' alone.
    for kind in ["openai-compatible", "vllm", "llama-cpp", "lm-studio", "sglang", "tgi"] {
        assert!(without.contains(&kind), "{kind} has models now: {without:?}");
    }
    let (_, _, problems) = run(&["models", "--provider", "vllm"]);
    assert!(problems.contains("http://localhost:8000/v1"), "{problems}");
    let (code, _, problems) = run(&["models", "--provider", "openai", "--name", "no-such-*"]);
    assert!(code == 5 && problems.contains("no model is such"), "{problems}");
}

#[test]
fn the_readme_says_as_many_as_there_are() {
    let readme = std::fs::read_to_string(crate::tidy::root().join("README.md")).expect("README.md");
    let words: Vec<&str> = readme.split_whitespace().collect();
    let number = |text: &str| text.replace(',', "").parse::<usize>().expect("a number");
    let told = words.windows(8).find_map(|words| match words {
        [kinds, "kinds", "of", "providers", "and", "over", models, "models"] => {
            Some((number(kinds), number(models)))
        }
        _ => None,
    });
    let (kinds, least) = told.expect("`N kinds of providers and over N models`");
    assert_eq!(kinds, ai::catalogue::names().count());
    let count = |more: &[&str]| {
        let (code, out, problems) = crate::harness::run(&[&["models", "--json"], more].concat());
        assert_eq!(code, 0, "{problems}");
        let listed: serde_json::Value = serde_json::from_str(&out).expect("JSON");
        listed["models"].as_array().expect("models").len()
    };
    assert!(count(&[]) > least, "{} models that are alive, README says over {least}", count(&[]));
    assert!(
        count(&["--retired"]) < least + 1000,
        "README says less than there is: {}",
        count(&["--retired"])
    );
}

#[test]
fn names_with_their_targets_and_keys_are_shown_and_no_key_is() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("tidegate.yaml");
    let text = "listeners: [{name: a, address: '127.0.0.1:8080'}]
routes:
  - {name: all, match: [{path: {prefix: /}}], ai: {}}
  - {name: one, match: [{path: {prefix: /one}}], ai: {stripPrefix: /one, models: [fast]}}
ai:
  providers:
    - {name: mine, kind: openai, keys: [k-of-the-test, another-of-the-test]}
    - {name: local, kind: openai-compatible, baseUrl: 'http://127.0.0.1:9/v1'}
  models:
    - {name: smart, targets: [{provider: mine, model: gpt-4o, weight: 3}, {provider: local, model: own, when: 'ai.stream'}]}
    - {name: fast, strategy: leastBusy, targets: [{provider: mine, model: gpt-4o-mini}]}
";
    fs::write(&path, text).expect("a file");
    let path = path.display().to_string();
    let (code, out, problems) = run(&["models", "--name", "gpt-4o", "-c", &path]);
    assert_eq!(code, 0, "{problems}");
    for line in [
        "model      smart (weighted)",
        "  target   mine gpt-4o weight 3 (openai, 2 keys)",
        "  target   local own weight 1 when ai.stream (openai-compatible, 0 keys)",
        "model      fast (leastBusy)",
    ] {
        assert!(out.lines().any(|told| told == line), "lacks {line}\n{out}");
    }
    let (_, json, _) = run(&["models", "--json", "--name", "gpt-4o", "-c", &path]);
    let json: Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(json["names"][1]["targets"][0]["model"], "gpt-4o-mini");
    let (code, explained, problems) =
        run(&["routes", "explain", "POST", "/one/v1/chat/completions", "-c", &path]);
    assert_eq!(code, 0, "{problems}");
    assert!(
        explained
            .contains("model      fast (leastBusy)\n  target   mine gpt-4o-mini weight 1 (openai, 2 keys)")
    );
    assert!(!explained.contains("smart"), "this route serves one of them: {explained}");
    assert!(!format!("{out}{explained}").contains("of-the-test"), "keys are told by their number");
}
